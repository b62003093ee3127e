//! 802.11 with and without radiotap, and Endace's records: what is read, and what is told of the rest.

use super::build::*;
use crate::model::LinkType;

const WIRELESS: LinkType = LinkType(105);
const RADIOTAP: LinkType = LinkType(127);
const ERF: LinkType = LinkType(197);

/// LLC and SNAP before IPv4 (RFC 1042).
const SNAP: &str = "aaaa03 000000 0800";

/// A frame: its two bytes of frame control, three addresses ending in 01, 02, 03, sequence number 0x123.
fn frame(control: &str, behind: &str, inner: &[u8]) -> Vec<u8> {
    join(&[&hex(control), &hex("0000 000000000001 000000000002 000000000003 3012"), &hex(behind), inner])
}

fn request() -> Vec<u8> {
    ipv4(6, &tcp(b"hello"))
}

#[test]
fn data_in_the_clear() {
    let told = |ends: &str| format!("{ends} 10.0.0.1>10.0.0.2 tcp 1024>502 18 5");
    let check = |control: &str, behind: &str, ends: &str| {
        let behind = format!("{behind} {SNAP}");
        check(WIRELESS, &frame(control, &behind, &request()), &told(ends));
    };
    // Between stations, to an access point, from one, and between two of them.
    check("0800", "", "02>01");
    check("0801", "", "02>03");
    check("0802", "", "03>01");
    check("0803", "000000000004", "04>03");
    // With quality of service, and control of high throughput behind it.
    check("8801", "0000", "02>03");
    check("8881", "0000 00000000", "02>03");
    check("8803", "000000000004 0000", "04>03");
    // Several frames in one: one of them is one.
    let length = 8 + request().len() as u16;
    let aggregate = join(&[&hex("00000000000b 00000000000a"), &length.to_be_bytes(), &hex(SNAP), &request()]);
    super::build::check(WIRELESS, &frame("8801", "8000", &aggregate), &told("0a>0b"));
    super::build::check(
        WIRELESS,
        &frame("8801", "8000", &join(&[&aggregate, &[0; 2], &aggregate])),
        "in-pieces-802.11",
    );
}

#[test]
fn frames_of_full_size_are_whole() {
    let full = ipv4(6, &tcp(&[0x5a; 1456]));
    assert_eq!(full.len(), 1500);
    check(WIRELESS, &frame("0801", SNAP, &full), "02>03 10.0.0.1>10.0.0.2 tcp 1024>502 18 1456");
}

#[test]
fn what_is_not_read_is_told() {
    let data = |control: &str, behind: &str| frame(control, behind, &hex("aaaa03 000000 0800 4500"));
    check(WIRELESS, &data("0841", ""), "encrypted-802.11");
    check(WIRELESS, &data("8841", "0000"), "encrypted-802.11");
    // A fragment, the last of several, null data, a beacon, an acknowledgement, another version.
    check(WIRELESS, &data("0805", ""), "in-pieces-802.11");
    let mut last = data("0801", "");
    last[22] |= 1;
    check(WIRELESS, &last, "in-pieces-802.11");
    check(WIRELESS, &frame("4801", "", &[]), "no-data-802.11");
    check(WIRELESS, &frame("8000", "", &[0; 40]), "no-data-802.11");
    check(WIRELESS, &hex("d400 0000 000000000001"), "no-data-802.11");
    check(WIRELESS, &data("0c01", ""), "no-data-802.11");
    check(WIRELESS, &data("0901", ""), "bad-802.11");
    check(WIRELESS, &frame("8801", "8000", &hex("00000000000b 00000000000a 0100 aaaa")), "bad-802.11");
    check(WIRELESS, &hex("08"), "short-802.11");
    check(WIRELESS, &frame("8801", "", &[]), "short-802.11");
    check_cut(WIRELESS, &frame("0801", SNAP, &request()), 20, "truncated-802.11");
    // LLC without SNAP: spanning tree.
    check(WIRELESS, &frame("0801", "424203 0000000000", &[]), "02>03 Llc(42) 5");
}

#[test]
fn radiotap_says_where_the_frame_begins_and_ends() {
    let told = "02>03 10.0.0.1>10.0.0.2 tcp 1024>502 18 5";
    let data = frame("0801", SNAP, &request());
    // No fields; flags alone; a time stamp, aligned, before them; a second word of presence.
    check(RADIOTAP, &join(&[&hex("0000 0800 00000000"), &data]), told);
    check(RADIOTAP, &join(&[&hex("0000 0900 02000000 10"), &data, &[1, 2, 3, 4]]), told);
    check(RADIOTAP, &join(&[&hex("0000 1100 03000000 0102030405060708 10"), &data, &[1, 2, 3, 4]]), told);
    check(
        RADIOTAP,
        &join(&[&hex("0000 1900 03000080 00000000 00000000 0102030405060708 10"), &data, &[1, 2, 3, 4]]),
        told,
    );
    // Padding between header and payload.
    let padded = frame("8801", &format!("0000 0000 {SNAP}"), &request());
    check(RADIOTAP, &join(&[&hex("0000 0900 02000000 20"), &padded]), told);
    // A frame that the radio itself calls damaged; another version; a header longer than the packet.
    check(RADIOTAP, &join(&[&hex("0000 0900 02000000 40"), &data]), "bad-802.11");
    check(RADIOTAP, &join(&[&hex("0100 0800 00000000"), &data]), "bad-radiotap");
    check(RADIOTAP, &join(&[&hex("0000 0400 00000000"), &data]), "bad-radiotap");
    check(RADIOTAP, &hex("0000 2000 00000000"), "short-radiotap");
    check(RADIOTAP, &hex("0000 0900"), "short-radiotap");
    let mut encrypted = data;
    encrypted[1] |= 0x40;
    check(RADIOTAP, &join(&[&hex("0000 0800 00000000"), &encrypted]), "encrypted-802.11");
}

/// A record: type, length on the wire, what follows the header.
fn record(kind: u8, wire: u16, behind: &[u8]) -> Vec<u8> {
    let length = (16 + behind.len() as u16).to_be_bytes();
    join(&[&hex("0102030405060708"), &[kind, 4], &length, &[0, 0], &wire.to_be_bytes(), behind])
}

#[test]
fn endace_records() {
    let ethernet = sample();
    let wire = ethernet.len() as u16;
    let told = "0a>0b 10.0.0.1>10.0.0.2 tcp 1024>502 18 12";
    let padded = join(&[&[0, 0], &ethernet, &[0; 5]]);
    for kind in [2, 11, 16, 20] {
        check(ERF, &record(kind, wire, &padded), told);
    }
    // Two extension headers.
    let extended = join(&[&hex("8000000000000000 0000000000000000"), &padded]);
    check(ERF, &record(0x82, wire, &extended), told);
    check(ERF, &record(22, request().len() as u16, &request()), "10.0.0.1>10.0.0.2 tcp 1024>502 18 5");
    let hdlc = join(&[&hex("0f00 0800"), &request()]);
    check(ERF, &record(1, hdlc.len() as u16, &hdlc), "10.0.0.1>10.0.0.2 tcp 1024>502 18 5");
    // A snap length of the card's own.
    check(ERF, &record(2, wire + 100, &padded), told);
    check(ERF, &record(21, wire, &padded), "unknown-link-type");
    check(ERF, &record(0x82, wire, &[0x80; 8 * 17]), "bad-erf");
    check(ERF, &record(0x82, wire, &[0x80; 4]), "short-erf");
    check(ERF, &hex("00010203"), "short-erf");
}
