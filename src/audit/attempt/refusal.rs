//! Connections over which the service itself says no: brokers, mail servers, others by their first answer, and portals in a web server's name.

use crate::model::Culprit;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::Mechanism;
use crate::model::Outcome;
use crate::model::Proofs;

use super::Fault;
use super::State;

/// A protocol header of AMQP (0-9-1 section 4.2.2): all that a server says to a client whose header it does not take.
const AMQP_HEADER: u64 = 8;
/// An alert in the clear: five bytes of record header and two of alert (RFC 8446 sections 5.1 and 6).
const TLS_ALERT: u64 = 7;
/// Reply codes of a broker that does not let a client in (0-9-1 section 1.2): ACCESS_REFUSED, NOT_ALLOWED; the error condition
/// of 1.0 (section 2.8.15), and its login's outcome where that is none of `ok` (section 5.3.3.6).
const AMQP_NOT_LET_IN: [&str; 4] = ["403 ", "530 ", "amqp:unauthorized-access", "sasl "];
/// Answers that only proxies and portals give (RFC 9110 section 15.5.8, RFC 6585 section 6), and one that says that a law or a policy
/// forbids (RFC 7725).
const PORTAL: [(&str, Grade); 3] = [("407", Grade::A), ("511", Grade::A), ("451", Grade::B)];

/// An answer that services give as well: it is a proxy's where the answer itself names one.
const FORBIDDEN: &str = "403";

/// What the service said, where it was no.
pub(super) fn by_the_service(flow: &FlowRecord) -> Option<State> {
    amqp(flow).or_else(|| mail(flow)).or_else(|| first_answer(flow)).or_else(|| portal(flow))
}

/// The service's own no.
fn closed(flow: &FlowRecord, evidence: Proofs, reason: String) -> State {
    let by = Some(Culprit { who: flow.server.host.to_string(), kind: "server" });
    State::Fails(
        Fault::Failed,
        Failure { mechanism: Mechanism::Closed, grade: Grade::C, by, evidence },
        reason,
    )
}

fn amqp(flow: &FlowRecord) -> Option<State> {
    let facts = &flow.classification.facts;
    let server = flow.server.host;
    let failed = |evidence: Proofs, reason: String| closed(flow, evidence, reason);
    let opening = facts.get("amqp.start").is_some() && facts.get("amqp.open").is_none();
    if let Some(close) = facts.fact("amqp.close")
        && (opening || AMQP_NOT_LET_IN.iter().any(|code| close.value.starts_with(code)))
    {
        let evidence =
            Proofs::new(close.at.unwrap_or(flow.last), format!("Connection.Close: {}", close.value))
                .and_maybe(flow.from_client.first_payload, "what the client began with");
        let reason = format!(
            "the broker {server} is reached and does not let {} in: {}",
            flow.client.host, close.value
        );
        return Some(failed(evidence, reason));
    }
    let said = flow.from_server.payload_bytes.saturating_add(flow.from_server.unseen_acknowledged);
    let ended = flow.from_server.fin.or(flow.from_server.reset.map(|reset| reset.at));
    // A broker that refuses a login may just end the connection (0-9-1 section 2.2.4): it began, and that was all.
    let only_began =
        opening && flow.from_server.payload_packets == 1 && flow.from_server.unseen_acknowledged == 0;
    let own_reset = flow.from_server.reset.is_none_or(|reset| reset.mac == flow.from_server.mac);
    if let Some(ended) = ended.filter(|at| {
        own_reset
            && only_began
            && flow.from_client.payload_packets > 1
            && flow.from_client.fin.is_none_or(|fin| *at < fin)
    }) {
        let evidence = Proofs::new(ended, format!("{server} ends the connection"))
            .and_maybe(
                flow.from_server.first_payload,
                "the only thing that it said: how it wants to be logged in to",
            )
            .and_maybe(flow.from_client.last_payload, "the client's answer to it");
        let reason = format!(
            "the broker {server} is reached and ends the connection when {} logs in: it does not accept the login",
            flow.client.host
        );
        return Some(failed(evidence, reason));
    }
    let opened_here =
        matches!(flow.outcome, Outcome::Established | Outcome::Cut) || flow.from_client.syn.count > 0;
    let refuses_header = flow.classification.protocol == Some("amqp")
        && (facts.get("amqp.version").is_some_and(|version| version != "1.0")
            || facts.all("amqp.version").count() > 1)
        && facts.get("amqp.start").is_none()
        && opened_here
        && (1..=AMQP_HEADER).contains(&said);
    if !refuses_header {
        return None;
    }
    let at = flow.from_server.first_payload.unwrap_or(flow.last);
    let what = if said < AMQP_HEADER { "few bytes that are no AMQP" } else { "its own protocol header" };
    let evidence = Proofs::new(at, format!("{server} answers with {what} and nothing more"))
        .and_maybe(ended, "and ends the connection")
        .and_maybe(flow.from_client.first_payload, "what the client began with");
    let reason = if said < AMQP_HEADER {
        format!(
            "{server} is reached, but answers what {} begins with by {said} bytes that are no AMQP{}",
            flow.client.host,
            if said == TLS_ALERT { ": a TLS alert is that long, so this port may want TLS" } else { "" }
        )
    } else {
        format!(
            "the broker {server} is reached, but does not take what {} begins with: it answers with the protocol version that it speaks",
            flow.client.host
        )
    };
    Some(failed(evidence, reason))
}

