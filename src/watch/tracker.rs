//! From one look at the report to the next: what opened, changed and was resolved. Nothing is told twice.
//!
//! A look may catch a flow half way. So what would alarm someone is told only when two looks in a row agree on it, or when all the packets that
//! it rests on had passed a while before the look: where looks take long, nobody has to wait for another. What was once decided gives way to what is decided anew, never to "undecided": silence takes nothing back.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::ConversationVerdict;
use crate::model::Evidence;
use crate::model::Finding;
use crate::model::FindingKind;
use crate::model::Report;
use crate::model::Requirement;
use crate::model::Severity;
use crate::model::Timestamp;
use crate::model::Verdict;

use super::event::About;
use super::event::Event;
use super::event::Level;
use super::memory::Memory;
use super::memory::OpenFinding;
use super::memory::Standing;

/// New unexpected conversations told one by one at each look; beyond it they are only counted.
const MOST_CONVERSATIONS: usize = 32;

/// Findings on unexpected conversations told one by one at each look, opened, changed or over; beyond it they are only counted.
const MOST_FINDINGS: usize = 32;

/// Changed verdicts on optional requirements told one by one at each look; beyond it they are only counted.
const MOST_VERDICTS: usize = 32;

/// What two ends and everything between them have said of a packet by then they will not take back: longer than a look's shards are seen apart, and
/// than an answer to anything takes.
const SETTLED: Duration = Duration::from_secs(5);

/// Something seen in one look, to be told if the next one sees it as well.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending<T>(T);

/// What has been told so far.
#[derive(Debug, Default)]
pub struct Tracker {
    /// The standing of each requirement as it was told, and what the last look saw instead.
    requirements: BTreeMap<String, Standing>,
    changing: BTreeMap<String, Pending<Standing>>,
    /// Findings that are open as it was told.
    findings: BTreeMap<String, OpenFinding>,
    opening: BTreeSet<String>,
    closing: BTreeSet<String>,
    /// Unexpected conversations that were told or counted.
    conversations: BTreeSet<String>,
    unconfirmed: BTreeSet<String>,
    /// How long a finding of an earlier run stays open though nothing of it is seen.
    keep: Duration,
}

impl Tracker {
    /// A tracker that knows what was told before a restart.
    pub fn restored(memory: &Memory, keep: Duration) -> Self {
        Self {
            keep,
            requirements: memory.requirements.clone(),
            findings: memory.findings.clone(),
            conversations: memory.conversations.clone(),
            ..Self::default()
        }
    }

    /// The standing of requirements as it was told.
    pub fn standings(&self) -> &BTreeMap<String, Standing> {
        &self.requirements
    }

    /// Unexpected conversations that were told or counted.
    pub fn told_conversations(&self) -> &BTreeSet<String> {
        &self.conversations
    }

    /// Findings that are open as it was told.
    pub fn open_findings(&self) -> &BTreeMap<String, OpenFinding> {
        &self.findings
    }

    /// Holds a look against what was told before. After the last look there is none to agree with it, so it is told as it is.
    pub fn compare(&mut self, report: &Report, now: Option<Timestamp>, last: bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut say = |event, level, message, about| {
            events.push(Event::new(&report.site.name, now, event, level, message, about));
        };
        self.compare_requirements(report, now, last, &mut say);
        self.compare_findings(report, now, last, &mut say);
        self.compare_conversations(report, now, last, &mut say);
        events
    }

