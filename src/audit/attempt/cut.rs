//! Connections that open and then stall, or are reset or closed at the first request.

use std::time::Duration;

use crate::model::BLACK_HOLE;
use crate::model::Culprit;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::Mechanism;
use crate::model::Outcome;
use crate::model::PacketRef;
use crate::model::Proofs;
use crate::model::Reset;
use crate::model::Role;
use crate::model::SideRecord;

use crate::audit::view::FOR_COMPARISON;
use crate::audit::view::Forged;
use crate::audit::view::Sight;
use crate::audit::view::Tried;
use crate::audit::view::View;
use crate::audit::view::hops;

use super::Doubt;
use super::Fault;
use super::State;
use super::cap;

/// Copies of one segment never acknowledged that make a cut.
const COPIES_OF_ONE: u32 = 3;
/// Copies of one segment, and the time that they take, that show a session to be dead which had worked (RFC 1122 section
/// 4.2.3.5 has the sender suspect the path after three repetitions).
const COPIES_OF_LATER: u32 = 5;
const LATER_SPAN: Duration = Duration::from_secs(3);
/// A segment at least this long may have met a path-MTU black hole instead of a filter (Ethernet's 1500 less headers and a tunnel).
const FULL_SIZE: u32 = 1300;

/// Who ends a connection sooner after a request does not wait for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Opened, then the first data stalls or is answered by a reset or a close.
pub(super) fn at_first(flow: &FlowRecord, view: &View<'_>) -> Option<State> {
    let (client, server) = (&flow.from_client, &flow.from_server);
    let tls = flow.classification.layers.contains(&"tls");
    let mechanism = if tls { Mechanism::TlsCut } else { Mechanism::Cut };
    // Either packet of the handshake may be missing from a lossy capture: data after one of them shows that it opened.
    let opened = server.syn.count > 0 || flow.outcome == Outcome::Cut || client.syn.count > 0;
    if !opened {
        return None;
    }
    if let Some(reset) = server
        .reset
        .as_ref()
        .filter(|_| client.payload_packets > 0 && (server.payload_packets == 0 || is_unheard(flow)))
    {
        return Some(reset_after_request(flow, reset, mechanism, view));
    }
    if let Some(state) = ended_at_once(flow, view) {
        return Some(state);
    }
    for (role, stalled) in [(Role::Client, client), (Role::Server, server)] {
        if let Some(state) = stall(flow, role, stalled, mechanism, view) {
            return Some(state);
        }
    }
    let unanswered =
        client.payload_packets > 0 && server.payload_packets == 0 && client.payload_acknowledged > 0;
    let gave_up = client.fin.or(client.reset.map(|reset| reset.at));
    if unanswered && let Some(gave_up) = gave_up.filter(|at| server.fin.is_none_or(|fin| *at < fin)) {
        let asked = client.last_payload.unwrap_or(flow.first);
        let waited = gave_up.time.since(asked.time);
        if waited < PATIENCE {
            return Some(State::Unclear(format!(
                "{} acknowledges the first request, and {} ends the connection before anything is answered",
                flow.server.host, flow.client.host
            )));
        }
        if let Some(why) = view.loss_explains(view.missing(flow), 1) {
            return Some(State::Unclear(why));
        }
        return Some(State::Stopped(
            asked,
            format!(
                "{} acknowledges the {} and never answers it; {} gives up {:.0} s later ({}): what runs there hangs, or its answer is held back on the way",
                flow.server.host,
                if tls { "ClientHello" } else { "first request" },
                flow.client.host,
                waited.as_secs_f64(),
                view.packet(gave_up)
            ),
        ));
    }
    if let Some(fin) = server.fin.filter(|_| unanswered)
        && view.loss_explains(view.missing(flow), 1).is_none()
    {
        let evidence = Proofs::new(fin, format!("{} closes without a word", flow.server.host))
            .and_maybe(client.first_payload, "the request");
        return Some(closed(flow, "closes it at the first request", evidence));
    }
    None
}

