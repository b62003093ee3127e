//! One input of a run: a file, a stream or an interface, and what became of reading it.

use super::{PacketRef, Timestamp};

/// One input as the report tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Its name as given (`-` for standard input).
    pub name: String,
    /// `pcap`, `pcapng`, `live`, with the compression in front: `gzip pcap`.
    pub format: String,
    /// Packets read.
    pub packets: u64,
    /// Captured bytes.
    pub bytes: u64,
    /// Packets, counted in `packets`, that a filter left out: they are handed to nobody.
    pub filtered: u64,
    /// The earliest packet's time, which is the first packet's unless time ran backwards.
    pub first: Option<Timestamp>,
    /// The latest packet's time.
    pub last: Option<Timestamp>,
    /// Packets cut by a snap length.
    pub cut_packets: u64,
    /// Packets that the capturing machine says it lost (pcapng statistics, libpcap statistics).
    pub dropped: Option<u64>,
    /// Of several interfaces the one that lost the largest share, where any lost something: a test access point has one for each direction.
    pub lossiest: Option<LossyInterface>,
    /// Packets stamped earlier than the one before them in the same input.
    pub time_reversals: u64,
    /// Where reading stopped early and why, in words that name the packet.
    pub stopped: Option<Stop>,
    /// The vantage that it belongs to, where several were named.
    pub vantage: Option<String>,
    /// SHA-256 of the input, where asked for.
    pub sha256: Option<String>,
}

/// An interface that lost packets, by its own statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossyInterface {
    /// Its number within the file, as Wireshark counts: from 0.
    pub number: u32,
    /// Packets that it lost.
    pub lost: u64,
    /// Packets that it delivered.
    pub seen: u64,
}

impl LossyInterface {
    /// The one of two that lost the larger share; of equal ones the first.
    pub fn worse(self, other: Self) -> Self {
        // Products of shares: no rounding.
        let (here, there) = (u128::from(self.lost), u128::from(other.lost));
        let (all_here, all_there) = (here + u128::from(self.seen), there + u128::from(other.seen));
        if there * all_here > here * all_there { other } else { self }
    }
}

/// Why an input could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The last packet that was read, where there was one.
    pub after: Option<PacketRef>,
    /// In plain words.
    pub why: String,
}
