//! The usual packet read in one go: Ethernet, up to two VLAN tags, then IPv4 without options or IPv6 without extension headers, TCP or UDP, whole
//! headers; or a frame of a real-time protocol.
//!
//! What is unusual in any way (an odd length, a fragment, a port that may be a tunnel's) is left to the walk through the layers, which
//! would read the usual packet just the same: a property test holds the two against each other.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use arrayvec::ArrayVec;

use crate::model::EtherKind;
use crate::model::Host;
use crate::model::LinkType;
use crate::model::MacAddr;
use crate::model::Packet;
use crate::model::Transport;

use super::Body;
use super::Context;
use super::EthernetAddresses;
use super::Frame;
use super::Network;
use super::Tcp;
use super::TcpFlags;
use super::Udp;
use super::ethernet::ethertype;
use super::part::Part;
use super::shard;
use super::tunnel;

/// Version 4, five words of header (RFC 791 section 3.1).
const PLAIN_IPV4: u8 = 0x45;
/// More fragments, and the offset, in the seventh byte of the header.
const FRAGMENT_BITS: u8 = 0x3f;
/// The version of IPv6 in the upper half of its first byte (RFC 8200 section 3).
const IPV6: u8 = 6;
/// Ethertypes of protocols that run in cycles, so that most of what they send is like what they sent before: PROFINET RT, EtherCAT, POWERLINK,
/// GOOSE, sampled values, SERCOS III (IEEE 802 ethertype list).
const REAL_TIME: [u16; 6] = [0x8892, 0x88a4, 0x88ab, 0x88b8, 0x88ba, 0x88cd];

/// IP protocol numbers (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;

/// TCP flags (RFC 9293 section 3.1).
const SYN_RST_ACK: u8 = 0x16;
const ACK: u8 = 0x10;
/// How the options of a segment begin that has timestamps alone (RFC 7323 appendix A).
const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];

/// A usual packet: what an ordinary packet of a known flow is counted by, without the making of a [`Frame`]. Fields are read where they lie
/// when they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// Destination and source MAC address, and the ethertype or tag after them.
    head: &'a [u8; 14],
    /// The header of IPv4; no more than zeros where it has none.
    ip: &'a [u8; 20],
    /// The header of IPv6, where that is what it has.
    ip_v6: Option<&'a [u8; 40]>,
    carried: Carried<'a>,
    payload: &'a [u8],
    payload_length: u32,
    tags: [u16; MOST_TAGS],
    tagged: u8,
    is_v4: bool,
}

/// The transport header, without the options of TCP.
#[derive(Clone, Copy, Debug)]
enum Carried<'a> {
    Tcp(&'a [u8; 20]),
    Udp(&'a [u8; 8]),
    /// None: a frame with that ethertype.
    Frame(u16),
}

/// Stands for the IPv4 header of what has none.
const NO_IP: &[u8; 20] = &[0; 20];

/// What a packet carries: the transport header, the payload as captured, and its length on the wire.
type Load<'a> = (Carried<'a>, &'a [u8], u32);

/// The most VLAN tags of a usual packet.
const MOST_TAGS: usize = 2;

/// Reads a usual packet; `None` for any other.
#[inline(always)]
pub fn plain<'a>(packet: &Packet<'a>) -> Option<Plain<'a>> {
    plain_v4(packet).or_else(|| plain_longer(packet))
}

/// Reads a usual packet of IPv4, which most are; `None` for any other.
#[inline(always)]
pub fn plain_v4<'a>(packet: &Packet<'a>) -> Option<Plain<'a>> {
    let Start { head, number, rest, tags, tagged } = start(packet)?;
    if number != ethertype::IPV4 {
        return None;
    }
    let (ip, _) = rest.split_first_chunk::<20>()?;
    let total = u16::from_be_bytes([ip[2], ip[3]]);
    if ip[0] != PLAIN_IPV4 || ip[6] & FRAGMENT_BITS != 0 || ip[7] != 0 || total < 20 {
        return None;
    }
    let held = rest.get(..usize::from(total)).unwrap_or(rest);
    let payload = Part { bytes: held.get(20..)?, length: u32::from(total) - 20 };
    let (carried, payload, payload_length) = transport(ip[9], payload)?;
    Some(Plain { head, ip, ip_v6: None, carried, payload, payload_length, tags, tagged, is_v4: true })
}

/// Reads a usual packet whose addresses are longer than those of IPv4. Kept apart, so that the loop over most packets stays short.
#[inline(never)]
pub fn plain_longer<'a>(packet: &Packet<'a>) -> Option<Plain<'a>> {
    let Start { head, number, rest, tags, tagged } = start(packet)?;
    let (ip_v6, (carried, payload, payload_length)) = match number {
        ethertype::IPV6 => {
            let (ip, rest) = rest.split_first_chunk::<40>()?;
            let length = u16::from_be_bytes([ip[4], ip[5]]);
            if ip[0] >> 4 != IPV6 || length == 0 {
                return None;
            }
            let bytes = rest.get(..usize::from(length)).unwrap_or(rest);
            (Some(ip), transport(ip[6], Part { bytes, length: u32::from(length) })?)
        }
        number if is_real_time(number) => (None, (Carried::Frame(number), rest, rest.len() as u32)),
        _ => return None,
    };
    Some(Plain { head, ip: NO_IP, ip_v6, carried, payload, payload_length, tags, tagged, is_v4: false })
}

