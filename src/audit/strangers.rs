//! Findings about conversations that nobody documented or that the site forbids: what has one cause is told together.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::num::NonZeroUsize;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use smallvec::smallvec;

use crate::model::Addressee;
use crate::model::ConversationVerdict;
use crate::model::Evidence;
use crate::model::Finding;
use crate::model::FindingKind;
use crate::model::Outcome;
use crate::model::Proofs;
use crate::model::Severity;
use crate::model::Sweep;
use crate::model::Transport;
use crate::model::counted;
use crate::threads::spread;

use super::finding::CITED;
use super::finding::sentence;
use super::id;
use super::judge::Judged;

/// Unanswered or refused attempts of one client at this many services are one scan.
const SCAN: u64 = 16;
/// Conversations of one client, or with one server, with the same port and protocol that are told together.
const SPREAD: usize = 4;
/// Findings about one service; beyond them one stands for the rest. The first are those of the earliest packets, so that a finding stays
/// what it is while more come.
const ALIKE: usize = 32;
/// Fewer findings are not worth a thread: each takes as long to be told as some conversations to be judged.
const LEAST_SHARE: usize = 512;
/// Of many conversations told together the first packets of so many; the others are alike.
const CITED_OF_MANY: usize = 6;

/// All of them, in no order.
pub fn all(judged: &[Judged], workers: Option<NonZeroUsize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let strange: Vec<&Judged> = judged.iter().filter(|one| kind(one).is_some()).collect();
    let rest = scans(strange, &mut findings);
    let (switched_off, mut rest): (Vec<&Judged>, Vec<&Judged>) =
        rest.into_iter().partition(|one| one.feature.is_some());
    rest.extend(of_features(switched_off, &mut findings));
    let mut services = Numbers::default();
    let mut reasons = Numbers::default();
    let mut alike = Groups::default();
    for case in cases(rest, &mut services) {
        let Some(main) = case.group.first() else { continue };
        // What was recognised is the same service on whatever port.
        let port = main.told.port.filter(|_| main.told.protocols.is_empty());
        let service = services.of(service_of(main, port));
        let reason = reasons.of((&main.feature, &*main.told.reason));
        alike.add((service, main.spoke, reason), case);
    }
    let mut told = Vec::new();
    for mut cases in alike.all() {
        if cases.len() > ALIKE + 1 {
            cases.sort_by_cached_key(|case| case.group.iter().map(|one| one.told.first).min());
            let rest: Vec<&Judged> = cases.drain(ALIKE..).flat_map(|case| case.group).collect();
            findings.extend(of_the_rest(&rest));
        }
        told.extend(cases);
    }
    let shares = spread(&told, LEAST_SHARE, workers, |cases| {
        let told = cases.iter().filter_map(|case| told_together(&case.group, case.title()));
        told.collect::<Vec<_>>()
    });
    findings.extend(shares.into_iter().flatten());
    findings
}

/// Conversations that are one cause.
struct Case<'a> {
    group: Group<&'a Judged>,
    shape: Shape,
}

/// What has one key; nearly always there is no more than one.
type Group<V> = SmallVec<[V; 2]>;

/// What is compared again and again, each with a number of its own.
struct Numbers<K>(HashMap<K, usize, RandomState>);

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Hash + Eq> Numbers<K> {
    fn of(&mut self, what: K) -> usize {
        let next = self.0.len();
        *self.0.entry(what).or_insert(next)
    }
}

/// What has one key, put together in the order in which it came.
struct Groups<K, V> {
    places: HashMap<K, usize, RandomState>,
    all: Vec<(K, Group<V>)>,
}

impl<K, V> Default for Groups<K, V> {
    fn default() -> Self {
        Self { places: HashMap::default(), all: Vec::new() }
    }
}

impl<K: Copy + Hash + Ord, V> Groups<K, V> {
    /// Puts something to what has the same key.
    fn add(&mut self, key: K, value: V) {
        let next = self.all.len();
        let place = *self.places.entry(key).or_insert(next);
        match self.all.get_mut(place) {
            Some((_, known)) => known.push(value),
            None => self.all.push((key, smallvec![value])),
        }
    }

