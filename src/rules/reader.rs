//! TOML values with their places: every mistake is noted and reading goes on.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::diagnostic::MOST;
use super::diagnostic::Sink;
use super::diagnostic::Source;
use super::suggest::did_you_mean;
use super::suggest::is_bidi_control;
use super::suggest::nearest;
use super::suggest::one_of;
use super::suggest::quoted;

/// A value with its place.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A string with its place, quotes included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'t> {
    /// The string.
    pub(super) text: &'t str,
    /// Its first byte in the file.
    start: usize,
    /// The byte after its last.
    end: usize,
}

impl Word<'_> {
    /// Its place.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

/// Parses the syntax. `None`, with its errors noted, where the text is no TOML. The parser bounds how deep tables nest.
pub(super) fn parse<'s>(sink: &mut Sink<'s>) -> Option<Spanned<DeTable<'s>>> {
    let source: &'s Source = sink.source;
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    if errors.is_empty() {
        return Some(table);
    }
    let mut last = None;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        // What follows a syntax error on its own line is mostly its echo.
        let line = source.line(span.start.min(source.text.len()));
        if last != Some(line) {
            let (message, expected) = split_message(error.message());
            sink.error(span, message).expected(expected);
        }
        last = Some(line);
    }
    None
}

/// `unclosed string, expected '"'` to its two halves.
fn split_message(message: &str) -> (String, String) {
    match message.split_once(", expected ") {
        Some((what, expected)) => (format!("not TOML: {what}"), format!("expected {expected}")),
        None => (format!("not TOML: {message}"), String::new()),
    }
}

/// A table being read. What was never asked for is unknown.
#[derive(Debug)]
pub(super) struct Table<'t> {
    /// What it is, for messages: `[site]`, `rule 'queue-sensor-to-site'`.
    pub(super) what: String,
    /// Its header, or the whole of an inline table.
    pub(super) span: Range<usize>,
    entries: &'t DeTable<'t>,
    asked: Vec<&'static str>,
    /// Keys that had to be there and are not, each with a line that shows how it is written.
    missing: Vec<(&'static str, String)>,
}

impl<'t> Table<'t> {
    /// The document itself.
    pub(super) fn root(document: &'t Spanned<DeTable<'t>>) -> Self {
        Self {
            what: "the file".to_owned(),
            span: 0..0,
            entries: document.get_ref(),
            asked: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// A table within another; anything else is noted as a mistake.
    pub(super) fn of(sink: &mut Sink<'_>, value: &'t Value<'t>, what: impl Into<String>) -> Option<Self> {
        let what = what.into();
        match value.get_ref() {
            DeValue::Table(entries) => {
                Some(Self { what, span: value.span(), entries, asked: Vec::new(), missing: Vec::new() })
            }
            other => {
                sink.error(value.span(), format!("{what} is {}", kind(other))).expected("expected a table");
                None
            }
        }
    }

    /// The value of a key.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'t Value<'t>> {
        self.asked.push(key);
        self.entries.get(key)
    }

    /// The value of a key that has to be there; `example` shows how it is written. Told by [`Table::finish`].
    pub(super) fn need(&mut self, key: &'static str, example: &str) -> Option<&'t Value<'t>> {
        let value = self.get(key);
        if value.is_none() && !self.missing.iter().any(|(known, _)| *known == key) {
            self.missing.push((key, format!("{key} = {example}")));
        }
        value
    }

    /// Its keys with their values in the order of the text: for tables whose keys are names.
    pub(super) fn named(&self) -> Vec<(Word<'t>, &'t Value<'t>)> {
        let mut entries: Vec<_> = self.entries.iter().map(|(key, value)| (key_word(key), value)).collect();
        entries.sort_by_key(|(key, _)| key.start);
        entries
    }

    /// Notes every key that was never asked for, and every key that is missing unless one of those is it misspelt.
    pub(super) fn finish(self, sink: &mut Sink<'_>) {
        let mut known = self.asked.clone();
        known.sort_unstable();
        known.dedup();
        let strangers: Vec<Word<'_>> = self
            .named()
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| !known.contains(&key.text))
            .take(MOST)
            .collect();
        let meant: Vec<&str> =
            strangers.iter().filter_map(|key| nearest(key.text, known.iter().copied())).collect();
        for (key, line) in self.missing.iter().filter(|(key, _)| !meant.contains(key)) {
            sink.error(self.span.clone(), format!("{} lacks '{key}'", self.what))
                .expected(format!("expected a line like: {line}"));
        }
        for key in strangers {
            sink.error(key.span(), format!("{} has no key {}", self.what, quoted(key.text)))
                .expected(format!("known here: {}", known.join(", ")))
                .help(did_you_mean(key.text, known.iter().copied()));
        }
    }
}

fn key_word<'t>(key: &'t Spanned<Cow<'t, str>>) -> Word<'t> {
    let span = key.span();
    Word { text: key.get_ref(), start: span.start, end: span.end }
}

