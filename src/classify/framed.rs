//! Walks the length-framed messages of one side, finding its feet again at segment starts where a stream is met in its middle.

use arrayvec::ArrayVec;

use super::Carrier;
use super::Probe;
use super::Proof;
use super::Seen;
use super::Side;

/// The most messages of a side that are looked at: proof takes one to three.
pub const MOST_MESSAGES: usize = 24;
/// The segment starts tried before a stream met in its middle is given up.
const MOST_STARTS: usize = 12;

/// What lies at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<T> {
    /// A whole message and its length in bytes.
    Whole(T, usize),
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
    /// Whether it ends where a segment or datagram ends: a length field that fits by chance does not.
    pub flush: bool,
}

/// What may still become of a side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prospect {
    /// Whether the side cannot be of this protocol whatever follows.
    pub out: bool,
    /// Whether nothing will come of it that is not here already.
    pub spent: bool,
}

/// The messages of one side, in order.
#[derive(Clone, Debug)]
pub struct Walk<T> {
    /// The first messages.
    pub found: ArrayVec<Found<T>, MOST_MESSAGES>,
    /// What may still come.
    pub prospect: Prospect,
}

impl<T> Walk<T> {
    fn new() -> Self {
        Self { found: ArrayVec::new(), prospect: Prospect::default() }
    }

    /// The messages alone.
    pub fn messages(&self) -> impl Iterator<Item = &T> {
        self.found.iter().map(|found| &found.message)
    }
}

/// Cuts a side into messages.
///
/// Datagrams are messages each; a first datagram that is wrong or short rules the side out. A stream is cut from its start;
/// where its start was not captured, from the first segment start at which a message fits.
pub fn walk<'a, T>(carrier: Carrier, side: &Side<'a>, cut: impl Fn(&'a [u8]) -> Cut<T>) -> Walk<T> {
    match carrier {
        Carrier::Tcp => walk_stream(side, cut),
        Carrier::Udp | Carrier::Ethernet(_) => walk_datagrams(side, cut),
    }
}

fn walk_datagrams<'a, T>(side: &Side<'a>, cut: impl Fn(&'a [u8]) -> Cut<T>) -> Walk<T> {
    let mut walk = Walk::new();
    for (nth, datagram) in side.messages().filter(|datagram| !datagram.is_empty()).enumerate() {
        match cut(datagram) {
            Cut::Whole(message, length) if walk.found.len() < MOST_MESSAGES => {
                walk.found.push(Found { message, flush: length == datagram.len() });
            }
            Cut::Whole(..) => {}
            Cut::Short | Cut::Wrong => walk.prospect.out |= nth == 0,
        }
    }
    walk.prospect.spent = side.complete || walk.found.is_full();
    walk
}

fn walk_stream<'a, T>(side: &Side<'a>, cut: impl Fn(&'a [u8]) -> Cut<T>) -> Walk<T> {
    let mut walk = Walk::new();
    walk.prospect.spent = side.complete;
    if side.is_silent() {
        return walk;
    }
    let later = side.ends.iter().map(|&end| usize::from(end)).filter(|&end| end < side.bytes.len());
    let starts = std::iter::once(0).chain(later.take(if side.from_start { 0 } else { MOST_STARTS }));
    let mut tried = 0;
    for start in starts {
        tried += 1;
        let mut at = start;
        while !walk.found.is_full() {
            let Some(rest) = side.bytes.get(at..).filter(|rest| !rest.is_empty()) else { return walk };
            match cut(rest) {
                Cut::Whole(message, length) => {
                    at += length.max(1);
                    walk.found.push(Found { message, flush: ends_at(side, at) });
                }
                // A wrong guess of the start may claim a length that never comes: the next start is worth its try.
                Cut::Short if side.from_start || !walk.found.is_empty() => return walk,
                Cut::Short | Cut::Wrong => break,
            }
        }
        if !walk.found.is_empty() {
            // What follows the last message is something else: nothing more is learnt of this side.
            walk.prospect.spent = true;
            return walk;
        }
    }
    walk.prospect.out = match side.from_start {
        true => true,
        false => tried > MOST_STARTS,
    };
    walk
}

fn ends_at(side: &Side<'_>, at: usize) -> bool {
    u16::try_from(at).is_ok_and(|at| side.ends.binary_search(&at).is_ok())
}

/// The answer that follows from the prospects of first and second side once it is known whether they prove something.
pub fn settle(seen: &Seen<'_>, prospects: [Prospect; 2], proof: Option<Proof>) -> Probe {
    if let Some(proof) = proof {
        return Probe::Proven(proof);
    }
    let silent = seen.first.is_silent() && seen.second.is_silent();
    if prospects.iter().any(|side| side.out) || (!silent && prospects.iter().all(|side| side.spent)) {
        return Probe::No;
    }
    Probe::NeedMore
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(walk.found[0].flush && !walk.found[1].flush && !walk.prospect.out);
    }

    #[test]
    fn a_stream_met_in_its_middle_is_cut_from_a_segment_start() {
        let side = Side { from_start: false, ..Side::of(&[7, 7, 0xaa, 1, 9], &[2, 5]) };
        let walk = walk(Carrier::Tcp, &side, cut);
        assert_eq!(walk.messages().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn wrong_first_bytes_rule_a_side_out() {
        assert!(walk(Carrier::Tcp, &Side::of(&[7], &[1]), cut).prospect.out);
        assert!(walk(Carrier::Udp, &Side::of(&[0xaa, 5], &[2]), cut).prospect.out);
        assert!(!walk(Carrier::Tcp, &Side::of(&[0xaa, 5], &[2]), cut).prospect.out);
    }
}
