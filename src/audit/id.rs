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
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' - 10 + half };
    let mut id = [b'0'; DIGITS];
    for ([high, low], byte) in id.as_chunks_mut().0.iter_mut().zip(Sha1::digest(&told)) {
        (*high, *low) = (digit(byte >> 4), digit(byte & 15));
    }
    CompactString::from(str::from_utf8(&id).unwrap_or_default())
}