/// Reset or closed in the server's name as soon as it was open, before either end said anything. Later than that it may be a connection that its
/// client opened in advance and had no use for.
fn ended_at_once(flow: &FlowRecord, view: &View<'_>) -> Option<State> {
    const AT_ONCE: Duration = Duration::from_secs(1);
    let (client, server) = (&flow.from_client, &flow.from_server);
    let opened = server.syn.first.filter(|_| client.syn.count > 0)?;
    let said = [client, server].iter().any(|side| side.payload_packets > 0 || side.unseen_acknowledged > 0);
    let ended = server.reset.map(|reset| reset.at).or(server.fin)?;
    if said || by_client(flow, ended) || ended.time.since(opened.time) > AT_ONCE {
        return None;
    }
    if let Some(why) = view.loss_explains(view.missing(flow), 1) {
        return Some(State::Unclear(why));
    }
    let word = if server.reset.is_some() { "resets" } else { "closes" };
    let evidence = Proofs::new(ended, format!("the connection is ended in the name of {}", flow.server.host))
        .and(opened, "it had just opened");
    Some(match server.reset {
        Some(reset) if let Some(forged) = view.forged(flow.cell, flow.server.host, &reset) => {
            let by = Some(Culprit { who: forged.maker.to_string(), kind: "firewall" });
            let reason = format!(
                "the connection opens and is reset at once by a reset that is not the server's: {}",
                forged.why
            );
            let evidence = evidence.and_maybe(forged.own, FOR_COMPARISON);
            let failure = Failure { mechanism: Mechanism::Cut, grade: Grade::B, by, evidence };
            State::Fails(Fault::Blocked, failure, reason)
        }
        Some(reset) if came_another_way(flow, &reset) => State::Stopped(
            reset.at,
            format!(
                "the connection opens and is reset at once, by another way than what else {} sends: the server or something in between",
                flow.server.host
            ),
        ),
        _ => closed(flow, &format!("{word} it before anything is said"), evidence),
    })
}

/// Whether a connection that the server ends here was ended by its client before.
///
/// Mirrors stamp an answer up to a millisecond before its cause; of two FINs the acknowledgements tell which came first.
pub(super) fn by_client(flow: &FlowRecord, ended: PacketRef) -> bool {
    const EARLY: Duration = Duration::from_millis(1);
    let (client, server) = (&flow.from_client, &flow.from_server);
    match (server.reset, client.fin.or(client.reset.map(|reset| reset.at))) {
        (_, None) => false,
        (Some(_), Some(at)) => at.time <= ended.time.plus(EARLY),
        (None, Some(_)) => server.fin_answers || !client.fin_answers,
    }
}

/// The server's own doing: it takes the connection and ends it.
pub(super) fn closed(flow: &FlowRecord, how: &str, evidence: Proofs) -> State {
    let server = flow.server.host.to_string();
    let reason = format!("{server} accepts the connection and {how}");
    let by = Some(Culprit { who: server, kind: "server" });
    State::Fails(
        Fault::Failed,
        Failure { mechanism: Mechanism::Closed, grade: Grade::C, by, evidence },
        reason,
    )
}

/// Whether a reset in the server's name differs from its other packets. Behind a router neither a MAC nor a time to live proves anything by itself,
/// and neither do they let the server be blamed.
pub(super) fn came_another_way(flow: &FlowRecord, reset: &Reset) -> bool {
    let server = &flow.from_server;
    server.mac.is_none()
        || reset.mac.zip(server.mac).is_some_and(|(one, other)| one != other)
        || server.ttl.is_some_and(|ttl| {
            // A copy taken behind the next router counts one hop more.
            let (usual, here) = (hops(ttl), hops(reset.ttl));
            here < usual || here > usual + 1
        })
}

/// Whether the server spoke first, and nothing that the client said then was ever acknowledged or answered: a banner alone is no success.
pub(super) fn is_unheard(flow: &FlowRecord) -> bool {
    let (client, server) = (&flow.from_client, &flow.from_server);
    client.payload_packets > 0
        && client.payload_acknowledged == 0
        && server.payload_packets > 0
        && server.last_payload <= client.first_payload
}

