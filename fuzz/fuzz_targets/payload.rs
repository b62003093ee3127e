//! Any bytes as what two ends said, to every protocol of the registry: no panic, nothing concluded from silence, no `No` taken back, and nothing
//! proved by who would not have been asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spanaudit::classify::Carrier;
use spanaudit::classify::End;
use spanaudit::classify::PROTOCOLS;
use spanaudit::classify::Probe;
use spanaudit::classify::Seen;
use spanaudit::classify::Side;
use spanaudit::classify::candidates;
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
    // What a snap length cut off each datagram.
    let lacks = [u16::from(flags >> 3); 2];
    let lacks: &[u16] = if carrier == Carrier::Tcp { &[] } else { &lacks };
    let mut heard = Vec::new();
    // How many messages of each end are there as the flow goes on, and whose was the last.
    let steps: [([usize; 2], usize); 4] = match flags & 4 == 0 {
        true => [([1, 0], 0), ([1, 1], 1), ([2, 1], 0), ([2, 2], 1)],
        false => [([0, 1], 1), ([0, 2], 1), ([1, 2], 0), ([2, 2], 0)],
    };
    for (index, protocol) in PROTOCOLS.iter().enumerate() {
        let name = protocol.about().name;
        let (mut no, mut proven, mut deaf) = (false, false, [false; 2]);
        let mut read = [0; 2];
        for (at, (counts, grew)) in steps.into_iter().enumerate() {
            let complete = at == 3 && flags & 2 != 0;
            let side = |bytes: &'_ [u8], ends: &'_ [u16], count: usize| -> (usize, usize) {
                let count = count.min(ends.len());
                let length = ends.get(..count).and_then(|ends| ends.last()).copied().map_or(0, usize::from);
                (count, length.min(bytes.len()))
            };
            let (one, one_length) = side(first, &first_ends, counts[0]);
            let (two, two_length) = side(second, &second_ends, counts[1]);
            let part = |bytes, ends| Side { bytes, ends, from_start, complete, lacks, read: 0, before: 0 };
            let seen = Seen {
                carrier,
                first: part(&first[..one_length], &first_ends[..one]),
                second: part(&second[..two_length], &second_ends[..two]),
                known: None,
            };
            let end = [End::First, End::Second][grew];
            let asked = match complete {
                true => candidates::begun_by(&seen, None),
                false => candidates::begun_by(&seen, Some(end)) & !candidates::deaf(&seen, end),
            };
            // As the pipeline asks who goes on from where it was.
            let mut unread = seen;
            (unread.first.read, unread.second.read) = (read[0], read[1]);
            if let Probe::Proven(proof) = protocol.probe(&unread) {
                read = proof.read;
            }
            match protocol.probe(&seen) {
                Probe::Proven(proof) => {
                    assert!(proven || asked >> index & 1 == 1, "{name} would not have been asked");
                    assert!(!bytes.is_empty(), "{name} proves silence");
                    assert!(proof.layers.len() <= 8, "{name}: {:?}", proof.layers);
                    assert!(!no, "{name} takes back its No");
                    assert!(proven || !deaf[grew], "{name} takes back its NeedFrom");
                    proven = true;
                }
                Probe::No => no = true,
                Probe::NeedFrom(End::First) if !complete => deaf[1] = true,
                Probe::NeedFrom(End::Second) if !complete => deaf[0] = true,
                Probe::NeedFrom(_) | Probe::NeedMore => {}
            }
        }
        protocol.glance(carrier, first, &mut |_| {});
        if protocol.listens() {
            protocol.hear(carrier, first, &mut heard);
        }
    }
});
