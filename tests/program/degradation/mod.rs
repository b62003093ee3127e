//! Degradation: every healthy and every blocked recording, spoiled in the ways in which mirrors, links and plants spoil recordings.
//!
//! Over all of them nothing that works may be told as blocked, failed or violated, nothing documented as unexpected, and what is
//! broken stays broken or becomes undecided. `cargo test --test program -- --nocapture degradation::table` prints the table that stands in
//! `docs/degradation.md`.
//!
//! To look closer: `DEGRADATION_ONLY=TEXT` keeps the variants whose "scenario variant" contains the text, `DEGRADATION_OPEN=1` prints
//! the broken flows of which nothing is claimed, `DEGRADATION_DUMP=DIR` writes the variants there.

// A test may stop at what can't be; here the whole program is one.
#![allow(clippy::indexing_slicing, clippy::expect_used, clippy::unwrap_used, clippy::print_stdout)]

mod company;
mod frame;
mod random;
mod recording;
mod scenario;
mod score;
mod table;
mod variant;
mod wrap;

use std::collections::BTreeMap;
use std::path::Path;

use spanaudit::model::Transport;

use scenario::Scenario;
use score::Score;
use score::Told;
use variant::Original;

/// The scenarios of the lab that are spoiled, by the beginnings of their names.
const LAB: [&str; 10] = [
    "healthy-",
    "blocked-",
    "dns-blocked",
    "tls-handshake-cut",
    "tls12-downgrade",
    "wrong-protocol",
    "rule-changed-midway",
    "unexpected",
    "mid-flow-start",
    "ipv6-site",
];

/// Who opened what, as the recording as it is shows.
fn original(told: &Told) -> Original {
    let mut original = Original::default();
    for flow in &told.flows {
        let protocol = match flow.transport {
            Transport::Tcp => frame::TCP,
            Transport::Udp => frame::UDP,
            _ => continue,
        };
        let end = |end: spanaudit::model::Endpoint| Some((end.host.ip()?, end.port?));
        let (Some(client), Some(server)) = (end(flow.client), end(flow.server)) else { continue };
        original.clients.insert((protocol, client.min(server), client.max(server)), client);
    }
    original
}

/// Whether two scenarios are of plants with the same addresses and rulesets.
fn same_plant(one: &Scenario, other: &Scenario) -> bool {
    let sensor = |scenario: &Scenario| {
        let is_sensor = |line: &&str| line.starts_with("network-sensor =") || line.starts_with("ot-sensor =");
        scenario.site.lines().find(is_sensor).map(str::to_owned)
    };
    sensor(one).is_some() && sensor(one) == sensor(other)
}

/// Spoils every recording in every way, and scores what is said of it. Lines come in the order of the variants.
fn scores(scenarios: &[Scenario]) -> Vec<(String, Score)> {
    let only = std::env::var("DEGRADATION_ONLY").unwrap_or_default();
    let mut order: Vec<String> = Vec::new();
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    for scenario in scenarios {
        let as_it_is = score::audit(&scenario.shots, &scenario.site, None);
        let truths = if scenario.truths.is_empty() {
            score::truths_of(&as_it_is.report)
        } else {
            scenario.truths.clone()
        };
        let twin = scenarios.iter().find(|other| {
            other.name.starts_with("healthy-") && other.name != scenario.name && same_plant(other, scenario)
        });
        let twin = twin.map(|twin| &twin.shots);
        for variant in variant::all(&scenario.shots, &original(&as_it_is), twin) {
            if !order.contains(&variant.name) {
                order.push(variant.name.clone());
            }
            if !format!("{} {}", scenario.name, variant.name).contains(&only) {
                continue;
            }
            if let Some(folder) = std::env::var_os("DEGRADATION_DUMP") {
                let count = scores.get(&variant.name).map_or(0, |score| score.recordings);
                let file = format!("{}, {}, {count}.pcap", scenario.name, variant.name);
                recording::write(&variant.shots, &Path::new(&folder).join(file.replace('/', "-")));
            }
            let told = score::audit(&variant.shots, &scenario.site, variant.cell);
            scores.entry(variant.name.clone()).or_default().add(
                &scenario.name,
                &truths,
                &as_it_is,
                &variant,
                &told,
            );
        }
    }
    order.into_iter().filter_map(|name| Some((name.clone(), scores.remove(&name)?))).collect()
}

/// Fails where a variant turned something that works into an alarm.
fn assert_sound(scores: &[(String, Score)]) {
    let wrong: Vec<&String> = scores.iter().flat_map(|(_, score)| &score.trouble).collect();
    for line in &wrong {
        println!("{line}");
    }
    let alarms: u32 = scores
        .iter()
        .map(|(_, score)| score.false_alarms + score.false_unexpected + score.hidden + score.misnamed)
        .sum();
    assert_eq!(alarms, 0, "false alarms, or broken flows told as working: see above");
}

#[test]
fn shipped_recordings_stay_sound() {
    assert_sound(&scores(&scenario::shipped()));
}

#[test]
fn table() {
    let Some(scenarios) = scenario::lab(&LAB) else {
        println!("skipped: the lab's recordings are not beside the project");
        return;
    };
    let scores = scores(&scenarios);
    let table = table::of(&scores);
    println!("{table}");
    assert_sound(&scores);
    if std::env::var_os("DEGRADATION_WRITE").is_some() {
        table::write(&table);
    } else if !table::is_told(&table) {
        println!("docs/degradation.md holds another table: `make degradation` writes this one");
    }
}
