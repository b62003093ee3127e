//! AMQP, the message queues' protocol: 0-8 to 0-9-1 and 1.0, by protocol header or by frames when that was missed.

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
use super::look;
use super::look::Look;
use super::tls;
use crate::model::Facts;

/// The protocol.
pub struct Amqp;

static ABOUT: About = About {
    name: "amqp",
    title: "Advanced Message Queuing Protocol",
    spec: "AMQP 0-9-1 specification and XML definitions; OASIS AMQP 1.0 (ISO/IEC 19464)",
    usual: &["tcp/5672"],
    answers: true,
    facts: &[
        ("amqp.version", "version of the protocol header or of the frames: 0-9-1, 0-9, 0-8, 0-10, 1.0"),
        ("amqp.start", "'seen' once the server's Connection.Start (0-9-1) or SASL mechanisms (1.0) is"),
        ("amqp.close", "why the connection was closed with an error: code and text"),
    ],
};

impl Protocol for Amqp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        let [first, second] =
            [&seen.first, &seen.second].map(|side| look::stream(side, |bytes| look_at(bytes, side.complete)));
        // A server answers a client that speaks something else with its own header and nothing more (section 4.2.2).
        let refused = |client: &Look<Half>, answer: &Look<Half>, side: &Side<'_>| {
            *client == Look::No && !side.is_silent() && matches!(answer, Look::Yes(half) if half.header)
        };
        if refused(&first, &second, &seen.first) || refused(&second, &first, &seen.second) {
            return Probe::No;
        }
        match look::join(first, second) {
            Ok(both) => Probe::Proven(conclude(seen, both)),
            Err(probe) => probe,
        }
    }
}

/// What one end showed.
#[derive(Debug, Default, PartialEq)]
struct Half {
    version: Option<&'static str>,
    /// Whether its protocol header was seen.
    header: bool,
    /// Whether the header asks for TLS (1.0, protocol id 2).
    tls: bool,
    is_client: Option<bool>,
    start: bool,
    close: Option<String>,
}

/// Bytes of a protocol header (0-9-1 section 4.2.2; 1.0 section 2.2).
const HEADER: usize = 8;
/// Octet that ends each 0-9-1 frame (section 4.2.3).
const FRAME_END: u8 = 0xce;
/// Frames read of one prefix.
const MOST_FRAMES: usize = 256;

fn look_at(bytes: &[u8], complete: bool) -> Look<Half> {
    if let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        if let Some((version, tls)) = header_version(header) {
            let mut half = Half { version: Some(version), header: true, tls, ..Half::default() };
            match version {
                "1.0" => {
                    // Peers may pipeline: the SASL layer, then its own header (section 5.3.2).
                    read_1_0(rest, &mut half);
                }
                "0-10" => {}
                _ => {
                    read_0_9(rest, &mut half);
                }
            }
            return Look::Yes(half);
        }
    } else if bytes.starts_with(b"AMQP") || b"AMQP".starts_with(bytes) {
        return Look::More;
    }
    let mut half = Half::default();
    for read in [read_0_9, read_1_0] {
        let found = read(bytes, &mut half);
        if found.proves {
            return Look::Yes(half);
        }
        if found.fits {
            // A frame longer than the prefix can only be judged by its beginning.
            return if complete && found.begins_well { Look::Yes(half) } else { Look::More };
        }
    }
    Look::No
}

/// The version that a protocol header names, and whether it asks for TLS.
fn header_version(header: &[u8; HEADER]) -> Option<(&'static str, bool)> {
    match header {
        [b'A', b'M', b'Q', b'P', 0, 0, 9, 1] => Some(("0-9-1", false)),
        [b'A', b'M', b'Q', b'P', 1, 1, 0, 9] => Some(("0-9", false)),
        [b'A', b'M', b'Q', b'P', 1, 1, 8, 0] => Some(("0-8", false)),
        [b'A', b'M', b'Q', b'P', 1, 1, 0, 10] => Some(("0-10", false)),
        // Protocol ids: 0 AMQP, 2 TLS, 3 SASL (OASIS 1.0 sections 2.2, 5.2, 5.3).
        [b'A', b'M', b'Q', b'P', id @ (0 | 2 | 3), 1, 0, 0] => Some(("1.0", *id == 2)),
        _ => None,
    }
}

/// What a walk over frames found.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// Frames that only this version has, whole.
    proves: bool,
    /// Nothing contradicts so far.
    fits: bool,
    /// A frame goes beyond the bytes, and what is there of it is telling.
    begins_well: bool,
}

