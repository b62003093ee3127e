//! The verdict on each conversation: allowed, unexpected, forbidden, violating, waived, infrastructure or out of scope.

mod elsewhere;
mod housekeeping;
mod stranger;
mod uncovered;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use compact_str::CompactString;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::HashSet;

use crate::model::CellId;
use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::ConversationVerdict;
use crate::model::Host;
use crate::model::JudgedConversation;
use crate::model::Outcome;
use crate::model::PacketRef;
use crate::model::Proofs;
use crate::model::Sweep;
use crate::model::Timestamp;
use crate::model::Transport;
use crate::rules::Waiver;
use crate::threads::spread;

use super::condition;
use super::id;
use super::lookup;
use super::matching::Matched;
use super::matching::MatchedConversation;
use super::matching::Matcher;
use super::names;
use super::names::Resolved;
use super::own_rules::OwnRules;
use super::proxy;
use super::requirement::Ground;
use super::walk::LEAST_SHARE;
use super::walk::ahead;

/// A judged conversation with what findings need of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// As reports tell it.
    pub told: Box<JudgedConversation>,
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

/// Conversations judged, in the order of their keys.
#[derive(Debug)]
pub struct All<'a> {
    /// Every one of them.
    pub judged: Vec<Judged>,
    /// Those whose flows are asked for once more, as the rules see them.
    pub matched: Vec<MatchedConversation<'a>>,
}

/// Judges every conversation; the flows of which `wanted` tells are handed on.
pub fn all<'a>(
    ground: Ground<'a>,
    matcher: &'a Matcher<'a>,
    wanted: impl Fn(&Matched<'_>) -> bool + Sync,
    workers: Option<NonZeroUsize>,
) -> All<'a> {
    let asked = questions(ground);
    let now = ground.observed.vantage.last.unwrap_or(Timestamp::MIN);
    let valid = |waiver: &&Waiver| waiver.until.is_none_or(|until| now <= until);
    let waivers: Vec<&Waiver> =
        ground.site.waivers.iter().filter(valid).filter(|waiver| waiver.matching.is_some()).collect();
    let context = Context {
        ground,
        matcher,
        asked,
        resolving: resolving(ground),
        allowed: OwnRules::of(&ground.site.allow),
        forbidden: OwnRules::of(&ground.site.forbid),
        waived: OwnRules::of(waivers.iter().filter_map(|waiver| waiver.matching.as_ref())),
        waivers,
        resolved: OnceLock::new(),
        playing: OnceLock::new(),
    };
    let conversations: Vec<&Conversation> =
        ground.observed.conversations.values().map(AsRef::as_ref).collect();
    let of_share = |share: &[&'a Conversation]| {
        let mut all = All { judged: Vec::with_capacity(share.len()), matched: Vec::new() };
        // Of most nothing further is wanted: their room is the next one's.
        let mut matched = Vec::new();
        for conversation in ahead(share) {
            matched.clear();
            matched.extend(matcher.conversation(conversation));
            all.judged.push(context.judge(conversation, &matched));
            if matched.iter().any(&wanted) {
                all.matched.push((conversation, std::mem::take(&mut matched)));
            }
        }
        all
    };
    let shares = spread(&conversations, LEAST_SHARE, workers, of_share);
    let joined = shares.into_iter().reduce(|mut all, share| {
        all.judged.extend(share.judged);
        all.matched.extend(share.matched);
        all
    });
    joined.unwrap_or(All { judged: Vec::new(), matched: Vec::new() })
}

struct Context<'a> {
    ground: Ground<'a>,
    matcher: &'a Matcher<'a>,
    /// Names asked for, by client and name server.
    asked: BTreeMap<(Host, Host), BTreeSet<&'a str>>,
    /// What the lookups of each client show.
    resolving: HashMap<(CellId, Host), Resolving, RandomState>,
    allowed: OwnRules<'a>,
    forbidden: OwnRules<'a>,
    /// The waivers that have not expired and say what they match, and that.
    waivers: Vec<&'a Waiver>,
    waived: OwnRules<'a>,
    /// Names that lookups of the capture resolve, once somebody asks.
    resolved: OnceLock<Resolved>,
    /// The hosts whose machine is a new one and does what its address is bound for, once somebody asks.
    playing: OnceLock<HashSet<Host, RandomState>>,
}

/// A verdict with its rule and reason.
struct Ruling {
    verdict: ConversationVerdict,
    rule: Option<String>,
    reason: Cow<'static, str>,
    feature: Option<String>,
}

/// What the lookups of one client show, whomever it asks.
#[derive(Default)]
struct Resolving {
    /// Whether any was answered.
    answered: bool,
    /// The first answer about a documented name whose addresses are cut off.
    cut: Option<PacketRef>,
}

