//! Packets taken in a few at a time, so that the waits for memory are all at once and not one after the other.

use std::hint::black_box;

use arrayvec::ArrayVec;

use crate::decode;
use crate::decode::Plain;
use crate::flow::Half;
use crate::flow::Key;
use crate::model::Packet;
use crate::model::PacketRef;

use super::cells::CellMap;
use super::dispatch;
use super::shard::Shard;
use super::share::Share;

/// Packets that are read before the first of them is counted: about as many waits for memory as a processor keeps going at once.
pub const TOGETHER: usize = 16;

/// A usual packet on its way, with what was found out about it before it is counted.
pub struct Ready<'a> {
    /// Which one.
    pub at: PacketRef,
    /// Length on the wire.
    pub original: u32,
    /// What it says.
    pub plain: Plain<'a>,
    /// Its flow.
    pub key: Key,
    /// The end that sent it.
    pub from: Half,
    /// The hash of its flow's key in its shard.
    pub hash: u64,
    /// What is probably the number of its flow there.
    pub probably: Option<u32>,
    /// Where that is among the shards of this worker.
    place: usize,
}

/// The shards of one worker.
pub struct Shards<'a> {
    /// The shards.
    pub own: &'a mut Vec<Shard>,
    /// Which they are.
    pub share: &'a mut Share,
    /// Which address space a packet belongs to.
    pub cells: &'a CellMap,
}

impl Shards<'_> {
    /// The shard of that number, if it is one of these.
    pub fn get(&mut self, number: usize) -> Option<&mut Shard> {
        self.own.get_mut(self.share.place(number)?)
    }

    /// Takes over a shard from another worker.
    pub fn take_over(&mut self, number: usize, shard: Shard) {
        self.share.add(number);
        self.own.push(shard);
    }

    /// Lets go of one.
    pub fn let_go(&mut self, number: usize) -> Option<Shard> {
        let place = self.share.remove(number)?;
        (place < self.own.len()).then(|| self.own.swap_remove(place))
    }

    /// Takes in packets in their order: at most [`TOGETHER`]. `usual` tells which of them may be usual ones; `otherwise` gets all that are not.
    #[inline(always)]
    pub fn take<'p, J>(
        &mut self,
        few: &[J],
        usual: impl Fn(&J) -> Option<Packet<'p>>,
        mut otherwise: impl FnMut(&mut Self, &J),
    ) {
        let mut ready: ArrayVec<Ready<'p>, TOGETHER> = ArrayVec::new();
        let mut usual_ones = 0_u32;
        for (bit, job) in few.iter().enumerate() {
            let is_usual = usual(job).is_some_and(|packet| self.ready(&packet, &mut ready))
                || self.ready_longer(job, &usual, &mut ready);
            usual_ones |= u32::from(is_usual) << bit;
        }
        self.touch(&mut ready);
        let mut next = ready.iter();
        for (bit, job) in few.iter().enumerate() {
            if usual_ones >> bit & 1 == 0 {
                otherwise(self, job);
            } else if let Some(ready) = next.next()
                && let Some(shard) = self.own.get_mut(ready.place)
            {
                shard.take_plain(ready);
            }
        }
    }

    /// Reads a usual packet of IPv4 that counts here, and puts it where those are that are ready; `false` for any other. It is written where it stays:
    /// a copy of it would cost more than reading it.
    #[inline(always)]
    fn ready<'p>(&self, packet: &Packet<'p>, all: &mut ArrayVec<Ready<'p>, TOGETHER>) -> bool {
        let Some(plain) = decode::plain_v4(packet) else { return false };
        let cell = self.cells.within(plain.vlans(), &[], packet.interface);
        self.put(packet, plain, Key::of_plain_v4(cell, &plain), plain.shard_v4(), all)
    }

    /// The same of one that is not of IPv4. Asks for the packet itself: what is handed over is written to memory first, for every packet.
    #[inline(never)]
    fn ready_longer<'p, J>(
        &self,
        job: &J,
        usual: &impl Fn(&J) -> Option<Packet<'p>>,
        all: &mut ArrayVec<Ready<'p>, TOGETHER>,
    ) -> bool {
        let Some(packet) = &usual(job) else { return false };
        let Some(plain) = decode::plain_longer(packet) else { return false };
        let cell = self.cells.within(plain.vlans(), &[], packet.interface);
        self.put(packet, plain, Key::of_plain(cell, &plain), plain.shard(), all)
    }

    /// Puts a packet where those are that are ready, if its shard is here.
    #[inline(always)]
    fn put<'p>(
        &self,
        packet: &Packet<'p>,
        plain: Plain<'p>,
        (key, from): (Key, Half),
        shard: u64,
        all: &mut ArrayVec<Ready<'p>, TOGETHER>,
    ) -> bool {
        let Some(place) = self.share.place(dispatch::home(shard)) else { return false };
        let Some(shard) = self.own.get(place) else { return false };
        let hash = shard.hash(&key);
        let (at, original) = (packet.at, packet.original);
        all.try_push(Ready { at, original, plain, key, from, hash, probably: None, place }).is_ok()
    }

    /// Reads what will be looked for and changed: first where each flow is, then what an ordinary packet of it changes. Of a flow that seems to be
    /// new, the same of the one that makes room for it.
    #[inline(always)]
    fn touch(&self, ready: &mut [Ready<'_>]) {
        let mut oldest: ArrayVec<(usize, u64), TOGETHER> = ArrayVec::new();
        let mut word = 0;
        for ready in ready.iter_mut() {
            let Some(shard) = self.own.get(ready.place) else { continue };
            ready.probably = shard.guess(ready.hash);
            if ready.probably.is_none() {
                oldest.extend(shard.guess_oldest().map(|hash| (ready.place, hash)));
            }
        }
        for ready in ready.iter() {
            if let (Some(number), Some(shard)) = (ready.probably, self.own.get(ready.place)) {
                word ^= shard.touch(number);
            }
        }
        for (place, hash) in oldest {
            word ^= self.own.get(place).and_then(|shard| shard.guess(hash)).map_or(0, u64::from);
        }
        black_box(word);
    }
}
