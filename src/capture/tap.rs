//! A tap on the bytes of an input as they are on disk: how many went by, and their SHA-256 where asked for.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::io::Read;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use sha2::Digest;
use sha2::Sha256;

use crate::capture::ahead::Ahead;

/// What is left of a file from which on threads are worth their start.
const LARGE: u64 = 16 << 20;

/// A stream whose bytes are counted. Clones share one stream, so that its end can be reached from outside a decompressor.
#[derive(Clone)]
pub(super) struct Tap(Arc<Mutex<Tapped>>);

struct Tapped {
    source: Stream,
    read: u64,
    hash: Option<Sha256>,
}

/// What is tapped.
pub(super) enum Stream {
    /// A file, read from its beginning.
    File(File),
    /// Anything else.
    Other(Box<dyn Read + Send>),
}

impl Tap {
    /// A tap on a stream.
    pub(super) fn new(source: Stream, hash: bool) -> Self {
        Self(Arc::new(Mutex::new(Tapped { source, read: 0, hash: hash.then(Sha256::new) })))
    }

    /// The rest of a large regular file, read by so many threads ahead of who wants it, which nothing is counted of here. `None` for anything else,
    /// and where all bytes are to be hashed.
    pub(super) fn read_ahead(&self, threads: usize) -> Option<Ahead> {
        let tapped = self.lock();
        let Stream::File(file) = &tapped.source else { return None };
        let about = file.metadata().ok()?;
        let is_large = about.is_file() && about.len().saturating_sub(tapped.read) >= LARGE;
        let wanted = threads > 0 && is_large && tapped.hash.is_none();
        wanted.then(|| Ahead::file(file, tapped.read, threads).ok()).flatten()
    }

    /// Bytes read so far.
    pub(super) fn read_so_far(&self) -> u64 {
        self.lock().read
    }

    /// The SHA-256 of the whole stream in hexadecimal digits, where asked for: reads what is left of it.
    pub(super) fn finish(&self) -> io::Result<Option<String>> {
        let mut tapped = self.lock();
        if tapped.hash.is_none() {
            return Ok(None);
        }
        let mut scratch = vec![0; 64 * 1024];
        loop {
            match tapped.read(&mut scratch) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tapped.hash.take().map(|hash| {
            hash.finalize().iter().fold(String::with_capacity(64), |mut digits, byte| {
                let _ = write!(digits, "{byte:02x}");
                digits
            })
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Tapped> {
        // Nothing in here can be left half done by a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Tapped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.source {
            Stream::File(file) => file.read(into)?,
            Stream::Other(stream) => stream.read(into)?,
        };
        self.read += count as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(into.get(..count).unwrap_or_default());
        }
        Ok(count)
    }
}

impl Read for Tap {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.lock().read(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_hashes_to_the_end() {
        let mut tap = Tap::new(Stream::Other(Box::new(io::Cursor::new(b"abc".to_vec()))), true);
        assert_eq!(tap.read(&mut [0; 2]).unwrap(), 2);
        assert_eq!(tap.read_so_far(), 2);
        // FIPS 180-4, the example of one block.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(tap.finish().unwrap().as_deref(), Some(expected));
        assert_eq!(Tap::new(Stream::Other(Box::new(io::empty())), false).finish().unwrap(), None);
    }
}
