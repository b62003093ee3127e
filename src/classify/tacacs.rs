//! TACACS+: who may log in to a switch or router, and what each command typed there is.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::framed::Cut;
use super::framed::Walk;
use super::framed::probe;

/// TACACS+.
pub struct Tacacs;

static ABOUT: About = About {
    name: "tacacs",
    title: "TACACS+",
    spec: "RFC 8907 sections 4.1, 5, 6 and 7",
    usual: &["tcp/49"],
    answers: true,
    facts: &[
        ("tacacs.kind", "authentication, authorization or accounting"),
        ("tacacs.clear", "'seen' where a body is not obfuscated: passwords in it can be read"),
    ],
};

/// Version, type, sequence number, flags, session, length (RFC 8907 section 4.1).
const HEADER: usize = 12;
/// Longer bodies are no packet (section 4.1 asks for a limit; a body's fields come to 64 KiB).
const LONGEST: u32 = 0xffff;
/// Flags (section 4.1): the body is not obfuscated; both ends keep the connection for several sessions.
const CLEAR: u8 = 0x01;
const SINGLE_CONNECT: u8 = 0x04;

/// Types (section 4.1).
const AUTHENTICATION: u8 = 1;
const AUTHORIZATION: u8 = 2;
const ACCOUNTING: u8 = 3;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    kind: u8,
    number: u8,
    session: u32,
    clear: bool,
}

impl Packet {
    /// Whether it is the next packet of the same session: clients send the odd ones, servers the even ones (section 4.1).
    fn follows(&self, before: &Self) -> bool {
        self.session == before.session
            && self.kind == before.kind
            && before.number.checked_add(1) == Some(self.number)
    }
}

fn cut(bytes: &[u8]) -> Cut<Packet> {
    let Some((&[version, kind, number, flags, s0, s1, s2, s3, l0, l1, l2, l3], behind)) =
        bytes.split_first_chunk::<HEADER>()
    else {
        return if bytes.iter().enumerate().all(|(at, &byte)| may_stand(at, byte)) {
            Cut::Short
        } else {
            Cut::Wrong
        };
    };
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    let fits = [version, kind, number, flags].into_iter().enumerate().all(|(at, byte)| may_stand(at, byte));
    if !fits || length > LONGEST || length < shortest(kind, number) {
        return Cut::Wrong;
    }
    let packet =
        Packet { kind, number, session: u32::from_be_bytes([s0, s1, s2, s3]), clear: flags & CLEAR != 0 };
    match behind.get(..length as usize) {
        Some(body) if packet.clear && !adds_up(kind, number, body) => Cut::Wrong,
        Some(_) => Cut::Whole(packet, HEADER + length as usize),
        None => Cut::Short,
    }
}

/// Major version 12 and minor 0 or 1; three types; numbers from 1; two flags; lengths of two bytes.
fn may_stand(at: usize, byte: u8) -> bool {
    match at {
        0 => matches!(byte, 0xc0 | 0xc1),
        1 => (AUTHENTICATION..=ACCOUNTING).contains(&byte),
        2 => byte != 0,
        3 => byte & !(CLEAR | SINGLE_CONNECT) == 0,
        8 | 9 => byte == 0,
        _ => true,
    }
}

/// The fixed fields of a body, which obfuscation does not make longer or shorter (sections 5.1 to 5.3, 6.1, 6.2, 7.1, 7.2).
fn shortest(kind: u8, number: u8) -> u32 {
    match (kind, number % 2 == 1) {
        (AUTHENTICATION, true) if number == 1 => 8,
        (AUTHENTICATION, true) => 5,
        (AUTHORIZATION, true) => 8,
        (ACCOUNTING, true) => 9,
        (ACCOUNTING, false) => 5,
        (_, _) => 6,
    }
}

/// Whether the lengths in a body that can be read come to the whole of it.
fn adds_up(kind: u8, number: u8, body: &[u8]) -> bool {
    let short = |at: usize| body.get(at).map_or(0, |&length| usize::from(length));
    let long = |at: usize| short(at) << 8 | short(at + 1);
    // How many argument lengths, one byte each, follow the fixed fields, and what they come to.
    let arguments = |count: usize, from: usize| count + (from..from + count).map(short).sum::<usize>();
    let whole = match (kind, number % 2 == 1) {
        (AUTHENTICATION, true) if number == 1 => 8 + short(4) + short(5) + short(6) + short(7),
        (AUTHENTICATION, true) => 5 + long(0) + long(2),
        (AUTHENTICATION, false) => 6 + long(2) + long(4),
        (AUTHORIZATION, true) => 8 + short(4) + short(5) + short(6) + arguments(short(7), 8),
        (AUTHORIZATION, false) => 6 + long(2) + long(4) + arguments(short(1), 6),
        (_, true) => 9 + short(5) + short(6) + short(7) + arguments(short(8), 9),
        (_, false) => 5 + long(0) + long(2),
    };
    whole == body.len()
}

