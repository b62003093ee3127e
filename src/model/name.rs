//! What packets say about machines other than the two that exchange them: names, leases, negotiated ports.

use std::net::IpAddr;
use std::time::Duration;

use super::{CellId, Host, MacAddr, PacketRef, Transport};

/// Something a message states that matters beyond its own flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A DNS message (RFC 1035 section 4).
    Dns(DnsMessage),
    /// The endpoint mapper (DCE 1.1: RPC, appendix O) named the port of a dynamic service.
    RpcEndpoint {
        /// The address in the tower, where it is not all zeros.
        address: Option<IpAddr>,
        /// TCP or UDP.
        transport: Transport,
        /// The dynamic port.
        port: u16,
    },
    /// An address handed out or handed back (DHCP).
    Lease(Term),
}

/// What a message says of an address that a server hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The address.
    pub address: IpAddr,
    /// The layer-2 address of the machine that has it.
    pub mac: MacAddr,
    /// For how long from now on; zero hands it back.
    pub lasts: Duration,
}

/// The parts of a DNS message that an audit needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsMessage {
    /// Transaction id.
    pub id: u16,
    /// Whether it is an answer (QR).
    pub response: bool,
    /// The first question: name in lower case without the final dot, and the query type.
    pub question: Option<(String, u16)>,
    /// Response code (RFC 1035 section 4.1.1, RFC 6895), extended by EDNS where present.
    pub code: u16,
    /// Extended DNS error (RFC 8914), where given.
    pub extended_error: Option<u16>,
    /// Addresses in the answer section.
    pub addresses: Vec<IpAddr>,
    /// Whether every record that it announces was read, and none was left out for want of room (TC, RFC 1035 section 4.1.1).
    pub whole: bool,
    /// Further names that the answer ties to the question (CNAME targets), lower case.
    pub aliases: Vec<String>,
}

/// A DNS question and what became of it: query and answer joined by id, question and flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The address space.
    pub cell: CellId,
    /// Who asked.
    pub client: Host,
    /// Who was asked.
    pub server: Host,
    /// The name, lower case, no final dot.
    pub name: String,
    /// The query type (1 is A, 28 is AAAA).
    pub kind: u16,
    /// The first query packet; absent where the capture shows the answer only.
    pub asked: Option<PacketRef>,
    /// How often it was asked under this id.
    pub asked_times: u32,
    /// The answer, if one came.
    pub answer: Option<Answer>,
}

/// What a name server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The answering packet.
    pub at: PacketRef,
    /// Response code.
    pub code: u16,
    /// Extended DNS error (RFC 8914).
    pub extended_error: Option<u16>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether these are all: nothing was cut off, by the server or by the capture.
    pub whole: bool,
    /// CNAME targets.
    pub aliases: Vec<String>,
}
