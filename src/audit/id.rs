//! Short ids that stay the same over captures of the same site.

use sha1::Digest;
use sha1::Sha1;

/// Hex digits of an id: 40 bits, enough that a million ids of one site rarely meet.
const DIGITS: usize = 10;

/// A short hash of the parts, in their order.
pub fn short(parts: &[&str]) -> String {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part.as_bytes());
        // A separator that no part contains, so that ("ab", "c") and ("a", "bc") differ.
        hash.update([0]);
    }
    let hash = hash.finalize();
    let halves = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut id = String::with_capacity(DIGITS);
    id.extend(halves.take(DIGITS).filter_map(|half| char::from_digit(u32::from(half), 16)));
    id
}
