//! Encapsulations in GRE and in UDP. Each is told by its own header, strictly: a UDP port alone proves nothing.

use super::Header;
use super::TunnelKind;
use super::ethernet::{self, ethertype};
use super::ip;
use super::l2tp;
use super::part::Part;
use super::walk::Layer;

/// What an encapsulation header wraps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrapped<'a> {
    /// Which encapsulation.
    pub kind: TunnelKind,
    /// Its identifier, 0 where it has none.
    pub id: u32,
    /// What is inside.
    pub inner: Layer<'a>,
}

/// VXLAN (RFC 7348).
const VXLAN_PORT: u16 = 4789;
/// VXLAN as Linux numbered it first.
const OLD_VXLAN_PORT: u16 = 8472;
/// VXLAN with a next protocol (draft-ietf-nvo3-vxlan-gpe).
const VXLAN_GPE_PORT: u16 = 4790;
/// Geneve (RFC 8926).
const GENEVE_PORT: u16 = 6081;
/// TaZmen Sniffer Protocol.
const TZSP_PORT: u16 = 37008;
/// Teredo (RFC 4380).
const TEREDO_PORT: u16 = 3544;
/// GTP-U (3GPP TS 29.281).
const GTP_PORT: u16 = 2152;

/// L2TP (RFC 2661 section 8.1, RFC 3931 section 4.1.2).
const L2TP_PORT: u16 = 1701;

/// The most extension headers or tags walked over in one encapsulation header.
const MOST_EXTENSIONS: usize = 16;

/// Whether [`in_udp`] has to look: everything else is no tunnel.
#[inline]
pub(super) fn may_be_in_udp(source: u16, destination: u16, payload: &[u8]) -> bool {
    matches!(
        destination,
        VXLAN_PORT
            | OLD_VXLAN_PORT
            | VXLAN_GPE_PORT
            | GENEVE_PORT
            | TZSP_PORT
            | TEREDO_PORT
            | GTP_PORT
            | L2TP_PORT
    ) || matches!(source, TEREDO_PORT | GTP_PORT | L2TP_PORT)
        || payload.starts_with(&OWN_VXLAN)
}

/// How a VXLAN header begins whose port is the site's own.
const OWN_VXLAN: [u8; 4] = [0x08, 0, 0, 0];

