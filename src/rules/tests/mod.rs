//! Rulesets and sites as a whole.

mod arbitrary;
mod documents;
mod mistakes;
mod sites;

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

/// The site of the lab's healthy OPSWAT plant, as its tools print it.
const LAB_OPSWAT: &str = r#"[site]
name = "healthy-opswat-bidirectional"
rulesets = ["opswat-md-ot-security"]
features = ["bidirectional", "ldap", "ldaps", "nac", "ssh", "internet-urls"]
scope = ["10.20.1.101", "10.20.2.11", "10.20.3.12", "10.20.4.13", "10.20.5.32", "10.20.6.51"]

[roles]
admin = ["10.20.5.32", "10.20.5.33"]
asset = ["10.20.1.101", "10.20.1.102"]
dns-server = ["10.20.6.53"]
enterprise-manager = ["10.20.4.13"]
ldap-server = ["10.20.6.51"]
nac-server = ["10.20.6.57"]
network-sensor = ["10.20.2.11"]
site-manager = ["10.20.3.12"]
user = ["10.20.5.32", "10.20.5.33"]
"#;

/// The site of the lab's healthy Defender plant, over IPv6.
const LAB_DEFENDER: &str = r#"[site]
name = "healthy-defender"
rulesets = ["microsoft-defender-for-iot"]
features = ["azure", "ntp", "smtp", "dns", "crl", "wmi", "snmp", "ldap", "ldaps", "syslog", "tunneling"]
scope = ["fd20:20:0:2::21", "fd20:20:0:5::/64"]

[roles]
azure = ["host:contoso-plant1.azure-devices.net", "host:download.microsoft.com"]
client = ["fd20:20:0:5::32"]
endpoint = ["fd20:20:0:5::32"]
management-console = ["fd20:20:0:2::21"]
ot-sensor = ["fd20:20:0:2::21"]
"#;

/// Everything that a site can say.
const FULL: &str = r#"
[site]
name = "plant-7"
rulesets = ["opswat-md-ot-security", "microsoft-defender-for-iot"]
features = [
    "microsoft-defender-for-iot:ldap",
    { feature = "bidirectional", between = ["network-sensor", "site-manager"] },
    "unidirectional",
]
scope = ["10.20.0.0/16", "2001:db8::1"]
versions = { opswat-md-ot-security = "3.4.7" }

[roles]
network-sensor = ["10.20.1.10@cell-2", "10.20.2.0/24@cell-2", "10.9.9.9/32"]
site-manager = [{ any_of = ["10.20.9.5", "10.20.9.6", "host:SM.plant.example."] }]
enterprise-manager = "mac:00:1B:1b:00-00-01"
ot-sensor = "10.20.3.1"
engineering = "10.20.5.0/24"

[[cell]]
name = "cell-2"
vlan = [202, 203]
tunnel_id = 7
tunnel_source = "192.0.2.1"
interface = 1

[[allow]]
from = "engineering"
to = ["asset", "10.20.4.0/24"]
service = ["tcp/102", "tcp+udp/44818"]
protocol = ["s7comm", "enip"]
reason = "engineering stations program the S7-300s"

[[forbid]]
id = "no-internet"
from = "any"
to = "host:*.example.net"
reason = "plant rule 7"

[[waive]]
finding = "f-0123"
reason = "being replaced"
owner = "j.doe"
until = 2027-03-31

[[waive]]
match = { from = "10.20.5.7", service = "tcp/23" }
reason = "old drive"
owner = "j.doe"
until = "2027-03-31T12:00:00+02:00"

[[nat]]
inside = "10.20.1.10"
outside = "192.0.2.10"

[[window]]
from = 2026-11-20T18:00:00Z
until = 2026-11-20T22:00:00Z
reason = "firmware"

[[override]]
ruleset = "microsoft-defender-for-iot"
rule = "proxy"
service = "tcp/3128"
"#;

fn site_of(text: &str) -> Result<Site, RulesError> {
    parse_site("plant-7.toml", text, Path::new("/nowhere"), WORDS)
}
