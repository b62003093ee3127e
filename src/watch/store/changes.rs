//! What of the state changed since it was last written: only that goes to disk.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::hash::Hash;
use std::hash::Hasher;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use redb::Table;

use crate::model::Finding;
use crate::model::Report;
use crate::model::Requirement;
use crate::watch::memory::OpenFinding;
use crate::watch::memory::Standing;
use crate::watch::rows::ConversationRow;
use crate::watch::rows::FindingRow;
use crate::watch::rows::RequirementRow;

use super::OpenRow;

/// The most conversations kept.
const MOST_CONVERSATIONS: usize = 65_536;
/// That a finding is still seen is written this seldom, in nanoseconds of capture time: it decides when one is forgotten after days.
const SEEN: i64 = 3_600_000_000_000;

/// Writes the standings that changed.
pub(super) fn save_standings(
    saved: &mut BTreeMap<String, Standing>,
    told: &BTreeMap<String, Standing>,
    table: &mut Table<'_, &'static str, (&'static str, &'static str)>,
) -> Result<(), redb::Error> {
    for (id, standing) in told {
        if saved.get(id) != Some(standing) {
            let mechanism = standing.mechanism.as_deref().unwrap_or_default();
            table.insert(id.as_str(), (standing.verdict.as_str(), mechanism))?;
            saved.insert(id.clone(), standing.clone());
        }
    }
    remove_gone(saved, |id| told.contains_key(id), |id| table.remove(id).map(drop))
}

/// Writes the findings that changed.
pub(super) fn save_findings(
    saved: &mut BTreeMap<String, OpenFinding>,
    told: &BTreeMap<String, OpenFinding>,
    table: &mut Table<'_, &'static str, OpenRow<'static>>,
) -> Result<(), redb::Error> {
    for (id, open) in told {
        if saved.get(id).is_some_and(|saved| saved.says_the_same(open) && open.seen - saved.seen < SEEN) {
            continue;
        }
        let (requirements, conversations) = (open.requirements.join("\n"), open.conversations.join("\n"));
        table.insert(
            id.as_str(),
            (
                open.title.as_str(),
                open.kind.as_str(),
                requirements.as_str(),
                conversations.as_str(),
                open.print.as_str(),
                open.seen,
                open.counts,
            ),
        )?;
        saved.insert(id.clone(), open.clone());
    }
    remove_gone(saved, |id| told.contains_key(id), |id| table.remove(id).map(drop))
}

/// Writes which conversations were told that were not before.
pub(super) fn save_told(
    saved: &mut BTreeSet<String>,
    told: &BTreeSet<String>,
    table: &mut Table<'_, &'static str, ()>,
) -> Result<(), redb::Error> {
    let (come, gone): (Vec<_>, Vec<_>) =
        (told.difference(saved).cloned().collect(), saved.difference(told).cloned().collect());
    for id in come {
        table.insert(id.as_str(), ())?;
        saved.insert(id);
    }
    for id in gone {
        table.remove(id.as_str())?;
        saved.remove(&id);
    }
    Ok(())
}

fn remove_gone<T>(
    saved: &mut BTreeMap<String, T>,
    stays: impl Fn(&str) -> bool,
    mut remove: impl FnMut(&str) -> Result<(), redb::StorageError>,
) -> Result<(), redb::Error> {
    let gone: Vec<String> = saved.keys().filter(|id| !stays(id)).cloned().collect();
    for id in gone {
        remove(&id)?;
        saved.remove(&id);
    }
    Ok(())
}

/// Entries of reports as they are on disk.
#[derive(Default)]
pub(super) struct Rows {
    requirements: Kind,
    findings: Kind,
    conversations: Kind,
}

/// Those of one kind by id: what each said then (packets of a conversation, the hash of anything else), and in which round it was last seen.
#[derive(Default)]
struct Kind {
    rows: HashMap<String, (u64, u64), FixedState>,
    round: u64,
}

