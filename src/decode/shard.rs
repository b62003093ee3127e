//! Which worker a frame belongs to: a hash of the unordered pair of its innermost hosts, the same in every run.

use crate::model::Host;
use crate::model::pair;

use super::Body;
use super::Frame;

/// A hash of the unordered pair of innermost hosts, without a seed.
///
/// Both directions, all fragments and all ARP of one MAC pair hash alike; an ICMP error hashes as the pair that it
/// quotes. A frame without hosts hashes to 0.
pub fn shard_of(frame: &Frame<'_>) -> u64 {
    let quoted = match &frame.body {
        Body::Icmp(icmp) => icmp.quote.map(|quote| (Host::Ip(quote.source), Host::Ip(quote.destination))),
        _ => None,
    };
    let Some((one, other)) = quoted.or_else(|| frame.hosts()) else { return 0 };
    shard_of_pair(one, other)
}

/// The same hash for a pair of hosts, whatever names them.
pub fn shard_of_pair(one: Host, other: Host) -> u64 {
    u64::from(pair::of_pair(pair::folded(one), pair::folded(other)))
}

/// The same for two IPv4 addresses, the most usual hosts.
#[inline(always)]
pub(super) fn of_pair_v4(one: u32, other: u32) -> u64 {
    u64::from(pair::of_pair(one, other))
}
