//! TCP: opening, closing, sequence numbers and acknowledgements of each end (RFC 9293).

mod anew;
mod calm;
mod sequence;
mod vain;

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::decode::Tcp;
use crate::model::MacAddr;
use crate::model::PacketRef;
use crate::model::Reset;
use crate::model::Series;
use crate::model::SideRecord;
use crate::model::Timestamp;

use super::side::Side;

pub use anew::begins_anew;
pub use anew::is_closed;
pub use calm::Calm;
pub use sequence::later;
pub use vain::Few;

use sequence::earliest;
use sequence::earliest_or;
use sequence::latest;
use sequence::overlap;
use vain::Vain;

/// The farthest that two sequence numbers of one connection can lie apart: the largest window (RFC 7323 section 2.3).
pub const FARTHEST: u32 = 1 << 30;
/// The most gaps in what was captured of one end that are remembered.
const MOST_HOLES: usize = 8;
/// How much earlier than its cause an answer may stand in a capture.
pub const EARLY: Duration = Duration::from_millis(5);

/// What is known of one end of a connection.
#[derive(Clone, Debug, Default)]
pub struct TcpSide {
    /// Initial sequence number.
    isn: Option<u32>,
    /// Whether it sent a SYN without ACK.
    pub sent_syn: bool,
    /// Whether it sent a SYN-ACK.
    pub sent_syn_ack: bool,
    /// Its SYN or SYN-ACK packets.
    pub syn: Series,
    /// Bytes in the SYN (RFC 7413).
    syn_payload: u32,
    /// The first sequence number of data that could be told.
    base: Option<u32>,
    /// The end of what was heard from this end, or was acknowledged to it, whichever is later.
    next: Option<u32>,
    /// The latest acknowledgement by the other end.
    acknowledged: Option<u32>,
    /// Stretches before `next` that were not captured.
    holes: Vec<(u32, u32)>,
    /// Data without acknowledgement; boxed, so that a flood of SYNs costs less.
    vain: Option<Box<Vain>>,
    /// Keep-alives since the other end was last heard; boxed for the same reason.
    probes: Option<Box<Series>>,
    /// An acknowledged single byte beyond all that was heard: payload, or a FIN that was not captured.
    owed: bool,
    /// Whether its last segment announced a closed window.
    pub window_closed: bool,
    /// The sequence number of its FIN.
    fin_at: Option<u32>,
    /// Its FIN.
    pub fin: Option<PacketRef>,
    /// Whether that acknowledges the other end's: then the other end closed first.
    pub fin_answers: bool,
    /// The first reset in its name.
    pub reset: Option<Reset>,
    /// What that reset acknowledges.
    reset_acknowledges: Option<u32>,
    /// Its packets that were no resets.
    pub spoken: u64,
    /// Its first acknowledgement of the other's SYN-ACK or data.
    pub first_ack: Option<PacketRef>,
    /// Its first acknowledgement of payload.
    pub acked_payload: Option<PacketRef>,
    /// Payload bytes of this end that the other acknowledged.
    pub payload_acknowledged: u64,
    /// Those of them that were never captured.
    pub unseen_acknowledged: u64,
    /// From when to when the other end has acknowledged what was never heard of this one, since anything of it was heard.
    pub missed: Option<(Timestamp, Timestamp)>,
    /// Payload packets sent again.
    pub retransmissions: u32,
}

/// How a packet looked outside of its TCP header, for telling apart who sent it.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The packet.
    pub at: PacketRef,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4 identification.
    pub identification: u16,
    /// Source MAC.
    pub mac: Option<MacAddr>,
}

