//! The flow table: bounded, one slot a flow, with the caller's own state beside each.

use std::time::Duration;

use arrayvec::ArrayVec;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

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

/// All flows of one shard.
pub struct Table<S> {
    limits: Limits,
    map: HashMap<Key, u32, RandomState>,
    slots: Vec<Option<Slot<S>>>,
    free: Vec<u32>,
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
            map: HashMap::with_hasher(RandomState::default()),
            slots: Vec::new(),
            free: Vec::new(),
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

    /// Takes in a packet; flows that end by it go to `leave`.
    pub fn take(
        &mut self,
        place: &Place,
        arrival: &Arrival<'_>,
        leave: &mut impl FnMut(Flow, S, Leaves),
    ) -> SlotId {
        self.clock(arrival.at.time, leave);
        let number = match self.map.get(&place.key) {
            Some(&number) => {
                self.renew(number, place, arrival, leave);
                number
            }
            None => self.insert(place, arrival, leave),
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
        SlotId(number)
    }

    /// The flow in a slot, and the caller's state of it.
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
        let known =
            self.map.get(&quoted.key).and_then(|&number| self.slots.get_mut(number as usize)?.as_mut());
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

    /// Every flow alive, with the caller's state of it.
    pub fn iter(&self) -> impl Iterator<Item = (&Flow, &S)> {
        self.slots.iter().flatten().map(|slot| (&slot.flow, &slot.state))
    }

    /// Says what time it is while no packet does: a live wire can be silent. As with packets, it only frees memory.
    pub fn tick(&mut self, time: Timestamp, leave: &mut impl FnMut(Flow, S, Leaves)) {
        self.now = self.now.max(time);
        if self.now.since(self.swept) >= SWEEP {
            self.sweep(leave);
        }
    }

    /// Ends all flows.
    pub fn finish(&mut self, leave: &mut impl FnMut(Flow, S, Leaves)) {
        self.map.clear();
        self.free.clear();
        for slot in std::mem::take(&mut self.slots).into_iter().flatten() {
            leave(slot.flow, slot.state, Leaves::Ended);
        }
    }

    /// Decides whether the packet still belongs to the flow known under its key.
    fn renew(
        &mut self,
        number: u32,
        place: &Place,
        arrival: &Arrival<'_>,
        leave: &mut impl FnMut(Flow, S, Leaves),
    ) {
        let Some(slot) = self.slots.get_mut(number as usize).and_then(Option::as_mut) else { return };
        let flow = &mut slot.flow;
        let time = arrival.at.time;
        let anew = time.since(flow.last.time) > flow.patience(&self.limits)
            || matches!(arrival.frame.body, Body::Tcp(segment) if !arrival.copy && {
                let (me, peer) = flow.sides.split_mut(place.from);
                tcp::begins_anew(me, peer, &segment, arrival.at)
            });
        if anew {
            let old = std::mem::replace(flow, Flow::new(place, arrival));
            leave(old, std::mem::take(&mut slot.state), Leaves::Ended);
        } else if time.since(flow.first.time) > self.limits.active {
            leave(flow.clone(), slot.state.clone(), Leaves::GoesOn);
            flow.next_stretch(arrival.at);
        }
    }

    fn insert(
        &mut self,
        place: &Place,
        arrival: &Arrival<'_>,
        leave: &mut impl FnMut(Flow, S, Leaves),
    ) -> u32 {
        if self.map.len() >= self.limits.flows.max(1) {
            self.make_room(leave);
        }
        let slot = Some(Slot { key: place.key, flow: Flow::new(place, arrival), state: S::default() });
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.slots.get_mut(number as usize) {
                    *place = slot;
                }
                number
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.map.insert(place.key, number);
        number
    }

    /// Makes room: flows that were never answered go first, then the ones silent for longest. A sixteenth goes at once, so that a
    /// flood costs little per packet.
    fn make_room(&mut self, leave: &mut impl FnMut(Flow, S, Leaves)) {
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

    fn remove(&mut self, number: u32, why: Leaves, leave: &mut impl FnMut(Flow, S, Leaves)) {
        if let Some(slot) = self.slots.get_mut(number as usize).and_then(Option::take) {
            self.map.remove(&slot.key);
            self.free.push(number);
            leave(slot.flow, slot.state, why);
        }
    }

    /// Looks now and then for flows that ended silently. It only frees memory: what it ends, the flow's own next packet would end.
    fn clock(&mut self, time: Timestamp, leave: &mut impl FnMut(Flow, S, Leaves)) {
        self.now = self.now.max(time);
        self.since_sweep += 1;
        // A look costs as much as the table is long; it must have been earned by packets, whatever their stamps say.
        if self.since_sweep < self.slots.len() / 4 + 64 || self.now.since(self.swept) < SWEEP {
            return;
        }
        self.sweep(leave);
    }

    fn sweep(&mut self, leave: &mut impl FnMut(Flow, S, Leaves)) {
        self.swept = self.now;
        self.since_sweep = 0;
        let limits = self.limits;
        for number in 0..self.slots.len() as u32 {
            let over = self.slots.get(number as usize).and_then(Option::as_ref).is_some_and(|slot| {
                self.now.since(slot.flow.last.time) > slot.flow.patience(&limits) + SWEEP
            });
            if over {
                self.remove(number, Leaves::Ended, leave);
            }
        }
    }
}
