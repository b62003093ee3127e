//! Where looks become reports and events: the thread beside the one that reads packets.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::audit;
use crate::evidence;
use crate::model::Report;
use crate::model::Timestamp;
use crate::pipeline::Recent;
use crate::pipeline::Snapshot;
use crate::rules::Site;

use super::archive::Archive;
use super::board::Board;
use super::board::Look;
use super::event::About;
use super::event::Event;
use super::event::Level;
use super::exhibits::Exhibits;
use super::mirror::Ear;
use super::mirror::Mirror;
use super::past::Past;
use super::sink::Counts;
use super::sink::Sink;
use super::store;
use super::store::Store;
use super::tracker::Tracker;

/// What is written besides events, and may fail.
const STATE: &str = "state";
const REPORT: &str = "report";
const EVIDENCE: &str = "evidence";
const FALLIBLE: [&str; 3] = [STATE, REPORT, EVIDENCE];

/// What whoever sits at the terminal is to hear.
#[derive(Clone, Debug)]
pub enum Word {
    /// An event was told.
    Event(Arc<Event>),
    /// Something went wrong that the watch survives.
    Trouble(String),
}

/// Hears words.
pub type Hear = Box<dyn FnMut(Word) + Send>;

/// Why a look is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is time.
    Due,
    /// A report was asked for.
    Report,
    /// The watch ends.
    Last,
}

/// Work for the desk.
pub enum Task {
    /// A look to be judged.
    Look {
        /// What was seen.
        snapshot: Box<Snapshot>,
        /// The beginnings of the latest packets.
        recent: Recent,
        /// What the capturing side knows.
        ear: Ear,
        /// Why it is taken.
        why: Why,
    },
    /// Another site from now on.
    Site(Box<Site>),
    /// The site could not be read again: why.
    Refused(String),
    /// Files of events are to be opened anew.
    Reopen,
}

/// What the desk is set up with.
pub struct Setup {
    /// The site.
    pub site: Site,
    /// How it is judged.
    pub audit: audit::Options,
    /// After how much silence it is told.
    pub silence: Duration,
    /// How long a finding of an earlier run stays open though nothing of it is seen.
    pub keep: Duration,
    /// Where events go.
    pub sinks: Vec<Sink>,
    /// The names of all protocols: what the store holds is read by them.
    pub words: Vec<&'static str>,
    /// Where reports are written.
    pub archive: Option<Archive>,
    /// Where the packets of its findings are written with it.
    pub evidence: Option<PathBuf>,
    /// What outlives this run.
    pub store: Option<Store>,
    /// Who hears what happens.
    pub hear: Hear,
}

/// The desk.
pub struct Desk {
    setup: Setup,
    /// The number of the last event.
    seq: u64,
    tracker: Tracker,
    mirror: Mirror,
    board: Arc<Board>,
    looks: u64,
    began: bool,
    /// What earlier runs saw.
    past: Past,
    /// The packets of open findings.
    exhibits: Exhibits,
    /// Events of an earlier run that may not have arrived.
    undelivered: Vec<Arc<Event>>,
    /// How far each outlet has come.
    delivered: Vec<Arc<Counts>>,
    /// What could not be written the last time.
    failing: BTreeSet<&'static str>,
    /// Events to be told with the next ones.
    pending: Vec<Event>,
}

impl Desk {
    /// Takes up where an earlier run left off, where there is a store.
    pub fn new(mut setup: Setup, board: Arc<Board>) -> Self {
        let memory = setup.store.as_mut().map(Store::recall).unwrap_or_default();
        let undelivered = setup.store.as_mut().map(Store::undelivered).unwrap_or_default();
        let past = setup.store.as_mut().map(|store| store.past(&setup.words)).unwrap_or_default();
        let kept = setup.store.as_mut().map(Store::packets).unwrap_or_default();
        let exhibits = Exhibits::restored(kept);
        Self {
            tracker: Tracker::restored(&memory, setup.keep),
            mirror: Mirror::new(setup.silence),
            seq: memory.seq,
            delivered: setup.sinks.iter().map(Sink::counts).collect(),
            failing: BTreeSet::new(),
            pending: Vec::new(),
            board,
            looks: 0,
            began: false,
            past,
            exhibits,
            undelivered: undelivered.into_iter().map(Arc::new).collect(),
            setup,
        }
    }

