//! The packet path by stage: reading headers, the flow table, the whole pipeline. Throughput in packets.
//!
//! `cargo bench --bench packets`. Frames are made here, so that it runs anywhere; captures for the whole program are `benches/peers.sh`'s.
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::time::Duration;

use criterion::BatchSize;
use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use spanaudit::capture::CaptureError;
use spanaudit::capture::Source;
use spanaudit::decode;
use spanaudit::flow::Arrival;
use spanaudit::flow::Key;
use spanaudit::flow::Limits;
use spanaudit::flow::Pair;
use spanaudit::flow::Place;
use spanaudit::flow::Quick;
use spanaudit::flow::Sort;
use spanaudit::flow::Table;
use spanaudit::model::CellId;
use spanaudit::model::Input;
use spanaudit::model::InputId;
use spanaudit::model::LinkType;
use spanaudit::model::Packet;
use spanaudit::model::PacketRef;
use spanaudit::model::Timestamp;
use spanaudit::pipeline;

/// Bytes of one frame and how they begin.
type Bytes = (LinkType, Vec<u8>);

fn ipv4(protocol: u8, flow: u32, body: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = flow.to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend((20 + body.len() as u16).to_be_bytes());
    packet.extend([c, b, 0, 0, 64, protocol, 0, 0, 10, a, b, c, 172, 16, a, b]);
    packet.extend(body);
    packet
}

fn tcp(flow: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut body =
        vec![0x9c, flow as u8, 0x01, 0xf6, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0x40, 0, 0, 0, 0, 0];
    body.extend(payload);
    ipv4(6, flow, &body)
}

fn udp(flow: u32, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0x9c, flow as u8];
    body.extend(port.to_be_bytes());
    body.extend((8 + payload.len() as u16).to_be_bytes());
    body.extend([0, 0]);
    body.extend(payload);
    ipv4(17, flow, &body)
}

fn ethernet(tags: &[u16], number: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        frame.extend([0x81, 0]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(number.to_be_bytes());
    frame.extend(payload);
    frame
}

const MODBUS: [u8; 12] = [0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1];

fn stacks() -> Vec<(&'static str, Bytes)> {
    let inner = ethernet(&[], 0x0800, &tcp(1, 0x18, &MODBUS));
    let mut vxlan = vec![8, 0, 0, 0, 0, 0, 7, 0];
    vxlan.extend(&inner);
    let mut erspan = vec![0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 1, 0, 0, 0, 0];
    erspan.extend(&inner);
    let mut cooked = vec![0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0];
    cooked.extend(tcp(1, 0x18, &MODBUS));
    let mut six = vec![0x60, 0, 0, 0, 0, 32, 6, 64];
    six.extend([0xfd; 32]);
    six.extend(&tcp(1, 0x18, &MODBUS)[20..]);
    let on_ethernet = |bytes| (LinkType::ETHERNET, bytes);
    vec![
        ("ethernet/ipv4/tcp", on_ethernet(inner.clone())),
        ("ethernet/ipv4/udp", on_ethernet(ethernet(&[], 0x0800, &udp(1, 47_808, &MODBUS)))),
        ("ethernet/vlan/ipv4/tcp", on_ethernet(ethernet(&[10], 0x0800, &tcp(1, 0x18, &MODBUS)))),
        ("ethernet/qinq/ipv4/tcp", on_ethernet(ethernet(&[10, 20], 0x0800, &tcp(1, 0x18, &MODBUS)))),
        ("ethernet/ipv6/tcp", on_ethernet(ethernet(&[], 0x86dd, &six))),
        ("ethernet/goose", on_ethernet(ethernet(&[], 0x88b8, &[0; 60]))),
        ("raw/ipv4/tcp", (LinkType::RAW, tcp(1, 0x18, &MODBUS))),
        ("sll/ipv4/tcp", (LinkType::LINUX_SLL, cooked)),
        ("vxlan", on_ethernet(ethernet(&[], 0x0800, &udp(2, 4789, &vxlan)))),
        ("erspan", on_ethernet(ethernet(&[], 0x0800, &ipv4(47, 2, &erspan)))),
    ]
}

fn packet(number: u64, (link, bytes): &Bytes) -> Packet<'_> {
    let at = PacketRef::new(Timestamp::from_nanos(number as i64 * 10_000), InputId(0), number);
    Packet { at, link: *link, interface: 0, original: bytes.len() as u32, bytes }
}

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    for (name, bytes) in stacks() {
        group.bench_function(name, |b| b.iter(|| decode::decode(black_box(&packet(1, &bytes))).is_ok()));
    }
    group.finish();
}

/// A table with so many flows: questions and answers, so that all of them are known and quiet.
fn filled(flows: u32) -> Table<()> {
    let mut table = Table::new(Limits { flows: usize::MAX, ..Limits::default() });
    for turn in 0..2_u64 {
        for flow in 0..flows {
            datagram(&mut table, flow, turn, turn % 2 == 0);
        }
    }
    table
}

