//! Mirrors that show half of it, and flows that nobody documented.

use super::Scenario;
use super::bytes;
use super::bytes::TLS13;
use super::plant::Fate;
use super::plant::Mirror;
use super::plant::S;
use super::scene::Scene;
use super::talk::End::Client;
use super::talk::End::Server;
use super::talk::LINUX;
use super::talk::REPEATS;
use super::talk::datagram;
use super::wire::ACK;
use super::wire::RST;
use super::wire::SYN;

pub const ALL: &[Scenario] = &[
    ("a mirror of the sensor's segment", own_segment),
    ("a mirror of what the sensor sends", only_the_sensor),
    ("dropped, and only what the sensor sends is shown", dropped_unheard),
    ("prohibited, and only the error comes back", prohibited_unheard),
    ("undocumented SSH", undocumented_ssh),
    ("a documented flow the wrong way round", wrong_way),
    ("an undocumented attempt that is dropped", undocumented_attempt),
    ("the mode that has no such flow", wrong_mode),
    ("an unlisted machine is dropped at a documented port", unlisted),
    ("dropped before the mirror", behind_the_firewall),
    ("a role bound by its MAC", bound_by_mac),
    ("another machine takes the address", changed_hands),
    ("a stale error for a session seen from one side", stale_error),
    ("a session dies, and only its client is shown", dies_unheard),
    ("a session is refused, and only its client is shown", refused_unheard),
    ("a session is refused after a banner, and only its client is shown", greeted_unheard),
    ("a lease, cut off", lease_and_cut),
    ("what the site allows by its protocol, cut off", allowed_and_cut),
    ("prohibited, and the quote is cut off", prohibited_and_cut),
    ("reset at the ClientHello from farther away", reset_from_afar),
    ("a stray reset", stray_reset),
    ("an answer to a question that nobody asked", backscatter),
    ("a controller that may be read is written to", written_to),
];

fn own_segment(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    s.plant.mirror = Mirror::Segment(s.sensor.segment);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at).syns(&LINUX, Fate::Dies);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked dropped"]);
    s.expect(s.sensor, s.site, 5672, &["satisfied"]);
    s.expect(s.site, s.manager, 3003, &["unseen", "not-visible"]);
    s
}

fn only_the_sensor(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    let sensor = s.sensor.mac;
    s.plant.forget(|_, frame| frame[6..12] != sensor);
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s.expect(s.sensor, s.site, 5672, &["satisfied"]);
    s
}

fn dropped_unheard(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at).syns(&LINUX, Fate::Dies);
    }
    let sensor = s.sensor.mac;
    s.plant.forget(|_, frame| frame[6..12] != sensor);
    s.expect(s.sensor, s.site, 3006, &["undecided"]);
    s
}

fn prohibited_unheard(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let (sensor, gateway) = (s.sensor.mac, s.plant.gateway(s.sensor.segment).mac);
    for at in [10, 90] {
        let sent = s.talk(s.sensor, s.site, 3006, at).syns(&[], Fate::Dies);
        s.plant.firewall_says(at * S + 4_000, s.sensor, if v6 { (1, 1) } else { (3, 13) }, &sent[0]);
    }
    s.plant.forget(|_, frame| frame[6..12] != sensor && frame[6..12] != gateway);
    s.expect(s.sensor, s.site, 3006, &["blocked prohibited"]);
    s
}

fn undocumented_ssh(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    for at in [30, 90] {
        s.fine(s.site, s.sensor, 22, at, &bytes::ssh());
    }
    s.unexpected(s.site, s.sensor, "tcp/22");
    s
}

fn wrong_way(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    for at in [30, 90] {
        s.fine(s.site, s.sensor, 5672, at, &bytes::amqp());
    }
    s.unexpected(s.site, s.sensor, "tcp/5672");
    s
}

fn undocumented_attempt(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    for at in [30, 90] {
        s.talk(s.sensor, s.manager, 8443, at).syns(&LINUX, Fate::Dies);
    }
    s.unexpected(s.sensor, s.manager, "tcp/8443");
    s
}

fn wrong_mode(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    for at in [30, 90] {
        s.fine(s.manager, s.site, 3006, at, &bytes::tls("site.plant.example", TLS13));
    }
    s.unexpected(s.manager, s.site, "tcp/3006");
    s
}

