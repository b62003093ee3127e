//! Every requirement with its verdict: failures first, what was never tried folded.

use std::collections::BTreeMap;
use std::io;

use crate::model::Report;
use crate::model::Requirement;
use crate::report::page::Page;
use crate::report::page::Paint;
use crate::report::prose::count;
use crate::report::prose::list_some;
use crate::report::prose::number;
use crate::report::table::Cell;
use crate::report::table::Column;
use crate::report::table::Table;
use crate::report::time;

/// How a verdict is told: its word in the model, its mark, its words for people, its colour.
type Told = (&'static str, &'static str, &'static str, Paint);

/// The groups in the order in which they are told: what needs someone to act, what can't be told, what works, what was not tried.
const GROUPS: [Told; 8] = [
    ("blocked", "✗", "blocked", Paint::Bad),
    ("failed", "✗", "failed", Paint::Bad),
    ("violated", "!", "violated", Paint::Warning),
    ("undecided", "?", "undecided", Paint::Warning),
    ("satisfied", "✓", "satisfied", Paint::Good),
    ("unseen", "·", "not tried", Paint::Dim),
    ("not-visible", "·", "outside this mirror", Paint::Dim),
    ("not-applicable", "–", "does not apply", Paint::Dim),
];

/// From so many requirements of one rule and verdict on, only their number is told, unless `--verbose`.
const MANY: usize = 12;
/// From this width on there is room for the protocols that a rule accepts.
const ROOMY: usize = 110;

const NARROW: &[Column] = &[
    Column::words("verdict", 21),
    Column::words("source", 41),
    Column::words("", 1),
    Column::words("target", 41),
    Column::words("service", 17),
    Column::words("rule: why", 400),
];
const WIDE: &[Column] = &[
    Column::words("verdict", 21),
    Column::words("source", 41),
    Column::words("", 1),
    Column::words("target", 41),
    Column::words("service", 17),
    Column::words("documented", 24),
    Column::words("rule: why", 400),
];

/// Writes the matrix.
pub fn write(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    if report.requirements.is_empty() {
        return Ok(());
    }
    page.heading("REQUIREMENTS")?;
    let wide = page.style.width >= ROOMY;
    let mut table = Table::new(if wide { WIDE } else { NARROW }, 2);
    let mut folded = Vec::new();
    for group in GROUPS {
        let rules = by_rule(report.requirements.iter().filter(|told| told.verdict.name() == group.0));
        let mut quiet = Vec::new();
        for told in &rules {
            let Some(first) = told.first() else { continue };
            if !page.style.verbose && !told.iter().any(|told| worth_a_row(told)) {
                quiet.push((first.rule.clone(), told.len() as u64));
            } else if !page.style.verbose && told.len() >= MANY {
                table.row(many(group, told, wide));
            } else {
                told.iter().for_each(|told| table.row(row(group, told, wide)));
            }
        }
        if !quiet.is_empty() {
            folded.push((group, quiet));
        }
    }
    if !table.is_empty() {
        table.write(page)?;
    }
    for ((_, mark, words, paint), rules) in folded {
        let all: u64 = rules.iter().map(|(_, n)| n).sum();
        let words = if all == 1 { words.to_owned() } else { words.replace("does not", "do not") };
        let name = |(rule, n): &(String, u64)| {
            if *n == 1 { rule.clone() } else { format!("{rule} ×{}", number(*n)) }
        };
        let names: Vec<_> = rules.iter().map(name).collect();
        page.hanging(2, &format!("{mark} {} {words}: ", number(all)), &names.join(", "), paint)?;
    }
    if !page.style.verbose && report.requirements.iter().any(|told| !worth_a_row(told)) {
        page.paragraph(2, "(--verbose tells every requirement in a line of its own)", Paint::Dim)?;
    }
    Ok(())
}

/// Requirements of the same rule together, in the order in which their rules first come up.
fn by_rule<'a>(all: impl Iterator<Item = &'a Requirement>) -> Vec<Vec<&'a Requirement>> {
    let mut places = BTreeMap::new();
    let mut rules: Vec<Vec<&Requirement>> = Vec::new();
    for told in all {
        let place = *places.entry((&told.ruleset, &told.rule)).or_insert(rules.len());
        match rules.get_mut(place) {
            Some(rule) => rule.push(told),
            None => rules.push(vec![told]),
        }
    }
    rules
}

