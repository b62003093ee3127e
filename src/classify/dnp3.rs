//! DNP3 over TCP and UDP: link frames proved by their check sequence.

use compact_str::ToCompactString;

use super::About;
use super::Carrier;
use super::Deed;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::candidates::is_at;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::agrees;
use super::weigh::client_is;

/// DNP3 (IEEE 1815).
pub struct Dnp3;

/// Section numbers are those of IEEE 1815-2012.
static ABOUT: About = About {
    name: "dnp3",
    title: "DNP3",
    spec: "IEEE 1815-2012, clauses 9 (data link) and 13 (IP networking)",
    usual: &["tcp/20000", "udp/20000"],
    answers: true,
    facts: &[
        ("dnp3.source", "link address of a sender, decimal"),
        ("dnp3.destination", "link address of a receiver, decimal"),
        ("dnp3.function", "application function asked for: read, write, operate, cold-restart ..."),
        (
            "dnp3.access",
            "what the master asks for: read, write (operate and clear included), program (configuration), control (restart, applications)",
        ),
    ],
};

impl Protocol for Dnp3 {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        is_at(&START, at, byte) && (at != 2 || byte >= COUNTED)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp | Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Ethernet(_) => Probe::No,
        }
    }

    fn gist(&self, _: Carrier, payload: &[u8]) -> Option<u64> {
        let (header, user) =
            payload.split_first_chunk::<HEADER>().filter(|_| weigh::is_alone(payload, step))?;
        let [_, _, _, control, addresses @ .., _, _] = *header;
        let function = function(user).map_or(0, |function| u64::from(function) + 1);
        let master = u64::from(control >> 7);
        Some(u64::from(u32::from_le_bytes(addresses)) << 16 | function << 1 | master)
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        weigh::each_whole(payload, step, |frame| {
            if let Some(function) = frame.get(HEADER..).and_then(function) {
                let deed = Deed::of(access(function), "dnp3.function", function_name(function));
                deed.into_iter().for_each(&mut *tell);
            }
        });
    }
}

/// Start octets (9.2.4.1.1).
const START: [u8; 2] = [0x05, 0x64];
/// Header with its check sequence (9.2.4).
const HEADER: usize = 10;
/// User data octets covered by one check sequence (9.2.4.2).
const BLOCK: usize = 16;
/// What the length field counts besides user data: control, destination, source (9.2.4.1.2).
const COUNTED: u8 = 5;

fn step(bytes: &[u8]) -> Step {
    if !agrees(bytes, &START) {
        return Step::Wrong;
    }
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Step::Cut(0) };
    let [fields @ .., low, high] = header;
    let Some(user) = header[2].checked_sub(COUNTED).map(usize::from) else { return Step::Wrong };
    if u16::from_le_bytes([*low, *high]) != check(fields) || !function_known(header[3]) {
        return Step::Wrong;
    }
    let length = HEADER + user + 2 * user.div_ceil(BLOCK);
    // Start octets and check sequence are 32 bits that chance has to meet.
    if bytes.len() < length { Step::Cut(PROOF) } else { Step::Whole(length, PROOF) }
}

/// Link functions in use: from the primary station 0 to 4 and 9, from the secondary 0, 1, 11, 14 and 15 (9.2.4.1.3.5).
fn function_known(control: u8) -> bool {
    let primary = control & 0x40 != 0;
    match control & 0x0f {
        0 | 1 => true,
        2..=4 | 9 => primary,
        11 | 14 | 15 => !primary,
        _ => false,
    }
}

/// The check sequence: x^16 + x^13 + x^12 + x^11 + x^10 + x^8 + x^6 + x^5 + x^2 + 1, reflected and inverted (9.2.4.3).
pub(super) fn check(bytes: &[u8]) -> u16 {
    !bytes.iter().fold(0_u16, |sum, &byte| {
        let by = CHECKS.get(usize::from(sum as u8 ^ byte)).copied().unwrap_or_default();
        sum >> 8 ^ by
    })
}

/// What each byte does to the check sequence.
const CHECKS: [u16; 256] = checks();

#[expect(clippy::indexing_slicing, reason = "a constant, made with the program")]
const fn checks() -> [u16; 256] {
    let mut all = [0; 256];
    let mut byte = 0;
    while byte < all.len() {
        let (mut sum, mut bits) = (byte as u16, 0);
        while bits < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xa6bc } else { sum >> 1 };
            bits += 1;
        }
        all[byte] = sum;
        byte += 1;
    }
    all
}

