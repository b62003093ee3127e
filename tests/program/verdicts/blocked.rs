//! What a firewall does to a connection, and that it is told as what it is.

use super::Scenario;
use super::bytes;
use super::bytes::TLS12;
use super::bytes::TLS13;
use super::plant::Fate;
use super::plant::MS;
use super::plant::S;
use super::scene::Scene;
use super::talk::End::Client;
use super::talk::End::Server;
use super::talk::LINUX;
use super::talk::REPEATS;
use super::talk::Talk;
use super::wire::ACK;
use super::wire::PSH;
use super::wire::RST;
use super::wire::SYN;

pub const ALL: &[Scenario] = &[
    ("Linux repeats a SYN", |v6| dropped(v6, &[10, 90], &LINUX)),
    ("Linux since 6.5 repeats a SYN each second first", |v6| dropped(v6, &[10, 90], &[1, 2, 3, 4, 5, 7])),
    ("an old stack begins at three seconds", |v6| dropped(v6, &[10, 90], &[3, 9])),
    ("three attempts of two SYNs", |v6| dropped(v6, &[20, 50, 80], &[1])),
    ("one attempt of three SYNs", |v6| dropped(v6, &[30], &[1, 3])),
    ("the answers die on their way back", return_path),
    ("administratively prohibited", |v6| refusal(v6, [(3, 13), (1, 1)], "blocked prohibited")),
    ("prohibited by policy", |v6| refusal(v6, [(3, 9), (1, 5)], "blocked prohibited")),
    ("the host is prohibited", |v6| refusal(v6, [(3, 10), (1, 1)], "blocked prohibited")),
    ("rejected with port unreachable", |v6| refusal(v6, [(3, 3), (1, 4)], "blocked rejected")),
    ("no route", |v6| refusal(v6, [(3, 0), (1, 0)], "failed unreachable")),
    ("no such host", |v6| refusal(v6, [(3, 1), (1, 3)], "failed unreachable")),
    ("only the first SYN gets an error", prohibited_once),
    ("reset in the target's name", reset_by_firewall),
    ("reset after two SYNs in silence", reset_late),
    ("the ClientHello dies", hello_dies),
    ("the ClientHello is reset on the way", hello_reset),
    ("the server's flight dies", flight_dies),
    ("the client's Finished dies", finished_dies),
    ("the first request of a queue dies", request_dies),
    ("the queue's second request dies", second_request_dies),
    ("a session that worked dies", session_dies),
    ("an idle session dies", idle_session_dies),
    ("a session is torn by the firewall's resets", session_reset),
    ("a session is ended by prohibition", session_prohibited),
    ("the second half of a ClientHello dies", half_a_hello),
    ("what follows the server's banner is reset on the way", after_banner_reset),
    ("what follows the server's banner dies", after_banner_dies),
    ("the second attempt is cut short by the end", cut_by_the_end),
    ("it worked, then it is dropped", worked_then_dropped),
    ("a fixed port whose session ended unseen", fixed_port),
    ("two users, one of them dropped", one_of_two),
    ("reset on the way as soon as it is open", reset_when_open),
    ("reset on the way before the SYN-ACK is acknowledged", reset_when_half_open),
    ("a reset sooner than the target ever answered, behind a router", reset_too_soon),
    ("the server's hello dies, and what follows it passes", only_the_hello_dies),
    ("dropped, and the SYN carries the request", request_in_the_syn),
];

fn dropped(v6: bool, attempts: &[u64], repeated: &[u64]) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in attempts {
        s.talk(s.sensor, s.site, 3006, *at).syns(repeated, Fate::Dies);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked dropped"]);
    s
}

fn return_path(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 90] {
        let mut talk = s.talk(s.sensor, s.site, 3006, at);
        talk.syns(&[1, 3, 7], Fate::Passes);
        for after in [0, 1, 3, 5, 7, 11] {
            talk.packet(Server, SYN | ACK, &[], after * S + 600, Fate::Dies);
        }
    }
    s.expect(s.sensor, s.site, 3006, &["blocked return-path"]);
    s
}

fn refusal(v6: bool, what: [(u8, u8); 2], said: &'static str) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 90] {
        let sent = s.talk(s.sensor, s.site, 3006, at).syns(&[1, 3], Fate::Dies);
        for (syn, after) in sent.iter().zip([0, 1, 3]) {
            s.plant.firewall_says((at + after) * S + 4 * MS, s.sensor, what[usize::from(v6)], syn);
        }
    }
    s.expect(s.sensor, s.site, 3006, &[said]);
    s
}

