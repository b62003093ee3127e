//! What looks like trouble and is none.

use super::Scenario;
use super::bytes;
use super::bytes::TLS13;
use super::plant::Fate;
use super::plant::S;
use super::scene::Scene;
use super::talk::End::Client;
use super::talk::End::Server;
use super::talk::Talk;
use super::wire::ACK;
use super::wire::RST;
use super::wire::SYN;

pub const ALL: &[Scenario] = &[
    ("all works", |v6| Scene::opswat(v6, &[])),
    ("the first SYN is lost", first_syn_lost),
    ("the ClientHello is repeated once", hello_repeated),
    ("client and server reset what is done", resets_at_the_end),
    ("a session from before the capture", from_before),
    ("a probe that opens and resets", probe),
    ("a challenge acknowledgement", challenge),
    ("an error for a flow that never was", forged_error),
    ("a reset of a past session of the pair", |v6| blocked_then_works(v6)),
    ("of two addresses one is dead", any_of),
    ("of two addresses one is dead, and the other's sessions are cut off", any_of_and_cut),
    ("a packet too big for the way", too_big),
    ("a server that repeats its flight, seen alone", server_alone),
    ("the server restarts", restart),
    ("too little to tell", too_little),
    ("the attempt ends with the capture", at_the_end),
];

fn first_syn_lost(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    for at in [10, 90] {
        let mut talk = s.talk(s.sensor, s.site, 3006, at);
        talk.syns(&[], Fate::Dies);
        talk.waits(S).opens().exchange(&said).closes(Client);
    }
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s
}

fn hello_repeated(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    for at in [10, 90] {
        let talk = s.talk(s.sensor, s.site, 3006, at).opens().in_vain(Client, &said[0].1, &[200]);
        talk.waits(S / 2).exchange(&said).closes(Client);
    }
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s
}

fn resets_at_the_end(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006, 5672]);
    for at in [10, 90] {
        let said = bytes::tls("site.plant.example", TLS13);
        s.talk(s.sensor, s.site, 3006, at).opens().exchange(&said).resets(Client);
        s.talk(s.sensor, s.site, 5672, at).opens().exchange(&bytes::amqp()).resets(Server);
    }
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s.expect(s.sensor, s.site, 5672, &["satisfied"]);
    s
}

fn from_before(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let mut talk = s.talk(s.sensor, s.site, 3006, 1);
    for _ in 0..12 {
        talk = talk.says(Client, &bytes::sealed_data(80)).says(Server, &bytes::sealed_data(40)).waits(10 * S);
    }
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s
}

fn probe(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    for at in (5..140).step_by(9) {
        s.talk(s.sensor, s.site, 3006, at).opens().resets(Client);
    }
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s
}

/// A SYN for a connection that the server still holds is answered by an acknowledgement (RFC 5961 section 4), which is no success.
fn challenge(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006, 5672]);
    for at in [10, 90] {
        let mut talk = s.talk(s.sensor, s.site, 3006, at);
        talk.packet(Client, SYN, &[], 0, Fate::Passes);
        talk.packet(Server, ACK, &[], 500, Fate::Passes);
        talk.packet(Client, RST, &[], 1_000, Fate::Passes);
        talk.waits(S).opens().exchange(&bytes::tls("site.plant.example", TLS13)).closes(Client);
        let mut talk = s.talk(s.sensor, s.site, 5672, at);
        for after in [0, 1, 3] {
            talk.packet(Client, SYN, &[], after * S, Fate::Passes);
            talk.packet(Server, ACK, &[], after * S + 500, Fate::Passes);
        }
    }
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s.expect(s.sensor, s.site, 5672, &["undecided"]);
    s
}

fn forged_error(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    // The packet that it quotes is nowhere in the recording.
    let mut elsewhere = Scene::opswat(v6, &[]);
    let quoted = elsewhere.talk(s.sensor, s.site, 3006, 60).syns(&[], Fate::Dies);
    s.plant.firewall_says(60 * S, s.sensor, if v6 { (1, 1) } else { (3, 13) }, &quoted[0]);
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s
}

