//! NTP and SNTP, the time protocol: client and server, symmetric, broadcast, control and private messages.

use compact_str::ToCompactString;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::look;
use crate::model::Facts;

/// The protocol.
pub struct Ntp;

static ABOUT: About = About {
    name: "ntp",
    title: "Network Time Protocol",
    spec: "RFC 5905 (modes 1 to 5), RFC 9327 (mode 6), ntpd's ntp_request.h (mode 7), RFC 1305, RFC 4330",
    usual: &["udp/123"],
    answers: true,
    facts: &[
        (
            "ntp.mode",
            "each mode seen: client, server, symmetric-active, symmetric-passive, broadcast, control, private",
        ),
        ("ntp.version", "each version seen, 1 to 4"),
        (
            "ntp.stratum",
            "stratum that the server states; 0 where it is not synchronised or refuses (kiss of death)",
        ),
    ],
};

impl Protocol for Ntp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        at != 0 || (Mode::of(byte).is_some() && (1..=4).contains(&(byte >> 3 & 7)))
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Udp {
            return Probe::No;
        }
        let sides = [&seen.first, &seen.second];
        let [first, second] = match look::both(seen, |side| look::datagrams(side, message)) {
            Ok(both) => both,
            // A clock that was never set has no plausible time: then an answer that echoes the question proves both.
            Err(probe) => match paired(seen) {
                Some(both) => both.map(|message| Some(look::Messages::from_buf([message]))),
                None => return probe,
            },
        };
        let mut proof = Proof::default();
        let mut facts = Facts::new();
        for (end, messages) in [(End::First, first), (End::Second, second)] {
            for message in messages.into_iter().flatten() {
                facts.add("ntp.mode", message.mode.name());
                facts.add("ntp.version", message.version.to_compact_string());
                if let (Mode::Server | Mode::Broadcast, Some(stratum)) = (message.mode, message.stratum) {
                    facts.add("ntp.stratum", stratum.to_compact_string());
                }
                let client = match message.mode {
                    Mode::Client | Mode::SymmetricActive => Some(end),
                    Mode::Server | Mode::SymmetricPassive | Mode::Broadcast => Some(end.other()),
                    Mode::Control | Mode::Private => Some(if message.answer { end.other() } else { end }),
                };
                proof.client = proof.client.or(client);
            }
        }
        let active = facts.all("ntp.mode").filter(|mode| mode.starts_with("symmetric")).count();
        let both_active = active == 1 && sides.iter().all(|side| !side.is_silent());
        if both_active && facts.get("ntp.mode") == Some(Mode::SymmetricActive.name()) {
            // Two peers that poll each other: neither serves.
            proof.client = None;
        }
        proof.open = sides.iter().any(|side| side.is_silent()) && !sides.iter().all(|side| side.complete);
        proof.unasked = facts.all("ntp.mode").all(|mode| mode == Mode::Broadcast.name());
        proof.facts = facts;
        Probe::Proven(proof)
    }
}

/// Association modes (RFC 5905 figure 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    SymmetricActive,
    SymmetricPassive,
    Client,
    Server,
    Broadcast,
    Control,
    Private,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::SymmetricActive => "symmetric-active",
            Self::SymmetricPassive => "symmetric-passive",
            Self::Client => "client",
            Self::Server => "server",
            Self::Broadcast => "broadcast",
            Self::Control => "control",
            Self::Private => "private",
        }
    }

    fn of(first: u8) -> Option<Self> {
        Some(match first & 7 {
            1 => Self::SymmetricActive,
            2 => Self::SymmetricPassive,
            3 => Self::Client,
            4 => Self::Server,
            5 => Self::Broadcast,
            6 => Self::Control,
            7 => Self::Private,
            _ => return None,
        })
    }
}

/// What one message is.
#[derive(Clone, Copy, Debug)]
struct Message {
    mode: Mode,
    version: u8,
    stratum: Option<u8>,
    /// Modes 6 and 7: whether it is an answer.
    answer: bool,
}

/// Bytes of the header of modes 1 to 5 (RFC 5905 figure 8).
const HEADER: usize = 48;