fn prohibited_once(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 90] {
        let sent = s.talk(s.sensor, s.site, 3006, at).syns(&[1, 3, 7], Fate::Dies);
        s.plant.firewall_says(at * S + 4 * MS, s.sensor, if v6 { (1, 1) } else { (3, 13) }, &sent[0]);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked prohibited"]);
    s
}

fn reset_by_firewall(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 50, 90] {
        s.talk(s.sensor, s.site, 3006, at).firewall_refuses();
    }
    s.expect(s.sensor, s.site, 3006, &["blocked reset-by-middlebox"]);
    s
}

fn reset_late(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 90] {
        let mut talk = s.talk(s.sensor, s.site, 3006, at);
        talk.syns(&[1], Fate::Dies);
        talk.waits(3 * S).firewall_refuses();
    }
    s.expect(s.sensor, s.site, 3006, &["blocked reset-by-middlebox", "blocked dropped"]);
    s
}

fn hello_dies(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let hello = bytes::client_hello("site.plant.example", &[TLS13, TLS12]);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at).opens().in_vain(Client, &hello, &REPEATS);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked tls-cut"]);
    s
}

fn hello_reset(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let hello = bytes::client_hello("site.plant.example", &[TLS13, TLS12]);
    for at in [10, 50, 90] {
        s.talk(s.sensor, s.site, 3006, at).opens().loses(Client, &hello).firewall_resets();
    }
    s.expect(s.sensor, s.site, 3006, &["blocked tls-cut"]);
    s
}

fn flight_dies(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at).opens().exchange(&said[..1]).in_vain(Server, &said[1].1, &REPEATS);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked tls-cut"]);
    s
}

fn finished_dies(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at).opens().exchange(&said[..2]).in_vain(Client, &said[2].1, &REPEATS);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked tls-cut", "blocked cut"]);
    s
}

fn request_dies(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 5672, at).opens().in_vain(Client, bytes::AMQP, &REPEATS);
    }
    s.expect(s.sensor, s.site, 5672, &["blocked cut"]);
    s
}

fn second_request_dies(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    let said = bytes::amqp();
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 5672, at).opens().exchange(&said[..2]).in_vain(Client, &said[2].1, &REPEATS);
    }
    s.expect(s.sensor, s.site, 5672, &["blocked cut"]);
    s
}

fn session_dies(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    let repeats = [200, 600, 1_400, 3_000, 6_200, 12_600, 25_400];
    let talk = s.talk(s.sensor, s.site, 5672, 5).opens().exchange(&bytes::amqp()).waits(60 * S);
    talk.in_vain(Client, &bytes::amqp_close(200, "bye"), &repeats);
    s.expect(s.sensor, s.site, 5672, &["blocked cut"]);
    s
}

fn worked_then_dropped(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [5, 35] {
        s.fine(s.sensor, s.site, 3006, at, &bytes::tls("site.plant.example", TLS13));
    }
    for at in [70, 100] {
        s.talk(s.sensor, s.site, 3006, at).syns(&[1, 3, 7], Fate::Dies);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked dropped"]);
    s
}

fn one_of_two(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    let other = s.plant.machine(40, 34);
    s.bind("user", format!("[\"{}\", \"{}\"]", s.user.ip, other.ip));
    for at in [20, 100] {
        let talk = Talk::new(&mut s.plant, other, s.manager, 443, at * S);
        { talk }.syns(&[1, 3, 7], Fate::Dies);
    }
    s.expect(other, s.manager, 443, &["blocked dropped"]);
    s.expect(s.user, s.manager, 443, &["satisfied"]);
    s
}

/// Keep-alives (RFC 9293 section 3.8.4) into the void: nothing is sent but the byte before the next.
fn idle_session_dies(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    let mut talk = s.talk(s.sensor, s.site, 3006, 2).opens().exchange(&said).waits(60 * S);
    for after in 0..9 {
        talk.keeps_alive(Client, after * 5 * S, Fate::Dies);
    }
    talk.packet(Client, RST | ACK, &[], 50 * S, Fate::Dies);
    s.expect(s.sensor, s.site, 3006, &["blocked cut"]);
    s
}

fn session_reset(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    let talk = s.talk(s.sensor, s.site, 5672, 5).opens().exchange(&bytes::amqp()).waits(60 * S);
    talk.loses(Client, &bytes::amqp_close(200, "bye")).firewall_resets();
    s.expect(s.sensor, s.site, 5672, &["blocked cut"]);
    s
}

fn session_prohibited(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    let mut talk = s.talk(s.sensor, s.site, 5672, 5).opens().exchange(&bytes::amqp()).waits(60 * S);
    let (at, mut sent) = (talk.at, Vec::new());
    for after in [0, 200, 600, 1_400, 3_000, 6_200] {
        let bytes = bytes::amqp_close(200, "bye");
        sent.push((at + after * MS, talk.packet(Client, PSH | ACK, &bytes, after * MS, Fate::Dies)));
    }
    for (at, packet) in sent {
        s.plant.firewall_says(at + 200, s.sensor, if v6 { (1, 1) } else { (3, 13) }, &packet);
    }
    s.expect(s.sensor, s.site, 5672, &["blocked prohibited"]);
    s
}

/// A post-quantum key share makes a ClientHello of two segments; a filter that wants it whole drops the second.
fn half_a_hello(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let hello = bytes::client_hello("site.plant.example", &[TLS13, TLS12]);
    let (first, second) = hello.split_at(hello.len() / 2);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at).opens().says(Client, first).in_vain(Client, second, &REPEATS);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked tls-cut"]);
    s
}

