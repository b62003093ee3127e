//! Mistakes in rulesets and sites: where they are, what was expected, what was probably meant.

use std::fmt;
use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::AnnotationKind;
use annotate_snippets::Group;
use annotate_snippets::Level;
use annotate_snippets::Renderer;
use annotate_snippets::Snippet;

use crate::model::counted;

/// Whether a mistake stops the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiagnosticLevel {
    /// The text cannot be used as it is.
    Error,
    /// The text can be used, but probably does not say what was meant.
    Warning,
}

/// One mistake, with the text it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub level: DiagnosticLevel,
    /// The file as it was named, `command line` for flags.
    pub file: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// The column in characters, from 1; 0 where the whole file is meant.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What was expected instead; stands under the marked text.
    pub expected: String,
    /// What was probably meant, or what to do.
    pub help: String,
    /// Where the mistake begins in the file, in bytes: what diagnostics of a file are ordered by.
    offset: usize,
    /// The lines it is about, cut where they are very long.
    excerpt: String,
    /// The marked part of `excerpt`, in bytes.
    marked: Range<usize>,
}

impl Diagnostic {
    /// Says what was expected instead.
    pub(super) fn expected(&mut self, text: impl Into<String>) -> &mut Self {
        self.expected = text.into();
        self
    }

    /// Says what was probably meant, where there is such a thing.
    pub(super) fn help(&mut self, text: impl Into<Option<String>>) -> &mut Self {
        if let Some(text) = text.into() {
            self.help = text;
        }
        self
    }

    /// Whether it stops the run.
    pub fn is_error(&self) -> bool {
        self.level == DiagnosticLevel::Error
    }

    /// One line: `plant-7.toml:14:3: no ruleset has a role 'site-manger'; did you mean 'site-manager'?`
    pub fn short(&self) -> String {
        self.line_with(if self.is_error() { "" } else { "warning: " })
    }

    /// As [`Diagnostic::short`], for where warnings stand among themselves and need no such word.
    pub(super) fn unlabelled(&self) -> String {
        self.line_with("")
    }

    fn line_with(&self, label: &str) -> String {
        let mut line = self.file.clone();
        if self.line > 0 {
            let _ = write!(line, ":{}:{}", self.line, self.column);
        }
        let _ = write!(line, ": {label}{}", self.message);
        let more = if self.help.is_empty() { &self.expected } else { &self.help };
        if !more.is_empty() {
            let _ = write!(line, "; {more}");
        }
        line
    }

    /// The marked text with its line, for a terminal `width` columns wide.
    pub fn render(&self, colour: bool, width: usize) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let level = if self.is_error() { Level::ERROR } else { Level::WARNING };
        let group = level.primary_title(self.message.as_str());
        let mut group = if self.line > 0 {
            // The renderer breaks no label: a long one stands below instead of beside the mark.
            let room = width.saturating_sub(self.marked.end + 10);
            let beside = Some(self.expected.as_str()).filter(|text| !text.is_empty() && text.len() <= room);
            let mark = AnnotationKind::Primary.span(self.marked.clone()).label(beside);
            let group = group.element(
                Snippet::source(self.excerpt.as_str())
                    .path(self.file.as_str())
                    .line_start(self.line)
                    .annotation(mark),
            );
            if beside.is_none() && !self.expected.is_empty() {
                group.element(Level::NOTE.message(self.expected.as_str()))
            } else {
                group
            }
        } else {
            let group = group.element(Level::NOTE.message(self.file.as_str()));
            if self.expected.is_empty() {
                group
            } else {
                group.element(Level::NOTE.message(self.expected.as_str()))
            }
        };
        if !self.help.is_empty() {
            group = group.element(Level::HELP.message(self.help.as_str()));
        }
        let report: &[Group<'_>] = &[group];
        renderer.term_width(width.max(40)).render(report)
    }
}

/// Why rulesets or a site could not be used: every mistake that was found, warnings among them, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesError {
    /// The mistakes.
    pub diagnostics: Vec<Diagnostic>,
}

