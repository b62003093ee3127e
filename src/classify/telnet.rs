//! Telnet by the options that its ends negotiate.

use compact_str::ToCompactString;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::look;
use super::look::Look;
use crate::model::Facts;

/// The protocol.
pub struct Telnet;

static ABOUT: About = About {
    name: "telnet",
    title: "Telnet",
    spec: "RFC 854, RFC 855, IANA Telnet options",
    usual: &["tcp/23"],
    answers: true,
    facts: &[("telnet.option", "each option negotiated, by number")],
};

/// Interpret As Command, and the commands that matter (RFC 854).
const IAC: u8 = 255;
const SE: u8 = 240;
const SB: u8 = 250;
const WILL: u8 = 251;
const WONT: u8 = 252;
const DO: u8 = 253;
const DONT: u8 = 254;
/// Options whose user and server sides differ.
const ECHO: u8 = 1;
const TERMINAL_TYPE: u8 = 24;
const WINDOW_SIZE: u8 = 31;
const TERMINAL_SPEED: u8 = 32;

impl Protocol for Telnet {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => byte == IAC,
            1 => (SB..=DONT).contains(&byte),
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        let looks = [&seen.first, &seen.second].map(|side| {
            look::stream(side, |bytes| {
                let talk = read(bytes);
                let over = side.complete || !talk.unfinished;
                if over && talk.options.is_empty() { Look::No } else { Look::Yes(talk) }
            })
        });
        // One negotiation is three bytes: two are wanted, of one end or one of each, or one and a text behind it.
        let count = |look: &Look<Talk>| match look {
            Look::Yes(talk) => talk.options.len(),
            _ => 0,
        };
        let speaks = |look: &Look<Talk>| matches!(look, Look::Yes(talk) if talk.speaks);
        let [first, second] = &looks;
        let total = count(first) + count(second);
        if total < 2 && !(speaks(first) || speaks(second)) {
            let over = |look: &Look<Talk>, complete: bool| complete || *look == Look::No;
            return Probe::unless_over([
                over(first, seen.first.complete),
                over(second, seen.second.complete),
            ]);
        }
        let mut facts = Facts::new();
        let mut client = None;
        for (end, talk) in [End::First, End::Second].into_iter().zip(looks) {
            let Some(talk) = talk.yes() else { continue };
            for option in &talk.options {
                facts.add("telnet.option", option.to_compact_string());
            }
            client = client.or(talk.is_client.map(|is| if is { end } else { end.other() }));
        }
        Probe::Proven(Proof { client, facts, ..Proof::default() })
    }
}

/// What one end negotiates at the front of its part.
#[derive(Debug, Default, PartialEq, Eq)]
struct Talk {
    options: Vec<u8>,
    is_client: Option<bool>,
    /// Whether the bytes end within a command.
    unfinished: bool,
    /// Whether a text follows a negotiation.
    speaks: bool,
}

/// Characters of a text behind a negotiation: a prompt has as many.
const SHORTEST_TEXT: usize = 5;
/// Commands read at the front.
const MOST_COMMANDS: usize = 32;

fn read(mut bytes: &[u8]) -> Talk {
    let mut talk = Talk::default();
    while talk.options.len() < MOST_COMMANDS {
        match bytes {
            [IAC, command @ (WILL | WONT | DO | DONT), option, rest @ ..] if is_option(*option) => {
                talk.options.push(*option);
                let client = match (*command, *option) {
                    // The user's side has the terminal, the server's echoes.
                    (WILL | WONT, TERMINAL_TYPE | WINDOW_SIZE | TERMINAL_SPEED) | (DO | DONT, ECHO) => {
                        Some(true)
                    }
                    (DO | DONT, TERMINAL_TYPE | WINDOW_SIZE | TERMINAL_SPEED) | (WILL | WONT, ECHO) => {
                        Some(false)
                    }
                    _ => None,
                };
                talk.is_client = talk.is_client.or(client);
                bytes = rest;
            }
            [IAC, SB, option, rest @ ..] if is_option(*option) => {
                let Some(end) = rest.windows(2).take(512).position(|pair| pair == [IAC, SE]) else {
                    talk.unfinished = true;
                    break;
                };
                talk.options.push(*option);
                bytes = rest.get(end + 2..).unwrap_or_default();
            }
            [IAC] | [IAC, SB..=DONT, ..] => {
                talk.unfinished = bytes.len() < 3;
                break;
            }
            _ => break,
        }
    }
    talk.speaks = !talk.options.is_empty() && is_text(bytes);
    talk
}

/// A text of the printer's codes (RFC 854), and the escape that terminals need besides. A NUL stands behind CR alone: text of two bytes a
/// character that begins with its byte order mark would be a negotiation otherwise.
fn is_text(bytes: &[u8]) -> bool {
    let mut before = None;
    bytes.len() >= SHORTEST_TEXT
        && bytes.iter().all(|&byte| match byte {
            0 => before.replace(byte) == Some(b'\r'),
            b' '..=b'~' | 0x07..=0x0d | 0x1b => {
                before = Some(byte);
                true
            }
            _ => false,
        })
}

/// Options that IANA lists.
fn is_option(option: u8) -> bool {
    matches!(option, 0..=49 | 138..=140 | 255)
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
        harness::check(&Telnet, 0, 0);
        harness::check_steps(&Telnet);
    }

    #[test]
    fn negotiation() {
        let Probe::Proven(proof) = probe_messages(&Telnet, Carrier::Tcp, &[&hex("fffd18 fffd20 fffd23")])
        else {
            panic!("not proven");
        };
        assert_eq!(proof.client, Some(End::Second));
        assert!(matches!(
            probe_both(&Telnet, Carrier::Tcp, &[&hex("fffb1f")], &[&hex("fffd1f")]),
            Probe::Proven(_)
        ));
        assert_eq!(probe_messages(&Telnet, Carrier::Tcp, &[&hex("fffd18")]), Probe::NeedMore);
    }

    #[test]
    fn one_negotiation_and_a_prompt() {
        let prompt = b"\xff\xfb\x01\r\nlogin: ";
        let Probe::Proven(proof) = probe_messages(&Telnet, Carrier::Tcp, &[prompt]) else {
            panic!("not proven");
        };
        assert_eq!(proof.client, Some(End::Second));
        for weak in [
            &b"\xff\xfb\x01\r\n"[..],
            b"\xff\xfb\x01 2\x9c7 and on",
            b"\r\nlogin: ",
            b"\xff\xfe1\x007\0 \0o\0k\0",
        ] {
            assert!(probe_messages(&Telnet, Carrier::Tcp, &[weak]).proof().is_none(), "{weak:?}");
        }
    }

    #[test]
    fn what_is_not_telnet() {
        for stranger in ["ffd8 ffe0 0010 4a464946", "fffd99 fffd98", "ff fa 18 00 00", "68 65 6c 6c 6f"] {
            let probe = probe_messages(&Telnet, Carrier::Tcp, &[&hex(stranger)]);
            assert!(!matches!(probe, Probe::Proven(_)), "{stranger}");
        }
    }
}
