//! Sweeps: one client's single SYNs to service after service, none answered, told as one conversation.
//!
//! A client's first vain tries stay conversations of their own, so that an attempt at a documented service keeps its evidence. So does
//! every try that fits a conversation that is known, and every SYN that was repeated: whoever means it asks again
//! (RFC 9293 section 3.8.1), a scanner goes on to the next port.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::HashSet;
use hashbrown::hash_map::Entry;

use crate::flow::Lone;
use crate::model::CellId;
use crate::model::ConversationKey;
use crate::model::Endpoint;
use crate::model::Host;
use crate::model::PacketRef;
use crate::model::Sweep;
use crate::model::Timestamp;

use super::learnt::Room;
use super::shard::Bounds;

/// The most clients of one shard whose vain tries are counted, and how many of them there are for each conversation that there is room for.
const MOST_CLIENTS: usize = 4096;
const CLIENTS_EACH: usize = 8;
/// The most clients of one shard that have a sweep of their own, and for how many conversations there is one; those beyond are told
/// together. Each is a conversation too, in memory and in reports.
const MOST_SWEEPS: usize = 256;
const CONVERSATIONS_EACH: usize = 2;
/// The most servers and ports noted of all sweeps of one shard: those of one client that tries every port, and some for each host.
const PORTS: usize = 65_536;
const NOTED_EACH: usize = 16;

/// The tries of one shard that came to nothing.
#[derive(Clone, Default)]
pub struct Sweeps {
    /// How many tries of each client stayed conversations of their own.
    kept: HashMap<(CellId, Host), usize, RandomState>,
    folded: HashMap<(CellId, Host), Folded, RandomState>,
    /// Those of clients that have no sweep of their own.
    others: BTreeMap<CellId, Folded>,
    /// Hashes of the conversations that are known: whatever is not among them is none, which saves looking for it.
    known: HashSet<u64, RandomState>,
    /// Servers and ports of all that was folded.
    noted: usize,
    /// Tries whose server or port was not noted for want of room.
    unnoted: u64,
}

/// One client's folded tries, all of one packet.
#[derive(Clone)]
struct Folded {
    tries: u64,
    bytes: u64,
    first: PacketRef,
    last: PacketRef,
    servers: HashSet<Host, RandomState>,
    ports: HashSet<u16, RandomState>,
}

impl Folded {
    fn nothing(at: PacketRef) -> Self {
        Self {
            tries: 0,
            bytes: 0,
            first: at,
            last: at,
            servers: HashSet::default(),
            ports: HashSet::default(),
        }
    }

    fn noted(&self) -> usize {
        self.servers.len() + self.ports.len()
    }

    fn add(&mut self, other: Self) {
        self.tries += other.tries;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.ports.extend(other.ports);
        let room = Sweep::MOST_SERVERS.saturating_sub(self.servers.len());
        self.servers.extend(other.servers.into_iter().take(room));
    }
}

fn most_clients(room: &Room) -> usize {
    room.conversations.saturating_mul(CLIENTS_EACH).clamp(1, MOST_CLIENTS)
}

fn most_sweeps(room: &Room) -> usize {
    (room.conversations / CONVERSATIONS_EACH).clamp(2, MOST_SWEEPS)
}

impl Sweeps {
    /// Whether so many tries of this client came to nothing that the next ones are folded.
    pub fn is_sweeping(&self, cell: CellId, client: Host, room: &Room) -> bool {
        match self.kept.get(&(cell, client)) {
            Some(&kept) => kept >= room.tries,
            None => self.kept.len() >= most_clients(room),
        }
    }

    /// Counts a vain try of this client that stayed a conversation of its own.
    pub fn count(&mut self, cell: CellId, client: Host, room: &Room) {
        if self.kept.len() < most_clients(room) || self.kept.contains_key(&(cell, client)) {
            *self.kept.entry((cell, client)).or_default() += 1;
        }
    }

    /// Remembers that there is such a conversation.
    pub fn know(&mut self, key: &ConversationKey) {
        let mark = self.mark(key);
        self.known.insert(mark);
    }

