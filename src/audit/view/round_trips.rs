//! How soon a host answers SYNs: a reset in its name that comes much sooner was made nearer to the mirror.

use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::PacketRef;
use crate::model::Reset;
use crate::model::Transport;

use super::View;

/// Handshakes that make a baseline (evidence table).
const BASELINE: u32 = 3;
/// A reset is too soon where it takes less than one of so many parts of the shortest answer ...
const PARTS: u32 = 4;
/// ... and comes so much earlier: mirrors stamp a packet up to 5 ms apart in copies, and an answer up to a millisecond before its cause.
const EARLIER: Duration = Duration::from_millis(6);

/// The shortest time from a SYN to its SYN-ACK, and how many were measured.
type Shortest = (Duration, u32);

/// How soon hosts answer SYNs, over all their clients.
#[derive(Debug, Default)]
pub(super) struct RoundTrips(HashMap<(CellId, IpAddr), Shortest, RandomState>);

impl RoundTrips {
    /// Takes in a handshake in which nothing was repeated, so that question and answer are known.
    pub(super) fn learn(&mut self, flow: &FlowRecord) {
        let (syn, answer) = (&flow.from_client.syn, &flow.from_server.syn);
        let (1, 1, Transport::Tcp) = (syn.count, answer.count, flow.transport) else { return };
        let (Some(asked), Some(answered), Some(server)) = (syn.first, answer.first, flow.server.host.ip())
        else {
            return;
        };
        let took = answered.time.since(asked.time);
        let known = self.0.entry((flow.cell, server)).or_insert((took, 0));
        *known = (known.0.min(took), known.1.saturating_add(1));
    }
}

impl View {
    /// Why a reset in the server's name can't be its own answer to that packet: it comes much sooner than any of its answers; `None` where it may be.
    pub fn too_soon(&self, flow: &FlowRecord, asked: Option<PacketRef>, reset: &Reset) -> Option<String> {
        let &(shortest, count) = self.round_trips.0.get(&(flow.cell, flow.server.host.ip()?))?;
        let took = reset.at.time.since(asked.filter(|asked| *asked <= reset.at)?.time);
        let soon = count >= BASELINE && took * PARTS < shortest && took + EARLIER <= shortest;
        soon.then(|| {
            format!(
                "it came after {:.1} ms, and in {count} handshakes {} never answered within {:.1} ms",
                took.as_secs_f64() * 1e3,
                flow.server.host,
                shortest.as_secs_f64() * 1e3
            )
        })
    }
}
