//! What it costs to tell a payload: each protocol on its own payloads and on noise, and the registry as a whole.
//!
//! Payloads are the first of each end of each flow in the cases that the project ships. Criterion keeps each run under `target/criterion`.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "this is a bench")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::Path;
use std::path::PathBuf;

use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use spanaudit::capture;
use spanaudit::capture::Source;
use spanaudit::classify::Carrier;
use spanaudit::classify::End;
use spanaudit::classify::PROTOCOLS;
use spanaudit::classify::Probe;
use spanaudit::classify::Seen;
use spanaudit::classify::Side;
use spanaudit::classify::candidates;
use spanaudit::decode;
use spanaudit::decode::Body;

/// A first payload and what carried it.
type Payload = (Carrier, Vec<u8>);

fn captures() -> Vec<PathBuf> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cases");
    let files = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let mut found: Vec<PathBuf> = files(&cases)
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|folder| files(folder))
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("capture."))
        .collect();
    found.sort();
    found
}

/// The first payload of each end of each flow, every one once.
fn payloads() -> Vec<Payload> {
    let mut ends = BTreeSet::new();
    let mut found = BTreeSet::new();
    let mut told = Vec::new();
    for path in captures() {
        let mut source = capture::open(&[path], &capture::Options::default()).unwrap();
        while source.advance().unwrap() {
            let packet = source.packet();
            let Ok(frame) = decode::decode(&packet) else { continue };
            let Some(network) = frame.network else { continue };
            let (carrier, ports, bytes) = match frame.body {
                Body::Tcp(tcp) => (Carrier::Tcp, (tcp.source, tcp.destination), tcp.payload),
                Body::Udp(udp) => (Carrier::Udp, (udp.source, udp.destination), udp.payload),
                _ => continue,
            };
            let end = (carrier == Carrier::Tcp, network.source, network.destination, ports);
            if !bytes.is_empty() && ends.insert(end) && found.insert(bytes.to_vec()) {
                told.push((carrier, bytes.to_vec()));
            }
        }
    }
    told
}

/// Random bytes of the lengths that payloads have (xorshift).
fn noise() -> Vec<Payload> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..256)
        .map(|number| {
            let length = 1 + (next() % 600) as usize;
            let carrier = if number % 2 == 0 { Carrier::Tcp } else { Carrier::Udp };
            (carrier, (0..length).map(|_| (next() >> 32) as u8).collect())
        })
        .collect()
}

fn with<T>((carrier, bytes): &Payload, ask: impl FnOnce(&Seen<'_>) -> T) -> T {
    let ends = [bytes.len() as u16];
    ask(&Seen { carrier: *carrier, first: Side::of(bytes, &ends), second: Side::default(), known: None })
}

/// As the pipeline asks: those whom the first byte leaves, until one knows.
fn first_look(seen: &Seen<'_>, out: candidates::Set) -> Option<&'static str> {
    candidates::left(out)
        .map(|at| PROTOCOLS[at])
        .find_map(|protocol| matches!(protocol.probe(seen), Probe::Proven(_)).then(|| protocol.about().name))
}

fn bench(criterion: &mut Criterion) {
    let (real, noise) = (payloads(), noise());
    let mut registry = criterion.benchmark_group("registry");
    for (what, payloads) in [("real", &real), ("noise", &noise)] {
        registry.throughput(Throughput::Elements(payloads.len() as u64));
        registry.bench_function(BenchmarkId::new("candidates", what), |bench| {
            bench.iter(|| {
                for payload in payloads {
                    with(payload, |seen| black_box(first_look(seen, candidates::deaf(seen, End::First))));
                }
            });
        });
        registry.bench_function(BenchmarkId::new("all", what), |bench| {
            bench.iter(|| {
                for payload in payloads {
                    with(payload, |seen| black_box(first_look(seen, 0)));
                }
            });
        });
    }
    registry.finish();

    let mut own: BTreeMap<&str, Vec<&Payload>> = BTreeMap::new();
    for payload in &real {
        if let Some(name) = with(payload, |seen| first_look(seen, 0)) {
            own.entry(name).or_default().push(payload);
        }
    }
    let mut each = criterion.benchmark_group("each");
    for protocol in PROTOCOLS {
        let name = protocol.about().name;
        let noise: Vec<&Payload> = noise.iter().collect();
        for (what, payloads) in [("own", own.get(name)), ("noise", Some(&noise))] {
            let Some(payloads) = payloads else { continue };
            each.throughput(Throughput::Elements(payloads.len() as u64));
            each.bench_function(BenchmarkId::new(name, what), |bench| {
                bench.iter(|| {
                    for payload in payloads {
                        with(payload, |seen| black_box(protocol.probe(seen)));
                    }
                });
            });
        }
    }
    each.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