    /// Remembers that there are these conversations and no others.
    pub fn know_only<'a>(&mut self, keys: impl Iterator<Item = &'a ConversationKey>) {
        self.known.clear();
        keys.for_each(|key| self.know(key));
    }

    /// Whether there may be such a conversation; `false` is certain.
    pub fn may_know(&self, key: &ConversationKey) -> bool {
        self.known.contains(&self.mark(key))
    }

    fn mark(&self, key: &ConversationKey) -> u64 {
        self.known.hasher().hash_one((key.client, key.server, key.port, key.cell.0))
    }

    /// Folds a try.
    pub fn fold(&mut self, cell: CellId, client: Host, server: Endpoint, lone: &Lone, bounds: &Bounds) {
        let is_room = self.noted < PORTS.saturating_add(bounds.hosts.saturating_mul(NOTED_EACH));
        let is_full = self.folded.len() >= most_sweeps(&bounds.room);
        let folded = match self.folded.entry((cell, client)) {
            Entry::Occupied(own) => own.into_mut(),
            Entry::Vacant(_) if is_full => {
                self.others.entry(cell).or_insert_with(|| Folded::nothing(lone.at))
            }
            Entry::Vacant(own) => own.insert(Folded::nothing(lone.at)),
        };
        folded.tries += 1;
        folded.bytes = folded.bytes.saturating_add(u64::from(lone.original));
        folded.first = folded.first.min(lone.at);
        folded.last = folded.last.max(lone.at);
        if !is_room {
            let known = folded.servers.contains(&server.host)
                && server.port.is_none_or(|port| folded.ports.contains(&port));
            self.unnoted += u64::from(!known);
            return;
        }
        let before = folded.noted();
        if folded.servers.len() < Sweep::MOST_SERVERS {
            folded.servers.insert(server.host);
        }
        folded.ports.extend(server.port);
        self.noted += folded.noted() - before;
    }

    /// Has the sweeps with the fewest tries told together, the oldest of them first, once there is little room for new ones: a flood of
    /// forged addresses must not hide who sweeps after it.
    pub fn thin(&mut self, room: &Room) {
        let most = most_sweeps(room);
        if self.folded.len() <= most - (most / 8).max(1) {
            return;
        }
        let rank = |folded: &Folded| (folded.tries, folded.last);
        let mut tries: Vec<_> = self.folded.values().map(rank).collect();
        let leave = tries.len().saturating_sub(most - (most / 4).max(1));
        if leave >= tries.len() {
            return;
        }
        let (_, &mut least, _) = tries.select_nth_unstable(leave);
        for ((cell, _), one) in self.folded.extract_if(|_, folded| rank(folded) < least) {
            self.others.entry(cell).or_insert_with(|| Folded::nothing(one.first)).add(one);
        }
        self.count_noted();
    }

    /// Tries whose server or port was not noted for want of room.
    pub fn unnoted(&self) -> u64 {
        self.unnoted
    }

    fn count_noted(&mut self) {
        self.noted = self.folded.values().chain(self.others.values()).map(Folded::noted).sum();
    }

    /// Forgets what was last heard of before `since`, and counts tries anew.
    pub fn forget(&mut self, since: Timestamp) {
        self.kept.clear();
        self.folded.retain(|_, folded| folded.last.time >= since);
        self.others.retain(|_, folded| folded.last.time >= since);
        self.count_noted();
    }

    /// Gives back the room of a fuller moment.
    pub fn trim(&mut self) {
        self.kept.shrink_to(2 * self.kept.len());
        self.folded.shrink_to(2 * self.folded.len());
        self.known.shrink_to(2 * self.known.len());
    }

    /// All that was folded. Sums and sets: the order in which shards are asked makes no difference.
    pub fn add_to(self, told: &mut BTreeMap<(CellId, Option<Host>), Sweep>) {
        // In no order, into a tree.
        let own = self.folded.into_iter().map(|((cell, client), folded)| ((cell, Some(client)), folded));
        for (key, folded) in own.chain(self.others.into_iter().map(|(cell, folded)| ((cell, None), folded))) {
            let sweep = told.entry(key).or_insert_with(|| Sweep {
                tries: 0,
                bytes: 0,
                first: folded.first,
                last: folded.last,
                servers: BTreeSet::new(),
                ports: BTreeSet::new(),
            });
            sweep.tries += folded.tries;
            sweep.bytes = sweep.bytes.saturating_add(folded.bytes);
            sweep.first = sweep.first.min(folded.first);
            sweep.last = sweep.last.max(folded.last);
            sweep.servers.extend(folded.servers);
            sweep.ports.extend(folded.ports);
        }
    }
}
