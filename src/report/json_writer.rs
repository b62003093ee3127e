//! JSON that is safe to look at: hostile characters are written as `\uXXXX`, which every parser reads back as what they are. Objects over many
//! lines, some of whose lists several threads write.

use std::io;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::thread;

use crate::threads::joined;

use serde::Serialize;
use serde_json::ser::CompactFormatter;
use serde_json::ser::Formatter;
use serde_json::ser::Serializer;

use super::escape::is_hostile;
use super::json_line::Line;

/// Bytes gathered before they are passed on.
const GATHERED: usize = 64 * 1024;

/// Writes a value on one line and ends the line.
pub fn write_line(value: &impl Serialize, out: &mut dyn io::Write) -> io::Result<()> {
    let mut line = Vec::with_capacity(1024);
    value.serialize(&mut Serializer::with_formatter(&mut line, Safe(CompactFormatter)))?;
    line.push(b'\n');
    out.write_all(&line)
}

/// Writes an object over many lines, one for each of its members and for each member of these, and ends the last: a conversation
/// or a finding is one line, for grep and diff and half the bytes of a page indented to the leaves.
pub fn write_page(value: &impl Serialize, out: &mut dyn io::Write) -> io::Result<()> {
    let mut gather = Gather { bytes: Vec::with_capacity(GATHERED), out };
    value.serialize(&mut Serializer::with_formatter(&mut gather, Safe(Lines::default())))?;
    gather.write_all(b"\n")?;
    gather.pass_on()
}

/// The most items of a list that one thread tells at a time: a list of millions takes little memory then.
const MOST: usize = 1024;
/// The same where there is no other: what was told is passed on while the processor's cache holds it.
const ALONE: usize = 64;

/// The same as [`write_page`], a member at a time.
pub struct Page<'a> {
    gather: Gather<'a>,
    lines: Lines,
    workers: usize,
}

impl<'a> Page<'a> {
    /// Begins a page, on which so many threads may work.
    pub fn new(out: &'a mut dyn io::Write, workers: NonZeroUsize) -> io::Result<Self> {
        let mut gather = Gather { bytes: Vec::with_capacity(GATHERED), out };
        let mut lines = Lines::default();
        lines.begin_object(&mut gather)?;
        Ok(Self { gather, lines, workers: workers.get() })
    }

    /// One member.
    pub fn member(&mut self, key: &str, value: &impl Serialize) -> io::Result<()> {
        self.key(key)?;
        let lines = Lines { depth: self.lines.depth, has_member: true };
        value.serialize(&mut Serializer::with_formatter(&mut self.gather, Safe(lines)))?;
        Ok(())
    }

    /// A member that is an object of its own, whose members come next.
    pub fn open(&mut self, key: &str) -> io::Result<()> {
        self.key(key)?;
        self.lines.begin_object(&mut self.gather)
    }

    /// Ends the object that was opened last.
    pub fn close(&mut self) -> io::Result<()> {
        self.lines.end_object(&mut self.gather)
    }

    /// A member that is a list, each of whose items is told on a line. It is the same for any number of threads.
    pub fn list<T: Sync>(
        &mut self,
        key: &str,
        items: &[T],
        tell: impl Fn(&mut Line, &T) + Sync,
    ) -> io::Result<()> {
        self.key(key)?;
        self.lines.begin_array(&mut self.gather)?;
        let (mut before, next) = self.lines.before_items();
        let share =
            if self.workers == 1 { ALONE } else { items.len().div_ceil(self.workers).clamp(ALONE, MOST) };
        // What is on the page goes out first; then a share at a time, as it was told.
        self.gather.pass_on()?;
        let mut told: Vec<Line> = Vec::new();
        told.resize_with(self.workers.min(items.len().div_ceil(share)), Line::default);
        for round in items.chunks(share.saturating_mul(self.workers)) {
            thread::scope(|scope| {
                let mut shares = round.chunks(share).zip(&mut told).map(|(items, line)| {
                    let (before, tell) = (std::mem::replace(&mut before, next), &tell);
                    move || lines_of(items, (before, next), line, tell)
                });
                let own = shares.next();
                let others: Vec<_> = shares.map(|share| scope.spawn(share)).collect();
                own.into_iter().for_each(|mut share| share());
                others.into_iter().for_each(joined);
            });
            for line in told.iter().take(round.len().div_ceil(share)) {
                self.gather.out.write_all(line.bytes())?;
            }
        }
        self.lines.has_member |= !items.is_empty();
        self.lines.end_array(&mut self.gather)
    }

    /// Ends the page.
    pub fn finish(mut self) -> io::Result<()> {
        self.close()?;
        self.gather.write_all(b"\n")?;
        self.gather.pass_on()
    }

    fn key(&mut self, key: &str) -> io::Result<()> {
        let first = !self.lines.has_member;
        self.lines.begin_object_key(&mut self.gather, first)?;
        key.serialize(&mut Serializer::with_formatter(&mut self.gather, Safe(CompactFormatter)))?;
        self.lines.begin_object_value(&mut self.gather)
    }
}

/// Items told one behind the other, with what stands before the first and before each of the others.
fn lines_of<T>(
    items: &[T],
    (mut before, next): (&str, &str),
    line: &mut Line,
    tell: &impl Fn(&mut Line, &T),
) {
    line.clear();
    for item in items {
        line.raw(before);
        tell(line, item);
        before = next;
    }
}

