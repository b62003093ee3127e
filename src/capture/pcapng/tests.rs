//! Tests of the pcapng walker.

use super::*;
use crate::capture::testing::Writer;
use crate::capture::testing::read;
use crate::capture::testing::read_all;

const ORDERS: [Order; 2] = [Order::Little, Order::Big];

#[test]
fn packet_blocks_of_all_three_kinds() {
    for order in ORDERS {
        let file = Writer::new(order).section().interface(1, 4).interface(113, 0);
        let file = file.enhanced(1, 5_000_000_001, &[1, 2, 3]);
        let file = file.block(3, |body| body.u32(900).raw(&[4; 4]));
        let file = file.block(2, |body| {
            body.u16(1).u16(u16::MAX).u32(1).u32(5).u32(2).u32(60).padded(&[6, 7]).option(1, b"why")
        });
        let (packets, stopped) = read_all(&file.bytes);
        assert_eq!(stopped, None);
        let expected = vec![
            (0, 1, 5_000_000_001_000, 113, 1, 3, vec![1, 2, 3]),
            // Without a time of its own, and cut by the snap length of interface 0.
            (0, 2, 5_000_000_001_000, 1, 0, 900, vec![4; 4]),
            (0, 3, ((1 << 32) + 5) * 1_000, 113, 1, 60, vec![6, 7]),
        ];
        assert_eq!(packets, expected);
    }
}

#[test]
fn sections_of_different_orders_begin_anew() {
    let first = Writer::new(Order::Big).section().interface(1, 0).interface(101, 0).enhanced(1, 1, &[1]);
    let second = Writer::new(Order::Little).section().interface(228, 0).enhanced(0, 2, &[2]);
    let both = [first.bytes, second.bytes].concat();
    let (packets, stopped) = read_all(&both);
    assert_eq!(stopped, None);
    let told: Vec<_> = packets.iter().map(|packet| (packet.1, packet.2, packet.3, packet.4)).collect();
    assert_eq!(told, [(1, 1_000, 101, 1), (2, 2_000, 228, 0)]);
    // The second interface of the first section is gone in the second.
    let more = Writer::new(Order::Little).raw(&both).enhanced(1, 3, &[3]).bytes;
    let why =
        "the packet block where packet 3 should be is broken: it names interface 1, and 1 are described";
    assert_eq!(read_all(&more).1.as_deref(), Some(why));
}

#[test]
fn unknown_blocks_are_passed_over() {
    let large = vec![0; 1 << 20];
    let file = Writer::new(Order::Little).section().block(0x0a, |body| body.raw(&[1; 8])).interface(1, 0);
    let file = file.block(0x8000_0001, |body| body.raw(&large)).enhanced(0, 1, &[1]);
    let whole = file.block(10, |body| body.raw(&[0; 12])).enhanced(0, 2, &[2]).bytes;
    let (packets, stopped) = read_all(&whole);
    assert_eq!((packets.len(), stopped), (2, None));
    let cut = Writer::new(Order::Little).section().u32(0x0fff).u32(1 << 20).raw(&[0; 100]).bytes;
    let why = "cut off in a block before packet 1: it says 1048576 bytes, 108 are there";
    assert_eq!(read_all(&cut), (vec![], Some(why.to_owned())));
}

