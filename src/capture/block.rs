//! The block of bytes that packets are borrowed from, refilled from a stream in large reads.
//!
//! Whoever still needs the bytes of a block holds a reference to it; then what is read next goes into another one, and the held one comes
//! back into use when it is let go.

use std::io;
use std::io::Read;
use std::sync::Arc;

use crate::capture::ahead::Ahead;
use crate::capture::ahead::HEADROOM;

/// The largest single read. Larger blocks fall out of the processor's cache and were measured slower.
pub(super) const LARGEST_READ: usize = 256 * 1024;
/// The first read: most of what is needed to find a file's first packet, so that thousands of files can be looked into cheaply.
const FIRST_READ: usize = 16 * 1024;

/// Blocks remembered for when they are let go; more are given back to the system then.
const MOST_HELD: usize = 64;

/// A window over a stream. It grows beyond [`LARGEST_READ`] only for a record that is larger, and only as its bytes arrive.
pub(super) struct Block {
    feed: Feed,
    bytes: Arc<Vec<u8>>,
    /// Blocks that were read into before and that others held then.
    held: Vec<Arc<Vec<u8>>>,
    start: usize,
    end: usize,
    next_read: usize,
    ended: bool,
}

/// Where the bytes come from.
enum Feed {
    /// A stream, read into the block.
    Stream(Box<dyn Read + Send>),
    /// Other threads, whose pieces become the blocks.
    Ahead(Ahead),
}

