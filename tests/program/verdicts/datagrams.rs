//! Questions in datagrams, and messages that have no answer.

use super::Scenario;
use super::bytes;
use super::plant::Fate;
use super::plant::Machine;
use super::plant::S;
use super::scene::Scene;
use super::talk::datagram;

pub const ALL: &[Scenario] = &[
    ("NTP works", |v6| ntp(v6, |_| Some(Fate::Passes), &["satisfied"])),
    ("NTP is never answered", |v6| ntp(v6, |_| None, &["failed no-reply"])),
    ("NTP is never answered, but another client's is", other_client),
    ("two requests are too little", too_little),
    ("NTP is answered, then no more", fixed_port_goes_silent),
    ("NTP is answered now and then", |v6| ntp(v6, |n| (n % 4 == 0).then_some(Fate::Passes), &["satisfied"])),
    ("SNMP is answered from the agent's other address", other_address),
    ("SNMP is answered by another port of the agent", other_port),
    ("an agent that answered by another port speaks up unasked later", other_port_unasked),
    ("TFTP that the site allows moves to another port", moves_on),
    ("nothing listens for NTP", |v6| error(v6, 123, By::Target, "failed refused")),
    ("NTP is rejected on the way", |v6| error(v6, 123, By::Firewall, "blocked rejected")),
    ("nothing listens for syslog", |v6| error(v6, 514, By::Target, "failed refused")),
    ("syslog is rejected on the way", |v6| error(v6, 514, By::Firewall, "blocked rejected")),
    ("syslog has no answers", silent_syslog),
    ("SNMP in either direction", snmp_either_way),
    ("BACnet that asks for no answer", unconfirmed),
];

/// Kinds of SNMP messages (RFC 3416 section 3).
const GET: u8 = 0xa0;
const RESPONSE: u8 = 0xa2;

enum By {
    Target,
    Firewall,
}

fn request(s: &mut Scene, client: Machine, number: u64, fate: Fate) -> u16 {
    let port = 33_000 + (s.plant.any() % 20_000) as u16;
    let at = (5 + 8 * number) * S;
    datagram(&mut s.plant, at, (client, s.dns), (port, 123), &bytes::ntp(false, number as u8), fate);
    port
}

fn reply(s: &mut Scene, client: Machine, number: u64, port: u16, fate: Fate) {
    let at = (5 + 8 * number) * S + 1_300;
    datagram(&mut s.plant, at, (s.dns, client), (123, port), &bytes::ntp(true, number as u8), fate);
}