impl RulesError {
    /// All of them with their lines, for a terminal `width` columns wide, and a closing line that counts them.
    pub fn render(&self, colour: bool, width: usize) -> String {
        render(&self.diagnostics, colour, width)
    }

    /// How many of them are errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count()
    }
}

impl fmt::Display for RulesError {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, diagnostic) in self.diagnostics.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&diagnostic.short())?;
        }
        Ok(())
    }
}

impl std::error::Error for RulesError {}

/// Diagnostics with their lines, one after the other, and a closing line that counts them.
pub fn render(diagnostics: &[Diagnostic], colour: bool, width: usize) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&diagnostic.render(colour, width));
        text.push_str("\n\n");
    }
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let counts: Vec<String> = [(errors, "error"), (diagnostics.len() - errors, "warning")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|&(count, word)| counted(count as u64, word))
        .collect();
    if !counts.is_empty() {
        text.push_str(&counts.join(", "));
        text.push('\n');
    }
    text
}

/// A text with its name, and where its lines begin.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The file as people name it.
    pub(super) name: String,
    /// Its text.
    pub(super) text: String,
    /// The byte at which each line begins.
    lines: Vec<usize>,
}

impl Source {
    /// A text under a name.
    pub(super) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, newline)| at + newline.len()))
            .collect();
        Self { name: disarmed(&name.into()), text, lines }
    }

    /// The line that holds this byte, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|&start| start <= offset)
    }

    /// The bytes of a line, from 1, without its end.
    fn line_range(&self, line: usize) -> Range<usize> {
        let start = line.checked_sub(1).and_then(|at| self.lines.get(at)).copied().unwrap_or(self.text.len());
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        let kept = self.text.get(start..end).map_or(0, |text| text.trim_end_matches(['\n', '\r']).len());
        start..start + kept
    }
}

/// Gathers the diagnostics of one text.
#[derive(Debug)]
pub(super) struct Sink<'s> {
    /// The text they are about.
    pub(super) source: &'s Source,
    /// What was found.
    found: Vec<Diagnostic>,
    /// Stands for what is found beyond [`MOST`].
    spare: Diagnostic,
}

/// More mistakes than this in one text help nobody.
pub(super) const MOST: usize = 200;

/// An excerpt shows at most this many bytes of a line before and after the mark.
const AROUND: usize = 160;

impl<'s> Sink<'s> {
    /// Nothing found yet.
    pub(super) fn new(source: &'s Source) -> Self {
        Self { source, found: Vec::new(), spare: blank(DiagnosticLevel::Warning, "", String::new()) }
    }

    /// An error about these bytes.
    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.push(DiagnosticLevel::Error, Some(span), message.into())
    }

    /// A warning about these bytes.
    pub(super) fn warn(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.push(DiagnosticLevel::Warning, Some(span), message.into())
    }

    /// An error about the text as a whole.
    pub(super) fn error_of_file(&mut self, message: impl Into<String>) -> &mut Diagnostic {
        self.push(DiagnosticLevel::Error, None, message.into())
    }

    /// A warning about the text as a whole.
    pub(super) fn warn_of_file(&mut self, message: impl Into<String>) -> &mut Diagnostic {
        self.push(DiagnosticLevel::Warning, None, message.into())
    }

    /// Whether enough errors were found to stop looking for more.
    pub(super) fn is_full(&self) -> bool {
        self.found.iter().filter(|diagnostic| diagnostic.is_error()).count() >= MOST
    }

    /// Whether an error was found.
    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(Diagnostic::is_error)
    }

    /// Everything found, in the order of the text, once each.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by(|a, b| {
            (a.offset, a.level, &a.message, &a.help).cmp(&(b.offset, b.level, &b.message, &b.help))
        });
        self.found.dedup();
        self.found
    }

    fn push(
        &mut self,
        level: DiagnosticLevel,
        span: Option<Range<usize>>,
        message: String,
    ) -> &mut Diagnostic {
        // Errors are never crowded out by warnings: each kind has its own bound.
        if self.found.iter().filter(|diagnostic| diagnostic.level == level).count() >= MOST {
            return &mut self.spare;
        }
        let mut diagnostic = blank(level, &self.source.name, message);
        if let Some(span) = span {
            locate(&mut diagnostic, self.source, span);
        }
        self.found.push(diagnostic);
        self.found.last_mut().unwrap_or(&mut self.spare)
    }
}

