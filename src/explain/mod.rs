//! One point of a report explained: numbered steps with packets and display filters, what would have shown the opposite, whom to ask.
//!
//! Works on the report alone, never on packets: what it says was decided by the audit, and it decides nothing anew.

mod conversation;
mod doubt;
mod filter;
mod finding;
mod mechanism;
mod requirement;
mod step;
mod subject;

#[cfg(test)]
mod tests;

use crate::report::Archive;
use crate::report::Explanation;

pub use subject::Subject;
pub use subject::Unknown;

/// Explains what a word means: a finding's number in the report's order, an id or its beginning, of a finding, a requirement or a
/// conversation; or a rule's id, where one requirement came of it.
pub fn explain(archive: &Archive, wanted: &str) -> Result<Explanation, Unknown> {
    let mut explanation = match subject::find(archive, wanted)? {
        Subject::Finding(told) => finding::explain(archive, told),
        Subject::Requirement(told) => requirement::explain(archive, told),
        Subject::Conversation(told) => conversation::explain(archive, told),
    };
    step::find_live(archive, &mut explanation.steps);
    Ok(explanation)
}
