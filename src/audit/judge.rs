//! The verdict on each conversation: allowed, unexpected, forbidden, violating, waived, infrastructure or out of scope.

mod documents;
mod elsewhere;
mod housekeeping;
mod stranger;
mod uncovered;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use compact_str::CompactString;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::HashSet;
use smallvec::SmallVec;

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

use super::catalogue::Entry;
use super::id;
use super::lookup;
use super::matching::Matched;
use super::matching::MatchedConversation;
use super::matching::Matcher;
use super::names::Resolved;
use super::own_rules::OwnRules;
use super::requirement::Ground;
use super::walk::LEAST_SHARE;
use super::walk::ahead;

/// A judged conversation with what findings need of it.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    /// As reports tell it.
    pub told: Box<JudgedConversation>,
    /// Its key.
    pub key: &'a ConversationKey,
    /// The entry that would allow it, were its features on.
    pub switched_off: Option<&'a Entry<'a>>,
    /// Whether its server ever answered.
    pub answered: bool,
    /// Whether either end said anything beyond opening.
    pub spoke: bool,
    /// Whether it is a sweep, each flow of which is another service.
    pub sweeps: bool,
}

impl Judged<'_> {
    /// The features that would allow it, where they are switched off.
    pub fn missing(&self) -> Option<&[&str]> {
        Some(&self.switched_off?.missing)
    }

    /// The same in words.
    pub fn feature(&self) -> Option<String> {
        Some(self.missing()?.join(", "))
    }

    /// How many services it stands for.
    pub fn attempts(&self) -> u64 {
        if self.sweeps { self.told.flows } else { 1 }
    }
}

/// Conversations judged, in the order of their keys.
#[derive(Debug)]
pub struct All<'a> {
    /// Every one of them.
    pub judged: Vec<Judged<'a>>,
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
    let of_share = |share: &[&'a Conversation]| {
        let mut all = All { judged: Vec::with_capacity(share.len()), matched: Vec::new() };
        // Of most nothing further is wanted: their room is the next one's.
        let mut matched = Vec::new();
        let mut latest = None;
        for conversation in ahead(share) {
            matched.clear();
            matched.extend(matcher.conversation(conversation));
            all.judged.push(context.judge(conversation, &matched, &mut latest));
            if matched.iter().any(&wanted) {
                all.matched.push((conversation, std::mem::take(&mut matched)));
            }
        }
        all
    };
    let shares = spread(ground.view.conversations(), LEAST_SHARE, workers, of_share);
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
    asked: HashMap<(Host, Host), BTreeSet<&'a str>, RandomState>,
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
struct Ruling<'a> {
    verdict: ConversationVerdict,
    rule: Option<String>,
    reason: Cow<'static, str>,
    switched_off: Option<&'a Entry<'a>>,
}

/// A host, whether it stands for any, and its name: the client of the conversation before, since many in turn have the same.
type Named = ((Host, bool), CompactString);

/// What the lookups of one client show, whomever it asks.
#[derive(Default)]
struct Resolving {
    /// Whether any was answered.
    answered: bool,
    /// The first answer about a documented name whose addresses are cut off.
    cut: Option<PacketRef>,
}

impl Ruling<'_> {
    fn new(verdict: ConversationVerdict, rule: Option<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { verdict, rule, reason: reason.into(), switched_off: None }
    }
}

impl<'a> Context<'a> {
    fn judge(
        &self,
        conversation: &'a Conversation,
        matched: &[Matched<'a>],
        latest: &mut Option<Named>,
    ) -> Judged<'a> {
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
            switched_off: ruling.switched_off,
            told: Box::new(self.tell(conversation, key, matched, ruling, latest)),
            key: &conversation.key,
            answered,
            sweeps: conversation.sweep.is_some(),
        }
    }

    fn tell(
        &self,
        conversation: &Conversation,
        key: ConversationKey,
        matched: &[Matched<'_>],
        ruling: Ruling<'_>,
        latest: &mut Option<Named>,
    ) -> JudgedConversation {
        let cell = self.cell_name(key);
        let end = |host: Host| (host, conversation.sweep.is_some() && host == Sweep::MANY);
        let name = |(host, any): (Host, bool)| match any {
            true => CompactString::const_new("any"),
            false => CompactString::from(host.text().as_str()),
        };
        let known = latest.take().filter(|(known, _)| *known == end(key.client));
        let client = known.map_or_else(|| name(end(key.client)), |(_, name)| name);
        *latest = Some((end(key.client), client.clone()));
        let server = name(end(key.server));
        let mut digits = itoa::Buffer::new();
        let port = key.port.map_or("", |port| digits.format(port));
        let transport = key.transport.text();
        let (mut protocols, mut layers) = (SmallVec::new(), SmallVec::new());
        conversation.protocols.keys().for_each(|protocol| protocols.push(*protocol));
        conversation.layers.keys().for_each(|layer| layers.push(*layer));
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
            protocols,
            layers,
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

    fn rule(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> Ruling<'a> {
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
fn questions(ground: Ground<'_>) -> HashMap<(Host, Host), BTreeSet<&str>, RandomState> {
    let mut asked: HashMap<_, BTreeSet<&str>, RandomState> = HashMap::default();
    for lookup in &ground.observed.lookups {
        asked.entry((lookup.client, lookup.server)).or_default().insert(lookup.name.as_str());
    }
    asked
}
