//! Network housekeeping: what machines of a segment say to each other whatever their product.

use crate::model::Conversation;
use crate::model::EtherKind;
use crate::model::Transport;

/// Protocols of network housekeeping that no vendor's document speaks of.
const HOUSEKEEPING: [&str; 9] = ["arp", "lldp", "stp", "cdp", "dhcp", "dhcpv6", "mdns", "llmnr", "loop"];

/// IP protocols of the same kind: IGMP, PIM, VRRP (IANA protocol numbers).
const HOUSEKEEPING_IP: [u8; 3] = [2, 103, 112];

/// Network housekeeping, and why it is that.
pub(super) fn of(conversation: &Conversation) -> Option<String> {
    let key = conversation.key;
    match key.transport {
        Transport::Icmp | Transport::Icmpv6 => {
            Some("ICMP: errors are counted with the flow they quote".to_owned())
        }
        Transport::Ip(number) if HOUSEKEEPING_IP.contains(&number) => {
            Some(format!("IP protocol {number}, between routers and hosts of a segment"))
        }
        Transport::Ethernet(EtherKind::Type(0x0806 | 0x8035 | 0x88cc)) => {
            Some("address resolution or link discovery".to_owned())
        }
        _ if is_discovery(conversation) => {
            Some("looks for services on its own segment, outside any vendor's document".to_owned())
        }
        _ => {
            let mut spoken = conversation.protocols.keys();
            let all =
                !conversation.protocols.is_empty() && spoken.all(|protocol| HOUSEKEEPING.contains(protocol));
            all.then(|| "network housekeeping, outside any vendor's document".to_owned())
        }
    }
}

/// Whether all of it goes to a group or to everybody on the segment, in a protocol by which machines look for each other.
fn is_discovery(conversation: &Conversation) -> bool {
    /// Among them NetBIOS names and datagrams (RFC 1001 section 15).
    const PROTOCOLS: [&str; 3] = ["ssdp", "ws-discovery", "netbios"];
    /// The same by port where nothing was recognised (IANA service names).
    const PORTS: [u16; 6] = [137, 138, 1900, 3702, 5353, 5355];
    let named = !conversation.protocols.is_empty()
        && conversation.protocols.keys().all(|protocol| PROTOCOLS.contains(protocol));
    let by_port =
        conversation.protocols.is_empty() && conversation.key.port.is_some_and(|port| PORTS.contains(&port));
    let to_many = conversation.key.server.is_group()
        || (conversation.attempts().len() > 0
            && conversation.attempts().all(|flow| {
                flow.from_server.packets == 0 && flow.from_client.neighbour.is_some_and(|mac| mac.is_group())
            }));
    conversation.key.transport == Transport::Udp && to_many && (named || by_port)
}