fn message(bytes: &[u8]) -> Option<Message> {
    let first = *bytes.first()?;
    match Mode::of(first)? {
        Mode::Control => control(bytes),
        Mode::Private => private(bytes),
        _ => time(bytes).and_then(|time| time.is_plausible().then(|| time.message())),
    }
}

/// The header of modes 1 to 5.
#[derive(Clone, Copy, Debug)]
struct Time {
    mode: Mode,
    version: u8,
    stratum: u8,
    root_delay: u32,
    root_dispersion: u32,
    reference_id: u32,
    reference: u64,
    origin: u64,
    receive: u64,
    transmit: u64,
}

/// Reads modes 1 to 5 and checks all that has a range (RFC 5905 section 7.3).
fn time(bytes: &[u8]) -> Option<Time> {
    let mut reader = Reader::new(bytes);
    let (first, stratum, poll, precision) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
    let time = Time {
        mode: Mode::of(first)?,
        version: first >> 3 & 7,
        stratum,
        root_delay: reader.be32()?,
        root_dispersion: reader.be32()?,
        reference_id: reader.be32()?,
        reference: reader.be64()?,
        origin: reader.be64()?,
        receive: reader.be64()?,
        transmit: reader.be64()?,
    };
    // Poll is 2^-6 to 2^17 seconds with some room. Precision is never coarser than a second, but a client that hides
    // its own may send 2^32 (chrony does).
    let coarsest = if time.mode == Mode::Client { 32 } else { 0 };
    let poll = poll.cast_signed();
    let precision = precision.cast_signed();
    let in_range = (1..=4).contains(&time.version)
        && time.stratum <= 16
        && (-8..=24).contains(&poll)
        && (-32..=coarsest).contains(&precision)
        // 16.16 seconds: more than a quarter of an hour is no clock's.
        && (time.root_delay.cast_signed() >> 16).unsigned_abs() < 1024
        && time.root_dispersion >> 16 < 1024;
    (in_range && is_trailer(bytes.get(HEADER..)?, time.version)).then_some(time)
}

impl Time {
    fn message(&self) -> Message {
        Message { mode: self.mode, version: self.version, stratum: Some(self.stratum), answer: false }
    }

    /// Whether its times are such as a clock states.
    fn is_plausible(&self) -> bool {
        let past = [self.reference, self.origin, self.receive];
        let blank = past.iter().all(|&time| time == 0) && (self.root_delay, self.root_dispersion) == (0, 0);
        match self.mode {
            // A client may send nothing, or only a transmit time, which may be random (RFC 9109, data minimization).
            Mode::Client if blank => self.reference_id == 0 || is_time(self.transmit),
            // The interleaved mode repeats the server's receive time; a client that hides its own fills the others by chance (RFC 9769 section 2).
            Mode::Client if self.hides_itself() => is_clock(self.origin),
            Mode::Client => {
                past.iter().all(|&time| is_time(time)) && (is_time(self.transmit) || self.origin != 0)
            }
            // A clock that was never set gives no time at all, but names its source: LOCL.
            Mode::Server if blank && self.transmit == 0 => {
                self.reference_id.to_be_bytes().iter().all(u8::is_ascii_uppercase)
            }
            // A server echoes the client's transmit time, whatever that was.
            Mode::Server => is_time(self.reference) && is_clock(self.receive) && is_clock(self.transmit),
            _ => past.iter().all(|&time| is_time(time)) && is_clock(self.transmit),
        }
    }

    /// Whether it says nothing of the clock that it comes from (draft-ietf-ntp-data-minimization, section 4).
    fn hides_itself(&self) -> bool {
        (self.stratum, self.root_delay, self.root_dispersion, self.reference_id, self.reference)
            == (0, 0, 0, 0, 0)
    }
}

/// A time that is not given, or a clock's.
fn is_time(time: u64) -> bool {
    time == 0 || is_clock(time)
}

/// Seconds since 1900 between 1970, where clocks start that were never set, and 2036, or from then to 2068 in the next era.
fn is_clock(time: u64) -> bool {
    let seconds = (time >> 32) as u32;
    seconds >= 2_208_988_800 || (1 << 24..1_000_000_000).contains(&seconds) && time as u32 != 0
}

