//! OPC UA over its own binary transport: connection messages and secure-channel chunks.

use compact_str::format_compact;

use super::About;
use super::Carrier;
use super::Deed;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::bytes::text;
use super::candidates::is_at;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::agrees;
use super::weigh::client_is;

/// OPC UA.
pub struct OpcUa;

static ABOUT: About = About {
    name: "opc-ua",
    title: "OPC UA (UA-TCP)",
    spec: "OPC 10000-6 (OPC UA part 6), 6.7 secure conversation and 7.1 connection protocol",
    usual: &["tcp/4840"],
    answers: true,
    facts: &[
        ("opc-ua.endpoint", "endpoint URL that a client asks for"),
        ("opc-ua.server", "application URI of a server that calls its client (reverse hello)"),
        ("opc-ua.security-policy", "name of the secure channel's policy: None, Basic256Sha256 ..."),
        (
            "opc-ua.access",
            "what the services do, where the channel is not encrypted: read, write, control (methods called), program (nodes added, deleted)",
        ),
        ("opc-ua.error", "status code of an error message, hexadecimal"),
    ],
};

impl Protocol for OpcUa {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            3 => matches!(byte, b'F' | b'C' | b'A'),
            _ => TYPES.iter().any(|kind| is_at(kind, at, byte)),
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => weigh::probe(seen, step, tell),
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }

    fn gist(&self, _: Carrier, payload: &[u8]) -> Option<u64> {
        let kind = payload.strip_prefix(b"MSG").filter(|_| weigh::is_alone(payload, step))?.first()?;
        let id = payload.get(SYMMETRIC..).and_then(encoding);
        Some(u64::from(*kind) << 32 | id.map_or(0, |id| 1 << 16 | u64::from(id)))
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        weigh::each_whole(payload, step, |chunk| {
            let body = chunk.strip_prefix(b"MSG").and_then(|_| chunk.get(SYMMETRIC..));
            let access = body.and_then(encoding).and_then(access);
            Deed::of(access, "opc-ua.access", None).into_iter().for_each(&mut *tell);
        });
    }
}

/// Message type, chunk type, size of the whole chunk (7.1.2.2).
const HEADER: usize = 8;
/// The largest chunk accepted; buffers are negotiated and usually 64 KiB (7.1.2.3).
const LARGEST: usize = 1 << 24;
/// The longest endpoint URL (7.1.2.3).
const LONGEST_URL: usize = 4096;
/// Size of an acknowledge message (7.1.2.4).
const ACKNOWLEDGE: usize = 28;
/// Channel, token, sequence number and request id before the body of a symmetric chunk (6.7.2).
const SYMMETRIC: usize = HEADER + 16;
/// What every security policy URI begins with (OPC 10000-7, 6.6).
const POLICY: &[u8] = b"http://opcfoundation.org/UA/SecurityPolicy#";
/// Message types.
const TYPES: [&[u8]; 7] = [b"HELF", b"ACKF", b"ERRF", b"RHEF", b"OPNF", b"MSG", b"CLOF"];

fn step(bytes: &[u8]) -> Step {
    if !TYPES.iter().any(|kind| agrees(bytes, kind)) {
        return Step::Wrong;
    }
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else { return Step::Cut(0) };
    let [kind @ .., s0, s1, s2, s3] = header;
    // Only a MSG may be intermediate (C) or abort (A).
    if !matches!(kind[3], b'F' | b'C' | b'A') {
        return Step::Wrong;
    }
    let size = u32::from_le_bytes([*s0, *s1, *s2, *s3]) as usize;
    if size > LARGEST {
        return Step::Wrong;
    }
    let mut reader = Reader::new(body);
    let right = match kind {
        b"HELF" => (32..=32 + LONGEST_URL).contains(&size).then(|| {
            let length = reader.skip(20).and_then(|()| reader.le32());
            length.map(|length| length == u32::MAX || length as usize + 32 == size)
        }),
        b"ACKF" => (size == ACKNOWLEDGE).then_some(Some(true)),
        b"ERRF" => (16..=16 + LONGEST_URL).contains(&size).then(|| {
            // Status codes of bad severity have the two top bits 10 (OPC 10000-4, 7.39).
            reader.le32().map(|code| code >> 30 == 2)
        }),
        b"RHEF" => (16..=16 + 2 * LONGEST_URL).contains(&size).then_some(Some(true)),
        b"OPNF" => (size >= 40).then(|| {
            let uri = reader.skip(4).and_then(|()| reader.le32()).map(|length| length as usize);
            uri.map(|length| length <= 255 && length + 40 <= size && agrees(reader.rest(), b"http://"))
        }),
        _ => (size >= SYMMETRIC).then_some(Some(true)),
    };
    match right {
        None | Some(Some(false)) => Step::Wrong,
        Some(None) => Step::Cut(0),
        Some(Some(true)) if bytes.len() < size => Step::Cut(PROOF),
        Some(Some(true)) => Step::Whole(size, PROOF),
    }
}

