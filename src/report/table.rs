//! Aligned columns that fit the page: what is too long is wrapped inside its column, and the last column takes what room is left.

use std::io;

use unicode_width::UnicodeWidthStr;

use super::escape::plain;
use super::page::Page;
use super::page::Paint;
use super::page::wrapped;

/// One field of a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    /// Text in a colour.
    pub fn painted(text: impl AsRef<str>, paint: Paint) -> Self {
        Self { text: plain(text.as_ref()).into_owned(), paint }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(text, Paint::Plain)
    }
}

/// A column's head and how its fields stand.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its head; tables whose columns have none print no line of heads.
    pub head: &'static str,
    /// Whether its fields end at the same place, as numbers do.
    pub right: bool,
    /// The widest that it gets.
    pub at_most: usize,
}

impl Column {
    /// A column of words.
    pub const fn words(head: &'static str, at_most: usize) -> Self {
        Self { head, right: false, at_most }
    }

    /// A column of numbers.
    pub const fn numbers(head: &'static str) -> Self {
        Self { head, right: true, at_most: 20 }
    }
}

/// Rows of fields under columns, the last of which is prose.
pub struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

/// Between two columns.
const GUTTER: usize = 2;
/// The least room in which the last column stands beside the others; with less it goes below them.
const BESIDE: usize = 36;
/// A column is never made narrower than this to fit the page.
const NARROWEST: usize = 8;

impl Table {
    /// A table that stands `indent` columns from the edge.
    pub fn new(columns: &'static [Column], indent: usize) -> Self {
        Self { columns, rows: Vec::new(), indent }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it.
    pub fn write(&self, page: &mut Page<'_>) -> io::Result<()> {
        let Some((_, fixed)) = self.columns.split_last() else { return Ok(()) };
        let room = page.style.width.saturating_sub(self.indent);
        let (mut widths, prose) = self.widths(fixed, room);
        let left = room.saturating_sub(widths.iter().map(|width| width + GUTTER).sum());
        // Prose that would be squeezed beside the other columns goes below them; where it is short enough it still stands beside.
        let squeezed = prose > left && left < BESIDE;
        widths.push(left.max(NARROWEST));
        if self.columns.iter().any(|column| !column.head.is_empty()) {
            let told = if squeezed { fixed } else { self.columns };
            let heads: Vec<_> = told.iter().map(|column| Cell::painted(column.head, Paint::Dim)).collect();
            self.write_row(page, &heads, &widths)?;
        }
        for row in &self.rows {
            match row.split_last() {
                Some((prose, others)) if squeezed && row.len() > fixed.len() && prose.text.width() > left => {
                    self.write_row(page, others, &widths)?;
                    page.paragraph(self.indent + GUTTER, &prose.text, prose.paint)?;
                }
                _ => self.write_row(page, row, &widths)?,
            }
        }
        Ok(())
    }

    /// The widths of all columns but the last, made to fit the room, and the width that the last would like.
    fn widths(&self, fixed: &[Column], room: usize) -> (Vec<usize>, usize) {
        let wanted = |index: usize| {
            self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.text.width()).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = fixed
            .iter()
            .enumerate()
            .map(|(index, column)| wanted(index).min(column.at_most).max(column.head.width()))
            .collect();
        let mut over = (widths.iter().sum::<usize>() + GUTTER * widths.len()).saturating_sub(room);
        while over > 0 {
            let Some(widest) =
                widths.iter_mut().max_by_key(|width| **width).filter(|width| **width > NARROWEST)
            else {
                break;
            };
            *widest -= 1;
            over -= 1;
        }
        (widths, wanted(fixed.len()))
    }

    fn write_row(&self, page: &mut Page<'_>, cells: &[Cell], widths: &[usize]) -> io::Result<()> {
        let columns: Vec<Vec<String>> =
            cells.iter().zip(widths).map(|(cell, &width)| wrapped(&cell.text, width)).collect();
        let height = columns.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let mut parts: Vec<(String, Paint)> = Vec::new();
            let mut pending = 0;
            for (((text, cell), &width), column) in columns.iter().zip(cells).zip(widths).zip(self.columns) {
                let text = text.get(line).map(String::as_str).unwrap_or_default();
                let fill = width.saturating_sub(text.width());
                let (before, after) = if column.right { (fill, 0) } else { (0, fill) };
                // Blanks are written when something follows them, so that no line ends in blanks.
                if !text.is_empty() {
                    parts.push((" ".repeat(pending + before), Paint::Plain));
                    parts.push((text.to_owned(), cell.paint));
                    pending = 0;
                } else {
                    pending += before;
                }
                pending += after + GUTTER;
            }
            let parts: Vec<(&str, Paint)> =
                parts.iter().map(|(text, paint)| (text.as_str(), *paint)).collect();
            page.line(if parts.is_empty() { 0 } else { self.indent }, &parts)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::*;

    const COLUMNS: &[Column] =
        &[Column::words("who", 30), Column::numbers("packets"), Column::words("why", 200)];

    fn told(width: usize) -> String {
        let mut table = Table::new(COLUMNS, 2);
        table.row(vec!["10.1.2.3".into(), "7".into(), "short".into()]);
        table.row(vec![
            "a.very.long.host.name.example.org".into(),
            "1,234".into(),
            "nothing came back although the client was heard".into(),
        ]);
        table.row(vec!["b".into(), "".into(), "".into()]);
        let (mut out, style) = (Vec::new(), Style { width, ..Style::default() });
        table.write(&mut Page::new(&mut out, &style)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_at_any_width() {
        insta::assert_snapshot!(format!("{}\n{}\n{}", told(120), told(80), told(40)));
    }

    #[test]
    fn no_line_is_too_long_or_ends_in_blanks() {
        for width in 40..130 {
            for line in told(width).lines() {
                assert!(line.width() <= width && !line.ends_with(' '), "{width}: {line:?}");
            }
        }
    }
}
