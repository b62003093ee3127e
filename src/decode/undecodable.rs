//! Why a packet could not be read: one stable word for each reason, counted in the totals.

use std::fmt;

macro_rules! headers {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// The header at which reading stopped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Header { $($(#[$doc])* $name,)* }

        impl Undecodable {
            /// The word that stands for it in `"undecodable"` of the totals; stable over versions.
            pub fn reason(self) -> &'static str {
                match self {
                    Self::UnknownLinkType => "unknown-link-type",
                    Self::TooManyLayers => "too-many-layers",
                    Self::Encrypted => "encrypted-802.11",
                    Self::NoData => "no-data-802.11",
                    Self::InPieces => "in-pieces-802.11",
                    $(Self::Truncated(Header::$name) => concat!("truncated-", $word),)*
                    $(Self::Short(Header::$name) => concat!("short-", $word),)*
                    $(Self::Bad(Header::$name) => concat!("bad-", $word),)*
                }
            }

            /// Every reason that there is.
            pub const ALL: &[Self] = &[
                Self::UnknownLinkType,
                Self::TooManyLayers,
                Self::Encrypted,
                Self::NoData,
                Self::InPieces,
                $(Self::Truncated(Header::$name), Self::Short(Header::$name), Self::Bad(Header::$name),)*
            ];
        }
    };
}

/// A packet whose headers can't be read as far as they would have to be to tell its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Undecodable {
    /// No reader for this link type.
    UnknownLinkType,
    /// More encapsulations or tags than are walked through.
    TooManyLayers,
    /// A data frame of 802.11 that only its two ends can read.
    Encrypted,
    /// A frame of 802.11 by which a radio manages itself: beacons, acknowledgements, power saving.
    NoData,
    /// A fragment of an 802.11 frame, or several frames in one.
    InPieces,
    /// The capture cut the packet inside this header (snap length, or a mirror that shortens its copies).
    Truncated(Header),
    /// The packet itself ends inside this header.
    Short(Header),
    /// The fields of this header contradict its specification or each other.
    Bad(Header),
}

headers! {
    /// Ethernet II and 802.3.
    Ethernet = "ethernet";
    /// A VLAN or other tag between ethertype and payload.
    Tag = "tag";
    /// 802.2 LLC and SNAP.
    Llc = "llc";
    /// Linux cooked capture.
    LinuxCooked = "linux-cooked";
    /// BSD loopback.
    Loopback = "loopback";
    /// PPP, PPPoE or Cisco HDLC framing.
    Ppp = "ppp";
    /// Netfilter log.
    Nflog = "nflog";
    /// Endace's record header.
    Erf = "erf";
    /// Radiotap.
    Radiotap = "radiotap";
    /// 802.11.
    Wireless = "802.11";
    /// Hilscher netANALYZER.
    NetAnalyzer = "netanalyzer";
    /// MPLS label stack.
    Mpls = "mpls";
    /// ARP.
    Arp = "arp";
    /// IP whose version can't be told or is neither 4 nor 6.
    Ip = "ip";
    /// IPv4.
    Ipv4 = "ipv4";
    /// IPv6.
    Ipv6 = "ipv6";
    /// An IPv6 extension header or the authentication header.
    Extension = "ipv6-extension";
    /// TCP.
    Tcp = "tcp";
    /// UDP.
    Udp = "udp";
    /// SCTP.
    Sctp = "sctp";
    /// ICMP.
    Icmp = "icmp";
    /// ICMPv6.
    Icmpv6 = "icmpv6";
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Undecodable {}
