//! Packets made here, and what every run over them has to keep to.

use std::sync::Arc;

use etherparse::PacketBuilder;

use crate::capture::CaptureError;
use crate::capture::Source;
use crate::model::FlowRecord;
use crate::model::Input;
use crate::model::InputId;
use crate::model::LinkType;
use crate::model::Observed;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Timestamp;

use crate::pipeline::Options;
use crate::pipeline::engine::Engine;
use crate::pipeline::merge::Told;
use crate::pipeline::merge::merge;
use crate::pipeline::run;
use crate::pipeline::vantage::Hosts;
use crate::pipeline::worker::delivery;

/// Packets in memory.
#[derive(Clone, Default)]
pub struct Made {
    packets: Vec<(i64, u32, Vec<u8>)>,
    next: usize,
}

impl Made {
    /// One more Ethernet frame, so many microseconds after the epoch, of the first input.
    pub fn frame(&mut self, micros: i64, bytes: Vec<u8>) -> &mut Self {
        self.packets.push((micros * 1000, 0, bytes));
        self
    }

    /// One more frame of another input.
    pub fn elsewhere(&mut self, micros: i64, bytes: Vec<u8>) -> &mut Self {
        self.packets.push((micros * 1000, 1, bytes));
        self
    }

    pub fn run(&self, options: &Options) -> Observed {
        run(&mut self.clone(), options, &|_, _| {}).unwrap()
    }

    /// The flows and all else that was seen, after checking that the number of workers changes nothing and that the sums add up.
    pub fn observe(&self) -> Observed {
        let alone = self.run(&Options { keep_flows: true, ..Options::default() });
        for workers in [2, 5] {
            let together = self.run(&Options { keep_flows: true, workers, ..Options::default() });
            assert_eq!(format!("{alone:#?}"), format!("{together:#?}"), "{workers} workers");
        }
        check_sums(&alone, "made here");
        assert_eq!(alone.tally.packets, self.packets.len() as u64);
        alone
    }
}

impl Source for Made {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        self.next += 1;
        Ok(self.next <= self.packets.len())
    }

    fn packet(&self) -> Packet<'_> {
        let (nanos, input, bytes) = &self.packets[self.next - 1];
        let at = PacketRef::new(Timestamp::from_nanos(*nanos), InputId(*input), self.next as u64);
        Packet { at, link: LinkType::ETHERNET, interface: 0, original: bytes.len() as u32, bytes }
    }

    fn inputs(&self) -> Vec<Input> {
        vec![Input::default()]
    }
}

/// What is told where every packet is decoded layer by layer and none is counted quickly.
pub fn the_long_way(source: &mut dyn Source, options: &Options) -> Observed {
    let hosts = Hosts::default();
    let mut engine = Engine::new(options, options.bounds(), Arc::clone(&hosts));
    let Engine { shards, dispatcher, cells, .. } = &mut engine;
    while source.advance().unwrap() {
        let packet = source.packet();
        dispatcher.take_unusual(&packet, &mut |shard, tasks, item, frame| {
            shards[shard].take(&delivery(item, frame, &packet, tasks), cells);
        });
    }
    let (shards, read) = engine.finish();
    merge(shards, read, &hosts, Told::of(source), options.keep_flows, options.workers)
}

pub fn check_sums(observed: &Observed, what: &str) {
    let tally = &observed.tally;
    assert!(tally.adds_up(), "{what}: {tally:?}");
    let in_flows: u64 = observed.flows.iter().map(FlowRecord::packets).sum();
    assert_eq!(in_flows, tally.in_flows, "{what}");
    assert_eq!(observed.flows.len() as u64, tally.flows, "{what}");
    let inside: u64 = observed.conversations.values().map(|conversation| conversation.flows).sum();
    // A sweep is one line in the list of flows, and all its tries in its conversation.
    let sweeps = observed.conversations.values().filter(|conversation| conversation.sweep.is_some()).count();
    assert_eq!(inside, tally.flows - sweeps as u64 + tally.folded, "{what}");
    assert!(observed.flows.is_sorted_by_key(|flow| flow.first), "{what}");
}

pub const CLIENT: ([u8; 6], [u8; 4]) = ([2, 0, 0, 0, 0, 1], [10, 0, 0, 1]);
pub const SERVER: ([u8; 6], [u8; 4]) = ([2, 0, 0, 0, 0, 2], [10, 0, 0, 2]);
pub const ROUTER: ([u8; 6], [u8; 4]) = ([2, 0, 0, 0, 0, 254], [10, 0, 0, 254]);
pub type End = ([u8; 6], [u8; 4]);

pub fn built(step: etherparse::PacketBuilderStep<impl Finish>, payload: &[u8]) -> Vec<u8> {
    Finish::finish(step, payload)
}

/// What etherparse's builder steps for transports share.
pub trait Finish: Sized {
    fn finish(step: etherparse::PacketBuilderStep<Self>, payload: &[u8]) -> Vec<u8>;
}

macro_rules! finish {
    ($($step:ty),*) => { $(impl Finish for $step {
        fn finish(step: etherparse::PacketBuilderStep<Self>, payload: &[u8]) -> Vec<u8> {
            let mut bytes = Vec::new();
            step.write(&mut bytes, payload).unwrap();
            bytes
        }
    })* };
}
finish!(etherparse::UdpHeader, etherparse::TcpHeader, etherparse::Icmpv4Header);

pub fn udp(from: (End, u16), to: (End, u16), id: u16, payload: &[u8]) -> Vec<u8> {
    let mut ip = etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::UDP, from.0.1, to.0.1).unwrap();
    ip.identification = id;
    let step = PacketBuilder::ethernet2(from.0.0, to.0.0)
        .ip(etherparse::IpHeaders::Ipv4(ip, Default::default()))
        .udp(from.1, to.1);
    built(step, payload)
}

pub fn tcp(
    from: (End, u16),
    to: (End, u16),
    flags: &str,
    sequence: u32,
    acknowledgement: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut step = PacketBuilder::ethernet2(from.0.0, to.0.0)
        .ipv4(from.0.1, to.0.1, 64)
        .tcp(from.1, to.1, sequence, 512);
    for flag in flags.chars() {
        step = match flag {
            'S' => step.syn(),
            'A' => step.ack(acknowledgement),
            'F' => step.fin(),
            'R' => step.rst(),
            _ => step,
        };
    }
    built(step, payload)
}

/// An ICMP error of that code by `from`, quoting the IP packet of a frame.
pub fn unreachable(from: End, to: End, code: u8, frame: &[u8]) -> Vec<u8> {
    let step = PacketBuilder::ethernet2(from.0, to.0).ipv4(from.1, to.1, 255).icmpv4_raw(3, code, [0; 4]);
    built(step, &frame[14..14 + 28])
}

/// An ARP packet in a frame.
pub fn arp(from: End, to: [u8; 6], operation: u8, target: ([u8; 6], [u8; 4])) -> Vec<u8> {
    let head = [&to[..], &from.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
    [&head[..], &from.0, &from.1, &target.0, &target.1, &[0; 18]].concat()
}
