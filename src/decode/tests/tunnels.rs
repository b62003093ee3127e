//! Encapsulations: each wrapped around the same packet, and what merely looks like one.

use super::build::*;
use crate::decode::*;
use crate::model::LinkType;

const ETHERNET: LinkType = LinkType::ETHERNET;

fn over_ipv4(protocol: u8, head: &str, inner: &[u8]) -> Vec<u8> {
    ethernet(0x0800, &ipv4(protocol, &join(&[&hex(head), inner])))
}

fn over_udp(port: u16, head: &str, inner: &[u8]) -> Vec<u8> {
    ethernet(0x0800, &ipv4(17, &udp(port, &join(&[&hex(head), inner]))))
}

/// Wraps of Ethernet frames: what the context then says, and the wrapped packet.
pub(super) fn around_frames(frame: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let gpe = over_udp(4790, "0c000003 00002a00", frame);
    vec![
        ("gre 10.0.0.1 > 10.0.0.2", over_ipv4(47, "0000 6558", frame)),
        ("gre 42 10.0.0.1 > 10.0.0.2", over_ipv4(47, "b000 6558 12340000 0000002a 00000001", frame)),
        ("erspan 10.0.0.1 > 10.0.0.2", over_ipv4(47, "0000 88be", frame)),
        ("erspan 100 10.0.0.1 > 10.0.0.2", over_ipv4(47, "1000 88be 00000001 1001 0064 00000000", frame)),
        (
            "erspan 7 10.0.0.1 > 10.0.0.2",
            over_ipv4(47, "1000 22eb 00000001 2001 0007 00000000 0000 0000", frame),
        ),
        (
            "erspan 7 10.0.0.1 > 10.0.0.2",
            over_ipv4(47, "1000 22eb 00000001 2001 0007 00000000 0000 0001 0000000000000000", frame),
        ),
        ("vxlan 42 10.0.0.1 > 10.0.0.2", over_udp(4789, "08000000 00002a00", frame)),
        ("vxlan 42 10.0.0.1 > 10.0.0.2", over_udp(4789, "88000005 00002a00", frame)),
        ("vxlan 42 10.0.0.1 > 10.0.0.2", over_udp(8472, "08000000 00002a00", frame)),
        ("vxlan 42 10.0.0.1 > 10.0.0.2", over_udp(5555, "08000000 00002a00", frame)),
        ("vxlan 42 10.0.0.1 > 10.0.0.2", gpe),
        ("geneve 42 10.0.0.1 > 10.0.0.2", over_udp(6081, "0000 6558 00002a00", frame)),
        ("geneve 42 10.0.0.1 > 10.0.0.2", over_udp(6081, "0240 6558 00002a00 0102 8001 00000000", frame)),
        ("tzsp 10.0.0.1 > 10.0.0.2", over_udp(37008, "01000001 0a01c8 00 01", frame)),
        // L2TP version 3: no cookie, one of eight bytes and a sublayer, and over UDP.
        ("l2tp 7 10.0.0.1 > 10.0.0.2", over_ipv4(115, "00000007", frame)),
        ("l2tp 7 10.0.0.1 > 10.0.0.2", over_ipv4(115, "00000007 c00c1ec00c1e0001 40000001", frame)),
        ("l2tp 7 10.0.0.1 > 10.0.0.2", over_udp(1701, "00030000 00000007 c00c1e01", frame)),
        ("mpls 16", ethernet(0x8847, &join(&[&hex("00010040 00011140 00000000"), frame]))),
        ("mpls 16", ethernet(0x8847, &join(&[&hex("00010140"), frame]))),
    ]
}