/// What stands before the network layer, and what follows it.
struct Start<'a> {
    head: &'a [u8; 14],
    number: u16,
    rest: &'a [u8],
    tags: [u16; MOST_TAGS],
    tagged: u8,
}

#[inline(always)]
fn start<'a>(packet: &Packet<'a>) -> Option<Start<'a>> {
    if packet.link != LinkType::ETHERNET {
        return None;
    }
    let (head, mut rest) = packet.bytes.split_first_chunk::<14>()?;
    let mut number = u16::from_be_bytes([head[12], head[13]]);
    let (mut tags, mut tagged) = ([0; MOST_TAGS], 0_u8);
    while matches!(number, ethertype::VLAN | ethertype::PROVIDER_VLAN) {
        let ([a, b, high, low], behind) = rest.split_first_chunk::<4>()?;
        *tags.get_mut(usize::from(tagged))? = u16::from_be_bytes([*a, *b]) & 0x0fff;
        tagged += 1;
        number = u16::from_be_bytes([*high, *low]);
        rest = behind;
    }
    Some(Start { head, number, rest, tags, tagged })
}

#[inline(always)]
fn transport(protocol: u8, payload: Part<'_>) -> Option<Load<'_>> {
    match protocol {
        TCP => tcp(payload),
        UDP => udp(payload),
        _ => None,
    }
}

/// Whether frames with that ethertype are usual ones.
pub fn is_real_time(number: u16) -> bool {
    REAL_TIME.contains(&number)
}

impl<'a> Plain<'a> {
    /// The frame that it is.
    pub fn frame(&self) -> Frame<'a> {
        let vlans: ArrayVec<_, _> = self.vlans().iter().copied().collect();
        Frame {
            context: Context { ethernet: Some(self.ethernet()), vlans, tunnels: ArrayVec::new() },
            network: self.network(),
            body: self.body(),
        }
    }

    /// Whether its addresses are those of IPv4.
    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        self.is_v4
    }

    /// Source and destination address, where [`Plain::is_v4`].
    #[inline(always)]
    pub fn addresses_v4(&self) -> (u32, u32) {
        let [.., a, b, c, d, e, f, g, h] = *self.ip;
        (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
    }

    /// Who sent it and to whom.
    pub fn hosts(&self) -> (Host, Host) {
        match (self.network(), self.ethernet()) {
            (Some(network), _) => (Host::Ip(network.source), Host::Ip(network.destination)),
            (None, ethernet) => (Host::Mac(ethernet.source), Host::Mac(ethernet.destination)),
        }
    }

    /// What carries its flow.
    pub fn transport(&self) -> Transport {
        match self.carried {
            Carried::Tcp(_) => Transport::Tcp,
            Carried::Udp(_) => Transport::Udp,
            Carried::Frame(number) => Transport::Ethernet(EtherKind::Type(number)),
        }
    }

    /// Its MAC addresses.
    #[inline(always)]
    pub fn ethernet(&self) -> EthernetAddresses {
        let [a, b, c, d, e, f, g, h, i, j, k, l, _, _] = *self.head;
        EthernetAddresses { source: MacAddr([g, h, i, j, k, l]), destination: MacAddr([a, b, c, d, e, f]) }
    }

    /// The same as the words that they lie in: the destination and two bytes of the source, then the rest of it.
    #[inline(always)]
    pub fn ethernet_words(&self) -> (u64, u32) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, _, _] = *self.head;
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]))
    }

    /// VLAN ids, outermost first.
    #[inline(always)]
    pub fn vlans(&self) -> &[u16] {
        self.tags.get(..usize::from(self.tagged)).unwrap_or_default()
    }

    /// Its IP header.
    #[inline(always)]
    pub fn network(&self) -> Option<Network> {
        if !self.is_v4 {
            return self.ip_v6.map(network_v6);
        }
        let (source, destination) = self.addresses_v4();
        Some(Network {
            source: IpAddr::V4(Ipv4Addr::from_bits(source)),
            destination: IpAddr::V4(Ipv4Addr::from_bits(destination)),
            ttl: self.ip[8],
            identification: u16::from_be_bytes([self.ip[4], self.ip[5]]),
            length: u32::from(u16::from_be_bytes([self.ip[2], self.ip[3]])),
        })
    }

    /// Its time to live, where [`Plain::is_v4`].
    #[inline(always)]
    pub fn ttl_v4(&self) -> u8 {
        self.ip[8]
    }

    /// Identification (the upper half) and length of the IP packet, where [`Plain::is_v4`].
    #[inline(always)]
    pub fn network_words_v4(&self) -> u64 {
        let [_, _, a, b, c, d, ..] = *self.ip;
        u64::from(u16::from_be_bytes([c, d])) << 32 | u64::from(u16::from_be_bytes([a, b]))
    }

    /// Of a TCP segment sequence and acknowledgement number, then flags, window and checksum.
    #[inline(always)]
    pub fn stream_words(&self) -> Option<[u64; 2]> {
        let Carried::Tcp(h) = self.carried else { return None };
        let [_, _, _, _, a, b, c, d, e, f, g, h, _, i, j, k, l, m, _, _] = *h;
        Some([u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([0, 0, 0, i, j, k, l, m])])
    }

    /// What it carries.
    #[inline(always)]
    pub fn body(&self) -> Body<'a> {
        match self.carried {
            Carried::Tcp(header) => Body::Tcp(self.segment(header)),
            Carried::Udp(header) => Body::Udp(self.datagram(header)),
            Carried::Frame(number) => Body::Ethernet { kind: EtherKind::Type(number), payload: self.payload },
        }
    }

    /// The TCP segment that it is, if it is one.
    #[inline(always)]
    pub fn tcp(&self) -> Option<Tcp<'a>> {
        let Carried::Tcp(header) = self.carried else { return None };
        Some(self.segment(header))
    }

    /// The UDP datagram that it is, if it is one.
    #[inline(always)]
    pub fn udp(&self) -> Option<Udp<'a>> {
        let Carried::Udp(header) = self.carried else { return None };
        Some(self.datagram(header))
    }

    #[inline(always)]
    fn segment(&self, h: &[u8; 20]) -> Tcp<'a> {
        Tcp {
            source: u16::from_be_bytes([h[0], h[1]]),
            destination: u16::from_be_bytes([h[2], h[3]]),
            sequence: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            acknowledgement: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
            flags: TcpFlags(h[13]),
            window: u16::from_be_bytes([h[14], h[15]]),
            checksum: u16::from_be_bytes([h[16], h[17]]),
            payload: self.payload,
            payload_length: self.payload_length,
            selective: None,
        }
    }

    #[inline(always)]
    fn datagram(&self, h: &[u8; 8]) -> Udp<'a> {
        let Self { payload, payload_length, .. } = *self;
        let (source, destination) = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
        Udp { source, destination, checksum: u16::from_be_bytes([h[6], h[7]]), payload, payload_length }
    }

    /// Source and destination port, and whether it is TCP; else it is UDP, or has none.
    #[inline(always)]
    pub fn ports(&self) -> (u16, u16, bool) {
        let ([a, b, c, d], tcp) = match self.carried {
            Carried::Tcp(&[a, b, c, d, ..]) => ([a, b, c, d], true),
            Carried::Udp(&[a, b, c, d, ..]) => ([a, b, c, d], false),
            Carried::Frame(_) => ([0; 4], false),
        };
        (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), tcp)
    }

    /// Whether it carries anything beyond headers.
    #[inline(always)]
    pub fn has_payload(&self) -> bool {
        !self.payload.is_empty()
    }

    /// How much that is on the wire; of a frame of a real-time protocol, as captured.
    #[inline(always)]
    pub fn payload_length(&self) -> u32 {
        self.payload_length
    }

    /// As [`super::shard_of_pair`] of its two hosts.
    #[inline(always)]
    pub fn shard(&self) -> u64 {
        if self.is_v4 {
            return self.shard_v4();
        }
        let (source, destination) = self.hosts();
        shard::shard_of_pair(source, destination)
    }

    /// The same, where [`Plain::is_v4`].
    #[inline(always)]
    pub fn shard_v4(&self) -> u64 {
        let (source, destination) = self.addresses_v4();
        shard::of_pair_v4(source, destination)
    }
}