/// A mail server that greets by refusing: no service here, or not now (RFC 5321 section 3.1 and 3.8).
fn mail(flow: &FlowRecord) -> Option<State> {
    const REFUSALS: [&str; 2] = ["554", "421"];
    let greeting = flow.classification.facts.fact("smtp.greeting")?;
    if !REFUSALS.iter().any(|code| greeting.value.starts_with(code)) {
        return None;
    }
    let (client, server) = (flow.client.host, flow.server.host);
    let evidence =
        Proofs::new(greeting.at.unwrap_or(flow.last), format!("{server} greets with {}", greeting.value));
    let reason =
        format!("the mail server {server} is reached and refuses {client} at once: {}", greeting.value);
    Some(closed(flow, evidence, reason))
}

/// Services whose first answer says that they do not let the client in.
fn first_answer(flow: &FlowRecord) -> Option<State> {
    /// The fact that says so, what it is in words, and by how many messages a server has said no more than that (MQTT 3.1.1 section 3.2.2.3; OPC
    /// 10000-6 section 7.1.2: an acknowledgement, then an error instead of the channel's opening; MySQL's connection phase).
    const REFUSALS: [(&str, &str, u64); 3] = [
        ("mqtt.refused", "CONNACK with the code", 1),
        ("opc-ua.error", "the error", 2),
        ("mysql.refused", "the error", 1),
    ];
    let (facts, says) = (&flow.classification.facts, &flow.from_server);
    let (client, server) = (flow.client.host, flow.server.host);
    // Of a session that was met midway, or of which more was said, it is known that it came in.
    let opening = flow.from_client.syn.count > 0 || says.syn.count > 0;
    let messages = says.payload_packets.saturating_sub(u64::from(says.retransmissions));
    let (said, what) = REFUSALS.iter().find_map(|(key, what, most)| {
        Some((facts.fact(key).filter(|_| opening && (1..=*most).contains(&messages))?, what))
    })?;
    // Of a server's no: a client may end a session by an error of its own, after what the server said last.
    if said.at.is_some_and(|at| Some(at) < says.first_payload || Some(at) > says.last_payload) {
        return None;
    }
    let evidence =
        Proofs::new(said.at.unwrap_or(flow.last), format!("{server} answers with {what} {}", said.value))
            .and_maybe(flow.from_client.first_payload, "what the client began with");
    let reason =
        format!("{server} is reached and does not let {client} in: it answers with {what} {}", said.value);
    Some(closed(flow, evidence, reason))
}

/// Answers that come from a portal or proxy in the server's name, as long as nothing else was answered.
fn portal(flow: &FlowRecord) -> Option<State> {
    let facts = &flow.classification.facts;
    // A CONNECT request is judged by the host that it asks for, not by the proxy that it goes to.
    if facts.get("http.connect").is_some()
        || facts.all("http.status").any(|status| status.starts_with(['2', '3']))
    {
        return None;
    }
    let proxy = facts.get("http.refused_by");
    let graded = |value: &str| {
        let known = PORTAL.iter().find(|(code, _)| value == *code).map(|(_, grade)| *grade);
        known.or((value == FORBIDDEN && proxy.is_some()).then_some(Grade::B))
    };
    let (status, grade) = facts
        .iter()
        .filter(|fact| fact.key == "http.status")
        .find_map(|fact| Some((fact, graded(&fact.value)?)))?;
    let server = flow.server.host;
    let evidence = Proofs::new(
        status.at.unwrap_or(flow.last),
        format!("answer {} in the name of {server}", status.value),
    )
    .and_maybe(flow.from_client.first_payload, "the request");
    let by = Some(Culprit { who: server.to_string(), kind: "proxy" });
    let reason = format!(
        "the request is answered {} in the name of {server}: a proxy or portal on the way says no{}",
        status.value,
        proxy.map_or(String::new(), |named| format!(" ({named})"))
    );
    let failure = Failure { mechanism: Mechanism::ProxyDenied, grade, by, evidence };
    Some(State::Fails(Fault::Blocked, failure, reason))
}
