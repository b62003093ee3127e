//! A ruleset as a table that a person can hold against the vendor's page.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;
use unicode_width::UnicodeWidthStr;

use super::Reading;
use super::RoleKind;
use super::Rule;
use super::Ruleset;
use super::suggest::is_bidi_control;

/// A ruleset in full: head, features, roles, rules, notes; no line is wider than `width` columns where that can be helped.
pub fn show(ruleset: &Ruleset, width: usize) -> String {
    let width = width.max(NARROWEST);
    let mut text = String::new();
    for (label, value) in [
        ("", format!("{} ({})", ruleset.title, ruleset.id)),
        ("Document: ", ruleset.document.clone()),
        ("Revision: ", ruleset.revision.clone()),
    ] {
        paragraph(&mut text, label, &value, width);
    }
    if !ruleset.features.is_empty() {
        text.push_str("\nFeatures\n");
        let rows = ruleset.features.iter().map(|(id, feature)| {
            let mut about = feature.about.clone();
            if let Some(other) = &feature.excludes {
                let _ = write!(about, "; excludes {other}");
            }
            if feature.assumed {
                about.push_str("; assumed where the site says nothing");
            }
            vec![id.clone(), about]
        });
        table(&mut text, &["feature", "meaning"], rows.collect(), width);
    }
    text.push_str("\nRoles\n");
    let rows = ruleset.roles.iter().map(|(id, role)| {
        let kind = if role.kind == RoleKind::Component { "component" } else { "peer" };
        let hosts: Vec<String> = role.hosts.iter().map(ToString::to_string).collect();
        vec![id.clone(), kind.to_owned(), role.title.clone(), hosts.join(", ")]
    });
    table(&mut text, &["role", "kind", "title", "hosts"], rows.collect(), width);
    text.push_str("\nRules\n");
    let head = ["rule", "from", "to", "service", "protocol", "need", "cadence", "when", "cite"];
    table(&mut text, &head, ruleset.rules.iter().flat_map(rule_rows).collect(), width);
    text.push_str("\nNotes\n");
    for note in &ruleset.notes {
        paragraph(&mut text, "  ", note, width);
    }
    for rule in &ruleset.rules {
        let mut note = format!("{}: {}.", rule.id, rule.purpose.trim_end_matches('.'));
        if rule.certainty != super::Certainty::Firm {
            let _ = write!(note, " [{}]", rule.certainty.name());
        }
        if !rule.note.is_empty() {
            let _ = write!(note, " {}", rule.note);
        }
        paragraph(&mut text, "  ", &note, width);
    }
    text
}

/// The rulesets, a line each.
pub fn list(rulesets: &[Ruleset], width: usize) -> String {
    let rows = rulesets.iter().map(|ruleset| {
        vec![
            ruleset.id.clone(),
            ruleset.rules.len().to_string(),
            ruleset.title.clone(),
            ruleset.revision.clone(),
        ]
    });
    let mut text = String::new();
    table(&mut text, &["ruleset", "rules", "title", "revision"], rows.collect(), width.max(NARROWEST));
    text
}

/// A row for each reading of a rule; what a further reading shares with the rule is not repeated.
fn rule_rows(rule: &Rule) -> Vec<Vec<String>> {
    let mut protocol = if rule.protocol.is_empty() { "any".to_owned() } else { rule.protocol.join(", ") };
    if let Some(tls) = rule.tls {
        let _ = write!(protocol, " >= {}", tls.name());
    }
    if rule.insecure {
        protocol.push_str(" (insecure)");
    }
    let mut need = rule.need.name().to_owned();
    if let Some(group) = &rule.alternative {
        let _ = write!(need, ", one of '{group}'");
    }
    if rule.any_caller {
        need.push_str(", any caller");
    }
    let mut when = rule.when.join(", ");
    if let Some(first) = &rule.follows {
        let _ = write!(when, "{}after {first}", if when.is_empty() { "" } else { "; " });
    }
    let several = rule.readings.len() > 1;
    let mut rows = Vec::new();
    for (at, reading) in rule.readings.iter().enumerate() {
        let mut row = vec![
            if at == 0 { rule.id.clone() } else { String::new() },
            reading.from.join(", "),
            reading.to.join(", "),
            services(reading),
        ];
        let as_read = if several { format!(" ({})", reading.kind.name()) } else { String::new() };
        if at == 0 {
            let cite = format!("{}{as_read}", rule.cite);
            row.extend([protocol.clone(), need.clone(), rule.cadence.name().to_owned(), when.clone(), cite]);
        } else {
            let why = if reading.note.is_empty() { String::new() } else { format!(": {}", reading.note) };
            row.extend(["", "", "", ""].map(str::to_owned));
            row.push(format!("also{as_read}{why}"));
        }
        rows.push(row);
    }
    rows
}

