//! One datagram in pieces: what its fragments have in common, what is there of it, and whether the pieces agree.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use arrayvec::ArrayVec;
use etherparse::defrag::{IpDefragBuf, IpFragRange};
use etherparse::{IpFragOffset, IpNumber};
use foldhash::fast::FixedState;

use crate::model::Timestamp;

use super::Context;
use super::FRAGMENT_COPY_WINDOW;
use super::Fragment;
use super::Frame;
use super::MOST_TUNNELS;
use super::MOST_VLANS;
use super::Network;
use super::Piece;
use super::Tunnel;

/// A fragment that contradicts one that is at least this much older belongs to a new datagram of the same number.
const REUSE_GAP: Duration = Duration::from_secs(1);
/// The most pieces of one datagram: 64 KiB need 46 at Ethernet's size and 120 at the least that IPv4 hosts accept.
const MOST_PIECES: usize = 512;
/// The longest IP packet (RFC 791).
const LONGEST_PACKET: usize = 0xffff;

/// What fragments of one datagram have in common (RFC 791 section 3.2), within the layers around them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    vlans: ArrayVec<u16, MOST_VLANS>,
    tunnels: ArrayVec<Tunnel, MOST_TUNNELS>,
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// IPv4 only: of IPv6, the first fragment alone tells it (RFC 8200 section 4.5).
    protocol: u8,
}

impl Key {
    pub fn of(frame: &Frame<'_>, network: &Network, fragment: &Fragment<'_>) -> Self {
        Self {
            vlans: frame.context.vlans.clone(),
            tunnels: frame.context.tunnels.clone(),
            source: network.source,
            destination: network.destination,
            identification: fragment.identification,
            protocol: if network.source.is_ipv4() { fragment.protocol } else { 0 },
        }
    }
}

/// What a fragment is known again by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    offset: u32,
    length: u32,
    more: bool,
    hash: u64,
    time: Timestamp,
}

impl Mark {
    pub fn of(fragment: &Fragment<'_>, time: Timestamp) -> Self {
        Self {
            offset: fragment.offset,
            length: fragment.payload_length,
            more: fragment.more,
            hash: FixedState::default().hash_one(fragment.payload),
            time,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.offset, self.length, self.more, self.hash)
            == (other.offset, other.length, other.more, other.hash)
    }

    pub fn is_copied_by(&self, later: &Self) -> bool {
        self.is_same(later) && later.time.since(self.time) <= FRAGMENT_COPY_WINDOW
    }
}

/// Where in its datagram a fragment lies, in bytes; `None` where no receiver would take it.
pub(super) fn range(network: &Network, fragment: &Fragment<'_>) -> Option<(usize, usize)> {
    let length = fragment.payload_length as usize;
    let start = fragment.offset as usize;
    let end = start.checked_add(length)?;
    let longest = if network.source.is_ipv4() { LONGEST_PACKET - 20 } else { LONGEST_PACKET };
    let fits = length > 0 && end <= longest && (!fragment.more || length.is_multiple_of(8));
    fits.then_some((start, end))
}

/// A datagram that is not whole yet.
#[derive(Debug)]
pub(super) struct Datagram {
    pub key: Key,
    pub context: Context,
    pub network: Network,
    protocol: u8,
    pub first: Timestamp,
    pub last: Timestamp,
    pub pieces: Vec<Piece>,
    pub marks: Vec<Mark>,
    buffer: IpDefragBuf,
    /// The first byte that the capture cut off.
    cut: Option<usize>,
    /// Fragments contradicted each other.
    pub spoilt: bool,
}

impl Datagram {
    pub fn new(key: Key, context: Context, network: Network, now: Timestamp) -> Self {
        let protocol = key.protocol;
        Self {
            key,
            context,
            network,
            protocol,
            first: now,
            last: now,
            pieces: Vec::new(),
            marks: Vec::new(),
            buffer: IpDefragBuf::new(IpNumber(protocol), Vec::new(), Vec::new()),
            cut: None,
            spoilt: false,
        }
    }

