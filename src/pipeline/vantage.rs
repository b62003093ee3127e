//! What this mirror sees: who was heard, which pairs in one direction only, and in which wrappings packets came.

use std::collections::BTreeMap;

use arrayvec::ArrayVec;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::decode::Context;
use crate::decode::MOST_TUNNELS;
use crate::decode::MOST_VLANS;
use crate::decode::Tunnel;
use crate::flow::Flow;
use crate::flow::Half;
use crate::model::CellId;
use crate::model::Heard;
use crate::model::Host;
use crate::model::Timestamp;
use crate::model::Transport;
use crate::model::Vantage;

/// The most hosts that one shard remembers; a flood of forged addresses must not fill memory.
const MOST_HOSTS: usize = 32_768;
/// The most pairs of hosts that one shard remembers.
const MOST_PAIRS: usize = 32_768;
/// The most ways of wrapping that one shard counts apart.
const MOST_WRAPPINGS: usize = 1024;

/// Who was heard, in no order.
pub type Inventory = HashMap<(CellId, Host), Heard, RandomState>;

type Wrapping = (ArrayVec<u16, MOST_VLANS>, ArrayVec<Tunnel, MOST_TUNNELS>);

/// What is known of two hosts: whether each was heard, and whether both would have to be.
#[derive(Clone, Copy, Debug, Default)]
struct PairSeen {
    low: bool,
    high: bool,
    due: bool,
}

/// One shard's part.
#[derive(Clone, Default)]
pub struct View {
    /// Every unicast host that was heard in this shard. Only sums, minima and maxima go in, so the order of arrival does not matter.
    heard: Inventory,
    pairs: HashMap<(CellId, Host, Host), PairSeen, RandomState>,
    wrappings: Vec<(Wrapping, u64)>,
    /// Where each wrapping stands in `wrappings`.
    places: HashMap<Wrapping, usize, RandomState>,
    /// Where the one seen last stands: the next packet often has the same.
    latest: usize,
    unseen_bytes: u64,
    acknowledged_bytes: u64,
}

impl View {
    /// Forgets hosts that were silent since then, and pairs where there are too many: those that are there speak again.
    pub fn forget(&mut self, since: Timestamp) {
        self.heard.retain(|_, heard| heard.last.time >= since);
        if self.pairs.len() >= MOST_PAIRS {
            self.pairs.clear();
        }
    }

    /// Counts the wrappings of one packet.
    pub fn count(&mut self, context: &Context, packets: u64) {
        if context.vlans.is_empty() && context.tunnels.is_empty() {
            return;
        }
        if let Some(((vlans, tunnels), count)) = self.wrappings.get_mut(self.latest)
            && *vlans == context.vlans
            && *tunnels == context.tunnels
        {
            *count += packets;
            return;
        }
        let wrapping = (context.vlans.clone(), context.tunnels.clone());
        let known = match self.places.get(&wrapping) {
            Some(&known) => known,
            None if self.wrappings.len() >= MOST_WRAPPINGS => return,
            None => {
                self.wrappings.push((wrapping.clone(), 0));
                self.places.insert(wrapping, self.wrappings.len() - 1);
                self.wrappings.len() - 1
            }
        };
        self.latest = known;
        if let Some((_, count)) = self.wrappings.get_mut(known) {
            *count += packets;
        }
    }

    /// Takes in a flow that ended.
    pub fn take(&mut self, flow: &Flow) {
        for half in [Half::Low, Half::High] {
            let side = flow.sides.of(half);
            let host = flow.ends.of(half).host;
            if let (Some(first), Some(last)) = (side.first, side.last)
                && !host.is_group()
            {
                self.hear((flow.cell, host), Heard { packets: side.packets, first, last });
            }
            // What was never heard of a side that is not mirrored at all is no loss.
            if let Some(tcp) = side.tcp.as_deref()
                && !side.is_silent()
            {
                self.unseen_bytes += tcp.unseen_acknowledged;
                self.acknowledged_bytes += tcp.payload_acknowledged;
            }
        }
        if matches!(flow.transport, Transport::Tcp | Transport::Udp) && flow.group.is_none() {
            self.pair(flow);
        }
    }

    fn hear(&mut self, key: (CellId, Host), heard: Heard) {
        if let Some(known) = self.heard.get_mut(&key) {
            known.packets += heard.packets;
            known.first = known.first.min(heard.first);
            known.last = known.last.max(heard.last);
        } else if self.heard.len() < MOST_HOSTS {
            self.heard.insert(key, heard);
        }
    }

    fn pair(&mut self, flow: &Flow) {
        // The lower endpoint has the lower host, so all flows of a pair agree on which is which.
        let (low, high) = (!flow.sides.low.is_silent(), !flow.sides.high.is_silent());
        // An end that acknowledges proves that the other spoke; one that only asks does not.
        let acknowledges = |half: Half| {
            flow.sides.of(half).tcp.as_deref().is_some_and(|tcp| tcp.spoken > 0 && !tcp.only_syn())
        };
        let due = (low && high) || acknowledges(Half::Low) || acknowledges(Half::High);
        let key = (flow.cell, flow.ends.low.host, flow.ends.high.host);
        if self.pairs.len() >= MOST_PAIRS && !self.pairs.contains_key(&key) {
            return;
        }
        let known = self.pairs.entry(key).or_default();
        known.low |= low;
        known.high |= high;
        known.due |= due;
    }

    /// Adds this shard's part to the whole: sums, which do not depend on the order.
    pub fn add_to(self, vantage: &mut Vantage, all: &mut Inventory) {
        vantage.unseen_bytes += self.unseen_bytes;
        vantage.acknowledged_bytes += self.acknowledged_bytes;
        self.heard.into_iter().for_each(|(key, heard)| {
            let known = all.entry(key).or_insert(Heard { packets: 0, ..heard });
            known.packets += heard.packets;
            known.first = known.first.min(heard.first);
            known.last = known.last.max(heard.last);
        });
        for seen in self.pairs.values().filter(|seen| seen.due) {
            vantage.pairs += 1;
            vantage.one_sided_pairs += u64::from(seen.low != seen.high);
        }
        for ((vlans, tunnels), packets) in &self.wrappings {
            let mut names: BTreeMap<String, u64> = BTreeMap::new();
            for vlan in vlans {
                names.insert(format!("vlan {vlan}"), *packets);
            }
            for tunnel in tunnels {
                names.insert(tunnel.to_string(), *packets);
            }
            for (name, packets) in names {
                *vantage.encapsulations.entry(name).or_default() += packets;
            }
        }
    }
}
