//! Link types: what stands before the first network layer (<https://www.tcpdump.org/linktypes.html>).

use crate::model::EtherKind;
use crate::model::LinkType;
use crate::model::MacAddr;

use super::Body;
use super::Context;
use super::EthernetAddresses;
use super::Header;
use super::Undecodable;
use super::erf;
use super::ethernet::{self, ethertype};
use super::part::Part;
use super::walk::Layer;
use super::wireless;

/// PPP without HDLC framing; its first bytes may still be address and control.
const PPP: LinkType = LinkType(9);
/// PPP after one byte that tells the direction.
const PPP_WITH_DIRECTION: LinkType = LinkType(204);
/// Hilscher netANALYZER: four bytes, then an Ethernet frame with its check sequence.
const NETANALYZER: LinkType = LinkType(240);
/// The same with the preamble before the frame.
const NETANALYZER_TRANSPARENT: LinkType = LinkType(241);

/// 802.11 without anything before it.
const WIRELESS: LinkType = LinkType(105);
/// 802.11 behind a radiotap header.
const RADIOTAP: LinkType = LinkType(127);
/// Endace's extensible record format.
const ERF: LinkType = LinkType(197);

/// The first layer behind the link header. Addresses that the link header holds go into the context.
pub(super) fn layer<'a>(
    context: &mut Context,
    link: LinkType,
    part: Part<'a>,
) -> Result<Layer<'a>, Undecodable> {
    match link {
        LinkType::ETHERNET => Ok(Layer::Ethernet(part)),
        LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD => Ok(Layer::Ip(part)),
        LinkType::IPV4 => Ok(Layer::Ethertype(ethertype::IPV4, part)),
        LinkType::IPV6 => Ok(Layer::Ethertype(ethertype::IPV6, part)),
        LinkType::NULL | LinkType::LOOP => loopback(part),
        LinkType::LINUX_SLL => cooked(context, part),
        LinkType::LINUX_SLL2 => cooked2(context, part),
        PPP | LinkType::PPP_HDLC | LinkType::C_HDLC => hdlc(part),
        PPP_WITH_DIRECTION => {
            let (_, part) = part.split::<1>(Header::Ppp)?;
            hdlc(part)
        }
        LinkType::PPP_ETHER => Ok(Layer::Ethertype(ethertype::PPPOE_SESSION, part)),
        LinkType::NFLOG => nflog(context, part),
        NETANALYZER => {
            let (_, part) = part.split::<4>(Header::NetAnalyzer)?;
            Ok(Layer::Ethernet(part.limit(part.length.saturating_sub(ethernet::CHECK_SEQUENCE as u32))))
        }
        NETANALYZER_TRANSPARENT => {
            let (_, part) = part.split::<12>(Header::NetAnalyzer)?;
            Ok(Layer::Ethernet(part.limit(part.length.saturating_sub(ethernet::CHECK_SEQUENCE as u32))))
        }
        WIRELESS => wireless::frame(context, part),
        RADIOTAP => wireless::radiotap(context, part),
        ERF => erf::record(part),
        _ => Err(Undecodable::UnknownLinkType),
    }
}

/// BSD loopback: an address family in the byte order of the capturing machine (NULL) or of the network (LOOP).
///
/// The families are small numbers, so the byte order shows.
fn loopback(part: Part<'_>) -> Result<Layer<'_>, Undecodable> {
    let (family, rest) = part.split::<4>(Header::Loopback)?;
    let family = u32::from_be_bytes(*family);
    let family = if family > 0xffff { family.swap_bytes() } else { family };
    match family {
        2 => Ok(Layer::Ethertype(ethertype::IPV4, rest)),
        // AF_INET6 of Linux; Windows; NetBSD, OpenBSD; FreeBSD; Darwin.
        10 | 23 | 24 | 28 | 30 => Ok(Layer::Ethertype(ethertype::IPV6, rest)),
        _ => Err(Undecodable::Bad(Header::Loopback)),
    }
}

/// Linux cooked capture, version 1: packet type, ARPHRD, address length, address, protocol.
fn cooked<'a>(context: &mut Context, part: Part<'a>) -> Result<Layer<'a>, Undecodable> {
    let (head, rest) = part.split::<16>(Header::LinuxCooked)?;
    let [_, _, _, _, _, length, a, b, c, d, e, f, _, _, high, low] = *head;
    cooked_address(context, length, MacAddr([a, b, c, d, e, f]));
    cooked_payload(u16::from_be_bytes([high, low]), rest)
}

