//! What makes a flow one: the packed key, and which half of it a packet belongs to.

use std::hash::Hash;
use std::hash::Hasher;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use crate::decode::Body;
use crate::decode::Frame;
use crate::decode::Plain;
use crate::decode::Quote;
use crate::model::CellId;
use crate::model::Endpoint;
use crate::model::EtherKind;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Transport;

/// One of the two ends of a flow before it is known which of them is the client: the lower or the higher endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The endpoint that sorts first.
    Low,
    /// The other one.
    High,
}

impl Half {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// Something that each of the two ends has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair<T> {
    /// Of the endpoint that sorts first.
    pub low: T,
    /// Of the other.
    pub high: T,
}

impl<T> Pair<T> {
    /// That of one end.
    pub fn of(&self, half: Half) -> &T {
        match half {
            Half::Low => &self.low,
            Half::High => &self.high,
        }
    }

    /// That of one end.
    pub fn of_mut(&mut self, half: Half) -> &mut T {
        match half {
            Half::Low => &mut self.low,
            Half::High => &mut self.high,
        }
    }

    /// That of one end and that of the other.
    pub fn split_mut(&mut self, half: Half) -> (&mut T, &mut T) {
        match half {
            Half::Low => (&mut self.low, &mut self.high),
            Half::High => (&mut self.high, &mut self.low),
        }
    }
}

/// A flow's key, packed so that hashing and comparing it is five words.
#[derive(Clone, Copy, Debug, Eq)]
pub struct Key([u64; 5]);

impl PartialEq for Key {
    /// Five words at once: what is made of comparing arrays is a call for each packet.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let ([a, b, c, d, e], [f, g, h, i, j]) = (self.0, other.0);
        (a ^ f) | (b ^ g) | (c ^ h) | (d ^ i) | (e ^ j) == 0
    }
}

impl Hash for Key {
    /// Of two IPv4 addresses, two words say it all.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [low_high, low_low, high_high, high_low, rest] = self.0;
        if low_high | high_high == 0 && rest >> FAMILY & 0xf == IPV4 {
            state.write_u128(u128::from(low_low << 32 | high_low) << 64 | u128::from(rest));
        } else {
            state.write_u128(u128::from(low_high) << 64 | u128::from(low_low));
            state.write_u128(u128::from(high_high) << 64 | u128::from(high_low));
            state.write_u64(rest);
        }
    }
}

impl Key {
    /// The key of a usual packet's flow, and the end that sent it: as [`Place::of`] tells them, with less work.
    pub fn of_plain(cell: CellId, plain: &Plain<'_>) -> (Self, Half) {
        if plain.is_v4() {
            return Self::of_plain_v4(cell, plain);
        }
        let (transport, (from, to, _)) = (plain.transport(), plain.ports());
        let ((source, destination), has_ports) =
            (plain.hosts(), !matches!(transport, Transport::Ethernet(_)));
        let ((source_high, source_low, _), (high, low, _)) = (host_words(source), host_words(destination));
        let half = if (source_high, source_low, from) <= (high, low, to) { Half::Low } else { Half::High };
        let end = |host, port| Endpoint { host, port: has_ports.then_some(port) };
        let (source, destination) = (end(source, from), end(destination, to));
        let ends = match half {
            Half::Low => Pair { low: source, high: destination },
            Half::High => Pair { low: destination, high: source },
        };
        (pack(cell, transport, ends), half)
    }

    /// The same of one of IPv4.
    #[inline(always)]
    pub fn of_plain_v4(cell: CellId, plain: &Plain<'_>) -> (Self, Half) {
        let (source, destination) = plain.addresses_v4();
        let (from, to, tcp) = plain.ports();
        let kind = if tcp { TCP } else { UDP };
        let end = |ip: u32, port: u16| u64::from(ip) << 16 | u64::from(port);
        let (source, destination) = (end(source, from), end(destination, to));
        let half = if source <= destination { Half::Low } else { Half::High };
        let (low, high) = (source.min(destination), source.max(destination));
        let ports = (low & 0xffff) << 16 | high & 0xffff;
        let rest = u64::from(cell.0) << 48 | IPV4 << FAMILY | kind << 40 | ports;
        (Self([0, low >> 16, 0, high >> 16, rest]), half)
    }
}