    /// Does one task. Returns the report where it was the last look.
    pub fn take(&mut self, task: Task) -> Option<Report> {
        match task {
            Task::Look { snapshot, recent, ear, why } => self.look(*snapshot, &recent, &ear, why),
            Task::Site(site) => {
                self.setup.site = *site;
                self.condition("reloaded", Level::Notice, "site and rulesets were read again".to_owned());
                None
            }
            Task::Refused(why) => {
                self.condition(
                    "reload-refused",
                    Level::Error,
                    format!("the new site can't be used, the old one stays: {why}"),
                );
                None
            }
            Task::Reopen => {
                self.setup.sinks.iter().for_each(Sink::reopen);
                None
            }
        }
    }

    fn look(&mut self, snapshot: Snapshot, recent: &Recent, ear: &Ear, why: Why) -> Option<Report> {
        let board = Arc::clone(&self.board);
        let mut laps = Laps::begin(&board);
        let observed = snapshot.join();
        laps.end("join");
        let now = observed.vantage.last;
        let mut report = audit::audit(observed, &self.setup.site, self.setup.audit);
        laps.end("audit");
        let mut events = Vec::new();
        if !self.began {
            self.began = true;
            events.extend(self.begin(now));
        }
        events.extend(self.mirror.look(&report, ear, now));
        events.extend(self.tracker.compare(&report, now, why == Why::Last));
        laps.end("compare");
        self.past.add_to(&mut report, self.tracker.open_findings(), self.setup.keep);
        self.exhibits.gather(&report, recent);
        laps.end("evidence");
        if why == Why::Last {
            let detail = format!("the watch ends: {}", report.conclusion.name());
            let about = About::Condition { condition: "stopped", detail: detail.clone() };
            events.push(Event::new(&report.site.name, now, "watch-stopped", Level::Notice, detail, about));
        }
        self.tell(events, Some(&report), now, why == Why::Last);
        laps.end("tell");
        self.save_growth(&report, now, why == Why::Last);
        laps.end("save");
        self.looks += 1;
        let report = Arc::new(report);
        self.board.publish(Look {
            report: Arc::clone(&report),
            at: self.board.elapsed(),
            took: laps.all(),
            laps: laps.done,
            number: self.looks,
            events: self.seq,
            open: self.tracker.open_findings().len() as u64,
            conditions: self.mirror.raised().collect(),
            evidence: self.exhibits.counts(),
            failing: FALLIBLE.map(|what| (what, self.failing.contains(what))),
            state_bytes: self.setup.store.as_ref().map(Store::size),
        });
        if why != Why::Due {
            self.write(&report);
        }
        (why == Why::Last).then(|| Arc::unwrap_or_clone(report))
    }

    /// Writes the report, and the packets of its findings.
    fn write(&mut self, report: &Report) {
        if let Some(archive) = &self.setup.archive {
            let error = archive.write(report).err();
            let why = error.map(|error| format!("{}: {error}", archive.path().display()));
            self.note(REPORT, why);
        }
        if let Some(folder) = &self.setup.evidence {
            let written = evidence::write_kept(folder, report, &|at| {
                self.exhibits.packet(at).map(|kept| evidence::KeptPacket {
                    link: kept.link,
                    interface: kept.interface,
                    original: kept.original,
                    bytes: &kept.bytes,
                })
            });
            self.note(EVIDENCE, written.err().map(|error| error.to_string()));
        }
    }

    /// Notes whether something could be written. When that changes it is told, with the next events: nobody reads a sensor's screen.
    fn note(&mut self, what: &'static str, why: Option<String>) {
        let fails = why.is_some();
        if fails == self.failing.contains(what) {
            return;
        }
        let (event, level, detail) = match why {
            Some(why) => {
                self.failing.insert(what);
                ("write-failed", Level::Error, format!("the {what} could not be written: {why}"))
            }
            None => {
                self.failing.remove(what);
                ("write-recovered", Level::Notice, format!("the {what} is written again"))
            }
        };
        if fails {
            (self.setup.hear)(Word::Trouble(detail.clone()));
        }
        let about = About::Condition { condition: what, detail: detail.clone() };
        let now = self.board.figures().last;
        self.pending.push(Event::new(&self.setup.site.name, now, event, level, detail, about));
    }

