//! Turns at reading: everything in its order, failures told, nobody left waiting.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use super::*;
use crate::capture::Run;
use crate::model::Input;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::pipeline::CellMap;
use crate::pipeline::Options;
use crate::pipeline::batch::Job;
use crate::pipeline::run;
use crate::pipeline::share::Share;
use crate::pipeline::tests::made::CLIENT;
use crate::pipeline::tests::made::Made;
use crate::pipeline::tests::made::SERVER;
use crate::pipeline::tests::made::check_sums;
use crate::pipeline::tests::made::tcp;
use crate::pipeline::tests::made::udp;
use crate::pipeline::vantage::Hosts;
use crate::pipeline::worker::judge;

/// The two halves of a datagram in fragments (RFC 791 section 3.2).
fn fragments(id: u16, port: u16) -> [Vec<u8>; 2] {
    const HEADERS: usize = 14 + 20;
    let whole = udp((CLIENT, port), (SERVER, 4001), id, &[7; 64]);
    let cut = HEADERS + 40;
    let mut first = whole[..cut].to_vec();
    let mut last = [&whole[..HEADERS], &whole[cut..]].concat();
    first[17] = 20 + 40;
    last[17] = (last.len() - 14) as u8;
    first[20] = 0x20;
    last[21] = 40 / 8;
    [first, last]
}

/// More packets than several batches hold: polls of many connections by turns, datagrams of which the halves lie batches apart, and noise.
fn many() -> Made {
    let mut made = Made::default();
    let mut sequence = [1000_u32; 40];
    for number in 0..9_000_u32 {
        let now = i64::from(number) * 900;
        let connection = (number * 7 % 40) as usize;
        let (a, b) = ((CLIENT, 5000 + connection as u16), (SERVER, 502));
        let question = [0, number as u8, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1];
        made.frame(now, tcp(a, b, "A", sequence[connection], 1, &question));
        sequence[connection] += question.len() as u32;
        let [first, last] = fragments(number as u16, 6000 + (number / 1500) as u16);
        match number % 1500 {
            3 => _ = made.frame(now, first),
            40 => _ = made.frame(now, vec![0; 9]),
            1499 => {
                let [_, last_of_first] = fragments((number - 1496) as u16, 6000 + (number / 1500) as u16);
                made.frame(now, last_of_first).frame(now + 1, last);
            }
            _ => {}
        }
    }
    made
}

#[test]
fn turns_at_reading_change_nothing() {
    let made = many();
    let told = |workers| made.run(&Options { keep_flows: true, workers, ..Options::default() });
    let alone = told(1);
    check_sums(&alone, "alone");
    // The halves that belong together came together, and one of a datagram whose first half is missing waits.
    assert_eq!(alone.flows.iter().filter(|flow| flow.server.port == Some(4001)).count(), 6);
    assert_eq!((alone.tally.fragments_pending, alone.tally.undecodable.len()), (6, 1));
    let alone = format!("{alone:?}");
    for workers in [2, 3, 8, 64, 1000] {
        assert!(alone == format!("{:?}", told(workers)), "{workers} workers");
    }
}