/// Where the family of the addresses stands in the last word, and what it is for IPv4.
const FAMILY: u32 = 44;
const IPV4: u64 = 0;
/// The same for a MAC address.
const MAC: u64 = 2;
/// What stands for TCP, for UDP and for an ethertype in the last word.
const TCP: u64 = 0;
const UDP: u64 = 1;
const ETHERTYPE: u64 = 6;

/// Where a packet belongs: its flow, and the end that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The flow.
    pub key: Key,
    /// The end that sent the packet.
    pub from: Half,
    /// The address space.
    pub cell: CellId,
    /// What carries the flow.
    pub transport: Transport,
    /// The two ends.
    pub ends: Pair<Endpoint>,
}

impl Place {
    /// The flow of a decoded packet; `None` where the frame names no hosts, or is a fragment still to be put together.
    pub fn of(cell: CellId, frame: &Frame<'_>) -> Option<Self> {
        let (source, destination) = frame.hosts()?;
        let (transport, ports) = match frame.body {
            Body::Tcp(tcp) => (Transport::Tcp, Some((tcp.source, tcp.destination))),
            Body::Udp(udp) => (Transport::Udp, Some((udp.source, udp.destination))),
            Body::Sctp { source, destination, .. } => (Transport::Sctp, Some((source, destination))),
            Body::Icmp(icmp) if icmp.v6 => (Transport::Icmpv6, None),
            Body::Icmp(_) => (Transport::Icmp, None),
            Body::Ip { protocol, .. } => (Transport::Ip(protocol), None),
            Body::Arp(_) => (Transport::Ethernet(EtherKind::Type(ARP)), None),
            Body::Ethernet { kind, .. } => (Transport::Ethernet(kind), None),
            Body::Fragment(_) => return None,
        };
        // A layer-2 body inside IP (a tunnel that was left closed) has MAC addresses only where the frame has them.
        let (source, destination) = match (transport, frame.context.ethernet) {
            (Transport::Ethernet(_), Some(ethernet)) => {
                (Host::Mac(ethernet.source), Host::Mac(ethernet.destination))
            }
            _ => (source, destination),
        };
        let end = |host, port| Endpoint { host, port };
        Some(Self::between(
            cell,
            transport,
            end(source, ports.map(|(source, _)| source)),
            end(destination, ports.map(|(_, destination)| destination)),
        ))
    }

    /// The flow of a packet that an ICMP error quotes; `None` where the quote does not reach the ports.
    pub fn of_quote(cell: CellId, quote: &Quote) -> Option<Self> {
        let (transport, has_ports) = match quote.protocol {
            6 => (Transport::Tcp, true),
            17 => (Transport::Udp, true),
            132 => (Transport::Sctp, true),
            1 if quote.source.is_ipv4() => (Transport::Icmp, false),
            58 if quote.source.is_ipv6() => (Transport::Icmpv6, false),
            other => (Transport::Ip(other), false),
        };
        let ports = match (has_ports, quote.ports) {
            (true, None) => return None,
            (true, Some(ports)) => Some((ports.source, ports.destination)),
            (false, _) => None,
        };
        let end = |ip, port| Endpoint { host: Host::Ip(ip), port };
        Some(Self::between(
            cell,
            transport,
            end(quote.source, ports.map(|(source, _)| source)),
            end(quote.destination, ports.map(|(_, destination)| destination)),
        ))
    }

    /// The flow between two endpoints, seen from a packet of the first.
    pub fn between(cell: CellId, transport: Transport, source: Endpoint, destination: Endpoint) -> Self {
        let from = if is_lower(&source, &destination) { Half::Low } else { Half::High };
        let ends = match from {
            Half::Low => Pair { low: source, high: destination },
            Half::High => Pair { low: destination, high: source },
        };
        Self { key: pack(cell, transport, ends), from, cell, transport, ends }
    }

