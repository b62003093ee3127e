//! Names that are refused, lied about or answered, and proxies that say no.

use super::Scenario;
use super::bytes;
use super::bytes::TLS13;
use super::plant::Fate;
use super::plant::Machine;
use super::plant::Mirror;
use super::plant::S;
use super::scene::Scene;
use super::talk::End::Client;
use super::talk::End::Server;
use super::talk::LINUX;

pub const ALL: &[Scenario] = &[
    ("the name works", works),
    ("no such name", |v6| lookup_fails(v6, 3, "blocked dns-nxdomain")),
    ("the name server refuses", |v6| lookup_fails(v6, 5, "blocked dns-refused")),
    ("the name server fails", |v6| lookup_fails(v6, 2, "blocked dns-servfail")),
    ("the name server is silent", unanswered),
    ("a private address for a public name", sinkhole),
    ("a private address that works", split_horizon),
    ("the search suffix has no such name", search_suffix),
    ("no such name, then it is there", fixed),
    ("the name is there, and soon no more", soon_gone),
    ("the name is there no more, while a session goes on", gone_beside_a_session),
    ("the name resolves, the connection is dropped", dropped),
    ("the name resolves, the connection is prohibited", prohibited),
    ("the proxy grants it", |v6| proxy(v6, "200 Connection established", "satisfied")),
    ("the proxy refuses", |v6| proxy(v6, "403 Forbidden", "blocked proxy-denied")),
    ("the proxy gets no further itself", |v6| proxy(v6, "502 Bad Gateway", "failed unreachable")),
    ("the proxy wants a login", |v6| proxy(v6, "407 Proxy Authentication Required", "blocked proxy-denied")),
    ("the proxy closes without an answer", proxy_closes),
    ("the proxy asks for a login first, on the same connection", |v6| proxy_login(v6, true)),
    ("the proxy asks for a login first, on another connection", |v6| proxy_login(v6, false)),
    ("the name server gives an address that it calls forged", forged),
    ("the client is led to a page that it does not trust", led_away),
    ("a portal answers in the service's name", portal),
    ("a name that nobody documents", undocumented),
    ("a name that nobody documents at a documented address", same_address),
    ("no such name, then it is there, and the client is not shown", fixed_unseen),
    ("no such name, then an answer that is cut off", fixed_and_cut),
    ("a private address for a public name, cut off", split_horizon_and_cut),
    ("a directory that was looked up before", looked_up_before),
    ("a directory that is looked up elsewhere", looked_up_elsewhere),
];

const NAME: &str = "activation.dl.opswat.com";

/// The plant with the internet behind it, and the machine that NAME stands for.
fn online(v6: bool) -> (Scene, Machine) {
    let mut s = Scene::opswat(v6, &[]);
    s.features.push("internet-urls");
    let server = s.outside(11);
    (s, server)
}

fn says(mut s: Scene, said: &'static str) -> Scene {
    s.expect_named(s.sensor, NAME, "tcp/443", &[said]);
    s
}

fn resolves(s: &mut Scene, at: u64, name: &str, host: Machine) {
    s.lookup(at * S, s.sensor, name, Some(0), true, Some(host));
}

fn works(v6: bool) -> Scene {
    let (mut s, server) = online(v6);
    for at in [10, 90] {
        resolves(&mut s, at, NAME, server);
        s.fine(s.sensor, server, 443, at, &bytes::tls(NAME, TLS13));
    }
    says(s, "satisfied")
}

fn lookup_fails(v6: bool, code: u16, said: &'static str) -> Scene {
    let (mut s, _) = online(v6);
    for at in [10, 50, 90] {
        s.lookup(at * S, s.sensor, NAME, Some(code), false, None);
    }
    says(s, said)
}

fn unanswered(v6: bool) -> Scene {
    let (mut s, server) = online(v6);
    resolves(&mut s, 4, "other.plant.example", server);
    for at in [10, 15, 20, 50, 55, 60, 90, 95, 100] {
        s.lookup(at * S, s.sensor, NAME, None, false, None);
    }
    says(s, "blocked dns-no-answer")
}

fn sinkhole(v6: bool) -> Scene {
    let (mut s, _) = online(v6);
    let sink = s.plant.ghost(50, 200);
    for at in [10, 50, 90] {
        resolves(&mut s, at, NAME, sink);
    }
    says(s, "blocked dns-sinkhole")
}

