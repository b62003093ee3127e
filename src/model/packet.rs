//! One captured frame, borrowed from where it arrived, and the reference that evidence keeps of it.

use super::Timestamp;

/// Which input a packet came from: an index into the report's list of inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputId(pub u32);

/// Names one packet for good: what Wireshark shows as file, packet number and time.
///
/// The order is that of the ordered merge: time, then input, then number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketRef {
    /// Capture time.
    pub time: Timestamp,
    /// The input it stands in.
    pub input: InputId,
    /// Its number there, counted from 1 as capture tools do.
    pub number: u64,
}

/// A link type number as in the capture file formats (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback, address family in host byte order.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP in HDLC-like framing.
    pub const PPP_HDLC: Self = Self(50);
    /// PPP over Ethernet session.
    pub const PPP_ETHER: Self = Self(51);
    /// Raw IP as some BSDs number it.
    pub const RAW_BSD: Self = Self(12);
    /// Raw IP as OpenBSD numbers it.
    pub const RAW_OPENBSD: Self = Self(14);
    /// Raw IP, version from the first nibble.
    pub const RAW: Self = Self(101);
    /// Cisco HDLC.
    pub const C_HDLC: Self = Self(104);
    /// OpenBSD loopback, address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux netfilter log messages.
    pub const NFLOG: Self = Self(239);
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// One captured frame. The bytes stay in the block, mapping or ring that holds them.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Where and when.
    pub at: PacketRef,
    /// How its bytes begin.
    pub link: LinkType,
    /// The interface within its input (pcapng; 0 elsewhere).
    pub interface: u32,
    /// Length on the wire; more than `bytes` holds where a snap length cut it.
    pub original: u32,
    /// What was captured.
    pub bytes: &'a [u8],
}
