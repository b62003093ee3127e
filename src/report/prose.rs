//! Numbers and lists in plain words.

use crate::model::plural;

/// A number with its thousands set apart: `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number with its noun: `1 packet`, `3 packets`, `2 addresses`.
pub fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{} {}", number(n), plural(noun)) }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// `a, b, c and 7 more`.
pub fn list_some(parts: &[String], at_most: usize) -> String {
    match parts.get(..at_most) {
        Some(told) if parts.len() > at_most => {
            format!("{} and {} more", told.join(", "), number((parts.len() - at_most) as u64))
        }
        _ => list(parts),
    }
}

/// A share in percent that never rounds something to nothing, nor less than all to all.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p <= 0.0 => "0 %".into(),
        p if p < 0.01 => "under 0.01 %".into(),
        p if p < 1.0 => format!("{p:.2} %"),
        p if (99.0..100.0).contains(&p) => "over 99 %".into(),
        p => format!("{p:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_well() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(count(1, "reply"), "1 reply");
        assert_eq!(count(2_000, "reply"), "2,000 replies");
        assert_eq!(count(2, "address"), "2 addresses");
        assert_eq!(count(0, "day"), "0 days");
        let parts = ["a", "b", "c"].map(String::from);
        assert_eq!(list(&parts), "a, b and c");
        assert_eq!(list_some(&parts, 2), "a, b and 1 more");
        assert_eq!(list_some(&parts, 3), "a, b and c");
        assert_eq!(percent(0.00001), "under 0.01 %");
        assert_eq!(percent(0.9999), "over 99 %");
        assert_eq!(percent(0.25), "25 %");
    }
}
