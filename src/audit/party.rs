//! Parties of several addresses: an HA pair, a machine with several interfaces, a name with many addresses. One success satisfies.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::CellId;
use crate::model::Host;
use crate::model::Verdict;

use super::attempt::Attempt;
use super::attempt::State;
use super::cast::Party;
use super::machines;
use super::timeline;
use super::timeline::Settled;
use super::timeline::Who;
use super::view::View;

/// Tries of one name's addresses this close together are one wish to connect (RFC 8305; a client that tries them in turn gives
/// each some seconds).
const ONE_WISH: Duration = Duration::from_secs(30);

/// Where attempts went: the cell, and the server's port.
pub type End = (CellId, Host, Host, Option<u16>);

/// Weighs the attempts of a source at a target. Where their addresses stand for machines of several cells, each is weighed alone, and
/// the worst is told: that it works in one cell is no comfort to another.
pub fn settle(
    view: &View<'_>,
    source: &Party,
    target: &Party,
    attempts: &[Attempt],
    end: Option<End>,
) -> Settled {
    machines::cap(in_cells(view, source, target, attempts, end), attempts, view)
}

fn in_cells(
    view: &View<'_>,
    source: &Party,
    target: &Party,
    attempts: &[Attempt],
    end: Option<End>,
) -> Settled {
    let mut cells: BTreeMap<(CellId, &[u16]), Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        let (cell, vlans) = (attempt.place.0, &*attempt.place.1);
        let cloned = |host: Host| view.is_cloned(cell, host, vlans);
        let apart = cloned(attempt.ends.0) || attempt.ends.1.is_some_and(cloned);
        cells.entry((cell, if apart { vlans } else { &[] })).or_default().push(attempt);
    }
    if cells.len() < 2 {
        return in_one_cell(view, source, target, attempts, end);
    }
    let mut settled: Vec<(String, Settled)> = cells
        .iter()
        .map(|(&(cell, vlans), tries)| {
            let end = end.map(|(_, client, server, port)| (cell, client, server, port));
            let place = match (cell.0, vlans) {
                (0, []) => "in the plant itself".to_owned(),
                (0, vlans) => {
                    format!("on VLAN {}", vlans.iter().map(u16::to_string).collect::<Vec<_>>().join("/"))
                }
                (cell, _) => format!("in cell {cell}"),
            };
            let tries: Vec<Attempt> = tries.iter().copied().cloned().collect();
            (place, in_one_cell(view, source, target, &tries, end))
        })
        .collect();
    let rank = |one: &Settled| match one.verdict {
        Verdict::Blocked(_) => 0,
        Verdict::Failed(_) => 1,
        Verdict::Violated(_) => 2,
        Verdict::Satisfied(_) => 3,
        _ => 4,
    };
    settled.sort_by_key(|(_, one)| rank(one));
    let same = settled
        .iter()
        .all(|(_, one)| one.verdict.name() == settled.first().map_or("", |(_, first)| first.verdict.name()));
    let mut told = settled.into_iter();
    let Some((place, mut worst)) = told.next() else {
        return in_one_cell(view, source, target, attempts, end);
    };
    if !same {
        let others: Vec<String> =
            told.map(|(place, one)| format!("{place} it is {}", one.verdict.name())).collect();
        worst.reason.push_str(&format!("; that is so {place}, {}", others.join(", ")));
    }
    worst
}

