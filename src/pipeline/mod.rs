//! Joins the stages: packets from a source, decoded, kept as flows, judged by their payload, and told in one order.
//!
//! Work is divided by the pair of innermost hosts over a fixed number of shards, whatever the number of workers. So all bounds, and
//! everything that a shard concludes, are the same for one worker and for many, and so is the result of the merge.

mod batch;
mod cells;
mod crew;
mod crossing;
mod dispatch;
mod elsewhere;
mod engine;
mod gather;
mod judge;
mod learnt;
mod leave;
mod live;
mod merge;
mod names;
mod others;
mod recent;
mod relay;
mod resolve;
mod shard;
mod share;
mod sweep;
mod together;
mod vantage;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::FixedState;

use crate::capture::CaptureError;
use crate::capture::Source;
use crate::decode::FragmentBounds;
use crate::flow::Limits;
use crate::model::Observed;

pub use cells::CellMap;
pub use cells::CellRule;
pub use crew::Going;
pub use crew::Ring;
pub use crew::Rings;
pub use crossing::Vantages;
pub use learnt::ANSWERED;
pub use live::Live;
pub use live::Load;
pub use live::Look;
pub use live::ORDINARY;
pub use live::Retention;
pub use live::Snapshot;
pub use recent::Kept;
pub use recent::Recent;

use learnt::Room;
use merge::Told;
use shard::Bounds;
use shard::SHARDS;

/// How many shards there are, for whoever has the kernel spread packets as shards are.
pub const LIVE_SHARDS: u32 = SHARDS as u32;

/// How a run is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads; 1 does everything in the calling thread. The result is the same.
    pub workers: usize,
    /// Which address space a packet belongs to.
    pub cells: CellMap,
    /// Whether every flow is kept, as the command `flows` needs it; else conversations alone are.
    pub keep_flows: bool,
    /// Timeouts, and the most flows at one time over all shards.
    pub limits: Limits,
    /// The most bytes kept for classifiers at one time, over all shards.
    pub prefix_bytes: usize,
    /// The most conversations over all shards before the ports of vain attempts are folded together.
    pub conversations: usize,
    /// The most flows kept whole inside conversations; beyond it a conversation keeps its first and its last.
    pub records: usize,
    /// The most single SYNs of one client, in one of the 64 shards, that are each a conversation though nothing answered; more are a
    /// sweep. Whoever prints flows prints as many.
    pub tries: usize,
    /// The most addresses remembered as heard, over all shards. A live pipeline forgets those with the fewest packets once it is near.
    pub hosts: usize,
    /// Bounds on incomplete datagrams.
    pub fragments: FragmentBounds,
    /// Bytes for the beginnings of the latest packets, which a live pipeline keeps for evidence.
    pub recent_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            cells: CellMap::default(),
            keep_flows: false,
            limits: Limits::default(),
            prefix_bytes: 512 << 20,
            conversations: 128 * 1024,
            records: 256 * 1024,
            tries: 256,
            hosts: 2 << 20,
            fragments: FragmentBounds::default(),
            recent_bytes: 0,
        }
    }
}

impl Options {
    /// The bounds of one shard: each has its own, so that what they cost does not depend on who runs beside it.
    fn bounds(&self) -> Bounds {
        let share = |all: usize| all.div_ceil(SHARDS).max(1);
        Bounds {
            limits: Limits { flows: share(self.limits.flows), ..self.limits },
            prefixes: share(self.prefix_bytes),
            room: Room {
                conversations: share(self.conversations),
                records: share(self.records),
                tries: self.tries,
            },
            keep_flows: self.keep_flows,
            hosts: share(self.hosts),
        }
    }
}

/// Reads a source to its end and tells what was seen. `progress` hears now and then how many bytes are read, and of how many.
pub fn run(
    source: &mut dyn Source,
    options: &Options,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<Observed, CaptureError> {
    let hosts = Arc::new(DashMap::with_hasher(FixedState::default()));
    let (shards, read) = worker::drive(source, options, options.bounds(), &hosts, progress)?;
    Ok(merge::merge(shards, read, &hosts, Told::of(source), options.keep_flows, options.workers))
}
