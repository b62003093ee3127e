//! A finished audit, as every report format tells it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::{CellId, Evidence, Few, Grade, Host, Input, Mechanism, Outcome, PacketRef, Proofs};
use super::{Tally, Timestamp, Transport, Verdict};

/// What a run concludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Nothing to act on, and what had to be shown was shown.
    Compliant,
    /// Something to act on.
    Findings,
    /// Nothing to act on, but not enough was shown.
    Inconclusive,
}

impl Conclusion {
    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Findings => "findings",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The whole report.
#[derive(Clone, Debug)]
pub struct Report {
    /// The inputs, in the order in which packets refer to them.
    pub inputs: Vec<Input>,
    /// What this mirror can and cannot see.
    pub vantage: Vantage,
    /// Which site and rulesets were held against the traffic.
    pub site: SiteSummary,
    /// The answer.
    pub conclusion: Conclusion,
    /// Why the conclusion is what it is where that is not plain from the findings (inconclusive, provisional).
    pub because: Vec<String>,
    /// Every requirement.
    pub requirements: Vec<Requirement>,
    /// Every conversation. Each is some four hundred bytes, so it stays where it was written and its place is handed on.
    pub conversations: Vec<Box<JudgedConversation>>,
    /// What a person must act on, most urgent first.
    pub findings: Vec<Finding>,
    /// Where every packet went.
    pub tally: Tally,
}

impl Report {
    /// The name of the input that a packet stands in.
    pub fn input_name(&self, at: PacketRef) -> &str {
        usize::try_from(at.input().0)
            .ok()
            .and_then(|index| self.inputs.get(index))
            .map_or("?", |input| &input.name)
    }

    /// How many requirements have each verdict, in the order of [`Verdict::NAMES`].
    pub fn verdict_counts(&self) -> Vec<(&'static str, u64)> {
        let mut counts = Verdict::NAMES.map(|name| (name, 0));
        for requirement in &self.requirements {
            let name = requirement.verdict.name();
            if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == name) {
                *count += 1;
            }
        }
        counts.to_vec()
    }

    /// How many conversations have each verdict, in the order of [`ConversationVerdict::ALL`].
    pub fn conversation_counts(&self) -> Vec<(&'static str, u64)> {
        let mut counts = ConversationVerdict::ALL.map(|verdict| (verdict, 0));
        for told in &self.conversations {
            if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == told.verdict) {
                *count += 1;
            }
        }
        counts.map(|(verdict, count)| (verdict.name(), count)).to_vec()
    }
}

/// What the mirror sees, and how well.
#[derive(Clone, Debug, Default)]
pub struct Vantage {
    /// First packet of all.
    pub first: Option<Timestamp>,
    /// Last packet of all.
    pub last: Option<Timestamp>,
    /// TCP payload bytes that were acknowledged but never captured.
    pub unseen_bytes: u64,
    /// TCP payload bytes that were acknowledged, captured or not.
    pub acknowledged_bytes: u64,
    /// Packets that the capturing machines say they lost.
    pub dropped: Option<u64>,
    /// Pairs of hosts with two-way TCP or UDP unicast traffic due, and those of them heard in one direction only.
    pub pairs: u64,
    /// Pairs heard in one direction only although the other must have spoken.
    pub one_sided_pairs: u64,
    /// Pairs that have shown within the last hour that they are heard in both directions or that one of them is lost.
    pub latest_pairs: u64,
    /// Pairs of which one direction was heard and has not been for five minutes, although what is said in it is acknowledged all the while.
    pub lost_pairs: u64,
    /// Mirror duplicates.
    pub duplicates: u64,
    /// The same by how they differ from the first of their kind.
    pub copies: Copies,
    /// Packets cut by a snap length.
    pub cut_packets: u64,
    /// Encapsulations met (`vlan 20`, `erspan 10.0.0.1 > 10.0.0.2`) with their packets.
    pub encapsulations: BTreeMap<String, u64>,
    /// Addresses that more than one machine seems to use.
    pub overlapping: Vec<String>,
    /// Every unicast host that sent something, and how much.
    pub heard: BTreeMap<(CellId, Host), Heard>,
    /// Whom ICMP errors reached that say "unreachable" and whose quoted packet is cut off, so that it is not known which flow they are about: from
    /// when to when.
    pub unread_errors: BTreeMap<(CellId, IpAddr), Vec<(PacketRef, PacketRef)>>,
    /// What bounds on memory and age cost: what was left out, forgotten or folded together, in words, and how often.
    pub left_out: BTreeMap<&'static str, u64>,
    /// In plain words, what this means for the verdicts.
    pub notes: Vec<String>,
}

