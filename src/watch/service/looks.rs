//! Looks of the loop: when one is due, and how it is taken between packets.

use std::time::Duration;

use crate::pipeline;
use crate::watch::desk::Task;
use crate::watch::desk::Why;
use crate::watch::mirror::Ear;

use super::Bench;
use super::Round;

/// A look may hold up packets for this share of the time at most; for that one where half of the time nothing waited to be read.
const SHARE: u32 = 20;
const SHARE_AT_EASE: u32 = 4;
/// While packets come, they have so many times as long as a step of a look before the next one.
const PACKETS_TO_STEPS: u32 = 3;
/// On a silent wire steps follow each other for so long.
const MOMENT: Duration = Duration::from_millis(5);
/// On a silent wire nothing changes once the last silences are judged; a look is still taken this often.
const SLEEPY: Duration = Duration::from_secs(30);
/// After so much silence.
const DROWSY: Duration = Duration::from_secs(600);

/// A look that is being taken.
pub(super) struct Looking {
    look: pipeline::Look,
    why: Why,
    ear: Ear,
    /// Packets when it began.
    packets: u64,
    /// For how long it has held up packets: in all, at most, and by the latest step, with when that ended.
    took: Duration,
    longest: Duration,
    step: Duration,
    ended: Duration,
}

/// How much of the time since the last look nothing waited to be read.
#[derive(Debug, Default)]
pub(super) struct Ease {
    idle: Duration,
}

impl Ease {
    /// Nothing waited for so long.
    pub(super) fn add(&mut self, idle: Duration) {
        self.idle += idle;
    }

    fn is_there(&self, passed: Duration) -> bool {
        self.idle >= passed / 2
    }
}

impl Looking {
    fn spend(&mut self, began: Duration, ended: Duration) {
        self.step = ended.saturating_sub(began);
        self.took += self.step;
        self.longest = self.longest.max(self.step);
        self.ended = ended;
    }
}

impl Round<'_> {
    /// Between two looks: as planned, unless looks cost too much or nothing happens.
    pub(super) fn pause(&self, now: Duration) -> Duration {
        let judging = self.board.look().map_or(Duration::ZERO, |look| look.took);
        let share =
            if self.ease.is_there(now.saturating_sub(self.looked_at)) { SHARE_AT_EASE } else { SHARE };
        let least = self.plan.pause.max(self.figures.snapshot_took * share).max(judging);
        let silent = now.saturating_sub(self.heard_at);
        if silent >= DROWSY && self.packets == self.looked_packets { least.max(SLEEPY) } else { least }
    }

    /// Begins a look; packets are read between its steps.
    pub(super) fn begin_look(&mut self, why: Why) {
        let began = self.clock.elapsed();
        // A wire that is down says nothing by its silence.
        self.ask_rings();
        let down = self.intake.source().down();
        let now = if down.is_empty() { self.time.now(began, self.silent) } else { None };
        let look = self.pipeline.begin_look(self.intake.source(), now);
        self.figures.clock_steps += self.steps.len() as u64;
        let ear = Ear {
            silent_for: began.saturating_sub(self.heard_at),
            down,
            steps: std::mem::take(&mut self.steps),
            elapsed: began,
        };
        let ended = self.clock.elapsed();
        let took = ended.saturating_sub(began);
        let packets = self.packets;
        self.looking = Some(Looking { look, why, ear, packets, took, longest: took, step: took, ended });
    }

    /// Takes the look on: on a silent wire by as many steps as fit into a moment, else by one, and not before packets had their turn.
    pub(super) fn look_on(&mut self, idle: bool, bench: &mut dyn Bench) {
        let Some(mut looking) = self.looking.take() else { return };
        let began = self.clock.elapsed();
        if !idle && began.saturating_sub(looking.ended) < looking.step * PACKETS_TO_STEPS {
            self.looking = Some(looking);
            return;
        }
        let over = loop {
            let over = self.pipeline.step(&mut looking.look);
            if over || !idle || self.clock.elapsed().saturating_sub(began) >= MOMENT {
                break over;
            }
        };
        if over {
            return self.end_look(looking, began, bench);
        }
        looking.spend(began, self.clock.elapsed());
        self.looking = Some(looking);
    }

    /// Hands the look over.
    fn end_look(&mut self, looking: Looking, began: Duration, bench: &mut dyn Bench) {
        let Looking { look, why, ear, packets, mut took, mut longest, .. } = looking;
        let snapshot = Box::new(self.pipeline.end_look(look));
        bench.give(Task::Look { snapshot, recent: self.pipeline.recent(), ear, why });
        self.looked_at = self.clock.elapsed();
        self.ease = Ease::default();
        self.looked_packets = packets;
        let step = self.looked_at.saturating_sub(began);
        took += step;
        longest = longest.max(step);
        (self.figures.snapshot_took, self.figures.snapshot_longest) = (took, longest);
    }

    /// The last look, which is taken at once: no packet comes any more.
    pub(super) fn look_last(&mut self, bench: &mut dyn Bench) {
        if let Some(given_up) = self.looking.take() {
            // What it would have told of the clock is for this one to tell.
            self.figures.clock_steps -= given_up.ear.steps.len() as u64;
            self.steps.splice(0..0, given_up.ear.steps);
        }
        self.begin_look(Why::Last);
        while self.looking.is_some() {
            self.look_on(true, bench);
        }
    }
}