    /// The place that the key of a TCP or UDP flow, or of one of Ethernet frames with an ethertype, was made from.
    pub fn of_key(key: Key, from: Half) -> Self {
        let [low_high, low_low, high_high, high_low, rest] = key.0;
        let host = |high: u64, low: u64| match rest >> FAMILY & 0xf {
            IPV4 => Host::Ip(IpAddr::V4(Ipv4Addr::from_bits(low as u32))),
            MAC => {
                let [_, _, a, b, c, d, e, f] = low.to_be_bytes();
                Host::Mac(MacAddr([a, b, c, d, e, f]))
            }
            _ => Host::Ip(IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)))),
        };
        let (transport, has_ports) = match rest >> 40 & 0xf {
            TCP => (Transport::Tcp, true),
            UDP => (Transport::Udp, true),
            _ => (Transport::Ethernet(EtherKind::Type(low_high as u16)), false),
        };
        let port = |port: u64| has_ports.then_some(port as u16);
        let ends = Pair {
            low: Endpoint { host: host(low_high, low_low), port: port(rest >> 16) },
            high: Endpoint { host: host(high_high, high_low), port: port(rest) },
        };
        Self { key, from, cell: CellId((rest >> 48) as u16), transport, ends }
    }

    /// The endpoint that sent the packet.
    pub fn source(&self) -> Endpoint {
        *self.ends.of(self.from)
    }

    /// The endpoint that the packet is for.
    pub fn destination(&self) -> Endpoint {
        *self.ends.of(self.from.other())
    }
}

/// Whether an endpoint sorts before another or is the same; of IPv4, the most usual, in one comparison.
#[inline]
fn is_lower(one: &Endpoint, other: &Endpoint) -> bool {
    match (one, other) {
        (
            Endpoint { host: Host::Ip(IpAddr::V4(a)), port: Some(from) },
            Endpoint { host: Host::Ip(IpAddr::V4(b)), port: Some(to) },
        ) => {
            let number = |ip: &Ipv4Addr, port: &u16| u64::from(ip.to_bits()) << 16 | u64::from(*port);
            number(a, from) <= number(b, to)
        }
        _ => one <= other,
    }
}

/// The ethertype of ARP (RFC 826).
const ARP: u16 = 0x0806;

/// Two addresses in four words; the fifth has cell, ports and what carries the flow.
///
/// The families of the addresses and the kind of transport share one byte, so that no IPv4 address can be taken for the IPv6 or
/// MAC address with the same bits. Layer-2 addresses leave room in their words for the ethertype.
fn pack(cell: CellId, transport: Transport, ends: Pair<Endpoint>) -> Key {
    let (low_high, low_low, family) = host_words(ends.low.host);
    let (high_high, high_low, _) = host_words(ends.high.host);
    let (kind, detail): (u64, u64) = match transport {
        Transport::Tcp => (TCP, 0),
        Transport::Udp => (UDP, 0),
        Transport::Sctp => (2, 0),
        Transport::Icmp => (3, 0),
        Transport::Icmpv6 => (4, 0),
        // The number goes where ports would be: such a flow has none.
        Transport::Ip(number) => (5, u64::from(number)),
        Transport::Ethernet(EtherKind::Type(number)) => (ETHERTYPE, u64::from(number)),
        Transport::Ethernet(EtherKind::Llc(sap)) => (7, u64::from(sap)),
        Transport::Ethernet(EtherKind::Snap([a, b, c], number)) => {
            (8, u64::from(u32::from_be_bytes([0, a, b, c])) << 16 | u64::from(number))
        }
    };
    let ports = u64::from(ends.low.port.unwrap_or(0)) << 16 | u64::from(ends.high.port.unwrap_or(0));
    let (low_high, ports) = match transport {
        Transport::Ip(_) => (low_high, detail),
        Transport::Ethernet(_) => (low_high | detail, ports),
        _ => (low_high, ports),
    };
    Key([
        low_high,
        low_low,
        high_high,
        high_low,
        u64::from(cell.0) << 48 | family << FAMILY | kind << 40 | ports,
    ])
}

