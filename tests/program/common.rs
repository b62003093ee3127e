//! What the tests of the whole program share: the cases, the captures beside the checkout, and the way from files to reports.
#![allow(dead_code, reason = "every test program uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "this is for tests")]

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use spanaudit::audit;
use spanaudit::capture;
use spanaudit::capture::CaptureError;
use spanaudit::capture::Source;
use spanaudit::classify::PROTOCOLS;
use spanaudit::model::FlowRecord;
use spanaudit::model::Observed;
use spanaudit::model::Report;
use spanaudit::pipeline;
use spanaudit::report::FLOW_FORMATS;
use spanaudit::report::FORMATS;
use spanaudit::report::FlowList;
use spanaudit::report::Style;
use spanaudit::rules;
use spanaudit::rules::Site;

/// A recording and the site file to hold against it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its folder's, or the lab scenario's name.
    pub name: String,
    /// The recording, from the root of the project: tests run there.
    pub capture: PathBuf,
    /// The site.
    pub site: Site,
}

/// The folder of the cases that the project ships.
pub const CASES: &str = "testdata/cases";
/// The captures that lie beside the checkout, where they do.
pub const CAPTURES: &str = "../shared/captures";

/// The names that rules may use for protocols.
pub fn protocols() -> Vec<&'static str> {
    PROTOCOLS.iter().map(|protocol| protocol.about().name).collect()
}

/// Every folder of `testdata/cases`, in the order of their names.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for folder in sorted(Path::new(CASES)).into_iter().filter(|path| path.is_dir()) {
        let site = rules::load_site(&folder.join("site.toml"), &protocols())
            .unwrap_or_else(|error| panic!("{}", error.render(false, 100)));
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let capture = sorted(&folder).into_iter().find(|path| name(path).starts_with("capture."));
        let capture = capture.unwrap_or_else(|| panic!("{} holds no capture", folder.display()));
        cases.push(Case { name: name(&folder), capture, site });
    }
    assert!(cases.len() > 3, "only {} cases in {CASES}", cases.len());
    cases
}

/// The scenarios of the lab with the site that their description makes, where they are at hand.
pub fn lab() -> Vec<Case> {
    let folder = Path::new(CAPTURES).join("lab");
    let described = sorted(&folder).into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".site.json")?.to_owned();
        Some((name, path))
    });
    let cases: Vec<Case> = described
        .map(|(name, path)| {
            let description: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let text = site_of(&name, &description);
            let site = rules::parse_site(&name, &text, &folder, &protocols())
                .unwrap_or_else(|error| panic!("{}", error.render(false, 100)));
            let capture = ["pcap", "pcapng"].map(|ending| folder.join(format!("{name}.{ending}")));
            let capture = capture.into_iter().find(|path| path.exists()).unwrap();
            Case { name, capture, site }
        })
        .collect();
    if cases.is_empty() {
        println!("skipped: no lab scenarios in {}", folder.display());
    }
    cases
}

