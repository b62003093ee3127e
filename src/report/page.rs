//! A page of plain text for people: escaped, wrapped to the terminal's width, coloured where that is wanted.

use std::io;

use unicode_width::UnicodeWidthChar;
use unicode_width::UnicodeWidthStr;

use super::Style;
use super::escape::plain;

/// How a stretch of text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paint {
    /// As the terminal has it.
    #[default]
    Plain,
    /// Headings and what matters most.
    Bold,
    /// What can be passed over.
    Dim,
    /// It is well.
    Good,
    /// It is not as it should be.
    Warning,
    /// It does not work.
    Bad,
}

impl Paint {
    /// The select-graphic-rendition sequence (ECMA-48 section 8.3.117). Colours are the terminal's own sixteen, legible in either theme.
    fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Warning => "\x1b[33m",
            Self::Bad => "\x1b[1;31m",
        }
    }
}

/// Where the text goes, and how it is to look.
pub struct Page<'a> {
    out: &'a mut dyn io::Write,
    /// Colours, width, verbosity.
    pub style: &'a Style,
}

/// The narrowest column into which prose is wrapped; a narrower terminal gets long lines rather than shreds.
const NARROWEST: usize = 24;
/// Behind these a long word may be broken: the parts of names, addresses and paths. All are one byte long.
const JOINTS: [char; 6] = ['-', '_', '.', ':', '/', '@'];

impl<'a> Page<'a> {
    /// A page in a style.
    pub fn new(out: &'a mut dyn io::Write, style: &'a Style) -> Self {
        Self { out, style }
    }

    /// An empty line.
    pub fn gap(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    /// A heading with an empty line before it.
    pub fn heading(&mut self, text: &str) -> io::Result<()> {
        self.gap()?;
        self.line(0, &[(text, Paint::Bold)])
    }

    /// One line as it is, never wrapped: what a reader copies, and rows that have been measured already.
    pub fn line(&mut self, indent: usize, parts: &[(&str, Paint)]) -> io::Result<()> {
        write!(self.out, "{:indent$}", "")?;
        for &(text, paint) in parts {
            self.painted(&plain(text), paint)?;
        }
        self.gap()
    }

    /// A paragraph, wrapped.
    pub fn paragraph(&mut self, indent: usize, text: &str, paint: Paint) -> io::Result<()> {
        self.hanging(indent, "", text, paint)
    }

    /// A paragraph behind a mark or a label that stands at the indent; further lines hang below the text.
    pub fn hanging(&mut self, indent: usize, label: &str, text: &str, paint: Paint) -> io::Result<()> {
        self.labelled(indent, label, Paint::Plain, label.width(), text, paint)
    }

    /// A label in a column of its own, and a paragraph beside it.
    pub fn field(&mut self, indent: usize, label: &str, column: usize, text: &str) -> io::Result<()> {
        self.labelled(indent, label, Paint::Dim, column, text, Paint::Plain)
    }

    fn labelled(
        &mut self,
        indent: usize,
        label: &str,
        label_paint: Paint,
        column: usize,
        text: &str,
        paint: Paint,
    ) -> io::Result<()> {
        let label = plain(label);
        // A label that fills its column still keeps its distance.
        let gutter =
            usize::from(label.width() >= column && column > 0 && !label.ends_with(' ') && !label.is_empty());
        let hang = indent + column.max(label.width() + gutter);
        let lines = wrapped(&plain(text), self.style.width.saturating_sub(hang).max(NARROWEST));
        for (index, line) in lines.iter().enumerate() {
            if index == 0 {
                write!(self.out, "{:indent$}", "")?;
                self.painted(&label, label_paint)?;
                write!(
                    self.out,
                    "{:1$}",
                    "",
                    if line.is_empty() { 0 } else { hang - indent - label.width() }
                )?;
            } else {
                write!(self.out, "{:hang$}", "")?;
            }
            self.painted(line, paint)?;
            self.gap()?;
        }
        Ok(())
    }

    /// Escaped text in its colour. Trailing blanks are the caller's to avoid.
    fn painted(&mut self, text: &str, paint: Paint) -> io::Result<()> {
        if self.style.color && paint != Paint::Plain && !text.is_empty() {
            write!(self.out, "{}{text}\x1b[0m", paint.sequence())
        } else {
            self.out.write_all(text.as_bytes())
        }
    }
}

/// Breaks text into lines of at most `width` columns, between words where it can. There is always a line.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let needed = word.width();
        if used > 0 && used + 1 + needed > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        if needed <= width {
            line.push_str(word);
            used += needed;
            continue;
        }
        // A word longer than a line (a long host name) is broken behind its last joint that fits, or where the line ends.
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            while used > 0 && used + wide > width {
                let rest = line.rfind(JOINTS).map(|at| line.split_off(at + 1)).unwrap_or_default();
                if line.width() * 2 >= width {
                    lines.push(std::mem::replace(&mut line, rest));
                } else {
                    lines.push(std::mem::take(&mut line) + &rest);
                }
                used = line.width();
            }
            line.push(c);
            used += wide;
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, width: usize, expected: &[&str]) {
        assert_eq!(wrapped(text, width), expected);
    }

    #[test]
    fn words_are_kept_whole_where_they_fit() {
        check("", 10, &[""]);
        check("one two three", 80, &["one two three"]);
        check("one two three", 7, &["one two", "three"]);
        check("abcdefghij kl", 4, &["abcd", "efgh", "ij", "kl"]);
        check("queue-sensor-to-site", 15, &["queue-sensor-", "to-site"]);
        check("2001:db8::9:5", 8, &["2001:", "db8::9:5"]);
        check("大きさ 大", 6, &["大きさ", "大"]);
        check("大きさ", 1, &["大", "き", "さ"]);
    }

    proptest::proptest! {
        /// Whatever the text, no line is too wide, and nothing of it is lost but blanks.
        #[test]
        fn wrapping_loses_nothing(text in "[ a-z.:/大é\\u{301}-]{0,120}", width in 2_usize..40) {
            let lines = wrapped(&text, width);
            proptest::prop_assert!(lines.iter().all(|line| line.width() <= width), "{lines:?}");
            let solid = |text: &str| text.replace(' ', "");
            proptest::prop_assert_eq!(solid(&lines.concat()), solid(&text));
        }
    }

    #[test]
    fn colour_is_written_only_where_wanted() {
        for (color, expected) in [(false, "  a: b\n"), (true, "  a: \x1b[1;31mb\x1b[0m\n")] {
            let (mut out, style) = (Vec::new(), Style { color, ..Style::default() });
            Page::new(&mut out, &style).hanging(2, "a: ", "b", Paint::Bad).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn nothing_hostile_reaches_the_page() {
        let (mut out, style) = (Vec::new(), Style::default());
        let mut page = Page::new(&mut out, &style);
        let text = "x\x1b]0;owned\x07\ny\u{202e}";
        page.heading(text).unwrap();
        page.paragraph(2, text, Paint::Plain).unwrap();
        page.field(2, text, 4, text).unwrap();
        page.line(0, &[(text, Paint::Bold)]).unwrap();
        let told = String::from_utf8(out).unwrap();
        assert!(!told.chars().any(|c| c != '\n' && super::super::escape::is_hostile(c)), "{told:?}");
    }
}
