//! Packets of hosts that are at home with another worker: copied, handed over in batches, and put in order of their time where they arrive.
//!
//! The kernel spreads packets over rings by the outer IP header. What is inside a tunnel, or an error about somebody else's packet, may
//! belong elsewhere, and packets of one pair may then come through several rings. So all of these wait a moment at home before they count.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::TrySendError;
use crossbeam_channel::bounded;

use crate::decode::Frame;
use crate::decode::Whole;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;

use super::dispatch::Item;
use super::shard::Tasks;
use super::share::equal_owner;

/// Packets of one batch.
const BATCH: usize = 256;
/// Batches on their way to one worker.
const IN_FLIGHT: usize = 64;
/// How long a packet waits for earlier ones: longer than a ring keeps one (50 ms) and a worker pauses (10 ms), with the batch's own way.
const HOLD: Duration = Duration::from_millis(100);
/// The most packets that wait; beyond it the earliest go on at once.
const MOST_HELD: usize = 65_536;

/// A packet on its way to the worker at whose place its hosts are at home.
pub(super) struct Copied {
    pub at: PacketRef,
    pub link: LinkType,
    pub interface: u32,
    pub original: u32,
    pub bytes: Vec<u8>,
    /// The datagram, where it was put together from fragments.
    pub whole: Option<Box<Whole>>,
    pub shard: usize,
    pub tasks: Tasks,
    arrived: Instant,
}

type Batch = Vec<Copied>;

/// A worker's place among the others.
pub(super) struct Others {
    own: usize,
    count: usize,
    lanes: Vec<(Sender<Batch>, Batch)>,
    inbox: Receiver<Batch>,
    held: BinaryHeap<Reverse<ByTime>>,
    copied: Arc<AtomicU64>,
}

/// In the order of time, then of shards: one packet may concern two.
struct ByTime(Copied);

impl ByTime {
    fn key(&self) -> (PacketRef, usize) {
        (self.0.at, self.0.shard)
    }
}

impl PartialEq for ByTime {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ByTime {}

impl Ord for ByTime {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for ByTime {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Others {
    /// The places of so many workers, and the count of what is copied between them.
    pub fn all(count: usize) -> (Vec<Self>, Arc<AtomicU64>) {
        let copied = Arc::new(AtomicU64::new(0));
        let (ways, inboxes): (Vec<Sender<Batch>>, Vec<Receiver<Batch>>) =
            (0..count).map(|_| bounded(IN_FLIGHT)).unzip();
        let places = inboxes.into_iter().enumerate().map(|(own, inbox)| Self {
            own,
            count,
            lanes: ways.iter().map(|way| (way.clone(), Batch::new())).collect(),
            inbox,
            held: BinaryHeap::new(),
            copied: Arc::clone(&copied),
        });
        (places.collect(), copied)
    }

    /// Whether the packet counts here and now: its shard is at home here, and the kernel knew it.
    pub fn is_at_home(&self, shard: usize, frame: &Frame<'_>) -> bool {
        equal_owner(shard, self.count) == self.own && frame.context.tunnels.is_empty()
    }

    /// Copies a packet for the worker where its shard is at home, which may be this one.
    pub fn forward(&mut self, shard: usize, tasks: Tasks, item: &Item<'_>, packet: &Packet<'_>) {
        let (bytes, whole) = match item {
            Item::Captured(packet) => (packet.bytes.to_vec(), None),
            Item::Whole(whole) => (Vec::new(), Some(Box::new((*whole).clone()))),
        };
        let copied = Copied {
            at: packet.at,
            link: packet.link,
            interface: packet.interface,
            original: packet.original,
            bytes,
            whole,
            shard,
            tasks,
            arrived: Instant::now(),
        };
        self.copied.fetch_add(1, Ordering::Relaxed);
        let home = equal_owner(shard, self.count);
        if home == self.own {
            self.held.push(Reverse(ByTime(copied)));
            return;
        }
        let Some((_, batch)) = self.lanes.get_mut(home) else { return };
        batch.push(copied);
        if batch.len() >= BATCH {
            self.send(home);
        }
    }

    /// Sends what has gathered.
    pub fn flush(&mut self) {
        for home in 0..self.count {
            if self.lanes.get(home).is_some_and(|(_, batch)| !batch.is_empty()) {
                self.send(home);
            }
        }
    }

    fn send(&mut self, home: usize) {
        let Some((way, batch)) = self.lanes.get_mut(home) else { return };
        let (way, mut batch) = (way.clone(), std::mem::take(batch));
        // Two workers that wait for each other's room would wait for ever: so whoever waits takes in what came for it.
        while let Err(TrySendError::Full(back)) = way.try_send(batch) {
            batch = back;
            if !self.receive() {
                std::thread::yield_now();
            }
        }
    }

    /// Takes in what came from others; whether there was something.
    pub fn receive(&mut self) -> bool {
        let mut some = false;
        while let Ok(batch) = self.inbox.try_recv() {
            self.held.extend(batch.into_iter().map(|copied| Reverse(ByTime(copied))));
            some = true;
        }
        some
    }

    /// The earliest that has waited long enough; with `all` the earliest.
    pub fn next(&mut self, all: bool) -> Option<Copied> {
        let Reverse(ByTime(first)) = self.held.peek()?;
        if all || self.held.len() > MOST_HELD || first.arrived.elapsed() >= HOLD {
            self.held.pop().map(|Reverse(ByTime(copied))| copied)
        } else {
            None
        }
    }
}
