//! A map of few: pairs in the order of their keys, the first of them in place. Of most hosts there is one MAC address, on one VLAN.

use std::borrow::Borrow;

use smallvec::SmallVec;

/// Pairs in the order of their keys, each key once.
#[derive(Clone, Debug)]
pub struct Pairs<K, V>(SmallVec<[(K, V); 1]>);

impl<K, V> Default for Pairs<K, V> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<K: Ord, V: Default> Pairs<K, V> {
    /// Changes what stands under a key, which is put there where it is not.
    pub fn change<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q, how: impl FnOnce(&mut V))
    where
        K: Borrow<Q>,
    {
        let at = self.place(key).unwrap_or_else(|at| {
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

impl<K: Ord, V> Pairs<K, V> {
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(known, _)| known.borrow().cmp(key))
    }

    /// What stands under a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(self.place(key).ok()?).map(|(_, value)| value)
    }

    /// Whether there is such a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_order_each_once() {
        let mut pairs: Pairs<Vec<u16>, u32> = Pairs::default();
        for key in [&[7][..], &[], &[7], &[2, 3]] {
            pairs.change(key, |times| *times += 1);
        }
        let all: Vec<_> = pairs.iter().map(|(key, times)| (key.as_slice(), *times)).collect();
        assert_eq!(all, [(&[][..], 1), (&[2, 3][..], 1), (&[7][..], 2)]);
        assert!(pairs.contains_key(&[2, 3][..]) && pairs.get(&[3][..]).is_none() && pairs.len() == 3);
    }
}
