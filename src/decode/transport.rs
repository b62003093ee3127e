//! TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), and the dispatch on the IP protocol number.

use etherparse::{IpNumber, ip_number};

use super::Body;
use super::Header;
use super::Network;
use super::Tcp;
use super::TcpFlags;
use super::Tunnel;
use super::TunnelKind;
use super::Udp;
use super::Undecodable;
use super::ethernet::ethertype;
use super::part::Part;
use super::walk::{Layer, Step};
use super::{icmp, l2tp, tunnel};

/// Reads what an IP header carries.
#[inline]
pub(super) fn read(network: Network, protocol: u8, part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    match IpNumber(protocol) {
        ip_number::TCP => tcp(network, part),
        ip_number::UDP => udp(network, part),
        ip_number::ICMP if network.source.is_ipv4() => icmp::read(network, false, part),
        ip_number::IPV6_ICMP if network.source.is_ipv6() => icmp::read(network, true, part),
        ip_number::SCTP => sctp(network, part),
        ip_number::IPV4 => Ok(ip_in_ip(network, protocol, ethertype::IPV4, part)),
        ip_number::IPV6 => Ok(ip_in_ip(network, protocol, ethertype::IPV6, part)),
        ip_number::GRE => Ok(named(network, protocol, part, tunnel::gre(part))),
        ip_number::LAYER2_TUNNELING_PROTOCOL => Ok(named(network, protocol, part, l2tp::over_ip(part))),
        _ => Ok(Step::Done(Some(network), Body::Ip { protocol, payload: part.bytes })),
    }
}

fn tcp(network: Network, part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    // Read by hand rather than by etherparse: a header whose options were cut off still tells its flow. Ports, numbers
    // and flags take 14 bytes.
    let (h, rest) = part.split_cut::<20>(Header::Tcp, 14)?;
    let length = usize::from(h[12] >> 4) * 4;
    if length < 20 || length > part.length as usize {
        return Err(Undecodable::Bad(Header::Tcp));
    }
    let options = rest.bytes.get(..length - 20).unwrap_or(rest.bytes);
    let payload = rest.skip(length - 20);
    let flags = TcpFlags(h[13]);
    let may_select = payload.length == 0 && flags.ack() && !flags.syn() && !flags.rst();
    let body = Body::Tcp(Tcp {
        source: u16::from_be_bytes([h[0], h[1]]),
        destination: u16::from_be_bytes([h[2], h[3]]),
        sequence: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        acknowledgement: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
        flags,
        window: u16::from_be_bytes([h[14], h[15]]),
        checksum: u16::from_be_bytes([h[16], h[17]]),
        payload: payload.bytes,
        payload_length: payload.length,
        selective: if may_select { selective(options) } else { None },
    });
    Ok(Step::Done(Some(network), body))
}

/// The first block of a selective acknowledgement (RFC 2018 section 3).
fn selective(mut options: &[u8]) -> Option<(u32, u32)> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const SACK: u8 = 5;
    loop {
        options = match *options {
            [NO_OPERATION, ref after @ ..] => after,
            [SACK, length, a, b, c, d, e, f, g, h, ..] if length >= 10 => {
                return Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            }
            [] | [END, ..] => return None,
            [_, length, ..] if length >= 2 => options.get(usize::from(length)..)?,
            _ => return None,
        };
    }
}

fn udp(network: Network, part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    let (h, rest) = part.split_cut::<8>(Header::Udp, 4)?;
    // Where the capture cut the field off, the IP header has to do.
    let length = if part.bytes.len() < 6 { 0 } else { u16::from_be_bytes([h[4], h[5]]) };
    let payload = match u32::from(length) {
        // A jumbogram (RFC 2675), or segmentation offload.
        0 => rest,
        1..8 => return Err(Undecodable::Bad(Header::Udp)),
        length => rest.limit((length - 8).min(rest.length)),
    };
    let (source, destination) = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
    let body = Body::Udp(Udp {
        source,
        destination,
        checksum: u16::from_be_bytes([h[6], h[7]]),
        payload: payload.bytes,
        payload_length: payload.length,
    });
    Ok(match tunnel::in_udp(source, destination, payload) {
        Some(tunnel::Wrapped { kind, id, inner }) => Step::Tunnel {
            tunnel: Tunnel { kind, id, outer: Some((network.source, network.destination)) },
            inner,
            named: false,
            network: Some(network),
            body,
        },
        None => Step::Done(Some(network), body),
    })
}

fn sctp(network: Network, part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    let (h, rest) = part.split_cut::<12>(Header::Sctp, 4)?;
    let body = Body::Sctp {
        source: u16::from_be_bytes([h[0], h[1]]),
        destination: u16::from_be_bytes([h[2], h[3]]),
        payload: rest.bytes,
    };
    Ok(Step::Done(Some(network), body))
}

/// IP in IP (RFC 2003, RFC 4213, RFC 2473).
fn ip_in_ip(network: Network, protocol: u8, version: u16, part: Part<'_>) -> Step<'_> {
    Step::Tunnel {
        tunnel: Tunnel {
            kind: TunnelKind::IpInIp,
            id: 0,
            outer: Some((network.source, network.destination)),
        },
        inner: Layer::Ethertype(version, part),
        named: true,
        network: Some(network),
        body: Body::Ip { protocol, payload: part.bytes },
    }
}

/// An encapsulation that has an IP protocol number of its own.
fn named<'a>(
    network: Network,
    protocol: u8,
    part: Part<'a>,
    wrapped: Option<tunnel::Wrapped<'a>>,
) -> Step<'a> {
    let body = Body::Ip { protocol, payload: part.bytes };
    match wrapped {
        Some(tunnel::Wrapped { kind, id, inner }) => Step::Tunnel {
            tunnel: Tunnel { kind, id, outer: Some((network.source, network.destination)) },
            inner,
            named: true,
            network: Some(network),
            body,
        },
        None => Step::Done(Some(network), body),
    }
}
