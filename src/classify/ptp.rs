//! PTP version 2: clock synchronisation over UDP and on Ethernet.

use compact_str::ToCompactString;

use crate::model::EtherKind;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;

/// Precision time.
pub struct Ptp;

static ABOUT: About = About {
    name: "ptp",
    title: "Precision Time Protocol",
    spec: "IEEE 1588-2019 clause 13",
    usual: &["udp/319", "udp/320", "ethernet/0x88f7"],
    answers: false,
    facts: &[
        ("ptp.domain", "domain number"),
        ("ptp.message", "message type: sync, announce, delay-request ..."),
    ],
};

impl Protocol for Ptp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match (carrier, at) {
            (Carrier::Udp, 0) => message(byte & 0x0f).is_some(),
            (Carrier::Udp, 1) => matches!(byte, 0x02 | 0x12),
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp | Carrier::Ethernet(EtherKind::Type(ETHERTYPE)) => weigh::probe(seen, step, tell),
            _ => Probe::No,
        }
    }

    fn gist(&self, _: Carrier, payload: &[u8]) -> Option<u64> {
        let header = payload.first_chunk::<HEADER>().filter(|_| weigh::is_alone(payload, step))?;
        Some(u64::from(header[4]) << 8 | u64::from(header[0] & 0x0f))
    }
}

/// Ethertype (annex E).
const ETHERTYPE: u16 = 0x88f7;
/// Common header (13.3.1).
const HEADER: usize = 34;

fn step(bytes: &[u8]) -> Step {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Step::Wrong };
    // The upper half of the first two bytes is the profile and the minor version (13.3.2.1, 13.3.2.4).
    let (kind, version) = (header[0] & 0x0f, header[1] & 0x0f);
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let Some((_, shortest, control)) = message(kind) else { return Step::Wrong };
    // Version 2.1 has receivers ignore the control field and lets senders write 0 (13.3.2.13).
    let right = version == 2
        && header[1] >> 4 <= 1
        && (shortest..=bytes.len()).contains(&length)
        && bytes.len() - length <= 2
        && (header[32] == control || header[32] == 0);
    // Over UDP on IPv6 two bytes may follow (annex D.1).
    if right { Step::Whole(bytes.len(), PROOF) } else { step_padded(bytes, length, kind) }
}

/// On Ethernet a short message is padded to the shortest frame; over UDP the padding could be anything else.
fn step_padded(bytes: &[u8], length: usize, kind: u8) -> Step {
    let padding = bytes.get(length..).unwrap_or_default();
    let shortest = message(kind).map_or(usize::MAX, |(_, shortest, _)| shortest);
    let right = matches!(bytes, [_, 0x02 | 0x12, ..])
        && length >= shortest
        && !padding.is_empty()
        && bytes.len() <= 64
        && padding.iter().all(|&byte| byte == 0);
    if right { Step::Whole(bytes.len(), PROOF) } else { Step::Wrong }
}

/// Name, least length and control field of a message type (13.3.2.3, 13.5 to 13.12, table 42).
fn message(kind: u8) -> Option<(&'static str, usize, u8)> {
    Some(match kind {
        0x0 => ("sync", 44, 0),
        0x1 => ("delay-request", 44, 1),
        0x2 => ("peer-delay-request", 54, 5),
        0x3 => ("peer-delay-response", 54, 5),
        0x8 => ("follow-up", 44, 2),
        0x9 => ("delay-response", 54, 3),
        0xa => ("peer-delay-follow-up", 54, 5),
        0xb => ("announce", 64, 5),
        0xc => ("signaling", 44, 5),
        0xd => ("management", 48, 4),
        _ => return None,
    })
}

fn tell(_: End, bytes: &[u8], proof: &mut Proof) {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return };
    proof.facts.add("ptp.domain", header[4].to_compact_string());
    if let Some((name, ..)) = message(header[0] & 0x0f) {
        proof.facts.add("ptp.message", name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    fn sync() -> Vec<u8> {
        let mut sync = vec![0, 2, 0, 44, 7];
        sync.resize(44, 0);
        sync
    }

    #[test]
    fn a_sync_names_its_domain() {
        let Probe::Proven(proof) = harness::probe_messages(&Ptp, Carrier::Udp, &[&sync()]) else { panic!() };
        assert_eq!(proof.facts.get("ptp.domain"), Some("7"));
        assert_eq!(proof.facts.get("ptp.message"), Some("sync"));
    }

    #[test]
    fn a_length_that_is_not_the_datagrams_is_wrong() {
        let mut long = sync();
        long[3] = 45;
        assert_eq!(step(&long), Step::Wrong);
        long[3] = 30;
        assert_eq!(step(&long), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Ptp, 0, 0);
        harness::check_steps(&Ptp);
    }
}
