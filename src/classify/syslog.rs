//! Syslog: BSD and IETF messages and what security devices put in them (LEEF, CEF), by datagram or framed in a stream.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::line;
use super::look;
use super::look::Look;
use super::weigh::agrees;
use crate::model::Facts;

/// The protocol.
pub struct Syslog;

static ABOUT: About = About {
    name: "syslog",
    title: "Syslog",
    spec: "RFC 5424, RFC 3164, RFC 5426 (UDP), RFC 6587 (TCP); ArcSight CEF, IBM LEEF",
    usual: &["udp/514", "tcp/514", "tcp/601"],
    answers: false,
    facts: &[
        (
            "syslog.format",
            "each format seen: rfc5424, rfc3164 (with or without its timestamp), cef, leef (these without a priority too)",
        ),
        ("syslog.framing", "on TCP: octet-counting or newline (RFC 6587 section 3.4)"),
    ],
};

impl Protocol for Syslog {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        let counted = carrier == Carrier::Tcp;
        match at {
            0 => byte == b'<' || counted && matches!(byte, b'1'..=b'9') || is_of_bare(at, byte),
            1 => byte.is_ascii_digit() || counted && byte == b' ' || is_of_bare(at, byte),
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        let both = match seen.carrier {
            Carrier::Udp => look::both(seen, |side| {
                match look::datagrams(side, |datagram| message(datagram).filter(|found| found.whole)) {
                    Look::Yes(found) => Look::Yes((found.iter().map(|found| found.format).collect(), None)),
                    Look::More => Look::More,
                    Look::No => Look::No,
                }
            }),
            Carrier::Tcp => look::both(seen, |side| {
                look::stream(side, |bytes| {
                    let at = side.bytes.len() - bytes.len();
                    let segment_end = side.ends.iter().map(|&end| usize::from(end)).find(|&end| end > at);
                    framed(bytes, segment_end.map(|end| end - at), side.complete)
                })
            }),
            Carrier::Ethernet(_) => return Probe::No,
        };
        let [first, second]: [Option<(Vec<&str>, Option<&str>)>; 2] = match both {
            Ok(both) => both,
            Err(probe) => return probe,
        };
        let mut facts = Facts::new();
        // Who sends the messages is the client; nothing is answered.
        let client = match (&first, &second) {
            (Some(_), None) => Some(End::First),
            (None, Some(_)) => Some(End::Second),
            _ => None,
        };
        for (formats, framing) in [first, second].into_iter().flatten() {
            for format in formats {
                facts.add("syslog.format", format);
            }
            if let Some(framing) = framing {
                facts.add("syslog.framing", framing);
            }
        }
        Probe::Proven(Proof { client, facts, ..Proof::default() })
    }
}

/// A message recognised by its front.
#[derive(Clone, Copy, Debug)]
struct Found {
    format: &'static str,
    /// Whether a timestamp or a product's header shows it, beyond the priority.
    strong: bool,
    /// Whether all of the bytes are text.
    whole: bool,
}

/// The highest priority value: facility 23, severity 7 (RFC 5424 section 6.2.1).
const HIGHEST_PRIORITY: u32 = 191;
/// Text after the priority that is too short to be told from chance.
const SHORTEST_TEXT: usize = 4;

/// The priority at the front, and what follows it.
fn priority(bytes: &[u8]) -> Option<&[u8]> {
    let inside = bytes.strip_prefix(b"<")?;
    let digits = inside.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = inside.split_at_checked(digits)?;
    let rest = rest.strip_prefix(b">")?;
    let value = number.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    // No leading zeros, but for zero itself.
    let canonical = !number.is_empty() && (number.len() == 1 || number.first() != Some(&b'0'));
    (canonical && value <= HIGHEST_PRIORITY).then_some(rest)
}