fn ntp(v6: bool, answered: fn(u64) -> Option<Fate>, said: &[&'static str]) -> Scene {
    let mut s = Scene::defender(v6, &[]);
    for number in 0..16 {
        let sensor = s.sensor;
        match answered(number) {
            Some(fate) => {
                let port = request(&mut s, sensor, number, Fate::Passes);
                reply(&mut s, sensor, number, port, fate);
            }
            None => {
                request(&mut s, sensor, number, Fate::Dies);
            }
        }
    }
    s.expect_named(s.sensor, &s.dns.ip.to_string(), "udp/123", said);
    s
}

fn other_client(v6: bool) -> Scene {
    let mut s = ntp(v6, |_| None, &["blocked no-reply"]);
    let user = s.user;
    for number in 0..16 {
        let port = request(&mut s, user, number, Fate::Passes);
        reply(&mut s, user, number, port, Fate::Passes);
    }
    s.unexpected(s.user, s.dns, "udp/123");
    s
}

fn too_little(v6: bool) -> Scene {
    let mut s = Scene::defender(v6, &[]);
    let sensor = s.sensor;
    for number in [0, 8] {
        request(&mut s, sensor, number, Fate::Dies);
    }
    s.expect_named(s.sensor, &s.dns.ip.to_string(), "udp/123", &["undecided"]);
    s
}

fn error(v6: bool, port: u16, by: By, said: &'static str) -> Scene {
    let mut s = Scene::defender(v6, &[]);
    let what = if v6 { (1, 4) } else { (3, 3) };
    for number in 0..6 {
        let at = (5 + 16 * number) * S;
        let payload = if port == 123 { bytes::ntp(false, number as u8) } else { bytes::syslog(number) };
        let ends = (s.sensor, s.dns);
        match by {
            By::Target => {
                let sent = datagram(&mut s.plant, at, ends, (40_123, port), &payload, Fate::Passes);
                s.plant.machine_says(at + 1_300, (s.dns, s.sensor), what, &sent);
            }
            By::Firewall => {
                let sent = datagram(&mut s.plant, at, ends, (40_123, port), &payload, Fate::Dies);
                s.plant.firewall_says(at + 300, s.sensor, what, &sent);
            }
        }
    }
    s.expect_named(s.sensor, &s.dns.ip.to_string(), &format!("udp/{port}"), &[said]);
    s
}

fn silent_syslog(v6: bool) -> Scene {
    let mut s = Scene::defender(v6, &[]);
    for number in 0..12 {
        let ends = (s.sensor, s.dns);
        datagram(&mut s.plant, (5 + 9 * number) * S, ends, (44_514, 514), &bytes::syslog(number), Fate::Dies);
    }
    s.expect_named(s.sensor, &s.dns.ip.to_string(), "udp/514", &["satisfied"]);
    s
}

/// The document has the sensor ask; managers poll, and both are right.
fn snmp_either_way(v6: bool) -> Scene {
    let mut s = Scene::defender(v6, &[]);
    for (id, (client, server)) in [(1, (s.sensor, s.dns)), (2, (s.dns, s.sensor))] {
        for at in [20, 60, 100] {
            datagram(
                &mut s.plant,
                at * S,
                (client, server),
                (41_000, 161),
                &bytes::snmp(GET, id),
                Fate::Passes,
            );
            let answer = bytes::snmp(RESPONSE, id);
            datagram(&mut s.plant, at * S + 1_300, (server, client), (161, 41_000), &answer, Fate::Passes);
        }
    }
    s.expect_named(s.sensor, &s.dns.ip.to_string(), "udp/161", &["satisfied"]);
    s
}

/// Many clients of NTP ask from port 123, so that all their questions are one flow.
fn fixed_port_goes_silent(v6: bool) -> Scene {
    let mut s = Scene::defender(v6, &[]);
    for number in 0..16 {
        let (at, payload) = ((5 + 8 * number) * S, bytes::ntp(false, number as u8));
        let fate = if number < 6 { Fate::Passes } else { Fate::Dies };
        datagram(&mut s.plant, at, (s.sensor, s.dns), (123, 123), &payload, fate);
        if number < 6 {
            let sensor = s.sensor;
            reply(&mut s, sensor, number, 123, Fate::Passes);
        }
    }
    s.expect_named(s.sensor, &s.dns.ip.to_string(), "udp/123", &["blocked no-reply", "failed no-reply"]);
    s
}

fn other_address(v6: bool) -> Scene {
    let mut s = Scene::defender(v6, &[]);
    let other = s.plant.machine(50, 166);
    for id in 1..5 {
        let at = u64::from(id) * 30 * S;
        datagram(&mut s.plant, at, (s.sensor, s.dns), (41_000, 161), &bytes::snmp(GET, id), Fate::Passes);
        let answer = bytes::snmp(RESPONSE, id);
        datagram(&mut s.plant, at + 1_300, (other, s.sensor), (161, 41_000), &answer, Fate::Passes);
    }
    s.expect_named(s.sensor, &s.dns.ip.to_string(), "udp/161", &["satisfied", "undecided"]);
    s
}

fn other_port(v6: bool) -> Scene {
    let mut s = Scene::defender(v6, &[]);
    for id in 1..5 {
        let at = u64::from(id) * 30 * S;
        datagram(&mut s.plant, at, (s.sensor, s.dns), (41_000, 161), &bytes::snmp(GET, id), Fate::Passes);
        let answer = bytes::snmp(RESPONSE, id);
        datagram(&mut s.plant, at + 1_300, (s.dns, s.sensor), (50_161, 41_000), &answer, Fate::Passes);
    }
    s.expect_named(s.sensor, &s.dns.ip.to_string(), "udp/161", &["satisfied"]);
    s
}

/// What nobody asked for is no answer: neither at another port of the client nor long after the question.
fn other_port_unasked(v6: bool) -> Scene {
    let mut s = other_port(v6);
    for (at, from, to) in [(600, 50_999, 47_777), (900, 50_998, 41_000)] {
        let answer = bytes::snmp(RESPONSE, 9);
        datagram(&mut s.plant, at * S, (s.dns, s.sensor), (from, to), &answer, Fate::Passes);
    }
    s.unexpected(s.sensor, s.dns, "udp/50998");
    s.unexpected(s.sensor, s.dns, "udp/50999");
    s
}

/// The data of TFTP comes from a port of its own, to which the client acknowledges it (RFC 1350 section 4).
fn moves_on(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    let store = s.plant.machine(50, 69);
    s.entries = format!(
        "[[allow]]\nfrom = \"network-sensor\"\nto = \"{}\"\nservice = \"udp/69\"\nprotocol = [\"tftp\"]\nreason = \"firmware\"\n",
        store.ip
    );
    for (at, own, port) in [(20, 40_001, 50_001), (60, 40_002, 50_002)] {
        let (there, back) = ((s.sensor, store), (store, s.sensor));
        let (ask, data, done) = (b"\0\x01plc.bin\0octet\0", b"\0\x03\0\x01firmware", b"\0\x04\0\x01");
        datagram(&mut s.plant, at * S, there, (own, 69), ask, Fate::Passes);
        datagram(&mut s.plant, at * S + 1_300, back, (port, own), data, Fate::Passes);
        datagram(&mut s.plant, at * S + 2_600, there, (own, port), done, Fate::Passes);
    }
    s
}

/// Who-Is is an unconfirmed service: whoever is not meant keeps silent, and so does whoever answers to all.
fn unconfirmed(v6: bool) -> Scene {
    const WHO_IS: &[u8] = &[0x81, 0x0a, 0, 8, 1, 0, 0x10, 8];
    let mut s = Scene::opswat(v6, &[]);
    s.features.push("smart-asset-profiling");
    let asset = s.plant.machine(60, 101);
    s.bind("asset", format!("[\"{}\"]", asset.ip));
    s.fine(s.sensor, asset, 80, 20, &bytes::http("asset", "200 OK"));
    for at in (20..120).step_by(10) {
        datagram(&mut s.plant, at * S, (s.sensor, asset), (47_808, 47_808), WHO_IS, Fate::Dies);
    }
    s.expect_named(s.sensor, &asset.ip.to_string(), "udp/47808", &["undecided"]);
    s
}
