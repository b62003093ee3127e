//! One packet of each layer, and what each contradiction is called.

use super::build::*;
use crate::decode::Body;
use crate::decode::decode;
use crate::model::LinkType;

const ETHERNET: LinkType = LinkType::ETHERNET;

#[test]
fn transports() {
    let v4 = |protocol, payload: &[u8]| ethernet(0x0800, &ipv4(protocol, payload));
    let v6 = |protocol, payload: &[u8]| ethernet(0x86dd, &ipv6(protocol, payload));
    check(ETHERNET, &sample(), "0a>0b 10.0.0.1>10.0.0.2 tcp 1024>502 18 12");
    check(ETHERNET, &v6(6, &tcp(b"hello")), "0a>0b fd00::1>fd00::2 tcp 1024>502 18 5");
    check(ETHERNET, &v4(17, &udp(161, b"abc")), "0a>0b 10.0.0.1>10.0.0.2 udp 1000>161 3");
    check(
        ETHERNET,
        &v4(132, &hex("0b59 0b5a 00000000 00000000 0104")),
        "0a>0b 10.0.0.1>10.0.0.2 sctp 2905>2906 2",
    );
    check(ETHERNET, &v4(89, &[2, 1, 0, 0]), "0a>0b 10.0.0.1>10.0.0.2 ip 89 4");
    check(ETHERNET, &v4(50, &[1; 16]), "0a>0b 10.0.0.1>10.0.0.2 ip 50 16");
    check(ETHERNET, &v4(1, &hex("0800 0000 0001 0001 6162")), "0a>0b 10.0.0.1>10.0.0.2 icmp 8/0 6");
    check(ETHERNET, &v6(58, &hex("8000 0000 0001 0001")), "0a>0b fd00::1>fd00::2 icmpv6 128/0 4");
    // ICMP of the other version is just another protocol.
    check(ETHERNET, &v4(58, &[128, 0, 0, 0]), "0a>0b 10.0.0.1>10.0.0.2 ip 58 4");
    // Padding to the least Ethernet length is no payload, nor is what stands behind a UDP datagram.
    check(ETHERNET, &join(&[&v4(6, &tcp(b"")), &[0; 6]]), "0a>0b 10.0.0.1>10.0.0.2 tcp 1024>502 18 0");
    let datagram = join(&[&udp(161, b"abc"), b"trailer"]);
    check(ETHERNET, &v4(17, &datagram), "0a>0b 10.0.0.1>10.0.0.2 udp 1000>161 3");
    // A UDP length beyond the IP packet counts no further than that.
    let mut datagram = udp(161, b"abc");
    datagram[5] = 99;
    check(ETHERNET, &v4(17, &datagram), "0a>0b 10.0.0.1>10.0.0.2 udp 1000>161 3");
    // Total length 0, as segmentation offload leaves it.
    let mut offloaded = sample();
    offloaded[16..18].fill(0);
    check(ETHERNET, &offloaded, "0a>0b 10.0.0.1>10.0.0.2 tcp 1024>502 18 12");
}

#[test]
fn cut_by_a_snap_length() {
    let frame = sample();
    let whole = "0a>0b 10.0.0.1>10.0.0.2 tcp 1024>502 18";
    check_cut(ETHERNET, &frame, frame.len() - 5, &format!("{whole} 7 of 12"));
    // Options, window and checksum may lack; ports, numbers and flags may not.
    check_cut(ETHERNET, &frame, 14 + 20 + 22, &format!("{whole} 0 of 12"));
    check_cut(ETHERNET, &frame, 14 + 20 + 14, &format!("{whole} 0 of 12"));
    check_cut(ETHERNET, &frame, 14 + 20 + 13, "truncated-tcp");
    check_cut(ETHERNET, &frame, 14 + 19, "truncated-ipv4");
    check_cut(ETHERNET, &frame, 13, "truncated-ethernet");
    check_cut(ETHERNET, &frame, 0, "truncated-ethernet");
    let frame = ethernet(0x86dd, &ipv6(17, &udp(53, b"abcdef")));
    check_cut(ETHERNET, &frame, 14 + 40 + 4, "0a>0b fd00::1>fd00::2 udp 1000>53 0 of 6");
    check_cut(ETHERNET, &frame, 14 + 40 + 3, "truncated-udp");
    check_cut(ETHERNET, &frame, 14 + 39, "truncated-ipv6");
    let frame = ethernet(0x8100, &hex("0064 0806 0001 0800 0604 0001"));
    check_cut(ETHERNET, &frame, 16, "truncated-tag");
    // A packet that promises more than the wire carried was cut on its way to the capture.
    let mut frame = sample();
    frame[17] = 200;
    check(ETHERNET, &frame, &format!("{whole} 12 of 156"));
}