fn unlisted(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    let stranger = s.plant.machine(41, 77);
    for at in [30, 90] {
        s.talk(stranger, s.manager, 443, at).syns(&[1, 3, 7], Fate::Dies);
    }
    s.unexpected(stranger, s.manager, "tcp/443");
    s.expect(s.user, s.manager, 443, &["satisfied"]);
    s
}

fn stray_reset(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    s.talk(s.sensor, s.manager, 8080, 40).resets(Client);
    s.talk(s.sensor, s.manager, 8081, 50).resets(Server);
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s
}

/// Somebody has used the sensor's address: what comes back is no flow of its own (RFC 9293 section 3.5.2 has it reset).
fn backscatter(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    let mut talk = s.talk(s.sensor, s.manager, 8080, 40);
    talk.packet(Server, SYN | ACK, &[], 0, Fate::Passes);
    talk.packet(Client, RST, &[], 900, Fate::Passes);
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s
}

/// A mirror on the far side of a firewall never sees what dies there: silence is not "never tried".
fn behind_the_firewall(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    s.plant.mirror = Mirror::Segment(s.site.segment);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at).syns(&LINUX, Fate::Dies);
    }
    s.expect(s.sensor, s.site, 3006, &["not-visible", "undecided"]);
    s.expect(s.sensor, s.site, 5672, &["satisfied"]);
    s
}

/// What a machine asks its segment tells its address as well as what it answers (RFC 826, RFC 4861).
fn bound_by_mac(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    let mac = s.sensor.mac.map(|byte| format!("{byte:02x}")).join(":");
    s.bind("network-sensor", format!("[\"mac:{mac}\"]"));
    s
}

fn changed_hands(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[636, 3006, 5672]);
    for at in [5, 30] {
        s.fine(s.sensor, s.site, 3006, at, &bytes::tls("site.plant.example", TLS13));
        s.fine(s.sensor, s.site, 5672, at, &bytes::amqp());
    }
    let sensor = s.sensor;
    let mut other = s.plant.machine_at(sensor.segment, [0x52, 0x54, 0, 0xdd, 0xdd, 0xdd], sensor.ip);
    other.ttl = 128;
    for at in [80, 110] {
        s.plant.asks((at - 1) * S, other, s.plant.gateway(sensor.segment), true);
        s.talk(other, s.site, 3006, at).syns(&[1, 3, 7], Fate::Dies);
        s.talk(other, s.site, 5672, at).syns(&[1, 3, 7], Fate::Dies);
    }
    s.expect(s.sensor, s.site, 3006, &["satisfied", "undecided"]);
    s.expect(s.sensor, s.site, 5672, &["satisfied", "undecided"]);
    s
}

/// RFC 5927: an error counts while what it quotes is outstanding. The client's own progress shows that it is not.
fn stale_error(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let (sensor, gateway) = (s.sensor.mac, s.plant.gateway(s.sensor.segment).mac);
    let mut talk = s.talk(s.sensor, s.site, 3006, 10);
    let sent = talk.syns(&[], Fate::Dies);
    talk.waits(S).opens().exchange(&bytes::tls("site.plant.example", TLS13)).closes(Client);
    s.plant.firewall_says(50 * S, s.sensor, if v6 { (1, 1) } else { (3, 13) }, &sent[0]);
    s.plant.forget(|_, frame| frame[6..12] != sensor && frame[6..12] != gateway);
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s
}

/// What the client repeats shows that no acknowledgement reached it, whatever the mirror carries.
fn dies_unheard(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    let more = bytes::amqp();
    s.talk(s.sensor, s.site, 5672, 10)
        .opens()
        .exchange(&more)
        .waits(20 * S)
        .in_vain(Client, &more[4].1, &REPEATS);
    only_shows(&mut s);
    s.expect(s.sensor, s.site, 5672, &["undecided"]);
    s
}

/// An acknowledgement shows that the server said something: here, that it is no TLS.
fn refused_unheard(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let hello = bytes::client_hello("site.plant.example", &[TLS13]);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at)
            .opens()
            .says(Client, &hello)
            .says(Server, b"SSH-2.0-OpenSSH_9.6\r\n")
            .closes(Client);
    }
    only_shows(&mut s);
    s.expect(s.sensor, s.site, 3006, &["undecided"]);
    s
}

