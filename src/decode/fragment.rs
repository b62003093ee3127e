//! IP fragments put together again, within bounds: every fragment ends in a datagram, as a duplicate, or as pending.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::time::Duration;

use arrayvec::ArrayVec;
use etherparse::defrag::{IpDefragBuf, IpFragRange};
use etherparse::{IpFragOffset, IpNumber};
use foldhash::fast::FixedState;

use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Timestamp;

use super::Body;
use super::Context;
use super::Fragment;
use super::Frame;
use super::MOST_TUNNELS;
use super::MOST_VLANS;
use super::Network;
use super::Tunnel;

/// How long fragments wait for the rest of their datagram (RFC 1122 asks for 60 to 120 s, systems use 30 s).
pub const FRAGMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A fragment seen again within this time is a copy that the mirror made.
pub const FRAGMENT_COPY_WINDOW: Duration = Duration::from_millis(5);
/// A fragment that contradicts one that is at least this much older belongs to a new datagram of the same number.
const REUSE_GAP: Duration = Duration::from_secs(1);
/// The most pieces of one datagram: 64 KiB need 46 at Ethernet's size and 120 at the least that IPv4 hosts accept.
const MOST_PIECES: usize = 512;
/// The longest IP packet (RFC 791).
const LONGEST_PACKET: usize = 0xffff;

/// What bounds the memory of a [`Defragmenter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentBounds {
    /// The most datagrams kept incomplete; beyond it the oldest goes.
    pub datagrams: usize,
    /// The most bytes kept of them; beyond it the oldest goes.
    pub bytes: usize,
}

impl Default for FragmentBounds {
    fn default() -> Self {
        Self { datagrams: 4096, bytes: 64 << 20 }
    }
}

/// One captured packet of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The packet.
    pub at: PacketRef,
    /// Its length on the wire.
    pub original: u32,
}

/// A datagram made whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The layers around its first fragment.
    pub context: Context,
    /// The IP packet, for [`super::decode_reassembled`]: a plain header and the payload. Where the capture cut a fragment
    /// it ends there, with the header still promising the whole length.
    pub packet: Vec<u8>,
    /// The captured packets that it came in, in the order of arrival.
    pub pieces: Vec<Piece>,
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Nothing: the frame is not a fragment.
    NotAFragment,
    /// It waits, counted in [`Defragmenter::pending`], for the rest of its datagram.
    Pending,
    /// A mirror's copy of a fragment that was seen a moment ago; to be counted as a duplicate.
    Duplicate,
    /// It completed its datagram.
    Whole(Box<Whole>),
}

/// Puts fragments of IPv4 (RFC 791) and IPv6 (RFC 8200 section 4.5) together.
///
/// Fragments that overlap are never chosen between: an overlap whose bytes differ (IPv6: any, as RFC 5722 says) spoils the
/// datagram, because what the receiver made of it can't be known. Its fragments stay pending.
#[derive(Debug, Default)]
pub struct Defragmenter {
    bounds: FragmentBounds,
    /// The incomplete ones by age: the first is the oldest.
    datagrams: BTreeMap<u64, Datagram>,
    /// Where to find the one of a key.
    ages: HashMap<Key, u64>,
    /// The next age.
    next: u64,
    /// Those completed a moment ago, oldest first, to know late copies by.
    done: VecDeque<(Timestamp, Key)>,
    /// The marks of their pieces.
    marks: HashMap<Key, Vec<Mark>>,
    /// Bytes kept.
    bytes: usize,
    /// Pieces kept.
    kept: u64,
    /// Pieces given up.
    lost: u64,
    /// Bytes copied so far.
    copied: u64,
}

