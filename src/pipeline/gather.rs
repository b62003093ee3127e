//! Small packets of a ring, a few at a time: copied out of it, so that the waits for memory of several overlap as they do for a recording.
//!
//! libpcap hands over one packet of its ring at a time and may give the ring's block back after the last of it, so no two can be looked
//! at where they lie. A small one is copied, which costs less than a wait; a larger one is taken in where it lies.

use arrayvec::ArrayVec;

use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;

use super::engine::Engine;
use super::together::TOGETHER;

/// The most bytes that are copied of a packet; what is longer stays where it is. Four lines of the processor's cache.
const SMALL: usize = 256;

/// Packets that wait for others.
#[derive(Default)]
pub(super) struct Gather {
    bytes: Vec<u8>,
    waiting: ArrayVec<Waiting, TOGETHER>,
    /// Bytes copied so far.
    copied: u64,
}

#[derive(Clone, Copy)]
struct Waiting {
    at: PacketRef,
    link: LinkType,
    interface: u32,
    original: u32,
    from: usize,
    to: usize,
}

impl Gather {
    /// Takes in a packet, now or with those that follow.
    #[inline]
    pub fn take(&mut self, engine: &mut Engine, packet: &Packet<'_>) {
        if packet.bytes.len() > SMALL {
            self.flush(engine);
            engine.take(packet);
            return;
        }
        let from = self.bytes.len();
        self.bytes.extend_from_slice(packet.bytes);
        self.copied += packet.bytes.len() as u64;
        let &Packet { at, link, interface, original, .. } = packet;
        let waits = Waiting { at, link, interface, original, from, to: self.bytes.len() };
        // There is room: whoever filled it was taken in.
        let _ = self.waiting.try_push(waits);
        if self.waiting.is_full() {
            self.flush(engine);
        }
    }

    /// Bytes copied so far.
    pub fn copied(&self) -> u64 {
        self.copied
    }

    /// Takes in what waits.
    #[inline]
    pub fn flush(&mut self, engine: &mut Engine) {
        let Self { bytes, waiting, .. } = self;
        if waiting.is_empty() {
            return;
        }
        let run: ArrayVec<Packet<'_>, TOGETHER> = waiting
            .iter()
            .map(|&Waiting { at, link, interface, original, from, to }| Packet {
                at,
                link,
                interface,
                original,
                bytes: bytes.get(from..to).unwrap_or_default(),
            })
            .collect();
        engine.take_run(&run);
        drop(run);
        waiting.clear();
        bytes.clear();
    }
}
