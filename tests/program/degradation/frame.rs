//! Where the headers of an Ethernet frame lie, and changing them in place.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// TCP's IP protocol number.
pub const TCP: u8 = 6;
/// UDP's IP protocol number.
pub const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A transport endpoint.
pub type End = (IpAddr, u16);

/// Offsets into a frame whose network layer is IP.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// The IP header.
    pub network: usize,
    /// Whether it is IPv6.
    pub v6: bool,
    /// The IP protocol number.
    pub protocol: u8,
    /// The transport header, in the first fragment.
    pub transport: usize,
}

/// The offsets of an Ethernet frame that carries IP.
pub fn headers(bytes: &[u8]) -> Option<Headers> {
    let mut at = 12;
    while matches!(word(bytes, at)?, 0x8100 | 0x88a8) {
        at += 4;
    }
    let kind = word(bytes, at)?;
    network(bytes, at + 2, kind)
}

fn network(bytes: &[u8], network: usize, kind: u16) -> Option<Headers> {
    match kind {
        0x0800 if bytes.len() >= network + 20 => {
            let length = usize::from(bytes[network] & 15) * 4;
            let protocol = bytes[network + 9];
            let first = word(bytes, network + 6)? & 0x1fff == 0;
            first.then_some(Headers { network, v6: false, protocol, transport: network + length })
        }
        0x86dd if bytes.len() >= network + 40 => {
            Some(Headers { network, v6: true, protocol: bytes[network + 6], transport: network + 40 })
        }
        _ => None,
    }
}

impl Headers {
    /// Source and destination; port 0 where the transport has none.
    pub fn ends(&self, bytes: &[u8]) -> (End, End) {
        let address = |from: usize| -> IpAddr {
            if self.v6 {
                let octets: [u8; 16] = bytes[from..from + 16].try_into().expect("sixteen bytes");
                IpAddr::V6(Ipv6Addr::from(octets))
            } else {
                let octets: [u8; 4] = bytes[from..from + 4].try_into().expect("four bytes");
                IpAddr::V4(Ipv4Addr::from(octets))
            }
        };
        let (source, length) = if self.v6 { (self.network + 8, 16) } else { (self.network + 12, 4) };
        let port = |at: usize| {
            if matches!(self.protocol, TCP | UDP) { word(bytes, at).unwrap_or(0) } else { 0 }
        };
        ((address(source), port(self.transport)), (address(source + length), port(self.transport + 2)))
    }

    /// The IP header that an ICMP error quotes.
    pub fn quote(&self, bytes: &[u8]) -> Option<Headers> {
        let kind = *bytes.get(self.transport)?;
        match self.protocol {
            ICMP if matches!(kind, 3 | 4 | 5 | 11 | 12) => network(bytes, self.transport + 8, 0x0800),
            ICMPV6 if kind < 128 => network(bytes, self.transport + 8, 0x86dd),
            _ => None,
        }
    }

    /// Sets the time to live or hop limit.
    pub fn set_ttl(&self, bytes: &mut [u8], change: impl Fn(u8) -> u8) {
        let at = self.network + if self.v6 { 7 } else { 8 };
        bytes[at] = change(bytes[at]);
        self.mend(bytes);
    }

    /// Sets the IPv4 identification.
    pub fn add_identification(&self, bytes: &mut [u8], shift: u16) {
        if !self.v6 {
            let known = word(bytes, self.network + 4).unwrap_or(0);
            if known != 0 {
                bytes[self.network + 4..self.network + 6]
                    .copy_from_slice(&known.wrapping_add(shift).to_be_bytes());
            }
            self.mend(bytes);
        }
    }

    /// Puts the IPv4 header checksum right.
    pub fn mend(&self, bytes: &mut [u8]) {
        if self.v6 {
            return;
        }
        let header = &mut bytes[self.network..self.transport];
        header[10..12].fill(0);
        let sum = checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    /// Adds to a TCP sequence number (at 4) or acknowledgement (at 8).
    pub fn add_sequence(&self, bytes: &mut [u8], at: usize, shift: u32) {
        let from = self.transport + at;
        if let Some(field) = bytes.get(from..from + 4) {
            let known = u32::from_be_bytes(field.try_into().expect("four bytes"));
            bytes[from..from + 4].copy_from_slice(&known.wrapping_add(shift).to_be_bytes());
        }
    }

    /// The TCP flags.
    pub fn flags(&self, bytes: &[u8]) -> u8 {
        bytes.get(self.transport + 13).copied().unwrap_or(0)
    }
}

/// The IPv4 header checksum (RFC 1071).
pub fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 =
        header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Puts a frame on another VLAN: the outermost tag is replaced, or one is put in.
pub fn set_vlan(bytes: &mut Vec<u8>, vlan: u16) {
    if word(bytes, 12) == Some(0x8100) {
        bytes[14..16].copy_from_slice(&vlan.to_be_bytes());
    } else {
        let [high, low] = vlan.to_be_bytes();
        bytes.splice(12..12, [0x81, 0x00, high, low]);
    }
}

/// A 16-bit field.
pub fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