impl Defragmenter {
    /// An empty one within these bounds.
    pub fn new(bounds: FragmentBounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Takes a fragment in.
    pub fn push(&mut self, packet: &Packet<'_>, frame: &Frame<'_>) -> Pushed {
        self.push_pieces(&[Piece { at: packet.at, original: packet.original }], frame)
    }

    /// Takes a fragment in that itself came in several packets: one found inside a datagram made whole before.
    pub fn push_pieces(&mut self, pieces: &[Piece], frame: &Frame<'_>) -> Pushed {
        let (Body::Fragment(fragment), Some(network)) = (&frame.body, &frame.network) else {
            return Pushed::NotAFragment;
        };
        let Some(now) = pieces.last().map(|piece| piece.at.time) else { return Pushed::NotAFragment };
        self.expire(now);
        let key = Key::of(frame, network, fragment);
        let mark = Mark::of(fragment, now);
        if self.marks.get(&key).is_some_and(|marks| marks.iter().any(|known| known.is_copied_by(&mark))) {
            return Pushed::Duplicate;
        }
        let arrived = pieces.len() as u64;
        let Some((start, end)) = range(network, fragment) else {
            // It fits no datagram at all.
            self.lost += arrived;
            return Pushed::Pending;
        };
        let mut age = match self.ages.get(&key) {
            Some(&age) => age,
            None => self.begin(key.clone(), frame, now),
        };
        let reused =
            self.datagrams.get(&age).is_some_and(|known| known.is_of_another(fragment, start, end, now));
        if reused {
            self.give_up(age);
            age = self.begin(key.clone(), frame, now);
        }
        let Some(datagram) = self.datagrams.get_mut(&age) else {
            self.lost += arrived;
            return Pushed::Pending;
        };
        if datagram.marks.iter().any(|known| known.is_copied_by(&mark)) {
            return Pushed::Duplicate;
        }
        let before = datagram.size();
        let copied = datagram.add(fragment, start, end);
        if datagram.spoilt {
            self.lost += arrived + datagram.pieces.len() as u64;
            self.kept = self.kept.saturating_sub(datagram.pieces.len() as u64);
            datagram.pieces = Vec::new();
            datagram.marks = Vec::new();
        } else {
            self.kept += arrived;
            datagram.pieces.extend_from_slice(pieces);
            datagram.marks.push(mark);
            if start == 0 {
                datagram.network = *network;
                datagram.context.clone_from(&frame.context);
            }
        }
        datagram.last = datagram.last.max(now);
        let (after, whole) = (datagram.size(), datagram.is_whole());
        self.copied += copied;
        self.bytes = (self.bytes + after).saturating_sub(before);
        if whole { self.finish(age, now) } else { self.bound(age) }
    }

    /// Fragments whose datagram is not whole: those still kept and those given up.
    pub fn pending(&self) -> u64 {
        self.kept + self.lost
    }

    /// Bytes copied off the packet path so far.
    pub fn copied(&self) -> u64 {
        self.copied
    }

    /// Starts a datagram.
    fn begin(&mut self, key: Key, frame: &Frame<'_>, now: Timestamp) -> u64 {
        let age = self.next;
        self.next += 1;
        if let Some(network) = frame.network {
            let datagram = Datagram::new(key.clone(), frame.context.clone(), network, now);
            self.bytes += datagram.size();
            self.datagrams.insert(age, datagram);
            self.ages.insert(key, age);
        }
        age
    }

    /// Takes a whole one out.
    fn finish(&mut self, age: u64, now: Timestamp) -> Pushed {
        let Some(mut datagram) = self.remove(age) else { return Pushed::Pending };
        self.kept = self.kept.saturating_sub(datagram.pieces.len() as u64);
        let pieces = std::mem::take(&mut datagram.pieces);
        self.done.push_back((now, datagram.key.clone()));
        self.marks.insert(datagram.key.clone(), std::mem::take(&mut datagram.marks));
        if self.done.len() > self.bounds.datagrams.max(1) {
            self.forget();
        }
        let (context, packet) = datagram.rebuild();
        self.copied += packet.len() as u64;
        Pushed::Whole(Box::new(Whole { context, packet, pieces }))
    }

    /// Keeps within the bounds; the one just added to goes last.
    fn bound(&mut self, age: u64) -> Pushed {
        while self.datagrams.len() > self.bounds.datagrams.max(1) || self.bytes > self.bounds.bytes {
            let Some(oldest) = self.datagrams.keys().copied().find(|&oldest| oldest != age) else { break };
            self.give_up(oldest);
        }
        if self.bytes > self.bounds.bytes {
            self.give_up(age);
        }
        Pushed::Pending
    }

    /// Gives up what has waited too long, and forgets completed ones whose copies would have come by now.
    fn expire(&mut self, now: Timestamp) {
        while let Some((&age, datagram)) = self.datagrams.first_key_value()
            && now.since(datagram.first) > FRAGMENT_TIMEOUT
        {
            self.give_up(age);
        }
        while let Some((time, _)) = self.done.front()
            && now.since(*time) > FRAGMENT_COPY_WINDOW
        {
            self.forget();
        }
    }

    fn forget(&mut self) {
        if let Some((_, key)) = self.done.pop_front() {
            self.marks.remove(&key);
        }
    }

    fn give_up(&mut self, age: u64) {
        if let Some(datagram) = self.remove(age) {
            let pieces = datagram.pieces.len() as u64;
            self.kept = self.kept.saturating_sub(pieces);
            self.lost += pieces;
        }
    }

    fn remove(&mut self, age: u64) -> Option<Datagram> {
        let datagram = self.datagrams.remove(&age)?;
        self.ages.remove(&datagram.key);
        self.bytes = self.bytes.saturating_sub(datagram.size());
        Some(datagram)
    }
}

/// What fragments of one datagram have in common (RFC 791 section 3.2), within the layers around them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    vlans: ArrayVec<u16, MOST_VLANS>,
    tunnels: ArrayVec<Tunnel, MOST_TUNNELS>,
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// IPv4 only: of IPv6, the first fragment alone tells it (RFC 8200 section 4.5).
    protocol: u8,
}

