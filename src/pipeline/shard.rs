//! One logical shard: its flow table, what its flows prove to be, and what it learns. Which worker runs it changes nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use foldhash::fast::FixedState;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::HashSet;

use crate::classify::Carrier;
use crate::decode::Body;
use crate::decode::Frame;
use crate::decode::Piece;
use crate::decode::Plain;
use crate::flow::Appearance;
use crate::flow::Arrival;
use crate::flow::Copied;
use crate::flow::ErrorSeen;
use crate::flow::Flow;
use crate::flow::Key;
use crate::flow::Leaves;
use crate::flow::Left;
use crate::flow::Limits;
use crate::flow::Lone;
use crate::flow::Payload;
use crate::flow::Place;
use crate::flow::Proven;
use crate::flow::Quick;
use crate::flow::Recent;
use crate::flow::Seen;
use crate::flow::SlotId;
use crate::flow::Table;
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
use crate::model::RoleBasis;
use crate::model::RpcEndpoint;
use crate::model::Statement;
use crate::model::Tally;
use crate::model::Term;
use crate::model::Timestamp;
use crate::model::Transport;
use crate::model::WholeFlow;

use super::cells::CellMap;
use super::elsewhere::Elsewhere;
use super::judge::Heard;
use super::judge::Judgement;
use super::merge;
use super::names;
use super::resolve::Resolver;
use super::sweep::Sweeps;
use super::together::Ready;
use super::vantage::Hosts;
use super::vantage::View;

/// How many shards there are, whatever the number of workers.
pub const SHARDS: usize = 64;
/// The most service endpoints that one shard learns from handshakes.
const MOST_LEARNED: usize = 16_384;
/// The most streams without opening that wait for the merge to tell their roles.
const MOST_UNSETTLED: usize = 1024;
/// The most lookups and dynamic ports that one shard keeps.
pub const MOST_LOOKUPS: usize = 65_536;
pub const MOST_ENDPOINTS: usize = 16_384;
/// The most leases that one shard keeps, prolongations not counted.
pub const MOST_LEASES: usize = 16_384;

/// What a shard is to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// Count it in its own flow.
    pub count: bool,
    /// It is an ICMP error: tie it to the flow that it quotes.
    pub tie: bool,
    /// It is address resolution: follow it.
    pub resolve: bool,
}

/// Bounds of one shard.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of its flow table.
    pub limits: Limits,
    /// The most bytes kept for classifiers.
    pub prefixes: usize,
    /// For conversations.
    pub room: Room,
    /// The most hosts that it tells of, and the most pairs of hosts that it remembers.
    pub hosts: usize,
    /// Whether every flow is kept for printing.
    pub keep_flows: bool,
}

/// One packet, or datagram put together, for a shard.
pub struct Delivery<'a> {
    /// The packet.
    pub at: PacketRef,
    /// Length on the wire.
    pub original: u32,
    /// The interface within its input.
    pub interface: u32,
    /// The fragments, where it was put together.
    pub pieces: &'a [Piece],
    /// What it says.
    pub frame: &'a Frame<'a>,
    /// What to do.
    pub tasks: Tasks,
}

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

/// A shard at work.
pub struct Shard {
    table: Table<Judgement>,
    recent: Recent,
    bounds: Bounds,
    /// Bytes kept for classifiers.
    kept: usize,
    learnt: Learnt,
    /// Reused for what each packet states.
    heard: Vec<Heard>,
}

impl Shard {
    /// An empty shard.
    pub fn new(bounds: Bounds, hosts: Hosts) -> Self {
        Self {
            table: Table::new(bounds.limits),
            recent: Recent::default(),
            bounds,
            kept: 0,
            learnt: Learnt {
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
                view: View::new(hosts, bounds.hosts),
            },
            heard: Vec::new(),
        }
    }

