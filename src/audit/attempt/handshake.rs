//! Sessions that greet each other and end before they have agreed on anything: an answer came back, and no more than that is shown.

use std::time::Duration;

use crate::model::FlowRecord;
use crate::model::Proofs;

use crate::audit::view::View;

use super::State;
use super::cut::by_client;
use super::cut::came_another_way;
use super::cut::closed;

/// Segments that a ClientHello may come in; one with post-quantum key shares fills two.
const MOST_OF_A_HELLO: u64 = 2;

/// How far a session came.
struct Begun {
    /// What the server said, as a sentence goes on after its name.
    said: &'static str,
    /// What was due next: "before ...".
    due: &'static str,
    /// Whether the client did its part, so that the end is the server's doing.
    waits_for_server: bool,
    /// Whether a snap length may have cut off what was said next.
    is_cut: bool,
}

/// A session of which no more is shown than a beginning: whose doing that is, where that shows.
pub(super) fn only_begun(flow: &FlowRecord, view: &View<'_>) -> Option<State> {
    /// Who goes on does so sooner (servers give a login a minute or two, and then end it).
    const SOON: Duration = Duration::from_secs(10);
    let Begun { said, due, waits_for_server, is_cut } = begun(flow, view)?;
    let (client, server) = (&flow.from_client, &flow.from_server);
    let ended = server.reset.map(|reset| reset.at).or(server.fin);
    let given_up = client.fin.or(client.reset.map(|reset| reset.at));
    if is_cut {
        return Some(State::Opened(format!(
            "the way is open and {} {said}, but packets are cut by a snap length: whether {due} is not shown",
            flow.server.host
        )));
    }
    let opened = |how: String| {
        Some(State::Opened(format!(
            "the way is open and {} {said}, but {how}: that a session works is not shown",
            flow.server.host
        )))
    };
    let Some(ended) = ended.filter(|at| !by_client(flow, *at)) else {
        return opened(match given_up {
            Some(at) => format!("{} ends it before {due} ({})", flow.client.host, view.packet(at)),
            None => format!("what was captured of it ends before {due} ({})", view.packet(flow.last)),
        });
    };
    if let Some(why) = view.loss_explains(view.missing(flow), 1) {
        return Some(State::Unclear(why));
    }
    let spoken = client.last_payload.max(server.last_payload).unwrap_or(flow.first);
    if !waits_for_server || ended.time.since(spoken.time) > SOON {
        return opened(format!("nobody goes on, and it is ended before {due} ({})", view.packet(ended)));
    }
    if let Some(reset) = server.reset.filter(|reset| came_another_way(flow, reset)) {
        return Some(State::Stopped(
            reset.at,
            format!(
                "{} {said}, then the connection is reset before {due}, by another way than what else it sends: the server or something in between",
                flow.server.host
            ),
        ));
    }
    let word = if server.reset.is_some() { "resets" } else { "closes" };
    let evidence = Proofs::new(ended, format!("the connection is ended in the name of {}", flow.server.host))
        .and_maybe(client.last_payload, "the last that the client said")
        .and_maybe(server.last_payload, "the last that the server said");
    Some(closed(flow, &format!("{said}, then {word} it before {due}"), evidence))
}

/// How far a session came of which both ends are captured without a gap, and no more is shown than its beginning.
fn begun(flow: &FlowRecord, view: &View<'_>) -> Option<Begun> {
    let (client, server) = (&flow.from_client, &flow.from_server);
    let whole = [client, server].iter().all(|side| side.packets > 0 && side.unseen_acknowledged == 0);
    if !whole || server.payload_packets == 0 {
        return None;
    }
    ssh(flow, view).or_else(|| tls(flow)).or_else(|| greeting(flow))
}

/// SSH: identification lines, and no answer in the key exchange (RFC 4253 sections 4.2 and 7).
///
/// What it is recognised by is in the clear only before that, so its beginning was captured, with the opening or without.
fn ssh(flow: &FlowRecord, view: &View<'_>) -> Option<Begun> {
    /// An identification line and what a server can do come to less; whatever says more is no beginning any longer.
    const LITTLE: u64 = 2 * 1024;
    let facts = &flow.classification.facts;
    // Version 1 has another key exchange.
    let is_2 = facts.all("ssh.version").all(|version| version.starts_with('2') || version == "1.99");
    // Each stage is told as it is reached.
    let reaches = |stage: &str| facts.all("ssh.key_exchange").any(|reached| reached == stage);
    let (client, server) = (&flow.from_client, &flow.from_server);
    let little = client.payload_bytes <= LITTLE && server.payload_bytes <= LITTLE;
    if flow.classification.protocol != Some("ssh") || !is_2 || !little || reaches("answered") {
        return None;
    }
    let said = if reaches("begun") { "greets and begins to agree on keys" } else { "greets" };
    let spoke = client.payload_packets > 0;
    Some(Begun {
        said,
        due: "keys are exchanged",
        waits_for_server: spoke,
        is_cut: spoke && view.cuts(flow.first),
    })
}

/// TLS: a ClientHello and the server's first flight, and nothing of the client after it (RFC 8446 section 2, RFC 5246 section 7.3).
fn tls(flow: &FlowRecord) -> Option<Begun> {
    let seen = &flow.classification;
    let said = |key: &str| seen.facts.get(key).is_some();
    let (asked, answer) = (flow.from_client.last_payload?, flow.from_server.first_payload?);
    // What is left of a session that was told of before, a day at a time, is no beginning.
    let begins =
        seen.facts.fact("tls.client_hello").is_some_and(|hello| hello.at.is_none_or(|at| at >= flow.first));
    // Two directions may be captured by two interfaces, one after the other: the order alone is not enough.
    let only_hello = asked < answer
        && begins
        && flow.from_client.payload_packets <= MOST_OF_A_HELLO
        && seen.facts.all("tls.application_data").all(|end| end != "client");
    (seen.layers.first() == Some(&"tls")
        && (said("tls.server_hello") || said("tls.server_handshake"))
        && only_hello)
        .then_some(Begun {
            said: "answers the ClientHello",
            due: "the handshake is finished",
            waits_for_server: true,
            is_cut: false,
        })
}

/// Services that greet first and wait for what the client has to say: it says nothing.
fn greeting(flow: &FlowRecord) -> Option<Begun> {
    /// RFC 5321 section 3.1, RFC 959 section 5.4, RFC 1939 section 4, RFC 9051 section 3, RFC 6143 section 7.1.1, MySQL's connection phase.
    const GREET: [&str; 6] = ["smtp", "ftp", "pop3", "imap", "vnc", "mysql"];
    let greets = flow.classification.protocol.is_some_and(|protocol| GREET.contains(&protocol));
    (greets && flow.from_client.payload_packets == 0).then_some(Begun {
        said: "greets",
        due: "the client says anything",
        waits_for_server: false,
        is_cut: false,
    })
}
