//! The loop: packets in as they come, timers on a silent wire, and now and then a look for the desk.

mod looks;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;
use crossbeam_channel::unbounded;

use crate::capture::CaptureError;
use crate::capture::Polled;
use crate::capture::Source;
use crate::model::Report;
use crate::model::Timestamp;
use crate::pipeline;
use crate::pipeline::CellMap;
use crate::pipeline::Retention;
use crate::pipeline::Ring;
use crate::pipeline::Rings;
use crate::rules::Site;

use super::board::Board;
use super::board::Figures;
use super::clock::CaptureTime;
use super::clock::Clock;
use super::desk::Desk;
use super::desk::Task;
use super::desk::Why;
use super::resident::Resident;

use looks::Ease;
use looks::Looking;

/// Packets between two looks at the clock while they come without pause.
const TURN: usize = 256;
/// Between two looks at how threads with rings of their own go.
const GLANCE: Duration = Duration::from_millis(20);
/// At the end packets are read for so long, then until the rings are empty, then no longer: a ring holds packets for 50 ms.
const DRAIN: Duration = Duration::from_millis(200);
const DRAIN_MOST: Duration = Duration::from_secs(3);
/// Between two beats: timers, figures, signals.
const BEAT: Duration = Duration::from_millis(500);

/// How the watch goes on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How packets are taken in.
    pub options: pipeline::Options,
    /// How long things are remembered.
    pub retention: Retention,
    /// Between two looks.
    pub pause: Duration,
    /// When the watch ends by itself.
    pub duration: Option<Duration>,
    /// Between two reports.
    pub report_every: Option<Duration>,
}

/// What signals ask for.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    /// End, and report.
    pub stop: Arc<AtomicBool>,
    /// Read site and rulesets again, and open files anew.
    pub reload: Arc<AtomicBool>,
    /// Write a report.
    pub report: Arc<AtomicBool>,
}

/// What goes on around the loop.
pub trait Around {
    /// Reads the site again; the error is in words.
    fn reload(&mut self) -> Result<(Site, CellMap), String>;

    /// Comes about twice a second while the watch is well.
    fn beat(&mut self, board: &Board);
}

/// Where packets come from.
pub enum Feed<'a> {
    /// A source that the watch reads in its own thread.
    Source(&'a mut dyn Source),
    /// Rings, each to be read by a thread of its own.
    Rings(Vec<Ring>),
}

/// Where looks go: to a thread, or in tests straight to the desk.
trait Bench {
    fn is_free(&self) -> bool;
    fn is_gone(&self) -> bool;
    fn give(&mut self, task: Task);
}

/// Watches until the source ends, a signal says so, or time is up. Returns the last report.
pub fn watch<'a>(
    feed: Feed<'a>,
    plan: &'a Plan,
    clock: &'a dyn Clock,
    controls: &'a Controls,
    mut desk: Desk,
    board: &'a Board,
    around: &'a mut dyn Around,
) -> Result<Report, CaptureError> {
    thread::scope(|scope| {
        let (tasks, queue) = unbounded::<Task>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&waiting);
        let worker = thread::Builder::new().name("desk".to_owned()).spawn_scoped(scope, move || {
            let mut last = None;
            for task in queue {
                last = desk.take(task).or(last);
                done.fetch_sub(1, Ordering::AcqRel);
            }
            desk.close();
            last
        });
        let worker = worker.map_err(|source| CaptureError::Io { path: "thread".into(), source })?;
        let mut bench = Queue { tasks, waiting, worker: &worker };
        let mut round = Round::new(feed, plan, clock, controls, board, around)?;
        let heard = round.listen(&mut bench);
        round.look_last(&mut bench);
        let Queue { tasks, .. } = bench;
        drop(tasks);
        let last = match worker.join() {
            Ok(last) => last,
            // Our own bug: it must not pass for a quiet plant.
            Err(panic) => std::panic::resume_unwind(panic),
        };
        heard?;
        last.ok_or_else(|| CaptureError::Live {
            interface: "watch".to_owned(),
            why: "the last report was never made".to_owned(),
        })
    })
}