#[test]
fn what_was_sorted_early_goes_out_in_its_turn() {
    let (way, inbox) = unbounded();
    let mut out = GoingOut {
        count: 0,
        all: Some(3),
        waiting: Vec::new(),
        dispatcher: Dispatcher::new(FragmentBounds::default()),
        ways: vec![way],
        gifts: Vec::new(),
        trouble: None,
    };
    let owners = Owners::equal(1);
    // The halves of a datagram, an ordinary one before and after each of them.
    let [first, last] = fragments(1, 4000);
    let plain = udp((CLIENT, 4000), (SERVER, 4002), 9, b"plain");
    let [mut one, mut two, mut three] = [first, last, plain.clone()].map(|middle| {
        let mut made = Made::default();
        made.frame(0, plain.clone()).frame(1, middle).frame(2, plain.clone());
        let mut batch = Batch::default();
        assert!(!batch.read(&mut made).unwrap());
        batch.sort(&owners, &mut Tally::default());
        Some(batch)
    });
    for (number, batch, gone) in [(2, &mut three, 0), (1, &mut two, 0), (0, &mut one, 3)] {
        out.waiting.extend(batch.take().map(|batch| (number, batch, owners)));
        out.send();
        assert_eq!(out.count, gone);
    }
    let told: Vec<Vec<String>> = inbox
        .iter()
        .map(|batch| {
            let name = |job: &Job| match *job {
                Job::Usual(number) => format!("usual {number}"),
                Job::Errand(number) => {
                    let (errand, packet) = batch.errand(number).unwrap();
                    format!("whole {} at {}", errand.whole.is_some(), packet.at.number())
                }
            };
            batch.jobs(0).iter().map(name).collect()
        })
        .collect();
    let usual = |numbers: &[u32]| numbers.iter().map(|number| format!("usual {number}")).collect::<Vec<_>>();
    assert_eq!(told[0], usual(&[0, 2]));
    assert_eq!(told[1], ["usual 0", "whole true at 2", "usual 2"]);
    assert_eq!(told[2], usual(&[0, 1, 2]));
    assert_eq!(out.dispatcher.tally().fragments_pending, 0);
}

/// What each of two workers' shards counted: first of one, then of the other, by their numbers.
fn counted(idle: Option<usize>) -> [Vec<(usize, u64)>; 2] {
    let (mut made, options) = (many(), Options::default());
    let (bounds, hosts) = (options.bounds(), Hosts::default());
    let relay = Relay::new(&mut made, FragmentBounds::default(), 2);
    let mut places = relay.places();
    for _ in 0..3 {
        assert!(relay.read(relay.free.1.try_recv().unwrap(), &mut Tally::default()));
        relay.idle.store(idle.map_or(0, |worker| worker + 1), Ordering::Relaxed);
    }
    // The one that gives comes first, so that the other finds what it is given.
    places.sort_by_key(|place| idle == Some(place.own()));
    let mut counted: Vec<(usize, Vec<(usize, u64)>)> = places
        .iter_mut()
        .map(|place| {
            let mut share = Share::equal(place.own(), 2);
            let mut all: Vec<Shard> =
                share.shards().iter().map(|_| Shard::new(bounds, Arc::clone(&hosts))).collect();
            let mut shards = Shards { own: &mut all, share: &mut share, cells: &options.cells };
            for batch in place.inbox.try_iter().collect::<Vec<_>>() {
                if let Some(moved) = batch.moved {
                    place.change(moved, &mut shards);
                }
                judge(&batch, place.own(), &mut shards);
            }
            let packets = all.iter_mut().map(|shard| shard.learnt().tally.packets);
            (place.own(), share.shards().into_iter().zip(packets).collect())
        })
        .collect();
    counted.sort();
    [0, 1].map(|worker| counted[worker].1.clone())
}

#[test]
fn a_worker_that_keeps_waiting_gets_shards_with_all_later_packets_of_them() {
    let [one, other] = counted(None);
    assert_eq!((one.len(), other.len()), (32, 32));
    let mut all = [one, other].concat();
    all.sort_unstable();
    assert!(all.iter().any(|&(_, packets)| packets > 100));
    // Before the second batch and before the third.
    for (idle, given) in [(1, [62, 60]), (0, [63, 61])] {
        let after = counted(Some(idle));
        let own: Vec<usize> = after[idle].iter().map(|&(shard, _)| shard).collect();
        assert_eq!((own.len(), &own[32..]), (34, &given[..]));
        let mut together = after.concat();
        together.sort_unstable();
        assert_eq!(together, all);
    }
}

