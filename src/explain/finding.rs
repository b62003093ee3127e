//! A finding explained: the steps of what it is about, under its own words.

use crate::report::Archive;
use crate::report::ArchivedFinding;
use crate::report::Explanation;
use crate::report::Question;
use crate::report::Step;

use super::conversation;
use super::filter;
use super::requirement;
use super::step::check;
use super::step::cited;
use super::step::says;
use super::step::spot;
use super::subject::Subject;

/// Requirements or conversations of one finding that are told step by step; the others are named.
const IN_FULL: usize = 3;

/// A finding: the steps of what it is about, under its own words.
pub fn explain(archive: &Archive, told: &ArchivedFinding) -> Explanation {
    let requirements: Vec<_> =
        archive.requirements.iter().filter(|one| told.requirements.contains(&one.id)).collect();
    let conversations: Vec<_> =
        archive.conversations.iter().filter(|one| told.conversations.contains(&one.id)).collect();
    let mut explained = match (requirements.first(), conversations.first()) {
        (Some(main), _) => requirement::explain(archive, main),
        (None, Some(main)) => conversation::explain(archive, main),
        (None, None) => Explanation { steps: cited(&told.evidence, None), ..Explanation::default() },
    };
    let others: Vec<Subject<'_>> = requirements
        .iter()
        .skip(1)
        .map(|one| Subject::Requirement(one))
        .chain(conversations.iter().skip(1).map(|one| Subject::Conversation(one)))
        .collect();
    for subject in others.iter().take(IN_FULL) {
        let (evidence, around) = match subject {
            Subject::Requirement(one) => (&one.evidence, filter::requirement(one)),
            Subject::Conversation(one) => (&one.evidence, filter::conversation(one)),
            Subject::Finding(one) => (&one.evidence, None),
        };
        explained.steps.push(Step {
            says: format!("The same holds for {} ({}).", subject.title(), subject.id()),
            packets: evidence.iter().map(spot).collect(),
            around,
        });
    }
    if others.len() > IN_FULL {
        let rest: Vec<_> = others.iter().skip(IN_FULL).map(|subject| subject.id()).collect();
        explained.steps.push(says(format!(
            "And for {} more, each of which can be explained by its id: {}.",
            rest.len(),
            rest.join(", ")
        )));
    }
    explained.subject = "finding";
    explained.id.clone_from(&told.id);
    explained.title.clone_from(&told.title);
    explained.claim = told.detail.clone();
    if requirements.is_empty() {
        explained.verdict = format!("{}, {}", told.kind, told.severity);
    }
    explained.ask.insert(0, Question { whom: "first of all".into(), what: told.advice.clone() });
    explained.check =
        check(archive, &told.evidence, explained.steps.iter().find_map(|step| step.around.clone()));
    explained
}
