//! Any bytes as what two ends said, to every protocol of the registry: no panic, and nothing concluded from silence.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanaudit::classify::Carrier;
use spanaudit::classify::PROTOCOLS;
use spanaudit::classify::Probe;
use spanaudit::classify::Seen;
use spanaudit::classify::Side;
use spanaudit::model::EtherKind;

/// Ethertypes and LLC service access points that protocols of the registry use, and some that none does.
const KINDS: [EtherKind; 8] = [
    EtherKind::Type(0x8892),
    EtherKind::Type(0x88b8),
    EtherKind::Type(0x88ba),
    EtherKind::Type(0x88a4),
    EtherKind::Type(0x88cc),
    EtherKind::Type(0x88f7),
    EtherKind::Llc(0x42),
    EtherKind::Llc(0x82),
];

fuzz_target!(|input: (u8, u8, [u8; 3], &[u8])| {
    let (kind, flags, cuts, bytes) = input;
    let ethernet = KINDS.get(usize::from(kind) % (KINDS.len() * 2)).copied();
    let carrier = match (ethernet, kind & 1) {
        (Some(ethernet), _) => Carrier::Ethernet(ethernet),
        (None, 0) => Carrier::Tcp,
        (None, _) => Carrier::Udp,
    };
    let at = |cut: u8, length: usize| length * usize::from(cut) / 255;
    let bytes = bytes.get(..bytes.len().min(usize::from(u16::MAX))).unwrap_or_default();
    let (first, second) = bytes.split_at(at(cuts[0], bytes.len()));
    let ends = |bytes: &[u8], cut: u8| {
        let mut ends = vec![at(cut, bytes.len()) as u16, bytes.len() as u16];
        ends.dedup();
        ends
    };
    let (first_ends, second_ends) = (ends(first, cuts[1]), ends(second, cuts[2]));
    let from_start = flags & 1 == 0 || carrier != Carrier::Tcp;
    let complete = flags & 2 != 0;
    let side = |bytes, ends| Side { bytes, ends, from_start, complete };
    let whole = Seen { carrier, first: side(first, &first_ends), second: side(second, &second_ends) };
    let mut heard = Vec::new();
    for protocol in PROTOCOLS {
        let about = protocol.about();
        let after = protocol.probe(&whole);
        if let Probe::Proven(proof) = after {
            assert!(!bytes.is_empty(), "{} proves silence", about.name);
            assert!(proof.layers.len() <= 8, "{}: {:?}", about.name, proof.layers);
        }
        if protocol.listens() {
            protocol.hear(carrier, first, &mut heard);
        }
    }
});
