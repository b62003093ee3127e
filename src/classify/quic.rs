//! QUIC by its long headers, and Google's QUIC that came before.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::look;
use crate::model::Facts;

/// The protocol.
pub struct Quic;

static ABOUT: About = About {
    name: "quic",
    title: "QUIC",
    spec: "RFC 8999, RFC 9000, RFC 9369 (version 2); drafts; Google QUIC Q024 to Q050",
    usual: &["udp/443"],
    answers: true,
    facts: &[
        ("quic.version", "each version: 1, 2, draft-NN, Q043 and the like, else its number in hexadecimal"),
        (
            "quic.packet",
            "each long-header packet type: initial, 0-rtt, handshake, retry, version-negotiation",
        ),
    ],
};

impl Protocol for Quic {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Udp {
            return Probe::No;
        }
        let both = match look::both(seen, |side| {
            look::datagrams(side, |bytes| long(bytes).or_else(|| google(bytes)))
        }) {
            Ok(both) => both,
            Err(probe) => return probe,
        };
        let mut facts = Facts::new();
        let mut client = None;
        for (end, packets) in [End::First, End::Second].into_iter().zip(&both) {
            for packet in packets.iter().flatten() {
                if let Some(version) = version_name(packet.version) {
                    facts.add("quic.version", version);
                }
                facts.add("quic.packet", packet.kind);
                client = client.or(packet.from_client.map(|from| if from { end } else { end.other() }));
            }
        }
        let open = !(seen.first.complete && seen.second.complete);
        Probe::Proven(Proof { client, facts, open, ..Proof::default() })
    }
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    version: u32,
    kind: &'static str,
    /// Whether the client sent it, where the packet tells.
    from_client: Option<bool>,
}

/// Version 1 (RFC 9000 section 15) and 2 (RFC 9369 section 3.1).
const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6b33_43cf;
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

/// A packet with a long header at the front of a datagram (RFC 9000 section 17.2).
fn long(bytes: &[u8]) -> Option<Packet> {
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
            .then_some(Packet { version, kind: "initial", from_client: Some(lengths == 0x50) });
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
        let sized =
            !list.is_empty() && list.len().is_multiple_of(4) && list.len() <= 256 && target + source > 0;
        return (sized && known).then_some(Packet {
            version,
            kind: "version-negotiation",
            from_client: Some(false),
        });
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
            return (reader.left() > 16).then_some(Packet {
                version,
                kind: "retry",
                from_client: Some(false),
            });
        }
    };
    let length = varint(&mut reader)?;
    // Packet number and tag at least; a datagram of 2 KiB may have been cut.
    let fits = length >= 17 && (length <= reader.left() as u64 || (bytes.len() >= 1024 && length < 65_536));
    fits.then_some(Packet { version, kind: name, from_client })
}

/// Passes over a connection id; its length.
fn id(reader: &mut Reader<'_>) -> Option<usize> {
    let length = reader.u8().filter(|&length| length <= LONGEST_ID)?;
    reader.skip(usize::from(length))?;
    Some(usize::from(length))
}

/// A variable-length integer (RFC 9000 section 16).
fn varint(reader: &mut Reader<'_>) -> Option<u64> {
    let first = reader.u8()?;
    let more = (1_usize << (first >> 6)) - 1;
    let rest = reader.take(more)?;
    Some(rest.iter().fold(u64::from(first & 0x3f), |sum, &byte| sum << 8 | u64::from(byte)))
}

/// Google QUIC up to Q043: public flags with the version flag, connection id, version (the client's packets until answered).
fn google(bytes: &[u8]) -> Option<Packet> {
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
    (is_google(version) && reader.left() > 12).then_some(Packet {
        version,
        kind: "initial",
        from_client: Some(true),
    })
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
