//! The verdict on each conversation: allowed, unexpected, forbidden, violating, waived, infrastructure or out of scope.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::ConversationVerdict;
use crate::model::EtherKind;
use crate::model::Evidence;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::JudgedConversation;
use crate::model::Lookup;
use crate::model::Outcome;
use crate::model::Sweep;
use crate::model::Timestamp;
use crate::model::Transport;
use crate::rules::Waiver;

use super::cast::Party;
use super::catalogue::Entry;
use super::condition;
use super::id;
use super::lookup;
use super::matching::Matched;
use super::names;
use super::own_rules::OwnRules;
use super::proxy;
use super::requirement::Ground;
use super::spread::spread;

/// Protocols of network housekeeping that no vendor's document speaks of.
const HOUSEKEEPING: [&str; 9] = ["arp", "lldp", "stp", "cdp", "dhcp", "dhcpv6", "mdns", "llmnr", "loop"];
/// IP protocols of the same kind: IGMP, PIM, VRRP (IANA protocol numbers).
const HOUSEKEEPING_IP: [u8; 3] = [2, 103, 112];
/// Services that every machine needs and that a document may leave out (allow-list note A.5.6).
const COMMON_NEEDS: [&str; 2] = ["dns", "ntp"];

/// How long clients commonly keep a name that they looked up.
const NAMES_LAST: Duration = Duration::from_secs(300);

/// A judged conversation with what findings need of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// As reports tell it.
    pub told: JudgedConversation,
    /// Its key.
    pub key: ConversationKey,
    /// The feature that would allow it, where one is switched off.
    pub feature: Option<String>,
    /// Whether its server ever answered.
    pub answered: bool,
    /// Whether either end said anything beyond opening.
    pub spoke: bool,
    /// How many services it stands for: one, unless it is a sweep.
    pub attempts: u64,
}

/// Judges every conversation.
pub fn all(
    ground: Ground<'_>,
    conversations: &[&Conversation],
    workers: Option<NonZeroUsize>,
) -> Vec<Judged> {
    let asked = questions(ground);
    let now = ground.observed.vantage.last.unwrap_or(Timestamp::MIN);
    let valid = |waiver: &&Waiver| waiver.until.is_none_or(|until| now <= until);
    let waivers: Vec<&Waiver> =
        ground.site.waivers.iter().filter(valid).filter(|waiver| waiver.matching.is_some()).collect();
    let context = Context {
        ground,
        asked,
        allowed: OwnRules::of(&ground.site.allow),
        forbidden: OwnRules::of(&ground.site.forbid),
        waived: OwnRules::of(waivers.iter().filter_map(|waiver| waiver.matching.as_ref())),
        waivers,
    };
    spread(conversations, workers, |conversation| {
        let matched = ground.matched.get(&conversation.key).map_or(&[][..], Vec::as_slice);
        context.judge(conversation, matched)
    })
}

struct Context<'a> {
    ground: Ground<'a>,
    /// Names asked for, by client and name server.
    asked: BTreeMap<(Host, Host), BTreeSet<&'a str>>,
    allowed: OwnRules<'a>,
    forbidden: OwnRules<'a>,
    /// The waivers that have not expired and say what they match, and that.
    waivers: Vec<&'a Waiver>,
    waived: OwnRules<'a>,
}

/// A verdict with its rule and reason.
struct Ruling {
    verdict: ConversationVerdict,
    rule: Option<String>,
    reason: String,
    feature: Option<String>,
}

impl Ruling {
    fn new(verdict: ConversationVerdict, rule: Option<String>, reason: impl Into<String>) -> Self {
        Self { verdict, rule, reason: reason.into(), feature: None }
    }
}