    fn compare_requirements(
        &mut self,
        report: &Report,
        now: Option<Timestamp>,
        last: bool,
        say: &mut Say<'_>,
    ) {
        let (mut optional, mut more) = (0, 0_u64);
        for told in &report.requirements {
            let Some(standing) = standing(told) else {
                self.changing.remove(&told.id);
                continue;
            };
            let before = self.requirements.get(&told.id);
            if before == Some(&standing) {
                self.changing.remove(&told.id);
                continue;
            }
            let confirmed = self.changing.get(&told.id) == Some(&Pending(standing.clone()))
                || has_settled(told.verdict.evidence(), now);
            // Good news needs no second look.
            if !(confirmed || last || standing.verdict == "satisfied") {
                self.changing.insert(told.id.clone(), Pending(standing));
                continue;
            }
            self.changing.remove(&told.id);
            // An optional rule is a requirement for each pair that tries: a sweep through a prefix that is allowed has thousands.
            optional += usize::from(told.need != "required");
            if told.need != "required" && optional > MOST_VERDICTS {
                more += 1;
                self.requirements.insert(told.id.clone(), standing);
                continue;
            }
            let word = before.map(|before| before.verdict.clone());
            let (level, how) = match told.verdict {
                Verdict::Satisfied(_) => (Level::Notice, String::new()),
                _ => (
                    if told.need == "required" { Level::Error } else { Level::Warning },
                    standing
                        .mechanism
                        .as_ref()
                        .map(|mechanism| format!(" ({mechanism})"))
                        .unwrap_or_default(),
                ),
            };
            let message = format!(
                "{}{how}: {} to {} on {}/{}, {}:{}{}",
                told.verdict.name(),
                told.source,
                told.target,
                told.transport,
                told.ports,
                told.ruleset,
                told.rule,
                word.as_ref().map(|word| format!(", {word} before")).unwrap_or_default(),
            );
            say(
                "verdict-changed",
                level,
                message,
                About::requirement(told, word.as_deref().or(Some("unseen")), report),
            );
            self.requirements.insert(told.id.clone(), standing);
        }
        if more > 0 {
            let detail = format!("{more} more verdicts on optional flows have changed; the report has them");
            let about = About::Condition { condition: "verdicts-changed", detail };
            say("verdicts-changed", Level::Notice, format!("{more} more verdicts on optional flows"), about);
        }
        // Optional requirements come and go with the pairs that try them; those that a reload took away are gone.
        if self.requirements.len() > 2 * report.requirements.len() + 1024 {
            let present: BTreeSet<&str> = report.requirements.iter().map(|told| told.id.as_str()).collect();
            self.requirements.retain(|id, _| present.contains(id.as_str()));
        }
    }

    fn compare_findings(&mut self, report: &Report, now: Option<Timestamp>, last: bool, say: &mut Say<'_>) {
        // Each unexpected conversation may be a finding of its own: a flood of them is told by its number.
        let (mut told_now, mut more) = (0, 0_u64);
        let mut is_room = |kind: &str| {
            if kind != FindingKind::Unexpected.name() {
                return true;
            }
            told_now += 1;
            more += u64::from(told_now > MOST_FINDINGS);
            told_now <= MOST_FINDINGS
        };
        let mut opening = BTreeSet::new();
        let mut present = BTreeSet::new();
        for told in &report.findings {
            present.insert(told.id.as_str());
            let print = print(told);
            let about = || About::finding(told, report);
            match self.findings.get_mut(&told.id) {
                Some(known) => {
                    if known.print != print && is_room(told.kind.name()) {
                        say("finding-changed", level(told), told.title.clone(), about());
                    }
                    let same = known.print == print && known.title == told.title && !known.carried;
                    if same && known.conversations.iter().eq(told.conversations.iter().take(MOST_REMEMBERED))
                    {
                        known.seen = now.unwrap_or_default().as_nanos();
                    } else {
                        *known = open(told, print, now);
                    }
                }
                None if last || self.opening.contains(&told.id) || has_settled(told.evidence.iter(), now) => {
                    if is_room(told.kind.name()) {
                        say("finding-opened", level(told), told.title.clone(), about());
                    }
                    self.findings.insert(told.id.clone(), open(told, print, now));
                }
                None => {
                    opening.insert(told.id.clone());
                }
            }
        }
        self.opening = opening;
        let mut closing = BTreeSet::new();
        let mut resolved = Vec::new();
        let settled = Settled::by(report, now, self.keep);
        let missing = || self.findings.iter().filter(|(id, _)| !present.contains(id.as_str()));
        let elsewhere = if missing().next().is_some() { unexpected(report) } else { BTreeSet::new() };
        for (id, open) in missing() {
            if !settled.settles(open) && !is_told_by_others(open, &elsewhere) {
                continue;
            }
            if last || self.closing.contains(id) {
                resolved.push(id.clone());
            } else {
                closing.insert(id.clone());
            }
        }
        self.closing = closing;
        for id in resolved {
            let Some(open) = self.findings.remove(&id) else { continue };
            if !is_room(&open.kind) {
                continue;
            }
            if is_told_by_others(&open, &elsewhere) {
                let detail = format!("finding {id} is told with another from now on");
                let about = About::Condition { condition: "joined", detail };
                say("finding-resolved", Level::Info, format!("told with another: {}", open.title), about);
                continue;
            }
            let about = About::Condition { condition: "resolved", detail: format!("finding {id}") };
            say("finding-resolved", Level::Notice, format!("resolved: {}", open.title), about);
        }
        if more > 0 {
            let detail = format!(
                "{more} more findings on unexpected conversations have opened, changed or are over; the report has them"
            );
            let message = format!("{more} more findings on unexpected conversations");
            say(
                "findings-unexpected",
                Level::Warning,
                message,
                About::Condition { condition: "findings-unexpected", detail },
            );
        }
    }

