//! Reading ahead of who wants the bytes: a packed stream is unpacked by a thread of its own, a large plain file read by several, a piece each in turn.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::TrySendError;
use crossbeam_channel::bounded;

use crate::capture::block::LARGEST_READ;

/// How many pieces may lie between each thread and who wants them.
const PIECES: usize = 4;
/// Room at the beginning of each piece for a record that began in the one before: no packet of a network is larger than a jumbo frame.
pub(super) const HEADROOM: usize = 16 * 1024;

/// A stream that other threads read.
pub(super) struct Ahead {
    lanes: Vec<Lane>,
    /// Whose piece is next.
    next: usize,
    /// Whether there is no next one.
    over: bool,
    /// Bytes handed over.
    pub(super) taken: u64,
}

/// What comes from one thread, and the way back of pieces that were used.
struct Lane {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
}

/// The thread's ends of its lane.
struct Filling {
    full: Sender<io::Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
}

impl Ahead {
    /// Has a stream read by a new thread, which ends with the stream or once the result is dropped. Where the system gives no thread, the stream is
    /// had back.
    pub(super) fn stream(stream: Box<dyn Read + Send>) -> Result<Self, Box<dyn Read + Send>> {
        // Handed over in a box of its own, so that it can be had back.
        let parcel = Arc::new(Mutex::new(Some(stream)));
        let unpack = |parcel: &Mutex<Option<Box<dyn Read + Send>>>| {
            parcel.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        let theirs = Arc::clone(&parcel);
        let lane = Lane::new("unpack", move |filling| {
            if let Some(mut stream) = unpack(&theirs) {
                filling.pump(|room| stream.read(room));
            }
        });
        match lane {
            Ok(lane) => Ok(Self { lanes: vec![lane], next: 0, over: false, taken: 0 }),
            Err(_) => Err(unpack(&parcel).unwrap_or_else(|| Box::new(io::empty()))),
        }
    }

    /// Has the rest of a regular file, from `at` on, read by so many new threads: the first piece by the first, the second by the second, and so on
    /// around.
    pub(super) fn file(file: &File, at: u64, threads: usize) -> io::Result<Self> {
        let file = Arc::new(file.try_clone()?);
        let lane = |first: usize| {
            let file = Arc::clone(&file);
            let mut at = at + (first * LARGEST_READ) as u64;
            Lane::new("read", move |filling| {
                filling.pump(|room| {
                    let count = read_at(&file, room, at)?;
                    at += (threads * LARGEST_READ) as u64;
                    Ok(count)
                });
            })
        };
        let lanes = (0..threads.max(1)).map(lane).collect::<io::Result<_>>()?;
        Ok(Self { lanes, next: 0, over: false, taken: 0 })
    }

    /// The next piece, behind [`HEADROOM`] bytes that say nothing; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(lane) = self.lanes.get(self.next).filter(|_| !self.over) else { return Ok(None) };
        // A disconnected channel is the end of the stream.
        let Ok(piece) = lane.full.recv() else { return Ok(None) };
        let piece = piece?;
        // Of several that read a file, who gets a short piece has come to its end: what was added behind it since is another's.
        self.over = self.lanes.len() > 1 && piece.len() < HEADROOM + LARGEST_READ;
        self.next = (self.next + 1) % self.lanes.len();
        self.taken += (piece.len() - HEADROOM) as u64;
        Ok(Some(piece))
    }

    /// Gives back a piece that nobody needs any more, for whoever fills the next one.
    pub(super) fn give_back(&self, mut piece: Vec<u8>) {
        for lane in &self.lanes {
            match lane.empty.try_send(piece) {
                Ok(()) => return,
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => piece = back,
            }
        }
    }
}

/// Fills all the room from a place in a file: less of it at the end alone.
fn read_at(file: &File, room: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(left) = room.get_mut(done..).filter(|left| !left.is_empty()) {
        match file.read_at(left, at + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What came before is still to be read.
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

impl Lane {
    /// A lane whose pieces are filled by a new thread.
    fn new(name: &str, fill: impl FnOnce(Filling) + Send + 'static) -> io::Result<Self> {
        let (send_full, full) = bounded(PIECES);
        let (empty, take_empty) = bounded(PIECES + 1);
        let filling = Filling { full: send_full, empty: take_empty };
        thread::Builder::new().name(name.to_owned()).spawn(move || fill(filling))?;
        Ok(Self { full, empty })
    }
}

impl Filling {
    /// Fills pieces until there is nothing more to read or nobody wants them any more.
    fn pump(self, mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) {
        loop {
            let mut piece = self.empty.try_recv().unwrap_or_default();
            piece.resize(HEADROOM + LARGEST_READ, 0);
            let told = match read(piece.get_mut(HEADROOM..).unwrap_or_default()) {
                Ok(0) => return,
                Ok(count) => {
                    piece.truncate(HEADROOM + count);
                    self.full.send(Ok(piece))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let _ = self.full.send(Err(error));
                    return;
                }
            };
            if told.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that comes, and how it ends.
    fn read(mut ahead: Ahead) -> (Vec<u8>, io::Result<()>) {
        let mut all = Vec::new();
        loop {
            match ahead.next() {
                Ok(Some(piece)) => {
                    all.extend_from_slice(&piece[HEADROOM..]);
                    ahead.give_back(piece);
                }
                Ok(None) => return (all, Ok(())),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    #[test]
    fn delivers_everything_then_the_failure() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::InvalidData, "worn out"))
            }
        }
        let bytes: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
        let stream = Box::new(io::Cursor::new(bytes.clone()).chain(Broken));
        let (told, end) = read(Ahead::stream(stream).ok().unwrap());
        assert_eq!(end.unwrap_err().to_string(), "worn out");
        assert!(told == bytes);
    }

    #[test]
    fn gives_up_when_nobody_reads() {
        let mut ahead = Ahead::stream(Box::new(io::repeat(1))).ok().unwrap();
        assert_eq!(ahead.next().unwrap().map(|piece| piece.len()), Some(HEADROOM + LARGEST_READ));
    }

    #[test]
    fn a_file_read_by_several_is_the_same() {
        let path = std::env::temp_dir().join(format!("spanaudit-ahead-{}", std::process::id()));
        for length in [0, 5, LARGEST_READ, 3 * LARGEST_READ, 9 * LARGEST_READ + 77] {
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            std::fs::write(&path, &bytes).unwrap();
            for (at, threads) in [(0, 1), (3, 2), (100, 5), (LARGEST_READ, 3)] {
                let ahead = Ahead::file(&File::open(&path).unwrap(), at as u64, threads).unwrap();
                let (told, end) = read(ahead);
                end.unwrap();
                assert!(told == bytes.get(at..).unwrap_or_default(), "{length} from {at} by {threads}");
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