    /// Takes in one packet.
    pub fn take(&mut self, delivery: &Delivery<'_>, cells: &CellMap) {
        let &Delivery { at, frame, tasks, pieces, .. } = delivery;
        let packets = if pieces.is_empty() { 1 } else { pieces.len() as u64 };
        let cell = cells.cell(&frame.context, delivery.interface);
        let Some(place) = Place::of(cell, frame) else {
            if tasks.count {
                self.learnt.tally.packets += packets;
                for _ in 0..packets {
                    self.learnt.tally.undecodable(NO_HOSTS, at);
                }
            }
            return;
        };
        if tasks.count {
            self.learnt.tally.packets += packets;
            self.learnt.view.count(&frame.context.vlans, &frame.context.tunnels, packets);
        }
        let hash = self.table.hash(&place.key);
        let appearance = self.recent.meet(hash, place.from, &Seen::frame(frame), at);
        if let Appearance::Duplicate(how) = appearance {
            if tasks.count {
                self.learnt.copied(how, packets);
            }
            return;
        }
        let copy = appearance == Appearance::OtherVantage;
        if tasks.tie && !copy {
            self.tie(cell, frame, at);
        }
        if tasks.resolve && !copy {
            self.learnt.resolver.take(cell, frame, at);
        }
        if tasks.count {
            self.learnt.tally.in_flows += packets;
            self.count(hash, &place, &Arrival { at, original: delivery.original, pieces, frame, copy });
        }
    }

    /// The hash of a flow's key, in this shard.
    #[inline(always)]
    pub fn hash(&self, key: &Key) -> u64 {
        self.table.hash(key)
    }

    /// See [`Table::guess`].
    #[inline(always)]
    pub fn guess(&self, hash: u64) -> Option<u32> {
        self.table.guess(hash)
    }

    /// See [`Recent::touch`].
    #[inline(always)]
    pub fn touch_recent(&self, plain: &Plain<'_>) -> u64 {
        self.recent.touch(&Seen::plain(plain))
    }

    /// See [`Table::guess_oldest`].
    #[inline(always)]
    pub fn guess_oldest(&self) -> Option<u64> {
        self.table.guess_oldest()
    }

    /// See [`Table::touch`].
    #[inline(always)]
    pub fn touch(&self, number: u32) -> u64 {
        self.table.touch(number)
    }

    /// Takes in one usual packet: as [`Shard::take`] does with its frame, which is made only where the packet is not an ordinary one of a
    /// known flow.
    #[inline(always)]
    pub fn take_plain(&mut self, ready: &Ready<'_>) {
        let &Ready { at, original, ref plain, ref key, from, hash, .. } = ready;
        self.learnt.tally.packets += 1;
        self.learnt.view.count(plain.vlans(), &[], 1);
        let appearance = self.recent.meet(hash, from, &Seen::plain(plain), at);
        if let Appearance::Duplicate(how) = appearance {
            self.learnt.copied(how, 1);
            return;
        }
        self.learnt.tally.in_flows += 1;
        let copy = appearance == Appearance::OtherVantage;
        let quick = if copy { Quick::No } else { self.table.quick(hash, (key, from), plain, at, original) };
        match quick {
            Quick::No => self.take_at_length(ready, copy),
            Quick::Counted => {}
            Quick::Glance(slot) => self.glance(slot, plain, at),
        }
    }

    /// Shows the payload of a counted packet to a protocol that tells what each of its messages does.
    fn glance(&mut self, slot: SlotId, plain: &Plain<'_>, at: PacketRef) {
        let Some((_, judgement)) = self.table.slot(slot) else { return };
        let (carrier, sequence, bytes, promised) = match plain.body() {
            Body::Tcp(tcp) => (Carrier::Tcp, tcp.sequence, tcp.payload, tcp.payload_length as usize),
            Body::Udp(udp) => (Carrier::Udp, 0, udp.payload, udp.payload_length as usize),
            _ => return,
        };
        judgement
            .glance(carrier, &Payload { at, sequence, bytes, lacks: promised.saturating_sub(bytes.len()) });
    }

    #[inline(never)]
    fn take_at_length(&mut self, ready: &Ready<'_>, copy: bool) {
        let &Ready { at, original, hash, cell, .. } = ready;
        let frame = ready.plain.frame();
        if let Some(place) = Place::of(cell, &frame) {
            self.count(hash, &place, &Arrival { at, original, pieces: &[], frame: &frame, copy });
        }
    }

    /// What is known now, as if the capture ended here; the shard goes on. Hosts are told to an inventory of the snapshot's own.
    pub fn observe(&self, hosts: Hosts) -> Learnt {
        let mut learnt = self.learnt.clone();
        learnt.view.tell_to(hosts);
        let mut kept = self.kept;
        let mut sink = Sink { bounds: &self.bounds, kept: &mut kept, learnt: &mut learnt };
        self.table.each(&mut |left| sink.leave(left, Leaves::Ended));
        for record in std::mem::take(&mut learnt.elsewhere).finish() {
            learnt.keep(record, self.bounds.keep_flows, &self.bounds.room);
        }
        learnt
    }

