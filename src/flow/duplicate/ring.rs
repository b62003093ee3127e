//! The latest packets in the order in which they came, found by what copies of them share.
//!
//! Taking one in writes beside where the last was written; looking for one follows a chain of those whose digests end alike. It holds a few
//! packets until some are pushed out that a copy could still follow, and grows then: a quiet shard costs four kilobytes, a busy one
//! is remembered for as long as a copy may take.

use std::iter;

use crate::model::InputId;
use crate::model::PacketRef;
use crate::model::Timestamp;

use super::near;

/// Packets remembered at first; always a power of two.
const LEAST: usize = 64;
/// Packets remembered at most: 5 ms of 800,000 packets a second, all between hosts of one shard.
const MOST: usize = 4096;
/// The most packets looked at for one: those that are alike and too long ago, and the odd one whose digest ends alike.
const STEPS: usize = 16;

/// Chains for each packet that there is room for: so many that most packets find theirs empty. Where half of them do, the processor
/// can't foresee whether there is one to look at, and waits for what it read in vain (10 % of `syn-scan`).
const CHAINS: usize = 8;

/// One packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    digest: u64,
    /// Which one, and when.
    pub at: PacketRef,
    /// What a copy may differ in.
    pub look: u32,
    /// How many came before the one before it in its chain.
    before: u32,
}

impl Kept {
    /// No packet: so long ago that none is near.
    fn nothing() -> Self {
        Self { digest: 0, at: PacketRef::new(Timestamp::MIN, InputId(0), 0), look: 0, before: 0 }
    }
}

/// The latest packets.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    /// Each where the count of those before it says, round and round.
    kept: Vec<Kept>,
    /// By the lowest bits of a digest: how many came before the latest that has them.
    heads: Vec<u32>,
    /// How many came, round and round.
    count: u32,
}

impl Ring {
    /// Without packets.
    pub fn new() -> Self {
        Self { kept: vec![Kept::nothing(); LEAST], heads: vec![0; CHAINS * LEAST], count: 0 }
    }

    /// The latest packet with that digest of which `is` tells more.
    #[inline]
    pub fn find<T>(&self, digest: u64, is: impl Fn(&Kept) -> Option<T>) -> Option<T> {
        self.chain(digest).filter(|(_, kept)| kept.digest == digest).find_map(|(_, kept)| is(kept))
    }

    /// The packets whose digests end like that one, latest first, and where each is.
    #[inline(always)]
    fn chain(&self, digest: u64) -> impl Iterator<Item = (usize, &Kept)> {
        let mut number =
            self.heads.get(digest as usize & (self.heads.len() - 1)).copied().unwrap_or_default();
        let mut age = 0;
        let next = move || {
            // The chain ends where what it leads to has been written over, by something newer.
            let older = self.count.wrapping_sub(number);
            if older <= age || older as usize > self.kept.len() {
                return None;
            }
            age = older;
            let place = number as usize & (self.kept.len() - 1);
            let kept = self.kept.get(place)?;
            number = kept.before;
            Some((place, kept))
        };
        iter::from_fn(next).take(STEPS)
    }

    /// Adds a packet.
    #[inline(always)]
    pub fn push(&mut self, digest: u64, at: PacketRef, look: u32) {
        self.make_room(at);
        self.put(digest, at, look);
    }

    /// Adds a packet that repeats one with the same digest: it takes that one's part in their chain, so that many of them hide no other.
    pub fn push_again(&mut self, digest: u64, at: PacketRef, look: u32) {
        self.make_room(at);
        self.put_again(digest, at, look);
    }

    /// Sees to it that no packet is written over that a copy could still follow.
    #[inline(always)]
    fn make_room(&mut self, at: PacketRef) {
        let place = self.count as usize & (self.kept.len() - 1);
        if self.kept.get(place).is_some_and(|oldest| near(oldest.at.time, at.time)) {
            self.grow();
        }
    }

