//! Datagrams that ask in vain, and those that answer nothing that their sender was asked: one may answer the other, from another address of the server.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::PacketRef;
use crate::model::Transport;

use super::Known;
use super::View;

/// How much earlier than its question an answer may be stamped.
const EARLIER: Duration = Duration::from_millis(5);

/// Who asks, and where from which port for which port, as a number: what an answer from another address of the server has as well.
type Asking = (Host, u64);

fn asking(flow: &FlowRecord) -> Option<Asking> {
    let port = |port: Option<u16>| port.map_or(0, |port| u64::from(port) + 1);
    let place = u64::from(flow.cell.0) << 40 | port(flow.client.port) << 20 | port(flow.server.port);
    Some((Host::Ip(flow.client.host.ip()?), place))
}

/// Datagrams without their counterparts.
#[derive(Debug, Default)]
pub(super) struct Unpaired<'a> {
    /// From a server to a port that never asked this server.
    strays: Known<Asking, &'a FlowRecord>,
    /// What a port asked in vain.
    in_vain: Known<Asking, &'a FlowRecord>,
}

impl<'a> Unpaired<'a> {
    /// Takes in a flow.
    pub(super) fn learn(&mut self, flow: &'a FlowRecord) {
        if flow.transport != Transport::Udp {
            return;
        }
        let some = match (flow.from_client.packets, flow.from_server.packets) {
            (0, _) => &mut self.strays,
            (_, 0) => &mut self.in_vain,
            _ => return,
        };
        if let Some(asking) = asking(flow).filter(|_| flow.server.host.ip().is_some()) {
            some.entry(asking).or_insert(flow);
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
        let stray = self.unpaired.strays.get(&asking(flow)?)?;
        let stray = stray.server.host.ip().map(|server| (server, stray.first));
        stray.filter(|(from, at)| {
            Some(*from) != flow.server.host.ip() && at.time.plus(EARLIER) >= flow.first.time
        })
    }

    /// Whom the client of such an answer had asked.
    pub fn asked_of(&self, flow: &FlowRecord) -> Option<IpAddr> {
        let answers = flow.transport == Transport::Udp && flow.from_client.packets == 0;
        answers.then(|| self.unpaired.in_vain.get(&asking(flow)?)?.server.host.ip()).flatten()
    }
}
