//! Documented hosts reached, or refused, through an HTTP proxy: the CONNECT request names the host that no address shows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::Culprit;
use crate::model::Fact;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::Host;
use crate::model::Mechanism;
use crate::model::Proofs;
use crate::model::Timestamp;

use super::attempt::Attempt;
use super::attempt::Fault;
use super::attempt::State;
use super::matching::MatchedConversation;
use super::requirement::Ground;

/// The fact that holds the target of a CONNECT request, `host:port` (RFC 9110 section 9.3.6).
pub const TARGET: &str = "http.connect";
/// The fact that holds the proxy's answer.
pub const STATUS: &str = "http.connect.status";

/// Answers of a proxy that would let the request pass and finds no way on: an error of its own, bad gateway, unavailable, timeout (RFC 9110
/// section 15.6).
const NO_WAY: [&str; 4] = ["500", "502", "503", "504"];

/// How soon a client comes back with the login that a proxy asked for.
const LOGIN: Duration = Duration::from_secs(30);

/// Copies of one segment never acknowledged after which a way that a proxy opened is not said to work (as for a cut).
const UNHEARD: u32 = 3;

/// Finds every CONNECT request of a source for a named target and hands it on as an attempt.
pub fn requests_by_place(
    ground: Ground<'_>,
    matched: &[MatchedConversation<'_>],
    mut found: impl FnMut((usize, usize, usize), Attempt, ConversationKey),
) {
    let mut asked: Vec<(&ConversationKey, &FlowRecord)> = Vec::new();
    for (Conversation { key, .. }, flows) in matched {
        asked.extend(flows.iter().filter(|one| one.asks_proxy).map(|one| (key, &*one.flow)));
    }
    let granted = granted(&asked);
    for (key, flow) in asked {
        for target in flow.classification.facts.all(TARGET) {
            let Some((host, port)) = target.rsplit_once(':') else { continue };
            if !(wants_login(flow) && logged_in(&granted, flow, target)) {
                let state = answer(flow, host);
                let places = ground.catalogue.entries.iter().enumerate().filter(|(_, entry)| {
                    entry.missing.is_empty()
                        && port.parse().is_ok_and(|port: u16| entry.service.ports.contains(&port))
                });
                for (at, entry) in places {
                    let sources = ground.cast.players(entry.ruleset, entry.from);
                    let targets = ground.cast.players(entry.ruleset, entry.to);
                    for (source, _) in
                        sources.iter().enumerate().filter(|(_, p)| p.is(flow.cell, flow.client.host))
                    {
                        let named = targets
                            .iter()
                            .enumerate()
                            .filter(|(_, p)| p.patterns().any(|name| name.covers(host)));
                        for (target, _) in named {
                            let ends = (flow.client.host, Some(flow.server.host));
                            let attempt = Attempt {
                                first: flow.first,
                                last: flow.last,
                                ends,
                                place: (flow.cell, flow.vlans.clone()),
                                machines: [None; 2],
                                state: state.clone(),
                            };
                            found((at, source, target), attempt, *key);
                        }
                    }
                }
            }
        }
    }
}

/// When a client was let through to a target, by client and target.
type Granted<'a> = BTreeMap<(Host, &'a str), Vec<Timestamp>>;

fn granted<'a>(asked: &[(&ConversationKey, &'a FlowRecord)]) -> Granted<'a> {
    let mut granted = Granted::new();
    for &(_, flow) in asked {
        let facts = &flow.classification.facts;
        if status(flow).is_some_and(|status| status.value.starts_with('2')) {
            for target in facts.all(TARGET) {
                granted.entry((flow.client.host, target)).or_default().push(flow.first.time);
            }
        }
    }
    granted
}

/// The proxy's answer: the one that grants the request, else the first.
fn status(flow: &FlowRecord) -> Option<&Fact> {
    let facts = &flow.classification.facts;
    let granted = facts.iter().find(|fact| fact.key == STATUS && fact.value.starts_with('2'));
    granted.or_else(|| facts.fact(STATUS))
}

/// Whether the proxy asks for a login.
fn wants_login(flow: &FlowRecord) -> bool {
    status(flow).is_some_and(|status| status.value == "407")
}

/// Whether the client comes back with a login and is let through: then the question was no refusal (RFC 9110 section 11.7.1).
fn logged_in(granted: &Granted<'_>, flow: &FlowRecord, target: &str) -> bool {
    granted.get(&(flow.client.host, target)).is_some_and(|times| {
        times.iter().any(|time| *time >= flow.first.time && time.since(flow.first.time) <= LOGIN)
    })
}

/// What the proxy said.
fn answer(flow: &FlowRecord, host: &str) -> State {
    let asked = flow.classification.facts.fact(TARGET).and_then(|fact| fact.at);
    let proxy = flow.server.host;
    let by = Some(Culprit { who: proxy.to_string(), kind: "proxy" });
    let server = &flow.from_server;
    let Some(fact) = status(flow) else {
        let whole = server.payload_packets == 0 && server.unseen_acknowledged == 0 && server.packets > 0;
        let Some(ended) = server.fin.filter(|_| whole) else {
            return State::Unclear(format!(
                "the proxy {proxy} is asked for {host}, and no answer of it is shown"
            ));
        };
        let evidence = Proofs::new(ended, format!("the proxy {proxy} closes without an answer"))
            .and_maybe(asked, "the CONNECT request");
        let reason = format!("the proxy {proxy} takes the request for {host} and closes without an answer");
        let failure = Failure { mechanism: Mechanism::Closed, grade: Grade::C, by, evidence };
        return State::Fails(Fault::Failed, failure, reason);
    };
    let at = fact.at.unwrap_or(flow.last);
    let unheard = flow.from_client.unacknowledged.count;
    if fact.value.starts_with('2') && unheard >= UNHEARD {
        return State::Unclear(format!(
            "the proxy {proxy} opens the way to {host}, and what is sent through it then is repeated {unheard} times and never acknowledged"
        ));
    }
    if fact.value.starts_with('2') {
        let proofs = Proofs::new(at, format!("the proxy {proxy} opens the way to {host}"))
            .and_maybe(asked, "the request");
        return State::Works(proofs, Some(format!("through the proxy {proxy}")));
    }
    if NO_WAY.contains(&fact.value.as_str()) {
        let evidence = Proofs::new(at, format!("the proxy answers {}", fact.value))
            .and_maybe(asked, "the CONNECT request");
        let reason = format!(
            "the proxy {proxy} takes the request for {host} and answers {}: it does not get through itself",
            fact.value
        );
        let failure = Failure { mechanism: Mechanism::Unreachable, grade: Grade::C, by, evidence };
        return State::Fails(Fault::Failed, failure, reason);
    }
    let evidence =
        Proofs::new(at, format!("the proxy answers {}", fact.value)).and_maybe(asked, "the CONNECT request");
    // 407 and 511 can only come from a proxy or portal (RFC 9110 section 15.5.8, RFC 6585 section 6).
    let grade = if ["407", "511"].contains(&fact.value.as_str()) { Grade::A } else { Grade::B };
    let reason = format!("the proxy {proxy} answers {} to CONNECT {host}", fact.value);
    State::Fails(Fault::Blocked, Failure { mechanism: Mechanism::ProxyDenied, grade, by, evidence }, reason)
}
