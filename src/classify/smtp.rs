//! SMTP: the server's greeting and replies or the client's commands, and TLS that STARTTLS begins.

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
use super::candidates::is_at;
use super::look;
use super::look::Look;
use super::reply::reply;
use super::tls;
use crate::model::Facts;

/// The protocol.
pub struct Smtp;

static ABOUT: About = About {
    name: "smtp",
    title: "Simple Mail Transfer Protocol",
    spec: "RFC 5321, RFC 3207 (STARTTLS), RFC 2033 (LMTP)",
    usual: &["tcp/25", "tcp/587"],
    answers: true,
    facts: &[
        ("smtp.greeting", "the server's first line"),
        ("smtp.helo", "how the client calls itself"),
        ("smtp.error", "each reply that refuses (4yz and 5yz), its first line"),
        ("smtp.starttls", "'requested' once the client asks for TLS, 'granted' once the server agrees"),
    ],
};

impl Protocol for Smtp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        at != 0
            || matches!(byte, b'2'..=b'5')
            || COMMANDS.iter().any(|(word, _)| is_at(word, at, byte.to_ascii_uppercase()))
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        let both = [&seen.first, &seen.second];
        let looks = both.map(look_at);
        let [first, second] = &looks;
        // Greetings that name no protocol are FTP's as well: the client's first command tells.
        let joined = match (first, second) {
            (Look::No, Look::No) => return Probe::No,
            (Look::Yes(_), _) | (_, Look::Yes(_)) => looks.map(Look::yes),
            _ => return Probe::NeedMore,
        };
        Probe::Proven(conclude(seen, joined))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Client,
    Server,
}

fn look_at(side: &Side<'_>) -> Look<Half> {
    look::stream(side, |bytes| {
        let rest = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
        match (client(rest, side.complete), server(bytes, side.complete)) {
            (Look::Yes(half), _) | (_, Look::Yes(half)) => Look::Yes(half),
            (Look::No, Look::No) => Look::No,
            _ => Look::More,
        }
    })
}

/// Longest line looked at: a command is 512 bytes, extensions lengthen it (RFC 5321 section 4.5.3.1.4).
const LONGEST_LINE: usize = 2048;

/// Commands that no other protocol begins with (RFC 5321 section 4.1.1): word, and whether an argument must follow.
const COMMANDS: [(&[u8], bool); 5] =
    [(b"EHLO ", true), (b"HELO ", true), (b"LHLO ", true), (b"MAIL FROM:", true), (b"RCPT TO:", true)];

fn client(bytes: &[u8], complete: bool) -> Look<Half> {
    let upper = |word: &[u8]| bytes.iter().zip(word).all(|(byte, want)| byte.to_ascii_uppercase() == *want);
    let Some((word, _)) = COMMANDS.iter().find(|(word, _)| upper(word)) else { return Look::No };
    match line(bytes) {
        Some((line, _)) => {
            let argument = line.get(word.len()..).unwrap_or_default().trim_ascii();
            let path = !word.ends_with(b":") || argument.starts_with(b"<") || argument.contains(&b'@');
            let name = word.ends_with(b":") || !argument.contains(&b' ');
            if is_text(line) && !argument.is_empty() && path && name {
                Look::Yes(Half::Client)
            } else {
                Look::No
            }
        }
        None if bytes.len() >= LONGEST_LINE || !is_text(bytes.trim_ascii_end()) || complete => Look::No,
        None => Look::More,
    }
}

/// Words in which a greeting or the list of extensions shows SMTP (RFC 5321 section 4.2, IANA's list of extensions).
const SERVER_WORDS: [&[u8]; 3] = [b"SMTP", b"LMTP", b"MAIL SERVICE"];
const EXTENSIONS: [&[u8]; 10] = [
    b"PIPELINING",
    b"8BITMIME",
    b"STARTTLS",
    b"ENHANCEDSTATUSCODES",
    b"CHUNKING",
    b"SMTPUTF8",
    b"DSN",
    b"SIZE",
    b"BINARYMIME",
    b"AUTH",
];

