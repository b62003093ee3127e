//! An audit as one JSON object, its keys in the order of the contract (`docs/architecture.md`). Schema `spanaudit.report/1`.

mod lines;

use std::io;

use serde::Serialize;

use crate::model::Evidence;
use crate::model::Input;
use crate::model::PacketRef;
use crate::model::Report;
use crate::model::Requirement;
use crate::model::SiteSummary;
use crate::model::Vantage;

use super::Format;
use super::Style;
use super::flows_json::Totals;
use super::json_writer::Map;
use super::json_writer::Page;
use super::time::Moment;

use lines::Files;

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

    fn write(&self, report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
        let counts = report.verdict_counts().into_iter().chain(report.conversation_counts());
        let files = Files::of(report);
        let mut page = Page::new(out, style.workers)?;
        page.member("schema", &SCHEMA)?;
        page.member("tool", &Tool { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") })?;
        page.member("inputs", &report.inputs.iter().map(InputView::of).collect::<Vec<_>>())?;
        vantage(&report.vantage, &files, &mut page)?;
        page.member("site", &SiteView::of(&report.site, report))?;
        page.member("result", &report.conclusion.name())?;
        page.member("because", &report.because)?;
        page.member("summary", &Map(counts.collect()))?;
        page.list("requirements", &report.requirements, |line, told| {
            line.value(&RequirementView::of(told, report));
        })?;
        page.list("conversations", &report.conversations, |line, told| {
            lines::conversation(line, told, &files)
        })?;
        page.list("findings", &report.findings, |line, told| lines::finding(line, told, &files))?;
        page.member("totals", &Totals::of(&report.tally))?;
        page.finish()
    }
}

/// What the mirror sees, member by member.
fn vantage(vantage: &Vantage, files: &Files, page: &mut Page<'_>) -> io::Result<()> {
    let share = vantage.one_sided_pairs as f64 / vantage.pairs as f64;
    page.open("vantage")?;
    page.member("first", &vantage.first.map(Moment))?;
    page.member("last", &vantage.last.map(Moment))?;
    // The share of acknowledged TCP bytes that were never captured; null says too little traffic to tell.
    page.member("loss", &vantage.loss())?;
    page.member("unseen_bytes", &vantage.unseen_bytes)?;
    page.member("acknowledged_bytes", &vantage.acknowledged_bytes)?;
    page.member("dropped", &vantage.dropped)?;
    page.member("pairs", &vantage.pairs)?;
    page.member("one_sided_pairs", &vantage.one_sided_pairs)?;
    page.member("one_sided_share", &(vantage.pairs > 0).then_some(share))?;
    page.member("duplicates", &vantage.duplicates)?;
    page.member("cut_packets", &vantage.cut_packets)?;
    page.member("encapsulations", &vantage.encapsulations)?;
    page.member("overlapping_addresses", &vantage.overlapping)?;
    let heard: Vec<_> = vantage.heard.iter().collect();
    page.list("heard", &heard, |line, (key, heard)| lines::heard(line, key, heard, files))?;
    page.member("notes", &vantage.notes)?;
    page.close()
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
    conversations: Vec<&'a str>,
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
            conversations: told.conversations.iter().map(|id| id.as_str()).collect(),
            evidence: told.verdict.evidence().map(|piece| EvidenceView::of(piece, report)).collect(),
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
