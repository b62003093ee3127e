//! Where rules and conversations meet: each flow is laid beside the rules that cover it.

use std::collections::BTreeSet;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::FlowRecord;
use crate::model::Observed;
use crate::model::RoleBasis;
use crate::model::Transport;
use crate::rules::Carrier;

use super::cast::Cast;
use super::catalogue::Catalogue;
use super::catalogue::Entry;
use super::names;
use super::names::OfFlow;
use super::proxy;

/// A flow as it was told, or turned round. A thousand bytes are copied only where that is needed.
#[derive(Debug)]
pub enum Turned<'a> {
    /// As it was told.
    No(&'a FlowRecord),
    /// Its ends changed places.
    Yes(Box<FlowRecord>),
}

impl Deref for Turned<'_> {
    type Target = FlowRecord;

    fn deref(&self) -> &FlowRecord {
        match self {
            Self::No(flow) => flow,
            Self::Yes(flow) => flow,
        }
    }
}

/// How the rules see one flow.
#[derive(Debug)]
pub struct Matched<'a> {
    /// The flow, turned round where only that way a rule covers it and nothing in it says who opened it.
    pub flow: Turned<'a>,
    /// The names that its server has for it.
    pub names: OfFlow<'a>,
    /// Whether it asks a proxy for another host.
    pub asks_proxy: bool,
    /// Entries in force that cover its ends and port, and accept what it is.
    pub accepting: SmallVec<[usize; 1]>,
    /// The entry in force whose ends and port it has though none accepts what it is.
    pub violating: Option<usize>,
    /// Entries that would accept it if their feature were on.
    pub switched_off: Vec<usize>,
    /// Entries that cover its port only because they cover nearly all ports.
    pub too_broad: Vec<usize>,
}

impl Matched<'_> {
    /// Whether any rule speaks of it at all.
    pub fn is_covered(&self) -> bool {
        !self.accepting.is_empty() || self.violating.is_some() || !self.switched_off.is_empty()
    }
}

/// Lays flows beside rules.
#[derive(Debug)]
pub struct Matcher<'a> {
    observed: &'a Observed,
    cast: &'a Cast,
    catalogue: &'a Catalogue<'a>,
    /// Ports that endpoint mappers gave out.
    mapped: BTreeSet<(crate::model::CellId, crate::model::Host, Transport, u16)>,
}

impl<'a> Matcher<'a> {
    /// A matcher over everything observed.
    pub fn new(observed: &'a Observed, cast: &'a Cast, catalogue: &'a Catalogue<'a>) -> Self {
        let mapped = observed.endpoints.iter().map(|e| (e.cell, e.server, e.transport, e.port)).collect();
        Self { observed, cast, catalogue, mapped }
    }

    /// All flows of a conversation, matched.
    pub fn conversation(&self, conversation: &'a Conversation) -> impl Iterator<Item = Matched<'a>> {
        conversation.attempts().map(|flow| self.flow(flow))
    }

    fn flow(&self, flow: &'a FlowRecord) -> Matched<'a> {
        let names = names::of_flow(flow);
        let covering = |client, server, names: &OfFlow<'_>| {
            self.catalogue.covering(self.cast, flow, (client, server), names)
        };
        let forward = covering(flow.client, flow.server, &names);
        let forward = self.weighed(Turned::No(flow), names, &forward);
        if forward.is_covered() || flow.role_basis < RoleBasis::Port {
            return forward;
        }
        // Turned round, no rule covers it either in most cases: only what one does cover is worth a copy.
        let back = covering(flow.server, flow.client, &forward.names);
        if back.is_empty() {
            return forward;
        }
        let turned = Turned::Yes(Box::new(flow.clone().turned_round()));
        let back = self.weighed(turned, forward.names.clone(), &back);
        if back.is_covered() { back } else { forward }
    }

    fn weighed(&self, flow: Turned<'a>, names: OfFlow<'a>, covering: &[usize]) -> Matched<'a> {
        let mut matched = Matched {
            names,
            asks_proxy: flow.classification.facts.fact(proxy::TARGET).is_some(),
            flow,
            accepting: SmallVec::new(),
            violating: None,
            switched_off: Vec::new(),
            too_broad: Vec::new(),
        };
        for &at in covering {
            let Some(entry) = self.catalogue.get(at) else { continue };
            if self.cast.binds_machines() && !self.is_made_by(entry, &matched.flow) {
                continue;
            }
            if entry.rule.follows.is_some() && !self.follows(entry, &matched.flow) {
                matched.too_broad.push(at);
                continue;
            }
            match (entry.missing.is_empty(), entry.accepts(&matched.flow)) {
                (true, true) => matched.accepting.push(at),
                (true, false) => {
                    // Of several rules for one port it violates the one of which it speaks the protocol.
                    let known = matched.violating.and_then(|at| self.catalogue.get(at));
                    let nearer =
                        |known: &Entry<'_>| !known.speaks(&matched.flow) && entry.speaks(&matched.flow);
                    if known.is_none_or(nearer) {
                        matched.violating = Some(at);
                    }
                }
                (false, true) => matched.switched_off.push(at),
                (false, false) => {}
            }
        }
        if !matched.accepting.is_empty() {
            matched.violating = None;
        }
        matched
    }

    /// Whether the machines that made a flow are those that the site binds, where it binds them by MAC address.
    fn is_made_by(&self, entry: &Entry<'_>, flow: &FlowRecord) -> bool {
        let may_be = |role: &str, host, side| {
            self.cast
                .role(entry.ruleset, role)
                .is_none_or(|role| self.cast.may_be(role, flow.cell, host, side))
        };
        may_be(entry.from, flow.client.host, &flow.from_client)
            && may_be(entry.to, flow.server.host, &flow.from_server)
    }

    /// Whether a dynamic port follows from a first exchange: an endpoint mapper gave it out, or the flow is DCE/RPC and the pair
    /// spoke on the first rule's service before.
    fn follows(&self, entry: &Entry<'_>, flow: &FlowRecord) -> bool {
        let Some(port) = flow.server.port else { return false };
        if self.mapped.contains(&(flow.cell, flow.server.host, flow.transport, port)) {
            return true;
        }
        let rpc = flow.classification.layers.contains(&"dce-rpc");
        rpc && self.catalogue.first_of(entry).is_some_and(|first| {
            first.readings.iter().flat_map(|reading| &reading.services).any(|service| {
                let transport = match service.carrier {
                    Carrier::Tcp => Transport::Tcp,
                    Carrier::Udp => Transport::Udp,
                };
                let key = ConversationKey {
                    cell: flow.cell,
                    client: flow.client.host,
                    server: flow.server.host,
                    transport,
                    port: Some(*service.ports.start()),
                };
                self.observed.conversations.get(&key).is_some_and(|known| known.first <= flow.first)
            })
        })
    }
}

/// A conversation with its matched flows.
pub type MatchedConversation<'a> = (&'a Conversation, Vec<Matched<'a>>);
