//! Classic pcap (draft-ietf-opsawg-pcap): both byte orders, micro- and nanoseconds, and the variants in use.
//!
//! `pcap-parser` reads the file header. The four words of a record header are read here, because the crate knows neither
//! modified records in big-endian order nor the exchanged lengths of old files, and says nothing of a record that is not whole.

use pcap_parser::parse_pcap_header;

use crate::capture::walker::LARGEST_PACKET;
use crate::capture::walker::Order;
use crate::capture::walker::Record;
use crate::capture::walker::Step;
use crate::capture::walker::USUAL_PACKET;
use crate::capture::walker::Walker;
use crate::model::LinkType;
use crate::model::Timestamp;

/// Length of the file header (draft-ietf-opsawg-pcap section 4).
const FILE_HEADER: usize = 24;
/// Length of a record header (section 5).
const RECORD_HEADER: usize = 16;
/// Length of a record header in the modified format of A. Kuznetsov's patches: interface index, protocol and packet type follow
/// (libpcap `sf-pcap.c`, `pcap_sf_patched_pkthdr`).
const MODIFIED_RECORD_HEADER: usize = 24;

/// A walker through a classic pcap file.
pub(super) struct Pcap {
    order: Order,
    /// Nanoseconds in a unit of the second word.
    unit: i64,
    record_header: usize,
    lengths: Lengths,
    link: LinkType,
    /// The longest packet that is not a broken length field.
    limit: u32,
}

/// Which of the two lengths of a record comes first (libpcap `sf-pcap.c`, `lengths_swapped`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lengths {
    /// Captured, then original: version 2.4.
    CapturedFirst,
    /// Original, then captured: before 2.3, and 543.0 of DG/UX.
    OriginalFirst,
    /// Either, in 2.3: the captured one can't be the larger.
    SmallerIsCaptured,
}

/// What a magic number says: order, nanoseconds in a unit, record header, bytes after the standard file header.
fn variant(magic: [u8; 4]) -> Option<(Order, i64, usize, usize)> {
    let (order, number) = match u32::from_le_bytes(magic) {
        little @ (0xa1b2_c3d4 | 0xa1b2_3c4d | 0xa1b2_cd34 | 0x1c00_01ac | 0x1c00_01ab) => {
            (Order::Little, little)
        }
        other => (Order::Big, other.swap_bytes()),
    };
    let (unit, record, extra) = match number {
        // Standard, with microseconds and with nanoseconds.
        0xa1b2_c3d4 => (1_000, RECORD_HEADER, 0),
        0xa1b2_3c4d => (1, RECORD_HEADER, 0),
        // Modified by A. Kuznetsov's patches.
        0xa1b2_cd34 => (1_000, MODIFIED_RECORD_HEADER, 0),
        // IXIA lcap by hardware and by software: the size of all records follows the header (Wireshark `wiretap/libpcap.h`).
        0x1c00_01ac => (1, RECORD_HEADER, 4),
        0x1c00_01ab => (1_000, RECORD_HEADER, 4),
        _ => return None,
    };
    Some((order, unit, record, extra))
}

impl Pcap {
    /// A walker for a file that begins like this; see [`Walker::recognise`].
    pub(super) fn recognise(head: &[u8]) -> Result<Option<(Walker, usize)>, String> {
        let Some((magic, rest)) = head.split_first_chunk::<4>() else { return Ok(None) };
        let Some((order, unit, record_header, extra)) = variant(*magic) else { return Ok(None) };
        let header = FILE_HEADER + extra;
        let Some((fields, _)) = rest.split_first_chunk::<20>() else {
            return Ok(Some((Walker::Cut { format: "pcap", header }, 0)));
        };
        if head.len() < header {
            return Ok(Some((Walker::Cut { format: "pcap", header }, 0)));
        }
        // The crate knows the standard magic alone; the other fields are the same in all variants.
        let mut standard = [0; FILE_HEADER];
        let magic = match order {
            Order::Little => 0xa1b2_c3d4_u32.to_le_bytes(),
            Order::Big => 0xa1b2_c3d4_u32.to_be_bytes(),
        };
        for (to, from) in standard.iter_mut().zip(magic.iter().chain(fields)) {
            *to = *from;
        }
        let Ok((_, fields)) = parse_pcap_header(&standard) else { return Ok(None) };
        let version = (fields.version_major, fields.version_minor);
        let lengths = match version {
            (2, 0..=2) | (543, 0) => Lengths::OriginalFirst,
            (2, 3) => Lengths::SmallerIsCaptured,
            (2, _) => Lengths::CapturedFirst,
            (major, minor) => {
                return Err(format!("a pcap file of version {major}.{minor}, which is not known (2.4 is)"));
            }
        };
        // The upper half of the field holds the length of a frame check sequence (draft-ietf-opsawg-pcap section 4).
        let link = LinkType((fields.network.0 & 0xffff) as u16);
        let limit = fields.snaplen.clamp(USUAL_PACKET, LARGEST_PACKET);
        Ok(Some((Walker::Pcap(Self { order, unit, record_header, lengths, link, limit }), header)))
    }

    /// The four words of a record header: seconds, fraction, captured length, original length.
    #[inline]
    fn words(&self, front: &[u8]) -> Option<[u32; 4]> {
        let (header, _) = front.split_first_chunk::<RECORD_HEADER>()?;
        let ([seconds, fraction, first, second], []) = header.as_chunks::<4>() else { return None };
        let [first, second] = [self.order.u32(*first), self.order.u32(*second)];
        let exchanged = match self.lengths {
            Lengths::CapturedFirst => false,
            Lengths::OriginalFirst => true,
            Lengths::SmallerIsCaptured => first > second,
        };
        let (captured, original) = if exchanged { (second, first) } else { (first, second) };
        Some([self.order.u32(*seconds), self.order.u32(*fraction), captured, original])
    }

    /// See [`Walker::step`].
    #[inline]
    pub(super) fn step(&mut self, front: &[u8], number: u64) -> Step {
        let Some([seconds, fraction, captured, original]) = self.words(front) else {
            return Step::Need(self.record_header);
        };
        if captured > self.limit {
            return Step::Broken(format!(
                "packet {number} has a broken header: it says {captured} captured bytes, more than the {} that a packet can have",
                self.limit
            ));
        }
        let length = captured as usize;
        let size = self.record_header + length;
        if front.len() < size {
            return Step::Need(size);
        }
        let nanos = i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * self.unit;
        Step::Packet(Record {
            time: Timestamp::from_nanos(nanos),
            link: self.link,
            interface: 0,
            original: original.max(captured),
            offset: self.record_header,
            length,
            size,
        })
    }

    /// See [`Walker::cut`].
    pub(super) fn cut(&self, rest: &[u8], number: u64) -> String {
        match self.words(rest) {
            Some([_, _, captured, _]) if rest.len() >= self.record_header => format!(
                "cut off in the middle of packet {number}: the record says {captured} bytes, {} are there",
                rest.len() - self.record_header
            ),
            _ => format!(
                "cut off in the header of packet {number}: it has {} bytes, {} are there",
                self.record_header,
                rest.len()
            ),
        }
    }
}
