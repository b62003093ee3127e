//! SSH: the identification line of either end, or the key exchange in the clear that follows it.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::bytes::Reader;
use super::bytes::is_text;
use super::bytes::line;
use super::bytes::text;
use super::look;
use super::look::Look;
use crate::model::Facts;

/// The protocol.
pub struct Ssh;

static ABOUT: About = About {
    name: "ssh",
    title: "Secure Shell",
    spec: "RFC 4253",
    usual: &["tcp/22"],
    answers: true,
    facts: &[
        ("ssh.version", "protocol version of each identification line: 2.0, 1.99, 1.5"),
        ("ssh.banner", "each identification line"),
        ("ssh.client", "the client's identification line, once the key exchange tells which end it is"),
        ("ssh.server", "the server's"),
        ("ssh.key_exchange", "how far the key exchange is shown: begun, or answered by the server"),
    ],
};

/// The longest identification line, CR and LF included (RFC 4253 section 4.2).
const LONGEST_LINE: usize = 255;
/// Message numbers (RFC 4253 section 12, RFC 4419 section 5).
const KEXINIT: u8 = 20;
const IGNORE: u8 = 2;
const DEBUG: u8 = 4;
const NEWKEYS: u8 = 21;
/// The most messages looked at after KEXINIT.
const MOST_MESSAGES: usize = 6;
/// The largest packet that every implementation takes (RFC 4253 section 6.1).
const LARGEST_PACKET: u32 = 35_000;

impl Protocol for Ssh {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        match look::both(seen, look_at) {
            Ok(both) => Probe::Proven(conclude(seen, both)),
            Err(probe) => probe,
        }
    }
}

/// What one end showed.
struct Half<'a> {
    /// Its identification line, and the version in it.
    banner: Option<(&'a [u8], &'a str)>,
    /// Which part it plays, where its key exchange tells.
    is_client: Option<bool>,
    /// How far its key exchange goes, where it begins one.
    exchange: Option<Exchange>,
}

/// How far the key exchange of an end goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exchange {
    /// It says what it can do.
    Begun,
    /// It goes on after that.
    GoesOn,
    /// It answers as the server, or has such an answer: both agree on the algorithms (RFC 4253 section 7.1).
    Answered,
}

fn look_at<'a>(side: &Side<'a>) -> Look<Half<'a>> {
    let found = look::stream(side, |bytes| look_from(bytes, side.complete));
    if !matches!(found, Look::No) {
        return found;
    }
    // A server may send other lines first (RFC 4253 section 4.2).
    match after_lines(side) {
        Look::Yes(half) => Look::Yes(half),
        Look::More if !side.complete => Look::More,
        Look::More | Look::No => Look::No,
    }
}

fn look_from(bytes: &[u8], complete: bool) -> Look<Half<'_>> {
    match (bytes.starts_with(b"SSH-"), b"SSH-".starts_with(bytes)) {
        (true, _) => {}
        (false, true) => return Look::More,
        (false, false) => return key_exchange(bytes),
    }
    match line(bytes) {
        Some((banner, rest)) => match version(banner).filter(|_| banner.len() <= LONGEST_LINE) {
            Some(version) => Look::Yes(half(Some((banner, version)), rest)),
            None => Look::No,
        },
        // The line may be cut by the snap length; what is there must be one.
        None if complete && let Some(version) = version(bytes) => {
            Look::Yes(half(Some((bytes, version)), &[]))
        }
        None if bytes.len() > LONGEST_LINE => Look::No,
        None => Look::More,
    }
}

/// The protocol version of an identification line: `SSH-2.0-software comments`.
fn version(banner: &[u8]) -> Option<&str> {
    let rest = std::str::from_utf8(banner.strip_prefix(b"SSH-")?).ok()?;
    let (version, software) = rest.split_once('-')?;
    let (major, minor) = version.split_once('.')?;
    let numbers = [major, minor]
        .iter()
        .all(|part| (1..=2).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit()));
    (numbers && matches!(major, "1" | "2") && !software.is_empty() && is_text(software.as_bytes()))
        .then_some(version)
}

/// A KEXINIT packet when the line before it was missed (RFC 4253 section 7.1).
fn key_exchange(bytes: &[u8]) -> Look<Half<'_>> {
    match packet(bytes) {
        Some((KEXINIT, payload, _)) if is_kexinit(payload) => Look::Yes(half(None, bytes)),
        Some(_) => Look::No,
        None => Look::More,
    }
}

