//! RADIUS: authentication and accounting in UDP datagrams.

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
use super::weigh::Step;
use super::weigh::client_is;

/// RADIUS.
pub struct Radius;

static ABOUT: About = About {
    name: "radius",
    title: "RADIUS",
    spec: "RFC 2865 section 3, RFC 2866 section 3, RFC 5176 section 2.3",
    usual: &["udp/1812", "udp/1813", "udp/3799"],
    answers: true,
    facts: &[
        ("radius.nas", "NAS-Identifier"),
        ("radius.kind", "authentication, accounting, status or dynamic-authorization"),
    ],
};

impl Protocol for Radius {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => kind(byte).is_some(),
            2 => usize::from(byte) <= LONGEST >> 8,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Tcp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Code, identifier, length, authenticator (RFC 2865 section 3).
const HEADER: usize = 20;
const LONGEST: usize = 4096;
/// NAS-Identifier (RFC 2865 section 5.32).
const NAS_IDENTIFIER: u8 = 32;
/// Attributes that end exactly with the datagram are as good as a checksum of 20 bits; without any the length must do.
const WEIGHT_BARE: u32 = 5;

fn step(datagram: &[u8]) -> Step {
    let Some((&header, attributes)) = datagram.split_first_chunk::<HEADER>() else { return Step::Wrong };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let Some(attributes) = length.checked_sub(HEADER).and_then(|length| attributes.get(..length)) else {
        return Step::Wrong;
    };
    if kind(header[0]).is_none() || length != datagram.len() || length > LONGEST {
        return Step::Wrong;
    }
    let mut reader = Reader::new(attributes);
    let mut count = 0;
    while !reader.is_empty() {
        if attribute(&mut reader).is_none() {
            return Step::Wrong;
        }
        count += 1;
    }
    match (count, kind(header[0])) {
        // A request names its NAS, or is authenticated by an attribute (RFC 2865 section 4.1, RFC 2866 section 4.1, RFC 5997 section 3).
        (0, Some((_, true))) => Step::Wrong,
        (0, _) => Step::Whole(length, WEIGHT_BARE),
        _ => Step::Whole(length, 80),
    }
}

/// Type, length of the whole attribute, value (RFC 2865 section 5); type 0 is reserved.
fn attribute<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let (kind, length) = (reader.u8().filter(|&kind| kind != 0)?, reader.u8()?);
    Some((kind, reader.take(usize::from(length).checked_sub(2)?)?))
}

/// What a code belongs to, and whether it asks.
fn kind(code: u8) -> Option<(&'static str, bool)> {
    Some(match code {
        1 => ("authentication", true),
        2 | 3 | 11 => ("authentication", false),
        4 => ("accounting", true),
        5 => ("accounting", false),
        12 => ("status", true),
        13 => ("status", false),
        40 | 43 => ("dynamic-authorization", true),
        41 | 42 | 44 | 45 => ("dynamic-authorization", false),
        _ => return None,
    })
}

fn tell(end: End, datagram: &[u8], proof: &mut Proof) {
    let Some((header, attributes)) = datagram.split_first_chunk::<HEADER>() else { return };
    let Some((name, asks)) = kind(header[0]) else { return };
    client_is(proof, if asks { end } else { end.other() });
    proof.facts.add("radius.kind", name);
    let mut reader = Reader::new(attributes);
    while let Some((kind, value)) = attribute(&mut reader) {
        if kind == NAS_IDENTIFIER {
            proof.facts.add("radius.nas", text(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_request_names_its_switch() {
        let mut request = vec![1, 7, 0, 25];
        request.resize(20, 0x5a);
        request.extend(b"\x20\x05sw1");
        let Probe::Proven(proof) = harness::probe_messages(&Radius, Carrier::Udp, &[&request]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("radius.nas"), Some("sw1"));
        request[21] = 6;
        assert_eq!(step(&request), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Radius, 0, 0);
        harness::check_steps(&Radius);
    }
}
