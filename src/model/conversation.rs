//! A conversation: all flows of one (cell, client, server, transport, server port), client ports folded.

use std::collections::{BTreeMap, BTreeSet};

use super::{CellId, FlowRecord, Host, Outcome, PacketRef, Sweep, Transport};

/// What makes a conversation one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationKey {
    /// The address space.
    pub cell: CellId,
    /// Who opens.
    pub client: Host,
    /// Who accepts.
    pub server: Host,
    /// What carries it.
    pub transport: Transport,
    /// The server's port.
    pub port: Option<u16>,
}

impl ConversationKey {
    /// The conversation that a flow belongs to.
    pub fn of(flow: &FlowRecord) -> Self {
        Self {
            cell: flow.cell,
            client: flow.client.host,
            server: flow.server.host,
            transport: flow.transport,
            port: flow.server.port,
        }
    }
}

/// A flow told whole. It is a kilobyte, so it stays where it was written and its place is handed on.
pub type WholeFlow = Box<FlowRecord>;

/// The flows kept whole at each end of a conversation's life; the rest is counted.
pub const KEPT_EACH_END: usize = 24;

/// The most names kept of a conversation's server; the first in their order are, whatever the order of arrival.
pub const MOST_HOSTS: usize = 512;

/// All flows of one conversation, told together. Folding is commutative, so that the order in which flows end does not matter.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// What makes it one.
    pub key: ConversationKey,
    /// Flows folded in.
    pub flows: u64,
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes of both directions.
    pub bytes: u64,
    /// Flows by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Every innermost protocol proved.
    pub protocols: BTreeSet<&'static str>,
    /// Every layer proved.
    pub layers: BTreeSet<&'static str>,
    /// Names of the server.
    pub hosts: BTreeSet<String>,
    /// First packet.
    pub first: PacketRef,
    /// Last packet.
    pub last: PacketRef,
    /// The earliest and the latest flows, whole, in the order of their first packets.
    attempts: Vec<WholeFlow>,
    /// Where it stands for a sweep, what was folded into it.
    pub sweep: Option<Box<Sweep>>,
}

impl Conversation {
    /// A conversation of one flow.
    pub fn new(flow: impl Into<WholeFlow>) -> Self {
        let flow = flow.into();
        Self::under(ConversationKey::of(&flow), flow)
    }

    /// A conversation of one flow under a key that stands for more than the flow's own.
    pub fn under(key: ConversationKey, flow: WholeFlow) -> Self {
        let mut new = Self {
            key,
            flows: 0,
            packets: 0,
            bytes: 0,
            outcomes: BTreeMap::new(),
            protocols: BTreeSet::new(),
            layers: BTreeSet::new(),
            hosts: BTreeSet::new(),
            first: flow.first,
            last: flow.last,
            attempts: Vec::new(),
            sweep: None,
        };
        new.fold(flow);
        new
    }

    /// The conversation that stands for a sweep.
    pub fn of_sweep(key: ConversationKey, sweep: Sweep) -> Self {
        Self {
            key,
            flows: sweep.tries,
            packets: sweep.tries,
            bytes: sweep.bytes,
            outcomes: BTreeMap::from([(Outcome::Unanswered, sweep.tries)]),
            protocols: BTreeSet::new(),
            layers: BTreeSet::new(),
            hosts: BTreeSet::new(),
            first: sweep.first,
            last: sweep.last,
            attempts: Vec::new(),
            sweep: Some(Box::new(sweep)),
        }
    }

    /// Takes one more flow in.
    pub fn fold(&mut self, flow: impl Into<WholeFlow>) {
        self.fold_keeping(flow.into(), KEPT_EACH_END);
    }

    /// The same where memory is short: no more than so many flows stay whole at each end of its life, or as many as there are.
    pub fn fold_keeping(&mut self, flow: WholeFlow, each_end: usize) {
        let most = self.attempts.len().max(2 * each_end.clamp(1, KEPT_EACH_END));
        self.flows += 1;
        self.packets = self.packets.saturating_add(flow.packets());
        self.bytes = self.bytes.saturating_add(flow.bytes());
        *self.outcomes.entry(flow.outcome).or_default() += 1;
        self.protocols.extend(flow.classification.protocol);
        self.layers.extend(flow.classification.layers.iter().copied());
        self.hosts.extend(flow.hosts.iter().cloned());
        while self.hosts.len() > MOST_HOSTS {
            self.hosts.pop_last();
        }
        self.first = self.first.min(flow.first);
        self.last = self.last.max(flow.last);
        let place = self.attempts.partition_point(|known| known.first <= flow.first);
        self.attempts.insert(place, flow);
        if self.attempts.len() > most {
            // The one in the middle goes: what stays are the earliest and the latest, whatever the order of arrival.
            self.attempts.remove(most / 2);
        }
    }

    /// The flows kept whole, in the order of their first packets.
    pub fn attempts(&self) -> impl DoubleEndedIterator<Item = &FlowRecord> + ExactSizeIterator {
        self.attempts.iter().map(|flow| &**flow)
    }

    /// The same, for what is learnt once all flows have ended.
    pub fn attempts_mut(&mut self) -> impl Iterator<Item = &mut FlowRecord> {
        self.attempts.iter_mut().map(|flow| &mut **flow)
    }
}