/// Walks 0-8 to 0-9-1 frames (section 4.2.3): type, channel, size, payload, end octet.
fn read_0_9(bytes: &[u8], half: &mut Half) -> Found {
    /// Larger frames than any server allows by default (131,072) are not believed.
    const LARGEST: u32 = 1 << 24;
    let mut reader = Reader::new(bytes);
    let mut found = Found { fits: true, ..Found::default() };
    let mut bodies = 0_usize;
    for _ in 0..MOST_FRAMES {
        let Some(kind) = reader.u8() else { break };
        if !matches!(kind, 1..=3 | 8) {
            found.fits = false;
            break;
        }
        let (Some(channel), Some(size)) = (reader.be16(), reader.be32()) else { break };
        let heartbeat = kind == 8;
        if size > LARGEST || (heartbeat && (channel, size) != (0, 0)) || (!heartbeat && size == 0) {
            found.fits = false;
            break;
        }
        let payload = reader.rest().get(..size as usize).unwrap_or(reader.rest());
        let whole = payload.len() == size as usize;
        let telling = match kind {
            1 => method(channel, payload, half),
            2 => content_header(channel, payload),
            _ => Some(true),
        };
        if telling == Some(false) {
            found.fits = false;
            break;
        }
        if !whole || reader.skip(size as usize).is_none() {
            found.begins_well = telling.is_some() && kind != 3;
            break;
        }
        match reader.u8() {
            Some(FRAME_END) => {}
            Some(_) => {
                found.fits = false;
                break;
            }
            None => break,
        }
        bodies += usize::from(kind == 3);
        // A body frame is little but an end octet: another frame must follow.
        found.proves |= telling.is_some()
            && (kind != 3 || bodies > 1 || !reader.is_empty() && bodies == 1 && next_fits(&reader));
    }
    if found.proves {
        half.version = half.version.or(Some("0-9-1"));
    }
    found
}

/// Whether a whole frame header follows that can be one.
fn next_fits(reader: &Reader<'_>) -> bool {
    let mut ahead = *reader;
    let (kind, _channel, size) = (ahead.u8(), ahead.be16(), ahead.be32());
    matches!(kind, Some(1..=3 | 8)) && size.is_some_and(|size| size < 1 << 20)
}

/// Whether a method payload has a known class and method; states what it says. `None` where it is too short to tell.
fn method(channel: u16, payload: &[u8], half: &mut Half) -> Option<bool> {
    let mut reader = Reader::new(payload);
    let (class, method) = (reader.be16()?, reader.be16()?);
    // Classes and methods, who sends them (0-9-1 XML definitions; 0-8 where it has more).
    let from_client = match (class, method) {
        // connection
        (10, 10 | 20 | 30 | 41 | 60 | 61 | 70) => Some(false),
        (10, 11 | 21 | 31 | 40 | 71) => Some(true),
        (10, 42 | 50 | 51) => None,
        // channel
        (20, 10) => Some(true),
        (20, 11 | 30) => Some(false),
        (20, 20 | 21 | 40 | 41) => None,
        // access (0-8, 0-9)
        (30, 10) => Some(true),
        (30, 11) => Some(false),
        // exchange
        (40, 10 | 20 | 30 | 40) => Some(true),
        (40, 11 | 21 | 31 | 51) => Some(false),
        // queue
        (50, 10 | 20 | 30 | 40 | 50) => Some(true),
        (50, 11 | 21 | 31 | 41 | 51) => Some(false),
        // basic
        (60, 10 | 20 | 40 | 70 | 90 | 100 | 110) => Some(true),
        (60, 11 | 21 | 50 | 60 | 71 | 72 | 111) => Some(false),
        (60, 30 | 31 | 80 | 120) => None,
        // confirm, tx
        (85, 10) => Some(true),
        (85, 11) => Some(false),
        (90, 10 | 20 | 30) => Some(true),
        (90, 11 | 21 | 31) => Some(false),
        _ => return Some(false),
    };
    // The connection class speaks on channel 0, all others on another (section 4.2.3).
    if (class == 10) != (channel == 0) {
        return Some(false);
    }
    half.is_client = half.is_client.or(from_client);
    match (class, method) {
        (10, 10) => {
            half.start = true;
            half.version = half.version.or(match (reader.u8(), reader.u8()) {
                (Some(8), Some(0)) => Some("0-8"),
                // 0-9 and 0-9-1 both say 0, 9.
                _ => Some("0-9-1"),
            });
        }
        (10, 50) => {
            let code = reader.be16();
            let words = reader.u8().and_then(|length| reader.take(usize::from(length)));
            if let (Some(code), Some(words)) = (code, words) {
                half.close.get_or_insert_with(|| format!("{code} {}", text(words)));
            }
        }
        _ => {}
    }
    Some(true)
}

/// Whether a content header payload is one (section 4.2.6.1): class, weight 0, body size, property flags.
fn content_header(channel: u16, payload: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(payload);
    let (class, weight, size, _flags) = (reader.be16()?, reader.be16()?, reader.be64()?, reader.be16()?);
    Some(channel != 0 && class == 60 && weight == 0 && size < 1 << 40)
}