/// Number, payload after the number, and rest of a binary packet (RFC 4253 section 6), cut where the bytes end.
///
/// A packet that can't be one comes out as number 0. `None` where the header is not yet whole.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let mut reader = Reader::new(bytes);
    let (length, padding, number) = (reader.be32()?, reader.u8()?, reader.u8()?);
    if length > LARGEST_PACKET || padding < 4 || u32::from(padding) + 2 > length {
        return Some((0, &[], &[]));
    }
    let inside = length as usize - 2;
    let whole = reader.rest().get(..inside).unwrap_or(reader.rest());
    let rest = reader.rest().get(inside..).unwrap_or_default();
    Some((number, whole, rest))
}

/// Whether it goes on with a cookie and lists of algorithm names.
fn is_kexinit(payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload);
    if reader.skip(16).is_none() {
        return false;
    }
    // Key exchange and host key algorithms: never empty, and printable ASCII (RFC 4251 section 6).
    (0..2).all(|_| {
        reader.be32().and_then(|length| reader.take(length as usize)).is_some_and(|list| {
            list.len() > 4 && list.iter().all(|c| c.is_ascii_graphic()) && list.contains(&b'-')
        })
    })
}

/// What the packets after an identification line tell of their sender.
fn half<'a>(banner: Option<(&'a [u8], &'a str)>, packets: &[u8]) -> Half<'a> {
    let Some((KEXINIT, _, rest)) = packet(packets) else {
        return Half { banner, is_client: None, exchange: None };
    };
    let mut half = Half { banner, is_client: None, exchange: Some(Exchange::Begun) };
    for number in messages(rest) {
        half.is_client = half.is_client.or(match number {
            // KEXDH_INIT or KEX_ECDH_INIT, GEX_INIT, GEX_REQUEST.
            30 | 32 | 34 => Some(true),
            // KEXDH_REPLY, GEX_GROUP (which shares 31), GEX_REPLY.
            31 | 33 => Some(false),
            _ => None,
        });
        let reached = match number {
            // Who is ready for the new keys has what the other end says to them (RFC 4253 section 7.3).
            NEWKEYS => Exchange::Answered,
            31 | 33 if half.is_client == Some(false) => Exchange::Answered,
            30..=49 => Exchange::GoesOn,
            _ => Exchange::Begun,
        };
        half.exchange = half.exchange.max(Some(reached));
    }
    half
}

/// The first messages after KEXINIT, by their numbers: the client's are even, the server's odd (RFC 4253 section 8, RFC 4419, RFC 5656). Those
/// that may stand anywhere are left out; after NEWKEYS all is encrypted.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = u8> {
    let mut over = false;
    let next = move || {
        let (number, _, rest) = packet(bytes).filter(|_| !over)?;
        (bytes, over) = (rest, !matches!(number, IGNORE | DEBUG | 30..=49));
        Some(number)
    };
    std::iter::from_fn(next).take(MOST_MESSAGES).filter(|number| !matches!(number, &IGNORE | &DEBUG))
}

/// Looks for the identification line after other lines of text.
fn after_lines<'a>(side: &Side<'a>) -> Look<Half<'a>> {
    let mut rest = side.bytes;
    while let Some((text, after)) = line(rest) {
        if let Some(version) = version(text) {
            // The line must be the last, or what follows must be a key exchange: text that quotes such a line is none.
            let goes_on = after.is_empty() || packet(after).is_some_and(|(number, ..)| number == KEXINIT);
            return if goes_on {
                Look::Yes(Half { is_client: Some(false), ..half(Some((text, version)), after) })
            } else {
                Look::No
            };
        }
        // Such lines are text, and no other protocol's (RFC 4253 section 4.2).
        if text.len() > 2 * LONGEST_LINE
            || !text.iter().all(|&c| c >= b' ' || c == b'\t')
            || names_another(text)
        {
            return Look::No;
        }
        rest = after;
    }
    if rest.len() > 2 * LONGEST_LINE || rest.iter().any(|&c| c < b' ' && !matches!(c, b'\t' | b'\r')) {
        return Look::No;
    }
    Look::More
}

/// Whether a line is the beginning of another protocol's talk, which may carry text of any kind.
fn names_another(text: &[u8]) -> bool {
    let word = |needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
    word(b"HTTP/1.")
        || word(b"RTSP/1.")
        || word(b"SIP/2.0")
        || text.starts_with(b"220")
        || text.starts_with(b"EHLO")
}

