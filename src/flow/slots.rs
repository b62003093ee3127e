//! Places for the larger part of each flow, in pieces that never move: a growing table copies nothing and leaves no holes behind.

/// Places of one piece: with a flow of one to two KiB in each, less than what an allocator would ask the system for by itself.
const PIECE: usize = 32;

/// Numbered places, each taken or free.
pub(super) struct Slots<T>(Vec<Vec<Option<T>>>);

impl<T> Slots<T> {
    /// No places.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many places there are, free ones included.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.last().map_or(0, |last| (self.0.len() - 1) * PIECE + last.len())
    }

    /// What is in a place.
    #[inline]
    pub fn get(&self, number: u32) -> Option<&T> {
        self.0.get(number as usize / PIECE)?.get(number as usize % PIECE)?.as_ref()
    }

    /// What is in a place, to be changed.
    #[inline]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.0.get_mut(number as usize / PIECE)?.get_mut(number as usize % PIECE)?.as_mut()
    }

    /// Puts something into a place that there is.
    pub fn put(&mut self, number: u32, what: T) {
        let piece = self.0.get_mut(number as usize / PIECE);
        if let Some(place) = piece.and_then(|piece| piece.get_mut(number as usize % PIECE)) {
            *place = Some(what);
        }
    }

    /// Adds a place with something in it.
    pub fn push(&mut self, what: T) {
        match self.0.last_mut().filter(|last| last.len() < PIECE) {
            Some(last) => last.push(Some(what)),
            None => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(Some(what));
                self.0.push(piece);
            }
        }
    }

    /// Frees a place.
    pub fn take(&mut self, number: u32) -> Option<T> {
        self.0.get_mut(number as usize / PIECE)?.get_mut(number as usize % PIECE)?.take()
    }

    /// Gives up free places at the end.
    pub fn trim(&mut self) {
        while let Some(last) = self.0.last_mut() {
            let used = last.iter().rposition(Option::is_some).map_or(0, |at| at + 1);
            last.truncate(used);
            if used > 0 {
                return;
            }
            self.0.pop();
        }
    }

    /// All places in their order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&T>> {
        self.0.iter().flatten().map(Option::as_ref)
    }

    /// All places in their order; each piece is given back once it has been gone through.
    pub fn into_iter(self) -> impl Iterator<Item = Option<T>> {
        self.0.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_their_numbers_and_go_from_the_end() {
        let mut slots = Slots::new();
        (0..100_u32).for_each(|number| slots.push(number));
        assert_eq!((slots.len(), slots.get(99), slots.get(100)), (100, Some(&99), None));
        assert_eq!((slots.take(70), slots.get(70)), (Some(70), None));
        slots.put(70, 7);
        assert_eq!(slots.get_mut(70), Some(&mut 7));
        for number in 40..100 {
            slots.take(number);
        }
        slots.trim();
        assert_eq!(slots.len(), 40);
        slots.push(5);
        assert_eq!((slots.get(40), slots.iter().flatten().count()), (Some(&5), 41));
        assert_eq!(slots.into_iter().flatten().last(), Some(5));
    }

    #[test]
    fn without_flows_nothing_is_held() {
        let mut slots = Slots::new();
        slots.push(1);
        slots.take(0);
        assert_eq!(slots.len(), 1);
        slots.trim();
        assert_eq!((slots.len(), slots.0.len()), (0, 0));
    }
}
