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

mod ring;

use std::hash::BuildHasher;
use std::hash::Hasher;

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
use crate::model::PacketRef;
use crate::model::Timestamp;

use super::key::Half;

use ring::Kept;
use ring::Ring;

/// How far two copies of a packet lie apart at most, in nanoseconds.
const APART: u64 = 5_000_000;
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
            network: plain.network(),
            body: plain.body(),
            ethernet: Some(plain.ethernet()),
            vlans: plain.vlans(),
            tunnels: &[],
        }
    }

    /// Whether a sender may send this very packet twice within a few milliseconds.
    pub fn may_repeat(&self) -> bool {
        match self.body {
            Body::Tcp(tcp) => {
                let identified = self.network.is_some_and(|network| network.identification != 0);
                let bare =
                    tcp.payload_length == 0 && !tcp.flags.syn() && !tcp.flags.fin() && !tcp.flags.rst();
                bare && !identified
            }
            Body::Ethernet { kind, .. } => CYCLIC.contains(&kind),
            _ => false,
        }
    }
}

/// The packets of the last milliseconds. Bounded; what is allocated is room for twice as many, now and then.
pub struct Recent {
    /// A key of this run alone, so that nobody can make packets that are taken for copies of others.
    hash: RandomState,
    ring: Ring,
}

impl Default for Recent {
    fn default() -> Self {
        Self { hash: RandomState::default(), ring: Ring::new() }
    }
}

/// What copies of a packet share, and what they may differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Of all that every copy shares.
    digest: u64,
    look: u32,
}

