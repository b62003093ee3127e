//! Frames of AMQP 0-8 to 0-9-1 and of 1.0 in one direction, and what they tell.

use compact_str::CompactString;
use compact_str::format_compact;

use super::bytes::Reader;
use super::bytes::text;
use super::look::Look;

/// What one end showed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Half {
    /// Version of the header, else as the frames look.
    pub(super) version: Option<&'static str>,
    /// Whether its protocol header was seen.
    pub(super) header: bool,
    /// Whether the header asks for TLS (1.0, protocol id 2).
    pub(super) tls: bool,
    /// Which part it plays, where its frames tell.
    pub(super) is_client: Option<bool>,
    /// Whether the server's start was seen.
    pub(super) start: bool,
    /// Whether the server let the client in: its open-ok, or anything that only comes after it.
    pub(super) open: bool,
    /// Why the connection was closed.
    pub(super) close: Option<CompactString>,
}

/// Bytes of a protocol header (0-9-1 section 4.2.2; 1.0 section 2.2).
pub(super) const HEADER: usize = 8;
/// Octet that ends each 0-9-1 frame (section 4.2.3).
pub(super) const FRAME_END: u8 = 0xce;
/// Frames read of one prefix.
const MOST_FRAMES: usize = 256;

pub(super) fn look_at(bytes: &[u8], complete: bool) -> Look<Half> {
    if let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        if let Some((version, tls)) = header_version(header) {
            let mut half = Half { version: Some(version), header: true, tls, ..Half::default() };
            match version {
                "1.0" => {
                    // Peers may pipeline: the SASL layer, then its own header (section 5.3.2).
                    read_1_0(rest, &mut half);
                }
                "0-10" => {}
                _ => {
                    read_0_9(rest, &mut half);
                }
            }
            return Look::Yes(half);
        }
    } else if bytes.starts_with(b"AMQP") || b"AMQP".starts_with(bytes) {
        return Look::More;
    }
    let mut half = Half::default();
    for read in [read_0_9, read_1_0] {
        let found = read(bytes, &mut half);
        if found.proves {
            return Look::Yes(half);
        }
        if found.fits {
            // A frame longer than the prefix can only be judged by its beginning.
            return if complete && found.begins_well { Look::Yes(half) } else { Look::More };
        }
    }
    Look::No
}

/// The version that a protocol header names, and whether it asks for TLS.
fn header_version(header: &[u8; HEADER]) -> Option<(&'static str, bool)> {
    match header {
        [b'A', b'M', b'Q', b'P', 0, 0, 9, 1] => Some(("0-9-1", false)),
        [b'A', b'M', b'Q', b'P', 1, 1, 0, 9] => Some(("0-9", false)),
        [b'A', b'M', b'Q', b'P', 1, 1, 8, 0] => Some(("0-8", false)),
        [b'A', b'M', b'Q', b'P', 1, 1, 0, 10] => Some(("0-10", false)),
        // Protocol ids: 0 AMQP, 2 TLS, 3 SASL (OASIS 1.0 sections 2.2, 5.2, 5.3).
        [b'A', b'M', b'Q', b'P', id @ (0 | 2 | 3), 1, 0, 0] => Some(("1.0", *id == 2)),
        _ => None,
    }
}

/// What a walk over frames found.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// Frames that only this version has, whole.
    proves: bool,
    /// Nothing contradicts so far.
    fits: bool,
    /// A frame goes beyond the bytes, and what is there of it is telling.
    begins_well: bool,
}

/// Walks 0-8 to 0-9-1 frames (section 4.2.3): type, channel, size, payload, end octet.
fn read_0_9(bytes: &[u8], half: &mut Half) -> Found {
    /// Larger frames than any server allows by default (131,072) are not believed.
    const LARGEST: u32 = 1 << 24;
    let mut reader = Reader::new(bytes);
    let mut found = Found { fits: true, ..Found::default() };
    let mut bodies = 0_usize;
    for _ in 0..MOST_FRAMES {
        let Some(kind) = reader.u8() else { break };
        if !matches!(kind, 1..=3 | 8) {
            found.fits = false;
            break;
        }
        let (Some(channel), Some(size)) = (reader.be16(), reader.be32()) else { break };
        let heartbeat = kind == 8;
        if size > LARGEST || (heartbeat && (channel, size) != (0, 0)) || (!heartbeat && size == 0) {
            found.fits = false;
            break;
        }
        let payload = reader.rest().get(..size as usize).unwrap_or(reader.rest());
        let whole = payload.len() == size as usize;
        let telling = match kind {
            1 => method(channel, payload, half),
            2 => content_header(channel, payload),
            _ => Some(true),
        };
        if telling == Some(false) {
            found.fits = false;
            break;
        }
        if !whole || reader.skip(size as usize).is_none() {
            found.begins_well = telling.is_some() && kind != 3;
            break;
        }
        match reader.u8() {
            Some(FRAME_END) => {}
            Some(_) => {
                found.fits = false;
                break;
            }
            None => break,
        }
        bodies += usize::from(kind == 3);
        // A body frame is little but an end octet: another frame must follow.
        found.proves |= telling.is_some()
            && (kind != 3 || bodies > 1 || !reader.is_empty() && bodies == 1 && next_fits(&reader));
    }
    if found.proves {
        half.version = half.version.or(Some("0-9-1"));
    }
    found
}

