//! What the short way does is what the long way does.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use crate::decode;
use crate::flow::Arrival;
use crate::flow::Limits;
use crate::flow::Place;
use crate::flow::Proven;
use crate::flow::Table;
use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::InputId;
use crate::model::LinkType;
use crate::model::Packet;

use super::*;
use crate::flow::Quick;
use crate::flow::Sort;

#[test]
fn an_ordinary_packet_touches_four_cache_lines() {
    assert_eq!((size_of::<Ready>(), size_of::<Hot>()), (88, 256));
    assert_eq!(std::mem::offset_of!(Hot, sides), 64);
}

/// One packet as it is drawn: who sends, what kind, how far its numbers are off, how long it is, when it comes.
type Draw = (bool, u8, u32, u32, u16, i64);

fn draw() -> impl Strategy<Value = Draw> {
    let off = || prop_oneof![12 => Just(0_u32), 1 => Just(u32::MAX), 1 => Just(9), 1 => Just(0_u32.wrapping_sub(9))];
    let kind =
        prop_oneof![20 => Just(0_u8), 2 => Just(1), 1 => Just(2), 1 => Just(3), 1 => Just(4), 1 => Just(5)];
    let length = prop_oneof![4 => Just(0_u16), 1 => Just(1), 4 => Just(12), 2 => Just(300)];
    let step =
        prop_oneof![10 => 1..3_000_000_i64, 2 => Just(0), 1 => Just(-4_000_000), 1 => Just(400_000_000_000)];
    (any::<bool>(), kind, off(), off(), length, step)
}

/// What carries the packets that are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Carried {
    Tcp,
    Udp,
    SampledValues,
}

fn carried() -> impl Strategy<Value = Carried> {
    prop_oneof![Just(Carried::Tcp), Just(Carried::Udp), Just(Carried::SampledValues)]
}

fn frame(
    carried: Carried,
    from_low: bool,
    flags: u8,
    window: u16,
    place: (u32, u32),
    length: u16,
) -> Vec<u8> {
    let (low, high) = ((Ipv4Addr::new(10, 0, 0, 1), 1000_u16), (Ipv4Addr::new(10, 0, 0, 2), 2000_u16));
    let (from, to) = if from_low { (low, high) } else { (high, low) };
    if carried == Carried::SampledValues {
        let mut bytes = vec![2, 0, 0, 0, 0, to.1 as u8, 2, 0, 0, 0, 0, from.1 as u8, 0x88, 0xba];
        bytes.resize(14 + usize::from(length), 7);
        return bytes;
    }
    let udp = carried == Carried::Udp;
    let header = if udp { 8 } else { 20 };
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    bytes.extend((20 + header + length).to_be_bytes());
    bytes.extend([0, 1, 0, 0, 64, if udp { 17 } else { 6 }, 0, 0]);
    bytes.extend(from.0.octets());
    bytes.extend(to.0.octets());
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    if udp {
        bytes.extend((8 + length).to_be_bytes());
        bytes.extend([0, 0]);
    } else {
        bytes.extend(place.0.to_be_bytes());
        bytes.extend(place.1.to_be_bytes());
        bytes.extend([0x50, flags]);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0; 4]);
    }
    bytes.resize(bytes.len() + usize::from(length), 7);
    bytes
}