/// What a UDP datagram wraps, if anything.
#[inline]
pub(super) fn in_udp(source: u16, destination: u16, payload: Part<'_>) -> Option<Wrapped<'_>> {
    match (source, destination) {
        (_, VXLAN_PORT | OLD_VXLAN_PORT) => vxlan(payload),
        (_, VXLAN_GPE_PORT) => vxlan_gpe(payload),
        (_, GENEVE_PORT) => geneve(payload),
        (_, TZSP_PORT) => tzsp(payload),
        (TEREDO_PORT, _) | (_, TEREDO_PORT) => teredo(payload),
        (GTP_PORT, _) | (_, GTP_PORT) => gtp(payload),
        (L2TP_PORT, _) | (_, L2TP_PORT) => l2tp::over_udp(payload),
        // VXLAN on a port of the site's own: the header alone is too weak a sign.
        _ if payload.bytes.starts_with(&OWN_VXLAN) => {
            vxlan(payload).filter(|_| proves_ethernet(payload.skip(8)))
        }
        _ => None,
    }
}

/// Whether an Ethernet frame is certain: an IP packet in it with a right checksum or length.
pub(super) fn proves_ethernet(part: Part<'_>) -> bool {
    let Ok((head, mut rest)) = part.split::<14>(Header::Ethernet) else { return false };
    let mut number = u16::from_be_bytes([head[12], head[13]]);
    if let (ethertype::VLAN, Ok((tag, behind))) = (number, rest.split::<4>(Header::Tag)) {
        number = u16::from_be_bytes([tag[2], tag[3]]);
        rest = behind;
    }
    let version = rest.bytes.first().map(|first| first >> 4);
    matches!((number, version), (ethertype::IPV4, Some(4)) | (ethertype::IPV6, Some(6)))
        && ip::is_plausible(rest)
        && ip::is_checked(rest)
}

/// VXLAN (RFC 7348 section 5), with the group policy bits and group of draft-smith-vxlan-group-policy.
fn vxlan(part: Part<'_>) -> Option<Wrapped<'_>> {
    let (head, inner) = part.split::<8>(Header::Ethernet).ok()?;
    let [flags, policy, group_high, group_low, a, b, c, reserved] = *head;
    let plain = flags == 0x08 && policy == 0 && group_high == 0 && group_low == 0;
    let with_group = flags == 0x88 && policy & !0x48 == 0;
    if !(plain || with_group) || reserved != 0 {
        return None;
    }
    let id = u32::from_be_bytes([0, a, b, c]);
    Some(Wrapped { kind: TunnelKind::Vxlan, id, inner: Layer::Ethernet(inner) })
}

/// VXLAN with a next-protocol field.
fn vxlan_gpe(part: Part<'_>) -> Option<Wrapped<'_>> {
    let (head, inner) = part.split::<8>(Header::Ethernet).ok()?;
    let [flags, 0, 0, next, a, b, c, 0] = *head else { return None };
    let inner = match (flags, next) {
        (0x0c, 1) => Layer::Ethertype(ethertype::IPV4, inner),
        (0x0c, 2) => Layer::Ethertype(ethertype::IPV6, inner),
        (0x0c, 3) | (0x08, 0) => Layer::Ethernet(inner),
        _ => return None,
    };
    Some(Wrapped { kind: TunnelKind::Vxlan, id: u32::from_be_bytes([0, a, b, c]), inner })
}

/// Geneve (RFC 8926 section 3.4). Control packets carry no frame.
fn geneve(part: Part<'_>) -> Option<Wrapped<'_>> {
    let (head, rest) = part.split::<8>(Header::Ethernet).ok()?;
    let [version, flags, high, low, a, b, c, reserved] = *head;
    // Of the flags only "critical options" may be set.
    if version >> 6 != 0 || flags & !0x40 != 0 || reserved != 0 {
        return None;
    }
    let inner = rest.skip(usize::from(version & 0x3f) * 4);
    let number = u16::from_be_bytes([high, low]);
    let inner = match number {
        ethertype::ETHERNET => Layer::Ethernet(inner),
        ethertype::IPV4 | ethertype::IPV6 => Layer::Ethertype(number, inner),
        _ => return None,
    };
    Some(Wrapped { kind: TunnelKind::Geneve, id: u32::from_be_bytes([0, a, b, c]), inner })
}

/// TZSP: version 1, a received or transmitted frame, Ethernet, then tags up to the end tag.
fn tzsp(part: Part<'_>) -> Option<Wrapped<'_>> {
    const PADDING: u8 = 0;
    const END: u8 = 1;
    let (head, mut rest) = part.split::<4>(Header::Ethernet).ok()?;
    let [1, 0 | 1, 0, 1] = *head else { return None };
    for _ in 0..MOST_EXTENSIONS {
        match *rest.bytes {
            [END, ..] => {
                return Some(Wrapped { kind: TunnelKind::Tzsp, id: 0, inner: Layer::Ethernet(rest.skip(1)) });
            }
            [PADDING, ..] => rest = rest.skip(1),
            [_, length, ..] => rest = rest.skip(2 + usize::from(length)),
            _ => return None,
        }
    }
    None
}

/// Teredo (RFC 4380 section 5.1.1): an authentication and an origin indication may stand before the IPv6 packet.
fn teredo(part: Part<'_>) -> Option<Wrapped<'_>> {
    let mut inner = part;
    if let [0, 1, client, authentication, ..] = *inner.bytes {
        // Lengths of both values, then a nonce of eight bytes and the confirmation.
        inner = inner.skip(4 + usize::from(client) + usize::from(authentication) + 9);
    }
    if inner.bytes.starts_with(&[0, 0]) {
        inner = inner.skip(8);
    }
    if inner.bytes.first()? >> 4 != 6 || !ip::is_plausible(inner) {
        return None;
    }
    Some(Wrapped { kind: TunnelKind::Teredo, id: 0, inner: Layer::Ethertype(ethertype::IPV6, inner) })
}

/// GTP-U (3GPP TS 29.281 section 5): version 1, message 255 (G-PDU), extension headers walked over.
fn gtp(part: Part<'_>) -> Option<Wrapped<'_>> {
    const G_PDU: u8 = 255;
    let (head, rest) = part.split::<8>(Header::Ip).ok()?;
    let [flags, G_PDU, high, low, a, b, c, d] = *head else { return None };
    let length = u32::from(u16::from_be_bytes([high, low]));
    // Version 1, protocol type GTP, the spare bit clear.
    if flags & 0xf8 != 0x30 || length > rest.length {
        return None;
    }
    let mut inner = rest.limit(length);
    // Any of the three flags brings all three fields.
    if flags & 0x07 != 0 {
        let (options, behind) = inner.split::<4>(Header::Ip).ok()?;
        inner = behind;
        let mut next = if flags & 0x04 != 0 { options[3] } else { 0 };
        for _ in 0..MOST_EXTENSIONS {
            if next == 0 {
                break;
            }
            // Lengths count units of four bytes; the last byte names the next header.
            let length = usize::from(*inner.bytes.first()?) * 4;
            next = *inner.bytes.get(length.checked_sub(1)?)?;
            inner = inner.skip(length);
        }
        if next != 0 {
            return None;
        }
    }
    // Gateways may cut what they wrap: a header with a right checksum will do then.
    if !ip::is_plausible(inner) && !ip::is_checked(inner) {
        return None;
    }
    let id = u32::from_be_bytes([a, b, c, d]);
    Some(Wrapped { kind: TunnelKind::Gtp, id, inner: Layer::Ip(inner) })
}

/// ERSPAN types I and II.
const ERSPAN: u16 = 0x88be;
/// ERSPAN type III.
const ERSPAN_III: u16 = 0x22eb;

/// GRE (RFC 2784, RFC 2890), ERSPAN in it, and the enhanced GRE of PPTP (RFC 2637).
pub(super) fn gre(part: Part<'_>) -> Option<Wrapped<'_>> {
    const CHECKSUM: u16 = 0x8000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    /// Routing, strict source route and recursion of RFC 1701, which receivers have to discard.
    const OBSOLETE: u16 = 0x4c00;
    const VERSION: u16 = 0x0007;

    let (head, mut rest) = part.split::<4>(Header::Ip).ok()?;
    let flags = u16::from_be_bytes([head[0], head[1]]);
    let number = u16::from_be_bytes([head[2], head[3]]);
    match flags & (VERSION | OBSOLETE) {
        0 => {}
        1 => return pptp(flags, number, rest),
        _ => return None,
    }
    if flags & CHECKSUM != 0 {
        (_, rest) = rest.split::<4>(Header::Ip).ok()?;
    }
    let mut id = 0;
    if flags & KEY != 0 {
        let (key, behind) = rest.split::<4>(Header::Ip).ok()?;
        (id, rest) = (u32::from_be_bytes(*key), behind);
    }
    if flags & SEQUENCE != 0 {
        (_, rest) = rest.split::<4>(Header::Ip).ok()?;
    }
    let inner = match number {
        ethertype::IPV4 | ethertype::IPV6 | ethertype::MPLS | ethertype::MPLS_UPSTREAM => {
            Layer::Ethertype(number, rest)
        }
        ethertype::ETHERNET => Layer::Ethernet(rest),
        ERSPAN if flags & SEQUENCE == 0 => {
            return Some(Wrapped { kind: TunnelKind::Erspan, id, inner: Layer::Ethernet(rest) });
        }
        ERSPAN => return erspan2(rest),
        ERSPAN_III => return erspan3(rest),
        _ => return None,
    };
    Some(Wrapped { kind: TunnelKind::Gre, id, inner })
}

/// ERSPAN type II (draft-foschiano-erspan section 4.2).
fn erspan2(part: Part<'_>) -> Option<Wrapped<'_>> {
    let (head, inner) = part.split::<8>(Header::Ethernet).ok()?;
    if head[0] >> 4 != 1 {
        return None;
    }
    let id = u32::from(u16::from_be_bytes([head[2], head[3]]) & 0x03ff);
    Some(Wrapped { kind: TunnelKind::Erspan, id, inner: Layer::Ethernet(inner) })
}

/// ERSPAN type III (section 4.3): Ethernet or IP frames, a platform-specific subheader where the O bit is set.
fn erspan3(part: Part<'_>) -> Option<Wrapped<'_>> {
    const ETHERNET_FRAME: u8 = 0;
    const IP_PACKET: u8 = 2;
    let (head, inner) = part.split::<12>(Header::Ethernet).ok()?;
    if head[0] >> 4 != 2 {
        return None;
    }
    let id = u32::from(u16::from_be_bytes([head[2], head[3]]) & 0x03ff);
    let inner = if head[11] & 1 == 1 { inner.skip(8) } else { inner };
    let inner = match head[10] >> 2 & 0x1f {
        ETHERNET_FRAME => Layer::Ethernet(inner),
        IP_PACKET => Layer::Ip(inner),
        _ => return None,
    };
    Some(Wrapped { kind: TunnelKind::Erspan, id, inner })
}

/// The enhanced GRE of PPTP (RFC 2637 section 4.1): the key holds payload length and call id, the payload is PPP.
fn pptp(flags: u16, number: u16, part: Part<'_>) -> Option<Wrapped<'_>> {
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGEMENT: u16 = 0x0080;
    if number != ethertype::PPP || flags & !(SEQUENCE | ACKNOWLEDGEMENT) != KEY | 1 {
        return None;
    }
    let (key, mut rest) = part.split::<4>(Header::Ip).ok()?;
    for field in [SEQUENCE, ACKNOWLEDGEMENT] {
        if flags & field != 0 {
            rest = rest.skip(4);
        }
    }
    let length = u32::from(u16::from_be_bytes([key[0], key[1]]));
    if length > rest.length {
        return None;
    }
    let inner = ethernet::ppp(rest.limit(length)).ok()??;
    Some(Wrapped { kind: TunnelKind::Gre, id: u32::from(u16::from_be_bytes([key[2], key[3]])), inner })
}
