//! MQTT 3.1, 3.1.1 and 5.0: control packets of a session, also from its middle.

use compact_str::ToCompactString;
use smallvec::SmallVec;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::bytes::Reader;
use super::bytes::text;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// MQTT.
pub struct Mqtt;

static ABOUT: About = About {
    name: "mqtt",
    title: "MQTT",
    spec: "OASIS MQTT 5.0 and 3.1.1, sections 2 and 3; MQTT 3.1",
    usual: &["tcp/1883"],
    answers: true,
    facts: &[
        ("mqtt.version", "protocol version: 3.1, 3.1.1 or 5.0"),
        ("mqtt.client-id", "client identifier"),
        ("mqtt.topic", "topic published to or asked for, the first eight"),
        ("mqtt.refused", "code by which the server does not let the client in"),
    ],
};

impl Protocol for Mqtt {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        at != 0 || flags_fit(byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp if seen.sides().iter().any(|(_, side)| !may_open(side)) => Probe::No,
            Carrier::Tcp => weigh::from_the_start(weigh::probe(seen, step, tell)),
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Whether a side heard from its start begins as it must: the client with CONNECT (5.0 section 3.1), the server with CONNACK, or
/// with AUTH before it (section 4.12).
fn may_open(side: &Side<'_>) -> bool {
    !side.from_start || side.bytes.first().is_none_or(|first| matches!(first >> 4, CONNECT | CONNACK | AUTH))
}

/// Packet types (MQTT 5.0 section 2.1.2).
const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;
/// Topics kept as facts.
const MOST_TOPICS: usize = 8;

/// The fixed header: type, flags, remaining length, size of the header itself (section 2.1).
struct Fixed {
    kind: u8,
    flags: u8,
    remaining: usize,
    size: usize,
}

/// Whether the first byte has a packet type, and flags that this type may have (section 2.1.3).
fn flags_fit(first: u8) -> bool {
    let flags = first & 0x0f;
    match first >> 4 {
        0 => false,
        // QoS 3 does not exist, and DUP needs QoS (section 3.3.1).
        PUBLISH => flags & 6 != 6 && !(flags & 8 != 0 && flags & 6 == 0),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => flags == 2,
        _ => flags == 0,
    }
}

/// `Err` is what to answer where there is no whole header.
fn fixed(bytes: &[u8]) -> Result<Fixed, Step> {
    let Some((&first, rest)) = bytes.split_first() else { return Err(Step::Cut(0)) };
    let (kind, flags) = (first >> 4, first & 0x0f);
    if !flags_fit(first) {
        return Err(Step::Wrong);
    }
    let (remaining, size) = varint(rest)?;
    Ok(Fixed { kind, flags, remaining, size: 1 + size })
}

/// A variable byte integer of at most four bytes, minimally encoded, and how many it took (section 1.5.5).
fn varint(bytes: &[u8]) -> Result<(usize, usize), Step> {
    let mut value = 0;
    for (nth, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return if byte == 0 && nth > 0 { Err(Step::Wrong) } else { Ok((value, nth + 1)) };
        }
    }
    Err(if bytes.len() < 4 { Step::Cut(0) } else { Step::Wrong })
}

fn step(bytes: &[u8]) -> Step {
    let fixed = match fixed(bytes) {
        Ok(fixed) => fixed,
        Err(step) => return step,
    };
    let body = bytes.get(fixed.size..).unwrap_or_default();
    let whole = body.get(..fixed.remaining);
    let body = whole.unwrap_or(body);
    let Some(weight) = weight(&fixed, body, whole.is_some()) else { return Step::Wrong };
    match (whole, fixed.kind) {
        (Some(_), _) => Step::Whole(fixed.size + fixed.remaining, weight),
        // A name is proof before the rest of the packet is there.
        (None, CONNECT) => Step::Cut(weight),
        (None, _) => Step::Cut(0),
    }
}

/// What a packet weighs by its body, which may be cut unless `whole`; `None` where it can be none.
fn weight(fixed: &Fixed, body: &[u8], whole: bool) -> Option<u32> {
    let remaining = fixed.remaining;
    let mut reader = Reader::new(body);
    match fixed.kind {
        CONNECT => match protocol(&mut reader) {
            Some(_) => Some(PROOF),
            None if whole || body.len() >= 9 || !weigh::agrees(body, b"\0") => None,
            None => Some(0),
        },
        CONNACK => match *body {
            // Flags and return code (3.1.1 section 3.2.2), in 5.0 with properties.
            [0 | 1, 0..=5] if remaining == 2 => Some(50),
            [0 | 1, code, ref properties @ ..] if remaining > 2 && reason(code) => {
                (!whole || properties_fit(properties)).then_some(60)
            }
            _ => (!whole && body.is_empty() && remaining >= 2).then_some(0),
        },
        PUBLISH => {
            let length = usize::from(match reader.be16() {
                Some(length) => length,
                None => return (!whole && remaining >= 3).then_some(0),
            });
            // An empty topic needs an alias (5.0 section 3.3.2.3.4): allowed, but it shows nothing.
            let head = 2 + length + if fixed.flags & 6 != 0 { 2 } else { 0 };
            let topic = reader.take(length).unwrap_or(reader.rest());
            (head <= remaining && is_topic(topic)).then_some(if length > 0 { 60 } else { 0 })
        }
        PUBACK | PUBREC | PUBREL | PUBCOMP => match *body {
            [high, low] if remaining == 2 => (high | low != 0).then_some(20),
            [high, low, code, ref properties @ ..] if remaining > 2 => ((high | low != 0)
                && reason(code)
                && (!whole || properties.is_empty() || properties_fit(properties)))
            .then_some(20),
            _ => (!whole && remaining >= 2).then_some(0),
        },
        SUBSCRIBE | UNSUBSCRIBE => match reader.be16() {
            Some(0) => None,
            Some(_) if !whole => Some(0),
            Some(_) => filters(reader.rest(), fixed.kind).map(|_| 70),
            None => (!whole && remaining >= 5).then_some(0),
        },
        SUBACK => match *body {
            [high, low, ref codes @ ..] if remaining > 2 => {
                let plain = codes.iter().all(|code| matches!(code, 0..=2 | 0x80));
                let with_properties =
                    || after_properties(codes).is_some_and(|codes| codes.iter().all(|&code| reason(code)));
                (high | low != 0 && (!whole || plain || with_properties())).then_some(20)
            }
            _ => (!whole && remaining > 2).then_some(0),
        },
        UNSUBACK => match *body {
            [high, low, ref codes @ ..] => (high | low != 0
                && (!whole
                    || codes.is_empty()
                    || after_properties(codes).is_some_and(|codes| codes.iter().all(|&code| reason(code)))))
            .then_some(15),
            _ => (!whole && remaining >= 2).then_some(0),
        },
        PINGREQ | PINGRESP => (remaining == 0).then_some(30),
        DISCONNECT => match *body {
            [] => (remaining == 0 || !whole).then_some(15),
            [code] => reason(code).then_some(15),
            [code, ref properties @ ..] => {
                (reason(code) && (!whole || properties_fit(properties))).then_some(15)
            }
        },
        AUTH => match *body {
            [0x00 | 0x18 | 0x19, ref properties @ ..] => (!whole || properties_fit(properties)).then_some(20),
            [] => (remaining > 0 && !whole).then_some(0),
            _ => None,
        },
        _ => None,
    }
}

/// Protocol name and level of a CONNECT as a version (5.0 section 3.1.2, 3.1 section 3.1); bit 7 of the level marks a bridge.
fn protocol(reader: &mut Reader<'_>) -> Option<&'static str> {
    let length = reader.be16()?;
    let name = reader.take(usize::from(length))?;
    match (name, reader.u8()? & 0x7f) {
        (b"MQTT", 4) => Some("3.1.1"),
        (b"MQTT", 5) => Some("5.0"),
        (b"MQIsdp", 3) => Some("3.1"),
        _ => None,
    }
}

/// Reason codes (5.0 section 2.4).
fn reason(code: u8) -> bool {
    matches!(code, 0..=4 | 0x10 | 0x11 | 0x18 | 0x19 | 0x80..=0xa2)
}

/// Whether these bytes are properties and nothing else, or properties and a will or payload after them.
fn properties_fit(bytes: &[u8]) -> bool {
    after_properties(bytes).is_some_and(<[u8]>::is_empty)
}

/// What follows the properties: their length, then as many bytes (5.0 section 2.2.2).
fn after_properties(bytes: &[u8]) -> Option<&[u8]> {
    let (length, size) = varint(bytes).ok()?;
    bytes.get(size + length..)
}

/// Topic names are UTF-8 without control characters, and no wildcard is published to (5.0 section 4.7).
fn is_topic(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // A topic that is cut may end within a character.
        Err(error) => error.error_len().is_none() && !bytes.is_empty(),
    };
    valid && bytes.iter().all(|&byte| byte >= b' ' && !matches!(byte, b'#' | b'+' | 0x7f))
}

/// The filters of one message, of which most name one or two.
type Filters<'a> = SmallVec<[&'a [u8]; 2]>;

