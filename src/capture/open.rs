//! From the paths that were named to the recordings behind them: files, directories, standard input.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::io::IsTerminal as _;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use crate::capture::filter::Filter;
use crate::capture::merge::Candidate;
use crate::capture::merge::Recordings;
use crate::capture::reader::Reader;
use crate::capture::source::CaptureError;
use crate::capture::tap::Stream;

/// So many recordings stay open between the look at their first packet and their turn; of a ring of thousands the others are closed.
const KEPT_OPEN: usize = 32;

/// How recordings are to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the SHA-256 of each input is wanted. It is of the file as it is on disk, packed if it is packed.
    pub hash: bool,
    /// A filter in tcpdump's language; packets that do not pass are counted in `Input::filtered` and left out.
    pub filter: Option<String>,
    /// The most packets to hand out (`-c`), after the filter.
    pub count: Option<u64>,
    /// Threads that read a large plain recording ahead; none: it is read where its packets are wanted.
    pub readers: usize,
}

/// A file to be read, and whether it was named itself or found in a directory.
struct Found {
    path: PathBuf,
    named: bool,
}

/// Opens recordings: files, directories with all that is in them, `-` for standard input.
///
/// Every file that is named must be a capture. In a directory what is none is passed over and told in [`Source::notes`],
/// and at least one must be. A file named twice, by whatever path, is read once.
///
/// [`Source::notes`]: crate::capture::Source::notes
pub fn open(paths: &[PathBuf], options: &Options) -> Result<Recordings, CaptureError> {
    let mut filter = options.filter.as_deref().map(Filter::new).transpose()?;
    let mut files = BTreeMap::new();
    let mut notes = Vec::new();
    let mut directories = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            if io::stdin().is_terminal() {
                let why = "standard input is a terminal: pipe a capture into it".to_owned();
                return Err(CaptureError::NotACapture { path: path.clone(), why });
            }
            add(&mut files, path.clone(), true);
        } else if metadata(path)?.is_dir() {
            let found = walk(path, &mut files, &mut notes)?;
            directories.push((path, found));
        } else {
            add(&mut files, path.clone(), true);
        }
    }
    let mut candidates = Vec::with_capacity(files.len());
    let mut foreign = BTreeSet::new();
    for (identity, Found { path, named }) in files {
        let keep = candidates.len() < KEPT_OPEN;
        match look_into(path, options.hash, keep, filter.as_mut()) {
            Ok(candidate) => candidates.push(candidate),
            Err(error @ CaptureError::NotACapture { .. }) if !named => {
                notes.push(error.to_string());
                foreign.insert(identity);
            }
            Err(error) => return Err(error),
        }
    }
    if let Some((path, _)) = directories.iter().find(|(_, found)| found.is_subset(&foreign)) {
        return Err(CaptureError::EmptyDirectory { path: (*path).clone() });
    }
    notes.sort();
    notes.dedup();
    Ok(Recordings::new(candidates, filter, options, notes))
}

/// Reads one recording from a stream that can't be named or opened again: bytes in memory, a socket. `name` is told in its place.
pub fn open_reader(
    stream: Box<dyn Read + Send>,
    name: &str,
    options: &Options,
) -> Result<Recordings, CaptureError> {
    let mut filter = options.filter.as_deref().map(Filter::new).transpose()?;
    let path = PathBuf::from(name);
    let reader = Reader::from_stream(Stream::Other(stream), &path, options.hash)?;
    let candidate = first_packet(path, None, Box::new(reader), true, filter.as_mut())?;
    Ok(Recordings::new(vec![candidate], filter, options, Vec::new()))
}

/// Adds a file under what makes it one, so that a second path to it adds nothing; says what that is.
fn add(files: &mut BTreeMap<PathBuf, Found>, path: PathBuf, named: bool) -> PathBuf {
    // A pipe of the shell has no canonical path.
    let identity = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    match files.get_mut(&identity) {
        Some(known) => {
            known.named |= named;
            // The same name whichever was named first.
            if path < known.path {
                known.path = path;
            }
        }
        None => {
            files.insert(identity.clone(), Found { path, named });
        }
    }
    identity
}

/// Adds all files in a directory and those below it; says what makes each one. Links to directories are not followed: they may lead back.
fn walk(
    directory: &Path,
    files: &mut BTreeMap<PathBuf, Found>,
    notes: &mut Vec<String>,
) -> Result<BTreeSet<PathBuf>, CaptureError> {
    let mut found = BTreeSet::new();
    let mut ahead = vec![directory.to_owned()];
    while let Some(directory) = ahead.pop() {
        let io_error = |source| CaptureError::Io { path: directory.clone(), source };
        for entry in fs::read_dir(&directory).map_err(io_error)? {
            let entry = entry.map_err(io_error)?;
            let path = entry.path();
            let kind = entry.file_type().map_err(io_error)?;
            if kind.is_dir() {
                ahead.push(path);
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    found.insert(add(files, path, false));
                }
                Ok(metadata) if metadata.is_dir() => {
                    notes.push(format!("{}: a link to a directory, not followed", path.display()));
                }
                Ok(_) => notes.push(format!("{}: no regular file", path.display())),
                Err(_) if kind.is_symlink() => {
                    notes.push(format!("{}: a link that leads nowhere", path.display()))
                }
                Err(source) => return Err(CaptureError::Io { path, source }),
            }
        }
    }
    Ok(found)
}

/// Opens a file and reads up to its first packet. What can be opened again is closed unless it is to be kept open.
fn look_into(
    path: PathBuf,
    hash: bool,
    keep: bool,
    filter: Option<&mut Filter>,
) -> Result<Candidate, CaptureError> {
    let mut size = None;
    if path != Path::new("-") {
        let metadata = metadata(&path)?;
        size = metadata.is_file().then_some(metadata.len());
    }
    let reader = Box::new(Reader::open(&path, hash)?);
    first_packet(path, size, reader, keep, filter)
}

/// Reads up to the first packet, by which recordings are put in order.
fn first_packet(
    path: PathBuf,
    size: Option<u64>,
    mut reader: Box<Reader>,
    keep: bool,
    filter: Option<&mut Filter>,
) -> Result<Candidate, CaptureError> {
    let first = reader.advance().then(|| reader.packet().at.time);
    let packet = reader.packet();
    if let (Some(filter), Some(_)) = (filter, first) {
        // So that a filter that does not compile is told before anything is read.
        filter.passes(packet.link, packet.bytes)?;
    }
    let names = reader.names().to_vec();
    let input = if first.is_some() { reader.known() } else { reader.finish() };
    let reader = (first.is_some() && (keep || size.is_none())).then_some(reader);
    Ok(Candidate { path, first, size, input, names, reader })
}

fn metadata(path: &Path) -> Result<fs::Metadata, CaptureError> {
    fs::metadata(path).map_err(|source| CaptureError::Io { path: path.to_owned(), source })
}
