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

use crate::flow::Lone;
use crate::model::CellId;
use crate::model::ConversationKey;
use crate::model::Endpoint;
use crate::model::Host;
use crate::model::PacketRef;
use crate::model::Sweep;
use crate::model::Timestamp;

/// The most clients of one shard whose vain tries are counted.
const MOST_CLIENTS: usize = 4096;
/// The most clients of one shard that have a sweep of their own; those beyond are told together.
const MOST_SWEEPS: usize = 256;

/// The tries of one shard that came to nothing.
#[derive(Clone, Default)]
pub struct Sweeps {
    /// How many tries of each client stayed conversations of their own.
    kept: HashMap<(CellId, Host), usize, RandomState>,
    folded: HashMap<(CellId, Option<Host>), Folded, RandomState>,
    /// Hashes of the conversations that are known: whatever is not among them is none, which saves looking for it.
    known: HashSet<u64, RandomState>,
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

impl Sweeps {
    /// Whether so many tries of this client came to nothing that the next ones are folded.
    pub fn is_sweeping(&self, cell: CellId, client: Host, most: usize) -> bool {
        match self.kept.get(&(cell, client)) {
            Some(&kept) => kept >= most,
            None => self.kept.len() >= MOST_CLIENTS,
        }
    }

    /// Counts a vain try of this client that stayed a conversation of its own.
    pub fn count(&mut self, cell: CellId, client: Host) {
        if self.kept.len() < MOST_CLIENTS || self.kept.contains_key(&(cell, client)) {
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
    pub fn fold(&mut self, cell: CellId, client: Host, server: Endpoint, lone: &Lone) {
        let own = self.folded.contains_key(&(cell, Some(client)));
        let key = if own || self.folded.len() < MOST_SWEEPS { Some(client) } else { None };
        let folded = self.folded.entry((cell, key)).or_insert_with(|| Folded {
            tries: 0,
            bytes: 0,
            first: lone.at,
            last: lone.at,
            servers: HashSet::default(),
            ports: HashSet::default(),
        });
        folded.tries += 1;
        folded.bytes = folded.bytes.saturating_add(u64::from(lone.original));
        folded.first = folded.first.min(lone.at);
        folded.last = folded.last.max(lone.at);
        if folded.servers.len() < Sweep::MOST_SERVERS {
            folded.servers.insert(server.host);
        }
        folded.ports.extend(server.port);
    }

    /// Forgets what was last heard of before `since`, and counts tries anew.
    pub fn forget(&mut self, since: Timestamp) {
        self.kept.clear();
        self.folded.retain(|_, folded| folded.last.time >= since);
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
        for (key, folded) in self.folded {
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