/// The filters of a SUBSCRIBE or UNSUBSCRIBE after its packet id, where they fill it exactly (3.1.1 section 3.8, 5.0 section 3.8).
fn filters(bytes: &[u8], kind: u8) -> Option<Filters<'_>> {
    list(bytes, kind).or_else(|| list(after_properties(bytes)?, kind))
}

fn list(bytes: &[u8], kind: u8) -> Option<Filters<'_>> {
    let mut reader = Reader::new(bytes);
    let mut filters = Filters::new();
    while !reader.is_empty() {
        let length = usize::from(reader.be16()?);
        let filter = reader.take(length)?;
        let options = if kind == SUBSCRIBE { reader.u8()? } else { 0 };
        // QoS 3 and the two top bits are reserved (5.0 section 3.8.3.1).
        if filter.is_empty() || options & 3 == 3 || options & 0xc0 != 0 {
            return None;
        }
        let text = std::str::from_utf8(filter).ok()?;
        if text.chars().any(char::is_control) {
            return None;
        }
        filters.push(filter);
    }
    (!filters.is_empty()).then_some(filters)
}

fn tell(end: End, packet: &[u8], proof: &mut Proof) {
    let Ok(fixed) = fixed(packet) else { return };
    match fixed.kind {
        CONNECT | SUBSCRIBE | UNSUBSCRIBE | PINGREQ => client_is(proof, end),
        CONNACK | SUBACK | UNSUBACK | PINGRESP => client_is(proof, end.other()),
        _ => {}
    }
    let body = packet.get(fixed.size..).unwrap_or_default();
    let mut reader = Reader::new(body);
    match fixed.kind {
        CONNECT => {
            let Some(version) = protocol(&mut reader) else { return };
            proof.facts.add("mqtt.version", version);
            // Flags and keep-alive, in 5.0 properties, then the client identifier (section 3.1.3.1).
            let Some(mut rest) = reader.rest().get(3..) else { return };
            if version == "5.0" {
                rest = after_properties(rest).unwrap_or_default();
            }
            let mut reader = Reader::new(rest);
            let id = reader.be16().and_then(|length| reader.take(usize::from(length)));
            if let Some(id) = id.filter(|id| !id.is_empty()) {
                proof.facts.add("mqtt.client-id", text(id));
            }
        }
        CONNACK => {
            // 3.1.1 section 3.2.2.3 and 5.0 section 3.2.2.2: 0 alone lets it in.
            if let Some(code) = body.get(1).filter(|code| **code != 0) {
                proof.facts.add("mqtt.refused", code.to_compact_string());
            }
        }
        PUBLISH => {
            let topic = reader.be16().and_then(|length| reader.take(usize::from(length)));
            add_topic(topic, proof);
        }
        SUBSCRIBE => {
            let _ = reader.skip(2);
            for filter in filters(reader.rest(), SUBSCRIBE).unwrap_or_default() {
                add_topic(Some(filter), proof);
            }
        }
        _ => {}
    }
}