impl Rows {
    /// There is such a row, of which nothing else is known.
    pub fn know(&mut self, kind: &str, id: &str) {
        let kind = match kind {
            CONVERSATION => &mut self.conversations,
            REQUIREMENT => &mut self.requirements,
            _ => &mut self.findings,
        };
        kind.rows.insert(id.to_owned(), (0, 0));
    }

    /// Writes what a report says of requirements and findings.
    pub fn save_told(&mut self, report: &Report, table: &mut Entry<'_>) -> Result<(), redb::Error> {
        self.requirements.begin();
        for told in &report.requirements {
            if let Some(row) = RequirementRow::of(told) {
                self.requirements.save(REQUIREMENT, &told.id, standing(told), table, || json(&row))?;
            }
        }
        self.requirements.end(REQUIREMENT, table)?;
        self.findings.begin();
        for told in &report.findings {
            self.findings.save(FINDING, &told.id, saying(told), table, || json(&FindingRow::of(told)))?;
        }
        self.findings.end(FINDING, table)
    }

    /// Writes which conversations there are, with their counts. Returns how many changed.
    pub fn save_growth(&mut self, report: &Report, table: &mut Entry<'_>) -> Result<u64, redb::Error> {
        self.conversations.begin();
        let mut changed = 0;
        for told in report.conversations.iter().take(MOST_CONVERSATIONS) {
            let row = || json(&ConversationRow::of(told));
            changed +=
                u64::from(self.conversations.save(CONVERSATION, &told.id, told.packets, table, row)?);
        }
        self.conversations.end(CONVERSATION, table)?;
        Ok(changed)
    }
}

/// The table of entries.
pub(super) type Entry<'t> = Table<'t, (&'static str, &'static str), &'static [u8]>;

/// Kinds of entries.
pub(super) const CONVERSATION: &str = "c";
pub(super) const REQUIREMENT: &str = "r";
const FINDING: &str = "f";

impl Kind {
    fn begin(&mut self) {
        self.round += 1;
    }

    /// Writes a row if it says something else than before.
    fn save(
        &mut self,
        kind: &'static str,
        id: &str,
        says: u64,
        table: &mut Entry<'_>,
        bytes: impl Fn() -> Vec<u8>,
    ) -> Result<bool, redb::Error> {
        let changed = match self.rows.get_mut(id) {
            Some((known, round)) => {
                *round = self.round;
                std::mem::replace(known, says) != says
            }
            None => {
                self.rows.insert(id.to_owned(), (says, self.round));
                true
            }
        };
        if changed {
            table.insert((kind, id), bytes().as_slice())?;
        }
        Ok(changed)
    }

    /// Removes rows that were not seen in this round.
    fn end(&mut self, kind: &'static str, table: &mut Entry<'_>) -> Result<(), redb::Error> {
        let round = self.round;
        for (id, _) in self.rows.extract_if(|_, (_, seen)| *seen != round) {
            table.remove((kind, id.as_str()))?;
        }
        self.rows.shrink_to(2 * self.rows.len());
        Ok(())
    }
}

/// What a requirement says. Its counters grow with every flow; only what it says has to be on disk at once.
fn standing(told: &Requirement) -> u64 {
    FixedState::default().hash_one((told.verdict.name(), &told.reason, told.history.len()))
}

/// What a finding says.
fn saying(told: &Finding) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    (told.kind.name(), told.severity.name(), &told.title, &told.detail, &told.advice).hash(&mut hasher);
    (told.addressee.name(), told.counts, &told.requirements, &told.conversations).hash(&mut hasher);
    for piece in told.evidence.iter() {
        (piece.at.time.as_nanos(), piece.at.number(), &piece.note).hash(&mut hasher);
    }
    hasher.finish()
}

/// Every key of a row is a string, so that this does not fail.
fn json(row: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(row).unwrap_or_default()
}