fn blocked_then_works(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [5, 30] {
        s.talk(s.sensor, s.site, 3006, at).syns(&[1, 3, 7], Fate::Dies);
    }
    for at in [70, 100] {
        s.fine(s.sensor, s.site, 3006, at, &bytes::tls("site.plant.example", TLS13));
    }
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s
}

fn any_of(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let second = s.plant.machine(20, 112);
    s.bind("site-manager", format!("[{{ any_of = [\"{}\", \"{}\"] }}]", s.site.ip, second.ip));
    for at in [5, 60, 110] {
        s.fine(s.sensor, s.site, 3006, at, &bytes::tls("site.plant.example", TLS13));
        Talk::new(&mut s.plant, s.sensor, second, 3006, (at + 9) * S).syns(&[1, 3, 7], Fate::Dies);
    }
    let party = format!("{} or {}", s.site.ip, second.ip);
    s.expect_named(s.sensor, &party, "tcp/3006", &["satisfied"]);
    s
}

/// What gets through and is not recognised is no failure of its party.
fn any_of_and_cut(v6: bool) -> Scene {
    let mut s = any_of(v6);
    s.forget_expectations();
    s.plant.cut_at(54);
    let party = format!("{} or {}", s.site.ip, s.plant.ghost(20, 112).ip);
    s.expect_named(s.sensor, &party, "tcp/3006", &["undecided"]);
    s
}

fn too_little(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [30, 60] {
        s.talk(s.sensor, s.site, 3006, at).syns(&[1], Fate::Dies);
    }
    s.expect(s.sensor, s.site, 3006, &["undecided"]);
    s
}

fn at_the_end(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    s.talk(s.sensor, s.site, 3006, 138).syns(&[1], Fate::Dies);
    s.expect(s.sensor, s.site, 3006, &["undecided"]);
    s
}

/// Path-MTU discovery (RFC 1191, RFC 8201): the error is part of how it works.
fn too_big(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    for at in [10, 90] {
        let mut talk = s.talk(s.sensor, s.site, 3006, at).opens().exchange(&said[..1]);
        let (began, packet) = (talk.at, talk.packet(Server, ACK, &said[1].1, 0, Fate::Dies));
        talk.waits(2_000).exchange(&said[1..]).closes(Client);
        s.plant.firewall_says(began + 500, s.site, if v6 { (2, 0) } else { (3, 4) }, &packet);
    }
    let site = s.site.mac;
    let gateway = s.plant.gateway(s.site.segment).mac;
    s.plant.forget(|_, frame| frame[6..12] != site && frame[6..12] != gateway);
    s.expect(s.sensor, s.site, 3006, &["satisfied", "undecided"]);
    s
}

fn server_alone(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    for at in [10, 90] {
        let talk = s.talk(s.sensor, s.site, 3006, at).opens().exchange(&said[..1]);
        talk.in_vain(Server, &said[1].1, &[200, 600]).waits(S).exchange(&said[1..]).closes(Client);
    }
    let site = s.site.mac;
    s.plant.forget(|_, frame| frame[6..12] != site);
    s.expect(s.sensor, s.site, 3006, &["satisfied", "undecided"]);
    s
}

/// Data into a dead session, a reset from a server that has forgotten it, and a new session that works.
fn restart(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    let talk = s.talk(s.sensor, s.site, 5672, 5).opens().exchange(&bytes::amqp()).waits(50 * S);
    talk.in_vain(Client, &bytes::amqp_close(200, "bye"), &[200, 600, 1_400, 3_000, 6_200]).resets(Server);
    s.fine(s.sensor, s.site, 5672, 90, &bytes::amqp());
    s.expect(s.sensor, s.site, 5672, &["satisfied"]);
    s
}