#[test]
fn contradictions() {
    let mut frame = sample();
    frame[14] = 0x44;
    check(ETHERNET, &frame, "bad-ipv4");
    frame[14] = 0x65;
    check(ETHERNET, &frame, "bad-ipv4");
    let mut frame = sample();
    frame[17] = 19;
    check(ETHERNET, &frame, "bad-ipv4");
    let mut frame = sample();
    frame[14 + 20 + 12] = 0x40;
    check(ETHERNET, &frame, "bad-tcp");
    frame[14 + 20 + 12] = 0xf0;
    check(ETHERNET, &frame, "bad-tcp");
    check(ETHERNET, &ethernet(0x0800, &ipv4(6, &[1, 2, 3, 4])), "short-tcp");
    check(ETHERNET, &ethernet(0x0800, &ipv4(17, &[1, 2, 3, 4])), "short-udp");
    check(ETHERNET, &ethernet(0x0800, &ipv4(1, &[3])), "short-icmp");
    check(ETHERNET, &ethernet(0x0800, &ipv4(17, &hex("03e8 00a1 0007 0000"))), "bad-udp");
    check(LinkType::RAW, &[0x10; 40], "bad-ip");
    check(LinkType(147), &[0; 40], "unknown-link-type");
    check(ETHERNET, &ethernet(0x0806, &[0, 1]), "short-arp");
}

#[test]
fn tags_and_802_3() {
    let inner = ipv4(17, &udp(161, b""));
    let tagged = |tags: &str| {
        ethernet(0x0800, &[])[..12].iter().copied().chain(hex(tags)).chain(inner.clone()).collect::<Vec<_>>()
    };
    let flow = "10.0.0.1>10.0.0.2 udp 1000>161 0";
    check(ETHERNET, &tagged("8100 2064 0800"), &format!("0a>0b vlan [100] {flow}"));
    check(ETHERNET, &tagged("88a8 0001 8100 0002 0800"), &format!("0a>0b vlan [1, 2] {flow}"));
    check(
        ETHERNET,
        &tagged("9100 0001 9200 0002 8100 0003 8100 0004 8100 0005 0800"),
        &format!("0a>0b vlan [1, 2, 3, 4] {flow}"),
    );
    check(ETHERNET, &tagged("8926 8001 0002 8100 0007 0800"), &format!("0a>0b vlan [7] {flow}"));
    check(ETHERNET, &tagged("892f 0040 0001 0800"), &format!("0a>0b {flow}"));
    check(ETHERNET, &tagged("f1c1 0000 0001 0800"), &format!("0a>0b {flow}"));
    check(ETHERNET, &tagged("8909 0101 0001 0002 0800"), &format!("0a>0b {flow}"));
    check(
        ETHERNET,
        &ethernet(0x88e7, &join(&[&[0, 0, 0, 9], &sample()])),
        "0a>0b 10.0.0.1>10.0.0.2 tcp 1024>502 18 12",
    );
    check(ETHERNET, &tagged(&"8100 0001".repeat(50)), "too-many-layers");
    // LLC, SNAP with an ethertype, SNAP of a vendor, padding behind the length.
    check(ETHERNET, &ethernet(38, &join(&[&hex("424203"), &[0; 60]])), "0a>0b Llc(42) 35");
    check(ETHERNET, &ethernet(8, &hex("8282 0180 00000000")), "0a>0b Llc(82) 4");
    check(
        ETHERNET,
        &ethernet(8 + 28, &join(&[&hex("aaaa03 000000 0800"), &inner])),
        &format!("0a>0b {flow}"),
    );
    check(ETHERNET, &ethernet(12, &hex("aaaa03 00000c 2000 02b40000 ffff")), "0a>0b Snap([0, 0, c], 2000) 4");
    check(ETHERNET, &ethernet(2, &[0x42, 0x42]), "short-llc");
    check(ETHERNET, &ethernet(0x8892, &[0xfe, 0xfd, 0, 0]), "0a>0b Type(8892) 4");
    check(
        ETHERNET,
        &ethernet(0x0806, &hex("0001 0800 0604 0002 00000000000a 0a000001 00000000000b 0a000002 0000")),
        "0a>0b arp 2 10.0.0.1 10.0.0.2",
    );
    check(ETHERNET, &ethernet(0x0806, &hex("0006 0800 0604 0001 0000")), "0a>0b Type(806) 10");
}

