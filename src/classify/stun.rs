//! STUN: hosts asking for their address as seen from outside.

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

/// Session traversal.
pub struct Stun;

static ABOUT: About = About {
    name: "stun",
    title: "STUN",
    spec: "RFC 8489 section 5",
    usual: &["udp/3478", "tcp/3478"],
    answers: true,
    facts: &[],
};

impl Protocol for Stun {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => byte & 0xc0 == 0,
            3 => byte.is_multiple_of(4),
            4.. => is_at(&COOKIE, at - 4, byte),
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp | Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Two zero bits and the type, length, magic cookie, transaction (section 5).
const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

fn step(bytes: &[u8]) -> Step {
    if bytes.first().is_some_and(|&first| first & 0xc0 != 0) {
        return Step::Wrong;
    }
    let Some(&[_, _, high, low, c0, c1, c2, c3]) = bytes.first_chunk::<8>() else { return Step::Cut(0) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if [c0, c1, c2, c3] != COOKIE || length % 4 != 0 {
        return Step::Wrong;
    }
    let whole = HEADER + length;
    if bytes.len() < whole { Step::Cut(0) } else { Step::Whole(whole, PROOF) }
}

fn tell(end: End, message: &[u8], proof: &mut Proof) {
    // Class in bits 4 and 8 of the type: request, indication, success, error.
    match message {
        [high, ..] if high & 1 != 0 => client_is(proof, end.other()),
        [_, low, ..] if low & 0x10 == 0 => client_is(proof, end),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_binding_request_asks() {
        let mut request = b"\0\x01\0\0\x21\x12\xa4\x42".to_vec();
        request.resize(20, 7);
        let Probe::Proven(proof) = harness::probe_messages(&Stun, Carrier::Udp, &[&request]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        request[4] = 0;
        assert_eq!(step(&request), Step::Wrong);
    }
}
