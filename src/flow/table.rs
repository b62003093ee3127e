//! The flow table: bounded, one slot a flow, with the caller's own state beside each.

use std::hash::BuildHasher;
use std::time::Duration;

use arrayvec::ArrayVec;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::decode::Body;
use crate::decode::Frame;
use crate::decode::Piece;
use crate::model::Host;
use crate::model::IcmpError;
use crate::model::MacAddr;
use crate::model::PacketRef;
use crate::model::Role;
use crate::model::Timestamp;

use super::key::Half;
use super::key::Key;
use super::key::Place;
use super::live::Flow;
use super::lone::Lone;
use super::lone::Lones;
use super::tcp;
use super::tcp::EARLY;

/// The most ICMP errors held for a flow that may still come.
const MOST_EARLY: usize = 8;
/// Capture time between two looks for flows that ended silently, and the slack that keeps a look from deciding
/// anything that the flow's own next packet would have decided otherwise.
const SWEEP: Duration = Duration::from_secs(60);

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

/// Why a flow leaves the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// It ended: silence, another connection over the same ports, the end of the capture.
    Ended,
    /// It goes on, and is told because it is long.
    GoesOn,
    /// The bound on flows pushed it out.
    Evicted,
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

struct Slot<S> {
    key: Key,
    flow: Flow,
    state: S,
}

/// A flow's number while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u32);

/// A flow as it leaves the table.
#[expect(
    clippy::large_enum_variant,
    reason = "handed on at once, never kept: a box would be an allocation for each flow"
)]
pub enum Left<'a, S> {
    /// With the caller's state of it.
    Whole(Flow, S),
    /// One SYN and nothing else; the caller had no state of it.
    Lone(&'a Lone, &'a LoneFlow<'a>),
}

/// Makes flows of lone SYNs.
pub struct LoneFlow<'a>(&'a Lones);

impl LoneFlow<'_> {
    /// The flow that a SYN opened.
    pub fn of(&self, lone: &Lone) -> Flow {
        self.0.flow(lone)
    }
}

impl<S: Default> Left<'_, S> {
    /// The flow and the caller's state of it, whichever it is.
    pub fn whole(self) -> (Flow, S) {
        match self {
            Self::Whole(flow, state) => (flow, state),
            Self::Lone(lone, flows) => (flows.of(lone), S::default()),
        }
    }
}

/// Where a flow is kept: the upper half of the numbers are those of lone SYNs.
const LONE: u32 = 1 << 31;

/// All flows of one shard.
///
/// The hash table holds numbers alone: of a known flow, the key is compared where the flow is, which is needed next anyway.
pub struct Table<S> {
    limits: Limits,
    /// The shortest of the limits on silence.
    least_patience: Duration,
    hash: RandomState,
    map: HashTable<u32>,
    slots: Vec<Option<Slot<S>>>,
    free: Vec<u32>,
    lones: Lones,
    /// The latest time seen.
    now: Timestamp,
    /// When and at which count of packets the table was last looked through.
    swept: Timestamp,
    since_sweep: usize,
    early: ArrayVec<(Key, Half, IcmpError, Option<u32>), MOST_EARLY>,
}

