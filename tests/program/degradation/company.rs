//! What may go on beside the plant in one recording: a port scan, a second cell with the same addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;

use spanaudit::model::LinkType;

use super::frame;
use super::frame::TCP;
use super::recording::Recording;
use super::recording::Shot;
use super::variant::Original;
use super::variant::Variant;
use super::variant::each;

/// The VLAN of the second cell.
const CELL: u16 = 202;
/// How much later everything happens there.
const LATER: i64 = 731_000_000;
/// Ports that the scan tries.
const SCANNED: [u16; 12] = [21, 22, 23, 80, 102, 443, 502, 1443, 3003, 3006, 5672, 44818];

/// The variants with company.
pub fn variants(shots: &Recording, original: &Original, twin: Option<&Recording>) -> Vec<Variant> {
    let mut variants = Vec::new();
    for (name, declared) in [
        ("a healthy cell with the same addresses beside, not declared", None),
        ("a healthy cell with the same addresses beside, declared", Some(CELL)),
    ] {
        let Some(twin) = twin else { continue };
        let start = |shots: &Recording| shots.first().map_or(0, |shot| shot.nanos);
        let mut both = second_cell(twin, original);
        for shot in &mut both {
            shot.nanos += start(shots) - start(twin);
        }
        both.extend(shots.iter().cloned());
        both.sort_by_key(|shot| shot.nanos);
        variants.push(Variant { cell: declared, ..each(name, &both, |_, _| {}) });
    }
    for (name, declared) in
        [("a cloned cell beside, not declared", None), ("a cloned cell beside, declared", Some(CELL))]
    {
        let mut cloned = shots.clone();
        cloned.extend(second_cell(shots, original));
        cloned.sort_by_key(|shot| shot.nanos);
        variants.push(Variant { cell: declared, ..each(name, &cloned, |_, _| {}) });
    }
    let mut scanned = shots.clone();
    let scanner = Ipv4Addr::new(10, 99, 99, 99);
    scanned.extend(scan(shots, scanner));
    scanned.sort_by_key(|shot| shot.nanos);
    variants.push(Variant {
        strangers: BTreeSet::from([IpAddr::V4(scanner)]),
        ..each("a port scan mixed in", &scanned, |_, _| {})
    });
    variants
}

/// The same plant once more: same addresses and services, other machines, client ports, sequence numbers and time.
fn second_cell(shots: &Recording, original: &Original) -> Recording {
    let cloned = shots.iter().map(|shot| {
        let mut shot = shot.clone();
        shot.nanos += LATER;
        if let Some(headers) = frame::headers(&shot.bytes) {
            headers.add_identification(&mut shot.bytes, 0x1111);
            let shift = |bytes: &mut Vec<u8>, at: &frame::Headers| {
                if let Some(sent) = original.by_client(at, bytes) {
                    let from = if sent { at.transport } else { at.transport + 2 };
                    if let Some(port) = frame::word(bytes, from).filter(|port| *port >= 1024) {
                        let moved = 1024 + (port - 1024 + 1234) % (u16::MAX - 1024);
                        bytes[from..from + 2].copy_from_slice(&moved.to_be_bytes());
                    }
                }
                if at.protocol == TCP {
                    at.add_sequence(bytes, 4, 0x0123_4567);
                    if at.flags(bytes) & 0x10 != 0 {
                        at.add_sequence(bytes, 8, 0x0123_4567);
                    }
                }
            };
            shift(&mut shot.bytes, &headers);
            if let Some(quoted) = headers.quote(&shot.bytes) {
                shift(&mut shot.bytes, &quoted);
            }
        }
        for at in [5, 11] {
            if shot.bytes[at - 5] & 1 == 0 {
                shot.bytes[at] ^= 0x42;
                shot.bytes[at - 1] ^= 0x42;
            }
        }
        frame::set_vlan(&mut shot.bytes, CELL);
        shot.original = shot.original.max(shot.bytes.len() as u32);
        shot
    });
    cloned.collect()
}

/// One SYN to each port of each IPv4 host that speaks; half of them are answered by a reset, the others by nothing.
fn scan(shots: &Recording, scanner: Ipv4Addr) -> Recording {
    let start = shots.first().map_or(0, |shot| shot.nanos) + 2_000_000_000;
    let mut macs: BTreeSet<(Ipv4Addr, [u8; 6], [u8; 6])> = BTreeSet::new();
    let mut known = BTreeSet::new();
    for shot in shots {
        let Some(headers) = frame::headers(&shot.bytes) else { continue };
        let ((IpAddr::V4(from), _), _) = headers.ends(&shot.bytes) else { continue };
        if known.insert(from) {
            let mac = |at: usize| <[u8; 6]>::try_from(&shot.bytes[at..at + 6]).expect("six bytes");
            macs.insert((from, mac(6), mac(0)));
        }
    }
    let mut scan = Vec::new();
    let mut nanos = start;
    for (index, &(target, own, gateway)) in macs.iter().enumerate() {
        for (count, &port) in SCANNED.iter().enumerate() {
            nanos += 3_000_000;
            let source_port = 40_000 + count as u16;
            let sequence = 1_000_000 + (index * 100 + count) as u32;
            let syn = segment((scanner, source_port, gateway), (target, port, own), sequence, 0, 0x02);
            scan.push(Shot { nanos, ..syn });
            if (index + count) % 2 == 0 {
                let reset =
                    segment((target, port, own), (scanner, source_port, gateway), 0, sequence + 1, 0x14);
                scan.push(Shot { nanos: nanos + 200_000, ..reset });
            }
        }
    }
    scan
}

type Station = (Ipv4Addr, u16, [u8; 6]);

fn segment(from: Station, to: Station, sequence: u32, acknowledgement: u32, flags: u8) -> Shot {
    let mut bytes = Vec::new();
    bytes.extend(to.2);
    bytes.extend(from.2);
    bytes.extend([0x08, 0x00, 0x45, 0, 0, 40, 0x12, 0x34, 0x40, 0, 64, TCP, 0, 0]);
    bytes.extend(from.0.octets());
    bytes.extend(to.0.octets());
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledgement.to_be_bytes());
    bytes.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
    let headers = frame::headers(&bytes).expect("it was just made");
    headers.mend(&mut bytes);
    Shot { nanos: 0, original: bytes.len() as u32, link: LinkType::ETHERNET, bytes }
}
