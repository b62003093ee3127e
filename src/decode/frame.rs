//! What decoding a packet yields: the innermost frame as views over the captured bytes, and the layers around it.

use std::fmt;
use std::net::IpAddr;

use arrayvec::ArrayVec;

use crate::model::EtherKind;
use crate::model::Host;
use crate::model::MacAddr;

/// The most VLAN tags kept of one packet; deeper ones are walked over, not kept.
pub const MOST_VLANS: usize = 4;
/// The most encapsulations walked through in one packet before it counts as undecodable (`too-many-layers`).
pub const MOST_TUNNELS: usize = 6;

/// Source and destination of an Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetAddresses {
    /// Who sent the frame.
    pub source: MacAddr,
    /// To whom; all zero where the link type does not tell (Linux cooked captures, NFLOG).
    pub destination: MacAddr,
}

/// A kind of encapsulation that was unwrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TunnelKind {
    /// GRE carrying IP or Ethernet (RFC 2784, RFC 2890).
    Gre,
    /// ERSPAN type I (no header of its own), II or III.
    Erspan,
    /// VXLAN (RFC 7348).
    Vxlan,
    /// Geneve (RFC 8926).
    Geneve,
    /// TaZmen Sniffer Protocol.
    Tzsp,
    /// IP in IP (RFC 2003, RFC 4213, RFC 2473).
    IpInIp,
    /// Teredo (RFC 4380).
    Teredo,
    /// GTP-U (3GPP TS 29.281).
    Gtp,
    /// L2TP (RFC 2661, RFC 3931).
    L2tp,
    /// MPLS label stack (RFC 3032).
    Mpls,
    /// PPPoE session (RFC 2516).
    Pppoe,
}

impl TunnelKind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gre => "gre",
            Self::Erspan => "erspan",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Tzsp => "tzsp",
            Self::IpInIp => "ip-in-ip",
            Self::Teredo => "teredo",
            Self::Gtp => "gtp",
            Self::L2tp => "l2tp",
            Self::Mpls => "mpls",
            Self::Pppoe => "pppoe",
        }
    }
}

/// One encapsulation: its kind, its identifier (VNI, key, session, TEID, outermost label) and its outer addresses where it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tunnel {
    /// What wraps.
    pub kind: TunnelKind,
    /// VXLAN or Geneve VNI, GRE key, ERSPAN session, TEID, L2TP or PPPoE session, MPLS label; 0 where there is none.
    pub id: u32,
    /// Outer source and destination.
    pub outer: Option<(IpAddr, IpAddr)>,
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if self.id != 0 {
            write!(f, " {}", self.id)?;
        }
        match self.outer {
            Some((source, destination)) => write!(f, " {source} > {destination}"),
            None => Ok(()),
        }
    }
}

/// The layers around the innermost packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The innermost Ethernet header's addresses: those of the frame that the mirrored network itself carried.
    pub ethernet: Option<EthernetAddresses>,
    /// VLAN ids of all tags, outermost first.
    pub vlans: ArrayVec<u16, MOST_VLANS>,
    /// Encapsulations, outermost first.
    pub tunnels: ArrayVec<Tunnel, MOST_TUNNELS>,
}

/// The innermost IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4 identification; 0 for IPv6.
    pub identification: u16,
    /// Length of header and payload together, as the header says.
    pub length: u32,
}

/// TCP flags (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }
    /// Synchronise sequence numbers.
    pub fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }
    /// Reset the connection.
    pub fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }
    /// Push.
    pub fn psh(self) -> bool {
        self.0 & 0x08 != 0
    }
    /// The acknowledgement field is significant.
    pub fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window as sent, unscaled.
    pub window: u16,
    /// Checksum as sent.
    pub checksum: u16,
    /// Payload as captured.
    pub payload: &'a [u8],
    /// Payload length on the wire: more than `payload` holds where the snap length cut it. Ethernet padding is not payload.
    pub payload_length: u32,
    /// Of an acknowledgement without payload: the first block that it acknowledges selectively, from its first sequence number to behind its last.
    pub selective: Option<(u32, u32)>,
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Checksum as sent.
    pub checksum: u16,
    /// Payload as captured.
    pub payload: &'a [u8],
    /// Payload length on the wire.
    pub payload_length: u32,
}

/// The transport ports of a quoted or SCTP packet with the TCP sequence number where the quote holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedPorts {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// TCP sequence number.
    pub sequence: Option<u32>,
}

/// The packet that an ICMP error quotes (RFC 792, RFC 4443 section 3, RFC 4884): never a flow of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Source address of the quoted packet.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its IP protocol number.
    pub protocol: u8,
    /// Its ports, where it is TCP, UDP or SCTP and the quote reaches that far.
    pub ports: Option<QuotedPorts>,
}

/// An ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp<'a> {
    /// Whether it is ICMPv6.
    pub v6: bool,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Everything after the checksum.
    pub body: &'a [u8],
    /// The quoted packet of an error message.
    pub quote: Option<Quote>,
}

/// An ARP packet for IPv4 over Ethernet (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp<'a> {
    /// 1 is a request, 2 a reply.
    pub operation: u16,
    /// Sender hardware address.
    pub sender_mac: MacAddr,
    /// Sender protocol address.
    pub sender: IpAddr,
    /// Target hardware address.
    pub target_mac: MacAddr,
    /// Target protocol address.
    pub target: IpAddr,
    /// The whole ARP packet.
    pub bytes: &'a [u8],
}

/// One IP fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The fragmentable part's protocol (IPv6: next header of the fragment header).
    pub protocol: u8,
    /// Identification (32 bits for IPv6).
    pub identification: u32,
    /// Offset in bytes.
    pub offset: u32,
    /// Whether more fragments follow.
    pub more: bool,
    /// The fragment's own payload as captured.
    pub payload: &'a [u8],
    /// Its payload length on the wire.
    pub payload_length: u32,
}

/// What the innermost packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// TCP.
    Tcp(Tcp<'a>),
    /// UDP.
    Udp(Udp<'a>),
    /// SCTP, the payload beginning at its chunks.
    Sctp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Chunks.
        payload: &'a [u8],
    },
    /// ICMP or ICMPv6.
    Icmp(Icmp<'a>),
    /// Another IP protocol.
    Ip {
        /// Its number.
        protocol: u8,
        /// Its payload.
        payload: &'a [u8],
    },
    /// A fragment, still to be put together.
    Fragment(Fragment<'a>),
    /// ARP.
    Arp(Arp<'a>),
    /// Any other Ethernet payload.
    Ethernet {
        /// Ethertype or LLC.
        kind: EtherKind,
        /// After the ethertype, or after the LLC (and SNAP) header.
        payload: &'a [u8],
    },
}

/// A decoded packet: the innermost frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The layers around it.
    pub context: Context,
    /// The innermost IP header, where there is one.
    pub network: Option<Network>,
    /// What it carries.
    pub body: Body<'a>,
}

impl Frame<'_> {
    /// Source and destination host: the innermost IP addresses, else MAC addresses; `None` for a frame that has neither.
    pub fn hosts(&self) -> Option<(Host, Host)> {
        match (self.network, self.context.ethernet) {
            (Some(network), _) => Some((Host::Ip(network.source), Host::Ip(network.destination))),
            (None, Some(ethernet)) => Some((Host::Mac(ethernet.source), Host::Mac(ethernet.destination))),
            (None, None) => None,
        }
    }
}
