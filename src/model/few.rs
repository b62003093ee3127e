//! Small ordered sets and counts: nearly always of one entry, which is kept where the set itself is.

use smallvec::SmallVec;

/// An ordered set whose first few members need no memory of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Few<T>(SmallVec<[T; 2]>);

/// How often each of a few things was met, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts<T>(SmallVec<[(T, u64); 1]>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<T: Ord> Few<T> {
    /// Takes in one more, where it is not known.
    pub fn insert(&mut self, member: T) {
        if let Err(place) = self.0.binary_search(&member) {
            self.0.insert(place, member);
        }
    }
}

impl<T> std::ops::Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Ord> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, members: I) {
        members.into_iter().for_each(|member| self.insert(member));
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T> Default for Counts<T> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<T: Ord + Copy> Counts<T> {
    /// Counts one of them so many times more.
    pub fn add(&mut self, what: T, times: u64) {
        match self.0.binary_search_by_key(&what, |&(known, _)| known) {
            Ok(place) => {
                if let Some((_, count)) = self.0.get_mut(place) {
                    *count = count.saturating_add(times);
                }
            }
            Err(place) => self.0.insert(place, (what, times)),
        }
    }

    /// How often one of them was met.
    pub fn get(&self, what: T) -> u64 {
        self.iter().find(|&(known, _)| known == what).map_or(0, |(_, count)| count)
    }

    /// All of them, each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (T, u64)> {
        self.0.iter().copied()
    }

    /// All of them.
    pub fn keys(&self) -> impl Iterator<Item = T> {
        self.iter().map(|(what, _)| what)
    }
}

impl<T: Ord + Copy> FromIterator<(T, u64)> for Counts<T> {
    fn from_iter<I: IntoIterator<Item = (T, u64)>>(counted: I) -> Self {
        let mut counts = Self::default();
        counted.into_iter().for_each(|(what, times)| counts.add(what, times));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_in_order_and_each_is_there_once() {
        let mut few = Few::default();
        few.extend(["tls", "amqp", "tls", "ssh", "amqp"]);
        assert_eq!(*few, ["amqp", "ssh", "tls"]);
    }

    #[test]
    fn what_is_counted_again_adds_to_its_count() {
        let counts: Counts<u8> = [(7, 1), (3, 2), (7, u64::MAX)].into_iter().collect();
        assert_eq!(counts.iter().collect::<Vec<_>>(), [(3, 2), (7, u64::MAX)]);
        assert_eq!((counts.get(3), counts.get(4)), (2, 0));
    }
}
