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
    bytes: Vec<u8>,
    ends: SmallVec<[u16; 8]>,
    at: SmallVec<[PacketRef; 2]>,
    /// How many bytes, and how many messages, came before these and are no longer kept, since they were told.
    gone: usize,
    before: usize,
    /// What each datagram lacks, up to the last that lacks anything: of most flows nothing, and nothing is allocated.
    lacks: Vec<u16>,
    /// The sequence number that comes next.
    next: Option<u32>,
    held: Vec<Held>,
    /// Whether it begins with the first byte that this end ever sent.
    from_start: bool,
    complete: bool,
    /// How many bytes there were when it was last news.
    told: usize,
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
        &self.bytes
    }

    /// How many segments or datagrams came before them.
    pub fn before(&self) -> usize {
        self.before
    }

    /// Where each segment or datagram ends.
    pub fn ends(&self) -> &[u16] {
        &self.ends
    }

    /// Of each datagram, how many bytes were sent beyond those that are here; those without an entry lack none.
    pub fn lacks(&self) -> &[u16] {
        &self.lacks
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
        !self.held.is_empty()
    }

    /// Bytes kept, those waiting for their turn included.
    pub fn kept(&self) -> usize {
        self.bytes.len() + self.held.iter().map(|held| held.bytes.len()).sum::<usize>()
    }

    /// The messages and their packets.
    pub fn messages(&self) -> impl Iterator<Item = (PacketRef, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|&end| usize::from(end)));
        starts
            .zip(self.ends.iter().map(|&end| usize::from(end)))
            .zip(&self.at)
            .filter_map(|((from, to), &at)| Some((at, self.bytes.get(from..to)?)))
    }

    /// Bytes copied since this was last asked.
    pub fn take_copied(&mut self) -> u64 {
        std::mem::take(&mut self.copied)
    }

    /// Whether a segment can be judged where it lies: nothing was kept, and it comes first.
    pub fn would_begin_with(start: Option<u32>, piece: &Payload<'_>) -> bool {
        start.is_none_or(|start| start == piece.sequence) && !piece.bytes.is_empty()
    }

    /// How many bytes of a piece there is room for, and whether the prefix is complete with it; `None` where it can't be judged where it lies,
    /// because others were kept before it or wait with it.
    pub fn would_go_on_with(&self, piece: &Payload<'_>, is_stream: bool) -> Option<(usize, bool)> {
        let in_turn = !is_stream || self.next.is_none_or(|next| next == piece.sequence);
        let alone = self.bytes.is_empty() && self.held.is_empty() && !self.complete;
        if !alone || !in_turn || self.heard() >= MOST_SEGMENTS || piece.bytes.is_empty() {
            return None;
        }
        Some(match is_stream {
            true => {
                let room = MOST_STREAM.saturating_sub(self.gone);
                (room.min(piece.bytes.len()), piece.is_cut() || piece.bytes.len() >= room)
            }
            false => (MOST_OF_DATAGRAM.min(piece.bytes.len()), self.heard() + 1 >= MOST_DATAGRAMS),
        })
    }

    /// Takes in a message that was judged where it lay and told whole: nothing of it is kept.
    pub fn pass(&mut self, piece: &Payload<'_>, (length, complete): (usize, bool)) {
        let sent = u32::try_from(piece.bytes.len()).unwrap_or(u32::MAX);
        self.next = Some(piece.sequence.wrapping_add(sent));
        self.gone += length;
        self.before += 1;
        self.told = self.gone;
        self.complete = complete;
    }

    /// Gives up so many bytes of a stream, from its first on, which were told.
    pub fn forget_bytes(&mut self, told: usize) {
        let told = told.saturating_sub(self.gone).min(self.bytes.len());
        let whole = self.ends.partition_point(|&end| usize::from(end) <= told);
        self.give_up(told, whole);
    }

    /// Gives up so many datagrams, from the first on, which were told.
    pub fn forget_datagrams(&mut self, told: usize) {
        let whole = told.saturating_sub(self.before).min(self.ends.len());
        let bytes = whole.checked_sub(1).and_then(|last| self.ends.get(last)).copied().map_or(0, usize::from);
        self.lacks.drain(..whole.min(self.lacks.len()));
        self.give_up(bytes, whole);
    }

    fn give_up(&mut self, bytes: usize, messages: usize) {
        self.gone += bytes;
        self.before += messages;
        if messages == self.ends.len() {
            self.bytes = Vec::new();
            self.ends.clear();
            self.at.clear();
            return;
        }
        self.bytes.drain(..bytes);
        self.ends.drain(..messages);
        self.at.drain(..messages);
        let shift = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.ends.iter_mut().for_each(|end| *end = end.saturating_sub(shift));
    }

    /// The segments or datagrams heard so far.
    pub fn heard(&self) -> usize {
        self.before + self.ends.len()
    }

    /// The bytes heard so far.
    pub fn length(&self) -> usize {
        self.gone + self.bytes.len()
    }

    /// Adds a datagram; `false` where the bound is reached.
    pub fn add_datagram(&mut self, piece: &Payload<'_>) -> bool {
        if self.complete {
            return false;
        }
        let kept = piece.bytes.get(..MOST_OF_DATAGRAM).unwrap_or(piece.bytes);
        let lacks = piece.bytes.len() - kept.len() + piece.lacks;
        if lacks > 0 {
            self.lacks.resize(self.ends.len(), 0);
            self.lacks.push(u16::try_from(lacks).unwrap_or(u16::MAX));
        }
        self.append(kept);
        self.close_message(piece.at);
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
        if self.held.is_empty() && (behind as usize) < piece.bytes.len() {
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
        self.copied += kept.len() as u64;
        self.held.push(Held {
            sequence: piece.sequence,
            at: piece.at,
            bytes: kept.to_vec(),
            cut: piece.is_cut(),
        });
        let mut grew = self.drain();
        if self.held.len() >= MOST_HELD {
            grew |= self.skip();
        }
        grew
    }

    /// Gives up on a missing stretch once the other end has acknowledged it: the mirror lost it, and no retransmission will come.
    pub fn settle(&mut self, acknowledged: Option<u32>, now: PacketRef) -> bool {
        let Some(first) = self.first_held() else { return false };
        let Some(held) = self.held.iter().find(|held| held.sequence == first) else { return false };
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
            self.held.clear();
            self.complete = true;
            return false;
        }
        let Some(first) = self.first_held() else { return false };
        self.from_start = false;
        self.next = Some(first);
        self.drain()
    }

    fn first_held(&self) -> Option<u32> {
        let next = self.next?;
        self.held.iter().map(|held| held.sequence).min_by_key(|sequence| sequence.wrapping_sub(next))
    }

    /// Appends what is held and has its turn.
    fn drain(&mut self) -> bool {
        let mut grew = false;
        while let Some(next) = self.next {
            let turn = self
                .held
                .iter()
                .position(|held| (next.wrapping_sub(held.sequence) as usize) < held.bytes.len());
            let Some(turn) = turn else { break };
            let (before, rest) = self.held.split_at(turn);
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
                self.held.remove(turn);
            }
            self.extend(&fresh, cut, at);
            grew |= self.is_news();
            if self.complete {
                self.held.clear();
                break;
            }
        }
        if let Some(next) = self.next {
            self.held.retain(|held| {
                let behind = next.wrapping_sub(held.sequence);
                behind >= 1 << 31 || (behind as usize) < held.bytes.len()
            });
        }
        grew
    }

    /// Appends bytes that have their turn.
    fn extend(&mut self, fresh: &[u8], cut: bool, at: PacketRef) {
        let room = MOST_STREAM.saturating_sub(self.length());
        let kept = fresh.get(..room).unwrap_or(fresh);
        self.append(kept);
        if self.heard() < MOST_SEGMENTS {
            self.close_message(at);
        } else if let Some(last) = self.ends.last_mut() {
            *last = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        } else {
            // The last one was told and goes on.
            self.before -= 1;
            self.close_message(at);
        }
        self.next = self.next.map(|next| next.wrapping_add(u32::try_from(fresh.len()).unwrap_or(u32::MAX)));
        self.complete = cut || self.length() >= MOST_STREAM;
    }

    /// Whether there is enough that nobody was asked about yet.
    fn is_news(&mut self) -> bool {
        let trickles = self.heard() >= MOST_SEGMENTS && !self.complete;
        let news = !trickles || self.length() >= self.told + self.told / 8;
        if news {
            self.told = self.length();
        }
        news
    }

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