    /// The groups in the order in which they began.
    fn all(self) -> impl Iterator<Item = Group<V>> {
        self.all.into_iter().map(|(_, group)| group)
    }

    /// The groups in the order of their keys.
    fn sorted(mut self) -> impl Iterator<Item = Group<V>> {
        self.all.sort_unstable_by_key(|(key, _)| *key);
        self.all()
    }
}

/// What the conversations of a case have in common.
#[derive(Clone, Copy)]
enum Shape {
    /// It is one.
    Alone,
    /// The client.
    OfOne,
    /// The server, to which nobody says anything.
    ToOne,
}

impl Case<'_> {
    fn title(&self) -> String {
        // Who spoke to one of them is not told to have said nothing.
        let speaks = self.group.iter().find(|one| one.spoke);
        let Some(main) = speaks.or(self.group.first()) else { return String::new() };
        let (many, told, what) = (self.group.len(), &main.told, service(main));
        let ([verb, _], judged) = (verbs(main), judgement(main));
        match self.shape {
            Shape::Alone => format!("{} {verb} {what} to {}, {judged}", told.client, told.server),
            Shape::OfOne => format!("{} {verb} {what} to {many} machines, {judged}", told.client),
            Shape::ToOne => {
                format!("{many} addresses try {what} of {} and say nothing there, {judged}", told.server)
            }
        }
    }
}

/// Tells those who scan; hands back what is left.
fn scans<'a>(strange: Vec<&'a Judged>, findings: &mut Vec<Finding>) -> Vec<&'a Judged> {
    // A port that was opened and left without a word was looked at, not used.
    let (mut rest, looked_at): (Vec<&Judged>, Vec<&Judged>) =
        strange.into_iter().partition(|one| one.answered && one.spoke);
    let mut by_client = Groups::default();
    looked_at.into_iter().for_each(|one| by_client.add(one.key.client, one));
    for tried in by_client.sorted() {
        let Some(client) = tried.first().map(|one| one.key.client) else { continue };
        let attempts: u64 = tried.iter().map(|one| one.attempts).sum();
        if attempts < SCAN {
            rest.extend(tried);
            continue;
        }
        let title = format!(
            "{} scans: {attempts} attempts at undocumented services, {}",
            if client == Sweep::MANY {
                "somebody (too many addresses to tell apart)".to_owned()
            } else {
                client.to_string()
            },
            match tried.iter().filter(|one| one.answered).count() {
                0 if tried.iter().all(|one| is_refused(one)) => "all of them refused".to_owned(),
                0 => "none of them answered".to_owned(),
                open => format!("{open} of them open, and nothing said there"),
            }
        );
        findings.extend(told_together(&tried, title));
    }
    rest
}

/// Puts together what one client does to several machines, and what several do to one without a word.
fn cases<'a>(conversations: Vec<&'a Judged>, services: &mut Numbers<Service<'a>>) -> Vec<Case<'a>> {
    let (silent, mut rest): (Vec<&Judged>, Vec<&Judged>) =
        conversations.into_iter().partition(|one| !one.spoke);
    let mut cases = Vec::new();
    let mut to_one = Groups::default();
    for one in silent {
        to_one.add((kind(one), one.key.server, one.key.transport, one.key.port), one);
    }
    for group in to_one.sorted() {
        if group.len() >= SPREAD {
            cases.push(Case { group, shape: Shape::ToOne });
        } else {
            rest.extend(group);
        }
    }
    let mut of_one = Groups::default();
    for one in rest {
        of_one.add((services.of(service_of(one, one.key.port)), one.key.client), one);
    }
    for group in of_one.all() {
        if group.len() >= SPREAD {
            cases.push(Case { group, shape: Shape::OfOne });
        } else {
            cases.extend(group.into_iter().map(|one| Case { group: smallvec![one], shape: Shape::Alone }));
        }
    }
    cases
}

