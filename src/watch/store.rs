//! What outlives a run: an embedded store that survives a crash and a power cut at any moment (redb: copy on write, checksummed).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::BuildHasher;
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

/// The most conversations kept.
const MOST_CONVERSATIONS: usize = 65_536;
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
/// Capture time between two notes that the watch is alive.
const ALIVE: i64 = 5_000_000_000;

/// What there is to save.
pub struct Snapshot<'a> {
    /// What was told.
    pub memory: &'a Memory,
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

/// Entries by kind and id: packets of a conversation, the hash of anything else.
type Entries = BTreeMap<(char, String), u64>;

/// The store.
pub struct Store {
    path: PathBuf,
    database: Database,
    /// What is in it, so that only changes are written.
    saved: Memory,
    alive: Option<Timestamp>,
    last_alive: Option<Timestamp>,
    last_counted: Option<Timestamp>,
    /// Packets in it.
    packets: BTreeSet<Key>,
    /// When entries were last saved, how long they may wait for the next time, and what each was then: packets of a conversation, the hash of anything else.
    grown: Option<Timestamp>,
    wait: i64,
    entries: Entries,
}

impl Store {
    /// Opens the store in a folder, or makes one there. The error is in words.
    pub fn open(folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let path = folder.join(FILE);
        let database =
            Builder::new().set_cache_size(CACHE).create(&path).map_err(|error| error.to_string())?;
        let mut store = Self {
            path,
            database,
            saved: Memory::default(),
            alive: None,
            last_alive: None,
            last_counted: None,
            grown: None,
            wait: GROWTH,
            packets: BTreeSet::new(),
            entries: BTreeMap::new(),
        };
        store.read().map_err(|error| error.to_string())?;
        Ok(store)
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
    pub fn past(&mut self, words: &[&'static str]) -> Result<Past, redb::Error> {
        let reader = Reader { words, input: InputId::default() };
        let mut past = Past { alive: self.last_alive, counted: self.last_counted, ..Past::default() };
        let read = self.database.begin_read()?;
        for entry in read.open_table(ENTRIES)?.iter()? {
            let (key, bytes) = entry?;
            let ((kind, id), bytes) = (key.value(), bytes.value());
            let id = id.to_owned();
            // What an older build wrote and this one can't read is left out: it comes again when it is seen again.
            let kind = match kind {
                "c" => {
                    let row = serde_json::from_slice::<ConversationRow>(bytes).ok();
                    past.conversations.extend(row.and_then(|row| Some((id.clone(), row.read(&reader)?))));
                    'c'
                }
                "r" => {
                    let row = serde_json::from_slice::<RequirementRow>(bytes).ok();
                    past.requirements.extend(row.and_then(|row| Some((id.clone(), row.read(&reader)?))));
                    'r'
                }
                _ => {
                    let row = serde_json::from_slice::<FindingRow>(bytes).ok();
                    past.findings.extend(row.and_then(|row| Some((id.clone(), row.read(&reader)?))));
                    'f'
                }
            };
            self.entries.insert((kind, id), 0);
        }
        Ok(past)
    }

    /// Events of an earlier run that may not have arrived.
    pub fn undelivered(&self) -> Result<Vec<Event>, redb::Error> {
        let read = self.database.begin_read()?;
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
    pub fn packets(&self) -> Result<BTreeMap<Key, Kept>, redb::Error> {
        let read = self.database.begin_read()?;
        let mut packets = BTreeMap::new();
        for row in read.open_table(PACKETS)?.iter()? {
            let (key, row) = row?;
            let (link, interface, original, bytes) = row.value();
            let kept = Kept { link: LinkType(link), interface, original, bytes: bytes.to_vec() };
            packets.insert(key.value(), kept);
        }
        Ok(packets)
    }

    /// Writes what changed.
    pub fn save(&mut self, state: &Snapshot<'_>) -> Result<(), redb::Error> {
        let &Snapshot { memory, exhibits, events, arrived, report, now, last } = state;
        let since = |before: Option<Timestamp>, span: i64| match (before, now) {
            (Some(before), Some(now)) => (now.as_nanos() - before.as_nanos()).abs() >= span,
            (_, now) => now.is_some(),
        };
        let grown = last || since(self.grown, self.wait);
        if events.is_empty() && !since(self.alive, ALIVE) && !last {
            return Ok(());
        }
        let (mut entries, mut changed) = (BTreeMap::new(), 0);
        let told = report.filter(|_| grown || !events.is_empty());
        let write = self.database.begin_write()?;
        {
            let mut figures = write.open_table(FIGURES)?;
            figures.insert("seq", i64::try_from(memory.seq).unwrap_or(i64::MAX))?;
            if let Some(now) = now {
                figures.insert("alive", now.as_nanos())?;
            }
            let mut table = write.open_table(REQUIREMENTS)?;
            for (id, standing) in &memory.requirements {
                if self.saved.requirements.get(id) != Some(standing) {
                    let mechanism = standing.mechanism.as_deref().unwrap_or_default();
                    table.insert(id.as_str(), (standing.verdict.as_str(), mechanism))?;
                }
            }
            for id in self.saved.requirements.keys().filter(|id| !memory.requirements.contains_key(*id)) {
                table.remove(id.as_str())?;
            }
            let mut table = write.open_table(FINDINGS)?;
            for (id, open) in &memory.findings {
                if self.saved.findings.get(id) != Some(open) {
                    let (requirements, conversations) =
                        (open.requirements.join("\n"), open.conversations.join("\n"));
                    table.insert(
                        id.as_str(),
                        (
                            open.title.as_str(),
                            open.kind.as_str(),
                            requirements.as_str(),
                            conversations.as_str(),
                            open.print.as_str(),
                            open.seen,
                            open.counts,
                        ),
                    )?;
                }
            }
            for id in self.saved.findings.keys().filter(|id| !memory.findings.contains_key(*id)) {
                table.remove(id.as_str())?;
            }
            let mut table = write.open_table(CONVERSATIONS)?;
            for id in memory.conversations.difference(&self.saved.conversations) {
                table.insert(id.as_str(), ())?;
            }
            for id in self.saved.conversations.difference(&memory.conversations) {
                table.remove(id.as_str())?;
            }
            let mut table = write.open_table(EVENTS)?;
            let given_up = memory.seq.saturating_sub(MOST_EVENTS);
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
            if let Some(report) = told {
                if grown && let Some(now) = now {
                    figures.insert("counted", now.as_nanos())?;
                }
                (entries, changed) = self.save_entries(report, grown, &mut write.open_table(ENTRIES)?)?;
            }
            let mut table = write.open_table(PACKETS)?;
            for (&key, kept) in exhibits.all().iter().filter(|(key, _)| !self.packets.contains(*key)) {
                table.insert(key, (kept.link.0, kept.interface, kept.original, kept.bytes.as_slice()))?;
            }
            for &key in self.packets.iter().filter(|key| !exhibits.all().contains_key(*key)) {
                table.remove(key)?;
            }
        }
        write.commit()?;
        if told.is_some() {
            self.entries = entries;
        }
        if told.is_some() && grown {
            self.grown = now;
            let times = i64::try_from(changed / GROWN_AT_ONCE + 1).unwrap_or(i64::MAX);
            self.wait = GROWTH.saturating_mul(times);
        }
        self.packets = exhibits.all().keys().copied().collect();
        self.saved.clone_from(memory);
        self.alive = now.or(self.alive);
        Ok(())
    }

    /// Writes the entries of a report that changed, conversations only if `grown`; removes those that are gone. Returns what there is, and
    /// how many were written.
    fn save_entries(
        &self,
        report: &Report,
        grown: bool,
        table: &mut redb::Table<'_, (&'static str, &'static str), &'static [u8]>,
    ) -> Result<(Entries, u64), redb::Error> {
        let mut entries = BTreeMap::new();
        let mut written = 0;
        let mut save = |kind: char, id: &str, state: u64, bytes: &dyn Fn() -> Vec<u8>| {
            let key = (kind, id.to_owned());
            let changed = self.entries.get(&key) != Some(&state);
            entries.insert(key, state);
            if changed {
                written += 1;
                table.insert((kind.encode_utf8(&mut [0; 4]) as &str, id), bytes().as_slice())?;
            }
            Ok::<(), redb::Error>(())
        };
        let hash = |bytes: &[u8]| foldhash::fast::FixedState::default().hash_one(bytes);
        for told in &report.requirements {
            if let Some(row) = RequirementRow::of(told) {
                // Its counters grow with every flow; only what it says has to be on disk at once.
                let state = hash(
                    format!("{} {} {}", told.verdict.name(), told.reason, told.history.len()).as_bytes(),
                );
                save('r', &told.id, state, &|| json(&row))?;
            }
        }
        for told in &report.findings {
            let bytes = json(&FindingRow::of(told));
            save('f', &told.id, hash(&bytes), &|| bytes.clone())?;
        }
        if grown {
            for told in report.conversations.iter().take(MOST_CONVERSATIONS) {
                save('c', &told.id, told.packets, &|| json(&ConversationRow::of(told)))?;
            }
        } else {
            let known = self.entries.iter().filter(|((kind, _), _)| *kind == 'c');
            entries.extend(known.map(|(key, state)| (key.clone(), *state)));
        }
        for (kind, id) in self.entries.keys().filter(|key| !entries.contains_key(*key)) {
            table.remove((kind.encode_utf8(&mut [0; 4]) as &str, id.as_str()))?;
        }
        Ok((entries, written))
    }

    /// Everything has arrived up to this number: nothing of it is told again.
    pub fn arrived(&mut self, seq: u64) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        write.open_table(EVENTS)?.retain(|number, _| number > seq)?;
        write.commit()?;
        Ok(())
    }

    fn read(&mut self) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
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
        let read = self.database.begin_read()?;
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

/// Every key of a row is a string, so that this does not fail.
fn json(row: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(row).unwrap_or_default()
}
