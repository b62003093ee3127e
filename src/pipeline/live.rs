//! The pipeline that does not end: packets go in, snapshots come out, and what has long been silent is forgotten.
//!
//! A snapshot is what a run over the same packets would tell if the capture ended now. Nothing here grows with time: what is not heard
//! of for [`Retention::keep`] leaves, what is beyond a bound leaves oldest first, and both are counted.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::FixedState;

use crate::capture::Source;
use crate::model::CellId;
use crate::model::Host;
use crate::model::Lookup;
use crate::model::Observed;
use crate::model::Packet;
use crate::model::Tally;
use crate::model::Timestamp;

use super::CellMap;
use super::Options;
use super::engine::Engine;
use super::merge;
use super::merge::Told;
use super::names;
use super::shard::Learnt;
use super::shard::MOST_ENDPOINTS;
use super::shard::MOST_LOOKUPS;
use super::shard::SHARDS;
use super::vantage::Hosts;

/// How long what is silent is remembered, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Conversations, lookups and addresses that were silent for longer are forgotten.
    pub keep: Duration,
    /// The most name lookups remembered over all shards; of a name that is asked for again and again the latest few are.
    pub lookups: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: Duration::from_secs(30 * 86_400), lookups: 256 * 1024 }
    }
}

/// Of lookups of one name by one client, so many are remembered: the latest decide, and a few before them show the change.
const LOOKUPS_OF_ONE: usize = 8;
/// Streams without opening that wait in one shard before their roles are settled by what is known then.
const UNSETTLED: usize = 256;
/// After so long an answer to a question asked elsewhere has surely been told: flows of datagrams leave after half an hour of silence.
const ANSWERED: Duration = Duration::from_secs(2 * 3600);
/// Between two looks for what has to be forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(600);

/// A pipeline over a capture that goes on.
pub struct Live {
    engine: Engine,
    hosts: Hosts,
    retention: Retention,
    keep_flows: bool,
    swept: Option<Timestamp>,
}

/// What was seen up to a moment, not yet joined: joining it is work for another thread.
pub struct Snapshot {
    shards: Vec<Learnt>,
    read: Tally,
    hosts: Hosts,
    source: Told,
    until: Option<Timestamp>,
    keep_flows: bool,
}

impl Live {
    /// A pipeline that has seen nothing. `workers` is not heeded: everything is done in the calling thread.
    pub fn new(options: &Options, retention: Retention) -> Self {
        let hosts: Hosts = Arc::new(DashMap::with_hasher(FixedState::default()));
        let engine = Engine::new(options, options.bounds(), hosts.clone());
        Self { engine, hosts, retention, keep_flows: options.keep_flows, swept: None }
    }

    /// Takes in one packet.
    #[inline]
    pub fn take(&mut self, packet: &Packet<'_>) {
        self.engine.take(packet);
    }

    /// From now on tells address spaces apart like this.
    pub fn tell_cells(&mut self, cells: CellMap) {
        self.engine.cells = cells;
    }

    /// Sees to timers. `now` is capture time, which goes on while the wire is silent.
    pub fn tick(&mut self, now: Timestamp) {
        for shard in &mut self.engine.shards {
            shard.tick(now);
        }
        self.settle();
        let due = self.swept.is_none_or(|swept| now.since(swept) >= HOUSEKEEPING || now < swept);
        if due {
            self.swept = Some(now);
            self.forget(now);
        }
        let most = self.retention.lookups.div_ceil(SHARDS).clamp(LOOKUPS_OF_ONE, MOST_LOOKUPS);
        for shard in &mut self.engine.shards {
            thin_out(shard.learnt(), most);
        }
    }

    /// Flows alive.
    pub fn flows(&self) -> usize {
        self.engine.shards.iter().map(super::shard::Shard::flows).sum()
    }

    /// Bytes kept for classifiers.
    pub fn kept_bytes(&self) -> usize {
        self.engine.shards.iter().map(super::shard::Shard::kept).sum()
    }

    /// What a run would tell if the capture ended now. `now` is capture time where it is known to be later than the last packet.
    pub fn observe(&self, source: &dyn Source, now: Option<Timestamp>) -> Snapshot {
        let hosts: Hosts = Arc::new(DashMap::clone(&self.hosts));
        Snapshot {
            shards: self.engine.shards.iter().map(|shard| shard.observe(hosts.clone())).collect(),
            read: self.engine.dispatcher.tally(),
            hosts,
            source: Told::of(source),
            until: now,
            keep_flows: self.keep_flows,
        }
    }

    /// Settles the roles of streams without opening where many wait: their merge may never come.
    fn settle(&mut self) {
        if !self.engine.shards.iter_mut().any(|shard| shard.learnt().unsettled.len() >= UNSETTLED) {
            return;
        }
        let learned: BTreeSet<(CellId, Host, u16)> =
            self.engine.shards.iter_mut().flat_map(|shard| shard.learnt().learned.clone()).collect();
        for shard in &mut self.engine.shards {
            shard.settle(&learned);
        }
    }

    fn forget(&mut self, now: Timestamp) {
        let since = now.minus(self.retention.keep);
        self.hosts.retain(|_, heard| heard.last.time >= since);
        let answered = now.minus(ANSWERED);
        for shard in &mut self.engine.shards {
            shard.forget(since, answered);
        }
    }
}

impl Snapshot {
    /// Joins it.
    pub fn join(self) -> Observed {
        let mut observed = merge::merge(self.shards, self.read, &self.hosts, self.source, self.keep_flows);
        // Silence that was listened to is silence, though no packet says so.
        observed.vantage.last =
            observed.vantage.last.map(|last| self.until.map_or(last, |now| last.max(now)));
        observed
    }
}

/// Keeps lookups and dynamic ports within their bounds: the latest of each name and client, then the latest of all.
fn thin_out(learnt: &mut Learnt, most: usize) {
    if learnt.lookups.len() > most {
        let before = learnt.lookups.len();
        let mut lookups = std::mem::take(&mut learnt.lookups);
        lookups.sort_by_key(|lookup| std::cmp::Reverse(names::order(lookup)));
        let mut seen: BTreeMap<(CellId, Host, Host, String), usize> = BTreeMap::new();
        lookups.retain(|lookup: &Lookup| {
            let known =
                seen.entry((lookup.cell, lookup.client, lookup.server, lookup.name.clone())).or_default();
            *known += 1;
            *known <= LOOKUPS_OF_ONE
        });
        // Room for what comes before the next look, so that a flood of names is not sorted anew each time.
        lookups.truncate(most - most / 4);
        lookups.reverse();
        learnt.leave_out("older name lookups left out", (before - lookups.len()) as u64);
        learnt.lookups = lookups;
    }
    if learnt.endpoints.len() > MOST_ENDPOINTS / 2 {
        let before = learnt.endpoints.len();
        let latest: BTreeMap<_, _> = learnt
            .endpoints
            .drain(..)
            .map(|told| ((told.cell, told.client, told.server, told.transport, told.port), told))
            .collect();
        learnt.endpoints = latest.into_values().collect();
        learnt.endpoints.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.at));
        learnt.endpoints.truncate(MOST_ENDPOINTS / 4);
        learnt.endpoints.reverse();
        learnt.leave_out("older dynamic ports left out", (before - learnt.endpoints.len()) as u64);
    }
}
