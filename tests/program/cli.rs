//! The command line as its users meet it: help, messages, exit codes, outputs. The real program is run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "this is a test")]

use std::io::Read;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

/// The program, with nothing of the environment that would change what it prints.
fn spanaudit(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spanaudit"));
    command
        .args(words)
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = spanaudit(words).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A classic pcap file (microseconds, little endian, Ethernet) with these packets, one a second.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for (index, packet) in packets.iter().enumerate() {
        let length = packet.len() as u32;
        file.extend([1_795_166_043 + index as u32, 112_345, length, length].map(u32::to_le_bytes).concat());
        file.extend(packet);
    }
    file
}

/// An Ethernet frame with IPv4 and UDP, from 10.1.2.10:40000 to 10.1.9.5:514.
fn udp(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0x1b, 0x1b, 0, 0, 2, 0, 0x1b, 0x1b, 0, 0, 1, 8, 0];
    let length = 28 + payload.len() as u16;
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 1, 2, 10, 10, 1, 9, 5]);
    frame.extend(40_000_u16.to_be_bytes());
    frame.extend(514_u16.to_be_bytes());
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// A folder with one small good capture, `good.pcap`, of three syslog messages.
fn folder() -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let good = folder.path().join("good.pcap");
    let messages = [
        "<13>Nov 20 09:14:03 plc-7 ntpd[12]: synced",
        "<13>Nov 20 09:14:04 plc-7 ntpd[12]: drift",
        "<13>Nov 20 09:14:05 plc-7 a: b",
    ];
    std::fs::write(&good, pcap(&messages.map(|text| udp(text.as_bytes())))).unwrap();
    let good = good.display().to_string();
    (folder, good)
}

fn in_folder(folder: &TempDir, name: &str, bytes: &[u8]) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

