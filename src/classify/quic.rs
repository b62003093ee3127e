//! QUIC by its long headers and the hellos in its Initials, and Google's QUIC that came before.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::look;
use super::quic_initial::Handshake;
use super::quic_initial::Keys;
use super::quic_initial::Sealed;
use super::tls_hello;
use crate::model::Facts;

/// The protocol.
pub struct Quic;

static ABOUT: About = About {
    name: "quic",
    title: "QUIC",
    spec: "RFC 8999, RFC 9000, RFC 9001, RFC 9369 (version 2); drafts; Google QUIC Q024 to Q050",
    usual: &["udp/443"],
    answers: true,
    facts: &[
        ("quic.version", "each version: 1, 2, draft-NN, Q043 and the like, else its number in hexadecimal"),
        (
            "quic.packet",
            "each long-header packet type until both hellos are seen: initial, 0-rtt, handshake, retry, version-negotiation",
        ),
    ],
};

impl Protocol for Quic {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        // A long header, or the public flags of a client before version 1.
        at != 0 || byte & 0x80 != 0 || byte & 0x0b == 0x09
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Udp {
            return Probe::No;
        }
        let both = match look::both(seen, |side| {
            look::datagrams_and_lengths(side, |bytes, sent| long(bytes, sent).or_else(|| google(bytes)))
        }) {
            Ok(both) => both,
            Err(probe) => return probe,
        };
        let mut facts = Facts::new();
        let mut client = None;
        let mut layers = Vec::new();
        for (end, packets) in [End::First, End::Second].into_iter().zip(&both) {
            for packet in packets.iter().flatten() {
                if let Some(version) = version_name(packet.version) {
                    facts.add("quic.version", version);
                }
                facts.add("quic.packet", packet.kind);
                client = client.or(packet.from_client.map(|from| if from { end } else { end.other() }));
            }
        }
        let greeted = hellos(seen, &mut facts);
        if let Some((end, _)) = greeted {
            client = client.or(Some(end));
            layers = vec![ABOUT.name, "tls"];
        }
        let told = greeted.is_some_and(|(_, answered)| answered);
        let open = !(told || seen.first.complete && seen.second.complete);
        Probe::Proven(Proof { layers, client, facts, open, ..Proof::default() })
    }
}

/// States what the hellos in both ends' Initials say; the client's end, where its hello opens, and whether the server's did too.
fn hellos(seen: &Seen<'_>, facts: &mut Facts) -> Option<(End, bool)> {
    let initials = |end: End| seen.side(end).messages().flat_map(initials);
    for client in [End::First, End::Second] {
        // After a Retry the client begins anew, with keys from another id (RFC 9001 section 5.2).
        let mut found = None;
        let mut handshake = Handshake::default();
        for sealed in initials(client) {
            let opened = found.as_ref().and_then(|keys: &Keys| keys.open(&sealed, true)).or_else(|| {
                let keys = Keys::new(sealed.version, sealed.target)?;
                let opened = keys.open(&sealed, true)?;
                found = Some(keys);
                Some(opened)
            });
            opened.iter().for_each(|frames| handshake.add(frames));
        }
        let Some(keys) = found else { continue };
        let hello = handshake.bytes();
        let greeted = message(&hello, CLIENT_HELLO).is_some_and(|body| tls_hello::client_hello(body, facts));
        let mut answer = Handshake::default();
        let opened = initials(client.other()).filter_map(|sealed| keys.open(&sealed, false));
        opened.for_each(|frames| answer.add(&frames));
        let answer = answer.bytes();
        let answered = message(&answer, SERVER_HELLO).and_then(|body| tls_hello::server_hello(body, facts));
        if !answer.is_empty() {
            facts.add("tls.server_handshake", "seen");
        }
        return greeted.then_some((client, answered.is_some()));
    }
    None
}

/// Types of handshake messages (RFC 8446 section 4).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// The body of the handshake message at the front, where it is of this type and whole.
fn message(handshake: &[u8], kind: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(handshake);
    let is = reader.u8()? == kind;
    let length = usize::try_from(reader.be24()?).ok()?;
    reader.take(length).filter(|_| is)
}

/// The Initials in a datagram that can be opened, which may hold several packets (RFC 9000 section 12.2).
fn initials(datagram: &[u8]) -> impl Iterator<Item = Sealed<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let packet = long(rest, rest.len())?;
        rest = packet.after;
        Some(packet)
    })
    .filter_map(|packet| packet.sealed)
}

