//! Tests: a `No` is final, and a `NeedFrom` for the other end, whatever either end says next; and who is not asked, because no message of
//! it may begin so, would have proved nothing.

#![expect(clippy::print_stdout, reason = "a test says what it finds")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::Carrier;
use super::End;
use super::Known;
use super::PROTOCOLS;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::candidates;
use super::harness;
use crate::model::EtherKind;
use crate::model::Facts;

/// What two ends say: a message each time, and whose it is.
struct Talk {
    carrier: Carrier,
    from_start: [bool; 2],
    messages: Vec<(End, Vec<u8>)>,
    /// How many bytes a snap length cut off each datagram.
    lacks: u16,
}

/// What a protocol has said so far of a talk that goes on.
#[derive(Clone, Copy, Default)]
struct Said {
    no: bool,
    proven: bool,
    /// The ends, first and second, that have nothing to add.
    deaf: [bool; 2],
}

impl Talk {
    /// Shows the talk to every protocol as it grows; tells of each that went back on its word.
    fn contradictions(&self) -> Vec<String> {
        let (mut bytes, mut ends) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let lacks = vec![self.lacks; if self.carrier == Carrier::Tcp { 0 } else { self.messages.len() }];
        let mut said = vec![Said::default(); PROTOCOLS.len()];
        let mut found = Vec::new();
        for step in 0..=self.messages.len() {
            let complete = step == self.messages.len();
            let grew = self.messages.get(step).map(|(end, message)| {
                let at = *end as usize;
                bytes[at].extend_from_slice(message);
                ends[at].push(bytes[at].len() as u16);
                at
            });
            let side = |at: usize| match bytes[at].is_empty() {
                true => Side { complete, ..Side::default() },
                false => {
                    let from_start = self.from_start[at] || self.carrier != Carrier::Tcp;
                    Side {
                        bytes: &bytes[at],
                        ends: &ends[at],
                        from_start,
                        complete,
                        lacks: &lacks,
                        read: 0,
                        before: 0,
                    }
                }
            };
            let seen = Seen { carrier: self.carrier, first: side(0), second: side(1), known: None };
            let end = grew.map(|at| [End::First, End::Second][at]);
            let asked = candidates::begun_by(&seen, end) & !end.map_or(0, |end| candidates::deaf(&seen, end));
            for (at, (protocol, said)) in PROTOCOLS.iter().zip(&mut said).enumerate() {
                let now = protocol.probe(&seen);
                let passed_over = !said.proven && asked >> at & 1 == 0;
                let bound = said.no || passed_over || (!said.proven && grew.is_some_and(|at| said.deaf[at]));
                if bound && matches!(now, Probe::Proven(_)) {
                    let name = protocol.about().name;
                    let text = self.messages[..(step + 1).min(self.messages.len())]
                        .iter()
                        .map(|(end, message)| format!("{end:?} {message:02x?}"));
                    let text = text.collect::<Vec<_>>().join(" | ");
                    found.push(format!("{name}: {:?} {:?} {text}", self.carrier, self.from_start));
                }
                match now {
                    Probe::No => said.no = true,
                    Probe::Proven(_) => said.proven = true,
                    Probe::NeedFrom(end) if !complete => said.deaf[end.other() as usize] = true,
                    _ => {}
                }
            }
        }
        found
    }
}

/// The messages of every labelled flow, in the order in which they came: the first few of each capture and protocol.
fn recorded() -> Vec<Talk> {
    let mut talks = Vec::new();
    let mut known: BTreeMap<(String, Option<String>), usize> = BTreeMap::new();
    for (flow, label) in harness::labelled() {
        let count = known.entry((flow.capture.clone(), label.protocol.clone())).or_default();
        *count += 1;
        if *count > 2 {
            continue;
        }
        let mut messages = Vec::new();
        let mut before = [0_usize; 2];
        for &step in flow.steps.iter().take(8) {
            for (at, end) in [End::First, End::Second].into_iter().enumerate() {
                let sent = &flow.sent[at];
                let from = before[at].checked_sub(1).map_or(0, |last| usize::from(sent.ends[last]));
                let to = step[at].checked_sub(1).map_or(0, |last| usize::from(sent.ends[last]));
                if to > from {
                    messages.push((end, sent.bytes[from..to.min(from + 1_500)].to_vec()));
                }
            }
            before = step;
        }
        let from_start = [flow.sent[0].from_start, flow.sent[1].from_start];
        talks.push(Talk { carrier: flow.carrier, from_start, messages, lacks: 0 });
    }
    talks
}

