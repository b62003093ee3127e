//! Workers: each owns some of the shards. They take turns at reading, and each judges the packets of its own.

use std::thread;

use crate::capture::CaptureError;
use crate::capture::Run;
use crate::capture::Source;
use crate::decode;
use crate::decode::Frame;
use crate::decode::Whole;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Tally;
use crate::threads::joined;

use super::Options;
use super::batch::Batch;
use super::batch::Job;
use super::dispatch::Item;
use super::engine::Engine;
use super::learnt::Learnt;
use super::relay::Place;
use super::relay::Relay;
use super::shard::Bounds;
use super::shard::Delivery;
use super::shard::SHARDS;
use super::shard::Shard;
use super::shard::Tasks;
use super::share::Share;
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

/// The first worker is this thread, which also tells how far reading has come.
fn together(
    source: &mut dyn Source,
    options: &Options,
    bounds: Bounds,
    hosts: &Hosts,
    progress: &dyn Fn(u64, Option<u64>),
    workers: usize,
) -> Result<(Vec<Learnt>, Tally), CaptureError> {
    let relay = Relay::new(source, options.fragments, workers);
    let work = |mut place: Place<'_, '_>, tell: &dyn Fn()| {
        let mut share = Share::equal(place.own(), workers);
        let mut shards: Vec<Shard> =
            share.shards().iter().map(|_| Shard::new(bounds, hosts.clone())).collect();
        while let Some(batch) = place.next() {
            let mut shards = Shards { own: &mut shards, share: &mut share, cells: &options.cells };
            if let Some(moved) = batch.moved {
                place.change(moved, &mut shards);
            }
            judge(&batch, place.own(), &mut shards);
            place.done(batch);
            tell();
        }
        (end(&share, shards), place.leave())
    };
    let work = &work;
    let all: Vec<_> = thread::scope(|scope| {
        let mut places = relay.places().into_iter();
        let first = places.next();
        let others: Vec<_> = places.map(|place| scope.spawn(move || work(place, &|| ()))).collect();
        let tell = || {
            let (done, total) = relay.progress();
            progress(done, total);
        };
        let first = first.map(|place| work(place, &tell));
        first.into_iter().chain(others.into_iter().map(joined)).collect()
    });
    let mut tally = relay.finish()?;
    let mut learnt = Vec::with_capacity(SHARDS);
    for (theirs, read) in all {
        tally.merge(&read);
        learnt.extend(theirs);
    }
    learnt.sort_by_key(|&(number, _)| number);
    Ok((learnt.into_iter().map(|(_, learnt)| learnt).collect(), tally))
}

/// Ends a worker's shards once all packets are taken in. Each ends its own, whose memory it took: two that freed each other's would wait for one
/// another.
fn end(share: &Share, shards: Vec<Shard>) -> Vec<(usize, Learnt)> {
    share.shards().into_iter().zip(shards).map(|(number, shard)| (number, shard.finish())).collect()
}

/// Does what a batch has for a worker.
pub fn judge(batch: &Batch, own: usize, shards: &mut Shards<'_>) {
    for few in batch.jobs(own).chunks(TOGETHER) {
        shards.take(
            few,
            |job| match *job {
                Job::Usual(packet) => batch.packet(packet),
                Job::Errand(_) => None,
            },
            |shards, job| match *job {
                Job::Errand(errand) => run_errand(batch, errand, shards),
                Job::Usual(_) => debug_assert!(false, "it was usual when it was sorted"),
            },
        );
    }
}

fn run_errand(batch: &Batch, number: u32, shards: &mut Shards<'_>) {
    let cells = shards.cells;
    let Some((errand, packet)) = batch.errand(number) else { return };
    let Some(shard) = shards.get(errand.shard) else { return };
    // Whoever sorted the batch has decoded the same bytes, so this can't fail.
    match errand.whole.as_deref() {
        Some(whole) => {
            if let Ok(frame) = decode::decode_reassembled(&whole.context, &whole.packet) {
                shard.take(&put_together(whole, &frame, packet.interface, errand.tasks), cells);
            }
        }
        None => {
            if let Ok(frame) = decode::layered(&packet) {
                shard.take(&captured(&packet, &frame, errand.tasks), cells);
            }
        }
    }
}

/// What a shard is told of an item.
pub fn delivery<'a>(
    item: &'a Item<'_>,
    frame: &'a Frame<'a>,
    packet: &Packet<'_>,
    tasks: Tasks,
) -> Delivery<'a> {
    match item {
        Item::Captured(packet) => captured(packet, frame, tasks),
        Item::Whole(whole) => put_together(whole, frame, packet.interface, tasks),
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
