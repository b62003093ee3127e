//! JSON written piece by piece, for what a report has a hundred thousand of: what is always the same in it is copied whole.

use serde::Serialize;
use serde_json::ser::CompactFormatter;
use serde_json::ser::Serializer;

use crate::model::Timestamp;

use super::json_writer::Safe;
use super::time;

/// JSON on one line, as it grows.
#[derive(Debug, Default)]
pub struct Line {
    bytes: Vec<u8>,
    /// The day that was told last, and its date: the next time is often of the same.
    day: Option<(i64, [u8; 11])>,
}

impl Line {
    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Begins again.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// JSON as it stands.
    #[inline]
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.bytes.extend_from_slice(json.as_bytes());
        self
    }

    /// A string.
    #[inline]
    pub fn string(&mut self, text: &str) -> &mut Self {
        if is_bare(text.as_bytes()) {
            self.bytes.push(b'"');
            self.bytes.extend_from_slice(text.as_bytes());
            self.bytes.push(b'"');
        } else {
            self.value(&text);
        }
        self
    }

    /// A string, or null.
    #[inline]
    pub fn maybe(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.string(text),
            None => self.raw("null"),
        }
    }

    /// A list of values.
    #[inline]
    pub fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut tell: impl for<'l> FnMut(&'l mut Self, T) -> &'l mut Self,
    ) -> &mut Self {
        self.bytes.push(b'[');
        let mut comma = "";
        for item in items {
            self.raw(comma);
            tell(self, item);
            comma = ",";
        }
        self.bytes.push(b']');
        self
    }

    /// A number.
    #[inline]
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.raw(itoa::Buffer::new().format(number))
    }

    /// A time, as [`time::rfc3339`] writes it.
    #[inline]
    pub fn time(&mut self, at: Timestamp) -> &mut Self {
        let (day, clock) = time::day_and_clock(at);
        let date = match self.day {
            Some((known, date)) if known == day => date,
            _ => {
                let date = time::date_text(day);
                self.day = Some((day, date));
                date
            }
        };
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(&date);
        self.bytes.extend_from_slice(&clock);
        self.bytes.push(b'"');
        self
    }

    /// Any value.
    pub fn value(&mut self, value: &impl Serialize) -> &mut Self {
        // Writing to memory does not fail, and neither does a view that is made of texts and numbers.
        let _ = value.serialize(&mut Serializer::with_formatter(&mut self.bytes, Safe(CompactFormatter)));
        self
    }
}

/// Whether a text is its own JSON: printable ASCII without quotation marks and backslashes. Eight bytes at a time.
fn is_bare(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    // Sets the top bit of each byte that is zero, and perhaps of others where one is; none where none is.
    let zeros = |eight: u64| eight.wrapping_sub(ONES) & !eight;
    let odd = |eight: u64| {
        let quote = zeros(eight ^ (ONES * b'"' as u64));
        let backslash = zeros(eight ^ (ONES * b'\\' as u64));
        let delete = zeros(eight ^ (ONES * 0x7f));
        let control = eight.wrapping_sub(ONES * 0x20) & !eight;
        (eight | quote | backslash | delete | control) & TOPS
    };
    let (eights, rest) = text.as_chunks::<8>();
    let seen = eights.iter().fold(0, |seen, eight| seen | odd(u64::from_ne_bytes(*eight)));
    let last = rest.iter().fold(0_u64, |seen, &byte| seen << 8 | u64::from(byte));
    // The places that nothing fills hold spaces.
    let filled = 8 * rest.len() as u32;
    let spaces = (ONES * u64::from(b' ')).checked_shl(filled).unwrap_or_default();
    (seen | odd(last | spaces)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tell: impl for<'l> FnOnce(&'l mut Line) -> &'l mut Line) -> String {
        let mut line = Line::default();
        tell(&mut line);
        String::from_utf8(line.bytes).unwrap()
    }

    proptest::proptest! {
        /// Texts, numbers and times are those that serde_json and the calendar write.
        #[test]
        fn pieces_are_written_as_ever(text: String, plain in "[ -~]{0,40}", number: u64, nanos: i64, later: i64) {
            for text in [&text, &plain] {
                proptest::prop_assert_eq!(
                    serde_json::from_str::<String>(&told(|line| line.string(text))).unwrap(),
                    text.clone()
                );
            }
            if !plain.contains(['"', '\\']) {
                proptest::prop_assert_eq!(told(|line| line.string(&plain)), format!("\"{plain}\""));
            }
            proptest::prop_assert_eq!(told(|line| line.number(number)), number.to_string());
            let times = [nanos, later, nanos].map(Timestamp::from_nanos);
            let written = told(|line| line.list(times, |line, time| line.time(time)));
            proptest::prop_assert_eq!(written, serde_json::to_string(&times.map(time::rfc3339)).unwrap());
        }
    }

    #[test]
    fn bare_is_what_needs_no_escape_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for before in 0..10 {
                for after in 0..10 {
                    let text = [&vec![b'a'; before], &[byte][..], &vec![b'~'; after]].concat();
                    let bare = (b' '..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
                    assert_eq!(is_bare(&text), bare, "{byte:#x} after {before} before {after}");
                }
            }
        }
        assert!(is_bare(b"") && is_bare(b"                "));
    }
}
