//! Rules bound to concrete endpoints: which requirements there are, which attempts belong to each, and its verdict.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::model::CellId;
use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::Lookup;
use crate::model::Observed;
use crate::model::PacketRef;
use crate::model::Requirement;
use crate::model::Timestamp;
use crate::model::Verdict;
use crate::rules::Cadence;
use crate::rules::Need;
use crate::rules::ReadingKind;
use crate::rules::Site;
use crate::rules::Window;

use super::attempt;
use super::attempt::Attempt;
use super::attempt::Expectation;
use super::attempt::State;
use super::cadence;
use super::cast::Cast;
use super::cast::Party;
use super::catalogue::Catalogue;
use super::catalogue::Entry;
use super::crossing;
use super::id;
use super::lookup;
use super::matching::MatchedConversation;
use super::party;
use super::proxy;
use super::silent::Silent;
use super::silent::Tried;
use super::timeline;
use super::unseen;
use super::view::View;

/// A requirement with what the audit alone needs of it.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The requirement as reports tell it.
    pub told: Requirement,
    /// Whether its silence makes the run inconclusive.
    pub matters: bool,
    /// The conversations that were judged.
    pub conversations: BTreeSet<ConversationKey>,
    /// The features that switch it off, where some do.
    pub missing: Vec<String>,
}

/// Everything that requirements are bound to.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The site.
    pub site: &'a Site,
    /// What was observed.
    pub observed: &'a Observed,
    /// Who plays what.
    pub cast: &'a Cast,
    /// The rules.
    pub catalogue: &'a Catalogue<'a>,
    /// What the mirror can see.
    pub view: &'a View<'a>,
}

/// The attempts of one source at one target under one entry.
#[derive(Debug, Default)]
struct Tries {
    attempts: Vec<Attempt>,
    conversations: BTreeSet<ConversationKey>,
    last_end: Option<(CellId, Host, Host, Option<u16>)>,
}

/// An entry with the places of the two parties among the players of its roles.
type Place = (usize, usize, usize);

/// Binds and judges every rule; of the conversations those count that rules cover or that ask proxies.
pub fn all(ground: Ground<'_>, matched: &[MatchedConversation<'_>]) -> Vec<Bound> {
    let mut tries = flows_by_place(ground, matched);
    lookups_by_place(ground, &mut tries);
    proxy::requests_by_place(ground, matched, |place, attempt, key| {
        let known: &mut Tries = tries.entry(place).or_default();
        known.attempts.push(attempt);
        known.conversations.insert(key);
    });
    for known in tries.values_mut() {
        if !ground.site.windows.is_empty() {
            let attempts = std::mem::take(&mut known.attempts);
            known.attempts = attempts.into_iter().map(|attempt| in_window(ground, attempt)).collect();
        }
        timeline::sort(&mut known.attempts);
    }
    let (mut bound, mut untried) = (Vec::new(), Untried::default());
    let mut at = 0;
    while let Some(entry) = ground.catalogue.get(at) {
        let several = ground
            .catalogue
            .entries
            .iter()
            .skip(at)
            .take_while(|other| other.ruleset == entry.ruleset && other.rule.id == entry.rule.id)
            .count();
        rule(ground, at..at + several.max(1), &tries, &mut untried, &mut bound);
        at += several.max(1);
    }
    forgive_alternatives(ground, &mut bound);
    bound
}

/// The places in the catalogue at which both ends of a flow are players.
fn places(ground: Ground<'_>, at: usize, flow: &FlowRecord) -> Vec<Place> {
    let Some(entry) = ground.catalogue.get(at) else { return Vec::new() };
    let role = |name| ground.cast.role(entry.ruleset, name);
    let (Some(from), Some(to)) = (role(entry.from), role(entry.to)) else { return Vec::new() };
    let targets = ground.cast.serving(to, flow);
    let (callers, called) =
        (ground.cast.players(entry.ruleset, entry.from), ground.cast.players(entry.ruleset, entry.to));
    let made = |of: &[Party], at: usize, side| of.get(at).is_none_or(|party| party.made(side));
    let mut sources = ground.cast.players_at(from, flow.cell, flow.client.host);
    sources.retain(|at| made(callers, *at, &flow.from_client));
    let targets: Vec<usize> = targets.into_iter().filter(|at| made(called, *at, &flow.from_server)).collect();
    sources.iter().flat_map(|source| targets.iter().map(|target| (at, *source, *target))).collect()
}