/// A reset where an answer to the first request was due.
fn reset_after_request(flow: &FlowRecord, reset: &Reset, mechanism: Mechanism, view: &View<'_>) -> State {
    let request = if mechanism == Mechanism::TlsCut { "ClientHello" } else { "first request" };
    let evidence =
        Proofs::new(reset.at, format!("reset in the name of {} answers the {request}", flow.server.host))
            .and_maybe(flow.from_client.first_payload, "what the client sent");
    match view.forged(flow.cell, flow.server.host, reset) {
        Some(Forged { why, maker, own }) => {
            let by = Some(Culprit { who: maker.to_string(), kind: "firewall" });
            let evidence = evidence.and_maybe(own, FOR_COMPARISON);
            let reason = format!(
                "the connection opens, then the {request} is answered by a reset that is not the server's: {why}"
            );
            State::Fails(Fault::Blocked, Failure { mechanism, grade: Grade::B, by, evidence }, reason)
        }
        None if flow.from_client.payload_packets == 1
            && let Some(why) = view.too_soon(flow, flow.from_client.first_payload, reset) =>
        {
            let reason = format!(
                "the connection opens, then the {request} is answered by a reset that is not the server's: {why}"
            );
            State::Fails(Fault::Blocked, Failure { mechanism, grade: Grade::B, by: None, evidence }, reason)
        }
        None if came_another_way(flow, reset) => State::Stopped(
            reset.at,
            format!(
                "the {request} is answered by a reset that came another way than what else {} sends: the server or something in between",
                flow.server.host
            ),
        ),
        None => closed(flow, &format!("resets it at the {request}"), evidence),
    }
}

/// A way that takes no segments of full size, and on which nobody says so (RFC 2923 section 2.1): the other end acknowledges shorter ones that were
/// sent after several long ones, and those are repeated in vain.
fn black_hole(flow: &FlowRecord, role: Role) -> Option<State> {
    let side = flow.side(role);
    let said = side.passed.filter(|_| side.unacknowledged.count >= COPIES_OF_ONE)?;
    let (sender, receiver) = match role {
        Role::Client => (flow.client.host, flow.server.host),
        Role::Server => (flow.server.host, flow.client.host),
    };
    let (count, length) = (side.unacknowledged.count, side.unacknowledged_length);
    let first = side.unacknowledged.first.unwrap_or(flow.first);
    let evidence = Proofs::new(
        first,
        format!("a segment of {length} bytes, sent {count} times by {sender} and never acknowledged"),
    )
    .and(said, format!("{receiver} acknowledges (SACK) a shorter one that was sent after it"))
    .and_maybe(side.unacknowledged.last, "its last repetition");
    let reason = format!(
        "{BLACK_HOLE}: segments of {length} bytes from {sender} do not reach {receiver}, shorter ones do, and no ICMP message says that they are too big"
    );
    let failure = Failure { mechanism: Mechanism::Unreachable, grade: Grade::C, by: None, evidence };
    Some(State::Fails(Fault::Failed, failure, reason))
}

/// One side's data repeated and never acknowledged.
fn stall(
    flow: &FlowRecord,
    role: Role,
    side: &SideRecord,
    mechanism: Mechanism,
    view: &View<'_>,
) -> Option<State> {
    let series = side.unacknowledged;
    // The first part of a request that gets through is no progress as long as nothing is answered.
    let progress = side.payload_acknowledged > 0
        && !(role == Role::Client && flow.from_server.payload_packets == 0 && series.count > 0);
    if series.count < COPIES_OF_ONE || progress {
        return None;
    }
    let (sender, receiver) = match role {
        Role::Client => (flow.client.host, flow.server.host),
        Role::Server => (flow.server.host, flow.client.host),
    };
    let last = series.last.unwrap_or(flow.last);
    if !view.is_settled(&series, COPIES_OF_ONE) {
        return Some(State::Unclear(
            "the capture ends before the unacknowledged data could be given up".to_owned(),
        ));
    }
    if let Some(why) = view.loss_explains(view.missing(flow), series.count) {
        return Some(State::Unclear(why));
    }
    if let Some(state) = black_hole(flow, role) {
        return Some(state);
    }
    let tried = Tried::of(&series, flow.transport);
    if role == Role::Server && flow.from_client.last.is_none_or(|last| last.time < tried.between.0) {
        // A client that is not heard may acknowledge all the same.
        let sight =
            view.sight(flow.cell, sender, side, receiver, Tried { repeats_until_answered: false, ..tried });
        if let Sight::None(why) | Sight::Likely(why) = sight {
            return Some(State::Unclear(why));
        }
    }
    if role == Role::Client
        && let Sight::None(why) =
            view.sight(flow.cell, flow.client.host, &flow.from_client, flow.server.host, tried)
    {
        return Some(State::Unclear(why));
    }
    let what = match (mechanism, role) {
        (Mechanism::TlsCut, Role::Client) => "ClientHello",
        (Mechanism::TlsCut, Role::Server) => "server's TLS handshake",
        (_, Role::Client) => "first request",
        (_, Role::Server) => "first answer",
    };
    let first = series.first.unwrap_or(flow.first);
    let evidence = Proofs::new(
        first,
        format!("the {what}, sent {} times by {sender} and never acknowledged", series.count),
    )
    .and(last, "its last repetition")
    .and_maybe(flow.from_server.syn.first, "the connection had opened");
    let full_size = side.unacknowledged_length >= FULL_SIZE;
    let mut reason = format!("the connection opens, then the {what} never reaches {receiver}");
    if full_size {
        reason.push_str(&format!(" (or full-size packets are lost on the way: {BLACK_HOLE})"));
    }
    let grade = cap(if full_size { Grade::C } else { Grade::B }, view.missing(flow), view, &mut reason);
    Some(State::Fails(Fault::Blocked, Failure { mechanism, grade, by: None, evidence }, reason))
}

