//! Host patterns by name: which of them cover a name is found by its labels, however many there are.

use std::borrow::Cow;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::rules::HostPattern;

/// Patterns, each with something that it stands for.
#[derive(Debug)]
pub struct Patterns<T> {
    exact: HashMap<String, Vec<T>, RandomState>,
    wild: HashMap<String, Vec<T>, RandomState>,
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self { exact: HashMap::default(), wild: HashMap::default() }
    }
}

impl<T> Patterns<T> {
    /// Adds a pattern.
    pub fn add(&mut self, pattern: &HostPattern, what: T) {
        let all = if pattern.wildcard { &mut self.wild } else { &mut self.exact };
        all.entry(pattern.name.to_ascii_lowercase()).or_default().push(what);
    }

    /// What the patterns that cover a name stand for, in no order worth anything.
    pub fn covering<'a>(&'a self, name: &str) -> Vec<&'a T> {
        if self.exact.is_empty() && self.wild.is_empty() {
            return Vec::new();
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        let parents =
            name.match_indices('.').filter(|(at, _)| *at > 0).filter_map(|(at, _)| name.get(at + 1..));
        let wild = parents.filter_map(|parent| self.wild.get(parent));
        self.exact.get(name.as_ref()).into_iter().chain(wild).flatten().collect()
    }

    /// Whether any pattern covers a name.
    pub fn cover(&self, name: &str) -> bool {
        !self.covering(name).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_cover_what_each_pattern_covers() {
        let patterns =
            ["plant.example", "*.plant.example", "*.EXAMPLE", "b.a.plant.example", "*.a.plant.example"].map(
                |text| match text.strip_prefix("*.") {
                    Some(name) => HostPattern { name: name.to_owned(), wildcard: true },
                    None => HostPattern { name: text.to_owned(), wildcard: false },
                },
            );
        let mut all = Patterns::default();
        for (at, pattern) in patterns.iter().enumerate() {
            all.add(pattern, at);
        }
        for name in [
            "plant.example",
            "PLANT.example.",
            "a.plant.example",
            "b.a.plant.example",
            ".plant.example",
            ".",
            "",
            "example",
            "..example",
            "xplant.example",
            "a.plant.example.org",
        ] {
            let expected: Vec<usize> = patterns
                .iter()
                .enumerate()
                .filter(|(_, pattern)| pattern.covers(name))
                .map(|(at, _)| at)
                .collect();
            let mut found: Vec<usize> = all.covering(name).into_iter().copied().collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{name}");
        }
    }
}
