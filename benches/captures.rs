//! The whole pipeline over recordings: read, decode, flows, classification, merge. Throughput in packets and bytes, with one worker and with two.
//!
//! `SPANAUDIT_CAPTURES=a.pcap:b.pcap cargo bench --bench captures`. Without captures there is nothing to measure, and it says so.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "this is a bench")]

use std::path::PathBuf;
use std::time::Duration;

use criterion::BenchmarkId;
use criterion::Criterion;
use criterion::SamplingMode;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use spanaudit::capture;
use spanaudit::model::Observed;
use spanaudit::pipeline;

fn observe(capture: &PathBuf, workers: usize) -> Observed {
    let mut source = capture::open(std::slice::from_ref(capture), &capture::Options::default()).unwrap();
    let options = pipeline::Options { workers, ..pipeline::Options::default() };
    pipeline::run(&mut source, &options, &|_, _| ()).unwrap()
}

fn whole(c: &mut Criterion) {
    let named = std::env::var_os("SPANAUDIT_CAPTURES").unwrap_or_default();
    let captures: Vec<PathBuf> =
        std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect();
    if captures.is_empty() {
        println!("captures: passed over, since SPANAUDIT_CAPTURES names no recordings");
    }
    let mut group = c.benchmark_group("captures");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(2));
    for capture in captures {
        if !capture.is_file() {
            println!("captures: {} passed over, there is no such file", capture.display());
            continue;
        }
        let seen = observe(&capture, 1);
        let bytes = seen.inputs.iter().map(|input| input.bytes).sum();
        group.throughput(Throughput::ElementsAndBytes { elements: seen.tally.packets, bytes });
        let name = capture.file_stem().unwrap().to_string_lossy().into_owned();
        for workers in [1, 2] {
            group.bench_function(BenchmarkId::new(&name, workers), |b| {
                b.iter(|| observe(&capture, workers).tally.packets)
            });
        }
    }
    group.finish();
}

criterion_group!(benches, whole);
criterion_main!(benches);
