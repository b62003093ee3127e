//! IP fragments put together again, within bounds: every fragment ends in a datagram, as a duplicate, or as pending.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Timestamp;

use super::Body;
use super::Context;
use super::Frame;
use super::datagram::{Datagram, Key, Mark, range};

/// How long fragments wait for the rest of their datagram (RFC 1122 asks for 60 to 120 s, systems use 30 s).
pub const FRAGMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A fragment seen again within this time is a copy that the mirror made.
pub const FRAGMENT_COPY_WINDOW: Duration = Duration::from_millis(5);
/// The most completed datagrams remembered for that: more than 10 Gbit/s completes within the window.
const MOST_DONE: usize = 1024;

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
        if self.done.len() > MOST_DONE {
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
