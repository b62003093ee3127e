//! Several machines under one address: whose attempts count, and what a verdict is worth (evidence 3.6: an address may change hands, or be two
//! machines').

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::model::Failure;
use crate::model::Grade;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Mechanism;
use crate::model::Verdict;

use super::attempt::Attempt;
use super::attempt::State;
use super::timeline::Settled;
use super::view::View;

/// The machines of one address, and which of them got somewhere.
type Known = BTreeMap<Host, BTreeMap<MacAddr, bool>>;

/// The attempts without those of another machine under the same address that came to nothing, and what is to be said of that.
///
/// Which of two machines the site means is shown by what works. Where nothing works, a failure is told only if it is each machine's own:
/// `alone` says what attempts come to by themselves.
pub fn meant<'a>(
    attempts: &'a [Attempt],
    view: &View<'_>,
    alone: impl Fn(&[Attempt]) -> Verdict,
) -> (Cow<'a, [Attempt]>, Option<String>) {
    let mut kept = Cow::Borrowed(attempts);
    let mut told = None;
    for end in [0, 1] {
        let known = machines(&kept, end, view);
        for (host, macs) in known.iter().filter(|(_, macs)| macs.len() > 1) {
            if macs.values().all(|works| !works) && each_fails(&kept, (end, *host), macs, &alone) {
                continue;
            }
            for attempt in kept.to_mut().iter_mut().filter(|attempt| host_of(attempt, end) == Some(*host)) {
                let Some(mac) = attempt.machines.get(end).copied().flatten() else { continue };
                let works = macs.get(&mac).copied().unwrap_or_default();
                let fails = matches!(
                    attempt.state,
                    State::Fails(..) | State::Silent(_) | State::Stopped(..) | State::Unclear(_)
                );
                if !works && fails {
                    let why = reason(attempt, (end, *host), mac, macs, view);
                    told = Some(why.clone());
                    attempt.state = State::Unclear(why);
                }
            }
        }
    }
    // Where nothing works, the reason says it already.
    let works = kept.iter().any(|attempt| !matches!(attempt.state, State::Unclear(_)));
    (kept, told.filter(|_| works))
}

/// The machines behind the addresses of one end. At the server's end only a lease tells two of them apart: a machine with several network cards
/// answers from any of them.
fn machines(attempts: &[Attempt], end: usize, view: &View<'_>) -> Known {
    let mut known = Known::new();
    for attempt in attempts {
        let Some(host) = host_of(attempt, end) else { continue };
        let Some(mac) = attempt.machines.get(end).copied().flatten() else { continue };
        if end == 0 || view.handed_over(attempt.place.0, host).is_some() {
            let works = matches!(attempt.state, State::Works(..) | State::Doubtful(..) | State::Sent(..));
            *known.entry(host).or_default().entry(mac).or_default() |= works;
        }
    }
    known
}

fn host_of(attempt: &Attempt, end: usize) -> Option<Host> {
    if end == 0 { Some(attempt.ends.0) } else { attempt.ends.1 }
}

/// Whether what each of the machines tried fails by itself.
fn each_fails(
    attempts: &[Attempt],
    (end, host): (usize, Host),
    macs: &BTreeMap<MacAddr, bool>,
    alone: impl Fn(&[Attempt]) -> Verdict,
) -> bool {
    macs.keys().all(|mac| {
        let own = |attempt: &&Attempt| {
            host_of(attempt, end) == Some(host) && attempt.machines.get(end).copied().flatten() == Some(*mac)
        };
        let own: Vec<Attempt> = attempts.iter().filter(own).cloned().collect();
        alone(&own).failure().is_some()
    })
}

fn reason(
    attempt: &Attempt,
    (end, host): (usize, Host),
    mac: MacAddr,
    macs: &BTreeMap<MacAddr, bool>,
    view: &View<'_>,
) -> String {
    let handover =
        view.handed_over(attempt.place.0, host).filter(|known| known.to == mac || known.from == mac);
    let got = if end == 0 {
        format!("what {mac} tried and did not get is not told")
    } else {
        format!("what was not got of {mac} is not told")
    };
    match handover {
        Some(known) => format!(
            "the address {host} went from {} to {} ({}: DHCP), and {got}: it may be another machine than the one meant",
            known.from,
            known.to,
            view.packet(known.at)
        ),
        None => {
            let all = macs.keys().map(MacAddr::to_string).collect::<Vec<_>>().join(" and ");
            format!(
                "two machines use the address {host} ({all}), and {got}: it may be another machine than the one meant"
            )
        }
    }
}

/// Lowers the grade of what is concluded from silence or resets, where one of the two ends is several machines at the same time.
pub fn cap(mut settled: Settled, attempts: &[Attempt], view: &View<'_>) -> Settled {
    let shared = || {
        attempts.iter().find_map(|attempt| {
            let ends = [Some(attempt.ends.0), attempt.ends.1];
            ends.into_iter().flatten().find_map(|host| view.shared(attempt.place.0, host))
        })
    };
    if let Some(failure) = failure_of(&mut settled.verdict)
        && failure.grade == Grade::B
        && CONCLUDED.contains(&failure.mechanism)
        && let Some(why) = shared()
    {
        failure.grade = Grade::C;
        settled.reason.push_str(&format!("; grade B lowered to C, since {why}"));
    }
    settled
}

/// What is concluded from what is missing, or from whose packet it is.
const CONCLUDED: [Mechanism; 6] = [
    Mechanism::Dropped,
    Mechanism::ReturnPath,
    Mechanism::ResetByMiddlebox,
    Mechanism::TlsCut,
    Mechanism::Cut,
    Mechanism::NoReply,
];

fn failure_of(verdict: &mut Verdict) -> Option<&mut Failure> {
    match verdict {
        Verdict::Blocked(failure) | Verdict::Failed(failure) | Verdict::Violated(failure) => Some(failure),
        _ => None,
    }
}
