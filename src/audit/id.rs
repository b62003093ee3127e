//! Short ids that stay the same over captures of the same site.

use compact_str::CompactString;
use sha1::Digest;
use sha1::Sha1;

/// Hex digits of an id: 40 bits, enough that a million ids of one site rarely meet.
const DIGITS: usize = 10;

/// A short hash of the parts, in their order.
pub fn short(parts: &[&str]) -> CompactString {
    // Each part has a separator behind it that no part contains, so that ("ab", "c") and ("a", "bc") differ.
    let length = parts.iter().map(|part| part.len() + 1).sum();
    let mut room = [0; 128];
    let mut longer = Vec::new();
    let told = match room.get_mut(..length) {
        Some(room) => room,
        None => {
            longer.resize(length, 0);
            &mut longer
        }
    };
    let mut rest = &mut *told;
    for part in parts {
        let Some((place, after)) = rest.split_at_mut_checked(part.len()) else { break };
        place.copy_from_slice(part.as_bytes());
        rest = after.get_mut(1..).unwrap_or_default();
    }
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' - 10 + half };
    // Two whole words, which are known to be text at a look.
    let mut id = [b'0'; 16];
    for ([high, low], byte) in id.as_chunks_mut().0.iter_mut().zip(Sha1::digest(&*told)) {
        (*high, *low) = (digit(byte >> 4), digit(byte & 15));
    }
    let id = str::from_utf8(&id).ok().and_then(|id| id.get(..DIGITS));
    CompactString::from(id.unwrap_or_default())
}