impl Vantage {
    /// The share of acknowledged TCP bytes that the mirror missed; `None` says too little traffic to tell.
    pub fn loss(&self) -> Option<f64> {
        /// Below this a single lost segment would make the share meaningless.
        const ENOUGH: u64 = 10_000;
        (self.acknowledged_bytes >= ENOUGH).then(|| self.unseen_bytes as f64 / self.acknowledged_bytes as f64)
    }
}

/// Copies that mirrors delivered, by how they differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// In nothing.
    pub same: u64,
    /// In VLAN tags.
    pub other_vlan: u64,
    /// In the time to live: once before a router and once behind it.
    pub routed: u64,
    /// In MAC addresses or tunnels.
    pub other_way: u64,
}

impl Copies {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.same += other.same;
        self.other_vlan += other.other_vlan;
        self.routed += other.routed;
        self.other_way += other.other_way;
    }
}

/// One host that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Packets it sent.
    pub packets: u64,
    /// The first.
    pub first: PacketRef,
    /// The last.
    pub last: PacketRef,
}

impl Heard {
    /// Takes in what else was heard of it: sums, minima and maxima, whatever the order.
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// Which site was audited, as the reader gave it.
#[derive(Clone, Debug, Default)]
pub struct SiteSummary {
    /// Its name.
    pub name: String,
    /// The site file; `None` where roles were given on the command line or guessed.
    pub file: Option<String>,
    /// The rulesets: id, title, revision.
    pub rulesets: Vec<RulesetSummary>,
    /// Features in force.
    pub features: Vec<String>,
    /// Which role plays where.
    pub roles: Vec<RoleSummary>,
    /// Assumptions made for the reader (mode not given, and the like).
    pub assumptions: Vec<String>,
    /// Whether the roles were guessed: the report is then headed PROVISIONAL.
    pub provisional: bool,
    /// Expired waivers and the like, worth a word.
    pub warnings: Vec<String>,
}

/// One ruleset used.
#[derive(Clone, Debug)]
pub struct RulesetSummary {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The document's revision.
    pub revision: String,
}

/// One role and its bindings, with the packet behind each guess.
#[derive(Clone, Debug)]
pub struct RoleSummary {
    /// The role.
    pub role: String,
    /// What plays it, as text.
    pub endpoints: Vec<String>,
    /// Why it is believed to, where it was guessed.
    pub guessed: Option<Evidence>,
}

/// A rule bound to concrete endpoints: the unit that gets a verdict.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// A short hash of ruleset, rule, source and target: the same over captures of the same site.
    pub id: String,
    /// The ruleset's id.
    pub ruleset: String,
    /// The rule's id.
    pub rule: String,
    /// The row of the vendor's document.
    pub cite: String,
    /// What the flow is for.
    pub purpose: String,
    /// From role.
    pub from: String,
    /// To role.
    pub to: String,
    /// Address or host name, or the role where folded.
    pub source: String,
    /// Address or host name, or the role where folded.
    pub target: String,
    /// `tcp` or `udp`.
    pub transport: String,
    /// `5672`, `1025-65535`.
    pub ports: String,
    /// Protocols that the rule accepts, in its words.
    pub protocol: Vec<String>,
    /// `required` or `optional`.
    pub need: String,
    /// `continuous`, `periodic`, `human`, `rare`.
    pub cadence: String,
    /// The verdict.
    pub verdict: Verdict,
    /// In plain words: why.
    pub reason: String,
    /// Flows that were judged.
    pub flows: u64,
    /// The first of their packets.
    pub first: Option<PacketRef>,
    /// The last of their packets.
    pub last: Option<PacketRef>,
    /// How it changed over the capture.
    pub history: Vec<Phase>,
    /// Ids of the conversations in which it was tried.
    pub conversations: Vec<CompactString>,
}

/// A stretch of time in which a requirement was in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// A verdict's word.
    pub verdict: &'static str,
    /// The mechanism's word, where it failed.
    pub mechanism: Option<&'static str>,
    /// Since this packet.
    pub since: PacketRef,
}

/// What the audit says of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConversationVerdict {
    /// A rule covers it.
    Allowed,
    /// No rule covers it.
    Unexpected,
    /// A rule of the site forbids it.
    Forbidden,
    /// A rule covers its endpoints and port, but not what it is.
    Violating,
    /// Unexpected or forbidden, and somebody answers for it.
    Waived,
    /// Network housekeeping outside any vendor's document.
    Infrastructure,
    /// Touches no component role and is not in the site's scope.
    OutOfScope,
}

