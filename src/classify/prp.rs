//! PRP and HSR: supervision of networks without switch-over.

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

/// PRP/HSR supervision.
pub struct Prp;

static ABOUT: About = About {
    name: "prp",
    title: "PRP/HSR supervision",
    spec: "IEC 62439-3:2021 clause 4.2.7 (supervision frames)",
    usual: &["ethernet/0x88fb"],
    answers: false,
    facts: &[],
};

impl Protocol for Prp {
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

/// Ethertype.
const ETHERTYPE: u16 = 0x88fb;

/// TLV types of nodes: PRP with duplicate discard or accept, HSR; their value is a MAC address.
const TYPES: [u8; 3] = [20, 21, 23];
const MAC: u8 = 6;

/// Four bits of path, twelve of version, sequence number, TLV of the node.
fn step(frame: &[u8]) -> Step {
    match *frame {
        [_, 0..=1, _, _, kind, length, ref rest @ ..]
            if TYPES.contains(&kind) && length == MAC && rest.len() >= usize::from(MAC) =>
        {
            Step::Whole(frame.len(), PROOF)
        }
        // Version 0 states the length of all that follows.
        [_, 0, _, _, kind, 12, ref rest @ ..] if TYPES.contains(&kind) && rest.len() >= 12 => {
            Step::Whole(frame.len(), PROOF)
        }
        _ => Step::Wrong,
    }
}

fn tell(_: End, _: &[u8], _: &mut Proof) {}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_node_supervises() {
        let carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));
        let frame = [0, 1, 0, 9, 20, 6, 0, 1, 2, 3, 4, 5, 0, 0];
        assert!(matches!(harness::probe_messages(&Prp, carrier, &[&frame]), Probe::Proven(_)));
        assert_eq!(step(&[0, 1, 0, 9, 22, 6, 0, 1, 2, 3, 4, 5]), Step::Wrong);
    }
}
