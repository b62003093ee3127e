//! For tests: the flows of a capture as classifiers see them.
//!
//! Deliberately plain and independent of the pipeline, so that an error there cannot hide one in a classifier.

#![expect(clippy::print_stdout, reason = "a test says what it skips and what it finds")]

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;

use etherparse::EtherType;
use etherparse::LaxNetSlice;
use etherparse::LaxSlicedPacket;
use etherparse::TransportSlice;
use pcap_parser::Block;
use pcap_parser::PcapBlockOwned;
use pcap_parser::PcapError;

use super::Carrier;
use super::End;
use super::PROTOCOLS;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use crate::model::EtherKind;

pub use super::labels::*;

/// Bytes kept of each direction of a TCP flow.
pub const TCP_PREFIX: usize = 8 * 1024;
/// Datagrams kept of each direction of a UDP or Ethernet flow.
pub const DATAGRAMS: usize = 8;
/// Bytes kept of one datagram.
pub const DATAGRAM: usize = 2 * 1024;

/// An address of any kind as text, and its port where it has one.
pub type Address = (String, Option<u16>);

/// What one end sent.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    pub bytes: Vec<u8>,
    pub ends: Vec<u16>,
    pub from_start: bool,
    /// Of each datagram, the bytes that the capture or the prefix lacks.
    pub lacks: Vec<u16>,
    next: Option<u32>,
    pending: BTreeMap<u32, Vec<u8>>,
}

impl Sent {
    /// Takes a TCP segment in its place; early ones wait, repeated bytes are dropped.
    fn segment(&mut self, sequence: u32, payload: &[u8]) {
        let base = *self.next.get_or_insert(sequence);
        if (sequence.wrapping_sub(base) as i32) > 0 {
            if self.pending.len() < 64 {
                self.pending.entry(sequence).or_insert_with(|| payload.to_vec());
            }
            return;
        }
        self.append(sequence, payload);
        while let Some(next) = self.next {
            let Some(key) = self.pending.keys().copied().find(|key| (key.wrapping_sub(next) as i32) <= 0)
            else {
                break;
            };
            let waiting = self.pending.remove(&key).unwrap();
            self.append(key, &waiting);
        }
    }

    fn append(&mut self, sequence: u32, payload: &[u8]) {
        let next = self.next.unwrap();
        let known = next.wrapping_sub(sequence) as usize;
        let Some(fresh) = payload.get(known..).filter(|fresh| !fresh.is_empty()) else { return };
        self.next = Some(next.wrapping_add(fresh.len() as u32));
        let room = TCP_PREFIX.saturating_sub(self.bytes.len());
        if room > 0 {
            self.bytes.extend_from_slice(&fresh[..fresh.len().min(room)]);
            self.ends.push(self.bytes.len() as u16);
        }
    }

    fn datagram(&mut self, payload: &[u8], length: usize) {
        if self.ends.len() < DATAGRAMS {
            let kept = payload.len().min(DATAGRAM);
            self.bytes.extend_from_slice(&payload[..kept]);
            self.ends.push(self.bytes.len() as u16);
            self.lacks.push(length.saturating_sub(kept) as u16);
        }
    }
}

/// One flow of a capture.
#[derive(Clone, Debug)]
pub struct Flow {
    pub capture: String,
    pub carrier: Carrier,
    /// Who opened it, or was heard first.
    pub a: Address,
    pub b: Address,
    /// What `a` and `b` sent.
    pub sent: [Sent; 2],
    /// After each packet with payload: how many of each side's `ends` there were.
    pub steps: Vec<[usize; 2]>,
}

