//! No bytes can crash it, hang it or make its sums wrong: prefixes of payloads, whole recordings, recordings cut and damaged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "this is a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;
use std::time::Instant;

use spanaudit::audit;
use spanaudit::capture;
use spanaudit::capture::CaptureError;
use spanaudit::capture::Source;
use spanaudit::classify::Carrier;
use spanaudit::classify::PROTOCOLS;
use spanaudit::classify::Probe;
use spanaudit::classify::Seen;
use spanaudit::classify::Side;
use spanaudit::decode;
use spanaudit::decode::Body;
use spanaudit::model::Facts;
use spanaudit::report::FLOW_FORMATS;
use spanaudit::report::FORMATS;
use spanaudit::rules;
use spanaudit::rules::Site;

use super::common::Noise;
use super::common::cases;
use super::common::corpus;
use super::common::observe;
use super::common::observe_bytes;
use super::common::protocols;
use super::common::tell;
use super::common::tell_flows;

/// Longer than any of the runs below should take on a slow machine, and short enough to tell a loop without end.
const TOO_LONG: Duration = Duration::from_secs(60);

/// One payload and what carried it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Payload {
    carrier: Carrier,
    bytes: Vec<u8>,
}

/// Payloads of the shipped cases that begin differently, at most so many of each case.
fn payloads(most: usize) -> Vec<Payload> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for case in cases() {
        let mut source = capture::open(&[case.capture], &capture::Options::default()).unwrap();
        let end = found.len() + most;
        while found.len() < end && source.advance().unwrap() {
            let packet = source.packet();
            let Ok(frame) = decode::decode(&packet) else { continue };
            let (carrier, bytes) = match frame.body {
                Body::Tcp(tcp) => (Carrier::Tcp, tcp.payload),
                Body::Udp(udp) => (Carrier::Udp, udp.payload),
                Body::Ethernet { kind, payload } => (Carrier::Ethernet(kind), payload),
                _ => continue,
            };
            // Random and counted fields come early: what differs in four bytes or in length is another message.
            let start: Vec<u8> = bytes.iter().take(4).copied().collect();
            if !bytes.is_empty() && known.insert((format!("{carrier:?}"), start, bytes.len() / 64)) {
                found.push(Payload { carrier, bytes: bytes.to_vec() });
            }
        }
    }
    assert!(found.len() > 150, "only {} payloads", found.len());
    found
}

/// Shows the bytes to every protocol as the client's, as the server's, and as both; fails where silence or a fact is wrong.
fn show_all(carrier: Carrier, bytes: &[u8]) {
    let whole = [u16::try_from(bytes.len()).unwrap()];
    for (from_start, complete) in [(true, false), (false, true)] {
        let from_start = from_start || carrier != Carrier::Tcp;
        let side = Side { bytes, ends: &whole, from_start, complete, lacks: &[], read: 0, before: 0 };
        let silent = Side { from_start, complete, ..Side::default() };
        for (first, second) in [(side, silent), (silent, side), (side, side)] {
            let seen = Seen { carrier, first, second, known: None };
            for protocol in PROTOCOLS {
                if let Probe::Proven(proof) = protocol.probe(&seen) {
                    check_facts(protocol.about().facts, protocol.about().name, &proof.facts);
                }
            }
        }
    }
}

/// Shows one end's messages, the other silent, to every protocol.
fn show(carrier: Carrier, bytes: &[u8], ends: &[u16]) {
    let seen = Seen { carrier, first: Side::of(bytes, ends), second: Side::default(), known: None };
    for protocol in PROTOCOLS {
        if let Probe::Proven(proof) = protocol.probe(&seen) {
            check_facts(protocol.about().facts, protocol.about().name, &proof.facts);
        }
    }
}

/// A protocol states facts that it documents, or those of another that speaks inside it.
fn check_facts(documented: &[(&str, &str)], name: &str, stated: &Facts) {
    for fact in stated.iter() {
        let known = documented.iter().any(|(key, _)| *key == fact.key)
            || PROTOCOLS.iter().any(|other| other.about().facts.iter().any(|(key, _)| *key == fact.key));
        assert!(known, "{name} states {} and nobody documents it", fact.key);
    }
}

#[test]
fn every_prefix_and_every_split_of_every_payload_through_every_protocol() {
    let started = Instant::now();
    for payload in payloads(25) {
        let bytes = &payload.bytes[..payload.bytes.len().min(1_500)];
        // Every beginning, and every way to cut it in two, from one end; the other ends and states on some of them.
        for length in 1..=bytes.len() {
            let ends = [length as u16, bytes.len() as u16];
            show(payload.carrier, &bytes[..length], &ends[..1]);
            show(payload.carrier, bytes, if length < bytes.len() { &ends } else { &ends[..1] });
        }
        for length in (0..bytes.len().min(48)).chain((48..bytes.len()).step_by(61)).chain([bytes.len()]) {
            show_all(payload.carrier, &bytes[..length]);
        }
        assert!(started.elapsed() < 5 * TOO_LONG, "hangs at {payload:02x?}");
    }
}

