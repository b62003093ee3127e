//! pcapng (draft-ietf-opsawg-pcapng): sections of either byte order, interfaces with their own link type and clock.
//!
//! `pcap-parser` reads the blocks that describe (section, interface, names, statistics). Packet blocks are read here: the crate
//! allocates a list for the options of each, and has no obsolete packet block.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use pcap_parser::NameRecordType;
use pcap_parser::OptionCode;
use pcap_parser::PcapNGOption;
use pcap_parser::pcapng;

use crate::capture::block::LARGEST_READ;
use crate::capture::walker::LARGEST_PACKET;
use crate::capture::walker::Order;
use crate::capture::walker::Record;
use crate::capture::walker::Step;
use crate::capture::walker::Walker;
use crate::model::LinkType;
use crate::model::Timestamp;

/// The block types that are read (draft-ietf-opsawg-pcapng section 11.1). That of the section header is a palindrome.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// The byte order mark of a section header (section 4.1).
const BYTE_ORDER_MARK: u32 = 0x1a2b_3c4d;
/// Type and length before a block's body, length after it (section 3.1).
const FRAMING: usize = 12;
/// Type, length and byte order mark, which must be here to read a section header's length.
const SECTION_START: usize = 12;
/// The shortest section header block: framing, byte order mark, version and section length (section 4.1).
const SECTION_HEADER_BLOCK: usize = 28;
/// The largest block read whole: the largest packet with room for its options.
const LARGEST_BLOCK: usize = LARGEST_PACKET as usize + LARGEST_READ;
/// Option `epb_dropcount` of an enhanced packet block (section 4.3).
const DROP_COUNT: u16 = 4;
/// The most interfaces of one section, against files made to fill the memory. 16 bits were all that packets had for them at first.
const MOST_INTERFACES: usize = 1 << 16;
/// The most names kept of one file.
const MOST_NAMES: usize = 1 << 16;

/// A walker through a pcapng file.
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
    /// The packet before, for simple packet blocks: they carry no time.
    last: Timestamp,
    names: Vec<(IpAddr, String)>,
    /// Losses told by the statistics of sections that are over.
    dropped: Option<u64>,
    /// Losses told by the packets themselves.
    gaps: Option<u64>,
}

/// One interface of the current section.
struct Interface {
    link: LinkType,
    /// 0 is no limit.
    snaplen: u32,
    clock: Clock,
    /// The latest statistics; they count from the beginning of the capture.
    dropped: Option<u64>,
}

/// How the timestamps of an interface count.
#[derive(Clone, Copy)]
struct Clock {
    unit: Unit,
    /// Nanoseconds to add.
    offset: i128,
}

/// The unit of a timestamp (`if_tsresol`, section 4.2).
#[derive(Clone, Copy)]
enum Unit {
    /// So many nanoseconds each.
    Nanos(i64),
    /// So many of them in a nanosecond.
    PerNano(u128),
    /// Two to this power of them in a second.
    BinaryFraction(u32),
}

impl Clock {
    /// From the options `if_tsresol` and `if_tsoffset`.
    fn new(resolution: u8, offset: i64) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let unit = match exponent {
            _ if resolution & 0x80 != 0 => Unit::BinaryFraction(exponent),
            0..=9 => Unit::Nanos(10_i64.pow(9 - exponent)),
            // Beyond 10^38 units in a nanosecond no timestamp of 64 bits is as much as one.
            _ => Unit::PerNano(10_u128.checked_pow(exponent - 9).unwrap_or(u128::MAX)),
        };
        Self { unit, offset: i128::from(offset) * 1_000_000_000 }
    }

    /// The time of a timestamp, at the end of what can be expressed where it lies beyond.
    #[inline]
    fn time(&self, high: u32, low: u32) -> Timestamp {
        let count = u64::from(high) << 32 | u64::from(low);
        if let (Unit::Nanos(each), 0, Ok(count)) = (self.unit, self.offset, i64::try_from(count))
            && let Some(nanos) = count.checked_mul(each)
        {
            return Timestamp::from_nanos(nanos);
        }
        let nanos = match self.unit {
            Unit::Nanos(each) => i128::from(count) * i128::from(each),
            Unit::PerNano(many) => i128::try_from(u128::from(count) / many).unwrap_or(i128::MAX),
            Unit::BinaryFraction(power) => {
                i128::try_from((u128::from(count) * 1_000_000_000).checked_shr(power).unwrap_or(0))
                    .unwrap_or(i128::MAX)
            }
        };
        let nanos = nanos.saturating_add(self.offset).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        Timestamp::from_nanos(nanos as i64)
    }
}

