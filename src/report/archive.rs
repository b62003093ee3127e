//! A report that was written as JSON, read back: what `explain` works on. Packets are not needed for it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Deserializer;

use crate::model::Timestamp;

use super::json::SCHEMA;
use super::time;

/// A report as read back.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Archive {
    /// The inputs.
    pub inputs: Vec<ArchivedInput>,
    /// What the mirror sees.
    pub vantage: ArchivedVantage,
    /// What was held against the traffic.
    pub site: ArchivedSite,
    /// `compliant`, `findings` or `inconclusive`.
    pub result: String,
    /// Every requirement.
    pub requirements: Vec<ArchivedRequirement>,
    /// Every conversation.
    pub conversations: Vec<ArchivedConversation>,
    /// Every finding, in the report's order.
    pub findings: Vec<ArchivedFinding>,
}

/// An input of the run.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ArchivedInput {
    /// Its name.
    pub file: String,
    /// What it is: `live` is no file.
    #[serde(default)]
    pub format: String,
    /// Packets read.
    pub packets: u64,
    /// Packets that a filter left out.
    #[serde(default)]
    pub filtered: u64,
    /// SHA-256, where it was asked for.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Packets stamped earlier than the one before them.
    #[serde(default)]
    pub time_reversals: u64,
    /// Where and why reading stopped early.
    #[serde(default)]
    pub stopped: Option<ArchivedStop>,
}

/// Why an input was not read to its end.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ArchivedStop {
    /// In plain words.
    pub why: String,
}

/// What the mirror sees.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ArchivedVantage {
    /// The last packet of all.
    #[serde(deserialize_with = "maybe_time")]
    pub last: Option<Timestamp>,
    /// The share of acknowledged bytes that was never captured; `None` says too little traffic to tell.
    pub loss: Option<f64>,
    /// TCP payload bytes that were acknowledged.
    pub acknowledged_bytes: u64,
    /// Those of them that were never captured.
    pub unseen_bytes: u64,
    /// Packets that the capturing machines say they lost.
    pub dropped: Option<u64>,
    /// Pairs of hosts with two-way traffic due.
    pub pairs: u64,
    /// Those of them heard in one direction only.
    pub one_sided_pairs: u64,
    /// Mirror duplicates.
    pub duplicates: u64,
    /// Packets cut by a snap length.
    pub cut_packets: u64,
    /// Addresses that more than one machine seems to use.
    pub overlapping_addresses: Vec<String>,
    /// Hosts that sent something.
    pub heard: Vec<ArchivedHeard>,
}

/// A host that was heard.
#[derive(Clone, Debug, Deserialize)]
pub struct ArchivedHeard {
    /// Its address.
    pub host: String,
    /// Packets it sent.
    pub packets: u64,
    /// The first.
    pub first: ArchivedPacket,
    /// The last.
    pub last: ArchivedPacket,
}

/// What was held against the traffic.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ArchivedSite {
    /// Its name.
    pub name: String,
    /// The site file.
    pub file: Option<String>,
    /// The rulesets.
    pub rulesets: Vec<ArchivedRuleset>,
    /// Features in force.
    pub features: Vec<String>,
    /// Who plays what.
    pub roles: Vec<ArchivedRole>,
    /// Whether the roles were guessed.
    pub provisional: bool,
}

/// A ruleset.
#[derive(Clone, Debug, Deserialize)]
pub struct ArchivedRuleset {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The document's revision.
    pub revision: String,
}

/// A role and who plays it.
#[derive(Clone, Debug, Deserialize)]
pub struct ArchivedRole {
    /// The role.
    pub role: String,
    /// Who plays it.
    pub endpoints: Vec<String>,
    /// Why it is believed to, where it was guessed.
    #[serde(default)]
    pub guessed: Option<ArchivedEvidence>,
}

/// One packet, as Wireshark finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ArchivedPacket {
    /// The capture file.
    pub file: String,
    /// Its number there.
    pub packet: u64,
    /// Its time.
    #[serde(deserialize_with = "a_time")]
    pub time: Timestamp,
}

/// A packet and what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ArchivedEvidence {
    /// The packet.
    #[serde(flatten)]
    pub at: ArchivedPacket,
    /// What it shows.
    pub note: String,
}

