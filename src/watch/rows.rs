//! Reports' entries as they lie in the store: JSON, read back into the model. Evidence keeps its packets' numbers and times.

use serde::Deserialize;
use serde::Serialize;

use crate::model::Addressee;
use crate::model::Cause;
use crate::model::ConversationVerdict;
use crate::model::Culprit;
use crate::model::EtherKind;
use crate::model::Evidence;
use crate::model::Failure;
use crate::model::Few;
use crate::model::Finding;
use crate::model::FindingKind;
use crate::model::Grade;
use crate::model::InputId;
use crate::model::JudgedConversation;
use crate::model::Mechanism;
use crate::model::Outcome;
use crate::model::PacketRef;
use crate::model::Phase;
use crate::model::Proofs;
use crate::model::Requirement;
use crate::model::Severity;
use crate::model::Timestamp;
use crate::model::Transport;
use crate::model::Verdict;

/// A packet: time in nanoseconds, and number.
type At = (i64, u64);
/// A packet and what it shows.
type Cited = (i64, u64, String);

fn row(at: PacketRef) -> At {
    (at.time.as_nanos(), at.number())
}

fn cite(evidence: &Evidence) -> Cited {
    (evidence.at.time.as_nanos(), evidence.at.number(), evidence.note.to_string())
}

/// Reads rows back. What a word stands for is asked of those who know it; packets belong to one input that stands for earlier runs.
pub struct Reader<'a> {
    /// The names of all protocols, from which layers and protocols are read.
    pub words: &'a [&'static str],
    /// The input that packets of earlier runs belong to.
    pub input: InputId,
}

impl Reader<'_> {
    fn at(&self, (nanos, number): At) -> PacketRef {
        PacketRef::new(Timestamp::from_nanos(nanos), self.input, number)
    }

    fn evidence(&self, (nanos, number, note): Cited) -> Evidence {
        Evidence { at: self.at((nanos, number)), note: note.into() }
    }

    /// What is cited; `None` where nothing is.
    fn proofs(&self, cited: Vec<Cited>) -> Option<Proofs> {
        let pieces: Vec<Evidence> = cited.into_iter().map(|piece| self.evidence(piece)).collect();
        Proofs::gathered(&pieces, usize::MAX)
    }

    /// Words that this build does not know are left out.
    fn words<W: FromIterator<&'static str>>(&self, words: &[String]) -> W {
        words.iter().filter_map(|word| self.words.iter().find(|known| *known == word).copied()).collect()
    }
}

/// A transport: TCP 0, UDP 1, SCTP 2, ICMP 3, ICMPv6 4, IP 5, ethertype 6, LLC 7, SNAP 8, with its numbers.
type TransportRow = (u8, u32, u32);

fn transport_row(transport: Transport) -> TransportRow {
    match transport {
        Transport::Tcp => (0, 0, 0),
        Transport::Udp => (1, 0, 0),
        Transport::Sctp => (2, 0, 0),
        Transport::Icmp => (3, 0, 0),
        Transport::Icmpv6 => (4, 0, 0),
        Transport::Ip(number) => (5, number.into(), 0),
        Transport::Ethernet(EtherKind::Type(number)) => (6, number.into(), 0),
        Transport::Ethernet(EtherKind::Llc(number)) => (7, number.into(), 0),
        Transport::Ethernet(EtherKind::Snap([a, b, c], number)) => {
            (8, number.into(), u32::from_be_bytes([0, a, b, c]))
        }
    }
}

fn transport((kind, number, organisation): TransportRow) -> Option<Transport> {
    let short = u16::try_from(number).ok()?;
    Some(match kind {
        0 => Transport::Tcp,
        1 => Transport::Udp,
        2 => Transport::Sctp,
        3 => Transport::Icmp,
        4 => Transport::Icmpv6,
        5 => Transport::Ip(u8::try_from(number).ok()?),
        6 => Transport::Ethernet(EtherKind::Type(short)),
        7 => Transport::Ethernet(EtherKind::Llc(u8::try_from(number).ok()?)),
        8 => {
            let [_, a, b, c] = organisation.to_be_bytes();
            Transport::Ethernet(EtherKind::Snap([a, b, c], short))
        }
        _ => return None,
    })
}

/// A conversation.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConversationRow {
    id: String,
    cell: Option<String>,
    client: String,
    server: String,
    transport: TransportRow,
    port: Option<u16>,
    protocols: Vec<String>,
    layers: Vec<String>,
    hosts: Vec<String>,
    flows: u64,
    packets: u64,
    bytes: u64,
    first: At,
    last: At,
    outcomes: Vec<(String, u64)>,
    verdict: String,
    rule: Option<String>,
    reason: String,
    evidence: Vec<Cited>,
}

