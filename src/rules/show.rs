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
    let head = ["rule", "from", "to", "service", "need", "protocol", "cadence", "when", "cite"];
    let rows = ruleset.rules.iter().flat_map(rule_rows);
    let narrow = width < ROOMY;
    // What does not fit a narrow page as a column stands with the rule's note below.
    let columns = if narrow { NARROW_COLUMNS } else { head.len() };
    let rows = rows.map(|row| row.into_iter().take(columns).collect());
    table(&mut text, head.get(..columns).unwrap_or(&head), rows.collect(), width);
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
        if narrow {
            let told = rule_rows(rule).into_iter().flat_map(|row| row.into_iter().skip(NARROW_COLUMNS));
            let told: Vec<String> = told.filter(|cell| !cell.is_empty()).collect();
            let _ = write!(note, " ({})", told.join("; "));
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
    for condition in &rule.require {
        let _ = write!(protocol, "; {condition}");
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
            let cadence = match rule.every {
                Some(every) => format!("{}, every {} s", rule.cadence.name(), every.as_secs()),
                None => rule.cadence.name().to_owned(),
            };
            row.extend([need.clone(), protocol.clone(), cadence, when.clone(), cite]);
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

/// From this width on all columns of a rule stand beside each other without being cut to pieces.
const ROOMY: usize = 140;

/// The columns of a rule that stand on a narrow page: rule, from, to, service, need.
const NARROW_COLUMNS: usize = 5;

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

/// Columns as wide as their content; where a line does not fit, the columns are narrowed whose cells take it best.
fn table(text: &mut String, head: &[&str], rows: Vec<Vec<String>>, width: usize) {
    let mut all = vec![head.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()];
    all.extend(rows);
    let room = width.saturating_sub(2 + GAP * head.len().saturating_sub(1));
    let mut columns: Vec<Column<'_>> = (0..head.len()).map(|at| Column::of(&all, at)).collect();
    while columns.iter().map(|column| column.width).sum::<usize>() > room {
        // What others need anyway costs nothing: only lines beyond the tallest other cell count.
        let cost = |at: usize, column: &Column<'_>| -> usize {
            let lower = column.heights(column.width - 1);
            let others = columns.iter().enumerate().filter(|(other, _)| *other != at);
            let mut tallest = vec![1; all.len()];
            for (_, other) in others {
                for (most, height) in tallest.iter_mut().zip(&other.now) {
                    *most = (*most).max(*height);
                }
            }
            lower.iter().zip(&tallest).map(|(height, tallest)| height.saturating_sub(*tallest)).sum()
        };
        let narrowable = columns.iter().enumerate().filter(|(_, column)| column.width > column.least);
        let best = narrowable
            .map(|(at, column)| (cost(at, column), usize::MAX - column.width, at))
            .min()
            .map(|(_, _, at)| at);
        // Nothing but breaking words is left: the widest column gives way.
        let widest = || columns.iter().enumerate().max_by_key(|(_, column)| column.width).map(|(at, _)| at);
        let Some(column) = best.or_else(widest).and_then(|at| columns.get_mut(at)) else { break };
        if column.width <= 8 {
            break;
        }
        column.width -= 1;
        column.now = column.heights(column.width);
    }
    let widths: Vec<usize> = columns.iter().map(|column| column.width).collect();
    for (at, row) in all.iter().enumerate() {
        line(text, row, &widths);
        if at == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            line(text, &rule, &widths);
        }
    }
}

/// A column while its width is being found.
struct Column<'t> {
    cells: Vec<&'t str>,
    width: usize,
    /// Its longest piece that is not to be broken.
    least: usize,
    /// The lines that each cell takes at `width`.
    now: Vec<usize>,
}

impl<'t> Column<'t> {
    fn of(rows: &'t [Vec<String>], at: usize) -> Self {
        let cells: Vec<&str> = rows.iter().map(|row| row.get(at).map_or("", String::as_str)).collect();
        let words = cells.iter().flat_map(|cell| cell.split_whitespace());
        // The first column holds ids, which people search for: they stay whole while they can.
        let broken = |word| if at == 0 { vec![word] } else { pieces(word) };
        let least = words.flat_map(broken).map(|piece| piece.width()).max().unwrap_or(0);
        let width = cells.iter().map(|cell| cell.width()).max().unwrap_or(0);
        Self { now: vec![1; cells.len()], cells, width, least }
    }

    fn heights(&self, width: usize) -> Vec<usize> {
        self.cells
            .iter()
            .map(|cell| if cell.width() <= width { 1 } else { wrap(cell, width).len() })
            .collect()
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

/// The parts between which a word may be broken: after hyphens, and before dots.
fn pieces(word: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.char_indices().skip(1).find_map(|(at, c)| match c {
        '-' => Some(at + 1),
        '.' if at + 1 < rest.len() => Some(at),
        _ => None,
    }) {
        let (piece, tail) = rest.split_at(at);
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

/// Breaks text at blanks, then after hyphens and before dots, and only where that does not help inside words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|&c| !c.is_control() && !is_bidi_control(c)).collect();
        if used > 0 && used + 1 + word.width() <= width {
            line.push(' ');
            used += 1;
        } else if used > 0 {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for piece in pieces(&word) {
            if used > 0 && used + piece.width() > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            for character in piece.chars() {
                let wide = character.width().unwrap_or(0);
                if used > 0 && used + wide > width {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push(character);
                used += wide;
            }
        }
    }
    lines.push(line);
    lines
}
