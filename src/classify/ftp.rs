//! FTP's control connection: commands and replies that are its own, and TLS that AUTH begins.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::bytes::is_text;
use super::bytes::line;
use super::bytes::text;
use super::reply::reply;
use super::tls;
use crate::model::Facts;

/// The protocol.
pub struct Ftp;

static ABOUT: About = About {
    name: "ftp",
    title: "File Transfer Protocol (control connection)",
    spec: "RFC 959, RFC 2428, RFC 4217 (TLS)",
    usual: &["tcp/21"],
    answers: true,
    facts: &[
        ("ftp.greeting", "the server's first line"),
        ("ftp.auth", "'requested' once the client asks for TLS, 'granted' once the server agrees"),
    ],
};

impl Protocol for Ftp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        // No line that proves anything is shorter than three bytes.
        at > 2 || byte >= b' ' || matches!(byte, b'\t' | b'\r' | b'\n')
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        let [first, second] = [&seen.first, &seen.second].map(lines);
        let weigh = |mine: &Talk<'_>, other: &Talk<'_>| {
            let (asks, answers) = (mine.commands(), other.replies());
            // A command of its own or a reply of its own; or one that others share, and a reply that fits it.
            asks.own > 0 || answers.own > 0 || (asks.shared > 0 && answers.shared > 0)
        };
        let client = if weigh(&first, &second) {
            End::First
        } else if weigh(&second, &first) {
            End::Second
        } else {
            let dead = |talk: &Talk<'_>, side: &Side<'_>| {
                talk.stranger && !side.is_silent() || side.complete || talk.lines.len() >= MOST_LINES
            };
            return Probe::unless_over([dead(&first, &seen.first), dead(&second, &seen.second)]);
        };
        let (asks, answers) = if client == End::First { (&first, &second) } else { (&second, &first) };
        Probe::Proven(conclude(seen, client, asks, answers))
    }
}

/// Lines looked at of each end.
const MOST_LINES: usize = 24;
/// Longest line that is believed.
const LONGEST_LINE: usize = 1024;

/// The lines of one end, as far as they are text.
struct Talk<'a> {
    lines: Vec<&'a [u8]>,
    /// Where what follows the lines begins.
    end: usize,
    /// Whether it began with something that is no line of text.
    stranger: bool,
}

fn lines<'a>(side: &Side<'a>) -> Talk<'a> {
    let mut talk = Talk { lines: Vec::new(), end: 0, stranger: false };
    let mut rest = side.bytes;
    // Words for Telnet's interrupt may stand before ABOR (RFC 959 section 3.4); text in any encoding otherwise.
    let is_line = |line: &[u8]| line.len() <= LONGEST_LINE && line.iter().all(|&c| c >= b' ' || c == b'\t');
    while talk.lines.len() < MOST_LINES {
        let Some((line, after)) = line(rest) else {
            talk.stranger = talk.lines.is_empty() && !is_line(rest.strip_suffix(b"\r").unwrap_or(rest));
            break;
        };
        if !is_line(line) {
            talk.stranger = talk.lines.is_empty();
            break;
        }
        talk.lines.push(line);
        rest = after;
    }
    talk.end = side.bytes.len() - rest.len();
    talk
}

/// How much of a talk is FTP.
#[derive(Clone, Copy, Default)]
struct Weight {
    own: usize,
    shared: usize,
}

impl Talk<'_> {
    /// Commands (RFC 959 section 4.1): those that only FTP has with such arguments, and those of other protocols too.
    fn commands(&self) -> Weight {
        let mut weight = Weight::default();
        for line in &self.lines {
            let upper = line.to_ascii_uppercase();
            let (word, argument) = match upper.iter().position(|&byte| byte == b' ') {
                Some(at) => upper.split_at(at),
                None => (upper.as_slice(), &[][..]),
            };
            let argument = argument.trim_ascii();
            let six_numbers = || {
                argument
                    .split(|&byte| byte == b',')
                    .filter(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
                    .count()
                    == 6
            };
            let own = match word {
                b"PASV" | b"EPSV" | b"FEAT" | b"SYST" => argument.is_empty(),
                b"TYPE" => matches!(argument, b"A" | b"I" | b"A N" | b"L 8"),
                b"PORT" => six_numbers(),
                b"EPRT" => argument.starts_with(b"|"),
                b"AUTH" => matches!(argument, b"TLS" | b"SSL" | b"TLS-C" | b"TLS-P"),
                b"PBSZ" => argument == b"0",
                b"PROT" => matches!(argument, b"P" | b"C"),
                b"OPTS" => argument.starts_with(b"UTF8") || argument.starts_with(b"MLST"),
                _ => false,
            };
            let shared =
                matches!(word, b"USER" | b"PASS") && !argument.is_empty() && !argument.contains(&b' ');
            weight.own += usize::from(own);
            weight.shared += usize::from(shared);
        }
        weight
    }

    /// Replies (RFC 959 section 4.2).
    fn replies(&self) -> Weight {
        let mut weight = Weight::default();
        for (number, line) in self.lines.iter().enumerate() {
            let Some((code, words)) = reply(line) else { continue };
            let words = words.to_ascii_uppercase();
            let has = |word: &[u8]| words.windows(word.len()).any(|window| window == word);
            let own = match code {
                220 => number == 0 && (has(b"FTP") && !has(b"SMTP")),
                227 => has(b"PASSIVE MODE") && has(b"("),
                229 => has(b"PASSIVE MODE") && has(b"|||"),
                215 => has(b"TYPE:"),
                234 => has(b"TLS") || has(b"SSL"),
                257 => words.starts_with(b"\""),
                // What is said around a transfer (RFC 959 section 4.2.2), and the words that most servers end one with.
                125 | 150 | 225 | 425 | 426 => has(b"DATA CONNECTION"),
                226 => has(b"DATA CONNECTION") || has(b"TRANSFER COMPLETE"),
                _ => false,
            };
            weight.own += usize::from(own);
            weight.shared += usize::from(matches!(code, 331 | 230 | 530 | 332));
        }
        weight
    }
}

