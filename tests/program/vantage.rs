//! `audit --vantage` as its users meet it: recordings from both sides of a firewall. The real program is run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "this is a test")]

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const SENSOR: [u8; 4] = [10, 1, 2, 10];
const MANAGER: [u8; 4] = [10, 1, 9, 5];
const SYN: u8 = 2;
const RST_ACK: u8 = 20;

fn run(words: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_spanaudit")).args(words).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// A TCP segment in Ethernet, after so many routers.
fn segment(
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    flags: u8,
    numbers: [u32; 2],
    hops: u8,
    id: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, hops, 1, 2, 0, 0, 0, hops, from.0[2], 8, 0, 0x45, 0];
    frame.extend((40 + payload.len() as u16).to_be_bytes());
    frame.extend(id.to_be_bytes());
    frame.extend([0x40, 0, 64 - hops, 6, 0, 0]);
    frame.extend(from.0);
    frame.extend(to.0);
    frame.extend([from.1, to.1].map(u16::to_be_bytes).concat());
    frame.extend(numbers.map(u32::to_be_bytes).concat());
    frame.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}

fn pcap(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for (millis, packet) in packets {
        let length = packet.len() as u32;
        let stamp =
            [1_795_166_043 + (millis / 1_000) as u32, (millis % 1_000) as u32 * 1_000, length, length];
        file.extend(stamp.map(u32::to_le_bytes).concat());
        file.extend(packet);
    }
    file
}

/// SSH passes between the two, before and after; what is tried on 5672 stays inside, answered by a reset where one is made on the way.
fn recordings(reset: bool) -> (TempDir, String, String) {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let mut id = 0;
    let mut both = |millis: u64, from, to, flags, numbers: [u32; 2], payload: &[u8], passes: bool| {
        id += 1;
        inside.push((millis, segment(from, to, flags, numbers, 0, id, payload)));
        if passes {
            outside.push((millis + 200, segment(from, to, flags, numbers, 1, id, payload)));
        }
    };
    for (start, port) in [(0, 40_000), (60_000, 40_001)] {
        let (client, server) = ((SENSOR, port), (MANAGER, 22));
        both(start, client, server, SYN, [100, 0], b"", true);
        both(start + 1, server, client, 18, [500, 101], b"", true);
        both(start + 2, client, server, 16, [101, 501], b"", true);
        both(start + 3, server, client, 24, [501, 101], b"SSH-2.0-OpenSSH_9.2\r\n", true);
        both(start + 4, client, server, 24, [101, 522], b"SSH-2.0-OpenSSH_9.2\r\n", true);
        both(start + 5, server, client, 16, [522, 122], b"", true);
    }
    for (number, start) in [10_000, 11_000, 13_000, 17_000].into_iter().enumerate() {
        let port = if reset { 41_000 + number as u16 } else { 41_000 };
        both(start, (SENSOR, port), (MANAGER, 5_672), SYN, [900, 0], b"", false);
        if reset {
            both(start + 1, (MANAGER, 5_672), (SENSOR, port), RST_ACK, [0, 901], b"", false);
        }
    }
    inside.sort_by_key(|(millis, _)| *millis);
    outside.sort_by_key(|(millis, _)| *millis);
    let folder = TempDir::new().unwrap();
    let write = |name: &str, packets: &[(u64, Vec<u8>)]| {
        let path = folder.path().join(name);
        std::fs::write(&path, pcap(packets)).unwrap();
        path.display().to_string()
    };
    let (inside, outside) = (write("inside.pcap", &inside), write("outside.pcap", &outside));
    (folder, inside, outside)
}

const SITE: [&str; 6] = [
    "--ruleset",
    "opswat-md-ot-security",
    "--role",
    "network-sensor=10.1.2.10",
    "--role",
    "site-manager=10.1.9.5",
];

fn queue(words: &[&str]) -> (Value, Value) {
    let mut all = vec!["audit", "--format", "json"];
    all.extend(words);
    all.extend(SITE);
    let (_, out, err) = run(&all);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
    let of_queue = |one: &&Value| one["ports"] == "5672" && one["source"] == "10.1.2.10";
    let found = report["requirements"].as_array().unwrap().iter().find(of_queue).unwrap().clone();
    (found, report)
}

#[test]
fn seen_inside_and_never_outside_is_proof() {
    for (reset, mechanism) in [(false, "dropped"), (true, "reset-by-middlebox")] {
        let (_folder, inside, outside) = recordings(reset);
        let (a, b) = (format!("inside={inside}"), format!("outside={outside}"));
        let (found, report) = queue(&["--vantage", &a, "--vantage", &b]);
        assert_eq!(found["verdict"], "blocked", "{found}");
        assert_eq!((&found["mechanism"], &found["grade"]), (&mechanism.into(), &"A".into()), "{found}");
        assert_eq!(found["by"]["who"], "the device between 'inside' and 'outside'");
        let files: Vec<_> = found["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .map(|piece| piece["file"].as_str().unwrap())
            .collect();
        assert!(files.contains(&inside.as_str()) && files.contains(&outside.as_str()), "{found}");
        // What is seen at both sides counts once.
        let ssh = report["conversations"].as_array().unwrap().iter().find(|one| one["port"] == 22).unwrap();
        assert_eq!((&ssh["flows"], &ssh["packets"]), (&2.into(), &12.into()));
        // The order in which vantages are named makes no difference.
        assert_eq!(queue(&["--vantage", &b, "--vantage", &a]).1, report);
        // One side alone can't name the device.
        assert_ne!(queue(&[&inside]).0["grade"], "A");
    }
}

#[test]
fn evidence_holds_the_packets_of_both_sides() {
    let (folder, inside, outside) = recordings(false);
    let out = folder.path().join("evidence");
    let (a, b) = (format!("inside={inside}"), format!("outside={outside}"));
    let mut words = vec!["audit", "--vantage", &a, "--vantage", &b, "--evidence", out.to_str().unwrap()];
    words.extend(SITE);
    assert_eq!(run(&words).0, 1);
    let index: Value = serde_json::from_slice(&std::fs::read(out.join("index.json")).unwrap()).unwrap();
    let packets = index["findings"][0]["packets"].as_array().unwrap();
    for file in [&inside, &outside] {
        assert!(
            packets.iter().any(|packet| packet["file"] == file.as_str() && packet["cited"] == true),
            "{index}"
        );
    }
}

#[test]
fn vantages_that_prove_nothing_are_refused() {
    let (_folder, inside, _) = recordings(false);
    let (a, b) = (format!("inside={inside}"), format!("outside={inside}"));
    for (words, says) in [
        (&["audit", "--vantage", &a][..], "nothing to be compared"),
        (&["audit", "--vantage", &a, "--vantage", &b], "two vantages"),
        (&["audit", "--vantage", &inside], "NAME=FILE"),
        (&["audit", &inside, "--vantage", &a], "cannot be used with"),
        (&["flows", "--vantage", &a, "--vantage", &b], "one vantage"),
    ] {
        let (code, out, err) = run(words);
        assert!(code == 2 && out.is_empty() && err.contains(says), "{words:?}: {err}");
    }
}
