//! Community ID, version 1: the flow hash by which other tools (Zeek, Suricata, Wireshark) name the same flow.
//!
//! <https://github.com/corelight/community-id-spec>: `1:` and the base64 of SHA-1 over seed, addresses, protocol, a zero byte and the ports.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::Digest;
use sha1::Sha1;

use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::ICMP_CODE;
use crate::model::ICMP_TYPE;
use crate::model::Transport;

/// The specification's default seed.
const SEED: u16 = 0;

/// IP protocol numbers (IANA, Assigned Internet Protocol Numbers).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// The Community ID of a flow; `None` for layer-2 flows, which the specification leaves out, and ICMP flows of unknown type.
pub fn community_id(flow: &FlowRecord) -> Option<String> {
    let (Host::Ip(client), Host::Ip(server)) = (flow.client.host, flow.server.host) else { return None };
    let ports = flow.client.port.zip(flow.server.port);
    let told = |key| flow.classification.facts.get(key).and_then(|value| value.parse::<u8>().ok());
    match flow.transport {
        Transport::Tcp => Some(of(client, server, TCP, ports)),
        Transport::Udp => Some(of(client, server, UDP, ports)),
        Transport::Sctp => Some(of(client, server, SCTP, ports)),
        Transport::Icmp => Some(of_icmp(client, server, ICMP, told(ICMP_TYPE)?, told(ICMP_CODE)?)),
        Transport::Icmpv6 => Some(of_icmp(client, server, ICMPV6, told(ICMP_TYPE)?, told(ICMP_CODE)?)),
        Transport::Ip(number) => Some(of(client, server, number, None)),
        Transport::Ethernet(_) => None,
    }
}

/// The hash with its two ends put in order: the smaller address first, then the smaller port.
fn of(source: IpAddr, destination: IpAddr, protocol: u8, ports: Option<(u16, u16)>) -> String {
    let swap = match ports {
        Some((from, to)) => (source, from) > (destination, to),
        None => source > destination,
    };
    match swap {
        true => hashed(destination, source, protocol, ports.map(|(from, to)| (to, from))),
        false => hashed(source, destination, protocol, ports),
    }
}

/// ICMP: a type and its counterpart stand for ports; a type without one is one-way, and its code stands for the other port.
fn of_icmp(source: IpAddr, destination: IpAddr, protocol: u8, kind: u8, code: u8) -> String {
    match counterpart(protocol, kind) {
        Some(other) => of(source, destination, protocol, Some((u16::from(kind), u16::from(other)))),
        None => hashed(source, destination, protocol, Some((u16::from(kind), u16::from(code)))),
    }
}

/// The type that answers a type or asks for it, as the specification pairs them (RFC 792, 950, 1256; RFC 2710, 4443, 4620, 4861, 6275).
fn counterpart(protocol: u8, kind: u8) -> Option<u8> {
    const V4: &[(u8, u8)] = &[(0, 8), (9, 10), (13, 14), (15, 16), (17, 18)];
    const V6: &[(u8, u8)] = &[(128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145)];
    let pairs = if protocol == ICMP { V4 } else { V6 };
    pairs.iter().find_map(|&(one, other)| match kind {
        kind if kind == one => Some(other),
        kind if kind == other => Some(one),
        _ => None,
    })
}

fn hashed(first: IpAddr, second: IpAddr, protocol: u8, ports: Option<(u16, u16)>) -> String {
    let mut hash = Sha1::new();
    hash.update(SEED.to_be_bytes());
    for address in [first, second] {
        match address {
            IpAddr::V4(ip) => hash.update(ip.octets()),
            IpAddr::V6(ip) => hash.update(ip.octets()),
        }
    }
    hash.update([protocol, 0]);
    if let Some((from, to)) = ports {
        hash.update(from.to_be_bytes());
        hash.update(to.to_be_bytes());
    }
    format!("1:{}", STANDARD.encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(protocol: u8, source: &str, destination: &str, from: u16, to: u16, expected: &str) {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let got = match protocol {
            ICMP | ICMPV6 => of_icmp(source, destination, protocol, from as u8, to as u8),
            _ => of(source, destination, protocol, Some((from, to))),
        };
        assert_eq!(got, expected, "{source} {destination} {protocol} {from} {to}");
    }

    /// The vectors of the reference implementation (pycommunityid) for seed 0.
    #[test]
    fn published_vectors() {
        check(TCP, "128.232.110.120", "66.35.250.204", 34855, 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        check(TCP, "66.35.250.204", "128.232.110.120", 80, 34855, "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        check(TCP, "10.0.0.1", "10.0.0.2", 10, 11569, "1:SXBGMX1lBOwhhoDrZynfROxnhnM=");
        check(TCP, "192.168.1.42", "192.168.1.42", 42, 41, "1:eRcf7I/xocOxnYo5pbJBV5NhVm0=");
        check(UDP, "192.168.1.52", "8.8.8.8", 54585, 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
        check(UDP, "8.8.8.8", "192.168.1.52", 53, 54585, "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
        check(SCTP, "192.168.170.8", "192.168.170.56", 7, 7, "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=");
        check(SCTP, "192.168.170.56", "192.168.170.8", 80, 7, "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ=");
        check(ICMP, "192.168.0.89", "192.168.0.1", 8, 0, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
        check(ICMP, "192.168.0.1", "192.168.0.89", 0, 8, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
        check(ICMP, "192.168.0.89", "192.168.0.1", 20, 0, "1:3o2RFccXzUgjl7zDpqmY7yJi8rI=");
        check(ICMP, "192.168.0.89", "192.168.0.1", 20, 1, "1:tz/fHIDUHs19NkixVVoOZywde+I=");
        check(
            ICMPV6,
            "fe80::200:86ff:fe05:80da",
            "fe80::260:97ff:fe07:69ea",
            135,
            0,
            "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
        );
        check(
            ICMPV6,
            "3ffe:507:0:1:200:86ff:fe05:80da",
            "3ffe:507:0:1:260:97ff:fe07:69ea",
            3,
            0,
            "1:/OGBt9BN1ofenrmSPWYicpij2Vc=",
        );
        check(
            ICMPV6,
            "3ffe:501:0:1802:260:97ff:feb6:7ff0",
            "3ffe:507:0:1:200:86ff:fe05:80da",
            3,
            0,
            "1:bnQKq8A2r//dWnkRW2EYcMhShjc=",
        );
    }

    /// RSVP between 1.2.3.4 and 5.6.7.8 in the same collection: a protocol without ports.
    #[test]
    fn protocols_without_ports() {
        assert_eq!(
            of("1.2.3.4".parse().unwrap(), "5.6.7.8".parse().unwrap(), 46, None),
            "1:ikv3kmf89luf73WPz1jOs49S768="
        );
    }
}
