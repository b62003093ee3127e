//! Judging each end by itself and joining the two judgements: what most protocols do alike.

use smallvec::SmallVec;

use super::MOST_STRANGERS;
use super::Probe;
use super::Seen;
use super::Side;

/// What was learnt of each message of an end: of one that goes on, one message at a time.
pub type Messages<T> = SmallVec<[T; 1]>;

/// What one end's prefix says to a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// This end does not speak it.
    No,
    /// More bytes of this end are needed.
    More,
    /// This end speaks it; what was learnt.
    Yes(T),
}

impl<T> Look<T> {
    /// Whether this end does not speak it.
    pub fn is_no(&self) -> bool {
        matches!(self, Self::No)
    }

    /// What was learnt, if anything.
    pub fn yes(self) -> Option<T> {
        match self {
            Self::Yes(learnt) => Some(learnt),
            Self::No | Self::More => None,
        }
    }
}

/// Judges a stream at each place where a message may begin; the first `Yes` counts.
pub fn stream<'a, T>(side: &Side<'a>, judge: impl Fn(&'a [u8]) -> Look<T>) -> Look<T> {
    let mut more = side.may_start_later();
    for start in side.starts().filter_map(|at| side.bytes.get(at..)) {
        match judge(start) {
            Look::Yes(learnt) => return Look::Yes(learnt),
            Look::More => more = true,
            Look::No => {}
        }
    }
    if more && !side.complete { Look::More } else { Look::No }
}

/// Judges datagrams one by one; those that are of the protocol are handed on with what was learnt of each.
pub fn datagrams<'a, T>(side: &Side<'a>, judge: impl Fn(&'a [u8]) -> Option<T>) -> Look<Messages<T>> {
    datagrams_and_lengths(side, |bytes, _| judge(bytes))
}

/// The same, where the length that each datagram had when it was sent tells something of one that the capture cut.
pub fn datagrams_and_lengths<'a, T>(
    side: &Side<'a>,
    judge: impl Fn(&'a [u8], usize) -> Option<T>,
) -> Look<Messages<T>> {
    let mut learnt = Messages::new();
    let mut strangers = 0_usize;
    // An empty datagram tells nothing.
    for (message, length) in side.datagrams().filter(|(message, _)| !message.is_empty()) {
        match judge(message, length) {
            Some(news) => learnt.push(news),
            None => strangers += 1,
        }
        if learnt.is_empty() && strangers >= MOST_STRANGERS && side.read == 0 {
            return Look::No;
        }
    }
    match (learnt.is_empty() && side.read == 0, side.complete) {
        (false, _) => Look::Yes(learnt),
        (true, true) => Look::No,
        (true, false) => Look::More,
    }
}

/// How far ends whose datagrams were judged are told ([`super::Proof::read`]).
pub fn read<T>(seen: &Seen<'_>, both: &[Option<T>; 2]) -> [usize; 2] {
    let [first, second] = both;
    let read = |side: &Side<'_>, told| if told { side.heard() } else { 0 };
    [read(&seen.first, first.is_some()), read(&seen.second, second.is_some())]
}

/// Joins the judgements of both ends: what each taught, or the answer where neither proves anything.
pub fn both<'a, T>(seen: &Seen<'a>, look: impl Fn(&Side<'a>) -> Look<T>) -> Result<[Option<T>; 2], Probe> {
    join(look(&seen.first), look(&seen.second))
}

/// The same for judgements already made.
pub fn join<T>(first: Look<T>, second: Look<T>) -> Result<[Option<T>; 2], Probe> {
    match (first, second) {
        (first @ (Look::No | Look::More), second @ (Look::No | Look::More)) => {
            Err(Probe::unless_over([first.is_no(), second.is_no()]))
        }
        (first, second) => Ok([first.yes(), second.yes()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_a(bytes: &[u8]) -> Look<()> {
        match bytes {
            [b'a', ..] => Look::Yes(()),
            _ => Look::No,
        }
    }

    #[test]
    fn a_stream_heard_from_its_start_is_judged_there_alone() {
        let side = Side::of(b"bba", &[2, 3]);
        assert_eq!(stream(&side, is_a), Look::No);
        assert_eq!(stream(&Side { from_start: false, ..side }, is_a), Look::Yes(()));
    }

    #[test]
    fn silence_waits_until_the_flow_has_ended() {
        let silent = Side::default();
        assert_eq!(stream(&silent, is_a), Look::More);
        assert_eq!(stream(&Side { complete: true, ..silent }, is_a), Look::No);
        assert_eq!(datagrams(&silent, |_| Some(())), Look::More);
    }

    #[test]
    fn strangers_among_datagrams_are_forgiven_few() {
        let a = |bytes: &[u8]| (bytes == b"a").then_some(());
        assert_eq!(datagrams(&Side::of(b"bb", &[1, 2]), a), Look::More);
        assert_eq!(datagrams(&Side::of(b"bbbaa", &[1, 2, 3, 4, 5]), a), Look::No);
        assert_eq!(datagrams(&Side::of(b"bbaa", &[1, 2, 3, 4]), a).yes().map(|all| all.len()), Some(2));
    }
}
