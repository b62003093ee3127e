//! What a watch has told so far, as it survives a restart.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// The verdict on a requirement as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its word.
    pub verdict: String,
    /// The mechanism's word, where it failed.
    pub mechanism: Option<String>,
}

/// A finding that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFinding {
    /// One line.
    pub title: String,
    /// A finding kind's word.
    pub kind: String,
    /// Ids of the requirements concerned.
    pub requirements: Vec<String>,
    /// Ids of some of the conversations concerned.
    pub conversations: Vec<String>,
    /// When it was last in a report: capture time in nanoseconds.
    pub seen: i64,
    /// Whether it decides the exit status.
    pub counts: bool,
    /// What makes it another than before.
    pub print: String,
    /// Whether an earlier run left it open and this one has not seen it.
    pub carried: bool,
}

impl OpenFinding {
    /// Whether nothing but the time when it was last seen is another.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self { title, kind, requirements, conversations, seen: _, counts, print, carried } = self;
        (title, kind, requirements, conversations)
            == (&other.title, &other.kind, &other.requirements, &other.conversations)
            && (counts, print, carried) == (&other.counts, &other.print, &other.carried)
    }
}

/// Everything that was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The number of the last event.
    pub seq: u64,
    /// The standing of requirements, by id.
    pub requirements: BTreeMap<String, Standing>,
    /// Open findings, by id.
    pub findings: BTreeMap<String, OpenFinding>,
    /// Ids of the unexpected conversations that were told.
    pub conversations: BTreeSet<String>,
}
