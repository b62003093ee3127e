//! What a protocol is shown of a flow: the beginning of what each end sent, or what follows what it told before.

use std::cell::Cell;
use std::fmt;

use super::Carrier;
use crate::model::Facts;

/// Beginnings tried in a stream whose own beginning was missed: bounds the work on one-byte segments.
const MOST_STARTS: usize = 16;

/// The bounded prefix of what one end sent.
///
/// For TCP it is the contiguous stream from the first byte seen; for UDP and Ethernet the first datagrams one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Side<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Where each segment or datagram ends in `bytes`, ascending; the last one ends where `bytes` does.
    pub ends: &'a [u16],
    /// Whether `bytes` begins with the first byte that this end ever sent on the flow. Always so for UDP and Ethernet.
    pub from_start: bool,
    /// Whether the prefix is all there will be: its bound is reached, or the flow has ended.
    pub complete: bool,
    /// Of each datagram, how many bytes were sent beyond those that are here, as the headers below it tell: a snap length cuts it. A
    /// datagram without an entry lacks none; streams have no entries.
    pub lacks: &'a [u16],
    /// How far the protocol that is asked has told this end's messages in an earlier proof ([`Proof::read`](super::Proof::read)): that much is no longer in
    /// `bytes`, and it goes on with what follows.
    pub read: usize,
    /// How many segments or datagrams came before those that end in `ends`.
    pub before: usize,
}

impl<'a> Side<'a> {
    /// A side that sent exactly these bytes as one message from its start: what tests and single datagrams need.
    pub fn of(bytes: &'a [u8], ends: &'a [u16]) -> Self {
        Self { bytes, ends, from_start: true, complete: false, lacks: &[], read: 0, before: 0 }
    }

    /// Where in the stream a message may begin: at its first byte, and at each segment as well where its own beginning was missed.
    pub fn starts(&self) -> impl Iterator<Item = usize> + use<'a> {
        let (length, ends) = (self.bytes.len(), if self.from_start { &[] } else { self.ends });
        let starts = std::iter::once(0).chain(ends.iter().map(|&end| usize::from(end)));
        starts.take(MOST_STARTS).filter(move |&start| start < length)
    }

    /// Whether a message may begin at a segment that is yet to come.
    pub fn may_start_later(&self) -> bool {
        !self.complete && (self.is_silent() || (!self.from_start && self.ends.len() < MOST_STARTS))
    }

    /// Whether nothing was heard from this end.
    pub fn is_silent(&self) -> bool {
        self.bytes.is_empty() && self.read == 0
    }

    /// The datagrams of the prefix, each with the length that it had when it was sent.
    pub fn datagrams(&self) -> impl Iterator<Item = (&'a [u8], usize)> {
        let lacks = self.lacks.iter().copied().chain(std::iter::repeat(0));
        self.messages().zip(lacks).map(|(bytes, lacks)| (bytes, bytes.len() + usize::from(lacks)))
    }

    /// The segments or datagrams heard so far, those included that are no longer here.
    pub fn heard(&self) -> usize {
        self.before + self.ends.len()
    }

    /// The datagrams (UDP, Ethernet) or segments (TCP) of the prefix.
    pub fn messages(&self) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.bytes;
        let starts = std::iter::once(0).chain(self.ends.iter().map(|&end| usize::from(end)));
        starts
            .zip(self.ends.iter().map(|&end| usize::from(end)))
            .filter_map(move |(from, to)| bytes.get(from..to))
    }
}

/// One of the two sides of [`Seen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The side in `Seen::first`.
    First,
    /// The side in `Seen::second`.
    Second,
}

impl End {
    /// The end that asks, by whether the first and the second end are known to ask or to answer: the first one's word counts before the
    /// second one's.
    pub fn asking(first: Option<bool>, second: Option<bool>) -> Option<Self> {
        let first_asks = first.or(second.map(|asks| !asks))?;
        Some(if first_asks { Self::First } else { Self::Second })
    }

    /// The other side.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What there is to judge by: the prefixes of both ends.
///
/// `first` is the end that opened the flow where that is known, else the end heard first; a protocol must not
/// rely on it to tell client from server, but tells it in [`Proof::client`](super::Proof::client) where its messages do.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What carries it.
    pub carrier: Carrier,
    /// The end that opened, or was heard first.
    pub first: Side<'a>,
    /// The other end.
    pub second: Side<'a>,
    /// The facts that were told before, where the flow is known and what is new is to be added to them.
    pub known: Option<&'a Known>,
}

/// The facts of a flow that is known, lent to its protocol while that is asked for more: nothing that was told before is told anew.
pub struct Known(Cell<Option<Facts>>);

impl Known {
    /// Lends these facts.
    pub fn new(facts: Facts) -> Self {
        Self(Cell::new(Some(facts)))
    }

    /// The facts, where they were not taken into a proof.
    pub fn into_inner(self) -> Option<Facts> {
        self.0.into_inner()
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

impl<'a> Seen<'a> {
    /// One side.
    pub fn side(&self, end: End) -> &Side<'a> {
        match end {
            End::First => &self.first,
            End::Second => &self.second,
        }
    }

    /// Whether the protocol that is asked has proved the flow before and says only what is new: [`Proof::read`](super::Proof::read).
    pub fn is_known(&self) -> bool {
        self.first.read > 0 || self.second.read > 0
    }

    /// The facts to which a proof adds its own: those told before, where the flow is known. Whoever takes them gives them back in a proof.
    pub fn facts(&self) -> Facts {
        self.known.and_then(|known| known.0.take()).unwrap_or_default()
    }

    /// Whether the protocol that is asked has told all that there is: it has nothing to add.
    pub fn is_told(&self) -> bool {
        self.is_known() && self.first.bytes.is_empty() && self.second.bytes.is_empty()
    }

    /// Both sides, the first first.
    pub fn sides(&self) -> [(End, &Side<'a>); 2] {
        [(End::First, &self.first), (End::Second, &self.second)]
    }
}
