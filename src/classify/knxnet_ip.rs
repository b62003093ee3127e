//! KNXnet/IP: building bus over UDP and TCP.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::candidates::is_at;
use super::weigh;
use super::weigh::Step;
use super::weigh::client_is;

/// KNXnet/IP.
pub struct KnxnetIp;

static ABOUT: About = About {
    name: "knxnet-ip",
    title: "KNXnet/IP",
    spec: "ISO 22510:2019 (KNXnet/IP), EN ISO 16484-5; KNX Standard 3/8/1 to 3/8/9",
    usual: &["udp/3671", "tcp/3671"],
    answers: true,
    facts: &[(
        "knxnet-ip.service",
        "service type: search-request, tunnelling-request, routing-indication ...",
    )],
};

impl Protocol for KnxnetIp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        is_at(&HEADER, at, byte) && (at != 2 || matches!(byte, 2..=5 | 7 | 9))
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp | Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Header size and protocol version 1.0, then service type and total length (KNX 3/8/2, 2.3).
const HEADER: [u8; 2] = [0x06, 0x10];
/// The longest frame accepted; device descriptions and cEMI frames are far shorter.
const LONGEST: usize = 4096;

fn step(bytes: &[u8]) -> Step {
    if !weigh::agrees(bytes, &HEADER) {
        return Step::Wrong;
    }
    let Some(&[_, _, s0, s1, l0, l1]) = bytes.first_chunk::<6>() else { return Step::Cut(0) };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if service(u16::from_be_bytes([s0, s1])).is_none() || !(6..=LONGEST).contains(&length) {
        return Step::Wrong;
    }
    // What asks for an answer, or describes its sender, begins with an address block: 8 bytes, UDP or TCP (KNX 3/8/2 section 7.5.1).
    let has_address = matches!([s0, s1], [2, 0x01..=0x03 | 0x05 | 0x0b | 0x0c]);
    if has_address && bytes.get(6..8).is_some_and(|head| !matches!(head, [8, 1 | 2])) {
        return Step::Wrong;
    }
    // Version and service are 27 fixed bits; a datagram's or segment's end has to confirm the length.
    if bytes.len() < length { Step::Cut(0) } else { Step::Whole(length, 70) }
}

fn tell(end: End, frame: &[u8], proof: &mut Proof) {
    let Some(&[_, _, s0, s1]) = frame.first_chunk::<4>() else { return };
    let Some((name, asks)) = service(u16::from_be_bytes([s0, s1])) else { return };
    proof.facts.add("knxnet-ip.service", name);
    match asks {
        Some(true) => client_is(proof, end),
        Some(false) => client_is(proof, end.other()),
        None => {}
    }
}

/// Service types (KNX 3/8/2 to 3/8/9), and whether the client or the server sends them where only one does.
fn service(code: u16) -> Option<(&'static str, Option<bool>)> {
    Some(match code {
        0x0201 => ("search-request", Some(true)),
        0x0202 => ("search-response", Some(false)),
        0x0203 => ("description-request", Some(true)),
        0x0204 => ("description-response", Some(false)),
        0x0205 => ("connect-request", Some(true)),
        0x0206 => ("connect-response", Some(false)),
        0x0207 => ("connectionstate-request", Some(true)),
        0x0208 => ("connectionstate-response", Some(false)),
        0x0209 => ("disconnect-request", None),
        0x020a => ("disconnect-response", None),
        0x020b => ("search-request-extended", Some(true)),
        0x020c => ("search-response-extended", Some(false)),
        0x0310 => ("device-configuration-request", None),
        0x0311 => ("device-configuration-ack", None),
        0x0420 => ("tunnelling-request", None),
        0x0421 => ("tunnelling-ack", None),
        0x0422 => ("tunnelling-feature-get", Some(true)),
        0x0423 => ("tunnelling-feature-response", Some(false)),
        0x0424 => ("tunnelling-feature-set", Some(true)),
        0x0425 => ("tunnelling-feature-info", Some(false)),
        0x0530 => ("routing-indication", None),
        0x0531 => ("routing-lost-message", None),
        0x0532 => ("routing-busy", None),
        0x0533 => ("routing-system-broadcast", None),
        0x0740 => ("remote-diagnostic-request", Some(true)),
        0x0741 => ("remote-diagnostic-response", Some(false)),
        0x0742 => ("remote-basic-configuration-request", Some(true)),
        0x0743 => ("remote-reset-request", Some(true)),
        0x0950 => ("secure-wrapper", None),
        0x0951 => ("session-request", Some(true)),
        0x0952 => ("session-response", Some(false)),
        0x0953 => ("session-authenticate", Some(true)),
        0x0954 => ("session-status", None),
        0x0955 => ("timer-notify", None),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    const SEARCH: &[u8] = b"\x06\x10\x02\x01\0\x0e\x08\x01\x0a\0\0\x01\x0e\x57";

    #[test]
    fn a_search_asks() {
        let Probe::Proven(proof) = harness::probe_messages(&KnxnetIp, Carrier::Udp, &[SEARCH]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("knxnet-ip.service"), Some("search-request"));
    }

    #[test]
    fn an_unknown_service_is_wrong() {
        assert_eq!(step(b"\x06\x10\x02\x41\0\x0e"), Step::Wrong);
        assert_eq!(step(b"\x06\x10\x02\x01\0\x05"), Step::Wrong);
        assert_eq!(step(b"\x06\x10"), Step::Cut(0));
    }

    #[test]
    fn labelled_captures() {
        harness::check(&KnxnetIp, 0, 0);
        harness::check_steps(&KnxnetIp);
    }
}