/// Whether extension fields and a message authentication code may stand so after the header (RFC 5905 sections 7.3, 7.5; RFC 7822).
fn is_trailer(mut rest: &[u8], version: u8) -> bool {
    for _ in 0..16 {
        match rest.len() {
            // None; crypto-NAK; DES (version 3); MD5 or AES-CMAC; SHA-1; SHA-256; SHA-384; SHA-512; MS-SNTP's authenticators.
            0 => return true,
            4 | 12 | 20 | 24 | 36 | 52 | 68 | 72 => return version > 1,
            _ if version < 4 => return false,
            _ => {}
        }
        let mut reader = Reader::new(rest);
        let (Some(_kind), Some(length)) = (reader.be16(), reader.be16()) else { return false };
        if length < 16 || length % 4 != 0 {
            return false;
        }
        match rest.get(usize::from(length)..) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    false
}

/// Question and answer of modes 3 and 4 (or 1 and 2) whose origin time is the other's transmit time.
fn paired(seen: &Seen<'_>) -> Option<[Message; 2]> {
    let questions = || seen.first.messages().filter_map(time).zip(std::iter::repeat(End::First));
    let answers = || seen.second.messages().filter_map(time).zip(std::iter::repeat(End::Second));
    for (one, _) in questions() {
        for (other, _) in answers() {
            let fits = |question: &Time, answer: &Time| {
                matches!(
                    (question.mode, answer.mode),
                    (Mode::Client, Mode::Server) | (Mode::SymmetricActive, Mode::SymmetricPassive)
                ) && question.transmit != 0
                    && answer.origin == question.transmit
            };
            if fits(&one, &other) || fits(&other, &one) {
                return Some([one.message(), other.message()]);
            }
        }
    }
    None
}

/// A mode 6 message (RFC 9327 section 2).
fn control(bytes: &[u8]) -> Option<Message> {
    /// Most data bytes in one fragment.
    const MOST_DATA: u16 = 468;
    let mut reader = Reader::new(bytes);
    let (first, flags) = (reader.u8()?, reader.u8()?);
    let (_sequence, status, _association) = (reader.be16()?, reader.be16()?, reader.be16()?);
    let (offset, count) = (reader.be16()?, reader.be16()?);
    let (answer, error, more, operation) =
        (flags & 0x80 != 0, flags & 0x40 != 0, flags & 0x20 != 0, flags & 0x1f);
    let version = first >> 3 & 7;
    if first >> 6 != 0
        || !(1..=4).contains(&version)
        || !matches!(operation, 1..=12 | 31)
        || count > MOST_DATA
    {
        return None;
    }
    let data = reader.take(usize::from(count))?;
    // Padding to four bytes (some stop at the data), then perhaps a key id and digest.
    let padding = usize::from(count).next_multiple_of(4) - usize::from(count);
    let left = reader.left();
    if left != 0 && !matches!(left.checked_sub(padding), Some(0 | 20 | 24)) {
        return None;
    }
    let text = data.iter().all(|&c| matches!(c, b'\t' | b'\r' | b'\n' | b' '..=b'~'));
    let fits = if answer {
        // Variables are text; read status lists pairs of association id and status; an error is told in the status.
        let refused = error && count == 0 && !more && matches!(status, 0x0100..=0x0700) && status & 0xff == 0;
        let answered = !error && !data.is_empty() && (text || (operation == 1 && count % 4 == 0));
        refused || answered
    } else {
        !error && !more && status == 0 && offset == 0 && text
    };
    fits.then_some(Message { mode: Mode::Control, version, stratum: None, answer })
}

/// A mode 7 message (ntpd, include/ntp_request.h).
fn private(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader::new(bytes);
    let (first, sequence, implementation, code) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
    let (items, size) = (reader.be16()?, reader.be16()?);
    let (answer, more, version) = (first & 0x80 != 0, first & 0x40 != 0, first >> 3 & 7);
    let error = items >> 12;
    let items = usize::from(items & 0x0fff);
    // The upper four bits of the item size must be zero; 3 is XNTPD, 2 its older form, 0 any.
    if !(2..=4).contains(&version)
        || size >> 12 != 0
        || !matches!(implementation, 0 | 2 | 3)
        || code > 46
        || error > 7
    {
        return None;
    }
    let data = items * usize::from(size);
    let fits = if answer {
        reader.left() == data && (data > 0 || error > 0)
    } else {
        // Requests are padded with zeros, to 40 or 184 bytes of data by the usual programs, and may be authenticated.
        let rest = reader.rest();
        !more
            && error == 0
            && sequence == 0
            && rest.get(data..).is_some_and(|padding| data > 0 || padding.iter().all(|&byte| byte == 0))
            && implementation != 0
            && matches!(rest.len(), 0 | 40 | 60 | 64 | 184 | 204 | 208)
    };
    fits.then_some(Message { mode: Mode::Private, version, stratum: None, answer })
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
        harness::check(&Ntp, 0, 0);
        harness::check_steps(&Ntp);
    }

    fn plain(first: u8, origin: &str, transmit: &str) -> Vec<u8> {
        hex(&format!(
            "{first:02x} 01 06 e9 00000000 00000000 00000000 0000000000000000 {origin} {transmit} {transmit}"
        ))
    }

    #[test]
    fn an_answer_that_echoes_the_question_proves_clocks_never_set() {
        let question =
            hex(&format!("23 00 06 ec {} 0000000500000001 {}", "00".repeat(28), "0000000700000009"));
        let answer = plain(0x24, "0000000700000009", "0000000900000001");
        assert!(!matches!(probe_messages(&Ntp, Carrier::Udp, &[&question]), Probe::Proven(_)));
        assert!(!matches!(probe_messages(&Ntp, Carrier::Udp, &[&answer]), Probe::Proven(_)));
        let Probe::Proven(proof) = probe_both(&Ntp, Carrier::Udp, &[&question], &[&answer]) else {
            panic!("not proven");
        };
        assert_eq!((proof.client, proof.facts.get("ntp.stratum")), (Some(End::First), Some("1")));
    }

    #[test]
    fn a_question_with_a_random_transmit_time() {
        let question = hex(&format!("23 00 00 00 {} 1122334455667788", "00".repeat(36)));
        let Probe::Proven(proof) = probe_messages(&Ntp, Carrier::Udp, &[&question]) else {
            panic!("not proven")
        };
        assert_eq!((proof.client, proof.facts.get("ntp.version")), (Some(End::First), Some("4")));
    }

    /// As chrony sends it: all but the server's receive time is hidden.
    #[test]
    fn an_interleaved_question() {
        let with = |origin: &str| {
            let question =
                hex(&format!("23 00 06 20 {} {origin} 7494eec111fcbfc3 f72bb4c1a6e100ff", "00".repeat(20)));
            matches!(probe_messages(&Ntp, Carrier::Udp, &[&question]), Probe::Proven(_))
        };
        assert!(with("eeb7969ebcba4105"));
        assert!(!with("0000069ebcba4105"));
    }

    #[test]
    fn control_and_private_messages() {
        for (bytes, client) in [
            (hex("16 02 0001 0000 0000 0000 0000"), End::First),
            (hex("16 82 0001 0618 0000 0000 0005 613d310d0a 000000"), End::Second),
            (hex("17 00 03 2a 00000000"), End::First),
            (hex("97 00 03 2a 0001 0004 01020304"), End::Second),
        ] {
            let Probe::Proven(proof) = probe_messages(&Ntp, Carrier::Udp, &[&bytes]) else {
                panic!("{bytes:02x?}")
            };
            assert_eq!(proof.client, Some(client), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_not_ntp() {
        for stranger in [
            vec![0x23; 48],
            vec![0; 48],
            hex(&format!("23 11 06 ec {}", "00".repeat(44))),
            plain(0x24, "0000000700000009", "e000000000000000")[..47].to_vec(),
            hex("16 00 0001 0000 0000 0000 0000"),
            hex("17 00 09 2a 00000000"),
        ] {
            assert!(
                !matches!(probe_messages(&Ntp, Carrier::Udp, &[&stranger]), Probe::Proven(_)),
                "{stranger:02x?}"
            );
        }
    }
}
