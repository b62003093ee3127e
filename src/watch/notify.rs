//! What the service manager hears (sd_notify): ready, alive, how it goes, ending. Where there is none, nobody hears it.

use std::time::Duration;

use sd_notify::NotifyState;

use super::board::Board;

/// The line to the service manager.
#[derive(Debug, Default)]
pub struct Notifier {
    /// How often the manager wants to hear that the watch is alive, halved.
    every: Option<Duration>,
    told: Duration,
    status: String,
}

impl Notifier {
    /// Says that the watch has begun.
    pub fn ready() -> Self {
        // A manager that does not listen is no reason to end.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        Self { every: sd_notify::watchdog_enabled().map(|timeout| timeout / 2), ..Self::default() }
    }

    /// Says that the watch is alive, unless it is not well: then it is to be started anew.
    pub fn beat(&mut self, board: &Board) {
        let now = board.elapsed();
        if now.saturating_sub(self.told) < self.every.unwrap_or(Duration::from_secs(5))
            && !self.told.is_zero()
        {
            return;
        }
        self.told = now;
        if board.trouble().is_some() {
            return;
        }
        if self.every.is_some() {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        let open = board.look().map_or(0, |look| look.open);
        let status = format!("{} packets, {open} findings open", board.figures().packets);
        if status != self.status {
            let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// Says that the watch ends.
    pub fn stopping(&self) {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
    }
}
