//! Ethernet II and 802.3, the tags between header and payload, LLC and SNAP, PPPoE, ARP.

use std::net::{IpAddr, Ipv4Addr};

use crate::model::EtherKind;
use crate::model::MacAddr;

use super::Arp;
use super::Body;
use super::Context;
use super::EthernetAddresses;
use super::Header;
use super::Tunnel;
use super::TunnelKind;
use super::Undecodable;
use super::part::Part;
use super::walk::{Layer, Step};
use super::{ip, mpls};

/// Length of the frame check sequence (IEEE 802.3 clause 3.2.9), the same in 802.11 (clause 9.2.4.8).
pub(super) const CHECK_SEQUENCE: usize = 4;

/// The greatest value of the type field that is an 802.3 length (IEEE 802.3 clause 3.2.6).
pub(super) const LONGEST_802_3: u16 = 1500;

/// Ethertypes (IEEE and IANA registries) that lead to another layer.
pub(super) mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// Ethernet in GRE or Geneve (RFC 1701 transparent Ethernet bridging).
    pub const ETHERNET: u16 = 0x6558;
    /// 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// PPP.
    pub const PPP: u16 = 0x880b;
    /// MPLS.
    pub const MPLS: u16 = 0x8847;
    /// MPLS, upstream-assigned label.
    pub const MPLS_UPSTREAM: u16 = 0x8848;
    /// PPPoE session.
    pub const PPPOE_SESSION: u16 = 0x8864;
    /// 802.1ad.
    pub const PROVIDER_VLAN: u16 = 0x88a8;
    /// 802.1ah service instance tag.
    pub const BACKBONE: u16 = 0x88e7;
    /// Cisco metadata.
    pub const CISCO_METADATA: u16 = 0x8909;
    /// VN-tag.
    pub const VN_TAG: u16 = 0x8926;
    /// High-availability seamless redundancy (IEC 62439-3).
    pub const HSR: u16 = 0x892f;
    /// Q-in-Q before it had a standard.
    pub const OLD_QINQ: u16 = 0x9100;
    /// The same of other vendors.
    pub const OLDER_QINQ: u16 = 0x9200;
    /// 802.1CB redundancy tag.
    pub const REDUNDANCY: u16 = 0xf1c1;
}

/// Reads an Ethernet header.
pub(super) fn header<'a>(context: &mut Context, part: Part<'a>) -> Result<Step<'a>, Undecodable> {
    let (head, rest) = part.split::<14>(Header::Ethernet)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, high, low] = *head;
    context.ethernet = Some(EthernetAddresses {
        source: MacAddr([g, h, i, j, k, l]),
        destination: MacAddr([a, b, c, d, e, f]),
    });
    payload(context, u16::from_be_bytes([high, low]), rest)
}

/// Reads what an ethertype names.
pub(super) fn payload<'a>(
    context: &mut Context,
    number: u16,
    part: Part<'a>,
) -> Result<Step<'a>, Undecodable> {
    match number {
        ethertype::IPV4 => ip::v4(part),
        ethertype::IPV6 => ip::v6(part),
        ethertype::ARP => arp(part),
        ethertype::VLAN | ethertype::PROVIDER_VLAN | ethertype::OLD_QINQ | ethertype::OLDER_QINQ => {
            let (tag, rest) = part.split::<4>(Header::Tag)?;
            let [a, b, high, low] = *tag;
            // Tags beyond those that are kept are walked over.
            let _ = context.vlans.try_push(u16::from_be_bytes([a, b]) & 0x0fff);
            Ok(Step::Next(Layer::Ethertype(u16::from_be_bytes([high, low]), rest)))
        }
        // Four bytes of their own, then an ethertype.
        ethertype::VN_TAG | ethertype::HSR | ethertype::REDUNDANCY => {
            let (tag, rest) = part.split::<6>(Header::Tag)?;
            Ok(Step::Next(Layer::Ethertype(u16::from_be_bytes([tag[4], tag[5]]), rest)))
        }
        // Version 1 with one option of four bytes is the only form there is.
        ethertype::CISCO_METADATA if part.bytes.starts_with(&[1, 1]) => {
            let (tag, rest) = part.split::<8>(Header::Tag)?;
            Ok(Step::Next(Layer::Ethertype(u16::from_be_bytes([tag[6], tag[7]]), rest)))
        }
        ethertype::BACKBONE => {
            let (_, rest) = part.split::<4>(Header::Tag)?;
            Ok(Step::Next(Layer::Ethernet(rest)))
        }
        ethertype::ETHERNET => Ok(Step::Next(Layer::Ethernet(part))),
        ethertype::MPLS | ethertype::MPLS_UPSTREAM => mpls::stack(number, part),
        ethertype::PPPOE_SESSION => pppoe(part),
        0..=LONGEST_802_3 => llc(number, part),
        _ => Ok(Step::Done(None, other(number, part))),
    }
}