#[test]
fn ipv6_extension_headers() {
    let frame = |payload: &str| ethernet(0x86dd, &ipv6(0, &join(&[&hex(payload), &udp(53, b"ab")])));
    let flow = "0a>0b fd00::1>fd00::2";
    let datagram = "udp 1000>53 2";
    // Hop-by-hop, routing, destination options, authentication, an atomic fragment.
    let all = [
        "2b00 010400000000",
        "3c00 040000000000",
        "3300 010400000000",
        "2c04 0000 00000001 00000002 000000000000000000000000",
        "1100 0000 00000009",
    ];
    check(ETHERNET, &frame(&all.concat()), &format!("{flow} {datagram}"));
    check(ETHERNET, &frame("2c00 010400000000 1100 0001 00000009"), &format!("{flow} fragment 17 0x9 0+ 10"));
    check(ETHERNET, &frame("2c00 010400000000 3c00 0010 00000009"), &format!("{flow} fragment 60 0x9 16 10"));
    check(ETHERNET, &frame("3bff"), "short-ipv6-extension");
    check(ETHERNET, &frame(&"3c00 010400000000".repeat(20)), "bad-ipv6-extension");
    check(ETHERNET, &frame("3300 010400000000 1100 0000 00000001"), "bad-ipv6-extension");
    check(ETHERNET, &ethernet(0x86dd, &ipv6(59, &[])), &format!("{flow} ip 59 0"));
    // AH before IPv4's payload.
    let protected = join(&[&hex("1104 0000 00000001 00000002 000000000000000000000000"), &udp(53, b"ab")]);
    check(ETHERNET, &ethernet(0x0800, &ipv4(51, &protected)), "0a>0b 10.0.0.1>10.0.0.2 udp 1000>53 2");
}

#[test]
fn icmp_quotes() {
    let error = |kind: &str, quoted: &[u8]| {
        ethernet(0x0800, &ipv4(1, &join(&[&hex(kind), &hex("0000 00000000"), quoted])))
    };
    let head = "0a>0b 10.0.0.1>10.0.0.2 icmp";
    let quoted = ipv4(6, &tcp(b"hello"));
    check(
        ETHERNET,
        &error("030d", &quoted[..28]),
        &format!("{head} 3/13 32 quotes 10.0.0.1>10.0.0.2 6 1024>502 at 1"),
    );
    check(
        ETHERNET,
        &error("030d", &quoted[..25]),
        &format!("{head} 3/13 29 quotes 10.0.0.1>10.0.0.2 6 1024>502"),
    );
    check(ETHERNET, &error("030d", &quoted[..22]), &format!("{head} 3/13 26 quotes 10.0.0.1>10.0.0.2 6"));
    check(ETHERNET, &error("030d", &quoted[..19]), &format!("{head} 3/13 23"));
    check(
        ETHERNET,
        &error("0b00", &ipv4(17, &udp(53, b"x"))),
        &format!("{head} 11/0 33 quotes 10.0.0.1>10.0.0.2 17 1000>53"),
    );
    check(
        ETHERNET,
        &error("0303", &ipv4_fragment(17, 7, 0x0010, &udp(53, b"x"))),
        &format!("{head} 3/3 33 quotes 10.0.0.1>10.0.0.2 17"),
    );
    // An echo quotes nothing, whatever it carries.
    check(ETHERNET, &error("0800", &quoted), &format!("{head} 8/0 53"));
    let error = |kind: &str, quoted: &[u8]| {
        ethernet(0x86dd, &ipv6(58, &join(&[&hex(kind), &hex("0000 00000000"), quoted])))
    };
    let head = "0a>0b fd00::1>fd00::2 icmpv6";
    let quoted = ipv6(0, &join(&[&hex("1100 010400000000"), &udp(53, b"x")]));
    check(ETHERNET, &error("0101", &quoted), &format!("{head} 1/1 61 quotes fd00::1>fd00::2 17 1000>53"));
    check(ETHERNET, &error("0101", &quoted[..44]), &format!("{head} 1/1 48 quotes fd00::1>fd00::2 0"));
    check(ETHERNET, &error("8700", &quoted), &format!("{head} 135/0 61"));
}

