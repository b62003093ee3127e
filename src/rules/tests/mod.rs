//! Rulesets and sites as a whole.

mod documents;
mod mistakes;

use std::path::Path;

use super::*;

/// The protocol words of the contract.
const WORDS: &[&str] = &[
    "ssh",
    "tls",
    "dtls",
    "quic",
    "amqp",
    "ntp",
    "syslog",
    "modbus",
    "s7comm",
    "s7comm-plus",
    "bacnet",
    "profinet-cm",
    "profinet-dcp",
    "profinet-rt",
    "enip",
    "ge-srtp",
    "melsec",
    "snmp",
    "ldap",
    "dns",
    "mdns",
    "llmnr",
    "http",
    "smtp",
    "dce-rpc",
    "smb",
    "dnp3",
    "iec104",
    "opc-ua",
    "mms",
    "goose",
    "sv",
    "ethercat",
    "hart-ip",
    "mqtt",
    "ftp",
    "telnet",
    "rdp",
    "kerberos",
    "netbios",
    "dhcp",
    "dhcpv6",
    "tftp",
    "ssdp",
    "fox",
    "fins",
    "ads",
    "synchrophasor",
    "lldp",
    "arp",
    "stp",
];

/// Usual ports of a few protocols, as the classifiers state them.
const USUAL: &[(&str, &[&str])] = &[
    ("snmp", &["udp/161", "udp/162"]),
    ("modbus", &["tcp/502"]),
    ("amqp", &["tcp/5672"]),
    ("ge-srtp", &["tcp/18245"]),
    ("ntp", &["udp/123"]),
];

fn built_in(id: &str) -> Ruleset {
    let (ruleset, warnings) =
        load_ruleset(id, Path::new(""), WORDS).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(warnings, []);
    ruleset
}
