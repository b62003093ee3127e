//! Where each flow is kept, by the hash of its key: one word an entry, looked for in neighbouring places.
//!
//! An entry holds half of the hash and the flow's number, so that looking for a flow reads one cache line here and then the flow itself, and
//! growing or removing needs no key. Hashes are keyed anew in each run: nobody outside can choose keys that collide.

/// Places at first; always a power of two.
const LEAST: usize = 16;
/// An empty place. Entries are never zero, because the number in them is kept plus one.
const EMPTY: u64 = 0;

/// Numbers by hash. Several numbers may have the same hash; whoever looks tells them apart.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: Vec<u64>,
    used: usize,
}

impl Index {
    /// How many numbers it holds.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The first number under that hash that is the one looked for.
    #[inline(always)]
    pub fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.places.len().wrapping_sub(1);
        let tag = tag(hash);
        let mut at = tag as usize & mask;
        // An empty place is always left, so this ends; an index without places has none to look at.
        while let Some(&entry) = self.places.get(at)
            && entry != EMPTY
        {
            if (entry >> 32) as u32 == tag && is(number(entry)) {
                return Some(number(entry));
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// What is probably the number under that hash. Only for having its flow in the cache when it is looked for.
    #[inline(always)]
    pub fn guess(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Adds a number.
    pub fn insert(&mut self, hash: u64, number: u32) {
        // Beyond five eighths, looking for what is not there takes too many steps.
        if (self.used + 1) * 8 > self.places.len() * 5 {
            self.grow();
        }
        self.used += 1;
        self.put(entry(hash, number));
    }

    /// Puts another number in the place of one.
    pub fn renumber(&mut self, hash: u64, before: u32, now: u32) {
        if let Some(place) = self.place(hash, before).and_then(|at| self.places.get_mut(at)) {
            *place = entry(hash, now);
        }
    }

    /// Removes a number.
    pub fn remove(&mut self, hash: u64, number: u32) {
        let Some(mut hole) = self.place(hash, number) else { return };
        self.used -= 1;
        let mask = self.places.len() - 1;
        let mut next = (hole + 1) & mask;
        // Entries behind it move up, unless that would put them before the place where looking for them begins.
        while let Some(&entry) = self.places.get(next)
            && entry != EMPTY
        {
            let home = (entry >> 32) as usize & mask;
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.set(hole, entry);
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.set(hole, EMPTY);
    }

    fn place(&self, hash: u64, number: u32) -> Option<usize> {
        let mask = self.places.len().wrapping_sub(1);
        let wanted = entry(hash, number);
        let mut at = tag(hash) as usize & mask;
        while let Some(&entry) = self.places.get(at)
            && entry != EMPTY
        {
            if entry == wanted {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn grow(&mut self) {
        let more = (self.places.len() * 2).max(LEAST);
        let before = std::mem::replace(&mut self.places, vec![EMPTY; more]);
        for entry in before.into_iter().filter(|&entry| entry != EMPTY) {
            self.put(entry);
        }
    }

    fn put(&mut self, entry: u64) {
        let mask = self.places.len() - 1;
        let mut at = (entry >> 32) as usize & mask;
        while self.places.get(at).is_some_and(|&known| known != EMPTY) {
            at = (at + 1) & mask;
        }
        self.set(at, entry);
    }

    fn set(&mut self, at: usize, entry: u64) {
        if let Some(place) = self.places.get_mut(at) {
            *place = entry;
        }
    }
}

#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 ^ hash as u32
}

#[inline(always)]
fn entry(hash: u64, number: u32) -> u64 {
    u64::from(tag(hash)) << 32 | u64::from(number.wrapping_add(1))
}

#[inline(always)]
fn number(entry: u64) -> u32 {
    (entry as u32).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Held against a map, with hashes that collide in all ways.
        #[test]
        fn finds_what_was_put_in_and_nothing_else(steps in prop::collection::vec((0_u8..3, 0_u32..200), 0..600)) {
            let hash = |number: u32| u64::from(number % 7) << 33 | u64::from(number / 50);
            let (mut index, mut known) = (Index::default(), BTreeMap::new());
            for (step, number) in steps {
                match step {
                    0 if !known.contains_key(&number) => {
                        index.insert(hash(number), number);
                        known.insert(number, number);
                    }
                    1 => {
                        if known.remove(&number).is_some() {
                            index.remove(hash(number), number);
                        }
                    }
                    _ => {
                        if let Some(now) = known.get_mut(&number) && *now == number {
                            *now = number + 1000;
                            index.renumber(hash(number), number, number + 1000);
                            index.renumber(hash(number), number + 1000, number);
                            *now = number;
                        }
                    }
                }
                prop_assert_eq!(index.len(), known.len());
                for number in 0..200 {
                    let found = index.find(hash(number), |known| known == number);
                    prop_assert_eq!(found, known.get(&number).copied());
                }
            }
            index.clear();
            prop_assert_eq!(index.find(hash(1), |_| true), None);
        }
    }
}
