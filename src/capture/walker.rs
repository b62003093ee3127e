//! What a walker through a capture format says about the bytes at the front of a block. Walkers read nothing themselves.

use std::net::IpAddr;

use crate::capture::merge::Place;
use crate::capture::pcap::Pcap;
use crate::capture::pcapng::Pcapng;
use crate::capture::source::Run;
use crate::capture::stretch::Ended;
use crate::capture::stretch::Stretch;
use crate::model::LinkType;
use crate::model::LossyInterface;
use crate::model::Timestamp;

/// The largest record taken: libpcap's limit for the link types with the largest packets (`MAXIMUM_SNAPLEN` of
/// DLT_DBUS and DLT_USBPCAP, 128 MiB). A longer one is a broken length field.
pub(super) const LARGEST_PACKET: u32 = 128 * 1024 * 1024;
/// The limit where the file states no larger snap length: libpcap's `MAXIMUM_SNAPLEN` of all other link types.
pub(super) const USUAL_PACKET: u32 = 256 * 1024;

/// A packet found at the front of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Its time.
    pub(super) time: Timestamp,
    /// How its bytes begin.
    pub(super) link: LinkType,
    /// The interface, as its section numbers it.
    pub(super) interface: u32,
    /// Length on the wire, at least `length`.
    pub(super) original: u32,
    /// Where the captured bytes begin, from the front.
    pub(super) offset: usize,
    /// How many were captured.
    pub(super) length: usize,
    /// The whole record with its framing.
    pub(super) size: usize,
}

impl Record {
    /// The record of no packet.
    pub(super) const NONE: Self = Self {
        time: Timestamp::from_nanos(0),
        link: LinkType::NULL,
        interface: 0,
        original: 0,
        offset: 0,
        length: 0,
        size: 0,
    };
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Step {
    /// A packet lies at the front.
    Packet(Record),
    /// Something else does, and it is done with. It may reach beyond what is here.
    Skip(u64),
    /// As [`Step::Skip`], of a block that Wireshark shows among the packets: it takes a packet's number.
    SkipNumbered(u64),
    /// So many bytes have to be here first.
    Need(usize),
    /// This can't be read on, for the reason given.
    Broken(String),
}

/// Byte order of a file or section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Order {
    /// A 16-bit number.
    #[inline]
    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// A 32-bit number.
    #[inline]
    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    /// A 64-bit number.
    pub(super) fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }
}

/// A walker through one of the formats.
pub(super) enum Walker {
    /// Classic pcap and its variants.
    Pcap(Pcap),
    /// pcapng.
    Pcapng(Pcapng),
    /// A file that ends inside the header that would make it one of the others.
    Cut {
        /// The format that it would have.
        format: &'static str,
        /// How long that header is.
        header: usize,
    },
}

impl Walker {
    /// The walker for a file that begins like this, and how many bytes of header lie before its first step.
    /// `Ok(None)` where it is no format known here, `Err` where it is one that can't be read.
    pub(super) fn recognise(head: &[u8]) -> Result<Option<(Self, usize)>, String> {
        if let Some(found) = Pcap::recognise(head)? {
            return Ok(Some(found));
        }
        Pcapng::recognise(head)
    }

    /// The format's name.
    pub(super) fn format(&self) -> &'static str {
        match self {
            Self::Pcap(_) => "pcap",
            Self::Pcapng(_) => "pcapng",
            Self::Cut { format, .. } => format,
        }
    }

    /// Looks at the front of a block; `number` is that of the packet to come.
    #[inline]
    pub(super) fn step(&mut self, front: &[u8], number: u64) -> Step {
        match self {
            Self::Pcap(pcap) => pcap.step(front, number),
            Self::Pcapng(pcapng) => pcapng.step(front, number),
            Self::Cut { header, .. } => Step::Need(*header),
        }
    }

    /// Takes packets of a stretch, as long as they are told without a second look; else [`Walker::step`] tells.
    #[inline]
    pub(super) fn walk<'a>(
        &mut self,
        stretch: &mut Stretch<'a>,
        into: &mut Run<'a>,
        most: usize,
        rival: Option<Place>,
    ) -> Ended {
        match self {
            Self::Pcap(pcap) if pcap.is_usual() => {
                stretch.walk(into, most, rival, |rest| pcap.usual_record(rest))
            }
            Self::Pcap(pcap) => stretch.walk(into, most, rival, |rest| pcap.record(rest)),
            Self::Pcapng(pcapng) => stretch.walk(into, most, rival, |rest| pcapng.usual_record(rest)),
            Self::Cut { .. } => Ended::Elsewhere,
        }
    }

    /// What is to be told of a stream that ends with these bytes, which are not a whole record.
    pub(super) fn cut(&self, rest: &[u8], number: u64) -> String {
        match self {
            Self::Pcap(pcap) => pcap.cut(rest, number),
            Self::Pcapng(pcapng) => pcapng.cut(rest, number),
            Self::Cut { format, header } => {
                format!(
                    "cut off in the {format} file header: it has {header} bytes, {} are there",
                    rest.len()
                )
            }
        }
    }

    /// Packets that the capturing machine says it lost.
    pub(super) fn dropped(&self) -> Option<u64> {
        match self {
            Self::Pcapng(pcapng) => pcapng.dropped(),
            _ => None,
        }
    }

    /// Of several interfaces the one that lost the largest share, where any lost something.
    pub(super) fn lossiest(&self) -> Option<LossyInterface> {
        match self {
            Self::Pcapng(pcapng) => pcapng.lossiest(),
            _ => None,
        }
    }

    /// Names of addresses told so far.
    pub(super) fn names(&self) -> &[(IpAddr, String)] {
        match self {
            Self::Pcapng(pcapng) => pcapng.names(),
            _ => &[],
        }
    }
}
