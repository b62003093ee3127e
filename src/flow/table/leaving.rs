//! Flows leaving the table: by silence, for want of room, at the end.

use std::hash::BuildHasher;
use std::time::Duration;

use crate::flow::live::Flow;
use crate::flow::lone::Lone;
use crate::flow::lone::Lones;
use crate::flow::slots::Slots;
use crate::model::PacketRef;
use crate::model::Timestamp;

use super::LONE;
use super::Slot;
use super::Table;

/// Capture time between two looks for flows that ended silently, and the slack that keeps a look from deciding
/// anything that the flow's own next packet would have decided otherwise.
const SWEEP: Duration = Duration::from_secs(60);

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

impl<S: Default + Clone> Table<S> {
    /// Shows every flow alive, as if it left now: where whoever sees them has not room for all, the latest first, and single SYNs last.
    pub fn each(&self, latest_first: bool, see: &mut impl FnMut(Left<'_, S>)) {
        let alive = self.hot.iter().zip(self.slots.iter());
        let mut alive: Vec<_> = alive.filter_map(|(hot, slot)| Some((hot, slot?))).collect();
        if latest_first {
            alive.sort_unstable_by_key(|(hot, _)| std::cmp::Reverse(hot.last));
        }
        for (hot, slot) in alive {
            see(Left::Whole(hot.settled(&slot.flow), slot.state.clone()));
        }
        for lone in self.lones.iter() {
            see(Left::Lone(lone, &LoneFlow(&self.lones)));
        }
    }

    /// Gives back the room of a fuller moment: places at the end that no flow has.
    pub fn trim(&mut self) {
        self.slots.trim();
        let left = self.slots.len();
        self.hot.truncate(left);
        self.free.retain(|&number| (number as usize) < left);
        self.hot.shrink_to(2 * left);
        self.free.shrink_to(2 * self.free.len());
        self.lones.trim();
    }

    /// Says what time it is while no packet does: a live wire can be silent. As with packets, it only frees memory.
    pub fn tick(&mut self, time: Timestamp, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        self.now = self.now.max(time);
        if self.now >= self.next_look {
            self.sweep(leave);
        }
    }

    /// Ends all flows.
    pub fn finish(&mut self, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        self.index.clear();
        self.free.clear();
        let hot = std::mem::take(&mut self.hot);
        for (slot, mut hot) in std::mem::replace(&mut self.slots, Slots::new()).into_iter().zip(hot) {
            if let Some(Slot { mut flow, state }) = slot {
                hot.settle(&mut flow);
                leave(Left::Whole(flow, state), Leaves::Ended);
            }
        }
        for lone in self.lones.iter() {
            leave(Left::Lone(lone, &LoneFlow(&self.lones)), Leaves::Ended);
        }
        self.lones = Lones::new();
    }

    /// Makes room: flows that were never answered go first, then the ones silent for longest. A sixteenth goes at once, so that a
    /// flood costs little per packet. Where many are lone SYNs, it is the oldest of them that goes.
    pub(super) fn make_room(&mut self, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        if self.lones.len() > self.limits.flows / 16 {
            self.remove_oldest(Leaves::Evicted, leave);
            return;
        }
        let mut order: Vec<(bool, PacketRef, u32)> = self
            .slots
            .iter()
            .zip(&self.hot)
            .zip(0..)
            .filter_map(|((slot, hot), number)| Some((slot?.flow.is_answered(), hot.last, number)))
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

    pub(super) fn remove(&mut self, number: u32, why: Leaves, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        let taken = self.slots.take(number);
        if let (Some(Slot { mut flow, state }), Some(hot)) = (taken, self.hot.get_mut(number as usize)) {
            hot.settle(&mut flow);
            let key = hot.key;
            self.index.remove(self.hash.hash_one(key), number);
            self.free.push(number);
            leave(Left::Whole(flow, state), why);
        }
    }

    /// Removes the oldest of the lone SYNs.
    fn remove_oldest(&mut self, why: Leaves, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        let Some((number, _)) = self.lones.oldest() else { return };
        if let Some(lone) = self.lones.remove(number) {
            self.index.remove(self.hash.hash_one(lone.key), number | LONE);
            leave(Left::Lone(&lone, &LoneFlow(&self.lones)), why);
        }
    }

    /// Looks now and then for flows that ended silently. It only frees memory: what it ends, the flow's own next packet would end.
    pub(super) fn clock(&mut self, time: Timestamp, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        let due = self.look_is_due(time);
        self.now = self.now.max(time);
        self.since_sweep += 1;
        if due {
            self.sweep(leave);
        }
    }

    /// Whether it is time for such a look.
    #[inline(always)]
    pub(super) fn look_is_due(&self, time: Timestamp) -> bool {
        // A look costs as much as the table is long; it must have been earned by packets, whatever their stamps say.
        self.now.max(time) >= self.next_look && self.since_sweep >= self.hot.len() + 63
    }

    fn sweep(&mut self, leave: &mut impl FnMut(Left<'_, S>, Leaves)) {
        self.next_look = self.now.plus(SWEEP);
        self.since_sweep = 0;
        let limits = self.limits;
        for number in 0..self.slots.len() as u32 {
            // Most are told by the lines that times are in.
            let Some(hot) = self.hot.get_mut(number as usize) else { continue };
            let silence = self.now.since(hot.last.time);
            if silence <= self.least_patience + SWEEP || self.now < hot.spared {
                continue;
            }
            let Some(slot) = self.slots.get(number) else { continue };
            let patience = slot.flow.patience(&limits) + SWEEP;
            if silence > patience {
                self.remove(number, Leaves::Ended, leave);
            } else {
                hot.spared = hot.last.time.plus(patience);
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
