//! Which worker a frame belongs to: a hash of the unordered pair of its innermost hosts, the same in every run.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use foldhash::fast::FixedState;

use crate::model::Host;

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
    if let (Host::Ip(IpAddr::V4(one)), Host::Ip(IpAddr::V4(other))) = (one, other) {
        return of_pair_v4(one.to_bits(), other.to_bits());
    }
    let (one, other) = (number(one), number(other));
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u128(one.min(other));
    hasher.write_u128(one.max(other));
    hasher.finish()
}

/// The same for two IPv4 addresses, the most usual hosts: multiplied by the golden ratio (Knuth), mixed, and once more.
#[inline(always)]
pub(super) fn of_pair_v4(one: u32, other: u32) -> u64 {
    let pair = u64::from(one.min(other)) << 32 | u64::from(one.max(other));
    let mixed = (pair ^ pair >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32
}

/// An address as a number. IPv4, IPv6 and MAC addresses may coincide: that only puts two pairs on one worker.
fn number(host: Host) -> u128 {
    match host {
        Host::Ip(IpAddr::V4(ip)) => u128::from(ip.to_bits()),
        Host::Ip(IpAddr::V6(ip)) => ip.to_bits(),
        Host::Mac(mac) => {
            let [a, b, c, d, e, f] = mac.0;
            u128::from(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
        }
    }
}
