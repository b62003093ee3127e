//! The attempts of one pair in the order of time: what they come to together, and how it changed.

mod silence;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::model::Addressee;
use crate::model::Mechanism;
use crate::model::PacketRef;
use crate::model::Phase;
use crate::model::Timestamp;
use crate::model::Verdict;

use super::attempt::Attempt;
use super::attempt::Fault;
use super::attempt::Silence;
use super::attempt::State;
use super::view::AROUND;
use super::view::Down;
use super::view::View;

use silence::endured;
pub use silence::host_down;
use silence::stopped;
use silence::weigh;

/// Changes of state from which on they are called flapping.
const FLAPPING: usize = 3;

/// Who tries what, as the texts need it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The machine that tries.
    pub source: &'a str,
    /// The machine or name that is tried.
    pub target: &'a str,
    /// From when to when the target was heard sending anything.
    pub target_heard: Option<(Timestamp, Timestamp)>,
    /// When another client of the same service last got an answer.
    pub others_answered: Option<Timestamp>,
    /// How it shows that the target is off, where it does.
    pub down: Option<&'a Down>,
}

impl Who<'_> {
    /// Whether the target was heard around that time.
    fn is_alive(&self, first: Timestamp, last: Timestamp) -> bool {
        self.target_heard
            .is_some_and(|(from, until)| from <= last.plus(AROUND) && until >= first.minus(AROUND))
    }
}

/// What the attempts come to.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The verdict; the later state decides.
    pub verdict: Verdict,
    /// Why, in plain words.
    pub reason: String,
    /// Every change.
    pub history: Vec<Phase>,
}

/// A decided stretch.
struct Decided {
    phase: Phase,
    state: State,
    /// The last packet of the latest attempt in it.
    until: PacketRef,
}

impl Decided {
    fn fails_by(&self, mechanisms: &[Mechanism]) -> bool {
        matches!(&self.state, State::Fails(_, failure, _) if mechanisms.contains(&failure.mechanism))
    }
}

/// What ICMP tells of a datagram.
const ANSWERED_BY_ICMP: [Mechanism; 4] =
    [Mechanism::Prohibited, Mechanism::Rejected, Mechanism::Refused, Mechanism::Unreachable];
/// What keeps a connection from opening; what comes later is no matter of these.
const STOP_THE_OPENING: [Mechanism; 8] = [
    Mechanism::Dropped,
    Mechanism::ReturnPath,
    Mechanism::Prohibited,
    Mechanism::Rejected,
    Mechanism::ResetByMiddlebox,
    Mechanism::Refused,
    Mechanism::Unreachable,
    Mechanism::HostDown,
];
/// How long an ICMP error speaks for datagrams after it that brought none.
const ERRORS_COUNT_FOR: Duration = Duration::from_secs(60);

/// Puts attempts in the order in which they were made: that of the file where there is one, since its clock may have been set back;
/// that of time where there are several.
pub fn sort(attempts: &mut [Attempt]) {
    let input = attempts.first().map(|attempt| attempt.first.input());
    if attempts.iter().all(|attempt| Some(attempt.first.input()) == input) {
        attempts.sort_by_key(|attempt| (attempt.first.number(), attempt.last.number()));
    } else {
        attempts.sort_by_key(|attempt| (attempt.first, attempt.last));
    }
}

