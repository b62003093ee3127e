//! Packets that were read together: where they lie, and which worker has to do with which of them. Nothing is copied where the source has blocks.

use std::sync::Arc;

use crate::capture::CaptureError;
use crate::capture::Run;
use crate::capture::Source;
use crate::decode;
use crate::decode::Body;
use crate::decode::Whole;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Tally;

use super::dispatch;
use super::dispatch::Dispatcher;
use super::dispatch::Item;
use super::shard::Tasks;
use super::share::Owners;

/// Packets after which a batch is full: what handing it on costs is nothing beside them.
const FULL: usize = 1024;
/// Bytes after which it is, however few packets it has: nobody is to hold much for long.
const MOST_BYTES: usize = 1024 * 1024;
/// Blocks that a batch holds. Packets of more recordings by turns than that are copied.
const MOST_BLOCKS: usize = 8;
/// Copied bytes after which it is.
const MOST_COPIED: usize = 512 * 1024;
/// Stands for the bytes that were copied.
const COPIED: u32 = u32::MAX;

/// Packets read one after the other.
#[derive(Default)]
pub struct Batch {
    packets: Vec<Lying>,
    blocks: Vec<Arc<Vec<u8>>>,
    /// Bytes of packets whose source has no blocks to share, one after the other.
    copied: Vec<u8>,
    /// Bytes of all packets.
    bytes: usize,
    /// What is to be done with packets that are not usual.
    errands: Vec<Errand>,
    /// Which packets are fragments: they are put together in the order of all batches.
    fragments: Vec<u32>,
    /// What each worker has to do with, in the order of packets.
    jobs: Vec<Vec<Job>>,
    /// The shard that changes hands before these packets.
    pub moved: Option<Moved>,
}

/// A shard that one worker gives another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Its number.
    pub shard: usize,
    /// Who had it.
    pub from: usize,
    /// Who has it from then on.
    pub to: usize,
}

/// Where a packet lies.
struct Lying {
    at: PacketRef,
    link: LinkType,
    interface: u32,
    original: u32,
    /// Which of the blocks; [`COPIED`] for the bytes that were copied.
    block: u32,
    from: u32,
    length: u32,
}

/// One thing that a worker has to do.
#[derive(Clone, Copy)]
pub enum Job {
    /// Take in a usual packet, by its place in the batch.
    Usual(u32),
    /// Do an errand, by its place among them.
    Errand(u32),
}

/// A packet that is not usual, for one shard.
pub struct Errand {
    packet: u32,
    /// The shard's number.
    pub shard: usize,
    /// What it is to do.
    pub tasks: Tasks,
    /// The datagram that was put together, where the packet was the last fragment of one.
    pub whole: Option<Box<Whole>>,
}

impl Batch {
    /// Takes in packets from a source until it is full; `false` where the source has come to its end.
    pub fn read(&mut self, source: &mut dyn Source) -> Result<bool, CaptureError> {
        while self.packets.len() < FULL && self.bytes < MOST_BYTES && self.copied.len() < MOST_COPIED {
            let mut run = Run::default();
            if !source.run(&mut run)? {
                return Ok(false);
            }
            self.put(&run);
        }
        Ok(true)
    }

    /// Notes where packets lie. What lies in no block is copied.
    #[inline]
    fn put(&mut self, run: &Run<'_>) {
        let (block, begin, length) = match run.block {
            Some(block) => match self.number(block) {
                Some(number) => (number, block.as_ptr().addr(), block.len()),
                None => (COPIED, 0, 0),
            },
            None => (COPIED, 0, 0),
        };
        for &Packet { at, link, interface, original, bytes } in &run.packets {
            // Before the block is farther than its end as well.
            let from = bytes.as_ptr().addr().wrapping_sub(begin);
            let (block, from) = if length.checked_sub(bytes.len()).is_some_and(|last| from <= last) {
                (block, from as u32)
            } else {
                let from = self.copied.len() as u32;
                self.copied.extend_from_slice(bytes);
                (COPIED, from)
            };
            self.bytes += bytes.len();
            let length = bytes.len() as u32;
            self.packets.push(Lying { at, link, interface, original, block, from, length });
        }
    }

