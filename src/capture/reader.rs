//! One recording read from front to back: opened, unpacked, walked record by record, counted.

use std::fs::File;
use std::io;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use crate::capture::block::Block;
use crate::capture::foreign;
use crate::capture::merge::Place;
use crate::capture::packed;
use crate::capture::packed::Unpacked;
use crate::capture::source::CaptureError;
use crate::capture::source::Run;
use crate::capture::stretch::Counts;
use crate::capture::stretch::Ended;
use crate::capture::stretch::Stretch;
use crate::capture::tap::Stream;
use crate::capture::tap::Tap;
use crate::capture::walker::Record;
use crate::capture::walker::Step;
use crate::capture::walker::Walker;
use crate::model::Input;
use crate::model::InputId;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Stop;
use crate::model::Timestamp;

/// A recording that is open.
pub(super) struct Reader {
    block: Block,
    walker: Walker,
    tap: Tap,
    layers: Vec<&'static str>,
    record: Record,
    /// Bytes at the front of the block that are done with: the records before the current one.
    passed: usize,
    /// What a step found that is not done yet.
    found: Option<Step>,
    number: u64,
    /// The time of the packet handed out last.
    previous: Option<Timestamp>,
    /// The latest time so far, by which this recording is merged with others.
    highest: Timestamp,
    /// Its id, given once the first packets of all inputs are known.
    pub(super) id: InputId,
    /// What is known of it, as far as its packets were handed out.
    pub(super) input: Input,
}

