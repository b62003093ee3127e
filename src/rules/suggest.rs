//! What was probably meant: the nearest known word, and how words are quoted in messages.

/// The known word nearest to `word`, if one is near enough to be a slip of the hand.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (word.chars().count() / 4).clamp(1, 3);
    let wanted = word.to_lowercase().replace(['_', ' '], "-");
    known
        .into_iter()
        .filter_map(|candidate| {
            let distance = edit_distance(&wanted, &candidate.to_lowercase().replace('_', "-"), limit)?;
            Some((distance, candidate))
        })
        .min_by_key(|&(distance, candidate)| (distance, candidate))
        .map(|(_, candidate)| candidate)
}

/// `did you mean 'site-manager'?`, where a known word is near.
pub(super) fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    nearest(word, known).map(|candidate| format!("did you mean '{candidate}'?"))
}

/// Edits (insert, delete, replace, swap of neighbours) that turn one word into the other, if no more than `limit`.
///
/// The optimal string alignment distance; words of more than 64 characters are no slips of one another.
pub(super) fn edit_distance(left: &str, right: &str, limit: usize) -> Option<usize> {
    const LONGEST: usize = 64;
    let left: Vec<char> = left.chars().take(LONGEST + 1).collect();
    let right: Vec<char> = right.chars().take(LONGEST + 1).collect();
    if left.len() > LONGEST || right.len() > LONGEST || left.len().abs_diff(right.len()) > limit {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &from) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(above.len());
        current.push(row + 1);
        for (column, &to) in right.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&above, column) + usize::from(from != to))
                .min(at(&above, column + 1) + 1)
                .min(at(&current, column) + 1);
            let swapped = row
                .checked_sub(1)
                .zip(column.checked_sub(1))
                .is_some_and(|(up, back)| left.get(up) == Some(&to) && right.get(back) == Some(&from));
            if swapped {
                best = best.min(at(&before, column - 1) + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above.last().copied().filter(|&distance| distance <= limit)
}

/// A word in quotes as messages print it: shortened, and without characters that a terminal would obey.
pub(super) fn quoted(word: &str) -> String {
    const SHOWN: usize = 60;
    let mut text = String::from("'");
    for (count, character) in word.chars().enumerate() {
        if count == SHOWN {
            text.push('…');
            break;
        }
        if character.is_control() || is_bidi_control(character) {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text.push('\'');
    text
}

/// Whether a character reorders text on a terminal (Unicode Bidirectional Algorithm, explicit formatting characters).
pub(super) fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Words in quotes, joined: `'a', 'b' or 'c'`.
pub(super) fn one_of<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.into_iter().map(quoted).collect();
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["site-manager", "enterprise-manager", "network-sensor", "user"];
        assert_eq!(nearest("site-manger", known), Some("site-manager"));
        assert_eq!(nearest("iste-manager", known), Some("site-manager"));
        assert_eq!(nearest("site_manager", known), Some("site-manager"));
        assert_eq!(nearest("usr", known), Some("user"));
        assert_eq!(nearest("plc", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn distance_is_bounded() {
        assert_eq!(edit_distance("abc", "abc", 0), Some(0));
        assert_eq!(edit_distance("abc", "acb", 2), Some(1));
        assert_eq!(edit_distance("abc", "xyz", 2), None);
        assert_eq!(edit_distance(&"a".repeat(10_000), "a", 10_000), None);
    }

    #[test]
    fn quotes_disarm_terminals() {
        assert_eq!(quoted("a\u{1b}[2Jb"), "'a\\u{1b}[2Jb'");
        assert_eq!(quoted("\u{202e}x"), "'\\u{202e}x'");
    }
}
