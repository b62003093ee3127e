//! Wireshark display filters (<https://www.wireshark.org/docs/man-pages/wireshark-filter.html>) for what a report names.
//!
//! A report is a file that anyone may have written: addresses go into a filter only if they are addresses, names only as quoted strings.

use std::net::IpAddr;

use crate::report::ArchivedConversation;
use crate::report::ArchivedRequirement;

/// All packets of a conversation, the ICMP errors that quote it included.
pub fn conversation(told: &ArchivedConversation) -> Option<String> {
    let mut parts: Vec<String> =
        [&told.client, &told.server].into_iter().filter_map(|end| host(end)).collect();
    if parts.is_empty() {
        return None;
    }
    match (told.transport.as_str(), told.port) {
        (transport @ ("tcp" | "udp" | "sctp"), Some(port)) => {
            parts.push(format!("{transport}.port == {port}"))
        }
        (transport @ ("tcp" | "udp" | "sctp" | "icmp" | "icmpv6"), _) => parts.push(transport.to_owned()),
        ("ethernet", _) => parts.extend(told.ethertype.map(|kind| format!("eth.type == 0x{kind:04x}"))),
        _ => parts.extend(told.ip_proto.map(|number| format!("ip.proto == {number}"))),
    }
    parts.dedup();
    Some(parts.join(" && "))
}

/// All packets in which a requirement could have shown itself.
pub fn requirement(told: &ArchivedRequirement) -> Option<String> {
    let source = ends(&told.source)?;
    let mut parts = vec![source];
    let target = ends(&told.target);
    if target.is_none() && !is_role(&told.target) {
        parts.push(format!(
            "(dns.qry.name contains {0} || tls.handshake.extensions_server_name contains {0})",
            name(&told.target)
        ));
        return Some(parts.join(" && "));
    }
    parts.extend(target);
    parts.extend(ports(&told.transport, &told.ports));
    Some(parts.join(" && "))
}

/// Lookups of a name by a machine.
pub fn lookups(source: &str, target: &str) -> Option<String> {
    Some(format!("{} && dns.qry.name contains {}", ends(source)?, name(target)))
}

/// Who asks the segment for a machine's address, and its answers (ARP, neighbour discovery).
pub fn resolutions(target: &str) -> Option<String> {
    let asked = |text: &str| {
        let ip = text.split('@').next()?.parse::<IpAddr>().ok()?;
        Some(if ip.is_ipv4() {
            format!("arp.dst.proto_ipv4 == {ip} || arp.src.proto_ipv4 == {ip}")
        } else {
            format!("icmpv6.nd.ns.target_address == {ip} || icmpv6.nd.na.target_address == {ip}")
        })
    };
    let known: Vec<String> = target.split(" or ").filter_map(asked).collect();
    (!known.is_empty()).then(|| known.join(" || "))
}

/// Everything that a machine sent or received.
pub fn host(text: &str) -> Option<String> {
    // `10.0.0.5@cell-2` is an address in a cell.
    let address = text.split('@').next().unwrap_or(text);
    if let Ok(ip) = address.parse::<IpAddr>() {
        return Some(if ip.is_ipv4() { format!("ip.addr == {ip}") } else { format!("ipv6.addr == {ip}") });
    }
    let is_mac = address.len() == 17
        && address.split(':').all(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
    is_mac.then(|| format!("eth.addr == {address}"))
}

/// The machines of one party: `a or b` is either of them.
fn ends(text: &str) -> Option<String> {
    let known: Vec<String> = text.split(" or ").filter_map(host).collect();
    match known.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        _ => Some(format!("({})", known.join(" || "))),
    }
}

/// Whether a party is a role, for which no machine stands.
fn is_role(text: &str) -> bool {
    !text.contains('.')
}

/// A range of ports, as the report writes it: `5672` or `1025-65535`.
fn ports(transport: &str, ports: &str) -> Option<String> {
    let transport = match transport {
        "tcp" => "tcp",
        "udp" => "udp",
        _ => return None,
    };
    let (from, to) = ports.split_once('-').unwrap_or((ports, ports));
    let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
    Some(if from == to {
        format!("{transport}.port == {from}")
    } else {
        format!("{transport}.port in {{{from}..{to}}}")
    })
}

/// A name as a quoted string; of a wildcard its fixed part.
fn name(text: &str) -> String {
    let fixed = text.trim_start_matches("host:").trim_start_matches(['*', '.']);
    format!("\"{}\"", fixed.replace(['\\', '"'], "").replace(|c: char| c.is_control(), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(client: &str, server: &str, transport: &str, port: Option<u16>, expected: Option<&str>) {
        let told = ArchivedConversation {
            client: client.into(),
            server: server.into(),
            transport: transport.into(),
            port,
            ethertype: (transport == "ethernet").then_some(0x8892),
            ..ArchivedConversation::default()
        };
        assert_eq!(conversation(&told).as_deref(), expected);
    }

    #[test]
    fn conversations_get_their_filters() {
        let tcp = "ip.addr == 10.1.2.10 && ip.addr == 10.1.9.5 && tcp.port == 5672";
        check("10.1.2.10", "10.1.9.5", "tcp", Some(5672), Some(tcp));
        check(
            "fd00::1",
            "fd00::2",
            "icmpv6",
            None,
            Some("ipv6.addr == fd00::1 && ipv6.addr == fd00::2 && icmpv6"),
        );
        let layer2 = "eth.addr == 00:1b:1b:01:02:03 && eth.addr == 00:1b:1b:01:02:04 && eth.type == 0x8892";
        check("00:1b:1b:01:02:03", "00:1b:1b:01:02:04", "ethernet", None, Some(layer2));
        check("evil || 1", "x\" or 1", "tcp", Some(1), None);
    }

    #[test]
    fn resolutions_get_their_filters() {
        assert_eq!(
            resolutions("10.1.9.5@cell-2").as_deref(),
            Some("arp.dst.proto_ipv4 == 10.1.9.5 || arp.src.proto_ipv4 == 10.1.9.5")
        );
        assert_eq!(
            resolutions("fd00::1").as_deref(),
            Some("icmpv6.nd.ns.target_address == fd00::1 || icmpv6.nd.na.target_address == fd00::1")
        );
        assert_eq!(resolutions("evil || 1"), None);
    }

    #[test]
    fn requirements_get_their_filters() {
        let told = |source: &str, target: &str, ports: &str| {
            requirement(&ArchivedRequirement {
                source: source.into(),
                target: target.into(),
                transport: "tcp".into(),
                ports: ports.into(),
                ..ArchivedRequirement::default()
            })
        };
        assert_eq!(
            told("10.1.2.10 or 10.1.2.11", "10.1.9.5@cell-2", "1025-65535").as_deref(),
            Some(
                "(ip.addr == 10.1.2.10 || ip.addr == 10.1.2.11) && ip.addr == 10.1.9.5 && tcp.port in {1025..65535}"
            )
        );
        assert_eq!(
            told("10.1.2.10", "*.azure-devices.net", "443").as_deref(),
            Some(
                "ip.addr == 10.1.2.10 && (dns.qry.name contains \"azure-devices.net\" || tls.handshake.extensions_server_name contains \"azure-devices.net\")"
            )
        );
        assert_eq!(told("network-sensor", "site-manager", "443"), None);
    }
}
