//! Several recordings as one stream of packets, in the order of time whatever order they were named in.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::capture::filter::Filter;
use crate::capture::open::Options;
use crate::capture::reader::Reader;
use crate::capture::source::CaptureError;
use crate::capture::source::LONGEST_RUN;
use crate::capture::source::Run;
use crate::capture::source::Source;
use crate::model::Input;
use crate::model::InputId;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Stop;
use crate::model::Timestamp;

/// The place of a recording's next packet: the latest time in that recording so far, then its id.
///
/// With the latest time instead of the packet's own, a recording whose clock ran backwards keeps its order.
pub(super) type Place = (Timestamp, u32);

/// Recordings merged by time. Inside a recording the order stays as it is.
///
/// Ids follow the first packets' times, then the names. A recording is opened when the stream reaches its first packet, and closed
/// after its last, so that a rotated ring of thousands of files needs one open file.
pub struct Recordings {
    slots: Vec<Slot>,
    /// The first of those in `slots` that the stream has not reached yet.
    waiting: usize,
    /// The readers that the stream has reached, without the current one.
    ready: BinaryHeap<Reverse<Place>>,
    /// The reader of the packet handed out last.
    current: Option<Box<Reader>>,
    /// The place at which another reader than the current one takes over.
    rival: Option<Place>,
    filter: Option<Filter>,
    /// How many more packets are to be handed out.
    left: u64,
    hash: bool,
    readers: usize,
    names: BTreeSet<(IpAddr, String)>,
    notes: Vec<String>,
}

/// A recording to be merged, as looked into beforehand.
pub(super) struct Candidate {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The time of its first packet, where it has one.
    pub(super) first: Option<Timestamp>,
    /// Its size on disk; `None` where it can be read but once.
    pub(super) size: Option<u64>,
    /// What is known of it: all there is, where it has no packet.
    pub(super) input: Input,
    /// Names that it told before its first packet.
    pub(super) names: Vec<(IpAddr, String)>,
    /// The reader, on the first packet, where it stayed open.
    pub(super) reader: Option<Box<Reader>>,
}

/// One recording of the merge.
struct Slot {
    path: PathBuf,
    /// `None` where it has no packets.
    first: Option<Timestamp>,
    size: Option<u64>,
    /// Kept open where it is not the current one.
    reader: Option<Box<Reader>>,
    /// What is known of it while it has no reader.
    input: Input,
    /// Whether it has been read to where it ends.
    done: bool,
    /// Bytes read of it by then.
    read: u64,
}

impl Recordings {
    /// A merge of those recordings.
    pub(super) fn new(
        mut candidates: Vec<Candidate>,
        filter: Option<Filter>,
        options: &Options,
        notes: Vec<String>,
    ) -> Self {
        // Recordings without packets come last.
        candidates.sort_by_cached_key(|candidate| {
            (candidate.first.is_none(), candidate.first, candidate.path.clone())
        });
        let mut names = BTreeSet::new();
        let slots = (0..).zip(candidates).map(|(id, candidate)| {
            let Candidate { path, first, size, input, names: told, mut reader } = candidate;
            names.extend(told);
            if let Some(reader) = &mut reader {
                reader.id = InputId(id);
            }
            Slot { path, first, size, reader, input, done: first.is_none(), read: 0 }
        });
        let slots = slots.collect();
        let ready = BinaryHeap::new();
        let Options { hash, count, readers, .. } = *options;
        let left = count.unwrap_or(u64::MAX);
        Self {
            slots,
            waiting: 0,
            ready,
            current: None,
            rival: None,
            filter,
            left,
            hash,
            readers,
            names,
            notes,
        }
    }

    /// Moves on to the next packet of all recordings, before any filter.
    #[inline]
    fn next(&mut self) -> bool {
        if let Some(reader) = &mut self.current {
            if reader.advance() {
                let place = (reader.highest(), reader.id.0);
                if self.rival.is_none_or(|rival| place < rival) {
                    reader.account();
                    return true;
                }
                self.park();
            } else {
                self.retire();
            }
        }
        self.choose()
    }

    /// Puts the current reader back among the others.
    fn park(&mut self) {
        if let Some(reader) = self.current.take() {
            self.ready.push(Reverse((reader.highest(), reader.id.0)));
            if let Some(slot) = self.slots.get_mut(reader.id.0 as usize) {
                slot.reader = Some(reader);
            }
        }
    }

    /// Closes the current reader.
    fn retire(&mut self) {
        if let Some(mut reader) = self.current.take() {
            self.names.extend(reader.names().iter().cloned());
            if let Some(slot) = self.slots.get_mut(reader.id.0 as usize) {
                slot.input = reader.finish();
                slot.done = true;
                slot.read = reader.read_so_far();
            }
        }
    }

