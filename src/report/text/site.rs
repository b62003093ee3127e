//! The rest of the page: all conversations in numbers, the site that was audited, and what to do next.

use std::collections::BTreeSet;
use std::io;

use crate::model::Conclusion;
use crate::model::ConversationVerdict;
use crate::model::Report;
use crate::report::escape::toml_string;
use crate::report::page::Page;
use crate::report::page::Paint;
use crate::report::prose::count;
use crate::report::prose::list_some;

use super::findings::conversation;

const INDENT: usize = 2;
/// The column of the labels.
const LABELS: usize = 16;
/// More endpoints of one role than this are told by their number.
const MOST_ENDPOINTS: usize = 8;

/// Writes what the audit says of the conversations, in numbers; each of them with `--verbose`.
pub fn conversations(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    if report.conversations.is_empty() {
        return Ok(());
    }
    page.heading("CONVERSATIONS")?;
    for verdict in ConversationVerdict::ALL {
        let all = || report.conversations.iter().filter(|told| told.verdict == verdict);
        let (n, packets) = all().fold((0, 0), |(n, packets), told| (n + 1, packets + told.packets));
        if n == 0 {
            continue;
        }
        let words =
            format!("{}, {}: {}", count(n, "conversation"), count(packets, "packet"), meaning(verdict));
        page.field(INDENT, verdict.name(), LABELS, &words)?;
        // Someone answers for what is waived, so the reader is always told who and why.
        if page.style.verbose || verdict == ConversationVerdict::Waived {
            for told in all() {
                let rule = told.rule.as_ref().map(|rule| format!(" [{rule}]")).unwrap_or_default();
                page.hanging(
                    INDENT + LABELS,
                    "",
                    &format!("{}{rule}: {}", conversation(told), told.reason),
                    Paint::Plain,
                )?;
            }
        }
    }
    Ok(())
}

fn meaning(verdict: ConversationVerdict) -> &'static str {
    match verdict {
        ConversationVerdict::Allowed => "a rule covers them",
        ConversationVerdict::Unexpected => "no rule covers them",
        ConversationVerdict::Forbidden => "a rule of the site forbids them",
        ConversationVerdict::Violating => "a rule covers their ends and port, but not what they are",
        ConversationVerdict::Waived => "not documented, but somebody answers for them",
        ConversationVerdict::Infrastructure => "network housekeeping, outside any vendor's document",
        ConversationVerdict::OutOfScope => {
            "between machines that the documents say nothing about: counted, not judged"
        }
    }
}

/// Writes which site was audited, and what was assumed.
pub fn write(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let site = &report.site;
    page.heading("THE SITE AS IT WAS GIVEN")?;
    let mut field = |label: &str, text: &str| page.field(INDENT, label, LABELS, text);
    match (&site.file, site.provisional) {
        (Some(file), _) => field("Site file", &format!("{file} ({})", site.name))?,
        (None, true) => field("Site file", "none: the roles were guessed from payloads, names and ports")?,
        (None, false) => field("Site file", "none: the roles were given on the command line")?,
    }
    for set in &site.rulesets {
        let revision =
            if set.revision.is_empty() { String::new() } else { format!(", revision {}", set.revision) };
        field("Ruleset", &format!("{}: {}{revision}", set.id, set.title))?;
    }
    field(
        "Features on",
        &if site.features.is_empty() { "none".to_owned() } else { site.features.join(", ") },
    )?;
    for role in &site.roles {
        let endpoints = if role.endpoints.is_empty() {
            "nobody".to_owned()
        } else {
            list_some(&role.endpoints, MOST_ENDPOINTS)
        };
        let guess = match &role.guessed {
            Some(why) => format!(
                " (a guess by packet #{} of {}: {})",
                why.at.number(),
                report.input_name(why.at),
                why.note
            ),
            None => String::new(),
        };
        field("Role", &format!("{} = {endpoints}{guess}", role.role))?;
    }
    for assumption in &site.assumptions {
        field("Assumed", assumption)?;
    }
    for warning in &site.warnings {
        page.field(INDENT, "Warning", LABELS, warning)?;
    }
    Ok(())
}

