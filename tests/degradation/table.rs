//! The table of results.

use super::score::Score;

/// The table as Markdown, a line for each kind of variant.
pub fn of(scores: &[(String, Score)]) -> String {
    let mut text = String::from(
        "| variant | recordings | works: satisfied | works: nothing claimed | false alarms | broken: found | broken: nothing claimed | broken: misnamed | broken: told as working | unexpected: told | unexpected: not told | false unexpected |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, score) in scores {
        text.push_str(&format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            score.recordings,
            score.satisfied,
            score.quiet,
            score.false_alarms,
            score.found,
            score.open,
            score.misnamed,
            score.hidden,
            score.told_unexpected,
            score.lost_unexpected,
            score.false_unexpected,
        ));
    }
    text
}
