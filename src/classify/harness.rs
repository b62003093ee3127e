//! For tests: the flows of a capture as classifiers see them, and the comparison with labelled captures.
//!
//! Deliberately plain and independent of the pipeline, so that an error there cannot hide one in a classifier.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
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

    fn datagram(&mut self, payload: &[u8]) {
        if self.ends.len() < DATAGRAMS {
            self.bytes.extend_from_slice(&payload[..payload.len().min(DATAGRAM)]);
            self.ends.push(self.bytes.len() as u16);
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

    /// Only what one end sent, as if it were the first heard and its beginning had been missed.
    pub fn one_sided(&self, end: End) -> Seen<'_> {
        let seen = self.seen();
        let mut first = *seen.side(end);
        first.from_start &= self.carrier != Carrier::Tcp;
        Seen { carrier: self.carrier, first, second: Side::default() }
    }

    fn cut(&self, counts: [usize; 2], complete: bool) -> Seen<'_> {
        let side = |index: usize| {
            let sent = &self.sent[index];
            let ends = &sent.ends[..counts[index].min(sent.ends.len())];
            let bytes = &sent.bytes[..ends.last().copied().map_or(0, usize::from)];
            Side { bytes, ends, from_start: sent.from_start || self.carrier != Carrier::Tcp, complete }
        };
        Seen { carrier: self.carrier, first: side(0), second: side(1) }
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
                self.flows[at].sent[end].datagram(udp.payload());
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
        self.flows[at].sent[end].datagram(payload);
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
    match protocol.probe(seen) {
        Probe::Proven(proof) => Some(proof),
        Probe::No | Probe::NeedMore => None,
    }
}

/// One line of `labels.jsonl`, as far as tests need it. Names are those of the contract.
#[derive(Clone, Debug)]
pub struct Label {
    pub protocol: Option<String>,
    pub also: Vec<String>,
    pub high: bool,
    pub mixed: bool,
    pub tls_version: Option<String>,
    pub sni: Option<String>,
}

/// Labels by capture, carrier (`tcp`, `udp`, `l2`) and the unordered pair of ends.
pub type Labels = BTreeMap<String, HashMap<(String, [Address; 2]), Label>>;

/// All labels of flows that are not the outside of a tunnel.
pub fn labels() -> Labels {
    let mut labels = Labels::new();
    let text = std::fs::read_to_string(captures().join("labels.jsonl")).unwrap();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["layer"] == "outer" {
            continue;
        }
        let word = |key: &str| line[key].as_str().map(str::to_owned);
        let port = |key: &str| line[key].as_u64().map(|port| port as u16);
        let mut pair = [
            (word("a").unwrap_or_default(), port("a_port")),
            (word("b").unwrap_or_default(), port("b_port")),
        ];
        pair.sort();
        let contract = |name: String| match name.as_str() {
            "iec61850-goose" => "goose".to_owned(),
            "iec61850-sv" => "sv".to_owned(),
            "omron-fins" => "fins".to_owned(),
            "beckhoff-ads" => "ads".to_owned(),
            _ => name,
        };
        let label = Label {
            protocol: word("protocol").map(contract),
            also: line["also"]
                .as_array()
                .map(|also| also.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
                .unwrap_or_default(),
            high: line["confidence"] == "high",
            mixed: line["mixed"] == true,
            tls_version: word("tls_version"),
            sni: word("sni"),
        };
        // A pair of MAC addresses may have several labels, one a protocol.
        let of_capture = labels.entry(word("capture").unwrap()).or_default();
        match of_capture.entry((word("transport").unwrap(), pair)) {
            Entry::Vacant(vacant) => _ = vacant.insert(label),
            Entry::Occupied(mut known) => known.get_mut().also.extend(label.protocol),
        }
    }
    labels
}

/// The label of a flow.
pub fn label<'a>(labels: &'a Labels, flow: &Flow) -> Option<&'a Label> {
    let transport = match flow.carrier {
        Carrier::Tcp => "tcp",
        Carrier::Udp => "udp",
        Carrier::Ethernet(_) => "l2",
    };
    let mut pair = [flow.a.clone(), flow.b.clone()];
    pair.sort();
    labels.get(&flow.capture)?.get(&(transport.to_owned(), pair))
}

