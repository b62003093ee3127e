//! Every capture of the corpus, where it is at hand.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::capture;
use crate::capture::Source;
use crate::model::Observed;

use super::made::check_sums;
use crate::pipeline::Options;
use crate::pipeline::engine::Engine;
use crate::pipeline::merge::Told;
use crate::pipeline::merge::merge;
use crate::pipeline::run;
use crate::pipeline::vantage::Hosts;
use crate::pipeline::worker::delivery;

/// The captures of the corpus, where it is there.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn corpus() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    let found = captures_in(&root);
    if found.is_empty() {
        eprintln!("skipped: no captures in {}", root.display());
    }
    found
}

/// The captures in the folders of a folder.
fn captures_in(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if folder != root
                && path.extension().is_none_or(|ending| ending != "json" && ending != "md")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What is told of a capture where every packet is decoded layer by layer and none is counted quickly; `None` where it is none.
fn the_long_way(path: &PathBuf, options: &Options) -> Option<Observed> {
    let mut source = capture::open(std::slice::from_ref(path), &capture::Options::default()).ok()?;
    let hosts = Hosts::default();
    let mut engine = Engine::new(options, options.bounds(), Arc::clone(&hosts));
    let Engine { shards, dispatcher, cells, .. } = &mut engine;
    while source.advance().unwrap() {
        let packet = source.packet();
        dispatcher.take_unusual(&packet, &mut |shard, tasks, item, frame| {
            shards[shard].take(&delivery(item, frame, &packet, tasks), cells);
        });
    }
    let (shards, read) = engine.finish();
    Some(merge(shards, read, &hosts, Told::of(&source), options.keep_flows))
}

#[test]
fn what_is_counted_quickly_is_judged_as_what_takes_the_long_way() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cases");
    let mut captures = captures_in(&cases);
    assert!(captures.len() > 10);
    captures.extend(corpus());
    let options = Options { keep_flows: true, ..Options::default() };
    for path in captures {
        let Some(long) = the_long_way(&path, &options) else { continue };
        let mut source = capture::open(std::slice::from_ref(&path), &capture::Options::default()).unwrap();
        let told = run(&mut source, &options, &|_, _| {}).unwrap();
        assert!(format!("{told:?}") == format!("{long:?}"), "{}", path.display());
    }
}

#[test]
fn every_packet_of_the_corpus_is_accounted_for() {
    for path in corpus() {
        let Ok(mut source) = capture::open(std::slice::from_ref(&path), &capture::Options::default()) else {
            continue;
        };
        let told = run(&mut source, &Options { keep_flows: true, ..Options::default() }, &|_, _| {}).unwrap();
        check_sums(&told, &path.display().to_string());
        let read: u64 = told.inputs.iter().map(|input| input.packets).sum();
        assert_eq!(read, told.tally.packets, "{}", path.display());
    }
}

#[test]
fn any_number_of_workers_tells_the_same() {
    for path in corpus() {
        let told = |workers| {
            let mut source = capture::open(std::slice::from_ref(&path), &capture::Options::default()).ok()?;
            let options = Options { keep_flows: true, workers, ..Options::default() };
            Some(format!("{:?}", run(&mut source, &options, &|_, _| {}).unwrap()))
        };
        let alone = told(1);
        assert!(alone == told(2) && alone == told(7), "{}", path.display());
    }
}
