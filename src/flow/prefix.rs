//! The bounded beginning of what one end sent: all that those who judge payload ever see.
//!
//! Streams: out-of-order and overlapping segments are put right, and of bytes sent twice the first captured ones stay, so that nobody can
//! change afterwards what was judged. Datagrams: the first few, one after the other.

use std::time::Duration;

use smallvec::SmallVec;

use crate::model::PacketRef;

/// The most bytes of a stream that are kept of each end.
pub const MOST_STREAM: usize = 8 * 1024;
/// The most segments of a stream that are told apart, and after each of which it is news. What comes in smaller pieces than that is
/// taken in all the same, and is news whenever it has grown by an eighth: asking about each byte anew would cost a trickling flow too much.
pub const MOST_SEGMENTS: usize = 64;
/// The most segments held that came before their turn.
const MOST_HELD: usize = 8;
/// The most datagrams kept of each end.
pub const MOST_DATAGRAMS: usize = 8;
/// The most bytes kept of each datagram.
pub const MOST_OF_DATAGRAM: usize = 2 * 1024;
/// How long a segment waits for one before it that the other end has acknowledged already.
const PATIENCE: Duration = Duration::from_millis(5);

/// A segment that came before its turn.
#[derive(Clone, Debug)]
struct Held {
    sequence: u32,
    at: PacketRef,
    bytes: Vec<u8>,
    /// Whether the capture holds less of it than was sent.
    cut: bool,
}

/// What one end sent first.
#[derive(Clone, Debug, Default)]
pub struct Prefix {
    /// What is kept: of most flows nothing once they are proved, and then nothing is allocated.
    kept: Option<Box<Kept>>,
    /// How many bytes, and how many messages, came before what is kept and are no longer, since they were told.
    gone: u32,
    before: u32,
    /// How many bytes there were when it was last news.
    told: u32,
    /// The sequence number that comes next.
    next: Option<u32>,
    /// Whether it begins with the first byte that this end ever sent.
    from_start: bool,
    complete: bool,
}

/// The bytes of a prefix.
#[derive(Clone, Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    ends: SmallVec<[u16; 8]>,
    at: SmallVec<[PacketRef; 2]>,
    /// What each datagram lacks, up to the last that lacks anything.
    lacks: Vec<u16>,
    held: Vec<Held>,
    copied: u64,
}

/// One segment or datagram payload as it arrives.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The packet.
    pub at: PacketRef,
    /// Where in the stream it begins; unused for datagrams.
    pub sequence: u32,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// How many bytes were sent beyond those.
    pub lacks: usize,
}

impl Payload<'_> {
    /// Whether less was captured than was sent.
    pub fn is_cut(&self) -> bool {
        self.lacks > 0
    }
}

impl Prefix {
    /// The prefix of a stream; `start` is the sequence number of its first byte, where the SYN told it.
    pub fn stream(start: Option<u32>) -> Self {
        Self { next: start, from_start: start.is_some(), ..Self::default() }
    }

    /// The prefix of datagrams.
    pub fn datagrams() -> Self {
        Self { from_start: true, ..Self::default() }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.kept.as_deref().map_or(&[], |kept| &kept.bytes)
    }

    /// How many segments or datagrams came before them.
    pub fn before(&self) -> usize {
        self.before as usize
    }

