//! Every folder of testdata/cases from the recording to the report: snapshots beside the capture, and the same bytes whatever the
//! number of threads, the packing, and the files that the recording is spread over.
//!
//! `INSTA_UPDATE=always cargo test --test program cases` renews the snapshots; read the difference before committing it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "this is a test")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use spanaudit::model::Observed;
use spanaudit::pipeline;

use super::common::Case;
use super::common::audit;
use super::common::cases;
use super::common::observe;
use super::common::observe_bytes;
use super::common::tell;
use super::common::tell_flows;

/// Everything that is told of a run: text and JSON of the audit, text and JSON of the flows.
fn all(observed: &Observed, case: &Case) -> [String; 4] {
    let report = audit(observed, &case.site);
    [tell(&report, "text"), tell(&report, "json"), tell_flows(observed, "text"), tell_flows(observed, "json")]
}

/// Fails where two outputs differ, showing the first line that does.
fn check_same(one: &[String; 4], other: &[String; 4], what: &str) {
    for (one, other) in one.iter().zip(other) {
        if one != other {
            let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
            panic!("{what}: {differs:#?}");
        }
    }
}

/// A recording with nothing around it: unpacked where it is packed.
fn plain(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|ending| ending == "gz") {
        let mut unpacked = Vec::new();
        std::io::copy(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice()), &mut unpacked).unwrap();
        return unpacked;
    }
    bytes
}

#[test]
fn what_each_case_tells() {
    for case in cases() {
        let observed = observe(std::slice::from_ref(&case.capture), 1).unwrap();
        let [text, json, _, flows] = all(&observed, &case);
        insta::with_settings!({
            snapshot_path => Path::new(env!("CARGO_MANIFEST_DIR")).join(case.capture.parent().unwrap()),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!("report", text);
            // The one file there is, named hundreds of times, would be a quarter of the snapshot.
            let json = json.replace(case.capture.to_str().unwrap(), "@");
            insta::assert_snapshot!("report.json", one_object_a_line(&json));
            insta::assert_snapshot!("flows", one_flow_a_line(&flows));
        });
    }
}

/// The whole of a JSON report, with one line for each member of its lists: short enough to ship, and a change is a line.
fn one_object_a_line(json: &str) -> String {
    let report: Value = serde_json::from_str(json).unwrap();
    let mut out = String::new();
    for (key, value) in report.as_object().unwrap() {
        match value {
            Value::Array(entries) => {
                out.push_str(&format!("{key}:\n"));
                entries.iter().for_each(|entry| out.push_str(&format!("  {entry}\n")));
            }
            Value::Object(entries) if key == "vantage" => {
                out.push_str(&format!("{key}:\n"));
                entries.iter().for_each(|(name, entry)| out.push_str(&format!("  {name}: {entry}\n")));
            }
            other => out.push_str(&format!("{key}: {other}\n")),
        }
    }
    out
}

/// What a person checks of a flow: who, what, how it went, how much; and the totals.
fn one_flow_a_line(json_lines: &str) -> String {
    let mut out = String::new();
    for line in json_lines.lines() {
        let flow: Value = serde_json::from_str(line).unwrap();
        if flow.get("totals").is_some() {
            out.push_str(&format!("{flow}\n"));
            continue;
        }
        let end = |end: &str| {
            let addr = flow[end]["addr"].as_str().unwrap_or("?");
            match flow[end]["port"].as_u64() {
                Some(port) => format!("{addr} {port}"),
                None => addr.to_owned(),
            }
        };
        let words = |key: &str| {
            let list = flow[key].as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().map(|word| word.as_str().unwrap_or("?")).collect::<Vec<_>>().join("/")
        };
        let tls = match flow["tls"]["version"].as_str() {
            Some(version) => format!(" TLS {version}"),
            None => String::new(),
        };
        out.push_str(&format!(
            "#{} {} {} > {} {}{tls} {} {}:{} [{}]\n",
            flow["packet"],
            flow["transport"].as_str().unwrap(),
            end("client"),
            end("server"),
            words("layers"),
            flow["outcome"].as_str().unwrap(),
            flow["packets"]["client"],
            flow["packets"]["server"],
            words("hosts"),
        ));
    }
    out
}

