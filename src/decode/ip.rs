//! IPv4 (RFC 791) and IPv6 (RFC 8200) with extension headers, and the fragments of both.

use std::net::IpAddr;

use etherparse::{IpAuthHeaderSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice};
use etherparse::{Ipv6RawExtHeaderSlice, ip_number};

use super::Body;
use super::Fragment;
use super::Header;
use super::Network;
use super::Undecodable;
use super::part::Part;
use super::transport;
use super::walk::Step;

/// The most extension headers walked over in one packet. RFC 8200 names seven, each once but one.
const MOST_EXTENSIONS: usize = 16;
/// Length of an IPv4 header without options.
const IPV4_LENGTH: usize = 20;
/// Length of an IPv6 header.
const IPV6_LENGTH: usize = 40;

/// Reads an IP header of the version that its first nibble says.
pub(super) fn either(part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    match part.bytes.first().map(|first| first >> 4) {
        Some(4) => v4(part),
        Some(6) => v6(part),
        Some(_) => Err(Undecodable::Bad(Header::Ip)),
        None => Err(part.lacks(Header::Ip, 1)),
    }
}

/// Reads an IPv4 header and goes on to its payload.
#[inline]
pub(super) fn v4(part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    let (header, payload) = v4_header(part)?;
    let network = Network {
        source: IpAddr::V4(header.source_addr()),
        destination: IpAddr::V4(header.destination_addr()),
        ttl: header.ttl(),
        identification: header.identification(),
        length: payload.length.saturating_add(u32::from(header.ihl()) * 4),
    };
    let protocol = header.protocol().0;
    if header.is_fragmenting_payload() {
        let fragment = Fragment {
            protocol,
            identification: u32::from(header.identification()),
            offset: u32::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
            payload: payload.bytes,
            payload_length: payload.length,
        };
        return Ok(Step::Done(Some(network), Body::Fragment(fragment)));
    }
    if protocol != ip_number::AUTHENTICATION_HEADER.0 {
        return transport::read(network, protocol, payload);
    }
    match extensions(protocol, payload)? {
        Behind::Payload(protocol, payload) => transport::read(network, protocol, payload),
        Behind::Fragment(fragment) => Ok(Step::Done(Some(network), Body::Fragment(fragment))),
    }
}

/// The IPv4 header, and the payload as long as the header says.
fn v4_header(part: Part<'_>) -> Result<(Ipv4HeaderSlice<'_>, Part<'_>), Undecodable> {
    let Some(&first) = part.bytes.first() else { return Err(part.lacks(Header::Ipv4, IPV4_LENGTH)) };
    let length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < IPV4_LENGTH {
        return Err(Undecodable::Bad(Header::Ipv4));
    }
    let header = Ipv4HeaderSlice::from_slice(part.bytes).map_err(|_| part.lacks(Header::Ipv4, length))?;
    let total = match u32::from(header.total_len()) {
        // Segmentation offload leaves it unset: the frame's own length has to do.
        0 => part.length,
        total if (total as usize) < length => return Err(Undecodable::Bad(Header::Ipv4)),
        total => total,
    };
    Ok((header, part.limit(total).skip(length)))
}

/// Reads an IPv6 header and goes on to its payload.
#[inline]
pub(super) fn v6(part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    let (header, payload) = v6_header(part)?;
    let network = Network {
        source: IpAddr::V6(header.source_addr()),
        destination: IpAddr::V6(header.destination_addr()),
        ttl: header.hop_limit(),
        identification: 0,
        length: payload.length.saturating_add(IPV6_LENGTH as u32),
    };
    match extensions(header.next_header().0, payload)? {
        Behind::Payload(protocol, payload) => transport::read(network, protocol, payload),
        Behind::Fragment(fragment) => Ok(Step::Done(Some(network), Body::Fragment(fragment))),
    }
}

/// The IPv6 header, and the payload as long as the header says.
fn v6_header(part: Part<'_>) -> Result<(Ipv6HeaderSlice<'_>, Part<'_>), Undecodable> {
    match part.bytes.first() {
        None => return Err(part.lacks(Header::Ipv6, IPV6_LENGTH)),
        Some(first) if first >> 4 != 6 => return Err(Undecodable::Bad(Header::Ipv6)),
        Some(_) => {}
    }
    let header =
        Ipv6HeaderSlice::from_slice(part.bytes).map_err(|_| part.lacks(Header::Ipv6, IPV6_LENGTH))?;
    let payload = part.skip(IPV6_LENGTH);
    Ok(match u32::from(header.payload_length()) {
        // A jumbogram (RFC 2675) or segmentation offload, unless nothing follows.
        0 if header.next_header() != ip_number::IPV6_NO_NEXT_HEADER => (header, payload),
        length => (header, payload.limit(length)),
    })
}

