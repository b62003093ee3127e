//! One logical shard: its flow table, what its flows prove to be, and what it learns. Which worker runs it changes nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::classify::Carrier;
use crate::decode::Body;
use crate::decode::Frame;
use crate::decode::Piece;
use crate::decode::Plain;
use crate::flow::Appearance;
use crate::flow::Arrival;
use crate::flow::ErrorSeen;
use crate::flow::Half;
use crate::flow::Key;
use crate::flow::Leaves;
use crate::flow::Limits;
use crate::flow::Payload;
use crate::flow::Place;
use crate::flow::Quick;
use crate::flow::Recent;
use crate::flow::Seen;
use crate::flow::SlotId;
use crate::flow::Sort;
use crate::flow::Table;
use crate::model::CellId;
use crate::model::Host;
use crate::model::PacketRef;
use crate::model::Timestamp;
use crate::model::WholeFlow;

use super::cells::CellMap;
use super::judge::Heard;
use super::judge::Judgement;
use super::judge::Wants;
use super::learnt::ANSWERED;
use super::learnt::Learnt;
use super::learnt::MOST_LEARNED;
use super::learnt::Room;
use super::leave::Sink;
use super::leave::carrier;
use super::merge;
use super::names;
use super::together::Ready;
use super::vantage::Hosts;
use super::vantage::View;

/// How many shards there are, whatever the number of workers.
pub const SHARDS: usize = 64;

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

impl Bounds {
    /// The most service endpoints learnt from handshakes: they are addresses too.
    pub fn most_learned(&self) -> usize {
        self.hosts.min(MOST_LEARNED)
    }
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
            learnt: Learnt::new(View::new(hosts, bounds.hosts)),
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
        let seen = Seen::frame(frame);
        let trace = self.recent.trace(hash, place.from, &seen);
        let appearance = self.recent.meet(&trace, || seen.may_repeat(), at);
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
        if tasks.count
            && !copy
            && let Some(to) = cut_error(cell, frame)
        {
            self.learnt.view.hear_unread(cell, to, at);
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
        let &Ready { at, original, ref plain, ref key, from, hash, probably, .. } = ready;
        self.learnt.tally.packets += 1;
        self.learnt.view.count(plain.vlans(), &[], 1);
        let trace = self.recent.trace_plain(hash, from, plain);
        let known = self.table.known((hash, probably), key);
        // What says something new is counted at once; of all else it is asked first whether it is a copy.
        let mut sort = Sort::News;
        let (quick, copy) = loop {
            let quick = match known {
                Some(slot) => self.table.quick(slot, from, plain, (at, original), sort),
                None => Quick::No,
            };
            match (quick, sort) {
                (Quick::No, Sort::News) => {
                    match self.recent.meet(&trace, || Seen::plain(plain).may_repeat(), at) {
                        Appearance::Duplicate(how) => return self.learnt.copied(how, 1),
                        Appearance::OtherVantage => break (Quick::No, true),
                        Appearance::New => sort = Sort::Any,
                    }
                }
                (_, Sort::News) => {
                    self.recent.note(&trace, at);
                    break (quick, false);
                }
                (_, Sort::Any) => break (quick, false),
            }
        };
        self.learnt.tally.in_flows += 1;
        match (quick, known) {
            (Quick::Show, Some(slot)) => self.show_plain(slot, from, plain, at),
            (Quick::Counted, _) => {}
            _ => self.take_at_length(ready, copy),
        }
    }

    /// Shows the payload of a packet that was counted quickly.
    #[inline]
    fn show_plain(&mut self, slot: SlotId, from: Half, plain: &Plain<'_>, at: PacketRef) {
        let body = plain.body();
        let carrier = match body {
            Body::Tcp(_) => Carrier::Tcp,
            Body::Ethernet { kind, .. } => Carrier::Ethernet(kind),
            _ => Carrier::Udp,
        };
        match self.show(slot, (from, carrier), payload(&body, at).as_ref(), at) {
            None => {}
            Some(Wants::All) => {
                self.table.settled(slot);
            }
            Some(wants) => self.table.show(slot, wants.ends()),
        }
    }

