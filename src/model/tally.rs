//! The sums that must add up: every packet read is in a flow, a duplicate, a pending fragment or undecodable.

use std::collections::BTreeMap;

use super::PacketRef;

/// Packets that could not be read for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// How many.
    pub packets: u64,
    /// The first of them.
    pub first: PacketRef,
}

/// Where every packet and every flow went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets read.
    pub packets: u64,
    /// Packets counted in a flow, reported or evicted.
    pub in_flows: u64,
    /// Mirror duplicates.
    pub duplicates: u64,
    /// Fragments of datagrams that never became whole.
    pub fragments_pending: u64,
    /// Packets that could not be read, by reason.
    pub undecodable: BTreeMap<&'static str, Undecodable>,
    /// Flows told.
    pub flows: u64,
    /// Flows that a bound pushed out before they ended. They are told with what was known then, and counted here as well.
    pub evicted: u64,
    /// Flows of one SYN each that were folded into sweeps: not told one by one, but with the sweep's packets and their number.
    pub folded: u64,
    /// Bytes copied off the packet path, by what for (prefixes, fragments).
    pub copied_bytes: u64,
}

impl Tally {
    /// Counts one packet that could not be read.
    pub fn undecodable(&mut self, reason: &'static str, at: PacketRef) {
        self.undecodable
            .entry(reason)
            .and_modify(|known| {
                known.packets += 1;
                known.first = known.first.min(at);
            })
            .or_insert(Undecodable { packets: 1, first: at });
    }

    /// Adds what another worker counted.
    pub fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.in_flows += other.in_flows;
        self.duplicates += other.duplicates;
        self.fragments_pending += other.fragments_pending;
        self.flows += other.flows;
        self.evicted += other.evicted;
        self.folded += other.folded;
        self.copied_bytes += other.copied_bytes;
        for (&reason, theirs) in &other.undecodable {
            self.undecodable
                .entry(reason)
                .and_modify(|ours| {
                    ours.packets += theirs.packets;
                    ours.first = ours.first.min(theirs.first);
                })
                .or_insert(*theirs);
        }
    }

    /// Whether every packet is accounted for.
    pub fn adds_up(&self) -> bool {
        let undecodable: u64 = self.undecodable.values().map(|u| u.packets).sum();
        self.packets == self.in_flows + self.duplicates + self.fragments_pending + undecodable
    }
}
