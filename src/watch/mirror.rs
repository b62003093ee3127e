//! How well the mirror sees, from one look to the next: what got worse is told once, and once more when it is over.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Report;
use crate::model::Timestamp;
use crate::pipeline::ORDINARY;

use super::event::About;
use super::event::Event;
use super::event::Level;

/// Acknowledged TCP bytes needed to tell a share of loss from chance.
const ENOUGH: u64 = 100_000;
/// The share of loss from which on it is told, as the audit caps grades from there on; and the one at which it is over.
const LOSSY: f64 = 0.01;
const CLEAN: f64 = 0.005;
/// Pairs of hosts, and the share of them heard in one direction only, from which on a mirror looks one-sided.
const PAIRS: u64 = 4;
const ONE_SIDED: f64 = 0.5;
/// A loss that comes back within this time is the same one.
const QUIET: Duration = Duration::from_secs(60);

/// What the capturing side knows beyond the report.
#[derive(Clone, Debug, Default)]
pub struct Ear {
    /// For how long no packet has come.
    pub silent_for: Duration,
    /// Interfaces that are down or gone.
    pub down: Vec<String>,
    /// By how many nanoseconds the capture clock was set since the last look.
    pub steps: Vec<i64>,
    /// Time since the watch began.
    pub elapsed: Duration,
}

/// The mirror as it was told.
#[derive(Debug)]
pub struct Mirror {
    /// Conditions that hold, with when they were last seen to.
    raised: BTreeMap<&'static str, Duration>,
    /// After how much silence it is told.
    silence: Duration,
    dropped: u64,
    evicted: u64,
    left_out: u64,
    unseen_bytes: u64,
    acknowledged_bytes: u64,
    /// Whether a direction was lost when that could last be told.
    lost: bool,
}

impl Mirror {
    /// A mirror of which nothing bad is known; silence is told after this long.
    pub fn new(silence: Duration) -> Self {
        Self {
            raised: BTreeMap::new(),
            silence,
            dropped: 0,
            evicted: 0,
            left_out: 0,
            unseen_bytes: 0,
            acknowledged_bytes: 0,
            lost: false,
        }
    }

    /// The conditions that hold.
    pub fn raised(&self) -> impl Iterator<Item = &'static str> {
        self.raised.keys().copied()
    }

    /// Takes in one look.
    pub fn look(&mut self, report: &Report, ear: &Ear, now: Option<Timestamp>) -> Vec<Event> {
        let mut told = Told { mirror: self, report, now, elapsed: ear.elapsed, events: Vec::new() };
        told.drops();
        told.loss();
        told.sides();
        told.silence(ear);
        for &step in &ear.steps {
            let (seconds, way) =
                (Duration::from_nanos(step.unsigned_abs()), if step < 0 { "back" } else { "forward" });
            let detail = format!(
                "the capture clock was set {way} by {:.1} s: times before and after do not compare",
                seconds.as_secs_f64()
            );
            told.say("clock-step", Level::Warning, "clock-stepped", detail);
        }
        told.events
    }
}

struct Told<'a> {
    mirror: &'a mut Mirror,
    report: &'a Report,
    now: Option<Timestamp>,
    elapsed: Duration,
    events: Vec<Event>,
}