/// Who did it.
#[derive(Clone, Debug, Deserialize)]
pub struct ArchivedBy {
    /// Address or MAC.
    pub who: String,
    /// `firewall`, `host`, `server`, `dns` or `proxy`.
    pub kind: String,
}

/// A stretch of time in one state.
#[derive(Clone, Debug, Deserialize)]
pub struct ArchivedPhase {
    /// The verdict.
    pub verdict: String,
    /// The mechanism, where it failed.
    #[serde(default)]
    pub mechanism: Option<String>,
    /// Since this packet.
    pub since: ArchivedPacket,
}

/// A requirement.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ArchivedRequirement {
    /// Its id.
    pub id: String,
    /// The ruleset's id.
    pub ruleset: String,
    /// The rule's id.
    pub rule: String,
    /// The row of the document.
    pub cite: String,
    /// What the flow is for.
    pub purpose: String,
    /// From role.
    pub from: String,
    /// To role.
    pub to: String,
    /// Address or host name.
    pub source: String,
    /// Address or host name.
    pub target: String,
    /// `tcp` or `udp`.
    pub transport: String,
    /// A port or a range.
    pub ports: String,
    /// Protocols that the rule accepts.
    pub protocol: Vec<String>,
    /// `required` or `optional`.
    pub need: String,
    /// `continuous`, `periodic`, `human` or `rare`.
    pub cadence: String,
    /// The verdict's word.
    pub verdict: String,
    /// The mechanism's word.
    pub mechanism: Option<String>,
    /// Who did it.
    pub by: Option<ArchivedBy>,
    /// The grade's letter.
    pub grade: Option<String>,
    /// Whom to ask.
    pub addressee: Option<String>,
    /// Why, in plain words.
    pub reason: String,
    /// Flows that were judged.
    pub flows: u64,
    /// Their first packet's time.
    #[serde(deserialize_with = "maybe_time")]
    pub first: Option<Timestamp>,
    /// Their last packet's time.
    #[serde(deserialize_with = "maybe_time")]
    pub last: Option<Timestamp>,
    /// How it changed.
    pub history: Vec<ArchivedPhase>,
    /// Conversations in which it was tried.
    pub conversations: Vec<String>,
    /// The packets.
    pub evidence: Vec<ArchivedEvidence>,
}

/// A conversation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ArchivedConversation {
    /// Its id.
    pub id: String,
    /// The cell's name.
    pub cell: Option<String>,
    /// Client address.
    pub client: String,
    /// Server address.
    pub server: String,
    /// The transport's name.
    pub transport: String,
    /// The ethertype of a layer-2 conversation.
    pub ethertype: Option<u16>,
    /// The IP protocol's number where the transport has no name.
    pub ip_proto: Option<u8>,
    /// The server's port.
    pub port: Option<u16>,
    /// Protocols proved.
    pub protocols: Vec<String>,
    /// Names of the server.
    pub hosts: Vec<String>,
    /// Flows.
    pub flows: u64,
    /// Packets.
    pub packets: u64,
    /// First packet's time.
    #[serde(deserialize_with = "maybe_time")]
    pub first: Option<Timestamp>,
    /// Last packet's time.
    #[serde(deserialize_with = "maybe_time")]
    pub last: Option<Timestamp>,
    /// Flows by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// The verdict's word.
    pub verdict: String,
    /// The rule that covers or forbids it.
    pub rule: Option<String>,
    /// Why, in plain words.
    pub reason: String,
    /// The packets.
    pub evidence: Vec<ArchivedEvidence>,
}

/// A finding.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ArchivedFinding {
    /// Its id.
    pub id: String,
    /// What kind.
    pub kind: String,
    /// How urgent.
    pub severity: String,
    /// One line.
    pub title: String,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub advice: String,
    /// Whom to ask.
    pub addressee: String,
    /// The grade's letter.
    pub grade: Option<String>,
    /// Requirements concerned.
    pub requirements: Vec<String>,
    /// Conversations concerned.
    pub conversations: Vec<String>,
    /// The packets.
    pub evidence: Vec<ArchivedEvidence>,
}

