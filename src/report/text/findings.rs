//! What a person must act on, most urgent first, each with the packets that prove it.

use std::collections::BTreeMap;
use std::io;

use crate::model::Finding;
use crate::model::JudgedConversation;
use crate::model::Proofs;
use crate::model::Report;
use crate::model::Requirement;
use crate::model::Severity;
use crate::report::explanation::filter_of;
use crate::report::page::Page;
use crate::report::page::Paint;
use crate::report::prose::count;
use crate::report::prose::list_some;
use crate::report::prose::number;
use crate::report::table::Cell;
use crate::report::table::Column;
use crate::report::table::Table;
use crate::report::time;

use super::addressee;
use super::grade;

/// Where a finding's text stands.
const INDENT: usize = 4;
/// The column of the labels.
const LABELS: usize = 15;
/// More packets, requirements or conversations than this are told only with `--verbose`, and always in the JSON report.
const SHORT: usize = 8;
/// More findings than this nobody acts on at once; the most urgent stand first.
const MOST: usize = 50;

const PACKETS: &[Column] = &[Column::words("", 9), Column::words("", 23), Column::words("", 400)];

/// Writes the findings.
pub fn write(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    if report.findings.is_empty() {
        return Ok(());
    }
    page.heading("WHAT TO ACT ON")?;
    let names = Names::of(report);
    let told = if page.style.verbose {
        &report.findings
    } else {
        report.findings.get(..MOST).unwrap_or(&report.findings)
    };
    for (index, finding) in told.iter().enumerate() {
        if index > 0 {
            page.gap()?;
        }
        one(page, report, &names, index + 1, finding)?;
    }
    match report.findings.len() - told.len() {
        0 => Ok(()),
        rest => page.heading(&format!("And {} (--verbose tells them)", count(rest as u64, "more finding"))),
    }
}

/// Requirements and conversations by their ids.
struct Names<'a> {
    requirements: BTreeMap<&'a str, &'a Requirement>,
    conversations: BTreeMap<&'a str, &'a JudgedConversation>,
}

impl<'a> Names<'a> {
    fn of(report: &'a Report) -> Self {
        Self {
            requirements: report.requirements.iter().map(|told| (told.id.as_str(), told)).collect(),
            conversations: report.conversations.iter().map(|told| (told.id.as_str(), &**told)).collect(),
        }
    }
}

fn one(
    page: &mut Page<'_>,
    report: &Report,
    names: &Names<'_>,
    number: usize,
    finding: &Finding,
) -> io::Result<()> {
    let paint = match finding.severity {
        Severity::High => Paint::Bad,
        Severity::Medium => Paint::Warning,
        Severity::Low => Paint::Bold,
    };
    let weight = if finding.counts { "" } else { ", does not count without --strict" };
    page.hanging(0, &format!("{number:>2}. "), &finding.title, paint)?;
    page.paragraph(INDENT, &finding.detail, Paint::Plain)?;
    page.field(INDENT, "What to do", LABELS, &finding.advice)?;
    // The advice names whom to ask more often than not.
    let whom = addressee(finding.addressee);
    if !finding.advice.contains(whom) {
        page.field(INDENT, "Whom to ask", LABELS, whom)?;
    }
    if let Some(known) = finding.kind.grade() {
        page.field(INDENT, "How sure", LABELS, grade(known))?;
    }
    requirements(page, names, finding)?;
    conversations(page, names, finding)?;
    packets(page, report, &finding.evidence)?;
    page.field(
        INDENT,
        "Finding",
        LABELS,
        &format!("{} ({}, {}{weight})", finding.id, finding.kind.name(), finding.severity.name()),
    )
}

/// The documented rows that the finding is about.
fn requirements(page: &mut Page<'_>, names: &Names<'_>, finding: &Finding) -> io::Result<()> {
    let known: Vec<_> =
        finding.requirements.iter().filter_map(|id| names.requirements.get(id.as_str()).copied()).collect();
    let mut label = "Documented as";
    for told in short(page, &known) {
        let service = format!("{}/{}", told.transport, told.ports);
        let row = format!("{} of {}: {} → {} {service}", told.rule, told.ruleset, told.source, told.target);
        page.field(INDENT, label, LABELS, &row)?;
        label = "";
    }
    more(page, known.len(), "requirement")
}

/// The traffic that the finding is about.
fn conversations(page: &mut Page<'_>, names: &Names<'_>, finding: &Finding) -> io::Result<()> {
    let known: Vec<_> =
        finding.conversations.iter().filter_map(|id| names.conversations.get(id.as_str()).copied()).collect();
    let mut label = "Traffic";
    if known.len() > SHORT && !page.style.verbose {
        let lines = together(&known);
        for line in lines.iter().take(SHORT) {
            page.field(INDENT, label, LABELS, line)?;
            label = "";
        }
        return more(page, lines.len(), "pair of machines");
    }
    for told in known {
        page.field(INDENT, label, LABELS, &conversation(told))?;
        label = "";
    }
    Ok(())
}