/// Weighs attempts between machines whose addresses are their own.
fn in_one_cell(
    view: &View<'_>,
    source: &Party,
    target: &Party,
    attempts: &[Attempt],
    end: Option<End>,
) -> Settled {
    let alone = |of: &[Attempt]| timeline::settle(of, who(view, source, target, end), view).verdict;
    let (sorted, others) = machines::meant(attempts, view, alone);
    let attempts = sorted.as_ref();
    let told = |mut settled: Settled| {
        if let Some(others) = &others {
            settled.reason.push_str(&format!("; {others}"));
        }
        settled
    };
    let all = || {
        let who = who(view, source, target, end);
        // A party of several machines is alive where one of those that were tried is.
        let tried =
            attempts.iter().filter_map(|attempt| view.heard_between(attempt.place.0, attempt.ends.1?));
        let target_heard = tried.max_by_key(|(_, until)| *until).or(who.target_heard);
        told(timeline::settle(attempts, Who { target_heard, ..who }, view))
    };
    let named = target.patterns().next().is_some();
    let mut by_ends: BTreeMap<(Host, Host), Vec<Attempt>> = BTreeMap::new();
    for attempt in attempts {
        // A failed lookup concerns every address.
        let (client, Some(server)) = attempt.ends else { return all() };
        // A machine under another address is one machine still.
        let ends = (source.known_as(client), target.known_as(server));
        by_ends.entry(ends).or_default().push(attempt.clone());
    }
    if by_ends.len() < 2 || !(named || source.members.len() > 1 || target.members.len() > 1) {
        return all();
    }
    let mut settled: Vec<((Host, Host), Settled)> = by_ends
        .iter()
        .map(|(&(client, server), tries)| {
            let end = end.map(|(cell, _, _, port)| (cell, client, server, port));
            ((client, server), timeline::settle(tries, who(view, source, target, end), view))
        })
        .collect();
    let violated = settled.iter().any(|(_, one)| matches!(one.verdict, Verdict::Violated(_)));
    let failing: Vec<(Host, Host)> =
        settled.iter().filter(|(_, one)| one.verdict.failure().is_some()).map(|(ends, _)| *ends).collect();
    if violated || failing.is_empty() {
        return all();
    }
    // Of a name's addresses only those lose that were tried beside one that works; what fails alone and later is a failure.
    let lost_beside = |ends: &(Host, Host)| {
        by_ends.get(ends).is_some_and(|tries| {
            tries.iter().all(|lost| {
                attempts.iter().any(|won| {
                    matches!(won.state, State::Works(..) | State::Doubtful(..))
                        && lost.first.time.since(won.first.time) <= ONE_WISH
                        && won.first.time.since(lost.first.time) <= ONE_WISH
                })
            })
        })
    };
    if named && !failing.iter().all(lost_beside) {
        return all();
    }
    let best = settled
        .iter()
        .enumerate()
        .filter(|(_, (_, one))| matches!(one.verdict, Verdict::Satisfied(_)))
        .max_by_key(|(_, (ends, _))| by_ends.get(ends).and_then(|tries| Some(tries.last()?.last)))
        .map(|(at, _)| at);
    let Some(best) = best else {
        // A member that gets through, whatever it speaks, is none that fails: then neither does the party.
        let open = settled.iter().find(|(_, one)| {
            matches!(one.verdict, Verdict::Undecided)
                && one.history.last().is_some_and(|phase| phase.verdict == Verdict::Undecided.name())
        });
        return match open {
            Some((_, open)) if !named => told(Settled {
                reason: format!("of {}, one gets through: {}", target.label, open.reason),
                ..open.clone()
            }),
            _ => all(),
        };
    };
    let (_, mut best) = settled.swap_remove(best);
    let others: Vec<String> = settled
        .iter()
        .filter_map(|((client, server), one)| {
            let failure = one.verdict.failure()?;
            Some(format!("{client} to {server} {} ({})", one.verdict.name(), failure.mechanism.name()))
        })
        .collect();
    best.reason.push_str(&format!("; in part only: {}", others.join(", ")));
    told(best)
}

fn who<'a>(view: &'a View<'_>, source: &'a Party, target: &'a Party, end: Option<End>) -> Who<'a> {
    let (heard, others, down) = match end {
        Some((cell, client, server, port)) => (
            view.heard_between(cell, server),
            view.others_answered(cell, server, port, client),
            view.down(cell, server),
        ),
        None => (None, None, None),
    };
    Who { source: &source.label, target: &target.label, target_heard: heard, others_answered: others, down }
}
