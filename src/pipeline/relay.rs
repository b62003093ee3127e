//! Workers that take turns at reading: whoever has little to judge reads the next packets, finds out who has to do with each, and hands them to all.
//!
//! Nothing but the reading itself is done by one at a time. What was read is sorted by whoever read it while the next one reads on, and goes out in the
//! order in which it was read; so every worker meets the packets of its shards in the order of the capture. A worker that keeps waiting for others gets
//! one of their shards.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;
use crossbeam_channel::select;
use crossbeam_channel::unbounded;

use crate::capture::CaptureError;
use crate::capture::Source;
use crate::decode::FragmentBounds;
use crate::model::Tally;

use super::batch::Batch;
use super::batch::Moved;
use super::dispatch::Dispatcher;
use super::shard::Shard;
use super::share::Owners;
use super::together::Shards;

/// Batches a worker: so many may be read ahead of what the slowest has judged.
const BATCHES: usize = 4;
/// Who has fewer than these to judge reads first, so that it need not wait while somebody else does.
const FEW: usize = 2;
/// How often in a row a worker has to wait for others, who hold all batches, before it gets one more shard.
const IDLE: usize = 4;
/// Stands for a total that is not known.
const UNKNOWN: u64 = u64::MAX;

/// What all workers share.
pub struct Relay<'s> {
    workers: usize,
    reading: Mutex<Reading<'s>>,
    going_out: Mutex<GoingOut>,
    /// Batches that nobody needs, to be read into.
    free: (Sender<Batch>, Receiver<Batch>),
    /// Bytes read, and of how many.
    progress: [AtomicU64; 2],
    /// The worker that keeps waiting, counted from 1; 0 where none does.
    idle: AtomicUsize,
}

/// What one worker at a time does.
struct Reading<'s> {
    source: &'s mut dyn Source,
    /// Who has which shard from the next batch on.
    owners: Owners,
    /// Batches read so far.
    count: u64,
    over: bool,
}

/// Batches on their way out, in their order.
struct GoingOut {
    /// Those that went out.
    count: u64,
    /// How many there are in all, once that is known.
    all: Option<u64>,
    /// Sorted before earlier ones were, by those who had which shard.
    waiting: Vec<(u64, Batch, Owners)>,
    dispatcher: Dispatcher,
    /// The ways to the workers; none once there is nothing more to come.
    ways: Vec<Sender<Arc<Batch>>>,
    /// The ways of shards that change hands.
    gifts: Vec<Sender<(usize, Shard)>>,
    trouble: Option<CaptureError>,
}

/// A worker's place among the others.
pub struct Place<'r, 's> {
    relay: &'r Relay<'s>,
    own: usize,
    inbox: Receiver<Arc<Batch>>,
    gifts: Receiver<(usize, Shard)>,
    /// Shards that came before their turn: two that give are not in step.
    early: Vec<(usize, Shard)>,
    /// How often in a row it had to wait for others.
    waited: usize,
    /// What this worker found out that no shard counts.
    tally: Tally,
}

impl<'s> Relay<'s> {
    /// A relay of so many workers.
    pub fn new(source: &'s mut dyn Source, fragments: FragmentBounds, workers: usize) -> Self {
        let free = bounded(BATCHES * workers);
        (0..BATCHES * workers).for_each(|_| drop(free.0.send(Batch::default())));
        Self {
            workers,
            reading: Mutex::new(Reading { source, owners: Owners::equal(workers), count: 0, over: false }),
            going_out: Mutex::new(GoingOut {
                count: 0,
                all: None,
                waiting: Vec::new(),
                dispatcher: Dispatcher::new(fragments),
                ways: Vec::new(),
                gifts: Vec::new(),
                trouble: None,
            }),
            free,
            progress: [AtomicU64::new(0), AtomicU64::new(UNKNOWN)],
            idle: AtomicUsize::new(0),
        }
    }

