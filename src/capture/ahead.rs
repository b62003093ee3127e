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
    /// Whether it is a file, of which a short piece is the last: what was added behind it since is not read.
    of_file: bool,
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
            Ok(lane) => Ok(Self { lanes: vec![lane], next: 0, of_file: false, taken: 0 }),
            Err(_) => Err(unpack(&parcel).unwrap_or_else(|| Box::new(io::empty()))),
        }
    }

    /// Has the rest of a regular file, from `at` on, read by so many new threads: the first piece by the first, the second by the second, and so on
    /// around.
    pub(super) fn file(file: &File, at: u64, threads: usize) -> io::Result<Self> {
        let file = Arc::new(file.try_clone()?);
        Self::by_turns(at, threads, move |room: &mut [u8], at| file.read_at(room, at))
    }

    /// The same of anything that can be read at a place.
    fn by_turns(
        at: u64,
        threads: usize,
        read_at: impl Fn(&mut [u8], u64) -> io::Result<usize> + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let lane = |first: usize| {
            let read_at = read_at.clone();
            let at = at + (first * LARGEST_READ) as u64;
            let step = (threads.max(1) * LARGEST_READ) as u64;
            Lane::new("read", move |filling| filling.every(at, step, read_at))
        };
        let lanes = (0..threads.max(1)).map(lane).collect::<io::Result<_>>()?;
        Ok(Self { lanes, next: 0, of_file: true, taken: 0 })
    }

    /// The next piece, behind [`HEADROOM`] bytes that say nothing; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(lane) = self.lanes.get(self.next) else { return Ok(None) };
        // A disconnected channel is the end of the stream.
        let Ok(piece) = lane.full.recv() else { return Ok(None) };
        let piece = piece?;
        // Behind the last piece of a file comes, from the same thread, why it is the last, or nothing.
        if !self.of_file || piece.len() == HEADROOM + LARGEST_READ {
            self.next = (self.next + 1) % self.lanes.len();
        }
        self.taken += (piece.len() - HEADROOM) as u64;
        Ok(Some(piece))
    }

    /// Gives back a piece that nobody needs any more, for whoever fills the next one.
    pub(super) fn give_back(&self, mut piece: Vec<u8>) {
        if piece.capacity() > 2 * (HEADROOM + LARGEST_READ) {
            // It grew for one large record.
            return;
        }
        for lane in &self.lanes {
            match lane.empty.try_send(piece) {
                Ok(()) => return,
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => piece = back,
            }
        }
    }
}

/// Fills all the room from a place: less of it where there is no more, or where reading failed.
fn fill(
    room: &mut [u8],
    at: u64,
    read_at: impl Fn(&mut [u8], u64) -> io::Result<usize>,
) -> (usize, io::Result<()>) {
    let mut done = 0;
    while let Some(left) = room.get_mut(done..).filter(|left| !left.is_empty()) {
        match read_at(left, at + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
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
    /// An empty piece: one that was used before, where there is one.
    fn piece(&self) -> Vec<u8> {
        let mut piece = self.empty.try_recv().unwrap_or_default();
        piece.resize(HEADROOM + LARGEST_READ, 0);
        piece
    }

    /// Fills pieces until there is nothing more to read or nobody wants them any more.
    fn pump(self, mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) {
        loop {
            let mut piece = self.piece();
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

    /// Fills whole pieces from places that lie `step` apart, until one can't be filled or nobody wants them any more.
    fn every(self, mut at: u64, step: u64, read_at: impl Fn(&mut [u8], u64) -> io::Result<usize>) {
        loop {
            let mut piece = self.piece();
            let (count, outcome) = fill(piece.get_mut(HEADROOM..).unwrap_or_default(), at, &read_at);
            piece.truncate(HEADROOM + count);
            if count > 0 && self.full.send(Ok(piece)).is_err() {
                return;
            }
            if let Err(error) = outcome {
                let _ = self.full.send(Err(error));
                return;
            }
            if count < LARGEST_READ {
                return;
            }
            at += step;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

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

    #[test]
    fn what_fails_within_a_piece_is_told_behind_what_came_before() {
        let most = LARGEST_READ as u64 + 1000;
        for threads in [1, 2, 3] {
            let ahead = Ahead::by_turns(0, threads, move |room, at| match most.checked_sub(at) {
                Some(left) if left > 0 => {
                    let count = room.len().min(left as usize).min(4096);
                    room.get_mut(..count).unwrap_or_default().fill(7);
                    Ok(count)
                }
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, "worn out")),
            });
            let (told, end) = read(ahead.unwrap());
            assert_eq!(
                (told.len() as u64, end.unwrap_err().to_string().as_str()),
                (most, "worn out"),
                "{threads}"
            );
        }
    }

    #[test]
    fn a_file_that_grows_meanwhile_has_no_hole() {
        let path = std::env::temp_dir().join(format!("spanaudit-grows-{}", std::process::id()));
        for threads in [1, 2, 5] {
            // The last piece is short and does not fit between the two; then the file goes on.
            let first = PIECES * threads * LARGEST_READ + 100;
            let bytes: Vec<u8> = (0..=250).cycle().take(first + 10 * threads * LARGEST_READ).collect();
            std::fs::write(&path, &bytes[..first]).unwrap();
            let ahead = Ahead::file(&File::open(&path).unwrap(), 0, threads).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(50));
            let mut file = File::options().append(true).open(&path).unwrap();
            file.write_all(&bytes[first..]).unwrap();
            let (told, end) = read(ahead);
            end.unwrap();
            assert!(told.len() >= first && told == bytes[..told.len()], "{threads}: {}", told.len());
        }
        std::fs::remove_file(&path).unwrap();
    }
}