fn conclude(seen: &Seen<'_>, both: [Option<Half<'_>>; 2]) -> Proof {
    let told = |at: usize| both.get(at).and_then(Option::as_ref).and_then(|half| half.is_client);
    let client = End::asking(told(0), told(1));
    let mut facts = Facts::new();
    for (end, half) in [End::First, End::Second].into_iter().zip(&both) {
        let Some((banner, version)) = half.as_ref().and_then(|half| half.banner) else { continue };
        let banner = text(banner);
        facts.add("ssh.version", version);
        facts.add("ssh.banner", banner.as_str());
        if let Some(client) = client {
            facts.add(if client == end { "ssh.client" } else { "ssh.server" }, banner);
        }
    }
    let exchange = exchange(&both);
    if let Some(exchange) = exchange {
        facts.add("ssh.key_exchange", if exchange == Exchange::Answered { "answered" } else { "begun" });
    }
    let done = exchange == Some(Exchange::Answered)
        && client.is_some()
        && both.iter().all(|half| half.as_ref().is_some_and(|half| half.banner.is_some()));
    Proof { client, facts, open: !(done || seen.first.complete && seen.second.complete), ..Proof::default() }
}

/// How far the key exchange comes. Where both ends go on after saying what they can do, one of them is the server.
fn exchange(both: &[Option<Half<'_>>; 2]) -> Option<Exchange> {
    let of = |half: &Option<Half<'_>>| half.as_ref().and_then(|half| half.exchange);
    match both.each_ref().map(of) {
        [Some(Exchange::GoesOn), Some(Exchange::GoesOn)] => Some(Exchange::Answered),
        [one, other] => one.max(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::probe_both;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Ssh, 0, 0);
        harness::check_steps(&Ssh);
    }

    #[test]
    fn either_line_alone_proves_it() {
        for line in [&b"SSH-2.0-OpenSSH_9.6\r\n"[..], b"SSH-1.99-Cisco-1.25\n", b"SSH-1.5-old\r\n"] {
            assert!(matches!(probe_messages(&Ssh, Carrier::Tcp, &[line]), Probe::Proven(_)), "{line:?}");
        }
        let Probe::Proven(proof) =
            probe_messages(&Ssh, Carrier::Tcp, &[b"Welcome\r\n", b"to the plant\r\nSSH-2.0-dropbear\r\n"])
        else {
            panic!("not proven");
        };
        assert_eq!(
            (proof.client, proof.facts.get("ssh.server")),
            (Some(End::Second), Some("SSH-2.0-dropbear"))
        );
    }

    #[test]
    fn how_far_the_key_exchange_comes_is_told() {
        let kexinit = [
            &b"\x00\x00\x00\x24\x04\x14"[..],
            &[0x42; 16],
            b"\x00\x00\x00\x05kex-a\x00\x00\x00\x05key-a",
            &[0; 0],
        ]
        .concat();
        assert_eq!(kexinit.len(), 4 + 0x24);
        let message = |number: u8| [&b"\x00\x00\x00\x0c\x0a"[..], &[number], &[0; 10]].concat();
        let told = |client: &[&[u8]], server: &[&[u8]]| {
            let banner = &b"SSH-2.0-x\r\n"[..];
            let with = |rest: &[&[u8]]| [banner, &rest.concat()].concat();
            let probe = probe_both(&Ssh, Carrier::Tcp, &[&with(client)], &[&with(server)]);
            probe.proof().and_then(|proof| proof.facts.get("ssh.key_exchange").map(str::to_owned))
        };
        assert_eq!(told(&[], &[]), None, "banners alone");
        assert_eq!(told(&[&kexinit], &[]).as_deref(), Some("begun"));
        assert_eq!(told(&[&kexinit, &message(30)], &[&kexinit]).as_deref(), Some("begun"));
        assert_eq!(told(&[&kexinit], &[&kexinit, &message(1)]).as_deref(), Some("begun"), "DISCONNECT");
        assert_eq!(told(&[&kexinit, &message(30)], &[&kexinit, &message(31)]).as_deref(), Some("answered"));
        assert_eq!(
            told(&[&kexinit, &message(30)], &[&kexinit, &message(2), &message(31)]).as_deref(),
            Some("answered")
        );
        assert_eq!(
            told(&[&kexinit, &message(30)], &[&kexinit, &message(32)]).as_deref(),
            Some("answered"),
            "RFC 4462"
        );
    }

    #[test]
    fn what_is_not_ssh() {
        for stranger in [
            &b"SSH-X.0-nothing\r\n"[..],
            b"SSH-2.0-\r\n",
            b"SSH 2.0\r\n",
            b"\x00\x00\x00\x01",
            b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-OpenSSH_9.6\r\n",
            b"a log\r\nSSH-2.0-OpenSSH_9.6\r\nwas seen",
        ] {
            let probe = probe_both(&Ssh, Carrier::Tcp, &[stranger], &[stranger]);
            assert!(!matches!(probe, Probe::Proven(_)), "{stranger:?}");
        }
    }
}