    /// Memory that it takes, roughly.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + 2 * size_of::<Key>()
            + self.buffer.data().len()
            + self.pieces.len() * size_of::<Piece>()
            + self.marks.len() * size_of::<Mark>()
    }

    /// Whether a fragment must belong to a later datagram that reuses the number.
    pub fn is_of_another(&self, fragment: &Fragment<'_>, start: usize, end: usize, now: Timestamp) -> bool {
        now.since(self.last) >= REUSE_GAP && (self.spoilt || self.contradicts(fragment, start, end))
    }

    /// Whether a fragment disagrees with what is known: about the end, or about bytes.
    fn contradicts(&self, fragment: &Fragment<'_>, start: usize, end: usize) -> bool {
        let farthest = self.buffer.sections().iter().map(|known| usize::from(known.end)).max().unwrap_or(0);
        let wrong_end = match self.buffer.end().map(usize::from) {
            Some(known) => end > known || (!fragment.more && end != known),
            None => !fragment.more && end < farthest,
        };
        let known_whole = self.marks.iter().any(|mark| {
            mark.offset as usize == start
                && mark.length == fragment.payload_length
                && mark.more == fragment.more
        });
        wrong_end
            || self.buffer.sections().iter().any(|known| {
                let (from, to) = (start.max(usize::from(known.start)), end.min(usize::from(known.end)));
                if from >= to {
                    return false;
                }
                // RFC 5722: any overlap but an exact repetition spoils an IPv6 datagram.
                if self.network.source.is_ipv6() && !known_whole {
                    return true;
                }
                // Only what was captured of both can be compared.
                let to = to.min(start + fragment.payload.len()).min(self.cut.unwrap_or(usize::MAX));
                let ours = self.buffer.data().get(from..to).unwrap_or_default();
                let theirs = fragment.payload.get(from - start..to.max(from) - start).unwrap_or_default();
                ours != theirs
            })
    }

    /// Adds a fragment; returns how many bytes were copied.
    pub fn add(&mut self, fragment: &Fragment<'_>, start: usize, end: usize) -> u64 {
        if self.spoilt {
            return 0;
        }
        if self.marks.len() >= MOST_PIECES || self.contradicts(fragment, start, end) {
            self.spoil();
            return 0;
        }
        if start == 0 {
            self.protocol = fragment.protocol;
        }
        let present = fragment.payload.len().min(end - start);
        // Bytes that the capture lacks are filled in, and cut off again when the datagram is whole.
        let mut filled = Vec::new();
        let bytes = if present == end - start {
            fragment.payload
        } else {
            let missing = start + present;
            self.cut = Some(self.cut.map_or(missing, |known| known.min(missing)));
            filled.extend_from_slice(fragment.payload);
            filled.resize(end - start, 0);
            &filled
        };
        let bytes = bytes.get(..end - start).unwrap_or(bytes);
        let offset = u16::try_from(start / 8).ok().and_then(|units| IpFragOffset::try_new(units).ok());
        let added = offset.is_some_and(|offset| self.buffer.add(offset, fragment.more, bytes).is_ok());
        if !added {
            self.spoil();
        }
        present as u64
    }

    /// Gives the payload up. The datagram stays until it times out, so that later fragments do not begin it anew.
    fn spoil(&mut self) {
        self.spoilt = true;
        self.buffer = IpDefragBuf::new(IpNumber(self.protocol), Vec::new(), Vec::<IpFragRange>::new());
    }

    pub fn is_whole(&self) -> bool {
        !self.spoilt && self.buffer.is_complete()
    }

    /// The IP packet, its header made anew: options and extension headers have done their work.
    pub fn rebuild(self) -> (Context, Vec<u8>) {
        let (data, _) = self.buffer.take_bufs();
        let payload = data.get(..self.cut.unwrap_or(data.len())).unwrap_or(&data);
        let mut packet = Vec::with_capacity(40 + payload.len());
        match (self.network.source, self.network.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total = u16::try_from(data.len() + 20).unwrap_or(u16::MAX);
                packet.extend_from_slice(&[0x45, 0]);
                packet.extend_from_slice(&total.to_be_bytes());
                packet.extend_from_slice(&self.network.identification.to_be_bytes());
                packet.extend_from_slice(&[0, 0, self.network.ttl, self.protocol, 0, 0]);
                packet.extend_from_slice(&source.octets());
                packet.extend_from_slice(&destination.octets());
            }
            (source, destination) => {
                let octets = |address: IpAddr| match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                    IpAddr::V6(address) => address.octets(),
                };
                let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
                packet.extend_from_slice(&[0x60, 0, 0, 0]);
                packet.extend_from_slice(&length.to_be_bytes());
                packet.extend_from_slice(&[self.protocol, self.network.ttl]);
                packet.extend_from_slice(&octets(source));
                packet.extend_from_slice(&octets(destination));
            }
        }
        packet.extend_from_slice(payload);
        (self.context, packet)
    }
}
