//! Roles bound to an address whose machine gets another one while the capture goes on: the machine is meant, so the role follows its lease.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::Lease;
use crate::model::MacAddr;
use crate::model::Observed;
use crate::model::PacketRef;
use crate::model::Role;

use super::view::View;

/// An address under which a machine is known that the site calls by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The site's address.
    pub bound: IpAddr,
    /// The other one.
    pub address: IpAddr,
    /// Where.
    pub cell: CellId,
    /// The machine.
    pub mac: MacAddr,
    /// The message that handed it out.
    pub at: PacketRef,
}

/// Follows every address of `bound` that a machine left for another one by a lease.
///
/// Which machine an address means is shown by what it did: it exchanged something with another of these addresses. So a machine that only
/// passed by takes no role with it.
pub fn follow(bound: &BTreeSet<IpAddr>, observed: &Observed, view: &View<'_>) -> Vec<Followed> {
    let leases = &observed.leases;
    let new: Vec<&Lease> = leases.iter().filter(|lease| !bound.contains(&lease.address)).collect();
    if new.is_empty() {
        return Vec::new();
    }
    let mut used: BTreeSet<(IpAddr, MacAddr)> = BTreeSet::new();
    for flow in observed.conversations.values().flat_map(|conversation| conversation.attempts()) {
        let (Some(client), Some(server)) = (flow.client.host.ip(), flow.server.host.ip()) else { continue };
        if !(bound.contains(&client) && bound.contains(&server) && got_through(flow)) {
            continue;
        }
        for (host, role) in [(client, Role::Client), (server, Role::Server)] {
            used.extend(view.machine(flow, role).map(|mac| (host, mac)));
        }
    }
    let mut followed: Vec<Followed> = Vec::new();
    for lease in new {
        let same_family = |ip: &IpAddr| ip.is_ipv4() == lease.address.is_ipv4();
        for (ip, _) in used.iter().filter(|(ip, mac)| *mac == lease.mac && same_family(ip)) {
            let known = followed.iter().any(|one| (one.bound, one.address) == (*ip, lease.address));
            if !known {
                let Lease { cell, address, mac, from, .. } = *lease;
                followed.push(Followed { bound: *ip, address, cell, mac, at: from });
            }
        }
    }
    followed
}

/// Whether both ends said something to each other.
fn got_through(flow: &FlowRecord) -> bool {
    flow.from_client.acked_payload.is_some()
        || (flow.from_client.payload_packets > 0 && flow.from_server.payload_packets > 0)
}
