//! What an ordinary packet of a known flow reads and changes: four cache lines beside each other, with everything else kept apart.
//!
//! A flow is *armed* when nothing about it is unusual. From then on, packets that change counters, times and sequence numbers alone are
//! taken in here, and their payload is handed to whoever judges it as long as that wants any; [`Hot::settle`] carries what was counted
//! over to the flow before anything else is done with it. What is taken in here and what the flow would have become by [`Flow::take`] is
//! the same: a property test holds the two against each other.

use crate::decode::Plain;
use crate::decode::Tcp;
use crate::decode::Udp;
use crate::decode::is_real_time;
use crate::model::EtherKind;
use crate::model::PacketRef;
use crate::model::Series;
use crate::model::Timestamp;
use crate::model::Transport;

use super::key::Half;
use super::key::Key;
use super::key::Pair;
use super::live::Flow;
use super::side::Side;
use super::tcp::Calm;
use super::tcp::FARTHEST;
use super::tcp::Few;
use super::tcp::later;

/// Counters are carried over before they are beyond this, so that none goes round. All bits below its highest are set.
const MOST: u32 = (1 << 30) - 1;
/// Packets of a flow of which one end has said nothing yet: its next ones are seldom ordinary, and arming it would be for nothing.
const BEGINNING: u64 = 8;
/// FIN, SYN, RST and ACK (RFC 9293 section 3.1): an ordinary segment has the last alone.
const FIN_SYN_RST_ACK: u8 = 0x17;
const ACK: u8 = 0x10;

/// The part of a flow that ordinary packets touch. The first line tells whose it is and when it was last heard.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Hot {
    /// The flow's key.
    pub key: Key,
    /// Its last packet.
    pub last: PacketRef,
    /// Packets after this time are for another stretch of it.
    due: Timestamp,
    sides: Pair<Ready>,
    /// Until then nobody need ask whether it was silent for too long, unless a packet of it is taken the long way.
    pub spared: Timestamp,
}

/// One end.
#[derive(Clone, Copy, Debug)]
struct Ready {
    last: PacketRef,
    /// The last packet with payload.
    payload: PacketRef,
    packets: u32,
    bytes: u32,
    payload_packets: u32,
    payload_bytes: u32,
    next: u32,
    acknowledged: u32,
    /// Where the segments start that wait for their acknowledgement, oldest first; they reach to `next`.
    waits_from: [u32; 2],
    /// The packet of the first of them; that of the second is the last with payload.
    waits_at: PacketRef,
    kind: Kind,
    marks: u8,
    /// Whether its payload is to be shown to whoever judges it.
    shows: bool,
}

/// What may be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Off,
    /// Segments in sequence.
    Stream,
    /// Datagrams in turns.
    Datagrams,
    /// Frames of a real-time protocol.
    Frames,
}

/// A segment waits for its acknowledgement; one datagram waits for an answer.
const WAITS: u8 = 1;
/// Two segments do; several datagrams do.
const MANY: u8 = 2;
/// It is known to have acknowledged the other end's opening.
const ACKNOWLEDGES: u8 = 4;
/// It is known to have acknowledged payload.
const ACKNOWLEDGED_PAYLOAD: u8 = 8;
/// It is known to have sent payload.
const PAYLOAD: u8 = 16;

/// An ordinary packet, as far as it is not in its headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub at: PacketRef,
    /// Length on the wire.
    pub original: u32,
    /// The longest silence that no flow ends by, in nanoseconds.
    pub patience: u64,
}

/// Which ordinary packets are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Those that say what their end has not said before, and so can be no copies of others: the next payload of a stream, or an
    /// acknowledgement beyond all before.
    News,
    /// All of them.
    Any,
}

impl Hot {
    /// Of a flow that is new.
    pub fn new(key: Key, last: PacketRef) -> Self {
        Self {
            key,
            last,
            due: Timestamp::MIN,
            sides: Pair { low: Ready::OFF, high: Ready::OFF },
            spared: Timestamp::MIN,
        }
    }

    /// Takes in a packet; `false` where it is not ordinary, or not the news that it should be, and nothing was changed.
    #[inline(always)]
    pub fn take(&mut self, from: Half, plain: &Plain<'_>, moment: &Moment, sort: Sort) -> bool {
        let Moment { at, original, patience } = *moment;
        let (me, peer) = self.sides.split_mut(from);
        // What came before the last one takes the long way: less than no silence is more than any.
        let silence = at.time.as_nanos().wrapping_sub(self.last.time.as_nanos()) as u64;
        if silence > patience || at.time > self.due || (original | me.bytes | me.payload_bytes) > MOST {
            return false;
        }
        let taken = match me.kind {
            Kind::Stream => match plain.tcp() {
                Some(segment) => me.hear_segment(peer, &segment, at, sort),
                None => false,
            },
            Kind::Datagrams if sort == Sort::Any => match plain.udp() {
                Some(datagram) => me.hear_datagram(peer, &datagram, at),
                None => false,
            },
            Kind::Frames if sort == Sort::Any => me.hear_frame(plain.payload_length(), at),
            _ => false,
        };
        if taken {
            me.packets += 1;
            me.bytes += original;
            if at > self.last {
                (me.last, self.last) = (at, at);
            } else {
                me.last = me.last.max(at);
            }
        }
        taken
    }

