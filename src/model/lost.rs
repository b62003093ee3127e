//! Whether a mirror has lost a direction that it showed before.

use super::Vantage;

impl Vantage {
    /// Whether the mirror has lost a direction that it showed before: `None` where too few pairs of hosts spoke lately to say.
    pub fn has_lost_a_direction(&self) -> Option<bool> {
        /// Fewer pairs than this may have a route of their own that leads past the mirror.
        const PAIRS: u64 = 4;
        /// The part of them that must be lost, as one mirrored port of several may be; and that at which it is over.
        const LOST: f64 = 0.25;
        const FOUND: f64 = 0.125;
        let share = self.lost_pairs as f64 / self.latest_pairs.max(PAIRS) as f64;
        match () {
            () if self.latest_pairs < PAIRS => None,
            () if self.lost_pairs >= PAIRS && share >= LOST => Some(true),
            () if share < FOUND => Some(false),
            () => None,
        }
    }

    /// The pairs that lost a direction, in words.
    pub fn lost_in_words(&self) -> String {
        format!(
            "{} of {} pairs of hosts that spoke in the last hour are not heard in one direction any more, for five minutes or longer in which it \
             was acknowledged: the mirror has lost a direction",
            self.lost_pairs, self.latest_pairs
        )
    }
}
