//! Who speaks: hosts, endpoints and the address space (cell) that they live in.

use std::cmp::Ordering;
use std::fmt;
use std::fmt::Write as _;
use std::hash::Hash;
use std::hash::Hasher;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use arrayvec::ArrayString;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl Ord for MacAddr {
    /// As a number, in one step.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.bits().cmp(&other.bits())
    }
}

impl PartialOrd for MacAddr {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl MacAddr {
    /// As a number, which has the order of the address.
    #[inline]
    pub fn bits(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// Whether it names a group rather than one station (IEEE 802.3, the I/G bit).
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// As it is shown, without an allocation.
    pub fn text(self) -> ArrayString<17> {
        let half = |half: u8| if half < 10 { b'0' + half } else { b'a' - 10 + half };
        let mut text = [b':'; 17];
        for (octet, [high, low, ..]) in
            self.0.into_iter().zip(text.chunks_mut(3).filter_map(<[u8]>::first_chunk_mut::<2>))
        {
            (*high, *low) = (half(octet >> 4), half(octet & 15));
        }
        ArrayString::from_byte_string(&text).unwrap_or_default()
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// One machine as the wire names it: by IP address, or by MAC address for layer-2 flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// By its IP address.
    Ip(IpAddr),
    /// By its MAC address.
    Mac(MacAddr),
}

impl Ord for Host {
    /// Addresses in their order, IPv4 first, then MAC addresses; as numbers, since trees of hosts are searched for every flow.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Ip(IpAddr::V4(a)), Self::Ip(IpAddr::V4(b))) => a.to_bits().cmp(&b.to_bits()),
            (Self::Ip(IpAddr::V6(a)), Self::Ip(IpAddr::V6(b))) => a.to_bits().cmp(&b.to_bits()),
            (Self::Ip(a), Self::Ip(b)) => a.cmp(b),
            (Self::Mac(a), Self::Mac(b)) => a.cmp(b),
            (Self::Ip(_), Self::Mac(_)) => Ordering::Less,
            (Self::Mac(_), Self::Ip(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Host {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Host {
    /// In one step: hosts are hashed for every flow.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Ip(IpAddr::V4(ip)) => state.write_u64(u64::from(ip.to_bits())),
            Self::Ip(IpAddr::V6(ip)) => state.write_u128(ip.to_bits()),
            Self::Mac(mac) => state.write_u64(1 << 56 | mac.bits()),
        }
    }
}

/// A host as it is shown.
pub type HostText = ArrayString<48>;

impl Host {
    /// Whether it stands for many machines: multicast, the limited broadcast, or a group MAC.
    pub fn is_group(self) -> bool {
        match self {
            Self::Ip(IpAddr::V4(ip)) => ip.is_multicast() || ip.is_broadcast(),
            Self::Ip(IpAddr::V6(ip)) => ip.is_multicast(),
            Self::Mac(mac) => mac.is_group(),
        }
    }

    /// Whether nothing is known of it: Linux cooked captures do not record to whom a frame went, which reads as all zeros.
    pub fn is_unknown(self) -> bool {
        self == Self::Mac(MacAddr([0; 6]))
    }

    /// As it is shown, without an allocation.
    pub fn text(self) -> HostText {
        match self {
            Self::Ip(IpAddr::V4(ip)) => HostText::from(Dotted::of(ip).text()).unwrap_or_default(),
            Self::Ip(IpAddr::V6(ip)) => six(ip),
            Self::Mac(mac) => HostText::from(&mac.text()).unwrap_or_default(),
        }
    }

    /// Its IP address, where it is named by one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(ip),
            Self::Mac(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => f.pad(Dotted::of(*ip).text()),
            Self::Ip(ip) => ip.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
        }
    }
}

const fn digit(number: usize) -> u32 {
    b'0' as u32 + number as u32
}

const fn dot(place: u32) -> u32 {
    (b'.' as u32) << (8 * place)
}

/// Each octet's digits and a dot, the first in the lowest byte.
#[expect(clippy::indexing_slicing, reason = "worked out by the compiler, which would not go on")]
const OCTETS: [u32; 256] = {
    let mut all = [0; 256];
    let mut octet = 0;
    while octet < all.len() {
        all[octet] = match octet {
            0..10 => digit(octet) | dot(1),
            10..100 => digit(octet / 10) | digit(octet % 10) << 8 | dot(2),
            _ => digit(octet / 100) | digit(octet / 10 % 10) << 8 | digit(octet % 10) << 16 | dot(3),
        };
        octet += 1;
    }
    all
};

/// An IPv4 address as text, an octet at a time: a large report has a hundred thousand. Behind it stand a dot and zeros.
struct Dotted {
    text: [u8; 16],
    length: usize,
}

impl Dotted {
    fn of(ip: Ipv4Addr) -> Self {
        // Four times three digits and a dot fill the number.
        let (mut text, mut length) = (0_u128, 0);
        for octet in ip.octets() {
            let digits = OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
            text |= u128::from(digits) << (8 * length);
            length += 4 - digits.leading_zeros() / 8;
        }
        Self { text: text.to_le_bytes(), length: length as usize - 1 }
    }

    fn text(&self) -> &str {
        // All of it is looked at in two words, a part of it would be byte by byte.
        let told = str::from_utf8(&self.text).ok();
        told.and_then(|told| told.get(..self.length)).unwrap_or_default()
    }
}

/// An IPv6 address as text (RFC 5952), as the standard library writes it.
fn six(ip: Ipv6Addr) -> HostText {
    let mut text = HostText::new();
    if ip.to_ipv4_mapped().is_some() {
        // The longest address has 45 characters.
        let _ = write!(text, "{ip}");
        return text;
    }
    let segments = ip.segments();
    let (mut longest, mut zeros) = (0..0, 0..0);
    for (at, segment) in segments.iter().enumerate() {
        zeros = if *segment > 0 { at + 1..at + 1 } else { zeros.start..at + 1 };
        if zeros.len() > longest.len().max(1) {
            longest = zeros.clone();
        }
    }
    for (at, segment) in segments.into_iter().enumerate() {
        if longest.contains(&at) {
            let _ = text.try_push_str(if at == longest.start { "::" } else { "" });
            continue;
        }
        if at > 0 && at != longest.end {
            let _ = text.try_push(':');
        }
        for place in (0..=segment.checked_ilog2().unwrap_or(0) / 4).rev() {
            if let Some(digit) = char::from_digit(u32::from(segment >> (4 * place) & 15), 16) {
                let _ = text.try_push(digit);
            }
        }
    }
    text
}

/// One end of a flow; `port` is `None` where the transport has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The machine.
    pub host: Host,
    /// The port there.
    pub port: Option<u16>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host, self.port) {
            (Host::Ip(IpAddr::V6(ip)), Some(port)) => write!(f, "[{ip}]:{port}"),
            (host, Some(port)) => write!(f, "{host}:{port}"),
            (host, None) => host.fmt(f),
        }
    }
}

/// An address space: 0 is the plant itself, others are the site's `[[cell]]` entries in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_written_with_colons() {
        assert_eq!(MacAddr([0, 0x1b, 0x9a, 0xa9, 0xff, 0x10]).to_string(), "00:1b:9a:a9:ff:10");
    }

    proptest::proptest! {
        /// IPv4 addresses look as the standard library writes them, with padding and without.
        #[test]
        fn addresses_are_written_as_ever(ip: Ipv4Addr, six: std::net::Ipv6Addr) {
            let host = Host::Ip(ip.into());
            proptest::prop_assert_eq!(host.to_string(), ip.to_string());
            proptest::prop_assert_eq!(format!("{host:>20}"), format!("{ip:>20}"));
            proptest::prop_assert_eq!(Host::Ip(six.into()).to_string(), six.to_string());
            for host in [host, Host::Ip(six.into()), Host::Mac(MacAddr([0xff; 6]))] {
                proptest::prop_assert_eq!(host.text().to_string(), host.to_string());
            }
        }

        /// So are those with zeros in them.
        #[test]
        fn zeros_are_left_out_as_ever(zeros: u8, segments: [u16; 8]) {
            let segments = std::array::from_fn(|at| if zeros >> at & 1 == 0 { 0 } else { segments[at] >> (at * 2) });
            let ip = Ipv6Addr::from(segments);
            proptest::prop_assert_eq!(Host::Ip(ip.into()).text().to_string(), ip.to_string());
        }

        /// Hosts stand in the order of their addresses, IPv4 before IPv6 before MAC.
        #[test]
        fn hosts_have_the_order_of_addresses(a: IpAddr, b: IpAddr, mac: [u8; 6], other: [u8; 6]) {
            proptest::prop_assert_eq!(Host::Ip(a).cmp(&Host::Ip(b)), a.cmp(&b));
            proptest::prop_assert!(Host::Ip(a) < Host::Mac(MacAddr(mac)));
            proptest::prop_assert_eq!(MacAddr(mac).cmp(&MacAddr(other)), mac.cmp(&other));
        }
    }
}
