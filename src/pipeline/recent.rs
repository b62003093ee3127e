//! The headers of the latest packets, kept for a while: what a finding cites is taken from here once it is known to matter.
//!
//! A verdict often rests on packets that looked like any others when they passed. So a few bytes of each are kept, in two rings: packets that
//! open, end or refuse something stay long, for they are few and most verdicts rest on them; all others stay as long as there is room.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::decode::Body;
use crate::decode::Frame;
use crate::decode::Plain;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Timestamp;

/// Bytes kept of a packet that opens, ends or refuses: Ethernet, tags, IP and an ICMP error with the headers that it quotes.
const TELLING_BYTES: usize = 192;
/// Bytes kept of any other: Ethernet, a tag, IPv6, TCP with its usual options, and the few bytes of payload that say what it is.
const OTHER_BYTES: usize = 112;
/// Packets of one piece of a ring.
const PIECE: usize = 1024;

/// A packet's beginning, as it was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How its bytes begin.
    pub link: LinkType,
    /// The interface within its input.
    pub interface: u32,
    /// Its length on the wire.
    pub original: u32,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

/// Where the rings can be asked from another thread.
#[derive(Clone, Default)]
pub struct Recent(Arc<Vec<Mutex<Shelf>>>);

/// Who fills two of the rings.
pub(super) struct Keeper {
    recent: Recent,
    place: usize,
    telling: Piece,
    other: Piece,
}

/// Both rings of one thread.
#[derive(Default)]
struct Shelf {
    telling: Ring,
    other: Ring,
}

/// Pieces, the oldest first, of so many bytes at most.
#[derive(Default)]
struct Ring {
    pieces: VecDeque<Arc<Piece>>,
    bytes: usize,
    most: usize,
}

/// Packets and their bytes.
#[derive(Default)]
struct Piece {
    packets: Vec<Entry>,
    bytes: Vec<u8>,
    earliest: Option<Timestamp>,
    latest: Option<Timestamp>,
}

struct Entry {
    at: PacketRef,
    link: LinkType,
    interface: u32,
    original: u32,
    from: usize,
    to: usize,
}

impl Recent {
    /// Rings for so many threads, of so many bytes in all, with who fills them.
    pub(super) fn new(threads: usize, bytes: usize) -> (Self, Vec<Keeper>) {
        let threads = threads.max(1);
        let ring = || Ring { most: bytes / threads / 2, ..Ring::default() };
        let shelves = (0..threads).map(|_| Mutex::new(Shelf { telling: ring(), other: ring() })).collect();
        let recent = Self(Arc::new(shelves));
        let keeper = |place| Keeper {
            recent: recent.clone(),
            place,
            telling: Piece::default(),
            other: Piece::default(),
        };
        let keepers = (0..threads).map(keeper).collect();
        (recent, keepers)
    }

    /// Looks packets up; those that are not there any more are left out.
    pub fn find(&self, wanted: &BTreeSet<PacketRef>) -> BTreeMap<PacketRef, Kept> {
        let mut found = BTreeMap::new();
        for shelf in self.0.iter() {
            let pieces: Vec<Arc<Piece>> = {
                // What is in it is whole whoever panicked.
                let shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
                shelf.telling.pieces.iter().chain(&shelf.other.pieces).cloned().collect()
            };
            for piece in pieces.iter().filter(|piece| piece.may_have(wanted)) {
                found.extend(piece.of(wanted));
            }
        }
        found
    }
}

impl Keeper {
    /// Keeps the beginning of a packet; `frame` is what it says, where that could be read.
    #[inline]
    pub fn keep(&mut self, packet: &Packet<'_>, frame: Option<&Frame<'_>>) {
        self.add(packet, frame.is_none_or(|frame| is_telling(&frame.body)));
    }

    /// The same of a usual packet, of which no frame is made.
    #[inline]
    pub fn keep_usual(&mut self, packet: &Packet<'_>, plain: &Plain<'_>) {
        self.add(packet, is_telling(&plain.body()));
    }