fn flows_by_place(ground: Ground<'_>, matched: &[MatchedConversation<'_>]) -> BTreeMap<Place, Tries> {
    let mut tries: BTreeMap<Place, Tries> = BTreeMap::new();
    for (Conversation { key, .. }, flows) in matched {
        for matched in flows {
            for &at in matched.accepting.iter().chain(&matched.violating) {
                let Some(entry) = ground.catalogue.get(at) else { continue };
                for place in places(ground, at, &matched.flow) {
                    let judged = judge(ground, &matched.flow, entry);
                    let known = tries.entry(place).or_default();
                    known.attempts.push(judged);
                    known.attempts.extend(attempt::later(&matched.flow, ground.view));
                    known.conversations.insert(*key);
                    let flow = &matched.flow;
                    known.last_end = Some((flow.cell, flow.client.host, flow.server.host, flow.server.port));
                }
            }
        }
    }
    tries
}

/// One flow as an attempt under an entry, by all vantages.
fn judge(ground: Ground<'_>, flow: &FlowRecord, entry: &Entry<'_>) -> Attempt {
    let alone = attempt::judge(flow, &expectation(entry), ground.view);
    crossing::sharpen(alone, flow, ground.observed.crossings.get(&flow.first), ground.view, &ground.site.nat)
}

/// What an entry asks of the payload.
pub fn expectation<'a>(entry: &'a Entry<'_>) -> Expectation<'a> {
    Expectation { protocols: &entry.rule.protocol, tls: entry.rule.tls, require: &entry.rule.require }
}

/// A failure inside a maintenance window is no attempt to judge by: a session that began long before may end in it.
fn in_window(ground: Ground<'_>, attempt: Attempt) -> Attempt {
    let failed = match &attempt.state {
        State::Fails(_, failure, _) => failure.evidence.first().at,
        State::Silent(silence) => silence.series.first.unwrap_or(attempt.first),
        State::Stopped(since, _) => *since,
        _ => return attempt,
    };
    let window =
        ground.site.windows.iter().find(|window| window.from <= failed.time && failed.time <= window.until);
    match window {
        Some(window) => Attempt {
            state: State::Unclear(format!("it failed in the maintenance window '{}'", window.reason)),
            ..attempt
        },
        None => attempt,
    }
}

/// The maintenance window in which a packet lies.
pub fn window_at<'a>(ground: Ground<'a>, at: PacketRef) -> Option<&'a Window> {
    ground.site.windows.iter().find(|window| window.from <= at.time && at.time <= window.until)
}

/// Adds the failed lookups of named targets.
fn lookups_by_place(ground: Ground<'_>, tries: &mut BTreeMap<Place, Tries>) {
    let mut by_client: BTreeMap<Host, Vec<&Lookup>> = BTreeMap::new();
    for known in &ground.observed.lookups {
        by_client.entry(known.client).or_default().push(known);
    }
    for (at, entry) in
        ground.catalogue.entries.iter().enumerate().filter(|(_, entry)| entry.missing.is_empty())
    {
        let sources = ground.cast.players(entry.ruleset, entry.from);
        for (target, party) in ground.cast.players(entry.ruleset, entry.to).iter().enumerate() {
            if party.patterns().next().is_none() {
                continue;
            }
            let listed = is_listed(entry, party);
            for (source, machine) in sources.iter().enumerate() {
                for ip in machine.addresses() {
                    let Some(lookups) = by_client.get(&Host::Ip(ip)) else { continue };
                    let concerned: Vec<&Lookup> = lookups
                        .iter()
                        .copied()
                        .filter(|known| party.patterns().any(|pattern| pattern.covers(&known.name)))
                        .filter(|known| machine.is(known.cell, known.client))
                        .collect();
                    let connected = |address| {
                        ground
                            .observed
                            .conversations
                            .keys()
                            .any(|key| key.client == Host::Ip(ip) && key.server == Host::Ip(address))
                    };
                    let context = lookup::Context { public: listed, connected: &connected };
                    let cells: BTreeSet<CellId> = concerned.iter().map(|known| known.cell).collect();
                    for cell in cells {
                        let here: Vec<&Lookup> =
                            concerned.iter().copied().filter(|known| known.cell == cell).collect();
                        let failed = lookup::failures(&here, &context, ground.view);
                        if !failed.is_empty() {
                            tries.entry((at, source, target)).or_default().attempts.extend(failed);
                        }
                    }
                }
            }
        }
    }
}