    /// Sees to timers: flows that ended in silence leave the table.
    pub fn tick(&mut self, now: Timestamp) {
        let mut sink = Sink { bounds: &self.bounds, kept: &mut self.kept, learnt: &mut self.learnt };
        self.table.tick(now, &mut |left, why| sink.leave(left, why));
    }

    /// Flows alive.
    pub fn flows(&self) -> usize {
        self.table.len()
    }

    /// Bytes kept for classifiers.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Settles the roles of streams without opening, silent since then, by the endpoints that are known to accept.
    pub fn settle(&mut self, learned: &BTreeSet<(CellId, Host, u16)>, since: Timestamp) {
        let waiting = std::mem::take(&mut self.learnt.unsettled);
        let (old, young) = waiting.into_iter().partition(|record: &WholeFlow| record.last.time < since);
        self.learnt.unsettled = young;
        for mut record in old {
            merge::settle(&mut record, learned);
            self.learnt.keep(record, self.bounds.keep_flows, &self.bounds.room);
        }
        if self.learnt.learned.len() >= MOST_LEARNED {
            self.learnt.learned.clear();
        }
    }

    /// Forgets what was silent since then.
    pub fn forget(&mut self, since: Timestamp, answered: Timestamp) {
        let learnt = &mut self.learnt;
        for record in learnt.elsewhere.settle(answered) {
            learnt.keep(record, self.bounds.keep_flows, &self.bounds.room);
        }
        let before = learnt.conversations.len();
        learnt.conversations.retain(|_, conversation| conversation.last.time >= since);
        let gone = before - learnt.conversations.len();
        if gone > 0 {
            learnt.whole = learnt.conversations.values().map(|kept| kept.attempts().len()).sum();
        }
        learnt.leave_out("conversations forgotten after long silence", gone as u64);
        let before = learnt.lookups.len();
        learnt.lookups.retain(|lookup| names::order(lookup).is_some_and(|at| at.time >= since));
        learnt.leave_out("name lookups forgotten after long silence", (before - learnt.lookups.len()) as u64);
        learnt.endpoints.retain(|endpoint| endpoint.at.time >= since);
        learnt.leases.retain(|lease| lease.until >= since);
        let addresses = learnt.resolver.forget(since);
        learnt.leave_out("address resolutions forgotten after long silence", addresses);
        learnt.sweeps.forget(since);
        learnt.conversations.keys().for_each(|key| learnt.sweeps.know(key));
    }

    /// Makes room for other hosts than those whose marks these are.
    pub fn forget_hosts(&mut self, left: &HashSet<u64, FixedState>) {
        self.learnt.view.forget(left);
    }

    /// What it has learnt so far.
    pub fn learnt(&mut self) -> &mut Learnt {
        &mut self.learnt
    }

    /// Ends all flows and hands over what was learnt.
    pub fn finish(mut self) -> Learnt {
        let mut sink = Sink { bounds: &self.bounds, kept: &mut self.kept, learnt: &mut self.learnt };
        self.table.finish(&mut |left, why| sink.leave(left, why));
        for record in std::mem::take(&mut self.learnt.elsewhere).finish() {
            self.learnt.keep(record, self.bounds.keep_flows, &self.bounds.room);
        }
        self.learnt
    }

