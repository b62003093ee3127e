//! MySQL and MariaDB: the greeting of the server and the login of the client.

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
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;
use super::weigh::upgraded;

/// MySQL.
pub struct Mysql;

static ABOUT: About = About {
    name: "mysql",
    title: "MySQL/MariaDB",
    spec: "MySQL Internals Manual, Client/Server Protocol: HandshakeV10, HandshakeResponse41, SSLRequest; MariaDB Connection Protocol",
    usual: &["tcp/3306"],
    answers: true,
    facts: &[
        ("mysql.version", "version of the server"),
        ("mysql.refused", "what the server says instead of a greeting: code and words"),
    ],
};

impl Protocol for Mysql {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            1 => usize::from(byte) <= LONGEST >> 8,
            2 => byte == 0,
            3 => byte <= 1,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => upgraded(weigh::probe(seen, step, tell), seen, "mysql", first_packet),
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Protocol version of every server since 3.21.
const PROTOCOL: u8 = 10;
/// Error packet in place of a greeting.
const ERROR: u8 = 0xff;
/// The longest packet taken for a greeting or a login.
const LONGEST: usize = 1 << 12;
/// The longest version text accepted.
const LONGEST_VERSION: usize = 80;
/// Client capability bits: protocol 4.1, and switch to TLS.
const PROTOCOL_41: u32 = 0x0200;
const SSL: u32 = 0x0800;
/// Zeros in a login; MariaDB uses the last four of 23 for more capabilities.
const FILLER: usize = 19;

/// Three bytes of length, sequence number, payload: only the first packet of each end is looked at.
fn step(bytes: &[u8]) -> Step {
    let Some((&[l0, l1, l2, sequence], payload)) = bytes.split_first_chunk::<4>() else {
        return Step::Cut(0);
    };
    let length = usize::from(l0) | usize::from(l1) << 8 | usize::from(l2) << 16;
    if length == 0 || length > LONGEST {
        return Step::Wrong;
    }
    let Some(payload) = payload.get(..length) else { return Step::Cut(0) };
    let weight = match sequence {
        0 if greeting(payload).is_some() => PROOF,
        0 if refusal(payload) => 60,
        1 if login(payload) => PROOF,
        _ => return Step::Wrong,
    };
    Step::Whole(4 + length, weight)
}

/// The length of a side's first packet: a client asks for TLS in it and begins at once.
fn first_packet(side: &Side<'_>) -> usize {
    match *side.bytes {
        [l0, l1, l2, _, ..] => 4 + (usize::from(l0) | usize::from(l1) << 8 | usize::from(l2) << 16),
        _ => 0,
    }
}

/// The version text of a greeting: version text, thread, eight bytes of challenge, a zero byte.
fn greeting(payload: &[u8]) -> Option<&[u8]> {
    let (&PROTOCOL, rest) = payload.split_first()? else { return None };
    let end = rest.iter().take(LONGEST_VERSION).position(|&byte| byte == 0)?;
    let (version, rest) = rest.split_at_checked(end)?;
    let right = version.first()?.is_ascii_digit() && version.iter().all(u8::is_ascii_graphic);
    (right && version.contains(&b'.') && rest.get(13) == Some(&0)).then_some(version)
}

/// An error of the server before any login: a code from 1040 on, and text.
fn refusal(payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload);
    reader.u8() == Some(ERROR)
        && reader.le16().is_some_and(|code| (1000..=2000).contains(&code))
        && reader.left() > 0
        && reader.rest().iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Capabilities, largest packet, character set, then zeros; a request for TLS ends there.
fn login(payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload);
    let Some(capabilities) = reader.le32() else { return false };
    if capabilities & PROTOCOL_41 == 0 || reader.skip(5).is_none() {
        return false;
    }
    let zeros = reader.take(FILLER).is_some_and(|filler| filler.iter().all(|&byte| byte == 0));
    zeros && reader.skip(4).is_some() && (!reader.is_empty() || capabilities & SSL != 0)
}

fn tell(end: End, packet: &[u8], proof: &mut Proof) {
    let Some((&[_, _, _, sequence], payload)) = packet.split_first_chunk::<4>() else { return };
    client_is(proof, if sequence == 1 { end } else { end.other() });
    if let Some(version) = greeting(payload) {
        proof.facts.add("mysql.version", text(version));
    }
    if sequence == 0
        && refusal(payload)
        && let [ERROR, low, high, words @ ..] = payload
    {
        let code = u16::from_le_bytes([*low, *high]);
        proof.facts.add("mysql.refused", format_compact!("{code} {}", text(words)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![payload.len() as u8, 0, 0, sequence];
        packet.extend(payload);
        packet
    }

    #[test]
    fn a_greeting_names_its_version() {
        let greeting = packet(0, b"\x0a8.0.33\0\x01\0\0\0challeng\0\xff\xf7");
        let Probe::Proven(proof) = harness::probe_messages(&Mysql, Carrier::Tcp, &[&greeting]) else {
            panic!()
        };
        assert_eq!((proof.client, proof.facts.get("mysql.version")), (Some(End::Second), Some("8.0.33")));
    }

    #[test]
    fn a_login_alone_is_enough() {
        let mut login = vec![0x0d, 0xa2, 2, 0, 0, 0, 0, 0x40, 0x21];
        login.resize(32, 0);
        login.extend(b"u\0\0");
        let Probe::Proven(proof) = harness::probe_messages(&Mysql, Carrier::Tcp, &[&packet(1, &login)])
        else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        login[12] = 1;
        assert_eq!(step(&packet(1, &login)), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Mysql, 0, 0);
        harness::check_steps(&Mysql);
    }
}