/// Whether the document itself lists a name of this party, so that it lives on the internet.
fn is_listed(entry: &Entry<'_>, party: &Party) -> bool {
    entry.document.roles.get(entry.to).is_some_and(|role| {
        party
            .patterns()
            .any(|pattern| role.hosts.iter().any(|host| host == pattern || host.covers(&pattern.name)))
    })
}

/// What is silent between two roles of a ruleset under a rule that nobody tried: the first source and the number of pairs, the same for each rule.
type Untried<'a> = HashMap<(usize, &'a str, &'a str), Option<(&'a Party, usize)>, RandomState>;

/// Binds one rule: all its entries together, since one of them may satisfy the row for the others.
fn rule<'a>(
    ground: Ground<'a>,
    entries: std::ops::Range<usize>,
    tries: &BTreeMap<Place, Tries>,
    untried: &mut Untried<'a>,
    bound: &mut Vec<Bound>,
) {
    let Some(main) = ground.catalogue.get(entries.start) else { return };
    let on: Vec<usize> = entries
        .clone()
        .filter(|&at| ground.catalogue.get(at).is_some_and(|entry| entry.missing.is_empty()))
        .collect();
    if on.is_empty() {
        let reason = format!("switched off: the site does not name {}", quoted(&main.missing));
        bound.push(folded(
            main,
            Verdict::NotApplicable,
            reason,
            false,
            main.missing.iter().map(ToString::to_string).collect(),
        ));
        return;
    }
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut tried: Vec<Tried> = Vec::new();
    for &at in &on {
        let Some(entry) = ground.catalogue.get(at) else { continue };
        for (&(_, source, target), known) in tries.range((at, 0, 0)..(at + 1, 0, 0)) {
            let (Some(source), Some(target)) = (
                ground.cast.players(entry.ruleset, entry.from).get(source),
                ground.cast.players(entry.ruleset, entry.to).get(target),
            ) else {
                continue;
            };
            let requirement = judged(ground, entry, source, target, known);
            if done.insert(requirement.told.id.clone()) {
                let works = matches!(requirement.told.verdict, Verdict::Satisfied(_));
                tried.push((source.label.clone(), target.label.clone(), works));
                bound.push(requirement);
            }
        }
    }
    silent_pairs(ground, &on, &tried, untried, &mut done, bound);
}