/// Takes in one segment that `me` sent to `peer`.
pub fn take(me: &mut Side, peer: &mut Side, segment: &Tcp<'_>, look: &Look) {
    let flags = segment.flags;
    let mine = me.tcp.get_or_insert_default();
    if flags.rst() {
        // A reset proves nothing about what its supposed sender received: anyone on the path may have made it.
        let answers_syn = flags.ack()
            && peer
                .tcp
                .as_deref()
                .and_then(TcpSide::after_syn)
                .is_some_and(|expected| segment.acknowledgement == expected);
        if mine.reset.is_none() {
            mine.reset_acknowledges = flags.ack().then_some(segment.acknowledgement);
        }
        mine.reset.get_or_insert(Reset {
            at: look.at,
            ttl: look.ttl,
            identification: look.identification,
            mac: look.mac,
            answers_syn,
        });
        return;
    }
    mine.spoken += 1;
    if flags.syn() {
        mine.hear_syn(segment, look.at);
        let expected = mine.after_syn();
        if let Some(theirs) = peer.tcp.as_deref_mut()
            && theirs.reset_acknowledges == expected
            && let Some(reset) = &mut theirs.reset
        {
            // The mirror showed the answer before its cause.
            reset.answers_syn = true;
        }
    }
    let start = segment.sequence.wrapping_add(u32::from(flags.syn()));
    if mine.probes(segment) {
        mine.probes.get_or_insert_default().add(look.at);
    }
    if let Some(theirs) = peer.tcp.as_deref_mut() {
        theirs.probes = None;
    }
    if segment.payload_length > 0 && !mine.is_keepalive(start, segment.payload_length) {
        let peer_closed = peer.tcp.as_deref().is_some_and(|theirs| theirs.window_closed);
        let fresh = mine.hear_data(start, segment.payload_length, peer_closed, look.at);
        me.payload_packets += 1;
        me.payload_bytes = me.payload_bytes.saturating_add(u64::from(fresh));
        me.first_payload.get_or_insert(look.at);
        me.last_payload = Some(look.at);
    } else if mine.next.is_none() {
        mine.begin(start);
    }
    if flags.fin() {
        if mine.fin.is_none() {
            mine.fin_answers = flags.ack()
                && peer.tcp.as_deref().is_some_and(|theirs| theirs.is_closed_by(segment.acknowledgement));
        }
        mine.fin.get_or_insert(look.at);
        mine.fin_at.get_or_insert(start.wrapping_add(segment.payload_length));
    }
    mine.window_closed = segment.window == 0;
    let about_another =
        peer.tcp.as_deref().is_some_and(|theirs| theirs.never_sent(segment.acknowledgement, flags.syn()));
    if flags.ack() && !about_another {
        let heard = peer.last;
        let theirs = peer.tcp.get_or_insert_default();
        let due = theirs.next;
        if !flags.syn() && theirs.is_opening_acknowledged_by(segment.acknowledgement) {
            mine.first_ack.get_or_insert(look.at);
        }
        if theirs.hear_acknowledgement(segment.acknowledgement) > 0 {
            mine.acked_payload.get_or_insert(look.at);
            if let Some(vain) = &mut mine.vain {
                vain.go_on();
            }
        }
        // Who opened and now acknowledges has had an answer; who acknowledges more than was heard has had that.
        let answered = due.is_none() && mine.sent_syn && !flags.syn();
        if answered || due.is_some() && theirs.next != due {
            theirs.miss(look.at.time, heard);
        }
        if let (Some(block), Some(vain)) = (segment.selective, &mut theirs.vain) {
            vain.hear_beyond(block, look.at);
        }
    }
}

impl TcpSide {
    /// Whether this end sent a SYN of either kind.
    pub fn opened(&self) -> bool {
        self.sent_syn || self.sent_syn_ack
    }

    /// Whether all that this end sent, resets aside, were SYNs without ACK.
    pub fn only_syn(&self) -> bool {
        self.sent_syn && !self.sent_syn_ack && self.spoken == u64::from(self.syn.count)
    }

    /// Whether an acknowledgement is about another connection: this end has sent its SYN alone, and more is acknowledged at once than could have been
    /// missed since. So answers who still has an older connection over the same ports (RFC 5961 section 4).
    fn never_sent(&self, acknowledgement: u32, opens: bool) -> bool {
        /// What may be sent before the first acknowledgement: a SYN-ACK's window is not scaled (RFC 7323 section 2.2).
        const FIRST_WINDOW: u32 = 0xffff;
        let Some(start) = self.stream_start().filter(|_| self.only_syn()) else { return false };
        // Acknowledgements that went on from one to the next are of what a mirror did not show.
        let known = self.acknowledged.map_or(0, |known| known.wrapping_sub(start));
        let most = if opens { self.syn_payload } else { known.saturating_add(FIRST_WINDOW) };
        acknowledgement.wrapping_sub(start) > most
    }

    /// Where the byte stream of this end begins: after its SYN.
    pub fn stream_start(&self) -> Option<u32> {
        self.isn.map(|isn| isn.wrapping_add(1))
    }

    /// Up to where the other end acknowledged.
    pub fn acknowledged(&self) -> Option<u32> {
        self.acknowledged
    }

    /// Whether a sequence number lies in what this end is known to have sent (RFC 5927 section 4.1).
    pub fn in_flight(&self, sequence: u32) -> bool {
        let Some(first) = self.isn.or(self.base) else { return false };
        let Some(end) = self.next else { return sequence == first };
        // The wrap makes a sequence before the first one huge.
        let sent = end.wrapping_sub(first);
        sent >= FARTHEST || sequence.wrapping_sub(first) <= sent
    }