    fn compare_conversations(
        &mut self,
        report: &Report,
        now: Option<Timestamp>,
        last: bool,
        say: &mut Say<'_>,
    ) {
        let unwanted =
            |verdict| matches!(verdict, ConversationVerdict::Unexpected | ConversationVerdict::Forbidden);
        let mut unconfirmed = BTreeSet::new();
        let mut more = 0_u64;
        let mut told_now = 0;
        for told in report.conversations.iter().filter(|told| unwanted(told.verdict)) {
            if self.conversations.contains(told.id.as_str()) {
                continue;
            }
            if !last
                && !self.unconfirmed.contains(told.id.as_str())
                && !has_settled(told.evidence.iter(), now)
            {
                unconfirmed.insert(told.id.to_string());
                continue;
            }
            self.conversations.insert(told.id.to_string());
            if told_now >= MOST_CONVERSATIONS {
                more += 1;
                continue;
            }
            told_now += 1;
            let port = told.port.map(|port| format!("/{port}")).unwrap_or_default();
            let message = format!(
                "new {} conversation: {} to {} on {}{port}{}",
                told.verdict.name(),
                told.client,
                told.server,
                told.transport.name(),
                told.protocols.first().map(|protocol| format!(" ({protocol})")).unwrap_or_default(),
            );
            let level = match told.verdict {
                ConversationVerdict::Forbidden => Level::Error,
                _ => Level::Warning,
            };
            say("conversation-unexpected", level, message, About::conversation(told, report));
        }
        if more > 0 {
            let about = About::Condition {
                condition: "conversations-unexpected",
                detail: format!("{more} more new conversations are unexpected; the report lists them"),
            };
            let message = format!("{more} more new unexpected conversations");
            say("conversations-unexpected", Level::Warning, message, about);
        }
        self.unconfirmed = unconfirmed;
        // What the pipeline has forgotten is new when it comes again, and the memory of it is bounded by what the pipeline keeps.
        if self.conversations.len() > 2 * report.conversations.len() + 1024 {
            let present: BTreeSet<&str> = report.conversations.iter().map(|told| told.id.as_str()).collect();
            self.conversations.retain(|id| present.contains(id.as_str()));
        }
    }
}

/// What a look says of findings that are no longer in the report: not each of them is resolved by its absence.
struct Settled<'a> {
    requirements: BTreeMap<&'a str, &'a Verdict>,
    conversations: BTreeMap<&'a str, ConversationVerdict>,
    since: Timestamp,
}

impl<'a> Settled<'a> {
    fn by(report: &'a Report, now: Option<Timestamp>, keep: Duration) -> Self {
        Self {
            requirements: report.requirements.iter().map(|told| (told.id.as_str(), &told.verdict)).collect(),
            conversations: report.conversations.iter().map(|told| (told.id.as_str(), told.verdict)).collect(),
            since: now.map_or(Timestamp::MIN, |now| now.minus(keep)),
        }
    }