fn tell(end: End, chunk: &[u8], proof: &mut Proof) {
    let Some((header, body)) = chunk.split_first_chunk::<HEADER>() else { return };
    let [kind @ .., _, _, _, _] = header;
    let mut reader = Reader::new(body);
    match kind {
        b"HELF" => {
            client_is(proof, end);
            let _ = reader.skip(20);
            if let Some(url) = string(&mut reader) {
                proof.facts.add("opc-ua.endpoint", text(url));
            }
        }
        b"ACKF" => client_is(proof, end.other()),
        b"RHEF" => {
            client_is(proof, end.other());
            for key in ["opc-ua.server", "opc-ua.endpoint"] {
                if let Some(value) = string(&mut reader) {
                    proof.facts.add(key, text(value));
                }
            }
        }
        b"ERRF" => {
            if let Some(code) = reader.le32() {
                proof.facts.add("opc-ua.error", format_compact!("0x{code:08x}"));
            }
        }
        b"OPNF" => {
            let _ = reader.skip(4);
            let policy = string(&mut reader).and_then(|uri| uri.strip_prefix(POLICY));
            if let Some(policy) = policy {
                proof.facts.add("opc-ua.security-policy", text(policy));
            }
            // Certificate and thumbprint, then sequence number and request id, then the body, readable where nothing is encrypted.
            let open =
                policy == Some(b"None") && string(&mut reader).is_some() && string(&mut reader).is_some();
            if open && reader.skip(8).is_some() {
                service(end, reader.rest(), proof);
            }
        }
        b"CLOF" => client_is(proof, end),
        b"MSGF" => service(end, body.get(SYMMETRIC - HEADER..).unwrap_or_default(), proof),
        _ => {}
    }
}

/// Tells the client by the type of an unencrypted request or response (OPC 10000-6, A.3 node ids: `_Encoding_DefaultBinary`).
fn service(end: End, body: &[u8], proof: &mut Proof) {
    /// Binary encoding ids of requests; each response has the id three above its request's.
    const REQUESTS: [u16; 25] = [
        422, 428, 446, 452, 461, 467, 473, 479, 488, 494, 500, 506, 527, 533, 554, 631, 664, 673, 700, 712,
        751, 787, 793, 826, 847,
    ];
    let Some(id) = encoding(body) else { return };
    if REQUESTS.contains(&id) {
        client_is(proof, end);
        if let Some(access) = access(id) {
            proof.facts.add("opc-ua.access", access);
        }
    } else if id.checked_sub(3).is_some_and(|request| REQUESTS.contains(&request)) {
        client_is(proof, end.other());
    }
}

/// The encoding id that a message's body begins with: a node id of the four-byte form in namespace 0 (5.2.2.9).
fn encoding(body: &[u8]) -> Option<u16> {
    match body.first_chunk::<4>() {
        Some(&[1, 0, low, high]) => Some(u16::from_le_bytes([low, high])),
        _ => None,
    }
}

/// What a request does to the server (OPC 10000-4, 5.6 to 5.13): nodes and references added and deleted; browse, read, history-read,
/// monitored items, publish; write and history-update; call.
fn access(request: u16) -> Option<&'static str> {
    match request {
        527 | 533 | 554 | 631 | 664 | 751 | 826 => Some("read"),
        673 | 700 => Some("write"),
        712 => Some("control"),
        488 | 494 | 500 | 506 => Some("program"),
        _ => None,
    }
}

/// A string or byte string: its length, -1 for none, then its bytes (5.2.2.4).
fn string<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    match reader.le32()? {
        u32::MAX => Some(&[]),
        length => reader.take(length as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    fn hello(url: &[u8]) -> Vec<u8> {
        let mut hello = b"HELF".to_vec();
        hello.extend((32 + url.len() as u32).to_le_bytes());
        for value in [0, 65536, 65536, 0, 0, url.len() as u32] {
            hello.extend(u32::to_le_bytes(value));
        }
        hello.extend(url);
        hello
    }

    #[test]
    fn a_hello_names_its_endpoint() {
        let bytes = hello(b"opc.tcp://plc:4840");
        let ends = [bytes.len() as u16];
        let seen = Seen {
            carrier: Carrier::Tcp,
            first: Side::of(&bytes, &ends),
            second: Side::default(),
            known: None,
        };
        let Probe::Proven(proof) = OpcUa.probe(&seen) else { panic!() };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("opc-ua.endpoint"), Some("opc.tcp://plc:4840"));
    }

    #[test]
    fn text_is_no_chunk() {
        assert_eq!(step(b"MSGF and a sentence"), Step::Wrong);
        assert_eq!(step(b"HELO mail.example.com\r\n"), Step::Wrong);
        assert_eq!(step(b"ACKF\x1d\0\0\0"), Step::Wrong);
        assert_eq!(step(b"HEL"), Step::Cut(0));
    }

    #[test]
    fn labelled_captures() {
        harness::check(&OpcUa, 0, 0);
        harness::check_steps(&OpcUa);
    }
}