    /// Starts the counters anew for the next stretch of a flow that goes on. How it was opened stays with it.
    pub fn next_stretch(&mut self) {
        self.acked_payload = None;
        self.payload_acknowledged = 0;
        self.unseen_acknowledged = 0;
        self.retransmissions = 0;
    }

    /// Writes what the record says of this end.
    pub fn tell(&self, told: &mut SideRecord) {
        told.syn = self.syn;
        told.first_ack = self.first_ack;
        told.acked_payload = self.acked_payload;
        told.payload_acknowledged = self.payload_acknowledged;
        told.unseen_acknowledged = self.unseen_acknowledged;
        let data = self.vain.as_deref().map(|vain| vain.repeats).filter(|repeats| repeats.count > 0);
        told.unacknowledged = data.or(self.probes.as_deref().copied()).unwrap_or_default();
        if let Some(vain) = self.vain.as_deref().filter(|_| data.is_some()) {
            told.unacknowledged_length = vain.length();
            told.passed = vain.passed();
        }
        told.retransmissions = self.retransmissions;
        told.fin = self.fin;
        told.fin_answers = self.fin_answers;
        told.reset = self.reset;
    }

    /// The repetitions with which this end goes silent, where the other end is not captured and so acknowledges nothing.
    pub fn stuck(&self) -> Series {
        self.vain.as_deref().map(Vain::stuck).unwrap_or_default()
    }

    /// The acknowledgement that answers this end's SYN and nothing more.
    fn after_syn(&self) -> Option<u32> {
        self.isn.map(|isn| isn.wrapping_add(1).wrapping_add(self.syn_payload))
    }

    /// Everything before `start` is none of this flow's business.
    fn begin(&mut self, start: u32) {
        self.base.get_or_insert(start);
        self.next.get_or_insert(start);
        self.acknowledged.get_or_insert(start);
    }

    fn hear_syn(&mut self, segment: &Tcp<'_>, at: PacketRef) {
        let isn = *self.isn.get_or_insert(segment.sequence);
        if isn != segment.sequence {
            // A stray or forged SYN within an open connection.
            return;
        }
        if segment.flags.ack() {
            self.sent_syn_ack = true;
        } else {
            self.sent_syn = true;
        }
        self.syn.add(at);
        self.syn_payload = self.syn_payload.max(segment.payload_length);
        let start = isn.wrapping_add(1);
        self.base = Some(start);
        self.begin(start);
        // An acknowledgement sent before the SYN (split handshake) stood where the SYN stands.
        for known in [&mut self.next, &mut self.acknowledged] {
            if *known == Some(isn) {
                *known = Some(start);
            }
        }
    }

    /// A keep-alive repeats the last byte that was acknowledged (RFC 9293 section 3.8.4); it carries nothing.
    fn is_keepalive(&self, start: u32, length: u32) -> bool {
        length == 1
            && self.next == Some(start.wrapping_add(1))
            && self.acknowledged == self.next
            && self.base != self.next
    }

    /// Whether a segment asks if the other end is still there: it stands one before what is due next, all being acknowledged, and carries
    /// nothing or that one byte (RFC 9293 section 3.8.4).
    fn probes(&self, segment: &Tcp<'_>) -> bool {
        let flags = segment.flags;
        segment.payload_length <= 1
            && flags.ack()
            && !flags.syn()
            && !flags.fin()
            && self.next == Some(segment.sequence.wrapping_add(1))
            && self.acknowledged == self.next
            && self.fin.is_none()
    }

    /// Takes in payload; returns how many of its bytes were not captured before.
    fn hear_data(&mut self, start: u32, length: u32, peer_closed: bool, at: PacketRef) -> u32 {
        self.begin(start);
        let length = length.min(FARTHEST);
        let end = start.wrapping_add(length);
        let next = self.next.unwrap_or(start);
        let acknowledged = self.acknowledged.unwrap_or(start);
        let distance = start.wrapping_sub(next);
        if distance >= FARTHEST && next.wrapping_sub(start) >= FARTHEST {
            // Neither ahead nor behind: not of this connection.
            return length;
        }
        if later(start, next) {
            self.open_hole(next, start);
        }
        let mut fresh = 0;
        if later(end, next) {
            let from = if later(start, next) { start } else { next };
            fresh = end.wrapping_sub(from);
            self.next = Some(end);
        }
        fresh += self.fill_holes(start, end, acknowledged);
        if fresh < length && later(next, start) {
            self.retransmissions = self.retransmissions.saturating_add(1);
        }
        // A probe of a closed window is no attempt to deliver (RFC 9293 section 3.8.6.1).
        if later(end, acknowledged) && !(peer_closed && length == 1) {
            self.vain.get_or_insert_default().add(start, end, fresh > 0, at);
        }
        fresh
    }