/// Whether a whole frame header follows that can be one.
fn next_fits(reader: &Reader<'_>) -> bool {
    let mut ahead = *reader;
    let (kind, _channel, size) = (ahead.u8(), ahead.be16(), ahead.be32());
    matches!(kind, Some(1..=3 | 8)) && size.is_some_and(|size| size < 1 << 20)
}

/// Whether a method payload has a known class and method; states what it says. `None` where it is too short to tell.
fn method(channel: u16, payload: &[u8], half: &mut Half) -> Option<bool> {
    let mut reader = Reader::new(payload);
    let (class, method) = (reader.be16()?, reader.be16()?);
    // Classes and methods, who sends them (0-9-1 XML definitions; 0-8 where it has more).
    let from_client = match (class, method) {
        // connection
        (10, 10 | 20 | 30 | 41 | 60 | 61 | 70) => Some(false),
        (10, 11 | 21 | 31 | 40 | 71) => Some(true),
        (10, 42 | 50 | 51) => None,
        // channel
        (20, 10) => Some(true),
        (20, 11 | 30) => Some(false),
        (20, 20 | 21 | 40 | 41) => None,
        // access (0-8, 0-9)
        (30, 10) => Some(true),
        (30, 11) => Some(false),
        // exchange
        (40, 10 | 20 | 30 | 40) => Some(true),
        (40, 11 | 21 | 31 | 51) => Some(false),
        // queue
        (50, 10 | 20 | 30 | 40 | 50) => Some(true),
        (50, 11 | 21 | 31 | 41 | 51) => Some(false),
        // basic
        (60, 10 | 20 | 40 | 70 | 90 | 100 | 110) => Some(true),
        (60, 11 | 21 | 50 | 60 | 71 | 72 | 111) => Some(false),
        (60, 30 | 31 | 80 | 120) => None,
        // confirm, tx
        (85, 10) => Some(true),
        (85, 11) => Some(false),
        (90, 10 | 20 | 30) => Some(true),
        (90, 11 | 21 | 31) => Some(false),
        _ => return Some(false),
    };
    // The connection class speaks on channel 0, all others on another (section 4.2.3).
    if (class == 10) != (channel == 0) {
        return Some(false);
    }
    half.is_client = half.is_client.or(from_client);
    half.open |= (class, method) == (10, 41) || (class != 10 && from_client == Some(false));
    match (class, method) {
        (10, 10) => {
            half.start = true;
            half.version = half.version.or(match (reader.u8(), reader.u8()) {
                (Some(8), Some(0)) => Some("0-8"),
                // 0-9 and 0-9-1 both say 0, 9.
                _ => Some("0-9-1"),
            });
        }
        (10, 50) => {
            let code = reader.be16();
            let words = reader.u8().and_then(|length| reader.take(usize::from(length)));
            if let (Some(code), Some(words)) = (code, words) {
                half.close.get_or_insert_with(|| format_compact!("{code} {}", text(words)));
            }
        }
        _ => {}
    }
    Some(true)
}

/// Whether a content header payload is one (section 4.2.6.1): class, weight 0, body size, property flags.
fn content_header(channel: u16, payload: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(payload);
    let (class, weight, size, _flags) = (reader.be16()?, reader.be16()?, reader.be64()?, reader.be16()?);
    Some(channel != 0 && class == 60 && weight == 0 && size < 1 << 40)
}

