//! Documented hosts reached, or refused, through an HTTP proxy: the CONNECT request names the host that no address shows.

use crate::model::ConversationKey;
use crate::model::Culprit;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::Mechanism;
use crate::model::Proofs;

use super::attempt::Attempt;
use super::attempt::Fault;
use super::attempt::State;
use super::requirement::Ground;

/// The fact that holds the target of a CONNECT request, `host:port` (RFC 9110 section 9.3.6).
pub const TARGET: &str = "http.connect";
/// The fact that holds the proxy's answer.
pub const STATUS: &str = "http.connect.status";

/// Answers of a proxy that would let the request pass and finds no way on: bad gateway, unavailable, timeout (RFC 9110 section 15.6).
const NO_WAY: [&str; 3] = ["502", "503", "504"];

/// Copies of one segment never acknowledged after which a way that a proxy opened is not said to work (as for a cut).
const UNHEARD: u32 = 3;

/// Finds every CONNECT request of a source for a named target and hands it on as an attempt.
pub fn requests_by_place(
    ground: Ground<'_>,
    mut found: impl FnMut((usize, usize, usize), Attempt, ConversationKey),
) {
    for (key, flows) in ground.matched {
        for flow in flows.iter().map(|matched| matched.flow.as_ref()) {
            for target in flow.classification.facts.all(TARGET) {
                let Some((host, port)) = target.rsplit_once(':') else { continue };
                let Some(state) = answer(flow, host) else { continue };
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

/// What the proxy said; `None` where its answer was not seen.
fn answer(flow: &FlowRecord, host: &str) -> Option<State> {
    let fact = flow.classification.facts.fact(STATUS)?;
    let at = fact.at.unwrap_or(flow.last);
    let asked = flow.classification.facts.fact(TARGET).and_then(|fact| fact.at);
    let proxy = flow.server.host;
    let unheard = flow.from_client.unacknowledged.count;
    if fact.value.starts_with('2') && unheard >= UNHEARD {
        return Some(State::Unclear(format!(
            "the proxy {proxy} opens the way to {host}, and what is sent through it then is repeated {unheard} times and never acknowledged"
        )));
    }
    if fact.value.starts_with('2') {
        let proofs = Proofs::new(at, format!("the proxy {proxy} opens the way to {host}"))
            .and_maybe(asked, "the request");
        return Some(State::Works(proofs, Some(format!("through the proxy {proxy}"))));
    }
    let by = Some(Culprit { who: proxy.to_string(), kind: "proxy" });
    if NO_WAY.contains(&fact.value.as_str()) {
        let evidence = Proofs::new(at, format!("the proxy answers {}", fact.value))
            .and_maybe(asked, "the CONNECT request");
        let reason = format!(
            "the proxy {proxy} takes the request for {host} and answers {}: it does not get through itself",
            fact.value
        );
        let failure = Failure { mechanism: Mechanism::Unreachable, grade: Grade::C, by, evidence };
        return Some(State::Fails(Fault::Failed, failure, reason));
    }
    let evidence =
        Proofs::new(at, format!("the proxy answers {}", fact.value)).and_maybe(asked, "the CONNECT request");
    // 407 and 511 can only come from a proxy or portal (RFC 9110 section 15.5.8, RFC 6585 section 6).
    let grade = if ["407", "511"].contains(&fact.value.as_str()) { Grade::A } else { Grade::B };
    let reason = format!("the proxy {proxy} answers {} to CONNECT {host}", fact.value);
    Some(State::Fails(
        Fault::Blocked,
        Failure { mechanism: Mechanism::ProxyDenied, grade, by, evidence },
        reason,
    ))
}
