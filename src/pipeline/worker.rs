//! Workers: each owns some of the shards. One worker is the calling thread itself; for several, the reader hands blocks over as they were
//! read, and tells each worker which packets in them are its own.

use std::thread;

use crossbeam_channel::Receiver;
use crossbeam_channel::bounded;

use crate::capture::CaptureError;
use crate::capture::Run;
use crate::capture::Source;
use crate::decode;
use crate::decode::Frame;
use crate::decode::Whole;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Tally;

use super::Options;
use super::cells::CellMap;
use super::dispatch;
use super::dispatch::Dispatcher;
use super::engine::Engine;
use super::lane::Batch;
use super::lane::IN_FLIGHT;
use super::lane::Job;
use super::lane::Lane;
use super::lane::What;
use super::learnt::Learnt;
use super::shard::Bounds;
use super::shard::Delivery;
use super::shard::SHARDS;
use super::shard::Shard;
use super::shard::Tasks;
use super::together::Shards;
use super::together::TOGETHER;
use super::vantage::Hosts;

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
        loop {
            tell(source, &mut count, progress);
            let mut run = Run::default();
            if !source.run(&mut run)? {
                return Ok(engine.finish());
            }
            engine.take_run(&run.packets);
            count += run.packets.len() as u64;
        }
    } else {
        together(source, options, bounds, hosts, progress, workers)
    }
}

/// The reader reads as much of a packet as tells its shard; workers decode what they get.
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
            let (to_worker, batches) = bounded::<Batch>(IN_FLIGHT);
            let (give_back, used) = bounded::<Batch>(IN_FLIGHT + 2);
            handles.push(scope.spawn(move || {
                let mut shards: Vec<Shard> =
                    (worker..SHARDS).step_by(workers).map(|_| Shard::new(bounds, hosts.clone())).collect();
                let mut own =
                    Shards { own: &mut shards, first: worker, every: workers, cells: &options.cells };
                work(&batches, &mut own, |batch| {
                    // A full or closed way back only means that the reader has batches enough.
                    let _ = give_back.try_send(batch);
                });
                shards.into_iter().map(Shard::finish).collect::<Vec<_>>()
            }));
            lanes.push(Lane::new(to_worker, used));
        }
        let mut dispatcher = Dispatcher::new(options.fragments);
        let outcome = hand_out(source, &mut dispatcher, &mut lanes, progress);
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

/// Reads to the end, and tells each worker of its packets.
fn hand_out(
    source: &mut dyn Source,
    dispatcher: &mut Dispatcher,
    lanes: &mut [Lane],
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<(), CaptureError> {
    let workers = lanes.len();
    let mut count = 0;
    loop {
        tell(source, &mut count, progress);
        let mut run = Run::default();
        if !source.run(&mut run)? {
            return Ok(());
        }
        for packet in &run.packets {
            if let Some(plain) = decode::plain(packet) {
                let shard = dispatch::home(plain.shard());
                if let Some(lane) = lanes.get_mut(shard % workers) {
                    lane.push_plain(packet, run.block);
                }
                continue;
            }
            dispatcher.take_unusual(packet, &mut |shard, tasks, item, _| {
                if let Some(lane) = lanes.get_mut(shard % workers) {
                    lane.push(shard, tasks, item, packet, run.block);
                }
            });
        }
        count += run.packets.len() as u64;
    }
}

/// Takes in what comes, until no more batches do.
fn work(batches: &Receiver<Batch>, shards: &mut Shards<'_>, give_back: impl Fn(Batch)) {
    for mut batch in batches {
        for few in batch.jobs.chunks(TOGETHER) {
            shards.take(
                few,
                |job| matches!(job.what, What::Plain).then(|| batch.packet(job)),
                |shards, job| unusual(&batch, job, shards),
            );
        }
        batch.clear();
        give_back(batch);
    }
}

fn unusual(batch: &Batch, job: &Job, shards: &mut Shards<'_>) {
    let cells: &CellMap = shards.cells;
    match &job.what {
        What::Whole(whole, number, tasks) => {
            if let (Some(shard), Ok(frame)) =
                (shards.get(*number), decode::decode_reassembled(&whole.context, &whole.packet))
            {
                shard.take(&put_together(whole, &frame, job.interface, *tasks), cells);
            }
        }
        What::Captured(number, tasks) => {
            let packet = batch.packet(job);
            // The reader has decoded the same bytes, so this can't fail.
            if let (Some(shard), Ok(frame)) = (shards.get(*number), decode::layered(&packet)) {
                shard.take(&captured(&packet, &frame, *tasks), cells);
            }
        }
        // The reader has read the same bytes, so there is no such packet that is not taken in.
        What::Plain => debug_assert!(false, "a usual packet that is not usual"),
    }
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
    if *count >= PROGRESS {
        *count = 0;
        let (done, total) = source.progress();
        progress(done, total);
    }
}
