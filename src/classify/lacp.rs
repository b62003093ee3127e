//! LACP: ports agreeing to be one link.

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

/// Link Aggregation Control Protocol.
pub struct Lacp;

static ABOUT: About = About {
    name: "lacp",
    title: "Link Aggregation Control Protocol",
    spec: "IEEE 802.1AX-2020 clause 6.4.2",
    usual: &["ethernet/0x8809"],
    answers: false,
    facts: &[],
};

impl Protocol for Lacp {
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
const ETHERTYPE: u16 = 0x8809;

/// Slow protocol subtype of LACP, and the version counted on (6.4.2.3).
const SUBTYPE: u8 = 1;
const LAST_VERSION: u8 = 2;
/// Type and length of the actor's information, which comes first.
const ACTOR: [u8; 2] = [1, 20];

fn step(frame: &[u8]) -> Step {
    match *frame {
        [SUBTYPE, 1..=LAST_VERSION, kind, length, ..] if [kind, length] == ACTOR => {
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
    fn an_actor_comes_first() {
        let carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));
        assert!(matches!(harness::probe_messages(&Lacp, carrier, &[&[1, 1, 1, 20, 0, 0]]), Probe::Proven(_)));
        // A marker of the same ethertype.
        assert_eq!(step(&[2, 1, 1, 16, 0, 0]), Step::Wrong);
    }
}
