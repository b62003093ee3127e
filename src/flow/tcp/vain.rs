//! Data of one end that the other did not acknowledge, and how often it was sent.

use arrayvec::ArrayVec;

use crate::model::PacketRef;
use crate::model::Series;

use super::sequence::later;

/// The most segments without acknowledgement that are remembered of one end.
const MOST_OUTSTANDING: usize = 4;

/// At most two segments: where each starts and ends, and its packet. A question in two pieces is usual, three are not.
pub type Few = ArrayVec<(u32, u32, PacketRef), 2>;

/// Data that was not acknowledged so far.
#[derive(Clone, Debug, Default)]
pub struct Vain {
    /// Segments, oldest first: where each starts and ends, and its first packet.
    outstanding: ArrayVec<(u32, u32, PacketRef), MOST_OUTSTANDING>,
    /// The oldest of them and its repetitions.
    pub repeats: Series,
    /// The segment that was sent last, and its repetitions since anything new was said: where it starts and ends.
    latest: (u32, u32),
    /// Its packets.
    stuck: Series,
    /// Where the other end says that it has less than the oldest of them from beyond a gap of several like it.
    passed: Option<PacketRef>,
}

impl Vain {
    /// Takes in a segment that is not acknowledged; `fresh` where it holds anything that was not sent before.
    pub fn add(&mut self, start: u32, end: u32, fresh: bool, at: PacketRef) {
        self.hear_again(start, end, fresh, at);
        match self.outstanding.first() {
            Some(&(oldest, _, _)) if !later(start, oldest) && later(end, oldest) => self.repeats.add(at),
            Some(&(oldest, _, _)) if later(oldest, start) => {
                // Older than all that is known to be waiting: it takes their place.
                if self.outstanding.is_full() {
                    self.outstanding.pop();
                }
                self.outstanding.insert(0, (start, end, at));
                self.begin(at);
            }
            Some(_) if fresh => {
                let _ = self.outstanding.try_push((start, end, at));
            }
            Some(_) => {}
            None => {
                self.outstanding.push((start, end, at));
                self.begin(at);
            }
        }
    }

    /// Of these segments, each sent once.
    pub fn of(segments: &Few) -> Self {
        let mut vain = Self::default();
        for &(start, end, at) in segments {
            vain.add(start, end, true, at);
        }
        vain
    }

    /// The segments that wait, oldest first; `None` where there are more than a few, or one was sent more than once.
    pub fn few(&self) -> Option<Few> {
        let once = self.outstanding.is_empty()
            || (self.repeats.count == 1 && self.stuck.count == 1 && self.passed.is_none());
        Few::try_from(self.outstanding.as_slice()).ok().filter(|_| once)
    }

    /// Takes in what the other end says to have beyond a gap. Of a way that takes no segments of full size it has short ones alone: at least two
    /// as long as the oldest are missing before it.
    pub fn hear_beyond(&mut self, (from, to): (u32, u32), at: PacketRef) {
        let Some(&(oldest, end, _)) = self.outstanding.first() else { return };
        let length = end.wrapping_sub(oldest);
        let (gap, block) = (from.wrapping_sub(oldest), to.wrapping_sub(from));
        if later(from, oldest) && later(to, from) && gap >= length.saturating_mul(2) && block < length {
            self.passed.get_or_insert(at);
        } else if later(from, oldest) {
            self.passed = None;
        }
    }

    /// See [`Vain::hear_beyond`].
    pub fn passed(&self) -> Option<PacketRef> {
        self.passed
    }

    /// How long the oldest segment is that waits.
    pub fn length(&self) -> u32 {
        self.outstanding.first().map_or(0, |&(start, end, _)| end.wrapping_sub(start))
    }

    /// Forgets the segments that an acknowledgement covers.
    pub fn settle(&mut self, acknowledgement: u32) {
        let Some(&(oldest, _, _)) = self.outstanding.first() else { return };
        self.outstanding.retain(|&mut (_, end, _)| later(end, acknowledgement));
        match self.outstanding.first() {
            Some(&(start, _, _)) if start == oldest => {}
            Some(&(_, _, at)) => self.begin(at),
            None => (self.repeats, self.stuck, self.passed) = (Series::default(), Series::default(), None),
        }
    }

    /// The repetitions of one segment with which this end goes silent, for all that was heard; none where it said something new since.
    ///
    /// Where the other end is not captured, nothing is ever acknowledged, and the oldest segment tells nothing.
    pub fn stuck(&self) -> Series {
        if self.stuck.count > 1 { self.stuck } else { Series::default() }
    }

    /// The other end said something new, or acknowledged all.
    pub fn go_on(&mut self) {
        if self.stuck.count > 1 {
            self.stuck = Series::default();
        }
    }

    fn hear_again(&mut self, start: u32, end: u32, fresh: bool, at: PacketRef) {
        // A single byte may be a keep-alive (RFC 9293 section 3.8.4), which is repeated for ever where all is well.
        let one_byte = end.wrapping_sub(start) == 1;
        if !fresh && one_byte {
            return;
        }
        if fresh || self.stuck.count == 0 || self.latest.0 != start {
            self.stuck = Series::default();
            let known = self.outstanding.iter().find(|(known, ..)| *known == start);
            if let Some(&(.., first)) = known.filter(|_| !fresh) {
                self.stuck.add(first);
            }
            self.latest = (start, end);
        }
        self.stuck.add(at);
    }

    fn begin(&mut self, at: PacketRef) {
        self.repeats = Series::default();
        self.repeats.add(at);
        self.passed = None;
    }
}
