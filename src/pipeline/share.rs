//! Which worker has which shards. What a worker has changes nothing about what is told, only who is busy with it.

use super::shard::SHARDS;

/// What reading a packet and handing it on costs, in parts of which judging it takes [`SHARDS`]: between a twentieth (many short flows) and
/// a half (few long ones) was measured.
const READING: usize = SHARDS / 5;

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

    /// Lets go of the one at the last place. Returns its number.
    pub fn remove_last(&mut self) -> Option<usize> {
        let last = self.shards().pop()?;
        *self.0.get_mut(last)? = ELSEWHERE;
        Some(last)
    }
}

/// Who has a shard where each of so many workers has an equal share.
pub fn equal_owner(shard: usize, count: usize) -> usize {
    shard % count.max(1)
}

/// All shards divided among workers of which the first reads as well.
#[derive(Debug)]
pub struct Division {
    owners: [u8; SHARDS],
    /// The share of the worker that reads.
    pub reader: Share,
    /// The shares of the others.
    pub others: Vec<Share>,
}

impl Division {
    /// Among so many workers: whoever reads has as many shards less as reading takes, and none where others keep it busy with reading alone.
    pub fn among(workers: usize) -> Self {
        let workers = workers.clamp(1, SHARDS);
        let reader = ((SHARDS + READING) / workers).saturating_sub(READING).min(SHARDS);
        let others = workers - 1;
        let mut owners = [0; SHARDS];
        // Neighbours go to different workers, so that each has shards of all parts of the range.
        let mut dealt = 0;
        for (shard, owner) in owners.iter_mut().enumerate() {
            let own = (shard + 1) * reader / SHARDS - shard * reader / SHARDS;
            if own == 0 && others > 0 {
                *owner = (1 + dealt % others) as u8;
                dealt += 1;
            }
        }
        let share = |worker: usize| Share::of(|shard| owners.get(shard) == Some(&(worker as u8)));
        Self { owners, reader: share(0), others: (1..workers).map(share).collect() }
    }

    /// Has another worker have a shard from now on.
    pub fn give(&mut self, shard: usize, other: usize) {
        if let Some(owner) = self.owners.get_mut(shard) {
            *owner = (1 + other) as u8;
        }
    }

    /// Which of the others has a shard; `None` where it is the reader.
    #[inline(always)]
    pub fn other(&self, shard: usize) -> Option<usize> {
        usize::from(*self.owners.get(shard)?).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_in_one_share_and_only_one() {
        for workers in [1, 2, 3, 4, 5, 7, 32, 64] {
            let division = Division::among(workers);
            let shares: Vec<&Share> = std::iter::once(&division.reader).chain(&division.others).collect();
            assert_eq!(shares.len(), workers);
            for shard in 0..SHARDS {
                let owners: Vec<usize> =
                    (0..workers).filter(|&worker| shares[worker].place(shard).is_some()).collect();
                let told = division.other(shard).map_or(0, |other| other + 1);
                assert_eq!(owners, [told], "{workers} workers, shard {shard}");
            }
            for share in shares {
                let places: Vec<usize> =
                    share.shards().into_iter().filter_map(|shard| share.place(shard)).collect();
                assert_eq!(places, (0..places.len()).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn whoever_reads_has_fewer_and_none_where_there_are_many() {
        let size = |share: &Share| share.shards().len();
        let sizes = |workers| {
            let Division { reader, others, .. } = Division::among(workers);
            std::iter::once(&reader).chain(&others).map(size).collect::<Vec<_>>()
        };
        assert_eq!(sizes(1), [64]);
        assert_eq!(sizes(2), [26, 38]);
        assert_eq!(sizes(3), [13, 26, 25]);
        assert_eq!(sizes(8)[0], 0);
        assert!(sizes(8)[1..].iter().all(|&size| size == 9 || size == 10));
        let all = Share::all();
        assert_eq!((size(&all), all.place(63)), (64, Some(63)));
        assert_eq!(Share::equal(1, 2).shards()[..3], [1, 3, 5]);
    }

    #[test]
    fn what_is_given_away_is_elsewhere_and_what_is_taken_over_comes_last() {
        let mut division = Division::among(2);
        let (mut reader, mut other) = (division.reader.clone(), division.others[0].clone());
        while let Some(shard) = reader.remove_last() {
            other.add(shard);
            division.give(shard, 0);
            assert_eq!((reader.place(shard), other.place(shard)), (None, Some(other.shards().len() - 1)));
            assert_eq!(division.other(shard), Some(0));
        }
        let places: Vec<usize> = other.shards().into_iter().filter_map(|shard| other.place(shard)).collect();
        assert_eq!(places, (0..SHARDS).collect::<Vec<_>>());
    }
}
