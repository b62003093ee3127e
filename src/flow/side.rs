//! What one end of a flow sent, as it is counted while the flow lives.

use crate::model::MacAddr;
use crate::model::PacketRef;
use crate::model::Series;
use crate::model::SideRecord;

use super::tcp::TcpSide;

/// The running counters of one end. What only some transports need is boxed and comes with the first packet that needs it.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Packets.
    pub packets: u64,
    /// Frame bytes on the wire.
    pub bytes: u64,
    /// Packets with transport payload.
    pub payload_packets: u64,
    /// Payload bytes, repetitions not counted.
    pub payload_bytes: u64,
    /// First packet.
    pub first: Option<PacketRef>,
    /// Last packet.
    pub last: Option<PacketRef>,
    /// First packet with payload.
    pub first_payload: Option<PacketRef>,
    /// Last packet with payload.
    pub last_payload: Option<PacketRef>,
    /// Time to live of the first packet that was not a reset.
    pub ttl: Option<u8>,
    /// Source MAC of that packet.
    pub mac: Option<MacAddr>,
    /// Destination MAC of the first packet.
    pub neighbour: Option<MacAddr>,
    /// TCP state.
    pub tcp: Option<Box<TcpSide>>,
    /// Datagrams sent since the other end was last heard.
    pub waiting: Option<Box<Series>>,
    /// Whether a message that asks was sent: ICMP echo and the like, SCTP INIT.
    pub asked: bool,
    /// Whether a message that answers one was sent: echo reply and the like, SCTP INIT ACK.
    pub answered: bool,
    /// Whether the one thing sent was a refusal: SCTP ABORT.
    pub aborted: bool,
}

impl Side {
    /// Counts one packet (or one fragment of it).
    pub fn count(&mut self, at: PacketRef, original: u32) {
        self.packets += 1;
        self.bytes = self.bytes.saturating_add(u64::from(original));
        self.first.get_or_insert(at);
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }

    /// Counts payload of a packet.
    pub fn count_payload(&mut self, at: PacketRef, fresh: u32) {
        self.payload_packets += 1;
        self.payload_bytes = self.payload_bytes.saturating_add(u64::from(fresh));
        self.first_payload.get_or_insert(at);
        self.last_payload = Some(at);
    }

    /// Whether nothing was heard of this end.
    pub fn is_silent(&self) -> bool {
        self.packets == 0
    }

    /// What the record says of this end.
    pub fn tell(&self) -> SideRecord {
        let mut told = SideRecord {
            packets: self.packets,
            bytes: self.bytes,
            payload_packets: self.payload_packets,
            payload_bytes: self.payload_bytes,
            first: self.first,
            last: self.last,
            first_payload: self.first_payload,
            last_payload: self.last_payload,
            unanswered: self.waiting.as_deref().copied().unwrap_or_default(),
            ttl: self.ttl,
            mac: self.mac,
            neighbour: self.neighbour,
            ..SideRecord::default()
        };
        if let Some(tcp) = self.tcp.as_deref() {
            tcp.tell(&mut told);
        }
        told
    }

    /// Starts the counters anew for the next stretch of a flow that goes on; what the transport knows is kept.
    pub fn next_stretch(&mut self) {
        if let Some(tcp) = &mut self.tcp {
            tcp.next_stretch();
        }
        *self = Self {
            ttl: self.ttl,
            mac: self.mac,
            neighbour: self.neighbour,
            tcp: self.tcp.take(),
            asked: self.asked,
            answered: self.answered,
            aborted: self.aborted,
            ..Self::default()
        };
    }
}
