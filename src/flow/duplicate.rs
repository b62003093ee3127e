//! Copies of one packet that a mirror delivers more than once.
//!
//! A mirror of several ports or VLANs shows a forwarded packet once where it comes in and once where it leaves: within about 5 ms,
//! with the same IP identification, length, sequence and transport checksum, and, below TTL, IP checksum, VLAN tags and MAC
//! addresses, with equal bytes. The earliest is kept.
//!
//! What looks alike and is none: a stack that sends no identification (IPv4 with DF, all of IPv6) can send two equal
//! acknowledgements within that time (duplicate acknowledgements, RFC 5681), and cyclic real-time protocols send equal frames.
//! These count as copies only where something shows that the packet went another way: TTL, MAC address, VLAN or tunnel differ, or the very
//! same time stamp. Two inputs are two vantages: there a second appearance is no copy to be dropped, but it is
//! no retransmission either.

use std::hash::BuildHasher;
use std::hash::Hasher;
use std::time::Duration;

use foldhash::fast::FixedState;
use foldhash::fast::RandomState;

use crate::decode::Body;
use crate::decode::Context;
use crate::decode::EthernetAddresses;
use crate::decode::Frame;
use crate::decode::Network;
use crate::decode::Plain;
use crate::decode::Tunnel;
use crate::model::EtherKind;
use crate::model::InputId;
use crate::model::PacketRef;
use crate::model::Timestamp;

use super::key::Half;

/// How far two copies of a packet lie apart at most.
const APART: Duration = Duration::from_millis(5);
/// Packets remembered: sets times ways. At a million packets a second over 64 shards, 5 ms are 80 packets.
const SETS: usize = 128;
const WAYS: usize = 4;
/// Real-time protocols whose cycle may repeat a frame byte by byte within [`APART`]: PROFINET RT, EtherCAT, POWERLINK,
/// SERCOS III (IEEE 802 ethertype list).
const CYCLIC: [EtherKind; 4] =
    [EtherKind::Type(0x8892), EtherKind::Type(0x88a4), EtherKind::Type(0x88ab), EtherKind::Type(0x88cd)];

/// How two copies of a packet differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// In nothing.
    Same,
    /// In their VLAN tags.
    OtherVlan,
    /// In their time to live: one was taken before a router and one behind it.
    Routed,
    /// In MAC addresses or tunnels.
    OtherWay,
}

/// What a packet is with respect to those shortly before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appearance {
    /// Nothing like it was there.
    New,
    /// The same packet again from the same mirror, and by what way.
    Duplicate(Copied),
    /// The same packet in another input.
    OtherVantage,
}

/// Packets remembered whose rough mix falls together: a cache line that is always read, and half of one for what a copy is told by.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Set {
    digests: [u64; WAYS],
    times: [Timestamp; WAYS],
    looks: [u32; WAYS],
    inputs: [InputId; WAYS],
}

/// Nothing remembered: so long ago that no packet is near.
const NOTHING: Set = Set {
    digests: [0; WAYS],
    times: [Timestamp::MIN; WAYS],
    looks: [0; WAYS],
    inputs: [InputId(u32::MAX); WAYS],
};

/// What of a packet tells copies: its innermost frame.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its IP header.
    pub network: Option<Network>,
    /// What it carries.
    pub body: Body<'a>,
    /// Its MAC addresses.
    pub ethernet: Option<EthernetAddresses>,
    /// VLAN ids of all tags.
    pub vlans: &'a [u16],
    /// Encapsulations.
    pub tunnels: &'a [Tunnel],
}

impl<'a> Seen<'a> {
    /// Of a frame.
    #[inline(always)]
    pub fn frame(frame: &'a Frame<'a>) -> Self {
        let Context { ethernet, vlans, tunnels } = &frame.context;
        Self { network: frame.network, body: frame.body, ethernet: *ethernet, vlans, tunnels }
    }

    /// Of a usual packet.
    #[inline(always)]
    pub fn plain(plain: &'a Plain<'a>) -> Self {
        Self {
            network: Some(plain.network()),
            body: plain.body(),
            ethernet: Some(plain.ethernet()),
            vlans: plain.vlans(),
            tunnels: &[],
        }
    }
}

/// The packets of the last milliseconds. Fixed size, no allocation per packet.
pub struct Recent {
    /// A key of this run alone, so that nobody can make packets that are taken for copies of others.
    hash: RandomState,
    sets: Box<[Set]>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { hash: RandomState::default(), sets: vec![NOTHING; SETS].into_boxed_slice() }
    }
}

/// What copies of a packet share, and what they may differ in.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// Of all that every copy shares.
    digest: u64,
    look: u32,
    /// The set in which it is remembered.
    place: u16,
    /// Whether a sender may send this very packet twice within a few milliseconds.
    repeats: bool,
}