/// Walks 1.0 frames (OASIS 1.0 section 2.3): size, data offset, type, channel, then a described list.
fn read_1_0(bytes: &[u8], half: &mut Half) -> Found {
    /// No peer is believed to allow a larger frame.
    const LARGEST: u32 = 1 << 24;
    let mut reader = Reader::new(bytes);
    let mut found = Found { fits: true, ..Found::default() };
    let mut empty = 0_usize;
    for _ in 0..MOST_FRAMES {
        if let Some(header) = reader.rest().first_chunk::<HEADER>()
            && header_version(header).is_some()
        {
            // After SASL the AMQP header follows in the same stream.
            found.proves = true;
            let _ = reader.skip(HEADER);
            continue;
        }
        let (Some(size), Some(offset), Some(kind), Some(_channel)) =
            (reader.be32(), reader.u8(), reader.u8(), reader.be16())
        else {
            break;
        };
        let head = usize::from(offset) * 4;
        if !(8..=LARGEST).contains(&size) || offset < 2 || head > size as usize || kind > 1 {
            found.fits = false;
            break;
        }
        let inside = size as usize - 8;
        let body = reader.rest().get(..inside).unwrap_or(reader.rest());
        let whole = body.len() == inside;
        if inside == 0 {
            // An empty frame keeps an idle connection alive (section 2.4.5): one alone is too little.
            empty += 1;
            found.proves |= empty > 1;
            continue;
        }
        match performative(kind, body.get(head - 8..).unwrap_or_default()) {
            None if !whole => break,
            None => {
                found.fits = false;
                break;
            }
            Some(code) => {
                found.begins_well = true;
                told_by(code, body, half);
            }
        }
        if !whole || reader.skip(inside).is_none() {
            break;
        }
        found.proves = true;
    }
    if found.proves || found.begins_well {
        half.version = half.version.or(Some("1.0"));
    }
    found
}

/// The descriptor code of a frame body: 0x10 to 0x18 for AMQP frames (section 2.7), 0x40 to 0x44 for SASL (section 5.3.3).
fn performative(kind: u8, body: &[u8]) -> Option<u8> {
    let (code, list) = match body {
        // Descriptor as smallulong, as ulong; then a list of any width (section 1.6.22).
        [0x00, 0x53, code, list, ..] => (*code, *list),
        [0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, code, list, ..] => (*code, *list),
        _ => return None,
    };
    let known = match kind {
        0 => (0x10..=0x18).contains(&code),
        _ => (0x40..=0x44).contains(&code),
    };
    (known && matches!(list, 0x45 | 0xc0 | 0xd0)).then_some(code)
}

fn told_by(code: u8, body: &[u8], half: &mut Half) {
    match code {
        // mechanisms, challenge, outcome come from the server; init and response from the client (section 5.3.3).
        0x40 | 0x42 | 0x44 => half.is_client = half.is_client.or(Some(false)),
        0x41 | 0x43 => half.is_client = half.is_client.or(Some(true)),
        _ => {}
    }
    half.start |= code == 0x40;
    if code == 0x18 && half.close.is_none() {
        half.close = error(body);
    }
}

/// The condition and description of an error (descriptor 0x1d, section 2.8.14) in a Close.
fn error(body: &[u8]) -> Option<String> {
    let at = body.windows(3).position(|window| window == [0x00, 0x53, 0x1d])?;
    let mut reader = Reader::new(body.get(at + 3..)?);
    // The list's own header: one or four bytes each of size and count.
    match reader.u8()? {
        0xc0 => reader.skip(2)?,
        0xd0 => reader.skip(8)?,
        _ => return None,
    }
    // sym8 or sym32, then str8, str32 or null.
    let mut word = || {
        let length = match reader.u8()? {
            0xa1 | 0xa3 => usize::from(reader.u8()?),
            0xb1 | 0xb3 => reader.be32()? as usize,
            _ => return None,
        };
        reader.take(length).map(text)
    };
    let condition = word()?;
    Some(match word() {
        Some(description) => format!("{condition} {description}"),
        None => condition,
    })
}

