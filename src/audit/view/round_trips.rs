//! How soon a host answers SYNs: a reset in its name that comes much sooner was made nearer to the mirror.

use std::time::Duration;

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

/// How soon a host answers SYNs, over all its clients.
#[derive(Debug, Default)]
pub(super) struct RoundTrips(Option<Shortest>);

impl RoundTrips {
    /// Takes in a handshake in which nothing was repeated, so that question and answer are known.
    pub(super) fn learn(&mut self, flow: &FlowRecord) {
        let (syn, answer) = (&flow.from_client.syn, &flow.from_server.syn);
        let (1, 1, Transport::Tcp) = (syn.count, answer.count, flow.transport) else { return };
        let (Some(asked), Some(answered)) = (syn.first, answer.first) else { return };
        let took = answered.time.since(asked.time);
        let (shortest, count) = self.0.unwrap_or((took, 0));
        self.0 = Some((shortest.min(took), count.saturating_add(1)));
    }
}

impl View<'_> {
    /// Why a reset in the server's name can't be its own answer to that packet: it comes much sooner than any of its answers; `None` where it may be.
    pub fn too_soon(&self, flow: &FlowRecord, asked: Option<PacketRef>, reset: &Reset) -> Option<String> {
        let (shortest, count) = self.hosts.of(flow.cell, flow.server.host)?.round_trips.0?;
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
