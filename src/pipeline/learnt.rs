//! What a shard learnt: conversations and their folding, names, endpoints, and what its bounds left out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::flow::Copied;
use crate::flow::Flow;
use crate::flow::Leaves;
use crate::flow::Lone;
use crate::model::CellId;
use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::KEPT_EACH_END;
use crate::model::Lease;
use crate::model::Lookup;
use crate::model::Outcome;
use crate::model::PacketRef;
use crate::model::RpcEndpoint;
use crate::model::Statement;
use crate::model::Tally;
use crate::model::Term;
use crate::model::WholeFlow;

use super::elsewhere::Elsewhere;
use super::judge::Heard;
use super::judge::Judgement;
use super::resolve::Resolver;
use super::shard::Bounds;
use super::sweep::Sweeps;
use super::vantage::View;

/// The most service endpoints that one shard learns from handshakes.
pub const MOST_LEARNED: usize = 16_384;
/// The most lookups and dynamic ports that one shard keeps.
pub const MOST_LOOKUPS: usize = 65_536;
pub const MOST_ENDPOINTS: usize = 16_384;
/// The most leases that one shard keeps, prolongations not counted.
const MOST_LEASES: usize = 16_384;

/// Conversations in no order: the merge sorts them.
pub type Conversations = HashMap<ConversationKey, Box<Conversation>, RandomState>;

/// What a shard learnt.
#[derive(Clone)]
pub struct Learnt {
    /// Where its packets went.
    pub tally: Tally,
    /// Its flows, where they were asked for.
    pub flows: Vec<FlowRecord>,
    /// Its conversations.
    pub conversations: Conversations,
    /// Flow records kept whole in them.
    pub whole: usize,
    /// Streams without opening: who is the server may be known once all shards are done.
    pub unsettled: Vec<WholeFlow>,
    /// Questions that may be answered from another port.
    pub elsewhere: Elsewhere,
    /// Service endpoints seen accepting.
    pub learned: BTreeSet<(CellId, Host, u16)>,
    /// DNS lookups.
    pub lookups: Vec<Lookup>,
    /// Dynamic ports.
    pub endpoints: Vec<RpcEndpoint>,
    /// Addresses handed out, in the order in which that was said.
    pub leases: Vec<Lease>,
    /// What was left out because of a bound, in words, with how many.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Address resolution.
    pub resolver: Resolver,
    /// Tries that came to nothing, folded.
    pub sweeps: Sweeps,
    /// The mirror's view.
    pub view: View,
}

impl Learnt {
    /// Nothing yet.
    pub fn new(view: View) -> Self {
        Self {
            tally: Tally::default(),
            flows: Vec::new(),
            conversations: Conversations::default(),
            whole: 0,
            unsettled: Vec::new(),
            elsewhere: Elsewhere::default(),
            learned: BTreeSet::new(),
            lookups: Vec::new(),
            endpoints: Vec::new(),
            leases: Vec::new(),
            left_out: BTreeMap::new(),
            resolver: Resolver::default(),
            sweeps: Sweeps::default(),
            view,
        }
    }

    /// Counts what was left out, in words.
    pub fn leave_out(&mut self, what: &'static str, count: u64) {
        if count > 0 {
            *self.left_out.entry(what).or_default() += count;
        }
    }

    /// Takes in what messages stated beyond their flow.
    pub fn state(&mut self, flow: &Flow, judgement: &mut Judgement, heard: &mut Vec<Heard>) {
        for (at, from, statement) in heard.drain(..) {
            let (source, destination) = (flow.ends.of(from).host, flow.ends.of(from.other()).host);
            match statement {
                Statement::Dns(message) => {
                    // Multicast name resolution has its own rules: silence there is no failed lookup.
                    if judgement.name() != Some("dns") || flow.group.is_some() {
                        continue;
                    }
                    let mut told = Vec::new();
                    let questions = judgement.questions.get_or_insert_default();
                    questions.hear(message, at, flow.cell, (source, destination), &mut told);
                    self.keep_lookups(told);
                }
                Statement::RpcEndpoint { address, transport, port } => {
                    if self.endpoints.len() >= MOST_ENDPOINTS {
                        *self.left_out.entry("dynamic ports beyond those that are kept").or_default() += 1;
                        continue;
                    }
                    let server = address.map_or(source, Host::Ip);
                    self.endpoints.push(RpcEndpoint {
                        cell: flow.cell,
                        client: destination,
                        server,
                        transport,
                        port,
                        at,
                    });
                }
                Statement::Lease(term) => self.lease(flow.cell, &term, at),
            }
        }
    }

    /// Takes note of an address handed out, prolonged or handed back.
    fn lease(&mut self, cell: CellId, term: &Term, at: PacketRef) {
        let until = at.time.plus(term.lasts);
        let mut latest = self.leases.iter_mut().rev();
        let known = latest.find(|known| known.cell == cell && known.address == term.address);
        if let Some(known) = known.filter(|known| known.mac == term.mac) {
            known.until = until;
        } else if term.lasts.is_zero() {
            // Whoever hands back what another machine has by now changes nothing.
        } else if self.leases.len() < MOST_LEASES {
            self.leases.push(Lease { cell, address: term.address, mac: term.mac, from: at, until });
        } else {
            self.leave_out("leases beyond those that are kept", 1);
        }
    }

    /// Counts copies that a mirror delivered.
    pub fn copied(&mut self, how: Copied, packets: u64) {
        self.tally.duplicates += packets;
        let copies = &mut self.view.copies;
        *match how {
            Copied::Same => &mut copies.same,
            Copied::OtherVlan => &mut copies.other_vlan,
            Copied::Routed => &mut copies.routed,
            Copied::OtherWay => &mut copies.other_way,
        } += packets;
    }

