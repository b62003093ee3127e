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
    let mut text: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(DIGITS);
    text
}
