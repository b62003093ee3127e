//! Workers: each owns some of the shards. One worker is the calling thread itself; several get batches of copied packets.

use std::thread;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::capture::CaptureError;
use crate::capture::Source;
use crate::decode;
use crate::decode::Frame;
use crate::decode::Whole;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Tally;

use super::Options;
use super::cells::CellMap;
use super::dispatch::Dispatcher;
use super::dispatch::Item;
use super::engine::Engine;
use super::shard::Bounds;
use super::shard::Delivery;
use super::shard::Learnt;
use super::shard::SHARDS;
use super::shard::Shard;
use super::shard::Tasks;
use super::vantage::Hosts;

/// Packets of one batch: a queue costs about as little per packet as it gets from here on.
const BATCH: usize = 256;
/// Bytes after which a batch is sent, however few packets it has.
const BATCH_BYTES: usize = 512 * 1024;
/// Batches on their way to one worker.
const IN_FLIGHT: usize = 8;
/// Packets between two words about progress.
const PROGRESS: u64 = 1024;

/// Reads the source to its end. Returns what each shard learnt, in the order of their numbers, and what the reader counted.
pub fn drive(
    source: &mut dyn Source,
    options: &Options,
    bounds: Bounds,
    hosts: &Hosts,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<(Vec<Learnt>, Tally), CaptureError> {
    let workers = options.workers.clamp(1, SHARDS);
    if workers == 1 {
        let mut engine = Engine::new(options, bounds, hosts.clone());
        let mut count = 0;
        while source.advance()? {
            engine.take(&source.packet());
            tell(source, &mut count, progress);
        }
        Ok(engine.finish())
    } else {
        together(source, options, bounds, hosts, progress, workers)
    }
}

/// The reader decodes to know the shard, workers decode again what they get.
fn together(
    source: &mut dyn Source,
    options: &Options,
    bounds: Bounds,
    hosts: &Hosts,
    progress: &dyn Fn(u64, Option<u64>),
    workers: usize,
) -> Result<(Vec<Learnt>, Tally), CaptureError> {
    thread::scope(|scope| {
        let mut lanes = Vec::with_capacity(workers);
        let mut handles = Vec::with_capacity(workers);
        for worker in 0..workers {
            let (to_worker, jobs) = bounded::<Batch>(IN_FLIGHT);
            let (give_back, used) = bounded::<Batch>(IN_FLIGHT + 2);
            let shards: Vec<Shard> =
                (worker..SHARDS).step_by(workers).map(|_| Shard::new(bounds, hosts.clone())).collect();
            handles.push(scope.spawn(move || work(&jobs, &give_back, shards, workers, &options.cells)));
            lanes.push(Lane { batch: Batch::default(), to_worker, used });
        }
        let mut dispatcher = Dispatcher::new(options.fragments);
        let mut count = 0;
        let mut read = || -> Result<(), CaptureError> {
            while source.advance()? {
                let packet = source.packet();
                dispatcher.take(&packet, &mut |shard, tasks, item, _| {
                    if let Some(lane) = lanes.get_mut(shard % workers) {
                        lane.push(shard, tasks, item, &packet);
                    }
                });
                tell(source, &mut count, progress);
            }
            Ok(())
        };
        let outcome = read();
        for lane in lanes {
            lane.finish();
        }
        let mut learnt: Vec<Option<Learnt>> = std::iter::repeat_with(|| None).take(SHARDS).collect();
        for (worker, handle) in handles.into_iter().enumerate() {
            match handle.join() {
                Ok(shards) => {
                    for (place, shard) in learnt.iter_mut().skip(worker).step_by(workers).zip(shards) {
                        *place = Some(shard);
                    }
                }
                // Our own bug: what is missing from the report must not pass for silence.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        outcome.map(|()| (learnt.into_iter().flatten().collect(), dispatcher.tally()))
    })
}

/// The shards of one worker, until no more batches come.
fn work(
    jobs: &Receiver<Batch>,
    give_back: &Sender<Batch>,
    mut shards: Vec<Shard>,
    workers: usize,
    cells: &CellMap,
) -> Vec<Learnt> {
    for mut batch in jobs {
        for job in &batch.jobs {
            let Some(shard) = shards.get_mut(job.shard / workers) else { continue };
            if let Some(whole) = job.whole.as_deref() {
                if let Ok(frame) = decode::decode_reassembled(&whole.context, &whole.packet) {
                    shard.take(&put_together(whole, &frame, job.interface, job.tasks), cells);
                }
                continue;
            }
            let packet = Packet {
                at: job.at,
                link: job.link,
                interface: job.interface,
                original: job.original,
                bytes: batch.arena.get(job.from..job.to).unwrap_or_default(),
            };
            // The reader has decoded the same bytes, so this can't fail.
            if let Ok(frame) = decode::decode(&packet) {
                shard.take(&captured(&packet, &frame, job.tasks), cells);
            }
        }
        batch.jobs.clear();
        batch.arena.clear();
        // A full or closed way back only means that the reader has batches enough.
        let _ = give_back.try_send(batch);
    }
    shards.into_iter().map(Shard::finish).collect()
}

pub fn captured<'a>(packet: &Packet<'a>, frame: &'a Frame<'a>, tasks: Tasks) -> Delivery<'a> {
    Delivery {
        at: packet.at,
        original: packet.original,
        interface: packet.interface,
        pieces: &[],
        frame,
        tasks,
    }
}

pub fn put_together<'a>(
    whole: &'a Whole,
    frame: &'a Frame<'a>,
    interface: u32,
    tasks: Tasks,
) -> Delivery<'a> {
    let last = whole.pieces.last();
    let at = last.map_or(PacketRef::default(), |piece| piece.at);
    let original = last.map_or(0, |piece| piece.original);
    Delivery { at, original, interface, pieces: &whole.pieces, frame, tasks }
}

fn tell(source: &dyn Source, count: &mut u64, progress: &dyn Fn(u64, Option<u64>)) {
    *count += 1;
    if count.is_multiple_of(PROGRESS) {
        let (done, total) = source.progress();
        progress(done, total);
    }
}

/// Packets on their way to a worker, their bytes one after the other.
#[derive(Default)]
struct Batch {
    arena: Vec<u8>,
    jobs: Vec<Job>,
}

struct Job {
    at: PacketRef,
    link: LinkType,
    interface: u32,
    original: u32,
    from: usize,
    to: usize,
    whole: Option<Box<Whole>>,
    shard: usize,
    tasks: Tasks,
}

/// The way to one worker and back.
struct Lane {
    batch: Batch,
    to_worker: Sender<Batch>,
    used: Receiver<Batch>,
}

impl Lane {
    fn push(&mut self, shard: usize, tasks: Tasks, item: &Item<'_>, packet: &Packet<'_>) {
        let from = self.batch.arena.len();
        let whole = match item {
            Item::Captured(packet) => {
                self.batch.arena.extend_from_slice(packet.bytes);
                None
            }
            Item::Whole(whole) => Some(Box::new((*whole).clone())),
        };
        self.batch.jobs.push(Job {
            at: packet.at,
            link: packet.link,
            interface: packet.interface,
            original: packet.original,
            from,
            to: self.batch.arena.len(),
            whole,
            shard,
            tasks,
        });
        if self.batch.jobs.len() >= BATCH || self.batch.arena.len() >= BATCH_BYTES {
            self.send();
        }
    }

    fn send(&mut self) {
        let next = self.used.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.batch, next);
        // A worker that is gone has panicked; joining it tells.
        let _ = self.to_worker.send(full);
    }

    fn finish(mut self) {
        self.send();
    }
}