#[test]
fn any_number_of_threads_tells_the_same() {
    for case in cases() {
        let alone = all(&observe(std::slice::from_ref(&case.capture), 1).unwrap(), &case);
        for workers in [2, 3, 7] {
            let together = all(&observe(std::slice::from_ref(&case.capture), workers).unwrap(), &case);
            check_same(&alone, &together, &format!("{} on {workers} threads", case.name));
        }
    }
}

/// `audit` does not keep the flows, `flows` does: what is judged must not depend on it.
#[test]
fn keeping_the_flows_changes_no_verdict() {
    for case in cases() {
        let paths = std::slice::from_ref(&case.capture);
        let kept = observe(paths, 1).unwrap();
        let mut source = spanaudit::capture::open(paths, &Default::default()).unwrap();
        let without = pipeline::run(&mut source, &pipeline::Options::default(), &|_, _| {}).unwrap();
        assert!(without.flows.is_empty());
        let told = |observed| tell(&audit(observed, &case.site), "json");
        assert_eq!(told(&kept), told(&without), "{}", case.name);
    }
}

#[test]
fn packing_changes_nothing() {
    for case in cases() {
        let bytes = plain(&case.capture);
        let name = case.capture.to_string_lossy();
        let expected = observe_bytes(bytes.clone(), 1, &name).unwrap();
        let format = expected.inputs[0].format.clone();
        let expected = all(&expected, &case);
        for (packing, packed) in [("gzip", gzip(&bytes)), ("zstd", zstd(&bytes)), ("xz", xz(&bytes))] {
            assert!(packed.len() < bytes.len());
            let mut observed = observe_bytes(packed, 2, &name).unwrap();
            assert_eq!(observed.inputs[0].format, format!("{packing} {format}"));
            observed.inputs[0].format.clone_from(&format);
            check_same(&expected, &all(&observed, &case), &format!("{} through {packing}", case.name));
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut packer = liblzma::write::XzEncoder::new(Vec::new(), 0);
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// The real program, fed through a pipe and by name.
#[test]
fn standard_input_tells_the_same() {
    for case in cases() {
        let site = case.capture.parent().unwrap().join("site.toml");
        let name = case.capture.to_str().unwrap();
        for words in [vec!["audit", "--site", site.to_str().unwrap()], vec!["flows"]] {
            let told = |path: &str, fed: &[u8]| {
                let mut child = Command::new(env!("CARGO_BIN_EXE_spanaudit"))
                    .args(&words)
                    .args(["--format", "json", path])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let mut stdin = child.stdin.take().unwrap();
                let fed = fed.to_vec();
                // In a thread of its own: the program may be writing while it is fed.
                let feeder = std::thread::spawn(move || stdin.write_all(&fed));
                let done = child.wait_with_output().unwrap();
                let fed = feeder.join().unwrap();
                assert!(path != "-" || fed.is_ok(), "{fed:?}");
                String::from_utf8(done.stdout).unwrap()
            };
            let by_name = told(name, b"");
            let piped = told("-", &fs::read(&case.capture).unwrap());
            assert!(by_name.len() > 1_000, "{words:?}: {by_name}");
            let renamed = piped.replace("\"file\":\"-\"", &format!("\"file\":\"{name}\""));
            let renamed = renamed.replace("\"file\": \"-\"", &format!("\"file\": \"{name}\""));
            // A note about the recording begins with its name.
            let renamed = renamed
                .replace("\"-: ", &format!("\"{name}: "))
                .replace("mirror -", &format!("mirror {name}"));
            assert!(renamed == by_name, "{} {words:?} through a pipe", case.name);
        }
    }
}

/// A rotated ring is told like one file, but for names and packet numbers, and in whatever order its files are named.
#[test]
fn three_files_are_told_like_one() {
    let folder = tempfile::TempDir::new().unwrap();
    for case in cases() {
        let whole = observe_bytes(plain(&case.capture), 1, "whole").unwrap();
        let parts: Vec<PathBuf> = split(&plain(&case.capture), 3)
            .into_iter()
            .zip(1..)
            .map(|(bytes, number)| {
                let path = folder.path().join(format!("{}_{number:05}.pcap", case.name));
                fs::write(&path, bytes).unwrap();
                path
            })
            .collect();
        let [one, two, three] = parts.as_slice() else { panic!() };
        let expected = observe(&parts, 1).unwrap();
        assert_eq!(expected.inputs.len(), 3);
        let told = all(&expected, &case);
        for order in [[one, three, two], [two, one, three], [three, two, one]] {
            let order = order.map(Clone::clone);
            check_same(&told, &all(&observe(&order, 3).unwrap(), &case), &case.name);
        }
        // The same machines, verdicts, times and sums as in the file that they were cut from.
        let [_, report, _, flows] = &told;
        let [_, whole_report, _, whole_flows] = &all(&whole, &case);
        check_like(&without_places(report), &without_places(whole_report), &case.name);
        assert_eq!(flows.lines().count(), whole_flows.lines().count());
        for (flow, whole) in flows.lines().zip(whole_flows.lines()) {
            check_like(&without_places(flow), &without_places(whole), &case.name);
        }
    }
}

/// Fails where two values differ, showing the first place that does.
fn check_like(one: &Value, other: &Value, place: &str) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            assert!(one.keys().eq(other.keys()), "{place}: {:?} and {:?}", one.keys(), other.keys());
            one.iter().zip(other).for_each(|((key, one), (_, other))| {
                check_like(one, other, &format!("{place}.{key}"));
            });
        }
        (Value::Array(one), Value::Array(other)) => {
            assert_eq!(one.len(), other.len(), "{place}: {one:?} and {other:?}");
            one.iter().zip(other).enumerate().for_each(|(at, (one, other))| {
                check_like(one, other, &format!("{place}[{at}]"));
            });
        }
        _ => assert_eq!(one, other, "{place}"),
    }
}

