//! LDAP over TCP and its connectionless form over UDP, and TLS that it starts.
//!
//! Read by `ber` alone, since most search results are longer than what a classifier keeps, and cut.

use compact_str::format_compact;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::ber;
use super::bytes::Reader;
use super::bytes::text;
use super::look;
use super::look::Look;
use super::tls;
use crate::model::Facts;

/// The protocol.
pub struct Ldap;

static ABOUT: About = About {
    name: "ldap",
    title: "Lightweight Directory Access Protocol",
    spec: "RFC 4511, RFC 4513 (StartTLS); CLDAP as in MS-ADTS section 6.3",
    usual: &["tcp/389", "udp/389", "tcp/3268"],
    answers: true,
    facts: &[
        ("ldap.op", "each operation: bind-request, search-entry and so on, in the words of RFC 4511"),
        ("ldap.bind", "each way of binding: anonymous, simple, or sasl with its mechanism"),
        ("ldap.result", "each result code of an answer that is not success (0): operation and number"),
        ("ldap.starttls", "requested, then granted or refused with the result code"),
    ],
};

/// The object identifier of the StartTLS operation (RFC 4511 section 4.14.1).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

impl Protocol for Ldap {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        ber::may_begin_sequence(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        let both = match seen.carrier {
            Carrier::Udp => look::both(seen, |side| match look::datagrams(side, datagram) {
                Look::Yes(messages) => Look::Yes((messages.into_iter().flatten().collect(), usize::MAX)),
                Look::More => Look::More,
                Look::No => Look::No,
            }),
            Carrier::Tcp => look::both(seen, stream),
            Carrier::Ethernet(_) => return Probe::No,
        };
        match both {
            Ok(both) => Probe::Proven(conclude(seen, both)),
            Err(probe) => probe,
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    operation: Operation,
    /// Its length in bytes.
    total: usize,
    bind: Option<String>,
    result: Option<i64>,
    starts_tls: bool,
}

/// Operation by its tag (RFC 4511 section 4.2 and following).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operation {
    name: &'static str,
    request: bool,
    shape: Shape,
}

/// How the contents of an operation begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Version, name, authentication.
    Bind,
    /// Result code, matched name, message.
    Result,
    /// Base, scope, aliases, limits.
    Search,
    /// A distinguished name as OCTET STRING, then a sequence or more.
    Name,
    /// OCTET STRINGs alone.
    Strings,
    /// Primitive contents: nothing, a name, or an integer.
    Nothing,
    BareName,
    BareInteger,
    /// An object identifier in [0].
    Identifier,
    /// Optional elements.
    Optional,
}

fn operation(tag: u8) -> Option<Operation> {
    let (name, request, shape) = match tag {
        0x60 => ("bind-request", true, Shape::Bind),
        0x61 => ("bind-response", false, Shape::Result),
        0x42 => ("unbind-request", true, Shape::Nothing),
        0x63 => ("search-request", true, Shape::Search),
        0x64 => ("search-entry", false, Shape::Name),
        0x65 => ("search-done", false, Shape::Result),
        0x73 => ("search-reference", false, Shape::Strings),
        0x66 => ("modify-request", true, Shape::Name),
        0x67 => ("modify-response", false, Shape::Result),
        0x68 => ("add-request", true, Shape::Name),
        0x69 => ("add-response", false, Shape::Result),
        0x4a => ("delete-request", true, Shape::BareName),
        0x6b => ("delete-response", false, Shape::Result),
        0x6c => ("modify-dn-request", true, Shape::Strings),
        0x6d => ("modify-dn-response", false, Shape::Result),
        0x6e => ("compare-request", true, Shape::Name),
        0x6f => ("compare-response", false, Shape::Result),
        0x50 => ("abandon-request", true, Shape::BareInteger),
        0x77 => ("extended-request", true, Shape::Identifier),
        0x78 => ("extended-response", false, Shape::Result),
        0x79 => ("intermediate-response", false, Shape::Optional),
        _ => return None,
    };
    Some(Operation { name, request, shape })
}

/// What stands at the front.
enum Read {
    Message(Box<Message>),
    Short,
    Stranger,
}

fn read(bytes: &[u8]) -> Read {
    match read_message(bytes) {
        Ok(Some(message)) => Read::Message(Box::new(message)),
        Ok(None) => Read::Short,
        Err(()) => Read::Stranger,
    }
}