    #[inline(never)]
    fn take_at_length(&mut self, ready: &Ready<'_>, copy: bool) {
        let &Ready { at, original, hash, key, from, .. } = ready;
        let frame = ready.plain.frame();
        let place = Place::of_key(key, from);
        self.count(hash, &place, &Arrival { at, original, pieces: &[], frame: &frame, copy });
    }

    /// What is known now, as if the capture ended here; the shard goes on. Hosts are told to an inventory of the snapshot's own.
    pub fn observe(&self, hosts: Hosts) -> Learnt {
        let mut learnt = self.learnt.clone();
        learnt.view.tell_to(hosts);
        let mut kept = self.kept;
        let mut sink = Sink { bounds: &self.bounds, kept: &mut kept, learnt: &mut learnt };
        // In a flood what is new counts for more than what has been seen.
        let most = self.bounds.room.conversations.saturating_mul(ANSWERED);
        let is_short = self.learnt.conversations.len() + self.table.len() > most;
        self.table.each(is_short, &mut |left| sink.leave(left, Leaves::Ended));
        for record in std::mem::take(&mut learnt.elsewhere).finish() {
            learnt.keep(record, self.bounds.keep_flows, &self.bounds.room);
        }
        learnt
    }

    /// Sees to timers: flows that ended in silence leave the table.
    pub fn tick(&mut self, now: Timestamp) {
        let mut sink = Sink { bounds: &self.bounds, kept: &mut self.kept, learnt: &mut self.learnt };
        self.table.tick(now, &mut |left, why| sink.leave(left, why));
        self.learnt.sweeps.thin(&self.bounds.room);
    }

    /// Flows alive.
    pub fn flows(&self) -> usize {
        self.table.len()
    }

    /// Bytes kept for classifiers.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Whether so many streams without opening wait for their roles that it is time to settle them.
    pub fn has_many_unsettled(&self) -> bool {
        self.learnt.unsettled.len() >= self.bounds.room.unsettled()
    }

    /// The ends of streams without opening that are silent since then: one may be a service.
    pub fn unsettled_ends(&self, since: Timestamp) -> impl Iterator<Item = (CellId, Host, u16)> {
        let old = self.learnt.unsettled.iter().filter(move |record| record.last.time < since);
        let ends = old.flat_map(|record| [(record.cell, record.client), (record.cell, record.server)]);
        ends.filter_map(|(cell, end)| Some((cell, end.host, end.port?)))
    }

    /// The services that are known to accept.
    pub fn learned(&self) -> impl Iterator<Item = &(CellId, Host, u16)> {
        self.learnt.learned.iter()
    }

