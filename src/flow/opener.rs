//! Which end opened a flow: the handshake first, then what the protocol says of its two ends, the port last.
//!
//! Learned servers stand between handshake and protocol; they are known only once all workers are done, so the
//! ordered merge applies them to the records (see `pipeline::merge`).

use std::cmp::Ordering;

use crate::model::RoleBasis;
use crate::model::Transport;

use super::key::Half;
use super::live::Flow;

/// From here on ports are given to clients by common systems (Linux `ip_local_port_range`; IANA's own range begins at 49152).
const EPHEMERAL: u16 = 32_768;
/// Below this a port belongs to a system service (RFC 6335 section 6).
const SYSTEM: u16 = 1024;
/// Ports of services met in plants, system ports and registered ones (RFC 6335, IANA Service Name and Transport Protocol Port Number Registry).
const REGISTERED: &[u16] = &[
    9, 21, 22, 23, 25, 37, 49, 53, 67, 69, 79, 80, 88, 102, 110, 111, 113, 119, 123, 135, 137, 138, 139, 143,
    161, 162, 177, 179, 319, 320, 389, 427, 443, 445, 464, 465, 500, 502, 512, 513, 514, 515, 520, 521, 546,
    547, 548, 554, 563, 587, 593, 623, 631, 636, 646, 664, 749, 750, 771, 789, 802, 830, 853, 860, 873, 902,
    953, 989, 990, 992, 993, 995, 1089, 1090, 1091, 1194, 1217, 1352, 1433, 1434, 1521, 1628, 1812, 1813,
    1883, 1911, 1962, 2049, 2123, 2152, 2221, 2222, 2375, 2404, 2455, 3128, 3260, 3268, 3269, 3306, 3389,
    3478, 3544, 3702, 4369, 4500, 4712, 4713, 4789, 4840, 4843, 4911, 5007, 5060, 5061, 5094, 5222, 5353,
    5355, 5432, 5450, 5671, 5672, 5900, 5938, 5985, 5986, 6081, 6343, 6379, 6514, 8000, 8008, 8080, 8081,
    8086, 8291, 8443, 8472, 8530, 8531, 8883, 9092, 9100, 9200, 9418, 9443, 9600, 10050, 10051, 11211, 18245,
    18246, 19999, 20000, 20547, 27017, 28784, 34962, 34963, 34964, 34980, 44818, 47808, 48898, 48899, 55000,
    55003,
];

/// The client of a flow, and how that is told; `proven` is the end that the payload says asks.
pub fn opener(flow: &Flow, proven: Option<Half>) -> (Half, RoleBasis) {
    if let Some(client) = by_handshake(flow) {
        return (client, RoleBasis::Handshake);
    }
    if let Some(group) = flow.group {
        // A group can't ask.
        return (group.other(), RoleBasis::FirstHeard);
    }
    if let Some(client) = proven.or_else(|| by_message(flow)) {
        return (client, RoleBasis::Protocol);
    }
    match by_port(flow) {
        Some(server) => (server.other(), RoleBasis::Port),
        None => (flow.first_from, RoleBasis::FirstHeard),
    }
}

/// The sender of the SYN, else the receiver of the SYN-ACK. Where both sent a SYN (simultaneous or split open), the earlier.
pub fn by_handshake(flow: &Flow) -> Option<Half> {
    if flow.transport == Transport::Sctp {
        return by_message(flow);
    }
    let tcp = |half: Half| flow.sides.of(half).tcp.as_deref();
    let (low, high) = (tcp(Half::Low), tcp(Half::High));
    let syn = |half| tcp(half).is_some_and(|side| side.sent_syn);
    let syn_ack = |half| tcp(half).is_some_and(|side| side.sent_syn_ack);
    match (syn(Half::Low), syn(Half::High)) {
        (true, false) => Some(Half::Low),
        (false, true) => Some(Half::High),
        (true, true) => {
            let first = |side: Option<&super::tcp::TcpSide>| side.and_then(|side| side.syn.first);
            Some(if first(low) <= first(high) { Half::Low } else { Half::High })
        }
        (false, false) => match (syn_ack(Half::Low), syn_ack(Half::High)) {
            (true, false) => Some(Half::High),
            (false, true) => Some(Half::Low),
            _ => None,
        },
    }
}

/// ICMP echo and the like, SCTP INIT: who asks is told by the message.
fn by_message(flow: &Flow) -> Option<Half> {
    let (low, high) = (&flow.sides.low, &flow.sides.high);
    match (low.asked, high.asked) {
        (true, false) => Some(Half::Low),
        (false, true) => Some(Half::High),
        (true, true) => None,
        (false, false) => match (low.answered, high.answered) {
            (true, false) => Some(Half::High),
            (false, true) => Some(Half::Low),
            _ => None,
        },
    }
}

/// The end whose port is more likely that of a service; of two alike the lower, where both are known ones or in streams.
///
/// Of datagrams that nobody recognises the one heard first is the question unless the ports speak clearly: a low port that is no known service's is
/// as well a client's that took a reserved one (`bindresvport`), and of two ports of the same kind the lower one shows nothing.
fn by_port(flow: &Flow) -> Option<Half> {
    let (low, high) = (flow.ends.low.port?, flow.ends.high.port?);
    if low == high {
        return None;
    }
    let lower = if low < high { Half::Low } else { Half::High };
    let (one, other) = (likelihood(low), likelihood(high));
    let shows = match one.max(other) {
        Likelihood::Known => true,
        Likelihood::System => false,
        Likelihood::Other | Likelihood::Ephemeral => one != other,
    };
    let likely = match one.cmp(&other) {
        Ordering::Less => Half::High,
        Ordering::Equal => lower,
        Ordering::Greater => Half::Low,
    };
    (shows || flow.transport != Transport::Udp).then_some(likely)
}

/// How likely a port is that of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Likelihood {
    /// Given to clients.
    Ephemeral,
    /// Any other.
    Other,
    /// One of those that only a system's own programs get.
    System,
    /// Known as a service's.
    Known,
}

fn likelihood(port: u16) -> Likelihood {
    if REGISTERED.binary_search(&port).is_ok() {
        Likelihood::Known
    } else if port < SYSTEM {
        Likelihood::System
    } else if port < EPHEMERAL {
        Likelihood::Other
    } else {
        Likelihood::Ephemeral
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_ports_can_be_searched() {
        assert!(REGISTERED.is_sorted());
        let known = |port| likelihood(port) == Likelihood::Known;
        assert!(known(502) && known(44818) && known(53) && !known(50_000) && !known(1) && !known(1023));
    }
}