/// Gathers the many small pieces of a page, so that each is a few bytes copied and no call through a trait object.
struct Gather<'a> {
    bytes: Vec<u8>,
    out: &'a mut dyn io::Write,
}

impl Gather<'_> {
    #[cold]
    fn pass_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}

impl io::Write for Gather<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.pass_on()?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.out.flush()
    }
}

/// Whether there is nothing but ASCII below DEL, as nearly always; C0 controls never get here. Without an early exit, so that the
/// compiler looks at sixteen bytes at a time.
fn is_plain(bytes: &[u8]) -> bool {
    // The highest bit is set in what is not ASCII, and in DEL once one is added.
    bytes.iter().fold(0, |seen, &byte| seen | byte | byte.wrapping_add(1)) & 0x80 == 0
}

/// How deep each member has a line of its own: the page's members, and their members.
const LINES_TO: usize = 2;

/// The layout of a page.
#[derive(Default)]
struct Lines {
    /// How many objects and arrays are open.
    depth: usize,
    /// Whether the innermost has a member.
    has_member: bool,
}

impl Lines {
    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_member = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        let breaks = self.has_member && self.depth <= LINES_TO;
        self.depth = self.depth.saturating_sub(1);
        self.has_member = true;
        if breaks {
            self.break_line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn member<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.has_member = true;
        if !first {
            writer.write_all(b",")?;
        }
        if self.depth <= LINES_TO { self.break_line(writer) } else { Ok(()) }
    }

    /// What stands before the first item of the list that was begun last, and before each of the others.
    fn before_items(&self) -> (&'static str, &'static str) {
        match self.depth {
            0 => ("\n", ",\n"),
            1 => ("\n  ", ",\n  "),
            LINES_TO => ("\n    ", ",\n    "),
            _ => ("", ","),
        }
    }

    fn break_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(match self.depth {
            0 => b"\n",
            1 => b"\n  ",
            _ => b"\n    ",
        })
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.member(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.member(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.depth <= LINES_TO { b": " } else { b":" })
    }
}

/// A formatter that looks after the text and leaves the layout to another.
pub struct Safe<F>(pub F);

impl<F: Formatter> Formatter for Safe<F> {
    /// serde_json has taken care of quotation marks, backslashes and C0 controls when this is called with what lies between them.
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if is_plain(fragment.as_bytes()) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut told = 0;
        for (at, c) in fragment.char_indices().filter(|&(_, c)| is_hostile(c)) {
            writer.write_all(fragment.get(told..at).unwrap_or_default().as_bytes())?;
            // RFC 8259 section 7: beyond the basic plane as a surrogate pair.
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            told = at + c.len_utf8();
        }
        writer.write_all(fragment.get(told..).unwrap_or_default().as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_key(writer)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// An object whose keys come out in the order of the list.
pub struct Map<K, V>(pub Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Map<K, V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_escaped_and_survives() {
        let text = "a\u{202e}b\"c\\\u{9b}\u{1b}\u{e0041}\u{7f}é";
        let mut out = Vec::new();
        write_line(&text, &mut out).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert_eq!(line, "\"a\\u202eb\\\"c\\\\\\u009b\\u001b\\udb40\\udc41\\u007fé\"\n");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }

    #[test]
    fn a_page_has_a_line_for_each_member_of_a_member() {
        let page = serde_json::json!({
            "name": "x", "none": [], "empty": {}, "list": [{"a": 1, "b": [2, 3]}, {}], "object": {"c": {"d": 4}, "e": null},
        });
        let mut out = Vec::new();
        write_page(&page, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let wanted = "{\n  \"name\": \"x\",\n  \"none\": [],\n  \"empty\": {},\n  \"list\": [\n    {\"a\":1,\"b\":[2,3]},\n    {}\n  ],\n  \
                      \"object\": {\n    \"c\": {\"d\":4},\n    \"e\": null\n  }\n}\n";
        assert_eq!(text, wanted);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), page);
    }

    #[test]
    fn a_page_by_members_is_the_page_of_the_whole_for_any_number_of_threads() {
        let items: Vec<u64> = (0..3 * MOST as u64 + 5).collect();
        let whole = serde_json::json!({ "a": { "b": 1, "c": &items }, "d": {}, "e": &items[..2], "f": [], "g": [{"h": [1]}] });
        let mut wanted = Vec::new();
        write_page(&whole, &mut wanted).unwrap();
        for workers in [1, 2, 5] {
            let mut out = Vec::new();
            let mut page = Page::new(&mut out, NonZeroUsize::new(workers).unwrap()).unwrap();
            page.open("a").unwrap();
            page.member("b", &1).unwrap();
            page.list("c", &items, |line, item| {
                line.number(*item);
            })
            .unwrap();
            page.close().unwrap();
            page.open("d").unwrap();
            page.close().unwrap();
            page.list("e", &items[..2], |line, item| {
                line.value(item);
            })
            .unwrap();
            page.list("f", &items[..0], |line, item| {
                line.value(item);
            })
            .unwrap();
            page.member("g", &whole["g"]).unwrap();
            page.finish().unwrap();
            assert_eq!(
                String::from_utf8(out).unwrap(),
                String::from_utf8(wanted.clone()).unwrap(),
                "{workers}"
            );
        }
    }

    #[test]
    fn plain_is_what_every_terminal_shows_as_it_is() {
        for byte in b' '..=u8::MAX {
            assert_eq!(is_plain(&[b'a', byte]), byte < 0x7f, "{byte:#x}");
        }
    }
}