#[test]
fn damaged_payloads_through_every_protocol() {
    let mut noise = Noise(0x5eed_0001);
    for mut payload in payloads(60) {
        payload.bytes.truncate(1_500);
        for _ in 0..6 {
            for _ in 0..=noise.below(3) {
                let at = noise.below(payload.bytes.len());
                payload.bytes[at] = [0, 0xff, 0x7f, 0x80, noise.next() as u8][noise.below(5)];
            }
            show_all(payload.carrier, &payload.bytes);
        }
    }
}

/// Everything that is told of a run, in every format there is.
fn all(observed: &spanaudit::model::Observed) -> Vec<String> {
    static SITE: LazyLock<Site> = LazyLock::new(|| {
        let sets: Vec<String> = rules::builtin().iter().map(|(id, _)| (*id).to_owned()).collect();
        rules::site_unbound(&sets, &protocols()).unwrap_or_else(|_| panic!("built-in rulesets"))
    });
    let report = audit::audit(observed.clone(), &SITE, audit::Options { strict: true, ..Default::default() });
    let mut told: Vec<String> = FORMATS.iter().map(|format| tell(&report, format.name())).collect();
    told.extend(FLOW_FORMATS.iter().map(|format| tell_flows(observed, format.name())));
    told
}

#[test]
fn every_capture_is_told_the_same_by_one_and_by_three() {
    for path in corpus() {
        let paths = std::slice::from_ref(&path);
        let started = Instant::now();
        match (observe(paths, 1), observe(paths, 3)) {
            (Ok(alone), Ok(together)) => {
                assert!(all(&alone) == all(&together), "{}", path.display());
            }
            (Err(alone), Err(together)) => {
                assert_eq!(alone.to_string(), together.to_string(), "{}", path.display());
                assert!(!alone.to_string().is_empty());
            }
            (alone, together) => panic!("{}: {:?} and {:?}", path.display(), alone.err(), together.err()),
        }
        assert!(started.elapsed() < TOO_LONG, "{} takes {:?}", path.display(), started.elapsed());
    }
}

/// The shipped recordings and those beside the checkout, cut to a size of which many variants can be tried.
fn seeds(most: usize) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = cases().into_iter().map(|case| case.capture).collect();
    // The lab's are of the same kind as the shipped ones.
    paths
        .extend(corpus().into_iter().filter(|path| !path.components().any(|part| part.as_os_str() == "lab")));
    let read = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.truncate(most);
        bytes
    };
    paths.iter().map(|path| (path.clone(), read(path))).filter(|(_, bytes)| bytes.len() > 1).collect()
}

/// A run ends well, or with a reason: never otherwise, and soon.
fn survives(bytes: Vec<u8>, workers: usize, what: &str) {
    let started = Instant::now();
    match observe_bytes(bytes, workers, "damaged") {
        Ok(observed) => {
            all(&observed);
        }
        Err(CaptureError::NotACapture { why, .. }) => assert!(!why.is_empty(), "{what}"),
        Err(other) => panic!("{what}: {other}"),
    }
    assert!(started.elapsed() < TOO_LONG, "{what} takes {:?}", started.elapsed());
}

#[test]
fn captures_cut_short_anywhere() {
    for (path, bytes) in seeds(3_072) {
        let mut noise = Noise(0x5eed_0002);
        for point in 0..50 {
            // Half of the cuts in the headers of the file and of its first packets.
            let length = if point < 25 { point * 7 } else { noise.below(bytes.len()) };
            let cut = bytes.get(..length).unwrap_or(&bytes).to_vec();
            survives(cut, 1, &format!("{} cut to {length} bytes", path.display()));
        }
    }
}

#[test]
fn captures_with_random_damage() {
    for (path, bytes) in seeds(3_072) {
        let mut noise = Noise(0x5eed_0003 ^ bytes.len() as u64);
        for round in 0..12 {
            let mut damaged = bytes.clone();
            // The file's own header is spared in half of the rounds, or few would get any further.
            let from = if round % 2 == 0 { 0 } else { 40.min(bytes.len() - 1) };
            for _ in 0..=noise.below(8) {
                let at = from + noise.below(bytes.len() - from);
                damaged[at] ^= 1 << noise.below(8);
            }
            survives(damaged, 1 + round % 2 * 2, &format!("{} damaged, round {round}", path.display()));
        }
    }
}
