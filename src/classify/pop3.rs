//! POP3: fetching mail.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::bytes::line;
use super::bytes::text;
use super::weigh;
use super::weigh::Step;
use super::weigh::client_is;
use super::weigh::first_segment;
use super::weigh::upgraded;

/// Fetching mail.
pub struct Pop3;

static ABOUT: About = About {
    name: "pop3",
    title: "POP3",
    spec: "RFC 1939 sections 3 to 7, RFC 2449, RFC 2595 section 4",
    usual: &["tcp/110"],
    answers: true,
    facts: &[("pop3.greeting", "greeting of the server")],
};

impl Protocol for Pop3 {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        at > 2 || byte.is_ascii_alphabetic() || matches!((at, byte), (0, b'+' | b'-'))
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp if seen.sides().iter().any(|(_, side)| begins_otherwise(side)) => Probe::No,
            Carrier::Tcp => {
                let told = |end, message: &[u8], proof: &mut Proof| {
                    tell(end, message, seen.side(end).from_start, proof);
                };
                upgraded(weigh::probe(seen, step, told), seen, "pop3", first_segment)
            }
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// The longest line accepted: 512 bytes (RFC 2449 section 4), 255 of them a command.
const LONGEST_LINE: usize = 512;

/// Whether a line without its end, whole or begun, may be one of the protocol: text, since RFC 6856 perhaps beyond ASCII.
fn may_be(line: &[u8]) -> bool {
    line.len() <= LONGEST_LINE && !line.iter().any(|&byte| matches!(byte, 0..=8 | 10..=31 | 127))
}

fn step(bytes: &[u8]) -> Step {
    let Some((first, rest)) = line(bytes) else {
        return if may_be(bytes.strip_suffix(b"\r").unwrap_or(bytes)) { Step::Cut(0) } else { Step::Wrong };
    };
    if !may_be(first) {
        return Step::Wrong;
    }
    let weight = match first {
        // Other protocols answer so too (Redis): a greeting has a text, and what follows it is known by the client's commands.
        b"+OK" | [b'-', b'E', b'R', b'R', b' ', ..] => 0,
        [b'+', b'O', b'K', b' ', ..] => 70,
        _ => match command_weight(first) {
            Some(weight) => weight,
            None => return Step::Wrong,
        },
    };
    Step::Whole(bytes.len() - rest.len(), weight)
}

/// Whether an end's first line is none of the protocol's: then an answer that is proves nothing, because others say `+OK` too.
fn begins_otherwise(side: &Side<'_>) -> bool {
    side.from_start && line(side.bytes).is_some() && step(side.bytes) == Step::Wrong
}

/// What a command line weighs; USER, PASS, QUIT, STAT and LIST are those of FTP as well and weigh nothing.
fn command_weight(first: &[u8]) -> Option<u32> {
    let first = std::str::from_utf8(first).ok()?;
    let mut words = first.split(' ');
    let command = words.next()?.to_ascii_uppercase();
    let number = words.next().map(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()));
    match (command.as_str(), number) {
        ("UIDL" | "CAPA" | "STLS", None) => Some(60),
        ("RETR" | "DELE" | "UIDL" | "TOP", Some(true)) => Some(60),
        ("APOP", Some(_)) => Some(60),
        ("LIST", Some(true)) => Some(20),
        ("USER" | "PASS" | "AUTH", Some(_)) | ("QUIT" | "STAT" | "LIST" | "NOOP" | "RSET" | "AUTH", None) => {
            Some(0)
        }
        _ => None,
    }
}

/// `first_heard` says whether the first line heard of this end is the first that it sent.
fn tell(end: End, message: &[u8], first_heard: bool, proof: &mut Proof) {
    let Some((first, _)) = line(message) else { return };
    match first {
        [b'+', b'O', b'K', rest @ ..] => {
            client_is(proof, end.other());
            if let Some(greeting) = rest.strip_prefix(b" ").filter(|_| first_heard && proof.facts.is_empty())
            {
                proof.facts.add("pop3.greeting", text(greeting));
            }
        }
        [b'-', b'E', b'R', b'R', ..] => client_is(proof, end.other()),
        _ => client_is(proof, end),
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn what_is_heard_from_the_middle_on_is_no_greeting() {
        let (asked, answered) = (b"STLS\r\n", b"+OK Begin TLS\r\n");
        let (asks, answers) = ([6_u16], [15_u16]);
        for from_start in [true, false] {
            let first = Side { from_start, ..Side::of(asked, &asks) };
            let second = Side { from_start, ..Side::of(answered, &answers) };
            let seen = Seen { carrier: Carrier::Tcp, first, second, known: None };
            let proof = Pop3.probe(&seen).proof().expect("both lines are of POP3");
            assert_eq!(proof.facts.get("pop3.greeting").is_some(), from_start);
        }
    }

    #[test]
    fn a_session_from_either_end() {
        let Probe::Proven(proof) = harness::probe_messages(&Pop3, Carrier::Tcp, &[b"+OK POP3 ready\r\n"])
        else {
            panic!()
        };
        assert_eq!((proof.client, proof.facts.get("pop3.greeting")), (Some(End::Second), Some("POP3 ready")));
        let commands = [&b"USER a\r\n"[..], b"PASS b\r\n", b"STAT\r\n", b"RETR 1\r\n"];
        let Probe::Proven(proof) = harness::probe_messages(&Pop3, Carrier::Tcp, &commands) else { panic!() };
        assert_eq!(proof.client, Some(End::First));
    }

    #[test]
    fn a_line_that_comes_in_pieces_may_hold_what_a_whole_one_may() {
        for (piece, line) in [
            (&b"+OK POP \xe9"[..], &b"+OK POP \xe9er\r\n"[..]),
            (b"+OK a\tb", b"+OK a\tb\r\n"),
            (b"+OK ready\r", b"+OK ready\r\n"),
        ] {
            assert_eq!(
                (step(piece), step(line)),
                (Step::Cut(0), Step::Whole(line.len(), 70)),
                "{piece:02x?}"
            );
        }
        let long = [&b"+OK "[..], &[b'a'; LONGEST_LINE]].concat();
        for (piece, line) in [
            (&b"+OK a\rb"[..], &b"+OK a\rb\r\n"[..]),
            (b"+OK a\r\r", b"+OK a\r\r\n"),
            (b"+OK \0", b"+OK \0\r\n"),
            (&long, &[&long[..], b"\r\n"].concat()),
        ] {
            assert_eq!((step(piece), step(line)), (Step::Wrong, Step::Wrong), "{piece:02x?}");
        }
    }

    #[test]
    fn ftp_and_redis_are_none() {
        let ftp = [&b"USER a\r\n"[..], b"PASS b\r\n", b"STAT\r\n", b"LIST\r\n", b"QUIT\r\n"];
        assert!(!matches!(
            harness::probe_both(&Pop3, Carrier::Tcp, &ftp, &[b"220 ready\r\n"]),
            Probe::Proven(_)
        ));
        assert!(!matches!(
            harness::probe_both(&Pop3, Carrier::Tcp, &[b"*1\r\n"], &[b"+OK\r\n"]),
            Probe::Proven(_)
        ));
        let answers = [&b"+OK\r\n"[..], b"+OK\r\n", b"-ERR unknown command\r\n", b"+OK\r\n"];
        assert!(!matches!(harness::probe_messages(&Pop3, Carrier::Tcp, &answers), Probe::Proven(_)));
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Pop3, 0, 0);
        harness::check_steps(&Pop3);
    }
}
