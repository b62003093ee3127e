//! Where looks become reports and events: the thread beside the one that reads packets.

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
use super::memory::Memory;
use super::mirror::Ear;
use super::mirror::Mirror;
use super::past::Past;
use super::sink::Counts;
use super::sink::Sink;
use super::store;
use super::store::Store;
use super::tracker::Tracker;

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
    memory: Memory,
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
    /// Whether the store took nothing the last time: told once.
    store_fails: bool,
}

impl Desk {
    /// Takes up where an earlier run left off, where there is a store.
    pub fn new(mut setup: Setup, board: Arc<Board>) -> Self {
        let memory = setup.store.as_mut().map(Store::recall).unwrap_or_default();
        let undelivered = setup.store.as_ref().and_then(|store| store.undelivered().ok()).unwrap_or_default();
        let past = setup.store.as_mut().and_then(|store| store.past(&setup.words).ok()).unwrap_or_default();
        let kept = setup.store.as_ref().and_then(|store| store.packets().ok()).unwrap_or_default();
        let exhibits = Exhibits::restored(kept);
        Self {
            tracker: Tracker::restored(&memory, setup.keep),
            mirror: Mirror::new(setup.silence),
            memory,
            delivered: setup.sinks.iter().map(Sink::counts).collect(),
            store_fails: false,
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
        let began = self.board.elapsed();
        let observed = snapshot.join();
        let now = observed.vantage.last;
        let mut report = audit::audit(observed, &self.setup.site, self.setup.audit);
        let mut events = Vec::new();
        if !self.began {
            self.began = true;
            events.extend(self.begin(now));
        }
        events.extend(self.mirror.look(&report, ear, now));
        events.extend(self.tracker.compare(&report, now, why == Why::Last));
        self.past.add_to(&mut report, self.tracker.open_findings(), self.setup.keep);
        self.exhibits.gather(&report, recent);
        if why == Why::Last {
            let detail = format!("the watch ends: {}", report.conclusion.name());
            let about = About::Condition { condition: "stopped", detail: detail.clone() };
            events.push(Event::new(&report.site.name, now, "watch-stopped", Level::Notice, detail, about));
        }
        self.tell(events, Some(&report), now, why == Why::Last);
        self.looks += 1;
        let report = Arc::new(report);
        self.board.publish(Look {
            report: Arc::clone(&report),
            at: self.board.elapsed(),
            took: self.board.elapsed().saturating_sub(began),
            number: self.looks,
            events: self.memory.seq,
            open: self.tracker.open_findings().len() as u64,
            conditions: self.mirror.raised().collect(),
            evidence: self.exhibits.counts(),
        });
        if why != Why::Due {
            self.write(&report);
        }
        (why == Why::Last).then(|| Arc::unwrap_or_clone(report))
    }

    /// Writes the report, and the packets of its findings.
    fn write(&mut self, report: &Report) {
        if let Some(archive) = &self.setup.archive
            && let Err(error) = archive.write(report)
        {
            let path = archive.path().display();
            (self.setup.hear)(Word::Trouble(format!("{path}: the report could not be written: {error}")));
        }
        if let Some(folder) = &self.setup.evidence
            && let Err(error) = evidence::write_kept(folder, report, &|at| {
                self.exhibits.packet(at).map(|kept| evidence::KeptPacket {
                    link: kept.link,
                    interface: kept.interface,
                    original: kept.original,
                    bytes: &kept.bytes,
                })
            })
        {
            (self.setup.hear)(Word::Trouble(format!("the evidence could not be written: {error}")));
        }
    }

    /// The first events of a run.
    fn begin(&self, now: Option<Timestamp>) -> Vec<Event> {
        let site = &self.setup.site.name;
        let detail = match self.past.alive {
            None => "the watch begins".to_owned(),
            Some(earlier) => format!(
                "the watch goes on where an earlier run left off: {} findings open, last alive at {}; what came between was not seen{}",
                self.memory.findings.len(),
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
        let events: Vec<Arc<Event>> = events
            .into_iter()
            .map(|mut event| {
                self.memory.seq += 1;
                event.seq = self.memory.seq;
                Arc::new(event)
            })
            .collect();
        self.tracker.remember(&mut self.memory);
        // First what must not be lost is on disk, then it is told: a crash between the two tells it twice, never not at all.
        let arrived = self.arrived();
        if let Some(store) = &mut self.setup.store {
            let saved = store.save(&store::Snapshot {
                memory: &self.memory,
                exhibits: &self.exhibits,
                events: &events,
                arrived,
                report,
                now,
                last,
            });
            if let Err(error) = &saved
                && !self.store_fails
            {
                let path = store.path().display().to_string();
                (self.setup.hear)(Word::Trouble(format!("{path}: the state could not be saved: {error}")));
            }
            self.store_fails = saved.is_err();
        }
        for event in std::mem::take(&mut self.undelivered).into_iter().chain(events) {
            for sink in &self.setup.sinks {
                sink.tell(&event);
            }
            (self.setup.hear)(Word::Event(event));
        }
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
