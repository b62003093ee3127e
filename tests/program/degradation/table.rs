//! The table of results.

use std::path::Path;

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

const BEGIN: &str = "<!-- table -->\n";
const END: &str = "<!-- end -->";

/// Puts the table into its document.
pub fn write(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/degradation.md");
    let text = std::fs::read_to_string(&path).expect("the document");
    let (head, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (_, tail) = rest.split_once(END).expect("where the table ends");
    std::fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}")).expect("the document can be written");
}

/// Whether the document holds this table.
pub fn is_told(table: &str) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/degradation.md");
    std::fs::read_to_string(path).is_ok_and(|text| text.contains(table))
}
