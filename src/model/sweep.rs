//! A sweep: one client's single SYNs to service after service, none of them answered, told as one.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use super::{CellId, Conversation, ConversationKey, Endpoint, FlowRecord};
use super::{Host, Outcome, PacketRef, RoleBasis, SideRecord, Transport};

/// What is known of tries that were folded together: each was one SYN, and nothing came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// How many.
    pub tries: u64,
    /// Their frame bytes on the wire.
    pub bytes: u64,
    /// The first of them.
    pub first: PacketRef,
    /// The last of them.
    pub last: PacketRef,
    /// Whom they were for, as far as there was room.
    pub servers: BTreeSet<Host>,
    /// The ports they were for.
    pub ports: BTreeSet<u16>,
}

impl Sweep {
    /// The most servers remembered of a sweep in each shard.
    pub const MOST_SERVERS: usize = 16_384;
    /// Stands for the many that a sweep is to or, where there were too many sweepers to tell apart, from: no machine has this address.
    pub const MANY: Host = Host::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

    /// In plain words.
    pub fn reason(&self) -> String {
        let Self { tries, servers, ports, .. } = self;
        format!(
            "a sweep: {tries} single SYNs to {} machines on {} ports, nothing came back",
            servers.len(),
            ports.len()
        )
    }

    /// The conversation that stands for it; no flow is kept whole in it.
    pub fn conversation(self, cell: CellId, client: Option<Host>) -> Conversation {
        let key = ConversationKey {
            cell,
            client: client.unwrap_or(Self::MANY),
            server: Self::MANY,
            transport: Transport::Tcp,
            port: None,
        };
        Conversation::of_sweep(key, self)
    }

    /// The flow that stands for it in a list of flows.
    pub fn flow(&self, cell: CellId, client: Option<Host>) -> FlowRecord {
        let end = |host| Endpoint { host, port: None };
        FlowRecord {
            transport: Transport::Tcp,
            cell,
            client: end(client.unwrap_or(Self::MANY)),
            server: end(Self::MANY),
            role_basis: RoleBasis::Handshake,
            classification: Box::default(),
            outcome: Outcome::Unanswered,
            reason: Some(self.reason().into()),
            from_client: SideRecord {
                packets: self.tries,
                bytes: self.bytes,
                first: Some(self.first),
                last: Some(self.last),
                ..SideRecord::default()
            },
            from_server: SideRecord::default(),
            errors: Box::default(),
            first: self.first,
            last: self.last,
            vlans: Box::default(),
            tunnels: Box::default(),
            hosts: Vec::new(),
        }
    }
}
