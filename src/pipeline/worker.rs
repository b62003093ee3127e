//! Workers: each owns some of the shards. The first is the calling thread itself, which reads: it hands blocks over to the others as they
//! were read, and tells each which packets in them are its own.

use std::thread;

use arrayvec::ArrayVec;
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
use crate::threads::joined;

use super::Options;
use super::cells::CellMap;
use super::dispatch;
use super::dispatch::Dispatcher;
use super::dispatch::Item;
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
use super::share::Division;
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

/// The first worker is this thread: it reads as much of each packet as tells its shard, hands on those of the others, and judges its own.
fn together(
    source: &mut dyn Source,
    options: &Options,
    bounds: Bounds,
    hosts: &Hosts,
    progress: &dyn Fn(u64, Option<u64>),
    workers: usize,
) -> Result<(Vec<Learnt>, Tally), CaptureError> {
    let mut division = Division::among(workers);
    let shards_of = |share: &Share| -> Vec<Shard> {
        share.shards().iter().map(|_| Shard::new(bounds, hosts.clone())).collect()
    };
    let (mut share, others) = (division.reader.clone(), division.others.clone());
    let learnt = thread::scope(|scope| {
        let mut lanes = Vec::with_capacity(others.len());
        let mut handles = Vec::with_capacity(others.len());
        for mut share in others {
            let (to_worker, batches) = bounded::<Batch>(IN_FLIGHT);
            let (give_back, used) = bounded::<Batch>(IN_FLIGHT + 2);
            handles.push(scope.spawn(move || {
                let mut shards = shards_of(&share);
                let mut own = Shards { own: &mut shards, share: &mut share, cells: &options.cells };
                work(&batches, &mut own, |batch| {
                    // A full or closed way back only means that the reader has batches enough.
                    let _ = give_back.try_send(batch);
                });
                end(&share, shards)
            }));
            lanes.push(Lane::new(to_worker, used));
        }
        let mut dispatcher = Dispatcher::new(options.fragments);
        let mut shards = shards_of(&share);
        let mut hands = Hands {
            division: &mut division,
            own: Shards { own: &mut shards, share: &mut share, cells: &options.cells },
            lanes: &mut lanes,
        };
        let outcome = read(source, &mut dispatcher, &mut hands, progress);
        for lane in lanes {
            lane.finish();
        }
        let mut learnt = end(&share, shards);
        for handle in handles {
            learnt.extend(joined(handle));
        }
        outcome.map(|()| (learnt, dispatcher.tally()))
    });
    learnt.map(|(mut learnt, tally)| {
        learnt.sort_by_key(|&(number, _)| number);
        (learnt.into_iter().map(|(_, learnt)| learnt).collect(), tally)
    })
}

/// Ends a worker's shards once all packets are taken in. Each ends its own, whose memory it took: two that freed each other's would wait for one
/// another.
fn end(share: &Share, shards: Vec<Shard>) -> Vec<(usize, Learnt)> {
    share.shards().into_iter().zip(shards).map(|(number, shard)| (number, shard.finish())).collect()
}

/// Where the reader puts packets.
struct Hands<'a> {
    division: &'a mut Division,
    own: Shards<'a>,
    /// The ways to the other workers.
    lanes: &'a mut [Lane],
}

impl Hands<'_> {
    /// Hands a packet on; `false` where it is for the reader itself.
    #[inline(always)]
    fn pass(&mut self, shard: usize, push: impl FnOnce(&mut Lane)) -> bool {
        match self.division.other(shard).and_then(|lane| self.lanes.get_mut(lane)) {
            Some(lane) => {
                push(lane);
                true
            }
            None => false,
        }
    }

    /// Gives a shard of the reader's to each worker that waits for packets: how long reading takes beside judging is known by trying alone.
    /// All packets that were handed on or judged so far stay where they are.
    fn share_out(&mut self) {
        for (other, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.is_idle()) {
            if let Some((number, shard)) = self.own.let_go() {
                self.division.give(number, other);
                lane.give(number, shard);
            }
        }
    }

    /// Judges usual packets of the reader's own shards.
    fn judge(&mut self, few: &mut ArrayVec<Packet<'_>, TOGETHER>) {
        self.own.take(few, |packet| Some(*packet), |_, _| debug_assert!(false, "it was usual before"));
        few.clear();
    }
}

