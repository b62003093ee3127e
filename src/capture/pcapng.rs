//! pcapng (draft-ietf-opsawg-pcapng): sections of either byte order, interfaces with their own link type and clock.
//!
//! `pcap-parser` reads the blocks that describe (section, interface, names, statistics). Packet blocks are read here: the crate
//! allocates a list for the options of each, and has no obsolete packet block.

mod options;

use std::net::IpAddr;

use pcap_parser::OptionCode;
use pcap_parser::pcapng;

use crate::capture::block::LARGEST_READ;
use crate::capture::clock::Clock;
use crate::capture::walker::LARGEST_PACKET;
use crate::capture::walker::Order;
use crate::capture::walker::Record;
use crate::capture::walker::Step;
use crate::capture::walker::Walker;
use crate::model::LinkType;
use crate::model::LossyInterface;
use crate::model::Timestamp;

use options::drop_count;
use options::named;
use options::option;

/// The block types that are read (draft-ietf-opsawg-pcapng section 11.1). That of the section header is a palindrome.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
/// Blocks that Wireshark (4.0 on) lists among the packets, so that its numbers count them: journal entries and custom blocks.
const JOURNAL_EXPORT: u32 = 9;
const CUSTOM: u32 = 0x0000_0bad;
const CUSTOM_NOT_COPIED: u32 = 0x4000_0bad;

/// The byte order mark of a section header (section 4.1).
const BYTE_ORDER_MARK: u32 = 0x1a2b_3c4d;
/// Type and length before a block's body, length after it (section 3.1).
const FRAMING: usize = 12;
/// Type, length and byte order mark, which must be here to read a section header's length.
const SECTION_START: usize = 12;
/// The shortest section header block: framing, byte order mark, version and section length (section 4.1).
const SECTION_HEADER_BLOCK: usize = 28;
/// Length of an enhanced packet block up to the packet's bytes (section 4.3).
const ENHANCED_HEADER: usize = 28;
/// The largest block read whole: the largest packet with room for its options.
const LARGEST_BLOCK: usize = LARGEST_PACKET as usize + LARGEST_READ;
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
    /// The interface of sections that are over which lost the largest share, where they had several.
    lossiest: Option<LossyInterface>,
}

/// One interface of the current section.
struct Interface {
    link: LinkType,
    /// 0 is no limit.
    snaplen: u32,
    clock: Clock,
    /// The latest statistics; they count from the beginning of the capture.
    dropped: Option<u64>,
    /// Packets so far.
    packets: u64,
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
            lossiest: None,
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
                return skip(framing);
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
                Ok(()) => return skip(framing),
                Err(why) => Err(why),
            },
        };
        match found {
            Ok(record) => {
                self.last = record.time;
                if let Some(own) = self.interfaces.get_mut(record.interface as usize) {
                    own.packets += 1;
                }
                Step::Packet(Record { size: framing.size, ..record })
            }
            Err(why) => Step::Broken(format!(
                "the {} where packet {number} should be is broken: {why}",
                name(framing.kind)
            )),
        }
    }

    /// The packet at the front, where that is a whole enhanced packet block without options; [`Pcapng::step`] tells all else.
    #[inline(always)]
    pub(super) fn usual_record(&mut self, front: &[u8]) -> Option<Record> {
        let (header, _) = front.split_first_chunk::<ENHANCED_HEADER>()?;
        let (words, []) = header.as_chunks::<4>() else { return None };
        let &[kind, stated, interface, high, low, captured, original] = words else { return None };
        let word = |word: [u8; 4]| self.order.u32(word);
        let (stated, captured, original) = (word(stated) as usize, word(captured), word(original));
        let size = ENHANCED_HEADER + (captured as usize).next_multiple_of(4) + 4;
        let trailer = front.get(size - 4..size)?.first_chunk::<4>()?;
        if word(kind) != ENHANCED_PACKET || stated != size || word(*trailer) as usize != size {
            return None;
        }
        let interface = word(interface);
        let stamp = (word(high), word(low));
        let described = self.interfaces.get_mut(interface as usize)?;
        described.packets += 1;
        self.last = described.clock.time(stamp.0, stamp.1);
        Some(Record {
            time: self.last,
            link: described.link,
            interface,
            original: original.max(captured),
            offset: ENHANCED_HEADER,
            length: captured as usize,
            size,
        })
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
            offset: ENHANCED_HEADER,
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
                    packets: 0,
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
        self.lossiest = self.lossiest();
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

    /// See [`Walker::lossiest`].
    pub(super) fn lossiest(&self) -> Option<LossyInterface> {
        let here = self.interfaces.iter().zip(0..).filter(|_| self.interfaces.len() > 1);
        let lossy = here.filter_map(|(interface, number)| {
            let lost = interface.dropped.filter(|lost| *lost > 0)?;
            Some(LossyInterface { number, lost, seen: interface.packets })
        });
        self.lossiest.into_iter().chain(lossy).reduce(LossyInterface::worse)
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

/// Passes over a block that is no packet.
fn skip(framing: Framing) -> Step {
    match framing.kind {
        JOURNAL_EXPORT | CUSTOM | CUSTOM_NOT_COPIED => Step::SkipNumbered(framing.size as u64),
        _ => Step::Skip(framing.size as u64),
    }
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

#[cfg(test)]
mod tests;
