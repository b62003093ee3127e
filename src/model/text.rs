//! Words put together.

/// A text with its first letter in upper case, as a sentence begins; one that begins with an address or a MAC address is left as it is.
pub fn capitalized(text: &str) -> String {
    let first_word = text.split(' ').next().unwrap_or_default();
    if first_word.trim_end_matches(':').contains(':') {
        return text.to_owned();
    }
    let mut rest = text.chars();
    match rest.next() {
        Some(first) => first.to_uppercase().chain(rest).collect(),
        None => String::new(),
    }
}

/// So many of something, in words: `1 packet`, `2 packets`, `2 addresses`.
pub fn counted(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {}", plural(noun)) }
}

/// The plural of a noun.
pub fn plural(noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o']) => format!("{stem}ies"),
        _ if noun.ends_with('s') || noun.ends_with('x') => format!("{noun}es"),
        _ => format!("{noun}s"),
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
