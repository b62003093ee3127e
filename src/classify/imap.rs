//! IMAP: mail boxes.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::line;
use super::bytes::text;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::agrees;
use super::weigh::client_is;
use super::weigh::first_segment;
use super::weigh::upgraded;

/// Mail boxes.
pub struct Imap;

static ABOUT: About = About {
    name: "imap",
    title: "IMAP4",
    spec: "RFC 9051 sections 2.2, 6 and 7; RFC 3501",
    usual: &["tcp/143"],
    answers: true,
    facts: &[("imap.greeting", "greeting of the server")],
};

impl Protocol for Imap {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        at != 0 || byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'+' | b'.')
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => {
                let told = |end, message: &[u8], proof: &mut Proof| {
                    tell(end, message, seen.side(end).from_start, proof);
                };
                upgraded(weigh::probe(seen, step, told), seen, "imap", first_segment)
            }
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// What untagged responses of any server begin with: greeting, farewell, capabilities (RFC 9051 section 7.1).
const GREETINGS: [&[u8]; 4] = [b"* OK ", b"* PREAUTH ", b"* BYE ", b"* CAPABILITY IMAP4"];
/// Commands that no other protocol of tagged lines has (RFC 9051 section 6).
const COMMANDS: [&str; 21] = [
    "CAPABILITY",
    "NOOP",
    "LOGOUT",
    "STARTTLS",
    "AUTHENTICATE",
    "LOGIN",
    "SELECT",
    "EXAMINE",
    "CREATE",
    "SUBSCRIBE",
    "LIST",
    "LSUB",
    "STATUS",
    "APPEND",
    "IDLE",
    "CLOSE",
    "EXPUNGE",
    "SEARCH",
    "FETCH",
    "STORE",
    "UID",
];
/// The longest line and the longest tag accepted.
const LONGEST_LINE: usize = 1024;
const LONGEST_TAG: usize = 16;

fn step(bytes: &[u8]) -> Step {
    let Some((first, rest)) = line(bytes) else {
        let may = bytes.len() <= LONGEST_LINE
            && (GREETINGS.iter().any(|greeting| agrees(bytes, greeting))
                || bytes.iter().all(|byte| matches!(byte, b' '..=b'~')));
        return if may { Step::Cut(0) } else { Step::Wrong };
    };
    let length = bytes.len() - rest.len();
    let weight = match first {
        _ if GREETINGS.iter().any(|greeting| first.starts_with(greeting)) => {
            if first.windows(4).any(|window| window.eq_ignore_ascii_case(b"IMAP")) { PROOF } else { 50 }
        }
        [b'*' | b'+', b' ', ..] => 5,
        _ => match command(first) {
            Some("CAPABILITY" | "AUTHENTICATE" | "STARTTLS" | "EXAMINE" | "LSUB" | "EXPUNGE" | "LOGOUT") => {
                60
            }
            Some("LOGIN" | "SELECT" | "UID" | "FETCH") => 40,
            Some(_) => 20,
            None if completed(first) => 20,
            None => return Step::Wrong,
        },
    };
    Step::Whole(length, weight)
}

/// The tag of a line and its rest: letters and digits that hold at least one digit, as every client's do.
fn tagged(first: &[u8]) -> Option<&str> {
    let (tag, rest) = std::str::from_utf8(first).ok()?.split_once(' ')?;
    let right = tag.len() <= LONGEST_TAG
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        && tag.bytes().any(|byte| byte.is_ascii_digit());
    right.then_some(rest)
}

/// The command of a tagged line.
fn command(first: &[u8]) -> Option<&'static str> {
    let word = tagged(first)?.split(' ').next()?;
    COMMANDS.iter().copied().find(|command| command.eq_ignore_ascii_case(word))
}

/// A tagged response: OK, NO or BAD.
fn completed(first: &[u8]) -> bool {
    tagged(first).is_some_and(|rest| ["OK ", "NO ", "BAD "].iter().any(|word| rest.starts_with(word)))
}

/// `first_heard` says whether the first line heard of this end is the first that it sent.
fn tell(end: End, message: &[u8], first_heard: bool, proof: &mut Proof) {
    let Some((first, _)) = line(message) else { return };
    if GREETINGS.iter().any(|greeting| first.starts_with(greeting)) {
        client_is(proof, end.other());
        if let Some(greeting) = first.strip_prefix(b"* OK ").filter(|_| first_heard && proof.facts.is_empty())
        {
            proof.facts.add("imap.greeting", text(greeting));
        }
    } else if command(first).is_some() {
        client_is(proof, end);
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_session_from_either_end() {
        let greeting = b"* OK [CAPABILITY IMAP4rev1] ready\r\n";
        let Probe::Proven(proof) = harness::probe_messages(&Imap, Carrier::Tcp, &[greeting]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::Second));
        let commands = [&b"a1 CAPABILITY\r\n"[..], b"a2 LOGIN u p\r\n"];
        let Probe::Proven(proof) = harness::probe_messages(&Imap, Carrier::Tcp, &commands) else { panic!() };
        assert_eq!(proof.client, Some(End::First));
        assert!(proof.facts.is_empty());
    }

    #[test]
    fn a_list_in_text_is_none() {
        let lines = [&b"* OK, then\r\n"[..], b"* see page 3\r\n", b"the end\r\n"];
        assert!(!matches!(harness::probe_messages(&Imap, Carrier::Tcp, &lines), Probe::Proven(_)));
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Imap, 0, 0);
        harness::check_steps(&Imap);
    }
}
