//! ICMP (RFC 792) and ICMPv6 (RFC 4443), and the packet that an error quotes.

use etherparse::{IpNumber, ip_number};

use super::Body;
use super::Header;
use super::Icmp;
use super::Network;
use super::Quote;
use super::QuotedPorts;
use super::Undecodable;
use super::ip;
use super::part::Part;
use super::walk::Step;

/// Reads an ICMP message.
pub(super) fn read(network: Network, v6: bool, part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    let header = if v6 { Header::Icmpv6 } else { Header::Icmp };
    let ([kind, code, _, _], rest) = part.split_cut::<4>(header, 2)?;
    let is_error = if v6 {
        // Unreachable, too big, time exceeded, parameter problem.
        matches!(kind, 1..=4)
    } else {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        matches!(kind, 3 | 4 | 5 | 11 | 12)
    };
    // Four bytes that depend on the type stand before the quoted packet.
    let quote = if is_error { rest.bytes.get(4..).and_then(quote) } else { None };
    Ok(Step::Done(Some(network), Body::Icmp(Icmp { v6, kind, code, body: rest.bytes, quote })))
}

/// Reads a quoted packet; only eight bytes behind its IP header are sure to be there (RFC 792).
fn quote(bytes: &[u8]) -> Option<Quote> {
    let quoted = ip::quoted(bytes)?;
    let ports = match (IpNumber(quoted.protocol), quoted.transport) {
        (ip_number::TCP, &[a, b, c, d, e, f, g, h, ..]) => Some(QuotedPorts {
            source: u16::from_be_bytes([a, b]),
            destination: u16::from_be_bytes([c, d]),
            sequence: Some(u32::from_be_bytes([e, f, g, h])),
        }),
        (ip_number::TCP | ip_number::UDP | ip_number::SCTP, &[a, b, c, d, ..]) => Some(QuotedPorts {
            source: u16::from_be_bytes([a, b]),
            destination: u16::from_be_bytes([c, d]),
            sequence: None,
        }),
        _ => None,
    };
    Some(Quote { source: quoted.source, destination: quoted.destination, protocol: quoted.protocol, ports })
}