    /// Keeps what became of lookups, within the bound.
    pub fn keep_lookups(&mut self, told: Vec<Lookup>) {
        for lookup in told {
            if self.lookups.len() < MOST_LOOKUPS {
                self.lookups.push(lookup);
            } else {
                *self.left_out.entry("name lookups beyond those that are kept").or_default() += 1;
            }
        }
    }

    /// Notes the service endpoint of a stream that was accepted.
    pub fn learn(&mut self, record: &FlowRecord, bounds: &Bounds) {
        let Some(port) = record.server.port else { return };
        let endpoint = (record.cell, record.server.host, port);
        if self.learned.len() < bounds.most_learned() {
            self.learned.insert(endpoint);
        } else if !self.learned.contains(&endpoint) {
            self.leave_out("times a service was not noted as accepting, for want of room", 1);
        }
    }

    /// Counts anew what is kept whole, and notes which conversations are known, once some have left.
    pub fn count_whole(&mut self) {
        self.whole = self.conversations.values().map(|kept| kept.attempts().len()).sum();
        self.sweeps.know_only(self.conversations.keys());
    }

    /// Gives back the room of a fuller moment.
    pub fn trim(&mut self) {
        self.conversations.shrink_to(2 * self.conversations.len());
        self.lookups.shrink_to(2 * self.lookups.len());
        self.endpoints.shrink_to(2 * self.endpoints.len());
        self.leases.shrink_to(2 * self.leases.len());
        self.sweeps.trim();
    }

    /// Folds a lone SYN into its client's sweep, where it is part of one.
    pub fn fold_try(&mut self, lone: &Lone, why: Leaves, bounds: &Bounds) -> bool {
        let place = lone.place();
        let (client, server) = (place.source(), place.destination());
        if !self.sweeps.is_sweeping(place.cell, client.host, &bounds.room)
            && self.conversations.len() < bounds.room.conversations
        {
            return false;
        }
        let key = ConversationKey {
            cell: place.cell,
            client: client.host,
            server: server.host,
            transport: place.transport,
            port: server.port,
        };
        if self.sweeps.may_know(&key) && self.conversations.contains_key(&key) {
            return false;
        }
        self.sweeps.fold(place.cell, client.host, server, lone, bounds);
        self.tally.folded += 1;
        self.tally.evicted += u64::from(why == Leaves::Evicted);
        true
    }

    /// Keeps a record whose roles are settled, within the bound on conversations.
    pub fn keep(&mut self, record: WholeFlow, keep_flows: bool, room: &Room) {
        if keep_flows {
            self.flows.push((*record).clone());
        }
        let (key, before) = (ConversationKey::of(&record), self.conversations.len());
        fold(&mut self.conversations, record, room, &mut self.whole, &mut self.left_out);
        if self.conversations.len() > before {
            self.sweeps.know(&key);
        }
    }
}

/// Folds a flow into its conversation. Beyond the bound, the ports of attempts that came to nothing are folded together, so that
/// a sweep over all ports of a plant stays one line a pair; whatever was answered has room for [`ANSWERED`] times as many.
pub fn fold(
    conversations: &mut Conversations,
    record: WholeFlow,
    room: &Room,
    whole: &mut usize,
    left_out: &mut BTreeMap<&'static str, u64>,
) {
    let mut key = ConversationKey::of(&record);
    let short = *whole >= room.records;
    if let Some(known) = conversations.get_mut(&key) {
        return add(known, record, short, whole);
    }
    let most = if came_to_nothing(&record) {
        room.conversations
    } else {
        room.conversations.saturating_mul(ANSWERED)
    };
    if conversations.len() >= most {
        *left_out.entry("flows whose ports were folded together").or_default() += 1;
        key.port = None;
        if let Some(known) = conversations.get_mut(&key) {
            return add(known, record, true, whole);
        }
        if conversations.len() >= room.conversations.saturating_mul(ANSWERED + 1) {
            *left_out.entry("flows whose conversations were only counted").or_default() += 1;
            return;
        }
    }
    conversations.insert(key, Box::new(Conversation::under(key, record)));
    *whole += 1;
}

/// Folds a flow into a known conversation, and counts what stays whole of it.
fn add(known: &mut Conversation, record: WholeFlow, short: bool, whole: &mut usize) {
    let before = known.attempts().len();
    known.fold_keeping(record, if short { 1 } else { KEPT_EACH_END });
    *whole += known.attempts().len() - before;
}

/// What there is room for in one shard.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The most conversations of which each has its own entry though it came to nothing.
    pub conversations: usize,
    /// Flow records kept whole beyond which a conversation keeps only its first and its last.
    pub records: usize,
    /// The most vain tries of one client that are conversations of their own.
    pub tries: usize,
}

/// The most streams without opening of one shard that wait for the merge to tell their roles; each may be a conversation then.
const MOST_UNSETTLED: usize = 1024;
/// So many of them have their roles settled by what is known then, where the merge may never come.
const UNSETTLED: usize = 256;

impl Room {
    /// The most streams without opening that wait.
    pub fn most_unsettled(&self) -> usize {
        self.conversations.saturating_mul(ANSWERED).min(MOST_UNSETTLED)
    }

    /// How many of them are settled at once.
    pub fn unsettled(&self) -> usize {
        self.conversations.min(UNSETTLED)
    }
}

/// How many times the bound on conversations is left for those that were more than a single try.
pub const ANSWERED: usize = 4;

/// Whether a flow was one try that nobody answered, or that was turned away: what sweeps are made of.
fn came_to_nothing(record: &FlowRecord) -> bool {
    matches!(record.outcome, Outcome::Unanswered | Outcome::Refused | Outcome::Rejected | Outcome::Observed)
        && record.from_client.packets <= 1
        && record.classification.protocol.is_none()
}