impl Key {
    fn of(frame: &Frame<'_>, network: &Network, fragment: &Fragment<'_>) -> Self {
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
struct Mark {
    offset: u32,
    length: u32,
    more: bool,
    hash: u64,
    time: Timestamp,
}

impl Mark {
    fn of(fragment: &Fragment<'_>, time: Timestamp) -> Self {
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

    fn is_copied_by(&self, later: &Self) -> bool {
        self.is_same(later) && later.time.since(self.time) <= FRAGMENT_COPY_WINDOW
    }
}

/// Where in its datagram a fragment lies, in bytes; `None` where no receiver would take it.
fn range(network: &Network, fragment: &Fragment<'_>) -> Option<(usize, usize)> {
    let length = fragment.payload_length as usize;
    let start = fragment.offset as usize;
    let end = start.checked_add(length)?;
    let longest = if network.source.is_ipv4() { LONGEST_PACKET - 20 } else { LONGEST_PACKET };
    let fits = length > 0 && end <= longest && (!fragment.more || length.is_multiple_of(8));
    fits.then_some((start, end))
}

/// A datagram that is not whole yet.
#[derive(Debug)]
struct Datagram {
    key: Key,
    context: Context,
    network: Network,
    protocol: u8,
    first: Timestamp,
    last: Timestamp,
    pieces: Vec<Piece>,
    marks: Vec<Mark>,
    buffer: IpDefragBuf,
    /// The first byte that the capture cut off.
    cut: Option<usize>,
    /// Fragments contradicted each other.
    spoilt: bool,
}

impl Datagram {
    fn new(key: Key, context: Context, network: Network, now: Timestamp) -> Self {
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
    fn size(&self) -> usize {
        size_of::<Self>()
            + 2 * size_of::<Key>()
            + self.buffer.data().len()
            + self.pieces.len() * size_of::<Piece>()
            + self.marks.len() * size_of::<Mark>()
    }

    /// Whether a fragment must belong to a later datagram that reuses the number.
    fn is_of_another(&self, fragment: &Fragment<'_>, start: usize, end: usize, now: Timestamp) -> bool {
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
    fn add(&mut self, fragment: &Fragment<'_>, start: usize, end: usize) -> u64 {
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

    fn is_whole(&self) -> bool {
        !self.spoilt && self.buffer.is_complete()
    }

    /// The IP packet, its header made anew: options and extension headers have done their work.
    fn rebuild(self) -> (Context, Vec<u8>) {
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