#[derive(Clone, Copy, Debug)]
struct Packet<'a> {
    version: u32,
    kind: &'static str,
    /// Whether the client sent it, where the packet tells.
    from_client: Option<bool>,
    /// What can be opened, of an Initial.
    sealed: Option<Sealed<'a>>,
    /// What follows it in its datagram.
    after: &'a [u8],
}

impl Packet<'_> {
    fn new(version: u32, kind: &'static str, from_client: Option<bool>) -> Self {
        Self { version, kind, from_client, sealed: None, after: &[] }
    }
}

/// Version 1 (RFC 9000 section 15) and 2 (RFC 9369 section 3.1).
pub(super) const VERSION_1: u32 = 1;
pub(super) const VERSION_2: u32 = 0x6b33_43cf;
/// Longest connection id in known versions (RFC 9000 section 17.2).
const LONGEST_ID: u8 = 20;

/// The version in words; `None` for version negotiation.
fn version_name(version: u32) -> Option<String> {
    Some(match version {
        0 => return None,
        VERSION_1 => "1".to_owned(),
        VERSION_2 => "2".to_owned(),
        0xff00_0001..=0xff00_00ff => format!("draft-{:02}", version & 0xff),
        _ => match version.to_be_bytes() {
            [family @ (b'Q' | b'T'), b'0', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit() => {
                format!("{}0{}{}", char::from(family), char::from(tens), char::from(ones))
            }
            _ => format!("0x{version:08x}"),
        },
    })
}

/// Versions in use: standards, drafts, Google's with TLS, Facebook's, Microsoft's and Picoquic's own.
fn is_known(version: u32) -> bool {
    matches!(
        version,
        VERSION_1 | VERSION_2 | 0xff00_0011..=0xff00_0030 | 0xface_b000..=0xface_b0ff | 0xabcd_0000 | 0xabcd_0001
            | 0x5043_5130..=0x5043_5139
    ) || is_google(version)
}

/// `Q024` to `Q050`, `T048` to `T051`.
fn is_google(version: u32) -> bool {
    matches!(version.to_be_bytes(), [b'Q' | b'T', b'0', b'2'..=b'5', b'0'..=b'9'])
}

/// A version reserved to force negotiation (RFC 9000 section 15).
fn is_reserved(version: u32) -> bool {
    version & 0x0f0f_0f0f == 0x0a0a_0a0a
}

/// A packet with a long header at the front of a datagram (RFC 9000 section 17.2), of `sent` bytes before a snap length cut it.
fn long(bytes: &[u8], sent: usize) -> Option<Packet<'_>> {
    let mut reader = Reader::new(bytes);
    let first = reader.u8()?;
    if first & 0x80 == 0 {
        return None;
    }
    let version = reader.be32()?;
    if version != 0 && version.to_be_bytes() == *b"Q046" {
        // One byte of both lengths; ids of 8 bytes or none.
        let lengths = reader.u8()?;
        return (matches!(lengths, 0x50 | 0x05) && reader.left() > 8 && first & 0x40 != 0)
            .then(|| Packet::new(version, "initial", Some(lengths == 0x50)));
    }
    let target = id(&mut reader)?;
    let source = id(&mut reader)?;
    if version == 0 {
        // Version negotiation: nothing but versions, one of which is known or reserved (section 17.2.1).
        let list = reader.rest();
        let known = list.chunks_exact(4).any(|chunk| {
            let version = chunk.iter().fold(0_u32, |sum, &byte| sum << 8 | u32::from(byte));
            is_known(version) || is_reserved(version)
        });
        let sized = !list.is_empty()
            && list.len().is_multiple_of(4)
            && list.len() <= 256
            && !(target.is_empty() && source.is_empty());
        return (sized && known).then(|| Packet::new(version, "version-negotiation", Some(false)));
    }
    // The fixed bit is set (section 17.2), unless the other end has said that it need not be (RFC 9287).
    let greased = matches!(version, VERSION_1 | VERSION_2);
    if (first & 0x40 == 0 && !greased) || !(is_known(version) || is_reserved(version)) {
        return None;
    }
    // Version 2 turns the types by one (RFC 9369 section 3.2).
    let turn = u8::from(version == VERSION_2);
    let kind = (first >> 4 & 3).wrapping_sub(turn) & 3;
    let (name, from_client) = match kind {
        0 => {
            let token = varint(&mut reader)?;
            reader.skip(usize::try_from(token).ok()?)?;
            // A client's first datagrams are at least 1200 bytes, and only clients send tokens (section 14.1, 17.2.2).
            ("initial", (token > 0).then_some(true))
        }
        1 => ("0-rtt", Some(true)),
        2 => ("handshake", None),
        _ => {
            // Token and integrity tag.
            return (reader.left() > 16).then(|| Packet::new(version, "retry", Some(false)));
        }
    };
    let length = varint(&mut reader)?;
    // Packet number and tag at least; a datagram of 2 KiB may have been cut.
    let number_at = reader.position();
    let left = sent.saturating_sub(number_at) as u64;
    let fits = length >= 17 && (length <= left || (bytes.len() >= 1024 && length < 65_536));
    let end = usize::try_from(length).ok().and_then(|length| number_at.checked_add(length));
    let whole = end.and_then(|end| bytes.split_at_checked(end));
    let sealed = whole.filter(|_| kind == 0).map(|(packet, _)| Sealed { version, target, packet, number_at });
    let after = whole.map_or(&[][..], |(_, after)| after);
    fits.then_some(Packet { version, kind: name, from_client, sealed, after })
}

