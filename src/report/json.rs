//! An audit as one JSON object, its keys in the order of the contract (`docs/architecture.md`). Schema `spanaudit.report/1`.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::model::Evidence;
use crate::model::Finding;
use crate::model::Input;
use crate::model::JudgedConversation;
use crate::model::PacketRef;
use crate::model::Report;
use crate::model::Requirement;
use crate::model::SiteSummary;
use crate::model::Vantage;

use super::Format;
use super::Style;
use super::flows_json::Totals;
use super::json_writer::Each;
use super::json_writer::Map;
use super::json_writer::write_page;
use super::time::Moment;

/// One JSON object.
pub struct Json;

/// The name and version of the report's shape. The number grows when a reader of the older shape would go wrong.
pub const SCHEMA: &str = "spanaudit.report/1";

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn about(&self) -> &'static str {
        "one JSON object with everything, for programs and for the archive"
    }

    fn write(&self, report: &Report, _: &Style, out: &mut dyn io::Write) -> io::Result<()> {
        let counts = report.verdict_counts().into_iter().chain(report.conversation_counts());
        let whole = Whole {
            schema: SCHEMA,
            tool: Tool { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
            inputs: report.inputs.iter().map(InputView::of).collect(),
            vantage: VantageView::of(&report.vantage, report),
            site: SiteView::of(&report.site, report),
            result: report.conclusion.name(),
            because: &report.because,
            summary: Map(counts.collect()),
            requirements: Each {
                items: &report.requirements,
                view: &|told| RequirementView::of(told, report),
            },
            conversations: Each {
                items: &report.conversations,
                view: &|told| ConversationView::of(told, report),
            },
            findings: Each { items: &report.findings, view: &|told| FindingView::of(told, report) },
            totals: Totals::of(&report.tally),
        };
        write_page(&whole, out)
    }
}

#[derive(Serialize)]
struct Whole<'a> {
    schema: &'static str,
    tool: Tool,
    inputs: Vec<InputView<'a>>,
    vantage: VantageView<'a>,
    site: SiteView<'a>,
    result: &'static str,
    because: &'a [String],
    summary: Map<&'static str, u64>,
    requirements: Each<'a, Requirement, RequirementView<'a>>,
    conversations: Each<'a, JudgedConversation, ConversationView<'a>>,
    findings: Each<'a, Finding, FindingView<'a>>,
    totals: Totals,
}

#[derive(Serialize)]
struct Tool {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct InputView<'a> {
    file: &'a str,
    packets: u64,
    first: Option<Moment>,
    last: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vantage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    format: &'a str,
    bytes: u64,
    /// Packets, counted in `packets`, that a filter left out.
    filtered: u64,
    cut_packets: u64,
    dropped: Option<u64>,
    time_reversals: u64,
    stopped: Option<StopView<'a>>,
}

#[derive(Serialize)]
struct StopView<'a> {
    after_packet: Option<u64>,
    why: &'a str,
}

impl<'a> InputView<'a> {
    fn of(input: &'a Input) -> Self {
        Self {
            file: &input.name,
            packets: input.packets,
            first: input.first.map(Moment),
            last: input.last.map(Moment),
            vantage: input.vantage.as_deref(),
            sha256: input.sha256.as_deref(),
            format: &input.format,
            bytes: input.bytes,
            filtered: input.filtered,
            cut_packets: input.cut_packets,
            dropped: input.dropped,
            time_reversals: input.time_reversals,
            stopped: input
                .stopped
                .as_ref()
                .map(|stop| StopView { after_packet: stop.after.map(|at| at.number()), why: &stop.why }),
        }
    }
}

#[derive(Serialize)]
struct VantageView<'a> {
    first: Option<Moment>,
    last: Option<Moment>,
    /// The share of acknowledged TCP bytes that were never captured; null says too little traffic to tell.
    loss: Option<f64>,
    unseen_bytes: u64,
    acknowledged_bytes: u64,
    dropped: Option<u64>,
    pairs: u64,
    one_sided_pairs: u64,
    one_sided_share: Option<f64>,
    duplicates: u64,
    cut_packets: u64,
    encapsulations: &'a BTreeMap<String, u64>,
    overlapping_addresses: &'a [String],
    heard: Vec<HeardView<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct HeardView<'a> {
    /// The cell's number in the order of the site file, null for the plant itself.
    cell: Option<u16>,
    host: String,
    packets: u64,
    first: At<'a>,
    last: At<'a>,
}

