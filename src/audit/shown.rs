//! Names and addresses that a capture shows: what roles are bound to.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::model::CellId;
use crate::model::Host;
use crate::model::Observed;

use super::names::Names;

/// Names and addresses that the capture shows.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The names.
    pub names: Names<'a>,
    /// Addresses that sent or were sent to, in their order, with their cells.
    pub present: Vec<(IpAddr, CellId)>,
}

impl<'a> Shown<'a> {
    /// Collects them.
    pub fn of(observed: &'a Observed) -> Self {
        Self { names: Names::of(observed), present: addresses_present(observed) }
    }
}

/// Every address that sent or was sent to.
fn addresses_present(observed: &Observed) -> Vec<(IpAddr, CellId)> {
    let all = observed
        .conversations
        .keys()
        .flat_map(|key| [(key.client, key.cell), (key.server, key.cell)])
        .chain(observed.vantage.heard.keys().map(|&(cell, host)| (host, cell)))
        // A group is nobody, and nobody's are the addresses of who has none yet and of the many that a sweep is to.
        .filter(|(host, _)| !host.is_group() && host.ip().is_some_and(|ip| !ip.is_unspecified()));
    // Hosts are many times as often an end of a conversation as they are many.
    let once: HashSet<(Host, CellId), RandomState> = all.collect();
    let mut present: Vec<_> = once.into_iter().filter_map(|(host, cell)| Some((host.ip()?, cell))).collect();
    present.sort_unstable();
    present
}
