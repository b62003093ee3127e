//! Real captures: what is decoded must agree with the flows that their labels tell.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

use crate::decode::*;
use crate::model::*;

/// A packet with bytes of its own.
pub(super) struct Owned {
    pub at: PacketRef,
    pub link: LinkType,
    pub original: u32,
    pub bytes: Vec<u8>,
}

impl Owned {
    pub fn packet(&self) -> Packet<'_> {
        Packet { at: self.at, link: self.link, interface: 0, original: self.original, bytes: &self.bytes }
    }
}

/// The folder of real captures, where it is there.
pub(super) fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    if folder.is_dir() {
        return Some(folder);
    }
    #[expect(clippy::print_stderr, reason = "a test that compares nothing says so")]
    {
        eprintln!("{} is not there: nothing to compare with", folder.display());
    }
    None
}

/// All packets of a capture file that can be read.
pub(super) fn packets(path: &std::path::Path) -> Vec<Owned> {
    let mut found: Vec<Owned> = Vec::new();
    let Ok(mut reader) = create_reader(1 << 20, File::open(path).unwrap()) else { return found };
    let (mut link, mut nanos) = (0, false);
    let mut interfaces: Vec<(i32, u64)> = Vec::new();
    loop {
        match reader.next() {
            Ok((read, block)) => {
                let mut add = |link: i32, time: i64, original: u32, bytes: &[u8]| {
                    let number = found.len() as u64 + 1;
                    let at = PacketRef::new(Timestamp::from_nanos(time), InputId(0), number);
                    let link = LinkType(link as u16);
                    found.push(Owned { at, link, original, bytes: bytes.to_vec() });
                };
                match block {
                    PcapBlockOwned::LegacyHeader(header) => {
                        (link, nanos) = (header.network.0, header.is_nanosecond_precision());
                    }
                    PcapBlockOwned::Legacy(block) => {
                        let fraction = i64::from(block.ts_usec) * if nanos { 1 } else { 1000 };
                        add(
                            link,
                            i64::from(block.ts_sec) * 1_000_000_000 + fraction,
                            block.origlen,
                            block.data,
                        );
                    }
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                        interfaces.push((block.linktype.0, block.ts_resolution().unwrap_or(1_000_000)));
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                        if let Some(&(link, units)) = interfaces.get(block.if_id as usize) {
                            let ticks = u128::from(block.ts_high) << 32 | u128::from(block.ts_low);
                            let time = ticks * 1_000_000_000 / u128::from(units);
                            add(link, time as i64, block.origlen, block.packet_data());
                        }
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                        if let Some(&(link, _)) = interfaces.first() {
                            add(link, 0, block.origlen, block.packet_data());
                        }
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(read);
            }
            Err(PcapError::Incomplete(_)) => {
                if reader.refill().is_err() || reader.data().is_empty() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    found
}

/// What makes a flow one in the labels: transport, protocol number, unordered ends.
type Key = (String, u16, String, String);

fn key(transport: &str, number: u16, one: String, other: String) -> Key {
    let (a, b) = if one <= other { (one, other) } else { (other, one) };
    (transport.into(), number, a, b)
}

/// Where the packets of a capture went.
struct Counts {
    flows: BTreeMap<Key, u64>,
    undecodable: BTreeMap<&'static str, u64>,
    duplicates: u64,
    pending: u64,
}

/// Counts the packets of each flow of a capture as the labels do.
fn count(path: &std::path::Path) -> Counts {
    let mut flows = BTreeMap::new();
    let mut undecodable = BTreeMap::new();
    let mut defragmenter = Defragmenter::default();
    let (mut total, mut duplicates) = (0, 0);
    for owned in packets(path) {
        total += 1;
        let packet = owned.packet();
        match decode(&packet) {
            Ok(frame) => settle(
                &frame,
                vec![Piece { at: packet.at, original: packet.original }],
                &mut defragmenter,
                &mut flows,
                &mut duplicates,
            ),
            Err(reason) => *undecodable.entry(reason.reason()).or_default() += 1,
        }
    }
    let counted: u64 = flows.values().sum::<u64>() + undecodable.values().sum::<u64>();
    assert_eq!(counted + duplicates + defragmenter.pending(), total, "{}", path.display());
    Counts { flows, undecodable, duplicates, pending: defragmenter.pending() }
}

fn settle(
    frame: &Frame<'_>,
    pieces: Vec<Piece>,
    defragmenter: &mut Defragmenter,
    flows: &mut BTreeMap<Key, u64>,
    duplicates: &mut u64,
) {
    match defragmenter.push_pieces(&pieces, frame) {
        Pushed::NotAFragment => *flows.entry(flow(frame)).or_default() += pieces.len() as u64,
        Pushed::Pending => {}
        Pushed::Duplicate => *duplicates += pieces.len() as u64,
        Pushed::Whole(whole) => match decode_reassembled(&whole.context, &whole.packet) {
            Ok(frame) => settle(&frame, whole.pieces, defragmenter, flows, duplicates),
            Err(reason) => panic!("{reason} in a datagram made whole"),
        },
    }
}

fn flow(frame: &Frame<'_>) -> Key {
    let (source, destination) = match frame.hosts() {
        Some((source, destination)) => (source.to_string(), destination.to_string()),
        None => (String::new(), String::new()),
    };
    let ports = |from: u16, to: u16| (format!("{source} {from}"), format!("{destination} {to}"));
    match &frame.body {
        Body::Tcp(tcp) => {
            let (a, b) = ports(tcp.source, tcp.destination);
            key("tcp", 0, a, b)
        }
        Body::Udp(udp) => {
            let (a, b) = ports(udp.source, udp.destination);
            key("udp", 0, a, b)
        }
        Body::Sctp { source, destination, .. } => {
            let (a, b) = ports(*source, *destination);
            key("sctp", 0, a, b)
        }
        Body::Icmp(_) => key("icmp", 0, source, destination),
        Body::Ip { protocol, .. } => key("ip", u16::from(*protocol), source, destination),
        Body::Fragment(_) => unreachable!(),
        Body::Arp(_) | Body::Ethernet { .. } => {
            // The labels leave an unknown address out.
            let known = |mac: String| if mac == "00:00:00:00:00:00" { String::new() } else { mac };
            key("l2", 0, known(source), known(destination))
        }
    }
}

/// The labelled flows of each capture, packets by flow. Several labels of one MAC pair are summed up.
fn labels() -> BTreeMap<String, BTreeMap<Key, u64>> {
    let mut captures: BTreeMap<String, BTreeMap<Key, u64>> = BTreeMap::new();
    let Some(folder) = folder() else { return captures };
    for line in std::fs::read_to_string(folder.join("labels.jsonl")).unwrap().lines() {
        let label: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| label[name].as_str().unwrap_or_default().to_owned();
        let transport = text("transport");
        if text("layer") == "outer" || transport == "ip-fragment" {
            continue;
        }
        let end = |host: &str, port: &str| match label[port].as_u64() {
            Some(port) if matches!(transport.as_str(), "tcp" | "udp" | "sctp") => {
                format!("{} {port}", text(host))
            }
            _ => text(host),
        };
        let number =
            if transport == "ip" { label["ip_proto"].as_u64().unwrap_or_default() as u16 } else { 0 };
        let key = key(&transport, number, end("a", "a_port"), end("b", "b_port"));
        *captures.entry(text("capture")).or_default().entry(key).or_default() +=
            label["packets"].as_u64().unwrap_or_default();
    }
    captures
}

/// Captures whose labels count otherwise on purpose, each with the reason.
const COUNTED_OTHERWISE: &[(&str, &str)] = &[
    ("ip-fragments/fragmented-1.pcap", "fragments that contradict each other: pending here"),
    ("ip-fragments/ip4_fragments.pcap", "fragments captured twice: duplicates here"),
    ("ip-fragments/ipv6-fragmented-dns.pcap", "two fragments of a whole datagram are pending in the label"),
    ("lab/erspan-mirror.pcap", "labels leave out what is not IP inside a tunnel"),
    ("link-types/packet_snaplen_20.pcap", "cut inside the IPv4 header: undecodable here"),
    ("tcp-states/tcp-reassembly.pcap", "the label is that of a header sampled by sFlow"),
];

#[test]
fn flows_are_those_of_the_labels() {
    let Some(folder) = folder() else { return };
    let mut compared = 0;
    for (capture, labelled) in labels() {
        let is_other = COUNTED_OTHERWISE.iter().any(|(other, _)| *other == capture);
        if is_other || capture.ends_with(".json") {
            continue;
        }
        let counts = count(&folder.join(&capture));
        assert_eq!(counts.flows, labelled, "{capture}");
        assert_eq!(counts.undecodable, BTreeMap::new(), "{capture}");
        compared += 1;
    }
    assert!(compared > 100, "only {compared} captures compared");
}

#[test]
fn what_labels_count_otherwise() {
    let Some(folder) = folder() else { return };
    let count = |capture: &str| count(&folder.join(capture));

    let teardrop = count("ip-fragments/fragmented-1.pcap");
    assert_eq!((teardrop.pending, teardrop.flows.len()), (3, 0));

    // Twelve of the copies are in the label's flow, two came after the datagram was whole and are pending there.
    let copied = count("ip-fragments/ip4_fragments.pcap");
    assert_eq!((copied.duplicates, copied.pending), (14, 0));

    let dns = count("ip-fragments/ipv6-fragmented-dns.pcap");
    let flow = |port: &str| {
        let client = format!("2001:470:1f11:81f:d138:5f55:6d4:1fe2 {port}");
        dns.flows[&key("udp", 0, client, "2607:f740:b::f93 53".into())]
    };
    assert_eq!((flow("51850"), flow("51851"), dns.pending), (2, 5, 1));

    let cut = count("link-types/packet_snaplen_20.pcap");
    assert_eq!(cut.undecodable, BTreeMap::from([("truncated-ipv4", 1)]));

    let mirrored = count("lab/erspan-mirror.pcap");
    assert!(mirrored.flows.keys().all(|(_, protocol, ..)| *protocol != 47));
    assert!(mirrored.flows.keys().any(|(transport, ..)| transport == "l2"));
}

#[test]
fn broken_packets_are_counted_by_reason() {
    let Some(folder) = folder() else { return };
    let count = |capture: &str| count(&folder.join("malformed").join(capture)).undecodable;
    assert_eq!(count("ip4-trunc.pcap"), BTreeMap::from([("truncated-ipv4", 1)]));
    assert_eq!(count("ip6-ext-trunc.pcap"), BTreeMap::from([("truncated-ipv6-extension", 1)]));
    assert_eq!(count("ipv4_invalid_hdr_length.pcap"), BTreeMap::from([("bad-ipv4", 1)]));
    assert_eq!(count("trunc-hdr.pcap"), BTreeMap::from([("truncated-ethernet", 1)]));
    let small = BTreeMap::from([("short-tcp", 2), ("short-udp", 4)]);
    assert_eq!(count("suricata-verify-decode-too-small.pcap"), small);
    // The fragments of a ping that would be longer than a packet can be never become one.
    let ping = super::captures::count(&folder.join("malformed/frag-16.pcap"));
    assert_eq!((ping.pending, ping.undecodable.len()), (47, 0));
}