impl Recent {
    /// What tells copies of this packet. `key` is the hash of its flow's key.
    ///
    /// The payload of a TCP segment is not looked at: sequence number and checksum tell two apart that one sender can have sent
    /// within 5 ms. Elsewhere checksums may be absent and identifications zero, so every byte counts.
    pub fn trace(&self, key: u64, from: Half, seen: &Seen<'_>) -> Trace {
        let (network, ttl) = seen.network.map_or((0, 0), |network| {
            (u64::from(network.identification) << 32 | u64::from(network.length), network.ttl)
        });
        let mut hasher = self.begin(key, from, network);
        match seen.body {
            Body::Tcp(tcp) => {
                let place = u64::from(tcp.sequence) << 32 | u64::from(tcp.acknowledgement);
                let rest =
                    u64::from(tcp.flags.0) << 32 | u64::from(tcp.window) << 16 | u64::from(tcp.checksum);
                hasher.write_u128(u128::from(place) << 64 | u128::from(rest));
            }
            Body::Udp(udp) => {
                hasher.write_u64(u64::from(udp.checksum) << 32 | u64::from(udp.payload_length));
                hasher.write(udp.payload);
            }
            other => write_all(&mut hasher, other),
        }
        let mut way = seen.ethernet.map_or(0, |EthernetAddresses { source, destination }| {
            let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (destination.0, source.0);
            way(u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]))
        });
        if !seen.tunnels.is_empty() {
            way ^= FixedState::default().hash_one(seen.tunnels);
        }
        Trace { digest: hasher.finish(), look: look(ttl, seen.vlans, way) }
    }

    /// The same of a usual packet, which most are: what a segment is told by is read where it lies.
    #[inline(always)]
    pub fn trace_plain(&self, key: u64, from: Half, plain: &Plain<'_>) -> Trace {
        let Some([place, rest]) = plain.stream_words().filter(|_| plain.is_v4()) else {
            return self.trace(key, from, &Seen::plain(plain));
        };
        let mut hasher = self.begin(key, from, plain.network_words_v4());
        hasher.write_u128(u128::from(place) << 64 | u128::from(rest));
        let (most, rest) = plain.ethernet_words();
        Trace { digest: hasher.finish(), look: look(plain.ttl_v4(), plain.vlans(), way(most, rest)) }
    }

    /// Tells what this packet is, and remembers it. `may_repeat` as [`Seen::may_repeat`].
    #[inline(always)]
    pub fn meet(&mut self, trace: &Trace, may_repeat: impl Fn() -> bool, at: PacketRef) -> Appearance {
        let known = self.ring.find(trace.digest, |kept| compare(kept, trace, &may_repeat, at));
        match known {
            None => self.note(trace, at),
            Some(Appearance::New) => self.ring.push_again(trace.digest, at, trace.look),
            Some(Appearance::Duplicate(_) | Appearance::OtherVantage) => {}
        }
        known.unwrap_or(Appearance::New)
    }

    /// Remembers a packet that can be no copy of another: its flow shows that.
    #[inline(always)]
    pub fn note(&mut self, trace: &Trace, at: PacketRef) {
        self.ring.push(trace.digest, at, trace.look);
    }

    #[inline(always)]
    fn begin(&self, key: u64, from: Half, network: u64) -> impl Hasher {
        let mut hasher = self.hash.build_hasher();
        hasher.write_u128(u128::from(key ^ from as u64) << 64 | u128::from(network));
        hasher
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

/// What a packet is beside one that is alike; `None` where that is too long ago.
#[cold]
fn compare(known: &Kept, trace: &Trace, may_repeat: &impl Fn() -> bool, at: PacketRef) -> Option<Appearance> {
    if !near(known.at.time, at.time) {
        return None;
    }
    if known.at.input() != at.input() {
        return Some(Appearance::OtherVantage);
    }
    let is_copy = known.look != trace.look || known.at.time == at.time || !may_repeat();
    Some(if is_copy { Appearance::Duplicate(copied(known.look, trace.look)) } else { Appearance::New })
}

/// Whether two packets lie close enough for one to be a copy of the other.
#[inline(always)]
fn near(one: Timestamp, other: Timestamp) -> bool {
    one.as_nanos().abs_diff(other.as_nanos()) <= APART
}

/// What shows that a copy went another way: time to live (the upper 8 bits), tags (12 bits), MAC addresses and tunnels (12 bits). Two that
/// differ and look alike by chance are taken for repetitions, which is what they would be without it.
#[inline(always)]
fn look(ttl: u8, vlans: &[u16], way: u64) -> u32 {
    let tags = vlans.iter().fold(0, |tags: u32, &vlan| tags << 5 ^ tags >> 7 ^ u32::from(vlan));
    u32::from(ttl) << 24 | (tags & 0xfff) << 12 | (way >> 52) as u32
}

/// Both MAC addresses, as the words that they lie in, mixed: its upper bits are those that count.
#[inline(always)]
fn way(most: u64, rest: u32) -> u64 {
    (most.wrapping_mul(GOLDEN) ^ u64::from(rest)).wrapping_mul(GOLDEN)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode;
    use crate::decode::decode;
    use crate::flow::Key;
    use crate::flow::Place;
    use crate::model::CellId;
    use crate::model::InputId;
    use crate::model::LinkType;
    use crate::model::Packet;

    fn packet(bytes: &[u8]) -> Packet<'_> {
        let original = bytes.len() as u32;
        Packet { at: PacketRef::default(), link: LinkType::ETHERNET, interface: 0, original, bytes }
    }

    proptest! {
        /// A packet read in one go and the same walked through leave the same trace: one may be a copy of the other.
        #[test]
        fn a_usual_packet_leaves_the_trace_of_its_frame(
            mut bytes in prop::collection::vec(any::<u8>(), 74..110),
            tcp in any::<bool>(),
            number in prop_oneof![Just(0x0800_u16), Just(0x86dd), Just(0x8892)],
        ) {
            bytes[12..14].copy_from_slice(&number.to_be_bytes());
            let protocol = if tcp { 6 } else { 17 };
            let header = match number {
                0x0800 => {
                    let total = (bytes.len() - 14) as u16;
                    bytes[14..16].copy_from_slice(&[0x45, 0]);
                    bytes[16..18].copy_from_slice(&total.to_be_bytes());
                    bytes[20..24].copy_from_slice(&[0, 0, 64, protocol]);
                    34
                }
                _ => {
                    let length = (bytes.len() - 54) as u16;
                    bytes[14] = 0x60;
                    bytes[18..20].copy_from_slice(&length.to_be_bytes());
                    bytes[20] = protocol;
                    54
                }
            };
            let carried = (bytes.len() - header) as u16;
            bytes[header + 4..header + 6].copy_from_slice(&carried.to_be_bytes());
            bytes[header + 12] = if tcp { 0x50 } else { bytes[header + 12] };
            let packet = packet(&bytes);
            let (recent, frame) = (Recent::default(), decode::layered(&packet).unwrap());
            if let Some(plain) = decode::plain(&packet) {
                let expected = recent.trace(7, Half::High, &Seen::frame(&frame));
                prop_assert_eq!(recent.trace_plain(7, Half::High, &plain), expected);
                let place = Place::of(CellId(0), &frame).unwrap();
                prop_assert_eq!(Key::of_plain(CellId(0), &plain), (place.key, place.from));
                prop_assert_eq!(decode::shard_of(&frame), plain.shard());
            }
        }
    }

    /// A datagram with that time to live, from that MAC address, in those VLANs.
    fn look_of(ttl: u8, mac: u8, vlans: &[u16]) -> u32 {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, mac];
        for vlan in vlans {
            bytes.extend([0x81, 0]);
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend([8, 0, 0x45, 0, 0, 28, 0, 1, 0, 0, ttl, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0, 7, 0, 7, 0, 8, 0, 0]);
        Recent::default().trace(0, Half::Low, &Seen::frame(&decode(&packet(&bytes)).unwrap())).look
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

    fn at(micros: i64, input: u32) -> PacketRef {
        PacketRef::new(Timestamp::from_nanos(micros * 1000), InputId(input), 1)
    }

    #[test]
    fn copies_are_found_as_long_as_they_may_come_whatever_their_clock_says() {
        let mut recent = Recent::default();
        let trace = |digest| Trace { digest, look: 64 << 24 };
        let other_way = |digest| Trace { digest, look: 63 << 24 };
        // As many as keep the shard busy for all of that time.
        for digest in 0..3000 {
            assert_eq!(recent.meet(&trace(digest), || false, at(digest as i64, 0)), Appearance::New);
        }
        for (digest, micros) in [(0, 4_999), (0, 5_000), (0, 0), (2999, 3_000), (2999, -2_001), (1500, 3_000)]
        {
            let copy = Appearance::Duplicate(Copied::Routed);
            assert_eq!(recent.meet(&other_way(digest), || true, at(micros, 0)), copy, "{digest} {micros}");
            let elsewhere = recent.meet(&trace(digest), || false, at(micros, 1));
            assert_eq!(elsewhere, Appearance::OtherVantage, "{digest} {micros}");
        }
        // An end may repeat itself, but not at the very same time, and not where it says something.
        assert_eq!(recent.meet(&trace(7), || true, at(3_000, 0)), Appearance::New);
        assert_eq!(recent.meet(&trace(7), || true, at(3_000, 0)), Appearance::Duplicate(Copied::Same));
        assert_eq!(recent.meet(&trace(8), || false, at(3_000, 0)), Appearance::Duplicate(Copied::Same));
        // Too late, or too early.
        assert_eq!(recent.meet(&other_way(9), || false, at(5_010, 0)), Appearance::New);
        assert_eq!(recent.meet(&other_way(2998), || false, at(-2_003, 0)), Appearance::New);
    }

    #[test]
    fn many_that_are_alike_hide_no_other() {
        for (others, apart) in [(20, 100), (4000, 1)] {
            let mut recent = Recent::default();
            // Digests that end alike, however many of their bits are looked at.
            let trace = |bit: i64| Trace { digest: 1 << (40 + bit), look: 0 };
            assert_eq!(recent.meet(&trace(9), || false, at(0, 0)), Appearance::New);
            for number in 1..=others {
                assert_eq!(recent.meet(&trace(number % 3), || true, at(number * apart, 0)), Appearance::New);
            }
            let copy = recent.meet(&trace(9), || false, at(4_500, 0));
            assert_eq!(copy, Appearance::Duplicate(Copied::Same), "{others}");
        }
    }
}
