//! `spanaudit explain` as its users meet it. The real program is run on a report of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "this is a test")]

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

fn run(words: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_spanaudit")).args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// The report on a recording shipped with the project.
fn report() -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("report.json").display().to_string();
    let case = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/cases/blocked-drop");
    let (capture, site) = (case.join("capture.pcap"), case.join("site.toml"));
    let words = [
        "audit",
        capture.to_str().unwrap(),
        "--site",
        site.to_str().unwrap(),
        "--format",
        "json",
        "-o",
        &path,
    ];
    assert_eq!(run(&words).0, 1);
    (folder, path)
}

#[test]
fn every_finding_requirement_and_conversation_is_explained() {
    let (_folder, path) = report();
    let report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let (code, list, _) = run(&["explain", &path]);
    assert_eq!(code, 0);
    for (index, finding) in report["findings"].as_array().unwrap().iter().enumerate() {
        assert!(list.contains(finding["id"].as_str().unwrap()), "{list}");
        let (code, told, err) = run(&["explain", &path, &(index + 1).to_string(), "--format", "json"]);
        assert_eq!((code, err.as_str()), (0, ""));
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["id"], finding["id"]);
        assert_eq!(told["schema"], "spanaudit.explanation/1");
        // Every packet that the finding cites is a step's, with its filter.
        let steps = told["steps"].to_string();
        for piece in finding["evidence"].as_array().unwrap() {
            assert!(steps.contains(&format!("frame.number == {}", piece["packet"])), "{steps}");
        }
        assert!(
            !told["opposite"].as_array().unwrap().is_empty() && !told["ask"].as_array().unwrap().is_empty()
        );
    }
    for list in ["requirements", "conversations"] {
        for one in report[list].as_array().unwrap().iter().take(20) {
            let (code, told, err) = run(&["explain", &path, one["id"].as_str().unwrap()]);
            assert_eq!((code, err.as_str()), (0, ""));
            assert!(told.contains("WHY"), "{told}");
        }
    }
}

#[test]
fn what_can_not_be_explained_is_told_with_what_can() {
    let (folder, path) = report();
    let (code, out, err) = run(&["explain", &path, "no-such-thing"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("'no-such-thing'") && err.contains("  1  "), "{err}");
    for (text, says) in [
        ("", "not a JSON report"),
        ("{}", "not a report of spanaudit"),
        ("{\"schema\":\"spanaudit.report/9\"}", "spanaudit.report/9"),
        ("{\"schema\":\"spanaudit.report/1\"}", "damaged"),
    ] {
        let wrong = folder.path().join("wrong.json").display().to_string();
        std::fs::write(&wrong, text).unwrap();
        let (code, _, err) = run(&["explain", &wrong, "1"]);
        assert_eq!(code, 2);
        assert!(err.contains(says), "{text}: {err}");
    }
    let (code, _, err) = run(&["explain", "/nowhere/report.json", "1"]);
    assert!(code == 2 && err.contains("/nowhere/report.json"), "{err}");
}

#[test]
fn help_says_what_it_does() {
    let (code, out, _) = run(&["explain", "-h"]);
    assert!(code == 0 && out.contains("REPORT.json") && out.lines().count() <= 48, "{out}");
}
