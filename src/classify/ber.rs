//! BER and DER element headers (ITU-T X.690), as far as recognising a message needs them.

use super::bytes::Reader;

/// Universal tag BOOLEAN (X.690 section 8.2).
pub const BOOLEAN: u8 = 0x01;
/// Universal tag INTEGER (section 8.3).
pub const INTEGER: u8 = 0x02;
/// Universal tag OCTET STRING (section 8.7).
pub const OCTET_STRING: u8 = 0x04;
/// Universal tag OBJECT IDENTIFIER (section 8.19).
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// Universal tag ENUMERATED (section 8.4).
pub const ENUMERATED: u8 = 0x0a;
/// Universal tag SEQUENCE, constructed (section 8.9).
pub const SEQUENCE: u8 = 0x30;
/// Universal tag SET, constructed (section 8.11).
pub const SET: u8 = 0x31;

/// The identifier octet of a one-octet tag and the length of its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Identifier octet: class, constructed bit and number together.
    pub tag: u8,
    /// Contents length in bytes (definite form only).
    pub length: usize,
    /// Bytes that the identifier and length octets took.
    pub size: usize,
}

impl Header {
    /// Header and contents together, in bytes.
    pub fn total(&self) -> usize {
        self.size.saturating_add(self.length)
    }
}

/// Why an element could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The bytes end before the header does.
    Truncated,
    /// Multi-octet tag, indefinite length, or a length of more than four octets: none of the protocols read here uses them.
    Unusual,
}

/// Reads identifier and length octets (X.690 sections 8.1.2 and 8.1.3).
pub fn header(bytes: &[u8]) -> Result<Header, Defect> {
    let mut reader = Reader::new(bytes);
    let tag = reader.u8().ok_or(Defect::Truncated)?;
    if tag & 0x1f == 0x1f {
        return Err(Defect::Unusual);
    }
    let first = reader.u8().ok_or(Defect::Truncated)?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let octets = reader.take(usize::from(first & 0x7f)).ok_or(Defect::Truncated)?;
            octets.iter().fold(0_usize, |sum, &octet| sum << 8 | usize::from(octet))
        }
        _ => return Err(Defect::Unusual),
    };
    Ok(Header { tag, length, size: reader.position() })
}

/// Whether a SEQUENCE may have this byte at this place: tag, then a length of the definite form in at most four octets.
pub fn may_begin_sequence(at: usize, byte: u8) -> bool {
    match at {
        0 => byte == SEQUENCE,
        1 => matches!(byte, 0..=0x7f | 0x81..=0x84),
        _ => true,
    }
}

/// Takes one whole element of any tag: its tag and contents.
pub fn element<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let head = header(reader.rest()).ok()?;
    let mut ahead = *reader;
    ahead.skip(head.size)?;
    let contents = ahead.take(head.length)?;
    *reader = ahead;
    Some((head.tag, contents))
}

/// Takes one whole element of this tag: its contents. Takes nothing where another stands there.
pub fn expect<'a>(reader: &mut Reader<'a>, tag: u8) -> Option<&'a [u8]> {
    let mut ahead = *reader;
    let (found, contents) = element(&mut ahead)?;
    if found != tag {
        return None;
    }
    *reader = ahead;
    Some(contents)
}

/// Takes the header of a constructed element of this tag and stays at the first byte of its contents, which may be cut short.
pub fn enter(reader: &mut Reader<'_>, tag: u8) -> Option<Header> {
    let head = header(reader.rest()).ok()?;
    if head.tag != tag {
        return None;
    }
    reader.skip(head.size)?;
    Some(head)
}

/// Takes an INTEGER of at most eight octets.
pub fn integer(reader: &mut Reader<'_>) -> Option<i64> {
    let mut ahead = *reader;
    let value = signed(expect(&mut ahead, INTEGER)?)?;
    *reader = ahead;
    Some(value)
}

/// The value of INTEGER or ENUMERATED contents (X.690 section 8.3): two's complement, one to eight octets.
pub fn signed(contents: &[u8]) -> Option<i64> {
    let first = *contents.first()?;
    if contents.len() > 8 {
        return None;
    }
    let start = if first & 0x80 == 0 { 0 } else { -1 };
    Some(contents.iter().fold(start, |sum: i64, &octet| sum << 8 | i64::from(octet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_both_forms() {
        assert_eq!(header(&[0x30, 0x05]), Ok(Header { tag: 0x30, length: 5, size: 2 }));
        assert_eq!(header(&[0x30, 0x82, 1, 2]), Ok(Header { tag: 0x30, length: 258, size: 4 }));
        assert_eq!(header(&[0x30, 0x82, 1]), Err(Defect::Truncated));
        assert_eq!(header(&[0x30, 0x80]), Err(Defect::Unusual));
        assert_eq!(header(&[0x3f, 0x01]), Err(Defect::Unusual));
        assert_eq!(header(&[]), Err(Defect::Truncated));
    }

    #[test]
    fn integers_are_signed() {
        assert_eq!(integer(&mut Reader::new(&[2, 1, 0xff])), Some(-1));
        assert_eq!(integer(&mut Reader::new(&[2, 2, 0, 0xff])), Some(255));
        assert_eq!(integer(&mut Reader::new(&[2, 0])), None);
        assert_eq!(integer(&mut Reader::new(&[4, 1, 1])), None);
    }

    #[test]
    fn an_element_that_does_not_fit_is_not_taken() {
        let mut reader = Reader::new(&[4, 3, 1, 2]);
        assert_eq!(element(&mut reader), None);
        assert_eq!(reader.position(), 0);
        assert_eq!(expect(&mut reader, SEQUENCE), None);
        assert_eq!(enter(&mut reader, OCTET_STRING), Some(Header { tag: 4, length: 3, size: 2 }));
        assert_eq!(reader.rest(), &[1, 2]);
    }
}
