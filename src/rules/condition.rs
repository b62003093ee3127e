//! What a rule demands of a fact that the payload states: `"tls.version" = ">= 1.3"`, `"modbus.access" = "read"`.

use std::cmp::Ordering;
use std::fmt;

use super::TlsVersion;
use super::suggest::quoted;
use super::value::Slip;

/// A demand on every value that a flow states under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The fact's key, one of those that protocols document.
    pub key: String,
    /// Of these one has to hold, where there are any.
    any_of: Vec<Test>,
    /// Values that may not be.
    none_of: Vec<String>,
}

/// One way to hold a value against a word.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// The value itself, ASCII case ignored, `v3` and `3` alike.
    Is(String),
    /// An order among versions and numbers.
    Compares(Comparison, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    MoreThan,
    AtMost,
    LessThan,
}

impl Comparison {
    /// Longest sign first, so that `>=` is not taken for `>`.
    const ALL: [Self; 4] = [Self::AtLeast, Self::AtMost, Self::MoreThan, Self::LessThan];

    fn sign(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::MoreThan => ">",
            Self::AtMost => "<=",
            Self::LessThan => "<",
        }
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::AtLeast => order.is_ge(),
            Self::MoreThan => order.is_gt(),
            Self::AtMost => order.is_le(),
            Self::LessThan => order.is_lt(),
        }
    }
}

impl Condition {
    /// A condition that nothing contradicts yet.
    pub(super) fn new(key: &str) -> Self {
        Self { key: key.to_owned(), any_of: Vec::new(), none_of: Vec::new() }
    }

    /// Adds what a ruleset writes: `read`, `!= write`, `>= 1.3`.
    pub(super) fn add(&mut self, written: &str) -> Result<(), Slip> {
        let slip = |message: String| Slip {
            message,
            expected: "expected a value like \"read\", \"!= write\" or \">= 1.3\"".to_owned(),
            help: None,
        };
        let written = written.trim();
        if let Some(value) = written.strip_prefix("!=") {
            if value.trim().is_empty() {
                return Err(slip(format!("{} names no value", quoted(written))));
            }
            self.none_of.push(value.trim().to_owned());
            return Ok(());
        }
        for comparison in Comparison::ALL {
            if let Some(value) = written.strip_prefix(comparison.sign()) {
                let value = value.trim();
                if rank(value).is_none() {
                    return Err(slip(format!("{} has no order", quoted(value))));
                }
                self.any_of.push(Test::Compares(comparison, value.to_owned()));
                return Ok(());
            }
        }
        if written.is_empty() || written.starts_with(['=', '!', '~']) {
            return Err(slip(format!("{} is no demand", quoted(written))));
        }
        self.any_of.push(Test::Is(written.to_owned()));
        Ok(())
    }

    /// Whether a value agrees with it. A value that can't be put in an order contradicts no order.
    pub fn fits(&self, value: &str) -> bool {
        let holds = |test: &Test| match test {
            Test::Is(wanted) => same(wanted, value),
            Test::Compares(comparison, bound) => {
                compare(value, bound).is_none_or(|order| comparison.holds(order))
            }
        };
        (self.any_of.is_empty() || self.any_of.iter().any(holds))
            && !self.none_of.iter().any(|unwanted| same(unwanted, value))
    }

    /// What is demanded, without the key: `read or diagnostic`, `>= 1.3`, `not write`.
    pub fn wanted(&self) -> String {
        let any = self.any_of.iter().map(|test| match test {
            Test::Is(value) => value.clone(),
            Test::Compares(comparison, bound) => format!("{} {bound}", comparison.sign()),
        });
        let any: Vec<String> = any.collect();
        let none: Vec<String> = self.none_of.iter().map(|value| format!("not {value}")).collect();
        let any = any.join(" or ");
        [any, none.join(" and ")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.wanted())
    }
}

fn same(wanted: &str, value: &str) -> bool {
    bare(wanted).eq_ignore_ascii_case(bare(value))
}

/// `3` of `v3`: people write a version with its letter, protocols state it without.
fn bare(text: &str) -> &str {
    match text.strip_prefix(['v', 'V']) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => text,
    }
}

fn compare(value: &str, bound: &str) -> Option<Ordering> {
    Some(rank(value)?.cmp(&rank(bound)?))
}

/// Where a value stands: versions of SSL before those of TLS, then numbers joined by dots; `None` for what is no number.
fn rank(text: &str) -> Option<[u32; 4]> {
    match TlsVersion::from_name(text) {
        Some(TlsVersion::Ssl2) => return Some([0, 2, 0, 0]),
        Some(TlsVersion::Ssl3) => return Some([0, 3, 0, 0]),
        _ => {}
    }
    let mut parts = [0; 4];
    // DTLS names its versions after those of TLS (RFC 6347 section 1, RFC 9147 section 1).
    let mut written = bare(text.strip_prefix("dtls").unwrap_or(text)).split('.');
    for part in &mut parts {
        let Some(word) = written.next() else { break };
        // `2c` stands where 2 does.
        let digits = word.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        *part = digits.parse().ok().filter(|_| numeric)?;
    }
    written.next().is_none().then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(words: &[&str]) -> Condition {
        let mut condition = Condition::new("a.b");
        for word in words {
            condition.add(word).unwrap_or_else(|slip| panic!("{}", slip.message));
        }
        condition
    }

    #[test]
    fn values_are_held_against_words() {
        for (words, value, fits) in [
            (&["read"][..], "read", true),
            (&["read"], "Read", true),
            (&["read"], "write", false),
            (&["read", "diagnostic"], "diagnostic", true),
            (&["!= write"], "read", true),
            (&["!= write", "!= stop"], "stop", false),
            (&["read", "!= write"], "start", false),
            (&[">= 1.3"], "1.3", true),
            (&[">= 1.3"], "1.2", false),
            (&[">= 1.0"], "ssl3", false),
            (&[">= 1.2"], "dtls1.2", true),
            (&[">= 1.2"], "dtls1.0", false),
            (&["v3"], "3", true),
            (&["v3"], "2c", false),
            (&["> 2"], "2c", false),
            (&["< 16"], "2", true),
            (&["<= 2"], "16", false),
            // Not comparable, so no contradiction.
            (&[">= 1.3"], "unknown", true),
            (&["vendor"], "endor", false),
        ] {
            assert_eq!(condition(words).fits(value), fits, "{words:?} {value}");
        }
    }

    #[test]
    fn demands_that_say_nothing_are_refused() {
        for wrong in ["", "!=", ">=", ">= new", "= read", "== read", "~ x"] {
            assert!(Condition::new("a.b").add(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn they_are_told_as_written() {
        assert_eq!(condition(&["read", "diagnostic"]).to_string(), "a.b read or diagnostic");
        assert_eq!(condition(&[">= 1.3"]).to_string(), "a.b >= 1.3");
        assert_eq!(condition(&["read", "!= a", "!= b"]).to_string(), "a.b read, not a and not b");
    }
}
