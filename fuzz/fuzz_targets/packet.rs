//! Any bytes as a packet of every link type: decoded, put together where it is a fragment, and assigned to a shard.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanaudit::decode;
use spanaudit::decode::Defragmenter;
use spanaudit::decode::FragmentBounds;
use spanaudit::decode::Pushed;
use spanaudit::model::InputId;
use spanaudit::model::LinkType;
use spanaudit::model::Packet;
use spanaudit::model::PacketRef;
use spanaudit::model::Timestamp;

/// The link types that there is a reader for, and one that there is none for.
const LINKS: [LinkType; 18] = [
    LinkType::ETHERNET,
    LinkType::RAW,
    LinkType::RAW_BSD,
    LinkType::RAW_OPENBSD,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType::LOOP,
    LinkType::LINUX_SLL,
    LinkType::LINUX_SLL2,
    LinkType::C_HDLC,
    LinkType::NFLOG,
    LinkType::PPP_HDLC,
    LinkType::PPP_ETHER,
    LinkType(0),
    LinkType(105),
    LinkType(127),
    LinkType(197),
    LinkType(65_000),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    for link in LINKS {
        let mut defragmenter = Defragmenter::new(FragmentBounds::default());
        // Up to three packets, so that fragments may meet.
        let mut pushed = 0;
        for (number, bytes) in (1..).zip(bytes.chunks(bytes.len().div_ceil(3).max(1))) {
            let at = PacketRef::new(Timestamp::from_nanos(number * 1_000), InputId(0), number as u64);
            let original = bytes.len() as u32 + u32::from(cut);
            let packet = Packet { at, link, interface: 0, original, bytes };
            let Ok(frame) = decode::decode(&packet) else { continue };
            decode::shard_of(&frame);
            pushed += 1;
            if let Pushed::Whole(whole) = defragmenter.push(&packet, &frame)
                && let Ok(frame) = decode::decode_reassembled(&whole.context, &whole.packet)
            {
                decode::shard_of(&frame);
            }
        }
        assert!(defragmenter.pending() <= pushed);
    }
});
