//! Where events go: each outlet has a thread and a bounded queue of its own, so that a slow reader holds up nobody else.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::TrySendError;
use crossbeam_channel::bounded;

use super::event::Event;

/// Events on their way to one outlet; what comes beyond it is dropped and counted.
const QUEUE: usize = 4096;
/// Between two tries to deliver one event.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the end of the watch waits for an outlet.
const FAREWELL: Duration = Duration::from_secs(5);

/// Something that takes events.
pub trait Outlet: Send {
    /// Its name in messages and metrics.
    fn name(&self) -> String;

    /// Delivers one event. An error means that it did not arrive, and that it will be tried again.
    fn deliver(&mut self, event: &Event) -> io::Result<()>;

    /// How often one event is tried; `None` for ever.
    fn tries(&self) -> Option<u32> {
        None
    }

    /// Opens its file anew: somebody may have moved it away.
    fn reopen(&mut self) {}
}

enum Order {
    Tell(Arc<Event>),
    Reopen,
}

/// What became of the events given to one outlet.
#[derive(Debug, Default)]
pub struct Counts {
    /// The number of the last event that arrived.
    pub delivered: AtomicU64,
    /// Events that arrived.
    pub arrived: AtomicU64,
    /// Events that were given up.
    pub dropped: AtomicU64,
    /// Whether the last try failed.
    pub failing: AtomicBool,
    /// The end has come: what can't be delivered now never will.
    closing: AtomicBool,
}

/// One outlet at work.
pub struct Sink {
    name: String,
    orders: Sender<Order>,
    counts: Arc<Counts>,
    done: Receiver<()>,
}

impl Sink {
    /// Puts an outlet to work.
    pub fn start(mut outlet: Box<dyn Outlet>) -> Self {
        let (orders, queue) = bounded(QUEUE);
        let (tell_done, done) = bounded(1);
        let counts = Arc::new(Counts::default());
        let name = outlet.name();
        let shared = Arc::clone(&counts);
        thread::spawn(move || {
            work(&mut *outlet, &queue, &shared);
            let _ = tell_done.send(());
        });
        Self { name, orders, counts, done }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What became of its events.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Hands over an event, or drops and counts it where the queue is full.
    pub fn tell(&self, event: &Arc<Event>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.orders.try_send(Order::Tell(Arc::clone(event)))
        {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has its file opened anew.
    pub fn reopen(&self) {
        // A full queue means that the outlet fails, and then it opens its file anew by itself.
        let _ = self.orders.try_send(Order::Reopen);
    }

    /// Waits a few seconds for what is still underway.
    pub fn close(self) {
        self.counts.closing.store(true, Ordering::Relaxed);
        drop(self.orders);
        let _ = self.done.recv_timeout(FAREWELL);
    }
}

fn work(outlet: &mut dyn Outlet, queue: &Receiver<Order>, counts: &Counts) {
    for order in queue {
        let event = match order {
            Order::Tell(event) => event,
            Order::Reopen => {
                outlet.reopen();
                continue;
            }
        };
        let mut tried = 0;
        loop {
            tried += 1;
            if outlet.deliver(&event).is_ok() {
                counts.failing.store(false, Ordering::Relaxed);
                counts.arrived.fetch_add(1, Ordering::Relaxed);
                counts.delivered.store(event.seq, Ordering::Release);
                break;
            }
            counts.failing.store(true, Ordering::Relaxed);
            if counts.closing.load(Ordering::Relaxed) || outlet.tries().is_some_and(|most| tried >= most) {
                counts.dropped.fetch_add(1, Ordering::Relaxed);
                break;
            }
            thread::sleep(AGAIN);
        }
    }
}

/// Standard output, one line of JSON an event.
pub struct Stdout;

impl Outlet for Stdout {
    fn name(&self) -> String {
        "stdout".to_owned()
    }

    fn deliver(&mut self, event: &Event) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(event.json().as_bytes())?;
        out.flush()
    }

    /// A reader that is gone does not come back.
    fn tries(&self) -> Option<u32> {
        Some(1)
    }
}

/// A file that grows to a size, then is moved aside: `events.jsonl`, `events.jsonl.1`, ...
pub struct Journal {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    most: u64,
    keep: u32,
    /// Whether the last line was cut short by an error.
    torn: bool,
}

impl Journal {
    /// Opens the file, or says why it can't be.
    pub fn open(path: &Path, most: u64, keep: u32) -> io::Result<Self> {
        let mut journal = Self { path: path.to_owned(), file: None, size: 0, most, keep, torn: false };
        journal.file()?;
        Ok(journal)
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        self.file.as_mut().ok_or_else(|| io::Error::other("not open"))
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let aside = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.keep).rev() {
            match std::fs::rename(aside(number), aside(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        std::fs::rename(&self.path, aside(1))
    }
}

impl Outlet for Journal {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn deliver(&mut self, event: &Event) -> io::Result<()> {
        let mut line = event.json();
        if self.torn {
            line.insert(0, '\n');
        }
        let length = line.len() as u64;
        self.file()?;
        if self.size > 0 && self.size + length > self.most {
            // Where it can't be moved aside it goes on growing: a longer file is better than a lost event.
            let _ = self.rotate();
        }
        let whole = self.size;
        let file = self.file()?;
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // What was written of it is taken back, so that no reader meets half a line.
                    self.torn = rest.len() < line.len() && file.set_len(whole).is_err() || self.torn;
                    self.file = None;
                    return Err(error);
                }
            }
        }
        self.torn = false;
        self.size += length;
        Ok(())
    }

    fn reopen(&mut self) {
        self.file = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::About;
    use super::super::event::Level;
    use super::*;

    fn event(seq: u64) -> Arc<Event> {
        let about = About::Condition { condition: "silent", detail: "x".repeat(100) };
        let mut event = Event::new("plant", None, "vantage-degraded", Level::Info, String::new(), about);
        event.seq = seq;
        Arc::new(event)
    }

    #[test]
    fn a_journal_is_moved_aside_when_it_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let one = event(1).json().len() as u64;
        let mut journal = Journal::open(&path, 2 * one + 10, 2).unwrap();
        for seq in 1..=7 {
            journal.deliver(&event(seq)).unwrap();
        }
        let lines = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
        assert_eq!(lines("events.jsonl"), 1);
        assert_eq!(lines("events.jsonl.1"), 2);
        assert_eq!(lines("events.jsonl.2"), 2);
        assert!(!folder.path().join("events.jsonl.3").exists());
    }

    /// Takes nothing until it is opened.
    struct Closed(Arc<AtomicBool>, Arc<AtomicU64>);

    impl Outlet for Closed {
        fn name(&self) -> String {
            "closed".to_owned()
        }

        fn deliver(&mut self, event: &Event) -> io::Result<()> {
            if !self.0.load(Ordering::Relaxed) {
                return Err(io::Error::other("closed"));
            }
            self.1.store(event.seq, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_what_waits_is_delivered_later() {
        let (open, latest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sink = Sink::start(Box::new(Closed(Arc::clone(&open), Arc::clone(&latest))));
        let told = QUEUE as u64 + 100;
        for seq in 1..=told {
            sink.tell(&event(seq));
        }
        let counts = sink.counts();
        // One more than the queue holds may be in the outlet's hands.
        assert!((99..=100).contains(&counts.dropped.load(Ordering::Relaxed)));
        open.store(true, Ordering::Relaxed);
        sink.close();
        assert_eq!(counts.arrived.load(Ordering::Relaxed) + counts.dropped.load(Ordering::Relaxed), told);
        assert!(latest.load(Ordering::Relaxed) >= QUEUE as u64);
    }
}