/// `Ok(None)` where the bytes end before the message can be told.
fn read_message(bytes: &[u8]) -> Result<Option<Message>, ()> {
    let mut reader = Reader::new(bytes);
    let Some(envelope) = element(&mut reader)? else { return Ok(None) };
    // An unbind is 5 bytes of contents; no implementation takes messages of 64 MiB.
    if envelope.tag != ber::SEQUENCE || !(5..1 << 26).contains(&envelope.length) {
        return Err(());
    }
    let Some(id) = element(&mut reader)? else { return Ok(None) };
    if id.tag != ber::INTEGER || !(1..=5).contains(&id.length) {
        return Err(());
    }
    let Some(id_octets) = reader.take(id.length) else { return Ok(None) };
    if !ber::signed(id_octets).is_some_and(|id| (0..=i64::from(i32::MAX)).contains(&id)) {
        return Err(());
    }
    let used = reader.position() - envelope.size;
    let Some(op) = element(&mut reader)? else { return Ok(None) };
    let operation = operation(op.tag).ok_or(())?;
    // After the operation controls may follow (section 4.1.11), nothing else.
    let after = envelope.length.checked_sub(used + op.total()).ok_or(())?;
    if after == 1 {
        return Err(());
    }
    let contents = reader.rest().get(..op.length).unwrap_or(reader.rest());
    if let Some(next) = reader.rest().get(op.length)
        && after > 0
        && *next != 0xa0
    {
        return Err(());
    }
    let mut message =
        Message { operation, total: envelope.total(), bind: None, result: None, starts_tls: false };
    match inside(operation.shape, contents, op.length, &mut message) {
        Some(true) => Ok(Some(message)),
        Some(false) => Err(()),
        None => Ok(None),
    }
}

/// A header of one element; `Ok(None)` where the bytes end within it.
fn element(reader: &mut Reader<'_>) -> Result<Option<ber::Header>, ()> {
    match ber::header(reader.rest()) {
        Ok(head) => {
            reader.skip(head.size).ok_or(())?;
            Ok(Some(head))
        }
        Err(ber::Defect::Truncated) => Ok(None),
        Err(ber::Defect::Unusual) => Err(()),
    }
}

/// Whether the contents begin as they must. `None` where they are too short to tell.
fn inside(shape: Shape, contents: &[u8], length: usize, message: &mut Message) -> Option<bool> {
    let mut reader = Reader::new(contents);
    let cut = contents.len() < length;
    // Something that does not fit in whole contents is wrong; in cut ones it is unknown.
    let missing = if cut { None } else { Some(false) };
    let tag = |reader: &Reader<'_>| ber::header(reader.rest()).ok().map(|head| head.tag);
    match shape {
        Shape::Nothing => Some(length == 0),
        Shape::BareInteger => Some((1..=5).contains(&length)),
        Shape::BareName => {
            Some(length > 0 && contents.contains(&b'=') && contents.iter().all(|&byte| byte >= b' '))
        }
        Shape::Bind => {
            let Some(version) = ber::integer(&mut reader) else { return missing };
            if !(1..=3).contains(&version) {
                return Some(false);
            }
            let Some(name) = ber::expect(&mut reader, ber::OCTET_STRING) else { return missing };
            let Ok(choice) = ber::header(reader.rest()) else { return missing };
            let mut credentials = Reader::new(reader.rest().get(choice.size..).unwrap_or_default());
            message.bind = match choice.tag {
                0x80 if name.is_empty() && choice.length == 0 => Some("anonymous".to_owned()),
                0x80 => Some("simple".to_owned()),
                // Active Directory's own (MS-ADTS section 5.1.1.1.3).
                0x89..=0x8b => Some("sicily".to_owned()),
                0xa3 => {
                    let Some(mechanism) = ber::expect(&mut credentials, ber::OCTET_STRING) else {
                        return missing;
                    };
                    Some(format!("sasl {}", text(mechanism)))
                }
                _ => return Some(false),
            };
            Some(true)
        }
        Shape::Result => {
            let Some(code) = ber::expect(&mut reader, ber::ENUMERATED) else { return missing };
            let Some(code) = ber::signed(code) else { return Some(false) };
            message.result = Some(code);
            // Codes to 123 are assigned, implementations use some up to 4,096 and beyond (RFC 4520 section 3.8).
            let strings = (0..2).all(|_| {
                tag(&reader).is_none_or(|tag| tag == ber::OCTET_STRING) && {
                    let _ = ber::expect(&mut reader, ber::OCTET_STRING);
                    true
                }
            });
            Some((0..=20_000).contains(&code) && strings)
        }
        Shape::Search => {
            let Some(_base) = ber::expect(&mut reader, ber::OCTET_STRING) else { return missing };
            let scope = ber::expect(&mut reader, ber::ENUMERATED);
            let aliases = ber::expect(&mut reader, ber::ENUMERATED);
            let limits = (ber::integer(&mut reader), ber::integer(&mut reader));
            match (scope, aliases, limits) {
                (Some([0..=3]), Some([0..=3]), (Some(0..), Some(0..))) => Some(true),
                (Some([0..=3]) | None, Some([0..=3]) | None, (Some(0..) | None, Some(0..) | None)) => missing,
                _ => Some(false),
            }
        }
        Shape::Name => {
            let Some(_name) = ber::expect(&mut reader, ber::OCTET_STRING) else { return missing };
            tag(&reader).map(|tag| tag == ber::SEQUENCE).or(missing)
        }
        Shape::Strings => {
            let Some(_first) = ber::expect(&mut reader, ber::OCTET_STRING) else { return missing };
            Some(tag(&reader).is_none_or(|tag| matches!(tag, ber::OCTET_STRING | ber::BOOLEAN)))
        }
        Shape::Identifier => {
            let Some(identifier) = ber::expect(&mut reader, 0x80) else { return missing };
            message.starts_tls = identifier == START_TLS;
            Some(identifier.len() > 2 && identifier.iter().all(|&byte| byte.is_ascii_digit() || byte == b'.'))
        }
        Shape::Optional => Some(tag(&reader).is_none_or(|tag| matches!(tag, 0x80 | 0x81))),
    }
}