impl<'a> VantageView<'a> {
    fn of(vantage: &'a Vantage, report: &'a Report) -> Self {
        let heard = vantage.heard.iter().map(|((cell, host), heard)| HeardView {
            cell: (cell.0 != 0).then_some(cell.0),
            host: host.to_string(),
            packets: heard.packets,
            first: At::of(heard.first, report),
            last: At::of(heard.last, report),
        });
        Self {
            first: vantage.first.map(Moment),
            last: vantage.last.map(Moment),
            loss: vantage.loss(),
            unseen_bytes: vantage.unseen_bytes,
            acknowledged_bytes: vantage.acknowledged_bytes,
            dropped: vantage.dropped,
            pairs: vantage.pairs,
            one_sided_pairs: vantage.one_sided_pairs,
            one_sided_share: (vantage.pairs > 0)
                .then(|| vantage.one_sided_pairs as f64 / vantage.pairs as f64),
            duplicates: vantage.duplicates,
            cut_packets: vantage.cut_packets,
            encapsulations: &vantage.encapsulations,
            overlapping_addresses: &vantage.overlapping,
            heard: heard.collect(),
            notes: &vantage.notes,
        }
    }
}

#[derive(Serialize)]
struct SiteView<'a> {
    name: &'a str,
    file: Option<&'a str>,
    rulesets: Vec<RulesetView<'a>>,
    features: &'a [String],
    roles: Vec<RoleView<'a>>,
    assumptions: &'a [String],
    provisional: bool,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct RulesetView<'a> {
    id: &'a str,
    title: &'a str,
    revision: &'a str,
}

#[derive(Serialize)]
struct RoleView<'a> {
    role: &'a str,
    endpoints: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    guessed: Option<EvidenceView<'a>>,
}

impl<'a> SiteView<'a> {
    fn of(site: &'a SiteSummary, report: &'a Report) -> Self {
        let rulesets = site.rulesets.iter();
        let roles = site.roles.iter();
        Self {
            name: &site.name,
            file: site.file.as_deref(),
            rulesets: rulesets
                .map(|set| RulesetView { id: &set.id, title: &set.title, revision: &set.revision })
                .collect(),
            features: &site.features,
            roles: roles
                .map(|told| RoleView {
                    role: &told.role,
                    endpoints: &told.endpoints,
                    guessed: told.guessed.as_ref().map(|why| EvidenceView::of(why, report)),
                })
                .collect(),
            assumptions: &site.assumptions,
            provisional: site.provisional,
            warnings: &site.warnings,
        }
    }
}

#[derive(Serialize)]
struct RequirementView<'a> {
    id: &'a str,
    ruleset: &'a str,
    rule: &'a str,
    cite: &'a str,
    purpose: &'a str,
    from: &'a str,
    to: &'a str,
    source: &'a str,
    target: &'a str,
    transport: &'a str,
    ports: &'a str,
    protocol: &'a [String],
    need: &'a str,
    cadence: &'a str,
    verdict: &'static str,
    mechanism: Option<&'static str>,
    by: Option<ByView<'a>>,
    grade: Option<&'static str>,
    addressee: Option<&'static str>,
    reason: &'a str,
    flows: u64,
    first: Option<Moment>,
    last: Option<Moment>,
    history: Vec<PhaseView<'a>>,
    conversations: &'a [String],
    evidence: Vec<EvidenceView<'a>>,
}

#[derive(Serialize)]
struct ByView<'a> {
    who: &'a str,
    kind: &'static str,
}

#[derive(Serialize)]
struct PhaseView<'a> {
    verdict: &'static str,
    mechanism: Option<&'static str>,
    since: At<'a>,
}

