//! MRP: rings of industrial switches.

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

/// Media Redundancy Protocol.
pub struct Mrp;

static ABOUT: About = About {
    name: "mrp",
    title: "Media Redundancy Protocol",
    spec: "IEC 62439-2:2021 clause 5.4 (PDU formats)",
    usual: &["ethernet/0x88e3"],
    answers: false,
    facts: &[("mrp.message", "first block of a frame: test, topology-change, link-down ...")],
};

impl Protocol for Mrp {
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
const ETHERTYPE: u16 = 0x88e3;

/// Version 1, then blocks of type and length: common, test, topology change, link down, link up, in-tests, option (table of 5.4).
const VERSION: [u8; 2] = [0, 1];
const LAST_TYPE: u8 = 9;
const OPTION: u8 = 0x7f;

fn step(frame: &[u8]) -> Step {
    match *frame {
        [v0, v1, 1..=LAST_TYPE | OPTION, length, ref rest @ ..]
            if [v0, v1] == VERSION && usize::from(length) <= rest.len() && length > 0 =>
        {
            Step::Whole(frame.len(), PROOF)
        }
        _ => Step::Wrong,
    }
}

fn tell(_: End, frame: &[u8], proof: &mut Proof) {
    let name = match frame.get(2) {
        Some(1) => "common",
        Some(2) => "test",
        Some(3) => "topology-change",
        Some(4) => "link-down",
        Some(5) => "link-up",
        Some(6..=9) => "interconnection",
        _ => "option",
    };
    proof.facts.add("mrp.message", name);
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_test_of_the_ring() {
        let carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));
        let mut frame = vec![0, 1, 2, 18];
        frame.resize(46, 0);
        let Probe::Proven(proof) = harness::probe_messages(&Mrp, carrier, &[&frame]) else { panic!() };
        assert_eq!(proof.facts.get("mrp.message"), Some("test"));
        assert_eq!(step(&[0, 2, 2, 18]), Step::Wrong);
    }
}