/// What a table tells of these packets, with ordinary ones taken in quickly or none.
fn told(packets: &[(PacketRef, Vec<u8>)], quickly: bool) -> (Vec<FlowRecord>, usize) {
    let mut table: Table<()> = Table::new(Limits::default());
    let (mut records, mut quick, mut before) = (Vec::new(), 0, HashMap::new());
    for (at, bytes) in packets {
        let original = bytes.len() as u32;
        let packet = Packet { at: *at, link: LinkType::ETHERNET, interface: 0, original, bytes };
        let plain = decode::plain(&packet).unwrap();
        let (key, from) = Key::of_plain(CellId(3), &plain);
        let frame = plain.frame();
        let place = Place::of(CellId(3), &frame).unwrap();
        assert_eq!((place.key, place.from), (key, from));
        let hash = table.hash(&key);
        if quickly && let Some(slot) = table.known((hash, table.guess(hash)), &key) {
            let is = |taken: Quick| taken != Quick::No;
            let news = is(table.quick(slot, from, &plain, (*at, original), Sort::News));
            let copied =
                before.get(bytes).is_some_and(|&time| at.time.since(time) <= Duration::from_millis(5));
            assert!(!news || !copied, "what says something new is no copy");
            if news || is(table.quick(slot, from, &plain, (*at, original), Sort::Any)) {
                quick += 1;
                before.insert(bytes, at.time);
                continue;
            }
        }
        before.insert(bytes, at.time);
        let arrival = Arrival { at: *at, original, pieces: &[], frame: &frame, copy: false };
        let mut leave =
            |left: crate::flow::Left<'_, ()>, _| records.push(left.whole().0.tell(Proven::default()));
        if let Some(id) = table.take(hash, &place, &arrival, &mut leave) {
            table.arm(id, Pair::default());
        }
    }
    table.finish(&mut |left, _| records.push(left.whole().0.tell(Proven::default())));
    (records, quick)
}

fn packets(carried: Carried, draws: &[Draw]) -> Vec<(PacketRef, Vec<u8>)> {
    let (mut next, mut time) = ([100_u32, u32::MAX - 400], 1_000_000_000_000_i64);
    let mut made = vec![];
    let mut push = |time: i64, bytes| {
        let at = PacketRef::new(Timestamp::from_nanos(time), InputId(0), made.len() as u64 + 1);
        made.push((at, bytes));
    };
    if carried == Carried::Tcp {
        for (from_low, flags) in [(true, 2), (false, 0x12), (true, 0x10)] {
            let (me, peer) = (usize::from(!from_low), usize::from(from_low));
            let ack = if flags == 2 { 0 } else { next[peer] };
            push(time, frame(carried, from_low, flags, 9, (next[me], ack), 0));
            next[me] = next[me].wrapping_add(u32::from(flags & 2 != 0));
        }
    }
    for &(from_low, kind, off, ack_off, length, step) in draws {
        let (me, peer) = (usize::from(!from_low), usize::from(from_low));
        time += step;
        let (flags, window) = match kind {
            1 => (0x10, 0),
            2 => (0x02, 9),
            3 => (0x11, 9),
            4 => (0x14, 9),
            5 => (0x12, 9),
            _ => (0x18, 9),
        };
        let place = (next[me].wrapping_add(off), next[peer].wrapping_add(ack_off));
        push(time, frame(carried, from_low, flags, window, place, length));
        if off == 0 {
            next[me] = next[me].wrapping_add(u32::from(length));
        }
    }
    made
}

proptest! {
    /// Whatever two ends send each other, it is told as it is when every packet takes the long way.
    #[test]
    fn what_is_taken_in_quickly_is_told_the_same(carried in carried(), draws in prop::collection::vec(draw(), 0..60)) {
        let packets = packets(carried, &draws);
        prop_assert_eq!(told(&packets, true).0, told(&packets, false).0);
    }
}

#[test]
fn questions_and_answers_are_taken_in_quickly() {
    for carried in [Carried::Tcp, Carried::Udp, Carried::SampledValues] {
        let polls: Vec<Draw> = (0..100).map(|n| (n % 2 == 0, 0, 0, 0, 12, 1000)).collect();
        let (records, quick) = told(&packets(carried, &polls), true);
        assert_eq!(records.len(), 1);
        assert!(quick > 90, "{quick} of 100");
    }
}

#[test]
fn frames_of_one_publisher_are_taken_in_quickly() {
    let stream: Vec<Draw> = (0..100).map(|_| (true, 0, 0, 0, 80, 250_000)).collect();
    let (records, quick) = told(&packets(Carried::SampledValues, &stream), true);
    assert_eq!((records.len(), records[0].packets(), records[0].first.number()), (1, 100, 1));
    assert!(quick > 90, "{quick} of 100");
}
