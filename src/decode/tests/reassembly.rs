//! Fragments: in any order, copied, cut, contradicting each other, too many, too late.

use std::time::Duration;

use proptest::prelude::*;

use super::build::*;
use crate::decode::*;
use crate::model::*;

/// IPv4 fragments of a payload in pieces of a size that is a multiple of eight.
fn fragments(payload: &[u8], size: usize, identification: u16) -> Vec<Vec<u8>> {
    let last = payload.len().div_ceil(size) - 1;
    let fragment = |(index, piece): (usize, &[u8])| {
        let more = if index < last { 0x2000 } else { 0 };
        ethernet(0x0800, &ipv4_fragment(17, identification, (index * size / 8) as u16 | more, piece))
    };
    payload.chunks(size).enumerate().map(fragment).collect()
}

/// The same over IPv6.
fn fragments6(payload: &[u8], size: usize, identification: u32) -> Vec<Vec<u8>> {
    let last = payload.len().div_ceil(size) - 1;
    let fragment = |(index, piece): (usize, &[u8])| {
        let field = (index * size) as u16 | u16::from(index < last);
        let header = join(&[&[17, 0], &field.to_be_bytes(), &identification.to_be_bytes(), piece]);
        ethernet(0x86dd, &ipv6(44, &header))
    };
    payload.chunks(size).enumerate().map(fragment).collect()
}

/// Pushes frames, one a millisecond unless told otherwise.
struct Wire {
    defragmenter: Defragmenter,
    now: Timestamp,
    number: u64,
    /// How many packets came out in whole datagrams, and how many as duplicates.
    out: (u64, u64),
}

impl Wire {
    fn new(bounds: FragmentBounds) -> Self {
        let now = Timestamp::from_nanos(0);
        Self { defragmenter: Defragmenter::new(bounds), now, number: 0, out: (0, 0) }
    }

    /// Pushes a frame; what it completed, in one line.
    fn push(&mut self, bytes: &[u8]) -> String {
        self.push_cut(bytes, bytes.len())
    }

    fn push_cut(&mut self, bytes: &[u8], captured: usize) -> String {
        self.number += 1;
        self.now = self.now.plus(Duration::from_millis(1));
        let at = PacketRef::new(self.now, InputId(0), self.number);
        let packet = Packet { at, bytes: &bytes[..captured], ..packet(LinkType::ETHERNET, bytes) };
        let told = match self.defragmenter.push(&packet, &decode(&packet).unwrap()) {
            Pushed::NotAFragment => {
                self.out.0 += 1;
                "not a fragment".into()
            }
            Pushed::Pending => "pending".into(),
            Pushed::Duplicate => {
                self.out.1 += 1;
                "duplicate".into()
            }
            Pushed::Whole(whole) => {
                self.out.0 += whole.pieces.len() as u64;
                tell(&decode_reassembled(&whole.context, &whole.packet).unwrap())
            }
        };
        assert_eq!(self.out.0 + self.out.1 + self.defragmenter.pending(), self.number, "a packet is lost");
        told
    }

    fn push_all(&mut self, frames: &[Vec<u8>]) -> String {
        frames.iter().map(|frame| self.push(frame)).last().unwrap()
    }
}

fn wire() -> Wire {
    Wire::new(FragmentBounds::default())
}

const WHOLE: &str = "0a>0b 10.0.0.1>10.0.0.2 udp 1000>514 92";

fn datagram(fill: u8) -> Vec<u8> {
    udp(514, &[fill; 92])
}

#[test]
fn whole_in_any_order() {
    let frames = fragments(&datagram(1), 24, 1);
    assert_eq!(wire().push_all(&frames), WHOLE);
    let backwards: Vec<_> = frames.iter().rev().cloned().collect();
    assert_eq!(wire().push_all(&backwards), WHOLE);
    let frames = fragments6(&datagram(1), 40, 70_000);
    assert_eq!(wire().push_all(&frames), "0a>0b fd00::1>fd00::2 udp 1000>514 92");
    assert_eq!(wire().push(&sample()), "not a fragment");
}

#[test]
fn two_datagrams_do_not_mix() {
    let (one, other) = (fragments(&datagram(1), 48, 1), fragments(&datagram(2), 48, 2));
    let mut wire = wire();
    for (a, b) in one.iter().zip(&other).take(2) {
        assert_eq!((wire.push(a), wire.push(b)), ("pending".into(), "pending".into()));
    }
    assert_eq!(wire.push(&other[2]), WHOLE);
    assert_eq!(wire.defragmenter.pending(), 2);
    assert_eq!(wire.push(&one[2]), WHOLE);
    // The same numbers in another VLAN are another datagram.
    let tagged: Vec<_> =
        one.iter().map(|f| ethernet(0x8100, &join(&[&hex("0005 0800"), &f[14..]]))).collect();
    assert_eq!(wire.push_all(&tagged), WHOLE.replace("0b ", "0b vlan [5] "));
}

#[test]
fn mirror_copies_are_duplicates() {
    let frames = fragments(&datagram(1), 48, 1);
    let mut wire = wire();
    let told: Vec<_> = frames.iter().flat_map(|frame| [wire.push(frame), wire.push(frame)]).collect();
    assert_eq!(told, ["pending", "duplicate", "pending", "duplicate", WHOLE, "duplicate"]);
    // Later the same bytes are a datagram of their own.
    wire.now = wire.now.plus(Duration::from_secs(2));
    assert_eq!(wire.push_all(&frames), WHOLE);
}