/// A site file from a scenario's description: its roles under the names of the rulesets, all its machines in scope.
fn site_of(name: &str, description: &Value) -> String {
    let defender = description["vendor"] == "defender";
    let ruleset = if defender { "microsoft-defender-for-iot" } else { "opswat-md-ot-security" };
    let plays = |role: &str| -> Vec<String> {
        let names: &[&str] = match (defender, role) {
            (false, "client") => &["user", "admin"],
            (false, "nac") => &["nac-server"],
            (true, "client") => &["client", "endpoint"],
            (true, "ot-sensor") => &["ot-sensor", "management-console"],
            _ => &[role],
        };
        names.iter().map(|&name| name.to_owned()).collect()
    };
    let mut roles = String::new();
    let mut machines: Vec<&str> = Vec::new();
    for (role, addresses) in description["roles"].as_object().unwrap() {
        // A role with a dot is a host on the internet: bound by its name.
        if role.contains('.') {
            continue;
        }
        machines.extend(addresses.as_array().unwrap().iter().filter_map(Value::as_str));
        for name in plays(role) {
            roles.push_str(&format!("{name} = {addresses}\n"));
        }
    }
    if defender {
        let hosts: Vec<String> = description["required_hosts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|host| format!("host:{}", host.as_str().unwrap()))
            .collect();
        roles.push_str(&format!("azure = {hosts:?}\n"));
    }
    machines.sort_unstable();
    machines.dedup();
    let features = &description["features"];
    format!(
        "[site]\nname = {name:?}\nrulesets = [{ruleset:?}]\nfeatures = {features}\nscope = {machines:?}\n\n[roles]\n{roles}"
    )
}

/// Every file below the captures beside the checkout that may be a capture, where they are at hand.
pub fn corpus() -> Vec<PathBuf> {
    let root = PathBuf::from(CAPTURES);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for path in sorted(&folder) {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if folder != root && !["json", "jsonl", "md", "tsv"].contains(&ending.as_str()) {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        println!("skipped: no captures in {}", root.display());
    }
    found.sort();
    found
}

/// What a folder holds, by name; nothing where it is not there.
pub fn sorted(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// How the tests have captures read.
pub fn options(workers: usize) -> pipeline::Options {
    pipeline::Options { workers, keep_flows: true, ..pipeline::Options::default() }
}

/// Reads captures to their end and checks that every packet and every flow is accounted for.
pub fn observe(paths: &[PathBuf], workers: usize) -> Result<Observed, CaptureError> {
    let mut source = capture::open(paths, &capture::Options::default())?;
    run(&mut source, workers, &format!("{paths:?}"))
}

/// Reads a capture that lies in memory.
pub fn observe_bytes(bytes: Vec<u8>, workers: usize, name: &str) -> Result<Observed, CaptureError> {
    let mut source = capture::open_reader(Box::new(Cursor::new(bytes)), name, &capture::Options::default())?;
    run(&mut source, workers, name)
}

fn run(source: &mut dyn Source, workers: usize, what: &str) -> Result<Observed, CaptureError> {
    let observed = pipeline::run(source, &options(workers), &|_, _| {})?;
    let tally = &observed.tally;
    assert!(tally.adds_up(), "{what}: {tally:?}");
    let read: u64 = observed.inputs.iter().map(|input| input.packets - input.filtered).sum();
    assert_eq!(read, tally.packets, "{what}: packets read and told");
    let in_flows: u64 = observed.flows.iter().map(FlowRecord::packets).sum();
    assert_eq!(in_flows, tally.in_flows, "{what}: packets in flows");
    assert_eq!(observed.flows.len() as u64, tally.flows, "{what}: flows");
    let inside: u64 = observed.conversations.values().map(|conversation| conversation.flows).sum();
    // A sweep is one line in the list of flows, and all its tries in its conversation.
    let sweeps = observed.conversations.values().filter(|conversation| conversation.sweep.is_some()).count();
    assert_eq!(inside, tally.flows - sweeps as u64 + tally.folded, "{what}: flows in conversations");
    Ok(observed)
}

/// Holds what was observed against a site.
pub fn audit(observed: &Observed, site: &Site) -> Report {
    audit::audit(observed.clone(), site, audit::Options::default())
}

/// An audit in the format of that name.
pub fn tell(report: &Report, format: &str) -> String {
    let format = FORMATS.iter().find(|known| known.name() == format).unwrap();
    let mut out = Vec::new();
    format.write(report, &Style::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The flows in the format of that name.
pub fn tell_flows(observed: &Observed, format: &str) -> String {
    let format = FLOW_FORMATS.iter().find(|known| known.name() == format).unwrap();
    let list = FlowList {
        inputs: &observed.inputs,
        vantage: &observed.vantage,
        cells: &[],
        flows: &observed.flows,
        tally: &observed.tally,
    };
    let mut out = Vec::new();
    format.write(&list, &Style::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A xorshift generator: the same noise in every run, so that a failure can be found again.
pub struct Noise(pub u64);

impl Noise {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound.max(1)
    }
}
