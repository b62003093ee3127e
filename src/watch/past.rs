//! What earlier runs saw, told beside what this one sees: a restart must not make a report forget.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::time::Duration;

use crate::model::Conclusion;
use crate::model::Evidence;
use crate::model::Failure;
use crate::model::Finding;
use crate::model::Input;
use crate::model::InputId;
use crate::model::JudgedConversation;
use crate::model::Phase;
use crate::model::Proofs;
use crate::model::Report;
use crate::model::Requirement;
use crate::model::Timestamp;
use crate::model::Verdict;
use crate::report::rfc3339;

use super::memory::OpenFinding;

/// What earlier runs left.
#[derive(Debug, Default)]
pub struct Past {
    /// When an earlier run was last alive.
    pub alive: Option<Timestamp>,
    /// When it last saved the counts of conversations.
    pub counted: Option<Timestamp>,
    /// Conversations by id.
    pub conversations: BTreeMap<String, JudgedConversation>,
    /// Requirements that were decided, by id.
    pub requirements: BTreeMap<String, Requirement>,
    /// Findings by id.
    pub findings: BTreeMap<String, Finding>,
}

/// The name of the input that stands for earlier runs.
pub const NAME: &str = "earlier runs";

impl Past {
    /// Adds what earlier runs saw to the report of this one. `open` are the findings that are open as it was told; what was silent for
    /// longer than `keep` is left out.
    pub fn add_to(&self, report: &mut Report, open: &BTreeMap<String, OpenFinding>, keep: Duration) {
        let Some(alive) = self.alive else { return };
        let input = InputId(u32::try_from(report.inputs.len()).unwrap_or(u32::MAX));
        let since = report.vantage.last.unwrap_or(alive).minus(keep);
        report.inputs.push(Input {
            name: NAME.to_owned(),
            format: "live".to_owned(),
            last: Some(alive),
            ..Input::default()
        });
        report.vantage.notes.push(format!(
            "packets are counted from this run's begin; an earlier one was last alive at {}, and what came between was not seen{}",
            rfc3339(alive),
            self.lag().map(|lag| format!("; {lag}")).unwrap_or_default()
        ));
        self.add_conversations(report, input, since);
        self.add_requirements(report, input, since);
        self.add_findings(report, open, input);
    }

    /// How far the counts of its conversations lag behind its end, where they do.
    pub fn lag(&self) -> Option<String> {
        let lag = self.alive?.since(self.counted?).as_secs();
        (lag > 0).then(|| format!("counts of its conversations are those of {lag} s before that"))
    }

    fn add_conversations(&self, report: &mut Report, input: InputId, since: Timestamp) {
        let mut seen = BTreeSet::new();
        for told in &mut report.conversations {
            let Some(before) = self.conversations.get(told.id.as_str()) else { continue };
            seen.insert(before.id.as_str());
            told.flows = told.flows.saturating_add(before.flows);
            told.packets = told.packets.saturating_add(before.packets);
            told.bytes = told.bytes.saturating_add(before.bytes);
            told.first = told.first.min(before.first.within(input));
            add_words(&mut told.protocols, &before.protocols);
            add_words(&mut told.layers, &before.layers);
            add_words(&mut told.hosts, &before.hosts);
            for (outcome, count) in before.outcomes.iter() {
                told.outcomes.count(outcome, *count);
            }
        }
        let gone = self.conversations.values().filter(|before| !seen.contains(before.id.as_str()));
        let gone: Vec<_> = gone
            .filter(|before| before.last.time >= since)
            .map(|before| {
                let mut told = before.clone();
                told.first = told.first.within(input);
                told.last = told.last.within(input);
                told.evidence = within(&told.evidence, input);
                Box::new(told)
            })
            .collect();
        report.conversations.extend(gone);
    }

