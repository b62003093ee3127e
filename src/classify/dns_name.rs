//! Names in DNS messages (RFC 1035 section 4.1.4): how far they reach, what they say, and those that are NetBIOS's.

/// Bytes of a message's header (RFC 1035 section 4.1.1): names stand behind it.
pub const HEADER: usize = 12;
/// Longest name on the wire and as text (RFC 1035 section 2.3.4).
const LONGEST_ENCODED: usize = 255;
const LONGEST_NAME: usize = 253;
/// Room for the text of a name and the word for its type, which is enough for most.
const USUAL_NAME: usize = 48;
/// Pointers followed in one name; each must point further back (section 4.1.4).
const MOST_POINTERS: usize = 32;

/// Why a name, or a record, could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end within it.
    Cut,
    /// What stands there is none.
    Wrong,
}

/// Where the bytes after a name begin (RFC 1035 section 4.1.4).
pub fn skip_name(bytes: &[u8], mut at: usize) -> Result<usize, Stop> {
    let start = at;
    loop {
        let length = *bytes.get(at).ok_or(Stop::Cut)?;
        match length {
            0 => return Ok(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xc0.. => {
                let low = *bytes.get(at + 1).ok_or(Stop::Cut)?;
                let target = usize::from(length & 0x3f) << 8 | usize::from(low);
                // A pointer points back into the message.
                return if target >= HEADER && target < at { Ok(at + 2) } else { Err(Stop::Wrong) };
            }
            _ => return Err(Stop::Wrong),
        }
        if at - start > LONGEST_ENCODED {
            return Err(Stop::Wrong);
        }
    }
}

/// The name at this place as text: lower case, no final dot, what is not printable escaped (RFC 1035 section 5.1).
pub fn name(bytes: &[u8], mut at: usize) -> Option<String> {
    let mut text = String::with_capacity(USUAL_NAME);
    let mut pointers = 0;
    loop {
        let length = *bytes.get(at)?;
        match length {
            0 => {
                text.make_ascii_lowercase();
                return Some(text);
            }
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length))?;
                if !text.is_empty() {
                    text.push('.');
                }
                match str::from_utf8(label) {
                    Ok(plain) if label.iter().all(is_plain) => text.push_str(plain),
                    _ => label.iter().for_each(|&byte| escape(byte, &mut text)),
                }
                if text.len() > LONGEST_NAME {
                    return None;
                }
                at += 1 + usize::from(length);
            }
            0xc0.. => {
                let target = usize::from(length & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
                pointers += 1;
                if target >= at || pointers > MOST_POINTERS {
                    return None;
                }
                at = target;
            }
            _ => return None,
        }
    }
}

/// Whether a byte of a label stands for itself.
fn is_plain(byte: &u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'.' | b'\\')
}

fn escape(byte: u8, text: &mut String) {
    match byte {
        b'.' | b'\\' => {
            text.push('\\');
            text.push(char::from(byte));
        }
        plain if is_plain(&plain) => text.push(char::from(plain)),
        _ => text.push_str(&format!("\\{byte:03}")),
    }
}

/// Whether the name is one that NetBIOS encoded (RFC 1001 section 14.1), asked for by one of its own types NB and NBSTAT.
pub fn is_netbios(bytes: &[u8], at: usize, kind: u16) -> bool {
    /// NB; NBSTAT has the number of SRV.
    const TYPES: [u16; 2] = [0x20, 0x21];
    TYPES.contains(&kind)
        && bytes.get(at) == Some(&32)
        && bytes
            .get(at + 1..at + 33)
            .is_some_and(|label| label.iter().all(|byte| matches!(byte, b'A'..=b'P')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;

    #[test]
    fn a_name_ends_with_its_root_or_a_pointer_back() {
        let mut bytes = vec![0; HEADER];
        bytes.extend(hex("03 777777 00 01 61 c00c 02 61"));
        assert_eq!(skip_name(&bytes, HEADER), Ok(HEADER + 5));
        assert_eq!(name(&bytes, HEADER + 5).as_deref(), Some("a.www"));
        assert_eq!(skip_name(&bytes, HEADER + 5), Ok(HEADER + 9));
        assert_eq!(skip_name(&bytes, HEADER + 9), Err(Stop::Cut));
        assert_eq!(skip_name(&bytes, bytes.len()), Err(Stop::Cut));
        for wrong in ["41 61", "80 61", "c0 0c", "c0 00"] {
            let bytes = [&[0; HEADER][..], &hex(wrong)].concat();
            assert_eq!(skip_name(&bytes, HEADER), Err(Stop::Wrong), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_printable_is_escaped() {
        let mut bytes = vec![0; HEADER];
        bytes.extend(hex("05 5777772e5c 04 4120ff7a 01 61 00"));
        assert_eq!(name(&bytes, HEADER).as_deref(), Some("www\\.\\\\.a\\032\\255z.a"));
    }

    #[test]
    fn pointers_that_go_round_end() {
        assert_eq!(name(&hex("01 61 c000"), 0), None);
    }
}
