//! Findings about conversations that nobody documented or that the site forbids: what has one cause is told together.

mod groups;
mod service;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::num::NonZeroUsize;

use smallvec::SmallVec;
use smallvec::smallvec;

use crate::model::Addressee;
use crate::model::ConversationVerdict;
use crate::model::Counted;
use crate::model::Evidence;
use crate::model::Finding;
use crate::model::FindingKind;
use crate::model::Host;
use crate::model::Outcome;
use crate::model::Proofs;
use crate::model::Severity;
use crate::model::Sweep;
use crate::model::Transport;
use crate::threads::spread;

use super::finding::CITED;
use super::finding::sentence;
use super::id;
use super::judge::Judged;

use groups::Groups;
use groups::Numbers;
use service::Services;
use service::Whose;
use service::Words;

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
/// Room for nearly every title.
const TITLE: usize = 104;

/// All of them, in no order.
pub fn all(judged: &[Judged<'_>], workers: Option<NonZeroUsize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut rest: Vec<&Judged<'_>> = Vec::with_capacity(judged.len());
    rest.extend(judged.iter().filter(|one| kind(one).is_some()));
    scans(&mut rest, &mut findings);
    of_features(&mut rest, &mut findings);
    let silent = silent(&mut rest);
    let (mut services, mut clients) = (Services::default(), Numbers::default());
    let mut of_one = Groups::with_capacity(rest.len());
    let (to_one, few) = to_one(&silent);
    let mut cases = Vec::new();
    for group in to_one {
        let service = group.first().map(|main| services.at_port(main));
        cases.extend(service.map(|service| Case { group, shape: Shape::ToOne, service }));
    }
    for one in rest.into_iter().chain(few) {
        of_one.add((services.at_port(one), clients.of(one.key.client)), one);
    }
    let of_one = of_one.apart();
    cases.reserve(of_one.iter().count());
    cases.extend(of_one.iter().flat_map(|(&(service, _), group)| of_client(service, group)));
    let mut reasons = Numbers::default();
    let mut alike = Groups::with_capacity(cases.len());
    for case in &cases {
        let Some(main) = case.group.first() else { continue };
        let service = services.anywhere(case.service, main);
        let reason = reasons.of((main.missing(), &*main.told.reason));
        alike.add((service, main.spoke, reason), case);
    }
    let mut told = Vec::with_capacity(cases.len().min(SPREAD * ALIKE));
    for (_, cases) in alike.apart().iter() {
        if cases.len() <= ALIKE + 1 {
            told.extend_from_slice(cases);
            continue;
        }
        let mut cases = cases.to_vec();
        cases
            .sort_by_cached_key(|case| case.group.iter().map(|one| one.told.first).min().unwrap_or_default());
        let rest: Vec<&Judged<'_>> = cases.drain(ALIKE..).flat_map(|case| case.group).copied().collect();
        findings.extend(of_the_rest(&rest));
        told.extend(cases);
    }
    let shares = spread(&told, LEAST_SHARE, workers, |cases| {
        let told = cases.iter().filter_map(|case| case.finding());
        told.collect::<Vec<_>>()
    });
    findings.extend(shares.into_iter().flatten());
    findings
}

/// Conversations that are one cause.
struct Case<'s, 'a> {
    group: &'s [&'a Judged<'a>],
    shape: Shape,
    /// Of the first of them.
    service: u32,
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

impl Case<'_, '_> {
    /// What is told of it.
    fn finding(&self) -> Option<Finding> {
        let main = self.group.first()?;
        let mut told = told_together(self.group, self.title())?;
        let end = match self.shape {
            Shape::OfOne => main.told.client.as_str(),
            Shape::ToOne => main.told.server.as_str(),
            Shape::Alone => return Some(told),
        };
        if self.group.len() > SPREAD {
            // The other ends differ from capture to capture; this one and the service do not, and it may have others.
            let (transport, protocols) = (main.told.transport.to_string(), main.told.protocols.join(", "));
            let port = main.key.port.map(|port| port.to_string()).unwrap_or_default();
            let answered = if main.answered { "answered" } else { "" };
            told.id =
                id::short(&[told.kind.name(), "sweep", end, &transport, &port, &protocols, answered]).into();
        }
        Some(told)
    }

    fn title(&self) -> String {
        // Who spoke to one of them is not told to have said nothing.
        let speaks = self.group.iter().find(|one| one.spoke);
        let Some(main) = speaks.or(self.group.first()) else { return String::new() };
        let (many, told, what) = (self.group.len(), &main.told, Words(main));
        let ([verb, _], judged, client, server) = (verbs(main), judgement(main), &told.client, &told.server);
        let mut title = String::with_capacity(TITLE);
        // A String takes whatever is written.
        let _ = match self.shape {
            Shape::Alone => write!(title, "{client} {verb} {what} to {server}, {judged}"),
            Shape::OfOne => write!(title, "{client} {verb} {what} to {many} machines, {judged}"),
            Shape::ToOne => {
                write!(title, "{many} addresses try {what} of {server} and say nothing there, {judged}")
            }
        };
        title
    }
}

/// Tells those who scan, and takes out of the rest what they did.
fn scans<'a>(rest: &mut Vec<&'a Judged<'a>>, findings: &mut Vec<Finding>) {
    // A port that was opened and left without a word was looked at, not used.
    let mut looked_at: Vec<&Judged<'_>> = rest.extract_if(.., |one| !(one.answered && one.spoke)).collect();
    looked_at.sort_by_key(|one| one.key.client);
    for tried in looked_at.chunk_by(|one, other| one.key.client == other.key.client) {
        let Some(client) = tried.first().map(|one| one.key.client) else { continue };
        let attempts: u64 = tried.iter().map(|one| one.attempts()).sum();
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
        findings.extend(told_together(tried, title));
    }
}

/// Takes out of the rest those in which nothing is said; what is about one service of one server stands together.
fn silent<'a>(rest: &mut Vec<&'a Judged<'a>>) -> Vec<&'a Judged<'a>> {
    let mut silent: Vec<&Judged<'_>> = rest.extract_if(.., |one| !one.spoke).collect();
    silent.sort_by_key(|one| at_one(one));
    silent
}