    /// Settles the roles of streams without opening, silent since then, by the endpoints that are known to accept.
    pub fn settle(&mut self, learned: &BTreeSet<(CellId, Host, u16)>, since: Timestamp) {
        let waiting = std::mem::take(&mut self.learnt.unsettled);
        let (old, young) = waiting.into_iter().partition(|record: &WholeFlow| record.last.time < since);
        self.learnt.unsettled = young;
        for mut record in old {
            merge::settle(&mut record, |end| learned.contains(end));
            self.learnt.keep(record, self.bounds.keep_flows, &self.bounds.room);
        }
        if self.learnt.learned.len() >= self.bounds.most_learned() {
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
        learnt.leave_out(
            "conversations forgotten after long silence",
            (before - learnt.conversations.len()) as u64,
        );
        let before = learnt.lookups.len();
        learnt.lookups.retain(|lookup| names::order(lookup).is_some_and(|at| at.time >= since));
        learnt.leave_out("name lookups forgotten after long silence", (before - learnt.lookups.len()) as u64);
        learnt.endpoints.retain(|endpoint| endpoint.at.time >= since);
        learnt.leases.retain(|lease| lease.until >= since);
        let addresses = learnt.resolver.forget(since);
        learnt.leave_out("address resolutions forgotten after long silence", addresses);
        learnt.sweeps.forget(since);
        learnt.view.forget_unread(since);
        learnt.count_whole();
        learnt.trim();
        self.table.trim();
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
        if arrival.copy {
            return;
        }
        let payload = payload(&arrival.frame.body, arrival.at);
        match self.show(slot, (place.from, carrier), payload.as_ref(), arrival.at) {
            None | Some(Wants::All) => {}
            Some(wants) => self.table.arm(slot, wants.ends()),
        }
    }

    /// Shows a packet's payload to whoever judges its flow, and tells what that wants of later ones.
    #[inline]
    fn show(
        &mut self,
        slot: SlotId,
        (from, carrier): (Half, Carrier),
        payload: Option<&Payload<'_>>,
        at: PacketRef,
    ) -> Option<Wants> {
        let (flow, judgement) = self.table.slot(slot)?;
        if judgement.is_over() {
            if let Some(payload) = payload {
                judgement.glance(carrier, payload);
            }
            return Some(judgement.wants());
        }
        let before = judgement.kept();
        if judgement.is_waiting() {
            self.learnt.tally.copied_bytes += judgement.settle(flow, carrier, at, &mut self.heard);
        }
        if let Some(payload) = payload.filter(|payload| !payload.bytes.is_empty()) {
            self.learnt.tally.copied_bytes += judgement.hear(flow, from, carrier, payload, &mut self.heard);
        }
        let kept = judgement.kept();
        if kept == before && self.heard.is_empty() {
            return Some(judgement.wants());
        }
        if self.kept + kept.saturating_sub(before) > self.bounds.prefixes {
            // The memory for beginnings is used up: this flow is judged by what there is.
            let (flow, judgement) = self.table.settled(slot)?;
            judgement.finish(flow, Some(carrier), &mut self.heard);
            *self.learnt.left_out.entry("flows judged early for want of memory").or_default() += 1;
        }
        let (flow, judgement) = self.table.slot(slot)?;
        self.kept = (self.kept + judgement.kept()).saturating_sub(before);
        if !self.heard.is_empty() {
            let mut heard = std::mem::take(&mut self.heard);
            self.learnt.state(flow, judgement, &mut heard);
            self.heard = heard;
        }
        Some(judgement.wants())
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

/// Whom an ICMP error reaches that says "unreachable" and whose quote does not reach to the ports of the packet that it is about.
fn cut_error(cell: CellId, frame: &Frame<'_>) -> Option<IpAddr> {
    let (Body::Icmp(icmp), Some(network)) = (&frame.body, &frame.network) else { return None };
    let read = icmp.quote.as_ref().is_some_and(|quote| Place::of_quote(cell, quote).is_some());
    (icmp.kind == if icmp.v6 { 1 } else { 3 } && !read).then_some(network.destination)
}

/// Why a decoded frame still can't be in a flow: nothing in it names two ends.
const NO_HOSTS: &str = "no-addresses";

/// What of a packet is shown to whoever judges its flow.
#[inline(always)]
fn payload<'a>(body: &Body<'a>, at: PacketRef) -> Option<Payload<'a>> {
    let (sequence, bytes, promised) = match *body {
        // What comes with a reset is no part of the stream (RFC 9293 section 3.5.3: it may explain the reset).
        Body::Tcp(tcp) if !tcp.flags.rst() => {
            (tcp.sequence.wrapping_add(u32::from(tcp.flags.syn())), tcp.payload, tcp.payload_length as usize)
        }
        Body::Udp(udp) => (0, udp.payload, udp.payload_length as usize),
        Body::Ethernet { payload, .. } => (0, payload, payload.len()),
        Body::Arp(arp) => (0, arp.bytes, arp.bytes.len()),
        _ => return None,
    };
    Some(Payload { at, sequence, bytes, lacks: promised.saturating_sub(bytes.len()) })
}
