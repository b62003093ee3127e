//! How much of a packet is headers: what evidence holds where its payload is nobody's business.
//!
//! Kept are all headers down to the transport, of an ICMP error those that it quotes, and the few bytes of payload that verdicts rest on
//! without anything private in them: the header of a DNS message (its answer code), of a TLS record (with an alert's two bytes or
//! a hello's version), and the status code of an HTTP answer.

use crate::decode;
use crate::decode::Body;
use crate::model::Packet;

/// The header of a DNS message (RFC 1035 section 4.1.1).
const DNS_HEADER: usize = 12;
/// A TLS record header (5) and an alert (2), or the handshake header (4) and a hello's version (2) (RFC 8446 sections 4, 5.1, 6).
const TLS_ALERT: usize = 7;
const TLS_HELLO: usize = 11;
/// `HTTP/1.1 403` (RFC 9112 section 4).
const HTTP_STATUS: usize = 12;
/// After an ICMP header's first four bytes: four more, an IP header (up to 60, RFC 791) or IPv6's (40), and a TCP header without options.
const ICMP_QUOTE: usize = 4 + 60 + 20;
/// Of what can't be decoded, and of frames above which nothing is known, the first bytes only.
const UNKNOWN: usize = 64;
/// The well-known port of name service, where its header is looked for.
const DNS_PORT: u16 = 53;

/// How many of its captured bytes are headers.
pub fn length(packet: &Packet<'_>) -> usize {
    let whole = packet.bytes.len();
    let Ok(frame) = decode::decode(packet) else { return whole.min(UNKNOWN) };
    let (payload, kept) = match frame.body {
        Body::Tcp(tcp) => (tcp.payload, in_payload(tcp.payload)),
        Body::Udp(udp) if udp.source == DNS_PORT || udp.destination == DNS_PORT => (udp.payload, DNS_HEADER),
        Body::Udp(udp) => (udp.payload, 0),
        Body::Sctp { payload, .. } => (payload, 0),
        Body::Icmp(icmp) if icmp.quote.is_some() => (icmp.body, ICMP_QUOTE),
        Body::Icmp(icmp) => (icmp.body, 4),
        Body::Ip { payload, .. } => (payload, 0),
        Body::Fragment(fragment) => (fragment.payload, if fragment.offset == 0 { 20 } else { 0 }),
        Body::Arp(arp) => (arp.bytes, arp.bytes.len()),
        Body::Ethernet { payload, .. } => (payload, UNKNOWN),
    };
    // The payload is a part of the packet's own bytes: where it begins is the distance between the two.
    let start = (payload.as_ptr() as usize).checked_sub(packet.bytes.as_ptr() as usize);
    let start = start.filter(|&start| !payload.is_empty() && start <= whole).unwrap_or(whole);
    whole.min(start.saturating_add(kept.min(payload.len())))
}

/// What of a TCP payload verdicts rest on.
fn in_payload(payload: &[u8]) -> usize {
    match payload {
        // Content types alert and handshake of TLS (RFC 8446 section 5.1), major version 3.
        [21, 3, ..] => TLS_ALERT,
        [22, 3, ..] => TLS_HELLO,
        [b'H', b'T', b'T', b'P', b'/', b'1', ..] => HTTP_STATUS,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LinkType;
    use crate::model::PacketRef;

    /// Ethernet, IPv4 and that transport.
    fn check(protocol: u8, transport: &[u8], expected: usize) {
        let mut bytes = vec![0; 12];
        bytes.extend([8, 0, 0x45, 0]);
        bytes.extend((20 + transport.len() as u16).to_be_bytes());
        bytes.extend([0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(transport);
        let packet = Packet {
            at: PacketRef::default(),
            link: LinkType::ETHERNET,
            interface: 0,
            original: bytes.len() as u32,
            bytes: &bytes,
        };
        assert_eq!(length(&packet), 34 + expected, "{transport:?}");
    }

    fn tcp(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
        bytes.extend(payload);
        bytes
    }

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = 40_000_u16.to_be_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend((8 + payload.len() as u16).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn payload_is_left_out() {
        check(6, &tcp(b""), 20);
        check(6, &tcp(b"secret"), 20);
        check(6, &tcp(b"HTTP/1.1 403 Forbidden\r\nSet-Cookie: secret"), 20 + 12);
        check(6, &tcp(&[21, 3, 3, 0, 2, 2, 40, 9, 9]), 20 + 7);
        check(6, &tcp(&[22, 3, 1, 0, 9, 1, 0, 0, 5, 3, 3, 1, 2, 3]), 20 + 11);
        check(17, &udp(514, b"<13>secret"), 8);
        check(17, &udp(53, &[0; 40]), 8 + 12);
    }

    #[test]
    fn an_icmp_error_keeps_what_it_quotes_and_no_more() {
        let mut quoted = vec![0x45, 0, 2, 0, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1];
        quoted.extend(tcp(&[7; 400]));
        let mut icmp = vec![3, 13, 0, 0, 0, 0, 0, 0];
        icmp.extend(quoted);
        check(1, &icmp, 4 + ICMP_QUOTE);
    }

    #[test]
    fn what_is_not_understood_is_cut_short() {
        let bytes = [0xff; 400];
        let packet = Packet {
            at: PacketRef::default(),
            link: LinkType(4_000),
            interface: 0,
            original: 400,
            bytes: &bytes,
        };
        assert_eq!(length(&packet), UNKNOWN);
    }
}