/// Wraps of IPv4 packets.
pub(super) fn around_ipv4(packet: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let length = packet.len() as u16;
    let gtp = |flags: u8, extra: &str| {
        let extra = hex(extra);
        let head =
            join(&[&[flags, 255], &(length + extra.len() as u16).to_be_bytes(), &[0, 0, 0, 9], &extra]);
        ethernet(0x0800, &ipv4(17, &udp(2152, &join(&[&head, packet]))))
    };
    let pppoe = join(&[&hex("1100 0005"), &(length + 2).to_be_bytes(), &hex("0021"), packet]);
    let pptp = join(&[
        &hex("3081 880b"),
        &(length + 4).to_be_bytes(),
        &hex("0006 00000001 00000002 ff03 0021"),
        packet,
    ]);
    vec![
        ("ip-in-ip 10.0.0.1 > 10.0.0.2", over_ipv4(4, "", packet)),
        ("ip-in-ip fd00::1 > fd00::2", ethernet(0x86dd, &ipv6(4, packet))),
        ("gre 10.0.0.1 > 10.0.0.2", over_ipv4(47, "0000 0800", packet)),
        ("gre fd00::1 > fd00::2", ethernet(0x86dd, &ipv6(47, &join(&[&hex("00000800"), packet])))),
        ("gre 6 10.0.0.1 > 10.0.0.2", ethernet(0x0800, &ipv4(47, &pptp))),
        ("gtp 9 10.0.0.1 > 10.0.0.2", gtp(0x30, "")),
        ("gtp 9 10.0.0.1 > 10.0.0.2", gtp(0x32, "00010000")),
        ("gtp 9 10.0.0.1 > 10.0.0.2", gtp(0x34, "00000085 01100100")),
        ("geneve 42 10.0.0.1 > 10.0.0.2", over_udp(6081, "0000 0800 00002a00", packet)),
        ("vxlan 42 10.0.0.1 > 10.0.0.2", over_udp(4790, "0c000001 00002a00", packet)),
        ("l2tp 65538 10.0.0.1 > 10.0.0.2", over_udp(1701, "0002 0001 0002 ff03 0021", packet)),
        ("l2tp 65538 10.0.0.1 > 10.0.0.2", over_udp(1701, "0a02 0001 0002 00000000 0002 abcd 21", packet)),
        ("mpls 16", ethernet(0x8847, &join(&[&hex("00010140"), packet]))),
        ("pppoe 5", ethernet(0x8864, &pppoe)),
    ]
}

/// Wraps of IPv6 packets.
pub(super) fn around_ipv6(packet: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("ip-in-ip 10.0.0.1 > 10.0.0.2", over_ipv4(41, "", packet)),
        ("gre 10.0.0.1 > 10.0.0.2", over_ipv4(47, "0000 86dd", packet)),
        ("teredo 10.0.0.1 > 10.0.0.2", over_udp(3544, "", packet)),
        ("teredo 10.0.0.1 > 10.0.0.2", over_udp(3544, "0000 fc17 f5fffffe", packet)),
        (
            "teredo 10.0.0.1 > 10.0.0.2",
            over_udp(3544, "0001 0000 0102030405060708 00 0000 fc17 f5fffffe", packet),
        ),
        ("mpls 2", ethernet(0x8847, &join(&[&hex("00002140"), packet]))),
    ]
}

#[test]
fn wrapping_changes_the_context_alone() {
    let v4 = ipv4(6, &tcp(b"hello"));
    let v6 = ipv6(6, &tcp(b"hello"));
    let frames = ethernet(0x8100, &join(&[&hex("0064 0800"), &v4]));
    for (tunnel, bytes) in around_frames(&frames) {
        check(ETHERNET, &bytes, &format!("0a>0b vlan [100] [{tunnel}] 10.0.0.1>10.0.0.2 tcp 1024>502 18 5"));
    }
    for (tunnel, bytes) in around_ipv4(&v4) {
        check(ETHERNET, &bytes, &format!("0a>0b [{tunnel}] 10.0.0.1>10.0.0.2 tcp 1024>502 18 5"));
    }
    for (tunnel, bytes) in around_ipv6(&v6) {
        check(ETHERNET, &bytes, &format!("0a>0b [{tunnel}] fd00::1>fd00::2 tcp 1024>502 18 5"));
    }
    // Two deep, and too deep.
    let (_, twice) = around_ipv4(&v4[..]).swap_remove(2);
    check(
        ETHERNET,
        &over_udp(4789, "08000000 00000100", &twice),
        "0a>0b [vxlan 1 10.0.0.1 > 10.0.0.2] [gre 10.0.0.1 > 10.0.0.2] 10.0.0.1>10.0.0.2 tcp 1024>502 18 5",
    );
    let mut deep = v4;
    for _ in 0..MOST_TUNNELS {
        deep = ipv4(4, &deep);
    }
    assert!(decode(&packet(LinkType::RAW, &deep)).is_ok());
    check(LinkType::RAW, &ipv4(4, &deep), "too-many-layers");
}

