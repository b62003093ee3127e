//! IKE versions 1 and 2: the key exchange of IPsec.

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
use super::weigh::client_is;

/// Internet key exchange.
pub struct Ike;

static ABOUT: About = About {
    name: "ike",
    title: "Internet Key Exchange (ISAKMP)",
    spec: "RFC 7296 section 3.1, RFC 2408 section 3.1, RFC 3948 section 2.2",
    usual: &["udp/500", "udp/4500"],
    answers: true,
    facts: &[("ike.version", "1.0 or 2.0"), ("ike.exchange", "exchange type by name")],
};

impl Protocol for Ike {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Tcp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Two SPIs, next payload, version, exchange type, flags, message id, length (RFC 7296 section 3.1).
const HEADER: usize = 28;
/// Marks IKE among ESP on port 4500 (RFC 3948 section 2.2).
const NON_ESP_MARKER: &[u8] = &[0; 4];

fn step(datagram: &[u8]) -> Step {
    if header(datagram).or_else(|| header(datagram.strip_prefix(NON_ESP_MARKER)?)).is_some() {
        return Step::Whole(datagram.len(), PROOF);
    }
    Step::Wrong
}

/// The header where version, exchange and length agree.
fn header(message: &[u8]) -> Option<&[u8; HEADER]> {
    let header = message.first_chunk::<HEADER>()?;
    let length = u32::from_be_bytes([header[24], header[25], header[26], header[27]]) as usize;
    let initiator = header.first_chunk::<8>()?;
    // Flags: encryption, commit, authentication only in version 1; initiator, version, response in version 2.
    let flags = if header[17] >> 4 == 1 { 0x07 } else { 0x38 };
    (exchange(header[17], header[18]).is_some()
        && length == message.len()
        && *initiator != [0; 8]
        && header[19] & !flags == 0)
        .then_some(header)
}

/// Exchange types of version 1 (RFC 2408 section 3.1, RFC 2409) and 2 (RFC 7296 section 3.1, RFC 5723, RFC 9242).
fn exchange(version: u8, kind: u8) -> Option<&'static str> {
    Some(match (version, kind) {
        (0x10, 1) => "base",
        (0x10, 2) => "identity-protection",
        (0x10, 3) => "authentication-only",
        (0x10, 4) => "aggressive",
        (0x10, 5) => "informational",
        (0x10, 6) => "transaction",
        (0x10, 32) => "quick",
        (0x10, 33) => "new-group",
        (0x20, 34) => "sa-init",
        (0x20, 35) => "auth",
        (0x20, 36) => "create-child-sa",
        (0x20, 37) => "informational",
        (0x20, 38) => "session-resume",
        (0x20, 43) => "intermediate",
        _ => return None,
    })
}

fn tell(end: End, datagram: &[u8], proof: &mut Proof) {
    let Some(header) = header(datagram).or_else(|| header(datagram.strip_prefix(NON_ESP_MARKER)?)) else {
        return;
    };
    proof.facts.add("ike.version", if header[17] == 0x10 { "1.0" } else { "2.0" });
    if let Some(name) = exchange(header[17], header[18]) {
        proof.facts.add("ike.exchange", name);
    }
    let unanswered = header.get(8..16) == Some(&[0; 8]);
    match (header[17], header[19] & 0x08) {
        // Only the first message has no responder SPI; in version 2 a flag tells the initiator's messages.
        _ if unanswered => client_is(proof, end),
        (0x20, 0) => client_is(proof, end.other()),
        (0x20, _) => client_is(proof, end),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    fn message(flags: u8) -> Vec<u8> {
        let mut message = vec![
            1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9, 33, 0x20, 34, flags, 0, 0, 0, 0, 0, 0, 0, 30,
        ];
        message.extend([0, 0]);
        message
    }

    #[test]
    fn the_initiator_is_told_by_its_flag() {
        let Probe::Proven(proof) = harness::probe_messages(&Ike, Carrier::Udp, &[&message(0x08)]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        let marked = [NON_ESP_MARKER, &message(0x20)].concat();
        let Probe::Proven(proof) = harness::probe_messages(&Ike, Carrier::Udp, &[&marked]) else { panic!() };
        assert_eq!(proof.client, Some(End::Second));
        assert_eq!(proof.facts.get("ike.exchange"), Some("sa-init"));
    }

    #[test]
    fn a_length_that_is_not_the_datagrams_is_wrong() {
        assert_eq!(step(&message(0x08)[..29]), Step::Wrong);
        assert_eq!(step(&message(0x40)), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Ike, 0, 0);
        harness::check_steps(&Ike);
    }
}
