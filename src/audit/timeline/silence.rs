//! What silence comes to: unanswered SYNs and requests of a pair weighed together, or why they are not enough.

use std::time::Duration;

use crate::model::Culprit;
use crate::model::Failure;
use crate::model::Grade;
use crate::model::Mechanism;
use crate::model::PacketRef;
use crate::model::Proofs;
use crate::model::Transport;
use crate::model::counted;

use crate::audit::attempt;
use crate::audit::attempt::Attempt;
use crate::audit::attempt::Fault;
use crate::audit::attempt::SYN_SPAN;
use crate::audit::attempt::SYNS_OF_ONE;
use crate::audit::attempt::Silence;
use crate::audit::attempt::State;
use crate::audit::view::Down;
use crate::audit::view::Missing;
use crate::audit::view::Sight;
use crate::audit::view::View;

use super::Who;

/// Attempts of two SYNs or more that make a silence together (evidence table).
const SILENT_ATTEMPTS: usize = 3;

/// Unanswered requests that make a silence of a request/response protocol.
const REQUESTS: u32 = 3;

/// The shortest gap between SYNs of one attempt that a retransmission timer makes (evidence table: 0.8 s, less jitter).
const SYN_GAP: Duration = Duration::from_millis(700);

/// SYNs without answer after a success that put it in doubt.
const DOUBTFUL_SYNS: u32 = 2;

/// How many datagrams without an answer are nothing unusual between these two: a server that answers now and then only had as many, more
/// than once, before it answered the next.
pub(super) fn endured(attempts: &[Attempt]) -> u32 {
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
pub(super) fn stopped(silent: &[(&Attempt, &Silence)], endured: u32, view: &View<'_>) -> Option<String> {
    let total: u32 = silent.iter().fold(0, |sum, (_, silence)| sum.saturating_add(silence.series.count));
    let (_, latest) = silent.last()?;
    let needed = if latest.transport == Transport::Tcp { DOUBTFUL_SYNS } else { REQUESTS };
    let settled = silent.iter().any(|(_, silence)| view.is_settled(&silence.series, needed))
        || silent.iter().any(|(_, silence)| !view.end_is_near(&silence.series));
    (total >= needed && total > endured && settled).then(|| format!("{total} unanswered tries"))
}

/// What silence since the last decided state comes to: a failure, or why it is not enough for one.
pub(super) fn weigh(
    silent: &[(&Attempt, &Silence)],
    endured: u32,
    who: Who<'_>,
    view: &View<'_>,
) -> Result<State, String> {
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
    view: &View<'_>,
) -> Result<State, String> {
    let conclusive = |silence: &Silence| {
        let series = &silence.series;
        // The last SYN of a longer series only shows how long the silence after the one before it was.
        let spare = if series.count > SYNS_OF_ONE { series.longest_gap() } else { Duration::ZERO };
        series.count >= SYNS_OF_ONE
            && (series.span() >= SYN_SPAN + spare || !view.end_is_near(series) && series.span() >= SYN_SPAN)
            && series.shortest_gap() >= SYN_GAP
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
                    .is_some_and(|last| !view.ends_too_soon(last, silence.series.longest_gap()))
        })
        .collect();
    let (first, last) = span(silent);
    let alive = who.is_alive(first.time, last.time);
    let together = repeated.len() >= SILENT_ATTEMPTS && alive;
    if !alone && !together {
        return Err(format!(
            "{} without an answer is too little to tell a block from loss or a slow start ({SYNS_OF_ONE} of one attempt over {:.1} s are needed, and the capture has to go on after them)",
            counted(total.into(), "SYN"),
            SYN_SPAN.as_secs_f32(),
        ));
    }
    if let Some(why) = view.loss_explains(missing(silent), total) {
        return Err(why);
    }
    let evidence = Proofs::new(first, format!("the first SYN of {} to {}", who.source, who.target))
        .and(last, format!("the last of {total} SYNs, none of them answered"));
    let grade = if alive { Grade::B } else { Grade::C };
    let mut reason = format!(
        "{total} SYNs in {} went unanswered{}",
        counted(silent.len() as u64, "attempt"),
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
    view: &View<'_>,
) -> Result<State, String> {
    let (first, last) = span(silent);
    let gap = silent.iter().map(|(_, silence)| silence.series.longest_gap()).max().unwrap_or_default();
    if total < REQUESTS {
        return Err(format!(
            "{} is too little to tell ({REQUESTS} are needed)",
            counted(total.into(), "unanswered request")
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