/// A session that works, and that somebody else ends by a reset in the name of one of its ends (DESIGN: reset by something that is provably
/// not the peer).
pub(super) fn torn(flow: &FlowRecord, view: &View<'_>) -> Option<State> {
    let closed = flow.from_client.fin.is_some() || flow.from_server.fin.is_some();
    [(flow.server.host, &flow.from_server), (flow.client.host, &flow.from_client)].into_iter().find_map(
        |(host, side)| {
            let reset = side.reset.as_ref().filter(|_| !closed)?;
            let Forged { why, maker, .. } = view.forged(flow.cell, host, reset)?;
            let evidence = Proofs::new(reset.at, format!("reset in the name of {host}, made by {maker}"))
                .and_maybe(side.last_payload, "for comparison: the last that it said itself");
            let by = Some(Culprit { who: maker.to_string(), kind: "firewall" });
            let reason = format!("the session worked, then a reset ends it that is not {host}'s: {why}");
            let failure = Failure { mechanism: Mechanism::Cut, grade: Grade::B, by, evidence };
            Some(State::Fails(Fault::Blocked, failure, reason))
        },
    )
}

/// A session of which only the client was captured, and which its client resets after a long silence: so ends one whose keep-alives nobody
/// answers (RFC 9293 section 3.8.4), and one that a program has done with.
pub(super) fn given_up(flow: &FlowRecord) -> Option<State> {
    /// Nobody waits longer for an answer that is on its way.
    const LONG: Duration = Duration::from_secs(5);
    let client = &flow.from_client;
    let reset = client.reset.filter(|_| flow.from_server.packets == 0 && client.fin.is_none())?;
    let said = client.last_payload?;
    let silence = reset.at.time.since(said.time);
    (silence >= LONG).then(|| {
        State::Stopped(
            said,
            format!(
                "worked, then {} resets it after {:.0} s in which it said nothing; what {} sends is not on this mirror, so whether keep-alives went unanswered is not shown",
                flow.client.host,
                silence.as_secs_f64(),
                flow.server.host
            ),
        )
    })
}

/// Whether the end of what was seen of a session leaves open that it still works: data repeated and not acknowledged, or bytes of the server
/// acknowledged and not captured while it had said little (a refusal may have stood there).
pub(super) fn doubtful(flow: &FlowRecord) -> Option<Doubt> {
    /// What a refusal fits into: an HTTP page, a TLS flight, an AMQP close.
    const LITTLE: u64 = 8 * 1024;
    let (client, server) = (&flow.from_client, &flow.from_server);
    for (host, side, other) in [(flow.client.host, client, server), (flow.server.host, server, client)] {
        let series = side.unacknowledged;
        let silent_since =
            series.first.is_some_and(|first| other.last.is_none_or(|heard| heard.time <= first.time));
        if series.count >= 2 && silent_since {
            let why = format!(
                "the last that {host} sends is repeated {} times and not acknowledged before the capture of it ends",
                series.count
            );
            return Some(Doubt { why, holes: false });
        }
    }
    (server.unseen_acknowledged > 0 && server.payload_bytes + server.unseen_acknowledged < LITTLE).then(
        || {
            let why = format!("{} bytes of its answer were not captured", server.unseen_acknowledged);
            Doubt { why, holes: true }
        },
    )
}