const BANNER: &[u8] = b"220 mail.plant.example ESMTP\r\n";

fn after_banner_reset(v6: bool) -> Scene {
    let mut s = Scene::defender(v6, &[]);
    for at in [10, 50, 90] {
        let talk = s.talk(s.sensor, s.dns, 25, at).opens().says(Server, BANNER);
        talk.loses(Client, b"EHLO sensor\r\n").firewall_resets();
    }
    s.expect(s.sensor, s.dns, 25, &["blocked cut"]);
    s
}

fn after_banner_dies(v6: bool) -> Scene {
    let mut s = Scene::defender(v6, &[]);
    for at in [10, 90] {
        let talk = s.talk(s.sensor, s.dns, 25, at).opens().says(Server, BANNER);
        talk.in_vain(Client, b"EHLO sensor\r\n", &REPEATS);
    }
    s.expect(s.sensor, s.dns, 25, &["blocked cut"]);
    s
}

fn cut_by_the_end(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    let said = bytes::amqp();
    for (at, repeats) in [(10, &REPEATS[..]), (138, &REPEATS[..3])] {
        s.talk(s.sensor, s.site, 5672, at).opens().exchange(&said[..2]).in_vain(Client, &said[2].1, repeats);
    }
    s.expect(s.sensor, s.site, 5672, &["blocked cut"]);
    s
}

/// A machine that always calls from one port: a SYN with another number is another connection, whatever became of the last.
fn fixed_port(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let (sensor, site) = (s.sensor, s.site);
    let talk = Talk::from_port(&mut s.plant, sensor, site, (45_000, 3006), 5 * S);
    talk.opens().exchange(&bytes::tls("site.plant.example", TLS13));
    for at in [60, 90] {
        Talk::from_port(&mut s.plant, sensor, site, (45_000, 3006), at * S).syns(&[1, 3, 7], Fate::Dies);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked dropped"]);
    s
}

fn reset_when_open(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 50, 90] {
        s.talk(s.sensor, s.site, 3006, at).opens().firewall_resets();
    }
    s.expect(s.sensor, s.site, 3006, &["blocked cut B"]);
    s
}

fn reset_when_half_open(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 50, 90] {
        s.talk(s.sensor, s.site, 3006, at).half_opens().firewall_resets();
    }
    s.expect(s.sensor, s.site, 3006, &["blocked cut B"]);
    s
}

/// Behind a router neither MAC nor hops tell who made a reset; that it comes sooner than light would does.
fn reset_too_soon(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006, 5672]);
    let router = s.plant.gateway(s.sensor.segment).mac;
    s.site.mac = router;
    s.site.ttl = 62;
    for at in [5, 30, 70, 120] {
        s.talk(s.sensor, s.site, 5672, at).opens_within(30 * MS).exchange(&bytes::amqp()).closes(Client);
    }
    for at in [10, 50, 90] {
        s.talk(s.sensor, s.site, 3006, at).target_refuses();
    }
    s.expect(s.sensor, s.site, 3006, &["blocked reset-by-middlebox B"]);
    s
}

/// What passes after it is no proof of a way that takes short segments alone: one of full size is missing, as it is where its content is not liked.
fn only_the_hello_dies(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    let flight = [&said[1].1[..], &bytes::sealed_data(900)].concat();
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at)
            .opens()
            .exchange(&said[..1])
            .loses_first(Server, &flight, &REPEATS);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked tls-cut C"]);
    s
}

/// TCP Fast Open (RFC 7413): what the SYN carries was never let in, and the SYNs after it carry nothing.
fn request_in_the_syn(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    for at in [10, 90] {
        let mut talk = s.talk(s.sensor, s.site, 5672, at);
        talk.packet(Client, SYN, bytes::AMQP, 0, Fate::Dies);
        for after in [1, 3, 7] {
            talk.packet(Client, SYN, &[], after * S, Fate::Dies);
        }
    }
    s.expect(s.sensor, s.site, 5672, &["blocked dropped B"]);
    s
}
