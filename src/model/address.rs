//! Who speaks: hosts, endpoints and the address space (cell) that they live in.

use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::net::IpAddr;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// By its IP address.
    Ip(IpAddr),
    /// By its MAC address.
    Mac(MacAddr),
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
            Self::Ip(ip) => ip.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
        }
    }
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