fn conclude(seen: &Seen<'_>, both: [Option<Half>; 2]) -> Proof {
    let [first, second] = &both;
    let told = |half: &Option<Half>| half.as_ref().and_then(|half| half.is_client);
    // Only 1.0 has both ends send a header; before, the client's alone opens the connection.
    let opens =
        |half: &Option<Half>| half.as_ref().is_some_and(|half| half.header && half.version != Some("1.0"));
    let client = match (told(first), told(second)) {
        (Some(true), _) | (None, Some(false)) => Some(End::First),
        (Some(false), _) | (None, Some(true)) => Some(End::Second),
        (None, None) => match (opens(first), opens(second)) {
            (true, false) => Some(End::First),
            (false, true) => Some(End::Second),
            _ => None,
        },
    };
    let mut facts = Facts::new();
    let halves = || [first, second].into_iter().flatten();
    // What a header says is surer than what frames look like.
    let version = halves().filter(|half| half.header).chain(halves()).find_map(|half| half.version);
    if let Some(version) = version {
        facts.add("amqp.version", version);
    }
    if halves().any(|half| half.start) {
        facts.add("amqp.start", "seen");
    }
    for close in halves().filter_map(|half| half.close.as_deref()) {
        // 200 is the code of an orderly end (0-9-1 section 1.2).
        if !close.starts_with("200 ") {
            facts.add("amqp.close", close);
        }
    }
    let complete = seen.first.complete && seen.second.complete;
    let mut proof = Proof { client, facts, open: !complete, ..Proof::default() };
    if halves().any(|half| half.tls)
        && let Some(inner) =
            tls::upgrade(seen, [first, second].map(|half| if half.is_some() { HEADER } else { 0 }))
    {
        proof.layers = vec!["amqp", "tls"];
        proof.client = proof.client.or(inner.client);
        proof.open = inner.open;
        for fact in inner.facts.iter() {
            proof.facts.add(fact.key, fact.value.clone());
        }
    }
    proof
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Amqp, 0, 0);
        harness::check_steps(&Amqp);
    }

    #[test]
    fn either_end_alone_is_enough() {
        if !harness::present() {
            return;
        }
        for flow in harness::flows("amqp/amqp.pcap") {
            for end in [End::First, End::Second] {
                if !flow.seen().side(end).is_silent() {
                    let probe = Amqp.probe(&flow.one_sided(end));
                    assert!(matches!(probe, Probe::Proven(_)), "{} {end:?}", flow.place());
                }
            }
        }
    }

    fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, channel, 0, 0, 0, payload.len() as u8];
        frame.extend_from_slice(payload);
        frame.push(FRAME_END);
        frame
    }

    #[test]
    fn a_refused_login_says_why() {
        let words = b"ACCESS_REFUSED - Login was refused";
        let mut close = hex("000a 0032 0193");
        close.push(words.len() as u8);
        close.extend_from_slice(words);
        close.extend_from_slice(&[0, 0, 0, 0]);
        let Probe::Proven(proof) =
            probe_both(&Amqp, Carrier::Tcp, &[b"AMQP\0\0\x09\x01"], &[&frame(1, 0, &close)])
        else {
            panic!("not proven");
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("amqp.version"), Some("0-9-1"));
        assert_eq!(proof.facts.get("amqp.close"), Some("403 ACCESS_REFUSED - Login was refused"));
    }

    #[test]
    fn version_1_0() {
        let mechanisms = hex("0000001a 02 01 0000 00 53 40 c0 0d 01 e0 0a 01 a3 05 504c41494e 0000");
        let Probe::Proven(proof) =
            probe_both(&Amqp, Carrier::Tcp, &[b"AMQP\x03\x01\0\0"], &[b"AMQP\x03\x01\0\0", &mechanisms])
        else {
            panic!("not proven");
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(
            (proof.facts.get("amqp.version"), proof.facts.get("amqp.start")),
            (Some("1.0"), Some("seen"))
        );
        let close = hex("00000032 02 00 0000 00 53 18 c0 25 01 00 53 1d c0 1f 02 a3 18")
            .into_iter()
            .chain(*b"amqp:unauthorized-access")
            .chain(hex("a1 02 6e6f"))
            .collect::<Vec<u8>>();
        let mut half = Half::default();
        read_1_0(&close, &mut half);
        assert_eq!(half.close.as_deref(), Some("amqp:unauthorized-access no"));
    }

    #[test]
    fn heartbeats_alone() {
        assert!(matches!(probe_messages(&Amqp, Carrier::Tcp, &[&frame(8, 0, &[])]), Probe::Proven(_)));
        let idle = hex("00000008 02 00 0000");
        assert_eq!(probe_messages(&Amqp, Carrier::Tcp, &[&idle]), Probe::NeedMore);
        assert!(matches!(probe_messages(&Amqp, Carrier::Tcp, &[&idle, &idle]), Probe::Proven(_)));
    }

    #[test]
    fn what_is_not_amqp() {
        for stranger in [
            &b"AMQP\x05\x01\0\0"[..],
            &hex("01 0000 00000004 000a 0063 ce"),
            &hex("01 0001 00000004 003c 0028 cd"),
            &hex("03 0001 00000004 61626364 ce"),
            b"GET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(
                !matches!(probe_messages(&Amqp, Carrier::Tcp, &[stranger]), Probe::Proven(_)),
                "{stranger:02x?}"
            );
        }
    }
}