fn blank(level: DiagnosticLevel, file: &str, message: String) -> Diagnostic {
    Diagnostic {
        level,
        file: file.to_owned(),
        line: 0,
        column: 0,
        message,
        expected: String::new(),
        help: String::new(),
        offset: 0,
        excerpt: String::new(),
        marked: 0..0,
    }
}

/// The renderer disarms the control characters of ASCII and those that reorder text, but not these (ISO 6429, the C1 set),
/// which some terminals obey. The replacement is as many bytes long, so places stay what they are.
fn disarmed(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\u{80}'..='\u{9f}') { '·' } else { c }).collect()
}

/// Fills in line, column and excerpt. A span over several lines is marked on its first.
fn locate(diagnostic: &mut Diagnostic, source: &Source, span: Range<usize>) {
    let text = source.text.as_str();
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let line = source.line(start);
    let whole = source.line_range(line);
    // A span may begin at a line's own end (something is missing there).
    let start = start.min(whole.end);
    let end = text.ceil_char_boundary(span.end.clamp(start, whole.end.max(start)));
    let from = text.floor_char_boundary(start.saturating_sub(AROUND).max(whole.start));
    let to = text.ceil_char_boundary((end.min(start + AROUND) + AROUND).min(whole.end)).max(start);
    diagnostic.line = line;
    diagnostic.column = text.get(whole.start..start).map_or(0, |before| before.chars().count()) + 1;
    diagnostic.offset = start;
    diagnostic.excerpt = disarmed(text.get(from..to).unwrap_or_default());
    diagnostic.marked = start - from..end.min(to).max(start) - from;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_shown_cannot_steer_a_terminal() {
        let source = Source::new("a.toml", "x = 1 # \u{1b}[2J \u{202e} \u{9b}1m\n");
        let mut sink = Sink::new(&source);
        sink.error(0..1, "no");
        let shown = render(&sink.finish(), false, 80);
        let hostile = |c: &char| (c.is_control() && *c != '\n') || super::super::suggest::is_bidi_control(*c);
        assert_eq!(shown.chars().find(hostile), None, "{shown}");
        assert!(shown.contains("a.toml:1:1"), "{shown}");
    }

    #[test]
    fn colour_is_only_there_when_asked_for() {
        let source = Source::new("a.toml", "x = 1\n");
        let mut sink = Sink::new(&source);
        sink.error(0..1, "no").expected("yes");
        let found = sink.finish();
        assert!(render(&found, true, 80).contains('\u{1b}'));
        assert!(!render(&found, false, 80).contains('\u{1b}'));
    }

    #[test]
    fn spans_anywhere_are_marked_within_their_line() {
        let text = format!("é = 1\n{}\nlast", "ü".repeat(2000));
        let source = Source::new("a.toml", text.as_str());
        for start in 0..text.len() + 3 {
            let mut sink = Sink::new(&source);
            sink.error(start..start + 7, "no");
            let found = sink.finish();
            let marked = found[0].excerpt.get(found[0].marked.clone());
            assert!(marked.is_some_and(|marked| !marked.contains('\n')), "{start}");
            assert!(found[0].excerpt.len() < 1000);
        }
    }

    #[test]
    fn mistakes_without_end_are_cut_off() {
        let source = Source::new("a.toml", "x = 1\n".repeat(10_000));
        let mut sink = Sink::new(&source);
        for at in 0..10_000 {
            sink.error(at * 6..at * 6 + 1, "no").expected("yes");
        }
        assert_eq!(sink.finish().len(), MOST);
    }
}