    fn count(&mut self, hash: u64, place: &Place, arrival: &Arrival<'_>) {
        let mut sink = Sink { bounds: &self.bounds, kept: &mut self.kept, learnt: &mut self.learnt };
        let slot = self.table.take(hash, place, arrival, &mut |left, why| sink.leave(left, why));
        let Some(slot) = slot else { return };
        let Some(carrier) = carrier(place.transport) else {
            if let Body::Icmp(icmp) = arrival.frame.body
                && !arrival.copy
                && let Some((_, judgement)) = self.table.slot(slot)
            {
                judgement.state_icmp(icmp.kind, icmp.code, arrival.at);
            }
            return;
        };
        let Some((flow, judgement)) = self.table.slot(slot) else { return };
        if arrival.copy {
            return;
        }
        if judgement.is_closed() && !judgement.listens() {
            let glances = judgement.glances();
            if let Some(payload) = payload(arrival).filter(|_| glances) {
                judgement.glance(carrier, &payload);
            }
            self.table.hush(slot, glances);
            return;
        }
        let before = judgement.kept();
        if judgement.is_waiting() {
            judgement.settle(flow, carrier, arrival.at, &mut self.heard);
        }
        if let Some(payload) = payload(arrival)
            && !payload.bytes.is_empty()
        {
            self.learnt.tally.copied_bytes +=
                judgement.hear(flow, place.from, carrier, &payload, &mut self.heard);
        }
        if self.kept + judgement.kept().saturating_sub(before) > self.bounds.prefixes {
            // The memory for beginnings is used up: this flow is judged by what there is.
            judgement.finish(flow, Some(carrier), &mut self.heard);
            *self.learnt.left_out.entry("flows judged early for want of memory").or_default() += 1;
        }
        self.kept = (self.kept + judgement.kept()).saturating_sub(before);
        if !self.heard.is_empty() {
            let mut heard = std::mem::take(&mut self.heard);
            state(&mut self.learnt, flow, judgement, &mut heard);
            self.heard = heard;
        }
    }

    fn tie(&mut self, cell: CellId, frame: &Frame<'_>, at: PacketRef) {
        let (Body::Icmp(icmp), Some(network)) = (&frame.body, &frame.network) else { return };
        let Some(quote) = &icmp.quote else { return };
        let Some(quoted) = Place::of_quote(cell, quote) else { return };
        let seen = ErrorSeen {
            at,
            from: Host::Ip(network.source),
            mac: frame.context.ethernet.map(|ethernet| ethernet.source),
            kind: icmp.kind,
            code: icmp.code,
            sequence: quote.ports.and_then(|ports| ports.sequence),
        };
        self.table.quote(&quoted, &seen);
    }
}

/// Why a decoded frame still can't be in a flow: nothing in it names two ends.
const NO_HOSTS: &str = "no-addresses";

/// Takes flows as they leave the table.
struct Sink<'a> {
    bounds: &'a Bounds,
    kept: &'a mut usize,
    learnt: &'a mut Learnt,
}

impl Sink<'_> {
    fn leave(&mut self, left: Left<'_, Judgement>, why: Leaves) {
        if let Left::Lone(lone, _) = left
            && self.learnt.fold_try(lone, why, self.bounds)
        {
            return;
        }
        if let Left::Lone(lone, _) = left {
            let place = lone.place();
            self.learnt.sweeps.count(place.cell, place.source().host);
        }
        let (flow, judgement) = left.whole();
        self.take(flow, judgement, why);
    }

    fn take(&mut self, flow: Flow, mut judgement: Judgement, why: Leaves) {
        let goes_on = why == Leaves::GoesOn;
        if !goes_on {
            *self.kept = self.kept.saturating_sub(judgement.kept());
        }
        let mut heard = Vec::new();
        judgement.finish(&flow, carrier(flow.transport), &mut heard);
        if goes_on {
            heard.clear();
        }
        state(self.learnt, &flow, &mut judgement, &mut heard);
        // What a flow that goes on still waits for is told when it ends.
        if let Some(questions) = judgement.questions.take()
            && !goes_on
        {
            let mut told = Vec::new();
            questions.finish(&mut told);
            keep_lookups(self.learnt, told);
        }
        let (classification, client, answers) = judgement.tell();
        let hosts = names::stated(&classification.facts);
        self.learnt.view.take(&flow);
        let record = Box::new(flow.tell(Proven { classification, client, answers, hosts }));
        self.learnt.tally.flows += 1;
        self.learnt.tally.evicted += u64::from(why == Leaves::Evicted);
        if record.transport == Transport::Tcp {
            if matches!(record.outcome, Outcome::Established | Outcome::Cut) {
                self.learn(&record);
            } else if record.role_basis != RoleBasis::Handshake
                && self.learnt.unsettled.len() < MOST_UNSETTLED
            {
                self.learnt.unsettled.push(record);
                return;
            }
        }
        if let Some(record) = self.learnt.elsewhere.take(record) {
            self.learnt.keep(record, self.bounds.keep_flows, &self.bounds.room);
        }
    }

    fn learn(&mut self, record: &FlowRecord) {
        if let Some(port) = record.server.port
            && self.learnt.learned.len() < MOST_LEARNED
        {
            self.learnt.learned.insert((record.cell, record.server.host, port));
        }
    }
}

