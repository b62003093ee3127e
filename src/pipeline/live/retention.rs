//! What a pipeline that does not end forgets: what has long been silent, and the oldest of what is beyond a bound. Both are counted.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::model::CellId;
use crate::model::Conversation;
use crate::model::Host;
use crate::model::Lookup;
use crate::model::Timestamp;
use crate::pipeline::learnt::Learnt;
use crate::pipeline::learnt::MOST_ENDPOINTS;
use crate::pipeline::learnt::MOST_LOOKUPS;
use crate::pipeline::names;
use crate::pipeline::shard::SHARDS;
use crate::pipeline::vantage::mark;

use super::Live;

/// How long what is silent is remembered, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Conversations, lookups and addresses that were silent for longer are forgotten.
    pub keep: Duration,
    /// The most name lookups remembered over all shards; of a name that is asked for again and again the latest few are.
    pub lookups: usize,
    /// The most conversations remembered over all shards: near it, those with the fewest packets are forgotten, the oldest first.
    pub conversations: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: Duration::from_secs(30 * 86_400), lookups: 256 * 1024, conversations: 512 * 1024 }
    }
}

/// What is left out in the ordinary course of months: none of it says that a bound is too small.
pub const ORDINARY: [&str; 5] = [
    "conversations forgotten after long silence",
    "name lookups forgotten after long silence",
    "address resolutions forgotten after long silence",
    "older name lookups left out",
    "older dynamic ports left out",
];

/// Of lookups of one name by one client, so many are remembered: the latest decide, and a few before them show the change.
const LOOKUPS_OF_ONE: usize = 8;
/// After so long an answer to a question asked elsewhere has surely been told: flows of datagrams leave after half an hour of silence.
const ANSWERED: Duration = Duration::from_secs(2 * 3600);
/// Between two looks for what has to be forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(600);

impl Live {
    /// Sees to timers. `now` is capture time, which goes on while the wire is silent.
    pub fn tick(&mut self, now: Timestamp) {
        let most = self.retention.lookups.div_ceil(SHARDS).clamp(LOOKUPS_OF_ONE, MOST_LOOKUPS);
        let talks = self.retention.conversations.div_ceil(SHARDS);
        let due = self.hands.each(move |engine| {
            let mut due = false;
            for shard in &mut engine.shards {
                shard.tick(now);
                due |= shard.has_many_unsettled();
                thin_out(shard.learnt(), most);
                thin_conversations(shard.learnt(), talks);
            }
            due
        });
        if due.contains(&true) {
            self.settle(Timestamp::MAX);
        }
        let due = self.swept.is_none_or(|swept| now.since(swept) >= HOUSEKEEPING || now < swept);
        if due {
            self.swept = Some(now);
            self.forget(now);
        } else if self.hosts.len() > self.most_hosts / 2 {
            self.thin_hosts();
        }
    }

    /// Forgets the hosts that said least, so that those who speak all the time are not lost in a flood of forged addresses.
    fn thin_hosts(&mut self) {
        let keep = self.most_hosts / 4;
        let mut said: Vec<(u64, Timestamp)> =
            self.hosts.iter().map(|heard| (heard.packets, heard.last.time)).collect();
        if said.len() > keep {
            let at = said.len() - keep;
            let (_, &mut least, _) = said.select_nth_unstable(at);
            self.hosts.retain(|_, heard| (heard.packets, heard.last.time) >= least);
        }
        self.forget_hosts();
    }

    /// Tells the shards which hosts are still known.
    fn forget_hosts(&mut self) {
        let left: HashSet<u64, FixedState> = self.hosts.iter().map(|heard| mark(heard.key())).collect();
        let left = Arc::new(left);
        self.hands.each(move |engine| engine.shards.iter_mut().for_each(|shard| shard.forget_hosts(&left)));
    }

    /// Settles the roles of streams without opening that are silent since then: the merge that would do it may never come.
    fn settle(&mut self, since: Timestamp) {
        let ends: HashSet<_, FixedState> = self
            .hands
            .each(move |engine| {
                engine.shards.iter().flat_map(|shard| shard.unsettled_ends(since)).collect::<Vec<_>>()
            })
            .into_iter()
            .flatten()
            .collect();
        let ends = Arc::new(ends);
        // What services are known is far more than what is asked about.
        let learned: BTreeSet<(CellId, Host, u16)> = self
            .hands
            .each(move |engine| {
                let known = engine.shards.iter().flat_map(|shard| shard.learned());
                known.filter(|&service| ends.contains(service)).copied().collect::<Vec<_>>()
            })
            .into_iter()
            .flatten()
            .collect();
        let learned = Arc::new(learned);
        self.hands.each(move |engine| {
            for shard in &mut engine.shards {
                shard.settle(&learned, since);
            }
        });
    }

    fn forget(&mut self, now: Timestamp) {
        let since = now.minus(self.retention.keep);
        self.hosts.retain(|_, heard| heard.last.time >= since);
        let answered = now.minus(ANSWERED);
        self.settle(answered);
        self.hands.each(move |engine| {
            for shard in &mut engine.shards {
                shard.forget(since, answered);
            }
        });
        self.forget_hosts();
    }
}

/// Forgets the conversations that said least, the oldest of them first, so that those that go on all the time are not lost in a flood of
/// others, and so that there is always room for one that is new.
fn thin_conversations(learnt: &mut Learnt, most: usize) {
    if learnt.conversations.len() <= most - most / 8 {
        return;
    }
    let before = learnt.conversations.len();
    let leave = before.saturating_sub(most - most / 4);
    let rank = |told: &Conversation| (told.packets, told.last);
    let mut said: Vec<_> = learnt.conversations.values().map(|told| rank(told)).collect();
    if leave >= said.len() {
        return;
    }
    let (_, &mut least, _) = said.select_nth_unstable(leave);
    learnt.conversations.retain(|_, told| rank(told) >= least);
    learnt.count_whole();
    learnt.leave_out(
        "conversations forgotten to make room for others",
        (before - learnt.conversations.len()) as u64,
    );
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
