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
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    hash.finalize().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).take(DIGITS).collect()
}
