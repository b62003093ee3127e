//! One flow as it is told once it has ended: who, what, how it went, and the packets that show it.

use std::net::IpAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::{CellId, Endpoint, Facts, MacAddr, PacketRef, Transport};

/// One of the two ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Opened the flow, or asks.
    Client,
    /// Accepted it, or answers.
    Server,
}

impl Role {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// How it was told which end is the client, surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleBasis {
    /// SYN or SYN-ACK.
    Handshake,
    /// The same service endpoint was seen accepting another flow.
    LearnedServer,
    /// What the payload says of its two ends.
    Protocol,
    /// A well-known or lower port.
    Port,
    /// Nothing better than who was heard first.
    FirstHeard,
}

/// What became of a flow's opening (DESIGN's word list).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// SYN and SYN-ACK seen.
    Established,
    /// A reset answered the SYN.
    Refused,
    /// Nothing came back.
    Unanswered,
    /// An ICMP error quotes it, and nothing else came back.
    Rejected,
    /// Opened, then the first data was never acknowledged or was answered by a reset.
    Cut,
    /// Both directions heard, the opening not.
    Midstream,
    /// One direction heard, the opening not.
    OneSided,
    /// A request and an answer (UDP, ICMP).
    Answered,
    /// One packet, or a one-way protocol where no answer is due.
    Observed,
}

impl Outcome {
    /// All of them, in the order of the contract.
    pub const ALL: [Self; 9] = [
        Self::Established,
        Self::Refused,
        Self::Unanswered,
        Self::Rejected,
        Self::Cut,
        Self::Midstream,
        Self::OneSided,
        Self::Answered,
        Self::Observed,
    ];

    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::Rejected => "rejected",
            Self::Cut => "cut",
            Self::Midstream => "midstream",
            Self::OneSided => "one-sided",
            Self::Answered => "answered",
            Self::Observed => "observed",
        }
    }
}

/// The reason of a question in a datagram that the server answers by another port.
pub const ANSWERED_ELSEWHERE: &str = "answered from another port of the server";
/// An answer from elsewhere comes within this time of the last question, or it answers something else.
pub const ELSEWHERE_PATIENCE: Duration = Duration::from_secs(30);
/// How much earlier than its question it may stand in a capture.
pub const ELSEWHERE_EARLY: Duration = Duration::from_millis(5);

/// What a payload proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classification {
    /// The innermost protocol proved, a name of the contract.
    pub protocol: Option<&'static str>,
    /// The whole stack above the transport, outermost first.
    pub layers: SmallVec<[&'static str; 2]>,
    /// What the payload said.
    pub facts: Facts,
    /// The packet that completed the proof.
    pub proven: Option<PacketRef>,
    /// Whether nothing that was said asks for an answer: the protocol has none, or these messages want none.
    pub one_way: bool,
}

/// A series of like packets of one side: SYNs, SYN-ACKs, or one unacknowledged segment sent again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// How many, mirror duplicates not counted.
    pub count: u32,
    /// The first.
    pub first: Option<PacketRef>,
    /// The last.
    pub last: Option<PacketRef>,
    /// The longest and the shortest time between two neighbours, in nanoseconds.
    longest: u64,
    shortest: u64,
}

impl Series {
    /// Adds one more.
    pub fn add(&mut self, at: PacketRef) {
        if let Some(last) = self.last {
            let gap = u64::try_from(at.time.since(last.time).as_nanos()).unwrap_or(u64::MAX);
            self.longest = self.longest.max(gap);
            self.shortest = if self.count == 1 { gap } else { self.shortest.min(gap) };
        }
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert(at);
        self.last = Some(at);
    }

    /// The longest time between two neighbours.
    pub fn longest_gap(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }

    /// The shortest time between two neighbours, zero where there are fewer than two.
    pub fn shortest_gap(&self) -> Duration {
        Duration::from_nanos(self.shortest)
    }

    /// From the first to the last.
    pub fn span(&self) -> Duration {
        match (self.first, self.last) {
            (Some(first), Some(last)) => last.time.since(first.time),
            _ => Duration::ZERO,
        }
    }
}

/// A reset (RST) as captured, with what tells its sender apart from the host it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The packet.
    pub at: PacketRef,
    /// Time to live or hop limit as captured.
    pub ttl: u8,
    /// IPv4 identification (0 for IPv6).
    pub identification: u16,
    /// Source MAC, where the frame had one.
    pub mac: Option<MacAddr>,
    /// Whether it acknowledges exactly the SYN (RFC 9293 section 3.5.2).
    pub answers_syn: bool,
}

/// An ICMP error that quotes a packet of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// The packet.
    pub at: PacketRef,
    /// Who sent the error.
    pub from: IpAddr,
    /// Source MAC of the error, where the frame had one.
    pub mac: Option<MacAddr>,
    /// ICMP type (RFC 792, RFC 4443).
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Which end's packet is quoted.
    pub quotes: Role,
    /// Whether the quoted packet agrees with one that was captured: TCP sequence in the window, or the UDP ports (RFC 5927).
    pub fits: bool,
}

