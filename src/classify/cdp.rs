//! CDP: what a Cisco neighbour says of itself.

use crate::model::EtherKind;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::bytes::text;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;

/// Cisco discovery.
pub struct Cdp;

static ABOUT: About = About {
    name: "cdp",
    title: "Cisco Discovery Protocol",
    spec: "Cisco, Understanding Cisco Discovery Protocol: frame format",
    usual: &["snap/00000c-2000"],
    answers: false,
    facts: &[
        ("cdp.device", "device id"),
        ("cdp.port", "port that the frame left by"),
        ("cdp.platform", "hardware platform"),
    ],
};

impl Protocol for Cdp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Ethernet(EtherKind::Snap([0x00, 0x00, 0x0c], PROTOCOL)) => {
                weigh::probe(seen, step, tell)
            }
            _ => Probe::No,
        }
    }
}

/// SNAP protocol under Cisco's identifier.
const PROTOCOL: u16 = 0x2000;
/// TLV types.
const DEVICE: u16 = 1;
const PORT: u16 = 3;
const PLATFORM: u16 = 6;

/// Version, time to live, checksum, then TLVs whose lengths include their heads.
fn step(frame: &[u8]) -> Step {
    let mut reader = Reader::new(frame);
    let right = matches!(reader.u8(), Some(1 | 2)) && reader.skip(3).is_some() && tlv(&mut reader).is_some();
    if right { Step::Whole(frame.len(), PROOF) } else { Step::Wrong }
}

fn tlv<'a>(reader: &mut Reader<'a>) -> Option<(u16, &'a [u8])> {
    let (kind, length) = (reader.be16()?, reader.be16()?);
    Some((kind, reader.take(usize::from(length).checked_sub(4)?)?))
}

fn tell(_: End, frame: &[u8], proof: &mut Proof) {
    let mut reader = Reader::new(frame);
    if reader.skip(4).is_none() {
        return;
    }
    while let Some((kind, value)) = tlv(&mut reader) {
        let key = match kind {
            DEVICE => "cdp.device",
            PORT => "cdp.port",
            PLATFORM => "cdp.platform",
            _ => continue,
        };
        proof.facts.add(key, text(value));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    #[test]
    fn a_neighbour_names_itself() {
        let frame = b"\x02\xb4\0\0\0\x01\0\x07sw1\0\x03\0\x08Gi01";
        let carrier = Carrier::Ethernet(EtherKind::Snap([0, 0, 0x0c], PROTOCOL));
        let seen = Seen { carrier, first: Side::of(frame, &[19]), second: Side::default(), known: None };
        let Probe::Proven(proof) = Cdp.probe(&seen) else { panic!() };
        assert_eq!(proof.facts.get("cdp.device"), Some("sw1"));
        assert_eq!(proof.facts.get("cdp.port"), Some("Gi01"));
        assert_eq!(step(b"\x03\xb4\0\0\0\x01\0\x07sw1"), Step::Wrong);
        assert_eq!(step(b"\x02\xb4\0\0\0\x01\0\x03"), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Cdp, 0, 0);
        harness::check_steps(&Cdp);
    }
}