/// A value's type as messages name it.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A string; anything else is noted as a mistake.
pub(super) fn word<'t>(sink: &mut Sink<'_>, value: &'t Value<'t>) -> Option<Word<'t>> {
    let span = value.span();
    let DeValue::String(text) = value.get_ref() else {
        let written = sink.source.text.get(span.clone()).unwrap_or_default().to_owned();
        let scalar = !matches!(value.get_ref(), DeValue::Array(_) | DeValue::Table(_));
        sink.error(span, format!("expected a string, found {}", kind(value.get_ref())))
            .help(scalar.then(|| format!("write it in quotes: \"{}\"", written.trim())));
        return None;
    };
    let hostile = |c: char| (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || is_bidi_control(c);
    if let Some(character) = text.chars().find(|&c| hostile(c)) {
        sink.error(span, format!("control character U+{:04X} in a text", u32::from(character)))
            .expected("expected printable characters");
        return None;
    }
    Some(Word { text, start: span.start, end: span.end })
}

/// A string or a list of strings. Elements that are no strings are noted and left out.
pub(super) fn words<'t>(sink: &mut Sink<'_>, value: &'t Value<'t>) -> Vec<Word<'t>> {
    elements(sink, value).into_iter().filter_map(|element| word(sink, element)).collect()
}

/// As [`words`], noting an empty list as a mistake too.
pub(super) fn some_words<'t>(sink: &mut Sink<'_>, value: &'t Value<'t>, what: &str) -> Vec<Word<'t>> {
    if is_empty_list(value) {
        sink.error(value.span(), format!("{what} is an empty list")).expected("expected at least one entry");
    }
    words(sink, value)
}

/// The elements of a list, or the value itself. Nothing once too many mistakes were found to look for more.
pub(super) fn elements<'t>(sink: &mut Sink<'_>, value: &'t Value<'t>) -> Vec<&'t Value<'t>> {
    if sink.is_full() {
        return Vec::new();
    }
    let DeValue::Array(list) = value.get_ref() else { return vec![value] };
    if list.len() > LONGEST_LIST {
        sink.error(value.span(), format!("this list has {} entries", list.len()))
            .expected(format!("at most {LONGEST_LIST}"));
    }
    list.iter().take(LONGEST_LIST).collect()
}

/// Entries of lists are held against one another, so lists are bounded.
pub(super) const LONGEST_LIST: usize = 10_000;

/// Whether it is `[]`.
pub(super) fn is_empty_list(value: &Value<'_>) -> bool {
    matches!(value.get_ref(), DeValue::Array(list) if list.is_empty())
}

/// A sentence: line breaks and runs of blanks become one blank.
pub(super) fn sentence(sink: &mut Sink<'_>, value: &Value<'_>) -> String {
    word(sink, value).map(|word| one_line(word.text)).unwrap_or_default()
}

/// A sentence that must say something.
pub(super) fn some_sentence(sink: &mut Sink<'_>, value: &Value<'_>, what: &str) -> String {
    let Some(word) = word(sink, value) else { return String::new() };
    let text = one_line(word.text);
    if text.is_empty() {
        sink.error(word.span(), format!("{what} is empty"));
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `true` or `false`.
pub(super) fn truth(sink: &mut Sink<'_>, value: &Value<'_>) -> bool {
    if let DeValue::Boolean(truth) = value.get_ref() {
        return *truth;
    }
    sink.error(value.span(), format!("expected true or false, found {}", kind(value.get_ref())));
    false
}

/// An integer from 0.
pub(super) fn number(sink: &mut Sink<'_>, value: &Value<'_>, most: u32) -> Option<u32> {
    let number = match value.get_ref() {
        DeValue::Integer(integer) => u32::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    };
    let number = number.filter(|&number| number <= most);
    if number.is_none() {
        sink.error(value.span(), format!("expected a number from 0 to {most}"));
    }
    number
}

/// One of a closed set of words.
pub(super) fn choice<T: Copy>(sink: &mut Sink<'_>, value: &Value<'_>, words: &[(&str, T)]) -> Option<T> {
    let word = word(sink, value)?;
    let known = || words.iter().map(|(name, _)| *name);
    let found = words.iter().find(|(name, _)| *name == word.text).map(|(_, meaning)| *meaning);
    if found.is_none() {
        sink.error(word.span(), format!("{} is not known here", quoted(word.text)))
            .expected(format!("expected {}", one_of(known())))
            .help(did_you_mean(word.text, known()));
    }
    found
}

/// An id or a name that others refer to: lower-case letters, digits and hyphens.
pub(super) fn name<'t>(sink: &mut Sink<'_>, word: Word<'t>, what: &str) -> Option<&'t str> {
    const LONGEST: usize = 64;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = !word.text.is_empty()
        && word.text.len() <= LONGEST
        && word.text.chars().all(fits)
        && !word.text.starts_with('-')
        && !word.text.ends_with('-');
    if good {
        return Some(word.text);
    }
    let repaired: String = word
        .text
        .to_lowercase()
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(LONGEST)
        .collect::<String>()
        .trim_matches('-')
        .to_owned();
    sink.error(word.span(), format!("{} cannot name {what}", quoted(word.text)))
        .expected("expected lower-case letters, digits and hyphens")
        .help((!repaired.is_empty()).then(|| format!("did you mean '{repaired}'?")));
    None
}
