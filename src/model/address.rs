//! Who speaks: hosts, endpoints and the address space (cell) that they live in.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use arrayvec::ArrayString;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Whether it names a group rather than one station (IEEE 802.3, the I/G bit).
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
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
            Self::Mac(MacAddr([a, b, c, d, e, f])) => {
                state.write_u64(u64::from_be_bytes([1, 0, *a, *b, *c, *d, *e, *f]))
            }
        }
    }
}

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
            Self::Ip(IpAddr::V4(ip)) => f.pad(&dotted(*ip)),
            Self::Ip(ip) => ip.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
        }
    }
}

/// An IPv4 address as text, digit by digit: a large report has a hundred thousand.
fn dotted(ip: Ipv4Addr) -> ArrayString<15> {
    let mut text = ArrayString::new();
    for (at, octet) in ip.octets().into_iter().enumerate() {
        let (hundreds, tens) = (octet / 100, octet / 10);
        let digits = [(at > 0, b'.'), (hundreds > 0, b'0' + hundreds), (tens > 0, b'0' + tens % 10)];
        let shown = digits.into_iter().filter(|(shown, _)| *shown).map(|(_, digit)| digit);
        // Four times three digits and three dots are as much as there is room for.
        for digit in shown.chain([b'0' + octet % 10]) {
            let _ = text.try_push(char::from(digit));
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

    proptest::proptest! {
        /// IPv4 addresses look as the standard library writes them, with padding and without.
        #[test]
        fn addresses_are_written_as_ever(ip: Ipv4Addr, six: std::net::Ipv6Addr) {
            let host = Host::Ip(ip.into());
            proptest::prop_assert_eq!(host.to_string(), ip.to_string());
            proptest::prop_assert_eq!(format!("{host:>20}"), format!("{ip:>20}"));
            proptest::prop_assert_eq!(Host::Ip(six.into()).to_string(), six.to_string());
        }

        /// Hosts stand in the order of their addresses, IPv4 before IPv6 before MAC.
        #[test]
        fn hosts_have_the_order_of_addresses(a: IpAddr, b: IpAddr, mac: [u8; 6]) {
            proptest::prop_assert_eq!(Host::Ip(a).cmp(&Host::Ip(b)), a.cmp(&b));
            proptest::prop_assert!(Host::Ip(a) < Host::Mac(MacAddr(mac)));
        }
    }
}