    #[inline]
    fn add(&mut self, packet: &Packet<'_>, telling: bool) {
        let (piece, most) =
            if telling { (&mut self.telling, TELLING_BYTES) } else { (&mut self.other, OTHER_BYTES) };
        piece.add(packet, most);
        if piece.packets.len() >= PIECE {
            self.shelve();
        }
    }

    /// Puts what was kept where others find it.
    pub fn shelve(&mut self) {
        let Some(shelf) = self.recent.0.get(self.place) else { return };
        let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let Shelf { telling, other } = &mut *shelf;
        for (ring, piece) in [(telling, &mut self.telling), (other, &mut self.other)] {
            if !piece.packets.is_empty() {
                ring.push(std::mem::take(piece));
            }
        }
    }
}

/// Whether a packet opens, ends or refuses something: all but streams' data and acknowledgements, and datagrams.
fn is_telling(body: &Body<'_>) -> bool {
    match body {
        Body::Tcp(tcp) => tcp.flags.syn() || tcp.flags.fin() || tcp.flags.rst(),
        Body::Udp(_) | Body::Ethernet { .. } | Body::Fragment(_) => false,
        _ => true,
    }
}

impl Ring {
    fn push(&mut self, piece: Piece) {
        self.bytes += piece.size();
        self.pieces.push_back(Arc::new(piece));
        while self.bytes > self.most
            && let Some(gone) = self.pieces.pop_front()
        {
            self.bytes -= gone.size();
        }
    }
}

impl Piece {
    fn add(&mut self, packet: &Packet<'_>, most: usize) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(packet.bytes.get(..most).unwrap_or(packet.bytes));
        let time = packet.at.time;
        self.earliest = Some(self.earliest.map_or(time, |known| known.min(time)));
        self.latest = Some(self.latest.map_or(time, |known| known.max(time)));
        self.packets.push(Entry {
            at: packet.at,
            link: packet.link,
            interface: packet.interface,
            original: packet.original,
            from,
            to: self.bytes.len(),
        });
    }

    fn size(&self) -> usize {
        self.bytes.capacity() + self.packets.capacity() * size_of::<Entry>()
    }

    /// Whether one of them is of its time.
    fn may_have(&self, wanted: &BTreeSet<PacketRef>) -> bool {
        let (Some(earliest), Some(latest)) = (self.earliest, self.latest) else { return false };
        wanted.iter().any(|at| (earliest..=latest).contains(&at.time))
    }

    fn of<'a>(&'a self, wanted: &'a BTreeSet<PacketRef>) -> impl Iterator<Item = (PacketRef, Kept)> + 'a {
        self.packets.iter().filter(|entry| wanted.contains(&entry.at)).map(|entry| {
            let kept = Kept {
                link: entry.link,
                interface: entry.interface,
                original: entry.original,
                bytes: self.bytes.get(entry.from..entry.to).unwrap_or_default().to_vec(),
            };
            (entry.at, kept)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InputId;

    fn at(number: u64) -> PacketRef {
        PacketRef::new(Timestamp::from_nanos(number as i64 * 1000), InputId(0), number)
    }

    #[test]
    fn the_latest_are_found_and_the_bound_holds() {
        let (recent, mut keepers) = Recent::new(1, 4 << 20);
        let keeper = &mut keepers[0];
        for number in 1..=100_000 {
            let bytes = [number as u8; 300];
            let link = LinkType::ETHERNET;
            keeper.keep(&Packet { at: at(number), link, interface: 3, original: 300, bytes: &bytes }, None);
        }
        keeper.shelve();
        let held: usize = recent.0.iter().map(|shelf| shelf.lock().unwrap().telling.bytes).sum();
        assert!(held <= 2 << 20, "{held}");
        let found = recent.find(&BTreeSet::from([at(1), at(99_000), at(100_000)]));
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [at(99_000), at(100_000)]);
        let kept = &found[&at(100_000)];
        assert_eq!((kept.interface, kept.original), (3, 300));
        assert_eq!(kept.bytes, [100_000_u64 as u8; TELLING_BYTES]);
    }
}