impl ConversationRow {
    /// The row of a conversation.
    pub fn of(told: &JudgedConversation) -> Self {
        let texts = |words: &[&'static str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            id: told.id.to_string(),
            cell: told.cell.clone(),
            client: told.client.to_string(),
            server: told.server.to_string(),
            transport: transport_row(told.transport),
            port: told.port,
            protocols: texts(&told.protocols),
            layers: texts(&told.layers),
            hosts: told.hosts.clone(),
            flows: told.flows,
            packets: told.packets,
            bytes: told.bytes,
            first: row(told.first),
            last: row(told.last),
            outcomes: told
                .outcomes
                .iter()
                .map(|(outcome, count)| (outcome.name().to_owned(), *count))
                .collect(),
            verdict: told.verdict.name().to_owned(),
            rule: told.rule.clone(),
            reason: told.reason.to_string(),
            evidence: told.evidence.iter().map(cite).collect(),
        }
    }

    /// The conversation again; `None` where this build knows a word no more.
    pub fn read(self, reader: &Reader<'_>) -> Option<JudgedConversation> {
        let outcomes: Few<Outcome, u64> = self
            .outcomes
            .iter()
            .filter_map(|(word, count)| {
                Some((Outcome::ALL.into_iter().find(|known| known.name() == word)?, *count))
            })
            .collect();
        Some(JudgedConversation {
            cell: self.cell,
            client: self.client.into(),
            server: self.server.into(),
            transport: transport(self.transport)?,
            port: self.port,
            protocols: reader.words(&self.protocols),
            layers: reader.words(&self.layers),
            hosts: self.hosts,
            flows: self.flows,
            packets: self.packets,
            bytes: self.bytes,
            first: reader.at(self.first),
            last: reader.at(self.last),
            outcomes,
            verdict: ConversationVerdict::ALL.into_iter().find(|known| known.name() == self.verdict)?,
            rule: self.rule,
            reason: self.reason.into(),
            evidence: reader.proofs(self.evidence)?,
            id: self.id.into(),
        })
    }
}

/// A requirement that was decided.
#[derive(Debug, Serialize, Deserialize)]
pub struct RequirementRow {
    id: String,
    ruleset: String,
    rule: String,
    cite: String,
    purpose: String,
    from: String,
    to: String,
    source: String,
    target: String,
    transport: String,
    ports: String,
    protocol: Vec<String>,
    need: String,
    cadence: String,
    verdict: String,
    mechanism: Option<String>,
    grade: Option<String>,
    by: Option<(String, String)>,
    reason: String,
    flows: u64,
    first: Option<At>,
    last: Option<At>,
    history: Vec<PhaseRow>,
    conversations: Vec<String>,
    evidence: Vec<Cited>,
}

/// A verdict's word, a mechanism's, and since when.
type PhaseRow = (String, Option<String>, At);

fn phase((verdict, mechanism, since): PhaseRow, reader: &Reader<'_>) -> Option<Phase> {
    let mechanism = match mechanism {
        Some(word) => Some(Mechanism::ALL.iter().map(|known| known.name()).find(|known| *known == word)?),
        None => None,
    };
    let verdict = Verdict::NAMES.into_iter().find(|known| *known == verdict)?;
    Some(Phase { verdict, mechanism, since: reader.at(since) })
}

/// The words for kinds of culprits (`model::Culprit`).
const CULPRITS: [&str; 5] = ["firewall", "host", "server", "dns", "proxy"];

impl RequirementRow {
    /// The row of a requirement; `None` where its verdict says nothing that has to outlive a run.
    pub fn of(told: &Requirement) -> Option<Self> {
        let failure = told.verdict.failure();
        if failure.is_none() && !matches!(told.verdict, Verdict::Satisfied(_)) {
            return None;
        }
        Some(Self {
            id: told.id.clone(),
            ruleset: told.ruleset.clone(),
            rule: told.rule.clone(),
            cite: told.cite.clone(),
            purpose: told.purpose.clone(),
            from: told.from.clone(),
            to: told.to.clone(),
            source: told.source.clone(),
            target: told.target.clone(),
            transport: told.transport.clone(),
            ports: told.ports.clone(),
            protocol: told.protocol.clone(),
            need: told.need.clone(),
            cadence: told.cadence.clone(),
            verdict: told.verdict.name().to_owned(),
            mechanism: failure.map(|failure| failure.mechanism.name().to_owned()),
            grade: failure.map(|failure| failure.grade.name().to_owned()),
            by: failure
                .and_then(|failure| failure.by.as_ref())
                .map(|by| (by.who.clone(), by.kind.to_owned())),
            reason: told.reason.to_string(),
            flows: told.flows,
            first: told.first.map(row),
            last: told.last.map(row),
            history: told
                .history
                .iter()
                .map(|phase| {
                    let mechanism = phase.mechanism.map(str::to_owned);
                    (phase.verdict.to_owned(), mechanism, row(phase.since))
                })
                .collect(),
            conversations: told.conversations.iter().map(ToString::to_string).collect(),
            evidence: told.verdict.evidence().map(cite).collect(),
        })
    }

