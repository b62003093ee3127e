//! Every capture of the corpus, where it is at hand.

use std::path::Path;
use std::path::PathBuf;

use crate::capture;

use super::made::check_sums;
use super::made::the_long_way;
use crate::pipeline::Options;
use crate::pipeline::run;

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

#[test]
fn what_is_counted_quickly_is_judged_as_what_takes_the_long_way() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cases");
    let mut captures = captures_in(&cases);
    assert!(captures.len() > 10);
    captures.extend(corpus());
    let options = Options { keep_flows: true, ..Options::default() };
    for path in captures {
        let open = || capture::open(std::slice::from_ref(&path), &capture::Options::default());
        let (Ok(mut source), Ok(mut again)) = (open(), open()) else { continue };
        let told = run(&mut source, &options, &|_, _| {}).unwrap();
        let long = the_long_way(&mut again, &options);
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
