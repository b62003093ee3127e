//! One captured frame, borrowed from where it arrived, and the reference that evidence keeps of it.

use std::cmp::Ordering;
use std::num::NonZeroU64;

use super::Timestamp;

/// Which input a packet came from: an index into the report's list of inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputId(pub u32);

/// Names one packet for good: what Wireshark shows as file, packet number and time.
///
/// The order is that of the ordered merge: time, then input, then number. Two words, one of them never zero: flows keep dozens of these, and
/// "none" must cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketRef {
    /// Capture time.
    pub time: Timestamp,
    /// The input in the upper bits, the number plus one in the lower [`NUMBER_BITS`].
    place: NonZeroU64,
}

/// Bits for a packet's number: at a million packets a second, enough for half a year; the rest is for a million inputs.
const NUMBER_BITS: u32 = 44;
/// The largest number that fits, with room for the one that is added.
const LAST_NUMBER: u64 = (1 << NUMBER_BITS) - 2;
/// The last input that fits.
const LAST_INPUT: u32 = (1 << (u64::BITS - NUMBER_BITS)) - 1;

impl PacketRef {
    /// No packet: before the first one.
    pub const NONE: Self = Self { time: Timestamp::from_nanos(0), place: NonZeroU64::MIN };

    /// The packet of an input with that number, counted from 1 as capture tools do. What does not fit is told as the last that does.
    #[inline]
    pub fn new(time: Timestamp, input: InputId, number: u64) -> Self {
        let place = u64::from(input.0.min(LAST_INPUT)) << NUMBER_BITS | (number.min(LAST_NUMBER) + 1);
        Self { time, place: NonZeroU64::new(place).unwrap_or(NonZeroU64::MIN) }
    }

    /// The input it stands in.
    #[inline]
    pub fn input(self) -> InputId {
        InputId((self.place.get() >> NUMBER_BITS) as u32)
    }

    /// The same packet as one of another input.
    pub fn within(self, input: InputId) -> Self {
        Self::new(self.time, input, self.number())
    }

    /// Its number there.
    #[inline]
    pub fn number(self) -> u64 {
        (self.place.get() & ((1 << NUMBER_BITS) - 1)) - 1
    }
}

impl Ord for PacketRef {
    /// As one number, in one step: many are put in order.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        let number = |of: &Self| i128::from(of.time.as_nanos()) << 64 | i128::from(of.place.get());
        number(self).cmp(&number(other))
    }
}

impl PartialOrd for PacketRef {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Default for PacketRef {
    /// No packet: before the first one.
    fn default() -> Self {
        Self::NONE
    }
}

/// A link type number as in the capture file formats (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback, address family in host byte order.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP in HDLC-like framing.
    pub const PPP_HDLC: Self = Self(50);
    /// PPP over Ethernet session.
    pub const PPP_ETHER: Self = Self(51);
    /// Raw IP as some BSDs number it.
    pub const RAW_BSD: Self = Self(12);
    /// Raw IP as OpenBSD numbers it.
    pub const RAW_OPENBSD: Self = Self(14);
    /// Raw IP, version from the first nibble.
    pub const RAW: Self = Self(101);
    /// Cisco HDLC.
    pub const C_HDLC: Self = Self(104);
    /// OpenBSD loopback, address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux netfilter log messages.
    pub const NFLOG: Self = Self(239);
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// One captured frame. The bytes stay in the block, mapping or ring that holds them.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Where and when.
    pub at: PacketRef,
    /// How its bytes begin.
    pub link: LinkType,
    /// The interface within its input (pcapng; 0 elsewhere).
    pub interface: u32,
    /// Length on the wire; more than `bytes` holds where a snap length cut it.
    pub original: u32,
    /// What was captured.
    pub bytes: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// References have the order of time, input and number.
        #[test]
        fn references_are_in_the_order_of_the_merge(mut parts: [(i64, u32, u64); 2], alike: [bool; 2]) {
            let [one, other] = &mut parts;
            (one.1, other.1) = (one.1.min(LAST_INPUT), other.1.min(LAST_INPUT));
            (one.2, other.2) = (one.2.min(LAST_NUMBER), other.2.min(LAST_NUMBER));
            other.0 = if alike[0] { one.0 } else { other.0 };
            other.1 = if alike[1] { one.1 } else { other.1 };
            let [a, b] = parts.map(|(time, input, number)| {
                PacketRef::new(Timestamp::from_nanos(time), InputId(input), number)
            });
            proptest::prop_assert_eq!(a.cmp(&b), parts[0].cmp(&parts[1]));
        }
    }

    #[test]
    fn a_reference_is_two_words_and_tells_its_parts() {
        assert_eq!((size_of::<PacketRef>(), size_of::<Option<PacketRef>>()), (16, 16));
        for (input, number) in [(0, 0), (0, 1), (7, 4_000_000_000), (LAST_INPUT, LAST_NUMBER)] {
            let at = PacketRef::new(Timestamp::from_nanos(-5), InputId(input), number);
            assert_eq!((at.input(), at.number()), (InputId(input), number));
        }
        let beyond = PacketRef::new(Timestamp::MAX, InputId(u32::MAX), u64::MAX);
        assert_eq!((beyond.input(), beyond.number()), (InputId(LAST_INPUT), LAST_NUMBER));
    }

    #[test]
    fn the_order_is_time_then_input_then_number() {
        let at = |time, input, number| PacketRef::new(Timestamp::from_nanos(time), InputId(input), number);
        let sorted = [at(1, 0, 9), at(1, 1, 1), at(1, 1, 2), at(2, 0, 1)];
        assert!(sorted.is_sorted());
    }
}
