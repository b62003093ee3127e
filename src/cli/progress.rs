//! A progress bar for long readings, on a terminal alone. The one place that looks at the wall clock, and nothing else sees what it finds.

use std::cell::Cell;
use std::time::Duration;
use std::time::Instant;

use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

/// Shows itself once the reading proves long.
pub struct Progress {
    bar: ProgressBar,
    began: Instant,
    shown: Cell<bool>,
}

/// Inputs larger than this take long enough to be worth a bar from the start.
const LARGE: u64 = 32 * 1024 * 1024;
/// Reading that takes longer than this is worth a bar.
const LONG: Duration = Duration::from_secs(1);

impl Progress {
    /// A bar that is not shown yet.
    pub fn new() -> Self {
        Self { bar: ProgressBar::hidden(), began: Instant::now(), shown: Cell::new(false) }
    }

    /// Tells how many bytes have been read of how many.
    pub fn update(&self, read: u64, total: Option<u64>) {
        if !self.shown.get() && (total.is_some_and(|total| total > LARGE) || self.began.elapsed() > LONG) {
            self.show(total);
        }
        self.bar.set_position(read);
    }

    /// indicatif draws nothing where standard error is no terminal.
    fn show(&self, total: Option<u64>) {
        self.shown.set(true);
        let template = match total {
            Some(total) => {
                self.bar.set_length(total);
                "reading {bar:40} {bytes} of {total_bytes}, {eta} left"
            }
            None => "reading {spinner} {bytes}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
