//! The first packets of every flow as one vantage saw them, told by what does not change on the way: for finding them again at another.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::time::Duration;

use foldhash::quality::FixedState;

use crate::capture::CaptureError;
use crate::capture::Polled;
use crate::capture::Source;
use crate::decode;
use crate::decode::Body;
use crate::decode::Frame;
use crate::flow::Half;
use crate::flow::Place;
use crate::model::CellId;
use crate::model::Endpoint;
use crate::model::Input;
use crate::model::InputId;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Transport;
use crate::pipeline::CellMap;

/// Packets of one direction that are remembered of each opening of a flow.
const EACH: u32 = 8;
/// Silence after which datagrams of the same ports count as a new beginning.
const PAUSE: Duration = Duration::from_secs(30);
/// The most packets remembered of one vantage.
const MOST: usize = 2_000_000;

/// What a packet is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SYN or SYN-ACK.
    Opening,
    /// It carries payload.
    Data,
    /// A reset.
    Reset,
    /// Anything else.
    Other,
}

/// One packet, so that it can be known again.
#[derive(Clone, Copy, Debug)]
pub struct Print {
    /// The packet.
    pub at: PacketRef,
    /// Which end sent it.
    pub from: Half,
    /// What it is.
    pub kind: Kind,
    /// Of all that a router leaves as it is: ports, IP identification, sequence numbers, flags, length and payload.
    pub digest: u64,
}

/// What makes a flow one, whatever vantage saw it.
pub type FlowKey = (CellId, Transport, Endpoint, Endpoint);

#[derive(Clone, Copy, Debug, Default)]
struct Beginning {
    count: u32,
    last: PacketRef,
}

/// The first packets of one flow.
#[derive(Clone, Debug, Default)]
pub struct Prints {
    /// By flow, in the order in which they were captured.
    pub of: BTreeMap<FlowKey, Vec<Print>>,
    beginnings: BTreeMap<(FlowKey, bool), Beginning>,
    kept: usize,
    /// Packets that were not remembered for want of room.
    pub left_out: u64,
}

/// The key of a flow.
pub fn key(place: &Place) -> FlowKey {
    (place.cell, place.transport, place.ends.low, place.ends.high)
}

impl Prints {
    fn take(&mut self, packet: &Packet<'_>, cells: &CellMap) {
        let Ok(frame) = decode::decode(packet) else { return };
        let Some(kind) = kind(&frame) else { return };
        let Some(place) = Place::of(cells.cell(&frame.context, packet.interface), &frame) else { return };
        let key = key(&place);
        let known = self.beginnings.entry((key, place.from == Half::Low)).or_default();
        let anew = kind == Kind::Opening
            || (place.transport == Transport::Udp && packet.at.time.since(known.last.time) > PAUSE);
        known.count = if anew { 1 } else { known.count.saturating_add(1) };
        known.last = packet.at;
        if known.count > EACH && kind != Kind::Reset {
            return;
        }
        if self.kept >= MOST {
            self.left_out += 1;
            return;
        }
        self.kept += 1;
        let print = Print { at: packet.at, from: place.from, kind, digest: digest(&frame) };
        self.of.entry(key).or_default().push(print);
    }
}

/// What it is to its flow; only TCP and UDP cross devices in a way that can be compared.
fn kind(frame: &Frame<'_>) -> Option<Kind> {
    match frame.body {
        Body::Tcp(tcp) if tcp.flags.rst() => Some(Kind::Reset),
        Body::Tcp(tcp) if tcp.flags.syn() => Some(Kind::Opening),
        Body::Tcp(tcp) if tcp.payload_length > 0 => Some(Kind::Data),
        Body::Tcp(_) => Some(Kind::Other),
        Body::Udp(_) => Some(Kind::Data),
        _ => None,
    }
}

/// Everything that a router or a transparent firewall leaves as it is. Time to live, checksums, VLAN and MAC addresses change.
fn digest(frame: &Frame<'_>) -> u64 {
    let mut hasher = FixedState::with_seed(0x7370_616e).build_hasher();
    if let Some(network) = frame.network {
        hasher.write_u64(u64::from(network.identification) << 32 | u64::from(network.length));
    }
    match frame.body {
        Body::Tcp(tcp) => {
            hasher.write_u64(u64::from(tcp.sequence) << 32 | u64::from(tcp.acknowledgement));
            hasher.write_u64(u64::from(tcp.flags.0) << 32 | u64::from(tcp.payload_length));
            hasher.write(tcp.payload);
        }
        Body::Udp(udp) => {
            hasher.write_u64(u64::from(udp.payload_length));
            hasher.write(udp.payload);
        }
        _ => {}
    }
    hasher.finish()
}

/// A source whose packets are remembered as they pass, under input ids that go on from those of other vantages.
pub struct Noting<'a> {
    /// Where the packets come from.
    pub inner: &'a mut dyn Source,
    /// The id of its first input among those of all vantages.
    pub base: u32,
    /// Which address space a packet belongs to.
    pub cells: &'a CellMap,
    /// What was remembered.
    pub prints: Prints,
}

impl Source for Noting<'_> {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        let more = self.inner.advance()?;
        if more {
            let packet = moved(self.inner.packet(), self.base);
            self.prints.take(&packet, self.cells);
        }
        Ok(more)
    }

    fn poll(&mut self) -> Result<Polled, CaptureError> {
        Ok(if self.advance()? { Polled::Packet } else { Polled::End })
    }

    fn packet(&self) -> Packet<'_> {
        moved(self.inner.packet(), self.base)
    }

    fn inputs(&self) -> Vec<Input> {
        self.inner.inputs()
    }

    fn names(&self) -> Vec<(std::net::IpAddr, String)> {
        self.inner.names()
    }

    fn notes(&self) -> Vec<String> {
        self.inner.notes()
    }

    fn progress(&self) -> (u64, Option<u64>) {
        self.inner.progress()
    }
}

fn moved(mut packet: Packet<'_>, base: u32) -> Packet<'_> {
    let moved = InputId(packet.at.input().0.saturating_add(base));
    packet.at = packet.at.within(moved);
    packet
}