#[test]
fn non_ip_frames_are_unwrapped_as_well() {
    let goose = ethernet(0x88b8, &[0, 1, 0, 8, 0, 0, 0, 0]);
    for (tunnel, bytes) in around_frames(&goose) {
        let told = decode(&packet(ETHERNET, &bytes)).map(|frame| tell(&frame));
        // Where the frame begins in L2TP no field says: an address and a type that belong together have to.
        if tunnel.starts_with("l2tp") {
            assert!(!told.unwrap().contains(tunnel), "not proven");
            continue;
        }
        // On a port of its own, only an IP packet proves VXLAN.
        if bytes[36..38] == 5555_u16.to_be_bytes() {
            assert_eq!(told.unwrap(), "0a>0b 10.0.0.1>10.0.0.2 udp 1000>5555 30");
        } else {
            assert_eq!(told.unwrap(), format!("0a>0b [{tunnel}] Type(88b8) 8"));
        }
    }
}

#[test]
fn what_only_looks_like_an_encapsulation_stays_as_it_is() {
    let frame = sample();
    let inner = ipv4(6, &tcp(b"hello"));
    let udp_flow = |port: u16, size: usize| format!("0a>0b 10.0.0.1>10.0.0.2 udp 1000>{port} {size}");
    let size = 8 + frame.len();
    // VXLAN without its flag, with reserved bits, around rubbish, around nothing.
    check(ETHERNET, &over_udp(4789, "00000000 00002a00", &frame), &udp_flow(4789, size));
    check(ETHERNET, &over_udp(4789, "08000000 00002a01", &frame), &udp_flow(4789, size));
    check(ETHERNET, &over_udp(4789, "08000000 00002a00", &ethernet(0x0800, &[0; 30])), &udp_flow(4789, 52));
    check(ETHERNET, &over_udp(4789, "08000000 00002a00", &[]), &udp_flow(4789, 8));
    let mut forged = frame.clone();
    forged[24] ^= 1;
    check(ETHERNET, &over_udp(5555, "08000000 00002a00", &forged), &udp_flow(5555, size));
    // Geneve of another version, as a control packet, with an unknown protocol.
    check(ETHERNET, &over_udp(6081, "4000 6558 00002a00", &frame), &udp_flow(6081, size));
    check(ETHERNET, &over_udp(6081, "0080 6558 00002a00", &frame), &udp_flow(6081, size));
    check(ETHERNET, &over_udp(6081, "0000 1234 00002a00", &frame), &udp_flow(6081, size));
    check(ETHERNET, &over_udp(37008, "01040001 01", &frame), &udp_flow(37008, 5 + frame.len()));
    check(ETHERNET, &over_udp(3544, "", &inner), &udp_flow(3544, inner.len()));
    // GTP echo, and a length beyond the datagram.
    check(ETHERNET, &over_udp(2152, "32010004 00000000 00010000", &[]), &udp_flow(2152, 12));
    check(ETHERNET, &over_udp(2152, "30ffffff 00000009", &inner), &udp_flow(2152, 8 + inner.len()));
    // GRE keepalive, version 2, routing, unknown payload; IPv6 where IPv4 is said.
    let gre_flow = |size: usize| format!("0a>0b 10.0.0.1>10.0.0.2 ip 47 {size}");
    check(ETHERNET, &over_ipv4(47, "0000 0000", &[]), &gre_flow(4));
    check(ETHERNET, &over_ipv4(47, "0002 0800", &inner), &gre_flow(4 + inner.len()));
    check(ETHERNET, &over_ipv4(47, "4000 0800 00000000", &inner), &gre_flow(8 + inner.len()));
    check(ETHERNET, &over_ipv4(47, "0000 2000", &inner), &gre_flow(4 + inner.len()));
    check(ETHERNET, &over_ipv4(47, "0000 86dd", &inner), &gre_flow(4 + inner.len()));
    check(
        ETHERNET,
        &over_ipv4(47, "3081 880b 0006 0006 00000001 00000002 c021 0104 0004", &[]),
        &gre_flow(22),
    );
    check(ETHERNET, &over_ipv4(41, "", &inner), &format!("0a>0b 10.0.0.1>10.0.0.2 ip 41 {}", inner.len()));
    // PPP control frames and what MPLS does not show.
    check(ETHERNET, &ethernet(0x8864, &hex("1100 0005 0006 c021 0101 0004")), "0a>0b Type(8864) 12");
    check(ETHERNET, &ethernet(0x8863, &hex("1109 0000 0000")), "0a>0b Type(8863) 6");
    check(ETHERNET, &ethernet(0x8847, &hex("00010140 1000 0021 2000 0000")), "0a>0b Type(8847) 12");
}

