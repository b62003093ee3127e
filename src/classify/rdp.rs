//! RDP: the X.224 negotiation that opens it, or the MCS connection of old servers.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::bytes::is_text;
use super::tpkt;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::agrees;
use super::weigh::client_is;
use super::weigh::upgraded;

/// RDP.
pub struct Rdp;

static ABOUT: About = About {
    name: "rdp",
    title: "Remote Desktop Protocol",
    spec: "[MS-RDPBCGR] 2.2.1.1 to 2.2.1.4; [MS-RDPEUDP] 2.2.2; ITU-T X.224 section 13, T.125",
    usual: &["tcp/3389", "udp/3389"],
    answers: true,
    facts: &[("rdp.security", "security that the server chose: rdp, tls, credssp, rdstls, credssp-ex, aad")],
};

impl Protocol for Rdp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match (carrier, at) {
            (Carrier::Udp, ..=3) => byte == 0xff,
            (Carrier::Tcp, 5) => matches!(byte, 0xe0 | 0xd0 | 0xf0),
            (Carrier::Tcp, _) => tpkt::may_begin(at, byte),
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => {}
            Carrier::Udp => return weigh::probe(seen, step_udp, tell_udp),
            Carrier::Ethernet(_) => return Probe::No,
        }
        upgraded(weigh::probe(seen, step, tell), seen, "rdp", negotiation)
    }
}

/// TPKT header (RFC 1006 section 6) and the fixed part of a connection request or confirm (X.224 section 13.3).
const TPKT: usize = 4;
const FIXED: usize = 11;
/// What the routing token or cookie begins with (2.2.1.1).
const COOKIE: &[u8] = b"Cookie: msts";
/// Object identifier of T.124 in the GCC conference of an MCS connect (T.124 section 8.7).
const T124: &[u8] = &[0x00, 0x05, 0x00, 0x14, 0x7c, 0x00, 0x01];
/// Where in an MCS connect the identifier is looked for.
const NEAR: usize = 160;

fn step(bytes: &[u8]) -> Step {
    if !agrees(bytes, &[3, 0]) {
        return Step::Wrong;
    }
    let Some((&[_, _, high, low], tpdu)) = bytes.split_first_chunk::<TPKT>() else { return Step::Cut(0) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < 7 {
        return Step::Wrong;
    }
    let Some(tpdu) = tpdu.get(..length - TPKT) else {
        // A cookie names the protocol before the rest is there.
        let named = matches!(tpdu, [_, 0xe0, 0, 0, _, _, 0, rest @ ..] if rest.starts_with(COOKIE));
        return Step::Cut(if named { PROOF } else { 0 });
    };
    let weight = match *tpdu {
        // Length indicator, code, destination, source, class 0.
        [indicator, 0xe0, 0, 0, _, _, 0, ref rest @ ..] if usize::from(indicator) + 1 == tpdu.len() => {
            request(rest)
        }
        [indicator, 0xd0, 0, 0, _, _, 0, ref rest @ ..] if usize::from(indicator) + 1 == tpdu.len() => {
            confirm(rest)
        }
        // Data with an MCS connect-initial or connect-response (T.125 section 7: application tags 101 and 102).
        [2, 0xf0, 0x80, 0x7f, 0x65 | 0x66, ref rest @ ..] => {
            let near = rest.get(..rest.len().min(NEAR)).unwrap_or_default();
            Some(if near.windows(T124.len()).any(|window| window == T124) { PROOF } else { 0 })
        }
        [2, 0xf0, 0x80, ..] => Some(0),
        _ => None,
    };
    match weight {
        Some(weight) => Step::Whole(length, weight),
        None => Step::Wrong,
    }
}

/// The variable part of a request: nothing, a token or cookie ended by CR LF, a negotiation request (2.2.1.1). What a token says is
/// the affair of those who share the load: it is text.
fn request(rest: &[u8]) -> Option<u32> {
    let (cookie, negotiation) = match rest.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) if rest.get(..end).is_some_and(is_text) => rest.split_at_checked(end + 2)?,
        _ => (&[][..], rest),
    };
    match *negotiation {
        // Any client of ISO transport may ask without parameters.
        [] if cookie.is_empty() => Some(5),
        [] => cookie.starts_with(COOKIE).then_some(PROOF),
        // Type, flags, length 8, requested protocols of which six bits are in use; correlation info may follow (2.2.1.1.2).
        [1, 0..=0x0b, 8, 0, protocols, 0, 0, 0, ..] if protocols <= 0x3f => Some(PROOF),
        _ => None,
    }
}

/// The variable part of a confirm: nothing, the selected protocol, or why negotiation failed (2.2.1.2).
fn confirm(rest: &[u8]) -> Option<u32> {
    match *rest {
        [] => Some(5),
        [2, 0..=0x1f, 8, 0, protocol, 0, 0, 0] if security(protocol).is_some() => Some(PROOF),
        [3, 0, 8, 0, 1..=6, 0, 0, 0] => Some(PROOF),
        _ => None,
    }
}

/// Selected protocols (2.2.1.2.1).
fn security(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        0x00 => "rdp",
        0x01 => "tls",
        0x02 => "credssp",
        0x04 => "rdstls",
        0x08 => "credssp-ex",
        0x10 => "aad",
        _ => return None,
    })
}