    fn add_requirements(&self, report: &mut Report, input: InputId, since: Timestamp) {
        let recent = |before: &&Requirement| before.last.is_none_or(|last| last.time >= since);
        let within = |before: &Requirement| {
            let mut told = before.clone();
            told.first = told.first.map(|at| at.within(input));
            told.last = told.last.map(|at| at.within(input));
            told.history = told.history.iter().map(|phase| phase_within(phase, input)).collect();
            told.verdict = moved(&told.verdict, input);
            told.reason.push_str(AS_OF);
            told
        };
        let mut seen = BTreeSet::new();
        for told in &mut report.requirements {
            let Some(before) = self.requirements.get(&told.id) else { continue };
            seen.insert(before.id.as_str());
            if recent(&before) {
                let earlier = before.history.iter().map(|phase| phase_within(phase, input));
                told.history = joined(earlier.collect(), std::mem::take(&mut told.history));
            }
            let says_nothing =
                matches!(told.verdict, Verdict::Undecided | Verdict::Unseen | Verdict::NotVisible);
            if says_nothing && recent(&before) {
                *told = within(before);
            }
        }
        // A pair that tried an optional rule before is one that this run has not seen trying.
        let gone = self.requirements.values().filter(|before| !seen.contains(before.id.as_str()));
        let gone: Vec<_> =
            gone.filter(|before| before.need == "optional").filter(recent).map(within).collect();
        report.requirements.extend(gone);
    }

    fn add_findings(&self, report: &mut Report, open: &BTreeMap<String, OpenFinding>, input: InputId) {
        for (id, _) in open.iter().filter(|(_, open)| open.carried) {
            let Some(before) = self.findings.get(id) else { continue };
            let mut told = before.clone();
            told.detail.push_str(AS_OF);
            told.evidence = within(&told.evidence, input);
            report.findings.push(told);
        }
        report.findings.sort_by_key(|told| told.severity);
        if report.findings.iter().any(|told| told.counts) {
            report.conclusion = Conclusion::Findings;
            report.because.clear();
        }
    }
}

/// The most phases of one history.
const MOST_PHASES: usize = 64;

/// A history that goes on: what was the same before and after a restart is one phase.
fn joined(mut all: Vec<Phase>, now: Vec<Phase>) -> Vec<Phase> {
    for phase in now {
        let same = |last: &Phase| (last.verdict, last.mechanism) == (phase.verdict, phase.mechanism);
        if !all.last().is_some_and(same) {
            all.push(phase);
        }
    }
    let over = all.len().saturating_sub(MOST_PHASES);
    all.split_off(over)
}

fn phase_within(phase: &Phase, input: InputId) -> Phase {
    Phase { since: phase.since.within(input), ..phase.clone() }
}

/// The most words of a list that both runs add to.
const MOST_WORDS: usize = 512;

fn add_words<T: Clone + PartialEq>(told: &mut (impl Extend<T> + Deref<Target = [T]>), before: &[T]) {
    for word in before {
        if told.len() < MOST_WORDS && !told.contains(word) {
            told.extend([word.clone()]);
        }
    }
}

/// What is added to words of an earlier run.
const AS_OF: &str = " (as an earlier run saw it; nothing since decides it)";

fn within(evidence: &Proofs, input: InputId) -> Proofs {
    evidence.map(|piece| Evidence { at: piece.at.within(input), note: piece.note.clone() })
}

fn moved(verdict: &Verdict, input: InputId) -> Verdict {
    let failure = |failure: &Failure| {
        let mut failure = failure.clone();
        failure.evidence = within(&failure.evidence, input);
        failure
    };
    match verdict {
        Verdict::Satisfied(evidence) => Verdict::Satisfied(within(evidence, input)),
        Verdict::Violated(why) => Verdict::Violated(failure(why)),
        Verdict::Blocked(why) => Verdict::Blocked(failure(why)),
        Verdict::Failed(why) => Verdict::Failed(failure(why)),
        other => other.clone(),
    }
}