/// What an IPv6 header says (RFC 8200 section 3).
fn network_v6(ip: &[u8; 40]) -> Network {
    let address = |from: usize| {
        let bytes = ip.get(from..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(bytes)))
    };
    let length = u32::from(u16::from_be_bytes([ip[4], ip[5]])) + 40;
    Network { source: address(8), destination: address(24), ttl: ip[7], identification: 0, length }
}

#[inline(always)]
fn tcp(part: Part<'_>) -> Option<Load<'_>> {
    let (h, behind) = part.bytes.split_first_chunk::<20>()?;
    let length = u32::from(h[12] >> 4) * 4;
    if length < 20 || length > part.length {
        return None;
    }
    // An acknowledgement with more than timestamps may be a selective one.
    let acknowledges = length == part.length && h[13] & SYN_RST_ACK == ACK;
    if acknowledges && length > 20 && (length != 32 || !behind.starts_with(&TIMESTAMPS)) {
        return None;
    }
    let payload = part.bytes.get(length as usize..).unwrap_or_default();
    Some((Carried::Tcp(h), payload, part.length - length))
}

#[inline(always)]
fn udp(part: Part<'_>) -> Option<Load<'_>> {
    let (h, rest) = part.bytes.split_first_chunk::<8>()?;
    let (source, destination) = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
    let length = u32::from(u16::from_be_bytes([h[4], h[5]]));
    if length < 8 || part.length < 8 || tunnel::may_be_in_udp(source, destination, rest) {
        return None;
    }
    let payload_length = (length - 8).min(part.length - 8);
    Some((Carried::Udp(h), rest.get(..payload_length as usize).unwrap_or(rest), payload_length))
}
