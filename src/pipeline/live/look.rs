//! A look at a pipeline at work: what a run over the same packets would tell if the capture ended now, shard by shard.
//!
//! Where many flows are alive a look takes longer than a ring holds. So it is taken in steps, with packets between them: each pair of hosts
//! is at home in one shard and is seen at one moment. The look speaks for the time at which it began; what a later shard has heard since
//! is more than that, never less, so that no silence is seen that there was not.

use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::FixedState;

use crate::capture::Source;
use crate::model::Tally;
use crate::model::Timestamp;
use crate::pipeline::learnt::Learnt;
use crate::pipeline::merge::Told;
use crate::pipeline::shard::SHARDS;
use crate::pipeline::vantage::Hosts;

use super::Hands;
use super::Live;
use super::Snapshot;

/// A look that is being taken.
pub struct Look {
    /// The shards seen so far, in the order of their numbers.
    shards: Vec<Learnt>,
    /// The hosts that flows alive tell of.
    alive: Hosts,
    source: Told,
    until: Option<Timestamp>,
    step: usize,
}

impl Live {
    /// What a run would tell if the capture ended now. `now` is capture time where it is known to be later than the last packet.
    pub fn observe(&mut self, source: &dyn Source, now: Option<Timestamp>) -> Snapshot {
        let mut look = self.begin_look(source, now);
        while !self.step(&mut look) {}
        self.end_look(look)
    }

    /// Begins a look. `now` as for [`Live::observe`].
    pub fn begin_look(&mut self, source: &dyn Source, now: Option<Timestamp>) -> Look {
        if let Hands::Crew(crew) = &mut self.hands {
            // What is on its way from one to the other counts: first all hand on, then all take in.
            crew.each(|worker| worker.engine.exchange(false));
            crew.each(|worker| worker.engine.exchange(true));
        }
        Look {
            shards: Vec::with_capacity(SHARDS),
            alive: Arc::new(DashMap::with_hasher(FixedState::default())),
            source: Told::of(source),
            until: now,
            step: 0,
        }
    }

    /// Looks at the next shard of every worker. Says whether all were looked at.
    pub fn step(&mut self, look: &mut Look) -> bool {
        let (step, alive) = (look.step, Arc::clone(&look.alive));
        look.step += 1;
        // The first worker has shard 0, the next one 1, and so on; then it is the first one's turn again.
        let seen = self
            .hands
            .each(move |engine| engine.shards.get(step).map(|shard| shard.observe(Arc::clone(&alive))));
        let before = look.shards.len();
        look.shards.extend(seen.into_iter().flatten());
        look.shards.len() == before || look.shards.len() >= SHARDS
    }

    /// Ends a look.
    pub fn end_look(&mut self, look: Look) -> Snapshot {
        let Look { shards, alive, source, until, .. } = look;
        let read = self.hands.each(|engine| {
            if let Some(keeper) = &mut engine.keeper {
                keeper.shelve();
            }
            engine.dispatcher.tally()
        });
        let tally = read.iter().fold(Tally::default(), |mut all, one| {
            all.merge(one);
            all
        });
        let hosts: Hosts = Arc::new(DashMap::clone(&self.hosts));
        for told in alive.iter() {
            let heard = *told.value();
            hosts.entry(*told.key()).and_modify(|known| known.add(&heard)).or_insert(heard);
        }
        Snapshot { shards, read: tally, hosts, source, until, keep_flows: self.keep_flows }
    }
}
