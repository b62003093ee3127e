//! Walks the length-framed messages of one side, finding its feet again at segment starts where a stream is met in its middle.

use arrayvec::ArrayVec;
use smallvec::SmallVec;

use super::Carrier;
use super::MOST_OF_END;
use super::MOST_STRANGERS;
use super::Probe;
use super::Proof;
use super::Seen;
use super::Side;

/// The most messages of one payload that are looked at.
const MOST_IN_PAYLOAD: usize = 8;

/// What lies at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<T> {
    /// A whole message and its length in bytes.
    Whole(T, usize),
    /// The beginning of a message that shows by its head what it is; the rest is yet to come, or was cut off.
    Head(T),
    /// The beginning of a message; the rest is yet to come.
    Short,
    /// Something else.
    Wrong,
}

/// One message of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The message as its parser sees it.
    pub message: T,
    /// Whether it ends where a segment or datagram ends: a length field that fits by chance does not. A head alone is taken for such.
    pub flush: bool,
    /// Where it ends in the bytes of its side.
    pub end: usize,
}

/// The messages of one side, in order.
#[derive(Clone, Debug)]
pub struct Walk<T> {
    /// The first messages. A side that is read as it grows has one or two, and nothing is allocated.
    pub found: SmallVec<[Found<T>; 2]>,
    /// Whether nothing that this side may still send adds to them.
    pub over: bool,
    /// Where the last message ends.
    pub end: usize,
    /// Datagrams that are no message.
    pub strangers: usize,
}

impl<T> Walk<T> {
    /// Proof takes one to three messages.
    fn is_full(&self) -> bool {
        self.found.len() >= MOST_OF_END
    }

    /// The messages alone.
    pub fn messages(&self) -> impl Iterator<Item = &T> {
        self.found.iter().map(|found| &found.message)
    }
}

/// Cuts both sides into messages; where `proves` says that they are proof, or the flow is known, `tell` says what they state. Whether the
/// proof stays open, and what is said where there is none, follows from which sides are over.
pub fn probe<'a, T>(
    seen: &Seen<'a>,
    cut: impl Fn(&'a [u8]) -> Cut<T>,
    proves: impl FnOnce(&[Walk<T>; 2]) -> bool,
    tell: impl FnOnce(&[Walk<T>; 2]) -> Proof,
) -> Probe {
    let walks = [walk(seen.carrier, &seen.first, &cut), walk(seen.carrier, &seen.second, &cut)];
    let proof = (seen.is_known() || proves(&walks)).then(|| tell(&walks));
    let [first, second] = &walks;
    let read = [(first, &seen.first), (second, &seen.second)].map(|(walk, side)| match seen.carrier {
        Carrier::Tcp => side.read + walk.end,
        Carrier::Udp if walk.end > 0 || side.read > 0 => side.heard(),
        // What two stations say in frames of one type may be of several protocols, in any order.
        Carrier::Udp | Carrier::Ethernet(_) => 0,
    });
    conclude(proof.map(|proof| Proof { read, ..proof }), walks.map(|walk| walk.over))
}

/// The answer, given what is proved and whether first and second side are over.
pub fn conclude(proof: Option<Proof>, over: [bool; 2]) -> Probe {
    match proof {
        Some(proof) => Probe::Proven(Proof { open: over != [true; 2], ..proof }),
        None => Probe::unless_over(over),
    }
}

/// Shows each message of a payload that holds whole messages and nothing else; of any other none, which may begin in the middle of one.
pub fn each_whole<'a, T>(payload: &'a [u8], cut: impl Fn(&'a [u8]) -> Cut<T>, mut show: impl FnMut(T)) {
    let Cut::Whole(first, length) = cut(payload) else { return };
    if length == payload.len() {
        return show(first);
    }
    let mut found = ArrayVec::<T, MOST_IN_PAYLOAD>::new();
    found.push(first);
    let mut rest = payload.get(length.max(1)..).unwrap_or_default();
    while !rest.is_empty() {
        let Cut::Whole(message, length) = cut(rest) else { return };
        if found.try_push(message).is_err() {
            break;
        }
        rest = rest.get(length.max(1)..).unwrap_or_default();
    }
    found.into_iter().for_each(&mut show);
}

/// The message that these bytes are, where they are one and no more.
pub fn alone<'a, T>(payload: &'a [u8], cut: impl FnOnce(&'a [u8]) -> Cut<T>) -> Option<T> {
    match cut(payload) {
        Cut::Whole(message, length) if length == payload.len() => Some(message),
        _ => None,
    }
}

/// Cuts a side into messages.
///
/// Datagrams are one message each, and a side that begins with a few others is over. A stream is cut from its start, or from where it was
/// read; where its start was not captured, from the first segment start at which a message fits.
pub fn walk<'a, T>(carrier: Carrier, side: &Side<'a>, cut: impl Fn(&'a [u8]) -> Cut<T>) -> Walk<T> {
    let mut walk = Walk { found: SmallVec::new(), over: side.complete, end: 0, strangers: 0 };
    match carrier {
        Carrier::Tcp => walk_stream(side, cut, &mut walk),
        Carrier::Udp | Carrier::Ethernet(_) => walk_datagrams(side, cut, &mut walk),
    }
    walk.over |= walk.is_full() || (side.read > 0 && side.heard() >= MOST_OF_END);
    walk
}

