//! EAPOL: stations proving who they are to a switch.

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

/// EAP over LAN.
pub struct Eapol;

static ABOUT: About = About {
    name: "eapol",
    title: "EAP over LAN",
    spec: "IEEE 802.1X-2020 clause 11.3",
    usual: &["ethernet/0x888e"],
    answers: false,
    facts: &[],
};

impl Protocol for Eapol {
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
const ETHERTYPE: u16 = 0x888e;

/// Versions in use, and packet types: EAP packet, start, logoff, key, alert, MKA, announcements.
const LAST_VERSION: u8 = 3;
const LAST_TYPE: u8 = 8;
const START: u8 = 1;

/// Version, type, length of the body.
fn step(frame: &[u8]) -> Step {
    match *frame {
        [1..=LAST_VERSION, 0..=LAST_TYPE, high, low, ref body @ ..]
            if usize::from(u16::from_be_bytes([high, low])) <= body.len() =>
        {
            Step::Whole(frame.len(), PROOF)
        }
        _ => Step::Wrong,
    }
}

fn tell(end: End, frame: &[u8], proof: &mut Proof) {
    // Only the station that wants in starts.
    if frame.get(1) == Some(&START) {
        client_is(proof, end);
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_station_starts() {
        let carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));
        let Probe::Proven(proof) = harness::probe_messages(&Eapol, carrier, &[&[1, 1, 0, 0]]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(step(&[1, 1, 0, 9, 0]), Step::Wrong);
    }
}