    /// Whether nothing is kept, nor waits for its turn.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty() && !self.is_waiting()
    }

    /// Where each segment or datagram ends.
    pub fn ends(&self) -> &[u16] {
        self.kept.as_deref().map_or(&[], |kept| &kept.ends)
    }

    /// Of each datagram, how many bytes were sent beyond those that are here; those without an entry lack none.
    pub fn lacks(&self) -> &[u16] {
        self.kept.as_deref().map_or(&[], |kept| &kept.lacks)
    }

    /// Whether it begins with the first byte that this end ever sent.
    pub fn from_start(&self) -> bool {
        self.from_start
    }

    /// Whether it is all there will be.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether segments wait for one before them.
    pub fn is_waiting(&self) -> bool {
        self.kept.as_deref().is_some_and(|kept| !kept.held.is_empty())
    }

    /// Bytes kept, those waiting for their turn included.
    pub fn kept(&self) -> usize {
        let held = |kept: &Kept| kept.held.iter().map(|held| held.bytes.len()).sum::<usize>();
        self.kept.as_deref().map_or(0, |kept| kept.bytes.len() + held(kept))
    }

    /// The messages and their packets.
    pub fn messages(&self) -> impl Iterator<Item = (PacketRef, &[u8])> {
        let ends = || self.ends().iter().map(|&end| usize::from(end));
        let at = self.kept.as_deref().map_or(&[][..], |kept| &kept.at);
        std::iter::once(0)
            .chain(ends())
            .zip(ends())
            .zip(at)
            .filter_map(|((from, to), &at)| Some((at, self.bytes().get(from..to)?)))
    }

    /// Bytes copied since this was last asked.
    pub fn take_copied(&mut self) -> u64 {
        self.kept.as_deref_mut().map_or(0, |kept| std::mem::take(&mut kept.copied))
    }

    /// Whether a segment can be judged where it lies: nothing was kept, and it comes first.
    pub fn would_begin_with(start: Option<u32>, piece: &Payload<'_>) -> bool {
        start.is_none_or(|start| start == piece.sequence) && !piece.bytes.is_empty()
    }

    /// How many bytes of a piece there is room for, and whether the prefix is complete with it; `None` where it can't be judged where it lies,
    /// because others were kept before it or wait with it.
    pub fn would_go_on_with(&self, piece: &Payload<'_>, is_stream: bool) -> Option<(usize, bool)> {
        let in_turn = !is_stream || self.next.is_none_or(|next| next == piece.sequence);
        let alone = self.bytes().is_empty() && !self.is_waiting() && !self.complete;
        if !alone || !in_turn || self.heard() >= MOST_SEGMENTS || piece.bytes.is_empty() {
            return None;
        }
        Some(match is_stream {
            true => {
                let room = MOST_STREAM.saturating_sub(self.gone as usize);
                (room.min(piece.bytes.len()), piece.is_cut() || piece.bytes.len() >= room)
            }
            false => (MOST_OF_DATAGRAM.min(piece.bytes.len()), self.heard() + 1 >= MOST_DATAGRAMS),
        })
    }

    /// Takes in a message that was judged where it lay and told whole: nothing of it is kept.
    pub fn pass(&mut self, piece: &Payload<'_>, (length, complete): (usize, bool)) {
        let sent = u32::try_from(piece.bytes.len()).unwrap_or(u32::MAX);
        self.next = Some(piece.sequence.wrapping_add(sent));
        self.gone += length as u32;
        self.before += 1;
        self.told = self.gone;
        self.complete = complete;
    }

    /// Gives up so many bytes of a stream, from its first on, which were told.
    pub fn forget_bytes(&mut self, told: usize) {
        let told = told.saturating_sub(self.gone as usize).min(self.bytes().len());
        let whole = self.ends().partition_point(|&end| usize::from(end) <= told);
        self.give_up(told, whole);
    }

    /// Gives up so many datagrams, from the first on, which were told.
    pub fn forget_datagrams(&mut self, told: usize) {
        let whole = told.saturating_sub(self.before()).min(self.ends().len());
        let last = whole.checked_sub(1).and_then(|last| self.ends().get(last));
        self.give_up(last.map_or(0, |&end| usize::from(end)), whole);
    }

    fn give_up(&mut self, bytes: usize, messages: usize) {
        let Some(kept) = self.kept.as_deref_mut() else { return };
        self.gone += bytes as u32;
        self.before += messages as u32;
        if messages == kept.ends.len() && kept.held.is_empty() && kept.copied == 0 {
            self.kept = None;
            return;
        }
        kept.bytes.drain(..bytes);
        kept.ends.drain(..messages);
        kept.at.drain(..messages);
        kept.lacks.drain(..messages.min(kept.lacks.len()));
        let shift = u16::try_from(bytes).unwrap_or(u16::MAX);
        kept.ends.iter_mut().for_each(|end| *end = end.saturating_sub(shift));
    }

    /// The segments or datagrams heard so far.
    pub fn heard(&self) -> usize {
        self.before() + self.ends().len()
    }

    /// The bytes heard so far.
    pub fn length(&self) -> usize {
        self.gone as usize + self.bytes().len()
    }

    /// Adds a datagram; `false` where the bound is reached.
    pub fn add_datagram(&mut self, piece: &Payload<'_>) -> bool {
        if self.complete {
            return false;
        }
        let kept = piece.bytes.get(..MOST_OF_DATAGRAM).unwrap_or(piece.bytes);
        let lacks = piece.bytes.len() - kept.len() + piece.lacks;
        let all = self.kept.get_or_insert_default();
        if lacks > 0 {
            all.lacks.resize(all.ends.len(), 0);
            all.lacks.push(u16::try_from(lacks).unwrap_or(u16::MAX));
        }
        all.append(kept);
        all.close_message(piece.at);
        self.complete = self.heard() >= MOST_DATAGRAMS;
        true
    }

    /// Adds a segment; `true` where the contiguous prefix grew by enough to be news.
    pub fn add_segment(&mut self, piece: &Payload<'_>) -> bool {
        if self.complete || (piece.bytes.is_empty() && !piece.is_cut()) {
            return false;
        }
        let next = *self.next.get_or_insert(piece.sequence);
        let behind = next.wrapping_sub(piece.sequence);
        if !self.is_waiting() && (behind as usize) < piece.bytes.len() {
            let fresh = piece.bytes.get(behind as usize..).unwrap_or_default();
            self.extend(fresh, piece.is_cut(), piece.at);
            return self.is_news();
        }
        let ahead = piece.sequence.wrapping_sub(next);
        let past = behind < 1 << 31 && behind as usize >= piece.bytes.len();
        if past || (behind >= 1 << 31 && ahead as usize > MOST_STREAM * MOST_SEGMENTS) {
            // Known already, or so far ahead that the prefix would be full before it.
            return false;
        }
        let kept = piece.bytes.get(..MOST_STREAM).unwrap_or(piece.bytes);
        let all = self.kept.get_or_insert_default();
        all.copied += kept.len() as u64;
        all.held.push(Held {
            sequence: piece.sequence,
            at: piece.at,
            bytes: kept.to_vec(),
            cut: piece.is_cut(),
        });
        let mut grew = self.drain();
        if self.held().len() >= MOST_HELD {
            grew |= self.skip();
        }
        grew
    }

    /// Gives up on a missing stretch once the other end has acknowledged it: the mirror lost it, and no retransmission will come.
    pub fn settle(&mut self, acknowledged: Option<u32>, now: PacketRef) -> bool {
        let Some(first) = self.first_held() else { return false };
        let Some(held) = self.held().iter().find(|held| held.sequence == first) else { return false };
        let known = acknowledged.is_some_and(|acknowledged| acknowledged.wrapping_sub(first) < 1 << 30);
        known && now.time.since(held.at.time) > PATIENCE && self.skip()
    }

    /// Nothing more will come: what waits is used if nothing stands before it, and the prefix is complete.
    pub fn finish(&mut self) {
        if self.is_waiting() {
            self.skip();
        }
        self.complete = true;
    }

    /// Begins after the missing stretch where nothing is there yet; else the prefix ends before it.
    fn skip(&mut self) -> bool {
        if self.length() > 0 {
            self.drop_held();
            self.complete = true;
            return false;
        }
        let Some(first) = self.first_held() else { return false };
        self.from_start = false;
        self.next = Some(first);
        self.drain()
    }

    fn held(&self) -> &[Held] {
        self.kept.as_deref().map_or(&[], |kept| &kept.held)
    }

    fn drop_held(&mut self) {
        if let Some(kept) = self.kept.as_deref_mut() {
            kept.held.clear();
        }
    }

    fn first_held(&self) -> Option<u32> {
        let next = self.next?;
        self.held().iter().map(|held| held.sequence).min_by_key(|sequence| sequence.wrapping_sub(next))
    }

    /// Appends what is held and has its turn.
    fn drain(&mut self) -> bool {
        let mut grew = false;
        while let (Some(next), Some(kept)) = (self.next, self.kept.as_deref_mut()) {
            let turn = kept
                .held
                .iter()
                .position(|held| (next.wrapping_sub(held.sequence) as usize) < held.bytes.len());
            let Some(turn) = turn else { break };
            let (before, rest) = kept.held.split_at(turn);
            let Some(held) = rest.first() else { break };
            // What was captured before this one wins where they overlap.
            let taken = before
                .iter()
                .map(|earlier| earlier.sequence.wrapping_sub(next))
                .filter(|&ahead| ahead > 0 && ahead < 1 << 31)
                .min();
            let from = next.wrapping_sub(held.sequence) as usize;
            let to = taken.map_or(held.bytes.len(), |ahead| held.bytes.len().min(from + ahead as usize));
            let whole = to == held.bytes.len();
            let fresh = held.bytes.get(from..to).unwrap_or_default().to_vec();
            let (cut, at) = (held.cut && whole, held.at);
            if whole {
                kept.held.remove(turn);
            }
            self.extend(&fresh, cut, at);
            grew |= self.is_news();
            if self.complete {
                self.drop_held();
                break;
            }
        }
        if let (Some(next), Some(kept)) = (self.next, self.kept.as_deref_mut()) {
            kept.held.retain(|held| {
                let behind = next.wrapping_sub(held.sequence);
                behind >= 1 << 31 || (behind as usize) < held.bytes.len()
            });
        }
        grew
    }

    /// Appends bytes that have their turn.
    fn extend(&mut self, fresh: &[u8], cut: bool, at: PacketRef) {
        let room = MOST_STREAM.saturating_sub(self.length());
        let is_new = self.heard() < MOST_SEGMENTS;
        let kept = self.kept.get_or_insert_default();
        kept.append(fresh.get(..room).unwrap_or(fresh));
        if is_new {
            kept.close_message(at);
        } else if let Some(last) = kept.ends.last_mut() {
            *last = u16::try_from(kept.bytes.len()).unwrap_or(u16::MAX);
        } else {
            // The last one was told and goes on.
            self.before -= 1;
            kept.close_message(at);
        }
        self.next = self.next.map(|next| next.wrapping_add(u32::try_from(fresh.len()).unwrap_or(u32::MAX)));
        self.complete = cut || self.length() >= MOST_STREAM;
    }

    /// Whether there is enough that nobody was asked about yet.
    fn is_news(&mut self) -> bool {
        let trickles = self.heard() >= MOST_SEGMENTS && !self.complete;
        let told = self.told as usize;
        let news = !trickles || self.length() >= told + told / 8;
        if news {
            self.told = self.length() as u32;
        }
        news
    }
}

impl Kept {
    fn append(&mut self, bytes: &[u8]) {
        self.copied += bytes.len() as u64;
        if self.bytes.capacity() == 0 {
            // Most flows are decided within a few messages: one piece of memory for all of them.
            self.bytes.reserve(2 * bytes.len().clamp(64, MOST_STREAM / 4));
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn close_message(&mut self, at: PacketRef) {
        self.ends.push(u16::try_from(self.bytes.len()).unwrap_or(u16::MAX));
        self.at.push(at);
    }
}

#[cfg(test)]
mod tests;
