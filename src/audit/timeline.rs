//! The attempts of one pair in the order of time: what they come to together, and how it changed.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::model::Culprit;
use crate::model::Failure;
use crate::model::Grade;
use crate::model::Mechanism;
use crate::model::PacketRef;
use crate::model::Phase;
use crate::model::Proofs;
use crate::model::Timestamp;
use crate::model::Transport;
use crate::model::Verdict;

use super::attempt;
use super::attempt::Attempt;
use super::attempt::Fault;
use super::attempt::SYN_SPAN;
use super::attempt::SYNS_OF_ONE;
use super::attempt::Silence;
use super::attempt::State;
use super::view::AROUND;
use super::view::Down;
use super::view::Missing;
use super::view::Sight;
use super::view::View;

/// Attempts of two SYNs or more that make a silence together (evidence table).
const SILENT_ATTEMPTS: usize = 3;
/// Unanswered requests that make a silence of a request/response protocol.
const REQUESTS: u32 = 3;
/// The shortest gap between SYNs of one attempt that a retransmission timer makes (evidence table: 0.8 s, less jitter).
const SYN_GAP: Duration = Duration::from_millis(700);
/// SYNs without answer after a success that put it in doubt.
const DOUBTFUL_SYNS: u32 = 2;
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
pub fn settle(attempts: &[Attempt], who: Who<'_>, view: &View) -> Settled {
    let endured = endured(attempts);
    let mut decided: Vec<Decided> = Vec::new();
    let mut silent: Vec<(&Attempt, &Silence)> = Vec::new();
    let mut unclear = None;
    for attempt in attempts {
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

/// How many datagrams without an answer are nothing unusual between these two: a server that answers now and then only had as many, more
/// than once, before it answered the next.
fn endured(attempts: &[Attempt]) -> u32 {
    let mut ended: Vec<u32> = Vec::new();
    let mut silent = 0_u32;
    for attempt in attempts {
        match &attempt.state {
            State::Silent(silence) if silence.transport != Transport::Tcp => {
                silent = silent.saturating_add(silence.series.count);
            }
            State::Works(..) | State::Doubtful(..) => ended.push(std::mem::take(&mut silent)),
            _ => {}
        }
    }
    ended.sort_unstable_by(|a, b| b.cmp(a));
    // The longest may have been an outage that is over; what happened twice is how it goes here.
    ended.get(1).copied().unwrap_or_default()
}

/// Whether what is tried since the last success goes unanswered often enough to put that success in doubt.
fn stopped(silent: &[(&Attempt, &Silence)], endured: u32, view: &View) -> Option<String> {
    let total: u32 = silent.iter().fold(0, |sum, (_, silence)| sum.saturating_add(silence.series.count));
    let (_, latest) = silent.last()?;
    let needed = if latest.transport == Transport::Tcp { DOUBTFUL_SYNS } else { REQUESTS };
    let settled = silent.iter().any(|(_, silence)| view.is_settled(&silence.series, needed))
        || silent.iter().any(|(_, silence)| !view.end_is_near(&silence.series));
    (total >= needed && total > endured && settled).then(|| format!("{total} unanswered tries"))
}

/// How the present state came about, where it was another before.
fn told_change(history: &[Phase], view: &View) -> String {
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

/// What silence since the last decided state comes to: a failure, or why it is not enough for one.
fn weigh(silent: &[(&Attempt, &Silence)], endured: u32, who: Who<'_>, view: &View) -> Result<State, String> {
    let Some((_, latest)) = silent.last() else { return Err(String::new()) };
    if let Some(down) = who.down {
        return Ok(host_down(down, who.target));
    }
    // What was tried where no answer would have been seen adds nothing to the rest.
    let those = |wanted: fn(&Sight) -> bool| -> Vec<_> {
        silent.iter().filter(|(_, silence)| wanted(&silence.sight)).copied().collect()
    };
    let count = |of: &[(&Attempt, &Silence)]| {
        of.iter().fold(0, |sum: u32, (_, one)| sum.saturating_add(one.series.count))
    };
    let clear = those(|sight| *sight == Sight::Clear);
    let visible = those(|sight| !matches!(sight, Sight::None(_)));
    let likely =
        visible.iter().rev().map(|(_, silence)| &silence.sight).find(|sight| **sight != Sight::Clear);
    let enough = !clear.is_empty() && (latest.transport == Transport::Tcp || count(&clear) >= REQUESTS);
    let (silent, sight) = match likely {
        _ if enough => (clear.as_slice(), &Sight::Clear),
        Some(likely) => (visible.as_slice(), likely),
        None if !clear.is_empty() => (clear.as_slice(), &Sight::Clear),
        None => (silent, &latest.sight),
    };
    if let Sight::None(why) = sight {
        return Err(format!("no answer, but {why}"));
    }
    let total: u32 = silent.iter().fold(0, |sum, (_, silence)| sum.saturating_add(silence.series.count));
    if latest.transport != Transport::Tcp && total <= endured {
        return Err(format!(
            "{total} unanswered requests in a row, and as many were followed by an answer before"
        ));
    }
    if latest.transport == Transport::Tcp {
        syns_unanswered(silent, total, sight, who, view)
    } else {
        requests_unanswered(silent, total, sight, who, view)
    }
}

/// A target that does not even answer address resolution.
pub fn host_down(down: &Down, target: &str) -> State {
    let first = down.requests.first.unwrap_or_default();
    let evidence = Proofs::new(first, format!("{} asks for the address of {target}", down.asker))
        .and_maybe(down.requests.last, "asked again, and no answer, though others answer");
    let by = Some(Culprit { who: target.to_owned(), kind: "host" });
    let reason = format!(
        "{target} is off or unplugged: {} asks {} times for its address on the segment and gets no answer",
        down.asker, down.requests.count
    );
    let failure = Failure { mechanism: Mechanism::HostDown, grade: Grade::A, by, evidence };
    State::Fails(Fault::Failed, failure, reason)
}

/// SYNs into silence.
fn syns_unanswered(
    silent: &[(&Attempt, &Silence)],
    total: u32,
    sight: &Sight,
    who: Who<'_>,
    view: &View,
) -> Result<State, String> {
    let conclusive = |silence: &Silence| {
        let series = &silence.series;
        // The last SYN of a longer series only shows how long the silence after the one before it was.
        let spare = if series.count > SYNS_OF_ONE { series.longest_gap } else { Duration::ZERO };
        series.count >= SYNS_OF_ONE
            && (series.span() >= SYN_SPAN + spare || !view.end_is_near(series) && series.span() >= SYN_SPAN)
            && series.shortest_gap >= SYN_GAP
            && view.is_settled(series, SYNS_OF_ONE)
    };
    let alone = silent.iter().any(|(_, silence)| conclusive(silence));
    let repeated: Vec<_> = silent
        .iter()
        .filter(|(_, silence)| {
            silence.series.count >= 2
                && silence
                    .series
                    .last
                    .is_some_and(|last| !view.ends_too_soon(last, silence.series.longest_gap))
        })
        .collect();
    let (first, last) = span(silent);
    let alive = who.is_alive(first.time, last.time);
    let together = repeated.len() >= SILENT_ATTEMPTS && alive;
    if !alone && !together {
        return Err(format!(
            "{} SYN{} without an answer is too little to tell a block from loss or a slow start ({SYNS_OF_ONE} of one attempt over {:.1} s are needed, and the capture has to go on after them)",
            total,
            if total == 1 { "" } else { "s" },
            SYN_SPAN.as_secs_f32(),
        ));
    }
    if let Some(why) = view.loss_explains(missing(silent), total) {
        return Err(why);
    }
    let evidence = Proofs::new(first, format!("the first SYN of {} to {}", who.source, who.target))
        .and(last, format!("the last of {total} SYNs, none of them answered"));
    let grade = if alive { Grade::B } else { Grade::C };
    let tries = silent.len();
    let mut reason = format!(
        "{total} SYNs in {tries} attempt{} went unanswered{}",
        if tries == 1 { "" } else { "s" },
        match who.target_heard {
            _ if alive => ", while the target is alive".to_owned(),
            Some((_, until)) if until < first.time => format!(
                "; the target was last heard {} s before: filtered, or it went off",
                first.time.since(until).as_secs()
            ),
            Some(_) => "; the target was not heard at that time: filtered, or it was off".to_owned(),
            None => "; the target was never heard: filtered, or it is off".to_owned(),
        },
    );
    let grade = attempt::cap_by_sight(grade, sight, &mut reason);
    let grade = attempt::cap(grade, missing(silent), view, &mut reason);
    let failure = Failure { mechanism: Mechanism::Dropped, grade, by: None, evidence };
    Ok(State::Fails(Fault::Blocked, failure, reason))
}

/// Requests into silence.
fn requests_unanswered(
    silent: &[(&Attempt, &Silence)],
    total: u32,
    sight: &Sight,
    who: Who<'_>,
    view: &View,
) -> Result<State, String> {
    let (first, last) = span(silent);
    let gap = silent.iter().map(|(_, silence)| silence.series.longest_gap).max().unwrap_or_default();
    if total < REQUESTS {
        return Err(format!(
            "{total} unanswered request{} is too little to tell ({REQUESTS} are needed)",
            if total == 1 { "" } else { "s" }
        ));
    }
    // A poller's own period is no retransmission timer: a second of capture after the last request suffices there.
    if view.ends_too_soon(last, gap.min(Duration::from_secs(5))) {
        return Err("the capture ends too soon after the last request".to_owned());
    }
    if let Some(why) = view.loss_explains(missing(silent), total) {
        return Err(why);
    }
    let evidence = Proofs::new(first, format!("the first request of {} to {}", who.source, who.target))
        .and(last, format!("the last of {total} requests, none of them answered"));
    let control = who.others_answered.is_some_and(|latest| latest >= first.time) && *sight == Sight::Clear;
    let (fault, grade, mut reason) = if control {
        (
            Fault::Blocked,
            Grade::B,
            format!(
                "{total} requests went unanswered, while other clients of {} get answers: a firewall, or the server's own access list",
                who.target
            ),
        )
    } else {
        (
            Fault::Failed,
            Grade::C,
            format!("{total} requests went unanswered: dropped on the way, or the service is off"),
        )
    };
    let grade = attempt::cap(grade, missing(silent), view, &mut reason);
    let failure = Failure { mechanism: Mechanism::NoReply, grade, by: None, evidence };
    Ok(State::Fails(fault, failure, reason))
}

/// How much of the traffic is missing where these were seen, at the worst.
fn missing(silent: &[(&Attempt, &Silence)]) -> Option<Missing> {
    silent.iter().fold(None, |worst, (_, silence)| Missing::worse(worst, silence.missing))
}

/// The first and the last packet of all silent attempts.
fn span(silent: &[(&Attempt, &Silence)]) -> (PacketRef, PacketRef) {
    let first =
        silent.iter().filter_map(|(attempt, silence)| silence.series.first.or(Some(attempt.first))).min();
    let last =
        silent.iter().filter_map(|(attempt, silence)| silence.series.last.or(Some(attempt.last))).max();
    (first.unwrap_or_default(), last.unwrap_or_default())
}
