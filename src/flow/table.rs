//! The flow table: bounded, one slot a flow, with the caller's own state beside each.

mod leaving;

use std::hash::BuildHasher;
use std::time::Duration;

use arrayvec::ArrayVec;
use foldhash::fast::RandomState;

use crate::decode::Body;
use crate::decode::Frame;
use crate::decode::Piece;
use crate::decode::Plain;
use crate::model::Host;
use crate::model::IcmpError;
use crate::model::MacAddr;
use crate::model::PacketRef;
use crate::model::Role;
use crate::model::Timestamp;

use super::hot::Hot;
use super::hot::Moment;
use super::hot::Sort;
use super::index::Index;
use super::key::Half;
use super::key::Key;
use super::key::Pair;
use super::key::Place;
use super::live::Flow;
use super::lone::Lones;
use super::slots::Slots;
use super::tcp;
use super::tcp::EARLY;

pub use leaving::Leaves;
pub use leaving::Left;
pub use leaving::LoneFlow;

/// The most ICMP errors held for a flow that may still come.
const MOST_EARLY: usize = 8;
/// Bounds and timeouts, all in capture time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most flows at one time.
    pub flows: usize,
    /// A TCP connection that is open ends after this much silence.
    pub tcp_open: Duration,
    /// A TCP connection that is over, or was never answered, ends after this much silence.
    pub tcp_over: Duration,
    /// All other flows end after this much silence.
    pub other: Duration,
    /// A flow that goes on is told each time this much has passed.
    pub active: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 1_000_000,
            tcp_open: Duration::from_secs(2 * 3600),
            tcp_over: Duration::from_secs(5 * 60),
            other: Duration::from_secs(30 * 60),
            active: Duration::from_secs(24 * 3600),
        }
    }
}

/// One packet, or one datagram put together from several, on its way into the table.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The packet; of a datagram put together, the one that completed it.
    pub at: PacketRef,
    /// Length on the wire.
    pub original: u32,
    /// The fragments and their lengths on the wire where it was put together; else empty.
    pub pieces: &'a [Piece],
    /// What it says.
    pub frame: &'a Frame<'a>,
    /// Whether it was taken in already as another mirror's copy: then it counts, and says nothing new.
    pub copy: bool,
}

/// An ICMP error as captured, to be tied to the flow that it quotes.
#[derive(Clone, Copy, Debug)]
pub struct ErrorSeen {
    /// The packet.
    pub at: PacketRef,
    /// Who sent it.
    pub from: Host,
    /// Source MAC.
    pub mac: Option<MacAddr>,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The TCP sequence number of the quoted packet, where the quote holds it.
    pub sequence: Option<u32>,
}

/// What ordinary packets leave alone.
struct Slot<S> {
    flow: Flow,
    state: S,
}

/// A flow's number while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u32);

/// What came of taking a packet in quickly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quick {
    /// It is no ordinary packet of an armed flow: nothing was changed.
    No,
    /// It is counted, and that was all.
    Counted,
    /// It is counted, and its payload is to be shown to whoever judges it.
    Show,
}

/// Where a flow is kept: the upper half of the numbers are those of lone SYNs.
const LONE: u32 = 1 << 31;

/// All flows of one shard.
///
/// The index holds numbers alone: of a known flow, the key is compared where the counters are, which are needed next anyway.
pub struct Table<S> {
    limits: Limits,
    /// The shortest of the limits on silence, and the same in nanoseconds.
    least_patience: Duration,
    patience: u64,
    hash: RandomState,
    index: Index,
    /// Of each flow what ordinary packets touch, by number.
    hot: Vec<Hot>,
    /// The rest of it; nothing where the number is free.
    slots: Slots<Slot<S>>,
    free: Vec<u32>,
    lones: Lones,
    /// The latest time seen.
    now: Timestamp,
    /// When the table is next looked through, and how many packets came since it last was.
    next_look: Timestamp,
    since_sweep: usize,
    early: ArrayVec<(Key, Half, IcmpError, Option<u32>), MOST_EARLY>,
}

