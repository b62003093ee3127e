//! What the target itself does: refuse, close, answer with an alert, speak something else, be off.

use super::Scenario;
use super::bytes;
use super::bytes::TLS12;
use super::bytes::TLS13;
use super::plant::Fate;
use super::plant::S;
use super::scene::Scene;
use super::talk::End;
use super::talk::End::Client;
use super::talk::End::Server;
use super::talk::REPEATS;

pub const ALL: &[Scenario] = &[
    ("nothing listens", refused),
    ("the target's own filter says prohibited", own_filter),
    ("the target resets at the ClientHello", |v6| answer(v6, 3006, Answer::Reset, &["failed closed"])),
    ("the target closes at the first request", |v6| answer(v6, 3006, Answer::Close, &["failed closed"])),
    ("no common version", |v6| answer(v6, 3006, Answer::Alert(70), &["violated weak-tls"])),
    ("access denied", |v6| answer(v6, 3006, Answer::Alert(49), &["failed tls-alert"])),
    ("unrecognised name", |v6| answer(v6, 3006, Answer::Alert(112), &["failed tls-alert"])),
    ("the broker refuses the login", broker_refuses),
    ("the broker answers another version with its own", other_version),
    ("a broker that wants TLS", |v6| answers(v6, 5672, bytes::AMQP, &bytes::alert(10), &["failed closed"])),
    ("a ClientHello answered in clear text", |v6| hello_answered(v6, b"HTTP/1.1 400 Bad Request\r\n\r\n")),
    ("a ClientHello answered by noise", |v6| hello_answered(v6, b"\x00\x01ERR bad request\n")),
    ("a client certificate is missing", certificate_missing),
    ("the request is taken and never answered", never_answered),
    ("TLS 1.2 where 1.3 is documented", old_tls),
    ("TLS 1.2 where no version is documented", any_tls),
    ("clear text where TLS is documented", clear_text),
    ("SSH where a queue is documented", wrong_protocol),
    ("nobody answers for the address", off),
    ("the target closes before anything is said", |v6| at_once(v6, Answer::Close)),
    ("the target resets before anything is said", |v6| at_once(v6, Answer::Reset)),
    ("the client trusts no such certificate", |v6| client_ends(v6, bytes::alert(48))),
    ("the client ends a handshake by a sealed alert", |v6| client_ends(v6, bytes::sealed_data(19))),
    ("SSH ends after the greetings, by the server", |v6| ssh_ends(v6, 2, Server, 0, "failed closed C")),
    ("SSH ends after the greetings, by the client", |v6| ssh_ends(v6, 2, Client, 0, "undecided")),
    ("SSH ends after the greetings, much later", |v6| ssh_ends(v6, 2, Server, 60, "undecided")),
    ("SSH ends as keys are agreed on, by the server", |v6| ssh_ends(v6, 4, Server, 0, "failed closed C")),
    ("SSH ends as keys are agreed on, by the client", |v6| ssh_ends(v6, 4, Client, 0, "undecided")),
    ("SSH ends once keys are exchanged", |v6| ssh_ends(v6, 6, Server, 0, "satisfied")),
    ("the server ends TLS in its handshake", |v6| tls_ends(v6, Server, 0, "failed closed C")),
    ("the client ends TLS without a word", |v6| tls_ends(v6, Client, 0, "undecided")),
    ("TLS is not finished, and ended much later", |v6| tls_ends(v6, Server, 60, "undecided")),
    ("the broker is being shut down", broker_forced),
    ("the broker closes at the login", broker_closes),
    ("the broker refuses a login of AMQP 1.0", broker_denies),
    ("the network is not known", |v6| unreachable(v6, [(3, 6), (1, 3)])),
    ("the host is not known", |v6| unreachable(v6, [(3, 7), (1, 6)])),
    ("the source is not heard there", |v6| unreachable(v6, [(3, 8), (1, 2)])),
    ("packets go round in a loop", |v6| unreachable(v6, [(11, 0), (3, 0)])),
    ("segments of full size are lost", black_hole),
    ("messages of full size are lost in a session that works", black_hole_later),
];

enum Answer {
    Reset,
    Close,
    Alert(u8),
}

fn refused(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 50, 90] {
        s.talk(s.sensor, s.site, 3006, at).target_refuses();
    }
    s.expect(s.sensor, s.site, 3006, &["failed refused"]);
    s
}

fn own_filter(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 90] {
        let sent = s.talk(s.sensor, s.site, 3006, at).syns(&[], Fate::Passes);
        let what = if v6 { (1, 1) } else { (3, 10) };
        s.plant.machine_says(at * S + 5_000, (s.site, s.sensor), what, &sent[0]);
    }
    s.expect(s.sensor, s.site, 3006, &["blocked prohibited"]);
    s
}

