//! TFTP: requests, and transfers on the ports that a server chooses for them.

use compact_str::format_compact;

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
use crate::model::Facts;

/// The protocol.
pub struct Tftp;

static ABOUT: About = About {
    name: "tftp",
    title: "Trivial File Transfer Protocol",
    spec: "RFC 1350, RFC 2347 (options)",
    usual: &["udp/69"],
    answers: true,
    facts: &[
        ("tftp.request", "read or write"),
        ("tftp.file", "each file named in a request"),
        ("tftp.error", "each error: code and text"),
    ],
};

impl Protocol for Tftp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => byte == 0,
            1 => matches!(byte, 1..=6),
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Udp {
            return Probe::No;
        }
        let [first, second] = [&seen.first, &seen.second].map(read);
        let mut facts = Facts::new();
        let mut client = None;
        for (end, half) in [(End::First, &first), (End::Second, &second)] {
            let Some(packets) = half else { continue };
            for packet in packets {
                match packet {
                    Packet::Request { write, file } => {
                        facts.add("tftp.request", if *write { "write" } else { "read" });
                        facts.add("tftp.file", text(file));
                        client = client.or(Some(end));
                    }
                    Packet::Options => client = client.or(Some(end.other())),
                    Packet::Error { code, words } => {
                        facts.add("tftp.error", format_compact!("{code} {}", text(words)))
                    }
                    Packet::Data { .. } | Packet::Acknowledgement { .. } => {}
                }
            }
        }
        let client = client.or_else(|| server(&first, &second).map(End::other));
        let strong = [&first, &second].into_iter().flatten().any(|packets| is_proof(packets));
        let open = !(seen.first.complete && seen.second.complete);
        if strong || pairs(&first, &second) || pairs(&second, &first) {
            return Probe::Proven(Proof { client, facts, open, ..Proof::default() });
        }
        let dead = |half: &Option<Vec<Packet<'_>>>, side: &Side<'_>| half.is_none() || side.complete;
        Probe::unless_over([dead(&first, &seen.first), dead(&second, &seen.second)])
    }
}

/// Who serves, on the ports of a transfer where its request is not seen (RFC 1350 section 2): whoever acknowledges block 0, unless options
/// were agreed, grants a write; else whoever sends the first block was asked to. Errors come from servers, as a rule.
fn server(first: &Option<Vec<Packet<'_>>>, second: &Option<Vec<Packet<'_>>>) -> Option<End> {
    let who = |does: fn(&Packet<'_>) -> bool| {
        let has = |half: &Option<Vec<Packet<'_>>>| half.iter().flatten().any(does);
        match (has(first), has(second)) {
            (true, false) => Some(End::First),
            (false, true) => Some(End::Second),
            _ => None,
        }
    };
    who(|packet| matches!(packet, Packet::Acknowledgement { block: 0 }))
        .or_else(|| who(|packet| matches!(packet, Packet::Data { block: 1, .. })))
        .or_else(|| who(|packet| matches!(packet, Packet::Error { .. })))
}

/// Packets by opcode (RFC 1350 section 5, RFC 2347).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packet<'a> {
    Request { write: bool, file: &'a [u8] },
    Data { block: u16, length: usize },
    Acknowledgement { block: u16 },
    Error { code: u16, words: &'a [u8] },
    Options,
}

/// All packets of one end; `None` where one of them is none.
fn read<'a>(side: &Side<'a>) -> Option<Vec<Packet<'a>>> {
    let mut packets = Vec::new();
    for message in side.messages().filter(|message| !message.is_empty()) {
        match packet(message) {
            Some(packet) => packets.push(packet),
            // What follows a request on its own port is another transfer's affair.
            None if packets
                .iter()
                .any(|packet| matches!(packet, Packet::Request { .. } | Packet::Options)) => {}
            None => return None,
        }
    }
    Some(packets)
}

