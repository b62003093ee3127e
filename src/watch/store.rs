//! What outlives a run: an embedded store that survives a crash and a power cut at any moment (redb: copy on write, checksummed).

mod changes;
mod guard;
mod room;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use redb::Builder;
use redb::Database;
use redb::ReadableDatabase;
use redb::ReadableTable;
use redb::TableDefinition;

use crate::model::InputId;
use crate::model::LinkType;
use crate::model::Report;
use crate::model::Timestamp;
use crate::pipeline::Kept;

use super::event::Event;
use super::event::Level;
use super::exhibits::Exhibits;
use super::exhibits::Key;
use super::memory::Memory;
use super::memory::OpenFinding;
use super::memory::Standing;
use super::past::Past;
use super::rows::ConversationRow;
use super::rows::FindingRow;
use super::rows::Reader;
use super::rows::RequirementRow;
use super::tracker::Tracker;

use changes::CONVERSATION;
use changes::REQUIREMENT;
use changes::Rows;
use changes::save_findings;
use changes::save_standings;
use changes::save_told;
use guard::caught;
use guard::guarded;

/// `seq`, `alive`, `counted`: numbers.
const FIGURES: TableDefinition<'_, &str, i64> = TableDefinition::new("figures");
/// Requirement: verdict and mechanism.
const REQUIREMENTS: TableDefinition<'_, &str, (&str, &str)> = TableDefinition::new("requirements");
/// What is kept of a finding: title, kind, requirements, conversations (a line each), print, last seen, whether it counts.
type OpenRow<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, i64, bool);
const FINDINGS: TableDefinition<'_, &str, OpenRow<'static>> = TableDefinition::new("findings");
/// Unexpected conversations that were told.
const CONVERSATIONS: TableDefinition<'_, &str, ()> = TableDefinition::new("conversations");
/// Events that may not have arrived everywhere: name, level, time, JSON, CEF.
type EventRow<'a> = (&'a str, u8, &'a str, &'a str, &'a str);
const EVENTS: TableDefinition<'_, u64, EventRow<'static>> = TableDefinition::new("events");

/// Entries of the latest report, by kind (`c`, `r`, `f`) and id: JSON.
const ENTRIES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("entries");

/// Packets of open findings, by time in nanoseconds and number: link type, interface, length on the wire, and headers.
type PacketRow = (u16, u32, u32, &'static [u8]);
const PACKETS: TableDefinition<'_, (i64, u64), PacketRow> = TableDefinition::new("packets");

/// Capture time between two savings of all that grows by itself; what is told as an event is saved with it. Where many conversations
/// grow, time passes in proportion, so that a busy plant does not wear its disk out: the report says as of when they are.
const GROWTH: i64 = 5_000_000_000;
/// So many conversations are saved in one such time.
const GROWN_AT_ONCE: u64 = 2048;
/// The most events kept for outlets that do not take them.
const MOST_EVENTS: u64 = 10_000;
/// Bytes of the file kept in memory; the library's own choice is a gigabyte.
const CACHE: usize = 16 << 20;
/// The name of the file within the state folder. The number grows with its shape.
const FILE: &str = "watch-1.redb";
/// What is added to it where it can't be read: it is moved aside, for a sensor must not stay blind for the sake of what it remembers.
const ASIDE: &str = "unreadable.redb";
/// Capture time between two notes that the watch is alive.
const ALIVE: i64 = 5_000_000_000;

/// What is told, and has to be on disk first.
pub struct Snapshot<'a> {
    /// The number of the last event.
    pub seq: u64,
    /// What was told.
    pub tracker: &'a Tracker,
    /// The packets of open findings.
    pub exhibits: &'a Exhibits,
    /// Events about to be told.
    pub events: &'a [Arc<Event>],
    /// The number up to which every outlet has its events.
    pub arrived: u64,
    /// The latest report.
    pub report: Option<&'a Report>,
    /// Capture time.
    pub now: Option<Timestamp>,
    /// Whether the watch ends.
    pub last: bool,
}

