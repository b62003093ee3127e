//! Tells a finished audit, or a list of flows, in a format. It decides nothing.
//!
//! A format is one file that implements [`Format`] or [`FlowFormat`] and one line in its registry.

mod archive;
mod community_id;
mod escape;
mod evidence_index;
mod explanation;
mod flows_json;
mod flows_text;
mod json;
mod json_line;
mod json_writer;
mod page;
mod prose;
mod table;
mod text;
mod time;

#[cfg(test)]
mod samples;

use std::io;
use std::num::NonZeroUsize;

use crate::model::FlowRecord;
use crate::model::Input;
use crate::model::PacketRef;
use crate::model::Report;
use crate::model::Tally;
use crate::model::Vantage;

pub use archive::*;
pub use community_id::community_id;
pub use escape::plain;
pub use evidence_index::*;
pub use explanation::*;
pub use json_writer::write_line;
pub use prose::list_some;
pub use time::date_and_time;
pub use time::rfc3339;

/// How a page for people is to look, and who may work on it. Formats for programs heed nothing of the look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether the output understands colours (ANSI X3.64 escape sequences).
    pub color: bool,
    /// Columns.
    pub width: usize,
    /// Whether folded lists are told in full.
    pub verbose: bool,
    /// Threads that may work on it. What they write is the same for any number.
    pub workers: NonZeroUsize,
}

impl Default for Style {
    /// A hundred columns without colours: what a file or a pipe gets, whatever terminal stands behind it.
    fn default() -> Self {
        Self { color: false, width: 100, verbose: false, workers: NonZeroUsize::MIN }
    }
}

/// A way to tell an audit.
pub trait Format: Sync {
    /// The word for `--format`.
    fn name(&self) -> &'static str;

    /// One line for the help page.
    fn about(&self) -> &'static str;

    /// Writes the whole report.
    fn write(&self, report: &Report, style: &Style, out: &mut dyn io::Write) -> io::Result<()>;
}

/// Every format for audits, the default first.
pub const FORMATS: &[&dyn Format] = &[&text::Text, &json::Json];

/// What `flows` tells: everything on the wire, unjudged.
#[derive(Clone, Copy, Debug)]
pub struct FlowList<'a> {
    /// The inputs, in the order in which packets refer to them.
    pub inputs: &'a [Input],
    /// What the mirror sees.
    pub vantage: &'a Vantage,
    /// Names of the cells from the first on; the plant itself has none.
    pub cells: &'a [String],
    /// The flows, in the order of their first packets.
    pub flows: &'a [FlowRecord],
    /// Where every packet went.
    pub tally: &'a Tally,
}

impl FlowList<'_> {
    /// The name of the input that a packet stands in.
    fn input_name(&self, at: PacketRef) -> &str {
        usize::try_from(at.input().0)
            .ok()
            .and_then(|index| self.inputs.get(index))
            .map_or("?", |input| &input.name)
    }

    /// The cell's name; `None` for the plant itself.
    fn cell_name(&self, flow: &FlowRecord) -> Option<&str> {
        usize::from(flow.cell.0).checked_sub(1).map(|index| self.cells.get(index).map_or("?", String::as_str))
    }
}

/// A way to tell a list of flows.
pub trait FlowFormat: Sync {
    /// The word for `--format`.
    fn name(&self) -> &'static str;

    /// One line for the help page.
    fn about(&self) -> &'static str;

    /// Whether its readers wait for totals, so that it is written even where no input could be opened: nothing read, and that adds up.
    fn ends_with_totals(&self) -> bool {
        false
    }

    /// Writes the whole list.
    fn write(&self, list: &FlowList<'_>, style: &Style, out: &mut dyn io::Write) -> io::Result<()>;
}

/// Every format for flows, the default first.
pub const FLOW_FORMATS: &[&dyn FlowFormat] = &[&flows_text::Text, &flows_json::Json];

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a capture holds, no format lets it reach the eye or the terminal: newcomers to the registries are tested unasked.
    #[test]
    fn hostile_text_gets_through_no_format() {
        let report = samples::hostile_report();
        for verbose in [false, true] {
            let style = Style { verbose, ..Style::default() };
            for format in FORMATS {
                let mut out = Vec::new();
                format.write(&report, &style, &mut out).unwrap();
                let told = String::from_utf8(out).unwrap();
                assert_eq!(
                    told.chars().find(|&c| c != '\n' && escape::is_hostile(c)),
                    None,
                    "{}",
                    format.name()
                );
            }
            for format in FLOW_FORMATS {
                let mut out = Vec::new();
                samples::with_flows(|list| format.write(list, &style, &mut out).unwrap());
                let told = String::from_utf8(out).unwrap();
                assert_eq!(
                    told.chars().find(|&c| c != '\n' && escape::is_hostile(c)),
                    None,
                    "{}",
                    format.name()
                );
            }
        }
    }

    #[test]
    fn names_are_words_and_unique() {
        let audits = FORMATS.iter().map(|format| (format.name(), format.about()));
        let flows = FLOW_FORMATS.iter().map(|format| (format.name(), format.about()));
        for registry in [audits.collect::<Vec<_>>(), flows.collect()] {
            for (index, (name, about)) in registry.iter().enumerate() {
                assert!(
                    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                    "{name}"
                );
                assert!(!about.is_empty() && !about.ends_with('.'), "{name}: {about}");
                assert!(registry.iter().skip(index + 1).all(|(other, _)| other != name), "{name} twice");
            }
        }
    }
}