    fn put_again(&mut self, digest: u64, at: PacketRef, look: u32) {
        let mut newer = None;
        let known = self.chain(digest).find(|&(place, kept)| {
            let same = kept.digest == digest;
            newer = if same { newer } else { Some(place) };
            same
        });
        if let Some(before) = known.map(|(_, kept)| kept.before) {
            let head = digest as usize & (self.heads.len() - 1);
            let link = match newer {
                Some(place) => self.kept.get_mut(place).map(|kept| &mut kept.before),
                None => self.heads.get_mut(head),
            };
            link.into_iter().for_each(|link| *link = before);
        }
        self.put(digest, at, look);
    }

    #[inline(always)]
    fn put(&mut self, digest: u64, at: PacketRef, look: u32) {
        let place = self.count as usize & (self.kept.len() - 1);
        let head = digest as usize & (self.heads.len() - 1);
        if let (Some(kept), Some(head)) = (self.kept.get_mut(place), self.heads.get_mut(head)) {
            *kept = Kept { digest, at, look, before: std::mem::replace(head, self.count) };
            self.count = self.count.wrapping_add(1);
        }
    }

    /// Has room for twice as many from now on, up to the most.
    #[cold]
    fn grow(&mut self) {
        if self.kept.len() >= MOST {
            return;
        }
        let (room, more) = (self.kept.len(), 2 * self.kept.len());
        let mut before = std::mem::replace(&mut self.kept, vec![Kept::nothing(); more]);
        // The oldest stands where the next would have been written.
        before.rotate_left(self.count as usize & (room - 1));
        self.heads = vec![0; CHAINS * more];
        self.count = 0;
        for Kept { digest, at, look, .. } in before {
            self.put_again(digest, at, look);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(micros: i64, number: u64) -> PacketRef {
        PacketRef::new(Timestamp::from_nanos(micros * 1000), InputId(0), number)
    }

    /// The number of the latest packet with that digest.
    fn latest(ring: &Ring, digest: u64) -> Option<u64> {
        ring.find(digest, |kept| Some(kept.at.number()))
    }

    proptest! {
        /// Held against a list of all packets, with digests that end alike in all ways.
        #[test]
        fn finds_the_latest_of_those_it_has_room_for(
            packets in prop::collection::vec((0_u64..12, 0_i64..400, any::<bool>()), 1..600),
        ) {
            let (mut ring, mut all, mut time) = (Ring::new(), Vec::new(), 0);
            let digest = |kind: u64| (kind % 4) | ((kind / 4) << 40);
            for (number, (kind, later, again)) in (1..).zip(packets) {
                time += later;
                if again {
                    ring.push_again(digest(kind), packet(time, number), 0);
                } else {
                    ring.push(digest(kind), packet(time, number), 0);
                }
                all.push((kind, number));
                for kind in 0..12 {
                    let latest_of = |most: usize| {
                        all.iter().rev().take(most).find(|known| known.0 == kind).map(|known| known.1)
                    };
                    let found = latest(&ring, digest(kind));
                    if let Some(expected) = latest_of(STEPS) {
                        prop_assert_eq!(found, Some(expected));
                    }
                    prop_assert!(found.is_none() || found == latest_of(ring.kept.len()));
                }
            }
        }
    }

    #[test]
    fn it_grows_where_a_copy_could_still_come_and_only_there() {
        let fill = |apart: i64| {
            let mut ring = Ring::new();
            (1..=10_000_u64).for_each(|number| ring.push(number, packet(apart * number as i64, number), 0));
            (latest(&ring, 10_000 - 60), ring.kept.len())
        };
        assert_eq!(fill(1000), (Some(9_940), LEAST));
        assert_eq!(fill(20), (Some(9_940), 256));
        assert_eq!(fill(0), (Some(9_940), MOST));
    }

    #[test]
    fn counts_that_go_round_find_what_is_there() {
        let mut ring = Ring::new();
        ring.count = u32::MAX - 5;
        (1..=100).for_each(|number| ring.push(number, packet(number as i64 * 1_000_000, number), 0));
        assert_eq!((latest(&ring, 100), latest(&ring, 40), latest(&ring, 20)), (Some(100), Some(40), None));
    }
}