fn server(bytes: &[u8], complete: bool) -> Look<Half> {
    let mut rest = bytes;
    let mut number = 0;
    let mut extensions = 0;
    while let Some((line, after)) = line(rest) {
        let Some((code, words)) = reply(line) else { return Look::No };
        // A session begins with 220, 554 or 421 (section 4.3.2); what is heard later may begin with any.
        let upper = words.to_ascii_uppercase();
        let has = |word: &[u8]| upper.windows(word.len()).any(|window| window == word);
        if matches!(code, 220 | 221 | 421 | 554) && number == 0 && SERVER_WORDS.iter().any(|word| has(word)) {
            return Look::Yes(Half::Server);
        }
        // Enhanced status codes belong to mail alone (RFC 3463 section 2): class as the reply's, then subject and detail. A greeting has
        // none, and may begin with a version.
        if is_enhanced(code, words) && (code != 220 || number > 0) {
            return Look::Yes(Half::Server);
        }
        // What stands around a mail (RFC 5321 section 4.2.3): how it is to end, and that it was taken.
        if (code == 354 && has(b"END")) || (code == 250 && (has(b"QUEUED") || upper.starts_with(b"OK ID="))) {
            return Look::Yes(Half::Server);
        }
        let first_word = upper.split(|&byte| byte == b' ' || byte == b'=').next().unwrap_or_default();
        extensions += usize::from(code == 250 && EXTENSIONS.contains(&first_word));
        if extensions >= 2 {
            return Look::Yes(Half::Server);
        }
        // FTP's own answers to a first command (RFC 959 section 5.4), and what is yet to come, which mail never says.
        if matches!(code, 100..=199 | 331 | 230 | 215 | 211 | 234 | 257 | 227) {
            return Look::No;
        }
        number += 1;
        if number > 40 {
            return Look::No;
        }
        rest = after;
    }
    let may_go_on = match rest {
        [] => true,
        [a] => a.is_ascii_digit(),
        [a, b] => a.is_ascii_digit() && b.is_ascii_digit(),
        [_, _, _] => reply(&[rest, b" "].concat()).is_some(),
        _ => reply(rest).is_some() && rest.len() < LONGEST_LINE,
    };
    if may_go_on && !complete { Look::More } else { Look::No }
}

/// Whether the words begin with an enhanced status code of the reply's class, as `2.1.0 `.
fn is_enhanced(code: u16, words: &[u8]) -> bool {
    let first = words.split(|&byte| byte == b' ').next().unwrap_or_default();
    let parts: Vec<&[u8]> = first.split(|&byte| byte == b'.').collect();
    let [class, subject, detail] = parts.as_slice() else { return false };
    let digits = |part: &[u8]| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
    let same = matches!(class, [digit] if u16::from(digit.wrapping_sub(b'0')) == code / 100);
    same && digits(subject) && digits(detail)
}

/// The text lines of one side, and where what follows them begins.
fn lines<'a>(side: &Side<'a>) -> (Vec<&'a [u8]>, usize) {
    let mut found = Vec::new();
    let mut rest = side.bytes;
    while let Some((text, after)) = line(rest) {
        // A line of text has no control characters: TLS records begin with one.
        if !text.iter().all(|&byte| byte >= b' ' || byte == b'\t') {
            break;
        }
        found.push(text);
        rest = after;
    }
    (found, side.bytes.len() - rest.len())
}

