//! What two vantages prove of an attempt: a packet that reached the one side of a device and never the other was thrown away between.

use crate::model::Crossing;
use crate::model::Culprit;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::Host;
use crate::model::Lost;
use crate::model::Mechanism;
use crate::model::PacketRef;
use crate::model::Proofs;
use crate::rules::Nat;

use super::attempt::Attempt;
use super::attempt::Fault;
use super::attempt::State;
use super::cast;
use super::view::View;

/// The attempt as both vantages show it: what did not come through decides, unless the flow is not as documented anyway.
pub fn sharpen(
    attempt: Attempt,
    flow: &FlowRecord,
    crossing: Option<&Crossing>,
    view: &View<'_>,
    nat: &[Nat],
) -> Attempt {
    let Some(crossing) = crossing else { return attempt };
    let mechanism = match (&attempt.state, crossing.lost) {
        (State::Fails(Fault::Violated, ..), _) => return attempt,
        // The device that says no in its own name is known better than by its silence.
        (State::Fails(_, failure, _), _) if failure.grade == Grade::A => return attempt,
        (_, Lost::Answers) => Mechanism::ReturnPath,
        (_, Lost::Data) if flow.classification.layers.contains(&"tls") => Mechanism::TlsCut,
        (_, Lost::Data) => Mechanism::Cut,
        (State::Fails(_, failure, _), Lost::Requests) if is_reset(failure.mechanism) => {
            Mechanism::ResetByMiddlebox
        }
        (_, Lost::Requests) => Mechanism::Dropped,
    };
    if let Some(doubt) = translated(flow, crossing, nat).or_else(|| crossing.doubt()) {
        return hedged(attempt, crossing, &doubt);
    }
    let Crossing { from, to, first, last, count, control, .. } = crossing;
    let what = match crossing.lost {
        Lost::Requests => format!("{} of {} to {}", packets(*count), flow.client.host, flow.server.host),
        Lost::Answers => format!("{} of {} back to {}", packets(*count), flow.server.host, flow.client.host),
        Lost::Data => {
            format!("{} with data of {} to {}", packets(*count), flow.client.host, flow.server.host)
        }
    };
    let mut evidence = Proofs::new(*first, format!("seen at '{from}', and never at '{to}'"));
    if last != first {
        evidence = evidence.and(*last, format!("the last such packet at '{from}'"));
    }
    if let Some((here, there)) = control {
        evidence = evidence
            .and(*here, format!("for comparison: this packet on the same way was seen at '{from}'"))
            .and(*there, format!("and here it is at '{to}': the way leads past both"));
    }
    if mechanism == Mechanism::ResetByMiddlebox {
        let reset: Option<PacketRef> = flow.from_server.reset.map(|reset| reset.at);
        evidence = evidence
            .and_maybe(reset, "the reset that answers it can't be the server's: nothing ever reached it");
    }
    let reason = format!("{what} seen at '{from}' from {} on, never at '{to}'", view.packet(*first));
    let by = Some(Culprit { who: format!("the device between '{from}' and '{to}'"), kind: "firewall" });
    let failure = Failure { mechanism, grade: Grade::A, by, evidence };
    Attempt { state: State::Fails(Fault::Blocked, failure, reason), ..attempt }
}

/// What the site says of addresses that would be others at the other vantage; a flow of which anything was seen at both is not translated.
fn translated(flow: &FlowRecord, crossing: &Crossing, nat: &[Nat]) -> Option<String> {
    let ends = [flow.client.host, flow.server.host].into_iter().filter_map(Host::ip);
    let other = ends.flat_map(|ip| cast::translations(nat, ip).map(move |other| (ip, other))).next();
    other.filter(|_| crossing.lost == Lost::Requests).map(|(ip, other)| {
        format!("{ip} is {other} on the other side, by the site file: what passed would bear that address")
    })
}

/// The attempt as one vantage shows it, with why the other adds nothing.
fn hedged(attempt: Attempt, crossing: &Crossing, doubt: &str) -> Attempt {
    let state = match attempt.state {
        State::Fails(fault, failure, reason) => {
            State::Fails(fault, failure, format!("{reason}; not seen at '{}', but {doubt}", crossing.to))
        }
        State::Unclear(reason) => {
            State::Unclear(format!("{reason}; not seen at '{}', but {doubt}", crossing.to))
        }
        other => other,
    };
    Attempt { state, ..attempt }
}

fn is_reset(mechanism: Mechanism) -> bool {
    matches!(mechanism, Mechanism::Refused | Mechanism::ResetByMiddlebox)
}

fn packets(n: u32) -> String {
    if n == 1 { "1 packet".into() } else { format!("{n} packets") }
}
