//! What holds for all bytes: no panic, a frame or a reason, payloads no longer than they are said to be.

use std::path::PathBuf;

use proptest::prelude::*;

use super::build::*;
use super::captures::{folder, packets};
use super::tunnels::{around_frames, around_ipv4, around_ipv6};
use crate::decode::Undecodable;
use crate::decode::*;
use crate::model::*;

const LINK_TYPES: [u16; 23] = [
    0, 1, 9, 12, 14, 50, 51, 101, 104, 105, 108, 113, 127, 197, 204, 228, 229, 239, 240, 241, 276, 147, 65535,
];

/// What must hold for every packet.
fn decode_soundly(packet: &Packet<'_>) -> Result<(), TestCaseError> {
    let frame = match decode(packet) {
        Ok(frame) => frame,
        Err(reason) => {
            prop_assert!(Undecodable::ALL.contains(&reason));
            return Ok(());
        }
    };
    let (payload, length) = match &frame.body {
        Body::Tcp(tcp) => (tcp.payload, tcp.payload_length),
        Body::Udp(udp) => (udp.payload, udp.payload_length),
        Body::Fragment(fragment) => (fragment.payload, fragment.payload_length),
        _ => (&[][..], 0),
    };
    prop_assert!(payload.len() as u32 <= length);
    // Nothing is copied: what a frame shows lies in the packet.
    prop_assert!(payload.is_empty() || packet.bytes.as_ptr_range().contains(&payload.as_ptr()));
    // The short way and the walk read alike.
    let walked = super::super::layered(packet);
    prop_assert_eq!(walked.as_ref(), Ok(&frame));
    let mut defragmenter = Defragmenter::default();
    if let Pushed::Whole(whole) = defragmenter.push(packet, &frame) {
        let _ = decode_reassembled(&whole.context, &whole.packet);
    }
    let _ = shard_of(&frame);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), extra in 0_u32..100) {
        for link in LINK_TYPES {
            let original = bytes.len() as u32 + extra;
            decode_soundly(&Packet { original, ..packet(LinkType(link), &bytes) })?;
        }
    }

    #[test]
    fn packets_with_bytes_changed(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut all = around_frames(&sample());
        all.extend(around_ipv4(&ipv4(6, &tcp(b"hello"))));
        all.extend(around_ipv6(&ipv6(17, &udp(53, b"hello"))));
        all.extend(around_ipv6(&ipv6(6, &tcp(b"hello"))));
        all.extend(around_frames(&ethernet(0x88ba, b"\x40\x00\x00\x0d\0\0\0\0hello")));
        let mut bytes = which.get(&all).1.clone();
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        decode_soundly(&packet(LinkType::ETHERNET, &bytes))?;
        let kept = cut.index(bytes.len());
        decode_soundly(&Packet { bytes: &bytes[..kept], ..packet(LinkType::ETHERNET, &bytes) })?;
        decode_soundly(&packet(LinkType::ETHERNET, &bytes[..kept]))?;
    }
}

#[test]
fn every_prefix_of_real_packets() {
    let Some(folder) = folder() else { return };
    for group in ["encap", "link-types", "ip-fragments", "infra", "malformed"] {
        let mut captures: Vec<PathBuf> =
            std::fs::read_dir(folder.join(group)).unwrap().map(|entry| entry.unwrap().path()).collect();
        captures.sort();
        for owned in captures.iter().flat_map(|capture| packets(capture).into_iter().take(12)) {
            let whole = owned.packet();
            for length in 0..=whole.bytes.len().min(180) {
                let cut = Packet { bytes: &whole.bytes[..length], ..whole };
                decode_soundly(&cut).unwrap();
                decode_soundly(&Packet { original: length as u32, ..cut }).unwrap();
            }
        }
    }
}

#[test]
fn a_cut_never_changes_the_flow() {
    // Whatever prefix tells a flow at all tells the innermost or an enclosing one, never a third.
    let Some(folder) = folder() else { return };
    for capture in ["link-types/raw_packets.pcap", "infra/dhcp.pcap", "lab/ipv6-site.pcap"] {
        for owned in packets(&folder.join(capture)) {
            let whole = owned.packet();
            let Ok(expected) = decode(&whole) else { continue };
            for length in 0..whole.bytes.len() {
                if let Ok(frame) = decode(&Packet { bytes: &whole.bytes[..length], ..whole }) {
                    assert_eq!(frame.hosts(), expected.hosts(), "{capture} {}", owned.at.number());
                    assert_eq!(frame.network, expected.network, "{capture} {}", owned.at.number());
                }
            }
        }
    }
}

#[test]
fn both_directions_and_quotes_share_a_shard() {
    let shard = |bytes: &[u8]| shard_of(&decode(&packet(LinkType::RAW, bytes)).unwrap());
    let there = ipv4(17, &udp(53, b""));
    let mut back = there.clone();
    back[12..20].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
    assert_eq!(shard(&there), shard(&back));
    // A router that neither of the two is complains.
    let mut error = ipv4(1, &join(&[&hex("0301 0000 00000000"), &back]));
    error[12..16].copy_from_slice(&[10, 9, 9, 9]);
    assert_eq!(shard(&error), shard(&there));
    error[20] = 8;
    assert_ne!(shard(&error), shard(&there));
    assert_ne!(shard(&there), shard(&ipv6(17, &udp(53, b""))));
    // Fixed, so that runs and machines agree.
    assert_eq!(shard(&there), shard(&ipv4_fragment(17, 3, 0x2000, &[0; 8])));
}
