//! What the reader wants explained: a finding, a requirement or a conversation, by id, by the beginning of one, or by number.

use crate::report::Archive;
use crate::report::ArchivedConversation;
use crate::report::ArchivedFinding;
use crate::report::ArchivedRequirement;

/// One thing that a report says something of.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A finding.
    Finding(&'a ArchivedFinding),
    /// A requirement.
    Requirement(&'a ArchivedRequirement),
    /// A conversation.
    Conversation(&'a ArchivedConversation),
}

impl<'a> Subject<'a> {
    /// Its id.
    pub fn id(self) -> &'a str {
        match self {
            Self::Finding(told) => &told.id,
            Self::Requirement(told) => &told.id,
            Self::Conversation(told) => &told.id,
        }
    }

    /// One line about it.
    pub fn title(self) -> String {
        match self {
            Self::Finding(told) => told.title.clone(),
            Self::Requirement(told) => format!(
                "{} of {}: {} → {} {}/{}, {}",
                told.rule, told.ruleset, told.source, told.target, told.transport, told.ports, told.verdict
            ),
            Self::Conversation(told) => format!(
                "{} → {} {}{}, {}",
                told.client,
                told.server,
                told.transport,
                told.port.map(|port| format!("/{port}")).unwrap_or_default(),
                told.verdict
            ),
        }
    }
}

/// Why nothing, or too much, is meant by a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Nothing in the report is called so.
    Nothing,
    /// Several things begin so: their ids and what they are.
    Several(Vec<(String, String)>),
}

/// Of that many that fit, each is told.
const TOLD: usize = 12;

/// Finds what a word means. An id itself comes first, then a finding's number in the report's order, then the beginning of an id.
pub fn find<'a>(archive: &'a Archive, wanted: &str) -> Result<Subject<'a>, Unknown> {
    if let Some(exact) = all(archive).find(|subject| subject.id() == wanted) {
        return Ok(exact);
    }
    if let Some(finding) = number(wanted).and_then(|at| archive.findings.get(at)) {
        return Ok(Subject::Finding(finding));
    }
    let mut fitting = all(archive).filter(|subject| !wanted.is_empty() && subject.id().starts_with(wanted));
    let Some(first) = fitting.next() else { return by_rule(archive, wanted) };
    let rest: Vec<_> = fitting.take(TOLD).collect();
    if rest.is_empty() { Ok(first) } else { Err(several(std::iter::once(first).chain(rest))) }
}

/// A requirement by its rule's id, where the rule has but one.
fn by_rule<'a>(archive: &'a Archive, wanted: &str) -> Result<Subject<'a>, Unknown> {
    let mut fitting =
        archive.requirements.iter().filter(|told| told.rule == wanted).map(Subject::Requirement).take(TOLD);
    let Some(first) = fitting.next() else { return Err(Unknown::Nothing) };
    let rest: Vec<_> = fitting.collect();
    if rest.is_empty() { Ok(first) } else { Err(several(std::iter::once(first).chain(rest))) }
}

fn several<'a>(fitting: impl Iterator<Item = Subject<'a>>) -> Unknown {
    Unknown::Several(fitting.map(|subject| (subject.id().to_owned(), subject.title())).collect())
}

fn all(archive: &Archive) -> impl Iterator<Item = Subject<'_>> {
    let findings = archive.findings.iter().map(Subject::Finding);
    let requirements = archive.requirements.iter().map(Subject::Requirement);
    findings.chain(requirements).chain(archive.conversations.iter().map(Subject::Conversation))
}

/// `1` or `#1` is the first of the findings.
fn number(wanted: &str) -> Option<usize> {
    wanted.trim_start_matches('#').parse::<usize>().ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        let finding = |id: &str| ArchivedFinding { id: id.into(), ..ArchivedFinding::default() };
        let requirement = |id: &str, rule: &str| ArchivedRequirement {
            id: id.into(),
            rule: rule.into(),
            ..ArchivedRequirement::default()
        };
        Archive {
            findings: vec![finding("1234567890"), finding("2bcdef0000")],
            requirements: vec![
                requirement("12aa000000", "ldap"),
                requirement("ffaa000000", "queue"),
                requirement("feaa000000", "queue"),
            ],
            ..Archive::default()
        }
    }

    fn check(wanted: &str, expected: &str) {
        let archive = archive();
        let found = match find(&archive, wanted) {
            Ok(subject) => subject.id().to_owned(),
            Err(Unknown::Nothing) => "nothing".into(),
            Err(Unknown::Several(all)) => all.into_iter().map(|(id, _)| id).collect::<Vec<_>>().join(" "),
        };
        assert_eq!(found, expected, "{wanted}");
    }

    #[test]
    fn ids_numbers_and_beginnings_are_understood() {
        check("1234567890", "1234567890");
        check("123", "1234567890");
        check("2", "2bcdef0000");
        check("#1", "1234567890");
        check("12", "1234567890 12aa000000");
        check("12a", "12aa000000");
        check("ldap", "12aa000000");
        check("queue", "ffaa000000 feaa000000");
        check("0", "nothing");
        check("3", "nothing");
        check("", "nothing");
        check("zz", "nothing");
    }
}