/// A JSON value without what says in which file a packet stands and at which place (in prose too), and without the notes on each
/// file.
fn without_places(json: &str) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(entries) => {
                for key in ["file", "packet", "inputs", "notes"] {
                    entries.remove(key);
                }
                entries.values_mut().for_each(strip);
            }
            Value::Array(entries) => entries.iter_mut().for_each(strip),
            Value::String(prose) => {
                let mut parts = prose.split("packet ");
                let start = parts.next().unwrap_or_default().to_owned();
                *prose = parts.fold(start, |told, part| {
                    let part = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
                    // Where there are several files, the one is named.
                    let part = match part.strip_prefix(" of ") {
                        Some(named) => named.split_once(".pcap").map_or(named, |(_, rest)| rest),
                        None => part,
                    };
                    told + "packet " + part
                });
            }
            _ => {}
        }
    }
    let mut value: Value = serde_json::from_str(json).unwrap();
    strip(&mut value);
    value
}

/// Cuts a recording into so many of about equal size, each with the headers that it needs.
fn split(bytes: &[u8], parts: usize) -> Vec<Vec<u8>> {
    let (head, records) = records(bytes);
    records.chunks(records.len().div_ceil(parts)).map(|part| [head, &part.concat()].concat()).collect()
}

/// The headers of a capture, and its packets with what stands before each: classic pcap, or pcapng (little endian, one section).
fn records(bytes: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let is_ng = bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]);
    let mut at = if is_ng { 0 } else { 24 };
    let mut head = at;
    let mut records = Vec::new();
    while at < bytes.len() {
        let size = if is_ng { number(at + 4) } else { 16 + number(at + 8) };
        // Section header and interface description come first; the rest goes with the packets.
        if is_ng && matches!(number(at), 0x0a0d_0d0a | 1) {
            assert!(records.is_empty(), "an interface described between packets");
            head = at + size;
        } else {
            records.push(&bytes[at..at + size]);
        }
        at += size;
    }
    (&bytes[..head], records)
}