/// One datagram of a flow, there or back; `true` where it was an ordinary one.
fn datagram(table: &mut Table<()>, flow: u32, number: u64, asks: bool) -> bool {
    let mut frame = [0; 58];
    frame[12] = 8;
    let packet = udp(flow, 50_000, &MODBUS);
    frame[14..14 + packet.len()].copy_from_slice(&packet);
    if !asks {
        for (low, high, width) in [(26, 30, 4), (34, 36, 2)] {
            for at in 0..width {
                frame.swap(low + at, high + at);
            }
        }
    }
    let at = PacketRef::new(Timestamp::from_nanos(number as i64 * 10_000), InputId(0), number);
    let packet = Packet { at, link: LinkType::ETHERNET, interface: 0, original: 54, bytes: &frame };
    let plain = decode::plain(&packet).unwrap();
    let (key, from) = Key::of_plain(CellId(0), &plain);
    let hash = table.hash(&key);
    let known = table.known((hash, table.guess(hash)), &key);
    if known.is_some_and(|slot| table.quick(slot, from, &plain, (at, 54), Sort::Any) == Quick::Counted) {
        return true;
    }
    let frame = plain.frame();
    let place = Place::of(CellId(0), &frame).unwrap();
    let arrival = Arrival { at, original: 54, pieces: &[], frame: &frame, copy: false };
    if let Some(id) = table.take(hash, &place, &arrival, &mut |_, _| ()) {
        table.arm(id, Pair::default());
    }
    false
}

/// Memory that can be had, in bytes (proc(5), `meminfo`); none where that is not told.
fn available() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find(|line| line.starts_with("MemAvailable"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Memory that a flow of the table takes, roughly, with its index and what is boxed.
const FLOW: u64 = 1500;

fn take(table: &mut Table<()>, flow: u32, number: u64, flags: u8) {
    let bytes = (LinkType::ETHERNET, ethernet(&[], 0x0800, &tcp(flow, flags, &[])));
    let packet = packet(number, &bytes);
    let frame = decode::decode(&packet).unwrap();
    let place = Place::of(CellId(0), &frame).unwrap();
    let arrival = Arrival { at: packet.at, original: 54, pieces: &[], frame: &frame, copy: false };
    table.take(table.hash(&place.key), &place, &arrival, &mut |_, _| ());
}

fn table(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow table");
    group.throughput(Throughput::Elements(2)).sample_size(10).measurement_time(Duration::from_secs(3));
    for flows in [1_000_u32, 100_000, 5_000_000] {
        let needed = u64::from(flows) * FLOW;
        if needed > available() / 2 {
            println!("hit/{flows} passed over: it needs {} MiB, half of what can be had", needed >> 20);
            continue;
        }
        let mut known = filled(flows);
        let (mut next, mut number) = (0, 1_000_000);
        group.bench_function(BenchmarkId::new("hit", flows), |b| {
            b.iter(|| {
                // A stride that is no neighbour's: what comes next is in no cache.
                next = (next + 7919) % flows;
                number += 2;
                datagram(&mut known, next, number, true);
                assert!(datagram(&mut known, next, number + 1, false));
            })
        });
    }
    for flows in [1_000_u32, 100_000, 5_000_000] {
        group.throughput(Throughput::Elements(u64::from(flows)));
        group.bench_function(BenchmarkId::new("insert and expire lone SYNs", flows), |b| {
            b.iter_batched(
                || Table::<()>::new(Limits { flows: usize::MAX, ..Limits::default() }),
                |mut table| {
                    for flow in 0..flows {
                        take(&mut table, flow, u64::from(flow), 0x02);
                    }
                    let mut left = 0_u32;
                    table.tick(Timestamp::from_nanos(3_600_000_000_000), &mut |_, _| left += 1);
                    assert_eq!(left, flows);
                },
                BatchSize::PerIteration,
            )
        });
    }
    group.finish();
}

struct Frames {
    frames: Vec<Bytes>,
    next: usize,
}

impl Source for Frames {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        self.next += 1;
        Ok(self.next <= self.frames.len())
    }

    fn packet(&self) -> Packet<'_> {
        packet(self.next as u64, &self.frames[self.next - 1])
    }

    fn inputs(&self) -> Vec<Input> {
        Vec::new()
    }
}

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    group.sample_size(10);
    const PACKETS: u32 = 200_000;
    let frames = |flows: u32| -> Vec<Bytes> {
        (0..PACKETS)
            .map(|n| (LinkType::ETHERNET, ethernet(&[], 0x0800, &udp(n % flows, 50_000, &n.to_be_bytes()))))
            .collect()
    };
    let syns = || -> Vec<Bytes> {
        (0..PACKETS).map(|n| (LinkType::ETHERNET, ethernet(&[], 0x0800, &tcp(n, 0x02, &[])))).collect()
    };
    group.throughput(Throughput::Elements(u64::from(PACKETS)));
    for (name, frames) in
        [("100 flows", frames(100)), ("20,000 flows", frames(20_000)), ("a SYN flood", syns())]
    {
        for workers in [1, 2] {
            let options = pipeline::Options { workers, ..pipeline::Options::default() };
            let mut source = Frames { frames: frames.clone(), next: 0 };
            group.bench_function(BenchmarkId::new(name, workers), |b| {
                b.iter(|| {
                    source.next = 0;
                    pipeline::run(&mut source, &options, &|_, _| ()).unwrap().tally.packets
                })
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decoding, table, whole);
criterion_main!(benches);
