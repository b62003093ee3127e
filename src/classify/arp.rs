//! ARP: address resolution between protocol and hardware addresses.

use crate::model::EtherKind;

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

/// ARP.
pub struct Arp;

static ABOUT: About = About {
    name: "arp",
    title: "Address Resolution Protocol",
    spec: "RFC 826, RFC 5227",
    usual: &["ethernet/0x0806"],
    answers: false,
    facts: &[],
};

impl Protocol for Arp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Ethernet(EtherKind::Type(ETHERTYPE)) => weigh::probe(seen, step, tell),
            _ => Probe::No,
        }
    }
}

/// Ethertype (RFC 826, packet format).
const ETHERTYPE: u16 = 0x0806;
/// Hardware and protocol type, their address lengths, operation.
const HEADER: usize = 8;
/// Operations: request and reply.
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

fn step(frame: &[u8]) -> Step {
    let Some(&[h0, h1, p0, p1, hardware, protocol, 0, operation]) = frame.first_chunk::<HEADER>() else {
        return Step::Wrong;
    };
    // Ethertypes start at 0600; the operation codes in use are those of the IANA registry.
    let right = [h0, h1] != [0, 0]
        && u16::from_be_bytes([p0, p1]) >= 0x0600
        && hardware > 0
        && (1..=25).contains(&operation)
        && frame.len() >= HEADER + 2 * (usize::from(hardware) + usize::from(protocol));
    if right { Step::Whole(frame.len(), PROOF) } else { Step::Wrong }
}

fn tell(end: End, frame: &[u8], proof: &mut Proof) {
    match frame.get(HEADER - 1) {
        Some(&REQUEST) => client_is(proof, end),
        Some(&REPLY) => client_is(proof, end.other()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    #[test]
    fn a_request_asks() {
        let mut frame = vec![0, 1, 8, 0, 6, 4, 0, 1];
        frame.resize(46, 9);
        let carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));
        let seen = Seen { carrier, first: Side::of(&frame, &[46]), second: Side::default(), known: None };
        let Probe::Proven(proof) = Arp.probe(&seen) else { panic!() };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(step(&frame[..20]), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        // The harness knows a label by its pair of MAC addresses alone, and one pair speaks PROFINET too.
        harness::check(&Arp, 0, 1);
        harness::check_steps(&Arp);
    }
}