/// A block's type, its stated length and its length with padding.
#[derive(Clone, Copy)]
struct Framing {
    kind: u32,
    stated: u32,
    size: usize,
    order: Order,
}

impl Pcapng {
    /// A walker for a file that begins like this; see [`Walker::recognise`].
    pub(super) fn recognise(head: &[u8]) -> Result<Option<(Walker, usize)>, String> {
        let Some((kind, rest)) = head.split_first_chunk::<4>() else { return Ok(None) };
        if u32::from_le_bytes(*kind) != SECTION_HEADER {
            return Ok(None);
        }
        let Some((fixed, _)) = rest.split_first_chunk::<12>() else {
            return Ok(Some((Walker::Cut { format: "pcapng", header: SECTION_HEADER_BLOCK }, 0)));
        };
        let ([_, mark, version], []) = fixed.as_chunks::<4>() else { return Ok(None) };
        let Some(order) = order(*mark) else { return Ok(None) };
        if let Some(wrong) = unknown_version(order, *version) {
            return Err(format!("a pcapng file of version {wrong}, which is not known (1.0 is)"));
        }
        let new = Self {
            order,
            interfaces: Vec::new(),
            last: Timestamp::default(),
            names: Vec::new(),
            dropped: None,
            gaps: None,
        };
        Ok(Some((Walker::Pcapng(new), 0)))
    }

    /// Reads a block's framing; `Err` says what to do instead.
    #[inline]
    fn framing(&self, front: &[u8], number: u64) -> Result<Framing, Step> {
        let Some((start, _)) = front.split_first_chunk::<SECTION_START>() else {
            return Err(Step::Need(SECTION_START));
        };
        let ([kind, length, mark], []) = start.as_chunks::<4>() else {
            return Err(Step::Need(SECTION_START));
        };
        let kind = self.order.u32(*kind);
        let order = if kind == SECTION_HEADER {
            order(*mark).ok_or_else(|| {
                Step::Broken(format!("the section header before packet {number} has no byte order mark"))
            })?
        } else {
            self.order
        };
        let stated = order.u32(*length);
        // Blocks are padded to 4 bytes, and some programs leave the padding out of the length.
        let size = (stated as usize).next_multiple_of(4);
        if size < FRAMING {
            let name = name(kind);
            return Err(Step::Broken(format!(
                "the {name} before packet {number} is broken: it says that it is {stated} bytes long, less than the {FRAMING} that any block has"
            )));
        }
        Ok(Framing { kind, stated, size, order })
    }

    /// See [`Walker::step`].
    #[inline]
    pub(super) fn step(&mut self, front: &[u8], number: u64) -> Step {
        let framing = match self.framing(front, number) {
            Ok(framing) => framing,
            Err(step) => return step,
        };
        let Some(block) = front.get(..framing.size) else {
            let read_whole = matches!(framing.kind, SECTION_HEADER | INTERFACE_DESCRIPTION..=ENHANCED_PACKET);
            if framing.size > LARGEST_READ && !read_whole {
                // What nobody here reads need not fit into memory.
                return Step::Skip(framing.size as u64);
            }
            if framing.size <= LARGEST_BLOCK {
                return Step::Need(framing.size);
            }
            return Step::Broken(format!(
                "the {} where packet {number} should be is broken: it says that it is {} bytes long",
                name(framing.kind),
                framing.stated
            ));
        };
        let Some((inside, trailer)) = block.split_last_chunk::<4>() else { return Step::Need(FRAMING) };
        let again = framing.order.u32(*trailer);
        if again != framing.stated {
            return Step::Broken(format!(
                "the {} where packet {number} should be is broken: it says that it is {} bytes long in front and {again} at its end",
                name(framing.kind),
                framing.stated
            ));
        }
        let body = inside.get(8..).unwrap_or_default();
        let found = match framing.kind {
            ENHANCED_PACKET => self.enhanced(body),
            SIMPLE_PACKET => self.simple(body),
            OBSOLETE_PACKET => self.obsolete(body),
            _ => match self.describe(framing, block) {
                Ok(()) => return Step::Skip(framing.size as u64),
                Err(why) => Err(why),
            },
        };
        match found {
            Ok(record) => {
                self.last = record.time;
                Step::Packet(Record { size: framing.size, ..record })
            }
            Err(why) => Step::Broken(format!(
                "the {} where packet {number} should be is broken: {why}",
                name(framing.kind)
            )),
        }
    }

