//! The answer, and how much of it was shown.

use std::io;

use crate::model::Conclusion;
use crate::model::FindingKind;
use crate::model::Report;
use crate::model::capitalized;
use crate::report::page::Page;
use crate::report::page::Paint;
use crate::report::prose::count;
use crate::report::prose::list;
use crate::report::prose::list_some;
use crate::report::prose::number;
use crate::report::time;

/// Writes the head of the report.
pub fn write(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let paint = match report.conclusion {
        Conclusion::Compliant => Paint::Good,
        Conclusion::Findings => Paint::Bad,
        Conclusion::Inconclusive => Paint::Warning,
    };
    if report.site.provisional {
        let warning = match report.site.roles.is_empty() {
            true => {
                "PROVISIONAL: no site file was given, and no machine shows itself as a part of a documented product."
            }
            false => {
                "PROVISIONAL: the roles below were guessed from the traffic. Check them before you act on this."
            }
        };
        page.paragraph(0, warning, Paint::Warning)?;
    }
    page.paragraph(0, &answer(report), paint)?;
    page.paragraph(0, &shown(report), Paint::Bold)?;
    for reason in &report.because {
        page.hanging(2, "because ", reason, Paint::Plain)?;
    }
    page.paragraph(0, &subject(report), Paint::Dim)
}

/// The answer in one sentence: what is blocked, and what nobody documented.
fn answer(report: &Report) -> String {
    let troubles = troubles(report);
    match report.conclusion {
        Conclusion::Findings if troubles.is_empty() => "FINDINGS: see below.".into(),
        Conclusion::Findings => format!("FINDINGS: {troubles}."),
        Conclusion::Compliant if troubles.is_empty() => {
            "COMPLIANT: no documented flow is blocked, and nothing undocumented was seen.".into()
        }
        Conclusion::Compliant => format!("COMPLIANT in all that must work; but {troubles}."),
        Conclusion::Inconclusive if troubles.is_empty() => {
            "INCONCLUSIVE: nothing wrong was seen, but too little was shown to say that all is well.".into()
        }
        Conclusion::Inconclusive => {
            format!("INCONCLUSIVE: {troubles}; and too little was shown for a verdict on the whole.")
        }
    }
}

/// `2 documented flows are blocked, 1 is not as documented; 3 conversations nobody documented`.
fn troubles(report: &Report) -> String {
    let verdicts = [
        ("blocked", "is blocked", "are blocked"),
        ("failed", "does not work", "do not work"),
        ("violated", "is not as documented", "are not as documented"),
    ];
    let mut documented = Vec::new();
    for (verdict, one, many) in verdicts {
        let n = verdict_count(report, verdict);
        if n > 0 {
            let who = if documented.is_empty() { count(n, "documented flow") } else { number(n) };
            documented.push(format!("{who} {}", if n == 1 { one } else { many }));
        }
    }
    let kinds = [
        (FindingKind::Forbidden, "forbidden", "that the site forbids"),
        (FindingKind::Unexpected, "unexpected", "that nobody documented"),
    ];
    let others: Vec<_> = kinds
        .into_iter()
        .filter_map(|(kind, verdict, what)| {
            let findings = report.findings.iter().filter(|finding| finding.kind == kind).count() as u64;
            let conversations = report
                .conversation_counts()
                .into_iter()
                .find(|(name, _)| *name == verdict)
                .map_or(0, |(_, n)| n);
            match (conversations, findings) {
                (0, 0) => None,
                (0, n) => Some(format!("{} {what}", count(n, "flow"))),
                // A sweep is one thing to act on, however many conversations it makes.
                (n, f) if f > 0 && f < n => {
                    Some(format!("{} {what} ({})", count(n, "flow"), count(f, "finding")))
                }
                (n, _) => Some(format!("{} {what}", count(n, "flow"))),
            }
        })
        .collect();
    [list(&documented), list(&others)]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

/// `2 of 26 requirements demonstrated, 24 not tried, none blocked`.
fn shown(report: &Report) -> String {
    let of = |verdict| verdict_count(report, verdict);
    let inapplicable = of("not-applicable");
    let all = (report.requirements.len() as u64).saturating_sub(inapplicable);
    if all == 0 {
        return "No requirement was held against this traffic.".into();
    }
    let mut told = vec![format!("{} of {} demonstrated", number(of("satisfied")), count(all, "requirement"))];
    let rest = [
        ("unseen", "not tried"),
        ("undecided", "undecided"),
        ("not-visible", "outside this mirror"),
        ("violated", "not as documented"),
        ("failed", "failed"),
    ];
    told.extend(
        rest.iter()
            .filter(|(verdict, _)| of(verdict) > 0)
            .map(|(verdict, words)| format!("{} {words}", number(of(verdict)))),
    );
    told.push(match of("blocked") {
        0 => "none blocked".to_owned(),
        n => format!("{} blocked", number(n)),
    });
    let mut sentence = told.join(", ");
    if inapplicable > 0 {
        sentence.push_str(&format!(
            " ({} more {} not apply here)",
            number(inapplicable),
            if inapplicable == 1 { "does" } else { "do" }
        ));
    }
    capitalized(&sentence) + "."
}

/// What was held against what.
fn subject(report: &Report) -> String {
    let site = match report.site.name.as_str() {
        "" => "This traffic".to_owned(),
        name => name.to_owned(),
    };
    let rulesets: Vec<_> = report.site.rulesets.iter().map(|set| set.id.clone()).collect();
    let against =
        if rulesets.is_empty() { String::new() } else { format!(" against {}", list_some(&rulesets, 4)) };
    let packets = count(report.tally.packets, "packet");
    let names: Vec<_> = report.inputs.iter().map(|input| input.name.clone()).collect();
    let from = if names.is_empty() { String::new() } else { format!(" of {}", list_some(&names, 3)) };
    let when = match (report.vantage.first, report.vantage.last) {
        (Some(first), Some(last)) => {
            format!(", {} from {} UTC on", time::span(last.since(first)), time::date_and_time(first))
        }
        _ => String::new(),
    };
    format!("{site}{against}: {packets}{from}{when}.")
}

fn verdict_count(report: &Report, verdict: &str) -> u64 {
    report.requirements.iter().filter(|requirement| requirement.verdict.name() == verdict).count() as u64
}
