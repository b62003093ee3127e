//! What holds for every protocol of the registry at once.

#![expect(clippy::print_stdout, reason = "a test says what it skips and what it finds")]

use proptest::prelude::*;

use super::Carrier;
use super::PROTOCOLS;
use super::Probe;
use super::Seen;
use super::Side;
use super::harness;
use crate::model::EtherKind;

const CARRIERS: [Carrier; 4] = [
    Carrier::Tcp,
    Carrier::Udp,
    Carrier::Ethernet(EtherKind::Type(0x8892)),
    Carrier::Ethernet(EtherKind::Llc(0x82)),
];

/// A xorshift generator: the same noise in every run, so that a failure can be found again.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }

    /// Words, blanks and line ends, as in no protocol in particular.
    fn text(&mut self, length: usize) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "the",
            "pump",
            "valve",
            "is",
            "open",
            "17",
            "value",
            "=",
            "temperature",
            "3.5",
            "OK",
            "start",
            "of",
            "line",
            "error:",
            "plant",
        ];
        let mut text = String::new();
        while text.len() < length {
            text.push_str(WORDS[self.below(WORDS.len())]);
            text.push_str([" ", " ", " ", ", ", "\n", "\r\n"][self.below(6)]);
        }
        text.into_bytes()
    }

    /// As a compressed stream: a zlib or gzip header, then noise.
    fn compressed(&mut self, length: usize) -> Vec<u8> {
        let head: &[u8] =
            [&b"\x78\x9c"[..], b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", b"\x28\xb5\x2f\xfd"]
                [self.below(3)];
        let mut bytes = head.to_vec();
        bytes.extend(self.bytes(length));
        bytes
    }

    /// Process values: mostly zeros and small integers, where weak headers match soonest.
    fn small(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| if self.below(3) == 0 { self.below(32) as u8 } else { 0 }).collect()
    }
}

