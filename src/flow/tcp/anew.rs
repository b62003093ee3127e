//! Whether a segment goes on with the connection known over its ports, or begins another.

use std::time::Duration;

use crate::decode::Tcp;
use crate::flow::side::Side;
use crate::model::PacketRef;

use super::EARLY;
use super::TcpSide;

/// Silence after which a SYN with another sequence number opens a new connection whatever became of the old one
/// (the wait of TIME-WAIT is twice the maximum segment lifetime; RFC 9293 section 3.4.2 allows two minutes).
const FORGOTTEN: Duration = Duration::from_secs(120);
/// The same for a SYN without ACK: devices with a fixed port that lost power begin again, and a SYN forged into an open connection is answered
/// within a round trip (RFC 5961 section 4).
const ANEW: Duration = Duration::from_secs(10);
/// A SYN whose sequence number fits may be stamped this much later than packets that it opened the way for.
const LATE_SYN: Duration = Duration::from_secs(1);
/// ... and the first segment seen lies at most this far behind it.
const LATE_SYN_REACH: u32 = 1 << 16;

/// Whether a connection is over: reset from either end, or closed from both.
pub fn is_closed(low: Option<&TcpSide>, high: Option<&TcpSide>) -> bool {
    let reset = |side: Option<&TcpSide>| side.is_some_and(|side| side.reset.is_some());
    let finished = |side: Option<&TcpSide>| side.is_some_and(|side| side.fin.is_some());
    reset(low) || reset(high) || (finished(low) && finished(high))
}

/// Whether a segment opens another connection over the same ports than the one known.
///
/// A SYN with the known initial sequence number is a repetition. With another one it is a new attempt where the known one was never
/// answered, is over, or was silent for long; else a stray that the open connection will answer with a challenge (RFC 5961 section 4).
pub fn begins_anew(me: &Side, peer: &Side, segment: &Tcp<'_>, at: PacketRef) -> bool {
    if !segment.flags.syn() || segment.flags.rst() {
        return false;
    }
    let (mine, theirs) = (me.tcp.as_deref(), peer.tcp.as_deref());
    let closed = is_closed(mine, theirs);
    let last = me.last.max(peer.last);
    let silent_for = |span| last.is_some_and(|last| at.time.since(last.time) >= span);
    let forgotten = silent_for(FORGOTTEN);
    let after = segment.sequence.wrapping_add(1);
    let spoke = |side: Option<&TcpSide>| side.is_some_and(|side| side.spoken > 0);
    match mine.and_then(|mine| mine.isn) {
        Some(isn) if isn == segment.sequence => false,
        Some(_) if segment.flags.ack() => closed || forgotten,
        Some(_) => !spoke(theirs) || closed || silent_for(ANEW),
        // No SYN of this end so far: either this is the flow's own, stamped late or answering, or the old flow began before the capture.
        None if spoke(mine) => {
            let first = me.first.map_or(at, |first| first);
            // An answer that stands in the capture before its cause tells where this end's data begins as well.
            let fits = mine
                .and_then(|mine| mine.base.or(mine.acknowledged))
                .is_some_and(|base| base.wrapping_sub(segment.sequence) < LATE_SYN_REACH);
            !(fits && at.time.since(first.time) <= LATE_SYN)
        }
        None => match theirs {
            Some(theirs) if theirs.isn.is_some() => {
                // The peer's own SYN or SYN-ACK is here already; it must be about this one.
                let about_this = mine.and_then(|mine| mine.acknowledged).is_none_or(|known| known == after);
                closed && !about_this
            }
            Some(theirs) if theirs.spoken > 0 => mine.and_then(|mine| mine.acknowledged) != Some(after),
            // Only resets so far: they belong to something before, unless the mirror showed the answer before its cause.
            Some(theirs) => {
                let answers = theirs.reset_acknowledges == Some(after.wrapping_add(segment.payload_length));
                let early = theirs.reset.is_some_and(|reset| at.time.since(reset.at.time) <= EARLY);
                !(answers && early)
            }
            None => false,
        },
    }
}