fn message(bytes: &[u8]) -> Option<Found> {
    let Some(rest) = priority(bytes) else { return bare(bytes) };
    if rest.len() < SHORTEST_TEXT {
        return None;
    }
    let whole = is_log_text(rest);
    // Both headers end with a bar, which most messages have none of.
    let barred = rest.contains(&b'|');
    let has = |needle: &[u8]| barred && rest.windows(needle.len()).take(512).any(|window| window == needle);
    let ietf = is_ietf(rest);
    if !ietf && !whole {
        return None;
    }
    let (format, strong) = match PRODUCTS.iter().find(|(header, _)| has(header)) {
        Some((_, format)) => (*format, true),
        None if ietf => ("rfc5424", true),
        None => ("rfc3164", is_dated(rest)),
    };
    Some(Found { format, strong, whole: whole || ietf })
}

/// What security devices begin their events with.
const PRODUCTS: [(&[u8], &str); 4] =
    [(b"CEF:0|", "cef"), (b"CEF:1|", "cef"), (b"LEEF:1.0|", "leef"), (b"LEEF:2.0|", "leef")];
/// Bars in the header of an event: vendor, product, version and identifier at least.
const BARS: usize = 4;
const MONTHS: [&[u8]; 12] = [
    b"Jan ", b"Feb ", b"Mar ", b"Apr ", b"May ", b"Jun ", b"Jul ", b"Aug ", b"Sep ", b"Oct ", b"Nov ",
    b"Dec ",
];

/// Whether an event without a priority may have this byte at this place of its front.
fn is_of_bare(at: usize, byte: u8) -> bool {
    PRODUCTS.iter().map(|(header, _)| header).chain(&MONTHS).any(|front| front.get(at) == Some(&byte))
}

/// An event that some send without a priority (RFC 3164 section 4.3.3), alone or after time and host.
fn bare(bytes: &[u8]) -> Option<Found> {
    let event = bytes.get(bare_at(bytes).yes()?..)?;
    let (_, format) = PRODUCTS.iter().find(|(header, _)| event.starts_with(header))?;
    let barred = event.iter().filter(|&&byte| byte == b'|').count() > BARS;
    (barred && is_log_text(bytes)).then_some(Found { format, strong: true, whole: true })
}

/// Where such an event begins.
fn bare_at(bytes: &[u8]) -> Look<usize> {
    /// Longest name of a host (RFC 1035 section 2.3.4).
    const LONGEST_HOST: usize = 255;
    let stamp = bytes.get(..STAMP.len()).unwrap_or(bytes);
    let month = MONTHS.iter().any(|month| agrees(stamp, month));
    let dated = month && stamp.iter().zip(STAMP).skip(4).all(|(byte, shape)| is_shaped(*byte, *shape));
    let at = match (dated, bytes.get(STAMP.len()..)) {
        (false, _) => 0,
        (true, None) => return Look::More,
        (true, Some(rest)) => match rest.iter().take(LONGEST_HOST + 1).position(|&byte| byte == b' ') {
            Some(host) => STAMP.len() + host + 1,
            None if rest.len() <= LONGEST_HOST => return Look::More,
            None => return Look::No,
        },
    };
    let event = bytes.get(at..).unwrap_or_default();
    if PRODUCTS.iter().any(|(header, _)| event.starts_with(header)) {
        Look::Yes(at)
    } else if PRODUCTS.iter().any(|(header, _)| agrees(event, header)) {
        Look::More
    } else {
        Look::No
    }
}

/// `Nov 30 06:00:00 ` (RFC 3164 section 4.1.2): d is a digit, D a digit or a blank.
const STAMP: &[u8; 16] = b"Mmm Dd dd:dd:dd ";

fn is_shaped(byte: u8, shape: u8) -> bool {
    match shape {
        b'd' => byte.is_ascii_digit(),
        b'D' => is_day(&byte),
        other => byte == other,
    }
}

/// Version 1, then a timestamp or nil (RFC 5424 section 6).
fn is_ietf(rest: &[u8]) -> bool {
    match rest.strip_prefix(b"1 ") {
        Some([b'-', b' ', ..]) => true,
        Some(stamp) => is_iso(stamp),
        None => false,
    }
}

/// `2003-10-11T22:14:15` at the front (RFC 3339), or with a blank instead of the T.
fn is_iso(stamp: &[u8]) -> bool {
    const SHAPE: &[u8; 19] = b"dddd-dd-ddTdd:dd:dd";
    stamp.get(..SHAPE.len()).is_some_and(|stamp| {
        stamp.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't' | b' '),
            other => byte == other,
        })
    })
}