fn answer(v6: bool, port: u16, answer: Answer, said: &[&'static str]) -> Scene {
    let mut s = Scene::opswat(v6, &[port]);
    let hello = bytes::client_hello("site.plant.example", &[TLS13, TLS12]);
    for at in [10, 50, 90] {
        let talk = s.talk(s.sensor, s.site, port, at).opens().says(Client, &hello);
        match answer {
            Answer::Reset => talk.resets(Server),
            Answer::Close => talk.closes(Server),
            Answer::Alert(code) => talk.says(Server, &bytes::alert(code)).closes(Server),
        };
    }
    s.expect(s.sensor, s.site, port, said);
    s
}

fn broker_refuses(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    for at in [10, 90] {
        let talk = s.talk(s.sensor, s.site, 5672, at).opens().exchange(&bytes::amqp()[..3]);
        talk.says(Server, &bytes::amqp_close(403, "ACCESS_REFUSED")).closes(Server);
    }
    s.expect(s.sensor, s.site, 5672, &["failed closed"]);
    s
}

fn old_tls(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[443]);
    for at in [10, 90] {
        s.fine(s.user, s.manager, 443, at, &bytes::tls("em.plant.example", TLS12));
    }
    s.expect(s.user, s.manager, 443, &["violated weak-tls"]);
    s
}

fn any_tls(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 90] {
        s.fine(s.sensor, s.site, 3006, at, &bytes::tls("site.plant.example", TLS12));
    }
    s.expect(s.sensor, s.site, 3006, &["satisfied"]);
    s
}

fn clear_text(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[443]);
    for at in [10, 90] {
        s.fine(s.user, s.manager, 443, at, &bytes::http("em.plant.example", "200 OK"));
    }
    s.expect(s.user, s.manager, 443, &["violated cleartext"]);
    s
}

fn wrong_protocol(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    for at in [10, 90] {
        s.fine(s.sensor, s.site, 5672, at, &bytes::ssh());
    }
    s.expect(s.sensor, s.site, 5672, &["violated wrong-protocol"]);
    s
}

fn off(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[]);
    let second = s.plant.ghost(10, 12);
    s.bind("site-manager", format!("[\"{}\", \"{}\"]", s.site.ip, second.ip));
    for at in (5..130).step_by(12) {
        for after in 0..3 {
            s.plant.asks((at + after) * S, s.sensor, second, false);
        }
    }
    s.expect(s.sensor, second, 3006, &["failed host-down"]);
    s.expect(s.sensor, second, 5672, &["failed host-down"]);
    s
}

fn answers(v6: bool, port: u16, asked: &[u8], answer: &[u8], said: &[&'static str]) -> Scene {
    let mut s = Scene::opswat(v6, &[port]);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, port, at).opens().says(Client, asked).says(Server, answer).closes(Server);
    }
    s.expect(s.sensor, s.site, port, said);
    s
}

fn hello_answered(v6: bool, answer: &[u8]) -> Scene {
    let hello = bytes::client_hello("site.plant.example", &[TLS13, TLS12]);
    answers(v6, 3006, &hello, answer, &["violated", "failed"])
}

/// AMQP 0-9-1 section 4.2.2: a server that does not take a version writes its own header and closes.
fn other_version(v6: bool) -> Scene {
    answers(v6, 5672, b"AMQP\x00\x01\x00\x00", bytes::AMQP, &["failed closed"])
}

/// After a ServerHello the two ends have agreed: what fails then is neither version nor cipher.
fn certificate_missing(v6: bool) -> Scene {
    const HANDSHAKE_FAILURE: u8 = 40;
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS12);
    for at in [10, 90] {
        let talk = s.talk(s.sensor, s.site, 3006, at).opens().exchange(&said[..3]);
        talk.says(Server, &bytes::alert(HANDSHAKE_FAILURE)).closes(Server);
    }
    s.expect(s.sensor, s.site, 3006, &["failed tls-alert"]);
    s
}

fn never_answered(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 5672, at).opens().says(Client, bytes::AMQP).waits(30 * S).closes(Client);
    }
    s.expect(s.sensor, s.site, 5672, &["failed", "undecided"]);
    s
}

fn at_once(v6: bool, answer: Answer) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 50, 90] {
        let talk = s.talk(s.sensor, s.site, 3006, at).opens();
        match answer {
            Answer::Reset => talk.resets(Server),
            _ => talk.closes(Server),
        };
    }
    s.expect(s.sensor, s.site, 3006, &["failed closed C"]);
    s
}