impl Recent {
    /// What tells copies of this packet. `key` is the hash of its flow's key.
    #[inline(always)]
    pub fn trace(&self, key: u64, from: Half, seen: &Seen<'_>) -> Trace {
        Trace {
            digest: self.digest(key, from, seen),
            look: look(seen),
            place: place(seen),
            repeats: may_repeat(seen),
        }
    }

    /// Tells what this packet is, and remembers it.
    #[inline(always)]
    pub fn meet(&mut self, trace: &Trace, at: PacketRef) -> Appearance {
        let Some(set) = self.sets.get_mut(usize::from(trace.place)) else { return Appearance::New };
        if set.digests.contains(&trace.digest)
            && let Some(appearance) = set.compare(trace, at)
        {
            return appearance;
        }
        let (oldest, _) = set.times.iter().enumerate().fold((0, Timestamp::MAX), |least, (way, &time)| {
            if time < least.1 { (way, time) } else { least }
        });
        set.put(oldest, trace, at);
        Appearance::New
    }

    /// Has in the processor's cache what a packet will be compared with, and what it will be written to.
    #[inline(always)]
    pub fn touch(&self, trace: &Trace) -> u64 {
        let set = self.sets.get(usize::from(trace.place));
        set.map_or(0, |set| set.digests[0] ^ set.times[3].as_nanos() as u64 ^ u64::from(set.inputs[3].0))
    }

    /// All that every copy of a packet shares.
    ///
    /// The payload of a TCP segment is not looked at: sequence number and checksum tell two apart that one sender can have sent
    /// within [`APART`]. Elsewhere checksums may be absent and identifications zero, so every byte counts.
    #[inline(always)]
    fn digest(&self, key: u64, from: Half, seen: &Seen<'_>) -> u64 {
        let mut hasher = self.hash.build_hasher();
        let network = seen
            .network
            .map_or(0, |network| u64::from(network.identification) << 32 | u64::from(network.length));
        hasher.write_u128(u128::from(key ^ from as u64) << 64 | u128::from(network));
        match seen.body {
            Body::Tcp(tcp) => {
                let place = u64::from(tcp.sequence) << 32 | u64::from(tcp.acknowledgement);
                let rest =
                    u64::from(tcp.checksum) << 32 | u64::from(tcp.window) << 16 | u64::from(tcp.flags.0);
                hasher.write_u128(u128::from(place) << 64 | u128::from(rest));
            }
            Body::Udp(udp) => {
                hasher.write_u64(u64::from(udp.checksum) << 32 | u64::from(udp.payload_length));
                hasher.write(udp.payload);
            }
            other => write_all(&mut hasher, other),
        }
        hasher.finish()
    }
}

/// Every byte that copies share of what is neither TCP nor UDP.
#[inline(never)]
fn write_all(hasher: &mut impl Hasher, body: Body<'_>) {
    match body {
        Body::Tcp(_) | Body::Udp(_) => {}
        Body::Icmp(icmp) => {
            hasher.write_u16(u16::from_be_bytes([icmp.kind, icmp.code]));
            hasher.write(icmp.body);
        }
        Body::Sctp { payload, .. } | Body::Ip { payload, .. } | Body::Ethernet { payload, .. } => {
            hasher.write(payload)
        }
        Body::Arp(arp) => hasher.write(arp.bytes),
        Body::Fragment(fragment) => {
            hasher.write_u64(u64::from(fragment.identification) << 32 | u64::from(fragment.offset));
            hasher.write(fragment.payload);
        }
    }
}

impl Set {
    /// What a packet is whose digest stands here; `None` where all that is alike is too long ago.
    #[cold]
    fn compare(&mut self, trace: &Trace, at: PacketRef) -> Option<Appearance> {
        let &Trace { digest, look, repeats, .. } = trace;
        let near = |other: Timestamp| at.time.since(other) <= APART && other.since(at.time) <= APART;
        let known = self.digests.iter().zip(&mut self.times).zip(&self.looks).zip(&self.inputs);
        for (((known, time), before), input) in known {
            if *known != digest || !near(*time) {
                continue;
            }
            if *input != at.input() {
                return Some(Appearance::OtherVantage);
            }
            if *before != look || *time == at.time || !repeats {
                return Some(Appearance::Duplicate(copied(*before, look)));
            }
            *time = at.time;
            return Some(Appearance::New);
        }
        None
    }

    #[inline(always)]
    fn put(&mut self, way: usize, trace: &Trace, at: PacketRef) {
        let Self { digests, times, looks, inputs } = self;
        if let (Some(known), Some(time), Some(before), Some(input)) =
            (digests.get_mut(way), times.get_mut(way), looks.get_mut(way), inputs.get_mut(way))
        {
            (*known, *time, *before, *input) = (trace.digest, at.time, trace.look, at.input());
        }
    }
}