/// A connection id.
fn id<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.u8().filter(|&length| length <= LONGEST_ID)?;
    reader.take(usize::from(length))
}

/// A variable-length integer (RFC 9000 section 16).
pub(super) fn varint(reader: &mut Reader<'_>) -> Option<u64> {
    let first = reader.u8()?;
    let more = (1_usize << (first >> 6)) - 1;
    let rest = reader.take(more)?;
    Some(rest.iter().fold(u64::from(first & 0x3f), |sum, &byte| sum << 8 | u64::from(byte)))
}

/// Google QUIC up to Q043: public flags with the version flag, connection id, version (the client's packets until answered).
fn google(bytes: &[u8]) -> Option<Packet<'_>> {
    /// Public flags: version present, reset, 8-byte connection id.
    const VERSION: u8 = 0x01;
    const RESET: u8 = 0x02;
    const ID: u8 = 0x08;
    let mut reader = Reader::new(bytes);
    let flags = reader.u8()?;
    if flags & (VERSION | RESET | ID) != VERSION | ID || flags & 0x80 != 0 {
        return None;
    }
    reader.skip(8)?;
    let version = reader.be32()?;
    (is_google(version) && reader.left() > 12).then(|| Packet::new(version, "initial", Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Quic, 0, 0);
        harness::check_steps(&Quic);
    }

    #[test]
    fn packets() {
        for (bytes, version, kind) in [
            (
                format!("c0 00000001 08 1122334455667788 00 00 4032 {}", "aa".repeat(0x32)),
                Some("1"),
                "initial",
            ),
            (
                format!("d0 6b3343cf 08 1122334455667788 00 00 4032 {}", "aa".repeat(0x32)),
                Some("2"),
                "initial",
            ),
            ("80 00000000 00 08 1122334455667788 00000001 1a2a3a4a".to_owned(), None, "version-negotiation"),
            (format!("0d 1122334455667788 51303433 01 {}", "00".repeat(20)), Some("Q043"), "initial"),
        ] {
            let Probe::Proven(proof) = probe_messages(&Quic, Carrier::Udp, &[&hex(&bytes)]) else {
                panic!("{bytes}")
            };
            assert_eq!(
                (proof.facts.get("quic.version"), proof.facts.get("quic.packet")),
                (version, Some(kind))
            );
        }
    }

    #[test]
    fn what_is_not_quic() {
        for stranger in [
            "c0 00000002 08 1122334455667788 00 00 05 aaaaaaaaaa".to_owned(),
            format!("c0 00000001 18 {} 00 00 05", "11".repeat(24)),
            "80 00000000 00 00 12345678".to_owned(),
            format!("40 {}", "11".repeat(40)),
        ] {
            assert!(
                !matches!(probe_messages(&Quic, Carrier::Udp, &[&hex(&stranger)]), Probe::Proven(_)),
                "{stranger}"
            );
        }
    }
}