    /// Whether a finding that is not in the report is over: what it was about works, is not asked for any more or was forgotten. A
    /// verdict that became undecided takes nothing back, and neither does a restart.
    fn settles(&self, open: &OpenFinding) -> bool {
        if Timestamp::from_nanos(open.seen) < self.since {
            return true;
        }
        let works = open.requirements.iter().all(|id| match self.requirements.get(id.as_str()) {
            Some(verdict) => !matches!(verdict, Verdict::Undecided | Verdict::Unseen | Verdict::NotVisible),
            None => !open.carried,
        });
        let gone = open.conversations.iter().all(|id| match self.conversations.get(id.as_str()) {
            Some(verdict) => {
                !open.requirements.is_empty()
                    || !matches!(verdict, ConversationVerdict::Unexpected | ConversationVerdict::Forbidden)
            }
            None => !open.carried,
        });
        works && (gone || !open.requirements.is_empty())
    }
}

/// The conversations of all findings on unexpected ones.
fn unexpected(report: &Report) -> BTreeSet<&str> {
    let told = report.findings.iter().filter(|told| told.kind.name() == FindingKind::Unexpected.name());
    told.flat_map(|told| told.conversations.iter().map(|id| id.as_str())).collect()
}

/// Whether what a finding is about is told by others by now: where there are many of one service, one stands for the rest.
fn is_told_by_others(open: &OpenFinding, elsewhere: &BTreeSet<&str>) -> bool {
    open.kind == FindingKind::Unexpected.name()
        && !open.conversations.is_empty()
        && open.conversations.iter().all(|id| elsewhere.contains(id.as_str()))
}

/// The most conversations remembered of an open finding: they tell when it is over.
const MOST_REMEMBERED: usize = 64;

fn open(told: &Finding, print: String, now: Option<Timestamp>) -> OpenFinding {
    OpenFinding {
        title: told.title.clone(),
        kind: told.kind.name().to_owned(),
        requirements: told.requirements.clone(),
        conversations: told.conversations.iter().take(MOST_REMEMBERED).map(ToString::to_string).collect(),
        counts: told.counts,
        seen: now.unwrap_or_default().as_nanos(),
        print,
        carried: false,
    }
}

type Say<'a> = dyn FnMut(&'static str, Level, String, About) + 'a;

/// Whether there are packets that something rests on, and all of them had passed for a while when the look was taken.
fn has_settled<'a>(evidence: impl Iterator<Item = &'a Evidence>, now: Option<Timestamp>) -> bool {
    let latest = evidence.map(|piece| piece.at.time).max();
    latest.zip(now).is_some_and(|(latest, now)| now.since(latest) >= SETTLED)
}

/// A verdict that says something; `None` for those that only say that nothing is known.
fn standing(told: &Requirement) -> Option<Standing> {
    match &told.verdict {
        Verdict::Satisfied(_) => Some(Standing { verdict: "satisfied".to_owned(), mechanism: None }),
        other => other.failure().map(|failure| Standing {
            verdict: other.name().to_owned(),
            mechanism: Some(failure.mechanism.name().to_owned()),
        }),
    }
}

/// What makes a finding another than before: not its counters, but who and what is concerned. Of a growing sweep each doubling is told.
fn print(told: &Finding) -> String {
    let doublings = usize::BITS - told.conversations.len().leading_zeros();
    format!(
        "{} {} {} {} {}",
        told.severity.name(),
        told.addressee.name(),
        told.kind.grade().map_or("-", |grade| grade.name()),
        told.requirements.join(","),
        doublings
    )
}

fn level(told: &Finding) -> Level {
    match (told.severity, told.kind) {
        (Severity::High, _) | (_, FindingKind::Forbidden) => Level::Error,
        (Severity::Medium, _) => Level::Warning,
        (Severity::Low, _) => Level::Notice,
    }
}
