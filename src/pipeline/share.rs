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
}

/// Who has a shard where each of so many workers has an equal share.
pub fn equal_owner(shard: usize, count: usize) -> usize {
    shard % count.max(1)
}

/// Who has each shard, where all have equal shares.
pub struct Owners {
    of: [u8; SHARDS],
    count: usize,
}

impl Owners {
    /// Of so many workers.
    pub fn equal(count: usize) -> Self {
        let count = count.clamp(1, SHARDS);
        Self { of: std::array::from_fn(|shard| equal_owner(shard, count) as u8), count }
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
}