/// A packet and its answer; or of one end alone the first packet of a session, when it fills its segment exactly, or two of one session.
fn is_proved(walks: &[Walk<Packet>; 2]) -> bool {
    let [first, second] = walks;
    let answered = |one: &Walk<Packet>, other: &Walk<Packet>| {
        one.messages().any(|packet| other.messages().any(|answer| answer.follows(packet)))
    };
    let alone = walks.iter().any(|walk| {
        let opens = walk.found.first().is_some_and(|found| found.flush && found.message.number <= 2);
        let goes_on = walk.found.windows(2).any(|pair| match pair {
            [one, next] => {
                one.message.session == next.message.session && one.message.number + 2 == next.message.number
            }
            _ => false,
        });
        (opens && walk.strangers == 0) || goes_on
    });
    answered(first, second) || answered(second, first) || alone
}

impl Protocol for Tacacs {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        carrier == Carrier::Tcp && may_stand(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        probe(seen, cut, is_proved, |walks| {
            let mut proof = Proof { facts: seen.facts(), ..Proof::default() };
            for (end, walk) in [End::First, End::Second].into_iter().zip(walks) {
                for packet in walk.messages() {
                    let asks = packet.number % 2 == 1;
                    proof.client = proof.client.or(Some(if asks { end } else { end.other() }));
                    proof.facts.add("tacacs.kind", kind_name(packet.kind));
                    if packet.clear {
                        proof.facts.add("tacacs.clear", "seen");
                    }
                }
            }
            proof
        })
    }
}

fn kind_name(kind: u8) -> &'static str {
    match kind {
        AUTHENTICATION => "authentication",
        AUTHORIZATION => "authorization",
        _ => "accounting",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;
    use crate::classify::harness::probe_messages;

    const START: &str = "c0 01 01 00 8a3f10c2 0000001a a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f607182930";
    const REPLY: &str = "c0 01 02 00 8a3f10c2 00000010 112233445566778899aabbccddeeff00";

    fn proof(client: &[&[u8]], server: &[&[u8]]) -> Option<Proof> {
        probe_both(&Tacacs, Carrier::Tcp, client, server).proof()
    }

    #[test]
    fn who_asks_is_told_by_the_number() {
        let (start, reply) = (hex(START), hex(REPLY));
        let told = proof(&[&start], &[&reply]).expect("a login");
        assert_eq!((told.client, told.facts.get("tacacs.kind")), (Some(End::First), Some("authentication")));
        assert_eq!(proof(&[&reply], &[&start]).and_then(|proof| proof.client), Some(End::Second));
        assert_eq!(proof(&[&reply], &[]).and_then(|proof| proof.client), Some(End::Second), "one side alone");
    }

    #[test]
    fn what_is_not_obfuscated_must_add_up() {
        // Section 7.1: user "op", port "tty1", no remote address, one argument "task_id=7".
        let body = b"\x06\x01\x01\x01\x01\x02\x04\x00\x01\x09optty1task_id=7";
        let packet = [&hex("c1 03 01 01 00000007")[..], &(body.len() as u32).to_be_bytes(), body].concat();
        let told = proof(&[&packet], &[]).expect("an accounting record");
        assert_eq!(told.facts.get("tacacs.clear"), Some("seen"));
        let mut other = packet.clone();
        other[HEADER + 5] += 1;
        assert_eq!(proof(&[&other], &[]), None, "the lengths do not come to the whole");
    }

    #[test]
    fn near_misses() {
        let start = hex(START);
        for (at, byte) in [(0, 0xb0), (0, 0xc2), (1, 0), (1, 4), (2, 0), (3, 2), (8, 1), (11, 0x19), (11, 7)]
        {
            let mut wrong = start.clone();
            wrong[at] = byte;
            assert_eq!(proof(&[&wrong], &[]), None, "byte {at} as {byte:#x}");
        }
        // The beginning of one is not yet one.
        assert_eq!(probe_messages(&Tacacs, Carrier::Tcp, &[&start[..20]]), Probe::NeedMore);
        // A later packet alone may be anything; with the one before it, it is not.
        let mut third = start.clone();
        third[2] = 3;
        assert_eq!(proof(&[&third], &[]), None);
        assert!(proof(&[&start, &third], &[]).is_some());
        let mut stranger = hex(REPLY);
        stranger[4] ^= 1;
        assert_eq!(
            proof(&[&third], &[&[&stranger[..], b"more"].concat()]),
            None,
            "another session's answer, and more behind it"
        );
    }
}