/// The pairs that never tried: one entry each for required rows, one for all where the row does not bind each pair.
fn silent_pairs<'a>(
    ground: Ground<'a>,
    on: &[usize],
    tried: &[Tried],
    untried: &mut Untried<'a>,
    done: &mut BTreeSet<String>,
    bound: &mut Vec<Bound>,
) {
    let mut players_missing: Vec<&Entry<'_>> = Vec::new();
    let mut foldable: Vec<(&Entry<'_>, usize, Verdict, String)> = Vec::new();
    let mut any = false;
    for &at in on {
        let Some(entry) = ground.catalogue.get(at) else { continue };
        let sources = ground.cast.players(entry.ruleset, entry.from);
        let targets = ground.cast.players(entry.ruleset, entry.to);
        if sources.is_empty() || targets.is_empty() {
            players_missing.push(entry);
            continue;
        }
        any = true;
        if entry.reading.kind != ReadingKind::Printed && !is_main_reading(entry) {
            continue;
        }
        let silent = || Silent::of(entry, sources, targets, tried);
        if entry.rule.need == Need::Required && !entry.rule.any_caller {
            for (source, target) in silent().pairs() {
                let (verdict, reason) = unseen::host_down(ground, entry, source, target)
                    .unwrap_or_else(|| unseen::silence(ground, entry, source));
                let requirement = requirement(entry, &source.label, &target.label, verdict, reason);
                if done.insert(requirement.told.id.clone()) {
                    bound.push(requirement);
                }
            }
            continue;
        }
        let summary = match tried {
            [] => *untried
                .entry((entry.ruleset, entry.from, entry.to))
                .or_insert_with(|| Silent::of(entry, sources, targets, &[]).summary()),
            _ => silent().summary(),
        };
        if let Some((source, pairs)) = summary {
            let (verdict, reason) = unseen::silence(ground, entry, source);
            foldable.push((entry, pairs, verdict, reason));
        }
    }
    if let Some((entry, _, verdict, reason)) = foldable.first() {
        let pairs: usize = foldable.iter().map(|(_, pairs, ..)| pairs).sum();
        let reason = if pairs > 1 { format!("{pairs} pairs never tried; {reason}") } else { reason.clone() };
        let matters = entry.rule.need == Need::Required && tried.is_empty() && matters(entry);
        bound.push(folded(entry, verdict.clone(), reason, matters, Vec::new()));
    }
    if !any && let Some(entry) = players_missing.first() {
        let absent =
            if ground.cast.players(entry.ruleset, entry.from).is_empty() { entry.from } else { entry.to };
        let reason = format!("no machine of this site plays '{absent}'");
        bound.push(folded(entry, Verdict::NotApplicable, reason, false, Vec::new()));
    }
}

/// Whether the entry belongs to the first reading of its rule.
fn is_main_reading(entry: &Entry<'_>) -> bool {
    entry.rule.readings.first() == Some(entry.reading)
}

/// One pair that tried, judged.
fn judged(ground: Ground<'_>, entry: &Entry<'_>, source: &Party, target: &Party, tries: &Tries) -> Bound {
    let settled = party::settle(ground.view, source, target, &tries.attempts, tries.last_end);
    let mut reason = settled.reason;
    if matches!(settled.verdict, Verdict::Satisfied(_)) {
        if entry.reading.kind == ReadingKind::Understood {
            reason.push_str("; matches the row as understood, not as printed");
        } else if entry.rule.readings.len() > 1 {
            reason.push_str("; matches the row as printed");
        }
        if target.unpinned {
            reason.push_str("; unpinned: matched by a wildcard name only");
        }
        if entry.rule.insecure && is_clear(&settled.verdict, ground, tries) {
            reason.push_str("; in clear text, so that whoever listens can read what signs in");
        }
    }
    if let (Verdict::Satisfied(_), Some(every)) = (&settled.verdict, entry.rule.every)
        && let Some(told) = cadence::seldom(tried(ground, tries), every, heard_until(ground, source))
    {
        reason.push_str(&format!("; {told}"));
    }
    if let Some((_, _, server, _)) = tries.last_end
        && matches!(settled.verdict, Verdict::Blocked(_) | Verdict::Failed(_))
        && is_listed(entry, target)
        && server.ip().is_some_and(lookup::is_private)
    {
        reason.push_str(&format!(
            "; {server} is a private address, given for a name on the internet: see first whether name service leads astray on purpose"
        ));
    }
    let mut requirement = requirement(entry, &source.label, &target.label, settled.verdict, reason);
    requirement.told.history = settled.history;
    requirement.told.flows = tries
        .conversations
        .iter()
        .filter_map(|key| ground.observed.conversations.get(key))
        .map(|conversation| conversation.flows)
        .sum();
    requirement.told.first = tries.attempts.iter().map(|attempt| attempt.first).min();
    requirement.told.last = tries.attempts.iter().map(|attempt| attempt.last).max();
    requirement.conversations = tries.conversations.clone();
    requirement
}

/// The flows kept whole in which a requirement was tried.
fn tried<'a>(ground: Ground<'a>, tries: &'a Tries) -> impl Iterator<Item = &'a FlowRecord> {
    let conversations =
        tries.conversations.iter().filter_map(move |key| ground.observed.conversations.get(key));
    conversations.flat_map(|conversation| conversation.attempts())
}

/// When a party was last heard saying anything.
fn heard_until(ground: Ground<'_>, party: &Party) -> Option<Timestamp> {
    party.addresses().filter_map(|ip| ground.view.last_heard(Host::Ip(ip))).max()
}

/// Whether what satisfied a row was not encrypted.
fn is_clear(verdict: &Verdict, ground: Ground<'_>, tries: &Tries) -> bool {
    verdict.evidence().next().is_some()
        && tries
            .conversations
            .iter()
            .filter_map(|key| ground.observed.conversations.get(key))
            .any(|conversation| !conversation.layers.contains("tls"))
}

fn matters(entry: &Entry<'_>) -> bool {
    entry.rule.need == Need::Required && matches!(entry.rule.cadence, Cadence::Continuous | Cadence::Periodic)
}

/// A requirement without attempts.
fn requirement(entry: &Entry<'_>, source: &str, target: &str, verdict: Verdict, reason: String) -> Bound {
    let ports = entry.service.ports_text();
    let transport = entry.service.carrier.name();
    let told = Requirement {
        id: id::short(&[&entry.document.id, &entry.rule.id, source, target, transport, &ports]).into(),
        ruleset: entry.document.id.clone(),
        rule: entry.rule.id.clone(),
        cite: entry.rule.cite.clone(),
        purpose: entry.rule.purpose.clone(),
        from: entry.from.to_owned(),
        to: entry.to.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        transport: transport.to_owned(),
        ports,
        protocol: entry.rule.protocol.clone(),
        need: entry.rule.need.name().to_owned(),
        cadence: entry.rule.cadence.name().to_owned(),
        verdict,
        reason,
        flows: 0,
        first: None::<PacketRef>,
        last: None,
        history: Vec::new(),
        conversations: Vec::new(),
    };
    Bound { told, matters: matters(entry), conversations: BTreeSet::new(), missing: Vec::new() }
}

/// A requirement that stands for all pairs of its roles.
fn folded(entry: &Entry<'_>, verdict: Verdict, reason: String, matters: bool, missing: Vec<String>) -> Bound {
    let source = entry.reading.from.join(" or ");
    let target = entry.reading.to.join(" or ");
    let mut bound = requirement(entry, &source, &target, verdict, reason);
    bound.matters = matters;
    bound.missing = missing;
    bound
}

/// Rows that are alternatives of each other: where one works, silence of the other between the same machines is no debt.
fn forgive_alternatives(ground: Ground<'_>, bound: &mut [Bound]) {
    let mut groups = BTreeMap::new();
    for entry in &ground.catalogue.entries {
        groups.entry((entry.document.id.as_str(), entry.rule.id.as_str())).or_insert(&entry.rule.alternative);
    }
    let group_of = |told: &Requirement| -> Option<&str> {
        groups.get(&(told.ruleset.as_str(), told.rule.as_str()))?.as_deref()
    };
    let working: BTreeSet<(String, &str)> = bound
        .iter()
        .filter(|one| matches!(one.told.verdict, Verdict::Satisfied(_)))
        .filter_map(|one| Some((one.told.ruleset.clone(), group_of(&one.told)?)))
        .collect();
    for one in bound.iter_mut().filter(|one| one.matters) {
        let silent = matches!(one.told.verdict, Verdict::Undecided | Verdict::Unseen | Verdict::NotVisible);
        if silent
            && group_of(&one.told).is_some_and(|group| working.contains(&(one.told.ruleset.clone(), group)))
        {
            one.matters = false;
            one.told.reason.push_str("; its documented alternative works");
        }
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" and ")
}