#[test]
fn blocks_that_wireshark_numbers_take_a_number() {
    let file = Writer::new(Order::Little).section().interface(1, 0).enhanced(0, 1, &[1]);
    let file = file.block(0x0bad, |body| body.u32(64)).block(9, |body| body.raw(b"A=1\n"));
    let file = file.block(0x4000_0bad, |body| body.u32(64)).enhanced(0, 2, &[2]).bytes;
    let (packets, stopped) = read_all(&file);
    assert_eq!(packets.iter().map(|packet| packet.1).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(stopped, None);
}

#[test]
fn losses_from_statistics_and_packets() {
    for order in ORDERS {
        let statistics = |file: Writer, interface: u32, kernel: u64, system: u64| {
            file.block(5, |body| {
                let body = body.u32(interface).u32(0).u32(0).u16(5).u16(8).u64(kernel);
                body.u16(7).u16(8).u64(system).u32(0)
            })
        };
        let file = Writer::new(order).section().interface(1, 0).interface(1, 0).enhanced(0, 1, &[1]);
        assert_eq!(read(&file.bytes).unwrap().1.dropped, None);
        // The later statistics of an interface hold; interfaces and sections add up.
        let file = statistics(statistics(statistics(file, 0, 3, 1), 1, 10, 0), 0, 5, 1);
        assert_eq!(read(&file.bytes).unwrap().1.dropped, Some(16));
        // Interface 0 lost six and delivered one, interface 1 lost ten and delivered none.
        let worst = read(&file.bytes).unwrap().1.lossiest.map(|one| (one.number, one.lost, one.seen));
        assert_eq!(worst, Some((1, 10, 0)));
        let file = file.section().interface(1, 0).block(6, |body| {
            let body = body.u32(0).u32(0).u32(1).u32(2).u32(2).padded(&[1, 2]).option(2, &[0; 4]);
            body.u16(4).u16(8).u64(7).u32(0)
        });
        assert_eq!(read(&file.bytes).unwrap().1.dropped, Some(23));
        // Statistics of no interface tell nothing.
        assert_eq!(read(&statistics(file, 9, 100, 100).bytes).unwrap().1.dropped, Some(23));
    }
}

#[test]
fn names_from_name_resolution_blocks() {
    let file = Writer::new(Order::Big).section().block(4, |body| {
        let body = body.option(1, b"\x0a\0\0\x01plc.plant\0backup\0");
        body.option(2, &[&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &b"six\0"[..]].concat())
            .u32(0)
    });
    let mut walker = match Walker::recognise(&file.bytes) {
        Ok(Some((walker, 0))) => walker,
        _ => panic!("no pcapng"),
    };
    let mut front = file.bytes.as_slice();
    while let Step::Skip(count) = walker.step(front, 1) {
        front = &front[count as usize..];
    }
    let names: Vec<_> = walker.names().iter().map(|(address, name)| format!("{address} {name}")).collect();
    assert_eq!(names, ["10.0.0.1 plc.plant", "10.0.0.1 backup", "fe80::1 six"]);
}

#[test]
fn says_where_it_breaks() {
    let good = || Writer::new(Order::Little).section().interface(1, 0).enhanced(0, 1, &[1]);
    let check = |file: Vec<u8>, packets: usize, why: &str| {
        let (found, stopped) = read_all(&file);
        assert_eq!((found.len(), stopped.as_deref()), (packets, Some(why)));
    };
    let cut = |less: usize| {
        let file = good().bytes;
        file[..file.len() - less].to_vec()
    };
    check(cut(3), 0, "cut off in the middle of packet 1: its block says 36 bytes, 33 are there");
    check(cut(30), 0, "cut off in the block header before packet 1: 6 bytes are there");
    check(cut(40), 0, "cut off in the interface description before packet 1: it says 20 bytes, 16 are there");
    check(good().bytes[..10].to_vec(), 0, "cut off in the pcapng file header: it has 28 bytes, 10 are there");
    check(
        good().u32(6).u32(8).raw(&[0; 40]).bytes,
        1,
        "the packet block before packet 2 is broken: it says that it is 8 bytes long, less than the 12 that any block has",
    );
    check(
        good().u32(6).u32(0xffff_fff0).raw(&[0; 40]).bytes,
        1,
        "the packet block where packet 2 should be is broken: it says that it is 4294967280 bytes long",
    );
    check(
        good().u32(6).u32(36).raw(&[0; 24]).u32(40).bytes,
        1,
        "the packet block where packet 2 should be is broken: it says that it is 36 bytes long in front and 40 at its end",
    );
    check(
        good().block(6, |body| body.u32(0).u32(0).u32(0).u32(9).u32(9).raw(&[0; 8])).bytes,
        1,
        "the packet block where packet 2 should be is broken: it says 9 captured bytes, and has room for 8",
    );
    check(
        good().block(6, |body| body.u32(0)).bytes,
        1,
        "the packet block where packet 2 should be is broken: 4 bytes are too few for its fields",
    );
    check(
        Writer::new(Order::Little).section().block(3, |body| body.u32(4).raw(&[0; 4])).bytes,
        0,
        "the packet block where packet 1 should be is broken: it belongs to interface 0, and none is described",
    );
    let later = Writer::new(Order::Big).block(0x0a0d_0d0a, |body| body.u32(0x1a2b_3c4d).u16(2).u16(0).u64(0));
    check(
        good().raw(&later.bytes).bytes,
        1,
        "the section header where packet 2 should be is broken: it is of version 2.0, which is not known (1.0 is)",
    );
    let error = read(&later.bytes).unwrap_err().to_string();
    assert_eq!(error, "test: a pcapng file of version 2.0, which is not known (1.0 is)");
}
