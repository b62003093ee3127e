//! Which worker has which shards. What a worker has changes nothing about what is told, only who is busy with it.

use super::shard::SHARDS;

/// Stands for a shard that another worker has.
const ELSEWHERE: u8 = u8::MAX;

const _: () = assert!(SHARDS <= ELSEWHERE as usize, "a place fits into a byte");

/// The shards of one worker: where each stands among them.
#[derive(Clone, Debug)]
pub struct Share([u8; SHARDS]);

impl Share {
    /// All shards.
    pub fn all() -> Self {
        Self::of(|_| true)
    }

    /// One of so many equal shares.
    pub fn equal(own: usize, count: usize) -> Self {
        Self::of(|shard| equal_owner(shard, count) == own)
    }

    fn of(has: impl Fn(usize) -> bool) -> Self {
        let mut places = [ELSEWHERE; SHARDS];
        let own = places.iter_mut().enumerate().filter(|(shard, _)| has(*shard));
        own.zip(0..).for_each(|((_, place), number)| *place = number);
        Self(places)
    }

    /// Where a shard stands in it.
    #[inline(always)]
    pub fn place(&self, shard: usize) -> Option<usize> {
        self.0.get(shard).filter(|&&place| place != ELSEWHERE).map(|&place| usize::from(place))
    }

    /// The numbers of its shards, in the order of their places.
    pub fn shards(&self) -> Vec<usize> {
        let mut placed: Vec<_> = (0..SHARDS).filter_map(|shard| Some((self.place(shard)?, shard))).collect();
        placed.sort_unstable();
        placed.into_iter().map(|(_, shard)| shard).collect()
    }

    /// Takes in one more, at the last place.
    pub fn add(&mut self, shard: usize) {
        let last = self.shards().len();
        if let Some(place) = self.0.get_mut(shard) {
            *place = last as u8;
        }
    }

    /// Lets go of one; the last takes its place. Returns which place that was.
    pub fn remove(&mut self, shard: usize) -> Option<usize> {
        let (free, last) = (self.place(shard)?, self.shards().pop()?);
        *self.0.get_mut(last)? = free as u8;
        *self.0.get_mut(shard)? = ELSEWHERE;
        Some(free)
    }
}

/// Who has a shard where each of so many workers has an equal share.
pub fn equal_owner(shard: usize, count: usize) -> usize {
    shard % count.max(1)
}

/// Who has each shard.
#[derive(Clone, Copy)]
pub struct Owners {
    of: [u8; SHARDS],
    count: usize,
}

impl Owners {
    /// Each of so many workers has an equal share.
    pub fn equal(count: usize) -> Self {
        let count = count.clamp(1, SHARDS);
        Self { of: std::array::from_fn(|shard| equal_owner(shard, count) as u8), count }
    }

    /// Has one worker give another the last of its shards, unless it is the only one. Returns which.
    pub fn give(&mut self, from: usize, to: usize) -> Option<usize> {
        let mut own = (0..SHARDS).rev().filter(|&shard| self.of(shard) == from);
        let last = own.next().filter(|_| own.next().is_some())?;
        *self.of.get_mut(last)? = to as u8;
        Some(last)
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Which of them has a shard.
    #[inline(always)]
    pub fn of(&self, shard: usize) -> usize {
        self.of.get(shard).map_or(0, |&owner| usize::from(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_in_one_share_and_only_one() {
        for workers in [1, 2, 3, 4, 5, 7, 32, 64] {
            let shares: Vec<Share> = (0..workers).map(|own| Share::equal(own, workers)).collect();
            let owners = Owners::equal(workers);
            for shard in 0..SHARDS {
                let having: Vec<usize> =
                    (0..workers).filter(|&worker| shares[worker].place(shard).is_some()).collect();
                assert_eq!(having, [owners.of(shard)], "{workers} workers, shard {shard}");
            }
            for share in shares {
                let places: Vec<usize> =
                    share.shards().into_iter().filter_map(|shard| share.place(shard)).collect();
                assert_eq!(places, (0..places.len()).collect::<Vec<_>>());
            }
        }
        assert_eq!(Share::all().shards(), (0..SHARDS).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_given_away_is_elsewhere_and_what_is_taken_over_comes_last() {
        let mut owners = Owners::equal(2);
        let (mut one, mut other) = (Share::equal(0, 2), Share::equal(1, 2));
        for left in (1..SHARDS / 2).rev() {
            let shard = owners.give(0, 1).unwrap();
            let place = one.remove(shard).unwrap();
            other.add(shard);
            assert_eq!((one.shards().len(), owners.of(shard)), (left, 1));
            assert_eq!((one.place(shard), other.place(shard)), (None, Some(SHARDS - left - 1)));
            assert!(place == left || one.shards().get(place).is_some());
        }
        assert_eq!(owners.give(0, 1), None, "the only one stays");
        // Whichever goes, the places of the others are without gaps.
        for shard in [1, 33, 7] {
            let (place, last) = (other.place(shard), other.shards().pop().unwrap());
            assert_eq!(other.remove(shard), place);
            assert_eq!(other.place(last), place.filter(|_| last != shard));
        }
        let places: Vec<usize> = other.shards().into_iter().filter_map(|shard| other.place(shard)).collect();
        assert_eq!(places, (0..SHARDS - 4).collect::<Vec<_>>());
    }
}
