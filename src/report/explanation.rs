//! One point of a report explained step by step: the data, and how it is told to people and to programs.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::model::Timestamp;

use super::Style;
use super::json_writer::write_page;
use super::page::Page;
use super::page::Paint;
use super::table::Cell;
use super::table::Column;
use super::table::Table;
use super::time;
use crate::model::capitalized;

/// The name and version of an explanation's shape.
pub const EXPLANATION_SCHEMA: &str = "spanaudit.explanation/1";

/// Why a report says what it says of one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `finding`, `requirement` or `conversation`.
    pub subject: &'static str,
    /// Its id.
    pub id: String,
    /// One line.
    pub title: String,
    /// The verdict with mechanism and grade, as in `blocked (dropped), grade B`.
    pub verdict: String,
    /// What the verdict claims, in a sentence or two.
    pub claim: String,
    /// The reasoning, in its order.
    pub steps: Vec<Step>,
    /// What the capture would have held if it were otherwise.
    pub opposite: Vec<String>,
    /// Other explanations that the capture rules out, and by what.
    pub ruled_out: Vec<String>,
    /// Other explanations that remain.
    pub remaining: Vec<String>,
    /// Whom to ask, and what.
    pub ask: Vec<Question>,
    /// Commands by which anyone can check it with other tools.
    pub check: Vec<String>,
}

/// One step of the reasoning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What follows.
    pub says: String,
    /// From which packets.
    pub packets: Vec<Spot>,
    /// A display filter that shows what stands around them.
    pub around: Option<String>,
}

/// One packet of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spot {
    /// The capture file.
    pub file: String,
    /// Its number there.
    pub packet: u64,
    /// Its time.
    #[serde(serialize_with = "as_rfc3339")]
    pub time: Timestamp,
    /// What it shows.
    pub note: String,
    /// A display filter that shows it alone.
    pub filter: String,
    /// Whether it was captured live: where it can be looked at it has another number.
    #[serde(skip)]
    pub live: bool,
}

/// A question for somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Question {
    /// For whom.
    pub whom: String,
    /// What to ask.
    pub what: String,
}

#[derive(Serialize)]
struct Whole<'a> {
    schema: &'static str,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

fn as_rfc3339<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::rfc3339(*time))
}

const PACKETS: &[Column] = &[Column::words("", 9), Column::words("", 23), Column::words("", 400)];
/// Where a step's text stands.
const INDENT: usize = 4;

impl Explanation {
    /// Writes it as one JSON object.
    pub fn write_json(&self, out: &mut dyn io::Write) -> io::Result<()> {
        write_page(&Whole { schema: EXPLANATION_SCHEMA, explanation: self }, out)
    }

    /// Writes it as a page for people.
    pub fn write_text(&self, style: &Style, out: &mut dyn io::Write) -> io::Result<()> {
        let page = &mut Page::new(out, style);
        let head = format!("{} {}: {}", self.subject.to_uppercase(), self.id, self.verdict);
        page.line(0, &[(&head, Paint::Bold)])?;
        page.paragraph(0, &self.title, Paint::Plain)?;
        if !self.claim.is_empty() {
            page.gap()?;
            page.paragraph(0, &self.claim, Paint::Plain)?;
        }
        page.heading("WHY")?;
        let mut shown = None;
        for (index, step) in self.steps.iter().enumerate() {
            page.hanging(0, &format!("{:>2}. ", index + 1), &step.says, Paint::Plain)?;
            packets(page, step)?;
            // The same filter under every step would be noise.
            if let Some(around) = step.around.as_ref().filter(|around| shown != Some(*around)) {
                page.line(INDENT, &[("all of it: ", Paint::Dim), (around, Paint::Plain)])?;
                shown = Some(around);
            }
        }
        list(page, "WHAT WOULD HAVE SHOWN THE OPPOSITE", "- ", &self.opposite)?;
        list(page, "RULED OUT", "✓ ", &self.ruled_out)?;
        list(page, "STILL POSSIBLE", "? ", &self.remaining)?;
        if !self.ask.is_empty() {
            page.heading("WHAT TO ASK")?;
            for question in &self.ask {
                page.hanging(2, &format!("{}: ", question.whom), &question.what, Paint::Plain)?;
            }
        }
        if !self.check.is_empty() {
            page.heading("TO CHECK IT WITHOUT SPANAUDIT")?;
            for command in &self.check {
                page.line(2, &[(command, Paint::Plain)])?;
            }
        }
        Ok(())
    }
}

/// The packets of a step, file by file, each group with its display filter.
fn packets(page: &mut Page<'_>, step: &Step) -> io::Result<()> {
    let mut files: BTreeMap<&str, Vec<&Spot>> = BTreeMap::new();
    for spot in &step.packets {
        files.entry(&spot.file).or_default().push(spot);
    }
    for (file, spots) in files {
        page.paragraph(INDENT, &format!("in {file}, times in UTC"), Paint::Dim)?;
        let mut table = Table::new(PACKETS, INDENT);
        for spot in &spots {
            let mark = Cell::painted(format!("#{}", spot.packet), Paint::Bold);
            table.row(vec![
                mark,
                Cell::painted(time::date_and_time(spot.time), Paint::Dim),
                if says_the_same(&step.says, &spot.note) { "".into() } else { (&spot.note).into() },
            ]);
        }
        table.write(page)?;
        let found: Vec<(u64, Timestamp)> = spots.iter().map(|spot| (spot.packet, spot.time)).collect();
        let filter = filter_of(found, spots.iter().any(|spot| spot.live));
        page.line(INDENT, &[("Wireshark: ", Paint::Dim), (&filter, Paint::Plain)])?;
    }
    Ok(())
}

/// Whether a packet's note is but the step's own sentence.
fn says_the_same(sentence: &str, note: &str) -> bool {
    capitalized(note).trim_end_matches('.') == sentence.trim_end_matches('.')
}

/// A display filter for packets by their numbers.
pub fn frames(numbers: &[u64]) -> String {
    match numbers {
        [only] => format!("frame.number == {only}"),
        _ => {
            let all: Vec<_> = numbers.iter().map(u64::to_string).collect();
            format!("frame.number in {{{}}}", all.join(", "))
        }
    }
}

/// A display filter for packets by their numbers in a file; of what was captured live by their times, which they keep in whatever file they are found:
/// their evidence, or a recording made beside it.
pub fn filter_of(mut packets: Vec<(u64, Timestamp)>, live: bool) -> String {
    packets.sort_unstable();
    packets.dedup();
    if !live {
        return frames(&packets.iter().map(|(number, _)| *number).collect::<Vec<_>>());
    }
    let seconds = |time: Timestamp| {
        let nanos = time.as_nanos();
        format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000))
    };
    let times: Vec<String> = packets.iter().map(|(_, time)| seconds(*time)).collect();
    match times.as_slice() {
        [only] => format!("frame.time_epoch == {only}"),
        all => format!("frame.time_epoch in {{{}}}", all.join(", ")),
    }
}

/// A word for a POSIX shell.
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/+:@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) && !word.starts_with('-') {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn list(page: &mut Page<'_>, heading: &str, mark: &str, lines: &[String]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    page.heading(heading)?;
    lines.iter().try_for_each(|line| page.hanging(2, mark, line, Paint::Plain))
}