/// All captures that are labelled, with their flows: read once for all tests.
pub fn labelled() -> impl Iterator<Item = (Flow, Label)> {
    static ALL: std::sync::LazyLock<Vec<(Flow, Label)>> = std::sync::LazyLock::new(|| {
        let all = labels();
        let flows = all.keys().flat_map(|capture| flows(capture));
        flows.filter_map(|flow| label(&all, &flow).cloned().map(|label| (flow, label))).collect()
    });
    ALL.iter().cloned()
}

/// What a comparison with the labels gave.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Flows labelled with high confidence as the protocol.
    pub labelled: usize,
    /// Those that it claimed.
    pub right: usize,
    /// Flows of another label that it claimed.
    pub wrong: usize,
    /// One line for each flow missed or wrongly claimed.
    pub trouble: Vec<String>,
}

/// Holds one protocol against every labelled flow, and prints what is missed or wrongly claimed.
///
/// A label of medium confidence counts for nothing against it, nor does a flow that has no label.
pub fn compare(protocol: &dyn Protocol) -> Score {
    let name = protocol.about().name;
    let mut score = Score::default();
    // A 5-tuple used twice is one label: one of its flows suffices.
    let mut by_place: BTreeMap<String, bool> = BTreeMap::new();
    for (flow, label) in labelled() {
        let claimed = proof(protocol, &flow.seen());
        let is = label.protocol.as_deref() == Some(name);
        if is && label.high && !label.mixed && flow.sent.iter().any(|sent| !sent.bytes.is_empty()) {
            let place = match flow.carrier {
                // Labels of MAC pairs do not tell the ethertype.
                Carrier::Ethernet(_) => format!("{} {} {}", flow.capture, flow.a.0, flow.b.0),
                _ => flow.place(),
            };
            *by_place.entry(place).or_default() |= claimed.is_some();
        }
        if let Some(proof) = claimed
            && !is
            && !label.mixed
            && !label.also.iter().any(|also| also == name)
        {
            let inside = label.protocol.as_deref().is_some_and(|other| proof.layers.contains(&other));
            if !inside {
                let counts = label.protocol.is_some() && label.high;
                score.wrong += usize::from(counts);
                let weight = if counts { "WRONG" } else { "unsure" };
                score.trouble.push(format!(
                    "{weight} {}: {name}, label {:?} ({proof:?})",
                    flow.place(),
                    label.protocol
                ));
            }
        }
    }
    for (place, claimed) in by_place {
        score.labelled += 1;
        score.right += usize::from(claimed);
        if !claimed {
            score.trouble.push(format!("missed {place}"));
        }
    }
    println!("{name}: {} of {} labelled, {} wrong", score.right, score.labelled, score.wrong);
    for line in &score.trouble {
        println!("  {line}");
    }
    score
}

/// Holds a protocol against the labels and fails where it misses more, or claims more of others', than allowed.
pub fn check(protocol: &dyn Protocol, most_missed: usize, most_wrong: usize) {
    if !present() {
        return;
    }
    let score = compare(protocol);
    assert!(score.labelled > 0, "no flow is labelled {}", protocol.about().name);
    assert!(score.labelled - score.right <= most_missed, "missed {}", score.labelled - score.right);
    assert!(score.wrong <= most_wrong, "wrongly claimed {}", score.wrong);
}

/// Feeds every labelled flow of the protocol packet by packet; fails where an answer takes back an earlier one.
pub fn check_steps(protocol: &dyn Protocol) {
    if !present() {
        return;
    }
    for (flow, label) in labelled() {
        if label.protocol.as_deref() != Some(protocol.about().name) {
            continue;
        }
        let mut before = Probe::NeedMore;
        for step in 0..flow.steps.len() {
            let now = protocol.probe(&flow.seen_at(step));
            let place = flow.place();
            match (&before, &now) {
                (Probe::No, Probe::No) | (Probe::NeedMore, _) | (Probe::Proven(_), Probe::Proven(_)) => {}
                (before, now) => panic!("{place} step {step}: {before:?} became {now:?}"),
            }
            before = now;
        }
    }
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