#[test]
fn link_types() {
    let v4 = ipv4(17, &udp(161, b""));
    let v6 = ipv6(17, &udp(161, b""));
    let four = "10.0.0.1>10.0.0.2 udp 1000>161 0";
    let six = "fd00::1>fd00::2 udp 1000>161 0";
    for link in [12, 14, 101] {
        check(LinkType(link), &v4, four);
        check(LinkType(link), &v6, six);
    }
    check(LinkType::IPV4, &v4, four);
    check(LinkType::IPV4, &v6, "bad-ipv4");
    check(LinkType::IPV6, &v6, six);
    let with = |head: &str, payload: &[u8]| join(&[&hex(head), payload]);
    check(LinkType::NULL, &with("02000000", &v4), four);
    check(LinkType::NULL, &with("00000002", &v4), four);
    check(LinkType::LOOP, &with("0000001c", &v6), six);
    for family in ["0a000000", "17000000", "18000000", "1c000000", "1e000000"] {
        check(LinkType::NULL, &with(family, &v6), six);
    }
    check(LinkType::NULL, &with("63000000", &v4), "bad-loopback");
    check(LinkType::LINUX_SLL, &with("0000 0001 0006 00000000000a 0000 0800", &v4), &format!("0a>00 {four}"));
    check(LinkType::LINUX_SLL, &with("0004 fffe 0000 000000000000 0000 86dd", &v6), six);
    check(
        LinkType::LINUX_SLL,
        &with("0000 0001 0006 00000000000a 0000 0004", &hex("424203 0000")),
        "0a>00 Llc(42) 2",
    );
    check(LinkType::LINUX_SLL, &with("0000 0001 0006 00000000000a 0000 000c", &[1, 2]), "0a>00 Type(c) 2");
    check(
        LinkType::LINUX_SLL2,
        &with("86dd 0000 00000002 0001 00 06 00000000000a 0000", &v6),
        &format!("0a>00 {six}"),
    );
    check(LinkType::PPP_HDLC, &with("ff03 0021", &v4), four);
    check(LinkType(9), &with("0057", &v6), six);
    check(LinkType(9), &with("21", &v4), four);
    check(LinkType(9), &hex("c021 0101 0004"), "Type(880b) 6");
    check(LinkType::C_HDLC, &with("0f00 0800", &v4), four);
    check(LinkType::C_HDLC, &hex("8f00 8035 00000002"), "Type(8035) 4");
    check(LinkType::PPP_ETHER, &with("1100 0005 001e 0021", &v4), &format!("[pppoe 5] {four}"));
    let attributes = "0800 0100 08000003 0a00 0200 6c6f6f000000 0000 1000 0800 0006 0000 00000000000a 0000";
    check(LinkType::NFLOG, &with(&format!("02000000 {attributes} 2000 0900"), &v4), &format!("0a>00 {four}"));
    check(LinkType::NFLOG, &with("02000000 0008 0001 08000003 0020 0009", &v4), four);
    check(LinkType::NFLOG, &hex("02000000 0200 0900"), "bad-nflog");
    check(LinkType(240), &join(&[&[0; 4], &sample(), &[9; 4]]), "0a>0b 10.0.0.1>10.0.0.2 tcp 1024>502 18 12");
}

#[test]
fn a_selective_acknowledgement_tells_its_first_block() {
    let block = |options: &str, payload: &[u8]| {
        let options = hex(options);
        let offset = 0x50 + options.len() as u8 * 4;
        let head =
            [&hex("0400 01f6 00000001 00000002")[..], &[offset, 0x10], &hex("1000 abcd 0000")].concat();
        let bytes = ethernet(0x0800, &ipv4(6, &join(&[&head, &options, payload])));
        match decode(&packet(LinkType::ETHERNET, &bytes)).unwrap().body {
            Body::Tcp(tcp) => tcp.selective,
            _ => None,
        }
    };
    const BLOCK: &str = "0101 050a 00000064 000000c8";
    const TIMES: &str = "0101 080a 00000001 00000002";
    assert_eq!(block(BLOCK, &[]), Some((100, 200)));
    assert_eq!(block(&format!("{TIMES} {BLOCK}"), &[]), Some((100, 200)));
    assert_eq!(block(BLOCK, b"x"), None, "data is told by its own sequence numbers");
    for none in ["", TIMES, "05ff 0000", "0200 0000", "0000 050a 00000064 000000c8"] {
        assert_eq!(block(none, &[]), None, "{none}");
    }
}