    /// The places of all workers. They are to be taken before anything is read.
    pub fn places<'r>(&'r self) -> Vec<Place<'r, 's>> {
        let mut out = self.out();
        let place = |own| {
            // There are no more batches than those that are free now, so no way needs a bound.
            let (way, inbox) = unbounded();
            let (gift, gifts) = unbounded();
            out.ways.push(way);
            out.gifts.push(gift);
            Place { relay: self, own, inbox, gifts, early: Vec::new(), waited: 0, tally: Tally::default() }
        };
        (0..self.workers).map(place).collect()
    }

    /// Bytes read so far, and of how many where that is known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        let [done, total] = &self.progress;
        let total = total.load(Ordering::Relaxed);
        (done.load(Ordering::Relaxed), (total != UNKNOWN).then_some(total))
    }

    /// What was counted of fragments, once all is done; or what went wrong with the source.
    pub fn finish(self) -> Result<Tally, CaptureError> {
        let out = self.going_out.into_inner().unwrap_or_else(PoisonError::into_inner);
        match out.trouble {
            Some(error) => Err(error),
            None => Ok(out.dispatcher.tally()),
        }
    }

    /// Reads into a batch, unless another worker is reading or there is nothing to read any more; then it is given back.
    fn read(&self, mut batch: Batch, tally: &mut Tally) -> bool {
        // A worker that panicked while reading has stopped everything.
        let Some(mut reading) = self.reading.try_lock().ok().filter(|reading| !reading.over) else {
            self.give_back(batch);
            return false;
        };
        batch.moved = self.share_out(&mut reading.owners);
        let owners = reading.owners;
        let outcome = batch.read(reading.source);
        reading.over = !matches!(outcome, Ok(true));
        let number = reading.count;
        reading.count += 1;
        let (done, total) = reading.source.progress();
        self.progress[0].store(done, Ordering::Relaxed);
        self.progress[1].store(total.unwrap_or(UNKNOWN), Ordering::Relaxed);
        let over = reading.over;
        drop(reading);

        batch.sort(&owners, tally);
        let mut out = self.out();
        out.all = over.then_some(number + 1).or(out.all);
        out.trouble = outcome.err().or(out.trouble.take());
        out.waiting.push((number, batch, owners));
        out.send();
        true
    }

    /// Has the worker with most to do give a shard to one that keeps waiting: how much work a shard is shows by trying alone.
    fn share_out(&self, owners: &mut Owners) -> Option<Moved> {
        let to = self.idle.swap(0, Ordering::Relaxed).checked_sub(1)?;
        let out = self.out();
        let behind = (0..).zip(&out.ways).filter(|&(worker, _)| worker != to);
        let (from, _) = behind.map(|(worker, way)| (worker, way.len())).max_by_key(|&(_, left)| left)?;
        let shard = owners.give(from, to)?;
        Some(Moved { shard, from, to })
    }

    fn out(&self) -> MutexGuard<'_, GoingOut> {
        self.going_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, batch: Batch) {
        // There is room for all that there are.
        let _ = self.free.0.try_send(batch);
    }
}

impl GoingOut {
    /// Sends what is next, as far as it is here.
    fn send(&mut self) {
        while let Some(next) = self.waiting.iter().position(|&(number, ..)| number == self.count) {
            let (_, mut batch, owners) = self.waiting.swap_remove(next);
            batch.put_together(&owners, &mut self.dispatcher);
            let batch = Arc::new(batch);
            for way in &self.ways {
                // A worker that is gone has panicked; joining it tells.
                let _ = way.send(Arc::clone(&batch));
            }
            self.count += 1;
        }
        if self.all == Some(self.count) {
            self.ways.clear();
        }
    }
}

impl Place<'_, '_> {
    /// Which worker's it is.
    pub fn own(&self) -> usize {
        self.own
    }

    /// The next packets to be judged, in their order; `None` once all are.
    pub fn next(&mut self) -> Option<Arc<Batch>> {
        let (batch, has_waited) = self.wait();
        self.waited = if has_waited { self.waited + 1 } else { 0 };
        if self.waited >= IDLE {
            self.waited = 0;
            self.relay.idle.store(self.own + 1, Ordering::Relaxed);
        }
        batch
    }

    /// Reads until there are enough packets to be judged, as long as nobody else does. Tells whether others, who had all batches, were waited for.
    fn wait(&mut self) -> (Option<Arc<Batch>>, bool) {
        let Self { relay, inbox, tally, .. } = self;
        let (_, free) = &relay.free;
        let mut has_waited = false;
        loop {
            if inbox.len() < FEW
                && let Ok(batch) = free.try_recv()
                && relay.read(batch, tally)
            {
                continue;
            }
            if let Ok(batch) = inbox.try_recv() {
                return (Some(batch), has_waited);
            }
            has_waited |= free.is_empty();
            select! {
                recv(inbox) -> batch => return (batch.ok(), has_waited),
                recv(free) -> batch => {
                    // Whoever reads instead of this one sends what it read.
                    if !batch.is_ok_and(|batch| relay.read(batch, tally)) {
                        return (inbox.recv().ok(), has_waited);
                    }
                }
            }
        }
    }

    /// Hands over or takes over the shard that changes hands with a batch. Whoever gets one waits until the other has come as far.
    pub fn change(&mut self, moved: Moved, shards: &mut Shards<'_>) {
        if moved.from == self.own {
            if let (Some(shard), Some(gift)) =
                (shards.let_go(moved.shard), self.relay.out().gifts.get(moved.to))
            {
                // One that is gone has panicked; joining it tells.
                let _ = gift.send((moved.shard, shard));
            }
        } else if moved.to == self.own
            && let Some(shard) = self.given(moved.shard)
        {
            shards.take_over(moved.shard, shard);
        }
    }

    /// The shard of that number, once it is given; `None` where whoever should give it is gone.
    fn given(&mut self, number: usize) -> Option<Shard> {
        loop {
            if let Some(place) = self.early.iter().position(|&(early, _)| early == number) {
                return Some(self.early.swap_remove(place).1);
            }
            self.early.push(self.gifts.recv().ok()?);
        }
    }

    /// Leaves with what was found out that no shard counts.
    pub fn leave(mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Lets go of packets that were judged.
    pub fn done(&self, batch: Arc<Batch>) {
        if let Some(mut batch) = Arc::into_inner(batch) {
            batch.clear();
            self.relay.give_back(batch);
        }
    }
}

impl Drop for Place<'_, '_> {
    /// A worker that panicked leaves nobody waiting for what it would have sent.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut out = self.relay.out();
            out.ways.clear();
            out.gifts.clear();
        }
    }
}
