//! What is alike put together: numbers for what is compared again and again, and groups by a key.

use std::hash::BuildHasher;
use std::hash::Hash;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// What is compared again and again, each with a number of its own: a few bytes, beside which millions of groups are small.
pub(super) struct Numbers<K> {
    known: HashMap<K, u32, RandomState>,
    /// The one asked for last: often it is the same again.
    last: Option<(K, u32)>,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { known: HashMap::default(), last: None }
    }
}

impl<K: Copy + Hash + Eq> Numbers<K> {
    /// The number of something.
    pub(super) fn of(&mut self, what: K) -> u32 {
        if let Some((_, number)) = self.last.filter(|(last, _)| *last == what) {
            return number;
        }
        let next = number(self.known.len());
        let number = *self.known.entry(what).or_insert(next);
        self.last = Some((what, number));
        number
    }
}

/// Of so many things memory has no room.
fn number(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// What has one key, put together in the order in which it came.
pub(super) struct Groups<K, V> {
    hasher: RandomState,
    keys: Vec<K>,
    /// The places of the keys.
    places: HashTable<u32>,
    /// Everything, with the place of its group.
    all: Vec<(u32, V)>,
}

impl<K: Hash + Eq, V: Copy> Groups<K, V> {
    /// No groups yet, and room for so many things.
    pub(super) fn with_capacity(many: usize) -> Self {
        let (keys, places) = (Vec::new(), HashTable::new());
        Self { hasher: RandomState::default(), keys, places, all: Vec::with_capacity(many) }
    }

    /// Puts something to what has the same key.
    pub(super) fn add(&mut self, key: K, value: V) {
        let Self { hasher, keys, places, all } = self;
        let same = |at: &u32| keys.get(*at as usize) == Some(&key);
        let hash = |at: &u32| hasher.hash_one(keys.get(*at as usize));
        let place = match places.entry(hasher.hash_one(Some(&key)), same, hash) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let place = number(keys.len());
                new.insert(place);
                keys.push(key);
                place
            }
        };
        all.push((place, value));
    }

    /// All of it, each group in one piece.
    pub(super) fn apart(self) -> Apart<K, V> {
        let mut ends = vec![0; self.keys.len()];
        let count = |ends: &mut Vec<usize>, place: u32| {
            let end = ends.get_mut(place as usize)?;
            *end += 1;
            Some(*end - 1)
        };
        for (place, _) in &self.all {
            count(&mut ends, *place);
        }
        let mut before = 0;
        for end in &mut ends {
            before += std::mem::replace(end, before);
        }
        // Where a group begins is where its next one goes, until it ends there.
        let mut all: Vec<V> = self.all.iter().map(|(_, value)| *value).collect();
        for (place, value) in self.all {
            if let Some(slot) = count(&mut ends, place).and_then(|at| all.get_mut(at)) {
                *slot = value;
            }
        }
        Apart { keys: self.keys, all, ends }
    }
}

/// Groups, each in one piece.
pub(super) struct Apart<K, V> {
    keys: Vec<K>,
    all: Vec<V>,
    ends: Vec<usize>,
}

impl<K, V> Apart<K, V> {
    /// The groups in the order in which they began.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &[V])> {
        self.keys.iter().zip(self.groups())
    }

    fn groups(&self) -> impl Iterator<Item = &[V]> {
        let mut from = 0;
        self.ends
            .iter()
            .map(move |end| self.all.get(std::mem::replace(&mut from, *end)..*end).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_what_is_in_them_stay_in_order() {
        let mut groups = Groups::with_capacity(0);
        "some words, and some more of them".chars().zip(0..).for_each(|(key, at)| groups.add(key, at));
        let apart = groups.apart();
        let keys: String = apart.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, "some wrd,anfth");
        let apart: Vec<&[i32]> = apart.groups().collect();
        assert_eq!(apart[0], [0, 9, 16]);
        assert_eq!(apart[1], [1, 6, 17, 22, 26]);
        assert_eq!(apart.concat().len(), 33);
        assert!(apart.is_sorted_by_key(|group| group[0]) && apart.iter().all(|group| group.is_sorted()));
        assert_eq!(Groups::<u8, u8>::with_capacity(0).apart().iter().count(), 0);
    }

    #[test]
    fn each_has_a_number_of_its_own() {
        let mut numbers = Numbers::default();
        let told = ["a", "a", "b", "a", "c", "b"].map(|what| numbers.of(what));
        assert_eq!(told, [0, 0, 1, 0, 2, 1]);
    }
}