    /// The number of a block, mostly of the latest; `None` where there is no room for another one.
    fn number(&mut self, block: &Arc<Vec<u8>>) -> Option<u32> {
        if let Some(known) = self.blocks.iter().rposition(|known| Arc::ptr_eq(known, block)) {
            return u32::try_from(known).ok();
        }
        let next = (self.blocks.len() < MOST_BLOCKS).then_some(self.blocks.len())?;
        self.blocks.push(Arc::clone(block));
        u32::try_from(next).ok()
    }

    /// Finds out who has to do with each packet, fragments left out. What can't be read is counted.
    pub fn sort(&mut self, owners: &Owners, tally: &mut Tally) {
        self.jobs.resize_with(owners.count(), Vec::new);
        let Self { packets, blocks, copied, errands, fragments, jobs, .. } = self;
        for (number, lying) in (0..).zip(packets.iter()) {
            let packet = lying.packet(blocks, copied);
            if let Some(plain) = decode::plain(&packet) {
                if let Some(jobs) = jobs.get_mut(owners.of(dispatch::home(plain.shard()))) {
                    jobs.push(Job::Usual(number));
                }
                continue;
            }
            match decode::layered(&packet) {
                Ok(frame) if matches!(frame.body, Body::Fragment(_)) => fragments.push(number),
                Ok(frame) => dispatch::route(&frame, &mut |shard, tasks| {
                    if let Some(jobs) = jobs.get_mut(owners.of(shard)) {
                        jobs.push(Job::Errand(errands.len() as u32));
                        errands.push(Errand { packet: number, shard, tasks, whole: None });
                    }
                }),
                Err(why) => {
                    tally.packets += 1;
                    tally.undecodable(why.reason(), packet.at);
                }
            }
        }
    }

    /// Puts fragments together. What becomes whole stands where its last fragment does.
    pub fn put_together(&mut self, owners: &Owners, dispatcher: &mut Dispatcher) {
        let Self { packets, blocks, copied, errands, fragments, jobs, .. } = self;
        for number in fragments.drain(..) {
            let Some(lying) = packets.get(number as usize) else { continue };
            dispatcher.take_unusual(&lying.packet(blocks, copied), &mut |shard, tasks, item, _| {
                let Some(jobs) = jobs.get_mut(owners.of(shard)) else { return };
                let whole = match item {
                    Item::Captured(_) => None,
                    Item::Whole(whole) => Some(Box::new((*whole).clone())),
                };
                let place = jobs.partition_point(|job| match *job {
                    Job::Usual(other) => other < number,
                    Job::Errand(errand) => {
                        errands.get(errand as usize).is_some_and(|errand| errand.packet <= number)
                    }
                });
                jobs.insert(place, Job::Errand(errands.len() as u32));
                errands.push(Errand { packet: number, shard, tasks, whole });
            });
        }
    }

    /// What a worker has to do.
    pub fn jobs(&self, worker: usize) -> &[Job] {
        self.jobs.get(worker).map_or(&[], Vec::as_slice)
    }

    /// A packet by its place.
    #[inline(always)]
    pub fn packet(&self, number: u32) -> Option<Packet<'_>> {
        self.packets.get(number as usize).map(|lying| lying.packet(&self.blocks, &self.copied))
    }

    /// An errand by its place, and its packet.
    pub fn errand(&self, number: u32) -> Option<(&Errand, Packet<'_>)> {
        let errand = self.errands.get(number as usize)?;
        Some((errand, self.packet(errand.packet)?))
    }

    /// Lets go of everything.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.blocks.clear();
        self.copied.clear();
        self.bytes = 0;
        self.errands.clear();
        self.fragments.clear();
        self.jobs.iter_mut().for_each(Vec::clear);
        self.moved = None;
    }
}

impl Lying {
    #[inline(always)]
    fn packet<'a>(&self, blocks: &'a [Arc<Vec<u8>>], copied: &'a [u8]) -> Packet<'a> {
        let block = blocks.get(self.block as usize).map_or(copied, |block| block.as_slice());
        let from = self.from as usize;
        let bytes = block.get(from..from + self.length as usize).unwrap_or_default();
        let Self { at, link, interface, original, .. } = *self;
        Packet { at, link, interface, original, bytes }
    }
}