/// Many conversations, one line for each pair of machines: `10.1.50.9 → 10.1.1.101, 40 services: tcp/21, 22, 23, 80 and 36 more (40 refused)`.
fn together(known: &[&JudgedConversation]) -> Vec<String> {
    /// Ports of one pair that are told.
    const PORTS: usize = 12;
    let mut pairs: BTreeMap<(&str, &str), Vec<&JudgedConversation>> = BTreeMap::new();
    for &told in known {
        pairs.entry((&told.client, &told.server)).or_default().push(told);
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|(_, talks)| std::cmp::Reverse(talks.len()));
    let line = |((client, server), talks): ((&str, &str), Vec<&JudgedConversation>)| {
        let [only] = talks.as_slice() else {
            let mut ports: BTreeMap<String, Vec<u16>> = BTreeMap::new();
            let mut outcomes = BTreeMap::<&str, u64>::new();
            for told in &talks {
                ports.entry(told.transport.to_string()).or_default().extend(told.port);
                for (outcome, flows) in told.outcomes.iter() {
                    *outcomes.entry(outcome.name()).or_default() += flows;
                }
            }
            let services: Vec<String> = ports
                .into_iter()
                .map(|(transport, mut ports)| {
                    ports.sort_unstable();
                    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                    format!("{transport}/{}", list_some(&ports, PORTS))
                })
                .collect();
            let outcomes: Vec<String> =
                outcomes.iter().map(|(outcome, flows)| format!("{} {outcome}", number(*flows))).collect();
            return format!(
                "{client} → {server}, {}: {} ({})",
                count(talks.len() as u64, "service"),
                services.join("; "),
                outcomes.join(", ")
            );
        };
        conversation(only)
    };
    pairs.into_iter().map(line).collect()
}

/// `10.1.50.9 → 10.1.1.101 tcp/102 s7comm, 3 flows, 120 packets (established 3)`.
pub fn conversation(told: &JudgedConversation) -> String {
    let cell = told.cell.as_ref().map(|name| format!(" @{name}")).unwrap_or_default();
    let port = told.port.map(|port| format!("/{port}")).unwrap_or_default();
    let protocols =
        if told.protocols.is_empty() { "unknown protocol".to_owned() } else { told.protocols.join("+") };
    let hosts =
        if told.hosts.is_empty() { String::new() } else { format!(" ({})", list_some(&told.hosts, 2)) };
    let outcomes: Vec<_> = told
        .outcomes
        .iter()
        .map(|(outcome, &flows)| format!("{} {}", number(flows), outcome.name()))
        .collect();
    format!(
        "{} → {}{hosts}{cell} {}{port} {protocols}, {}, {} ({})",
        told.client,
        told.server,
        told.transport,
        count(told.flows, "flow"),
        count(told.packets, "packet"),
        outcomes.join(", "),
    )
}

/// The packets, file by file, with a display filter that a reader can paste into Wireshark.
fn packets(page: &mut Page<'_>, report: &Report, evidence: &Proofs) -> io::Result<()> {
    let mut files = BTreeMap::<_, Vec<_>>::new();
    for piece in evidence.iter() {
        files.entry(piece.at.input()).or_default().push(piece);
    }
    for pieces in files.values() {
        let Some(first) = pieces.first() else { continue };
        let day = time::date(first.at.time);
        let one_day = pieces.iter().all(|piece| time::date(piece.at.time) == day);
        let days = if one_day { format!("{day}, times in UTC") } else { "times in UTC".to_owned() };
        page.field(INDENT, "Packets", LABELS, &format!("in {}, {days}", report.input_name(first.at)))?;
        let mut table = Table::new(PACKETS, INDENT + LABELS);
        for piece in short(page, pieces) {
            let when =
                if one_day { time::time_of_day(piece.at.time) } else { time::date_and_time(piece.at.time) };
            let mark = Cell::painted(format!("#{}", piece.at.number()), Paint::Bold);
            table.row(vec![mark, Cell::painted(when, Paint::Dim), (&piece.note).into()]);
        }
        table.write(page)?;
        more(page, pieces.len(), "packet")?;
        let input = usize::try_from(first.at.input().0).ok().and_then(|index| report.inputs.get(index));
        let filter = if input.is_some_and(|input| input.format == "live") {
            filter_of(pieces.iter().map(|piece| (piece.at.number(), piece.at.time)).collect(), true)
        } else {
            let mut numbers: Vec<_> = pieces.iter().map(|piece| piece.at.number()).collect();
            numbers.sort_unstable();
            numbers.dedup();
            let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
            format!("frame.number in {{{}}}", numbers.join(", "))
        };
        let label = format!("{:<LABELS$}", "In Wireshark");
        page.line(INDENT, &[(&label, Paint::Dim), (&filter, Paint::Plain)])?;
    }
    Ok(())
}

/// The part of a list that is told at this verbosity.
fn short<'a, T>(page: &Page<'_>, all: &'a [T]) -> &'a [T] {
    if page.style.verbose { all } else { all.get(..SHORT).unwrap_or(all) }
}

fn more(page: &mut Page<'_>, all: usize, noun: &str) -> io::Result<()> {
    match all.saturating_sub(SHORT) {
        0 => Ok(()),
        _ if page.style.verbose => Ok(()),
        rest => page.field(
            INDENT,
            "",
            LABELS,
            &format!("and {} (--verbose tells them)", count(rest as u64, &format!("more {noun}"))),
        ),
    }
}