impl<'a> Context<'a> {
    fn judge(&self, conversation: &'a Conversation, matched: &[Matched<'a>]) -> Judged {
        let mut ruling = self.rule(conversation, matched);
        if matches!(ruling.verdict, ConversationVerdict::Unexpected | ConversationVerdict::Forbidden)
            && let Some(reason) = self.waived(conversation, matched)
        {
            ruling = Ruling::new(ConversationVerdict::Waived, ruling.rule, reason);
        }
        // Where every flow had to be turned round to fit a rule, the conversation is told that way.
        let turned = !matched.is_empty()
            && matched.iter().all(|one| {
                one.flow.client.host != conversation.key.client
                    && one.flow.client.host == conversation.key.server
            });
        let mut key = conversation.key;
        if turned && let Some(first) = matched.first() {
            key.client = first.flow.client.host;
            key.server = first.flow.server.host;
            key.port = first.flow.server.port;
        }
        let answered = conversation.outcomes.keys().any(|outcome| {
            matches!(outcome, Outcome::Established | Outcome::Answered | Outcome::Midstream | Outcome::Cut)
        });
        let spoke = conversation.key.transport != Transport::Tcp
            || conversation
                .attempts()
                .any(|flow| flow.from_client.payload_packets + flow.from_server.payload_packets > 0);
        Judged {
            spoke,
            told: self.tell(conversation, key, matched, &ruling),
            key: conversation.key,
            feature: ruling.feature,
            answered,
            attempts: conversation.sweep.as_ref().map_or(1, |sweep| sweep.tries),
        }
    }

    fn tell(
        &self,
        conversation: &Conversation,
        key: ConversationKey,
        matched: &[Matched<'_>],
        ruling: &Ruling,
    ) -> JudgedConversation {
        let cell = self.cell_name(key);
        let name = |host: Host| {
            if conversation.sweep.is_some() && host == Sweep::MANY {
                "any".to_owned()
            } else {
                host.to_string()
            }
        };
        let (client, server) = (name(key.client), name(key.server));
        let port = key.port.map_or_else(String::new, |port| port.to_string());
        let transport = key.transport.to_string();
        let mut evidence = vec![Evidence { at: conversation.first, note: "its first packet".to_owned() }];
        let proven = matched
            .iter()
            .find_map(|one| Some((one.flow.classification.proven?, one.flow.classification.protocol?)));
        if let Some((at, protocol)) = proven.filter(|(at, _)| *at != conversation.first) {
            evidence.push(Evidence { at, note: format!("shows that it is {protocol}") });
        }
        JudgedConversation {
            id: id::short(&[cell.as_deref().unwrap_or(""), &client, &server, &transport, &port]),
            cell,
            client,
            server,
            transport: key.transport,
            port: key.port,
            protocols: conversation.protocols.iter().copied().collect(),
            layers: conversation.layers.iter().copied().collect(),
            hosts: conversation.hosts.iter().cloned().collect(),
            flows: conversation.flows,
            packets: conversation.packets,
            bytes: conversation.bytes,
            first: conversation.first,
            last: conversation.last,
            outcomes: conversation.outcomes.clone(),
            verdict: ruling.verdict,
            rule: ruling.rule.clone(),
            reason: ruling.reason.clone(),
            evidence,
        }
    }

    fn cell_name(&self, key: ConversationKey) -> Option<String> {
        let at = usize::from(key.cell.0).checked_sub(1)?;
        self.ground.site.cells.get(at).map(|cell| cell.name.clone())
    }

    fn rule(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> Ruling {
        let hit = |own: &OwnRules<'a>| Some(own.first(self.ground, conversation, matched)?.1);
        if let Some(rule) = hit(&self.forbidden) {
            return Ruling::new(
                ConversationVerdict::Forbidden,
                Some(rule.id.clone()),
                format!("the site forbids it: {}", rule.reason),
            );
        }
        if let Some(rule) = hit(&self.allowed) {
            return Ruling::new(
                ConversationVerdict::Allowed,
                Some(rule.id.clone()),
                format!("the site allows it: {}", rule.reason),
            );
        }
        if let Some(ruling) = self.by_documents(conversation, matched) {
            return ruling;
        }
        if let Some(reason) = housekeeping(conversation) {
            return Ruling::new(ConversationVerdict::Infrastructure, None, reason);
        }
        if !self.in_scope(conversation, matched) {
            return Ruling::new(
                ConversationVerdict::OutOfScope,
                None,
                "touches no component and lies outside the site's scope",
            );
        }
        self.undocumented(conversation, matched)
    }

    /// What the vendors' documents say.
    fn by_documents(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> Option<Ruling> {
        let catalogue = self.ground.catalogue;
        if let Some((entry, one)) = matched.iter().find_map(|one| Some((catalogue.get(one.violating?)?, one)))
        {
            let seen = conversation.protocols.iter().copied().collect::<Vec<_>>().join(", ");
            let reason = match condition::contradiction(&one.flow, &entry.rule.require) {
                Some(found) if entry.speaks(&one.flow) => found.to_string(),
                _ => format!("{seen} where the document has {}", entry.rule.protocol.join(" or ")),
            };
            return Some(Ruling::new(ConversationVerdict::Violating, Some(entry.name()), reason));
        }
        let accepted = matched.iter().find_map(|one| catalogue.get(*one.accepting.first()?));
        // An address that has a documented name may have others, and a flow that shows its own is that name's.
        let stranger = matched.iter().find_map(|one| {
            let covered =
                !one.accepting.is_empty() || one.violating.is_some() || !one.switched_off.is_empty();
            names::shown(&one.flow).first().filter(|_| !covered).map(|name| (*name).to_owned())
        });
        if let (Some(entry), Some(name)) = (accepted, stranger) {
            let reason = format!(
                "part of it names {name}, which no rule covers, at an address that also has a documented name ({})",
                entry.rule.cite
            );
            return Some(Ruling::new(ConversationVerdict::Unexpected, None, reason));
        }
        if let Some(entry) = accepted {
            let reason = match entry.reading.note.as_str() {
                "" => format!("documented: {}", entry.rule.cite),
                note => format!("documented: {} ({}: {note})", entry.rule.cite, entry.reading.kind.name()),
            };
            return Some(Ruling::new(ConversationVerdict::Allowed, Some(entry.name()), reason));
        }
        if let Some(entry) = matched.iter().find_map(|one| catalogue.get(*one.switched_off.first()?)) {
            let features =
                entry.missing.iter().map(|feature| format!("'{feature}'")).collect::<Vec<_>>().join(" and ");
            let mut ruling = Ruling::new(
                ConversationVerdict::Unexpected,
                Some(entry.name()),
                format!(
                    "the document has it ({}) only with {features}, which this site does not name",
                    entry.rule.cite
                ),
            );
            ruling.feature = Some(entry.missing.join(", "));
            return Some(ruling);
        }
        if let Some(entry) = matched.iter().find_map(|one| catalogue.get(*one.too_broad.first()?)) {
            let hidden: Option<Vec<&str>> =
                matched.iter().map(|one| self.exchange_is_hidden(&one.flow)).collect();
            if let Some(why) = hidden.as_ref().and_then(|reasons| reasons.first()) {
                return Some(Ruling::new(
                    ConversationVerdict::Infrastructure,
                    Some(entry.name()),
                    format!("undecided: {why}, so the exchange that may have named this port is not shown"),
                ));
            }
            let reason = format!(
                "matched only by the over-broad rule {} ({}), and no exchange before it named this port",
                entry.name(),
                entry.service
            );
            return Some(Ruling::new(ConversationVerdict::Unexpected, Some(entry.name()), reason));
        }
        self.lookups(conversation)
            .or_else(|| self.proxied(matched))
            .or_else(|| self.common_need(conversation, matched))
            .or_else(|| self.cut_need(conversation))
    }

    /// A rule to a host name covers the lookups of that name.
    fn lookups(&self, conversation: &Conversation) -> Option<Ruling> {
        if !conversation.protocols.contains("dns") {
            return None;
        }
        let asked = self.asked.get(&(conversation.key.client, conversation.key.server))?;
        let covered = asked.iter().all(|name| self.ground.cast.binds(name));
        covered.then(|| {
            let names = asked.iter().copied().collect::<Vec<_>>().join(", ");
            Ruling::new(
                ConversationVerdict::Allowed,
                None,
                format!("looks up documented host names only: {names}"),
            )
        })
    }

    /// A connection through a documented proxy is judged by the host that it asks the proxy for.
    fn proxied(&self, matched: &[Matched<'_>]) -> Option<Ruling> {
        let mut targets =
            matched.iter().flat_map(|one| one.flow.classification.facts.all(proxy::TARGET)).peekable();
        targets.peek()?;
        let named = |target: &str| {
            let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
            self.ground.cast.binds(host)
        };
        targets.all(named).then(|| {
            Ruling::new(
                ConversationVerdict::Allowed,
                None,
                "asks a proxy for documented hosts only".to_owned(),
            )
        })
    }

    /// DNS or NTP of a component whose document says nothing of it.
    fn common_need(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> Option<Ruling> {
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
    fn cut_need(&self, conversation: &Conversation) -> Option<Ruling> {
        const PORTS: [u16; 6] = [53, 67, 68, 123, 546, 547];
        let may_be = conversation.protocols.is_empty()
            && self.ground.view.cuts()
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
    fn undocumented(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> Ruling {
        if let Some(sweep) = &conversation.sweep {
            return Ruling::new(ConversationVerdict::Unexpected, None, sweep.reason());
        }
        if self.ground.view.cuts()
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
        let nameless: Option<Vec<&str>> = matched.iter().map(|one| self.name_is_hidden(&one.flow)).collect();
        if let Some(why) = nameless.as_ref().and_then(|reasons| reasons.first())
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
    fn name_is_hidden(&self, flow: &FlowRecord) -> Option<&'static str> {
        if !names::of_flow(flow).is_empty() {
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
                let resolved = |lookup: &&Lookup| {
                    lookup.client == flow.client.host && lookup.cell == flow.cell && lookup.answer.is_some()
                };
                if !self.ground.observed.lookups.iter().any(|lookup| resolved(&lookup)) {
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
        if view.cuts() {
            return Some("its packets are cut by a snap length");
        }
        if client.unseen_acknowledged > 0 {
            return Some("part of what its client said was not captured");
        }
        None
    }

    /// Whether a flow that only an over-broad rule covers may have been named by an exchange that this capture could not show.
    fn exchange_is_hidden(&self, flow: &FlowRecord) -> Option<&'static str> {
        if flow.classification.protocol.is_some_and(|protocol| protocol != "dce-rpc") {
            return None;
        }
        match flow.outcome {
            Outcome::Midstream | Outcome::OneSided => {
                Some("it began before the capture or is seen from one side")
            }
            _ if self.ground.view.cuts() => Some("packets are cut by a snap length"),
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
            !(public && private) || self.had_a_cut_answer(flow)
        })
    }

    /// Whether the client looked a documented name up before, and the address that it got is cut off: it may be this one, whichever it is.
    fn had_a_cut_answer(&self, flow: &FlowRecord) -> bool {
        self.ground.observed.lookups.iter().any(|lookup| {
            lookup.client == flow.client.host
                && lookup.cell == flow.cell
                && lookup
                    .answer
                    .as_ref()
                    .is_some_and(|answer| lookup::is_cut(answer) && answer.at <= flow.first)
                && self.ground.cast.binds(&lookup.name)
        })
    }

    /// Whether the site binds a role by a name whose lookup may lie before the capture, at an address of its own that this flow may be about
    /// (evidence 3.2: names resolved before the capture). A lookup that shows the name's address settles it.
    fn may_have_been_named_before(&self, one: &Matched<'_>) -> bool {
        let flow = &one.flow;
        let ground = self.ground;
        let since = ground.observed.vantage.first.unwrap_or(Timestamp::MIN);
        let private = flow.server.host.ip().is_some_and(lookup::is_private);
        if !private || !names::of_flow(flow).is_empty() || flow.first.time.since(since) >= NAMES_LAST {
            return false;
        }
        let unresolved = |entry: &Entry<'_>| {
            let players = ground.cast.players(entry.ruleset, entry.to);
            let mut patterns = players.iter().flat_map(Party::patterns).peekable();
            patterns.peek().is_some()
                && !patterns.any(|pattern| {
                    ground.observed.lookups.iter().any(|lookup| {
                        let found = lookup.answer.as_ref().is_some_and(|answer| !answer.addresses.is_empty());
                        found && lookup.cell == flow.cell && pattern.covers(&lookup.name)
                    })
                })
        };
        ground
            .catalogue
            .covering_by_name(ground.cast, flow)
            .any(|entry| ground.site.roles.contains_key(entry.to) && unresolved(entry))
    }

    fn in_scope(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> bool {
        let key = conversation.key;
        let in_net = |host: Host| {
            host.ip().is_some_and(|ip: IpAddr| self.ground.site.scope.iter().any(|net| net.contains(&ip)))
        };
        if in_net(key.client) || in_net(key.server) {
            return true;
        }
        let cast = self.ground.cast;
        let is_component = |host: Host| cast.roles_of(key.cell, host).any(|role| cast.is_component(role));
        let is_named = |flow: &FlowRecord| {
            let names = names::of_flow(flow);
            let mut roles = cast.roles_of(flow.cell, flow.server.host).chain(cast.roles_named(&names));
            roles.any(|role| cast.is_component(role))
        };
        is_component(key.client)
            || is_component(key.server)
            || matched.iter().any(|one| is_named(&one.flow))
            || conversation
                .sweep
                .iter()
                .flat_map(|sweep| &sweep.servers)
                .any(|server| in_net(*server) || is_component(*server))
    }

    /// Who answers for it, where somebody does and the waiver has not expired.
    fn waived(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> Option<String> {
        let (at, _) = self.waived.first(self.ground, conversation, matched)?;
        let waiver = self.waivers.get(at)?;
        Some(format!("waived by {}: {}", waiver.owner, waiver.reason))
    }
}

/// Network housekeeping, and why it is that.
fn housekeeping(conversation: &Conversation) -> Option<String> {
    let key = conversation.key;
    match key.transport {
        Transport::Icmp | Transport::Icmpv6 => {
            Some("ICMP: errors are counted with the flow they quote".to_owned())
        }
        Transport::Ip(number) if HOUSEKEEPING_IP.contains(&number) => {
            Some(format!("IP protocol {number}, between routers and hosts of a segment"))
        }
        Transport::Ethernet(EtherKind::Type(0x0806 | 0x8035 | 0x88cc)) => {
            Some("address resolution or link discovery".to_owned())
        }
        _ if is_discovery(conversation) => {
            Some("looks for services on its own segment, outside any vendor's document".to_owned())
        }
        _ => {
            let mut spoken = conversation.protocols.iter();
            let all =
                !conversation.protocols.is_empty() && spoken.all(|protocol| HOUSEKEEPING.contains(protocol));
            all.then(|| "network housekeeping, outside any vendor's document".to_owned())
        }
    }
}

/// Whether all of it goes to a group or to everybody on the segment, in a protocol by which machines look for each other.
fn is_discovery(conversation: &Conversation) -> bool {
    /// Among them NetBIOS names and datagrams (RFC 1001 section 15).
    const PROTOCOLS: [&str; 3] = ["ssdp", "ws-discovery", "netbios"];
    /// The same by port where nothing was recognised (IANA service names).
    const PORTS: [u16; 6] = [137, 138, 1900, 3702, 5353, 5355];
    let named = !conversation.protocols.is_empty()
        && conversation.protocols.iter().all(|protocol| PROTOCOLS.contains(protocol));
    let by_port =
        conversation.protocols.is_empty() && conversation.key.port.is_some_and(|port| PORTS.contains(&port));
    let to_many = conversation.key.server.is_group()
        || (conversation.attempts().len() > 0
            && conversation.attempts().all(|flow| {
                flow.from_server.packets == 0 && flow.from_client.neighbour.is_some_and(|mac| mac.is_group())
            }));
    conversation.key.transport == Transport::Udp && to_many && (named || by_port)
}

/// Which names each client asked each name server for.
fn questions(ground: Ground<'_>) -> BTreeMap<(Host, Host), BTreeSet<&str>> {
    let mut asked: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for lookup in &ground.observed.lookups {
        asked.entry((lookup.client, lookup.server)).or_default().insert(lookup.name.as_str());
    }
    asked
}
