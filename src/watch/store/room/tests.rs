//! A file that gives room back, also where it is cut short in that.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use redb::Builder;
use redb::ReadableDatabase;
use redb::ReadableTable;
use redb::StorageBackend;

use super::*;
use crate::watch::event::About;
use crate::watch::event::Event;
use crate::watch::event::Level;
use crate::watch::exhibits::Exhibits;
use crate::watch::store::ENTRIES;
use crate::watch::store::EVENTS;
use crate::watch::store::Snapshot;
use crate::watch::tracker::Tracker;

fn events(seqs: std::ops::Range<u64>) -> Vec<Arc<Event>> {
    seqs.map(|seq| {
        let about = About::Condition { condition: "started", detail: "x".repeat(2000) };
        let mut event = Event::new("plant", None, "watch-started", Level::Notice, "x".to_owned(), about);
        event.seq = seq;
        Arc::new(event)
    })
    .collect()
}

fn save(store: &mut Store, seqs: std::ops::Range<u64>, arrived: u64) {
    let (tracker, exhibits) = (Tracker::default(), Exhibits::default());
    let state = Snapshot {
        seq: seqs.end,
        tracker: &tracker,
        exhibits: &exhibits,
        events: &events(seqs),
        arrived,
        report: None,
        now: Some(Timestamp::from_nanos(1)),
        last: false,
    };
    store.save(&state).unwrap();
}

fn told(store: &mut Store) -> Vec<u64> {
    store.undelivered().iter().map(|event| event.seq).collect()
}

#[test]
fn after_a_flood_the_file_becomes_small_again_and_keeps_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), true).unwrap();
    save(&mut store, 1..3000, 0);
    let full = store.size();
    store.shrink().unwrap();
    assert_eq!(store.size(), full, "it is full");
    // All but the last two of them arrive.
    save(&mut store, 3000..3001, 2998);
    assert!(store.size() > 4 << 20, "{}", store.size());
    store.shrink().unwrap();
    assert!(store.size() < 1 << 20, "{}", store.size());
    assert_eq!(told(&mut store), [2999, 3000]);
    // As kill -9 would leave it.
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(store.path(), other.path().join("watch-1.redb")).unwrap();
    let mut other = Store::open(other.path(), true).unwrap();
    assert_eq!((told(&mut other), other.moved_aside()), (vec![2999, 3000], None));
    save(&mut store, 3001..3002, 2998);
    assert_eq!(told(&mut store), [2999, 3000, 3001]);
}

#[test]
fn it_is_looked_at_now_and_then_and_left_alone_while_it_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), true).unwrap();
    save(&mut store, 1..3000, 3000);
    let before = store.size();
    store.give_back(Some(Timestamp::from_nanos(0))).unwrap();
    assert_eq!((store.size(), store.tidied), (before, Some(Timestamp::from_nanos(0))));
    store.give_back(Some(Timestamp::from_nanos(TIDY - 1))).unwrap();
    assert_eq!(store.tidied, Some(Timestamp::from_nanos(0)));
    store.give_back(Some(Timestamp::from_nanos(TIDY))).unwrap();
    assert_eq!(store.tidied, Some(Timestamp::from_nanos(TIDY)));
}

/// A disk in memory that takes so many more writes, then none.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<(Vec<u8>, Option<usize>)>>);

impl Disk {
    fn take<T>(&self, writes: bool, work: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, left) = &mut *disk;
        if writes && let Some(left) = left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        }
        Ok(work(bytes))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.take(false, |bytes| bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.take(false, |bytes| out.copy_from_slice(&bytes[offset as usize..][..out.len()]))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.take(true, |bytes| bytes.resize(length as usize, 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.take(true, |_| ())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.take(true, |bytes| bytes[offset as usize..][..data.len()].copy_from_slice(data))
    }
}

fn rows(database: &Database) -> Vec<(String, Vec<u8>)> {
    let read = database.begin_read().unwrap();
    let table = read.open_table(ENTRIES).unwrap();
    let rows = table.iter().unwrap().map(|row| row.unwrap());
    rows.map(|(key, bytes)| (key.value().1.to_owned(), bytes.value().to_vec())).collect()
}

#[test]
fn whatever_write_it_is_cut_short_at_the_rows_are_what_they_were() {
    let disk = Disk::default();
    let database = Builder::new().create_with_backend(disk.clone()).unwrap();
    let write = database.begin_write().unwrap();
    let mut table = write.open_table(ENTRIES).unwrap();
    for number in 0..600_u32 {
        let id = format!("{number:04}");
        table.insert(("c", id.as_str()), [number as u8; 700].as_slice()).unwrap();
    }
    drop(table);
    write.open_table(EVENTS).unwrap();
    write.commit().unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(ENTRIES).unwrap().retain(|(_, id), _| id.ends_with('7')).unwrap();
    write.commit().unwrap();
    let before = rows(&database);
    assert_eq!(before.len(), 60);
    // As kill -9 leaves it: written, and not closed.
    let loose = disk.0.lock().unwrap().0.clone();
    drop(database);
    let mut cuts = 0;
    for left in 0.. {
        let disk = Disk(Arc::new(Mutex::new((loose.clone(), None))));
        let mut database = Builder::new().create_with_backend(disk.clone()).unwrap();
        disk.0.lock().unwrap().1 = Some(left);
        let done = database.compact();
        let bytes = disk.0.lock().unwrap().0.clone();
        drop(database);
        let again = Disk(Arc::new(Mutex::new((bytes.clone(), None))));
        assert_eq!(rows(&Builder::new().create_with_backend(again).unwrap()), before, "cut at write {left}");
        if done.is_ok() {
            assert!(bytes.len() < loose.len() / 2, "{} of {}", bytes.len(), loose.len());
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 10, "{cuts}");
}
