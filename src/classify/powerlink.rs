//! Ethernet POWERLINK: cycles of a managing node.

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

/// Ethernet POWERLINK.
pub struct Powerlink;

static ABOUT: About = About {
    name: "powerlink",
    title: "Ethernet POWERLINK",
    spec: "EPSG DS 301 V1.5.1 section 4.6 (frame structures)",
    usual: &["ethernet/0x88ab"],
    answers: false,
    facts: &[("powerlink.message", "message type: start-of-cycle, poll-request ...")],
};

impl Protocol for Powerlink {
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
const ETHERTYPE: u16 = 0x88ab;

/// Message types: start of cycle, poll request and response, start of asynchronous phase, asynchronous send, AMNI (section 4.6.1.1).
const TYPES: [(u8, &str); 6] = [
    (0x01, "start-of-cycle"),
    (0x03, "poll-request"),
    (0x04, "poll-response"),
    (0x05, "start-of-asynchronous"),
    (0x06, "asynchronous-send"),
    (0x0d, "active-managing-node"),
];

/// Type in the low seven bits, destination and source node.
fn step(frame: &[u8]) -> Step {
    match frame {
        [_, _, source, ..] if name(frame).is_some() && *source != 0 => Step::Whole(frame.len(), PROOF),
        _ => Step::Wrong,
    }
}

fn name(frame: &[u8]) -> Option<&'static str> {
    let kind = frame.first()? & 0x7f;
    TYPES.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name)
}

fn tell(_: End, frame: &[u8], proof: &mut Proof) {
    if let Some(name) = name(frame) {
        proof.facts.add("powerlink.message", name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_cycle_starts() {
        let carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));
        let Probe::Proven(proof) = harness::probe_messages(&Powerlink, carrier, &[&[1, 0xff, 0xf0, 0]])
        else {
            panic!()
        };
        assert_eq!(proof.facts.get("powerlink.message"), Some("start-of-cycle"));
        assert_eq!(step(&[2, 0xff, 0xf0]), Step::Wrong);
    }
}