fn split_horizon(v6: bool) -> Scene {
    let (mut s, _) = online(v6);
    let relay = s.plant.machine(50, 200);
    for at in [10, 90] {
        resolves(&mut s, at, NAME, relay);
        s.fine(s.sensor, relay, 443, at, &bytes::tls(NAME, TLS13));
    }
    says(s, "satisfied")
}

fn search_suffix(v6: bool) -> Scene {
    let (mut s, server) = online(v6);
    for at in [10, 90] {
        s.lookup(at * S, s.sensor, &format!("{NAME}.plant.example"), Some(3), false, None);
        s.lookup(at * S + 5_000, s.sensor, NAME, Some(0), true, Some(server));
        s.fine(s.sensor, server, 443, at, &bytes::tls(NAME, TLS13));
    }
    says(s, "satisfied")
}

/// Retries come closer than the time in which lookups are taken for one attempt.
fn soon_gone(v6: bool) -> Scene {
    let (mut s, server) = online(v6);
    resolves(&mut s, 10, NAME, server);
    s.fine(s.sensor, server, 443, 10, &bytes::tls(NAME, TLS13));
    for at in [20, 30, 40, 50] {
        s.lookup(at * S, s.sensor, NAME, Some(3), false, None);
    }
    says(s, "blocked dns-nxdomain")
}

fn gone_beside_a_session(v6: bool) -> Scene {
    let (mut s, server) = online(v6);
    resolves(&mut s, 10, NAME, server);
    let messages = bytes::tls(NAME, TLS13);
    let mut talk = s.talk(s.sensor, server, 443, 10).opens().exchange(&messages);
    for _ in 0..10 {
        talk = talk.waits(10 * S).says(Client, &bytes::sealed_data(40)).says(Server, &bytes::sealed_data(40));
    }
    for at in [50, 55] {
        s.lookup(at * S, s.sensor, NAME, Some(3), false, None);
    }
    says(s, "satisfied")
}

fn fixed(v6: bool) -> Scene {
    let (mut s, server) = online(v6);
    for at in [5, 25] {
        s.lookup(at * S, s.sensor, NAME, Some(3), false, None);
    }
    for at in [70, 100] {
        resolves(&mut s, at, NAME, server);
        s.fine(s.sensor, server, 443, at, &bytes::tls(NAME, TLS13));
    }
    says(s, "satisfied")
}

fn dropped(v6: bool) -> Scene {
    let (mut s, server) = online(v6);
    s.plant.mirror = Mirror::Segment(s.sensor.segment);
    for at in [10, 90] {
        resolves(&mut s, at, NAME, server);
        s.talk(s.sensor, server, 443, at).syns(&LINUX, Fate::Dies);
    }
    says(s, "blocked dropped")
}

fn prohibited(v6: bool) -> Scene {
    let (mut s, server) = online(v6);
    for at in [10, 90] {
        resolves(&mut s, at, NAME, server);
        let sent = s.talk(s.sensor, server, 443, at).syns(&[], Fate::Dies);
        s.plant.firewall_says(at * S + 4_000, s.sensor, if v6 { (1, 1) } else { (3, 13) }, &sent[0]);
    }
    says(s, "blocked prohibited")
}

fn proxy(v6: bool, status: &str, said: &'static str) -> Scene {
    let (mut s, _) = online(v6);
    let proxy = s.plant.machine(50, 59);
    s.entries = format!(
        "[[allow]]\nfrom = \"network-sensor\"\nto = \"{}\"\nservice = \"tcp/3128\"\nreason = \"the way out\"\n",
        proxy.ip
    );
    for at in [10, 90] {
        let mut messages = bytes::connect(NAME, status);
        if status.starts_with("200") {
            messages.extend(bytes::tls(NAME, TLS13));
        }
        s.fine(s.sensor, proxy, 3128, at, &messages);
    }
    says(s, said)
}

/// The plant with a proxy before the internet, which the site allows.
fn behind_proxy(v6: bool) -> (Scene, Machine) {
    let (mut s, _) = online(v6);
    let proxy = s.plant.machine(50, 59);
    s.entries = format!(
        "[[allow]]\nfrom = \"network-sensor\"\nto = \"{}\"\nservice = \"tcp/3128\"\nreason = \"the way out\"\n",
        proxy.ip
    );
    (s, proxy)
}

fn proxy_closes(v6: bool) -> Scene {
    let (mut s, proxy) = behind_proxy(v6);
    let asked = &bytes::connect(NAME, "")[..1];
    for at in [10, 90] {
        s.talk(s.sensor, proxy, 3128, at).opens().exchange(asked).closes(Server);
    }
    says(s, "failed closed")
}