/// Reads to the end: each worker is told of its packets, and those of the reader's own shards are judged a few at a time.
fn read(
    source: &mut dyn Source,
    dispatcher: &mut Dispatcher,
    hands: &mut Hands<'_>,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<(), CaptureError> {
    let mut count = 0;
    loop {
        tell(source, &mut count, progress);
        let mut run = Run::default();
        if !source.run(&mut run)? {
            return Ok(());
        }
        let mut own: ArrayVec<Packet<'_>, TOGETHER> = ArrayVec::new();
        for packet in &run.packets {
            if let Some(plain) = decode::plain(packet) {
                let home = dispatch::home(plain.shard());
                if !hands.pass(home, |lane| lane.push_plain(packet, run.block)) {
                    own.push(*packet);
                    if own.is_full() {
                        hands.judge(&mut own);
                    }
                }
                continue;
            }
            // In their order: the packets before it first.
            hands.judge(&mut own);
            dispatcher.take_unusual(packet, &mut |shard, tasks, item, frame| {
                if !hands.pass(shard, |lane| lane.push(shard, tasks, item, packet, run.block)) {
                    let cells = hands.own.cells;
                    if let Some(own) = hands.own.get(shard) {
                        own.take(&delivery(item, frame, packet, tasks), cells);
                    }
                }
            });
        }
        hands.judge(&mut own);
        hands.share_out();
        count += run.packets.len() as u64;
    }
}

/// Takes in what comes, until no more batches do.
fn work(batches: &Receiver<Batch>, shards: &mut Shards<'_>, give_back: impl Fn(Batch)) {
    for mut batch in batches {
        for (number, shard) in batch.given.drain(..) {
            shards.take_over(number, shard);
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use etherparse::PacketBuilder;

    use super::*;
    use crate::model::InputId;
    use crate::model::LinkType;
    use crate::model::Timestamp;

    /// A datagram of a pair of hosts that is at home in that shard.
    fn datagram(shard: usize) -> Vec<u8> {
        let of = |host: u8| {
            let mut bytes = Vec::new();
            let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, host], [10, 0, 1, 1], 64);
            builder.udp(40_000, 40_001).write(&mut bytes, b"hello").unwrap();
            bytes
        };
        (0..=255)
            .map(of)
            .find(|bytes| dispatch::home(decode::plain(&packet(bytes)).unwrap().shard()) == shard)
            .unwrap()
    }

    fn packet(bytes: &[u8]) -> Packet<'_> {
        let at = PacketRef::new(Timestamp::from_nanos(1), InputId(0), 1);
        Packet { at, link: LinkType::ETHERNET, interface: 0, original: bytes.len() as u32, bytes }
    }

    #[test]
    fn a_worker_that_keeps_waiting_gets_a_shard_and_all_later_packets_of_it() {
        let options = Options::default();
        let (bounds, hosts) = (options.bounds(), Hosts::default());
        let mut division = Division::among(2);
        let (mut reader, mut other) = (division.reader.clone(), division.others[0].clone());
        let shards_of = |share: &Share| -> Vec<Shard> {
            share.shards().iter().map(|_| Shard::new(bounds, Arc::clone(&hosts))).collect()
        };
        let (mut own, mut others) = (shards_of(&reader), shards_of(&other));
        let (to_worker, batches) = bounded::<Batch>(IN_FLIGHT);
        let (give_back, used) = bounded::<Batch>(IN_FLIGHT + 2);
        let mut lanes = [Lane::new(to_worker, used)];
        let mut hands = Hands {
            division: &mut division,
            own: Shards { own: &mut own, share: &mut reader, cells: &options.cells },
            lanes: &mut lanes,
        };
        let mut worker = Shards { own: &mut others, share: &mut other, cells: &options.cells };
        let catch_up = |worker: &mut Shards<'_>| {
            let (here, now) = bounded(IN_FLIGHT);
            batches.try_iter().for_each(|batch| here.send(batch).unwrap());
            drop(here);
            // Nobody takes back the last ones.
            work(&now, worker, |batch| drop(give_back.try_send(batch)));
        };

        // As many of the other's packets as make it wait: it has done each batch before the next one is sent.
        let (before, theirs) = (hands.own.share.shards(), datagram(worker.share.shards()[0]));
        while !hands.lanes[0].is_idle() {
            assert!(hands.pass(worker.share.shards()[0], |lane| lane.push_plain(&packet(&theirs), None)));
            catch_up(&mut worker);
        }
        hands.share_out();
        let given = before[before.len() - 1];
        assert_eq!(hands.own.share.shards(), before[..before.len() - 1]);
        assert!(!hands.lanes[0].is_idle(), "one at a time");

        // From now on its packets go there.
        let bytes = datagram(given);
        for _ in 0..10 {
            assert!(hands.pass(given, |lane| lane.push_plain(&packet(&bytes), None)));
        }
        let [lane] = lanes;
        lane.finish();
        catch_up(&mut worker);
        assert_eq!(worker.share.shards().last(), Some(&given));
        assert_eq!(worker.get(given).unwrap().learnt().tally.packets, 10);
        let numbers: Vec<usize> = end(&other, others).into_iter().map(|(number, _)| number).collect();
        assert!(numbers.contains(&given));
    }
}