/// Walks 1.0 frames (OASIS 1.0 section 2.3): size, data offset, type, channel, then a described list.
fn read_1_0(bytes: &[u8], half: &mut Half) -> Found {
    /// No peer is believed to allow a larger frame.
    const LARGEST: u32 = 1 << 24;
    let mut reader = Reader::new(bytes);
    let mut found = Found { fits: true, ..Found::default() };
    let mut empty = 0_usize;
    for _ in 0..MOST_FRAMES {
        if let Some(header) = reader.rest().first_chunk::<HEADER>()
            && header_version(header).is_some()
        {
            // After SASL the AMQP header follows in the same stream.
            found.proves = true;
            let _ = reader.skip(HEADER);
            continue;
        }
        let (Some(size), Some(offset), Some(kind), Some(_channel)) =
            (reader.be32(), reader.u8(), reader.u8(), reader.be16())
        else {
            break;
        };
        let head = usize::from(offset) * 4;
        if !(8..=LARGEST).contains(&size) || offset < 2 || head > size as usize || kind > 1 {
            found.fits = false;
            break;
        }
        let inside = size as usize - 8;
        let body = reader.rest().get(..inside).unwrap_or(reader.rest());
        let whole = body.len() == inside;
        if inside == 0 {
            // An empty frame keeps an idle connection alive (section 2.4.5): one alone is too little.
            empty += 1;
            found.proves |= empty > 1;
            continue;
        }
        match performative(kind, body.get(head - 8..).unwrap_or_default()) {
            None if !whole => break,
            None => {
                found.fits = false;
                break;
            }
            Some(code) => {
                found.begins_well = true;
                told_by(code, body, half);
            }
        }
        if !whole || reader.skip(inside).is_none() {
            break;
        }
        found.proves = true;
    }
    if found.proves || found.begins_well {
        half.version = half.version.or(Some("1.0"));
    }
    found
}

/// The descriptor code of a frame body: 0x10 to 0x18 for AMQP frames (section 2.7), 0x40 to 0x44 for SASL (section 5.3.3).
fn performative(kind: u8, body: &[u8]) -> Option<u8> {
    let (code, list) = match body {
        // Descriptor as smallulong, as ulong; then a list of any width (section 1.6.22).
        [0x00, 0x53, code, list, ..] => (*code, *list),
        [0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, code, list, ..] => (*code, *list),
        _ => return None,
    };
    let known = match kind {
        0 => (0x10..=0x18).contains(&code),
        _ => (0x40..=0x44).contains(&code),
    };
    (known && matches!(list, 0x45 | 0xc0 | 0xd0)).then_some(code)
}

fn told_by(code: u8, body: &[u8], half: &mut Half) {
    match code {
        // mechanisms, challenge, outcome come from the server; init and response from the client (section 5.3.3).
        0x40 | 0x42 | 0x44 => half.is_client = half.is_client.or(Some(false)),
        0x41 | 0x43 => half.is_client = half.is_client.or(Some(true)),
        _ => {}
    }
    half.start |= code == 0x40;
    half.open |= code == 0x10;
    if half.close.is_none() {
        half.close = match code {
            0x18 => error(body),
            0x44 => denied(body),
            _ => None,
        };
    }
}

/// What a SASL outcome other than `ok` says (OASIS 1.0 section 5.3.3.6): a list whose first item is a ubyte.
fn denied(body: &[u8]) -> Option<CompactString> {
    let at = body.windows(2).position(|window| window == [0x53, 0x44])?;
    match body.get(at + 2..)? {
        [0xc0, _, _, 0x50, code @ 1..=4, ..] | [0xd0, _, _, _, _, _, _, _, _, 0x50, code @ 1..=4, ..] => {
            Some(format_compact!("sasl outcome {code}"))
        }
        _ => None,
    }
}

/// The condition and description of an error (descriptor 0x1d, section 2.8.14) in a Close.
fn error(body: &[u8]) -> Option<CompactString> {
    let at = body.windows(3).position(|window| window == [0x00, 0x53, 0x1d])?;
    let mut reader = Reader::new(body.get(at + 3..)?);
    // The list's own header: one or four bytes each of size and count.
    match reader.u8()? {
        0xc0 => reader.skip(2)?,
        0xd0 => reader.skip(8)?,
        _ => return None,
    }
    // sym8 or sym32, then str8, str32 or null.
    let mut word = || {
        let length = match reader.u8()? {
            0xa1 | 0xa3 => usize::from(reader.u8()?),
            0xb1 | 0xb3 => reader.be32()? as usize,
            _ => return None,
        };
        reader.take(length).map(text)
    };
    let condition = word()?;
    Some(match word() {
        Some(description) => format_compact!("{condition} {description}"),
        None => condition,
    })
}