/// Linux cooked capture, version 2: protocol, reserved, interface, ARPHRD, packet type, address length, address.
fn cooked2<'a>(context: &mut Context, part: Part<'a>) -> Result<Layer<'a>, Undecodable> {
    let (head, rest) = part.split::<20>(Header::LinuxCooked)?;
    let [high, low, _, _, _, _, _, _, _, _, _, length, a, b, c, d, e, f, _, _] = *head;
    cooked_address(context, length, MacAddr([a, b, c, d, e, f]));
    cooked_payload(u16::from_be_bytes([high, low]), rest)
}

/// Keeps the sender's address. The destination is not told: it stays all zero.
fn cooked_address(context: &mut Context, length: u8, source: MacAddr) {
    if length == 6 {
        context.ethernet = Some(EthernetAddresses { source, destination: MacAddr::default() });
    }
}

/// The protocol field of cooked captures: an ethertype, or one of Linux's own numbers below 0x0600.
fn cooked_payload(protocol: u16, rest: Part<'_>) -> Result<Layer<'_>, Undecodable> {
    const LINUX_802_3: u16 = 0x0001;
    const LINUX_802_2: u16 = 0x0004;
    match protocol {
        // Novell's frames without LLC begin with FF FF, which LLC reads as a SAP of its own.
        LINUX_802_3 | LINUX_802_2 => Ok(ethernet::logical_link(rest)),
        0..0x0600 => Ok(Layer::Body(Body::Ethernet { kind: EtherKind::Type(protocol), payload: rest.bytes })),
        _ => Ok(Layer::Ethertype(protocol, rest)),
    }
}

/// PPP in HDLC-like framing (RFC 1662), PPP alone, or Cisco HDLC: told apart by the address byte.
pub(super) fn hdlc(part: Part<'_>) -> Result<Layer<'_>, Undecodable> {
    match part.bytes {
        [0x0f | 0x8f, 0x00, ..] => {
            let (head, rest) = part.split::<4>(Header::Ppp)?;
            Ok(Layer::Ethertype(u16::from_be_bytes([head[2], head[3]]), rest))
        }
        [] | [_] => Err(part.lacks(Header::Ppp, 2)),
        _ => Ok(ethernet::ppp(part)?.unwrap_or(Layer::Body(Body::Ethernet {
            kind: EtherKind::Type(ethertype::PPP),
            payload: part.bytes,
        }))),
    }
}

/// Netfilter log: a header of four bytes, then attributes in the capturing machine's byte order.
fn nflog<'a>(context: &mut Context, part: Part<'a>) -> Result<Layer<'a>, Undecodable> {
    const PAYLOAD: u16 = 9;
    const HARDWARE_ADDRESS: u16 = 8;
    let (head, mut rest) = part.split::<4>(Header::Nflog)?;
    if head[1] != 0 {
        return Err(Undecodable::Bad(Header::Nflog));
    }
    loop {
        let (attribute, value) = rest.split::<4>(Header::Nflog)?;
        let [a, b, c, d] = *attribute;
        let (little, big) = (u16::from_le_bytes([a, b]), u16::from_be_bytes([a, b]));
        // The types are small numbers, so the byte order shows.
        let (length, kind) =
            if d == 0 { (little, u16::from_le_bytes([c, d])) } else { (big, u16::from_be_bytes([c, d])) };
        let Some(value_length) = length.checked_sub(4) else { return Err(Undecodable::Bad(Header::Nflog)) };
        let value = value.limit(u32::from(value_length));
        match kind {
            PAYLOAD => return Ok(Layer::Ip(value)),
            HARDWARE_ADDRESS => {
                if let [0, 6, _, _, a, b, c, d, e, f, ..] = *value.bytes {
                    let source = MacAddr([a, b, c, d, e, f]);
                    context.ethernet = Some(EthernetAddresses { source, destination: MacAddr::default() });
                }
            }
            _ => {}
        }
        // Attributes are padded to four bytes.
        rest = rest.skip(usize::from(length).next_multiple_of(4));
    }
}