impl<S: Default + Clone> Table<S> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            least_patience: limits.tcp_open.min(limits.tcp_over).min(limits.other),
            hash: RandomState::default(),
            map: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            lones: Lones::new(),
            now: Timestamp::MIN,
            swept: Timestamp::MIN,
            since_sweep: 0,
            early: ArrayVec::new(),
        }
    }

    /// Flows alive.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether no flow is alive.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
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
        if let Some(slot) = self.slots.get_mut(number as usize).and_then(Option::as_mut) {
            slot.flow.take(place.from, arrival);
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

    /// The flow in a slot, and the caller's state of it.
    #[inline]
    pub fn slot(&mut self, id: SlotId) -> Option<(&mut Flow, &mut S)> {
        let slot = self.slots.get_mut(id.0 as usize)?.as_mut()?;
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
            .and_then(|number| self.slots.get_mut(number as usize)?.as_mut());
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

    /// Shows every flow alive, as if it left now.
    pub fn each(&self, see: &mut impl FnMut(Left<'_, S>)) {
        for slot in self.slots.iter().flatten() {
            see(Left::Whole(slot.flow.clone(), slot.state.clone()));
        }
        for lone in self.lones.iter() {
            see(Left::Lone(lone, &LoneFlow(&self.lones)));
        }
    }

    /// Says what time it is while no packet does: a live wire can be silent. As with packets, it only frees memory.
    pub fn tick(&mut self, time: Timestamp, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        self.now = self.now.max(time);
        if self.now.since(self.swept) >= SWEEP {
            self.sweep(leave);
        }
    }

    /// Ends all flows.
    pub fn finish(&mut self, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        self.map.clear();
        self.free.clear();
        for slot in std::mem::take(&mut self.slots).into_iter().flatten() {
            leave(Left::Whole(slot.flow, slot.state), Leaves::Ended);
        }
        for lone in self.lones.iter() {
            leave(Left::Lone(lone, &LoneFlow(&self.lones)), Leaves::Ended);
        }
        self.lones = Lones::new();
    }

    #[inline]
    fn find(&self, hash: u64, key: &Key) -> Option<u32> {
        self.map.find(hash, |&number| key_of(&self.slots, &self.lones, number) == Some(key)).copied()
    }

    /// Makes a flow of a lone SYN. Returns its number.
    fn settle_down(&mut self, hash: u64, number: u32) -> u32 {
        let Some(lone) = self.lones.remove(number & !LONE) else { return number };
        let slot = Slot { key: lone.key, flow: self.lones.flow(&lone), state: S::default() };
        let settled = self.put(slot);
        if let Some(known) = self.map.find_mut(hash, |&known| known == number) {
            *known = settled;
        }
        settled
    }

    /// Gives a flow a slot.
    fn put(&mut self, slot: Slot<S>) -> u32 {
        match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.slots.get_mut(number as usize) {
                    *place = Some(slot);
                }
                number
            }
            None => {
                self.slots.push(Some(slot));
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
        let Some(slot) = self.slots.get_mut(number as usize).and_then(Option::as_mut) else { return };
        let flow = &mut slot.flow;
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
        if self.map.len() >= self.limits.flows.max(1) {
            self.make_room(leave);
        }
        // An error that quotes it may be here already.
        let lone = if self.early.is_empty() { self.lones.keep(place, arrival) } else { None };
        let number = match lone {
            Some(number) => number | LONE,
            None => self.put(Slot { key: place.key, flow: Flow::new(place, arrival), state: S::default() }),
        };
        let Self { map, slots, lones, hash: state, .. } = self;
        map.insert_unique(hash, number, |&number| {
            key_of(slots, lones, number).map_or(0, |key| state.hash_one(key))
        });
        (number & LONE == 0).then_some(number)
    }

    /// Makes room: flows that were never answered go first, then the ones silent for longest. A sixteenth goes at once, so that a
    /// flood costs little per packet. Where many are lone SYNs, it is the oldest of them that goes.
    fn make_room(&mut self, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        if self.lones.len() > self.limits.flows / 16 {
            self.remove_oldest(Leaves::Evicted, leave);
            return;
        }
        let mut order: Vec<(bool, PacketRef, u32)> = self
            .slots
            .iter()
            .zip(0..)
            .filter_map(|(slot, number)| {
                slot.as_ref().map(|slot| (slot.flow.is_answered(), slot.flow.last, number))
            })
            .collect();
        let count = (order.len() / 16).max(1);
        if count < order.len() {
            order.select_nth_unstable(count);
        }
        order.truncate(count);
        order.sort_unstable();
        for (_, _, number) in order {
            self.remove(number, Leaves::Evicted, leave);
        }
    }

    fn remove(&mut self, number: u32, why: Leaves, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        if let Some(slot) = self.slots.get_mut(number as usize).and_then(Option::take) {
            self.forget(&slot.key, number);
            self.free.push(number);
            leave(Left::Whole(slot.flow, slot.state), why);
        }
    }

    /// Removes the oldest of the lone SYNs.
    fn remove_oldest(&mut self, why: Leaves, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        let Some((number, _)) = self.lones.oldest() else { return };
        if let Some(lone) = self.lones.remove(number) {
            self.forget(&lone.key, number | LONE);
            leave(Left::Lone(&lone, &LoneFlow(&self.lones)), why);
        }
    }

    /// Takes a number out of the hash table.
    fn forget(&mut self, key: &Key, number: u32) {
        if let Ok(entry) = self.map.find_entry(self.hash.hash_one(key), |&known| known == number) {
            entry.remove();
        }
    }

    /// Looks now and then for flows that ended silently. It only frees memory: what it ends, the flow's own next packet would end.
    fn clock(&mut self, time: Timestamp, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        self.now = self.now.max(time);
        self.since_sweep += 1;
        // A look costs as much as the table is long; it must have been earned by packets, whatever their stamps say.
        if self.since_sweep < self.slots.len() + 64 || self.now.since(self.swept) < SWEEP {
            return;
        }
        self.sweep(leave);
    }

    fn sweep(&mut self, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        self.swept = self.now;
        self.since_sweep = 0;
        let limits = self.limits;
        for number in 0..self.slots.len() as u32 {
            let over = self.slots.get(number as usize).and_then(Option::as_ref).is_some_and(|slot| {
                let silence = self.now.since(slot.flow.last.time);
                silence > self.least_patience + SWEEP && silence > slot.flow.patience(&limits) + SWEEP
            });
            if over {
                self.remove(number, Leaves::Ended, leave);
            }
        }
        // A lone SYN is a connection that was never answered.
        while let Some((_, lone)) = self.lones.oldest()
            && self.now.since(lone.at.time) > limits.tcp_over + SWEEP
        {
            self.remove_oldest(Leaves::Ended, leave);
        }
    }
}

/// The key of a flow, wherever it is kept.
#[inline]
fn key_of<'a, S>(slots: &'a [Option<Slot<S>>], lones: &'a Lones, number: u32) -> Option<&'a Key> {
    if number & LONE == 0 {
        slots.get(number as usize)?.as_ref().map(|slot| &slot.key)
    } else {
        lones.get(number & !LONE).map(|lone| &lone.key)
    }
}
