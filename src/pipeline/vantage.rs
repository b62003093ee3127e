//! What this mirror sees: who was heard, which pairs in one direction only, and in which wrappings packets came.

mod hearing;

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use dashmap::DashMap;
use foldhash::fast::FixedState;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::HashSet;

use crate::decode::MOST_TUNNELS;
use crate::decode::MOST_VLANS;
use crate::decode::Tunnel;
use crate::flow::Flow;
use crate::flow::Half;
use crate::model::CellId;
use crate::model::Copies;
use crate::model::Heard;
use crate::model::Host;
use crate::model::PacketRef;
use crate::model::Timestamp;
use crate::model::Transport;
use crate::model::Vantage;

use hearing::Hearing;

/// The most ways of wrapping that one shard counts apart.
const MOST_WRAPPINGS: usize = 1024;

/// The most stretches of time in which a shard remembers that errors came which can't be read.
const MOST_STRETCHES: usize = 4096;
/// Errors this close together are one stretch: shorter than the shortest repetition of a SYN (RFC 6298).
const ONE_STRETCH: Duration = Duration::from_secs(1);

/// Every unicast host that was heard, shared by all workers. Only sums, minima and maxima go in, so the order of arrival does not matter.
pub type Hosts = Arc<DashMap<(CellId, Host), Heard, FixedState>>;

type Wrapping = (ArrayVec<u16, MOST_VLANS>, ArrayVec<Tunnel, MOST_TUNNELS>);

/// What is known of two hosts: whether each was heard, and whether both would have to be.
#[derive(Clone, Copy, Debug, Default)]
struct PairSeen {
    low: bool,
    high: bool,
    due: bool,
    /// The same by time.
    ends: [Hearing; 2],
}

/// What stands for a host among those told of.
pub fn mark(key: &(CellId, Host)) -> u64 {
    FixedState::default().hash_one(key)
}

/// One shard's part.
#[derive(Clone)]
pub struct View {
    hosts: Hosts,
    /// The most hosts that this shard tells of, and the most pairs that it remembers: a flood of forged addresses must not fill memory.
    most: usize,
    /// How often a host was not told of for want of room.
    turned_away: u64,
    /// Which hosts this shard told of, as hashes: the bound must not depend on what other shards did.
    told: HashSet<u64, FixedState>,
    pairs: HashMap<(CellId, Host, Host), PairSeen, RandomState>,
    wrappings: Vec<(Wrapping, u64)>,
    /// Where each wrapping stands in `wrappings`.
    places: HashMap<Wrapping, usize, RandomState>,
    /// Where the one seen last stands: the next packet often has the same.
    latest: usize,
    unseen_bytes: u64,
    acknowledged_bytes: u64,
    /// ICMP errors whose quote is cut off, by whom they reach, in stretches.
    unread: HashMap<(CellId, IpAddr), Vec<(PacketRef, PacketRef)>, RandomState>,
    /// How many stretches these are.
    stretches: usize,
    /// Copies that were set aside.
    pub copies: Copies,
}

impl View {
    /// A view that tells of hosts to this inventory.
    pub fn new(hosts: Hosts, most: usize) -> Self {
        Self {
            hosts,
            most,
            turned_away: 0,
            told: HashSet::default(),
            pairs: HashMap::default(),
            wrappings: Vec::new(),
            places: HashMap::default(),
            latest: 0,
            unseen_bytes: 0,
            acknowledged_bytes: 0,
            unread: HashMap::default(),
            stretches: 0,
            copies: Copies::default(),
        }
    }

    /// From now on tells of hosts to another inventory.
    pub fn tell_to(&mut self, hosts: Hosts) {
        self.hosts = hosts;
    }

    /// Makes room for hosts and pairs that were not there before, once hosts have left the inventory: `left` are the marks of the others. A pair goes
    /// with the first of its hosts that was heard in it.
    pub fn forget(&mut self, left: &HashSet<u64, FixedState>) {
        self.told.retain(|mark| left.contains(mark));
        let is_left = |cell: CellId, host: Host, heard: bool| !heard || left.contains(&mark(&(cell, host)));
        self.pairs.retain(|&(cell, low, high), seen| {
            is_left(cell, low, seen.low) && is_left(cell, high, seen.high)
        });
        if self.pairs.len() >= self.most {
            self.pairs.clear();
        }
        self.told.shrink_to(2 * self.told.len());
        self.pairs.shrink_to(2 * self.pairs.len());
    }