/// What one end of a flow sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideRecord {
    /// Packets, mirror duplicates not counted.
    pub packets: u64,
    /// Frame bytes on the wire (original lengths).
    pub bytes: u64,
    /// Packets with transport payload.
    pub payload_packets: u64,
    /// Payload bytes seen, retransmissions not counted.
    pub payload_bytes: u64,
    /// First and last packet.
    pub first: Option<PacketRef>,
    /// The last packet.
    pub last: Option<PacketRef>,
    /// First packet with payload.
    pub first_payload: Option<PacketRef>,
    /// Last packet with payload.
    pub last_payload: Option<PacketRef>,
    /// TCP: SYN or SYN-ACK packets of this end.
    pub syn: Series,
    /// TCP: the first acknowledgement by this end of the other's SYN-ACK or data.
    pub first_ack: Option<PacketRef>,
    /// TCP: the first packet by which this end acknowledged payload of the other.
    pub acked_payload: Option<PacketRef>,
    /// TCP: how many payload bytes of this end the other acknowledged.
    pub payload_acknowledged: u64,
    /// TCP: bytes that the other end acknowledged but that were never captured.
    pub unseen_acknowledged: u64,
    /// TCP: the oldest segment with payload that was never acknowledged, and its repetitions; where there is none, the keep-alives that
    /// nothing of the other end followed. Where no packet of the server was captured: the segment that its client repeats last, saying nothing new.
    pub unacknowledged: Series,
    /// TCP: bytes in that segment.
    pub unacknowledged_length: u32,
    /// TCP: where the other end says, selectively (RFC 2018), that of what was sent after it only shorter segments came.
    pub passed: Option<PacketRef>,
    /// TCP: payload packets sent again.
    pub retransmissions: u32,
    /// TCP: FIN.
    pub fin: Option<PacketRef>,
    /// TCP: whether that acknowledges the other end's FIN, which then came first, whatever the order of capture.
    pub fin_answers: bool,
    /// TCP: the first reset sent in this end's name.
    pub reset: Option<Reset>,
    /// UDP: datagrams that look like requests awaiting an answer: sent while none had come since.
    pub unanswered: Series,
    /// Time to live of the first packet that was not a reset.
    pub ttl: Option<u8>,
    /// Source MAC of the first packet that was not a reset.
    pub mac: Option<MacAddr>,
    /// Destination MAC of the first packet: the neighbour to which this end hands its packets.
    pub neighbour: Option<MacAddr>,
}

impl SideRecord {
    /// TCP: whether this end says anything beyond its SYN. What that carries (RFC 7413) is sent before anybody was let in.
    pub fn says_something(&self) -> bool {
        self.payload_packets > 0 && self.packets > u64::from(self.syn.count)
    }
}

/// One flow, told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// What carried it.
    pub transport: Transport,
    /// The address space.
    pub cell: CellId,
    /// The end that opened it.
    pub client: Endpoint,
    /// The end that accepted it.
    pub server: Endpoint,
    /// How that was told.
    pub role_basis: RoleBasis,
    /// What it proved to be; where it was made, so that a record stays small.
    pub classification: Box<Classification>,
    /// What became of its opening.
    pub outcome: Outcome,
    /// In plain words, where the outcome needs them.
    pub reason: Option<Box<str>>,
    /// What the client sent.
    pub from_client: SideRecord,
    /// What the server sent.
    pub from_server: SideRecord,
    /// ICMP errors quoting it, the first few.
    pub errors: Box<[IcmpError]>,
    /// First packet of the flow.
    pub first: PacketRef,
    /// Last packet of the flow.
    pub last: PacketRef,
    /// VLAN ids of its first packet, outermost first.
    pub vlans: Box<[u16]>,
    /// Tunnels of its first packet, outermost first, as `gre 10.0.0.1 > 10.0.0.2`.
    pub tunnels: Box<[String]>,
    /// Names of the server known from DNS answers, SNI and HTTP Host.
    pub hosts: Vec<String>,
}

impl FlowRecord {
    /// What one end sent.
    pub fn side(&self, role: Role) -> &SideRecord {
        match role {
            Role::Client => &self.from_client,
            Role::Server => &self.from_server,
        }
    }

    /// Whether what was sent from `first` to `last` by another port of its server may be the answer to it.
    pub fn is_answered_between(&self, first: PacketRef, last: PacketRef) -> bool {
        last.time >= self.first.time.minus(ELSEWHERE_EARLY)
            && first.time <= self.last.time.plus(ELSEWHERE_PATIENCE)
    }

    /// Packets of both ends.
    pub fn packets(&self) -> u64 {
        self.from_client.packets.saturating_add(self.from_server.packets)
    }

    /// Bytes of both ends.
    pub fn bytes(&self) -> u64 {
        self.from_client.bytes.saturating_add(self.from_server.bytes)
    }

    /// The same flow with client and server exchanged, for a flow of which nothing says who opened it.
    pub fn turned_round(mut self) -> Self {
        std::mem::swap(&mut self.client, &mut self.server);
        std::mem::swap(&mut self.from_client, &mut self.from_server);
        for error in &mut self.errors {
            error.quotes = error.quotes.other();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From 1,001 bytes on glibc's malloc puts together all that was freed before it looks for room (`malloc_consolidate`), and a flow that
    /// ends has just freed much.
    #[test]
    fn a_record_is_no_large_piece_of_memory() {
        assert!(size_of::<FlowRecord>() <= 1000, "{}", size_of::<FlowRecord>());
    }
}
