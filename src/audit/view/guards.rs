//! What keeps silence from counting: loss, and the end of the capture.

use std::time::Duration;

use crate::model::Observed;
use crate::model::Series;
use crate::model::Timestamp;

use super::View;

/// Share of lost packets above which loss may explain a verdict away (evidence 3.6: loss to the power of the missing packets above 1 %).
const LOSS_EXPLAINS: f64 = 0.01;

/// Estimated loss above which grades are capped at C (evidence 3.3.3).
const LOSS_CAPS: f64 = 0.01;

/// The least distance from the end of the capture at which a silence counts (evidence 3.3.4).
const END_GUARD: Duration = Duration::from_secs(1);

impl View {
    /// Whether a series of at least `needed` like packets lies safely before the end of the capture: the last of them, or (where there
    /// is one more than needed) the one before it, whose silence then lasted until the last.
    pub fn is_settled(&self, series: &Series, needed: u32) -> bool {
        series.count > needed || (series.count == needed && !self.end_is_near(series))
    }

    /// Whether the capture ends too soon after the last of a series for the silence after it to count.
    pub fn end_is_near(&self, series: &Series) -> bool {
        series.last.is_none_or(|last| self.ends_too_soon(last.time, series.longest_gap))
    }

    /// Whether the capture ends too soon after `last` for silence to count: closer than the longest gap, and than a second.
    pub fn ends_too_soon(&self, last: Timestamp, longest_gap: Duration) -> bool {
        // What is stamped later than the last packet came before the clock was set back.
        let end = if last > self.end { self.latest } else { self.end };
        end.since(last) < longest_gap.max(END_GUARD)
    }

    /// Whether loss alone could explain that this many packets were not seen.
    pub fn loss_explains(&self, missing: u32) -> Option<String> {
        let loss = self.loss?;
        (loss.powi(i32::try_from(missing).unwrap_or(i32::MAX)) > LOSS_EXPLAINS).then(|| {
            format!(
                "the capture misses about {:.0} % of packets, which could explain {missing} missing answers",
                loss * 100.0
            )
        })
    }

    /// Whether loss is high enough to cap grades, and how high it is.
    pub fn lossy(&self) -> Option<f64> {
        self.loss.filter(|loss| *loss > LOSS_CAPS)
    }
}

/// The end of the capture. Where the clock was set back, the latest time is not the time of the last packet.
pub(super) fn end(observed: &Observed) -> Timestamp {
    let latest = observed.vantage.last.unwrap_or(Timestamp::MIN);
    if observed.inputs.iter().all(|input| input.time_reversals == 0) {
        return latest;
    }
    let last = observed
        .conversations
        .values()
        .flat_map(|conversation| conversation.attempts().map(|flow| flow.last).chain([conversation.last]));
    last.max_by_key(|at| (at.input(), at.number())).map_or(latest, |at| at.time)
}

/// Loss estimated from acknowledged-but-unseen bytes, or from what the capturing machine says it dropped; the worse of both.
pub(super) fn loss(observed: &Observed) -> Option<f64> {
    let dropped = observed.vantage.dropped.filter(|dropped| *dropped > 0).map(|dropped| {
        let seen = observed.tally.packets;
        dropped as f64 / (dropped.saturating_add(seen)) as f64
    });
    match (observed.vantage.loss(), dropped) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}
