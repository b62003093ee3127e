//! Unpacking in a thread of its own, a few pieces ahead of who reads: unpacking and decoding then take turns on two cores.

use std::io;
use std::io::Read;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::capture::block::LARGEST_READ;

/// How many pieces may lie between the two.
const PIECES: usize = 4;

/// A stream that another thread reads.
struct Ahead {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    piece: Vec<u8>,
    used: usize,
}

/// Has a stream read by a new thread, which ends with the stream or once the result is dropped. Where the system gives no
/// thread, the stream stays as it is.
pub(super) fn read_ahead(stream: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
    let (send_full, full) = bounded(PIECES);
    let (empty, take_empty) = bounded(PIECES + 1);
    // Handed over in a box of its own, so that it can be had back.
    let parcel = Arc::new(Mutex::new(Some(stream)));
    let unpack = |parcel: &Mutex<Option<Box<dyn Read + Send>>>| {
        parcel.lock().unwrap_or_else(PoisonError::into_inner).take()
    };
    let theirs = Arc::clone(&parcel);
    let spawned = thread::Builder::new().name("unpack".to_owned()).spawn(move || {
        if let Some(stream) = unpack(&theirs) {
            pump(stream, &send_full, &take_empty);
        }
    });
    match spawned {
        Ok(_) => Box::new(Ahead { full, empty, piece: Vec::new(), used: 0 }),
        Err(_) => unpack(&parcel).unwrap_or_else(|| Box::new(io::empty())),
    }
}

/// Fills pieces until the stream ends or nobody wants them any more.
fn pump(mut stream: Box<dyn Read + Send>, full: &Sender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) {
    loop {
        let mut piece = empty.try_recv().unwrap_or_default();
        piece.resize(LARGEST_READ, 0);
        let told = match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => {
                piece.truncate(count);
                full.send(Ok(piece))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = full.send(Err(error));
                return;
            }
        };
        if told.is_err() {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() {
            // A disconnected channel is the end of the stream.
            let Ok(next) = self.full.recv() else { return Ok(0) };
            let done = std::mem::replace(&mut self.piece, next?);
            self.used = 0;
            // A piece that does not fit back is let go.
            let _ = self.empty.try_send(done);
        }
        let left = self.piece.get(self.used..).unwrap_or_default();
        let count = left.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.used += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivers_everything_then_the_failure() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::InvalidData, "worn out"))
            }
        }
        let bytes: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
        let mut ahead = read_ahead(Box::new(io::Cursor::new(bytes.clone()).chain(Broken)));
        let mut read = Vec::new();
        let error = ahead.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.to_string(), "worn out");
        assert_eq!(read, bytes);
        assert_eq!(ahead.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn gives_up_when_nobody_reads() {
        let mut ahead = read_ahead(Box::new(io::repeat(1)));
        assert_eq!(ahead.read(&mut [0; 10]).unwrap(), 10);
    }
}
