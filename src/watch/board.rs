//! What the watch shows of itself: the latest report and figures, for metrics, the health check and the status line.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::model::Report;
use crate::model::Timestamp;

use super::clock::Clock;
use super::sink::Counts;

/// How long the loop may be silent before the watch counts as stuck.
const STUCK: Duration = Duration::from_secs(30);
/// How old the latest look may be before the watch counts as stuck.
const OVERDUE: Duration = Duration::from_secs(300);

/// Figures of the loop that reads packets.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Packets read.
    pub packets: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Packets that the kernel or the interfaces lost.
    pub dropped: u64,
    /// Packets a second since the last time.
    pub rate: f64,
    /// Flows alive.
    pub flows: u64,
    /// Bytes kept for classifiers.
    pub kept_bytes: u64,
    /// Packets copied from the worker that read them to the one where their hosts are at home.
    pub copied: u64,
    /// Bytes of small packets that were copied out of a ring.
    pub gathered: u64,
    /// Capture time of the last packet.
    pub last: Option<Timestamp>,
    /// For how long no packet has come.
    pub silent_for: Duration,
    /// Interfaces that are down.
    pub down: Vec<String>,
    /// Resident memory in bytes; 0 where the system does not tell.
    pub resident: u64,
    /// Times the capture clock was set.
    pub clock_steps: u64,
    /// How long the last snapshot held up the packets: in all, and at one time.
    pub snapshot_took: Duration,
    /// The longest of its steps.
    pub snapshot_longest: Duration,
}

/// What the latest look came to.
#[derive(Clone)]
pub struct Look {
    /// The report.
    pub report: Arc<Report>,
    /// When it was made, since the watch began.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// How long its parts took, in their order.
    pub laps: Vec<(&'static str, Duration)>,
    /// Looks so far.
    pub number: u64,
    /// Events told so far.
    pub events: u64,
    /// Open findings, those left open by an earlier run among them.
    pub open: u64,
    /// Conditions of the mirror that hold.
    pub conditions: Vec<&'static str>,
    /// Packets kept as evidence, and those that are cited and could not be kept.
    pub evidence: (u64, u64),
    /// What is written besides events, and whether that failed the last time.
    pub failing: [(&'static str, bool); 3],
    /// Bytes of the state's file, where there is one.
    pub state_bytes: Option<u64>,
}

#[derive(Default)]
struct Shown {
    figures: Figures,
    heart: Duration,
    look: Option<Look>,
}

/// Shared by the loop, the desk, and whoever asks.
pub struct Board {
    clock: Arc<dyn Clock>,
    shown: Mutex<Shown>,
    outlets: Vec<(String, Arc<Counts>)>,
}

impl Board {
    /// An empty board.
    pub fn new(clock: Arc<dyn Clock>, outlets: Vec<(String, Arc<Counts>)>) -> Self {
        Self { clock, shown: Mutex::default(), outlets }
    }

    /// What is on it is whole whoever panicked.
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop is alive, and this is how it goes.
    pub fn beat(&self, figures: Figures) {
        let now = self.clock.elapsed();
        let mut shown = self.shown();
        shown.heart = now;
        shown.figures = figures;
    }

    /// The latest look.
    pub fn publish(&self, look: Look) {
        self.shown().look = Some(look);
    }

    /// The loop's figures.
    pub fn figures(&self) -> Figures {
        self.shown().figures.clone()
    }

    /// The latest look, once there is one.
    pub fn look(&self) -> Option<Look> {
        self.shown().look.clone()
    }

    /// Where events go, and what became of them.
    pub fn outlets(&self) -> &[(String, Arc<Counts>)] {
        &self.outlets
    }

    /// Time since the watch began.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Why the watch is not well; `None` says that it is.
    pub fn trouble(&self) -> Option<String> {
        let now = self.clock.elapsed();
        let shown = self.shown();
        let silent = now.saturating_sub(shown.heart);
        if silent > STUCK {
            return Some(format!("packets have not been read for {} s", silent.as_secs()));
        }
        let overdue = now.saturating_sub(shown.look.as_ref().map_or(Duration::ZERO, |look| look.at));
        if overdue > OVERDUE {
            return Some(format!("the last look is {} s old", overdue.as_secs()));
        }
        None
    }
}