impl<'a> RequirementView<'a> {
    fn of(told: &'a Requirement, report: &'a Report) -> Self {
        let failure = told.verdict.failure();
        Self {
            id: &told.id,
            ruleset: &told.ruleset,
            rule: &told.rule,
            cite: &told.cite,
            purpose: &told.purpose,
            from: &told.from,
            to: &told.to,
            source: &told.source,
            target: &told.target,
            transport: &told.transport,
            ports: &told.ports,
            protocol: &told.protocol,
            need: &told.need,
            cadence: &told.cadence,
            verdict: told.verdict.name(),
            mechanism: failure.map(|failure| failure.mechanism.name()),
            by: failure
                .and_then(|failure| failure.by.as_ref())
                .map(|by| ByView { who: &by.who, kind: by.kind }),
            grade: failure.map(|failure| failure.grade.name()),
            addressee: failure.map(|failure| failure.addressee().name()),
            reason: &told.reason,
            flows: told.flows,
            first: told.first.map(|at| Moment(at.time)),
            last: told.last.map(|at| Moment(at.time)),
            history: told
                .history
                .iter()
                .map(|phase| PhaseView {
                    verdict: phase.verdict,
                    mechanism: phase.mechanism,
                    since: At::of(phase.since, report),
                })
                .collect(),
            conversations: &told.conversations,
            evidence: told.verdict.evidence().map(|piece| EvidenceView::of(piece, report)).collect(),
        }
    }
}

#[derive(Serialize)]
struct ConversationView<'a> {
    id: &'a str,
    cell: Option<&'a str>,
    client: &'a str,
    server: &'a str,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ethertype: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_proto: Option<u8>,
    port: Option<u16>,
    protocol: Option<&'static str>,
    protocols: &'a [&'static str],
    layers: &'a [&'static str],
    hosts: &'a [String],
    flows: u64,
    packets: u64,
    bytes: u64,
    first: Moment,
    last: Moment,
    outcomes: Map<&'static str, u64>,
    verdict: &'static str,
    rule: Option<&'a str>,
    reason: &'a str,
    evidence: Vec<EvidenceView<'a>>,
}

impl<'a> ConversationView<'a> {
    fn of(told: &'a JudgedConversation, report: &'a Report) -> Self {
        use crate::model::Transport;
        Self {
            id: &told.id,
            cell: told.cell.as_deref(),
            client: &told.client,
            server: &told.server,
            transport: told.transport.name(),
            ethertype: match told.transport {
                Transport::Ethernet(kind) => Some(kind.number()),
                _ => None,
            },
            ip_proto: match told.transport {
                Transport::Ip(number) => Some(number),
                _ => None,
            },
            port: told.port,
            protocol: told.protocols.first().copied(),
            protocols: &told.protocols,
            layers: &told.layers,
            hosts: &told.hosts,
            flows: told.flows,
            packets: told.packets,
            bytes: told.bytes,
            first: Moment(told.first.time),
            last: Moment(told.last.time),
            outcomes: Map(told.outcomes.iter().map(|(outcome, flows)| (outcome.name(), flows)).collect()),
            verdict: told.verdict.name(),
            rule: told.rule.as_deref(),
            reason: &told.reason,
            evidence: told.evidence.iter().map(|piece| EvidenceView::of(piece, report)).collect(),
        }
    }
}

#[derive(Serialize)]
struct FindingView<'a> {
    id: &'a str,
    kind: &'static str,
    severity: &'static str,
    title: &'a str,
    detail: &'a str,
    advice: &'a str,
    addressee: &'static str,
    grade: Option<&'static str>,
    counts: bool,
    requirements: &'a [String],
    conversations: &'a [String],
    evidence: Vec<EvidenceView<'a>>,
}

impl<'a> FindingView<'a> {
    fn of(told: &'a Finding, report: &'a Report) -> Self {
        Self {
            id: &told.id,
            kind: told.kind.name(),
            severity: told.severity.name(),
            title: &told.title,
            detail: &told.detail,
            advice: &told.advice,
            addressee: told.addressee.name(),
            grade: told.kind.grade().map(|grade| grade.name()),
            counts: told.counts,
            requirements: &told.requirements,
            conversations: &told.conversations,
            evidence: told.evidence.iter().map(|piece| EvidenceView::of(piece, report)).collect(),
        }
    }
}

#[derive(Serialize)]
struct EvidenceView<'a> {
    file: &'a str,
    packet: u64,
    time: Moment,
    note: &'a str,
}

impl<'a> EvidenceView<'a> {
    fn of(piece: &'a Evidence, report: &'a Report) -> Self {
        let At { file, packet, time } = At::of(piece.at, report);
        Self { file, packet, time, note: &piece.note }
    }
}

/// One packet, as Wireshark finds it.
#[derive(Serialize)]
struct At<'a> {
    file: &'a str,
    packet: u64,
    time: Moment,
}

impl<'a> At<'a> {
    fn of(at: PacketRef, report: &'a Report) -> Self {
        Self { file: report.input_name(at), packet: at.number(), time: Moment(at.time) }
    }
}

#[cfg(test)]
mod tests;