fn packet(bytes: &[u8]) -> Option<Packet<'_>> {
    /// Data of one block without the blksize option (RFC 2348 allows up to 65464).
    const LARGEST_CODE: u16 = 8;
    let mut reader = Reader::new(bytes);
    match reader.be16()? {
        code @ (1 | 2) => {
            let mut strings = strings(reader.rest())?;
            let file = strings.next()?;
            // A name left empty, or padded with NULs, is still a request: the server will refuse it.
            let mode = strings.find(|string| !string.is_empty())?;
            let known =
                [&b"netascii"[..], b"octet", b"mail"].iter().any(|known| mode.eq_ignore_ascii_case(known));
            let named = file.iter().all(|&byte| byte >= b' ' && byte != 0x7f);
            // Options come in pairs.
            (known && named && strings.count() % 2 == 0).then_some(Packet::Request { write: code == 2, file })
        }
        3 => Some(Packet::Data { block: reader.be16()?, length: reader.left() }),
        4 => {
            let block = reader.be16()?;
            reader.is_empty().then_some(Packet::Acknowledgement { block })
        }
        5 => {
            let code = reader.be16().filter(|&code| code <= LARGEST_CODE)?;
            let words = reader.rest().strip_suffix(&[0])?;
            words.iter().all(|&byte| byte >= b' ').then_some(Packet::Error { code, words })
        }
        6 => {
            let known = [&b"blksize"[..], b"tsize", b"timeout", b"windowsize", b"multicast", b"rollover"];
            let mut strings = strings(reader.rest())?;
            let name = strings.next()?;
            let value = strings.next()?;
            let fits = known.iter().any(|known| name.eq_ignore_ascii_case(known));
            (fits && !value.is_empty() && strings.count() % 2 == 0).then_some(Packet::Options)
        }
        _ => None,
    }
}

/// Strings that each end with a NUL, the last one too. Some clients pad with more.
fn strings(bytes: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let end = bytes.iter().rposition(|&byte| byte != 0)?;
    (end + 1 < bytes.len()).then(|| bytes.get(..=end).unwrap_or(bytes).split(|&byte| byte == 0))
}

/// Whether one end's packets prove it alone: a request, an answer with options, a described error, or blocks in order.
fn is_proof(packets: &[Packet<'_>]) -> bool {
    if packets.iter().any(|packet| matches!(packet, Packet::Request { .. } | Packet::Options)) {
        return true;
    }
    if let [Packet::Error { words, .. }, ..] = packets
        && words.len() > 3
    {
        return true;
    }
    // Full blocks of one size that count up by one, or the same again; the size is 512 or another power of two, mostly.
    let blocks: Vec<(u16, usize)> = packets
        .iter()
        .filter_map(|packet| match packet {
            Packet::Data { block, length } => Some((*block, *length)),
            _ => None,
        })
        .collect();
    if let [(1, length), (second, _), ..] = blocks.as_slice()
        && matches!(length, 512 | 1024 | 1428 | 1432 | 1440 | 1456 | 1468 | 2044)
        && matches!(second, 1 | 2)
        && packets.len() == blocks.len()
    {
        return true;
    }
    let acknowledged: Vec<u16> = packets
        .iter()
        .filter_map(|packet| match packet {
            Packet::Acknowledgement { block } => Some(*block),
            _ => None,
        })
        .collect();
    let counts_up =
        |list: &[u16]| list.windows(2).all(|pair| matches!(pair, [a, b] if *b == a.wrapping_add(1)));
    acknowledged.len() >= 3 && acknowledged.len() == packets.len() && counts_up(&acknowledged)
}

/// Whether one end acknowledges what the other sends.
fn pairs(data: &Option<Vec<Packet<'_>>>, acknowledging: &Option<Vec<Packet<'_>>>) -> bool {
    let (Some(data), Some(acknowledging)) = (data, acknowledging) else { return false };
    data.iter().any(|packet| match packet {
        Packet::Data { block, .. } => acknowledging.contains(&Packet::Acknowledgement { block: *block }),
        _ => false,
    })
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
        harness::check(&Tftp, 0, 0);
        harness::check_steps(&Tftp);
    }

    #[test]
    fn requests_and_transfers() {
        let Probe::Proven(proof) =
            probe_messages(&Tftp, Carrier::Udp, &[b"\0\x01fw.bin\0octet\0blksize\x001432\0"])
        else {
            panic!("not proven");
        };
        assert_eq!((proof.client, proof.facts.get("tftp.file")), (Some(End::First), Some("fw.bin")));
        assert!(matches!(
            probe_both(&Tftp, Carrier::Udp, &[b"\0\x03\0\x01data"], &[b"\0\x04\0\x01"]),
            Probe::Proven(_)
        ));
        assert!(matches!(
            probe_messages(&Tftp, Carrier::Udp, &[b"\0\x05\0\x01File not found\0"]),
            Probe::Proven(_)
        ));
    }

    #[test]
    fn what_is_not_tftp() {
        for stranger in
            [hex("0004 0001"), hex("0003 0001 00"), hex("0001 61 00 62 00"), hex("0005 0009 61626364 00")]
        {
            let probe = probe_messages(&Tftp, Carrier::Udp, &[&stranger]);
            assert!(!matches!(probe, Probe::Proven(_)), "{stranger:02x?}");
        }
    }
}