/// What shows that a copy went another way: time to live (the upper 8 bits), tags (12 bits), MAC addresses and tunnels (12 bits). Two that
/// differ and look alike by chance are taken for repetitions, which is what they would be without it.
#[inline(always)]
fn look(seen: &Seen<'_>) -> u32 {
    let ttl = u32::from(seen.network.map_or(0, |network| network.ttl));
    let tags = seen.vlans.iter().fold(0, |tags: u32, &vlan| tags << 5 ^ tags >> 7 ^ u32::from(vlan));
    // Words that do not wait for one another: this is done for each packet.
    let mut look = 0_u64;
    if let Some(ethernet) = seen.ethernet {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (ethernet.source.0, ethernet.destination.0);
        look ^= u64::from_be_bytes([0, 0, a, b, c, d, e, f]).wrapping_mul(GOLDEN).rotate_left(21);
        look ^= u64::from_be_bytes([0, 0, g, h, i, j, k, l]).wrapping_mul(GOLDEN).rotate_left(43);
    }
    if !seen.tunnels.is_empty() {
        look ^= FixedState::default().hash_one(seen.tunnels);
    }
    let way = (look >> 52) as u32 ^ (look >> 26) as u32 ^ look as u32;
    ttl << 24 | (tags & 0xfff) << 12 | way & 0xfff
}

/// By what way a copy came, as the looks of both tell.
fn copied(before: u32, look: u32) -> Copied {
    match before ^ look {
        0 => Copied::Same,
        other if other >> 24 > 0 => Copied::Routed,
        other if other >> 12 > 0 => Copied::OtherVlan,
        _ => Copied::OtherWay,
    }
}

/// The golden ratio in 64 bits (Knuth's multiplicative hash).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether a sender may send this very packet twice within a few milliseconds.
#[inline(always)]
fn may_repeat(seen: &Seen<'_>) -> bool {
    match seen.body {
        Body::Tcp(tcp) => {
            let identified = seen.network.is_some_and(|network| network.identification != 0);
            let bare = tcp.payload_length == 0 && !tcp.flags.syn() && !tcp.flags.fin() && !tcp.flags.rst();
            bare && !identified
        }
        Body::Ethernet { kind, .. } => CYCLIC.contains(&kind),
        _ => false,
    }
}

/// The set in which a packet is remembered. Which packets are forgotten first must not depend on this run's key.
#[inline(always)]
fn place(seen: &Seen<'_>) -> u16 {
    (rough(seen) >> 32) as u16 % SETS as u16
}

/// A cheap fixed mix of fields that copies share, to choose where a packet is remembered.
#[inline(always)]
fn rough(seen: &Seen<'_>) -> u64 {
    let network =
        seen.network.map_or(0, |network| u64::from(network.identification) ^ u64::from(network.length) << 16);
    let body = match seen.body {
        Body::Tcp(tcp) => {
            u64::from(tcp.sequence) ^ u64::from(tcp.acknowledgement) << 8 ^ u64::from(tcp.checksum) << 16
        }
        Body::Udp(udp) => {
            u64::from(udp.checksum) ^ u64::from(udp.source) << 16 ^ u64::from(udp.destination) << 24
        }
        Body::Icmp(icmp) => u64::from(icmp.kind) ^ head(icmp.body),
        Body::Sctp { payload, .. } | Body::Ip { payload, .. } | Body::Ethernet { payload, .. } => {
            head(payload)
        }
        Body::Arp(arp) => head(arp.bytes.get(8..).unwrap_or_default()),
        Body::Fragment(fragment) => u64::from(fragment.identification),
    };
    (network ^ body).wrapping_mul(GOLDEN)
}

fn head(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(bytes.len() as u64, |&head| u64::from_be_bytes(head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::model::LinkType;
    use crate::model::Packet;

    /// A datagram with that time to live, from that MAC address, in those VLANs.
    fn look_of(ttl: u8, mac: u8, vlans: &[u16]) -> u32 {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, mac];
        for vlan in vlans {
            bytes.extend([0x81, 0]);
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend([8, 0, 0x45, 0, 0, 28, 0, 1, 0, 0, ttl, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0, 7, 0, 7, 0, 8, 0, 0]);
        let original = bytes.len() as u32;
        let packet = Packet {
            at: PacketRef::default(),
            link: LinkType::ETHERNET,
            interface: 0,
            original,
            bytes: &bytes,
        };
        look(&Seen::frame(&decode(&packet).unwrap()))
    }

    #[test]
    fn copies_are_told_by_what_differs() {
        let first = look_of(64, 9, &[20]);
        for (look, expected) in [
            (look_of(64, 9, &[20]), Copied::Same),
            (look_of(64, 9, &[21]), Copied::OtherVlan),
            (look_of(64, 9, &[]), Copied::OtherVlan),
            (look_of(64, 9, &[20, 20]), Copied::OtherVlan),
            (look_of(63, 9, &[20]), Copied::Routed),
            (look_of(63, 1, &[30]), Copied::Routed),
            (look_of(64, 1, &[20]), Copied::OtherWay),
        ] {
            assert_eq!(copied(first, look), expected);
        }
    }
}