impl Reader {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &Path, hash: bool) -> Result<Self, CaptureError> {
        let io_error = |source| CaptureError::Io { path: path.to_owned(), source };
        let stream = if path == Path::new("-") {
            Stream::Other(Box::new(io::stdin()))
        } else {
            Stream::File(File::open(path).map_err(io_error)?)
        };
        Self::from_stream(stream, path, hash)
    }

    /// Reads any stream; `path` is its name.
    pub(super) fn from_stream(stream: Stream, path: &Path, hash: bool) -> Result<Self, CaptureError> {
        let io_error = |source| CaptureError::Io { path: path.to_owned(), source };
        let not_a_capture = |why| CaptureError::NotACapture { path: path.to_owned(), why };
        let tap = Tap::new(stream, hash);
        let Unpacked { layers, head, mut stream } = match packed::unpack(Box::new(tap.clone())) {
            Ok(unpacked) => unpacked,
            Err((layers, error)) if layers.is_empty() || error.raw_os_error().is_some() => {
                return Err(io_error(error));
            }
            Err((layers, error)) => {
                let layers = innermost_first(&layers);
                return Err(not_a_capture(format!("{layers} data that can't be unpacked: {error}")));
            }
        };
        let (walker, header) = match Walker::recognise(&head) {
            Ok(Some(found)) => found,
            Ok(None) => {
                let mut more = Vec::new();
                // What is packed and breaks off here is no capture either; in a folder it is passed over like the rest.
                match stream.take(foreign::ENOUGH as u64).read_to_end(&mut more) {
                    Err(error) if layers.is_empty() || error.raw_os_error().is_some() => {
                        return Err(io_error(error));
                    }
                    Err(error) => {
                        let layers = innermost_first(&layers);
                        return Err(not_a_capture(format!(
                            "{layers} data that can't be unpacked further than its first {} bytes: {error}",
                            more.len()
                        )));
                    }
                    Ok(_) => {}
                }
                let what = match packed::packing(&more) {
                    Some(packing) => {
                        format!("packed more than {} times: it is {packing} inside", packed::MOST_LAYERS)
                    }
                    None => foreign::describe(&more),
                };
                return Err(not_a_capture(match layers.as_slice() {
                    [] => what,
                    layers => format!("unpacked ({}): {what}", layers.join(", ")),
                }));
            }
            Err(why) => return Err(not_a_capture(why)),
        };
        let mut format = layers.join(" ");
        if !format.is_empty() {
            format.push(' ');
        }
        format.push_str(walker.format());
        let mut past = [0; packed::HEAD];
        stream.read_exact(past.get_mut(..header).unwrap_or_default()).map_err(io_error)?;
        Ok(Self {
            block: Block::new(stream),
            walker,
            tap,
            layers,
            record: Record::NONE,
            passed: 0,
            found: None,
            number: 0,
            previous: None,
            highest: Timestamp::MIN,
            id: InputId::default(),
            input: Input { name: path.to_string_lossy().into_owned(), format, ..Input::default() },
        })
    }

    /// Has a packed recording unpacked ahead, in a thread of its own, and a large plain one read ahead by so many threads.
    pub(super) fn read_ahead(&mut self, threads: usize) {
        if !self.layers.is_empty() {
            self.block.read_ahead();
        } else if let Some(ahead) = self.tap.read_ahead(threads) {
            self.block.go_on_with(ahead);
        }
    }

    /// Moves on to the next packet; `false` at the end, for good.
    #[inline]
    pub(super) fn advance(&mut self) -> bool {
        self.block.consume(self.passed + self.record.size);
        // An empty record until there is another one, so that nothing is consumed twice.
        self.record = Record::NONE;
        self.passed = 0;
        if self.input.stopped.is_some() {
            return false;
        }
        loop {
            let step = match self.found.take() {
                Some(found) => found,
                None => self.walker.step(self.block.front(), self.number + 1),
            };
            match step {
                Step::Packet(record) => {
                    self.record = record;
                    self.number += 1;
                    self.highest = self.highest.max(record.time);
                    return true;
                }
                other => {
                    if !self.prepare(other) {
                        return false;
                    }
                }
            }
        }
    }

    /// Hands over the packet moved on to, and moves on over at most so many more that lie whole in the block and come before `rival`. Says
    /// how many more there were.
    pub(super) fn run<'a>(&'a mut self, more: usize, rival: Option<Place>, into: &mut Run<'a>) -> usize {
        let Self { block, walker, record, passed, found, number, previous, highest, id, input, .. } = self;
        into.block = Some(block.shared());
        into.packets.push(Packet {
            at: PacketRef::new(record.time, *id, *number),
            link: record.link,
            interface: record.interface,
            original: record.original,
            bytes: block.slice(*passed + record.offset, record.length),
        });
        let most = into.packets.len() + more;
        let behind = *passed + record.size;
        let front = block.front().get(behind..).unwrap_or_default();
        let mut stretch = Stretch::behind(front, *id, (*number, *previous), *highest);
        loop {
            let next = match walker.walk(&mut stretch, into, most, rival) {
                Ended::Full => break,
                Ended::Late(record) => Step::Packet(record),
                // A walker may take note of what it finds: it is not to look at it twice.
                Ended::Elsewhere => match walker.step(stretch.rest(), stretch.number() + 1) {
                    Step::Packet(record) if stretch.is_in_turn(&record, rival) => {
                        stretch.take(record, into);
                        continue;
                    }
                    other => other,
                },
            };
            *found = Some(next);
            break;
        }
        if let Some((last, at)) = stretch.last() {
            (*record, *passed, *number) = (last, behind + at, stretch.number());
            (*highest, *previous) = (stretch.highest(), Some(last.time));
        }
        stretch.counts().add_to(input);
        stretch.counts().packets()
    }

    /// Does what a step asks for that found no packet; `false` where reading ends.
    fn prepare(&mut self, step: Step) -> bool {
        let next = self.number + 1;
        let numbered = matches!(step, Step::SkipNumbered(_));
        let why = match step {
            Step::Packet(_) => return true,
            Step::Need(count) => match self.block.fill(count) {
                Ok(true) => return true,
                Ok(false) if self.block.front().is_empty() && !matches!(self.walker, Walker::Cut { .. }) => {
                    return false;
                }
                Ok(false) => self.walker.cut(self.block.front(), next),
                Err(error) => self.failure(&error),
            },
            Step::Skip(count) | Step::SkipNumbered(count) => match self.block.skip(count) {
                Ok(skipped) if skipped == count => {
                    self.number += u64::from(numbered);
                    return true;
                }
                Ok(skipped) => {
                    format!(
                        "cut off in a block before packet {next}: it says {count} bytes, {skipped} are there"
                    )
                }
                Err(error) => self.failure(&error),
            },
            Step::Broken(why) => why,
        };
        let after = (self.number > 0)
            .then(|| PacketRef::new(self.previous.unwrap_or_default(), self.id, self.number));
        self.input.stopped = Some(Stop { after, why });
        false
    }

    /// A failed read in words.
    fn failure(&self, error: &io::Error) -> String {
        let place = match self.number {
            0 => "before the first packet".to_owned(),
            number => format!("after packet {number}"),
        };
        let layers = innermost_first(&self.layers);
        match error.kind() {
            _ if layers.is_empty() || error.raw_os_error().is_some() => {
                format!("reading failed {place}: {error}")
            }
            io::ErrorKind::UnexpectedEof => format!("the {layers} data is cut off {place}"),
            _ => format!("the {layers} data is damaged {place}: {error}"),
        }
    }

    /// The packet moved on to.
    #[inline]
    pub(super) fn packet(&self) -> Packet<'_> {
        let Record { time, link, interface, original, offset, length, .. } = self.record;
        let at = PacketRef::new(time, self.id, self.number);
        Packet { at, link, interface, original, bytes: self.block.slice(self.passed + offset, length) }
    }

    /// The latest time so far.
    #[inline]
    pub(super) fn highest(&self) -> Timestamp {
        self.highest
    }

    /// Counts the packet moved on to as handed out.
    #[inline]
    pub(super) fn account(&mut self) {
        let mut counts = Counts::default();
        counts.take(&self.record, self.previous.unwrap_or(Timestamp::MIN));
        counts.add_to(&mut self.input);
        self.previous = Some(self.record.time);
    }

    /// Names of addresses that the recording told so far.
    pub(super) fn names(&self) -> &[(IpAddr, String)] {
        self.walker.names()
    }

    /// Bytes read of the file as it is on disk.
    pub(super) fn read_so_far(&self) -> u64 {
        // What is unpacked ahead has gone through the tap; a plain file that is read ahead has not.
        let ahead = if self.layers.is_empty() { self.block.taken_over() } else { 0 };
        self.tap.read_so_far() + ahead
    }

    /// What is known of it so far.
    pub(super) fn known(&self) -> Input {
        let (dropped, lossiest) = (self.walker.dropped(), self.walker.lossiest());
        Input { dropped, lossiest, ..self.input.clone() }
    }

    /// What is known of it in the end, with its hash where asked for.
    pub(super) fn finish(&mut self) -> Input {
        match self.tap.finish() {
            Ok(hash) => self.input.sha256 = self.input.sha256.take().or(hash),
            Err(error) => {
                let why = format!(
                    "reading failed before the end of the file, which has no hash therefore: {error}"
                );
                self.input.stopped.get_or_insert(Stop { after: None, why });
            }
        }
        self.known()
    }
}

/// The packings of a stream in words: `zstd in gzip`.
fn innermost_first(layers: &[&'static str]) -> String {
    let inside_out: Vec<&str> = layers.iter().rev().copied().collect();
    inside_out.join(" in ")
}
