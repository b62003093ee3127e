//! Documented flows that nobody tried: not seen, not visible, not yet, or the target is off.

use std::time::Duration;

use crate::model::CellId;
use crate::model::Host;
use crate::model::Verdict;
use crate::rules::Cadence;
use crate::rules::Need;

use super::attempt::State;
use super::cast::Party;
use super::catalogue::Entry;
use super::requirement::Ground;
use super::requirement::window_at;
use super::timeline;

/// Hearing a source this long without an attempt says something of a continuous flow (evidence 3.6).
const LONG_FOR_CONTINUOUS: Duration = Duration::from_secs(60);
/// The same for a periodic one: three times the longest NTP poll interval in common use, 1,024 s.
const LONG_FOR_PERIODIC: Duration = Duration::from_secs(3 * 1024);

/// What it means that a source never tried.
pub fn silence(ground: Ground<'_>, entry: &Entry<'_>, source: &Party) -> (Verdict, String) {
    let heard = source.addresses().filter_map(|ip| ground.view.heard_for(Host::Ip(ip))).max();
    let hidden = ground.view.hidden();
    let Some(heard) = heard else {
        let reason = match hidden {
            Some(dark) => {
                format!("{source} was never heard, but {dark}: it is in those, outside this mirror, or off")
            }
            None => format!("{source} was never heard: it is outside this mirror, or off"),
        };
        return (Verdict::NotVisible, reason);
    };
    if let Some(dark) = hidden {
        return (Verdict::NotVisible, format!("never tried as far as can be read: {dark}"));
    }
    let mut known = source.addresses().map(Host::Ip).filter(|host| ground.view.heard_for(*host).is_some());
    if known.all(|host| ground.view.is_behind_a_router(host)) {
        let reason = format!(
            "never tried as far as this mirror shows, and it hears {source} behind a router only: what is thrown away before that is out of its sight"
        );
        return (Verdict::NotVisible, reason);
    }
    if entry.rule.need == Need::Optional {
        return (Verdict::Unseen, "never tried, and optional".to_owned());
    }
    let enough = match entry.rule.cadence {
        Cadence::Continuous => LONG_FOR_CONTINUOUS,
        Cadence::Periodic => LONG_FOR_PERIODIC,
        Cadence::Human | Cadence::Rare => {
            let why = if entry.rule.cadence == Cadence::Human {
                "a person has to start it"
            } else {
                "it happens rarely"
            };
            return (Verdict::Unseen, format!("never tried; {why}, so silence says nothing"));
        }
    };
    if heard >= enough {
        (Verdict::Unseen, format!("never tried, though {source} was heard for {}", seconds(heard)))
    } else {
        let reason = format!(
            "not tried yet: {source} was heard for {} only, {} are needed to tell silence from a pause",
            seconds(heard),
            seconds(enough)
        );
        (Verdict::Undecided, reason)
    }
}

fn seconds(span: Duration) -> String {
    match span.as_secs() {
        0..120 => format!("{:.0} s", span.as_secs_f64()),
        120..7200 => format!("{:.0} min", span.as_secs_f64() / 60.0),
        _ => format!("{:.1} h", span.as_secs_f64() / 3600.0),
    }
}

/// A source that wants to reach its target and does not learn its address, so that no connection is even tried. Only for flows that
/// are due all the time: what else it may have wanted there is not shown.
pub fn host_down(
    ground: Ground<'_>,
    entry: &Entry<'_>,
    source: &Party,
    target: &Party,
) -> Option<(Verdict, String)> {
    if !matches!(entry.rule.cadence, Cadence::Continuous | Cadence::Periodic) {
        return None;
    }
    let cells = 0..=u16::try_from(ground.site.cells.len()).unwrap_or(u16::MAX);
    let down = cells.map(CellId).find_map(|cell| {
        source.addresses().find_map(|asker| {
            target.addresses().find_map(|ip| ground.view.asks_in_vain(cell, asker, Host::Ip(ip)))
        })
    })?;
    // It may be off while it is being worked on; what shows it is the last question, when it should be back.
    if window_at(ground, down.requests.last.unwrap_or_default()).is_some() {
        return None;
    }
    match timeline::host_down(down, &target.label) {
        State::Fails(_, failure, reason) => Some((Verdict::Failed(failure), reason)),
        _ => None,
    }
}
