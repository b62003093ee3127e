//! `audit --evidence` as its users meet it. The real program is run, and what it wrote is read back with its own reader.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "this is a test")]

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use spanaudit::capture;
use spanaudit::capture::Source;
use tempfile::TempDir;

fn run(words: &[&str]) -> (i32, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_spanaudit")).args(words).output().unwrap();
    (done.status.code().unwrap(), String::from_utf8(done.stderr).unwrap())
}

fn case() -> (String, String) {
    let case = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/cases/blocked-drop");
    (case.join("capture.pcap").display().to_string(), case.join("site.toml").display().to_string())
}

#[test]
fn every_finding_has_a_file_with_the_packets_that_it_cites() {
    let ((capture, site), folder) = (case(), TempDir::new().unwrap());
    let out = folder.path().join("evidence");
    let report = folder.path().join("report.json").display().to_string();
    let words = [
        "audit",
        &capture,
        "--site",
        &site,
        "--format",
        "json",
        "-o",
        &report,
        "--evidence",
        out.to_str().unwrap(),
    ];
    let (code, err) = run(&words);
    assert_eq!(code, 1, "{err}");
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let index: Value = serde_json::from_slice(&std::fs::read(out.join("index.json")).unwrap()).unwrap();
    assert_eq!(report["inputs"][0]["sha256"], index["inputs"][0]["sha256"]);
    assert!(index["inputs"][0]["sha256"].is_string());
    for (finding, exhibit) in
        report["findings"].as_array().unwrap().iter().zip(index["findings"].as_array().unwrap())
    {
        assert_eq!(finding["id"], exhibit["id"]);
        let path = out.join(exhibit["file"].as_str().unwrap());
        let mut source = capture::open(&[path], &capture::Options::default()).unwrap();
        let mut read = 0;
        while source.advance().unwrap() {
            read += 1;
        }
        assert_eq!(read, exhibit["packets"].as_array().unwrap().len());
        let cited: Vec<_> = exhibit["packets"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|packet| packet["cited"] == true)
            .map(|packet| &packet["packet"])
            .collect();
        for piece in finding["evidence"].as_array().unwrap() {
            assert!(cited.contains(&&piece["packet"]), "{finding}");
        }
    }
}

#[test]
fn what_can_not_be_is_told_before_anything_is_read() {
    let ((capture, site), folder) = (case(), TempDir::new().unwrap());
    std::fs::write(folder.path().join("note.txt"), "mine").unwrap();
    let full = folder.path().display().to_string();
    let new = folder.path().join("new").display().to_string();
    for (words, says) in [
        (&["audit", &capture, "--site", &site, "--evidence", &full][..], "not empty"),
        (&["audit", "-", "--site", &site, "--evidence", &new][..], "read only once"),
        (&["audit", &capture, "--site", &site, "--payload"][..], "--evidence"),
    ] {
        let (code, err) = run(words);
        assert!(code == 2 && err.contains(says), "{err}");
    }
}