/// A datagram that is messages and nothing else.
fn datagram(bytes: &[u8]) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Read::Message(message) = read(rest) else { return None };
        rest = rest.get(message.total..).unwrap_or_default();
        messages.push(*message);
    }
    (!messages.is_empty()).then_some(messages)
}

/// Messages of a stream, and where the last whole one ends in the side's bytes.
fn stream(side: &Side<'_>) -> Look<(Vec<Message>, usize)> {
    look::stream(side, |bytes| {
        let mut messages = Vec::new();
        let mut rest = bytes;
        loop {
            match read(rest) {
                Read::Message(message) => {
                    let total = message.total;
                    messages.push(*message);
                    match rest.get(total..) {
                        Some(after) => rest = after,
                        None => break,
                    }
                }
                Read::Short if messages.is_empty() && rest.len() < 2048 && !side.complete => {
                    return Look::More;
                }
                Read::Short | Read::Stranger => break,
            }
        }
        if messages.is_empty() { Look::No } else { Look::Yes((messages, side.bytes.len() - rest.len())) }
    })
}

fn conclude(seen: &Seen<'_>, both: [Option<(Vec<Message>, usize)>; 2]) -> Proof {
    let mut facts = Facts::new();
    let mut client = None;
    let mut requested = false;
    let mut answered = None;
    for (end, half) in [End::First, End::Second].into_iter().zip(&both) {
        for message in half.iter().flat_map(|(messages, _)| messages) {
            let operation = message.operation;
            client = client.or(Some(if operation.request { end } else { end.other() }));
            facts.add("ldap.op", operation.name);
            if let Some(bind) = &message.bind {
                facts.add("ldap.bind", bind.as_str());
            }
            if let Some(code) = message.result.filter(|&code| code != 0) {
                facts.add("ldap.result", format_compact!("{} {code}", operation.name));
            }
            requested |= message.starts_tls;
            if operation.name == "extended-response" {
                answered = answered.or(message.result);
            }
        }
    }
    let mut proof =
        Proof { client, facts, open: !(seen.first.complete && seen.second.complete), ..Proof::default() };
    if requested {
        proof.facts.add("ldap.starttls", "requested");
        match answered {
            Some(0) => proof.facts.add("ldap.starttls", "granted"),
            Some(code) => proof.facts.add("ldap.starttls", format_compact!("refused {code}")),
            None => {}
        }
    }
    // With one end heard alone, its own hello after the answer tells as much.
    if (requested && answered.is_none_or(|code| code == 0)) || answered == Some(0) {
        let offsets = both.each_ref().map(|half| half.as_ref().map_or(usize::MAX, |(_, end)| *end));
        tls::goes_on(&mut proof, ABOUT.name, seen, offsets);
    }
    proof
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Ldap, 0, 0);
        harness::check_steps(&Ldap);
    }

    #[test]
    fn starttls_leads_to_tls() {
        if !harness::present() {
            return;
        }
        let flows = harness::flows("directory/ldap-starttls.pcap");
        let proof = flows.iter().find_map(|flow| harness::proof(&Ldap, &flow.seen())).unwrap();
        assert_eq!(proof.layers, ["ldap", "tls"]);
        assert_eq!(proof.facts.all("ldap.starttls").collect::<Vec<_>>(), ["requested", "granted"]);
        assert_eq!(proof.facts.get("tls.version"), Some("1.3"));
    }

    #[test]
    fn messages() {
        for (bytes, op, client) in [
            ("30 0c 02 01 01 60 07 02 01 03 04 00 80 00", "bind-request", End::First),
            ("30 84 0000000c 02 01 01 61 84 00000001 0a", "", End::First),
            ("30 0c 02 01 01 61 07 0a 01 00 04 00 04 00", "bind-response", End::Second),
            ("30 05 02 01 03 42 00", "unbind-request", End::First),
            ("30 06 02 01 03 50 01 02", "abandon-request", End::First),
        ] {
            match probe_messages(&Ldap, Carrier::Tcp, &[&hex(bytes)]) {
                Probe::Proven(proof) => {
                    assert_eq!(
                        (proof.facts.get("ldap.op"), proof.client),
                        (Some(op), Some(client)),
                        "{bytes}"
                    );
                }
                other => assert!(op.is_empty(), "{bytes}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_ldap() {
        for stranger in [
            "30 26 02 01 01 04 06 7075626c6963 a0 19 02 04 ffffff01 02 01 00 02 01 00 30 0b",
            "30 0c 02 01 01 60 07 02 01 04 04 00 80 00",
            "30 05 02 01 03 42 01",
            "30 06 02 01 03 42 00 00",
            "30 03 02 01 03",
        ] {
            let probe = probe_messages(&Ldap, Carrier::Udp, &[&hex(stranger)]);
            assert!(!matches!(probe, Probe::Proven(_)), "{stranger}");
        }
    }
}
