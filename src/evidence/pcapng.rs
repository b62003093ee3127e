//! Writes pcapng (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>): section, interfaces, packets with comments.

use crate::model::Timestamp;

/// Block types (section 11.1).
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// The byte-order magic (section 4.1).
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Options (sections 3.5, 4.1, 4.2): end, comment, section's application; interface's name, description, time resolution.
const END: u16 = 0;
const COMMENT: u16 = 1;
const APPLICATION: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
/// Stamps count nanoseconds: ten to the power of minus nine.
const NANOSECONDS: u8 = 9;

/// One packet to be written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The interface, in the order in which they were described.
    pub interface: u32,
    /// Its time. The format has no times before 1970: those are written as 1970.
    pub time: Timestamp,
    /// Length on the wire.
    pub original: u32,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A file in the making.
#[derive(Clone, Debug)]
pub struct Pcapng {
    bytes: Vec<u8>,
}

impl Pcapng {
    /// A file of one section with a comment.
    pub fn new(application: &str, comment: &str) -> Self {
        let mut body = Vec::new();
        body.extend(BYTE_ORDER.to_le_bytes());
        body.extend([1_u16, 0].map(u16::to_le_bytes).concat());
        // The section's length is not told.
        body.extend(u64::MAX.to_le_bytes());
        option(&mut body, COMMENT, comment.as_bytes());
        option(&mut body, APPLICATION, application.as_bytes());
        option(&mut body, END, &[]);
        let mut new = Self { bytes: Vec::new() };
        new.block(SECTION, &body);
        new
    }

    /// Describes one more interface.
    pub fn interface(&mut self, link: u16, name: &str, description: &str) {
        let mut body = Vec::new();
        body.extend([link, 0].map(u16::to_le_bytes).concat());
        // No snap length.
        body.extend(0_u32.to_le_bytes());
        option(&mut body, IF_NAME, name.as_bytes());
        option(&mut body, IF_DESCRIPTION, description.as_bytes());
        option(&mut body, IF_TSRESOL, &[NANOSECONDS]);
        option(&mut body, END, &[]);
        self.block(INTERFACE, &body);
    }

    /// Writes one more packet with its comments.
    pub fn packet(&mut self, packet: &Written<'_>, comments: &[String]) {
        let stamp = u64::try_from(packet.time.as_nanos()).unwrap_or(0);
        let captured = u32::try_from(packet.bytes.len()).unwrap_or(u32::MAX);
        let head = [packet.interface, (stamp >> 32) as u32, stamp as u32, captured, packet.original];
        let mut body = head.map(u32::to_le_bytes).concat();
        padded(&mut body, packet.bytes);
        comments.iter().for_each(|comment| option(&mut body, COMMENT, comment.as_bytes()));
        option(&mut body, END, &[]);
        self.block(ENHANCED_PACKET, &body);
    }

    /// The whole file.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).saturating_add(12);
        self.bytes.extend([kind, length].map(u32::to_le_bytes).concat());
        self.bytes.extend(body);
        self.bytes.extend(length.to_le_bytes());
    }
}

/// An option; a value longer than its length field can tell is cut at a character.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let most = usize::from(u16::MAX);
    let value = match value.get(..most) {
        Some(_) if value.len() > most => {
            // Continuation bytes of UTF-8 begin with the bits 10.
            let end = (0..=most).rev().find(|&at| value.get(at).is_some_and(|byte| byte & 0xc0 != 0x80));
            value.get(..end.unwrap_or(0)).unwrap_or_default()
        }
        _ => value,
    };
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    padded(body, value);
}

/// Bytes, filled up to a multiple of four.
fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_that_of_the_specification() {
        let mut file = Pcapng::new("x", "c");
        file.interface(1, "e", "");
        let time = Timestamp::from_nanos(0x1_0000_0002);
        file.packet(&Written { interface: 0, time, original: 60, bytes: &[1, 2, 3, 4, 5] }, &["why".into()]);
        let words: Vec<u32> =
            file.finish().chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
        let section = [SECTION, 48, BYTE_ORDER, 1, u32::MAX, u32::MAX, 0x1_0001, 99, 0x1_0004, 120, 0, 48];
        let interface = [INTERFACE, 44, 1, 0, 0x1_0002, 101, 3, 0x1_0009, 9, 0, 44];
        let packet = [ENHANCED_PACKET, 52, 0, 1, 2, 5, 60, 0x0403_0201, 5, 0x3_0001, 0x79_6877, 0, 52];
        assert_eq!(words, [&section[..], &interface[..], &packet[..]].concat());
    }

    #[test]
    fn long_comments_are_cut_at_a_character() {
        let mut body = Vec::new();
        option(&mut body, COMMENT, "é".repeat(40_000).as_bytes());
        assert_eq!(u16::from_le_bytes([body[2], body[3]]), 65_534);
        assert_eq!(body.len() % 4, 0);
    }
}