/// The same where that comes first: the server's banner is acknowledged before the ClientHello.
fn greeted_unheard(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let hello = bytes::client_hello("site.plant.example", &[TLS13]);
    for at in [10, 90] {
        let talk = s.talk(s.sensor, s.site, 3006, at).opens().says(Server, b"SSH-2.0-OpenSSH_9.6\r\n");
        talk.says(Client, &hello).says(Server, b"Invalid SSH identification string.\r\n").closes(Client);
    }
    only_shows(&mut s);
    s.expect(s.sensor, s.site, 3006, &["undecided"]);
    s
}

/// The mirror carries what the sensor sends and nothing else.
fn only_shows(s: &mut Scene) {
    let sensor = s.sensor.mac;
    s.plant.forget(|_, frame| frame[6..12] != sensor);
}

/// A client asks its server for more time (RFC 2131 section 4.4.5, RFC 8415 section 18.2.4): the port says what the cut hides.
fn lease_and_cut(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    let ports = if v6 { (546, 547) } else { (68, 67) };
    for at in [20, 80] {
        let ends = (s.sensor, s.plant.gateway(s.sensor.segment));
        datagram(&mut s.plant, at * S, ends, ports, &[1; 300], Fate::Passes);
    }
    s.plant.cut_at(96);
    s
}

/// The cut hides what the site's own rule asks for.
fn allowed_and_cut(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    s.entries = format!(
        "[[allow]]\nfrom = \"network-sensor\"\nto = \"{}\"\nservice = \"tcp/22\"\nprotocol = [\"ssh\"]\nreason = \"updates\"\n",
        s.manager.ip
    );
    s.fine(s.sensor, s.manager, 22, 30, &bytes::ssh());
    s.fine(s.sensor, s.directory, 22, 40, &bytes::ssh());
    s.unexpected(s.sensor, s.directory, "tcp/22");
    s.plant.cut_at(54);
    s
}

/// What came back is an error, and the cut hides of what: that is no silence.
fn prohibited_and_cut(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 90] {
        let sent = s.talk(s.sensor, s.site, 3006, at).syns(&[1, 3], Fate::Dies);
        for (syn, after) in sent.iter().zip([0, 1, 3]) {
            let what = if v6 { (1, 1) } else { (3, 13) };
            s.plant.firewall_says((at + after) * S + 4_000, s.sensor, what, syn);
        }
    }
    s.plant.snap = if v6 { 96 } else { 64 };
    s.expect(s.sensor, s.site, 3006, &["undecided"]);
    s
}

/// Behind a router: a reset that passed more of them than what else the server sends is not to be blamed on it.
fn reset_from_afar(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let hello = bytes::client_hello("site.plant.example", &[TLS13]);
    s.site.mac = s.plant.gateway(s.sensor.segment).mac;
    s.site.ttl = 62;
    for at in [10, 50, 90] {
        let talk = s.talk(s.sensor, s.site, 3006, at).opens().loses(Client, &hello);
        talk.resets_with(Server, 250);
    }
    s.expect(s.sensor, s.site, 3006, &["undecided"]);
    s
}

/// Two documents' rows share the port: it is the one whose protocol is spoken that is violated.
fn written_to(v6: bool) -> Scene {
    const CONNECT: &[u8] = b"\x03\0\0\x16\x11\xe0\0\0\0\x01\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02";
    const CONFIRM: &[u8] = b"\x03\0\0\x16\x11\xd0\0\x01\0\x01\0\xc0\x01\x0a\xc1\x02\x01\0\xc2\x02\x01\x02";
    const WRITE: &[u8] = b"\x03\0\0\x24\x02\xf0\x80\x32\x01\0\0\0\x01\0\x0e\0\x05\x05\x01\
        \x12\x0a\x10\x02\0\x01\0\x01\x84\0\0\0\0\x04\0\x08\xaa";
    const DONE: &[u8] = b"\x03\0\0\x16\x02\xf0\x80\x32\x03\0\0\0\x01\0\x02\0\x01\0\0\x05\x01\xff";
    let mut s = Scene::opswat(v6, &[]);
    s.features.push("smart-asset-profiling");
    let asset = s.plant.machine(60, 101);
    s.bind("asset", format!("[\"{}\"]", asset.ip));
    let said = [(Client, CONNECT), (Server, CONFIRM), (Client, WRITE), (Server, DONE)];
    s.fine(s.sensor, asset, 102, 20, &said.map(|(end, bytes)| (end, bytes.to_vec())).to_vec());
    s.expect(s.sensor, asset, 102, &["violated not-as-documented"]);
    s
}
