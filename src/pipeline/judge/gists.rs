//! What a flow's protocol was last told by, so that a message that says the same again is passed over.

use crate::flow::Half;

/// How many different messages are remembered: three polls and their answers.
const MOST: usize = 6;

/// The latest gists of a flow's messages, of either end; zero is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gists([u64; MOST]);

/// A gist of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gist(u64);

impl Gist {
    /// The gist of a message, by its protocol's number for it and the end that sent it.
    pub(super) fn of(from: Half, number: u64) -> Option<Self> {
        // Two bits more than the number: the end, and one that is never zero.
        (number >> 62 == 0).then_some(Self(number << 2 | u64::from(from == Half::High) << 1 | 1))
    }
}

impl Gists {
    /// Whether such a message was told.
    #[inline]
    pub(super) fn have(&self, gist: Gist) -> bool {
        self.0.contains(&gist.0)
    }

    /// Remembers a message that was told, instead of the oldest.
    pub(super) fn learn(&mut self, gist: Gist) {
        self.0.rotate_right(1);
        if let Some(first) = self.0.first_mut() {
            *first = gist.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_known_by_their_end() {
        let gist = |from, number| Gist::of(from, number).unwrap();
        let mut gists = Gists::default();
        assert!(!gists.have(gist(Half::Low, 0)));
        for number in 0..=MOST as u64 {
            gists.learn(gist(Half::Low, number));
        }
        assert!(!gists.have(gist(Half::Low, 0)) && !gists.have(gist(Half::High, 1)));
        assert!((1..=MOST as u64).all(|number| gists.have(gist(Half::Low, number))));
        assert_eq!(Gist::of(Half::Low, 1 << 62), None);
    }
}
