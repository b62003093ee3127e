//! The way of packets to one worker: references to the blocks that they lie in, and where in them. Nothing is copied where the source has blocks.

use std::sync::Arc;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;

use crate::decode::Whole;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;

use super::dispatch::Item;
use super::shard::Shard;
use super::shard::Tasks;

/// Packets of one batch: what handing it over costs is nothing beside them.
const BATCH: usize = 1024;
/// Blocks after which a batch is sent, however few packets it has: nobody is to hold many of them for long.
const BLOCKS: usize = 4;
/// Bytes after which a batch of copied packets is sent.
const BATCH_BYTES: usize = 512 * 1024;
/// Batches on their way to one worker.
pub const IN_FLIGHT: usize = 4;
/// Batches that a worker has to have waited for, one after the other, before it gets one more shard.
const IDLE: usize = 4;

/// Packets on their way to a worker.
#[derive(Default)]
pub struct Batch {
    /// The packets, in their order.
    pub jobs: Vec<Job>,
    /// Shards that are the worker's from these packets on.
    pub given: Vec<(usize, Shard)>,
    blocks: Vec<Arc<Vec<u8>>>,
    /// Bytes of packets whose source has no blocks to share, one after the other.
    copied: Vec<u8>,
}

/// One packet for one shard.
pub struct Job {
    at: PacketRef,
    link: LinkType,
    /// The interface within its input.
    pub interface: u32,
    original: u32,
    /// Which of the blocks; [`COPIED`] for the bytes that were copied.
    block: u32,
    from: u32,
    length: u32,
    /// What it is.
    pub what: What,
}

/// What is handed over.
pub enum What {
    /// A usual packet.
    Plain,
    /// Any other, for a shard with that number, with what it is to do.
    Captured(usize, Tasks),
    /// A datagram put together from fragments.
    Whole(Box<Whole>, usize, Tasks),
}

/// Stands for the bytes that were copied.
const COPIED: u32 = u32::MAX;

impl Batch {
    /// The packet of a job.
    #[inline(always)]
    pub fn packet(&self, job: &Job) -> Packet<'_> {
        let block =
            self.blocks.get(job.block as usize).map_or(self.copied.as_slice(), |block| block.as_slice());
        let from = job.from as usize;
        let bytes = block.get(from..from + job.length as usize).unwrap_or_default();
        Packet { at: job.at, link: job.link, interface: job.interface, original: job.original, bytes }
    }

    /// Lets go of everything.
    pub fn clear(&mut self) {
        self.jobs.clear();
        self.blocks.clear();
        self.copied.clear();
    }
}

/// The way to one worker and back.
pub struct Lane {
    batch: Batch,
    to_worker: Sender<Batch>,
    used: Receiver<Batch>,
    /// Batches there are, the one that is being filled left out.
    others: usize,
    /// How many batches in a row the worker had been waiting for.
    waited: usize,
}

impl Lane {
    /// A way there, and one on which batches come back to be used again.
    pub fn new(to_worker: Sender<Batch>, used: Receiver<Batch>) -> Self {
        Self { batch: Batch::default(), to_worker, used, others: 0, waited: 0 }
    }

    /// Whether the worker keeps waiting for packets: it could do more.
    pub fn is_idle(&self) -> bool {
        self.waited >= IDLE
    }

    /// Gives the worker a shard, from the next packet on.
    pub fn give(&mut self, number: usize, shard: Shard) {
        self.batch.given.push((number, shard));
        self.waited = 0;
    }

    /// Hands over a usual packet.
    #[inline(always)]
    pub fn push_plain(&mut self, packet: &Packet<'_>, block: Option<&Arc<Vec<u8>>>) {
        self.put(packet, block, What::Plain);
    }

    /// Hands over any other.
    pub fn push(
        &mut self,
        shard: usize,
        tasks: Tasks,
        item: &Item<'_>,
        packet: &Packet<'_>,
        block: Option<&Arc<Vec<u8>>>,
    ) {
        match item {
            Item::Captured(packet) => self.put(packet, block, What::Captured(shard, tasks)),
            Item::Whole(whole) => {
                let nothing = Packet { bytes: &[], ..*packet };
                self.put(&nothing, None, What::Whole(Box::new((*whole).clone()), shard, tasks));
            }
        }
    }

    /// Sends what is left. The worker ends when it has done that.
    pub fn finish(mut self) {
        self.send();
    }

    #[inline(always)]
    fn put(&mut self, packet: &Packet<'_>, block: Option<&Arc<Vec<u8>>>, what: What) {
        let within = block.and_then(|block| {
            let from = packet.bytes.as_ptr().addr().checked_sub(block.as_ptr().addr())?;
            (from + packet.bytes.len() <= block.len()).then_some(block).zip(u32::try_from(from).ok())
        });
        let (block, from) = match within {
            Some((block, from)) => (self.number(block), from),
            None => {
                let from = self.batch.copied.len() as u32;
                self.batch.copied.extend_from_slice(packet.bytes);
                (COPIED, from)
            }
        };
        let &Packet { at, link, interface, original, bytes } = packet;
        let length = bytes.len() as u32;
        self.batch.jobs.push(Job { at, link, interface, original, block, from, length, what });
        if self.batch.jobs.len() >= BATCH || self.batch.copied.len() >= BATCH_BYTES {
            self.send();
        }
    }

    /// The number of a block in the batch; mostly it is the latest.
    #[inline(always)]
    fn number(&mut self, block: &Arc<Vec<u8>>) -> u32 {
        if !self.batch.blocks.last().is_some_and(|known| Arc::ptr_eq(known, block)) {
            if self.batch.blocks.len() >= BLOCKS {
                self.send();
            }
            self.batch.blocks.push(Arc::clone(block));
        }
        (self.batch.blocks.len() - 1) as u32
    }

    fn send(&mut self) {
        // All that there are have come back: the worker has nothing to do.
        self.waited = if self.used.len() == self.others { self.waited + 1 } else { 0 };
        let next = self.used.try_recv().unwrap_or_else(|_| {
            self.others += 1;
            Batch::default()
        });
        let full = std::mem::replace(&mut self.batch, next);
        // A worker that is gone has panicked; joining it tells.
        let _ = self.to_worker.send(full);
    }
}