fn services(reading: &Reading) -> String {
    reading.services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Below this nothing can be laid out.
const NARROWEST: usize = 60;

/// Blanks between columns.
const GAP: usize = 2;

/// Text with every line after the first indented below it.
fn paragraph(text: &mut String, label: &str, value: &str, width: usize) {
    for (at, line) in wrap(value, width.saturating_sub(label.width() + 2)).iter().enumerate() {
        let indent = if at == 0 { label.to_owned() } else { " ".repeat(label.width() + 2) };
        let _ = writeln!(text, "{indent}{line}");
    }
}

/// Columns as wide as their content, the widest of them narrowed until a line fits; cells wrap.
fn table(text: &mut String, head: &[&str], rows: Vec<Vec<String>>, width: usize) {
    let mut all = vec![head.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()];
    all.extend(rows);
    let column = |at: usize| all.iter().filter_map(move |row| row.get(at));
    let mut widths: Vec<usize> =
        (0..head.len()).map(|at| column(at).map(|cell| cell.width()).max().unwrap_or(0)).collect();
    // No word is broken unless nothing else helps: the longest word bounds how far a column is narrowed.
    let least: Vec<usize> = (0..head.len())
        .map(|at| column(at).flat_map(|cell| cell.split(' ')).map(|word| word.width()).max().unwrap_or(0))
        .collect();
    let room = width.saturating_sub(2 + GAP * head.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        let spare = widths.iter().zip(&least).enumerate().filter(|(_, (now, least))| now > least);
        let widest = spare.max_by_key(|(_, (now, _))| **now).map(|(at, _)| at);
        let widest = widest.or_else(|| {
            let (at, now) = widths.iter().enumerate().max_by_key(|(_, now)| **now)?;
            (*now > 8).then_some(at)
        });
        let Some(slot) = widest.and_then(|at| widths.get_mut(at)) else { break };
        *slot -= 1;
    }
    for (at, row) in all.iter().enumerate() {
        line(text, row, &widths);
        if at == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            line(text, &rule, &widths);
        }
    }
}

/// One row, over as many lines as its longest cell takes.
fn line(text: &mut String, row: &[String], widths: &[usize]) {
    let cells: Vec<Vec<String>> = row.iter().zip(widths).map(|(cell, width)| wrap(cell, *width)).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..height {
        let mut out = String::from("  ");
        for (cell, width) in cells.iter().zip(widths) {
            let part = cell.get(at).map_or("", String::as_str);
            out.push_str(part);
            out.push_str(&" ".repeat((width + GAP).saturating_sub(part.width())));
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
}

/// Breaks text at blanks; a word longer than a line is broken where the line ends.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        if used > 0 && used + 1 + word.width() > width {
            lines.push(String::new());
            used = 0;
        }
        let Some(mut last) = lines.pop() else { break };
        if used > 0 {
            last.push(' ');
            used += 1;
        }
        for character in word.chars().filter(|&c| !c.is_control() && !is_bidi_control(c)) {
            let wide = character.width().unwrap_or(0);
            if used + wide > width && used > 0 {
                lines.push(std::mem::take(&mut last));
                used = 0;
            }
            last.push(character);
            used += wide;
        }
        lines.push(last);
    }
    lines
}