fn fail_on(contradictions: Vec<String>) {
    let mut by_name: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for line in &contradictions {
        let name = line.split(':').next().unwrap_or_default();
        let (count, shortest) = by_name.entry(name).or_insert((0, line));
        *count += 1;
        if line.len() < shortest.len() {
            *shortest = line;
        }
    }
    for (count, line) in by_name.values() {
        let line = line.get(..1_000).unwrap_or(line);
        println!("{count} x {line}");
    }
    assert!(by_name.is_empty(), "{:?} took back a No", by_name.keys());
}

#[test]
fn recorded_talks_with_strange_beginnings_and_strange_other_ends() {
    if !harness::present() {
        return;
    }
    let mut noise = super::tests::Noise(0x5eed_f17a);
    let recorded = recorded();
    let mut contradictions = Vec::new();
    for (at, talk) in recorded.iter().enumerate() {
        let stranger = &recorded[noise.below(recorded.len())];
        let mut variants: Vec<Vec<(End, Vec<u8>)>> = Vec::new();
        // Some of what another flow, or nobody, says comes first, or in between; one end speaks for both; a byte is wrong.
        for strange in [1, 3] {
            let mut messages = talk.messages.clone();
            let before = stranger.messages.iter().take(strange).map(|(end, bytes)| (*end, bytes.clone()));
            let from = [0, 1, 2][noise.below(3)].min(messages.len());
            messages.splice(from..from, before);
            variants.push(messages);
        }
        let mut crossed = talk.messages.clone();
        let length = 1 + noise.below(30);
        crossed.insert(0, ([End::First, End::Second][at % 2], noise.bytes(length)));
        variants.push(crossed);
        variants.push(talk.messages.iter().map(|(_, bytes)| (End::First, bytes.clone())).collect());
        let mut wrong = talk.messages.clone();
        for (_, bytes) in &mut wrong {
            if noise.below(2) == 0 && !bytes.is_empty() {
                let at = noise.below(bytes.len().min(24));
                bytes[at] = noise.next() as u8;
            }
        }
        variants.push(wrong.clone());
        // Split anew, so that what looked whole was not.
        let split = wrong.iter().flat_map(|(end, bytes)| {
            let cut = (bytes.len() / 3).max(1);
            bytes.chunks(cut).map(|part| (*end, part.to_vec())).collect::<Vec<_>>()
        });
        if talk.carrier == Carrier::Tcp {
            variants.push(split.take(12).collect());
        }
        for mut messages in variants {
            messages.retain(|(_, bytes)| !bytes.is_empty());
            let from_start = [noise.below(2) == 0, noise.below(2) == 0];
            let lacks = [0, 1, 300][noise.below(3)];
            contradictions
                .extend(Talk { carrier: talk.carrier, from_start, messages, lacks }.contradictions());
        }
    }
    fail_on(contradictions);
}

/// What follows so many bytes of a stream or so many datagrams.
fn after<'a>(side: &Side<'a>, carrier: Carrier, read: usize, ends: &'a mut Vec<u16>) -> Side<'a> {
    let (before, from) = match carrier {
        Carrier::Tcp => (side.ends.iter().filter(|&&end| usize::from(end) <= read).count(), read),
        _ => (read, read.checked_sub(1).map_or(0, |last| usize::from(side.ends[last]))),
    };
    ends.extend(side.ends[before..].iter().map(|&end| end - from as u16));
    let lacks = side.lacks.get(before..).unwrap_or_default();
    Side { bytes: &side.bytes[from..], ends, lacks, read, before, ..*side }
}

/// What a protocol says of a flow as it grows, until it wants no more: asked to go on from where it was, or to read all of it anew.
fn told(protocol: &dyn Protocol, flow: &harness::Flow, goes_on: bool) -> Option<Proof> {
    let mut said: Option<Proof> = None;
    for step in 0..=flow.steps.len() {
        let mut seen = if step < flow.steps.len() { flow.seen_at(step) } else { flow.seen() };
        let mut ends = [Vec::new(), Vec::new()];
        if let Some(said) = said.as_ref().filter(|_| goes_on) {
            let [first, second] = &mut ends;
            seen.first = after(&seen.first, seen.carrier, said.read[0], first);
            seen.second = after(&seen.second, seen.carrier, said.read[1], second);
            if seen.is_told() {
                continue;
            }
        }
        // What was told before is lent, as the pipeline does.
        let known = seen
            .is_known()
            .then(|| Known::new(said.as_ref().map_or_else(Facts::new, |said| said.facts.clone())));
        seen.known = known.as_ref();
        let Probe::Proven(mut proof) = protocol.probe(&seen) else { continue };
        if let Some(before) = said {
            let mut facts = before.facts;
            proof.facts.iter().for_each(|fact| facts.add(fact.key, fact.value.clone()));
            proof.facts = facts;
            if seen.is_known() {
                let mut layers = before.layers;
                proof.layers.retain(|layer| !layers.contains(layer));
                layers.append(&mut proof.layers);
                (proof.layers, proof.client) = (layers, before.client.or(proof.client));
                proof.unasked &= before.unasked;
            } else {
                proof.client = proof.client.or(before.client);
            }
        }
        let open = proof.open;
        said = Some(proof);
        if !open {
            break;
        }
    }
    said
}

