//! Ranges of ports as blocks of powers of two: whatever covers a port is found in a few steps, however many ranges there are.

use std::ops::RangeInclusive;

/// `2^level` ports, the first of them a multiple of as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    level: u8,
    place: u16,
}

impl Block {
    /// The block of this size in which a port lies.
    pub fn around(port: u16, level: u8) -> Self {
        Self { level, place: port.checked_shr(u32::from(level)).unwrap_or(0) }
    }

    /// The fewest blocks that make up a range, at most 30.
    pub fn of(ports: &RangeInclusive<u16>) -> Vec<Self> {
        let (mut from, end) = (u32::from(*ports.start()), u32::from(*ports.end()) + 1);
        let mut blocks = Vec::new();
        while from < end {
            let level = from.trailing_zeros().min((end - from).ilog2());
            blocks.push(Self { level: level as u8, place: (from >> level) as u16 });
            from += 1 << level;
        }
        blocks
    }
}

/// The sizes of the blocks in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes(u32);

impl Sizes {
    /// Remembers the size of a block.
    pub fn add(&mut self, block: Block) {
        self.0 |= 1 << block.level;
    }

    /// The blocks of these sizes in which a port lies.
    pub fn around(self, port: u16) -> impl Iterator<Item = Block> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let level = (left != 0).then(|| left.trailing_zeros())?;
            left &= left - 1;
            Some(Block::around(port, level as u8))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// A port is in one block of a range exactly where it is in the range.
        #[test]
        fn blocks_cover_their_range(a: u16, b: u16, port: u16) {
            let range = a.min(b)..=a.max(b);
            let blocks = Block::of(&range);
            let mut sizes = Sizes::default();
            blocks.iter().for_each(|block| sizes.add(*block));
            for port in [port, *range.start(), *range.end(), range.start().wrapping_sub(1), range.end().wrapping_add(1)] {
                let hits = sizes.around(port).filter(|block| blocks.contains(block)).count();
                proptest::prop_assert_eq!(hits, usize::from(range.contains(&port)));
            }
            proptest::prop_assert!(blocks.len() <= 30);
        }
    }

    #[test]
    fn single_ports_and_all_ports_are_one_block() {
        for range in [0..=0, 502..=502, u16::MAX..=u16::MAX, 0..=u16::MAX] {
            assert_eq!(Block::of(&range).len(), 1, "{range:?}");
        }
    }
}