impl ConversationVerdict {
    /// All of them, in the order of a report's summary.
    pub const ALL: [Self; 7] = [
        Self::Allowed,
        Self::Unexpected,
        Self::Forbidden,
        Self::Violating,
        Self::Waived,
        Self::Infrastructure,
        Self::OutOfScope,
    ];

    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Unexpected => "unexpected",
            Self::Forbidden => "forbidden",
            Self::Violating => "violating",
            Self::Waived => "waived",
            Self::Infrastructure => "infrastructure",
            Self::OutOfScope => "out-of-scope",
        }
    }
}

/// A conversation with what the audit says of it.
#[derive(Clone, Debug)]
pub struct JudgedConversation {
    /// A short hash of its key. This and the two addresses are short enough to stand in place.
    pub id: CompactString,
    /// The cell's name, where it is not the plant itself.
    pub cell: Option<String>,
    /// Client address.
    pub client: CompactString,
    /// Server address.
    pub server: CompactString,
    /// The transport.
    pub transport: Transport,
    /// The server's port.
    pub port: Option<u16>,
    /// Its protocols, innermost.
    pub protocols: SmallVec<[&'static str; 1]>,
    /// All layers proved.
    pub layers: SmallVec<[&'static str; 2]>,
    /// Names of the server.
    pub hosts: Vec<String>,
    /// Flows folded in.
    pub flows: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// First packet.
    pub first: PacketRef,
    /// Last packet.
    pub last: PacketRef,
    /// Flows by outcome.
    pub outcomes: Few<Outcome, u64>,
    /// The verdict.
    pub verdict: ConversationVerdict,
    /// The rule that covers or forbids it (`ruleset:rule`).
    pub rule: Option<String>,
    /// In plain words: why.
    pub reason: Cow<'static, str>,
    /// The packets to look at.
    pub evidence: Proofs,
}

/// What stands behind a finding about a documented flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause {
    /// How.
    pub mechanism: Mechanism,
    /// How surely.
    pub grade: Grade,
}

/// What kind of thing a finding is.
///
/// Whatever says that a documented flow does not work says by what, and how surely:
///
/// ```
/// use spanaudit::model::{Cause, FindingKind, Grade, Mechanism};
///
/// let kind = FindingKind::Blocked(Cause { mechanism: Mechanism::Dropped, grade: Grade::B });
/// assert_eq!((kind.name(), kind.grade()), ("blocked", Some(Grade::B)));
/// ```
///
/// ```compile_fail,E0308
/// let kind: spanaudit::model::FindingKind = spanaudit::model::FindingKind::Blocked;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// A documented flow is blocked.
    Blocked(Cause),
    /// A documented flow fails.
    Failed(Cause),
    /// A documented flow is not as documented.
    Violated(Cause),
    /// A flow that a rule of the site forbids.
    Forbidden,
    /// A flow that nobody documented.
    Unexpected,
}

impl FindingKind {
    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocked(_) => "blocked",
            Self::Failed(_) => "failed",
            Self::Violated(_) => "violated",
            Self::Forbidden => "forbidden",
            Self::Unexpected => "unexpected",
        }
    }

    /// What stands behind it, where it is about a documented flow.
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::Blocked(cause) | Self::Failed(cause) | Self::Violated(cause) => Some(cause),
            Self::Forbidden | Self::Unexpected => None,
        }
    }

    /// How surely, where it is about a documented flow.
    pub fn grade(self) -> Option<Grade> {
        self.cause().map(|cause| cause.grade)
    }

    /// Its place among the kinds, the gravest first.
    pub fn rank(self) -> u8 {
        match self {
            Self::Blocked(_) => 0,
            Self::Failed(_) => 1,
            Self::Violated(_) => 2,
            Self::Forbidden => 3,
            Self::Unexpected => 4,
        }
    }
}

/// How urgent a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A required flow does not work, or a forbidden one does.
    High,
    /// Works against the document, or nobody documented it.
    Medium,
    /// An optional flow, or an attempt that came to nothing.
    Low,
}

impl Severity {
    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// Something a person must act on; one per cause.
#[derive(Clone, Debug)]
pub struct Finding {
    /// A short hash of kind, rule and endpoints.
    pub id: String,
    /// What kind.
    pub kind: FindingKind,
    /// How urgent.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// What was seen and why it means that.
    pub detail: String,
    /// What to do.
    pub advice: Cow<'static, str>,
    /// Whom to ask.
    pub addressee: super::Addressee,
    /// Ids of the requirements concerned.
    pub requirements: Vec<String>,
    /// Ids of the conversations concerned.
    pub conversations: Vec<CompactString>,
    /// The packets.
    pub evidence: Proofs,
    /// Whether it decides the exit status (optional rows count with `--strict` only).
    pub counts: bool,
}