#[test]
fn going_on_says_what_reading_anew_says() {
    if !harness::present() {
        return;
    }
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (flow, _) in harness::labelled() {
        for protocol in PROTOCOLS {
            let anew = told(*protocol, &flow, false);
            let on = told(*protocol, &flow, true);
            let facts = |proof: &Option<Proof>| -> BTreeSet<String> {
                let facts = proof.iter().flat_map(|proof| proof.facts.iter());
                facts.map(|fact| format!("{} {}", fact.key, fact.value)).collect()
            };
            let rest = |proof: &Option<Proof>| {
                proof.as_ref().map(|proof| (proof.layers.clone(), proof.client, proof.unasked))
            };
            let missing: Vec<String> = facts(&anew).difference(&facts(&on)).cloned().collect();
            if !missing.is_empty() || rest(&anew) != rest(&on) {
                let text = format!("{}: {missing:?} {:?} {:?}", flow.place(), rest(&anew), rest(&on));
                wrong.entry(protocol.about().name).or_default().push(text);
            }
        }
    }
    for (protocol, texts) in &wrong {
        println!("{protocol}: {} of them, {}", texts.len(), texts[0]);
    }
    assert!(wrong.is_empty(), "{:?}", wrong.keys());
}

fn carriers() -> impl Strategy<Value = Carrier> {
    prop_oneof![
        4 => Just(Carrier::Tcp),
        4 => Just(Carrier::Udp),
        1 => Just(Carrier::Ethernet(EtherKind::Type(0x8892))),
        1 => Just(Carrier::Ethernet(EtherKind::Llc(0x82))),
    ]
}

/// Bytes in which the numbers of headers are frequent, and texts' first words.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let small = prop::collection::vec(prop_oneof![Just(0_u8), 0..=16_u8, any::<u8>()], 1..40);
    let words: Vec<&[u8]> =
        vec![b"GET ", b"220 x\r\n", b"+OK\r\n", b"\x81\x0a\0\x08\x01\x20", b"SSH-2.0-a\r\n"];
    prop_oneof![3 => small, 1 => prop::sample::select(words).prop_map(<[u8]>::to_vec)]
}

/// An input that the fuzzer found: an empty frame of each end first, then less than a network header from one, and from the other an
/// LLC payload that begins with the network version.
#[test]
fn bacnet_frames_after_empty_ones() {
    let second = [0x01, 0x01, 0x0e, 0x72, 0x00, 0x01, 0x01, 0x0e, 0x47, 0x00, 0x00, 0x00, 0x00];
    let messages = vec![
        (End::First, vec![]),
        (End::Second, vec![]),
        (End::First, vec![0x3a]),
        (End::Second, second.to_vec()),
    ];
    let carrier = Carrier::Ethernet(EtherKind::Llc(0x82));
    fail_on(Talk { carrier, from_start: [true; 2], messages, lacks: 0 }.contradictions());
}

/// Inputs that the fuzzer found: a request line that was accepted whole, though a piece of it had been refused.
#[test]
fn a_request_line_in_pieces() {
    for line in [
        &b"* * HT HTTP/1.0\r\n"[..],
        b"A *\x12HT HTTP/1.0\r\n",
        b"PRI *\x12HT HTTP/1.0\r\n * H\r\n",
        b"I \x08\xff HTTP/1.0\n",
    ] {
        for cut in 1..line.len() {
            let (one, other) = line.split_at(cut);
            let messages = vec![(End::First, one.to_vec()), (End::First, other.to_vec())];
            fail_on(
                Talk { carrier: Carrier::Tcp, from_start: [true; 2], messages, lacks: 0 }.contradictions(),
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_talks(
        carrier in carriers(),
        from_start in any::<[bool; 2]>(),
        messages in prop::collection::vec((any::<bool>(), message()), 1..8),
        lacks in prop_oneof![Just(0_u16), 0..40_u16],
    ) {
        let end = |first| if first { End::First } else { End::Second };
        let messages = messages.into_iter().map(|(first, bytes)| (end(first), bytes)).collect();
        let found = Talk { carrier, from_start, messages, lacks }.contradictions();
        prop_assert!(found.is_empty(), "{found:#?}");
    }
}
