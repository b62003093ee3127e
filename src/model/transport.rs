//! What carries a flow: a transport protocol, or an ethertype for layer-2 flows.

use std::borrow::Cow;
use std::fmt;

/// How the payload of an Ethernet frame is told: an ethertype, or the LLC/SNAP header of an 802.3 frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EtherKind {
    /// Ethernet II, or SNAP with OUI 00-00-00.
    Type(u16),
    /// 802.3 with LLC: the destination service access point.
    Llc(u8),
    /// SNAP with another OUI: the OUI and its protocol id.
    Snap([u8; 3], u16),
}

impl EtherKind {
    /// The number that stands for it in `"ethertype"` of the JSON contract: the ethertype, the SNAP protocol id, or the SAP.
    pub fn number(self) -> u16 {
        match self {
            Self::Type(number) | Self::Snap(_, number) => number,
            Self::Llc(sap) => u16::from(sap),
        }
    }
}

/// The transport of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP for IPv4.
    Icmp,
    /// ICMP for IPv6.
    Icmpv6,
    /// Any other protocol over IP, by its number.
    Ip(u8),
    /// A layer-2 flow.
    Ethernet(EtherKind),
}

impl Transport {
    /// Its name in the JSON contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::Ip(_) => "ip",
            Self::Ethernet(_) => "ethernet",
        }
    }

    /// As it is shown: its name, and the number where that says more.
    pub fn text(self) -> Cow<'static, str> {
        match self {
            Self::Ip(_) | Self::Ethernet(_) => Cow::Owned(self.to_string()),
            other => Cow::Borrowed(other.name()),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(number) => write!(f, "ip/{number}"),
            Self::Ethernet(kind) => write!(f, "ethernet/0x{:04x}", kind.number()),
            other => f.write_str(other.name()),
        }
    }
}
