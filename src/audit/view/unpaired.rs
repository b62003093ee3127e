//! Datagrams that ask in vain, and those that answer nothing that their sender was asked: one may answer the other, from another address of the server.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::PacketRef;
use crate::model::Transport;

use super::Known;
use super::View;

/// How much earlier than its question an answer may be stamped.
const EARLIER: Duration = Duration::from_millis(5);

/// Who asks from which port, and for which port: what an answer from another address of the server has as well.
type Asking = (CellId, IpAddr, Option<u16>, Option<u16>);

fn asking(flow: &FlowRecord) -> Option<Asking> {
    Some((flow.cell, flow.client.host.ip()?, flow.client.port, flow.server.port))
}

/// Datagrams without their counterparts.
#[derive(Debug, Default)]
pub(super) struct Unpaired {
    /// From a server to a port that never asked this server.
    strays: Known<Asking, (IpAddr, PacketRef)>,
    /// Whom a port asked in vain.
    in_vain: Known<Asking, IpAddr>,
}

impl Unpaired {
    /// Takes in a flow.
    pub(super) fn learn(&mut self, flow: &FlowRecord) {
        if flow.transport != Transport::Udp {
            return;
        }
        let (Some(asking), Some(server)) = (asking(flow), flow.server.host.ip()) else { return };
        if flow.from_client.packets == 0 {
            self.strays.entry(asking).or_insert((server, flow.first));
        } else if flow.from_server.packets == 0 {
            self.in_vain.entry(asking).or_insert(server);
        }
    }

    /// Takes in those of later flows.
    pub(super) fn join(&mut self, later: Self) {
        later.strays.into_iter().for_each(|(asking, stray)| {
            self.strays.entry(asking).or_insert(stray);
        });
        later.in_vain.into_iter().for_each(|(asking, server)| {
            self.in_vain.entry(asking).or_insert(server);
        });
    }
}

impl View<'_> {
    /// The other address that answers what a port asked in vain, and the first such answer: a server with several addresses takes the one of the
    /// interface by which it answers.
    pub fn answered_from(&self, flow: &FlowRecord) -> Option<(IpAddr, PacketRef)> {
        let stray = self.unpaired.strays.get(&asking(flow)?).copied();
        stray.filter(|(from, at)| {
            Some(*from) != flow.server.host.ip() && at.time.plus(EARLIER) >= flow.first.time
        })
    }

    /// Whom the client of such an answer had asked.
    pub fn asked_of(&self, flow: &FlowRecord) -> Option<IpAddr> {
        let answers = flow.transport == Transport::Udp && flow.from_client.packets == 0;
        answers.then(|| self.unpaired.in_vain.get(&asking(flow)?).copied()).flatten()
    }
}