/// Where only the client's side was captured: why its acknowledgements do not show that the session works.
///
/// They show that the server said something, which may have been a refusal. In protocols that open with a handshake of several flights, what the
/// client says next shows that it was none.
pub(super) fn half_shown(flow: &FlowRecord) -> Option<String> {
    /// AMQP 0-9-1 section 2.2.4 (Start-Ok), AMQP 1.0 section 2.4.1 (open), MQTT 3.1.1 section 3.2 (after CONNACK), OPC 10000-6 section 7.1.3 (after
    /// ACK); TLS and SSH below.
    const OPEN_IN_FLIGHTS: [&str; 5] = ["tls", "ssh", "amqp", "mqtt", "opc-ua"];
    /// Whoever says more has long been let in; no more than that of a stream is read.
    const LONG: u64 = 8 * 1024;
    let (client, seen) = (&flow.from_client, &flow.classification);
    let handshake = seen.layers.iter().any(|layer| OPEN_IN_FLIGHTS.contains(layer));
    let answered = client.acked_payload?;
    let said_more =
        client.last_payload.is_some_and(|last| last >= answered && Some(last) > client.first_payload);
    let says = |key: &str, what: &str| seen.facts.all(key).any(|said| said == what);
    let went_on = said_more
        && match seen.protocol {
            _ if client.payload_bytes > LONG => true,
            // The client's Finished of TLS 1.3 (RFC 8446 section 2), or what follows the server's of older versions (RFC 5246 section 7.3).
            _ if seen.layers.contains(&"tls") => says("tls.application_data", "client"),
            // Both greet and say what they can do before either knows whether the other agrees (RFC 4253 section 7.1).
            Some("ssh") => says("ssh.key_exchange", "answered"),
            // A channel is asked for after the acknowledgement, and refused after that (OPC 10000-6 section 7.1.3).
            Some("opc-ua") => client.payload_packets > 2,
            _ => true,
        };
    (flow.from_server.packets == 0 && client.syn.count > 0 && handshake && !went_on).then(|| {
        format!(
            "seen from {}'s side only: {} answers something, and nothing that {} says after it shows that it was no refusal",
            flow.client.host, flow.server.host, flow.client.host
        )
    })
}

/// A session that had worked and then goes dead: data repeated and never acknowledged, while the other machine is alive.
pub(super) fn later(flow: &FlowRecord, view: &View<'_>) -> Option<State> {
    for (role, side) in [(Role::Client, &flow.from_client), (Role::Server, &flow.from_server)] {
        let series = side.unacknowledged;
        let (Some(first), Some(last)) = (series.first, series.last) else { continue };
        let other = flow.side(role.other());
        // Whoever still says something in this session is not cut off from it.
        let silent_since = other.last.is_none_or(|heard| heard.time <= first.time);
        let silent_since = silent_since || side.passed.is_some();
        let dead = series.count >= COPIES_OF_LATER && series.span() >= LATER_SPAN && silent_since;
        if !dead
            || !view.is_settled(&series, COPIES_OF_LATER)
            || view.loss_explains(view.missing(flow), series.count).is_some()
        {
            continue;
        }
        if let Some(state) = black_hole(flow, role) {
            return Some(state);
        }
        let (sender, receiver) = match role {
            Role::Client => (flow.client.host, flow.server.host),
            Role::Server => (flow.server.host, flow.client.host),
        };
        let tried = Tried { repeats_until_answered: false, ..Tried::of(&series, flow.transport) };
        if let Sight::None(why) | Sight::Likely(why) = view.sight(flow.cell, sender, side, receiver, tried) {
            return Some(State::Stopped(
                first,
                format!(
                    "worked, then {sender} repeats its data or keep-alives {} times from {} on without an answer, but {why}",
                    series.count,
                    view.packet(first)
                ),
            ));
        }
        if !view.heard_after(flow.cell, receiver, last.time) {
            return Some(State::Stopped(
                first,
                format!(
                    "worked, then {sender} repeats its data or keep-alives {} times from {} on without an acknowledgement, and {receiver} is not heard any more: off, or cut off",
                    series.count,
                    view.packet(first)
                ),
            ));
        }
        let evidence = Proofs::new(
            first,
            format!("data or keep-alive of {sender}, sent {} times and never acknowledged", series.count),
        )
        .and(last, "its last repetition")
        .and_maybe(other.last, "the last packet of the other end in this session");
        let mut reason = format!(
            "the session worked, then from {} on nothing of {sender} is acknowledged any more, though {receiver} is alive: a stateful filter has dropped the session, or the application hangs",
            view.packet(first)
        );
        if side.unacknowledged_length >= FULL_SIZE {
            reason.push_str(&format!(", or full-size packets are lost on the way: {BLACK_HOLE}"));
        }
        let failure = Failure { mechanism: Mechanism::Cut, grade: Grade::C, by: None, evidence };
        return Some(State::Fails(Fault::Blocked, failure, reason));
    }
    None
}
