//! Data of one end that the other did not acknowledge, and how often it was sent.

use arrayvec::ArrayVec;

use crate::model::PacketRef;
use crate::model::Series;

use super::sequence::later;

/// The most segments without acknowledgement that are remembered of one end.
const MOST_OUTSTANDING: usize = 4;

/// Data that was not acknowledged so far.
#[derive(Clone, Debug, Default)]
pub struct Vain {
    /// Segments, oldest first: where each starts and ends, and its first packet.
    outstanding: ArrayVec<(u32, u32, PacketRef), MOST_OUTSTANDING>,
    /// The oldest of them and its repetitions.
    pub repeats: Series,
}

impl Vain {
    /// Takes in a segment that is not acknowledged; `fresh` where it holds anything that was not sent before.
    pub fn add(&mut self, start: u32, end: u32, fresh: bool, at: PacketRef) {
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

    /// Of one segment sent once, or of none.
    pub fn of(segment: Option<(u32, u32, PacketRef)>) -> Self {
        let mut vain = Self::default();
        if let Some((start, end, at)) = segment {
            vain.add(start, end, true, at);
        }
        vain
    }

    /// The one segment that waits, if any does; `None` where there are more, or it was sent more than once.
    pub fn only(&self) -> Option<Option<(u32, u32, PacketRef)>> {
        match self.outstanding.as_slice() {
            [] => Some(None),
            [only] if self.repeats.count == 1 => Some(Some(*only)),
            _ => None,
        }
    }

    /// Forgets the segments that an acknowledgement covers.
    pub fn settle(&mut self, acknowledgement: u32) {
        let Some(&(oldest, _, _)) = self.outstanding.first() else { return };
        self.outstanding.retain(|&mut (_, end, _)| later(end, acknowledgement));
        match self.outstanding.first() {
            Some(&(start, _, _)) if start == oldest => {}
            Some(&(_, _, at)) => self.begin(at),
            None => self.repeats = Series::default(),
        }
    }

    fn begin(&mut self, at: PacketRef) {
        self.repeats = Series::default();
        self.repeats.add(at);
    }
}