/// A payload that is not walked into.
fn other(number: u16, part: Part<'_>) -> Body<'_> {
    Body::Ethernet { kind: EtherKind::Type(number), payload: part.bytes }
}

/// An 802.3 frame: LLC (IEEE 802.2), and SNAP where the service access points are AA.
fn llc(length: u16, part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    // Shorter frames are padded. One that promises more than it holds is taken as it is.
    let part = if u32::from(length) < part.length { part.limit(u32::from(length)) } else { part };
    let (head, rest) = part.split::<3>(Header::Llc)?;
    match *head {
        [0xaa, 0xaa, 0x03] => {
            let (snap, rest) = rest.split::<5>(Header::Llc)?;
            let [a, b, c, high, low] = *snap;
            let number = u16::from_be_bytes([high, low]);
            match [a, b, c] {
                // RFC 1042, and the bridge-tunnel encapsulation of 802.1H.
                [0, 0, 0] | [0, 0, 0xf8] if number > LONGEST_802_3 => {
                    Ok(Step::Next(Layer::Ethertype(number, rest)))
                }
                oui => Ok(Step::Done(
                    None,
                    Body::Ethernet { kind: EtherKind::Snap(oui, number), payload: rest.bytes },
                )),
            }
        }
        [destination, _, control] => {
            // Unnumbered frames have a control field of one byte, all others of two.
            let rest = if control & 3 == 3 { rest } else { rest.skip(1) };
            Ok(Step::Done(None, Body::Ethernet { kind: EtherKind::Llc(destination), payload: rest.bytes }))
        }
    }
}

/// What stands behind a link header of another kind that ends in LLC (IEEE 802.11, say), of whatever length.
pub(super) fn logical_link(part: Part<'_>) -> Layer<'_> {
    match part.split::<8>(Header::Llc) {
        Ok(([0xaa, 0xaa, 0x03, 0, 0, 0 | 0xf8, high, low], rest))
            if u16::from_be_bytes([*high, *low]) > LONGEST_802_3 =>
        {
            Layer::Ethertype(u16::from_be_bytes([*high, *low]), rest)
        }
        // As if it were the length of an 802.3 frame that ends with the packet.
        _ => Layer::Ethertype(u16::try_from(part.length).unwrap_or(u16::MAX).min(LONGEST_802_3), part),
    }
}

/// A PPPoE session frame (RFC 2516 section 4).
fn pppoe(part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    let outer = other(ethertype::PPPOE_SESSION, part);
    let (head, rest) = part.split::<6>(Header::Ppp)?;
    let [version, code, a, b, high, low] = *head;
    let length = u32::from(u16::from_be_bytes([high, low]));
    if version != 0x11 || code != 0 || length > rest.length {
        return Ok(Step::Done(None, outer));
    }
    match ppp(rest.limit(length)) {
        Err(cut @ Undecodable::Truncated(_)) => Err(cut),
        Ok(Some(inner)) => Ok(Step::Tunnel {
            tunnel: Tunnel {
                kind: TunnelKind::Pppoe,
                id: u32::from(u16::from_be_bytes([a, b])),
                outer: None,
            },
            inner,
            named: true,
            network: None,
            body: outer,
        }),
        _ => Ok(Step::Done(None, outer)),
    }
}

/// The layer in a PPP frame (RFC 1661, numbers of the IANA registry); `None` for control and unknown protocols.
pub(super) fn ppp(part: Part<'_>) -> Result<Option<Layer<'_>>, Undecodable> {
    // Address and control may be compressed away (RFC 1661 section 6.6).
    let part = if part.bytes.starts_with(&[0xff, 0x03]) { part.skip(2) } else { part };
    // So may the first byte of the protocol (section 6.5): the second one alone is odd.
    let (number, rest) = match *part.bytes {
        [low, ..] if low & 1 == 1 => (u16::from(low), part.skip(1)),
        [high, low, ..] => (u16::from_be_bytes([high, low]), part.skip(2)),
        _ => return Err(part.lacks(Header::Ppp, 2)),
    };
    Ok(match number {
        0x0021 => Some(Layer::Ethertype(ethertype::IPV4, rest)),
        0x0057 => Some(Layer::Ethertype(ethertype::IPV6, rest)),
        0x0281 => Some(Layer::Ethertype(ethertype::MPLS, rest)),
        _ => None,
    })
}

/// ARP for IPv4 over Ethernet (RFC 826); other kinds are left as they are.
fn arp(part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    let (head, _) = part.split::<8>(Header::Arp)?;
    let [0, 1, 0x08, 0x00, 6, 4, high, low] = *head else {
        return Ok(Step::Done(None, other(ethertype::ARP, part)));
    };
    let whole = part.limit(28);
    let (packet, _) = part.split::<28>(Header::Arp)?;
    let mac = |bytes: [u8; 6]| MacAddr(bytes);
    let address = |bytes: [u8; 4]| IpAddr::V4(Ipv4Addr::from(bytes));
    let p = packet;
    Ok(Step::Done(
        None,
        Body::Arp(Arp {
            operation: u16::from_be_bytes([high, low]),
            sender_mac: mac([p[8], p[9], p[10], p[11], p[12], p[13]]),
            sender: address([p[14], p[15], p[16], p[17]]),
            target_mac: mac([p[18], p[19], p[20], p[21], p[22], p[23]]),
            target: address([p[24], p[25], p[26], p[27]]),
            bytes: whole.bytes,
        }),
    ))
}

/// How much bytes look like an Ethernet frame, where nothing but a guess says that they are one (RFC 4928).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// Not at all.
    None,
    /// A length that fits stands where 802.3 has it.
    Length,
    /// A known ethertype stands in its place, and IP or ARP behind it where it says so.
    Ethertype,
}

/// Looks at bytes as an Ethernet frame.
pub(super) fn likeness(part: Part<'_>) -> Likeness {
    let Ok((head, rest)) = part.split::<14>(Header::Ethernet) else { return Likeness::None };
    // A group address can't have sent it.
    if head[6] & 1 == 1 {
        return Likeness::None;
    }
    let is_known = match u16::from_be_bytes([head[12], head[13]]) {
        ethertype::IPV4 | ethertype::IPV6 => ip::is_plausible(rest),
        ethertype::ARP => rest.bytes.starts_with(&[0, 1, 0x08, 0x00, 6, 4]),
        number @ 3..=LONGEST_802_3 if u32::from(number) <= rest.length => return Likeness::Length,
        number => matches!(
            number,
            ethertype::VLAN
                | ethertype::PROVIDER_VLAN
                | ethertype::OLD_QINQ
                | ethertype::MPLS
                | ethertype::MPLS_UPSTREAM
                | ethertype::PPPOE_SESSION
                | ethertype::HSR
                | 0x8863 // PPPoE discovery
                | 0x8892 // PROFINET
                | 0x88a4 // EtherCAT
                | 0x88b8 // GOOSE
                | 0x88ba // sampled values
                | 0x88cc // LLDP
                | 0x88e5 // MACsec
                | 0x88f7 // PTP
        ),
    };
    if is_known { Likeness::Ethertype } else { Likeness::None }
}
