//! When each end of a pair of hosts was last heard, and since when it is missed that must have spoken.
//!
//! What was ever heard says nothing of a mirror that loses one direction after weeks. So each end of a pair has the time at which it was last
//! heard, and for how long since then the other end has acknowledged what nobody saw. Silence alone is no sign: a host that is off, or that has nothing to
//! say, acknowledges nothing and is not acknowledged.

use crate::flow::Side;
use crate::model::Timestamp;

/// An end is lost once the other has acknowledged unseen bytes of it for so long without its being heard, in seconds.
const LOST: u32 = 300;
/// Pairs that have shown nothing for so long say nothing of the mirror as it is now.
const LATELY: u32 = 3600;

/// One end. Seconds since the epoch, 0 for never: there is one of these for each end of each pair.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hearing {
    heard: u32,
    missed_from: u32,
    missed_to: u32,
}

impl Hearing {
    /// Takes in what a flow has shown of this end.
    pub fn add(&mut self, side: &Side) {
        if let Some(last) = side.last {
            self.heard = self.heard.max(seconds(last.time));
        }
        if let Some((from, to)) = side.tcp.as_deref().and_then(|tcp| tcp.missed) {
            let from = seconds(from);
            self.missed_from = if self.missed_to == 0 { from } else { self.missed_from.min(from) };
            self.missed_to = self.missed_to.max(seconds(to));
        }
        // Whoever is heard is not missed any more; what else had been missed before that is no matter.
        if self.heard >= self.missed_to {
            (self.missed_from, self.missed_to) = (0, 0);
        } else if self.heard > self.missed_from {
            self.missed_from = self.heard;
        }
    }

    /// One that never was heard is not lost: its mirror may always have shown one direction, which is told of all pairs together.
    fn is_lost(self) -> bool {
        self.heard > 0 && self.missed_to.saturating_sub(self.missed_from) >= LOST
    }
}

/// Whether a pair has shown lately that it is heard in both directions, or that one is lost; `None` where it has shown neither.
pub fn is_lost(one: Hearing, other: Hearing, now: Timestamp) -> Option<bool> {
    let since = seconds(now).saturating_sub(LATELY);
    if [one, other].iter().any(|end| end.is_lost() && end.missed_to >= since) {
        return Some(true);
    }
    (one.heard.min(other.heard) >= since.max(1)).then_some(false)
}

fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_nanos().div_euclid(1_000_000_000)).unwrap_or(0)
}
