//! HSRP: Cisco routers agreeing on who forwards.

use compact_str::ToCompactString;

use std::net::Ipv4Addr;

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

/// Hot standby.
pub struct Hsrp;

static ABOUT: About = About {
    name: "hsrp",
    title: "Hot Standby Router Protocol",
    spec: "RFC 2281 section 5; Cisco, HSRP version 2 (group state TLV)",
    usual: &["udp/1985", "udp/2029"],
    answers: false,
    facts: &[("hsrp.address", "virtual address"), ("hsrp.group", "group number")],
};

impl Protocol for Hsrp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => byte <= 1,
            1 => matches!(byte, 0..=3 | 40),
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

/// Length of a version 1 message (RFC 2281 section 5.1), which authentication TLVs may follow.
const LENGTH: usize = 20;
/// Authentication TLV: type 4, 28 bytes, algorithm 1.
const MD5: [u8; 3] = [4, 28, 1];
/// Group state TLV of version 2: type 1, 40 bytes.
const GROUP_STATE: [u8; 2] = [1, 40];

fn step(datagram: &[u8]) -> Step {
    let right = match *datagram {
        // Version 0; hello, coup, resign; one of six states; the reserved byte.
        [0, 0..=2, 0 | 1 | 2 | 4 | 8 | 16, hello, hold, _, _, 0, ref rest @ ..] => {
            let authentication = rest.first_chunk::<8>().is_some_and(|text| match datagram.len() {
                // Text padded with zeros, "cisco" where none is set.
                LENGTH => {
                    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
                    let (text, padding) = text.split_at(end);
                    !text.is_empty()
                        && text.iter().all(u8::is_ascii_graphic)
                        && padding.iter().all(|&byte| byte == 0)
                }
                // An MD5 authentication TLV follows instead.
                _ => {
                    *text == [0; 8]
                        && datagram.get(LENGTH..).is_some_and(|tlv| tlv.starts_with(&MD5) && tlv.len() >= 30)
                }
            });
            authentication && hold > hello && hello > 0
        }
        // Advertisements of interfaces (operation 3): type 1, length 10, states, reserved.
        [0, 3, 0, 1, 0, 10, 1..=3, 0, ..] => datagram.len() == 16,
        [kind, length, 2, 0..=2, 0..=6, 4 | 6, ..] => [kind, length] == GROUP_STATE && datagram.len() >= 42,
        _ => false,
    };
    if right { Step::Whole(datagram.len(), PROOF) } else { Step::Wrong }
}

fn tell(_: End, datagram: &[u8], proof: &mut Proof) {
    let (group, address) = match datagram {
        [0, 0..=2, _, _, _, _, group, _, rest @ ..] => (u16::from(*group), rest.get(8..)),
        [1, 40, 2, _, _, 4, g0, g1, rest @ ..] => (u16::from_be_bytes([*g0, *g1]), rest.get(18..)),
        _ => return,
    };
    proof.facts.add("hsrp.group", group.to_compact_string());
    if let Some(address) = address.and_then(|rest| rest.first_chunk::<4>()) {
        proof.facts.add("hsrp.address", Ipv4Addr::from(*address).to_compact_string());
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    const HELLO: &[u8] = b"\0\0\x10\x03\x0a\x64\x01\0cisco\0\0\0\xc0\xa8\0\x01";

    #[test]
    fn a_hello_names_its_address() {
        let Probe::Proven(proof) = harness::probe_messages(&Hsrp, Carrier::Udp, &[HELLO]) else { panic!() };
        assert_eq!(proof.facts.get("hsrp.address"), Some("192.168.0.1"));
        assert_eq!(proof.facts.get("hsrp.group"), Some("1"));
    }

    #[test]
    fn zeros_are_no_hello() {
        assert_eq!(step(&[0; 20]), Step::Wrong);
        assert_eq!(step(&HELLO[..19]), Step::Wrong);
    }

    #[test]
    fn a_capture_has_it() {
        if harness::present() {
            let flows = harness::flows("infra/HSRP_election.pcap");
            assert!(flows.iter().any(|flow| harness::proof(&Hsrp, &flow.seen()).is_some()));
        }
    }
}