impl Ruling {
    fn new(verdict: ConversationVerdict, rule: Option<String>, reason: impl Into<Cow<'static, str>>) -> Self {
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
            feature: ruling.feature.take(),
            told: Box::new(self.tell(conversation, key, matched, ruling)),
            key: conversation.key,
            answered,
            attempts: conversation.sweep.as_ref().map_or(1, |sweep| sweep.tries),
        }
    }

    fn tell(
        &self,
        conversation: &Conversation,
        key: ConversationKey,
        matched: &[Matched<'_>],
        ruling: Ruling,
    ) -> JudgedConversation {
        let cell = self.cell_name(key);
        let name = |host: Host| {
            if conversation.sweep.is_some() && host == Sweep::MANY {
                CompactString::const_new("any")
            } else {
                CompactString::from(host.text().as_str())
            }
        };
        let (client, server) = (name(key.client), name(key.server));
        let mut digits = itoa::Buffer::new();
        let port = key.port.map_or("", |port| digits.format(port));
        let transport = key.transport.text();
        let mut evidence = Proofs::new(conversation.first, "its first packet");
        let proven = matched
            .iter()
            .find_map(|one| Some((one.flow.classification.proven?, one.flow.classification.protocol?)));
        if let Some((at, protocol)) = proven.filter(|(at, _)| *at != conversation.first) {
            evidence = evidence.and(at, format!("shows that it is {protocol}"));
        }
        JudgedConversation {
            id: id::short(&[cell.as_deref().unwrap_or(""), &client, &server, &transport, port]),
            cell,
            client,
            server,
            transport: key.transport,
            port: key.port,
            protocols: conversation.protocols.keys().copied().collect(),
            layers: conversation.layers.keys().copied().collect(),
            hosts: conversation.hosts.iter().cloned().collect(),
            flows: conversation.flows,
            packets: conversation.packets,
            bytes: conversation.bytes,
            first: conversation.first,
            last: conversation.last,
            outcomes: conversation.outcomes.clone(),
            verdict: ruling.verdict,
            rule: ruling.rule,
            reason: ruling.reason,
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
        if let Some(ruling) = self.answers_by_another_port(conversation, matched) {
            return ruling;
        }
        if let Some(reason) = housekeeping::of(conversation) {
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
            let seen = conversation.protocols.keys().copied().collect::<Vec<_>>().join(", ");
            let reason = match condition::contradiction(&one.flow, &entry.rule.require) {
                Some(found) if entry.speaks(&one.flow) => found.to_string(),
                _ => format!("{seen} where the document has {}", entry.rule.protocol.join(" or ")),
            };
            return Some(Ruling::new(ConversationVerdict::Violating, Some(entry.name()), reason));
        }
        let accepted = matched.iter().find_map(|one| catalogue.get(*one.accepting.first()?));
        // An address that has a documented name may have others, and a flow that shows its own is that name's.
        let stranger = || {
            matched
                .iter()
                .filter(|one| !one.is_covered())
                .find_map(|one| names::shown(&one.flow).first().copied())
        };
        if let Some(entry) = accepted
            && let Some(name) = stranger()
        {
            let reason = format!(
                "part of it names {name}, which no rule covers, at an address that also has a documented name ({})",
                entry.rule.cite
            );
            return Some(Ruling::new(ConversationVerdict::Unexpected, None, reason));
        }
        if let Some(entry) = accepted
            && let Some(other) = self.other_machine(conversation.key, matched)
        {
            let reason = format!(
                "part of it is made by {other}, under an address of the machine that the site means ({})",
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
        let mut targets = matched
            .iter()
            .filter(|one| one.asks_proxy)
            .flat_map(|one| one.flow.classification.facts.all(proxy::TARGET))
            .peekable();
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

    fn in_scope(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> bool {
        let key = conversation.key;
        let in_net = |host: Host| {
            host.ip().is_some_and(|ip: IpAddr| self.ground.site.scope.iter().any(|net| net.contains(&ip)))
        };
        if in_net(key.client) || in_net(key.server) {
            return true;
        }
        let cast = self.ground.cast;
        let is_component = |host: Host| {
            cast.roles_of(key.cell, host)
                .any(|role| cast.is_component(role) && !self.is_another(role, host, matched))
                && !self.is_stranger(host, matched)
        };
        let is_named = |one: &Matched<'_>| {
            let server = cast.roles_of(one.flow.cell, one.flow.server.host);
            let mut roles = server.chain(cast.roles_named(&one.names));
            roles.any(|role| cast.is_component(role))
        };
        is_component(key.client)
            || is_component(key.server)
            || matched.iter().any(is_named)
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

/// What the lookups of each client show.
fn resolving(ground: Ground<'_>) -> HashMap<(CellId, Host), Resolving, RandomState> {
    let mut known: HashMap<_, Resolving, RandomState> = HashMap::default();
    for found in &ground.observed.lookups {
        let of_client = known.entry((found.cell, found.client)).or_default();
        let Some(answer) = &found.answer else { continue };
        of_client.answered = true;
        if lookup::is_cut(answer) && ground.cast.binds(&found.name) {
            of_client.cut = of_client.cut.into_iter().chain([answer.at]).min();
        }
    }
    known
}

/// Which names each client asked each name server for.
fn questions(ground: Ground<'_>) -> BTreeMap<(Host, Host), BTreeSet<&str>> {
    let mut asked: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for lookup in &ground.observed.lookups {
        asked.entry((lookup.client, lookup.server)).or_default().insert(lookup.name.as_str());
    }
    asked
}