/// A thread's queue. A look is only taken when nothing waits, so that memory holds one snapshot at a time.
struct Queue<'a, 'scope, T> {
    tasks: Sender<Task>,
    waiting: Arc<AtomicUsize>,
    worker: &'a thread::ScopedJoinHandle<'scope, T>,
}

impl<T> Bench for Queue<'_, '_, T> {
    fn is_free(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    fn is_gone(&self) -> bool {
        self.worker.is_finished()
    }

    fn give(&mut self, task: Task) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        // A desk that is gone has panicked; joining it tells.
        let _ = self.tasks.send(task);
    }
}

/// A source, or what the rings last said of themselves.
enum Intake<'a> {
    Own(&'a mut dyn Source),
    Crew(Rings),
}

impl Intake<'_> {
    fn source(&self) -> &dyn Source {
        match self {
            Self::Own(source) => &**source,
            Self::Crew(rings) => rings,
        }
    }
}

/// The loop's state.
struct Round<'a> {
    intake: Intake<'a>,
    plan: &'a Plan,
    clock: &'a dyn Clock,
    controls: &'a Controls,
    board: &'a Board,
    around: &'a mut dyn Around,
    pipeline: pipeline::Live,
    time: CaptureTime,
    resident: Resident,
    /// The look that is being taken.
    looking: Option<Looking>,
    ease: Ease,
    figures: Figures,
    steps: Vec<i64>,
    /// Whether the wire was silent when it was last asked.
    silent: bool,
    /// When the last packet came, when the last beat and the last look were, and when a report is due.
    heard_at: Duration,
    beat_at: Duration,
    looked_at: Duration,
    report_at: Option<Duration>,
    /// Since when the watch ends: what waits in the rings is still read.
    ending: Option<Duration>,
    /// Packets at the last look and at the last beat.
    looked_packets: u64,
    beat_packets: u64,
    packets: u64,
}

impl<'a> Round<'a> {
    fn new(
        feed: Feed<'a>,
        plan: &'a Plan,
        clock: &'a dyn Clock,
        controls: &'a Controls,
        board: &'a Board,
        around: &'a mut dyn Around,
    ) -> Result<Self, CaptureError> {
        let now = clock.elapsed();
        let (intake, pipeline) = match feed {
            Feed::Source(source) => (Intake::Own(source), pipeline::Live::new(&plan.options, plan.retention)),
            Feed::Rings(rings) => {
                let spread = pipeline::Live::spread(&plan.options, plan.retention, rings);
                let failed = |source| CaptureError::Io { path: "thread".into(), source };
                (Intake::Crew(Rings::default()), spread.map_err(failed)?)
            }
        };
        Ok(Self {
            intake,
            plan,
            clock,
            controls,
            board,
            around,
            pipeline,
            time: CaptureTime::default(),
            resident: Resident::open(),
            looking: None,
            ease: Ease::default(),
            figures: Figures::default(),
            steps: Vec::new(),
            silent: true,
            heard_at: now,
            beat_at: now,
            looked_at: now,
            report_at: plan.report_every.map(|every| now + every),
            ending: None,
            looked_packets: 0,
            beat_packets: 0,
            packets: 0,
        })
    }

    fn listen(&mut self, bench: &mut dyn Bench) -> Result<(), CaptureError> {
        match self.intake {
            Intake::Own(_) => self.read(bench),
            Intake::Crew(_) => self.supervise(bench),
        }
    }

    /// Reads packets where they lie, and sees to everything else between them.
    fn read(&mut self, bench: &mut dyn Bench) -> Result<(), CaptureError> {
        loop {
            let began = self.clock.elapsed();
            let Self { intake: Intake::Own(source), pipeline, .. } = self else { return Ok(()) };
            let (mut count, mut first, mut last) = (0_u64, None, Timestamp::MIN);
            let polled = source.drain(TURN, &mut |packet| {
                pipeline.gather(packet);
                count += 1;
                last = packet.at.time;
                first.get_or_insert(last);
            });
            pipeline.flush();
            let polled = polled?;
            let now = self.clock.elapsed();
            if let Some(first) = first {
                self.heard(first, last, count, now);
            }
            match polled {
                Polled::Packet => self.silent = false,
                Polled::Idle => {
                    self.silent = true;
                    self.ease.add(now.saturating_sub(began));
                }
                Polled::End => return Ok(()),
            }
            if self.upkeep(now, self.silent, bench) {
                return Ok(());
            }
        }
    }

