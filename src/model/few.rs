//! A map of few: pairs in the order of their keys, the first of them in place. Of most conversations there is one protocol, of most hosts
//! one MAC address.

use std::borrow::Borrow;

use smallvec::SmallVec;

/// Up to so many are looked at one after the other.
const IN_TURN: usize = 8;

/// Pairs in the order of their keys, each key once. Without values it is a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Few<K, V = ()>(SmallVec<[(K, V); 1]>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<K: Ord, V: Default> Few<K, V> {
    /// Changes what stands under a key, which is put there where it is not.
    pub fn change<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q, how: impl FnOnce(&mut V))
    where
        K: Borrow<Q>,
    {
        let at = self.0.binary_search_by(|(known, _)| known.borrow().cmp(key)).unwrap_or_else(|at| {
            if self.0.len() == 1 {
                // What is not one is seldom two.
                self.0.reserve_exact(3);
            }
            self.0.insert(at, (key.to_owned(), V::default()));
            at
        });
        if let Some((_, value)) = self.0.get_mut(at) {
            how(value);
        }
    }

    /// Puts a key there.
    pub fn insert<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.change(key, |_| ());
    }
}

impl<K: Ord + Clone> Few<K, u64> {
    /// Counts a key so many times more.
    pub fn count(&mut self, key: &K, times: u64) {
        self.change(key, |count| *count = count.saturating_add(times));
    }
}

impl<K: Ord, V> Few<K, V> {
    /// The place of a key. Among few it is looked for from the first on, since telling two apart is less work than telling which comes first.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        if self.0.len() <= IN_TURN {
            return self.0.iter().position(|(known, _)| known.borrow() == key);
        }
        self.0.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()
    }

    /// What stands under a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(self.find(key)?).map(|(_, value)| value)
    }

    /// Whether there is such a key.
    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_some()
    }
}

impl<K, V> Few<K, V> {
    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord + Clone> Extend<K> for Few<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, keys: I) {
        keys.into_iter().for_each(|key| self.insert(&key));
    }
}

impl<K: Ord + Clone> FromIterator<(K, u64)> for Few<K, u64> {
    fn from_iter<I: IntoIterator<Item = (K, u64)>>(counted: I) -> Self {
        let mut all = Self::default();
        counted.into_iter().for_each(|(key, times)| all.count(&key, times));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_order_each_once() {
        let mut few: Few<Vec<u16>, u32> = Few::default();
        for key in [&[7][..], &[], &[7], &[2, 3]] {
            few.change(key, |times| *times += 1);
        }
        let all: Vec<_> = few.iter().map(|(key, times)| (key.as_slice(), *times)).collect();
        assert_eq!(all, [(&[][..], 1), (&[2, 3][..], 1), (&[7][..], 2)]);
        assert!(few.contains(&[2, 3][..]) && few.get(&[3][..]).is_none() && few.len() == 3);
    }

    #[test]
    fn without_values_it_is_a_set() {
        let mut few: Few<&str> = Few::default();
        few.extend(["tls", "amqp", "tls", "ssh", "amqp"]);
        assert_eq!(few.keys().copied().collect::<Vec<_>>(), ["amqp", "ssh", "tls"]);
        assert!(few.contains("ssh") && !few.contains("dns"));
    }

    #[test]
    fn what_is_counted_again_adds_to_its_count() {
        let counts: Few<u8, u64> = [(7, 1), (3, 2), (7, u64::MAX)].into_iter().collect();
        assert_eq!(counts.iter().collect::<Vec<_>>(), [(&3, &2), (&7, &u64::MAX)]);
    }
}