impl Flow {
    /// The whole prefix of both ends, as at the end of the flow.
    pub fn seen(&self) -> Seen<'_> {
        self.seen_sides(true, true)
    }

    /// The same as heard from the named ends alone.
    pub fn seen_sides(&self, first: bool, second: bool) -> Seen<'_> {
        let counts = [if first { usize::MAX } else { 0 }, if second { usize::MAX } else { 0 }];
        self.cut(counts, true)
    }

    /// What was there after one of `steps`, before the flow ended.
    pub fn seen_at(&self, step: usize) -> Seen<'_> {
        self.cut(self.steps[step], false)
    }

    /// The datagrams as a capture holds them that keeps so many bytes of each.
    pub fn snapped(&self, most: usize) -> Self {
        let mut snapped = self.clone();
        for (sent, whole) in snapped.sent.iter_mut().zip(&self.sent) {
            *sent = Sent { from_start: whole.from_start, ..Sent::default() };
            let side = Side { lacks: &whole.lacks, ..Side::of(&whole.bytes, &whole.ends) };
            for (bytes, length) in side.datagrams() {
                sent.datagram(&bytes[..bytes.len().min(most)], length);
            }
        }
        snapped
    }

    /// Only what one end sent, as if it were the first heard and its beginning had been missed.
    pub fn one_sided(&self, end: End) -> Seen<'_> {
        let seen = self.seen();
        let mut first = *seen.side(end);
        first.from_start &= self.carrier != Carrier::Tcp;
        Seen { carrier: self.carrier, first, second: Side::default(), known: None }
    }

    /// The same flow met after its first messages.
    pub fn without_first(&self, messages: usize) -> Self {
        let mut rest = self.clone();
        let before =
            messages.checked_sub(1).and_then(|last| self.steps.get(last)).copied().unwrap_or_default();
        for (sent, count) in rest.sent.iter_mut().zip(before) {
            let cut = count.checked_sub(1).map_or(0, |last| sent.ends[last]);
            sent.bytes.drain(..usize::from(cut));
            sent.ends.drain(..count);
            sent.lacks.drain(..count.min(sent.lacks.len()));
            sent.ends.iter_mut().for_each(|end| *end -= cut);
            sent.from_start = false;
        }
        rest.steps =
            self.steps.iter().skip(messages).map(|step| [step[0] - before[0], step[1] - before[1]]).collect();
        rest
    }

    /// Only what one end sent, in its place.
    pub fn heard_from(&self, end: End) -> Seen<'_> {
        self.seen_sides(end == End::First, end == End::Second)
    }

    fn cut(&self, counts: [usize; 2], complete: bool) -> Seen<'_> {
        let side = |index: usize| {
            let sent = &self.sent[index];
            let ends = &sent.ends[..counts[index].min(sent.ends.len())];
            let bytes = &sent.bytes[..ends.last().copied().map_or(0, usize::from)];
            Side {
                bytes,
                ends,
                from_start: sent.from_start || self.carrier != Carrier::Tcp,
                complete,
                lacks: &sent.lacks,
                read: 0,
                before: 0,
            }
        };
        Seen { carrier: self.carrier, first: side(0), second: side(1), known: None }
    }

    /// Where it was found, for messages.
    pub fn place(&self) -> String {
        let port = |port: Option<u16>| port.map_or(String::new(), |port| format!(":{port}"));
        format!(
            "{} {:?} {}{} > {}{}",
            self.capture,
            self.carrier,
            self.a.0,
            port(self.a.1),
            self.b.0,
            port(self.b.1)
        )
    }
}

/// The folder of captures that lies beside the crate.
pub fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures")
}

/// Whether the folder of captures is there; says so where it isn't.
pub fn present() -> bool {
    let present = captures().join("labels.jsonl").exists();
    if !present {
        println!("skipped: {} is absent", captures().display());
    }
    present
}

