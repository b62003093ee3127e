//! Openings that fail: a reset to the SYN, SYN-ACKs that never arrive.

use crate::model::Culprit;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::Mechanism;
use crate::model::Proofs;
use crate::model::Reset;

use crate::audit::view::FOR_COMPARISON;
use crate::audit::view::Forged;
use crate::audit::view::View;

use super::Fault;
use super::State;
use super::cap;

/// SYN-ACKs sent again that make a return path.
const SYN_ACKS: u32 = 2;

/// A reset to the SYN: the server's own, or somebody's in its name.
pub(super) fn refused(flow: &FlowRecord, reset: &Reset, view: &View<'_>) -> State {
    let evidence =
        Proofs::new(reset.at, format!("reset in the name of {} answers the SYN", flow.server.host))
            .and_maybe(flow.from_client.syn.first, "the SYN");
    match view.forged(flow.cell, flow.server.host, reset) {
        Some(Forged { why, maker, own }) => {
            let by = Some(Culprit { who: maker.to_string(), kind: "firewall" });
            let evidence = evidence.and_maybe(own, FOR_COMPARISON);
            let reason = format!("the SYN is answered by a reset that is not the server's: {why}");
            let failure = Failure { mechanism: Mechanism::ResetByMiddlebox, grade: Grade::B, by, evidence };
            State::Fails(Fault::Blocked, failure, reason)
        }
        // Of repeated SYNs it is not known which one was answered.
        None if flow.from_client.syn.count == 1
            && let Some(why) = view.too_soon(flow, flow.from_client.syn.first, reset) =>
        {
            let reason = format!("the SYN is answered by a reset that is not the server's: {why}");
            let failure =
                Failure { mechanism: Mechanism::ResetByMiddlebox, grade: Grade::B, by: None, evidence };
            State::Fails(Fault::Blocked, failure, reason)
        }
        None => {
            let by = Some(Culprit { who: flow.server.host.to_string(), kind: "host" });
            let reason = format!(
                "{} answers with a reset: nothing listens there, or a firewall rejects in its name",
                flow.server.host
            );
            let failure = Failure { mechanism: Mechanism::Refused, grade: Grade::C, by, evidence };
            State::Fails(Fault::Failed, failure, reason)
        }
    }
}

/// SYN-ACKs sent again and never acknowledged while the client goes on asking.
pub(super) fn return_path(flow: &FlowRecord, view: &View<'_>) -> Option<State> {
    let (client, server) = (&flow.from_client, &flow.from_server);
    let asks_on = client.syn.count >= 2
        && client.syn.last.zip(server.syn.first).is_some_and(|(syn, syn_ack)| syn.time > syn_ack.time);
    // Whoever resets what it is answered has got it.
    let got = client.reset.is_some_and(|reset| server.syn.first.is_some_and(|first| reset.at >= first));
    if got || server.syn.count < SYN_ACKS || client.first_ack.is_some() || client.says_something() || !asks_on
    {
        return None;
    }
    if let Some(why) = view.loss_explains(view.missing(flow), server.syn.count) {
        return Some(State::Unclear(why));
    }
    let first = server.syn.first.unwrap_or(flow.first);
    let evidence =
        Proofs::new(first, format!("SYN-ACK, sent {} times and never acknowledged", server.syn.count))
            .and_maybe(server.syn.last, "the last SYN-ACK")
            .and_maybe(client.syn.last, "the client still repeats its SYN: the SYN-ACKs do not reach it");
    let mut reason = format!(
        "{} answers, but its SYN-ACKs never reach {}: the way back is filtered",
        flow.server.host, flow.client.host
    );
    let grade = cap(Grade::B, view.missing(flow), view, &mut reason);
    let failure = Failure { mechanism: Mechanism::ReturnPath, grade, by: None, evidence };
    Some(State::Fails(Fault::Blocked, failure, reason))
}