    /// An enhanced packet block (section 4.3), without its framing.
    #[inline]
    fn enhanced(&mut self, body: &[u8]) -> Result<Record, String> {
        let Some((header, rest)) = body.split_first_chunk::<20>() else { return Err(too_short(body)) };
        let ([interface, high, low, captured, original], []) = header.as_chunks::<4>() else {
            return Err(too_short(body));
        };
        let captured = self.order.u32(*captured);
        let after = (captured as usize).next_multiple_of(4);
        if let Some(options) = rest.get(after..)
            && !options.is_empty()
            && let Some(lost) = drop_count(self.order, options)
        {
            self.gaps = Some(self.gaps.unwrap_or(0).saturating_add(lost));
        }
        let stamp = (self.order.u32(*high), self.order.u32(*low));
        self.record(self.order.u32(*interface), stamp, captured, self.order.u32(*original), rest)
    }

    /// An obsolete packet block (appendix A), without its framing.
    fn obsolete(&mut self, body: &[u8]) -> Result<Record, String> {
        let Some((header, rest)) = body.split_first_chunk::<20>() else { return Err(too_short(body)) };
        let ([[i, j, d, e], high, low, captured, original], []) = header.as_chunks::<4>() else {
            return Err(too_short(body));
        };
        let interface = self.order.u16([*i, *j]);
        // All ones say that the number is not known.
        let lost = self.order.u16([*d, *e]);
        if lost != u16::MAX {
            self.gaps = Some(self.gaps.unwrap_or(0).saturating_add(u64::from(lost)));
        }
        let stamp = (self.order.u32(*high), self.order.u32(*low));
        let lengths = (self.order.u32(*captured), self.order.u32(*original));
        self.record(u32::from(interface), stamp, lengths.0, lengths.1, rest)
    }

    /// What enhanced and obsolete packet blocks have in common.
    #[inline]
    fn record(
        &self,
        interface: u32,
        (high, low): (u32, u32),
        captured: u32,
        original: u32,
        rest: &[u8],
    ) -> Result<Record, String> {
        let Some(described) = self.interfaces.get(interface as usize) else {
            return Err(format!(
                "it names interface {interface}, and {} are described",
                self.interfaces.len()
            ));
        };
        if captured as usize > rest.len() {
            return Err(format!("it says {captured} captured bytes, and has room for {}", rest.len()));
        }
        Ok(Record {
            time: described.clock.time(high, low),
            link: described.link,
            interface,
            original: original.max(captured),
            offset: 8 + 20,
            length: captured as usize,
            size: 0,
        })
    }

    /// A simple packet block (section 4.4): of the first interface, without a time. It is given that of the packet before.
    fn simple(&self, body: &[u8]) -> Result<Record, String> {
        let Some((original, rest)) = body.split_first_chunk::<4>() else { return Err(too_short(body)) };
        let Some(described) = self.interfaces.first() else {
            return Err("it belongs to interface 0, and none is described".to_owned());
        };
        let original = self.order.u32(*original);
        let limit = if described.snaplen == 0 { u32::MAX } else { described.snaplen };
        Ok(Record {
            time: self.last,
            link: described.link,
            interface: 0,
            original,
            offset: 8 + 4,
            length: (original.min(limit) as usize).min(rest.len()),
            size: 0,
        })
    }