fn tell(end: End, packet: &[u8], proof: &mut Proof) {
    match packet.get(TPKT..) {
        Some([_, 0xe0, ..]) => client_is(proof, end),
        Some([_, 0xd0, ..]) => {
            client_is(proof, end.other());
            if let Some(&[2, _, 8, 0, protocol, ..]) = packet.get(FIXED..)
                && let Some(name) = security(protocol)
            {
                proof.facts.add("rdp.security", name);
            }
        }
        Some([2, 0xf0, 0x80, 0x7f, 0x65, ..]) => client_is(proof, end),
        Some([2, 0xf0, 0x80, 0x7f, 0x66, ..]) => client_is(proof, end.other()),
        _ => {}
    }
}

/// The datagram that asks for a UDP transport ([MS-RDPEUDP] 2.2.2.1, 2.2.2.5): acknowledges nothing (all ones), has SYN and not
/// ACK set, names a sequence number and two MTUs of 1132 to 1232 bytes.
fn step_udp(datagram: &[u8]) -> Step {
    let Some(&[0xff, 0xff, 0xff, 0xff, _, _, high, low, _, _, _, _, u0, u1, d0, d1]) =
        datagram.first_chunk::<16>()
    else {
        return Step::Wrong;
    };
    let flags = u16::from_be_bytes([high, low]);
    let mtus = [u16::from_be_bytes([u0, u1]), u16::from_be_bytes([d0, d1])];
    let right = flags & 0x0005 == 1 && mtus.iter().all(|mtu| (1132..=1232).contains(mtu));
    if right { Step::Whole(datagram.len(), PROOF) } else { Step::Wrong }
}

fn tell_udp(end: End, _: &[u8], proof: &mut Proof) {
    client_is(proof, end);
}

/// The length of a side's negotiation packet.
fn negotiation(side: &Side<'_>) -> usize {
    match *side.bytes {
        [3, 0, high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    const REQUEST: &[u8] = b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x0b\0\0\0";
    const CONFIRM: &[u8] = b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\x1f\x08\0\x08\0\0\0";

    #[test]
    fn a_negotiation_from_either_end() {
        let Probe::Proven(proof) = harness::probe_messages(&Rdp, Carrier::Tcp, &[REQUEST]) else { panic!() };
        assert_eq!((proof.client, proof.layers), (Some(End::First), vec!["rdp"]));
        let Probe::Proven(proof) = harness::probe_messages(&Rdp, Carrier::Tcp, &[CONFIRM]) else { panic!() };
        assert_eq!(proof.client, Some(End::Second));
        assert_eq!(proof.facts.get("rdp.security"), Some("credssp-ex"));
    }

    #[test]
    fn a_cookie_is_proof() {
        let cookie = b"\x03\0\0\x2a\x25\xe0\0\0\0\0\0Cookie: mstshash=pump\r\n\x01\0\x08\0\x03\0\0\0";
        assert_eq!(step(cookie), Step::Whole(cookie.len(), PROOF));
    }

    #[test]
    fn a_routing_token_is_any_text() {
        let request = |token: &str, negotiation: &[u8]| {
            let rest = [&[0xe0, 0, 0, 0, 0, 0], token.as_bytes(), negotiation].concat();
            let mut packet = vec![3, 0, 0, rest.len() as u8 + 5, rest.len() as u8];
            packet.extend(rest);
            step(&packet)
        };
        let negotiation = [1, 0, 8, 0, 3, 0, 0, 0];
        for token in
            ["tsv://MS Terminal Services Plugin.1.Pumps\r\n", "Cookie: msts=3640205228.15629.0000\r\n", ""]
        {
            assert!(matches!(request(token, &negotiation), Step::Whole(_, PROOF)), "{token}");
        }
        assert_eq!(request("any text\r\n", &[]), Step::Wrong);
        assert_eq!(request("no end", &negotiation), Step::Wrong);
    }

    #[test]
    fn a_udp_transport_is_asked_for() {
        let mut syn = vec![0xff, 0xff, 0xff, 0xff, 0, 64, 2, 1, 1, 2, 3, 4, 0x04, 0xd0, 0x04, 0xd0];
        syn.resize(1232, 0);
        let Probe::Proven(proof) = harness::probe_messages(&Rdp, Carrier::Udp, &[&syn]) else { panic!() };
        assert_eq!(proof.client, Some(End::First));
        syn[12] = 0x10;
        assert_eq!(step_udp(&syn), Step::Wrong);
    }

    #[test]
    fn a_plc_connection_is_none() {
        let s7: &[u8] = &[3, 0, 0, 22, 17, 0xe0, 0, 0, 0, 1, 0, 0xc0, 1, 10, 0xc1, 2, 1, 0, 0xc2, 2, 1, 2];
        assert_eq!(step(s7), Step::Wrong);
        let (bare, granted) = (b"\x03\0\0\x0b\x06\xe0\0\0\0\x01\0", b"\x03\0\0\x0b\x06\xd0\0\0\0\x02\0");
        let data: &[u8] = b"\x03\0\0\x09\x02\xf0\x80\x32\x01";
        assert_eq!(harness::probe_both(&Rdp, Carrier::Tcp, &[bare, data], &[granted]), Probe::NeedMore);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Rdp, 0, 0);
        harness::check_steps(&Rdp);
    }
}
