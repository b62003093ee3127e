//! Names and addresses that a capture shows: what roles are bound to.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::model::CellId;
use crate::model::Observed;

use super::names::Names;

/// Names and addresses that the capture shows.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The names.
    pub names: Names<'a>,
    /// Addresses that sent or were sent to, in their order, with their cells.
    pub present: Vec<(IpAddr, CellId)>,
}

impl<'a> Shown<'a> {
    /// Collects them.
    pub fn of(observed: &'a Observed) -> Self {
        Self { names: Names::of(observed), present: addresses_present(observed) }
    }
}

/// Every address that sent or was sent to.
fn addresses_present(observed: &Observed) -> Vec<(IpAddr, CellId)> {
    let mut client = None;
    // Hosts are many times as often an end of a conversation as they are many, clients in turn.
    let ends = observed.conversations.keys().flat_map(|key| {
        let new = client.replace((key.client, key.cell)) != client;
        [new.then_some((key.client, key.cell)), Some((key.server, key.cell))].into_iter().flatten()
    });
    let heard = observed.vantage.heard.keys().map(|&(cell, host)| (host, cell));
    // As numbers, which are put in order in no time.
    let mut four = HashSet::with_capacity_and_hasher(heard.len(), RandomState::default());
    let mut six: HashSet<_, RandomState> = HashSet::default();
    for (host, cell) in ends.chain(heard) {
        match host.ip() {
            // A group is nobody, and nobody's are the addresses of who has none yet and of the many that a sweep is to.
            Some(ip) if host.is_group() || ip.is_unspecified() => {}
            Some(IpAddr::V4(ip)) => drop(four.insert((ip.to_bits(), cell))),
            Some(IpAddr::V6(ip)) => drop(six.insert((ip.to_bits(), cell))),
            None => {}
        }
    }
    let (four, six) = (in_order(four), in_order(six));
    let four = four.into_iter().map(|(bits, cell)| (Ipv4Addr::from_bits(bits).into(), cell));
    let six = six.into_iter().map(|(bits, cell)| (Ipv6Addr::from_bits(bits).into(), cell));
    four.chain(six).collect()
}

fn in_order<T: Ord>(all: HashSet<T, RandomState>) -> Vec<T> {
    let mut all: Vec<T> = all.into_iter().collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::answered;
    use crate::audit::testing::observed;
    use crate::model::Host;
    use crate::model::MacAddr;

    #[test]
    fn each_address_is_there_once_and_in_order() {
        let ips =
            ["fe80::1", "10.0.0.2", "::ffff:9", "10.0.0.10", "9.9.9.9", "10.0.0.2", "0.0.0.0", "224.0.0.9"];
        let ips = ips.map(|ip| Host::Ip(ip.parse().unwrap()));
        let mut flows: Vec<_> = (0..9).map(|n| answered(n, "tls")).collect();
        for (flow, host) in flows.iter_mut().zip(ips) {
            (flow.client.host, flow.server.host) = (Host::Ip([10, 0, 0, 2].into()), host);
        }
        flows[1].cell = CellId(2);
        flows[8].server.host = Host::Mac(MacAddr([2; 6]));
        let present = addresses_present(&observed(flows, 1_000));
        let told: Vec<String> = present.iter().map(|(ip, cell)| format!("{ip}@{}", cell.0)).collect();
        let expected = [
            "9.9.9.9@0",
            "10.0.0.2@0",
            "10.0.0.2@2",
            "10.0.0.10@0",
            "10.0.1.10@0",
            "::ffff:9@0",
            "fe80::1@0",
        ];
        assert_eq!(told, expected);
        assert!(present.is_sorted());
    }
}