    /// Any other block.
    fn describe(&mut self, framing: Framing, block: &[u8]) -> Result<(), String> {
        let little = framing.order == Order::Little;
        match framing.kind {
            SECTION_HEADER => {
                let Some(version) = block.get(12..16).and_then(|bytes| bytes.first_chunk::<4>()) else {
                    return Err(too_short(block));
                };
                if let Some(wrong) = unknown_version(framing.order, *version) {
                    return Err(format!("it is of version {wrong}, which is not known (1.0 is)"));
                }
                self.end_section();
                self.order = framing.order;
            }
            INTERFACE_DESCRIPTION => {
                let parsed = if little {
                    pcapng::parse_interfacedescriptionblock_le(block)
                } else {
                    pcapng::parse_interfacedescriptionblock_be(block)
                };
                let Ok((_, found)) = parsed else { return Err("its fields do not fit into it".to_owned()) };
                if self.interfaces.len() >= MOST_INTERFACES {
                    return Err(format!("it is one more than the {MOST_INTERFACES} interfaces taken"));
                }
                let offset =
                    option(&found.options, OptionCode::IfTsoffset).and_then(|value| value.first_chunk::<8>());
                // The crate reads this option as little-endian in sections of either order, hence not its own field.
                let offset = offset.map_or(0, |bytes| framing.order.u64(*bytes) as i64);
                self.interfaces.push(Interface {
                    link: LinkType(u16::try_from(found.linktype.0 & 0xffff).unwrap_or(0)),
                    snaplen: found.snaplen,
                    clock: Clock::new(found.if_tsresol, offset),
                    dropped: None,
                });
            }
            NAME_RESOLUTION => {
                let parsed = if little {
                    pcapng::parse_nameresolutionblock_le(block)
                } else {
                    pcapng::parse_nameresolutionblock_be(block)
                };
                // Names are a help and no packets: a block of them that can't be read stops nothing.
                for record in parsed.iter().flat_map(|(_, found)| &found.nr) {
                    let room = MOST_NAMES - self.names.len();
                    self.names.extend(
                        named(record.record_type, record.record_value).into_iter().flatten().take(room),
                    );
                }
            }
            INTERFACE_STATISTICS => {
                let parsed = if little {
                    pcapng::parse_interfacestatisticsblock_le(block)
                } else {
                    pcapng::parse_interfacestatisticsblock_be(block)
                };
                if let Ok((_, found)) = parsed
                    && let Some(interface) = self.interfaces.get_mut(found.if_id as usize)
                {
                    let lost = [OptionCode::IsbIfDrop, OptionCode::IsbOsDrop].map(|code| {
                        let value = option(&found.options, code)?.first_chunk::<8>()?;
                        Some(framing.order.u64(*value))
                    });
                    if let Some(lost) = lost.into_iter().flatten().reduce(u64::saturating_add) {
                        interface.dropped = Some(lost);
                    }
                }
            }
            // Custom blocks, secrets, journals and what is yet to be invented: the specification says to skip them.
            _ => {}
        }
        Ok(())
    }

    /// Keeps what the interfaces of a section told, and forgets them.
    fn end_section(&mut self) {
        self.dropped = self.dropped();
        self.gaps = None;
        self.interfaces.clear();
    }

    /// Packets lost, by the statistics or by the packets themselves, whichever tells of more in this section.
    pub(super) fn dropped(&self) -> Option<u64> {
        let told =
            self.interfaces.iter().filter_map(|interface| interface.dropped).reduce(u64::saturating_add);
        let here = told.max(self.gaps);
        match (self.dropped, here) {
            (Some(before), Some(here)) => Some(before.saturating_add(here)),
            (before, here) => before.or(here),
        }
    }

    /// See [`Walker::names`].
    pub(super) fn names(&self) -> &[(IpAddr, String)] {
        &self.names
    }

    /// See [`Walker::cut`].
    pub(super) fn cut(&self, rest: &[u8], number: u64) -> String {
        let here = rest.len();
        match self.framing(rest, number) {
            Ok(Framing { kind: ENHANCED_PACKET | SIMPLE_PACKET | OBSOLETE_PACKET, stated, .. }) => {
                format!(
                    "cut off in the middle of packet {number}: its block says {stated} bytes, {here} are there"
                )
            }
            Ok(Framing { kind, stated, .. }) => {
                format!(
                    "cut off in the {} before packet {number}: it says {stated} bytes, {here} are there",
                    name(kind)
                )
            }
            Err(_) => format!("cut off in the block header before packet {number}: {here} bytes are there"),
        }
    }
}

