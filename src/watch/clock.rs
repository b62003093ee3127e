//! Two clocks: one that only runs forward, for pauses, and capture time, which goes on while the wire is silent.

use std::time::Duration;
use std::time::Instant;

use crate::model::Timestamp;

/// Time since the watch began. Tests have one of their own.
pub trait Clock: Send + Sync {
    /// How long the watch has run.
    fn elapsed(&self) -> Duration;
}

/// The operating system's clock that is never set.
#[derive(Debug)]
pub struct Monotonic(Instant);

impl Monotonic {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Monotonic {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How far behind its stamp a packet may still be on its way here: the ring hands packets over together, within 50 ms; several interfaces
/// or workers put them in order, within 120 ms more; and whoever looks on does so every 20 ms.
const UNDERWAY: Duration = Duration::from_millis(250);
/// From how much on a capture clock that goes wrong is told.
pub const STEP: Duration = Duration::from_secs(2);

/// Capture time, held to the forward clock by packets that came right after a pause: those alone are surely fresh.
#[derive(Debug, Default)]
pub struct CaptureTime {
    /// Capture time at the watch's begin, in nanoseconds.
    offset: Option<i64>,
    /// The last packet's stamp.
    last: Option<Timestamp>,
}

impl CaptureTime {
    /// Takes in a packet's stamp. `fresh` says that the wire was silent before it. Returns by how many nanoseconds the capture clock was
    /// set, where it was.
    pub fn heard(&mut self, stamp: Timestamp, elapsed: Duration, fresh: bool) -> Option<i64> {
        self.last = Some(stamp);
        let offset = stamp.as_nanos().saturating_sub(nanos(elapsed));
        let Some(before) = self.offset else {
            self.offset = Some(offset);
            return None;
        };
        let moved = offset.saturating_sub(before);
        // What waited in the ring looks late, and is no sign of a clock set back.
        if !fresh && moved < 0 {
            return None;
        }
        self.offset = Some(offset);
        (fresh && moved.unsigned_abs() > STEP.as_nanos() as u64).then_some(moved)
    }

    /// The capture time up to which everything on the wire has surely been handed over; `None` before the first packet. While packets
    /// come, and more may wait in the ring, that is the last one's; `silent` says that none waits.
    pub fn now(&self, elapsed: Duration, silent: bool) -> Option<Timestamp> {
        let last = self.last?;
        if !silent {
            return Some(last);
        }
        let now = self.offset?.saturating_add(nanos(elapsed.saturating_sub(UNDERWAY)));
        Some(last.max(Timestamp::from_nanos(now)))
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn time_goes_on_in_silence() {
        let mut time = CaptureTime::default();
        assert_eq!(time.now(Duration::from_secs(5), true), None);
        assert_eq!(time.heard(at(1000), Duration::from_secs(5), true), None);
        assert_eq!(time.now(Duration::from_secs(5), true), Some(at(1000)));
        let later = time.now(Duration::from_secs(65), true).unwrap();
        assert_eq!(later.since(at(1000)), Duration::from_secs(60) - UNDERWAY);
        assert_eq!(time.now(Duration::from_secs(65), false), Some(at(1000)));
    }

    #[test]
    fn what_waited_in_the_ring_does_not_set_the_clock() {
        let mut time = CaptureTime::default();
        time.heard(at(1000), Duration::from_secs(5), true);
        assert_eq!(time.heard(at(1001), Duration::from_secs(16), false), None);
        assert_eq!(time.now(Duration::from_secs(16), true), Some(at(1011).minus(UNDERWAY)));
    }

    #[test]
    fn a_clock_that_is_set_is_told() {
        let mut time = CaptureTime::default();
        time.heard(at(1000), Duration::from_secs(5), true);
        assert_eq!(time.heard(at(4601), Duration::from_secs(6), true), Some(3_600_000_000_000));
        assert_eq!(time.heard(at(1002), Duration::from_secs(7), true), Some(-3_600_000_000_000));
        assert_eq!(time.heard(at(1003), Duration::from_secs(8), true), None);
        assert_eq!(time.now(Duration::from_secs(8), true), Some(at(1003)));
    }
}