/// The flows of one capture, named relative to the folder of captures; what is not Ethernet, raw IP or cooked is left out.
pub fn flows(capture: &str) -> Vec<Flow> {
    let mut table = Table { capture: capture.to_owned(), ..Table::default() };
    let file = std::fs::File::open(captures().join(capture)).unwrap();
    let Ok(mut reader) = pcap_parser::create_reader(1 << 18, file) else { return Vec::new() };
    let mut links = Vec::new();
    loop {
        match reader.next() {
            Ok((offset, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => links.push(header.network.0),
                    PcapBlockOwned::Legacy(packet) => table.packet(links[0], packet.data),
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => links.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                        links.push(interface.linktype.0)
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let link = links.get(packet.if_id as usize).copied().unwrap_or(1);
                        table.packet(link, &packet.data[..packet.data.len().min(packet.caplen as usize)]);
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                        table.packet(links.first().copied().unwrap_or(1), packet.data)
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(offset);
            }
            Err(PcapError::Incomplete(_)) => {
                if reader.refill().is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    table.flows
}

#[derive(Default)]
struct Table {
    capture: String,
    flows: Vec<Flow>,
    index: HashMap<(u8, [Address; 2]), usize>,
}

impl Table {
    fn packet(&mut self, link: i32, data: &[u8]) {
        let packet = match link {
            1 => match LaxSlicedPacket::from_ethernet(data) {
                Ok(packet) => packet,
                Err(_) => return,
            },
            // NULL and LOOP, raw IP, Linux cooked 1 and 2.
            0 | 108 => match data.get(4..).map(LaxSlicedPacket::from_ip) {
                Some(Ok(packet)) => packet,
                _ => return,
            },
            12 | 14 | 101 | 228 | 229 => match LaxSlicedPacket::from_ip(data) {
                Ok(packet) => packet,
                Err(_) => return,
            },
            113 | 276 => {
                let (kind_at, size) = if link == 113 { (14, 16) } else { (0, 20) };
                let (Some(&[high, low]), Some(payload)) = (
                    data.get(kind_at..kind_at + 2).and_then(|kind| kind.first_chunk::<2>()),
                    data.get(size..),
                ) else {
                    return;
                };
                LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes([high, low])), payload)
            }
            _ => return,
        };
        let ips: Option<(IpAddr, IpAddr)> = match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
            }
            _ => None,
        };
        match (ips, &packet.transport) {
            (Some((from, to)), Some(TransportSlice::Tcp(tcp))) => {
                let from = (from.to_string(), Some(tcp.source_port()));
                let to = (to.to_string(), Some(tcp.destination_port()));
                self.tcp(from, to, tcp.to_header().syn, tcp.ack(), tcp.sequence_number(), tcp.payload());
            }
            (Some((from, to)), Some(TransportSlice::Udp(udp))) => {
                let from = (from.to_string(), Some(udp.source_port()));
                let to = (to.to_string(), Some(udp.destination_port()));
                let (at, end) = self.find(1, Carrier::Udp, from, to, false);
                self.flows[at].sent[end].datagram(udp.payload(), usize::from(udp.length()).saturating_sub(8));
                self.step(at);
            }
            (None, None) if link == 1 => self.ethernet(data),
            _ => {}
        }
    }

    fn ethernet(&mut self, data: &[u8]) {
        let mac = |at: usize| -> Option<Address> {
            let bytes = data.get(at..at + 6)?;
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some((hex.join(":"), None))
        };
        let (Some(to), Some(from)) = (mac(0), mac(6)) else { return };
        let mut at = 12;
        let mut kind;
        loop {
            let Some(bytes) = data.get(at..at + 2) else { return };
            kind = u16::from_be_bytes([bytes[0], bytes[1]]);
            at += 2;
            if !matches!(kind, 0x8100 | 0x88a8) {
                break;
            }
            at += 2;
        }
        let (kind, payload) = if kind >= 0x600 {
            (EtherKind::Type(kind), &data[at..])
        } else {
            let payload = &data[at..data.len().min(at + usize::from(kind))];
            match payload {
                [0xaa, 0xaa, 0x03, 0, 0, 0, high, low, rest @ ..] => {
                    (EtherKind::Type(u16::from_be_bytes([*high, *low])), rest)
                }
                [0xaa, 0xaa, 0x03, a, b, c, high, low, rest @ ..] => {
                    (EtherKind::Snap([*a, *b, *c], u16::from_be_bytes([*high, *low])), rest)
                }
                [sap, _, _, rest @ ..] => (EtherKind::Llc(*sap), rest),
                _ => return,
            }
        };
        let (at, end) = self.find(2, Carrier::Ethernet(kind), from, to, false);
        self.flows[at].sent[end].datagram(payload, payload.len());
        self.step(at);
    }

    fn tcp(&mut self, from: Address, to: Address, syn: bool, ack: bool, sequence: u32, payload: &[u8]) {
        let opens = syn && !ack;
        let (at, end) = self.find(0, Carrier::Tcp, from, to, opens);
        let flow = &mut self.flows[at];
        if syn {
            if flow.sent[end].next.is_none() {
                flow.sent[end].from_start = true;
                flow.sent[end].next = Some(sequence.wrapping_add(1));
            }
            if !ack && end == 1 && flow.sent.iter().all(|sent| sent.bytes.is_empty()) {
                // The SYN-ACK was recorded first.
                std::mem::swap(&mut flow.a, &mut flow.b);
                flow.sent.swap(0, 1);
            } else if ack && end == 0 && flow.sent.iter().all(|sent| sent.bytes.is_empty()) {
                std::mem::swap(&mut flow.a, &mut flow.b);
                flow.sent.swap(0, 1);
            }
            return;
        }
        // A keep-alive repeats one byte that was acknowledged: it is no beginning.
        if !payload.is_empty() && (flow.sent[end].next.is_some() || payload != [0]) {
            flow.sent[end].segment(sequence, payload);
            self.step(at);
        }
    }

    fn step(&mut self, at: usize) {
        let flow = &mut self.flows[at];
        let now = [flow.sent[0].ends.len(), flow.sent[1].ends.len()];
        if flow.steps.last() != Some(&now) {
            flow.steps.push(now);
        }
    }

    /// The flow of this pair and which of its ends sent the packet; an opening after data begins another flow.
    fn find(
        &mut self,
        kind: u8,
        carrier: Carrier,
        from: Address,
        to: Address,
        opens: bool,
    ) -> (usize, usize) {
        let mut pair = [from.clone(), to.clone()];
        pair.sort();
        let kind = match carrier {
            Carrier::Ethernet(ether) => kind ^ (ether.number() as u8) << 3 ^ (ether.number() >> 8) as u8,
            _ => kind,
        };
        let known = self.index.get(&(kind, pair.clone())).copied();
        if let Some(at) = known {
            let flow = &self.flows[at];
            if flow.carrier == carrier && !(opens && flow.sent.iter().any(|sent| !sent.bytes.is_empty())) {
                return (at, usize::from(flow.a != from));
            }
        }
        let at = self.flows.len();
        self.index.insert((kind, pair), at);
        self.flows.push(Flow {
            capture: self.capture.clone(),
            carrier,
            a: from,
            b: to,
            sent: Default::default(),
            steps: Vec::new(),
        });
        (at, 0)
    }
}