    /// The first events of a run.
    fn begin(&self, now: Option<Timestamp>) -> Vec<Event> {
        let site = &self.setup.site.name;
        let detail = match self.past.alive {
            None => "the watch begins".to_owned(),
            Some(earlier) => format!(
                "the watch goes on where an earlier run left off: {} findings open, last alive at {}; what came between was not seen{}",
                self.tracker.open_findings().len(),
                crate::report::rfc3339(earlier),
                self.past.lag().map(|lag| format!(", {lag}")).unwrap_or_default()
            ),
        };
        let about = About::Condition { condition: "started", detail: detail.clone() };
        vec![Event::new(site, now, "watch-started", Level::Notice, detail, about)]
    }

    fn condition(&mut self, condition: &'static str, level: Level, detail: String) {
        let now = self.board.figures().last;
        let about = About::Condition { condition, detail: detail.clone() };
        let event = Event::new(&self.setup.site.name, now, condition, level, detail, about);
        self.tell(vec![event], None, now, false);
    }

    /// Numbers events, keeps them where they outlive this run, then hands them out.
    fn tell(&mut self, events: Vec<Event>, report: Option<&Report>, now: Option<Timestamp>, last: bool) {
        let events: Vec<Arc<Event>> = std::mem::take(&mut self.pending)
            .into_iter()
            .chain(events)
            .map(|mut event| {
                self.seq += 1;
                event.seq = self.seq;
                Arc::new(event)
            })
            .collect();
        // First what must not be lost is on disk, then it is told: a crash between the two tells it twice, never not at all.
        let arrived = self.arrived();
        if let Some(store) = &mut self.setup.store {
            let saved = store.save(&store::Snapshot {
                seq: self.seq,
                tracker: &self.tracker,
                exhibits: &self.exhibits,
                events: &events,
                arrived,
                report,
                now,
                last,
            });
            let why = saved.err().map(|error| format!("{}: {error}", store.path().display()));
            let moved = store.moved_aside();
            self.note(STATE, why);
            self.note_moved(moved);
        }
        for event in std::mem::take(&mut self.undelivered).into_iter().chain(events) {
            for sink in &self.setup.sinks {
                sink.tell(&event);
            }
            (self.setup.hear)(Word::Event(event));
        }
    }

    /// What nothing waits for is saved once everything is told.
    fn save_growth(&mut self, report: &Report, now: Option<Timestamp>, last: bool) {
        let Some(store) = &mut self.setup.store else { return };
        if let Err(error) = store.save_growth(report, now, last).and_then(|()| store.give_back(now)) {
            let why = format!("{}: {error}", store.path().display());
            self.note(STATE, Some(why));
        }
    }

    /// What earlier runs left could not be read, and was moved aside.
    fn note_moved(&mut self, moved: Option<String>) {
        let Some(why) = moved else { return };
        let detail = format!("what earlier runs left can't be read, and is begun anew: {why}");
        (self.setup.hear)(Word::Trouble(detail.clone()));
        let about = About::Condition { condition: STATE, detail: detail.clone() };
        let now = self.board.figures().last;
        self.pending.push(Event::new(
            &self.setup.site.name,
            now,
            "state-unreadable",
            Level::Error,
            detail,
            about,
        ));
    }

    /// The number up to which every outlet has its events.
    fn arrived(&self) -> u64 {
        self.delivered.iter().map(|counts| counts.delivered.load(Ordering::Acquire)).min().unwrap_or(u64::MAX)
    }

    /// Waits for events that are still underway.
    pub fn close(mut self) {
        for sink in std::mem::take(&mut self.setup.sinks) {
            sink.close();
        }
        let arrived = self.arrived();
        if let Some(store) = &mut self.setup.store {
            // What fails here is told again by the next run, which does no harm.
            let _ = store.arrived(arrived);
        }
    }
}

/// How long the parts of a look take.
struct Laps<'a> {
    board: &'a Board,
    began: Duration,
    last: Duration,
    done: Vec<(&'static str, Duration)>,
}

impl<'a> Laps<'a> {
    fn begin(board: &'a Board) -> Self {
        let now = board.elapsed();
        Self { board, began: now, last: now, done: Vec::new() }
    }

    fn end(&mut self, part: &'static str) {
        let now = self.board.elapsed();
        self.done.push((part, now.saturating_sub(self.last)));
        self.last = now;
    }

    fn all(&self) -> Duration {
        self.last.saturating_sub(self.began)
    }
}