fn add_topic(topic: Option<&[u8]>, proof: &mut Proof) {
    if let Some(topic) = topic.filter(|topic| !topic.is_empty())
        && proof.facts.all("mqtt.topic").count() < MOST_TOPICS
    {
        proof.facts.add("mqtt.topic", text(topic));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    const CONNECT_V5: &[u8] = b"\x10\x12\0\x04MQTT\x05\x02\0\x3c\x00\0\x05pump1";

    fn probe(messages: &[&[u8]], from_start: bool) -> Probe {
        let (bytes, ends) = harness::joined(messages);
        let first = Side { from_start, ..Side::of(&bytes, &ends) };
        Mqtt.probe(&Seen { carrier: Carrier::Tcp, first, second: Side::default(), known: None })
    }

    #[test]
    fn a_connect_names_version_and_client() {
        let Probe::Proven(proof) = probe(&[CONNECT_V5], true) else { panic!() };
        assert_eq!(proof.facts.get("mqtt.version"), Some("5.0"));
        assert_eq!(proof.facts.get("mqtt.client-id"), Some("pump1"));
        assert_eq!(proof.client, Some(End::First));
    }

    #[test]
    fn a_session_is_found_in_its_middle() {
        let Probe::Proven(proof) = probe(&[b"tail of one", b"\x30\x07\0\x03a/b42"], false) else { panic!() };
        assert_eq!(proof.facts.get("mqtt.topic"), Some("a/b"));
        assert_eq!(probe(&[b"\xc0\0"], false), Probe::NeedMore);
        assert!(matches!(probe(&[b"\xc0\0", b"\xc0\0"], false), Probe::Proven(_)));
    }

    #[test]
    fn look_alikes_are_wrong() {
        // A FIX-like line, an IPv4 dotted line, QoS 3, a CONNECT of another protocol.
        for bytes in
            [&b"8=FIX.4.2"[..], b"10.1.2.3 connected", b"\x36\x05\0\x01a12", b"\x10\x09\0\x04HTTP\x04\x02\0"]
        {
            assert_eq!(step(bytes), Step::Wrong, "{bytes:?}");
        }
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Mqtt, 0, 0);
        harness::check_steps(&Mqtt);
    }
}
