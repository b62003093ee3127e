//! Hand-made packets, and frames told in one line.

use crate::decode::*;
use crate::model::*;

/// Bytes from hexadecimal digits; spaces do not matter.
pub(super) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A packet as captured whole.
pub(super) fn packet(link: LinkType, bytes: &[u8]) -> Packet<'_> {
    Packet { at: PacketRef::default(), link, interface: 0, original: bytes.len() as u32, bytes }
}

/// Pieces one after the other.
pub(super) fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

/// 00:00:00:00:00:0a sends to 00:00:00:00:00:0b.
pub(super) fn ethernet(number: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&[0, 0, 0, 0, 0, 0xb], &[0, 0, 0, 0, 0, 0xa], &number.to_be_bytes(), payload])
}

/// 10.0.0.1 sends to 10.0.0.2, the checksum right.
pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_fragment(protocol, 7, 0, payload)
}

/// The same with an identification and the flags and offset field.
pub(super) fn ipv4_fragment(protocol: u8, identification: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = join(&[
        &[0x45, 0],
        &(payload.len() as u16 + 20).to_be_bytes(),
        &identification.to_be_bytes(),
        &flags.to_be_bytes(),
        &[64, protocol, 0, 0],
        &[10, 0, 0, 1, 10, 0, 0, 2],
    ]);
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    join(&[&header, payload])
}

/// fd00::1 sends to fd00::2.
pub(super) fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = join(&[&[0x60, 0, 0, 0], &(payload.len() as u16).to_be_bytes(), &[next, 64], &[0; 32]]);
    (header[8], header[23]) = (0xfd, 1);
    (header[24], header[39]) = (0xfd, 2);
    join(&[&header, payload])
}

/// Port 1000 sends to a port.
pub(super) fn udp(destination: u16, payload: &[u8]) -> Vec<u8> {
    join(&[
        &1000_u16.to_be_bytes(),
        &destination.to_be_bytes(),
        &(payload.len() as u16 + 8).to_be_bytes(),
        &[0, 0],
        payload,
    ])
}

/// A segment from port 1024 to port 502: PSH and ACK, four bytes of options.
pub(super) fn tcp(payload: &[u8]) -> Vec<u8> {
    join(&[&hex("0400 01f6 00000001 00000002 6018 1000 abcd 0000 01010101"), payload])
}

/// An Ethernet frame with a Modbus request over IPv4 and TCP.
pub(super) fn sample() -> Vec<u8> {
    ethernet(0x0800, &ipv4(6, &tcp(&hex("0001 0000 0006 01 03 0000 0001"))))
}

/// What a frame is, in one line: Ethernet addresses' last bytes, VLANs, tunnels, addresses, body.
pub(super) fn tell(frame: &Frame<'_>) -> String {
    let mut words = Vec::new();
    if let Some(ethernet) = frame.context.ethernet {
        words.push(format!("{:02x}>{:02x}", ethernet.source.0[5], ethernet.destination.0[5]));
    }
    if !frame.context.vlans.is_empty() {
        words.push(format!("vlan {:?}", frame.context.vlans.as_slice()));
    }
    words.extend(frame.context.tunnels.iter().map(|tunnel| format!("[{tunnel}]")));
    if let Some(network) = frame.network {
        words.push(format!("{}>{}", network.source, network.destination));
    }
    let size = |present: usize, length: u32| {
        if present as u32 == length { format!("{length}") } else { format!("{present} of {length}") }
    };
    words.push(match &frame.body {
        Body::Tcp(t) => format!(
            "tcp {}>{} {:02x} {}",
            t.source,
            t.destination,
            t.flags.0,
            size(t.payload.len(), t.payload_length)
        ),
        Body::Udp(u) => {
            format!("udp {}>{} {}", u.source, u.destination, size(u.payload.len(), u.payload_length))
        }
        Body::Sctp { source, destination, payload } => {
            format!("sctp {source}>{destination} {}", payload.len())
        }
        Body::Icmp(i) => {
            let quote = i.quote.map_or(String::new(), |quote| {
                let ports = quote.ports.map_or(String::new(), |ports| {
                    let sequence = ports.sequence.map_or(String::new(), |sequence| format!(" at {sequence}"));
                    format!(" {}>{}{sequence}", ports.source, ports.destination)
                });
                format!(" quotes {}>{} {}{ports}", quote.source, quote.destination, quote.protocol)
            });
            format!("icmp{} {}/{} {}{quote}", if i.v6 { "v6" } else { "" }, i.kind, i.code, i.body.len())
        }
        Body::Ip { protocol, payload } => format!("ip {protocol} {}", payload.len()),
        Body::Fragment(f) => format!(
            "fragment {} {:#x} {}{} {}",
            f.protocol,
            f.identification,
            f.offset,
            if f.more { "+" } else { "" },
            size(f.payload.len(), f.payload_length)
        ),
        Body::Arp(a) => format!("arp {} {} {}", a.operation, a.sender, a.target),
        Body::Ethernet { kind, payload } => format!("{kind:x?} {}", payload.len()),
    });
    words.join(" ")
}

/// Decodes a packet and compares what it is told to be.
#[track_caller]
pub(super) fn check(link: LinkType, bytes: &[u8], expected: &str) {
    check_cut(link, bytes, bytes.len(), expected);
}

/// The same of a packet of which the capture holds only the first bytes.
#[track_caller]
pub(super) fn check_cut(link: LinkType, bytes: &[u8], captured: usize, expected: &str) {
    let packet = Packet { bytes: &bytes[..captured], ..packet(link, bytes) };
    let told = match decode(&packet) {
        Ok(frame) => tell(&frame),
        Err(reason) => reason.to_string(),
    };
    assert_eq!(told, expected);
}