/// Every protocol of the registry that claims the flow, with its proof.
pub fn classify(seen: &Seen<'_>) -> Vec<(&'static str, Proof)> {
    PROTOCOLS
        .iter()
        .filter_map(|protocol| proof(*protocol, seen).map(|proof| (protocol.about().name, proof)))
        .collect()
}

/// The proof of one protocol, where it has one.
pub fn proof(protocol: &dyn Protocol, seen: &Seen<'_>) -> Option<Proof> {
    protocol.probe(seen).proof()
}

/// Datagrams as one side of a UDP flow: the bytes and their ends.
pub fn joined(messages: &[&[u8]]) -> (Vec<u8>, Vec<u16>) {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for message in messages {
        bytes.extend_from_slice(message);
        ends.push(bytes.len() as u16);
    }
    (bytes, ends)
}

/// Probes messages of one end, from their start, the other end silent.
pub fn probe_messages(protocol: &dyn Protocol, carrier: Carrier, messages: &[&[u8]]) -> Probe {
    probe_both(protocol, carrier, messages, &[])
}

/// Probes messages of both ends, from their start.
pub fn probe_both(protocol: &dyn Protocol, carrier: Carrier, first: &[&[u8]], second: &[&[u8]]) -> Probe {
    let (first, first_ends) = joined(first);
    let (second, second_ends) = joined(second);
    protocol.probe(&Seen {
        carrier,
        first: Side::of(&first, &first_ends),
        second: Side::of(&second, &second_ends),
        known: None,
    })
}

/// Bytes from hexadecimal text; blanks are passed over.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn flows_of_a_capture_are_read() {
    if !present() {
        return;
    }
    let flows = flows("amqp/amqp.pcap");
    assert!(flows.len() >= 3);
    assert!(flows.iter().all(|flow| flow.carrier == Carrier::Tcp && !flow.steps.is_empty()));
    let labels = labels();
    assert!(flows.iter().all(|flow| label(&labels, flow).is_some()));
}