/// What stands behind a chain of extension headers.
enum Behind<'a> {
    /// The upper layer: its protocol number and bytes.
    Payload(u8, Part<'a>),
    /// A fragment of it.
    Fragment(Fragment<'a>),
}

/// Walks over extension headers, in whatever order they stand.
fn extensions(mut protocol: u8, mut part: Part<'_>) -> Result<Behind<'_>, Undecodable> {
    const HEADER: Header = Header::Extension;
    for _ in 0..MOST_EXTENSIONS {
        let second = part.bytes.get(1).copied().map(usize::from);
        let length = match etherparse::IpNumber(protocol) {
            ip_number::IPV6_HEADER_HOP_BY_HOP
            | ip_number::IPV6_ROUTE_HEADER
            | ip_number::IPV6_DESTINATION_OPTIONS => {
                let length = second.map_or(8, |units| (units + 1) * 8);
                let header =
                    Ipv6RawExtHeaderSlice::from_slice(part.bytes).map_err(|_| part.lacks(HEADER, length))?;
                protocol = header.next_header().0;
                length
            }
            ip_number::AUTHENTICATION_HEADER => {
                let length = second.map_or(12, |units| (units + 2) * 4);
                if length < 12 {
                    return Err(Undecodable::Bad(HEADER));
                }
                let header =
                    IpAuthHeaderSlice::from_slice(part.bytes).map_err(|_| part.lacks(HEADER, length))?;
                protocol = header.next_header().0;
                length
            }
            ip_number::IPV6_FRAGMENTATION_HEADER => {
                let header =
                    Ipv6FragmentHeaderSlice::from_slice(part.bytes).map_err(|_| part.lacks(HEADER, 8))?;
                protocol = header.next_header().0;
                if header.is_fragmenting_payload() {
                    let payload = part.skip(8);
                    return Ok(Behind::Fragment(Fragment {
                        protocol,
                        identification: header.identification(),
                        offset: u32::from(header.fragment_offset().value()) * 8,
                        more: header.more_fragments(),
                        payload: payload.bytes,
                        payload_length: payload.length,
                    }));
                }
                // An atomic fragment (RFC 6946) is a whole packet.
                8
            }
            _ => return Ok(Behind::Payload(protocol, part)),
        };
        part = part.skip(length);
    }
    Err(Undecodable::Bad(HEADER))
}

/// A packet quoted by an ICMP error, as far as it reaches.
pub(super) struct Quoted<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// The transport's first bytes; nothing where the quoted packet was a later fragment.
    pub transport: &'a [u8],
}

/// Reads the IP header and extension headers of a quoted packet.
pub(super) fn quoted(bytes: &[u8]) -> Option<Quoted<'_>> {
    let part = Part::new(bytes, 0);
    let (source, destination, behind) = match bytes.first()? >> 4 {
        4 => {
            // Lengths are not looked at: routers cut the packet, and some stacks quote the total length as they store it.
            let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
            // Only the first fragment holds the ports, and it holds them as a whole packet does.
            let first = header.fragments_offset().value() == 0;
            let payload = if first { part.skip(header.slice().len()) } else { part.limit(0) };
            let behind = Behind::Payload(header.protocol().0, payload);
            (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()), behind)
        }
        6 => {
            let (header, payload) = v6_header(part).ok()?;
            let next = header.next_header().0;
            let behind = extensions(next, payload).unwrap_or(Behind::Payload(next, payload.limit(0)));
            (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()), behind)
        }
        _ => return None,
    };
    let (protocol, transport) = match behind {
        Behind::Payload(protocol, payload) => (protocol, payload.bytes),
        Behind::Fragment(fragment) if fragment.offset == 0 => (fragment.protocol, fragment.payload),
        Behind::Fragment(fragment) => (fragment.protocol, &[][..]),
    };
    Some(Quoted { source, destination, protocol, transport })
}

/// Whether bytes look like an IP packet, where no field says that they are one.
pub(super) fn is_plausible(part: Part<'_>) -> bool {
    match part.bytes.first().map(|first| first >> 4) {
        Some(4) => v4_header(part)
            .is_ok_and(|(header, _)| header.total_len() != 0 && u32::from(header.total_len()) <= part.length),
        Some(6) => v6_header(part)
            .is_ok_and(|(header, _)| u32::from(header.payload_length()) + IPV6_LENGTH as u32 <= part.length),
        _ => false,
    }
}

/// Whether they prove to be one: the checksum of an IPv4 header, the exact length of an IPv6 packet.
pub(super) fn is_checked(part: Part<'_>) -> bool {
    match part.bytes.first().map(|first| first >> 4) {
        Some(4) => v4_header(part).is_ok_and(|(header, _)| {
            // RFC 1071: the sum over a correct header is all ones.
            let sum: u32 = header
                .slice()
                .chunks_exact(2)
                .map(|pair| match *pair {
                    [high, low] => u32::from(u16::from_be_bytes([high, low])),
                    _ => 0,
                })
                .sum();
            (sum & 0xffff) + (sum >> 16) == 0xffff
        }),
        Some(6) => v6_header(part)
            .is_ok_and(|(header, _)| u32::from(header.payload_length()) + IPV6_LENGTH as u32 == part.length),
        _ => false,
    }
}