/// Silence is worth a row only where the document expects the flow to run by itself, all the time or by the clock.
fn worth_a_row(told: &Requirement) -> bool {
    match told.verdict.name() {
        "unseen" | "not-visible" => {
            told.need == "required" && matches!(told.cadence.as_str(), "continuous" | "periodic")
        }
        "not-applicable" => false,
        _ => true,
    }
}

fn row((_, mark, words, paint): Told, told: &Requirement, wide: bool) -> Vec<Cell> {
    let rare = if told.need == "required" { "" } else { " (optional)" };
    let why = format!("{}{rare}: {}{}", told.rule, told.reason, history(told));
    // In a column of its own the longest of the words would push all others aside.
    let words = words.replace("outside this mirror", "not visible");
    cells(
        Cell::painted(format!("{mark} {words}"), paint),
        [&told.source, &told.target, &format!("{}/{}", told.transport, told.ports)],
        &told.protocol.join(" or "),
        &why,
        wide,
    )
}

/// One row for the many requirements of one rule, as when a sensor profiles a whole subnet.
fn many((_, mark, words, paint): Told, told: &[&Requirement], wide: bool) -> Vec<Cell> {
    let ends = |of: fn(&Requirement) -> &String, noun: &str| {
        let mut names: Vec<_> = told.iter().map(|told| of(told).clone()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > 1 { count(names.len() as u64, noun) } else { names.concat() }
    };
    let (source, target) = (ends(|told| &told.source, "source"), ends(|told| &told.target, "target"));
    let mut services: Vec<_> = told.iter().map(|told| format!("{}/{}", told.transport, told.ports)).collect();
    services.sort_unstable();
    services.dedup();
    let rule = told.first().map(|told| told.rule.as_str()).unwrap_or_default();
    let protocols = told.first().map(|told| told.protocol.join(" or ")).unwrap_or_default();
    let mut reasons: Vec<_> = told.iter().map(|told| told.reason.clone()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let why = format!("{rule}: {} (--verbose tells each)", list_some(&reasons, 2));
    let mark = Cell::painted(format!("{mark} {} {words}", number(told.len() as u64)), paint);
    cells(mark, [&source, &target, &list_some(&services, 2)], &protocols, &why, wide)
}

fn cells(
    verdict: Cell,
    [source, target, service]: [&String; 3],
    protocol: &str,
    why: &str,
    wide: bool,
) -> Vec<Cell> {
    let mut cells = vec![verdict, source.into(), "→".into(), target.into(), service.into()];
    if wide {
        cells.push(protocol.into());
    }
    cells.push(Cell::painted(why, Paint::Plain));
    cells
}

/// How it changed: `; it changed: satisfied from packet 5 at 09:13:03.112, blocked (dropped) from packet 17 at 09:14:03.112`.
fn history(told: &Requirement) -> String {
    let changes = told.history.len().saturating_sub(1);
    if changes == 0 {
        return String::new();
    }
    let phases: Vec<_> = told
        .history
        .iter()
        .map(|phase| {
            let how = phase.mechanism.map(|mechanism| format!(" ({mechanism})")).unwrap_or_default();
            let since = phase.since;
            format!(
                "{}{how} from packet {} at {}",
                phase.verdict,
                since.number(),
                time::time_of_day(since.time)
            )
        })
        .collect();
    // Of what goes to and fro, how often it does says more than each time.
    let latest = phases.len().saturating_sub(TOLD_CHANGES);
    let told = phases.get(latest..).unwrap_or_default().join(", ");
    if changes >= FLAPPING {
        format!("; flapping, {changes} changes, the latest: {told}")
    } else {
        format!("; it changed: {told}")
    }
}

/// From so many changes on it is called flapping.
const FLAPPING: usize = 3;
/// So many of the latest states are told.
const TOLD_CHANGES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Verdict;

    #[test]
    fn every_verdict_has_a_group() {
        let mut groups: Vec<_> = GROUPS.iter().map(|(verdict, ..)| *verdict).collect();
        let mut names = Verdict::NAMES.to_vec();
        groups.sort_unstable();
        names.sort_unstable();
        assert_eq!(groups, names);
    }
}