/// Conversations that belong to more cases of one service than are told one by one.
fn of_the_rest(rest: &[&Judged]) -> Option<Finding> {
    let main = rest.first()?;
    let [_, how] = verbs(main);
    let ports: BTreeSet<Option<u16>> = rest.iter().map(|one| one.told.port).collect();
    let protocols = main.told.protocols.join(", ");
    let what = match ports.len() {
        1 => service(main),
        many => format!("{protocols} on {many} ports of {}", main.told.transport),
    };
    let title = format!("{} more pairs of machines {how} {what}, {}", rest.len(), judgement(main));
    let mut told = told_together(rest, title)?;
    let rule = main.told.rule.as_deref().unwrap_or_default();
    let feature = main.feature.as_deref().unwrap_or_default();
    let transport = main.told.transport.to_string();
    let port = if protocols.is_empty() { what.as_str() } else { "" };
    let parts = ["alike", rule, feature, &transport, port, &protocols, how, &main.told.reason];
    told.id = id::short(&[&[told.kind.name()], &parts[..]].concat()).into();
    Some(told)
}

/// What one service is to those who tell it from others: kind of finding, transport, port where it matters, protocols, and whether it answers.
type Service<'a> = (Option<FindingKind>, Transport, Option<u16>, &'a [&'static str], bool);

fn service_of(one: &Judged, port: Option<u16>) -> Service<'_> {
    (kind(one), one.key.transport, port, &one.told.protocols, one.answered)
}

/// What somebody does with a service, and what several do.
fn verbs(one: &Judged) -> [&'static str; 2] {
    match (one.answered, one.spoke) {
        (true, true) => ["talks", "talk"],
        (true, false) => ["opens, and says nothing on,", "open, and say nothing on,"],
        // Much is sent that nobody need answer, and a mirror may show one direction alone.
        (false, _) if !one.told.protocols.is_empty() => ["sends", "send"],
        (false, _) => ["tries", "try"],
    }
}

/// What is wrong about it.
fn judgement(one: &Judged) -> &'static str {
    match kind(one) {
        Some(FindingKind::Forbidden) => "which the site forbids",
        _ => "and nobody documented it",
    }
}

/// One finding for each feature that the site does not name and that several conversations use; hands back those that are alone.
fn of_features<'a>(judged: Vec<&'a Judged>, findings: &mut Vec<Finding>) -> Vec<&'a Judged> {
    let mut causes: BTreeMap<_, Vec<&Judged>> = BTreeMap::new();
    for one in judged {
        causes.entry((kind(one), one.feature.clone())).or_default().push(one);
    }
    let mut alone = Vec::new();
    for ((kind, feature), group) in causes {
        let (Some(kind), Some(feature), Some(main)) = (kind, feature, group.first()) else { continue };
        if group.len() == 1 {
            alone.extend(group);
            continue;
        }
        let clients: BTreeSet<&str> = group.iter().map(|one| one.told.client.as_str()).collect();
        let servers: BTreeSet<&str> = group.iter().map(|one| one.told.server.as_str()).collect();
        let services: BTreeSet<String> = group.iter().map(|one| service(one)).collect();
        let title = format!(
            "{} to {}, documented only with \"{feature}\", which this site does not name: {}",
            several(&clients, "machines"),
            several(&servers, "machines"),
            services.into_iter().take(SPREAD).collect::<Vec<_>>().join("; ")
        );
        if let Some(mut told) = told_together(&group, title) {
            told.id = id::short(&[kind.name(), "feature", main.told.rule.as_deref().unwrap_or(""), &feature])
                .into();
            findings.push(told);
        }
    }
    alone
}

/// The one, or how many.
fn several(names: &BTreeSet<&str>, what: &str) -> String {
    match names.first() {
        Some(only) if names.len() == 1 => (*only).to_owned(),
        _ => format!("{} {what}", names.len()),
    }
}

fn kind(one: &Judged) -> Option<FindingKind> {
    match one.told.verdict {
        ConversationVerdict::Unexpected => Some(FindingKind::Unexpected),
        ConversationVerdict::Forbidden => Some(FindingKind::Forbidden),
        _ => None,
    }
}