fn tell(end: End, frame: &[u8], proof: &mut Proof) {
    let Some((header, user)) = frame.split_first_chunk::<HEADER>() else { return };
    // DIR is set in what a master sends (9.2.4.1.3.1).
    let master = header[3] & 0x80 != 0;
    client_is(proof, if master { end } else { end.other() });
    proof.facts.add("dnp3.destination", u16::from_le_bytes([header[4], header[5]]).to_compact_string());
    proof.facts.add("dnp3.source", u16::from_le_bytes([header[6], header[7]]).to_compact_string());
    let Some(function) = function(user) else { return };
    if let Some(name) = function_name(function) {
        proof.facts.add("dnp3.function", name);
    }
    if let Some(access) = access(function) {
        proof.facts.add("dnp3.access", access);
    }
}

/// The function code of a fragment's first segment: transport octet with FIR (8.2.1), application control, function code (4.2.2).
fn function(user: &[u8]) -> Option<u8> {
    match *user {
        [transport, _, function, ..] if transport & 0x40 != 0 => Some(function),
        _ => None,
    }
}

/// What a request does to the outstation (4.2.2.5 and 4.4). Not told: selecting, freezing into other counters, what an outstation reports
/// unasked, handling of files that are open, authentication.
fn access(function: u8) -> Option<&'static str> {
    match function {
        1 | 28 => Some("read"),
        2 | 4 | 5 | 6 | 9 | 10 | 27 => Some("write"),
        19 | 31 => Some("program"),
        13..=18 => Some("control"),
        _ => None,
    }
}

/// Application function codes (4.2.2.5).
fn function_name(code: u8) -> Option<&'static str> {
    Some(match code {
        0 => "confirm",
        1 => "read",
        2 => "write",
        3 => "select",
        4 => "operate",
        5 => "direct-operate",
        6 => "direct-operate-no-ack",
        7 => "freeze",
        8 => "freeze-no-ack",
        9 => "freeze-clear",
        10 => "freeze-clear-no-ack",
        11 => "freeze-at-time",
        12 => "freeze-at-time-no-ack",
        13 => "cold-restart",
        14 => "warm-restart",
        15 => "initialize-data",
        16 => "initialize-application",
        17 => "start-application",
        18 => "stop-application",
        19 => "save-configuration",
        20 => "enable-unsolicited",
        21 => "disable-unsolicited",
        22 => "assign-class",
        23 => "delay-measurement",
        24 => "record-current-time",
        25 => "open-file",
        26 => "close-file",
        27 => "delete-file",
        28 => "get-file-information",
        29 => "authenticate-file",
        30 => "abort-file-transfer",
        31 => "activate-configuration",
        32 => "authentication-request",
        33 => "authentication-request-no-ack",
        129 => "response",
        130 => "unsolicited-response",
        131 => "authentication-response",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    /// A link status request and a read of class data, built by the rules of clause 9.
    fn frame(control: u8, user: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x05, 0x64, COUNTED + user.len() as u8, control, 3, 0, 4, 0];
        frame.extend(check(&frame).to_le_bytes());
        for block in user.chunks(BLOCK) {
            frame.extend(block);
            frame.extend(check(block).to_le_bytes());
        }
        frame
    }

    fn probe(carrier: Carrier, bytes: &[u8]) -> Probe {
        let ends = [bytes.len() as u16];
        Dnp3.probe(&Seen { carrier, first: Side::of(bytes, &ends), second: Side::default(), known: None })
    }

    #[test]
    fn the_published_check_sequence() {
        // Check value of CRC-16/DNP over "123456789".
        assert_eq!(check(b"123456789"), 0xea82);
    }

    #[test]
    fn a_master_asks() {
        let bytes = frame(0xc4, &[0xc0, 0xc1, 1, 60, 2, 6]);
        let Probe::Proven(proof) = probe(Carrier::Tcp, &bytes) else { panic!("not proven") };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("dnp3.function"), Some("read"));
        assert_eq!(proof.facts.get("dnp3.destination"), Some("3"));
        let Probe::Proven(proof) = probe(Carrier::Udp, &frame(0x44, &[0xc0, 0xc1, 129, 0, 0])) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::Second));
    }

    #[test]
    fn a_wrong_check_sequence_is_no_frame() {
        let mut bytes = frame(0xc9, &[]);
        bytes[9] ^= 1;
        assert_eq!(step(&bytes), Step::Wrong);
        assert_eq!(step(&frame(0xc7, &[])), Step::Wrong);
        assert_eq!(step(b"\x05"), Step::Cut(0));
        assert_eq!(step(b"\x05d\x00"), Step::Cut(0));
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Dnp3, 0, 0);
        harness::check_steps(&Dnp3);
    }
}
