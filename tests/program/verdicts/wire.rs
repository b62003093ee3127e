//! Frames from their fields: Ethernet, ARP, neighbour discovery, IP, TCP, UDP, ICMP errors; and the file around them.

use std::net::IpAddr;

/// TCP's IP protocol number.
pub const TCP: u8 = 6;
/// UDP's IP protocol number.
pub const UDP: u8 = 17;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// The octets of an address.
pub fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Fills in the checksum at `at` of a segment, over its pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
fn sealed(mut segment: Vec<u8>, at: usize, ends: (IpAddr, IpAddr), protocol: u8) -> Vec<u8> {
    let length = (segment.len() as u32).to_be_bytes();
    let sum = checksum(&[&octets(ends.0), &octets(ends.1), &length, &[0, 0, 0, protocol], &segment]);
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// The numbers of a TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    pub ports: (u16, u16),
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
}

/// A TCP segment.
pub fn tcp(ends: (IpAddr, IpAddr), numbers: Numbers, payload: &[u8]) -> Vec<u8> {
    let options: &[u8] = if numbers.flags & SYN > 0 { &[2, 4, 5, 0xb4, 1, 1, 4, 2] } else { &[] };
    tcp_with(ends, numbers, options, payload)
}

/// An acknowledgement of what arrived beyond a gap (RFC 2018 section 3).
pub fn selective(ends: (IpAddr, IpAddr), numbers: Numbers, block: (u32, u32)) -> Vec<u8> {
    let options = [&[1, 1, 5, 10][..], &block.0.to_be_bytes(), &block.1.to_be_bytes()].concat();
    tcp_with(ends, numbers, &options, &[])
}

fn tcp_with(ends: (IpAddr, IpAddr), numbers: Numbers, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = [numbers.ports.0, numbers.ports.1].map(u16::to_be_bytes).concat();
    out.extend(numbers.seq.to_be_bytes());
    out.extend(if numbers.flags & ACK > 0 { numbers.ack } else { 0 }.to_be_bytes());
    let window = if numbers.flags & RST > 0 { 0 } else { 64_240_u16 };
    out.extend([((5 + options.len() / 4) << 4) as u8, numbers.flags]);
    out.extend(window.to_be_bytes());
    out.extend([0; 4]);
    out.extend(options);
    out.extend(payload);
    sealed(out, 16, ends, TCP)
}

/// A UDP datagram.
pub fn udp(ends: (IpAddr, IpAddr), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut out = [ports.0, ports.1, 8 + payload.len() as u16, 0].map(u16::to_be_bytes).concat();
    out.extend(payload);
    sealed(out, 6, ends, UDP)
}

/// An IP packet.
pub fn ip(ends: (IpAddr, IpAddr), protocol: u8, ttl: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut out;
    if ends.0.is_ipv4() {
        out = vec![0x45, 0];
        out.extend((20 + payload.len() as u16).to_be_bytes());
        out.extend(id.to_be_bytes());
        out.extend([0x40, 0, ttl, protocol, 0, 0]);
        out.extend([octets(ends.0), octets(ends.1)].concat());
        let sum = checksum(&[&out]);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        out = vec![0x60, 0, 0, 0];
        out.extend((payload.len() as u16).to_be_bytes());
        out.extend([protocol, ttl]);
        out.extend([octets(ends.0), octets(ends.1)].concat());
    }
    out.extend(payload);
    out
}

/// An IP packet after one more router.
pub fn routed(packet: &[u8]) -> Vec<u8> {
    let mut out = packet.to_vec();
    if out[0] >> 4 == 6 {
        out[7] -= 1;
    } else {
        out[8] -= 1;
        out[10..12].fill(0);
        let sum = checksum(&[&out[..20]]);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    out
}

/// An ICMP error, as an IP packet: RFC 792 and RFC 4443 have it quote what it is about.
pub fn icmp_error(ends: (IpAddr, IpAddr), what: (u8, u8), id: u16, quoted: &[u8]) -> Vec<u8> {
    let mut out = vec![what.0, what.1, 0, 0, 0, 0, 0, 0];
    out.extend(&quoted[..quoted.len().min(548)]);
    if ends.0.is_ipv4() {
        let sum = checksum(&[&out]);
        out[2..4].copy_from_slice(&sum.to_be_bytes());
        ip(ends, 1, 64, id, &out)
    } else {
        ip(ends, 58, 64, id, &sealed(out, 2, ends, 58))
    }
}

/// A frame around an IP packet.
pub fn frame(to: Mac, from: Mac, packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
    [&to, &from, &kind[..], packet].concat()
}

/// Who has this address? ARP (RFC 826) or a neighbour solicitation (RFC 4861 section 4.3).
pub fn who_has(asker: (Mac, IpAddr), target: IpAddr) -> Vec<u8> {
    if asker.1.is_ipv4() {
        return arp(1, asker, ([0; 6], target), [0xff; 6]);
    }
    let group = IpAddr::from([0xff02, 0, 0, 0, 0, 1, 0xff00, 1]);
    neighbour(135, 0, asker, (asker.1, group), target, [0x33, 0x33, 0xff, 0, 0, 1])
}

/// The answer of whom `who_has` asks for.
pub fn is_at(asker: (Mac, IpAddr), target: (Mac, IpAddr)) -> Vec<u8> {
    if asker.1.is_ipv4() {
        return arp(2, target, asker, asker.0);
    }
    neighbour(136, 0x60, target, (target.1, asker.1), target.1, asker.0)
}

fn arp(operation: u8, from: (Mac, IpAddr), to: (Mac, IpAddr), wire: Mac) -> Vec<u8> {
    let head: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, operation];
    let body = [&head[..], &from.0, &octets(from.1), &to.0, &octets(to.1)].concat();
    [&wire[..], &from.0, &[8, 6], &body, &[0; 18]].concat()
}

fn neighbour(
    kind: u8,
    flags: u8,
    from: (Mac, IpAddr),
    ends: (IpAddr, IpAddr),
    target: IpAddr,
    wire: Mac,
) -> Vec<u8> {
    let option = if kind == 135 { 1 } else { 2 };
    let body = [&[kind, 0, 0, 0, flags, 0, 0, 0][..], &octets(target), &[option, 1], &from.0].concat();
    frame(wire, from.0, &ip(ends, 58, 255, 0, &sealed(body, 2, ends, 58)))
}

/// A classic capture of frames with their times in microseconds, each cut at so many bytes.
pub fn pcap(frames: &[(u64, Vec<u8>)], snap: usize) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1].map(u32::to_le_bytes).concat();
    for (micros, frame) in frames {
        let kept = &frame[..frame.len().min(snap)];
        let lengths = (kept.len() as u32, frame.len() as u32);
        let stamp =
            [1_795_000_000 + (micros / 1_000_000) as u32, (micros % 1_000_000) as u32, lengths.0, lengths.1];
        file.extend(stamp.map(u32::to_le_bytes).concat());
        file.extend(kept);
    }
    file
}
