//! Synchrophasor data (IEEE C37.118): frames proved by their check word.

use compact_str::ToCompactString;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::bytes::is_text;
use super::bytes::text;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// Synchrophasor data transfer.
pub struct Synchrophasor;

static ABOUT: About = About {
    name: "synchrophasor",
    title: "IEEE C37.118 synchrophasor",
    spec: "IEEE C37.118.2-2011 clause 6, IEEE C37.118-2005 clause 6",
    usual: &["tcp/4712", "udp/4713"],
    answers: true,
    facts: &[
        ("synchrophasor.id", "stream id (IDCODE), decimal"),
        ("synchrophasor.station", "station name of a configuration frame"),
    ],
};

impl Protocol for Synchrophasor {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => byte == SYNC,
            1 => byte < 0x80 && byte >> 4 <= LAST_TYPE && matches!(byte & 0x0f, 1..=3),
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp | Carrier::Udp => {
                let mut commands = false;
                let mut probe = weigh::probe(seen, step, |end, frame, proof| {
                    commands |= kind(frame) == Some(COMMAND);
                    tell(end, frame, proof);
                });
                if let Probe::Proven(proof) = &mut probe {
                    // Measurements may be sent to whoever listens; what a command asks for is due.
                    proof.unasked = !commands;
                }
                probe
            }
            Carrier::Ethernet(_) => Probe::No,
        }
    }

    fn gist(&self, _: Carrier, payload: &[u8]) -> Option<u64> {
        let kind = kind(payload).filter(|kind| !matches!(*kind, CONFIGURATION_1 | CONFIGURATION_2))?;
        let &[_, _, _, _, high, low] =
            payload.first_chunk::<6>().filter(|_| weigh::is_alone(payload, step))?;
        Some(u64::from(kind) << 16 | u64::from(u16::from_be_bytes([high, low])))
    }
}

/// First byte of every frame (6.2, table 2).
const SYNC: u8 = 0xaa;
/// Sync word, frame size, id, second of century, fraction of second; the check word ends the frame.
const HEADER: usize = 14;
const CHECK: usize = 2;
/// Frame types in bits 6 to 4 of the second byte: data, header, configuration 1 and 2, command, configuration 3.
const COMMAND: u8 = 4;
const CONFIGURATION_1: u8 = 2;
const CONFIGURATION_2: u8 = 3;
const LAST_TYPE: u8 = 5;

fn step(bytes: &[u8]) -> Step {
    match *bytes {
        [] | [SYNC] => return Step::Cut(0),
        // Bit 7 is reserved; versions are 1 (2005) and 2 (2011), later ones counted on to 3.
        [SYNC, kind, ..] if kind < 0x80 && kind >> 4 <= LAST_TYPE && matches!(kind & 0x0f, 1..=3) => {}
        _ => return Step::Wrong,
    }
    let Some(&[_, _, high, low]) = bytes.first_chunk::<4>() else { return Step::Cut(0) };
    let size = usize::from(u16::from_be_bytes([high, low]));
    if size < HEADER + CHECK {
        return Step::Wrong;
    }
    let Some(frame) = bytes.get(..size) else { return Step::Cut(0) };
    match frame.split_last_chunk::<CHECK>() {
        Some((content, sent)) if check(content) == u16::from_be_bytes(*sent) => Step::Whole(size, PROOF),
        _ => Step::Wrong,
    }
}

/// CRC-CCITT from all ones, x^16 + x^12 + x^5 + 1 (annex B).
fn check(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff_u16, |sum, &byte| {
        let by = CHECKS.get(usize::from((sum >> 8) as u8 ^ byte)).copied().unwrap_or_default();
        sum << 8 ^ by
    })
}

/// What each byte does to the check word.
const CHECKS: [u16; 256] = checks();

#[expect(clippy::indexing_slicing, reason = "a constant, made with the program")]
const fn checks() -> [u16; 256] {
    let mut all = [0; 256];
    let mut byte = 0;
    while byte < all.len() {
        let (mut sum, mut bits) = ((byte as u16) << 8, 0);
        while bits < 8 {
            sum = if sum & 0x8000 != 0 { sum << 1 ^ 0x1021 } else { sum << 1 };
            bits += 1;
        }
        all[byte] = sum;
        byte += 1;
    }
    all
}

/// The type of a frame.
fn kind(frame: &[u8]) -> Option<u8> {
    frame.get(1).map(|kind| kind >> 4)
}

fn tell(end: End, frame: &[u8], proof: &mut Proof) {
    let mut reader = Reader::new(frame);
    let Some(&[_, _, _, _, high, low]) = reader.array::<6>() else { return };
    let Some(kind) = kind(frame) else { return };
    // Commands come from the data concentrator, everything else from the measuring unit (6.1).
    client_is(proof, if kind == COMMAND { end } else { end.other() });
    proof.facts.add("synchrophasor.id", u16::from_be_bytes([high, low]).to_compact_string());
    if matches!(kind, CONFIGURATION_1 | CONFIGURATION_2) {
        // Second, fraction, time base, number of units, then the first unit's name of sixteen characters (6.4).
        let station = reader.skip(8 + 4 + 2).and_then(|()| reader.take(16)).map(<[u8]>::trim_ascii);
        if let Some(station) = station.filter(|station| !station.is_empty() && is_text(station)) {
            proof.facts.add("synchrophasor.station", text(station));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    /// A command to send configuration 2.
    fn command() -> Vec<u8> {
        let mut frame = vec![SYNC, 0x41, 0, 18, 0, 7, 0x60, 0, 0, 1, 0, 0, 0, 0, 0, 5];
        frame.extend(check(&frame).to_be_bytes());
        frame
    }

    #[test]
    fn the_published_check_word() {
        // Check value of CRC-16/CCITT-FALSE over "123456789".
        assert_eq!(check(b"123456789"), 0x29b1);
    }

    #[test]
    fn a_command_comes_from_the_client() {
        for carrier in [Carrier::Tcp, Carrier::Udp] {
            let Probe::Proven(proof) = harness::probe_messages(&Synchrophasor, carrier, &[&command()]) else {
                panic!()
            };
            assert_eq!(proof.client, Some(End::First));
            assert_eq!(proof.facts.get("synchrophasor.id"), Some("7"));
        }
    }

    /// Measurements may go one way; what a command asks for is due.
    #[test]
    fn only_a_command_wants_an_answer() {
        let mut data = vec![SYNC, 0x01, 0, 18, 0, 7, 0x60, 0, 0, 1, 0, 0, 0, 0, 0, 5];
        data.extend(check(&data).to_be_bytes());
        for (frame, unasked) in [(command(), false), (data, true)] {
            let probe = harness::probe_messages(&Synchrophasor, Carrier::Udp, &[&frame]);
            assert_eq!(probe.proof().map(|proof| proof.unasked), Some(unasked));
        }
    }

    #[test]
    fn a_wrong_check_word_is_no_frame() {
        let mut frame = command();
        frame[15] = 4;
        assert_eq!(step(&frame), Step::Wrong);
        assert_eq!(step(&[SYNC, 0x6f]), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Synchrophasor, 0, 0);
        harness::check_steps(&Synchrophasor);
    }
}
