//! All shards in one thread: packets are judged where they lie.

use crate::model::Packet;
use crate::model::Tally;

use super::Options;
use super::cells::CellMap;
use super::dispatch::Dispatcher;
use super::dispatch::Item;
use super::shard::Bounds;
use super::shard::Learnt;
use super::shard::SHARDS;
use super::shard::Shard;
use super::worker::captured;
use super::worker::put_together;

/// Every shard, and what sends packets to them.
pub struct Engine {
    pub(super) shards: Vec<Shard>,
    pub(super) dispatcher: Dispatcher,
    pub(super) cells: CellMap,
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(options: &Options, bounds: Bounds) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::new(bounds)).collect(),
            dispatcher: Dispatcher::new(options.fragments),
            cells: options.cells.clone(),
        }
    }

    /// Takes in one packet.
    pub fn take(&mut self, packet: &Packet<'_>) {
        let Self { shards, dispatcher, cells } = self;
        dispatcher.take(packet, &mut |shard, tasks, item, frame| {
            let Some(shard) = shards.get_mut(shard) else { return };
            let delivery = match item {
                Item::Captured(packet) => captured(packet, frame, tasks),
                Item::Whole(whole) => put_together(whole, frame, packet.interface, tasks),
            };
            shard.take(&delivery, cells);
        });
    }

    /// Ends all flows. Returns what each shard learnt, in the order of their numbers, and what was counted before them.
    pub fn finish(self) -> (Vec<Learnt>, Tally) {
        let read = self.dispatcher.tally();
        (self.shards.into_iter().map(Shard::finish).collect(), read)
    }
}
