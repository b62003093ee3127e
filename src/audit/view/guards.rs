//! What keeps silence from counting near the end of a recording.

use std::time::Duration;

use crate::model::PacketRef;
use crate::model::Series;

use super::View;

/// The least distance from the end of the capture at which a silence counts (evidence 3.3.4).
const END_GUARD: Duration = Duration::from_secs(1);

impl View<'_> {
    /// Whether a series of at least `needed` like packets lies safely before the end of the capture: the last of them, or (where there
    /// is one more than needed) the one before it, whose silence then lasted until the last.
    pub fn is_settled(&self, series: &Series, needed: u32) -> bool {
        series.count > needed || (series.count == needed && !self.end_is_near(series))
    }

    /// Whether the capture ends too soon after the last of a series for the silence after it to count.
    pub fn end_is_near(&self, series: &Series) -> bool {
        series.last.is_none_or(|last| self.ends_too_soon(last, series.longest_gap()))
    }

    /// Whether the recording of a packet ends too soon after it for silence to count: closer than the longest gap, and than a second.
    pub fn ends_too_soon(&self, last: PacketRef, longest_gap: Duration) -> bool {
        self.recordings.end(last).since(last.time) < longest_gap.max(END_GUARD)
    }
}
