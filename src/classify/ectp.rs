//! The Ethernet loopback of keep-alives: configuration testing.

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

/// Configuration testing.
pub struct Ectp;

static ABOUT: About = About {
    name: "loop",
    title: "Ethernet Configuration Testing Protocol (loopback)",
    spec: "DEC, Intel, Xerox: The Ethernet version 2.0, section 8",
    usual: &["ethernet/0x9000"],
    answers: false,
    facts: &[],
};

impl Protocol for Ectp {
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

/// Ethertype (section 8.3).
const ETHERTYPE: u16 = 0x9000;
/// Functions, little-endian: reply and forward data.
const REPLY: u16 = 1;
const FORWARD: u16 = 2;

/// Skip count, then a function.
fn step(frame: &[u8]) -> Step {
    let Some(&[s0, s1, f0, f1]) = frame.first_chunk::<4>() else { return Step::Wrong };
    let (skip, function) = (u16::from_le_bytes([s0, s1]), u16::from_le_bytes([f0, f1]));
    let right = usize::from(skip) < frame.len() && matches!(function, REPLY | FORWARD);
    if right { Step::Whole(frame.len(), PROOF) } else { Step::Wrong }
}

fn tell(_: End, _: &[u8], _: &mut Proof) {}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_reply_is_sent_to_oneself() {
        let carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));
        let frame = [0, 0, 1, 0, 0, 0, 0, 0];
        assert!(matches!(harness::probe_messages(&Ectp, carrier, &[&frame]), Probe::Proven(_)));
        assert_eq!(step(&[0, 0, 3, 0]), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Ectp, 0, 0);
        harness::check_steps(&Ectp);
    }
}