/// The store.
pub struct Store {
    path: PathBuf,
    /// `None` after an error, until it is opened anew.
    database: Option<Database>,
    may_move: bool,
    /// Why what was there before could not be read, and where it is now.
    moved_aside: Option<String>,
    /// The error that says that the file is not to be read.
    unreadable: Option<redb::Error>,
    /// What is in it, so that only changes are written.
    saved: Memory,
    alive: Option<Timestamp>,
    last_alive: Option<Timestamp>,
    last_counted: Option<Timestamp>,
    /// Packets in it.
    packets: BTreeSet<Key>,
    /// Entries of reports in it.
    rows: Rows,
    /// When counts of conversations were last saved, and how long they may wait for the next time.
    grown: Option<Timestamp>,
    wait: i64,
    /// When it was last looked at for room that is not taken.
    tidied: Option<Timestamp>,
}

impl Store {
    /// Opens the store in a folder, or makes one there; what can't be read is moved aside, if it `may_move`. The error is in words.
    pub fn open(folder: &Path, may_move: bool) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let path = folder.join(FILE);
        let mut store = Self {
            path,
            database: None,
            may_move,
            moved_aside: None,
            unreadable: None,
            saved: Memory::default(),
            alive: None,
            last_alive: None,
            last_counted: None,
            grown: None,
            wait: GROWTH,
            tidied: None,
            packets: BTreeSet::new(),
            rows: Rows::default(),
        };
        store.open_anew().map_err(|error| error.to_string())?;
        Ok(store)
    }

    /// Opens the file where it is not open: after an error the library takes nothing more until that is done. What is not to be read is
    /// moved aside.
    fn open_anew(&mut self) -> Result<(), redb::Error> {
        if self.database.is_some() {
            return Ok(());
        }
        let opened = match self.unreadable.take() {
            Some(error) => Err(error),
            None => guarded(|| self.open_file()),
        };
        let Err(error) = opened else { return Ok(()) };
        self.close();
        if !self.may_move || !is_unreadable(&error) {
            return Err(error);
        }
        let aside = self.path.with_extension(ASIDE);
        std::fs::rename(&self.path, &aside)?;
        self.moved_aside = Some(format!("{error}; the file is {} now", aside.display()));
        self.open_file()
    }

    /// Opens the file and reads what was told, and of what else there is.
    fn open_file(&mut self) -> Result<(), redb::Error> {
        self.database = Some(Builder::new().set_cache_size(CACHE).create(&self.path)?);
        self.packets.clear();
        self.rows = Rows::default();
        self.read()?;
        let read = self.database()?.begin_read()?;
        for entry in read.open_table(ENTRIES)?.iter()? {
            let (key, _) = entry?;
            let (kind, id) = key.value();
            self.rows.know(kind, id);
        }
        Ok(())
    }

    fn close(&mut self) {
        let open = self.database.take();
        // Closing writes, and so may meet damaged pages as well.
        let _ = caught(move || drop(open));
    }

    fn database(&self) -> Result<&Database, redb::Error> {
        self.database.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    /// Why the file that was there could not be read, and where it is now; told once.
    pub fn moved_aside(&mut self) -> Option<String> {
        self.moved_aside.take()
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier run told.
    pub fn recall(&mut self) -> Memory {
        self.saved.clone()
    }

    /// What earlier runs saw. `words` are the names of all protocols.
    pub fn past(&mut self, words: &[&'static str]) -> Past {
        let past = guarded(|| self.read_past(words));
        self.or_nothing(past)
    }

    /// What could be read; else nothing, and the file is opened anew before it is written to.
    fn or_nothing<T: Default>(&mut self, read: Result<T, redb::Error>) -> T {
        read.unwrap_or_else(|error| {
            self.close();
            self.unreadable = Some(error).filter(is_unreadable);
            T::default()
        })
    }

    fn read_past(&self, words: &[&'static str]) -> Result<Past, redb::Error> {
        let reader = Reader { words, input: InputId::default() };
        let mut past = Past { alive: self.last_alive, counted: self.last_counted, ..Past::default() };
        let read = self.database()?.begin_read()?;
        for entry in read.open_table(ENTRIES)?.iter()? {
            let (key, bytes) = entry?;
            let ((kind, id), bytes) = (key.value(), bytes.value());
            let id = id.to_owned();
            // What an older build wrote and this one can't read is left out: it comes again when it is seen again.
            match kind {
                CONVERSATION => {
                    let row = serde_json::from_slice::<ConversationRow>(bytes).ok();
                    past.conversations.extend(row.and_then(|row| Some((id, row.read(&reader)?))));
                }
                REQUIREMENT => {
                    let row = serde_json::from_slice::<RequirementRow>(bytes).ok();
                    past.requirements.extend(row.and_then(|row| Some((id, row.read(&reader)?))));
                }
                _ => {
                    let row = serde_json::from_slice::<FindingRow>(bytes).ok();
                    past.findings.extend(row.and_then(|row| Some((id, row.read(&reader)?))));
                }
            }
        }
        Ok(past)
    }

    /// Events of an earlier run that may not have arrived.
    pub fn undelivered(&mut self) -> Vec<Event> {
        let events = guarded(|| self.read_undelivered());
        self.or_nothing(events)
    }

    fn read_undelivered(&self) -> Result<Vec<Event>, redb::Error> {
        let read = self.database()?.begin_read()?;
        let mut events = Vec::new();
        for row in read.open_table(EVENTS)?.iter()? {
            let (seq, row) = row?;
            let (name, level, time, json, cef) = row.value();
            let level = Level::of_syslog(level);
            events.push(Event::again(
                seq.value(),
                name.to_owned(),
                level,
                time.to_owned(),
                json.to_owned(),
                cef.to_owned(),
            ));
        }
        Ok(events)
    }

    /// The packets of findings that an earlier run left open.
    pub fn packets(&mut self) -> BTreeMap<Key, Kept> {
        let packets = guarded(|| self.read_packets());
        self.or_nothing(packets)
    }

    fn read_packets(&self) -> Result<BTreeMap<Key, Kept>, redb::Error> {
        let read = self.database()?.begin_read()?;
        let mut packets = BTreeMap::new();
        for row in read.open_table(PACKETS)?.iter()? {
            let (key, row) = row?;
            let (link, interface, original, bytes) = row.value();
            let kept = Kept { link: LinkType(link), interface, original, bytes: bytes.to_vec() };
            packets.insert(key.value(), kept);
        }
        Ok(packets)
    }

    /// Writes what changed of what is told. After an error the file is opened anew the next time.
    pub fn save(&mut self, state: &Snapshot<'_>) -> Result<(), redb::Error> {
        self.whole(|store| store.try_save(state))
    }

    /// Does something with the file, which is closed where that fails.
    fn whole(&mut self, work: impl FnOnce(&mut Self) -> Result<(), redb::Error>) -> Result<(), redb::Error> {
        let done = self.open_anew().and_then(|()| guarded(|| work(self)));
        let Err(error) = done else { return Ok(()) };
        self.close();
        if is_unreadable(&error) {
            let told = redb::Error::Corrupted(error.to_string());
            self.unreadable = Some(error);
            return Err(told);
        }
        Err(error)
    }

    fn try_save(&mut self, state: &Snapshot<'_>) -> Result<(), redb::Error> {
        let &Snapshot { seq, tracker, exhibits, events, arrived, report, now, last } = state;
        if events.is_empty() && !is_due(self.alive, now, ALIVE) && !last {
            return Ok(());
        }
        let write = self.database()?.begin_write()?;
        {
            let mut figures = write.open_table(FIGURES)?;
            figures.insert("seq", i64::try_from(seq).unwrap_or(i64::MAX))?;
            if let Some(now) = now {
                figures.insert("alive", now.as_nanos())?;
            }
            let Self { saved, rows, packets, .. } = self;
            save_standings(
                &mut saved.requirements,
                tracker.standings(),
                &mut write.open_table(REQUIREMENTS)?,
            )?;
            save_findings(&mut saved.findings, tracker.open_findings(), &mut write.open_table(FINDINGS)?)?;
            save_told(
                &mut saved.conversations,
                tracker.told_conversations(),
                &mut write.open_table(CONVERSATIONS)?,
            )?;
            let mut table = write.open_table(EVENTS)?;
            let given_up = seq.saturating_sub(MOST_EVENTS);
            table.retain(|seq, _| seq > arrived.max(given_up))?;
            for event in events {
                table.insert(
                    event.seq,
                    (
                        event.event.as_ref(),
                        event.level.syslog(),
                        event.time.as_deref().unwrap_or_default(),
                        event.json().as_str(),
                        event.cef().as_str(),
                    ),
                )?;
            }
            if let Some(report) = report {
                rows.save_told(report, &mut write.open_table(ENTRIES)?)?;
            }
            let mut table = write.open_table(PACKETS)?;
            for (&key, kept) in exhibits.all().iter().filter(|(key, _)| !packets.contains(*key)) {
                table.insert(key, (kept.link.0, kept.interface, kept.original, kept.bytes.as_slice()))?;
            }
            for &key in packets.iter().filter(|key| !exhibits.all().contains_key(*key)) {
                table.remove(key)?;
            }
        }
        write.commit()?;
        self.packets = exhibits.all().keys().copied().collect();
        self.alive = now.or(self.alive);
        Ok(())
    }

    /// Writes what grows by itself, once it is time: the counts of conversations. Nothing waits for it to be told.
    pub fn save_growth(
        &mut self,
        report: &Report,
        now: Option<Timestamp>,
        last: bool,
    ) -> Result<(), redb::Error> {
        if !last && !is_due(self.grown, now, self.wait) {
            return Ok(());
        }
        self.whole(|store| {
            let write = store.database()?.begin_write()?;
            if let Some(now) = now {
                write.open_table(FIGURES)?.insert("counted", now.as_nanos())?;
            }
            let changed = store.rows.save_growth(report, &mut write.open_table(ENTRIES)?)?;
            write.commit()?;
            store.grown = now;
            let times = i64::try_from(changed / GROWN_AT_ONCE + 1).unwrap_or(i64::MAX);
            store.wait = GROWTH.saturating_mul(times);
            Ok(())
        })
    }

    /// Everything has arrived up to this number: nothing of it is told again.
    pub fn arrived(&mut self, seq: u64) -> Result<(), redb::Error> {
        self.whole(|store| {
            let write = store.database()?.begin_write()?;
            write.open_table(EVENTS)?.retain(|number, _| number > seq)?;
            write.commit()?;
            Ok(())
        })
    }

    fn read(&mut self) -> Result<(), redb::Error> {
        let write = self.database()?.begin_write()?;
        {
            // A read of a table that was never made would be an error.
            write.open_table(FIGURES)?;
            write.open_table(REQUIREMENTS)?;
            write.open_table(FINDINGS)?;
            write.open_table(CONVERSATIONS)?;
            write.open_table(EVENTS)?;
            write.open_table(ENTRIES)?;
            write.open_table(PACKETS)?;
        }
        write.commit()?;
        let read = self.database()?.begin_read()?;
        let figures = read.open_table(FIGURES)?;
        let figure = |name: &str| -> Result<Option<i64>, redb::Error> {
            Ok(figures.get(name)?.map(|value| value.value()))
        };
        let seq = figure("seq")?.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0);
        self.last_alive = figure("alive")?.map(Timestamp::from_nanos);
        self.last_counted = figure("counted")?.map(Timestamp::from_nanos);
        for row in read.open_table(PACKETS)?.iter()? {
            self.packets.insert(row?.0.value());
        }
        let mut requirements = BTreeMap::new();
        for row in read.open_table(REQUIREMENTS)?.iter()? {
            let (id, row) = row?;
            let (verdict, mechanism) = row.value();
            let mechanism = Some(mechanism.to_owned()).filter(|mechanism| !mechanism.is_empty());
            requirements.insert(id.value().to_owned(), Standing { verdict: verdict.to_owned(), mechanism });
        }
        let mut findings = BTreeMap::new();
        for row in read.open_table(FINDINGS)?.iter()? {
            let (id, row) = row?;
            let (title, kind, requirements, conversations, print, seen, counts) = row.value();
            let open = OpenFinding {
                title: title.to_owned(),
                kind: kind.to_owned(),
                requirements: requirements.lines().map(str::to_owned).collect(),
                conversations: conversations.lines().map(str::to_owned).collect(),
                seen,
                counts,
                print: print.to_owned(),
                carried: true,
            };
            findings.insert(id.value().to_owned(), open);
        }
        let mut conversations = BTreeSet::new();
        for row in read.open_table(CONVERSATIONS)?.iter()? {
            conversations.insert(row?.0.value().to_owned());
        }
        self.saved = Memory { seq, requirements, findings, conversations };
        Ok(())
    }
}

/// Whether so much capture time has passed, whichever way the clock went.
fn is_due(before: Option<Timestamp>, now: Option<Timestamp>, span: i64) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => (now.as_nanos() - before.as_nanos()).abs() >= span,
        (_, now) => now.is_some(),
    }
}

/// Whether an error says that the file is not what this build writes: anything else may be over the next time.
fn is_unreadable(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. } => true,
        // Not a database at all, or one that ends too early.
        redb::Error::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