    /// Looks on while others read.
    fn supervise(&mut self, bench: &mut dyn Bench) -> Result<(), CaptureError> {
        loop {
            thread::sleep(GLANCE);
            let going = self.pipeline.going()?;
            let now = self.clock.elapsed();
            let count = going.packets.saturating_sub(self.packets);
            if let Some(last) = going.last.filter(|_| count > 0) {
                self.heard(last, last, count, now);
            }
            if going.silent {
                self.ease.add(GLANCE);
            }
            self.silent = going.silent && count == 0;
            if going.over || self.upkeep(now, self.silent, bench) {
                return Ok(());
            }
        }
    }

    /// So many packets came, the first and the last of them with these stamps.
    fn heard(&mut self, first: Timestamp, last: Timestamp, count: u64, now: Duration) {
        self.packets += count;
        self.heard_at = now;
        self.figures.last = Some(last);
        self.steps.extend(self.time.heard(first, now, self.silent));
        if last != first {
            self.steps.extend(self.time.heard(last, now, false));
        }
    }

    /// Sees to everything but packets. Says whether the watch is to end.
    fn upkeep(&mut self, now: Duration, idle: bool, bench: &mut dyn Bench) -> bool {
        if now.saturating_sub(self.beat_at) >= BEAT {
            self.beat(now);
        }
        if bench.is_gone() {
            return true;
        }
        if self.controls.stop.load(Ordering::Relaxed)
            || self.plan.duration.is_some_and(|duration| now >= duration)
        {
            let since = *self.ending.get_or_insert(now);
            let passed = now.saturating_sub(since);
            return passed >= DRAIN_MOST || passed >= DRAIN && idle;
        }
        if self.controls.reload.swap(false, Ordering::Relaxed) {
            self.reload(bench);
        }
        let asked =
            self.controls.report.load(Ordering::Relaxed) || self.report_at.is_some_and(|due| now >= due);
        if self.looking.is_none() && bench.is_free() {
            if asked {
                self.controls.report.store(false, Ordering::Relaxed);
                self.report_at = self.plan.report_every.map(|every| now + every);
                self.begin_look(Why::Report);
            } else if now.saturating_sub(self.looked_at) >= self.pause(now) {
                self.begin_look(Why::Due);
            }
        }
        self.look_on(idle, bench);
        false
    }

    fn beat(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.beat_at);
        self.beat_at = now;
        if let Some(capture) = self.time.now(now, self.silent) {
            self.pipeline.tick(capture);
        }
        self.ask_rings();
        let inputs = self.intake.source().inputs();
        let load = self.pipeline.load();
        let figures = &mut self.figures;
        figures.rate = (self.packets - self.beat_packets) as f64 / passed.as_secs_f64().max(0.001);
        self.beat_packets = self.packets;
        figures.packets = self.packets;
        figures.bytes = inputs.iter().map(|input| input.bytes).sum();
        figures.dropped = inputs.iter().filter_map(|input| input.dropped).sum();
        figures.flows = load.flows as u64;
        figures.kept_bytes = load.kept_bytes as u64;
        figures.copied = load.copied;
        figures.gathered = load.gathered;
        figures.silent_for = now.saturating_sub(self.heard_at);
        figures.down = self.intake.source().down();
        figures.resident = self.resident.bytes();
        self.board.beat(figures.clone());
        self.around.beat(self.board);
    }

    fn ask_rings(&mut self) {
        if let Intake::Crew(rings) = &mut self.intake {
            *rings = self.pipeline.rings();
        }
    }

    fn reload(&mut self, bench: &mut dyn Bench) {
        bench.give(Task::Reopen);
        match self.around.reload() {
            Ok((site, cells)) => {
                self.pipeline.tell_cells(cells);
                bench.give(Task::Site(Box::new(site)));
            }
            Err(why) => bench.give(Task::Refused(why)),
        }
    }
}
