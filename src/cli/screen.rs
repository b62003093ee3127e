//! What a watch shows on a terminal: events as lines, and under them one line that says how it goes.

use std::io::IsTerminal;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::report::plain;
use crate::watch::Board;
use crate::watch::Event;
use crate::watch::Hear;
use crate::watch::Level;
use crate::watch::Word;

use super::say;

/// Back to the first column and clear to the end of the line (ECMA-48 EL).
const CLEAR: &str = "\r\x1b[K";
/// Dim, red, yellow (ECMA-48 SGR); anstream takes them out where they are not wanted.
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// Whether somebody looks on.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

#[derive(Debug, Default)]
struct Shown {
    /// The status line that stands on the terminal now.
    status: String,
}

/// The terminal, shared by the threads of a watch.
#[derive(Clone, Debug)]
pub struct Screen {
    shown: Arc<Mutex<Shown>>,
    /// Whether events are told to people here: nobody said where else they go.
    tells_events: bool,
    has_status: bool,
}

impl Screen {
    /// The screen; `alone` says that events have no other place.
    pub fn new(alone: bool) -> Self {
        Self {
            shown: Arc::default(),
            tells_events: alone && is_terminal(),
            has_status: std::io::stderr().is_terminal(),
        }
    }

    /// Whether the last report can be printed on standard output without mixing with events there.
    pub fn is_free_for_a_report(&self) -> bool {
        is_terminal()
    }

    /// One line for whoever asked.
    pub fn line(&self, text: &str) {
        // Nobody to read it is no reason to fail.
        let _ = writeln!(anstream::stdout().lock(), "{}", plain(text));
    }

    /// What hears the words of the watch.
    pub fn ear(&self) -> Hear {
        let screen = self.clone();
        Box::new(move |word| match word {
            Word::Event(event) => screen.event(&event),
            Word::Trouble(what) => screen.above(|| say::warning(&what)),
        })
    }

    fn event(&self, event: &Event) {
        if !self.tells_events || event.message.is_empty() {
            return;
        }
        let color = match event.level {
            Level::Error => RED,
            Level::Warning => YELLOW,
            Level::Notice | Level::Info => "",
        };
        // For months on one screen a time needs its day; it is UTC, as in all that is written.
        let time = event.time.as_deref().and_then(|time| Some((time.get(5..10)?, time.get(11..19)?)));
        let (day, time) = time.unwrap_or(("--", "--:--:--"));
        self.above(|| {
            let mut out = anstream::stdout().lock();
            // Nobody to read it is no reason to end.
            let _ = writeln!(
                out,
                "{DIM}{day:>5} {time}Z{RESET} {color}{:<17}{RESET} {}",
                event.event,
                plain(&event.message)
            );
            let _ = out.flush();
        });
    }

    /// Writes lines above the status line.
    fn above(&self, tell: impl FnOnce()) {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut err = std::io::stderr().lock();
        if !shown.status.is_empty() {
            let _ = write!(err, "{CLEAR}");
        }
        drop(err);
        tell();
        if !shown.status.is_empty() {
            let _ = write!(std::io::stderr().lock(), "{}", shown.status);
        }
    }

    /// Brings the status line up to date.
    pub fn status(&self, board: &Board) {
        if !self.has_status {
            return;
        }
        let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
        let line = line(board, width.saturating_sub(1));
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.status != line {
            let _ = write!(std::io::stderr().lock(), "{CLEAR}{line}");
            shown.status = line;
        }
    }

    /// Takes the status line away.
    pub fn close(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !shown.status.is_empty() {
            let _ = write!(std::io::stderr().lock(), "{CLEAR}");
            shown.status.clear();
        }
    }
}

/// How it goes, in so many columns: what does not fit is left out whole, the least urgent first.
fn line(board: &Board, width: usize) -> String {
    let figures = board.figures();
    let mut parts = vec![
        format!("{} packets", short(figures.packets)),
        format!("{}/s", short(figures.rate.round() as u64)),
        match figures.dropped {
            0 => "none lost".to_owned(),
            lost => format!("{} lost", short(lost)),
        },
        format!("{} flows", short(figures.flows)),
    ];
    if !figures.down.is_empty() {
        parts.push(format!("DOWN: {}", plain(&figures.down.join(" "))));
    } else if figures.silent_for.as_secs() >= 5 {
        parts.push(format!("silent for {} s", figures.silent_for.as_secs()));
    }
    if let Some(look) = board.look() {
        parts.push(match look.open {
            1 => "1 finding".to_owned(),
            open => format!("{} findings", short(open)),
        });
        let mut counts = look.report.verdict_counts();
        counts.retain(|(name, count)| *count > 0 && *name != "not-applicable");
        // What someone has to act on comes first.
        counts.sort_by_key(|(name, _)| !matches!(*name, "blocked" | "failed" | "violated"));
        parts.extend(counts.into_iter().map(|(name, count)| format!("{} {name}", short(count))));
    }
    fit(&parts, width)
}

/// A number in five columns at most, so that months of packets leave room for verdicts.
fn short(number: u64) -> String {
    if number < 10_000 {
        return number.to_string();
    }
    let mut value = number as f64;
    for unit in ["k", "M", "G", "T"] {
        value /= 1000.0;
        if value < 999.5 {
            let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
            return format!("{value:.decimals$}{unit}");
        }
    }
    format!("{:.0}P", value / 1000.0)
}

/// As many parts as fit, separated, with a sign that there are more.
fn fit(parts: &[String], width: usize) -> String {
    const MORE: &str = " ...";
    let mut line = String::new();
    for (number, part) in parts.iter().enumerate() {
        let separator = if number == 0 { "" } else { ", " };
        let rest = if number + 1 == parts.len() { 0 } else { MORE.len() };
        if line.chars().count() + separator.len() + part.chars().count() + rest > width {
            if line.chars().count() + MORE.len() <= width {
                line.push_str(MORE);
            }
            break;
        }
        line.push_str(separator);
        line.push_str(part);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let parts = ["12 packets", "3/s", "none lost"].map(str::to_owned);
        assert_eq!(fit(&parts, 80), "12 packets, 3/s, none lost");
        assert_eq!(fit(&parts, 26), "12 packets, 3/s, none lost");
        assert_eq!(fit(&parts, 25), "12 packets, 3/s ...");
        assert_eq!(fit(&parts, 14), "12 packets ...");
        assert_eq!(fit(&parts, 3), "");
    }

    #[test]
    fn numbers_stay_short() {
        let told = [0, 9_999, 10_000, 99_949, 99_950, 999_499, 999_500, 1_234_567, 123_456_789_012, u64::MAX];
        let told = told.map(short).join(" ");
        assert_eq!(told, "0 9999 10.0k 99.9k 100k 999k 1.00M 1.23M 123G 18447P");
    }
}