/// The byte order that a section's byte order mark tells.
fn order(mark: [u8; 4]) -> Option<Order> {
    match u32::from_le_bytes(mark) {
        BYTE_ORDER_MARK => Some(Order::Little),
        swapped if swapped.swap_bytes() == BYTE_ORDER_MARK => Some(Order::Big),
        _ => None,
    }
}

/// The version of a section where it is none that this reads. 1.2 is 1.0 (section 4.1), and minor versions only add.
fn unknown_version(order: Order, [a, b, c, d]: [u8; 4]) -> Option<String> {
    let major = order.u16([a, b]);
    (major != 1).then(|| format!("{major}.{}", order.u16([c, d])))
}

/// The name of a block type, for messages.
fn name(kind: u32) -> String {
    match kind {
        SECTION_HEADER => "section header".to_owned(),
        INTERFACE_DESCRIPTION => "interface description".to_owned(),
        NAME_RESOLUTION => "name resolution block".to_owned(),
        INTERFACE_STATISTICS => "interface statistics".to_owned(),
        OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET => "packet block".to_owned(),
        other => format!("block of type 0x{other:08x}"),
    }
}

/// What to say of a block whose fixed fields do not fit.
fn too_short(body: &[u8]) -> String {
    format!("{} bytes are too few for its fields", body.len())
}