impl Block {
    /// A window at the beginning of a stream.
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self {
            feed: Feed::Stream(source),
            bytes: Arc::default(),
            held: Vec::new(),
            start: 0,
            end: 0,
            next_read: FIRST_READ,
            ended: false,
        }
    }

    /// Has the rest of the stream read by a thread of its own.
    pub(super) fn read_ahead(&mut self) {
        if let Feed::Stream(source) = &mut self.feed {
            self.feed = match Ahead::stream(std::mem::replace(source, Box::new(io::empty()))) {
                Ok(ahead) => Feed::Ahead(ahead),
                Err(source) => Feed::Stream(source),
            };
        }
    }

    /// Takes what comes next from there, instead of from the stream.
    pub(super) fn go_on_with(&mut self, ahead: Ahead) {
        self.feed = Feed::Ahead(ahead);
    }

    /// Bytes that were read ahead and have come here.
    pub(super) fn taken_over(&self) -> u64 {
        match &self.feed {
            Feed::Stream(_) => 0,
            Feed::Ahead(ahead) => ahead.taken,
        }
    }

    /// The bytes that are here and not consumed yet.
    #[inline]
    pub(super) fn front(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Part of the bytes at the front.
    #[inline]
    pub(super) fn slice(&self, offset: usize, length: usize) -> &[u8] {
        let from = self.start.saturating_add(offset);
        self.bytes.get(from..from.saturating_add(length)).unwrap_or_default()
    }

    /// Is done with so many bytes of the front.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Reads until at least `need` bytes are at the front; `false` where the stream ends before.
    pub(super) fn fill(&mut self, need: usize) -> io::Result<bool> {
        while self.end - self.start < need {
            if self.ended {
                return Ok(false);
            }
            let outcome = match &self.feed {
                Feed::Stream(_) => self.read(),
                Feed::Ahead(_) => self.take_over(),
            };
            match outcome {
                Ok(more) => self.ended = !more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        }
        Ok(true)
    }

    /// Reads more of the stream; `false` at its end.
    fn read(&mut self) -> io::Result<bool> {
        self.make_room();
        let Feed::Stream(source) = &mut self.feed else { return Ok(false) };
        // Nobody else holds it now, so nothing is copied here.
        let bytes = Arc::make_mut(&mut self.bytes);
        if bytes.len() - self.end < self.next_read / 2 {
            // At least doubling keeps growth linear; for a lying length nothing is set aside beyond twice what arrived.
            bytes.resize((self.end + self.next_read).max(2 * self.end), 0);
        }
        let room = bytes.get_mut(self.end..).unwrap_or_default();
        let count = room.len().min(self.next_read);
        let read = source.read(room.get_mut(..count).unwrap_or_default())?;
        self.end += read.min(count);
        self.next_read = (2 * self.next_read).min(LARGEST_READ);
        Ok(read > 0)
    }

    /// Goes on with the next block that was read ahead, behind what is not consumed yet; `false` where there is none.
    fn take_over(&mut self) -> io::Result<bool> {
        let Feed::Ahead(ahead) = &mut self.feed else { return Ok(false) };
        let Some(mut piece) = ahead.next()? else { return Ok(false) };
        let left = self.bytes.get(self.start..self.end).unwrap_or_default();
        if let Some(room) = HEADROOM.checked_sub(left.len()).and_then(|from| piece.get_mut(from..HEADROOM)) {
            room.copy_from_slice(left);
            (self.start, self.end) = (HEADROOM - left.len(), piece.len());
            self.held.push(std::mem::replace(&mut self.bytes, Arc::new(piece)));
            self.reuse();
        } else {
            // A record that is larger than all there is room for is put together where nobody else holds anything.
            self.make_room();
            let bytes = Arc::make_mut(&mut self.bytes);
            bytes.truncate(self.end);
            bytes.extend_from_slice(piece.get(HEADROOM..).unwrap_or_default());
            self.end = bytes.len();
            if let Feed::Ahead(ahead) = &self.feed {
                ahead.give_back(piece);
            }
        }
        Ok(true)
    }

    /// Gives blocks that nobody holds any more to those that read ahead.
    fn reuse(&mut self) {
        let Feed::Ahead(ahead) = &self.feed else { return };
        let mut at = 0;
        while let Some(held) = self.held.get_mut(at) {
            if Arc::get_mut(held).is_none() {
                at += 1;
            } else if let Ok(piece) = Arc::try_unwrap(self.held.swap_remove(at)) {
                ahead.give_back(piece);
            }
        }
        self.held.truncate(MOST_HELD);
    }

    /// The bytes behind the front, for whoever needs them for longer.
    pub(super) fn shared(&self) -> &Arc<Vec<u8>> {
        &self.bytes
    }

    /// Puts what is not consumed yet at the beginning of a block that nobody else holds.
    fn make_room(&mut self) {
        if let Some(bytes) = Arc::get_mut(&mut self.bytes) {
            if self.start > 0 {
                bytes.copy_within(self.start..self.end, 0);
            }
        } else {
            let free = self.held.iter_mut().position(|held| Arc::get_mut(held).is_some());
            let mut next = free.map(|at| self.held.swap_remove(at)).unwrap_or_default();
            let bytes = Arc::make_mut(&mut next);
            let left = self.bytes.get(self.start..self.end).unwrap_or_default();
            if bytes.len() < left.len() {
                bytes.resize(left.len(), 0);
            }
            if let Some(to) = bytes.get_mut(..left.len()) {
                to.copy_from_slice(left);
            }
            if self.held.len() < MOST_HELD {
                self.held.push(std::mem::replace(&mut self.bytes, next));
            } else {
                self.bytes = next;
            }
        }
        self.end -= self.start;
        self.start = 0;
    }

    /// Passes over so many bytes, here or still to be read; says how many there were.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<u64> {
        let mut left = count;
        loop {
            let here = (self.end - self.start).min(usize::try_from(left).unwrap_or(usize::MAX));
            self.consume(here);
            left -= here as u64;
            if left == 0 || !self.fill(1)? {
                return Ok(count - left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in small pieces.
    struct Trickle(Vec<u8>, usize);

    impl Read for Trickle {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            for (to, from) in into.iter_mut().zip(self.0.drain(..count)) {
                *to = from;
            }
            Ok(count)
        }
    }

    #[test]
    fn fills_skips_and_ends() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let mut block = Block::new(Box::new(Trickle(bytes.clone(), 777)));
        assert!(block.fill(10).unwrap());
        assert_eq!(&block.front()[..10], &bytes[..10]);
        assert_eq!(block.skip(50_000).unwrap(), 50_000);
        assert!(block.fill(49_999).unwrap());
        assert_eq!(block.slice(3, 40_000), &bytes[50_003..90_003]);
        assert!(!block.fill(50_001).unwrap());
        assert_eq!(block.front(), &bytes[50_000..]);
        assert_eq!(block.skip(60_000).unwrap(), 50_000);
        assert!(block.front().is_empty());
    }

    #[test]
    fn what_others_hold_stays_as_it_is() {
        let bytes: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
        for ahead in [false, true] {
            let mut block = Block::new(Box::new(io::Cursor::new(bytes.clone())));
            if ahead {
                block.read_ahead();
            }
            hold(block, &bytes);
        }
    }

    fn hold(mut block: Block, bytes: &[u8]) {
        let (mut held, mut at) = (Vec::new(), 0);
        while block.fill(1000).unwrap() {
            assert_eq!(block.front().get(..1000), bytes.get(at..at + 1000));
            held.push((block.shared().clone(), block.slice(0, 1000).as_ptr().addr(), at));
            let step = block.front().len() - 10;
            block.consume(step);
            at += step;
            // Some are let go early, some late.
            held.retain(|&(_, _, at)| at % 3 != 0);
        }
        assert!(held.len() > 3);
        for (block, address, at) in held {
            let from = address - block.as_ptr().addr();
            assert_eq!(block.get(from..from + 1000), bytes.get(at..at + 1000));
        }
    }

    #[test]
    fn records_of_any_size_reach_from_one_block_that_was_read_ahead_into_the_next() {
        let bytes: Vec<u8> = (0..=250).cycle().take(11 * LARGEST_READ + 12_345).collect();
        let mut block = Block::new(Box::new(io::Cursor::new(bytes.clone())));
        let (mut at, mut held) = (0, Vec::new());
        // The first of them before anybody reads ahead; the last ones larger than the room for them, and than a block.
        for size in
            [40, 1000, 1514, HEADROOM, HEADROOM + 1, LARGEST_READ - 7, LARGEST_READ + HEADROOM, 700_000]
        {
            for _ in 0..2 {
                assert!(block.fill(size).unwrap(), "{size}");
                assert!(block.front().get(..size) == bytes.get(at..at + size), "{size} at {at}");
                held.push(block.shared().clone());
                block.consume(size);
                at += size;
            }
            if at == 80 {
                block.read_ahead();
            }
            held.truncate(3);
        }
        let left = bytes.len() - at;
        assert!(!block.fill(left + 1).unwrap());
        assert!(block.front() == bytes.get(at..).unwrap());
    }

    #[test]
    fn grows_with_what_arrives_only() {
        let mut block = Block::new(Box::new(io::repeat(7).take(1 << 20)));
        assert!(!block.fill(1 << 30).unwrap());
        assert_eq!(block.front().len(), 1 << 20);
        assert!(block.bytes.len() <= 3 << 20, "{}", block.bytes.len());
    }
}
