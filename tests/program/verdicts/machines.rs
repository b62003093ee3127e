//! Addresses that change hands, or that two machines use at once.

use std::net::IpAddr;

use super::Scenario;
use super::bytes;
use super::bytes::TLS13;
use super::plant::Fate;
use super::plant::Machine;
use super::plant::S;
use super::scene::Scene;
use super::talk::End::Client;
use super::talk::LINUX;
use super::talk::datagram;
use super::wire::Mac;

pub const ALL: &[Scenario] = &[
    ("the sensor's address is leased to another machine that gets nowhere", leased_away),
    ("the target's address is leased to another machine that refuses", target_leased_away),
    ("the sensor gets another address and is dropped there", follows_its_lease),
    ("the sensor gets another address and works there", works_under_another),
    ("a lease is prolonged, and the sensor is dropped", prolonged),
    ("a stranger gets the sensor's address and talks to a component", stranger),
    ("a laptop has the sensor's address first", laptop_first),
    ("a target with two network cards is dropped", teamed),
    ("a target with two network cards works", teamed_works),
    ("another machine takes the address of a role bound by its MAC", bound_by_mac),
];

/// A server hands an address out: DHCP's acknowledgement (RFC 2131), or DHCPv6's reply (RFC 8415).
fn leases(s: &mut Scene, at: u64, machine: Machine, address: IpAddr, seconds: u32) {
    let server = s.plant.gateway(machine.segment);
    let message = match address {
        IpAddr::V4(ip) => {
            let mut message = vec![2, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0];
            message.extend(ip.octets());
            message.extend([0; 8]);
            message.extend(machine.mac);
            message.extend([0; 10 + 64 + 128]);
            message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 5, 51, 4]);
            message.extend(seconds.to_be_bytes());
            message.push(255);
            message
        }
        IpAddr::V6(ip) => {
            let mut message = vec![7, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1];
            message.extend(machine.mac);
            message.extend([0, 2, 0, 10, 0, 3, 0, 1]);
            message.extend(server.mac);
            message.extend([0, 3, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24]);
            message.extend(ip.octets());
            message.extend(seconds.to_be_bytes());
            message.extend(seconds.to_be_bytes());
            message
        }
    };
    let ports = if address.is_ipv4() { (67, 68) } else { (547, 546) };
    let client = Machine { ip: address, ..machine };
    datagram(&mut s.plant, at * S, (server, client), ports, &message, Fate::Passes);
}

/// The same address in the hands of another machine.
fn another(s: &mut Scene, at: &Machine, mac: Mac) -> Machine {
    s.plant.machine_at(at.segment, mac, at.ip)
}

const OTHER: Mac = [0x52, 0x54, 0, 0xdd, 0xdd, 0xdd];

fn works(s: &mut Scene, client: Machine, at: u64) {
    s.fine(client, s.site, 3006, at, &bytes::tls("site.plant.example", TLS13));
    s.fine(client, s.site, 5672, at, &bytes::amqp());
}

fn leased_away(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[636, 3006, 5672]);
    let sensor = s.sensor;
    leases(&mut s, 1, sensor, sensor.ip, 3_600);
    works(&mut s, sensor, 5);
    works(&mut s, sensor, 30);
    let other = another(&mut s, &sensor, OTHER);
    leases(&mut s, 70, other, sensor.ip, 3_600);
    for at in [80, 110] {
        s.talk(other, s.site, 3006, at).syns(&LINUX, Fate::Dies);
        s.talk(other, s.site, 5672, at).target_refuses();
    }
    s.expect(sensor, s.site, 3006, &["satisfied", "undecided"]);
    s.expect(sensor, s.site, 5672, &["satisfied", "undecided"]);
    s
}

fn target_leased_away(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006, 5672]);
    let (sensor, site) = (s.sensor, s.site);
    leases(&mut s, 1, site, site.ip, 3_600);
    works(&mut s, sensor, 5);
    works(&mut s, sensor, 30);
    let other = another(&mut s, &site, OTHER);
    leases(&mut s, 70, other, site.ip, 3_600);
    for at in [80, 110] {
        s.plant.asks((at - 1) * S, other, s.plant.gateway(site.segment), true);
        s.talk(sensor, other, 3006, at).target_refuses();
        s.talk(sensor, other, 5672, at).syns(&LINUX, Fate::Dies);
    }
    s.expect(sensor, site, 3006, &["satisfied", "undecided"]);
    s.expect(sensor, site, 5672, &["satisfied", "undecided"]);
    s
}

/// What is blocked stays blocked under the machine's next address.
fn follows_its_lease(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[636, 3006, 5672]);
    let sensor = s.sensor;
    leases(&mut s, 1, sensor, sensor.ip, 60);
    works(&mut s, sensor, 5);
    works(&mut s, sensor, 30);
    let moved = moved(&mut s);
    for at in [80, 110] {
        s.talk(moved, s.site, 3006, at).syns(&LINUX, Fate::Dies);
        s.fine(moved, s.site, 5672, at, &bytes::amqp());
    }
    s.expect(sensor, s.site, 3006, &["blocked dropped"]);
    s.expect(sensor, s.site, 5672, &["satisfied"]);
    s
}