fn conclude(seen: &Seen<'_>, both: [Option<Half>; 2]) -> Proof {
    let client = match both {
        [Some(Half::Client), _] | [None, Some(Half::Server)] => End::First,
        _ => End::Second,
    };
    let mut facts = Facts::new();
    let (replies, server_end) = lines(seen.side(client.other()));
    let (commands, client_end) = lines(seen.side(client));
    if let Some(greeting) = replies.first().filter(|_| seen.side(client.other()).from_start) {
        facts.add("smtp.greeting", text(greeting));
    }
    let mut requested = false;
    for command in &commands {
        let upper = command.get(..10).unwrap_or(command).to_ascii_uppercase();
        if upper.starts_with(b"EHLO ") || upper.starts_with(b"HELO ") || upper.starts_with(b"LHLO ") {
            facts.add("smtp.helo", text(command.get(5..).unwrap_or_default().trim_ascii()));
        }
        requested |= upper == b"STARTTLS";
    }
    if requested {
        facts.add("smtp.starttls", "requested");
    }
    for reply_line in &replies {
        if reply(reply_line).is_some_and(|(code, _)| code >= 400) {
            facts.add("smtp.error", text(reply_line));
        }
    }
    // The greeting is the first 220, the answer to STARTTLS the second.
    let agreed = replies.iter().filter(|line| line.starts_with(b"220 ")).count() > 1;
    let mut proof = Proof {
        client: Some(client),
        facts,
        open: !(seen.first.complete && seen.second.complete),
        ..Proof::default()
    };
    if requested || agreed {
        let offsets = if client == End::First { [client_end, server_end] } else { [server_end, client_end] };
        if agreed {
            proof.facts.add("smtp.starttls", "granted");
        }
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
    fn labelled_captures() {
        harness::check(&Smtp, 0, 0);
        harness::check_steps(&Smtp);
    }

    #[test]
    fn starttls_leads_to_tls() {
        if !harness::present() {
            return;
        }
        for flow in harness::flows("web-mail/nDPI-smtp-starttls.pcap") {
            let proof = harness::proof(&Smtp, &flow.seen()).unwrap();
            assert_eq!(proof.layers, ["smtp", "tls"], "{}", flow.place());
            assert_eq!(proof.facts.get("smtp.starttls"), Some("requested"));
            assert!(proof.facts.get("tls.version").is_some());
        }
    }

    #[test]
    fn either_end_alone() {
        for (line, client) in [
            (&b"220 mail.plant.example ESMTP Postfix\r\n"[..], End::Second),
            (b"220-mail.plant.example ESMTP\r\n220 ready\r\n", End::Second),
            (b"EHLO sensor\r\n", End::First),
            (b"mail from:<a@b>\r\n", End::First),
            (b"250-host\r\n250-PIPELINING\r\n250 8BITMIME\r\n", End::Second),
            (b"250 2.1.0 Ok\r\n", End::Second),
            (b"354 Start mail input; end with <CRLF>.<CRLF>\r\n", End::Second),
            (b"250 OK id=1tGxYz-0004Qw-2B\r\n", End::Second),
            (b"221 2.0.0 Bye\r\n", End::Second),
        ] {
            let Probe::Proven(proof) = probe_messages(&Smtp, Carrier::Tcp, &[line]) else {
                panic!("{line:?}")
            };
            assert_eq!(proof.client, Some(client), "{line:?}");
        }
    }

    #[test]
    fn what_is_not_smtp() {
        for (stranger, answer) in [
            (&b"220 ProFTPD ready\r\n"[..], &b"USER me\r\n"[..]),
            (b"220 welcome\r\n331 password please\r\n", b""),
            (b"HELP\r\n", b"nothing"),
            (b"EHLO \r\n", b""),
            (b"250\x01\r\n", b""),
            (b"220 2.0.7 server\r\n", b""),
            (b"250 CWD command successful.\r\n350 ready for destination\r\n", b""),
            (b"221 3.0.0 Goodbye\r\n", b""),
        ] {
            let probe = probe_both(&Smtp, Carrier::Tcp, &[stranger], &[answer]);
            assert!(!matches!(probe, Probe::Proven(_)), "{stranger:?}");
        }
    }
}
