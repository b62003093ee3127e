//! Whole audits of captures put together by hand.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;

use super::testing::FIREWALL_MAC;
use super::testing::answered;
use super::testing::asked;
use super::testing::observed;
use super::testing::opened;
use super::testing::reset;
use super::testing::syns;
use super::*;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::Outcome;
use crate::model::Transport;
use crate::rules::parse_site;
use crate::rules::site_unbound;

const RULESET: &str = "
[ruleset]
id = 'vendor'
title = 'T'
document = 'D'
revision = '1'
[roles.sensor]
kind = 'component'
[roles.asset]
kind = 'peer'
[[rule]]
id = 'one'
from = 'sensor'
to = 'asset'
service = 'tcp/443'
protocol = ['tls']
need = 'required'
cadence = 'periodic'
cite = 'c'
purpose = 'p'
";
const SITE: &str = "
[site]
name = 'many'
rulesets = ['vendor.toml']
scope = ['10.0.0.0/8']
[roles]
sensor = ['10.20.2.11', '10.0.4.0/24']
asset = ['10.1.0.0/16']
";
const PROTOCOLS: [&str; 2] = ["tls", "modbus"];

/// Clients that are many and servers that are few; what each flow is like goes with its number.
fn many(count: u32) -> Vec<FlowRecord> {
    let ip = |bits: u32| Host::Ip(IpAddr::V4(Ipv4Addr::from_bits(bits)));
    let one = |n: u32| {
        let start = i64::from(n % 1000) * 100;
        let mut flow = match n % 7 {
            0 => syns(&[start, start + 1000, start + 3000]),
            1 => opened(start),
            2 => asked(start, &[start + 3, start + 300, start + 900]),
            _ => answered(start, PROTOCOLS[(n % 2) as usize]),
        };
        flow.client.host = if n.is_multiple_of(11) { ip(0x0a14_020b) } else { ip(0x0a00_0000 + n / 2) };
        flow.server.host = if n.is_multiple_of(13) { ip(0x0a14_030c) } else { ip(0x0a01_0000 + n % 400) };
        flow.server.port = Some(if n.is_multiple_of(5) { 443 } else { 1024 + (n % 60_000) as u16 });
        if n.is_multiple_of(17) {
            (flow.transport, flow.outcome) = (Transport::Udp, Outcome::Unanswered);
            let silent = if n.is_multiple_of(2) { &mut flow.from_server } else { &mut flow.from_client };
            *silent = Default::default();
        }
        if n % 19 == 1 {
            flow.from_server.reset = Some(reset(start + 7, FIREWALL_MAC, 64));
            flow.outcome = Outcome::Refused;
        }
        if (n / 400).is_multiple_of(2) {
            flow.from_server.mac = Some(FIREWALL_MAC);
        }
        flow.vlans = Box::new([(n % 3) as u16]);
        flow.from_client.unseen_acknowledged = if n % 3 == 2 { 40 } else { 0 };
        flow
    };
    (0..count).map(one).collect()
}

#[test]
fn any_number_of_workers_tells_the_same() {
    let capture = observed(many(6_200), 200_000);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("vendor.toml"), RULESET).unwrap();
    let bound = parse_site("site.toml", SITE, folder.path(), &PROTOCOLS);
    let bound = bound.unwrap_or_else(|error| panic!("{}", error.render(false, 100)));
    for site in [bound, site_unbound(&[], &PROTOCOLS).unwrap()] {
        let told = |workers: usize| {
            let options = Options { strict: true, workers: NonZeroUsize::new(workers), last: false };
            of(&capture, &site, options)
        };
        let alone = told(0);
        assert!(alone.conversations.len() > 3 * walk::LEAST_SHARE);
        assert!(site.roles.is_empty() || alone.findings.len() > 1_500, "{}", alone.findings.len());
        let alone = format!("{alone:?}");
        for workers in [2, 3, 8] {
            assert!(format!("{:?}", told(workers)) == alone, "{workers} workers");
        }
    }
}
