//! The usual packet read in one go: Ethernet, up to two VLAN tags, IPv4 without options, TCP or UDP, whole headers.
//!
//! What is unusual in any way (an odd length, a fragment, a port that may be a tunnel's) is left to the walk through the layers, which
//! would read the usual packet just the same: a property test holds the two against each other.

use std::net::IpAddr;
use std::net::Ipv4Addr;

use arrayvec::ArrayVec;

use crate::model::LinkType;
use crate::model::MacAddr;
use crate::model::Packet;

use super::Body;
use super::EthernetAddresses;
use super::MOST_VLANS;
use super::Network;
use super::Tcp;
use super::TcpFlags;
use super::Udp;
use super::ethernet::ethertype;
use super::part::Part;
use super::tunnel;

/// Version 4, five words of header (RFC 791 section 3.1).
const PLAIN_IPV4: u8 = 0x45;
/// More fragments, and the offset, in the seventh byte of the header.
const FRAGMENT_BITS: u8 = 0x3f;
/// IP protocol numbers (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What there is to know of a usual packet.
pub(super) struct Plain<'a> {
    pub ethernet: EthernetAddresses,
    pub vlans: ArrayVec<u16, MOST_VLANS>,
    pub network: Network,
    pub body: Body<'a>,
}

/// Reads a usual packet; `None` for any other.
#[inline(always)]
pub(super) fn read<'a>(packet: &Packet<'a>) -> Option<Plain<'a>> {
    if packet.link != LinkType::ETHERNET {
        return None;
    }
    let (head, mut rest) = packet.bytes.split_first_chunk::<14>()?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, high, low] = *head;
    let mut number = u16::from_be_bytes([high, low]);
    let mut vlans = ArrayVec::new();
    while matches!(number, ethertype::VLAN | ethertype::PROVIDER_VLAN) {
        let ([a, b, high, low], behind) = rest.split_first_chunk::<4>()?;
        vlans.try_push(u16::from_be_bytes([*a, *b]) & 0x0fff).ok()?;
        number = u16::from_be_bytes([*high, *low]);
        rest = behind;
    }
    if number != ethertype::IPV4 {
        return None;
    }
    let (ip, _) = rest.split_first_chunk::<20>()?;
    let total = u16::from_be_bytes([ip[2], ip[3]]);
    if ip[0] != PLAIN_IPV4 || ip[6] & FRAGMENT_BITS != 0 || ip[7] != 0 || total < 20 {
        return None;
    }
    let address = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    let network = Network {
        source: address(ip[12], ip[13], ip[14], ip[15]),
        destination: address(ip[16], ip[17], ip[18], ip[19]),
        ttl: ip[8],
        identification: u16::from_be_bytes([ip[4], ip[5]]),
        length: u32::from(total),
    };
    let held = rest.get(..usize::from(total)).unwrap_or(rest);
    let payload = Part { bytes: held.get(20..)?, length: u32::from(total) - 20 };
    let body = match ip[9] {
        TCP => tcp(payload)?,
        UDP => udp(payload)?,
        _ => return None,
    };
    let ethernet =
        EthernetAddresses { source: MacAddr([g, h, i, j, k, l]), destination: MacAddr([a, b, c, d, e, f]) };
    Some(Plain { ethernet, vlans, network, body })
}

#[inline(always)]
fn tcp(part: Part<'_>) -> Option<Body<'_>> {
    let (h, _) = part.bytes.split_first_chunk::<20>()?;
    let length = u32::from(h[12] >> 4) * 4;
    if length < 20 || length > part.length {
        return None;
    }
    Some(Body::Tcp(Tcp {
        source: u16::from_be_bytes([h[0], h[1]]),
        destination: u16::from_be_bytes([h[2], h[3]]),
        sequence: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        acknowledgement: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
        flags: TcpFlags(h[13]),
        window: u16::from_be_bytes([h[14], h[15]]),
        checksum: u16::from_be_bytes([h[16], h[17]]),
        payload: part.bytes.get(length as usize..).unwrap_or_default(),
        payload_length: part.length - length,
    }))
}

#[inline(always)]
fn udp(part: Part<'_>) -> Option<Body<'_>> {
    let (h, rest) = part.bytes.split_first_chunk::<8>()?;
    let (source, destination) = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
    let length = u32::from(u16::from_be_bytes([h[4], h[5]]));
    if length < 8 || part.length < 8 || tunnel::may_be_in_udp(source, destination, rest) {
        return None;
    }
    let payload_length = (length - 8).min(part.length - 8);
    Some(Body::Udp(Udp {
        source,
        destination,
        checksum: u16::from_be_bytes([h[6], h[7]]),
        payload: rest.get(..payload_length as usize).unwrap_or(rest),
        payload_length,
    }))
}