/// The value of the first option of that code, without its padding.
fn option<'a>(options: &'a [PcapNGOption<'_>], code: OptionCode) -> Option<&'a [u8]> {
    options.iter().find(|option| option.code == code).and_then(|option| option.as_bytes().ok())
}

/// `epb_dropcount` among the options of a packet block, walked over without a list.
fn drop_count(order: Order, mut options: &[u8]) -> Option<u64> {
    while let Some(([a, b, c, d], rest)) = options.split_first_chunk::<4>() {
        let (code, length) = (order.u16([*a, *b]), usize::from(order.u16([*c, *d])));
        match (code, rest.first_chunk::<8>()) {
            (0, _) => return None,
            (DROP_COUNT, Some(value)) if length == 8 => return Some(order.u64(*value)),
            _ => options = rest.get(length.next_multiple_of(4)..)?,
        }
    }
    None
}

/// The address and the names of a name resolution record (section 4.5).
fn named(kind: NameRecordType, value: &[u8]) -> Option<impl Iterator<Item = (IpAddr, String)>> {
    let (address, names) = match kind {
        NameRecordType::Ipv4 => {
            let (address, names) = value.split_first_chunk::<4>()?;
            (IpAddr::V4(Ipv4Addr::from(*address)), names)
        }
        NameRecordType::Ipv6 => {
            let (address, names) = value.split_first_chunk::<16>()?;
            (IpAddr::V6(Ipv6Addr::from(*address)), names)
        }
        _ => return None,
    };
    let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Some(names.map(move |name| (address, String::from_utf8_lossy(name).into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::testing::Writer;
    use crate::capture::testing::read;
    use crate::capture::testing::read_all;

    const ORDERS: [Order; 2] = [Order::Little, Order::Big];

    #[test]
    fn packet_blocks_of_all_three_kinds() {
        for order in ORDERS {
            let file = Writer::new(order).section().interface(1, 4).interface(113, 0);
            let file = file.enhanced(1, 5_000_000_001, &[1, 2, 3]);
            let file = file.block(3, |body| body.u32(900).raw(&[4; 4]));
            let file = file.block(2, |body| {
                body.u16(1).u16(u16::MAX).u32(1).u32(5).u32(2).u32(60).padded(&[6, 7]).option(1, b"why")
            });
            let (packets, stopped) = read_all(&file.bytes);
            assert_eq!(stopped, None);
            let expected = vec![
                (0, 1, 5_000_000_001_000, 113, 1, 3, vec![1, 2, 3]),
                // Without a time of its own, and cut by the snap length of interface 0.
                (0, 2, 5_000_000_001_000, 1, 0, 900, vec![4; 4]),
                (0, 3, ((1 << 32) + 5) * 1_000, 113, 1, 60, vec![6, 7]),
            ];
            assert_eq!(packets, expected);
        }
    }

    #[test]
    fn clocks_of_all_kinds() {
        let check = |resolution: u8, offset: i64, stamp: u64, nanos: i64| {
            for order in ORDERS {
                let file = Writer::new(order).section().block(1, |body| {
                    let options = body.u16(1).u16(0).u32(0).option(9, &[resolution]);
                    options.u16(14).u16(8).u64(offset as u64).u32(0)
                });
                let (packets, stopped) = read_all(&file.enhanced(0, stamp, &[1]).bytes);
                assert_eq!(stopped, None);
                assert_eq!(packets[0].2, nanos, "{resolution:#x} {offset} {stamp} {order:?}");
            }
        };
        check(6, 0, 1_700_000_000_000_001, 1_700_000_000_000_001_000);
        check(9, 0, 1_700_000_000_000_000_001, 1_700_000_000_000_000_001);
        check(3, 0, 1_700_000_000_001, 1_700_000_000_001_000_000);
        check(0, 0, 1_700_000_000, 1_700_000_000_000_000_000);
        check(12, 0, 7_000_000_123_456, 7_000_000_123);
        check(0x8a, 0, 1024 + 512, 1_500_000_000);
        check(0xbf, 0, 1 << 63, 1_000_000_000);
        check(0xff, 0, u64::MAX, 0);
        check(6, 3600, 1, 3_600_000_001_000);
        check(6, -3600, 3_600_000_001, 1_000);
        check(0, 0, u64::MAX, i64::MAX);
        check(127, 0, u64::MAX, 0);
        check(0, i64::MIN, 0, i64::MIN);
    }

    #[test]
    fn sections_of_different_orders_begin_anew() {
        let first = Writer::new(Order::Big).section().interface(1, 0).interface(101, 0).enhanced(1, 1, &[1]);
        let second = Writer::new(Order::Little).section().interface(228, 0).enhanced(0, 2, &[2]);
        let both = [first.bytes, second.bytes].concat();
        let (packets, stopped) = read_all(&both);
        assert_eq!(stopped, None);
        let told: Vec<_> = packets.iter().map(|packet| (packet.1, packet.2, packet.3, packet.4)).collect();
        assert_eq!(told, [(1, 1_000, 101, 1), (2, 2_000, 228, 0)]);
        // The second interface of the first section is gone in the second.
        let more = Writer::new(Order::Little).raw(&both).enhanced(1, 3, &[3]).bytes;
        let why =
            "the packet block where packet 3 should be is broken: it names interface 1, and 1 are described";
        assert_eq!(read_all(&more).1.as_deref(), Some(why));
    }

    #[test]
    fn unknown_blocks_are_passed_over() {
        let large = vec![0; 1 << 20];
        let file =
            Writer::new(Order::Little).section().block(0x0bad, |body| body.raw(&[1; 8])).interface(1, 0);
        let file = file.block(0x8000_0001, |body| body.raw(&large)).enhanced(0, 1, &[1]);
        let whole = file.block(10, |body| body.raw(&[0; 12])).enhanced(0, 2, &[2]).bytes;
        let (packets, stopped) = read_all(&whole);
        assert_eq!((packets.len(), stopped), (2, None));
        let cut = Writer::new(Order::Little).section().u32(0x0bad).u32(1 << 20).raw(&[0; 100]).bytes;
        let why = "cut off in a block before packet 1: it says 1048576 bytes, 108 are there";
        assert_eq!(read_all(&cut), (vec![], Some(why.to_owned())));
    }

    #[test]
    fn losses_from_statistics_and_packets() {
        for order in ORDERS {
            let statistics = |file: Writer, interface: u32, kernel: u64, system: u64| {
                file.block(5, |body| {
                    let body = body.u32(interface).u32(0).u32(0).u16(5).u16(8).u64(kernel);
                    body.u16(7).u16(8).u64(system).u32(0)
                })
            };
            let file = Writer::new(order).section().interface(1, 0).interface(1, 0).enhanced(0, 1, &[1]);
            assert_eq!(read(&file.bytes).unwrap().1.dropped, None);
            // The later statistics of an interface hold; interfaces and sections add up.
            let file = statistics(statistics(statistics(file, 0, 3, 1), 1, 10, 0), 0, 5, 1);
            assert_eq!(read(&file.bytes).unwrap().1.dropped, Some(16));
            let file = file.section().interface(1, 0).block(6, |body| {
                let body = body.u32(0).u32(0).u32(1).u32(2).u32(2).padded(&[1, 2]).option(2, &[0; 4]);
                body.u16(4).u16(8).u64(7).u32(0)
            });
            assert_eq!(read(&file.bytes).unwrap().1.dropped, Some(23));
            // Statistics of no interface tell nothing.
            assert_eq!(read(&statistics(file, 9, 100, 100).bytes).unwrap().1.dropped, Some(23));
        }
    }

    #[test]
    fn names_from_name_resolution_blocks() {
        let file = Writer::new(Order::Big).section().block(4, |body| {
            let body = body.option(1, b"\x0a\0\0\x01plc.plant\0backup\0");
            body.option(2, &[&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], &b"six\0"[..]].concat())
                .u32(0)
        });
        let mut walker = match Walker::recognise(&file.bytes) {
            Ok(Some((walker, 0))) => walker,
            _ => panic!("no pcapng"),
        };
        let mut front = file.bytes.as_slice();
        while let Step::Skip(count) = walker.step(front, 1) {
            front = &front[count as usize..];
        }
        let names: Vec<_> =
            walker.names().iter().map(|(address, name)| format!("{address} {name}")).collect();
        assert_eq!(names, ["10.0.0.1 plc.plant", "10.0.0.1 backup", "fe80::1 six"]);
    }

    #[test]
    fn says_where_it_breaks() {
        let good = || Writer::new(Order::Little).section().interface(1, 0).enhanced(0, 1, &[1]);
        let check = |file: Vec<u8>, packets: usize, why: &str| {
            let (found, stopped) = read_all(&file);
            assert_eq!((found.len(), stopped.as_deref()), (packets, Some(why)));
        };
        let cut = |less: usize| {
            let file = good().bytes;
            file[..file.len() - less].to_vec()
        };
        check(cut(3), 0, "cut off in the middle of packet 1: its block says 36 bytes, 33 are there");
        check(cut(30), 0, "cut off in the block header before packet 1: 6 bytes are there");
        check(
            cut(40),
            0,
            "cut off in the interface description before packet 1: it says 20 bytes, 16 are there",
        );
        check(
            good().bytes[..10].to_vec(),
            0,
            "cut off in the pcapng file header: it has 28 bytes, 10 are there",
        );
        check(
            good().u32(6).u32(8).raw(&[0; 40]).bytes,
            1,
            "the packet block before packet 2 is broken: it says that it is 8 bytes long, less than the 12 that any block has",
        );
        check(
            good().u32(6).u32(0xffff_fff0).raw(&[0; 40]).bytes,
            1,
            "the packet block where packet 2 should be is broken: it says that it is 4294967280 bytes long",
        );
        check(
            good().u32(6).u32(36).raw(&[0; 24]).u32(40).bytes,
            1,
            "the packet block where packet 2 should be is broken: it says that it is 36 bytes long in front and 40 at its end",
        );
        check(
            good().block(6, |body| body.u32(0).u32(0).u32(0).u32(9).u32(9).raw(&[0; 8])).bytes,
            1,
            "the packet block where packet 2 should be is broken: it says 9 captured bytes, and has room for 8",
        );
        check(
            good().block(6, |body| body.u32(0)).bytes,
            1,
            "the packet block where packet 2 should be is broken: 4 bytes are too few for its fields",
        );
        check(
            Writer::new(Order::Little).section().block(3, |body| body.u32(4).raw(&[0; 4])).bytes,
            0,
            "the packet block where packet 1 should be is broken: it belongs to interface 0, and none is described",
        );
        let later =
            Writer::new(Order::Big).block(0x0a0d_0d0a, |body| body.u32(0x1a2b_3c4d).u16(2).u16(0).u64(0));
        check(
            good().raw(&later.bytes).bytes,
            1,
            "the section header where packet 2 should be is broken: it is of version 2.0, which is not known (1.0 is)",
        );
        let error = read(&later.bytes).unwrap_err().to_string();
        assert_eq!(error, "test: a pcapng file of version 2.0, which is not known (1.0 is)");
    }
}
