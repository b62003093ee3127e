//! A cursor over payload bytes that cannot panic: every read says `None` where the bytes end.

use compact_str::CompactString;

/// Reads integers and slices from the front of a byte slice.
///
/// A read that does not fit takes nothing, so that the reader still stands where the missing field begins.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the front of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, length: bytes.len() }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes have not been read yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|&[byte]| byte)
    }

    /// Two bytes, big-endian.
    pub fn be16(&mut self) -> Option<u16> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// Three bytes, big-endian.
    pub fn be24(&mut self) -> Option<u32> {
        self.array().map(|&[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Four bytes, big-endian.
    pub fn be32(&mut self) -> Option<u32> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// Eight bytes, big-endian.
    pub fn be64(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// Two bytes, little-endian.
    pub fn le16(&mut self) -> Option<u16> {
        self.array().map(|bytes| u16::from_le_bytes(*bytes))
    }

    /// Four bytes, little-endian.
    pub fn le32(&mut self) -> Option<u32> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Eight bytes, little-endian.
    pub fn le64(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

/// The first line of `bytes` without its LF or CRLF, and what follows it; `None` where no line ends.
pub fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(at)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest.get(1..).unwrap_or_default()))
}

/// Whether every byte is printable ASCII or a tab.
pub fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| matches!(byte, b' '..=b'~' | b'\t'))
}

/// Bytes as text for a fact: UTF-8 where it is, anything else replaced.
pub fn text(bytes: &[u8]) -> CompactString {
    CompactString::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_beyond_the_end_takes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.be32(), None);
        assert_eq!(reader.be16(), Some(0x0102));
        assert_eq!(reader.le16(), None);
        assert_eq!((reader.position(), reader.left()), (2, 1));
        assert_eq!(reader.u8(), Some(3));
        assert_eq!(reader.u8(), None);
        assert!(reader.is_empty());
    }

    #[test]
    fn integers_have_their_order() {
        assert_eq!(Reader::new(&[1, 2, 3]).be24(), Some(0x0001_0203));
        assert_eq!(Reader::new(&[1, 2, 3, 4]).le32(), Some(0x0403_0201));
        assert_eq!(Reader::new(&[0, 0, 0, 0, 0, 0, 0, 1]).be64(), Some(1));
        assert_eq!(Reader::new(&[1, 0, 0, 0, 0, 0, 0, 0]).le64(), Some(1));
    }

    #[test]
    fn lines_end_with_lf_or_crlf() {
        assert_eq!(line(b"a\r\nb"), Some((&b"a"[..], &b"b"[..])));
        assert_eq!(line(b"a\n"), Some((&b"a"[..], &b""[..])));
        assert_eq!(line(b"a"), None);
    }
}