impl Told<'_> {
    fn drops(&mut self) {
        let dropped = self.report.vantage.dropped.unwrap_or(0);
        let fresh = dropped.saturating_sub(self.mirror.dropped);
        self.mirror.dropped = dropped;
        self.burst("kernel-drops", fresh, &|fresh| {
            format!(
                "the kernel or the interface lost {fresh} packets since the last look: a larger --buffer, a filter or a faster machine helps"
            )
        });
        let evicted = self.report.tally.evicted;
        let flows = evicted.saturating_sub(self.mirror.evicted);
        self.mirror.evicted = evicted;
        let left_out = self.report.vantage.left_out.iter().filter(|(what, _)| !ORDINARY.contains(what));
        let left_out = left_out.map(|(_, count)| count).sum();
        let others = u64::saturating_sub(left_out, self.mirror.left_out);
        self.mirror.left_out = left_out;
        self.burst("bounds", flows + others, &|_| {
            let flood = "a flood, or a bound that is too small; the report says which";
            match (flows, others) {
                (flows, 0) => format!("{flows} flows were pushed out of memory since the last look: {flood}"),
                (0, others) => format!("{others} things were left out for want of memory since the last look: {flood}"),
                _ => format!(
                    "{flows} flows were pushed out of memory and {others} other things left out since the last look: {flood}"
                ),
            }
        });
    }

    fn loss(&mut self) {
        let vantage = &self.report.vantage;
        let acknowledged = vantage.acknowledged_bytes.saturating_sub(self.mirror.acknowledged_bytes);
        if vantage.acknowledged_bytes < self.mirror.acknowledged_bytes {
            self.mirror.acknowledged_bytes = vantage.acknowledged_bytes;
            self.mirror.unseen_bytes = vantage.unseen_bytes;
            return;
        }
        if acknowledged < ENOUGH {
            return;
        }
        let unseen = vantage.unseen_bytes.saturating_sub(self.mirror.unseen_bytes);
        self.mirror.acknowledged_bytes = vantage.acknowledged_bytes;
        self.mirror.unseen_bytes = vantage.unseen_bytes;
        let share = unseen as f64 / acknowledged as f64;
        let detail =
            format!("{:.1} % of the TCP bytes that were acknowledged were never captured", share * 100.0);
        if share > LOSSY {
            self.raise("loss", detail);
        } else if share <= CLEAN {
            self.clear("loss", "acknowledged TCP bytes are captured again".to_owned());
        }
    }

    fn sides(&mut self) {
        let vantage = &self.report.vantage;
        // In a quiet night nothing can be told, and what was told stays.
        self.mirror.lost = vantage.has_lost_a_direction().unwrap_or(self.mirror.lost);
        if self.mirror.lost {
            return self.raise("one-sided", vantage.lost_in_words());
        }
        if vantage.pairs < PAIRS {
            return;
        }
        let share = vantage.one_sided_pairs as f64 / vantage.pairs as f64;
        let detail = format!(
            "{} of {} pairs of hosts were heard in one direction only: the mirror may copy one side",
            vantage.one_sided_pairs, vantage.pairs
        );
        if share > ONE_SIDED {
            self.raise("one-sided", detail);
        } else {
            self.clear("one-sided", detail);
        }
    }

    fn silence(&mut self, ear: &Ear) {
        if ear.silent_for >= self.mirror.silence {
            let detail = format!(
                "no packet for {} s: the mirror may be off, and what happens now is not seen",
                ear.silent_for.as_secs()
            );
            self.raise("silent", detail);
        } else {
            self.clear("silent", "packets arrive again".to_owned());
        }
        if ear.down.is_empty() {
            self.clear("interface-down", "all interfaces are up".to_owned());
        } else {
            self.raise("interface-down", format!("down: {}", ear.down.join(", ")));
        }
    }

    /// A condition that holds while something is counted, and for a while after.
    fn burst(&mut self, condition: &'static str, fresh: u64, detail: &dyn Fn(u64) -> String) {
        if fresh > 0 {
            self.raise(condition, detail(fresh));
        } else if self
            .mirror
            .raised
            .get(condition)
            .is_some_and(|seen| self.elapsed.saturating_sub(*seen) >= QUIET)
        {
            self.clear(condition, format!("none for {} s", QUIET.as_secs()));
        }
    }

    fn raise(&mut self, condition: &'static str, detail: String) {
        if self.mirror.raised.insert(condition, self.elapsed).is_none() {
            self.say(condition, Level::Warning, "vantage-degraded", detail);
        }
    }

    fn clear(&mut self, condition: &'static str, detail: String) {
        if self.mirror.raised.remove(condition).is_some() {
            self.say(condition, Level::Notice, "vantage-recovered", detail);
        }
    }

    fn say(&mut self, condition: &'static str, level: Level, event: &'static str, detail: String) {
        let message = format!("{condition}: {detail}");
        let about = About::Condition { condition, detail };
        self.events.push(Event::new(&self.report.site.name, self.now, event, level, message, about));
    }
}

#[cfg(test)]
mod tests;
