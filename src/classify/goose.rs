//! GOOSE: IEC 61850-8-1 events straight on Ethernet.

use compact_str::format_compact;

use crate::model::EtherKind;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::ber;
use super::bytes::Reader;
use super::bytes::is_text;
use super::bytes::text;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;

/// Generic object oriented substation events.
pub struct Goose;

static ABOUT: About = About {
    name: "goose",
    title: "IEC 61850 GOOSE",
    spec: "IEC 61850-8-1:2011 clause 18 and annex C",
    usual: &["ethernet/0x88b8"],
    answers: false,
    facts: &[
        ("goose.appid", "application identifier, hexadecimal"),
        ("goose.control-block", "reference of the control block (gocbRef)"),
        ("goose.data-set", "reference of the data set (datSet)"),
        ("goose.id", "identifier of the message (goID)"),
    ],
};

impl Protocol for Goose {
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

/// Ethertype (annex C, table C.2).
const ETHERTYPE: u16 = 0x88b8;
/// Application tag 1, constructed: goosePdu (annex A).
const GOOSE_PDU: u8 = 0x61;
/// Context tags of the PDU (annex A): gocbRef, datSet, goID.
const CONTROL_BLOCK: u8 = 0x80;
const DATA_SET: u8 = 0x82;
const ID: u8 = 0x83;

fn step(frame: &[u8]) -> Step {
    let Some((_, body)) = pdu(frame) else { return Step::Wrong };
    match ber::expect(&mut Reader::new(body), CONTROL_BLOCK) {
        Some(reference) if !reference.is_empty() && is_text(reference) => Step::Whole(frame.len(), PROOF),
        _ => Step::Wrong,
    }
}

/// APPID and the contents of the PDU: APPID, length from the APPID on, two reserved words, then BER (annex C).
fn pdu(frame: &[u8]) -> Option<(u16, &[u8])> {
    let mut reader = Reader::new(frame);
    let appid = reader.be16()?;
    // The length is not held against the PDU: some publishers count it wrongly, and the ethertype has told already.
    reader.skip(6)?;
    let head = ber::enter(&mut reader, GOOSE_PDU)?;
    Some((appid, reader.rest().get(..head.length).unwrap_or(reader.rest())))
}

fn tell(_: End, frame: &[u8], proof: &mut Proof) {
    let Some((appid, body)) = pdu(frame) else { return };
    proof.facts.add("goose.appid", format_compact!("0x{appid:04x}"));
    let mut reader = Reader::new(body);
    while let Some((tag, value)) = ber::element(&mut reader) {
        let key = match tag {
            CONTROL_BLOCK => "goose.control-block",
            DATA_SET => "goose.data-set",
            ID => "goose.id",
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

    const FRAME: [u8; 31] = [
        0x10, 0x01, 0, 31, 0, 0, 0, 0, 0x61, 21, 0x80, 5, b'A', b'/', b'L', b'N', b'0', 0x81, 1, 9, 0x82, 3,
        b'A', b'/', b'D', 0x83, 1, b'I', 0x85, 1, 0,
    ];

    #[test]
    fn a_message_names_its_control_block() {
        let mut padded = FRAME.to_vec();
        padded.resize(46, 0);
        let carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));
        let seen = Seen { carrier, first: Side::of(&padded, &[46]), second: Side::default(), known: None };
        let Probe::Proven(proof) = Goose.probe(&seen) else { panic!() };
        assert_eq!(proof.facts.get("goose.control-block"), Some("A/LN0"));
        assert_eq!(proof.facts.get("goose.id"), Some("I"));
        assert_eq!(proof.facts.get("goose.appid"), Some("0x1001"));
        assert_eq!(Goose.probe(&Seen { carrier: Carrier::Udp, ..seen }), Probe::No);
    }

    #[test]
    fn another_pdu_or_no_reference_is_wrong() {
        for at in [8, 10] {
            let mut frame = FRAME;
            frame[at] ^= 1;
            assert_eq!(step(&frame), Step::Wrong);
        }
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Goose, 0, 0);
        harness::check_steps(&Goose);
    }
}