/// Weighs attempts, which must come in their order.
pub fn settle(attempts: &[Attempt], who: Who<'_>, view: &View<'_>) -> Settled {
    let endured = endured(attempts);
    let mut decided: Vec<Decided> = Vec::new();
    let mut silent: Vec<(&Attempt, &Silence)> = Vec::new();
    let mut unclear = None;
    let mut working: Option<Timestamp> = None;
    for attempt in attempts {
        if matches!(attempt.state, State::Works(..)) {
            working = working.max(Some(attempt.last.time));
        }
        match &attempt.state {
            State::Unclear(why) => unclear = Some(why.clone()),
            State::Stopped(since, why) => {
                // Another session may go on beside the one that stopped.
                let goes_on = attempts.iter().any(|other| {
                    matches!(other.state, State::Works(..) | State::Doubtful(..))
                        && other.last.time > since.time
                });
                if goes_on {
                    unclear = Some(why.clone());
                } else {
                    stop(&mut decided, attempt, *since, why);
                }
            }
            State::Silent(silence) => {
                silent.push((attempt, silence));
                match weigh(&silent, endured, who, view) {
                    Ok(state) => {
                        push(&mut decided, silent.first().map_or(attempt, |(first, _)| first), state)
                    }
                    Err(why) => unclear = Some(why),
                }
            }
            State::Doubtful(proofs, note, doubt) => {
                let failing = matches!(
                    decided.last(),
                    Some(Decided { state: State::Fails(Fault::Blocked | Fault::Failed, ..), .. })
                );
                match (failing, doubt.holes) {
                    (false, _) => {
                        silent.clear();
                        push(&mut decided, attempt, State::Works(proofs.clone(), note.clone()));
                    }
                    (true, true) => {
                        silent.clear();
                        let why = &doubt.why;
                        let why = format!("it failed before, and whether it works since is not shown: {why}");
                        push(&mut decided, attempt, State::Open(why));
                    }
                    (true, false) => unclear = Some(doubt.why.clone()),
                }
            }
            State::Sent(proofs, note) => {
                // Errors are rationed (RFC 1812 section 4.3.2.8): that one is missing does not take back the one before it.
                let refuted = decided.last().is_some_and(|last| {
                    last.fails_by(&ANSWERED_BY_ICMP)
                        && attempt.first.time.since(last.until.time) < ERRORS_COUNT_FOR
                });
                if !refuted {
                    push(&mut decided, attempt, State::Works(proofs.clone(), Some(note.clone())));
                }
            }
            State::Opened(why) => {
                let stopped = decided.last().is_none_or(|last| last.fails_by(&STOP_THE_OPENING));
                if stopped || !silent.is_empty() {
                    push(&mut decided, attempt, State::Open(why.clone()));
                }
                silent.clear();
            }
            // A session that was there before the lookup and goes on after it shows that the host is reached.
            State::Fails(_, failure, why)
                if failure.mechanism.addressee() == Addressee::NameService
                    && working.is_some_and(|until| until > attempt.last.time) =>
            {
                unclear = Some(why.clone());
            }
            state @ (State::Works(..) | State::Open(..) | State::Fails(..)) => {
                silent.clear();
                push(&mut decided, attempt, state.clone());
            }
        }
    }
    let history: Vec<Phase> = decided.iter().map(|one| one.phase.clone()).collect();
    if let Some(Decided { state: State::Works(..) | State::Open(..), .. }) = decided.last()
        && let Some(why) = stopped(&silent, endured, view)
    {
        let reason = format!("worked, but what was tried since stays unanswered: {}", unclear.unwrap_or(why));
        return Settled { verdict: Verdict::Undecided, reason, history };
    }
    let Some(last) = decided.pop() else {
        let reason = unclear.unwrap_or_else(|| "nothing in the capture tells how it went".to_owned());
        return Settled { verdict: Verdict::Undecided, reason, history };
    };
    let mut reason = match &last.state {
        State::Works(_, note) => match note {
            // Whether it arrives is not known: "works" would say so.
            Some(note) if note.starts_with("sent") => note.clone(),
            Some(note) => format!("works; {note}"),
            None => "works".to_owned(),
        },
        State::Open(reason) | State::Fails(_, _, reason) => reason.clone(),
        State::Doubtful(..)
        | State::Sent(..)
        | State::Opened(_)
        | State::Silent(_)
        | State::Stopped(..)
        | State::Unclear(_) => String::new(),
    };
    reason.push_str(&told_change(&history, view));
    let verdict = match last.state {
        State::Works(proofs, _) => Verdict::Satisfied(proofs),
        State::Fails(Fault::Violated, failure, _) => Verdict::Violated(failure),
        State::Fails(Fault::Blocked, failure, _) => Verdict::Blocked(failure),
        State::Fails(Fault::Failed, failure, _) => Verdict::Failed(failure),
        State::Open(_)
        | State::Doubtful(..)
        | State::Opened(_)
        | State::Sent(..)
        | State::Silent(_)
        | State::Stopped(..)
        | State::Unclear(_) => Verdict::Undecided,
    };
    Settled { verdict, reason, history }
}

/// How the present state came about, where it was another before.
fn told_change(history: &[Phase], view: &View<'_>) -> String {
    let mut earlier = history.iter().rev();
    let (Some(now), Some(before)) = (earlier.next(), earlier.next()) else { return String::new() };
    if history.len() > FLAPPING {
        return format!(
            " (flapping: {} changes, the latest at {})",
            history.len() - 1,
            view.packet(now.since)
        );
    }
    let what = before
        .mechanism
        .map_or(before.verdict.to_owned(), |mechanism| format!("{} ({mechanism})", before.verdict));
    format!(" (since {}; before that {what})", view.packet(now.since))
}

/// Adds a state, or brings the present stretch up to date where it is the same.
fn push(decided: &mut Vec<Decided>, attempt: &Attempt, state: State) {
    let (since, until) = (attempt.first, attempt.last);
    let (verdict, mechanism) = match &state {
        State::Works(..) => ("satisfied", None),
        State::Open(..) => ("undecided", None),
        State::Fails(fault, failure, _) => (fault.name(), Some(failure.mechanism.name())),
        State::Doubtful(..)
        | State::Sent(..)
        | State::Opened(_)
        | State::Silent(_)
        | State::Stopped(..)
        | State::Unclear(_) => return,
    };
    match decided.last_mut() {
        // A connection that does not show everything takes nothing from what others showed, as long as it gets through.
        Some(last)
            if matches!(state, State::Open(..))
                && matches!(last.state, State::Works(..) | State::Fails(Fault::Violated, ..)) => {}
        Some(last) if last.phase.verdict == verdict && last.phase.mechanism == mechanism => {
            last.until = until;
            // What works without reservation says more than what works with one.
            let keeps = matches!((&last.state, &state), (State::Works(_, None), State::Works(_, Some(_))));
            if !keeps {
                last.state = state;
            }
        }
        _ => decided.push(Decided { phase: Phase { verdict, mechanism, since }, state, until }),
    }
}

/// Notes that what worked works no more: the session itself did before, and others may have.
fn stop(decided: &mut Vec<Decided>, attempt: &Attempt, since: PacketRef, why: &str) {
    let failing = matches!(decided.last(), Some(Decided { state: State::Fails(..), .. }));
    let phase = Phase { verdict: "undecided", mechanism: None, since };
    let stopped = Decided { phase, state: State::Open(why.to_owned()), until: attempt.last };
    match decided.last_mut() {
        // It does not work either way, and what was known of that says more.
        Some(_) if failing => {}
        Some(last) if last.phase.verdict == "undecided" => {
            (last.state, last.until) = (stopped.state, stopped.until);
        }
        _ => decided.push(stopped),
    }
}