fn conclude(seen: &Seen<'_>, client: End, asks: &Talk<'_>, answers: &Talk<'_>) -> Proof {
    let mut facts = Facts::new();
    if let Some(greeting) = answers.lines.first().filter(|line| line.starts_with(b"220") && is_text(line)) {
        facts.add("ftp.greeting", text(greeting));
    }
    let requested =
        asks.lines.iter().any(|line| line.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH ")));
    let granted = answers.lines.iter().any(|line| line.starts_with(b"234"));
    if requested {
        facts.add("ftp.auth", "requested");
    }
    if granted {
        facts.add("ftp.auth", "granted");
    }
    let open = !(seen.first.complete && seen.second.complete);
    let mut proof = Proof { client: Some(client), facts, open, ..Proof::default() };
    if requested || granted {
        let offsets = if client == End::First { [asks.end, answers.end] } else { [answers.end, asks.end] };
        tls::goes_on(&mut proof, ABOUT.name, seen, offsets);
    }
    proof
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::probe_both;
    use crate::classify::harness::probe_messages;

    #[test]
    fn a_server_alone_is_known_by_its_transfers() {
        for reply in
            ["150 Opening BINARY mode data connection for a.bin (7 bytes).\r\n", "226 Transfer complete.\r\n"]
        {
            let bytes = format!("30 of a list\r\n{reply}");
            let side = Side { from_start: false, ..Side::of(bytes.as_bytes(), &[14]) };
            let seen = Seen { carrier: Carrier::Tcp, first: side, second: Side::default(), known: None };
            assert_eq!(Ftp.probe(&seen).proof().and_then(|proof| proof.client), Some(End::Second), "{reply}");
        }
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Ftp, 0, 0);
        harness::check_steps(&Ftp);
    }

    #[test]
    fn auth_leads_to_tls() {
        if !harness::present() {
            return;
        }
        let flows = harness::flows("web-mail/ftp-auth-tls.pcap");
        let proof = flows.iter().find_map(|flow| harness::proof(&Ftp, &flow.seen())).unwrap();
        assert_eq!((proof.layers, proof.client), (vec!["ftp", "tls"], Some(End::First)));
        assert_eq!(proof.facts.get("tls.version"), Some("1.3"));
    }

    #[test]
    fn either_end_alone() {
        for (line, client) in [
            (&b"220 ProFTPD Server ready\r\n"[..], End::Second),
            (b"227 Entering Passive Mode (10,1,2,3,4,5).\r\n", End::Second),
            (b"USER anonymous\r\nPASS x\r\nSYST\r\n", End::First),
            (b"AUTH TLS\r\n", End::First),
        ] {
            let Probe::Proven(proof) = probe_messages(&Ftp, Carrier::Tcp, &[line]) else {
                panic!("{line:?}")
            };
            assert_eq!(proof.client, Some(client), "{line:?}");
        }
    }

    #[test]
    fn what_is_not_ftp() {
        for (asks, answers) in [
            (&b"USER me\r\nPASS secret\r\n"[..], &b"+OK POP3 ready\r\n+OK\r\n"[..]),
            (b"EHLO host\r\n", b"220 mail ESMTP\r\n250 ok\r\n"),
            (b"USER a b c :d\r\n", b":irc 001 a\r\n"),
            (b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"),
        ] {
            let probe = probe_both(&Ftp, Carrier::Tcp, &[asks], &[answers]);
            assert!(!matches!(probe, Probe::Proven(_)), "{asks:?}");
        }
    }
}