/// Whether a timestamp stands near the front, as RFC 3164 section 4.1.2 has it or as devices write it.
fn is_dated(rest: &[u8]) -> bool {
    // Some put a sequence number, a host name or a mark before it.
    let front = rest.get(..80).unwrap_or(rest);
    (0..front.len()).any(|at| {
        let here = front.get(at..).unwrap_or_default();
        is_iso(here) || MONTHS.iter().any(|month| here.starts_with(month) && here.get(4).is_some_and(is_day))
    })
}

fn is_day(byte: &u8) -> bool {
    matches!(byte, b' ' | b'0'..=b'9')
}

/// Text in any encoding that keeps ASCII: no control characters but those that lay text out; a closing NUL is common.
fn is_log_text(bytes: &[u8]) -> bool {
    let bytes = match bytes {
        [text @ .., 0] => text,
        all => all,
    };
    let high = bytes.iter().filter(|&&byte| byte >= 0x80).count();
    bytes.iter().all(is_text) && (high * 3 <= bytes.len() || std::str::from_utf8(bytes).is_ok())
}

fn is_text(byte: &u8) -> bool {
    matches!(byte, b'\t' | b'\r' | b'\n' | 0x1b | b' '..=b'~' | 0x80..)
}

/// Messages in a stream: counted octets, or ended by LF, CRLF or NUL (RFC 6587 section 3.4).
///
/// `segment` is how far the first segment reaches.
fn framed(
    bytes: &[u8],
    segment: Option<usize>,
    complete: bool,
) -> Look<(Vec<&'static str>, Option<&'static str>)> {
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        let digits = bytes.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        let Some((number, rest)) = bytes.split_at_checked(digits) else { return Look::No };
        if number.first() == Some(&b'0') || digits > 5 {
            return Look::No;
        }
        if rest.is_empty() {
            return Look::More;
        }
        let Some(text) = rest.strip_prefix(b" ") else { return Look::No };
        let length = number.iter().fold(0_usize, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        let body = text.get(..length).unwrap_or(text);
        return match message(body) {
            Some(found) if found.whole && (body.len() == length || found.strong) => {
                Look::Yes((vec![found.format], Some("octet-counting")))
            }
            Some(_) => Look::More,
            None if body.len() < length => unsure(body, complete),
            None => Look::No,
        };
    }
    let is_bare = bytes.first() != Some(&b'<');
    if is_bare {
        match bare_at(bytes) {
            Look::Yes(_) => {}
            Look::More if !complete => return Look::More,
            Look::More | Look::No => return Look::No,
        }
    }
    let ended = match line(bytes) {
        Some((line, _)) => Some(line),
        None => bytes.split(|&byte| byte == 0).next().filter(|text| text.len() < bytes.len()),
    };
    // Without an end, the segment's stands in for it: some senders write a message a segment and end none.
    let body = ended.or_else(|| bytes.get(..segment?)).unwrap_or(bytes);
    match message(body) {
        Some(found) if found.whole && (found.strong || ended.is_some() || segment.is_some()) => {
            Look::Yes((vec![found.format], Some("newline")))
        }
        Some(_) => Look::More,
        None if ended.is_some() => Look::No,
        None if is_bare => {
            if !complete && bytes.iter().all(is_text) {
                Look::More
            } else {
                Look::No
            }
        }
        None => unsure(body, complete),
    }
}