fn split(noise: &mut Noise, length: usize, pieces: usize) -> Vec<u16> {
    let mut ends: Vec<u16> = (1..pieces).map(|_| 1 + noise.below(length.max(1)) as u16).collect();
    ends.push(length as u16);
    ends.retain(|&end| usize::from(end) <= length);
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// Flows of every kind of noise, each told to `each` with its kind.
fn noise_flows(count: usize, seed: u64, mut each: impl FnMut(&'static str, &Seen<'_>)) {
    let mut noise = Noise(seed);
    for number in 0..count {
        let length = [1, 2, 4, 8, 12, 20, 48, 64, 100, 300, 900][noise.below(11)] + noise.below(8);
        let (kind, bytes) = match number % 4 {
            0 => ("random", noise.bytes(length)),
            1 => ("text", noise.text(length)),
            2 => ("compressed", noise.compressed(length)),
            _ => ("small", noise.small(length)),
        };
        let answer = match number % 3 {
            0 => Vec::new(),
            1 => noise.bytes(length),
            _ => noise.small(length),
        };
        let pieces = 1 + noise.below(4);
        let ends = split(&mut noise, bytes.len(), pieces);
        let answer_ends = split(&mut noise, answer.len(), 1);
        let from_start = noise.below(2) == 0;
        for carrier in CARRIERS {
            let from_start = from_start || carrier != Carrier::Tcp;
            let side = |bytes, ends| Side {
                bytes,
                ends,
                from_start,
                complete: true,
                lacks: &[],
                read: 0,
                before: 0,
            };
            each(
                kind,
                &Seen {
                    carrier,
                    first: side(&bytes, &ends),
                    second: side(&answer, &answer_ends),
                    known: None,
                },
            );
        }
    }
}

#[test]
fn names_are_unique_and_facts_documented() {
    for (at, protocol) in PROTOCOLS.iter().enumerate() {
        let about = protocol.about();
        assert!(!about.name.is_empty() && !about.title.is_empty() && !about.spec.is_empty(), "{about:?}");
        assert!(
            PROTOCOLS.iter().skip(at + 1).all(|other| other.about().name != about.name),
            "{}",
            about.name
        );
        assert!(
            about.facts.iter().all(|(key, meaning)| key.contains('.') && !meaning.is_empty()),
            "{about:?}"
        );
    }
}

#[test]
fn silence_is_judged_by_none() {
    for carrier in [Carrier::Tcp, Carrier::Udp] {
        for protocol in PROTOCOLS {
            let seen = Seen { carrier, first: Side::default(), second: Side::default(), known: None };
            let probe = protocol.probe(&seen);
            // A protocol that never runs over a carrier may say so at once.
            assert!(!matches!(probe, Probe::Proven(_)), "{} proves silence", protocol.about().name);
        }
    }
    for protocol in PROTOCOLS {
        let open = CARRIERS.iter().chain(ETHERTYPES).any(|&carrier| {
            protocol.probe(&Seen { carrier, first: Side::default(), second: Side::default(), known: None })
                == Probe::NeedMore
        });
        assert!(open, "{} judges silence on every carrier", protocol.about().name);
    }
}

/// Ethertypes that protocols of the registry use.
const ETHERTYPES: &[Carrier] = &[
    Carrier::Ethernet(EtherKind::Type(0x88ab)),
    Carrier::Ethernet(EtherKind::Type(0x8809)),
    Carrier::Ethernet(EtherKind::Type(0x888e)),
    Carrier::Ethernet(EtherKind::Type(0x88e3)),
    Carrier::Ethernet(EtherKind::Type(0x88fb)),
    Carrier::Ethernet(EtherKind::Type(0x88f7)),
    Carrier::Ethernet(EtherKind::Type(0x9000)),
    Carrier::Ethernet(EtherKind::Type(0x88b8)),
    Carrier::Ethernet(EtherKind::Type(0x88ba)),
    Carrier::Ethernet(EtherKind::Type(0x88a4)),
    Carrier::Ethernet(EtherKind::Type(0x88cc)),
    Carrier::Ethernet(EtherKind::Type(0x0806)),
    Carrier::Ethernet(EtherKind::Type(0x88e1)),
    Carrier::Ethernet(EtherKind::Llc(0x42)),
    Carrier::Ethernet(EtherKind::Snap([0, 0, 0x0c], 0x2000)),
];

#[test]
fn noise_is_claimed_by_none() {
    let mut claims = Vec::new();
    let mut flows = 0_usize;
    noise_flows(8_000, 0x9e37_79b9_7f4a_7c15, |kind, seen| {
        flows += 1;
        for (name, proof) in harness::classify(seen) {
            claims.push(format!("{name} claims {kind} {seen:02x?}: {proof:?}"));
        }
    });
    for claim in &claims {
        println!("{claim}");
    }
    // The aim of the classifiers: under 1 in 10,000 flows.
    assert!(claims.len() * 10_000 < flows, "{} of {flows} noise flows claimed", claims.len());
}

#[test]
fn noise_that_began_well_does_not_panic() {
    if !harness::present() {
        return;
    }
    let mut noise = Noise(0x0123_4567_89ab_cdef);
    for (mut flow, _) in harness::labelled() {
        for _ in 0..2 {
            for sent in &mut flow.sent {
                for _ in 0..3 {
                    if !sent.bytes.is_empty() {
                        let at = noise.below(sent.bytes.len());
                        sent.bytes[at] = noise.next() as u8;
                    }
                }
            }
            for protocol in PROTOCOLS {
                let _ = protocol.probe(&flow.seen());
            }
        }
    }
}

#[test]
fn a_no_is_final_and_a_proof_stays() {
    if !harness::present() {
        return;
    }
    for (flow, _) in harness::labelled() {
        for protocol in PROTOCOLS {
            let mut before = Probe::NeedMore;
            for step in 0..flow.steps.len().min(12) {
                let now = protocol.probe(&flow.seen_at(step));
                let kept = matches!(
                    (&before, &now),
                    (Probe::No, Probe::No)
                        | (Probe::NeedMore | Probe::NeedFrom(_), _)
                        | (Probe::Proven(_), Probe::Proven(_))
                );
                let name = protocol.about().name;
                assert!(kept, "{name} {} step {step}: {before:?} became {now:?}", flow.place());
                before = now;
            }
        }
    }
}

#[test]
fn facts_are_documented() {
    if !harness::present() {
        return;
    }
    for (flow, _) in harness::labelled() {
        for protocol in PROTOCOLS {
            let Some(proof) = harness::proof(*protocol, &flow.seen()) else { continue };
            let about = protocol.about();
            for fact in proof.facts.iter() {
                // A stack states the facts of its inner protocols too.
                let known = PROTOCOLS
                    .iter()
                    .filter(|other| {
                        other.about().name == about.name || proof.layers.contains(&other.about().name)
                    })
                    .any(|other| other.about().facts.iter().any(|(key, _)| *key == fact.key));
                assert!(known, "{} states {} without documenting it", about.name, fact.key);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_never_panic(
        first in prop::collection::vec(any::<u8>(), 0..600),
        second in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(any::<u16>(), 0..6),
        from_start in any::<bool>(),
        complete in any::<bool>(),
    ) {
        let mut ends: Vec<u16> = cuts.iter().map(|cut| cut % (first.len() as u16 + 1)).collect();
        ends.push(first.len() as u16);
        ends.sort_unstable();
        let second_ends = [second.len() as u16];
        for carrier in CARRIERS.iter().chain(ETHERTYPES) {
            let seen = Seen {
                carrier: *carrier,
                first: Side { bytes: &first, ends: &ends, from_start, complete, lacks: &[], read: 0, before: 0 },
                second: Side { bytes: &second, ends: &second_ends, from_start, complete, lacks: &[], read: 0, before: 0 }, known: None };
            for protocol in PROTOCOLS {
                let _ = protocol.probe(&seen);
                let mut heard = Vec::new();
                protocol.hear(*carrier, &first, &mut heard);
            }
        }
    }
}