    /// Whether what an end says is to be shown to whoever judges it.
    #[inline(always)]
    pub fn shows(&self, from: Half) -> bool {
        self.sides.of(from).shows
    }

    /// Payload of those ends is to be shown to whoever judges it.
    #[inline]
    pub fn show(&mut self, of: Pair<bool>) {
        self.sides.low.shows = of.low;
        self.sides.high.shows = of.high;
    }

    /// Arms a flow, where nothing about it is unusual and it has shown that it may go on for a while. `due` is when its next stretch
    /// begins, `shows` of which ends payload is to be shown.
    pub fn arm(&mut self, flow: &Flow, due: Timestamp, shows: Pair<bool>) {
        let Pair { low, high } = &flow.sides;
        let begins = low.first_payload.is_none() || high.first_payload.is_none();
        if begins && low.packets + high.packets < BEGINNING {
            return;
        }
        let ready = match flow.transport {
            Transport::Tcp => Ready::of_stream(low).zip(Ready::of_stream(high)),
            Transport::Udp => Ready::of_datagrams(low).zip(Ready::of_datagrams(high)),
            Transport::Ethernet(EtherKind::Type(number)) if is_real_time(number) => {
                Ready::of_frames(low).zip(Ready::of_frames(high))
            }
            _ => None,
        };
        if let Some((low, high)) = ready {
            self.sides = Pair { low, high };
            self.show(shows);
            self.due = due;
        }
    }

    /// Carries over to the flow what was taken in here since it was armed, and disarms it.
    #[inline]
    pub fn settle(&mut self, flow: &mut Flow) {
        if self.sides.low.kind != Kind::Off || self.sides.high.kind != Kind::Off {
            self.carry_over(flow);
            self.sides = Pair { low: Ready::OFF, high: Ready::OFF };
        }
    }

    /// As [`Hot::settle`], to a copy of the flow.
    pub fn settled(&self, flow: &Flow) -> Flow {
        let mut flow = flow.clone();
        let mut hot = *self;
        hot.settle(&mut flow);
        flow
    }

    fn carry_over(&self, flow: &mut Flow) {
        for half in [Half::Low, Half::High] {
            self.sides.of(half).carry_over(flow.sides.of_mut(half));
        }
        flow.last = self.last;
    }

    /// A word of each of its cache lines: reading them has them in the cache.
    #[inline(always)]
    pub fn touch(&self) -> u64 {
        self.last.time.as_nanos() as u64 ^ u64::from(self.sides.low.next) ^ u64::from(self.sides.high.next)
    }
}

impl Ready {
    const OFF: Self = Self {
        last: PacketRef::NONE,
        payload: PacketRef::NONE,
        packets: 0,
        bytes: 0,
        payload_packets: 0,
        payload_bytes: 0,
        next: 0,
        acknowledged: 0,
        waits_from: [0; 2],
        waits_at: PacketRef::NONE,
        kind: Kind::Off,
        marks: 0,
        shows: false,
    };

    /// What all kinds ask for: nothing is left to be told by the first packet, and times are known.
    fn of(side: &Side, kind: Kind) -> Option<Self> {
        let looked_at = (side.ttl.is_some() || side.mac.is_some()) && side.neighbour.is_some();
        let marks = if side.first_payload.is_some() { PAYLOAD } else { 0 };
        let payload = side.last_payload.unwrap_or_default();
        let last = side.last.filter(|_| looked_at)?;
        Some(Self { last, payload, kind, marks, ..Self::OFF })
    }

    fn of_stream(side: &Side) -> Option<Self> {
        let calm = side.tcp.as_deref()?.calm()?;
        let mut ready = Self::of(side, Kind::Stream)?;
        ready.next = calm.next;
        ready.acknowledged = calm.acknowledged;
        if let Some(&(start, _, at)) = calm.waits.first() {
            ready.waits_from[0] = start;
            ready.waits_at = at;
            ready.marks |= WAITS;
        }
        if let Some(&(start, _, at)) = calm.waits.get(1) {
            // The second is told by being the last with payload.
            if side.last_payload != Some(at) {
                return None;
            }
            ready.waits_from[1] = start;
            ready.marks |= MANY;
        }
        ready.marks |= if calm.acknowledges { ACKNOWLEDGES } else { 0 };
        ready.marks |= if calm.acknowledged_payload { ACKNOWLEDGED_PAYLOAD } else { 0 };
        Some(ready)
    }

    fn of_datagrams(side: &Side) -> Option<Self> {
        if side.is_silent() {
            return Some(Self::OFF);
        }
        let waiting = side.waiting.as_deref()?;
        let mut ready = Self::of(side, Kind::Datagrams)?;
        ready.marks |= match waiting.count {
            0 => 0,
            1 if waiting.last == side.last_payload => WAITS,
            _ => MANY,
        };
        Some(ready)
    }