/// Writes the next step: without a site file, the site file that would stand for what was assumed, ready to be corrected.
pub fn next(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    page.heading("NEXT")?;
    if report.site.file.is_none() && report.site.rulesets.is_empty() {
        // A site file names a document at least: what could not be guessed is left to who knows the plant.
        let words = "No machine here shows itself as a part of a documented product. If one of them is, say which: audit again with --ruleset ID \
            --role ROLE=ADDRESS (spanaudit rules list tells the documents, spanaudit rules show ID their roles), or record for longer.";
        return page.paragraph(INDENT, words, Paint::Plain);
    }
    if report.site.file.is_none() {
        let name = "site.toml";
        let words = format!(
            "To write a site file: save the lines below as {name}, put right what is wrong, and audit again with --site {name}."
        );
        page.paragraph(INDENT, &words, Paint::Plain)?;
        page.gap()?;
        let quoted = |all: &[String]| all.iter().map(|text| toml_string(text)).collect::<Vec<_>>().join(", ");
        let rulesets: Vec<_> = report.site.rulesets.iter().map(|set| set.id.clone()).collect();
        let mut lines = vec!["[site]".to_owned()];
        let plant = if report.site.name.is_empty() { "plant" } else { &report.site.name };
        lines.push(format!("name = {}", toml_string(plant)));
        lines.push(format!("rulesets = [{}]", quoted(&rulesets)));
        // What was assumed is marked as such behind the feature's name.
        let features =
            report.site.features.iter().map(|text| text.split(' ').next().unwrap_or_default().to_owned());
        lines.push(format!("features = [{}]", quoted(&features.collect::<Vec<_>>())));
        lines.push(String::new());
        lines.push("[roles]".to_owned());
        lines.extend(
            report.site.roles.iter().map(|role| format!("{} = [{}]", role.role, quoted(&role.endpoints))),
        );
        return lines.iter().try_for_each(|line| {
            page.line(if line.is_empty() { 0 } else { INDENT + 2 }, &[(line, Paint::Plain)])
        });
    }
    let act = "Act on the findings above, record the mirror port again, and audit again. What is meant to be goes into the site file as an \
        [[allow]] or, with an owner and an end, as a [[waive]].";
    let keep =
        "Nothing to act on. Keep this report; --format json -o FILE writes one that programs can read.";
    match report.conclusion {
        _ if !report.findings.is_empty() => page.paragraph(INDENT, act, Paint::Plain),
        Conclusion::Inconclusive => show_more(page, report),
        _ => page.paragraph(INDENT, keep, Paint::Plain),
    }
}

/// Writes what would show more: a longer recording, or a mirror of other ports.
fn show_more(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    page.paragraph(
        INDENT,
        "Nothing to act on yet, and too little to rest on. What would show more:",
        Paint::Plain,
    )?;
    let expected = |verdict: &str| -> BTreeSet<String> {
        let regular = |cadence: &str| cadence == "continuous" || cadence == "periodic";
        let all = report.requirements.iter().filter(|told| told.verdict.name() == verdict);
        all.filter(|told| told.need == "required" && regular(&told.cadence))
            .map(|told| told.source.clone())
            .collect()
    };
    let unheard: Vec<_> = expected("not-visible").into_iter().collect();
    if !unheard.is_empty() {
        let step = format!(
            "mirror the switch ports of {} as well: nothing was heard from there",
            list_some(&unheard, 6)
        );
        page.hanging(INDENT, "- ", &step, Paint::Plain)?;
    }
    if report.vantage.one_sided_pairs > 0 {
        page.hanging(
            INDENT,
            "- ",
            "let the mirror copy both directions: received and sent packets of each port",
            Paint::Plain,
        )?;
    }
    if !expected("undecided").is_empty() || !expected("unseen").is_empty() {
        page.hanging(
            INDENT,
            "- ",
            "record for longer: an hour shows what runs by the clock, a minute does not",
            Paint::Plain,
        )?;
    }
    Ok(())
}
