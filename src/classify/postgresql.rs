//! PostgreSQL: the start-up of a session and its typed messages.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::bytes::text;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;
use super::weigh::first_segment;
use super::weigh::upgraded;

/// PostgreSQL.
pub struct Postgresql;

static ABOUT: About = About {
    name: "postgresql",
    title: "PostgreSQL",
    spec: "PostgreSQL documentation, Frontend/Backend Protocol version 3, message formats",
    usual: &["tcp/5432"],
    answers: true,
    facts: &[
        ("postgresql.database", "database that a client asks for"),
        ("postgresql.version", "server_version that the server states"),
    ],
};

impl Protocol for Postgresql {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        at != 0 || byte == 0 || KINDS.contains(&byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => upgraded(weigh::probe(seen, step, tell), seen, "postgresql", first_segment),
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Codes in place of a version: TLS, GSS encryption, cancel.
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;
/// Protocol version 3.0, and the greatest minor version counted on.
const VERSION_3: u32 = 3 << 16;
const LAST_MINOR: u32 = 9;
/// The longest start-up message the server takes.
const LONGEST_STARTUP: usize = 10_000;
/// The longest typed message accepted.
const LONGEST: usize = 1 << 24;

/// Letters of typed messages (section 55.7, message formats).
const KINDS: &[u8] = b"RKSZTDCEN123sntIGHWcdAVpQPBXFf";

fn step(bytes: &[u8]) -> Step {
    match bytes.first() {
        None => Step::Cut(0),
        Some(0) => step_startup(bytes),
        // The answer to a request for TLS or GSS is one letter; what follows it is another packet's.
        Some(b'N' | b'S' | b'G') if bytes.len() == 1 => Step::Whole(1, 0),
        Some(b'N' | b'G') if bytes.get(1).is_some_and(|&next| next != 0) => Step::Whole(1, 0),
        Some(_) => step_typed(bytes),
    }
}

/// Length of the whole message, version or code, parameters.
fn step_startup(bytes: &[u8]) -> Step {
    let mut reader = Reader::new(bytes);
    let (Some(length), Some(code)) = (reader.be32(), reader.be32()) else {
        return if bytes.starts_with(&[0]) && bytes.get(1).is_none_or(|&byte| byte == 0) {
            Step::Cut(0)
        } else {
            Step::Wrong
        };
    };
    let length = length as usize;
    let right = match code {
        SSL_REQUEST | GSS_REQUEST => length == 8,
        CANCEL => (16..=268).contains(&length),
        _ => (VERSION_3..=VERSION_3 + LAST_MINOR).contains(&code) && (9..=LONGEST_STARTUP).contains(&length),
    };
    if !right {
        return Step::Wrong;
    }
    let Some(message) = bytes.get(..length) else { return Step::Cut(0) };
    if code >= CANCEL || parameters_fit(message.get(8..).unwrap_or_default()) {
        Step::Whole(length, PROOF)
    } else {
        Step::Wrong
    }
}

/// Parameters are pairs of strings, the user among them, and an empty name ends them.
fn parameters_fit(mut rest: &[u8]) -> bool {
    let mut user = false;
    while let Some(end) = rest.iter().position(|&byte| byte == 0) {
        let (name, after) = rest.split_at(end);
        let after = after.get(1..).unwrap_or_default();
        if name.is_empty() {
            return user && after.is_empty();
        }
        if !name.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')) {
            return false;
        }
        user |= name == b"user";
        let Some(value_end) = after.iter().position(|&byte| byte == 0) else { return false };
        rest = after.get(value_end + 1..).unwrap_or_default();
    }
    false
}

/// A type letter, the length of what follows it, the contents.
fn step_typed(bytes: &[u8]) -> Step {
    let mut reader = Reader::new(bytes);
    let Some(kind) = reader.u8() else { return Step::Cut(0) };
    if !KINDS.contains(&kind) {
        return Step::Wrong;
    }
    let Some(length) = reader.be32().map(|length| length as usize) else { return Step::Cut(0) };
    if !(4..=LONGEST).contains(&length) {
        return Step::Wrong;
    }
    let Some(body) = reader.take(length - 4) else { return Step::Cut(0) };
    let weight = match (kind, body) {
        // Authentication: ok, clear text, MD5, GSS, SSPI, SASL.
        (b'R', [0, 0, 0, 0 | 3 | 7 | 9]) => 60,
        (b'R', [0, 0, 0, 5, _, _, _, _] | [0, 0, 0, 8 | 10..=12, ..]) => 60,
        // Ready for query: idle, in a transaction, in a failed one.
        (b'Z', [b'I' | b'T' | b'E']) => 50,
        // A parameter, or a query: text that ends with a zero byte.
        (b'S', []) | (b'X' | b'H' | b'1' | b'2' | b'3' | b'n' | b's' | b'c', []) => 30,
        (b'S', [b'a'..=b'z' | b'A'..=b'Z', .., 0]) => 30,
        (b'Q' | b'C', [text @ .., 0]) if !text.is_empty() && !text.contains(&0) => 40,
        // Errors and notices begin with their severity.
        (b'E' | b'N', [b'S' | b'V', .., 0, 0]) => 50,
        (b'K', [_, _, _, _, _, _, _, _]) => 20,
        (b'T' | b'D' | b'P' | b'B' | b'E' | b'p' | b'd' | b'A' | b't', [_, _, ..]) => 5,
        _ => return Step::Wrong,
    };
    Step::Whole(1 + length, weight)
}

fn tell(end: End, message: &[u8], proof: &mut Proof) {
    match message {
        [0, rest @ ..] => {
            client_is(proof, end);
            // One that goes on in another segment is told once it is whole.
            let length = message.first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
            if usize::try_from(length).ok() != Some(message.len()) {
                return;
            }
            let mut strings = rest.get(7..).unwrap_or_default().split(|&byte| byte == 0);
            while let (Some(name), Some(value)) = (strings.next(), strings.next()) {
                if name == b"database" && !value.is_empty() {
                    proof.facts.add("postgresql.database", text(value));
                }
            }
        }
        [b'R' | b'Z' | b'K', ..] => client_is(proof, end.other()),
        [b'Q', ..] => client_is(proof, end),
        [b'S', _, _, _, _, body @ ..] => {
            let mut strings = body.split(|&byte| byte == 0);
            if let (Some(b"server_version"), Some(version)) = (strings.next(), strings.next()) {
                proof.facts.add("postgresql.version", text(version));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_startup_names_its_database() {
        let startup = b"\0\0\0\x1f\0\x03\0\0user\0op\0database\0plant\0\0";
        let mut startup = startup.to_vec();
        startup[3] = startup.len() as u8;
        let Probe::Proven(proof) = harness::probe_messages(&Postgresql, Carrier::Tcp, &[&startup]) else {
            panic!()
        };
        assert_eq!((proof.client, proof.facts.get("postgresql.database")), (Some(End::First), Some("plant")));
        // Its end comes in another segment, which the capture shows after the answer.
        let answer = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
        let begun = &startup[..startup.len() - 4];
        let probe = harness::probe_both(&Postgresql, Carrier::Tcp, &[begun], &[answer]);
        let proof = probe.proof().expect("the answer proves it");
        assert_eq!(proof.facts.get("postgresql.database"), None, "half of a name is another one");
    }

    #[test]
    fn a_server_alone_is_enough() {
        let answers: [&[u8]; 3] =
            [b"R\0\0\0\x08\0\0\0\0", b"S\0\0\0\x18server_version\x0014.2\0", b"Z\0\0\0\x05I"];
        let Probe::Proven(proof) = harness::probe_messages(&Postgresql, Carrier::Tcp, &answers) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::Second));
        assert_eq!(proof.facts.get("postgresql.version"), Some("14.2"));
    }

    #[test]
    fn text_is_none() {
        assert_eq!(step(b"Query: what is it?"), Step::Wrong);
        assert_eq!(step(b"\0\0\0\x08\x04\xd2\x16\x30"), Step::Whole(8, PROOF));
        assert_eq!(step(b"\0\0\0\x09\x04\xd2\x16\x2f"), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Postgresql, 0, 0);
        harness::check_steps(&Postgresql);
    }
}
