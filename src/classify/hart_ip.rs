//! HART-IP: sessions, keep-alives and tunnelled HART frames over TCP and UDP.

use compact_str::ToCompactString;

use super::About;
use super::Carrier;
use super::Deed;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// HART-IP.
pub struct HartIp;

static ABOUT: About = About {
    name: "hart-ip",
    title: "HART-IP",
    spec: "FieldComm Group HCF_SPEC-085 clause 10 (HART-IP message format)",
    usual: &["tcp/5094", "udp/5094"],
    answers: true,
    facts: &[
        ("hart-ip.version", "protocol version, 1 or 2"),
        (
            "hart-ip.message",
            "message id: session-initiate, session-close, keep-alive, token-passing, direct, audit-log",
        ),
        ("hart-ip.command", "number of a tunnelled HART command, decimal"),
        (
            "hart-ip.access",
            "what the commands within requests do to the device: read, write, control (test, reset)",
        ),
    ],
};

impl Protocol for HartIp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => matches!(byte, 1 | 2),
            1 => matches!(byte, REQUEST | RESPONSE | PUBLISH | NAK),
            2 => byte <= AUDIT_LOG,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp | Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Ethernet(_) => Probe::No,
        }
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        weigh::each_whole(payload, step, |message| {
            if let Some((&[_, REQUEST, TOKEN_PASSING, ..], body)) = message.split_first_chunk::<HEADER>() {
                let access = command(body).and_then(|(command, _)| access(command));
                Deed::of(access, "hart-ip.command", None).into_iter().for_each(&mut *tell);
            }
        });
    }
}

/// Message header: version, type, id, status, sequence number, byte count of the whole message.
const HEADER: usize = 8;
/// The longest message accepted: a direct PDU of a full Ethernet frame.
const LONGEST: usize = 1500;
/// Message types: request, response, publish, error (NAK).
const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const PUBLISH: u8 = 2;
const NAK: u8 = 15;
/// Message ids.
const INITIATE: u8 = 0;
const CLOSE: u8 = 1;
const KEEP_ALIVE: u8 = 2;
const TOKEN_PASSING: u8 = 3;
const DIRECT: u8 = 4;
const AUDIT_LOG: u8 = 5;

fn step(bytes: &[u8]) -> Step {
    match *bytes {
        [] => return Step::Cut(0),
        [1 | 2] | [1 | 2, REQUEST | RESPONSE | PUBLISH | NAK] => return Step::Cut(0),
        [1 | 2, REQUEST | RESPONSE | PUBLISH | NAK, INITIATE..=AUDIT_LOG, ..] => {}
        _ => return Step::Wrong,
    }
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else { return Step::Cut(0) };
    let [version, kind, id, status, _, _, high, low] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let fixed = match id {
        INITIATE => length == HEADER + 5 || (length == HEADER && kind != REQUEST),
        CLOSE | KEEP_ALIVE => length == HEADER,
        _ => (HEADER..=LONGEST).contains(&length),
    };
    if !fixed || (kind == REQUEST && status != 0) {
        return Step::Wrong;
    }
    let Some(body) = body.get(..length - HEADER) else { return Step::Cut(0) };
    let weight = match (id, body.len()) {
        // Master type and inactivity timer.
        (INITIATE, 5) if body.first().is_some_and(|&master| master <= 1) => 80,
        // A refused session has no body; neither have closing and keep-alive.
        (INITIATE, 0) => 60,
        // Eight bytes, six of them small: two such messages are needed.
        (CLOSE | KEEP_ALIVE, 0) => 55,
        (TOKEN_PASSING, 4..) if frame_fits(body) => PROOF,
        (TOKEN_PASSING, 0) if kind != REQUEST && status != 0 => 60,
        // Direct PDU: device status words, then commands of number, count and data (version 2).
        (DIRECT, 2..) if version == 2 => 40,
        (AUDIT_LOG, _) if version == 2 => 40,
        _ => return Step::Wrong,
    };
    Step::Whole(length, weight)
}