/// RFC 9110 section 11.7.1: that a proxy asks who is there is no refusal, where the client says so and is let through.
fn proxy_login(v6: bool, same: bool) -> Scene {
    let (mut s, proxy) = behind_proxy(v6);
    for at in [10, 90] {
        let asks = bytes::connect(NAME, "407 Proxy Authentication Required\r\nContent-Length: 0");
        let grants = [bytes::connect(NAME, "200 Connection established"), bytes::tls(NAME, TLS13)].concat();
        if same {
            s.fine(s.sensor, proxy, 3128, at, &[asks, grants].concat());
        } else {
            s.fine(s.sensor, proxy, 3128, at, &asks);
            s.fine(s.sensor, proxy, 3128, at + 1, &grants);
        }
    }
    says(s, "satisfied")
}

/// RFC 8914 section 4.5: an answer that the name server itself calls forged.
const FORGED: u16 = 4;

fn forged(v6: bool) -> Scene {
    let (mut s, server) = online(v6);
    for at in [10, 50, 90] {
        s.lookup_called(at * S, s.sensor, NAME, server, FORGED);
    }
    says(s, "blocked dns-filtered A")
}

fn led_away(v6: bool) -> Scene {
    const UNKNOWN_CA: u8 = 48;
    let (mut s, server) = online(v6);
    let said = bytes::tls(NAME, TLS13);
    for at in [10, 90] {
        s.lookup_called(at * S, s.sensor, NAME, server, FORGED);
        let talk = s.talk(s.sensor, server, 443, at).opens().exchange(&said[..2]);
        talk.says(Client, &bytes::alert(UNKNOWN_CA)).closes(Client);
    }
    says(s, "failed tls-alert")
}

fn portal(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3003]);
    for at in [10, 90] {
        let answer = bytes::http("em.plant.example", "511 Network Authentication Required");
        s.fine(s.site, s.manager, 3003, at, &answer);
    }
    s.expect(s.site, s.manager, 3003, &["blocked proxy-denied"]);
    s
}

fn undocumented(v6: bool) -> Scene {
    let (mut s, _) = online(v6);
    let stranger = s.outside(77);
    for at in [30, 90] {
        resolves(&mut s, at, "telemetry.example.net", stranger);
        s.fine(s.sensor, stranger, 443, at, &bytes::tls("telemetry.example.net", TLS13));
    }
    s.unexpected(s.sensor, stranger, "tcp/443");
    s
}

/// A flow that names its server itself is that name's flow, whatever else its address is known as.
fn same_address(v6: bool) -> Scene {
    let (mut s, server) = online(v6);
    resolves(&mut s, 5, NAME, server);
    s.fine(s.sensor, server, 443, 5, &bytes::tls(NAME, TLS13));
    for at in [60, 100] {
        resolves(&mut s, at, "c2.example.net", server);
        s.fine(s.sensor, server, 443, at, &bytes::tls("c2.example.net", TLS13));
    }
    s.unexpected(s.sensor, server, "tcp/443");
    says(s, "satisfied")
}

fn fixed_unseen(v6: bool) -> Scene {
    let mut s = fixed(v6);
    let sensor = s.sensor.mac;
    s.plant.forget(|_, frame| frame[6..12] == sensor);
    s.forget_expectations();
    s
}

/// The later answers are no refusals, though their addresses lie behind the cut.
fn fixed_and_cut(v6: bool) -> Scene {
    let mut s = fixed(v6);
    s.forget_expectations();
    s.plant.cut_at(96);
    says(s, "undecided")
}

fn split_horizon_and_cut(v6: bool) -> Scene {
    let mut s = split_horizon(v6);
    s.forget_expectations();
    s.plant.cut_at(96);
    s
}

/// A role bound by name, and a session without a name at its port: the name may have been looked up before the capture.
fn looked_up_before(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[636]);
    s.bind("ldap-server", "[\"host:dc1.plant.example\"]".to_owned());
    for at in [10, 90] {
        s.fine(s.sensor, s.directory, 636, at, &bytes::tls("", TLS13));
    }
    s
}

/// The name's address is shown, and it is another one.
fn looked_up_elsewhere(v6: bool) -> Scene {
    let mut s = looked_up_before(v6);
    let other = s.plant.machine(50, 151);
    resolves(&mut s, 5, "dc1.plant.example", other);
    s.unexpected(s.sensor, s.directory, "tcp/636");
    s
}
