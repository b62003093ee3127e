//! Sampled values: IEC 61850-9-2 measurement streams straight on Ethernet.

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
use super::bytes::text;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;

/// Sampled values.
pub struct Sv;

static ABOUT: About = About {
    name: "sv",
    title: "IEC 61850 sampled values",
    spec: "IEC 61850-9-2:2011 clause 8 and annex A",
    usual: &["ethernet/0x88ba"],
    answers: false,
    facts: &[("sv.appid", "application identifier, hexadecimal"), ("sv.id", "identifier of a stream (svID)")],
};

impl Protocol for Sv {
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

/// Ethertype (annex A, table A.2).
const ETHERTYPE: u16 = 0x88ba;
/// Application tag 0, constructed: savPdu (clause 8.5.2).
const SAV_PDU: u8 = 0x60;
/// Its context tags: noASDU, and the sequence of ASDUs.
const COUNT: u8 = 0x80;
const SEQUENCE_OF_ASDU: u8 = 0xa2;
/// Context tag of svID within an ASDU.
const SV_ID: u8 = 0x80;

fn step(frame: &[u8]) -> Step {
    let Some((_, body)) = pdu(frame) else { return Step::Wrong };
    match ber::expect(&mut Reader::new(body), COUNT) {
        Some([count]) if *count > 0 => Step::Whole(frame.len(), PROOF),
        Some([0, count]) if *count > 0 => Step::Whole(frame.len(), PROOF),
        _ => Step::Wrong,
    }
}

/// APPID and the contents of the PDU: APPID, length from the APPID on, two reserved words, then BER (annex A).
fn pdu(frame: &[u8]) -> Option<(u16, &[u8])> {
    let mut reader = Reader::new(frame);
    let appid = reader.be16()?;
    // The length is not held against the PDU: some publishers count it wrongly, and the ethertype has told already.
    reader.skip(6)?;
    let head = ber::enter(&mut reader, SAV_PDU)?;
    Some((appid, reader.rest().get(..head.length).unwrap_or(reader.rest())))
}

fn tell(_: End, frame: &[u8], proof: &mut Proof) {
    let Some((appid, body)) = pdu(frame) else { return };
    proof.facts.add("sv.appid", format_compact!("0x{appid:04x}"));
    let mut reader = Reader::new(body);
    while let Some((tag, value)) = ber::element(&mut reader) {
        if tag != SEQUENCE_OF_ASDU {
            continue;
        }
        let mut asdus = Reader::new(value);
        while let Some(asdu) = ber::expect(&mut asdus, ber::SEQUENCE) {
            if let Some(id) = ber::expect(&mut Reader::new(asdu), SV_ID) {
                proof.facts.add("sv.id", text(id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    const FRAME: [u8; 24] =
        [0x40, 0, 0, 24, 0, 0, 0, 0, 0x60, 14, 0x80, 1, 1, 0xa2, 9, 0x30, 7, 0x80, 2, b'M', b'U', 0x82, 1, 0];

    #[test]
    fn a_stream_names_itself() {
        let carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));
        let seen = Seen { carrier, first: Side::of(&FRAME, &[24]), second: Side::default(), known: None };
        let Probe::Proven(proof) = Sv.probe(&seen) else { panic!() };
        assert_eq!(proof.facts.get("sv.id"), Some("MU"));
    }

    #[test]
    fn no_asdu_is_no_message() {
        let mut frame = FRAME;
        frame[12] = 0;
        assert_eq!(step(&frame), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Sv, 0, 0);
        harness::check_steps(&Sv);
    }
}