/// A HART frame from its delimiter on, its check byte the exclusive or of all before it (HCF_SPEC-081).
fn frame_fits(frame: &[u8]) -> bool {
    command(frame).is_some_and(|(_, rest)| !rest.is_empty())
        && frame.iter().fold(0, |sum, byte| sum ^ byte) == 0
}

/// The command number of a HART frame and what follows it: delimiter with the address size in bit 7 and the count of
/// expansion bytes in bits 5 and 6, address of one or five bytes, command, byte count.
fn command(frame: &[u8]) -> Option<(u8, &[u8])> {
    let mut reader = Reader::new(frame);
    let delimiter = reader.u8()?;
    reader.skip(if delimiter & 0x80 != 0 { 5 } else { 1 })?;
    reader.skip(usize::from(delimiter >> 5 & 3))?;
    let command = reader.u8()?;
    let count = reader.u8()?;
    (reader.left() == usize::from(count) + 1).then(|| (command, reader.rest()))
}

/// What a command does to the device: universal commands (HCF_SPEC-127) and the older common practice commands (HCF_SPEC-151).
fn access(command: u8) -> Option<&'static str> {
    match command {
        0..=3 | 7..=9 | 11..=16 | 20 | 21 | 33 | 48 | 50 | 54 => Some("read"),
        6 | 17..=19 | 22 | 34..=38 | 40 | 43..=47 | 49 | 51..=53 | 55 | 56 | 59 => Some("write"),
        41 | 42 => Some("control"),
        _ => None,
    }
}

fn tell(end: End, message: &[u8], proof: &mut Proof) {
    let Some((&[version, kind, id, ..], body)) = message.split_first_chunk::<HEADER>() else { return };
    proof.facts.add("hart-ip.version", version.to_compact_string());
    match kind {
        REQUEST => client_is(proof, end),
        _ => client_is(proof, end.other()),
    }
    let name = match id {
        INITIATE => "session-initiate",
        CLOSE => "session-close",
        KEEP_ALIVE => "keep-alive",
        TOKEN_PASSING => "token-passing",
        DIRECT => "direct",
        _ => "audit-log",
    };
    proof.facts.add("hart-ip.message", name);
    if id == TOKEN_PASSING
        && let Some((command, _)) = command(body)
    {
        proof.facts.add("hart-ip.command", command.to_compact_string());
        if let Some(access) = access(command).filter(|_| kind == REQUEST) {
            proof.facts.add("hart-ip.access", access);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    const SESSION: [u8; 13] = [1, 0, 0, 0, 0, 1, 0, 13, 1, 0, 0, 0x75, 0x30];
    /// Command 0 with a short address: 02 80 00 00, check byte 82.
    const COMMAND: [u8; 13] = [1, 0, 3, 0, 0, 2, 0, 13, 0x02, 0x80, 0, 0, 0x82];

    #[test]
    fn a_session_is_asked_for() {
        let seen = Seen {
            carrier: Carrier::Udp,
            first: Side::of(&SESSION, &[13]),
            second: Side::default(),
            known: None,
        };
        let Probe::Proven(proof) = HartIp.probe(&seen) else { panic!() };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("hart-ip.message"), Some("session-initiate"));
    }

    #[test]
    fn a_command_proves_by_its_check_byte() {
        assert_eq!(step(&COMMAND), Step::Whole(13, PROOF));
        let mut broken = COMMAND;
        broken[12] ^= 1;
        assert_eq!(step(&broken), Step::Wrong);
    }

    #[test]
    fn neighbours_that_begin_alike_are_wrong() {
        // A Modbus request with transaction 256 and a SOCKS-like greeting.
        assert_eq!(step(&[1, 0, 0, 0, 0, 6, 1, 3, 0, 0, 0, 10]), Step::Wrong);
        assert_eq!(step(&[1, 1, 0]), Step::Cut(0));
        assert_eq!(step(&[1, 3]), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&HartIp, 0, 0);
        harness::check_steps(&HartIp);
    }
}
