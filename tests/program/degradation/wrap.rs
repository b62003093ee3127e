//! Mirrors that send their packets in a tunnel: GRE, ERSPAN type II, VXLAN.

use super::frame::checksum;
use super::recording::Shot;

/// What wraps a frame; the number counts the frames.
pub type Wrapper = fn(&Shot, u32) -> Shot;

/// Every wrapping.
pub const WRAPPERS: &[(&str, Wrapper)] =
    &[("wrapped in GRE", gre), ("wrapped in ERSPAN II", erspan), ("wrapped in VXLAN", vxlan)];

/// Transparent Ethernet bridging (RFC 1701, ethertype 0x6558).
fn gre(shot: &Shot, count: u32) -> Shot {
    outer(shot, count, 47, &[0, 0, 0x65, 0x58])
}

/// ERSPAN type II over GRE with a sequence number (draft-foschiano-erspan-03 section 4.2).
fn erspan(shot: &Shot, count: u32) -> Shot {
    let mut header = vec![0x10, 0, 0x88, 0xbe];
    header.extend(count.to_be_bytes());
    header.extend([0x10, 0x14, 0x18, 0x07, 0, 0, 0, 5]);
    outer(shot, count, 47, &header)
}

/// VXLAN (RFC 7348 section 5).
fn vxlan(shot: &Shot, count: u32) -> Shot {
    let length = (8 + 8 + shot.bytes.len()) as u16;
    let [high, low] = length.to_be_bytes();
    let mut header = vec![0xc0, 0x01, 0x12, 0xb5, high, low, 0, 0];
    header.extend([0x08, 0, 0, 0, 0, 0, 42, 0]);
    outer(shot, count, 17, &header)
}

fn outer(shot: &Shot, count: u32, protocol: u8, header: &[u8]) -> Shot {
    let mut bytes = vec![2, 0, 0, 0, 0xee, 1, 2, 0, 0, 0, 0xee, 2, 0x08, 0x00];
    let total = (20 + header.len() + shot.original as usize) as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(total.to_be_bytes());
    ip.extend((count as u16).to_be_bytes());
    ip.extend([0x40, 0, 255, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(ip);
    bytes.extend(header);
    let original = shot.original + bytes.len() as u32;
    bytes.extend(&shot.bytes);
    Shot { bytes, original, ..shot.clone() }
}
