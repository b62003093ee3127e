//! L2TP: version 3 with Ethernet in it (RFC 3931, RFC 4719), version 2 with PPP (RFC 2661).
//!
//! How long the cookie of version 3 is, and whether a sublayer follows it, both ends agreed on before: no packet tells. It is read only where
//! exactly one of the possible places holds a frame that proves itself; any other is left as it is, a datagram between two routers.

use super::Header;
use super::TunnelKind;
use super::ethernet::{self, ethertype};
use super::ip;
use super::part::Part;
use super::tunnel::Wrapped;
use super::tunnel::proves_ethernet;
use super::walk::Layer;

/// Cookie (none, four or eight bytes: RFC 3931 section 4.1), and a sublayer of four bytes or none (section 4.6).
const PLACES: [usize; 4] = [0, 4, 8, 12];

/// L2TP version 3 directly over IP (RFC 3931 section 4.1.1): a session, then the rest.
pub(super) fn over_ip(part: Part<'_>) -> Option<Wrapped<'_>> {
    let (session, rest) = part.split::<4>(Header::Ip).ok()?;
    in_session(u32::from_be_bytes(*session), rest)
}

/// Over UDP: version 3 (RFC 3931 section 4.1.2.1) or 2 (RFC 2661 section 3.1).
pub(super) fn over_udp(part: Part<'_>) -> Option<Wrapped<'_>> {
    let (flags, rest) = part.split::<2>(Header::Ip).ok()?;
    match *flags {
        [0, 3] => {
            let (head, rest) = rest.split::<6>(Header::Ip).ok()?;
            let [0, 0, a, b, c, d] = *head else { return None };
            in_session(u32::from_be_bytes([a, b, c, d]), rest)
        }
        [flags, 2] => version_2(flags, rest),
        _ => None,
    }
}

/// The Ethernet frame of a session, where one place alone holds one. Session 0 is the control connection.
fn in_session(session: u32, part: Part<'_>) -> Option<Wrapped<'_>> {
    let mut found = PLACES.iter().copied().filter(|&at| proves_itself(part.skip(at)));
    let at = found.next().filter(|_| session != 0)?;
    let frame = part.skip(at);
    // Four bytes later the packet behind a VLAN tag stands where one without a tag would.
    let tagged = frame.bytes.get(12..14) == Some(&ethertype::VLAN.to_be_bytes());
    let mut others = found.filter(|&other| !(tagged && other == at + 4));
    others.next().is_none().then_some(Wrapped {
        kind: TunnelKind::L2tp,
        id: session,
        inner: Layer::Ethernet(frame),
    })
}

/// Whether bytes are an Ethernet frame beyond doubt: an IP packet in it that checks, or ARP, or a group address beside its own ethertype.
fn proves_itself(frame: Part<'_>) -> bool {
    /// LLDP (IEEE 802.1AB), GOOSE and sampled values (IEC 61850-8-1 annex B), PROFINET DCP (IEC 61158-6-10).
    const GROUPS: [([u8; 4], u16); 4] = [
        ([0x01, 0x80, 0xc2, 0x00], 0x88cc),
        ([0x01, 0x0c, 0xcd, 0x01], 0x88b8),
        ([0x01, 0x0c, 0xcd, 0x04], 0x88ba),
        ([0x01, 0x0e, 0xcf, 0x00], 0x8892),
    ];
    /// Ethernet, IPv4 addresses of six and four bytes, a request or an answer (RFC 826).
    const ARP: [u8; 7] = [0, 1, 0x08, 0x00, 6, 4, 0];
    let Ok((head, rest)) = frame.split::<14>(Header::Ethernet) else { return false };
    let [a, b, c, d, _, _, source, .., high, low] = *head;
    // A group address can't have sent it.
    if source & 1 == 1 {
        return false;
    }
    match u16::from_be_bytes([high, low]) {
        ethertype::ARP => rest.bytes.starts_with(&ARP),
        ethertype::IPV4 | ethertype::IPV6 | ethertype::VLAN => proves_ethernet(frame),
        number => GROUPS.contains(&([a, b, c, d], number)),
    }
}

/// Version 2: optional fields as its flags say, then PPP. Read only where an IP packet that checks is in it.
fn version_2(flags: u8, part: Part<'_>) -> Option<Wrapped<'_>> {
    const CONTROL: u8 = 0x80;
    const LENGTH: u8 = 0x40;
    const SEQUENCE: u8 = 0x08;
    const OFFSET: u8 = 0x02;
    const PRIORITY: u8 = 0x01;
    if flags & CONTROL != 0 || flags & !(LENGTH | SEQUENCE | OFFSET | PRIORITY) != 0 {
        return None;
    }
    let mut rest = part;
    if flags & LENGTH != 0 {
        let (length, behind) = rest.split::<2>(Header::Ip).ok()?;
        // Of the whole message, with the four bytes read so far.
        rest = behind.limit(
            u32::from(u16::from_be_bytes(*length))
                .checked_sub(4)
                .filter(|&length| length <= behind.length)?,
        );
    }
    let (ids, mut rest) = rest.split::<4>(Header::Ip).ok()?;
    if flags & SEQUENCE != 0 {
        rest = rest.skip(4);
    }
    if flags & OFFSET != 0 {
        let (size, behind) = rest.split::<2>(Header::Ip).ok()?;
        rest = behind.skip(usize::from(u16::from_be_bytes(*size)));
    }
    let inner = ethernet::ppp(rest).ok()??;
    let Layer::Ethertype(_, packet) = inner else { return None };
    (ip::is_plausible(packet) && ip::is_checked(packet)).then_some(Wrapped {
        kind: TunnelKind::L2tp,
        id: u32::from_be_bytes(*ids),
        inner,
    })
}