#[test]
fn l2tp_is_read_where_one_place_alone_holds_a_frame() {
    let frame = sample();
    let outer = |size: usize| format!("0a>0b 10.0.0.1>10.0.0.2 ip 115 {size}");
    // Nothing that proves itself, the control connection, and a cookie that holds a frame of its own.
    check(ETHERNET, &over_ipv4(115, "00000007", &[0x5a; 60]), &outer(64));
    check(ETHERNET, &over_ipv4(115, "00000000", &frame), &outer(4 + frame.len()));
    let mut forged = frame.clone();
    forged[24] ^= 1;
    check(ETHERNET, &over_ipv4(115, "00000007", &forged), &outer(4 + frame.len()));
    // Two places: an ARP header at one, and at the next.
    let twice = hex("00000000000b 00000000000a 0806 0001 0800 0604 0001 0000 0806 0001 0800 0604 0001");
    let told =
        decode(&packet(ETHERNET, &over_ipv4(115, "00000007", &twice))).map(|frame| tell(&frame)).unwrap();
    assert!(!told.contains("l2tp"), "{told}");
    // Frames that prove themselves without IP.
    let arp = ethernet(0x0806, &hex("0001 0800 0604 0001 000000000001 0a000001 000000000000 0a000002"));
    check(
        ETHERNET,
        &over_ipv4(115, "00000007 c00c1e01", &arp),
        "0a>0b [l2tp 7 10.0.0.1 > 10.0.0.2] arp 1 10.0.0.1 10.0.0.2",
    );
    let goose = hex("010ccd010001 00000000000a 88b8 0001 0008 0000 0000");
    check(ETHERNET, &over_ipv4(115, "00000007", &goose), "0a>01 [l2tp 7 10.0.0.1 > 10.0.0.2] Type(88b8) 8");
    // Over UDP: control messages of both versions, reserved bits, another version, a length beyond the datagram.
    let udp_flow = |size: usize| format!("0a>0b 10.0.0.1>10.0.0.2 udp 1000>1701 {size}");
    let v4 = ipv4(6, &tcp(b"hello"));
    for (head, inner) in [
        ("c803 0014 00000000 0000 0000", &frame),
        ("c802 0014 0000 0000 0000 0000", &v4),
        ("0003 0001 00000007", &frame),
        ("0004 0000 00000007", &frame),
        ("2002 0001 0002 21", &v4),
        ("4002 ffff 0001 0002 21", &v4),
        ("0002 0001 0002 c021", &v4),
    ] {
        check(ETHERNET, &over_udp(1701, head, inner), &udp_flow(hex(head).len() + inner.len()));
    }
}

#[test]
fn a_cut_inside_an_encapsulation_is_told() {
    let (_, bytes) = around_frames(&sample()).swap_remove(3);
    // The transport header inside ERSPAN is cut off: not a GRE flow, but a packet that can't be told.
    check_cut(ETHERNET, &bytes, bytes.len() - 30, "truncated-tcp");
    let (_, bytes) = around_frames(&sample()).swap_remove(6);
    // A port proves nothing: without the inside it is a UDP flow.
    check_cut(ETHERNET, &bytes, bytes.len() - 30, "0a>0b 10.0.0.1>10.0.0.2 udp 1000>4789 48 of 78");
}