/// An address in two words, and its family. A MAC address leaves the first word empty.
fn host_words(host: Host) -> (u64, u64, u64) {
    match host {
        Host::Ip(IpAddr::V4(ip)) => (0, u64::from(ip.to_bits()), IPV4),
        Host::Ip(IpAddr::V6(ip)) => {
            let bits = ip.to_bits();
            ((bits >> 64) as u64, bits as u64, 1)
        }
        Host::Mac(mac) => {
            let [a, b, c, d, e, f] = mac.0;
            (0, u64::from_be_bytes([0, 0, a, b, c, d, e, f]), MAC)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(ip: &str, port: u16) -> Endpoint {
        Endpoint { host: Host::Ip(ip.parse().unwrap()), port: Some(port) }
    }

    fn key(transport: Transport, a: Endpoint, b: Endpoint) -> Key {
        Place::between(CellId(0), transport, a, b).key
    }

    #[test]
    fn both_directions_share_a_key() {
        let (a, b) = (end("10.0.0.1", 4000), end("10.0.0.2", 502));
        let there = Place::between(CellId(0), Transport::Tcp, a, b);
        let back = Place::between(CellId(0), Transport::Tcp, b, a);
        assert_eq!(there.key, back.key);
        assert_eq!(there.from, back.from.other());
        assert_eq!((there.source(), there.destination()), (a, b));
        assert_eq!((back.source(), back.destination()), (b, a));
    }

    #[test]
    fn the_key_of_a_flow_with_ports_tells_its_ends() {
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1:2", "fe80::ffff:1")] {
            for (a, b) in [(end(a, 4000), end(b, 502)), (end(b, 65_535), end(a, 1))] {
                for transport in [Transport::Tcp, Transport::Udp] {
                    let place = Place::between(CellId(513), transport, a, b);
                    assert_eq!(Place::of_key(place.key, place.from), place);
                }
            }
        }
    }

    #[test]
    fn the_key_of_frames_tells_their_ends() {
        let end = |last| Endpoint { host: Host::Mac(MacAddr([0xfe, 0, 10, 0, 0, last])), port: None };
        for (one, other) in [(1, 2), (2, 1), (7, 7)] {
            let transport = Transport::Ethernet(EtherKind::Type(0x88ba));
            let place = Place::between(CellId(513), transport, end(one), end(other));
            assert_eq!(Place::of_key(place.key, place.from), place);
        }
    }

    #[test]
    fn what_differs_has_another_key() {
        let (a, b) = (end("10.0.0.1", 4000), end("10.0.0.2", 502));
        let mapped = (end("::10.0.0.1", 4000), end("::10.0.0.2", 502));
        let mac = |last| Endpoint { host: Host::Mac(MacAddr([0, 0, 10, 0, 0, last])), port: None };
        let without = |ip: &str| Endpoint { port: None, ..end(ip, 0) };
        let keys = [
            key(Transport::Tcp, a, b),
            key(Transport::Udp, a, b),
            key(Transport::Tcp, a, end("10.0.0.2", 503)),
            key(Transport::Tcp, end("10.0.0.1", 502), end("10.0.0.2", 4000)),
            key(Transport::Tcp, mapped.0, mapped.1),
            Place::between(CellId(1), Transport::Tcp, a, b).key,
            key(Transport::Icmp, without("10.0.0.1"), without("10.0.0.2")),
            key(Transport::Ip(47), without("10.0.0.1"), without("10.0.0.2")),
            key(Transport::Ip(50), without("10.0.0.1"), without("10.0.0.2")),
            key(Transport::Ethernet(EtherKind::Type(0x88b8)), mac(1), mac(2)),
            key(Transport::Ethernet(EtherKind::Type(0x88ba)), mac(1), mac(2)),
            key(Transport::Ethernet(EtherKind::Snap([0, 0, 12], 0x88ba)), mac(1), mac(2)),
            key(Transport::Ethernet(EtherKind::Llc(0x42)), mac(1), mac(2)),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
    }
}
