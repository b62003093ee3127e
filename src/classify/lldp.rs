//! LLDP: what a neighbour says of itself.

use compact_str::CompactString;
use compact_str::ToCompactString;

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

/// Link layer discovery.
pub struct Lldp;

static ABOUT: About = About {
    name: "lldp",
    title: "Link Layer Discovery Protocol",
    spec: "IEEE 802.1AB-2016 clauses 8 and 9",
    usual: &["ethernet/0x88cc"],
    answers: false,
    facts: &[
        ("lldp.chassis", "chassis id, as text or MAC address"),
        ("lldp.port", "port id, as text or MAC address"),
        ("lldp.system-name", "system name"),
        ("lldp.system-description", "system description"),
    ],
};

impl Protocol for Lldp {
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

/// Ethertype (clause 7.1, table 7-3).
const ETHERTYPE: u16 = 0x88cc;
/// TLV types (table 8-1).
const END_OF_PDU: u8 = 0;
const CHASSIS: u8 = 1;
const PORT: u8 = 2;
const TIME_TO_LIVE: u8 = 3;
const SYSTEM_NAME: u8 = 5;
const SYSTEM_DESCRIPTION: u8 = 6;
/// Id subtypes that hold a MAC address: chassis 4 (table 8-2), port 3 (table 8-3).
const CHASSIS_MAC: u8 = 4;
const PORT_MAC: u8 = 3;

/// Chassis, port and time to live come first and in this order (8.2).
fn step(frame: &[u8]) -> Step {
    let mut reader = Reader::new(frame);
    for (kind, lengths) in [(CHASSIS, 2..=256), (PORT, 2..=256), (TIME_TO_LIVE, 2..=2)] {
        match tlv(&mut reader) {
            Some((found, value)) if found == kind && lengths.contains(&value.len()) => {}
            _ => return Step::Wrong,
        }
    }
    Step::Whole(frame.len(), PROOF)
}

/// Seven bits of type, nine of length, the value (8.4).
fn tlv<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let head = reader.be16()?;
    Some(((head >> 9) as u8, reader.take(usize::from(head & 0x01ff))?))
}

fn tell(_: End, frame: &[u8], proof: &mut Proof) {
    let mut reader = Reader::new(frame);
    while let Some((kind, value)) = tlv(&mut reader) {
        match (kind, value) {
            (END_OF_PDU, _) => return,
            (CHASSIS, [subtype, id @ ..]) => {
                proof.facts.add("lldp.chassis", identifier(*subtype == CHASSIS_MAC, id))
            }
            (PORT, [subtype, id @ ..]) => proof.facts.add("lldp.port", identifier(*subtype == PORT_MAC, id)),
            (SYSTEM_NAME, name) => proof.facts.add("lldp.system-name", text(name)),
            (SYSTEM_DESCRIPTION, description) => {
                proof.facts.add("lldp.system-description", text(description))
            }
            _ => {}
        }
    }
}

fn identifier(is_mac: bool, id: &[u8]) -> CompactString {
    match <[u8; 6]>::try_from(id) {
        Ok(mac) if is_mac => crate::model::MacAddr(mac).to_compact_string(),
        _ => text(id),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    const FRAME: &[u8] =
        b"\x02\x07\x04\0\x1b\x1b\x01\x02\x03\x04\x09\x07port-001\x06\x02\0\x14\x0a\x04plc1\0\0";

    #[test]
    fn a_neighbour_names_itself() {
        let ends = [FRAME.len() as u16];
        let carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));
        let seen = Seen { carrier, first: Side::of(FRAME, &ends), second: Side::default(), known: None };
        let Probe::Proven(proof) = Lldp.probe(&seen) else { panic!() };
        assert_eq!(proof.facts.get("lldp.chassis"), Some("00:1b:1b:01:02:03"));
        assert_eq!(proof.facts.get("lldp.port"), Some("port-001"));
        assert_eq!(proof.facts.get("lldp.system-name"), Some("plc1"));
    }

    #[test]
    fn another_order_is_wrong() {
        assert_eq!(step(b"\x04\x02\x07a\x02\x02\x04a\x06\x02\0\x14"), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        // The harness knows a label by its pair of MAC addresses alone, and one pair speaks PROFINET too.
        harness::check(&Lldp, 1, 0);
        harness::check_steps(&Lldp);
    }
}