/// The captures that lie beside the checkout, where they do.
#[allow(clippy::print_stdout, reason = "a skipped test says so")]
fn lab(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/lab").join(name);
    if path.exists() {
        return Some(path.display().to_string());
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// It could not run, and said in one line why, and in at most one more what to do.
fn could_not_run(words: &[&str], says: &[&str]) {
    let (code, out, err) = run(words);
    assert_eq!(code, 2, "{words:?}: {err}");
    assert_eq!(out, "", "{words:?}");
    assert!(err.starts_with("spanaudit: error: "), "{words:?}: {err}");
    assert!(err.lines().count() <= 2, "{words:?}: {err}");
    for what in says {
        assert!(err.contains(what), "{words:?} should say {what}: {err}");
    }
}

#[test]
fn help_and_version() {
    let (code, out, err) = run(&["--version"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("spanaudit {}\n", env!("CARGO_PKG_VERSION")));
    for words in [
        &["-h"][..],
        &["audit", "-h"],
        &["flows", "-h"],
        &["rules", "-h"],
        &["rules", "check", "-h"],
        &["completions", "-h"],
    ] {
        let (code, out, err) = run(words);
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
        assert!(out.lines().count() <= 48, "{words:?} does not fit a screen: {}", out.lines().count());
        let mut long = words.to_vec();
        *long.last_mut().unwrap() = "--help";
        assert!(run(&long).1.len() >= out.len(), "{words:?}");
    }
    assert!(run(&["--help"]).1.contains("Exit status:"));
    assert!(run(&["audit", "--help"]).1.contains("Examples:"));
}

/// The short help of every command, so that a change of it is seen where it is reviewed.
#[test]
fn short_help_is_as_reviewed() {
    let commands =
        ["", "audit ", "flows ", "rules ", "rules list ", "rules show ", "rules check ", "completions "];
    let told: Vec<String> = commands
        .iter()
        .map(|words| {
            let words: Vec<_> = words.split_whitespace().chain(["-h"]).collect();
            let output = spanaudit(&words).env("COLUMNS", "100").output().unwrap();
            format!("$ spanaudit {}\n{}", words.join(" "), String::from_utf8(output.stdout).unwrap())
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn bad_usage() {
    let (code, _, err) = run(&[]);
    assert_eq!(code, 2);
    assert!(err.contains("Usage: spanaudit"), "{err}");
    for words in [
        &["flows"][..],
        &["flows", "--format", "yaml", "x.pcap"],
        &["nonsense"],
        &["audit", "x.pcap", "--site", "a.toml", "--role", "a=b", "--ruleset", "x"],
        &["audit", "x.pcap", "--ruleset", "x", "--role", "site-manager"],
        &["audit", "x.pcap", "--role", "site-manager=10.1.2.3"],
        &["flows", "-i", "eth0", "x.pcap"],
        &["flows", "--threads", "0", "x.pcap"],
        &["flows", "--duration", "10min", "x.pcap"],
    ] {
        let (code, out, err) = run(words);
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}");
        assert!(err.starts_with("spanaudit: error: "), "{words:?}: {err}");
    }
}

#[test]
fn inputs_that_are_none() {
    let (folder, _) = folder();
    let png = in_folder(&folder, "picture.pcap", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01");
    let empty = in_folder(&folder, "empty.pcap", b"");
    let missing = folder.path().join("missing.pcap").display().to_string();
    for command in ["flows", "audit"] {
        could_not_run(&[command, &png], &["picture.pcap", "PNG"]);
        could_not_run(&[command, &empty], &["empty.pcap", "empty"]);
        could_not_run(&[command, &missing], &["missing.pcap", "No such file"]);
    }
    let bare = TempDir::new().unwrap();
    could_not_run(&["flows", &bare.path().display().to_string()], &["no capture"]);
}

/// A file name can hold anything, and a terminal obeys some of it.
#[cfg(unix)]
#[test]
fn file_names_are_escaped_in_messages() {
    let (_, _, err) = run(&["flows", "missing\x1b[2J\n.pcap"]);
    assert!(err.contains("missing\\x1b[2J\\n.pcap"), "{err:?}");
    assert!(!err.contains('\x1b'));
}

#[test]
fn flows_as_json_lines() {
    let (_folder, good) = folder();
    let (code, out, err) = run(&["flows", "--format", "json", &good]);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines = json_lines(&out);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["transport"], "udp");
    assert_eq!(lines[0]["server"], serde_json::json!({"addr": "10.1.9.5", "port": 514}));
    assert_eq!(lines[0]["packets"], serde_json::json!({"client": 3, "server": 0}));
    assert_eq!(lines[0]["first"], "2026-11-20T09:14:03.112345000Z");
    assert_eq!((&lines[0]["file"], &lines[0]["packet"]), (&Value::from(good.as_str()), &Value::from(1)));
    assert_eq!(lines[1]["totals"]["packets"], 3);
    assert_eq!(lines[1]["totals"]["in_flows"], 3);
}

#[test]
fn standard_input_is_a_capture() {
    let mut child = spanaudit(&["flows", "--format", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&pcap(&[udp(b"<13>a: b")])).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0));
    let lines = json_lines(&String::from_utf8(done.stdout).unwrap());
    assert_eq!(lines[0]["file"], "-");
}

/// What came before the break is told, the break is told as well, and it is no failure.
#[test]
fn a_capture_that_breaks_off() {
    let (folder, _) = folder();
    let mut bytes = pcap(&[udp(b"<13>a: b"), udp(b"<13>a: c")]);
    bytes.truncate(bytes.len() - 5);
    let cut = in_folder(&folder, "cut.pcap", &bytes);
    let (code, out, err) = run(&["flows", "--format", "json", &cut]);
    assert_eq!(code, 0);
    assert_eq!(json_lines(&out).last().unwrap()["totals"]["packets"], 1);
    assert!(
        err.starts_with("spanaudit: warning: ") && err.contains("cut.pcap") && err.contains("packet 2"),
        "{err}"
    );
}

#[test]
fn reports_go_to_files() {
    let (folder, good) = folder();
    let report = folder.path().join("flows.jsonl").display().to_string();
    let (code, out, err) = run(&["flows", "--format", "json", "-o", &report, &good]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    let first = std::fs::read_to_string(&report).unwrap();
    assert_eq!(json_lines(&first).len(), 2);
    // A shorter report leaves nothing of a longer one behind.
    std::fs::write(&report, "x".repeat(1_000_000)).unwrap();
    assert_eq!(run(&["flows", "--format", "json", "-o", &report, &good]).0, 0);
    assert_eq!(std::fs::read_to_string(&report).unwrap(), first);
}

#[test]
fn outputs_are_checked_before_anything_is_read() {
    let (folder, good) = folder();
    let nowhere = folder.path().join("no/such/folder/report.txt").display().to_string();
    could_not_run(&["flows", "-o", &nowhere, &good], &["no/such/folder", "nothing was read"]);
    could_not_run(&["flows", "-o", &folder.path().display().to_string(), &good], &["can't be written"]);
    let before = std::fs::read(&good).unwrap();
    could_not_run(&["flows", "-o", &good, &good], &["overwrite"]);
    assert_eq!(std::fs::read(&good).unwrap(), before);
    // A run that fails leaves no empty report behind.
    let report = folder.path().join("report.txt");
    could_not_run(&["flows", "-o", &report.display().to_string(), "missing.pcap"], &["missing.pcap"]);
    assert!(!report.exists());
}

#[test]
fn a_closed_pipe_is_a_normal_end() {
    let (folder, _) = folder();
    // More output than a pipe holds, so that the writer must notice.
    let packets: Vec<_> = (0_u16..2_000)
        .map(|n| {
            let mut packet = udp(b"<13>a: b");
            packet.splice(34..36, n.to_be_bytes());
            packet
        })
        .collect();
    let many = in_folder(&folder, "many.pcap", &pcap(&packets));
    for words in
        [&["flows", "--format", "json", &many][..], &["flows", &many], &["completions", "bash"], &["--help"]]
    {
        let mut child = spanaudit(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 1]).unwrap();
        drop(out);
        let done = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(done.stderr).unwrap(), "", "{words:?}");
        assert_eq!(done.status.code(), Some(0), "{words:?}");
    }
}

#[test]
fn colours_only_where_wanted() {
    let (_folder, good) = folder();
    let text = |words: &[&str], env: Option<(&str, &str)>| {
        let mut command = spanaudit(words);
        command.envs(env);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(!text(&["flows", &good], None).contains('\x1b'));
    assert!(text(&["flows", "--color", "always", &good], None).contains('\x1b'));
    assert!(!text(&["flows", "--color", "never", &good], Some(("CLICOLOR_FORCE", "1"))).contains('\x1b'));
    assert!(!text(&["flows", &good], Some(("NO_COLOR", "1"))).contains('\x1b'));
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, out, _) = run(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(out.contains("spanaudit"), "{shell}");
    }
}

#[test]
fn the_rulesets() {
    let (code, out, err) = run(&["rules", "list"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for id in ["opswat-md-ot-security", "microsoft-defender-for-iot"] {
        assert!(out.contains(id), "{out}");
        let (code, shown, err) = run(&["rules", "show", id]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(shown.contains("Roles") && shown.contains("Rules") && shown.contains("tcp/443"), "{shown}");
    }
    let (code, _, err) = run(&["rules", "show", "opswat-md-ot-securty"]);
    assert_eq!(code, 2);
    assert!(err.contains("opswat-md-ot-security") && err.contains("spanaudit: error: "), "{err}");
}

#[test]
fn rule_files_are_checked() {
    let folder = TempDir::new().unwrap();
    let wrong = in_folder(&folder, "site.toml", b"[site]\nname = \"x\"\nrulesets = [\"no-such-ruleset\"]\n");
    let (code, out, err) = run(&["rules", "check", &wrong]);
    assert_eq!(code, 2);
    assert!(out.contains("no-such-ruleset") && out.contains("site.toml"), "{out}");
    assert!(err.starts_with("spanaudit: error: "), "{err}");
    let good = in_folder(
        &folder,
        "good.toml",
        b"[site]\nname = \"x\"\nrulesets = [\"opswat-md-ot-security\"]\nfeatures = [\"unidirectional\"]\n\n[roles]\n\
          network-sensor = [\"10.1.2.10\"]\nsite-manager = [\"10.1.9.5\"]\nenterprise-manager = [\"10.2.0.7\"]\n",
    );
    let (code, _, err) = run(&["rules", "check", &good]);
    assert_eq!((code, err.as_str()), (0, ""));
}

/// A site file that is wrong is told before a capture is opened, with its line.
#[test]
fn audits_tell_a_wrong_site_first() {
    let folder = TempDir::new().unwrap();
    let site =
        in_folder(&folder, "site.toml", b"[site]\nname = \"x\"\nrulesets = [\"opswat-md-ot-securty\"]\n");
    let (code, out, err) = run(&["audit", "missing.pcap", "--site", &site]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("site.toml:3") && err.contains("opswat-md-ot-security"), "{err}");
}

/// With nothing but a capture, roles are guessed and the report says so.
#[test]
fn an_audit_without_a_site_is_provisional() {
    let (_folder, good) = folder();
    let (code, out, err) = run(&["audit", &good]);
    assert_eq!((code, err.as_str()), (3, ""), "{out}");
    assert!(out.starts_with("PROVISIONAL"), "{out}");
    // One machine that nobody documents: nothing to offer a site file from, and what to do instead.
    assert!(!out.contains("[roles]") && out.contains("--ruleset ID"), "{out}");
}

#[test]
fn an_audit_says_by_its_status_what_it_found() {
    let Some(capture) = lab("blocked-drop.pcap") else { return };
    let words = [
        "audit",
        &capture,
        "--ruleset",
        "opswat-md-ot-security",
        "--role",
        "network-sensor=10.20.2.11",
        "--role",
        "site-manager=10.20.3.12",
        "--role",
        "enterprise-manager=10.20.4.13",
        "--feature",
        "bidirectional",
    ];
    let (code, out, err) = run(&words);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    assert!(out.starts_with("FINDINGS"), "{out}");
    let (code, json, _) = run(&[&words[..], &["--format", "json"]].concat());
    assert_eq!(code, 1);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&report["schema"], &report["result"]),
        (&Value::from("spanaudit.report/1"), &Value::from("findings"))
    );
}

/// Same input, same report, whatever the number of threads and the order of the files.
#[test]
fn reports_do_not_depend_on_threads_or_order() {
    let (Some(one), Some(two)) = (lab("unexpected.pcapng"), lab("vlan-tagged-mirror.pcap")) else { return };
    for command in ["flows", "audit"] {
        let told = |words: &[&str]| run(&[&[command, "--format", "json"][..], words].concat()).1;
        let reference = told(&["--threads", "1", &one, &two]);
        assert!(reference.len() > 1_000);
        assert_eq!(told(&["--threads", "2", &two, &one]), reference);
        assert_eq!(told(&["--threads", "7", &one, &two, &one]), reference);
    }
}

/// A watch over a recording ends with the report and the status of an audit of it, whatever it told on the way.
#[cfg(feature = "watch")]
#[test]
fn a_watch_concludes_what_an_audit_does() {
    let folder = TempDir::new().unwrap();
    let cases = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/cases");
    for case in ["blocked-drop", "nothing-happens", "healthy-defender"] {
        let capture = cases.join(case).join("capture.pcap").display().to_string();
        let site = cases.join(case).join("site.toml").display().to_string();
        let report = folder.path().join(case).display().to_string();
        let words = ["audit", &capture, "--site", &site, "--format", "json"];
        let (audited, told, _) = run(&words);
        let words = ["watch", "-r", &capture, "--site", &site, "--format", "json", "--report", &report];
        let (watched, events, complaints) = run(&words);
        assert_eq!(watched, audited, "{case}: {complaints}");
        assert!(std::fs::read_to_string(&report).unwrap() == told, "{case}: the reports differ");
        let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{case}");
        assert_eq!(events.first().unwrap()["event"], "watch-started", "{case}");
        assert_eq!(events.last().unwrap()["event"], "watch-stopped", "{case}");
        let blocked = events.iter().filter(|event| event["verdict"] == "blocked").count();
        assert_eq!(blocked > 0, case == "blocked-drop", "{case}");
    }
}

#[cfg(feature = "watch")]
#[test]
fn a_watch_listens_to_nobody_from_outside_and_asks_no_resolver() {
    for (words, complaint) in [
        (["--http", "0.0.0.0:9640"], "only a loopback address"),
        (["--http", "localhost:9640"], "expected 127.0.0.1:PORT"),
        (["--events", "syslog://collector.example"], "names are not looked up"),
        (["--events", "/no/such/folder/events"], "name a file in a folder that exists"),
    ] {
        let capture =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/cases/nothing-happens/capture.pcap");
        let capture = capture.display().to_string();
        let (status, _, told) = run(&[&["watch", "-r", &capture][..], &words].concat());
        assert_eq!(status, 2, "{told}");
        assert!(told.contains(complaint), "{told}");
    }
}