impl Learnt {
    /// Counts what was left out, in words.
    pub fn leave_out(&mut self, what: &'static str, count: u64) {
        if count > 0 {
            *self.left_out.entry(what).or_default() += count;
        }
    }

    /// Folds a lone SYN into its client's sweep, where it is part of one.
    fn fold_try(&mut self, lone: &Lone, why: Leaves, bounds: &Bounds) -> bool {
        let place = lone.place();
        let (client, server) = (place.source(), place.destination());
        if !self.sweeps.is_sweeping(place.cell, client.host, bounds.room.tries)
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
        self.sweeps.fold(place.cell, client.host, server, lone);
        self.tally.folded += 1;
        self.tally.evicted += u64::from(why == Leaves::Evicted);
        true
    }

    /// Counts copies that a mirror delivered.
    fn copied(&mut self, how: Copied, packets: u64) {
        self.tally.duplicates += packets;
        let copies = &mut self.view.copies;
        *match how {
            Copied::Same => &mut copies.same,
            Copied::OtherVlan => &mut copies.other_vlan,
            Copied::Routed => &mut copies.routed,
            Copied::OtherWay => &mut copies.other_way,
        } += packets;
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
        if conversations.len() >= room.conversations.saturating_mul(2 * ANSWERED) {
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

/// How many times the bound on conversations is left for those that were more than a single try.
const ANSWERED: usize = 4;

/// Whether a flow was one try that nobody answered, or that was turned away: what sweeps are made of.
fn came_to_nothing(record: &FlowRecord) -> bool {
    matches!(record.outcome, Outcome::Unanswered | Outcome::Refused | Outcome::Rejected | Outcome::Observed)
        && record.from_client.packets <= 1
        && record.classification.protocol.is_none()
}

/// What carries the payload of a flow, where protocols can judge it.
fn carrier(transport: Transport) -> Option<Carrier> {
    match transport {
        Transport::Tcp => Some(Carrier::Tcp),
        Transport::Udp => Some(Carrier::Udp),
        Transport::Ethernet(kind) => Some(Carrier::Ethernet(kind)),
        Transport::Sctp | Transport::Icmp | Transport::Icmpv6 | Transport::Ip(_) => None,
    }
}

fn payload<'a>(arrival: &Arrival<'a>) -> Option<Payload<'a>> {
    let (sequence, bytes, promised) = match arrival.frame.body {
        // What comes with a reset is no part of the stream (RFC 9293 section 3.5.3: it may explain the reset).
        Body::Tcp(tcp) if !tcp.flags.rst() => {
            (tcp.sequence.wrapping_add(u32::from(tcp.flags.syn())), tcp.payload, tcp.payload_length as usize)
        }
        Body::Udp(udp) => (0, udp.payload, udp.payload_length as usize),
        Body::Ethernet { payload, .. } => (0, payload, payload.len()),
        Body::Arp(arp) => (0, arp.bytes, arp.bytes.len()),
        _ => return None,
    };
    Some(Payload { at: arrival.at, sequence, bytes, lacks: promised.saturating_sub(bytes.len()) })
}

/// Takes in what messages stated beyond their flow.
fn state(learnt: &mut Learnt, flow: &Flow, judgement: &mut Judgement, heard: &mut Vec<Heard>) {
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
                keep_lookups(learnt, told);
            }
            Statement::RpcEndpoint { address, transport, port } => {
                if learnt.endpoints.len() >= MOST_ENDPOINTS {
                    *learnt.left_out.entry("dynamic ports beyond those that are kept").or_default() += 1;
                    continue;
                }
                let server = address.map_or(source, Host::Ip);
                learnt.endpoints.push(RpcEndpoint {
                    cell: flow.cell,
                    client: destination,
                    server,
                    transport,
                    port,
                    at,
                });
            }
            Statement::Lease(term) => learnt.lease(flow.cell, &term, at),
        }
    }
}

fn keep_lookups(learnt: &mut Learnt, told: Vec<Lookup>) {
    for lookup in told {
        if learnt.lookups.len() < MOST_LOOKUPS {
            learnt.lookups.push(lookup);
        } else {
            *learnt.left_out.entry("name lookups beyond those that are kept").or_default() += 1;
        }
    }
}
