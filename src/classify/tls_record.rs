//! TLS records of one direction (RFC 8446 section 5, RFC 5246 section 6) and the handshake messages in them.

use super::bytes::Reader;

/// Content type change_cipher_spec (RFC 5246 section 6.2.1).
pub const CHANGE_CIPHER_SPEC: u8 = 20;
/// Content type alert.
pub const ALERT: u8 = 21;
/// Content type handshake.
pub const HANDSHAKE: u8 = 22;
/// Content type application_data.
pub const APPLICATION_DATA: u8 = 23;
/// Content type heartbeat (RFC 6520 section 6).
pub const HEARTBEAT: u8 = 24;

/// Handshake type client_hello (RFC 8446 section 4).
pub const CLIENT_HELLO: u8 = 1;
/// Handshake type server_hello.
pub const SERVER_HELLO: u8 = 2;
/// Handshake type hello_retry_request of the drafts of TLS 1.3 before 23.
pub const HELLO_RETRY_REQUEST: u8 = 6;
/// Handshake type certificate.
pub const CERTIFICATE: u8 = 11;

/// The longest record body: 2^14 bytes and the expansion that TLS 1.2 allows (RFC 5246 section 6.2.3).
pub const LONGEST_RECORD: u16 = (1 << 14) + 2048;
/// Bytes of a record header.
pub const RECORD_HEADER: usize = 5;

/// One record as far as the prefix holds it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Content type.
    pub kind: u8,
    /// Minor version of the record layer: 0 is SSL 3.0, 1 to 3 are TLS 1.0 to 1.2 (and, frozen, 1.3).
    pub minor: u8,
    /// Body length as promised.
    pub length: usize,
    /// Body as far as it is there.
    pub body: &'a [u8],
    /// Where it ends in the bytes walked, were it whole.
    pub end: usize,
}

impl Record<'_> {
    /// Whether the whole body is there.
    pub fn is_whole(&self) -> bool {
        self.body.len() == self.length
    }

    /// Whether length, and content where it is in the clear, are such as the type allows.
    fn is_plausible(&self) -> bool {
        match self.kind {
            // RFC 5246 section 7.1: the single byte 1.
            CHANGE_CIPHER_SPEC => self.length == 1 && matches!(self.body, [] | [1]),
            // Two bytes in the clear (section 7.2), else encrypted.
            ALERT => self.length >= 16 || (self.length == 2 && matches!(self.body, [] | [1 | 2, ..])),
            HANDSHAKE => self.length >= 1,
            APPLICATION_DATA => self.length >= 1,
            HEARTBEAT => self.length >= 19,
            _ => false,
        }
    }
}

/// Why a walk over records ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes ended, perhaps within a record.
    End,
    /// What stands there is no record header.
    Stranger,
}

/// Walks records from the front of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Why it ended, once it has.
    pub stop: Stop,
}

impl<'a> Records<'a> {
    /// Records from the front of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, stop: Stop::End }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let rest = self.bytes.get(self.at..)?;
        let Some((&[kind, major, minor, high, low], body)) = rest.split_first_chunk() else {
            // A beginning of a header that cannot be one.
            let stranger = matches!(rest, [kind, ..] if !(CHANGE_CIPHER_SPEC..=HEARTBEAT).contains(kind))
                || matches!(rest, [_, major, ..] if *major != 3);
            self.stop = if stranger { Stop::Stranger } else { Stop::End };
            return None;
        };
        let length = u16::from_be_bytes([high, low]);
        let end = self.at + RECORD_HEADER + usize::from(length);
        let body = body.get(..usize::from(length)).unwrap_or(body);
        let record = Record { kind, minor, length: usize::from(length), body, end };
        // Major version 3 always; minor 4 is sent by a few early implementations of TLS 1.3.
        if major != 3 || minor > 4 || length > LONGEST_RECORD || !record.is_plausible() {
            self.stop = Stop::Stranger;
            return None;
        }
        self.at = end;
        Some(record)
    }
}

/// One handshake message as far as it is there.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Handshake type.
    pub kind: u8,
    /// Body length as promised.
    pub length: usize,
    /// Body as far as it is there.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Whether the whole body is there.
    pub fn is_whole(&self) -> bool {
        self.body.len() == self.length
    }
}

/// Walks the handshake messages of reassembled handshake records (RFC 8446 section 4).
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(move || {
        let kind = reader.u8()?;
        let length = reader.be24()? as usize;
        let body = reader.rest().get(..length).unwrap_or(reader.rest());
        reader.skip(body.len())?;
        Some(Message { kind, length, body })
    })
}

/// Whether a hello may begin so: type, a length that a hello can have, and version 3.x (or 7f.x, drafts of 1.3).
///
/// `false` for what contradicts; a beginning too short to tell is `true`.
pub fn may_be_hello(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    let Some(kind) = reader.u8() else { return true };
    let Some(length) = reader.be24() else {
        return matches!(kind, CLIENT_HELLO | SERVER_HELLO | HELLO_RETRY_REQUEST);
    };
    // The shortest: version, random, empty session id, one suite, one compression method; a draft's retry request is shorter.
    let (shortest, longest) = match kind {
        CLIENT_HELLO => (41, 1 << 17),
        SERVER_HELLO => (38, 1 << 14),
        HELLO_RETRY_REQUEST => (4, 1 << 12),
        _ => return false,
    };
    if length < shortest || length > longest {
        return false;
    }
    let Some(major) = reader.u8() else { return true };
    if major != 3 && major != 0x7f {
        return false;
    }
    let Some(minor) = reader.u8() else { return true };
    if major == 3 && minor > 4 {
        return false;
    }
    if kind == HELLO_RETRY_REQUEST || (kind == SERVER_HELLO && major == 0x7f) || reader.skip(32).is_none() {
        return true;
    }
    let Some(session) = reader.u8() else { return true };
    if session > 32 {
        return false;
    }
    if reader.skip(usize::from(session)).is_none() {
        return true;
    }
    if kind == SERVER_HELLO {
        // Suite, then compression: null or deflate (RFC 3749).
        return reader.skip(2).is_none() || reader.u8().is_none_or(|method| method <= 1);
    }
    reader.be16().is_none_or(|suites| suites >= 2 && suites % 2 == 0 && u32::from(suites) < length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;

    #[test]
    fn records_follow_each_other() {
        let bytes = hex("14 0303 0001 01  17 0303 0003 aabbcc  15 0301 0002 01");
        let mut records = Records::new(&bytes);
        let kinds: Vec<_> = records.by_ref().map(|record| (record.kind, record.is_whole())).collect();
        assert_eq!(kinds, [(20, true), (23, true), (21, false)]);
        assert_eq!(records.stop, Stop::End);
    }

    #[test]
    fn what_is_no_record_stops_the_walk() {
        for bytes in
            ["17 0203 0003", "19 0303 0003", "17 0303 ffff", "14 0303 0002 0101", "15 0303 0002 0400", "47"]
        {
            let bytes = hex(bytes);
            let mut records = Records::new(&bytes);
            assert_eq!(records.by_ref().count(), 0);
            assert_eq!(records.stop, Stop::Stranger, "{bytes:02x?}");
        }
    }

    #[test]
    fn beginnings_of_hellos() {
        assert!(may_be_hello(&hex("01")));
        assert!(may_be_hello(&hex("01 000100 0303")));
        assert!(!may_be_hello(&hex("01 000010 0303")));
        assert!(!may_be_hello(&hex("01 000100 0503")));
        assert!(!may_be_hello(&hex("0b 000100 0303")));
    }
}
