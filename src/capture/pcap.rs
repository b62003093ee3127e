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
    #[inline(always)]
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

    /// Whether it is a file as nearly all are: little-endian, the captured length first.
    pub(super) fn is_usual(&self) -> bool {
        self.order == Order::Little && self.lengths == Lengths::CapturedFirst
    }

    /// As [`Pcap::record`], of a usual file.
    #[inline(always)]
    pub(super) fn usual_record(&self, front: &[u8]) -> Option<Record> {
        let (header, _) = front.split_first_chunk::<RECORD_HEADER>()?;
        let (words, []) = header.as_chunks::<4>() else { return None };
        let &[seconds, fraction, captured, original] = words else { return None };
        self.record_of([seconds, fraction, captured, original].map(u32::from_le_bytes), front)
    }

    /// The packet at the front, where a whole one lies there.
    #[inline(always)]
    pub(super) fn record(&self, front: &[u8]) -> Option<Record> {
        self.record_of(self.words(front)?, front)
    }

    #[inline(always)]
    fn record_of(&self, [seconds, fraction, captured, original]: [u32; 4], front: &[u8]) -> Option<Record> {
        let length = captured as usize;
        let size = self.record_header + length;
        if captured > self.limit || front.len() < size {
            return None;
        }
        let nanos = i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * self.unit;
        Some(Record {
            time: Timestamp::from_nanos(nanos),
            link: self.link,
            interface: 0,
            original: original.max(captured),
            offset: self.record_header,
            length,
            size,
        })
    }

    /// See [`Walker::step`].
    pub(super) fn step(&mut self, front: &[u8], number: u64) -> Step {
        if let Some(record) = self.record(front) {
            return Step::Packet(record);
        }
        match self.words(front) {
            None => Step::Need(self.record_header),
            Some([_, _, captured, _]) if captured > self.limit => Step::Broken(format!(
                "packet {number} has a broken header: it says {captured} captured bytes, more than the {} that a packet can have",
                self.limit
            )),
            Some([_, _, captured, _]) => Step::Need(self.record_header + captured as usize),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::testing::Seen;
    use crate::capture::testing::Writer;
    use crate::capture::testing::pcap_at;
    use crate::capture::testing::read;
    use crate::capture::testing::read_all;

    const ORDERS: [Order; 2] = [Order::Little, Order::Big];

    /// The two packets that every variant is made to hold.
    fn expected(nanos: i64) -> Vec<Seen> {
        vec![(0, 1, nanos, 1, 0, 3, vec![1, 2, 3]), (0, 2, nanos + 1_000_000_000, 1, 0, 900, vec![4; 5])]
    }

    #[test]
    fn standard_files_in_both_orders_and_resolutions() {
        for order in ORDERS {
            for (magic, nanos) in [(0xa1b2_c3d4, 7_000_009_000), (0xa1b2_3c4d, 7_000_000_009)] {
                let file = Writer::new(order).pcap(magic, 65535, 1);
                let file = file.record(7, 9, &[1, 2, 3], 3).record(8, 9, &[4; 5], 900).bytes;
                assert_eq!(read_all(&file), (expected(nanos), None));
            }
        }
    }

    #[test]
    fn modified_files_in_both_orders() {
        for order in ORDERS {
            let file = Writer::new(order).pcap(0xa1b2_cd34, 65535, 1);
            let file = file.u32(7).u32(9).u32(3).u32(3).u32(2).u16(0x0800).raw(&[0, 0, 1, 2, 3]);
            let file =
                file.u32(8).u32(9).u32(5).u32(900).u32(2).u16(0x0800).raw(&[0, 0, 4, 4, 4, 4, 4]).bytes;
            assert_eq!(read_all(&file), (expected(7_000_009_000), None));
        }
    }

    #[test]
    fn ixia_files_in_both_orders() {
        for order in ORDERS {
            for (magic, nanos) in [(0x1c00_01ab, 7_000_009_000), (0x1c00_01ac, 7_000_000_009)] {
                let file = Writer::new(order).pcap(magic, 65535, 1).u32(40);
                let file = file.record(7, 9, &[1, 2, 3], 3).record(8, 9, &[4; 5], 900).bytes;
                assert_eq!(read_all(&file), (expected(nanos), None));
            }
        }
    }

    #[test]
    fn old_versions_exchange_the_lengths() {
        for (major, minor) in [(2, 2), (2, 3), (543, 0)] {
            let file = Writer::new(Order::Little).u32(0xa1b2_c3d4).u16(major).u16(minor);
            let file = file.u32(0).u32(0).u32(65535).u32(1);
            let file = file.u32(7).u32(9).u32(3).u32(3).raw(&[1, 2, 3]);
            let file = file.u32(8).u32(9).u32(900).u32(5).raw(&[4; 5]).bytes;
            assert_eq!(read_all(&file), (expected(7_000_009_000), None), "{major}.{minor}");
        }
    }

    #[test]
    fn odd_fields_that_are_taken_as_they_are() {
        // More captured than the snap length and than the original length; a frame check sequence length beside the link type.
        let file = Writer::new(Order::Little).pcap(0xa1b2_c3d4, 4, 0x2400_0065);
        let file = file.record(1, 5_000_000, &[9; 8], 2).bytes;
        assert_eq!(read_all(&file), (vec![(0, 1, 6_000_000_000, 101, 0, 8, vec![9; 8])], None));
        // No packets at all.
        assert_eq!(read_all(&pcap_at(&[])), (vec![], None));
    }

    #[test]
    fn a_record_larger_than_any_read() {
        let large = vec![5; 3 << 20];
        let file = Writer::new(Order::Big).pcap(0xa1b2_c3d4, 4 << 20, 1);
        let file = file.record(1, 0, &[1], 1).record(2, 0, &large, 3 << 20).record(3, 0, &[2], 1).bytes;
        let (packets, stopped) = read_all(&file);
        assert_eq!(stopped, None);
        assert_eq!(packets.iter().map(|packet| packet.6.len()).collect::<Vec<_>>(), [1, 3 << 20, 1]);
    }

    #[test]
    fn says_where_it_breaks_off() {
        let check = |file: &[u8], packets: usize, why: &str| {
            let (found, stopped) = read_all(file);
            assert_eq!((found.len(), stopped.as_deref()), (packets, Some(why)));
        };
        let file = pcap_at(&[1, 2, 3]);
        let cut = |less: usize| &file[..file.len() - less];
        check(cut(2), 2, "cut off in the middle of packet 3: the record says 42 bytes, 40 are there");
        check(cut(42), 2, "cut off in the middle of packet 3: the record says 42 bytes, 0 are there");
        check(cut(50), 2, "cut off in the header of packet 3: it has 16 bytes, 8 are there");
        check(&file[..10], 0, "cut off in the pcap file header: it has 24 bytes, 10 are there");
        let long = Writer::new(Order::Little).raw(&file).u32(1).u32(1).u32(0x7fff_ffff).u32(60).bytes;
        let why = "packet 4 has a broken header: it says 2147483647 captured bytes, more than the 262144 that a packet can have";
        check(&long, 3, why);
        let (_, input) = read(cut(2)).unwrap();
        let after = input.stopped.unwrap().after.unwrap();
        assert_eq!((after.number(), after.time.as_nanos()), (2, 2_000));
    }

    #[test]
    fn refuses_versions_that_nobody_knows() {
        let file = Writer::new(Order::Little).u32(0xa1b2_c3d4).u16(1).u16(4).raw(&[0; 16]).bytes;
        let error = read(&file).unwrap_err().to_string();
        assert_eq!(error, "test: a pcap file of version 1.4, which is not known (2.4 is)");
    }

    #[test]
    fn counts_what_it_hands_out() {
        let (_, input) = read(&pcap_at(&[5, 9, 7, 8, 6])).unwrap();
        assert_eq!((input.packets, input.bytes, input.cut_packets, input.time_reversals), (5, 210, 5, 2));
        assert_eq!(input.first.map(Timestamp::as_nanos), Some(5_000));
        assert_eq!(input.last.map(Timestamp::as_nanos), Some(9_000));
        assert_eq!(input.format, "pcap");
        assert_eq!(input.dropped, None);
    }
}