/// Why a file is no report that can be read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// No JSON at all.
    #[error("not a JSON report: {0}")]
    NotJson(String),
    /// JSON, and something else than a report.
    #[error("JSON, but not a report of spanaudit: it has no \"schema\": \"{SCHEMA}\"")]
    NotAReport,
    /// A report of another version.
    #[error("a report in the schema {found}; this program reads {SCHEMA}")]
    OtherSchema {
        /// What it says.
        found: String,
    },
    /// It says that it is a report, and something in it is not as it should be.
    #[error("a damaged report: {0}")]
    Damaged(String),
}

/// The head of a report.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

/// What all schemas of reports begin with.
const FAMILY: &str = "spanaudit.report/";

impl Archive {
    /// Reads a report back from its JSON.
    pub fn read(json: &[u8]) -> Result<Self, ArchiveError> {
        // The whole is looked at before its parts, so that a wrong file is told apart from a damaged report.
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(json) {
            return Err(ArchiveError::NotJson(error.to_string()));
        }
        match serde_json::from_slice::<Head>(json) {
            Ok(Head { schema }) if schema == SCHEMA => {}
            Ok(Head { schema }) if schema.starts_with(FAMILY) => {
                return Err(ArchiveError::OtherSchema { found: schema });
            }
            _ => return Err(ArchiveError::NotAReport),
        }
        serde_json::from_slice(json).map_err(|error| ArchiveError::Damaged(error.to_string()))
    }
}

fn a_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    time::from_rfc3339(&text).ok_or_else(|| serde::de::Error::custom(format!("'{text}' is no time")))
}

fn maybe_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    match time::from_rfc3339(&text) {
        Some(time) => Ok(Some(time)),
        None => Err(serde::de::Error::custom(format!("'{text}' is no time"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::Style;
    use super::super::json::Json;
    use super::super::samples;
    use super::*;

    fn told(report: &crate::model::Report) -> Vec<u8> {
        let mut out = Vec::new();
        Json.write(report, &Style::default(), &mut out).unwrap();
        out
    }

    #[test]
    fn a_report_is_read_back_as_it_was_written() {
        let report = samples::report();
        let archive = Archive::read(&told(&report)).unwrap();
        assert_eq!(archive.findings.len(), report.findings.len());
        for (read, written) in archive.requirements.iter().zip(&report.requirements) {
            assert_eq!(
                (&read.id, &read.reason, &read.target),
                (&written.id, &written.reason, &written.target)
            );
            assert_eq!(read.verdict, written.verdict.name());
            let times: Vec<_> = read.evidence.iter().map(|piece| (piece.at.packet, piece.at.time)).collect();
            let wanted: Vec<_> =
                written.verdict.evidence().map(|piece| (piece.at.number(), piece.at.time)).collect();
            assert_eq!(times, wanted);
        }
        assert_eq!(archive.vantage.heard.len(), report.vantage.heard.len());
        assert!(Archive::read(&told(&samples::empty_report())).is_ok());
        assert!(Archive::read(&told(&samples::hostile_report())).is_ok());
    }

    #[test]
    fn what_is_no_report_is_told_apart() {
        let check = |text: &str| Archive::read(text.as_bytes()).unwrap_err();
        assert!(matches!(check(""), ArchiveError::NotJson(_)));
        assert!(matches!(check("{\"schema\": "), ArchiveError::NotJson(_)));
        assert_eq!(check("{\"totals\":{}}"), ArchiveError::NotAReport);
        assert_eq!(check("[1]"), ArchiveError::NotAReport);
        assert_eq!(check("{\"schema\":\"other/1\"}"), ArchiveError::NotAReport);
        assert_eq!(
            check("{\"schema\":\"spanaudit.report/2\"}"),
            ArchiveError::OtherSchema { found: "spanaudit.report/2".into() }
        );
        assert!(matches!(check("{\"schema\":\"spanaudit.report/1\"}"), ArchiveError::Damaged(_)));
        // Deep nesting is refused, not followed to the end of the stack.
        assert!(matches!(check(&"[".repeat(100_000)), ArchiveError::NotJson(_)));
    }
}