/// Whether a front that is no message yet may become one.
fn unsure<T>(bytes: &[u8], complete: bool) -> Look<T> {
    let front = bytes.get(..5).unwrap_or(bytes);
    let may_be = match front {
        [] => true,
        [b'<', rest @ ..] => {
            rest.iter().all(|byte| byte.is_ascii_digit()) && rest.len() < 4 || priority(bytes).is_some()
        }
        _ => false,
    };
    // How much of a text is beyond ASCII is known once it is all there.
    let goes_on = priority(bytes).is_some_and(|text| text.iter().all(is_text));
    let short = bytes.len() < SHORTEST_TEXT + 5;
    if !complete && (goes_on || may_be && short) { Look::More } else { Look::No }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Syslog, 0, 0);
        harness::check_steps(&Syslog);
    }

    fn format(carrier: Carrier, message: &[u8]) -> Option<String> {
        match probe_messages(&Syslog, carrier, &[message]) {
            Probe::Proven(proof) => proof.facts.get("syslog.format").map(str::to_owned),
            _ => None,
        }
    }

    #[test]
    fn formats() {
        for (message, want) in [
            (&b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed"[..], "rfc3164"),
            (b"<165>1 2003-10-11T22:14:15.003Z host app - ID47 - text", "rfc5424"),
            (b"<13>1 - - - - - -", "rfc5424"),
            (b"<189>42: *Mar  1 00:00:12.345: %LINK-3-UPDOWN: up", "rfc3164"),
            (b"<134>CEF:0|Nozomi|N2OS|1|x|y|3|", "cef"),
            (b"<13>Jan 18 11:07:53 host LEEF:1.0|Vendor|Product|1|id|", "leef"),
            (b"<0>kernel panic", "rfc3164"),
        ] {
            assert_eq!(format(Carrier::Udp, message).as_deref(), Some(want), "{message:?}");
            assert_eq!(format(Carrier::Tcp, message).as_deref(), Some(want), "{message:?}");
        }
        for (message, want) in [
            (&b"CEF:0|Nozomi|N2OS|1|x|y|3|src=1.1.1.1"[..], Some("cef")),
            (b"Nov 30 06:00:00 guardian CEF:0|Nozomi|N2OS|1|x|y|3|", Some("cef")),
            (b"Nov  3 06:00:00 ctd LEEF:2.0|Claroty|CTD|1|x|^|a=b", Some("leef")),
            (b"CEF:0|only|two", None),
            (b"Nov 30 06:00:00 guardian cron: a job", None),
            (b"Nov 30 06:00 guardian CEF:0|Nozomi|N2OS|1|x|y|3|", None),
        ] {
            assert_eq!(format(Carrier::Udp, message).as_deref(), want, "{message:?}");
            assert_eq!(format(Carrier::Tcp, message).as_deref(), want, "{message:?}");
        }
        assert_eq!(format(Carrier::Tcp, b"17 <13>1 - - - - - -").as_deref(), Some("rfc5424"));
        let Probe::Proven(proof) =
            probe_messages(&Syslog, Carrier::Tcp, &[b"14 <0>kernel upset14 <0>kernel again"])
        else {
            panic!("not proven")
        };
        assert_eq!(proof.facts.get("syslog.framing"), Some("octet-counting"));
        assert_eq!(proof.client, Some(End::First));
    }

    /// A beginning with more bytes beyond ASCII than a log has is not given up before its end.
    #[test]
    fn a_text_is_judged_once_it_is_all_there() {
        let parts = [&b"<4>n?4\xba\xfb\xfe"[..], b"99D40098990000000e\0"];
        assert_eq!(probe_messages(&Syslog, Carrier::Tcp, &parts[..1]), Probe::NeedMore);
        assert!(matches!(probe_messages(&Syslog, Carrier::Tcp, &parts), Probe::Proven(_)));
        let counted = [&b"24 <4>n?4\xba\xfb\xfe"[..], b"99D40098990000e"];
        assert_eq!(probe_messages(&Syslog, Carrier::Tcp, &counted[..1]), Probe::NeedMore);
        assert!(matches!(probe_messages(&Syslog, Carrier::Tcp, &counted), Probe::Proven(_)));
    }

    #[test]
    fn what_is_not_syslog() {
        for stranger in [
            &b"<192>Oct 11 22:14:15 host text"[..],
            b"<034>Oct 11 22:14:15 host text",
            b"<>text text",
            b"<a>text text",
            b"<13>\x01\x02\x03\x04\x05\x06",
            b"<13>",
            b"<?xml version=\"1.0\"?>",
            b"220 <13> hello there",
        ] {
            assert_eq!(format(Carrier::Udp, stranger), None, "{stranger:?}");
            assert_eq!(format(Carrier::Tcp, stranger), None, "{stranger:?}");
        }
    }
}
