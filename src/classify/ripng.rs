//! RIPng: IPv6 routes in UDP datagrams.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::candidates::is_at;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// Routing information for IPv6.
pub struct Ripng;

static ABOUT: About = About {
    name: "ripng",
    title: "RIPng",
    spec: "RFC 2080 section 2",
    usual: &["udp/521"],
    answers: false,
    facts: &[],
};

impl Protocol for Ripng {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => matches!(byte, REQUEST | RESPONSE),
            _ => is_at(&[REQUEST, 1, 0, 0], at, byte),
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Tcp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Size of a route table entry: prefix, tag, prefix length, metric (RFC 2080 section 2.1).
const ENTRY: usize = 20;
/// Metric of a next hop entry.
const NEXT_HOP: u8 = 0xff;
/// Commands.
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

fn step(datagram: &[u8]) -> Step {
    let Some((&[REQUEST | RESPONSE, 1, 0, 0], entries)) = datagram.split_first_chunk::<4>() else {
        return Step::Wrong;
    };
    let right =
        !entries.is_empty() && entries.len() % ENTRY == 0 && entries.chunks_exact(ENTRY).all(entry_fits);
    if right { Step::Whole(datagram.len(), PROOF) } else { Step::Wrong }
}

/// No prefix has bits beyond its length, and metrics are 1 to 16.
fn entry_fits(entry: &[u8]) -> bool {
    let Some((prefix, &[_, _, length, metric])) = entry
        .split_first_chunk::<16>()
        .and_then(|(prefix, rest)| Some((u128::from_be_bytes(*prefix), rest.first_chunk::<4>()?)))
    else {
        return false;
    };
    match metric {
        NEXT_HOP => length == 0,
        1..=16 => length <= 128 && prefix.checked_shl(u32::from(length)).is_none_or(|beyond| beyond == 0),
        _ => false,
    }
}

fn tell(end: End, datagram: &[u8], proof: &mut Proof) {
    if datagram.first() == Some(&REQUEST) {
        client_is(proof, end);
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_response_lists_prefixes() {
        let mut response = vec![2, 1, 0, 0, 0x20, 1, 0x0d, 0xb8];
        response.resize(22, 0);
        response.extend([32, 1]);
        assert!(matches!(harness::probe_messages(&Ripng, Carrier::Udp, &[&response]), Probe::Proven(_)));
        response[8] = 1;
        assert_eq!(step(&response), Step::Wrong);
    }

    #[test]
    fn a_capture_has_it() {
        if harness::present() {
            let flows = harness::flows("ssh/sshv1.pcap");
            assert!(flows.iter().any(|flow| harness::proof(&Ripng, &flow.seen()).is_some()));
        }
    }
}