#[test]
fn shards_of_two_that_are_not_in_step_are_told_apart() {
    let (mut made, options) = (many(), Options::default());
    let (bounds, hosts) = (options.bounds(), Hosts::default());
    let relay = Relay::new(&mut made, FragmentBounds::default(), 3);
    let mut places = relay.places();
    let [mut one, mut two, mut three] = [0, 1, 2].map(|own| {
        let share = Share::equal(own, 3);
        let shard = |&number: &usize| {
            let mut shard = Shard::new(bounds, Arc::clone(&hosts));
            shard.learnt().tally.packets = number as u64;
            shard
        };
        let shards: Vec<Shard> = share.shards().iter().map(shard).collect();
        (share, shards)
    });
    let cells = &options.cells;
    fn own<'a>((share, own): &'a mut (Share, Vec<Shard>), cells: &'a CellMap) -> Shards<'a> {
        Shards { own, share, cells }
    }
    let [first, later] = [Moved { shard: 3, from: 0, to: 2 }, Moved { shard: 4, from: 1, to: 2 }];
    places[1].change(later, &mut own(&mut two, cells));
    places[0].change(first, &mut own(&mut one, cells));
    for moved in [first, later] {
        let mut shards = own(&mut three, cells);
        places[2].change(moved, &mut shards);
        let shard = shards.get(moved.shard).unwrap();
        assert_eq!(shard.learnt().tally.packets, moved.shard as u64);
    }
    assert_eq!((one.1.len(), two.1.len(), three.1.len()), (21, 20, 23));
}

/// Packets of several recordings by turns, each with a block of its own.
struct ByTurns {
    blocks: Vec<Arc<Vec<u8>>>,
    next: usize,
}

impl Source for ByTurns {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        self.next += 1;
        Ok(true)
    }

    fn packet(&self) -> Packet<'_> {
        let bytes = &self.blocks[self.next % self.blocks.len()];
        Packet { at: PacketRef::default(), link: LinkType::ETHERNET, interface: 0, original: 60, bytes }
    }

    fn run<'a>(&'a mut self, into: &mut Run<'a>) -> Result<bool, CaptureError> {
        self.next += 1;
        into.block = Some(&self.blocks[self.next % self.blocks.len()]);
        into.packets.push(self.packet());
        Ok(true)
    }

    fn inputs(&self) -> Vec<Input> {
        Vec::new()
    }
}

#[test]
fn recordings_by_turns_fill_a_batch_all_the_same() {
    for recordings in [1, 2, 30] {
        let blocks = (0..recordings).map(|number| Arc::new(vec![number; 60])).collect();
        let mut source = ByTurns { blocks, next: 0 };
        let mut batch = Batch::default();
        assert!(batch.read(&mut source).unwrap());
        let bytes = |number: u32| batch.packet(number).map(|packet| packet.bytes.to_vec());
        for number in 0..1000 {
            let expected = vec![((number + 1) % u32::from(recordings)) as u8; 60];
            assert_eq!(bytes(number), Some(expected), "{number} of {recordings} recordings");
        }
    }
}

/// A source that breaks after so many packets.
struct Breaking {
    made: Made,
    left: usize,
    panics: bool,
}

impl Source for Breaking {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        if self.left == 0 {
            assert!(!self.panics, "broken on purpose");
            let path = "broken on purpose".into();
            return Err(CaptureError::EmptyDirectory { path });
        }
        self.left -= 1;
        self.made.advance()
    }

    fn packet(&self) -> Packet<'_> {
        self.made.packet()
    }

    fn inputs(&self) -> Vec<Input> {
        self.made.inputs()
    }
}

#[test]
fn a_source_that_fails_is_told_and_one_that_panics_leaves_nobody_waiting() {
    for workers in [2, 3, 8] {
        for left in [0, 10, 5000] {
            let options = Options { workers, ..Options::default() };
            let broken = |panics| {
                let mut source = Breaking { made: many(), left, panics };
                catch_unwind(AssertUnwindSafe(|| run(&mut source, &options, &|_, _| {}).map(drop)))
            };
            let error = broken(false).unwrap().unwrap_err();
            assert!(error.to_string().starts_with("broken on purpose"), "{error}");
            let panic = broken(true).unwrap_err();
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"broken on purpose"));
        }
    }
}
