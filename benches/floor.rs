//! The floor under any auditor: read a capture and walk its record headers; the same, and read the headers, and hash the 5-tuple into a table.
//!
//! `cargo bench --bench floor -- CAPTURE.pcap...` prints a line a capture. It times the processor, not the clock, so that a busy machine
//! disturbs less.
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used, clippy::print_stdout)]

use std::collections::HashMap;
use std::path::PathBuf;

use foldhash::fast::RandomState;
use spanaudit::capture;
use spanaudit::capture::Run;
use spanaudit::capture::Source;
use spanaudit::decode;
use spanaudit::flow::Key;
use spanaudit::flow::Place;
use spanaudit::model::CellId;

/// Processor time of this process so far, in seconds: user and system (proc(5), fields 14 and 15 of `stat`, in ticks of 10 ms).
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn main() {
    let captures: Vec<PathBuf> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).map(PathBuf::from).collect();
    if captures.is_empty() {
        println!("floor: no captures named; cargo bench --bench floor -- CAPTURE.pcap...");
    }
    for capture in captures {
        let open = || capture::open(std::slice::from_ref(&capture), &capture::Options::default()).unwrap();
        let begin = processor_time();
        let (mut source, mut packets, mut bytes) = (open(), 0_u64, 0_u64);
        loop {
            let mut run = Run::default();
            if !source.run(&mut run).unwrap() {
                break;
            }
            packets += run.packets.len() as u64;
            bytes += run.packets.iter().map(|packet| packet.bytes.len() as u64).sum::<u64>();
        }
        let walked = processor_time();
        let mut source = open();
        let mut flows: HashMap<_, u64, RandomState> = HashMap::default();
        loop {
            let mut run = Run::default();
            if !source.run(&mut run).unwrap() {
                break;
            }
            for packet in &run.packets {
                let key = match decode::plain(packet) {
                    Some(plain) => Some(Key::of_plain(CellId(0), &plain).0),
                    None => decode::layered(packet)
                        .ok()
                        .and_then(|frame| Place::of(CellId(0), &frame))
                        .map(|place| place.key),
                };
                if let Some(key) = key {
                    *flows.entry(key).or_default() += 1;
                }
            }
        }
        let hashed = processor_time();
        println!(
            "{}: {packets} packets, {bytes} bytes, {} flows; walk {:.2} s, walk and hash {:.2} s",
            capture.display(),
            flows.len(),
            walked - begin,
            hashed - walked
        );
    }
}