/// What several do to one without a word, and those of the silent that are no more than a few.
fn to_one<'s, 'a: 's>(
    silent: &'s [&'a Judged<'a>],
) -> (impl Iterator<Item = &'s [&'a Judged<'a>]>, impl Iterator<Item = &'a Judged<'a>>) {
    let groups = || silent.chunk_by(|one, other| at_one(one) == at_one(other));
    let few = groups().filter(|group| group.len() < SPREAD).flatten().copied();
    (groups().filter(|group| group.len() >= SPREAD), few)
}

/// The service of one server, to those who say nothing there.
fn at_one(one: &Judged<'_>) -> (Reverse<ConversationVerdict>, Host, Transport, Option<u16>) {
    (Reverse(one.told.verdict), one.key.server, one.key.transport, one.key.port)
}

/// What one client does with one service: to many machines together, to few each by itself.
fn of_client<'s, 'a>(service: u32, group: &'s [&'a Judged<'a>]) -> impl Iterator<Item = Case<'s, 'a>> {
    let (shape, together) =
        if group.len() >= SPREAD { (Shape::OfOne, group.len()) } else { (Shape::Alone, 1) };
    group.chunks(together).map(move |group| Case { group, shape, service })
}

/// Conversations that belong to more cases of one service than are told one by one.
fn of_the_rest(rest: &[&Judged<'_>]) -> Option<Finding> {
    let main = rest.first()?;
    let [_, how] = verbs(main);
    let protocols = main.told.protocols.join(", ");
    let what = if rest.iter().all(|one| one.told.port == main.told.port) {
        Words(main).to_string()
    } else {
        let ports: BTreeSet<Option<u16>> = rest.iter().map(|one| one.told.port).collect();
        format!("{protocols} on {} ports of {}", ports.len(), main.told.transport)
    };
    let title = format!("{} more pairs of machines {how} {what}, {}", rest.len(), judgement(main));
    let mut told = told_together(rest, title)?;
    let rule = main.told.rule.as_deref().unwrap_or_default();
    let feature = main.feature().unwrap_or_default();
    let transport = main.told.transport.to_string();
    let port = if protocols.is_empty() { what.as_str() } else { "" };
    let parts = ["alike", rule, &feature, &transport, port, &protocols, how, &main.told.reason];
    told.id = id::short(&[&[told.kind.name()], &parts[..]].concat()).into();
    Some(told)
}

/// What somebody does with a service, and what several do.
fn verbs(one: &Judged<'_>) -> [&'static str; 2] {
    match (one.answered, one.spoke) {
        (true, true) => ["talks", "talk"],
        (true, false) => ["opens, and says nothing on,", "open, and say nothing on,"],
        // Much is sent that nobody need answer, and a mirror may show one direction alone.
        (false, _) if !one.told.protocols.is_empty() => ["sends", "send"],
        (false, _) => ["tries", "try"],
    }
}

/// What is wrong about it.
fn judgement(one: &Judged<'_>) -> &'static str {
    match kind(one) {
        Some(FindingKind::Forbidden) => "which the site forbids",
        _ => "and nobody documented it",
    }
}

/// One finding for each feature that the site does not name and that several conversations use; those that are alone stay with the rest.
fn of_features<'a>(rest: &mut Vec<&'a Judged<'a>>, findings: &mut Vec<Finding>) {
    let mut causes: BTreeMap<_, Vec<&Judged<'_>>> = BTreeMap::new();
    for one in rest.extract_if(.., |one| one.switched_off.is_some()) {
        causes.entry((kind(one), one.feature())).or_default().push(one);
    }
    for ((kind, feature), group) in causes {
        let (Some(kind), Some(feature), Some(main)) = (kind, feature, group.first()) else { continue };
        if group.len() == 1 {
            rest.extend(group);
            continue;
        }
        let clients: BTreeSet<&str> = group.iter().map(|one| one.told.client.as_str()).collect();
        let servers: BTreeSet<&str> = group.iter().map(|one| one.told.server.as_str()).collect();
        let services: BTreeSet<String> = group.iter().map(|one| Words(one).to_string()).collect();
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
}

/// The one, or how many.
fn several(names: &BTreeSet<&str>, what: &str) -> String {
    match names.first() {
        Some(only) if names.len() == 1 => (*only).to_owned(),
        _ => format!("{} {what}", names.len()),
    }
}

fn kind(one: &Judged<'_>) -> Option<FindingKind> {
    match one.told.verdict {
        ConversationVerdict::Unexpected => Some(FindingKind::Unexpected),
        ConversationVerdict::Forbidden => Some(FindingKind::Forbidden),
        _ => None,
    }
}

fn told_together(group: &[&Judged<'_>], title: String) -> Option<Finding> {
    let main = group.first()?;
    let kind = kind(main)?;
    let answered = group.iter().any(|one| one.answered);
    let severity = match (kind, answered) {
        (FindingKind::Forbidden, true) => Severity::High,
        (_, true) => Severity::Medium,
        (_, false) => Severity::Low,
    };
    let flows: u64 = group.iter().map(|one| one.told.flows).sum();
    let packets: u64 = group.iter().map(|one| one.told.packets).sum();
    let (flows, packets) = (Counted(flows, "flow"), Counted(packets, "packet"));
    let mut detail = sentence(&main.told.reason);
    // A String takes whatever is written.
    let _ = match main.told.hosts.join(", ") {
        names if names.is_empty() => write!(detail, " Seen in {flows} with {packets}."),
        names => write!(detail, " The server is known as {names}. Seen in {flows} with {packets}."),
    };
    let advice = match (main.feature(), kind) {
        (Some(feature), _) => format!("If this site uses it, add \"{feature}\" to the site's features; else find out who switched it on.").into(),
        (None, FindingKind::Forbidden) => "Find out who started it and stop it, or change the site's rule.".into(),
        (None, _) => "Find out what it is for: if it belongs here, add an [[allow]] entry with the reason to the site file; else stop it.".into(),
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
fn cited(group: &[&Judged<'_>]) -> Vec<Evidence> {
    let few = group.len() <= CITED_OF_MANY;
    let pieces = group.iter().take(CITED_OF_MANY).flat_map(|one| {
        let first = Evidence {
            at: one.told.evidence.first().at,
            note: format!("the first packet of {}", Whose(one)).into(),
        };
        let rest = one.told.evidence.iter().skip(1).filter(|_| few);
        let rest = rest
            .map(|piece| Evidence { at: piece.at, note: format!("{} ({})", piece.note, Whose(one)).into() });
        std::iter::once(first).chain(rest)
    });
    pieces.collect()
}

/// Whether each try was answered, by a reset.
fn is_refused(one: &Judged<'_>) -> bool {
    one.told.outcomes.keys().all(|outcome| *outcome == Outcome::Refused)
}

#[cfg(test)]
mod tests;
