//! The packets that open findings rest on: their headers, kept from the time when they pass to the time when the finding is over.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::evidence;
use crate::model::Evidence;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Report;
use crate::pipeline::Kept;
use crate::pipeline::Recent;

/// Findings whose packets are kept, and packets of each: a bound of some ten megabytes.
const MOST_FINDINGS: usize = 1000;
const MOST_PACKETS: usize = 64;

/// What names a packet over restarts, in which inputs change their numbers: its time in nanoseconds, and its number.
pub type Key = (i64, u64);

/// Packets of open findings.
#[derive(Debug, Default)]
pub struct Exhibits {
    kept: BTreeMap<Key, Kept>,
    /// Cited packets that were gone when they were wanted.
    missing: BTreeSet<Key>,
}

impl Exhibits {
    /// Those that an earlier run kept.
    pub fn restored(kept: BTreeMap<Key, Kept>) -> Self {
        Self { kept, missing: BTreeSet::new() }
    }

    /// Keeps what the findings of a report cite, and nothing else.
    pub fn gather(&mut self, report: &Report, recent: &Recent) {
        let cited = cited(report);
        let keys: BTreeSet<Key> = cited.iter().copied().map(key).collect();
        self.kept.retain(|key, _| keys.contains(key));
        self.missing.retain(|key| keys.contains(key));
        let wanted: BTreeSet<PacketRef> = cited
            .into_iter()
            .filter(|&at| !self.kept.contains_key(&key(at)) && !self.missing.contains(&key(at)))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let mut found = recent.find(&wanted);
        for at in wanted {
            match found.remove(&at) {
                Some(packet) => {
                    self.kept.insert(key(at), headers(at, packet));
                }
                None => {
                    self.missing.insert(key(at));
                }
            }
        }
    }

    /// A packet.
    pub fn packet(&self, at: PacketRef) -> Option<&Kept> {
        self.kept.get(&key(at))
    }

    /// All of them.
    pub fn all(&self) -> &BTreeMap<Key, Kept> {
        &self.kept
    }

    /// How many there are, and how many could not be kept.
    pub fn counts(&self) -> (u64, u64) {
        (self.kept.len() as u64, self.missing.len() as u64)
    }
}

fn key(at: PacketRef) -> Key {
    (at.time.as_nanos(), at.number())
}

/// Nobody's payload lies in a store for months.
fn headers(at: PacketRef, mut kept: Kept) -> Kept {
    let Kept { link, interface, original, ref bytes } = kept;
    let length = evidence::header_length(&Packet { at, link, interface, original, bytes });
    kept.bytes.truncate(length);
    kept
}

/// The packets of findings: those that they cite, then those that the verdicts on their requirements and conversations rest on.
fn cited(report: &Report) -> Vec<PacketRef> {
    let requirements: BTreeMap<&str, _> =
        report.requirements.iter().map(|told| (told.id.as_str(), told)).collect();
    let conversations: BTreeMap<&str, _> =
        report.conversations.iter().map(|told| (told.id.as_str(), told)).collect();
    let mut cited = Vec::new();
    for finding in report.findings.iter().take(MOST_FINDINGS) {
        let of_requirements = finding.requirements.iter().filter_map(|id| requirements.get(id.as_str()));
        let of_conversations = finding.conversations.iter().filter_map(|id| conversations.get(id.as_str()));
        let all = finding
            .evidence
            .iter()
            .chain(of_requirements.flat_map(|told| told.verdict.evidence()))
            .chain(of_conversations.flat_map(|told| told.evidence.iter()));
        cited.extend(all.take(MOST_PACKETS).map(|piece: &Evidence| piece.at));
    }
    cited
}
