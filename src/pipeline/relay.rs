//! Workers that take turns at reading: whoever has nothing to judge reads the next packets, finds out who has to do with each, and hands them to all.
//!
//! Nothing but the reading itself is done by one at a time. What was read is sorted by whoever read it while the next one reads on, and goes out in the
//! order in which it was read; so every worker meets the packets of its shards in the order of the capture.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
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
use super::dispatch::Dispatcher;
use super::share::Owners;

/// Batches a worker: half of them are read ahead of what is judged, the rest while others are slow.
const BATCHES: usize = 4;
/// Stands for a total that is not known.
const UNKNOWN: u64 = u64::MAX;

/// What all workers share.
pub struct Relay<'s> {
    owners: Owners,
    reading: Mutex<Reading<'s>>,
    going_out: Mutex<GoingOut>,
    /// Batches that nobody needs, to be read into.
    free: (Sender<Batch>, Receiver<Batch>),
    /// Bytes read, and of how many.
    progress: [AtomicU64; 2],
}

/// What one worker at a time does.
struct Reading<'s> {
    source: &'s mut dyn Source,
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
    /// Sorted before earlier ones were.
    waiting: Vec<(u64, Batch)>,
    dispatcher: Dispatcher,
    /// The ways to the workers; none once there is nothing more to come.
    ways: Vec<Sender<Arc<Batch>>>,
    trouble: Option<CaptureError>,
}

/// A worker's place among the others.
pub struct Place<'r, 's> {
    relay: &'r Relay<'s>,
    inbox: Receiver<Arc<Batch>>,
    /// What this worker found out that no shard counts.
    tally: Tally,
}

impl<'s> Relay<'s> {
    /// A relay of so many workers, and what each of them hears of it by.
    pub fn new(
        source: &'s mut dyn Source,
        fragments: FragmentBounds,
        workers: usize,
    ) -> (Self, Vec<Receiver<Arc<Batch>>>) {
        // There are no more batches than these, so no way needs a bound.
        let (ways, inboxes) = (0..workers).map(|_| unbounded()).unzip();
        let free = bounded(BATCHES * workers);
        (0..BATCHES * workers).for_each(|_| drop(free.0.send(Batch::default())));
        let relay = Self {
            owners: Owners::equal(workers),
            reading: Mutex::new(Reading { source, count: 0, over: false }),
            going_out: Mutex::new(GoingOut {
                count: 0,
                all: None,
                waiting: Vec::new(),
                dispatcher: Dispatcher::new(fragments),
                ways,
                trouble: None,
            }),
            free,
            progress: [AtomicU64::new(0), AtomicU64::new(UNKNOWN)],
        };
        (relay, inboxes)
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
        let outcome = batch.read(reading.source);
        reading.over = !matches!(outcome, Ok(true));
        let number = reading.count;
        reading.count += 1;
        let (done, total) = reading.source.progress();
        self.progress[0].store(done, Ordering::Relaxed);
        self.progress[1].store(total.unwrap_or(UNKNOWN), Ordering::Relaxed);
        let over = reading.over;
        drop(reading);

        batch.sort(&self.owners, tally);
        let mut out = self.out();
        out.all = over.then_some(number + 1).or(out.all);
        out.trouble = outcome.err().or(out.trouble.take());
        out.waiting.push((number, batch));
        out.send(&self.owners);
        true
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
    fn send(&mut self, owners: &Owners) {
        while let Some(next) = self.waiting.iter().position(|&(number, _)| number == self.count) {
            let (_, mut batch) = self.waiting.swap_remove(next);
            batch.put_together(owners, &mut self.dispatcher);
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

impl<'r, 's> Place<'r, 's> {
    /// A place, with what this worker hears by.
    pub fn new(relay: &'r Relay<'s>, inbox: Receiver<Arc<Batch>>) -> Self {
        Self { relay, inbox, tally: Tally::default() }
    }

    /// The next packets to be judged, in their order; `None` once all are. Reads meanwhile as long as nobody else does and too little is on its way.
    pub fn next(&mut self) -> Option<Arc<Batch>> {
        let Self { relay, inbox, tally } = self;
        let (_, free) = &relay.free;
        loop {
            if free.len() * 2 > BATCHES * relay.owners.count()
                && let Ok(batch) = free.try_recv()
                && relay.read(batch, tally)
            {
                continue;
            }
            if let Ok(batch) = inbox.try_recv() {
                return Some(batch);
            }
            select! {
                recv(inbox) -> batch => return batch.ok(),
                recv(free) -> batch => {
                    // Whoever reads instead of this one sends what it read.
                    if !batch.is_ok_and(|batch| relay.read(batch, tally)) {
                        return inbox.recv().ok();
                    }
                }
            }
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
            self.relay.out().ways.clear();
        }
    }
}