/// `s7comm on tcp/102`.
fn service(one: &Judged) -> String {
    let port = one.told.port.map_or(String::new(), |port| format!("/{port}"));
    let on = format!("{}{port}", one.told.transport);
    if one.told.protocols.is_empty() && !one.spoke {
        on
    } else if one.told.protocols.is_empty() {
        format!("something unrecognised on {on}")
    } else {
        format!("{} on {on}", one.told.protocols.join(", "))
    }
}

fn told_together(group: &[&Judged], title: String) -> Option<Finding> {
    let main = group.first()?;
    let kind = kind(main)?;
    let answered = group.iter().any(|one| one.answered);
    let severity = match (kind, answered) {
        (FindingKind::Forbidden, true) => Severity::High,
        (_, true) => Severity::Medium,
        (_, false) => Severity::Low,
    };
    let mut detail = sentence(&main.told.reason);
    if !main.told.hosts.is_empty() {
        detail.push_str(&format!(" The server is known as {}.", main.told.hosts.join(", ")));
    }
    let flows: u64 = group.iter().map(|one| one.told.flows).sum();
    let packets: u64 = group.iter().map(|one| one.told.packets).sum();
    detail.push_str(&format!(" Seen in {} with {}.", counted(flows, "flow"), counted(packets, "packet")));
    let advice = match (&main.feature, kind) {
        (Some(feature), _) => format!("If this site uses it, add \"{feature}\" to the site's features; else find out who switched it on."),
        (None, FindingKind::Forbidden) => "Find out who started it and stop it, or change the site's rule.".to_owned(),
        (None, _) => "Find out what it is for: if it belongs here, add an [[allow]] entry with the reason to the site file; else stop it.".to_owned(),
    };
    let id = if group.len() > SPREAD {
        // A sweep's servers differ from capture to capture; its client and service do not. The other way round where many try one.
        let of_one = group.iter().all(|one| one.told.client == main.told.client);
        let end = if of_one { &main.told.client } else { &main.told.server };
        id::short(&[kind.name(), "sweep", end, &main.told.transport.to_string()])
    } else {
        let mut parts: SmallVec<[&str; 2 + SPREAD]> =
            smallvec![kind.name(), main.told.rule.as_deref().unwrap_or("")];
        parts.extend(group.iter().map(|one| one.told.id.as_str()));
        id::short(&parts)
    };
    Some(Finding {
        id: id.into(),
        kind,
        severity,
        title,
        detail,
        advice,
        addressee: Addressee::Site,
        requirements: Vec::new(),
        conversations: group.iter().map(|one| one.told.id.clone()).collect(),
        evidence: match group {
            [only] => Proofs::gathered(only.told.evidence.iter(), CITED)?,
            _ => Proofs::gathered(&cited(group), CITED)?,
        },
        counts: true,
    })
}

/// The packets of several conversations; of each the first where there are many, which then says whose it is.
fn cited(group: &[&Judged]) -> Vec<Evidence> {
    let whose = |one: &Judged| {
        let told = &one.told;
        let port = told.port.map_or(String::new(), |port| format!("/{port}"));
        format!("{} to {} on {}{port}", told.client, told.server, told.transport)
    };
    let few = group.len() <= CITED_OF_MANY;
    let pieces = group.iter().take(CITED_OF_MANY).flat_map(|one| {
        let first = Evidence {
            at: one.told.evidence.first().at,
            note: format!("the first packet of {}", whose(one)).into(),
        };
        let rest = one.told.evidence.iter().skip(1).filter(|_| few);
        let rest = rest
            .map(|piece| Evidence { at: piece.at, note: format!("{} ({})", piece.note, whose(one)).into() });
        std::iter::once(first).chain(rest)
    });
    pieces.collect()
}

/// Whether each try was answered, by a reset.
fn is_refused(one: &Judged) -> bool {
    one.told.outcomes.keys().all(|outcome| *outcome == Outcome::Refused)
}

#[cfg(test)]
mod tests;