    /// The place of the first recording that the stream has not reached yet.
    fn next_waiting(&self) -> Option<Place> {
        let slot = self.slots.get(self.waiting)?;
        Some((slot.first?, self.waiting as u32))
    }

    /// Makes the reader with the earliest packet the current one.
    fn choose(&mut self) -> bool {
        while let Some(waiting) = self.next_waiting()
            && self.ready.peek().is_none_or(|Reverse(ready)| waiting < *ready)
        {
            self.reach();
        }
        let Some(Reverse((_, id))) = self.ready.pop() else { return false };
        self.current = self.slots.get_mut(id as usize).and_then(|slot| slot.reader.take());
        self.rival =
            self.ready.peek().map(|Reverse(place)| *place).into_iter().chain(self.next_waiting()).min();
        match &mut self.current {
            Some(reader) => {
                reader.account();
                true
            }
            None => false,
        }
    }

    /// Opens the first recording that the stream had not reached yet.
    fn reach(&mut self) {
        let id = self.waiting as u32;
        self.waiting += 1;
        let Some(slot) = self.slots.get_mut(id as usize) else { return };
        let reader = match slot.reader.take() {
            Some(reader) => Ok(reader),
            None => Reader::open(&slot.path, self.hash).map(Box::new).map(|mut reader| {
                reader.id = InputId(id);
                reader.advance();
                reader
            }),
        };
        match reader {
            Ok(mut reader) if reader.packet().at.number() == 0 => {
                slot.input = reader.finish();
                slot.done = true;
                let why = "the file changed: it had packets when it was first looked at".to_owned();
                slot.input.stopped.get_or_insert(Stop { after: None, why });
            }
            Ok(mut reader) => {
                // Of several that are merged one is read at a time.
                reader.read_ahead(self.readers / (self.ready.len() + 1));
                self.ready.push(Reverse((reader.highest(), id)));
                slot.reader = Some(reader);
            }
            Err(error) => {
                slot.done = true;
                slot.input.stopped =
                    Some(Stop { after: None, why: format!("could not be opened again: {error}") });
            }
        }
    }
}

impl Source for Recordings {
    #[inline]
    fn advance(&mut self) -> Result<bool, CaptureError> {
        while self.left > 0 {
            if !self.next() {
                self.left = 0;
                return Ok(false);
            }
            if let (Some(filter), Some(reader)) = (&mut self.filter, &mut self.current) {
                let packet = reader.packet();
                if !filter.passes(packet.link, packet.bytes)? {
                    reader.input.filtered += 1;
                    continue;
                }
            }
            self.left -= 1;
            return Ok(true);
        }
        // The limit is reached: what was handed out last is over too.
        self.retire();
        Ok(false)
    }

    fn run<'a>(&'a mut self, into: &mut Run<'a>) -> Result<bool, CaptureError> {
        if !self.advance()? {
            return Ok(false);
        }
        let Some(reader) = &mut self.current else { return Ok(true) };
        // Where packets are left out, or the next ones may be another recording's, they are handed over one by one.
        let most = if self.filter.is_some() { 0 } else { self.left.min(LONGEST_RUN as u64 - 1) as usize };
        self.left -= reader.run(most, self.rival, into) as u64;
        Ok(true)
    }

    #[inline]
    fn packet(&self) -> Packet<'_> {
        match &self.current {
            Some(reader) => reader.packet(),
            None => Packet {
                at: PacketRef::default(),
                link: LinkType::NULL,
                interface: 0,
                original: 0,
                bytes: &[],
            },
        }
    }

    fn inputs(&self) -> Vec<Input> {
        let current = self.current.as_ref();
        let known = (0..).zip(&self.slots).map(|(id, slot)| match (&slot.reader, current) {
            (Some(reader), _) => reader.known(),
            (None, Some(reader)) if reader.id == InputId(id) => reader.known(),
            _ => slot.input.clone(),
        });
        known.collect()
    }

    fn names(&self) -> Vec<(IpAddr, String)> {
        let open = self.slots.iter().filter_map(|slot| slot.reader.as_ref()).chain(&self.current);
        let mut names = self.names.clone();
        names.extend(open.flat_map(|reader| reader.names().iter().cloned()));
        names.into_iter().collect()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn progress(&self) -> (u64, Option<u64>) {
        let current = self.current.as_ref();
        let read = (0..).zip(&self.slots).map(|(id, slot)| match (&slot.reader, current) {
            (Some(reader), _) => reader.read_so_far(),
            (None, Some(reader)) if reader.id == InputId(id) => reader.read_so_far(),
            _ if slot.done => slot.size.unwrap_or(slot.read),
            _ => 0,
        });
        (read.sum(), self.slots.iter().map(|slot| slot.size).sum())
    }
}
