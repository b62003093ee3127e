//! Words put together.

use std::fmt;

/// A text with its first letter in upper case, as a sentence begins; one that begins with an address or a MAC address is left as it is.
pub fn capitalized(text: &str) -> String {
    let first_word = text.split(' ').next().unwrap_or_default();
    if first_word.trim_end_matches(':').contains(':') {
        return text.to_owned();
    }
    let mut rest = text.chars();
    let first = rest.next().into_iter().flat_map(char::to_uppercase);
    // With room for a full stop.
    let mut told = String::with_capacity(text.len() + 1);
    told.extend(first);
    told.push_str(rest.as_str());
    told
}

/// So many of something, in words: `1 packet`, `2 packets`, `2 addresses`.
pub fn counted(number: u64, noun: &str) -> String {
    Counted(number, noun).to_string()
}

/// The same where it is written.
pub struct Counted<'a>(pub u64, pub &'a str);

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, noun) = *self;
        let (stem, ending) = if number == 1 { (noun, "") } else { inflected(noun) };
        let mut digits = itoa::Buffer::new();
        [digits.format(number), " ", stem, ending].into_iter().try_for_each(|part| f.write_str(part))
    }
}

/// The plural of a noun.
pub fn plural(noun: &str) -> String {
    let (stem, ending) = inflected(noun);
    [stem, ending].concat()
}

/// What stays of a noun in the plural, and how that ends.
fn inflected(noun: &str) -> (&str, &'static str) {
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o']) => (stem, "ies"),
        _ if noun.ends_with('s') || noun.ends_with('x') => (noun, "es"),
        _ => (noun, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::capitalized;
    use super::counted;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|number| counted(number, "flow")), ["0 flows", "1 flow", "2 flows"]);
    }

    #[test]
    fn addresses_stay_as_they_are() {
        assert_eq!(capitalized("élan"), "Élan");
        assert_eq!(capitalized("note: this"), "Note: this");
        assert_eq!(capitalized("fd42:7::1 answers"), "fd42:7::1 answers");
        assert_eq!(capitalized("ac:de:48:00:11:22 asks"), "ac:de:48:00:11:22 asks");
    }
}