    fn of_frames(side: &Side) -> Option<Self> {
        if side.is_silent() { Some(Self::OFF) } else { Self::of(side, Kind::Frames) }
    }

    #[inline(always)]
    fn hear_segment(&mut self, peer: &mut Self, segment: &Tcp<'_>, at: PacketRef, sort: Sort) -> bool {
        let ordinary = segment.flags.0 & FIN_SYN_RST_ACK == ACK && segment.window != 0;
        if !ordinary || self.marks & ACKNOWLEDGES == 0 {
            return false;
        }
        let (acknowledgement, length) = (segment.acknowledgement, segment.payload_length);
        let advance = acknowledgement.wrapping_sub(peer.acknowledged);
        let advances = advance != 0 && advance <= FARTHEST;
        if advances && (later(acknowledgement, peer.next) || self.marks & ACKNOWLEDGED_PAYLOAD == 0) {
            return false;
        }
        if length == 0 {
            // One before what is due: it asks whether the other end is still there.
            let probes = segment.sequence.wrapping_add(1) == self.next && self.acknowledged == self.next;
            if probes || (sort == Sort::News && !advances) {
                return false;
            }
        } else {
            if segment.sequence != self.next || self.marks & (MANY | PAYLOAD) != PAYLOAD {
                return false;
            }
            if self.marks & WAITS == 0 {
                self.waits_from[0] = self.next;
                self.waits_at = at;
                self.marks |= WAITS;
            } else {
                self.waits_from[1] = self.next;
                self.marks |= MANY;
            }
            self.next = self.next.wrapping_add(length);
            self.hear_payload(length, at);
        }
        if advances {
            peer.be_acknowledged(acknowledgement);
        }
        true
    }

    /// Takes in an acknowledgement of what this end sent.
    #[inline(always)]
    fn be_acknowledged(&mut self, acknowledgement: u32) {
        self.acknowledged = acknowledgement;
        if acknowledgement == self.next {
            self.marks &= !(WAITS | MANY);
        } else if self.marks & MANY != 0 && !later(self.waits_from[1], acknowledgement) {
            self.waits_from[0] = self.waits_from[1];
            self.waits_at = self.payload;
            self.marks &= !MANY;
        }
    }

    /// The segments that wait.
    fn waits(&self) -> Few {
        let mut waits = Few::new();
        if self.marks & WAITS != 0 {
            let end = if self.marks & MANY != 0 { self.waits_from[1] } else { self.next };
            waits.push((self.waits_from[0], end, self.waits_at));
        }
        if self.marks & MANY != 0 {
            waits.push((self.waits_from[1], self.next, self.payload));
        }
        waits
    }

    #[inline(always)]
    fn hear_datagram(&mut self, peer: &mut Self, datagram: &Udp<'_>, at: PacketRef) -> bool {
        if datagram.payload_length == 0 || self.marks & (WAITS | MANY | PAYLOAD) != PAYLOAD {
            return false;
        }
        self.marks |= WAITS;
        peer.marks &= !(WAITS | MANY);
        self.hear_payload(datagram.payload_length, at);
        true
    }

    #[inline(always)]
    fn hear_frame(&mut self, length: u32, at: PacketRef) -> bool {
        let is_known = self.marks & PAYLOAD != 0;
        if is_known {
            self.hear_payload(length, at);
        }
        is_known
    }

    #[inline(always)]
    fn hear_payload(&mut self, length: u32, at: PacketRef) {
        self.payload_packets += 1;
        self.payload_bytes += length;
        self.payload = at;
    }

    fn carry_over(&self, side: &mut Side) {
        match self.kind {
            Kind::Off => return,
            Kind::Frames => {}
            Kind::Stream => {
                if let Some(tcp) = side.tcp.as_deref_mut() {
                    let now = Calm {
                        next: self.next,
                        acknowledged: self.acknowledged,
                        waits: self.waits(),
                        acknowledges: true,
                        acknowledged_payload: true,
                    };
                    tcp.resume(u64::from(self.packets), &now);
                }
            }
            Kind::Datagrams => {
                if let Some(waiting) = side.waiting.as_deref_mut().filter(|_| self.marks & MANY == 0) {
                    *waiting = Series::default();
                    if self.marks & WAITS != 0 {
                        waiting.add(self.payload);
                    }
                }
            }
        }
        side.packets += u64::from(self.packets);
        side.bytes = side.bytes.saturating_add(u64::from(self.bytes));
        side.last = Some(self.last);
        side.payload_packets += u64::from(self.payload_packets);
        side.payload_bytes = side.payload_bytes.saturating_add(u64::from(self.payload_bytes));
        if self.payload_packets > 0 {
            side.last_payload = Some(self.payload);
        }
    }
}

#[cfg(test)]
mod tests;