impl<S: Default + Clone> Table<S> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        let least_patience = limits.tcp_open.min(limits.tcp_over).min(limits.other);
        Self {
            limits,
            least_patience,
            patience: u64::try_from(least_patience.as_nanos()).unwrap_or(u64::MAX),
            hash: RandomState::default(),
            index: Index::default(),
            hot: Vec::new(),
            slots: Slots::new(),
            free: Vec::new(),
            lones: Lones::new(),
            now: Timestamp::MIN,
            next_look: Timestamp::MIN,
            since_sweep: 0,
            early: ArrayVec::new(),
        }
    }

    /// Flows alive.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no flow is alive.
    pub fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    /// The hash of a key, by this run's own hash function.
    #[inline]
    pub fn hash(&self, key: &Key) -> u64 {
        self.hash.hash_one(key)
    }

    /// Takes in a packet, `hash` being that of its flow's key; flows that end by it go to `leave`. `None` where all that is known of the packet's flow is one SYN: nothing
    /// can be said of its payload then.
    #[inline]
    pub fn take(
        &mut self,
        hash: u64,
        place: &Place,
        arrival: &Arrival<'_>,
        leave: &mut impl FnMut(Left<'_, S>, Leaves),
    ) -> Option<SlotId> {
        self.clock(arrival.at.time, leave);
        let number = match self.find(hash, &place.key) {
            Some(number) => {
                let number = if number & LONE == 0 { number } else { self.settle_down(hash, number) };
                self.renew(number, place, arrival, leave);
                number
            }
            None => self.insert(hash, place, arrival, leave)?,
        };
        if let (Some(slot), Some(hot)) = (self.slots.get_mut(number), self.hot.get_mut(number as usize)) {
            slot.flow.take(place.from, arrival);
            hot.last = slot.flow.last;
            hot.spared = Timestamp::MIN;
            if !self.early.is_empty() {
                self.early.retain(|&mut (key, quotes, error, sequence)| {
                    if key == place.key {
                        slot.flow.tie(quotes, error, sequence);
                    }
                    key != place.key && arrival.at.time.since(error.at.time) <= EARLY
                });
            }
        }
        Some(SlotId(number))
    }

    /// Where a flow is, if it is known and more than a lone SYN. `hash` is that of its key, `probably` what [`Table::guess`] said of it a few
    /// packets ago.
    #[inline(always)]
    pub fn known(&self, (hash, probably): (u64, Option<u32>), key: &Key) -> Option<SlotId> {
        // A flow that left meanwhile is not armed, and another in its place has another key.
        let guessed = |&number: &u32| self.hot.get(number as usize).is_some_and(|hot| hot.key == *key);
        let number = probably.filter(guessed).or_else(|| self.find(hash, key))?;
        (number & LONE == 0).then_some(SlotId(number))
    }

    /// Takes in an ordinary packet of an armed flow (see [`Table::arm`]), if it is of that sort.
    #[inline(always)]
    pub fn quick(
        &mut self,
        id: SlotId,
        from: Half,
        plain: &Plain<'_>,
        (at, original): (PacketRef, u32),
        sort: Sort,
    ) -> Quick {
        if !self.early.is_empty() || self.look_is_due(at.time) {
            return Quick::No;
        }
        let Some(hot) = self.hot.get_mut(id.0 as usize) else { return Quick::No };
        if !hot.take(from, plain, &Moment { at, original, patience: self.patience }, sort) {
            return Quick::No;
        }
        self.now = self.now.max(at.time);
        self.since_sweep += 1;
        if hot.shows(from) && plain.has_payload() { Quick::Show } else { Quick::Counted }
    }

    /// Says that ordinary packets of a flow are only to be counted from now on, and payload of those ends to be shown, until another packet of
    /// it was taken.
    #[inline]
    pub fn arm(&mut self, id: SlotId, shows: Pair<bool>) {
        if let (Some(hot), Some(slot)) = (self.hot.get_mut(id.0 as usize), self.slots.get(id.0)) {
            hot.arm(&slot.flow, slot.flow.first.time.plus(self.limits.active), shows);
        }
    }

    /// Says of which ends of an armed flow payload is to be shown from now on.
    #[inline]
    pub fn show(&mut self, id: SlotId, of: Pair<bool>) {
        if let Some(hot) = self.hot.get_mut(id.0 as usize) {
            hot.show(of);
        }
    }

    /// The flow in a slot with all that was counted, no longer armed, and the caller's state of it.
    pub fn settled(&mut self, id: SlotId) -> Option<(&mut Flow, &mut S)> {
        let slot = self.slots.get_mut(id.0)?;
        self.hot.get_mut(id.0 as usize)?.settle(&mut slot.flow);
        Some((&mut slot.flow, &mut slot.state))
    }

    /// Has in the processor's cache what tells where a packet's flow is. Returns what that probably is.
    #[inline(always)]
    pub fn guess(&self, hash: u64) -> Option<u32> {
        self.index.guess(hash)
    }

    /// The hash of the flow that will have to make room for a new one, if any will: of it too, everything can be at hand by then.
    #[inline(always)]
    pub fn guess_oldest(&self) -> Option<u64> {
        let full = self.len() >= self.limits.flows.max(1) && self.lones.len() > self.limits.flows / 16;
        self.lones.oldest().filter(|_| full).map(|(_, lone)| self.hash.hash_one(lone.key))
    }

    /// Has in the processor's cache what an ordinary packet of a flow changes.
    #[inline(always)]
    pub fn touch(&self, number: u32) -> u64 {
        self.hot.get(number as usize).map_or(0, Hot::touch)
    }

    /// The flow in a slot, without what was counted since it was armed, and the caller's state of it.
    #[inline]
    pub fn slot(&mut self, id: SlotId) -> Option<(&mut Flow, &mut S)> {
        let slot = self.slots.get_mut(id.0)?;
        Some((&mut slot.flow, &mut slot.state))
    }

    /// Ties an ICMP error to the flow that it quotes, where that is known or about to be. It never makes a flow.
    pub fn quote(&mut self, quoted: &Place, seen: &ErrorSeen) {
        let Host::Ip(from) = seen.from else { return };
        let error = IcmpError {
            at: seen.at,
            from,
            mac: seen.mac,
            kind: seen.kind,
            code: seen.code,
            quotes: Role::Client,
            fits: false,
        };
        let hash = self.hash.hash_one(quoted.key);
        let known = self
            .find(hash, &quoted.key)
            .map(|number| if number & LONE == 0 { number } else { self.settle_down(hash, number) })
            .and_then(|number| {
                let slot = self.slots.get_mut(number)?;
                self.hot.get_mut(number as usize)?.settle(&mut slot.flow);
                Some(slot)
            });
        match known {
            Some(slot) => slot.flow.tie(quoted.from, error, seen.sequence),
            None => {
                if self.early.is_full() {
                    self.early.remove(0);
                }
                self.early.push((quoted.key, quoted.from, error, seen.sequence));
            }
        }
    }

    #[inline(always)]
    fn find(&self, hash: u64, key: &Key) -> Option<u32> {
        self.index.find(hash, |number| {
            if number & LONE == 0 {
                self.hot.get(number as usize).is_some_and(|hot| hot.key == *key)
            } else {
                self.lones.get(number & !LONE).is_some_and(|lone| lone.key == *key)
            }
        })
    }

    /// Makes a flow of a lone SYN. Returns its number.
    fn settle_down(&mut self, hash: u64, number: u32) -> u32 {
        let Some(lone) = self.lones.remove(number & !LONE) else { return number };
        let settled = self.put(lone.key, self.lones.flow(&lone));
        self.index.renumber(hash, number, settled);
        settled
    }

    /// Gives a flow a number.
    fn put(&mut self, key: Key, flow: Flow) -> u32 {
        let hot = Hot::new(key, flow.last);
        let slot = Slot { flow, state: S::default() };
        match self.free.pop() {
            Some(number) => {
                if let Some(at) = self.hot.get_mut(number as usize) {
                    *at = hot;
                    self.slots.put(number, slot);
                }
                number
            }
            None => {
                self.hot.push(hot);
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// Decides whether the packet still belongs to the flow known under its key.
    fn renew(
        &mut self,
        number: u32,
        place: &Place,
        arrival: &Arrival<'_>,
        leave: &mut impl FnMut(Left<'_, S>, Leaves),
    ) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        let flow = &mut slot.flow;
        if let Some(hot) = self.hot.get_mut(number as usize) {
            hot.settle(flow);
        }
        let time = arrival.at.time;
        let silence = time.since(flow.last.time);
        // How long this flow may be silent is asked only where any might have been silent for too long.
        let anew = (silence > self.least_patience && silence > flow.patience(&self.limits))
            || matches!(arrival.frame.body, Body::Tcp(segment) if segment.flags.syn() && !arrival.copy && {
                let (me, peer) = flow.sides.split_mut(place.from);
                tcp::begins_anew(me, peer, &segment, arrival.at)
            });
        if anew {
            let old = std::mem::replace(flow, Flow::new(place, arrival));
            leave(Left::Whole(old, std::mem::take(&mut slot.state)), Leaves::Ended);
        } else if time.since(flow.first.time) > self.limits.active {
            leave(Left::Whole(flow.clone(), slot.state.clone()), Leaves::GoesOn);
            flow.next_stretch(arrival.at);
        }
    }

    /// Takes in a flow that was not known. `None` where one SYN is all there is.
    fn insert(
        &mut self,
        hash: u64,
        place: &Place,
        arrival: &Arrival<'_>,
        leave: &mut impl FnMut(Left<'_, S>, Leaves),
    ) -> Option<u32> {
        if self.len() >= self.limits.flows.max(1) {
            self.make_room(leave);
        }
        // An error that quotes it may be here already.
        let lone = if self.early.is_empty() { self.lones.keep(place, arrival) } else { None };
        let number = match lone {
            Some(number) => number | LONE,
            None => self.put(place.key, Flow::new(place, arrival)),
        };
        self.index.insert(hash, number);
        (number & LONE == 0).then_some(number)
    }
}
