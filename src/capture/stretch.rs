//! Packets that lie one after the other in a block, walked in one go: what changes from one to the next stays in registers, and is told once.

use crate::capture::merge::Place;
use crate::capture::source::Run;
use crate::capture::walker::Record;
use crate::model::Input;
use crate::model::InputId;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Timestamp;

/// A stretch of records.
pub(super) struct Stretch<'a> {
    /// What lies behind the record before the first of it.
    front: &'a [u8],
    id: InputId,
    /// Where the next record begins.
    next: usize,
    /// The number of the packet before it.
    number: u64,
    /// The time of that packet; the earliest there is where there was none.
    before: Timestamp,
    /// The latest time of the recording so far.
    highest: Timestamp,
    /// The latest record's time and place.
    last: Option<Record>,
    counts: Counts,
}

/// What ended a walk.
pub(super) enum Ended {
    /// As many packets were taken as were wanted.
    Full,
    /// No packet that is told without a second look begins here.
    Elsewhere,
    /// A packet does that another recording's comes before.
    Late(Record),
}

impl<'a> Stretch<'a> {
    /// The stretch behind a packet with that number and time.
    pub(super) fn behind(
        front: &'a [u8],
        id: InputId,
        (number, before): (u64, Option<Timestamp>),
        highest: Timestamp,
    ) -> Self {
        let before = before.unwrap_or(Timestamp::MIN);
        Self { front, id, next: 0, number, before, highest, last: None, counts: Counts::default() }
    }

    /// Takes packets as long as `record` finds one, there is room for so many of them, and none of a rival comes before.
    #[inline(always)]
    pub(super) fn walk(
        &mut self,
        into: &mut Run<'a>,
        most: usize,
        rival: Option<Place>,
        mut record: impl FnMut(&[u8]) -> Option<Record>,
    ) -> Ended {
        while into.packets.len() < most {
            let Some(found) = record(self.rest()) else { return Ended::Elsewhere };
            if !self.is_in_turn(&found, rival) {
                return Ended::Late(found);
            }
            self.take(found, into);
        }
        Ended::Full
    }

    /// What lies behind the packets taken so far.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.front.get(self.next..).unwrap_or_default()
    }

    /// Whether a record comes before those of a rival.
    #[inline(always)]
    pub(super) fn is_in_turn(&self, record: &Record, rival: Option<Place>) -> bool {
        rival.is_none_or(|rival| (self.highest.max(record.time), self.id.0) < rival)
    }

    /// Takes the packet at the front of the rest.
    #[inline(always)]
    pub(super) fn take(&mut self, record: Record, into: &mut Run<'a>) {
        let Record { time, link, interface, original, offset, length, size } = record;
        let from = self.next + offset;
        let bytes = self.front.get(from..from + length).unwrap_or_default();
        self.number += 1;
        self.next += size;
        self.counts.take(&record, self.before);
        self.before = time;
        self.highest = self.highest.max(time);
        self.last = Some(record);
        into.packets.push(Packet {
            at: PacketRef::new(time, self.id, self.number),
            link,
            interface,
            original,
            bytes,
        });
    }

    /// The number of the latest packet.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The latest time of the recording.
    pub(super) fn highest(&self) -> Timestamp {
        self.highest
    }

    /// The latest record, and where it begins; `None` where there was none.
    pub(super) fn last(&self) -> Option<(Record, usize)> {
        self.last.map(|last| (last, self.next - last.size))
    }

    /// What was counted.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// What is counted of packets handed out.
pub(super) struct Counts {
    packets: u64,
    bytes: u64,
    cut: u64,
    reversals: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Default for Counts {
    fn default() -> Self {
        let (first, last) = (Timestamp::MAX, Timestamp::MIN);
        Self { packets: 0, bytes: 0, cut: 0, reversals: 0, first, last }
    }
}

impl Counts {
    /// Counts a packet; `before` is the time of the one before it, the earliest there is where there was none.
    #[inline(always)]
    pub(super) fn take(&mut self, record: &Record, before: Timestamp) {
        let Record { time, original, length, .. } = *record;
        self.packets += 1;
        self.bytes += length as u64;
        self.cut += u64::from((length as u64) < u64::from(original));
        self.reversals += u64::from(time < before);
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    /// How many packets there were.
    pub(super) fn packets(&self) -> usize {
        self.packets as usize
    }

    /// Adds to what is known of an input.
    pub(super) fn add_to(&self, input: &mut Input) {
        if self.packets == 0 {
            return;
        }
        input.packets += self.packets;
        input.bytes += self.bytes;
        input.cut_packets += self.cut;
        input.time_reversals += self.reversals;
        input.first = Some(input.first.map_or(self.first, |first| first.min(self.first)));
        input.last = Some(input.last.map_or(self.last, |last| last.max(self.last)));
    }
}
