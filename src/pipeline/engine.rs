//! Shards in one thread: packets are judged where they lie. All shards are in one engine, or in each of several those of one worker.

use crate::decode;
use crate::decode::Frame;
use crate::model::Packet;
use crate::model::Tally;

use super::Options;
use super::cells::CellMap;
use super::dispatch::Dispatcher;
use super::learnt::Learnt;
use super::others::Copied;
use super::others::Others;
use super::recent::Keeper;
use super::shard::Bounds;
use super::shard::SHARDS;
use super::shard::Shard;
use super::share::Share;
use super::together::Shards;
use super::together::TOGETHER;
use super::vantage::Hosts;
use super::worker::captured;
use super::worker::delivery;
use super::worker::put_together;

/// Shards, and what sends packets to them.
pub struct Engine {
    pub(super) shards: Vec<Shard>,
    /// Which shards they are.
    share: Share,
    pub(super) dispatcher: Dispatcher,
    pub(super) cells: CellMap,
    /// The engines that have the other shards.
    others: Option<Others>,
    /// Who keeps the beginnings of packets.
    pub(super) keeper: Option<Keeper>,
}

impl Engine {
    /// An engine with all shards, that has seen nothing.
    pub fn new(options: &Options, bounds: Bounds, hosts: Hosts) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::new(bounds, hosts.clone())).collect(),
            share: Share::all(),
            dispatcher: Dispatcher::new(options.fragments),
            cells: options.cells.clone(),
            others: None,
            keeper: None,
        }
    }

    /// Engines that share the shards: the first has 0, n, 2n and so on.
    pub(super) fn among(options: &Options, bounds: Bounds, hosts: &Hosts, others: Vec<Others>) -> Vec<Self> {
        let count = others.len().max(1);
        let of = |(own, others)| {
            let share = Share::equal(own, count);
            Self {
                shards: share.shards().iter().map(|_| Shard::new(bounds, hosts.clone())).collect(),
                share,
                dispatcher: Dispatcher::new(options.fragments),
                cells: options.cells.clone(),
                others: Some(others),
                keeper: None,
            }
        };
        others.into_iter().enumerate().map(of).collect()
    }

    /// Takes in one packet.
    pub fn take(&mut self, packet: &Packet<'_>) {
        self.take_run(std::slice::from_ref(packet));
    }

    /// Takes in packets in their order.
    pub fn take_run(&mut self, run: &[Packet<'_>]) {
        let Self { shards, share, dispatcher, cells, others, keeper } = self;
        let mut shards = Shards { own: shards, share, cells };
        for few in run.chunks(TOGETHER) {
            if let Some(keeper) = keeper {
                for packet in few {
                    if let Some(plain) = decode::plain(packet) {
                        keeper.keep_usual(packet, &plain);
                    }
                }
            }
            shards.take(
                few,
                |packet| Some(*packet),
                |shards, packet| {
                    let mut kept = keeper.is_none() || decode::plain(packet).is_some();
                    let mut keep = |frame: Option<&Frame<'_>>| {
                        if let Some(keeper) = keeper
                            && !std::mem::replace(&mut kept, true)
                        {
                            keeper.keep(packet, frame);
                        }
                    };
                    dispatcher.take_unusual(packet, &mut |shard, tasks, item, frame| {
                        keep(Some(frame));
                        if let Some(others) = others
                            && !others.is_at_home(shard, frame)
                        {
                            return others.forward(shard, tasks, item, packet);
                        }
                        let cells = shards.cells;
                        let Some(shard) = shards.get(shard) else { return };
                        shard.take(&delivery(item, frame, packet, tasks), cells);
                    });
                    keep(None);
                },
            );
        }
    }

    /// Hands on what gathered for other engines, and takes in what came from them; with `all` also what should wait.
    pub(super) fn exchange(&mut self, all: bool) {
        let Self { shards, share, cells, others, .. } = self;
        let Some(others) = others else { return };
        others.flush();
        others.receive();
        while let Some(copied) = others.next(all) {
            if let Some(shard) = share.place(copied.shard).and_then(|place| shards.get_mut(place)) {
                count(shard, &copied, cells);
            }
        }
    }

    /// Ends all flows. Returns what each shard learnt, in the order of their numbers, and what was counted before them.
    pub fn finish(self) -> (Vec<Learnt>, Tally) {
        let read = self.dispatcher.tally();
        (self.shards.into_iter().map(Shard::finish).collect(), read)
    }
}

/// Counts a packet that another engine has read.
fn count(shard: &mut Shard, copied: &Copied, cells: &CellMap) {
    if let Some(whole) = copied.whole.as_deref() {
        if let Ok(frame) = decode::decode_reassembled(&whole.context, &whole.packet) {
            shard.take(&put_together(whole, &frame, copied.interface, copied.tasks), cells);
        }
        return;
    }
    let packet = Packet {
        at: copied.at,
        link: copied.link,
        interface: copied.interface,
        original: copied.original,
        bytes: &copied.bytes,
    };
    // Whoever copied it has decoded the same bytes, so this can't fail.
    if let Ok(frame) = decode::decode(&packet) {
        shard.take(&captured(&packet, &frame, copied.tasks), cells);
    }
}
