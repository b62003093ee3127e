//! Everything that a run learnt from packets: what the audit judges, and what `flows` prints.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{
    CellId, Conversation, ConversationKey, Crossing, FlowRecord, Host, Input, Lookup, MacAddr, PacketRef,
    Series, Tally,
};
use super::{Timestamp, Transport, Vantage};

/// The outcome of the ordered merge.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The inputs, in the order of their ids.
    pub inputs: Vec<Input>,
    /// Every flow in the order of first packets, where they were asked for.
    pub flows: Vec<FlowRecord>,
    /// Every conversation.
    pub conversations: BTreeMap<ConversationKey, Box<Conversation>>,
    /// DNS questions and their answers, in the order of their first packets.
    pub lookups: Vec<Lookup>,
    /// Ports that endpoint mappers gave out.
    pub endpoints: Vec<RpcEndpoint>,
    /// Address resolution (ARP): who asked for whom, and whether an answer came.
    pub resolutions: Vec<Resolution>,
    /// Addresses that were handed out (DHCP), by the packet that first said so.
    pub leases: Vec<Lease>,
    /// Who says that an address is its own (ARP, neighbour discovery).
    pub holders: Vec<Holder>,
    /// Names that the capture files themselves carry.
    pub names: Vec<(IpAddr, String)>,
    /// What reached one of several vantages and never another, by the first packet of the flow.
    pub crossings: BTreeMap<PacketRef, Crossing>,
    /// What the mirror sees.
    pub vantage: Vantage,
    /// Where every packet went.
    pub tally: Tally,
}

/// A dynamic port that an endpoint mapper gave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcEndpoint {
    /// The address space.
    pub cell: CellId,
    /// Who asked.
    pub client: Host,
    /// Where the service is.
    pub server: Host,
    /// TCP or UDP.
    pub transport: Transport,
    /// Its port.
    pub port: u16,
    /// The packet that said so.
    pub at: PacketRef,
}

/// One address being resolved on the local segment (RFC 826).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The address space.
    pub cell: CellId,
    /// Who asks; `None` for an announcement seen without any request.
    pub asker: Option<IpAddr>,
    /// Whose address is looked for.
    pub target: IpAddr,
    /// The requests since the last answer.
    pub unanswered: Series,
    /// The latest answer or announcement, and the MAC address in it.
    pub answer: Option<(PacketRef, MacAddr)>,
}

/// An address in the hands of one machine, from the message that handed it out on (RFC 2131, RFC 8415).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address space.
    pub cell: CellId,
    /// The address.
    pub address: IpAddr,
    /// The machine.
    pub mac: MacAddr,
    /// The packet that handed it out.
    pub from: PacketRef,
    /// When it ends, by what was said last: it was prolonged until then, or handed back then.
    pub until: Timestamp,
}

/// A machine that says that an address is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The address space.
    pub cell: CellId,
    /// The address.
    pub address: IpAddr,
    /// The machine.
    pub mac: MacAddr,
    /// The first packet that says so.
    pub first: PacketRef,
    /// The last one.
    pub last: PacketRef,
    /// How many do.
    pub times: u64,
}