fn walk_datagrams<'a, T>(side: &Side<'a>, cut: impl Fn(&'a [u8]) -> Cut<T>, walk: &mut Walk<T>) {
    let unread = side.datagrams().filter(|(datagram, _)| !datagram.is_empty());
    for (datagram, sent) in unread.take(MOST_OF_END) {
        match cut(datagram) {
            Cut::Whole(message, length) if length == datagram.len() => {
                walk.end += length;
                walk.found.push(Found { message, flush: true, end: walk.end });
            }
            // A snap length cut the rest.
            Cut::Head(message) if sent > datagram.len() => {
                walk.end += datagram.len();
                walk.found.push(Found { message, flush: true, end: walk.end });
            }
            Cut::Whole(..) | Cut::Head(_) | Cut::Short | Cut::Wrong => walk.strangers += 1,
        }
        if walk.found.is_empty() && walk.strangers >= MOST_STRANGERS && side.read == 0 {
            walk.over = true;
            return;
        }
    }
}

fn walk_stream<'a, T>(side: &Side<'a>, cut: impl Fn(&'a [u8]) -> Cut<T>, walk: &mut Walk<T>) {
    if side.read > 0 {
        walk.over |= run(side, 0, &cut, walk) == Stop::Wrong;
        return;
    }
    let mut waiting = false;
    for start in side.starts() {
        let stop = run(side, start, &cut, walk);
        // A wrong guess of the start may claim a length that never comes: the next start is worth its try.
        if side.from_start || !walk.found.is_empty() {
            // What follows the last message is something else: nothing more is learnt of this side, unless an earlier start comes true.
            walk.over |= stop == Stop::Wrong && !waiting;
            return;
        }
        match stop {
            Stop::End => return,
            Stop::Short => waiting = true,
            Stop::Wrong => {}
        }
    }
    walk.over |= !waiting && !side.may_start_later();
}

/// Why a run of messages ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The bytes did, between two messages, or enough were found.
    End,
    /// Within a message.
    Short,
    /// What follows is none.
    Wrong,
}

/// Takes the messages that follow each other from `at` on.
fn run<'a, T>(side: &Side<'a>, mut at: usize, cut: impl Fn(&'a [u8]) -> Cut<T>, walk: &mut Walk<T>) -> Stop {
    while !walk.is_full() {
        let Some(rest) = side.bytes.get(at..).filter(|rest| !rest.is_empty()) else { return Stop::End };
        match cut(rest) {
            Cut::Whole(message, length) => {
                at += length.max(1);
                walk.end = at;
                walk.found.push(Found { message, flush: ends_at(side, at), end: at });
            }
            // The capture cut the segment, or the prefix is used up: its head has to do.
            Cut::Head(message) if side.complete => {
                walk.found.push(Found { message, flush: true, end: at });
                return Stop::End;
            }
            Cut::Head(_) | Cut::Short => return Stop::Short,
            Cut::Wrong => return Stop::Wrong,
        }
    }
    Stop::End
}

fn ends_at(side: &Side<'_>, at: usize) -> bool {
    u16::try_from(at).is_ok_and(|at| side.ends.binary_search(&at).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::End;

    fn cut(bytes: &[u8]) -> Cut<u8> {
        match bytes {
            [0xaa, length, rest @ ..] => match rest.get(..usize::from(*length)) {
                Some(_) => Cut::Whole(*length, 2 + usize::from(*length)),
                None => Cut::Short,
            },
            [0xaa] => Cut::Short,
            _ => Cut::Wrong,
        }
    }

    #[test]
    fn a_stream_from_its_start_has_its_messages_in_a_row() {
        let side = Side::of(&[0xaa, 1, 9, 0xaa, 0, 0xaa, 5], &[3, 7]);
        let walk = walk(Carrier::Tcp, &side, cut);
        assert_eq!(walk.messages().copied().collect::<Vec<_>>(), [1, 0]);
        assert!(walk.found[0].flush && !walk.found[1].flush && !walk.over);
    }

    #[test]
    fn a_stream_met_in_its_middle_is_cut_from_a_segment_start() {
        let side = Side { from_start: false, ..Side::of(&[7, 7, 0xaa, 1, 9], &[2, 5]) };
        let walk = walk(Carrier::Tcp, &side, cut);
        assert_eq!(walk.messages().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn wrong_first_bytes_end_a_side_and_no_more_than_that() {
        let over = |carrier, bytes: &[u8], ends: &[u16]| walk(carrier, &Side::of(bytes, ends), cut).over;
        assert!(over(Carrier::Tcp, &[7], &[1]));
        assert!(!over(Carrier::Tcp, &[0xaa, 5], &[2]));
        assert!(!over(Carrier::Udp, &[0xaa, 5], &[2]));
        assert!(over(Carrier::Udp, &[0xaa, 5, 7, 7], &[2, 3, 4]));
        let two = |walks: &[Walk<u8>; 2]| walks.iter().all(|walk| !walk.found.is_empty());
        let wrong = Side::of(&[7], &[1]);
        let both = |first, second| {
            probe(&Seen { carrier: Carrier::Tcp, first, second, known: None }, cut, two, |_| Proof::default())
        };
        assert_eq!(both(wrong, Side::default()), Probe::NeedFrom(End::Second));
        assert_eq!(both(wrong, wrong), Probe::No);
    }
}
