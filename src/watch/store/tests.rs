//! The store over bad files and failing disks.

use std::fs;

use super::*;
use crate::watch::event::About;

fn event(seq: u64) -> Arc<Event> {
    let about = About::Condition { condition: "started", detail: "x".to_owned() };
    let mut event = Event::new("plant", None, "watch-started", Level::Notice, "x".to_owned(), about);
    event.seq = seq;
    Arc::new(event)
}

fn save(store: &mut Store, seq: u64) -> Result<(), redb::Error> {
    let (tracker, exhibits) = (Tracker::default(), Exhibits::default());
    store.save(&Snapshot {
        seq,
        tracker: &tracker,
        exhibits: &exhibits,
        events: &[event(seq)],
        arrived: 0,
        report: None,
        now: Some(Timestamp::from_nanos(1)),
        last: false,
    })
}

fn told(store: &mut Store) -> Vec<u64> {
    store.undelivered().iter().map(|event| event.seq).collect()
}

#[test]
fn what_is_no_store_is_moved_aside_and_nothing_of_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    fs::write(&file, "not a database").unwrap();
    // To try a setup out changes nothing.
    assert!(Store::open(folder.path(), false).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"not a database");
    let mut store = Store::open(folder.path(), true).unwrap();
    let why = store.moved_aside().unwrap();
    assert!(why.contains("watch-1.unreadable.redb"), "{why}");
    assert_eq!(fs::read(folder.path().join("watch-1.unreadable.redb")).unwrap(), b"not a database");
    assert_eq!(store.moved_aside(), None);
    save(&mut store, 1).unwrap();
    assert_eq!(told(&mut store), [1]);
}

#[test]
fn a_store_that_was_cut_off_or_written_over_does_not_keep_a_watch_from_beginning() {
    let good = tempfile::tempdir().unwrap();
    let mut store = Store::open(good.path(), true).unwrap();
    (1..200).for_each(|seq| save(&mut store, seq).unwrap());
    drop(store);
    let bytes = fs::read(good.path().join(FILE)).unwrap();
    let cut = |length: usize| bytes[..length].to_vec();
    let over = |from: usize, length: usize| {
        let mut over = bytes.clone();
        over[from..from + length].fill(0xa5);
        over
    };
    let spoilt = [
        cut(0),
        cut(100),
        cut(5000),
        cut(bytes.len() / 2),
        over(0, 4096),
        over(4096, 4096),
        over(4096, bytes.len() - 4096),
        over(bytes.len() / 2, 4096),
    ];
    for bytes in spoilt {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), bytes).unwrap();
        let mut store = Store::open(folder.path(), true).unwrap();
        // What can't be read may come to light as late as here; then the next time is the one that succeeds.
        if save(&mut store, 500).is_err() {
            save(&mut store, 500).unwrap();
        }
        assert!(told(&mut store).contains(&500));
    }
}

/// The test above once more, in a process of its own: what the library prints of damaged pages reaches nobody.
#[test]
fn nothing_is_printed_of_damaged_pages() {
    let name =
        "watch::store::tests::a_store_that_was_cut_off_or_written_over_does_not_keep_a_watch_from_beginning";
    let run = |name: &str| {
        let test = std::env::current_exe().unwrap();
        std::process::Command::new(test)
            .args(["--exact", name, "--nocapture", "--include-ignored"])
            .output()
            .unwrap()
    };
    let quiet = run(name);
    let said = String::from_utf8_lossy(&quiet.stderr);
    assert!(quiet.status.success() && !said.contains("panicked"), "{said}");
    // Any other panic is told as ever.
    let loud = run("watch::store::tests::a_panic_of_another_kind_is_told");
    let said = String::from_utf8_lossy(&loud.stderr);
    assert!(
        loud.status.success() && said.matches("panicked").count() == 1 && said.contains("told"),
        "{said}"
    );
}

#[test]
#[ignore = "run by the test above: it panics"]
fn a_panic_of_another_kind_is_told() {
    assert_eq!(caught(|| panic!("kept")), None::<()>);
    assert!(std::panic::catch_unwind(|| panic!("told")).is_err());
}

#[test]
fn one_that_is_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let _store = Store::open(folder.path(), true).unwrap();
    assert!(Store::open(folder.path(), true).is_err());
    assert!(!folder.path().join("watch-1.unreadable.redb").exists());
}

#[test]
fn after_an_error_the_file_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), true).unwrap();
    save(&mut store, 1).unwrap();
    let failed = store.whole(|_| Err(redb::Error::Io(std::io::Error::other("the disk is full"))));
    assert!(failed.is_err() && store.database.is_none());
    save(&mut store, 2).unwrap();
    assert_eq!((told(&mut store), store.moved_aside()), (vec![1, 2], None));
}
