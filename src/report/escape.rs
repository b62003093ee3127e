//! Makes text from the wire harmless to the eye and to the terminal that shows it: the one door for all formats.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character must never reach an output as it is.
///
/// These are the control characters (Unicode category Cc: a terminal obeys them), and of the format characters (Cf) those that reorder,
/// hide or join what stands around them: bidirectional controls (UAX #9), zero-width and filler characters, line separators and tags.
pub fn is_hostile(c: char) -> bool {
    // Nearly all text is printable ASCII, and that is decided in one comparison.
    if matches!(c, ' '..='~') {
        return false;
    }
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffc}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text for a terminal or a page of plain text: what is hostile is spelled out as `\n`, `\x1b` or `\u{202e}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            // Writing to a String does not fail.
            c if is_hostile(c) && u32::from(c) < 0x100 => drop(write!(safe, "\\x{:02x}", u32::from(c))),
            c if is_hostile(c) => drop(write!(safe, "\\u{{{:x}}}", u32::from(c))),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// A text as a TOML basic string with its quotation marks (<https://toml.io/en/v1.0.0#string>).
pub fn toml_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if is_hostile(c) => drop(write!(quoted, "\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(plain(text), expected);
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        check("sm.plant.example", "sm.plant.example");
        check("größe 大きさ", "größe 大きさ");
        check("a\x1b[31mb", "a\\x1b[31mb");
        check("a\u{9b}31mb", "a\\x9b31mb");
        check("one\r\ntwo\tthree\0", "one\\r\\ntwo\\tthree\\x00");
        check("user\u{202e}gnp.exe", "user\\u{202e}gnp.exe");
        check("pay\u{200b}pal\u{feff}", "pay\\u{200b}pal\\u{feff}");
        check("\u{e0041}", "\\u{e0041}");
    }

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(plain("10.1.2.3 → 10.1.2.4"), Cow::Borrowed(_)));
    }

    #[test]
    fn toml_strings_hold_any_text() {
        assert_eq!(toml_string("a\"b\\c\n"), "\"a\\\"b\\\\c\\U0000000A\"");
    }
}