    /// The other end acknowledges at this time what was not heard of this one, which was last heard as told.
    fn miss(&mut self, at: Timestamp, heard: Option<PacketRef>) {
        let from = self.missed.map(|(from, _)| from);
        let from = from.filter(|&from| heard.is_none_or(|heard| heard.time < from));
        self.missed = Some((from.unwrap_or(at), at));
    }

    /// Takes in an acknowledgement by the other end; returns how many payload bytes it newly covers.
    fn hear_acknowledgement(&mut self, acknowledgement: u32) -> u32 {
        let Some(before) = self.acknowledged else {
            // Nothing of this end was heard yet: all that can be told is what is acknowledged from here on.
            self.acknowledged = Some(acknowledgement);
            self.next.get_or_insert(acknowledgement);
            return 0;
        };
        let advance = acknowledgement.wrapping_sub(before);
        if advance == 0 || advance > FARTHEST {
            return 0;
        }
        self.acknowledged = Some(acknowledgement);
        // A FIN takes a sequence number and is no payload.
        let end = match self.fin_at {
            Some(fin) if later(acknowledgement, fin) => {
                if later(fin, before) {
                    fin
                } else {
                    before
                }
            }
            _ => acknowledgement,
        };
        let mut payload = end.wrapping_sub(before);
        let next = self.next.unwrap_or(before);
        if later(end, next) {
            self.open_hole(next, end);
            self.next = Some(end);
            if payload == 1 {
                // It may as well be a FIN that was not captured: it counts once more is acknowledged after it.
                self.owed = true;
                return 0;
            }
        }
        if payload > 0 && std::mem::take(&mut self.owed) {
            payload += 1;
            self.unseen_acknowledged += 1;
        }
        let unseen: u32 = self.holes.iter().map(|&hole| overlap(hole, (before, end))).sum();
        self.unseen_acknowledged = self.unseen_acknowledged.saturating_add(u64::from(unseen));
        self.payload_acknowledged = self.payload_acknowledged.saturating_add(u64::from(payload));
        // Far behind, a gap would be mistaken for one ahead once sequence numbers have gone round.
        self.holes.retain(|&(_, hole_end)| end.wrapping_sub(hole_end) < FARTHEST || later(hole_end, end));
        if let Some(vain) = &mut self.vain {
            vain.settle(acknowledgement);
        }
        payload
    }

    /// Whether an acknowledgement covers this end's FIN, captured already or not.
    fn is_closed_by(&self, acknowledgement: u32) -> bool {
        match (self.fin_at, self.next) {
            (Some(fin), _) => later(acknowledgement, fin),
            (None, Some(next)) => later(acknowledgement, next),
            (None, None) => false,
        }
    }

    /// Whether an acknowledgement answers this end's SYN-ACK, or data of it.
    fn is_opening_acknowledged_by(&self, acknowledgement: u32) -> bool {
        match self.isn {
            None => true,
            Some(isn) => {
                let least = if self.sent_syn_ack { isn.wrapping_add(1) } else { isn.wrapping_add(2) };
                acknowledgement.wrapping_sub(least) < FARTHEST
            }
        }
    }

    fn open_hole(&mut self, start: u32, end: u32) {
        // A stretch that grows while nothing of this end is heard stays one.
        if let Some(last) = self.holes.last_mut()
            && last.1 == start
        {
            last.1 = end;
            if end.wrapping_sub(last.0) > FARTHEST {
                last.0 = end.wrapping_sub(FARTHEST);
            }
            return;
        }
        if self.holes.len() >= MOST_HOLES {
            self.holes.remove(0);
        }
        self.holes.push((start, end));
    }

    /// Takes the captured stretch out of the gaps; returns how much of it filled one.
    fn fill_holes(&mut self, start: u32, end: u32, acknowledged: u32) -> u32 {
        if self.holes.is_empty() {
            return 0;
        }
        let mut filled = 0;
        let mut left: ArrayVec<(u32, u32), MOST_HOLES> = ArrayVec::new();
        for &(from, to) in &self.holes {
            let within = overlap((from, to), (start, end));
            if within == 0 {
                let _ = left.try_push((from, to));
                continue;
            }
            filled += within;
            // What was taken for lost was only late.
            let (low, high) = (latest(from, start), earliest(to, end));
            let late = overlap((low, high), (low, earliest_or(low, high, acknowledged)));
            self.unseen_acknowledged = self.unseen_acknowledged.saturating_sub(u64::from(late));
            if later(start, from) {
                let _ = left.try_push((from, start));
            }
            if later(to, end) {
                let _ = left.try_push((end, to));
            }
        }
        self.holes.clear();
        self.holes.extend(left);
        filled
    }
}

#[cfg(test)]
mod tests;