/// In TLS 1.3 the server's certificate is encrypted, and what the client thinks of it may be: it says no more after it.
fn client_ends(v6: bool, alert: Vec<u8>) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at).opens().exchange(&said[..2]).says(Client, &alert).closes(Client);
    }
    s.expect(s.sensor, s.site, 3006, &["failed tls-alert C"]);
    s
}

/// SSH up to its first messages, then one end closes.
fn ssh_ends(v6: bool, said: usize, by: End, after: u64, verdict: &'static str) -> Scene {
    let mut s = Scene::defender(v6, &[22]);
    for at in [10, 80] {
        let talk = s.talk(s.user, s.sensor, 22, at).opens().exchange(&bytes::ssh()[..said]);
        talk.waits(after * S).closes(by);
    }
    s.expect(s.user, s.sensor, 22, &[verdict]);
    s
}

/// TLS up to the server's first flight, then one end closes.
fn tls_ends(v6: bool, by: End, after: u64, verdict: &'static str) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    for at in [10, 80] {
        let talk = s.talk(s.sensor, s.site, 3006, at).opens().exchange(&said[..2]);
        talk.waits(after * S).closes(by);
    }
    s.expect(s.sensor, s.site, 3006, &[verdict]);
    s
}

fn broker_forced(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    for at in [10, 90] {
        let talk = s.talk(s.sensor, s.site, 5672, at).opens().exchange(&bytes::amqp()[..5]);
        talk.says(Server, &bytes::amqp_close(320, "CONNECTION_FORCED")).closes(Server);
    }
    s.expect(s.sensor, s.site, 5672, &["failed closed"]);
    s
}

/// AMQP 0-9-1 section 4.2.2: a server may close without a word what it does not let in.
fn broker_closes(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 5672, at).opens().exchange(&bytes::amqp()[..3]).waits(S).closes(Server);
    }
    s.expect(s.sensor, s.site, 5672, &["failed closed"]);
    s
}

/// AMQP 1.0 section 5.3.3.6: an outcome of 1 is that the login fails.
fn broker_denies(v6: bool) -> Scene {
    const SASL: &[u8] = b"AMQP\x03\x01\x00\x00";
    const MECHANISMS: &[u8] = b"\x00\x00\x00\x15\x02\x01\x00\x00\x00\x53\x40\xc0\x08\x01\xa3\x05PLAIN";
    const INIT: &[u8] =
        b"\x00\x00\x00\x1e\x02\x01\x00\x00\x00\x53\x41\xc0\x11\x02\xa3\x05PLAIN\xa0\x07\0mq\0pw!";
    const OUTCOME: &[u8] = b"\x00\x00\x00\x10\x02\x01\x00\x00\x00\x53\x44\xc0\x03\x01\x50\x01";
    let mut s = Scene::opswat(v6, &[5672]);
    for at in [10, 90] {
        let talk = s.talk(s.sensor, s.site, 5672, at).opens().says(Client, SASL);
        talk.says(Server, &[SASL, MECHANISMS].concat())
            .says(Client, INIT)
            .says(Server, OUTCOME)
            .closes(Server);
    }
    s.expect(s.sensor, s.site, 5672, &["failed closed"]);
    s
}

fn unreachable(v6: bool, what: [(u8, u8); 2]) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    for at in [10, 90] {
        let sent = s.talk(s.sensor, s.site, 3006, at).syns(&[1, 3], Fate::Dies);
        for (syn, after) in sent.iter().zip([0, 1, 3]) {
            s.plant.firewall_says((at + after) * S + 4_000, s.sensor, what[usize::from(v6)], syn);
        }
    }
    s.expect(s.sensor, s.site, 3006, &["failed unreachable C"]);
    s
}

/// RFC 2923 section 2.1: the server's certificates fill its segments, and a tunnel on the way takes none so long.
fn black_hole(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006]);
    let said = bytes::tls("site.plant.example", TLS13);
    let flight = [&said[1].1[..], &bytes::sealed_data(1_900)].concat();
    for at in [10, 90] {
        s.talk(s.sensor, s.site, 3006, at).opens().exchange(&said[..1]).loses_long(Server, &flight, &REPEATS);
    }
    s.expect(s.sensor, s.site, 3006, &["failed unreachable C"]);
    s
}

fn black_hole_later(v6: bool) -> Scene {
    let mut s = Scene::opswat(v6, &[5672]);
    let talk = s.talk(s.sensor, s.site, 5672, 10).opens().exchange(&bytes::amqp());
    talk.loses_long(Client, &[2; 3_000], &REPEATS);
    s.expect(s.sensor, s.site, 5672, &["failed unreachable C"]);
    s
}
