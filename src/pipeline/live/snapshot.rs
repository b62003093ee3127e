//! What was seen up to a moment.

use crate::model::Observed;
use crate::model::Tally;
use crate::model::Timestamp;
use crate::pipeline::learnt::Learnt;
use crate::pipeline::merge;
use crate::pipeline::merge::Told;
use crate::pipeline::vantage::Hosts;

/// What was seen up to a moment, not yet joined: joining it is work for another thread.
pub struct Snapshot {
    pub(super) shards: Vec<Learnt>,
    pub(super) read: Tally,
    pub(super) hosts: Hosts,
    pub(super) source: Told,
    pub(super) until: Option<Timestamp>,
    pub(super) keep_flows: bool,
}

impl Snapshot {
    /// Joins it.
    pub fn join(self) -> Observed {
        let mut observed = merge::merge(self.shards, self.read, &self.hosts, self.source, self.keep_flows, 1);
        // Silence that was listened to is silence, though no packet says so.
        observed.vantage.last =
            observed.vantage.last.map(|last| self.until.map_or(last, |now| last.max(now)));
        observed
    }
}
