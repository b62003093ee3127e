//! What no rule covers: undocumented infrastructure, what the capture keeps from being told, and the unexpected.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::model::CellId;
use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::ConversationVerdict;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::Outcome;
use crate::model::Timestamp;
use crate::model::Transport;

use crate::audit::cast::Party;
use crate::audit::catalogue::Entry;
use crate::audit::lookup;
use crate::audit::matching::Matched;
use crate::audit::names::Resolved;

use super::Context;
use super::Ruling;

/// Services that every machine needs and that a document may leave out (allow-list note A.5.6).
const COMMON_NEEDS: [&str; 2] = ["dns", "ntp"];

/// How long clients commonly keep a name that they looked up.
const NAMES_LAST: Duration = Duration::from_secs(300);

/// The first of all conversations, to look for those of one client from.
const LEAST_KEY: ConversationKey = ConversationKey {
    cell: CellId(0),
    client: Host::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    server: Host::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    transport: Transport::Tcp,
    port: None,
};

impl Context<'_> {
    /// DNS or NTP of a component whose document says nothing of it.
    pub(super) fn common_need(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> Option<Ruling> {
        let protocol = COMMON_NEEDS.into_iter().find(|need| conversation.protocols.contains(need))?;
        let cast = self.ground.cast;
        let components: BTreeSet<usize> = matched
            .iter()
            .flat_map(|one| cast.roles_of(one.flow.cell, one.flow.client.host))
            .filter(|role| cast.is_component(*role))
            .filter_map(|role| cast.ruleset(role))
            .collect();
        let documented = |ruleset: &usize| self.ground.catalogue.speaks(*ruleset, protocol);
        (!components.is_empty() && !components.iter().any(documented)).then(|| {
            let reason =
                format!("undocumented infrastructure: the vendor's document says nothing of {protocol}");
            Ruling::new(ConversationVerdict::Infrastructure, None, reason)
        })
    }

    /// What may be a lookup, a clock request or a lease, by its port alone, where a snap length keeps the payload from showing it.
    pub(super) fn cut_need(&self, conversation: &Conversation) -> Option<Ruling> {
        const PORTS: [u16; 6] = [53, 67, 68, 123, 546, 547];
        let may_be = conversation.protocols.is_empty()
            && self.ground.view.cuts(conversation.first)
            && conversation.key.transport == Transport::Udp
            && conversation.key.port.is_some_and(|port| PORTS.contains(&port));
        may_be.then(|| {
            Ruling::new(
                ConversationVerdict::Infrastructure,
                None,
                "undecided: its packets are cut by a snap length, so that it is a name lookup, a clock request or a lease is not shown",
            )
        })
    }

    /// In scope, and no rule speaks of it.
    pub(super) fn undocumented(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> Ruling {
        if let Some(sweep) = &conversation.sweep {
            return Ruling::new(ConversationVerdict::Unexpected, None, sweep.reason());
        }
        if self.ground.view.cuts(conversation.first)
            && let Some(rule) = self.allowed.perhaps(self.ground, conversation, matched)
        {
            return Ruling::new(
                ConversationVerdict::Infrastructure,
                Some(rule.id.clone()),
                format!(
                    "undecided: its packets are cut by a snap length, so that it is {}, which the site allows, is not shown",
                    rule.protocol.join(" or ")
                ),
            );
        }
        let stray = matched.iter().all(|one| self.is_stray(&one.flow));
        if stray && !matched.is_empty() {
            return Ruling::new(
                ConversationVerdict::Infrastructure,
                None,
                "stray TCP segments without data: no conversation can be made out",
            );
        }
        let asked = matched.first().and_then(|one| self.ground.view.asked_of(&one.flow));
        if let Some(asked) = asked
            && matched.iter().all(|one| self.ground.view.asked_of(&one.flow) == Some(asked))
        {
            return Ruling::new(
                ConversationVerdict::Infrastructure,
                None,
                format!("answers what was asked of {asked}: the same server under another address"),
            );
        }
        let mut nameless = matched.iter().map(|one| self.name_is_hidden(one));
        if let Some(why) = nameless.next().flatten()
            && nameless.all(|why| why.is_some())
            && matched.iter().any(|one| self.could_be_named(one))
        {
            return Ruling::new(
                ConversationVerdict::Infrastructure,
                None,
                format!(
                    "undecided: {why}, so the name of its server, by which a rule might cover it, is not shown"
                ),
            );
        }
        if !matched.is_empty() && matched.iter().all(|one| self.may_have_been_named_before(one)) {
            return Ruling::new(
                ConversationVerdict::Infrastructure,
                None,
                "undecided: the site binds a role by a name whose address its client may have looked up before the capture, and that may be this one",
            );
        }
        let tried = if conversation
            .outcomes
            .keys()
            .all(|outcome| matches!(outcome, Outcome::Unanswered | Outcome::Refused | Outcome::Rejected))
        {
            "an attempt that no rule covers"
        } else {
            "no rule of the documents or of the site covers it"
        };
        Ruling::new(ConversationVerdict::Unexpected, None, tried)
    }

    /// Whether a TCP flow is no conversation: segments without data or opening, or what a forged source address brings back (a SYN-ACK that
    /// nothing asked for, and the reset that answers it).
    fn is_stray(&self, flow: &FlowRecord) -> bool {
        let (client, server) = (&flow.from_client, &flow.from_server);
        if flow.transport != Transport::Tcp || client.payload_packets + server.payload_packets > 0 {
            return false;
        }
        let asked = client.syn.count > 0 || client.first_ack.is_some() || client.acked_payload.is_some();
        // A SYN-ACK shows a service where the mirror does not carry what its client sends.
        let client_is_heard =
            client.reset.is_some() || self.ground.view.heard_between(flow.cell, flow.client.host).is_some();
        !asked && (server.syn.count == 0 || client_is_heard)
    }

    /// Why a flow without a name may have one that this capture could not show; `None` where it has one, or would have shown it.
    fn name_is_hidden(&self, Matched { flow, names, .. }: &Matched<'_>) -> Option<&'static str> {
        if !names.is_empty() {
            return None;
        }
        let view = self.ground.view;
        let client = &flow.from_client;
        match flow.outcome {
            Outcome::Midstream | Outcome::OneSided => {
                return Some("begun before the capture or seen from one side");
            }
            // Nothing was said, so only a lookup could have told.
            Outcome::Unanswered | Outcome::Refused | Outcome::Rejected => {
                let since = self.ground.observed.vantage.first.unwrap_or(Timestamp::MIN);
                let of_client = self.resolving.get(&(flow.cell, flow.client.host));
                if !of_client.is_some_and(|known| known.answered) {
                    return Some("name lookups of its client are not on this mirror");
                }
                if flow.first.time.since(since) < NAMES_LAST {
                    return Some(
                        "nothing was said, and its client may have looked the name up before the capture",
                    );
                }
            }
            _ => {}
        }
        if client.payload_packets == 0 && flow.transport == Transport::Tcp {
            return (flow.outcome == Outcome::Established).then_some("opened, and nothing was said");
        }
        if view.cuts(flow.first) {
            return Some("its packets are cut by a snap length");
        }
        if client.unseen_acknowledged > 0 {
            return Some("part of what its client said was not captured");
        }
        None
    }

    /// Whether a flow that only an over-broad rule covers may have been named by an exchange that this capture could not show.
    pub(super) fn exchange_is_hidden(&self, flow: &FlowRecord) -> Option<&'static str> {
        if flow.classification.protocol.is_some_and(|protocol| protocol != "dce-rpc") {
            return None;
        }
        match flow.outcome {
            Outcome::Midstream | Outcome::OneSided => {
                Some("it began before the capture or is seen from one side")
            }
            _ if self.ground.view.cuts(flow.first) => Some("packets are cut by a snap length"),
            _ => None,
        }
    }

    /// Whether a rule to a host name might cover this flow if its name were shown.
    fn could_be_named(&self, one: &Matched<'_>) -> bool {
        let flow = &one.flow;
        let private = flow.server.host.ip().is_some_and(lookup::is_private);
        self.ground.catalogue.covering_by_name(self.ground.cast, flow).any(|entry| {
            // Names that a document lists are names on the internet; a site may name machines of its own.
            let public = !self.ground.site.roles.contains_key(entry.to);
            !(public && private) || self.had_a_cut_answer(flow) || self.asks_for_names_that_are_cut(flow)
        })
    }

    /// Whether the client asks name servers for what a snap length keeps from being read: any name may be among it.
    fn asks_for_names_that_are_cut(&self, flow: &FlowRecord) -> bool {
        const DNS: u16 = 53;
        let observed = self.ground.observed;
        let read = self.resolving.contains_key(&(flow.cell, flow.client.host));
        let from = ConversationKey { cell: flow.cell, client: flow.client.host, ..LEAST_KEY };
        let of_client = observed
            .conversations
            .range(from..)
            .take_while(|(key, _)| key.cell == flow.cell && key.client == flow.client.host);
        !read
            && of_client.filter(|(key, _)| key.transport == Transport::Udp && key.port == Some(DNS)).any(
                |(_, one)| {
                    one.first <= flow.first
                        && self.ground.view.cuts(one.first)
                        && !one.protocols.contains("dns")
                },
            )
    }

    /// Whether the client looked a documented name up before, and the address that it got is cut off: it may be this one, whichever it is.
    fn had_a_cut_answer(&self, flow: &FlowRecord) -> bool {
        let of_client = self.resolving.get(&(flow.cell, flow.client.host));
        of_client.and_then(|known| known.cut).is_some_and(|at| at <= flow.first)
    }

    /// Whether the site binds a role by a name whose lookup may lie before the capture, at an address of its own that this flow may be about
    /// (evidence 3.2: names resolved before the capture). A lookup that shows the name's address settles it.
    fn may_have_been_named_before(&self, one: &Matched<'_>) -> bool {
        let flow = &one.flow;
        let ground = self.ground;
        let since = ground.observed.vantage.first.unwrap_or(Timestamp::MIN);
        let private = flow.server.host.ip().is_some_and(lookup::is_private);
        if !private || !one.names.is_empty() || flow.first.time.since(since) >= NAMES_LAST {
            return false;
        }
        let unresolved = |entry: &Entry<'_>| {
            let players = ground.cast.players(entry.ruleset, entry.to);
            let mut patterns = players.iter().flat_map(Party::patterns).peekable();
            patterns.peek().is_some()
                && !patterns.any(|pattern| {
                    let resolved = self.resolved.get_or_init(|| Resolved::of(ground.observed));
                    resolved.any_under(flow.cell, pattern)
                })
        };
        ground
            .catalogue
            .covering_by_name(ground.cast, flow)
            .any(|entry| ground.site.roles.contains_key(entry.to) && unresolved(entry))
    }
}
