//! A recording with its site and with what is known to be true of it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

use spanaudit::classify::PROTOCOLS;
use spanaudit::rules;
use spanaudit::rules::Site;

use super::recording;
use super::recording::Recording;

/// What is true of one documented flow.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Who opens it.
    pub source: String,
    /// The address or host name of the target.
    pub target: String,
    /// `tcp` or `udp`.
    pub transport: String,
    /// The port.
    pub port: u16,
    /// What it is.
    pub kind: Kind,
}

/// Whether a flow works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It works.
    Works,
    /// Nobody tried.
    Untried,
    /// It does not, or not as documented: the verdicts that say so.
    Broken(BTreeSet<String>),
    /// Nobody can tell from this recording.
    Open,
}

/// A recording, its site and the truth.
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The recording.
    pub shots: Recording,
    /// The site file as text.
    pub site: String,
    /// What is known; empty where the program's own verdicts on the recording as it is stand in for it.
    pub truths: Vec<Truth>,
}

/// The site file read; `cell` declares one VLAN as an address space of its own.
pub fn site(text: &str, cell: Option<u16>) -> Site {
    let protocols: Vec<&str> = PROTOCOLS.iter().map(|protocol| protocol.about().name).collect();
    let cell = cell.map_or(String::new(), |vlan| format!("\n[[cell]]\nname = \"clone\"\nvlan = {vlan}\n"));
    rules::parse_site("site.toml", &format!("{text}{cell}"), Path::new("."), &protocols)
        .expect("the site file is right")
}

/// A few of the recordings that come with the project: one of each sort.
pub fn shipped() -> Vec<Scenario> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cases");
    let found = ["blocked-drop", "healthy-defender", "unexpected", "vlan-tagged-mirror"];
    let cases = found.map(|name| {
        let case = folder.join(name);
        let files =
            std::fs::read_dir(&case).expect("the folder of the case").flatten().map(|file| file.path());
        let is_capture = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("capture."))
        };
        let capture = files.into_iter().find(is_capture).expect("a capture beside the site");
        Scenario {
            name: name.to_owned(),
            shots: recording::read(&capture),
            site: std::fs::read_to_string(case.join("site.toml")).expect("a site file"),
            truths: Vec::new(),
        }
    });
    cases.into()
}

/// The scenarios of the lab whose names begin so, where the lab's recordings lie beside the project.
pub fn lab(wanted: &[&str]) -> Option<Vec<Scenario>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures/lab");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(&folder).ok()?.flatten().map(|entry| entry.path()).collect();
    found.sort();
    let captures = found.into_iter().filter(|path| {
        path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng")
            && path
                .file_name()
                .is_some_and(|name| wanted.iter().any(|w| name.to_string_lossy().starts_with(w)))
    });
    let scenarios = captures.map(|capture| {
        let name = capture.file_stem().expect("a name").to_string_lossy().into_owned();
        let json = |kind: &str| -> Value {
            let text = std::fs::read_to_string(folder.join(format!("{name}.{kind}.json"))).expect("its JSON");
            serde_json::from_str(&text).expect("JSON")
        };
        Scenario {
            shots: recording::read(&capture),
            site: site_text(&name, &json("site")),
            truths: truths(&json("truth")),
            name,
        }
    });
    Some(scenarios.collect())
}

/// The site file that the lab's description of a site comes to.
fn site_text(name: &str, described: &Value) -> String {
    let vendor = described["vendor"].as_str().expect("a vendor");
    let ruleset = if vendor == "opswat" { "opswat-md-ot-security" } else { "microsoft-defender-for-iot" };
    let mut roles: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut machines = BTreeSet::new();
    for (role, ends) in described["roles"].as_object().expect("roles") {
        if role.contains('.') {
            continue;
        }
        let ends = ends.as_array().cloned().unwrap_or_else(|| vec![ends.clone()]);
        machines.extend(ends.iter().filter_map(|end| end.as_str().map(str::to_owned)));
        let played: &[&str] = match (vendor, role.as_str()) {
            ("opswat", "client") => &["user", "admin"],
            ("opswat", "nac") => &["nac-server"],
            ("defender", "client") => &["client", "endpoint"],
            ("defender", "ot-sensor") => &["ot-sensor", "management-console"],
            (_, other) => &[other],
        };
        for &role in played {
            roles.entry(role).or_default().extend(ends.iter().cloned());
        }
    }
    if vendor == "defender" {
        let hosts = described["required_hosts"].as_array().cloned().unwrap_or_default();
        let bound = hosts.iter().map(|host| Value::from(format!("host:{}", host.as_str().unwrap_or(""))));
        roles.insert("azure", bound.collect());
    }
    let scope = match &described["scope"] {
        Value::Array(nets) => Value::from(nets.clone()),
        _ => Value::from(machines.into_iter().collect::<Vec<_>>()),
    };
    let features = Value::from(described["features"].as_array().cloned().unwrap_or_default());
    let mut text = format!(
        "[site]\nname = \"{name}\"\nrulesets = [\"{ruleset}\"]\nfeatures = {features}\nscope = {scope}\n\n[roles]\n"
    );
    for (role, ends) in &roles {
        text.push_str(&format!("{role} = {}\n", Value::from(ends.clone())));
    }
    for kind in ["allow", "forbid", "waive"] {
        for entry in described[kind].as_array().into_iter().flatten() {
            text.push_str(&format!("\n[[{kind}]]\n"));
            for (key, value) in entry.as_object().into_iter().flatten() {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
    }
    text
}

fn truths(told: &Value) -> Vec<Truth> {
    let required = told["required"].as_array().expect("required flows");
    required
        .iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
            let (mechanism, by) = (text("mechanism"), text("by"));
            let mut words: Vec<&str> = match (text("expected").as_str(), mechanism.as_str(), by.as_str()) {
                ("ok" | "not-observed", ..) => Vec::new(),
                ("blocked", "refused", "host") => vec!["failed"],
                ("blocked", "refused" | "no-reply", _) => vec!["blocked", "failed"],
                ("blocked", "tls-alert", _) => vec!["failed", "violated"],
                ("blocked", ..) => vec!["blocked"],
                _ => vec!["violated"],
            };
            words.extend(one["accept"].as_array().into_iter().flatten().filter_map(Value::as_str));
            let kind = match text("expected").as_str() {
                _ if one["determinable"] == Value::Bool(false) => Kind::Open,
                "ok" => Kind::Works,
                "not-observed" => Kind::Untried,
                _ => Kind::Broken(words.into_iter().map(str::to_owned).collect()),
            };
            let host = text("host");
            Truth {
                source: text("src"),
                target: if host.is_empty() { text("dst") } else { host },
                transport: text("transport"),
                port: one["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
                kind,
            }
        })
        .collect()
}
