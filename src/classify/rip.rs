//! RIP versions 1 and 2: routes in UDP datagrams.

use compact_str::ToCompactString;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// Routing information.
pub struct Rip;

static ABOUT: About = About {
    name: "rip",
    title: "Routing Information Protocol",
    spec: "RFC 2453 sections 3.4 and 4, RFC 1058 section 3.1",
    usual: &["udp/520"],
    answers: false,
    facts: &[("rip.version", "1 or 2")],
};

impl Protocol for Rip {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => matches!(byte, REQUEST | RESPONSE),
            1 => matches!(byte, 1 | 2),
            2 | 3 => byte == 0,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Tcp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Entry size, and the most in one message (RFC 2453 section 3.6).
const ENTRY: usize = 20;
const MOST_ENTRIES: usize = 25;
/// Metric that means unreachable.
const INFINITY: u32 = 16;
/// Commands.
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

fn step(datagram: &[u8]) -> Step {
    let Some((&[command @ (REQUEST | RESPONSE), version @ (1 | 2), 0, 0], entries)) =
        datagram.split_first_chunk::<4>()
    else {
        return Step::Wrong;
    };
    let count = entries.len() / ENTRY;
    let whole = entries.len() % ENTRY == 0 && (1..=MOST_ENTRIES).contains(&count);
    let right = whole && entries.chunks_exact(ENTRY).all(|entry| entry_fits(command, version, entry));
    if right { Step::Whole(datagram.len(), PROOF) } else { Step::Wrong }
}

/// Address family, tag, address, mask, next hop, metric; in version 1 all but family, address and metric are zero.
fn entry_fits(command: u8, version: u8, entry: &[u8]) -> bool {
    let Some(entry) = entry.first_chunk::<ENTRY>() else { return false };
    let word = |at: usize| {
        entry.get(at..at + 4).and_then(|word| word.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word))
    };
    let (family, metric) = (u16::from_be_bytes([entry[0], entry[1]]), word(16));
    match family {
        // Authentication, or a request for the whole table.
        0xffff => version == 2 && (1..=3).contains(&entry[3]),
        0 => command == REQUEST && metric == INFINITY,
        2 => {
            let mask = word(8);
            let contiguous = mask.leading_ones() + mask.trailing_zeros() == 32 || mask == 0;
            let unused = version == 1 && (entry[2] | entry[3] != 0 || mask != 0 || word(12) != 0);
            (metric <= INFINITY && (metric > 0 || command == REQUEST)) && contiguous && !unused
        }
        _ => false,
    }
}

fn tell(end: End, datagram: &[u8], proof: &mut Proof) {
    if let [command, version, ..] = *datagram {
        proof.facts.add("rip.version", version.to_compact_string());
        if command == REQUEST {
            client_is(proof, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    const RESPONSE_V2: &[u8] = b"\x02\x02\0\0\0\x02\0\0\x0a\x01\x02\0\xff\xff\xff\0\0\0\0\0\0\0\0\x01";

    #[test]
    fn a_response_lists_routes() {
        let Probe::Proven(proof) = harness::probe_messages(&Rip, Carrier::Udp, &[RESPONSE_V2]) else {
            panic!()
        };
        assert_eq!(proof.facts.get("rip.version"), Some("2"));
    }

    #[test]
    fn a_metric_of_nothing_or_a_broken_mask_is_wrong() {
        for (at, value) in [(23, 17), (12, 0x7f), (0, 3), (1, 1)] {
            let mut bytes = RESPONSE_V2.to_vec();
            bytes[at] = value;
            assert_eq!(step(&bytes), Step::Wrong, "{at}");
        }
    }
}
