//! Stretches of time in which something was heard.

use smallvec::SmallVec;

use crate::model::Timestamp;

/// Stretches in any order; they are asked once they are [sealed](Self::seal).
#[derive(Clone, Debug, Default)]
pub struct Spans(SmallVec<[(Timestamp, Timestamp); 1]>);

impl Spans {
    /// Adds a stretch. One that goes on from the one before it is joined with it at once: most come in order.
    pub fn add(&mut self, first: Timestamp, last: Timestamp) {
        match self.0.last_mut() {
            Some((from, until)) if *from <= first && first <= *until => *until = (*until).max(last),
            _ => self.0.push((first, last)),
        }
    }

    /// Puts them in order and joins those that overlap.
    pub fn seal(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|later, kept| {
            let joined = later.0 <= kept.1;
            if joined {
                kept.1 = kept.1.max(later.1);
            }
            joined
        });
    }

    /// Whether any of it lies between these two times, or spans them.
    pub fn meets(&self, from: Timestamp, until: Timestamp) -> bool {
        let next = self.0.partition_point(|(_, last)| *last < from);
        self.0.get(next).is_some_and(|(first, _)| *first <= until)
    }

    /// The latest time before `time` at which something was heard.
    pub fn before(&self, time: Timestamp) -> Option<Timestamp> {
        let next = self.0.partition_point(|(first, _)| *first <= time);
        let (_, last) = self.0.get(next.checked_sub(1)?)?;
        Some((*last).min(time))
    }

    /// The earliest time after `time` at which something was heard.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let next = self.0.partition_point(|(_, last)| *last < time);
        let (first, _) = self.0.get(next)?;
        Some((*first).max(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_nanos(n * 1_000_000_000)
    }

    #[test]
    fn stretches_are_found_whatever_their_order() {
        let mut spans = Spans::default();
        for (first, last) in [(50, 60), (10, 20), (15, 30), (90, 90)] {
            spans.add(second(first), second(last));
        }
        spans.seal();
        assert!(spans.meets(second(0), second(10)) && spans.meets(second(25), second(26)));
        assert!(!spans.meets(second(31), second(49)) && !spans.meets(second(91), second(200)));
        assert_eq!((spans.before(second(40)), spans.after(second(40))), (Some(second(30)), Some(second(50))));
        assert_eq!((spans.before(second(9)), spans.after(second(91))), (None, None));
        assert_eq!((spans.before(second(55)), spans.after(second(55))), (Some(second(55)), Some(second(55))));
    }
}