    /// How often a host was not told of for want of room.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// Counts the wrappings of one packet.
    #[inline(always)]
    pub fn count(&mut self, vlans: &[u16], tunnels: &[Tunnel], packets: u64) {
        if !vlans.is_empty() || !tunnels.is_empty() {
            self.count_wrapped(vlans, tunnels, packets);
        }
    }

    fn count_wrapped(&mut self, vlans: &[u16], tunnels: &[Tunnel], packets: u64) {
        if let Some(((known, ways), count)) = self.wrappings.get_mut(self.latest)
            && known.as_slice() == vlans
            && ways.as_slice() == tunnels
        {
            *count += packets;
            return;
        }
        let wrapping: Wrapping = (vlans.iter().copied().collect(), tunnels.iter().copied().collect());
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

    /// Takes in an ICMP error whose quoted packet is cut off. Once there is no more room for stretches, the last ones of each host grow, and hosts
    /// without any are left out and counted.
    pub fn hear_unread(&mut self, cell: CellId, to: IpAddr, at: PacketRef) {
        let full = self.stretches >= MOST_STRETCHES;
        match self.unread.get_mut(&(cell, to)).and_then(|known| known.last_mut()) {
            Some((_, last)) if full || at.time.since(last.time) <= ONE_STRETCH => *last = at.max(*last),
            None if full => self.turned_away += 1,
            _ => {
                self.unread.entry((cell, to)).or_default().push((at, at));
                self.stretches += 1;
            }
        }
    }

    /// Forgets the stretches of errors that can't be read which ended before then: what was tried at that time is forgotten as well.
    pub fn forget_unread(&mut self, since: Timestamp) {
        self.unread.retain(|_, stretches| {
            stretches.retain(|(_, last)| last.time >= since);
            !stretches.is_empty()
        });
        self.stretches = self.unread.values().map(Vec::len).sum();
        self.unread.shrink_to(2 * self.unread.len());
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
        let mark = mark(&key);
        if !self.told.contains(&mark) {
            if self.told.len() >= self.most {
                self.turned_away += 1;
                return;
            }
            self.told.insert(mark);
        }
        self.hosts.entry(key).and_modify(|known| known.add(&heard)).or_insert(heard);
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
        if self.pairs.len() >= self.most && !self.pairs.contains_key(&key) {
            return;
        }
        let known = self.pairs.entry(key).or_default();
        known.low |= low;
        known.high |= high;
        known.due |= due;
        let [one, other] = &mut known.ends;
        one.add(&flow.sides.low);
        other.add(&flow.sides.high);
    }

    /// Adds this shard's part to the whole, whose last packet came `now`: sums, which do not depend on the order.
    pub fn add_to(self, vantage: &mut Vantage, now: Option<Timestamp>) {
        vantage.unseen_bytes += self.unseen_bytes;
        vantage.acknowledged_bytes += self.acknowledged_bytes;
        vantage.copies.add(self.copies);
        for (key, stretches) in self.unread {
            vantage.unread_errors.entry(key).or_default().extend(stretches);
        }
        for seen in self.pairs.values().filter(|seen| seen.due) {
            vantage.pairs += 1;
            vantage.one_sided_pairs += u64::from(seen.low != seen.high);
        }
        for seen in self.pairs.values() {
            let [one, other] = seen.ends;
            if let Some(lost) = now.and_then(|now| hearing::is_lost(one, other, now)) {
                vantage.latest_pairs += 1;
                vantage.lost_pairs += u64::from(lost);
            }
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::InputId;

    #[test]
    fn errors_that_cannot_be_read_are_forgotten_with_their_time() {
        let at = |second: i64| {
            PacketRef::new(Timestamp::from_nanos(second * 1_000_000_000), InputId(0), second.unsigned_abs())
        };
        let [early, both] = [1, 2].map(|n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)));
        let mut view = View::new(Hosts::default(), 16);
        view.hear_unread(CellId(0), early, at(1));
        view.hear_unread(CellId(0), both, at(1));
        view.hear_unread(CellId(0), both, at(100));
        view.hear_unread(CellId(0), both, at(101));
        assert_eq!(view.stretches, 3);

        view.forget_unread(at(101).time);
        assert_eq!(view.stretches, 1, "there is room again");
        let mut vantage = Vantage::default();
        view.add_to(&mut vantage, None);
        let left: Vec<_> = vantage.unread_errors.into_iter().collect();
        assert_eq!(left, [((CellId(0), both), vec![(at(100), at(101))])]);
    }
}
