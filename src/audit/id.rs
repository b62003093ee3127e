//! Short ids that stay the same over captures of the same site.

use compact_str::CompactString;
use sha1::Digest;
use sha1::Sha1;
use smallvec::SmallVec;

/// Hex digits of an id: 40 bits, enough that a million ids of one site rarely meet.
const DIGITS: usize = 10;

/// A short hash of the parts, in their order.
pub fn short(parts: &[&str]) -> CompactString {
    let mut told: SmallVec<[u8; 128]> = SmallVec::new();
    for part in parts {
        told.extend_from_slice(part.as_bytes());
        // A separator that no part contains, so that ("ab", "c") and ("a", "bc") differ.
        told.push(0);
    }
    let digit = |half: u8| char::from(if half < 10 { b'0' + half } else { b'a' - 10 + half });
    let mut id = CompactString::default();
    for byte in Sha1::digest(&told).into_iter().take(DIGITS / 2) {
        id.push(digit(byte >> 4));
        id.push(digit(byte & 15));
    }
    id
}