    /// The requirement again.
    pub fn read(self, reader: &Reader<'_>) -> Option<Requirement> {
        let proofs = reader.proofs(self.evidence)?;
        let verdict = if self.verdict == "satisfied" {
            Verdict::Satisfied(proofs)
        } else {
            let failure = Failure {
                mechanism: mechanism(self.mechanism.as_deref())?,
                grade: grade(self.grade.as_deref())?,
                by: self.by.and_then(|(who, kind)| {
                    Some(Culprit { who, kind: CULPRITS.into_iter().find(|known| *known == kind)? })
                }),
                evidence: proofs,
            };
            match self.verdict.as_str() {
                "blocked" => Verdict::Blocked(failure),
                "failed" => Verdict::Failed(failure),
                "violated" => Verdict::Violated(failure),
                _ => return None,
            }
        };
        Some(Requirement {
            id: self.id,
            ruleset: self.ruleset,
            rule: self.rule,
            cite: self.cite,
            purpose: self.purpose,
            from: self.from,
            to: self.to,
            source: self.source,
            target: self.target,
            transport: self.transport,
            ports: self.ports,
            protocol: self.protocol,
            need: self.need,
            cadence: self.cadence,
            verdict,
            reason: self.reason,
            flows: self.flows,
            first: self.first.map(|at| reader.at(at)),
            last: self.last.map(|at| reader.at(at)),
            history: self.history.into_iter().filter_map(|told| phase(told, reader)).collect(),
            conversations: self.conversations.into_iter().map(Into::into).collect(),
        })
    }
}

fn mechanism(word: Option<&str>) -> Option<Mechanism> {
    Mechanism::ALL.iter().copied().find(|known| Some(known.name()) == word)
}

fn grade(letter: Option<&str>) -> Option<Grade> {
    [Grade::A, Grade::B, Grade::C].into_iter().find(|known| Some(known.name()) == letter)
}

/// A finding.
#[derive(Debug, Serialize, Deserialize)]
pub struct FindingRow {
    id: String,
    kind: String,
    severity: String,
    title: String,
    detail: String,
    advice: String,
    addressee: String,
    #[serde(default)]
    mechanism: Option<String>,
    grade: Option<String>,
    requirements: Vec<String>,
    conversations: Vec<String>,
    evidence: Vec<Cited>,
    counts: bool,
}

impl FindingRow {
    /// The row of a finding.
    pub fn of(told: &Finding) -> Self {
        Self {
            id: told.id.clone(),
            kind: told.kind.name().to_owned(),
            severity: told.severity.name().to_owned(),
            title: told.title.clone(),
            detail: told.detail.clone(),
            advice: told.advice.to_string(),
            addressee: told.addressee.name().to_owned(),
            mechanism: told.kind.cause().map(|cause| cause.mechanism.name().to_owned()),
            grade: told.kind.grade().map(|grade| grade.name().to_owned()),
            requirements: told.requirements.clone(),
            conversations: told.conversations.iter().map(ToString::to_string).collect(),
            evidence: told.evidence.iter().map(cite).collect(),
            counts: told.counts,
        }
    }

    /// The finding again.
    pub fn read(self, reader: &Reader<'_>) -> Option<Finding> {
        use FindingKind as Kind;
        let cause = || {
            let (mechanism, grade) = (mechanism(self.mechanism.as_deref())?, grade(self.grade.as_deref())?);
            Some(Cause { mechanism, grade })
        };
        let kind = match self.kind.as_str() {
            "blocked" => Kind::Blocked(cause()?),
            "failed" => Kind::Failed(cause()?),
            "violated" => Kind::Violated(cause()?),
            word => [Kind::Forbidden, Kind::Unexpected].into_iter().find(|known| known.name() == word)?,
        };
        let severities = [Severity::High, Severity::Medium, Severity::Low];
        let addressees = Mechanism::ALL
            .iter()
            .map(|mechanism| mechanism.addressee())
            .chain([Addressee::Mirror, Addressee::Site]);
        Some(Finding {
            kind,
            severity: severities.into_iter().find(|known| known.name() == self.severity)?,
            addressee: { addressees }.find(|known| known.name() == self.addressee)?,
            id: self.id,
            title: self.title,
            detail: self.detail,
            advice: self.advice.into(),
            requirements: self.requirements,
            conversations: self.conversations.into_iter().map(Into::into).collect(),
            evidence: reader.proofs(self.evidence)?,
            counts: self.counts,
        })
    }
}