fn works_under_another(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[636, 3006, 5672]);
    let sensor = s.sensor;
    leases(&mut s, 1, sensor, sensor.ip, 60);
    works(&mut s, sensor, 5);
    let moved = moved(&mut s);
    works(&mut s, moved, 80);
    works(&mut s, moved, 110);
    s.expect(sensor, s.site, 3006, &["satisfied"]);
    s.expect(sensor, s.site, 5672, &["satisfied"]);
    s
}

/// The sensor gets another address of its segment at 70 s.
fn moved(s: &mut Scene) -> Machine {
    let sensor = s.sensor;
    let ghost = s.plant.ghost(sensor.segment, 99);
    let moved = s.plant.machine_at(sensor.segment, sensor.mac, ghost.ip);
    leases(s, 70, moved, moved.ip, 3_600);
    moved
}

fn prolonged(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let sensor = s.sensor;
    for at in [1, 60, 120] {
        leases(&mut s, at, sensor, sensor.ip, 120);
    }
    s.fine(sensor, s.site, 3006, 5, &bytes::tls("site.plant.example", TLS13));
    for at in [70, 110] {
        s.talk(sensor, s.site, 3006, at).syns(&LINUX, Fate::Dies);
    }
    s.expect(sensor, s.site, 3006, &["blocked dropped"]);
    s
}

/// The address is another machine's by then: what it talks about with others is its own, what it wants of a component is nobody's documented flow.
fn stranger(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[636, 3006, 5672]);
    s.scope = Some(Vec::new());
    let sensor = s.sensor;
    leases(&mut s, 1, sensor, sensor.ip, 3_600);
    works(&mut s, sensor, 5);
    works(&mut s, sensor, 30);
    let other = another(&mut s, &sensor, OTHER);
    leases(&mut s, 70, other, sensor.ip, 3_600);
    let web = s.outside(7);
    for at in [80, 110] {
        s.fine(other, web, 443, at, &bytes::tls("updates.example", TLS13));
        s.fine(other, s.site, 22, at, &bytes::ssh());
    }
    s.unexpected(other, s.site, "tcp/22");
    s
}

/// The site means whoever does what is documented, not whoever came first.
fn laptop_first(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[636, 3006, 5672]);
    s.scope = Some(Vec::new());
    let sensor = s.sensor;
    let laptop = another(&mut s, &sensor, OTHER);
    leases(&mut s, 1, laptop, sensor.ip, 60);
    leases(&mut s, 65, sensor, sensor.ip, 3_600);
    works(&mut s, sensor, 70);
    works(&mut s, sensor, 110);
    let web = s.outside(7);
    s.fine(sensor, web, 8443, 120, &bytes::tls("updates.example", TLS13));
    s.unexpected(sensor, web, "tcp/8443");
    s.expect(sensor, s.site, 3006, &["satisfied"]);
    s
}

/// One machine that answers now from the one and now from the other card.
fn team(s: &mut Scene) {
    let site = s.site;
    let second = another(s, &site, OTHER);
    for (at, card) in [(3, site), (4, second), (20, site), (21, second), (90, site), (91, second)] {
        s.fine(s.user, card, 443, at, &bytes::tls("site.plant.example", TLS13));
        s.plant.asks(at * S, card, s.plant.gateway(site.segment), true);
    }
}

fn teamed(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    team(&mut s);
    s.entries.push_str(
        "[[allow]]\nfrom = \"user\"\nto = \"site-manager\"\nservice = \"tcp/443\"\nreason = \"test\"\n",
    );
    for at in [10, 70] {
        s.talk(s.sensor, s.site, 3006, at).syns(&LINUX, Fate::Dies);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked dropped C"]);
    s
}

fn teamed_works(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    team(&mut s);
    s.entries.push_str(
        "[[allow]]\nfrom = \"user\"\nto = \"site-manager\"\nservice = \"tcp/443\"\nreason = \"test\"\n",
    );
    s
}

fn bound_by_mac(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[636, 3006, 5672]);
    s.scope = Some(Vec::new());
    let sensor = s.sensor;
    let mac = sensor.mac.map(|byte| format!("{byte:02x}")).join(":");
    s.bind("network-sensor", format!("[\"mac:{mac}\"]"));
    s.plant.asks(S, sensor, s.plant.gateway(sensor.segment), true);
    works(&mut s, sensor, 5);
    let other = another(&mut s, &sensor, OTHER);
    let web = s.outside(7);
    s.fine(other, web, 443, 80, &bytes::tls("updates.example", TLS13));
    s.talk(other, s.site, 5672, 90).opens().exchange(&bytes::amqp()).closes(Client);
    s.unexpected(other, s.site, "tcp/5672");
    s
}