#[test]
fn contradictions_spoil_the_datagram() {
    let (frames, others) = (fragments(&datagram(1), 48, 1), fragments(&datagram(2), 48, 1));
    let mut wire = wire();
    // Two readings of the middle: neither is taken.
    let told = [&frames[0], &others[1], &frames[1], &others[2]].map(|frame| wire.push(frame));
    assert_eq!(told, ["pending"; 4]);
    assert_eq!(wire.defragmenter.pending(), 4);
    // After a pause the number is in use again.
    wire.now = wire.now.plus(Duration::from_secs(2));
    assert_eq!(wire.push_all(&frames), WHOLE);
    assert_eq!(wire.defragmenter.pending(), 4);
}

#[test]
fn overlaps_that_agree_are_harmless_in_ipv4_alone() {
    let payload = datagram(1);
    let overlapping = |fragment: fn(&[u8], usize) -> Vec<Vec<u8>>| {
        let (wide, narrow) = (fragment(&payload, 56), fragment(&payload, 48));
        wire().push_all(&[wide[0].clone(), narrow[1].clone(), narrow[2].clone()])
    };
    assert_eq!(overlapping(|payload, size| fragments(payload, size, 1)), WHOLE);
    assert_eq!(overlapping(|payload, size| fragments6(payload, size, 1)), "pending");
}

#[test]
fn no_receiver_would_take_these() {
    let mut wire = wire();
    // Not a multiple of eight though more follows; empty; beyond the longest packet; an end before what is there.
    for (flags, size) in [(0x2000, 18), (0x2000, 0), (0x1fff, 16)] {
        let frame = ethernet(0x0800, &ipv4_fragment(17, 3, flags, &vec![0; size]));
        assert_eq!(wire.push(&frame), "pending");
    }
    assert_eq!(wire.push(&ethernet(0x0800, &ipv4_fragment(17, 3, 0x2004, &[0; 32]))), "pending");
    assert_eq!(wire.push(&ethernet(0x0800, &ipv4_fragment(17, 3, 0x0001, &[0; 16]))), "pending");
    assert_eq!(wire.defragmenter.pending(), 5);
}

#[test]
fn cut_fragments_still_tell_the_flow() {
    let frames = fragments(&datagram(1), 48, 1);
    let mut wire = wire();
    wire.push_cut(&frames[0], frames[0].len() - 8);
    wire.push(&frames[1]);
    assert_eq!(wire.push(&frames[2]), WHOLE.replace("92", "32 of 92"));
}

#[test]
fn bounds_and_timeouts_lose_nothing() {
    let mut narrow = Wire::new(FragmentBounds { datagrams: 2, bytes: 1 << 20 });
    let all: Vec<_> = (1..=4).map(|number| fragments(&datagram(1), 48, number)).collect();
    for frames in &all {
        narrow.push(&frames[0]);
    }
    // The two oldest are gone, the two newest are not.
    assert_eq!(narrow.defragmenter.pending(), 4);
    narrow.push(&all[3][1]);
    assert_eq!(narrow.push(&all[3][2]), WHOLE);
    assert_eq!(narrow.defragmenter.pending(), 3);

    let mut late = wire();
    late.push(&all[0][0]);
    late.push(&all[0][1]);
    late.now = late.now.plus(FRAGMENT_TIMEOUT + Duration::from_secs(1));
    assert_eq!(late.push(&all[0][2]), "pending");
    assert_eq!(late.defragmenter.pending(), 3);

    // Memory of datagrams that are never finished stays bounded.
    let mut tiny = Wire::new(FragmentBounds { datagrams: 4096, bytes: 100_000 });
    for number in 0..500 {
        let frame = ethernet(0x0800, &ipv4_fragment(17, number, 0x3000, &[0; 8]));
        tiny.push(&frame);
    }
    assert_eq!(tiny.push_all(&all[0]), WHOLE);
}

#[test]
fn a_fragmented_tunnel_is_walked_into() {
    let inner = join(&[&hex("08000000 00002a00"), &sample()]);
    let frames = fragments(&udp(4789, &inner), 32, 1);
    let expected = "0a>0b [vxlan 42 10.0.0.1 > 10.0.0.2] 10.0.0.1>10.0.0.2 tcp 1024>502 18 12";
    assert_eq!(wire().push_all(&frames), expected);
}

proptest! {
    #[test]
    fn any_order_and_any_copies_give_the_datagram(
        payload in proptest::collection::vec(any::<u8>(), 1..3000),
        size in (1_usize..100).prop_map(|units| units * 8),
        order in any::<u64>(),
        v6 in any::<bool>(),
    ) {
        let whole = udp(514, &payload);
        prop_assume!(whole.len() > size);
        let mut frames = if v6 { fragments6(&whole, size, 9) } else { fragments(&whole, size, 9) };
        prop_assume!(frames.len() < 200);
        // A cheap shuffle.
        let mut state = order | 1;
        for index in (1..frames.len()).rev() {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            frames.swap(index, (state >> 33) as usize % (index + 1));
        }
        let mut wire = wire();
        let told: Vec<_> = frames.iter().flat_map(|frame| [wire.push(frame), wire.push(frame)]).collect();
        let wholes = told.iter().filter(|told| told.contains("udp")).count();
        prop_assert_eq!(wholes, 1);
        prop_assert_eq!(wire.out, (frames.len() as u64, frames.len() as u64));
    }
}
