//! Recordings of many hours with little in them: what changed when, what recurs too seldom, and what a maintenance window forgives.

use serde_json::Value;
use spanaudit::explain::explain;
use spanaudit::report::Archive;
use spanaudit::report::Style;

use super::bytes;
use super::bytes::TLS13;
use super::plant::Fate;
use super::plant::S;
use super::scene::Scene;
use super::talk::End::Client;
use super::talk::LINUX;
use super::talk::REPEATS;
use super::talk::datagram;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// How long a recording is.
const LONG: u64 = 9 * HOUR;
/// The sensor opens a session this often.
const EVERY: u64 = 10 * MINUTE;

/// A plant over hours: the sensor's link to the Site Manager works or is dropped, as `works` says of each second; all else works.
fn plant(v6: bool, works: impl Fn(u64) -> bool) -> Scene {
    let mut s = Scene::opswat(v6, &[3006, 5672]);
    for at in (EVERY..LONG).step_by(EVERY as usize) {
        if works(at) {
            s.fine(s.sensor, s.site, 3006, at, &bytes::tls("site.plant.example", TLS13));
        } else {
            s.talk(s.sensor, s.site, 3006, at).syns(&LINUX, Fate::Dies);
        }
        for beat in [0, EVERY / 2] {
            s.fine(s.sensor, s.site, 5672, at + beat, &bytes::amqp());
        }
    }
    s
}

/// What is told of the sensor's link: the requirement, and how it is explained at 80 columns.
fn told(s: &mut Scene) -> (Value, String) {
    s.plant.greet();
    let report = s.report();
    let parsed: Value = serde_json::from_str(&report).unwrap();
    let link = parsed["requirements"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["rule"] == "link-sensor-to-site" || one["rule"] == "clock")
        .unwrap()
        .clone();
    let archive = Archive::read(report.as_bytes()).unwrap();
    let explained = explain(&archive, link["id"].as_str().unwrap()).unwrap();
    let mut text = Vec::new();
    explained.write_text(&Style { width: 80, ..Style::default() }, &mut text).unwrap();
    (link, String::from_utf8(text).unwrap())
}

/// Verdict, mechanism and hour of each phase.
fn history(link: &Value) -> Vec<String> {
    let start: jiff::Timestamp = "2026-11-18T11:06:40Z".parse().unwrap();
    let phase = |phase: &Value| {
        let since: jiff::Timestamp = phase["since"]["time"].as_str().unwrap().parse().unwrap();
        let minutes = (since.as_second() - start.as_second()) / 60;
        let mechanism = phase["mechanism"].as_str().map(|word| format!(" {word}")).unwrap_or_default();
        format!("{}{mechanism} from minute {minutes}", phase["verdict"].as_str().unwrap())
    };
    link["history"].as_array().unwrap().iter().map(phase).collect()
}

#[test]
fn what_breaks_after_hours_is_told_with_its_time() {
    for v6 in [false, true] {
        let (link, text) = told(&mut plant(v6, |at| at < 4 * HOUR));
        assert_eq!(
            (&link["verdict"], &link["mechanism"], &link["grade"]),
            (&"blocked".into(), &"dropped".into(), &"B".into())
        );
        assert_eq!(history(&link), ["satisfied from minute 10", "blocked dropped from minute 240"]);
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains("It changed once during the capture; the latest state decides."), "{text}");
        assert!(
            flat.contains("2026-11-18 15:06:40") && flat.contains("from here on blocked (dropped)"),
            "{text}"
        );
        assert!(
            text.lines().all(|line| line.chars().count() <= 80
                || line.contains("Wireshark")
                || line.contains("all of it")
                || line.contains("tshark")),
            "{text}"
        );
    }
}

#[test]
fn an_outage_that_is_over_is_history() {
    let (link, text) = told(&mut plant(false, |at| !(3 * HOUR..4 * HOUR).contains(&at)));
    assert_eq!(link["verdict"], "satisfied");
    assert_eq!(
        history(&link),
        ["satisfied from minute 10", "blocked dropped from minute 180", "satisfied from minute 240"]
    );
    let reason = link["reason"].as_str().unwrap();
    assert!(reason.contains("before that blocked (dropped)"), "{reason}");
    assert!(text.contains("It changed 2 times during the capture"), "{text}");
}

#[test]
fn flapping_is_told_as_flapping_and_the_latest_state_decides() {
    let (link, _) = told(&mut plant(false, |at| (at / HOUR).is_multiple_of(2)));
    assert_eq!(link["verdict"], "satisfied");
    assert_eq!(history(&link).len(), 9);
    let reason = link["reason"].as_str().unwrap();
    assert!(reason.contains("flapping: 8 changes"), "{reason}");
    let (link, _) = told(&mut plant(false, |at| at / HOUR % 2 == 1));
    assert_eq!((&link["verdict"], &link["mechanism"]), (&"blocked".into(), &"dropped".into()));
}

#[test]
fn what_fails_in_a_maintenance_window_is_no_failure() {
    let broken = |at: u64| (4 * HOUR..6 * HOUR).contains(&at);
    let window =
        "[[window]]\nfrom = 2026-11-18T15:00:00Z\nuntil = 2026-11-18T17:06:40Z\nreason = \"firmware\"\n";
    let mut s = plant(false, |at| !broken(at));
    s.entries = window.to_owned();
    let (link, _) = told(&mut s);
    assert_eq!(link["verdict"], "satisfied");
    assert_eq!(history(&link), ["satisfied from minute 10"]);
    // What still fails after it is a failure.
    let mut s = plant(false, |at| at < 4 * HOUR);
    s.entries = window.to_owned();
    let (link, _) = told(&mut s);
    assert_eq!((&link["verdict"], &link["mechanism"]), (&"blocked".into(), &"dropped".into()));
    assert_eq!(history(&link), ["satisfied from minute 10", "blocked dropped from minute 360"]);
}

/// A session of hours that dies while its other end is being worked on, though it began long before; and one that dies after it.
#[test]
fn a_session_that_dies_in_a_window_began_before_it() {
    let window =
        "[[window]]\nfrom = 2026-11-18T15:00:00Z\nuntil = 2026-11-18T17:06:40Z\nreason = \"firmware\"\n";
    for (dies, verdict) in [(5 * HOUR, "undecided"), (7 * HOUR, "blocked")] {
        let mut s = Scene::opswat(false, &[3006]);
        s.entries = window.to_owned();
        let mut talk =
            s.talk(s.sensor, s.site, 3006, HOUR).opens().exchange(&bytes::tls("site.plant.example", TLS13));
        while talk.at < dies * S {
            talk = talk.says(Client, &bytes::sealed_data(40)).waits(5 * MINUTE * S);
        }
        talk.in_vain(Client, &bytes::sealed_data(40), &REPEATS);
        // What the sensor is sent is shown all the time, and the Site Manager is alive to the end.
        for at in (EVERY..LONG).step_by(EVERY as usize).chain([dies + 5, dies + 25]) {
            s.fine(s.sensor, s.directory, 636, at, &bytes::tls("dc1.plant.example", TLS13));
            s.fine(s.site, s.manager, 3003, at, &bytes::tls("em.plant.example", TLS13));
        }
        assert_eq!(told(&mut s).0["verdict"], verdict, "dies at {dies}");
    }
}

/// A document that has clocks asked every 1,024 s.
const CLOCKS: &str = r#"
[ruleset]
id = "clocks"
title = "Clocks"
document = "Clocks"
revision = "1"
[roles.sensor]
kind = "component"
[roles.clock]
kind = "peer"
[[rule]]
id = "clock"
from = "sensor"
to = "clock"
service = "udp/123"
protocol = ["ntp"]
need = "required"
cadence = "periodic"
every = "17m"
cite = "row 1"
purpose = "time"
"#;

/// The sensor asks for the time at these seconds, and is answered.
fn clocks(times: &[u64]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clocks.toml");
    std::fs::write(&file, CLOCKS).unwrap();
    let mut s = Scene::opswat(false, &[]);
    s.ruleset = Box::leak(file.display().to_string().into_boxed_str());
    s.features = Vec::new();
    s.roles = vec![("sensor", format!("[\"{}\"]", s.sensor.ip)), ("clock", format!("[\"{}\"]", s.dns.ip))];
    let ends = (s.sensor, s.dns);
    for &at in times {
        let mut question = [0_u8; 48];
        question[0] = 0x23;
        question[40..44].copy_from_slice(&(at as u32).to_be_bytes());
        let mut answer = question;
        (answer[0], answer[1]) = (0x24, 2);
        answer[24..32].copy_from_slice(&question[40..48]);
        datagram(&mut s.plant, at * S, ends, (40_000 + (at % 1_000) as u16, 123), &question, Fate::Passes);
        datagram(
            &mut s.plant,
            at * S + 900,
            (ends.1, ends.0),
            (123, 40_000 + (at % 1_000) as u16),
            &answer,
            Fate::Passes,
        );
    }
    // The sensor is heard to the end.
    s.fine(s.sensor, s.site, 5672, LONG, &bytes::amqp());
    told(&mut s).0
}

#[test]
fn a_clock_asked_too_seldom_is_told_and_a_single_gap_is_not() {
    let usual: Vec<u64> = (100..LONG).step_by(1_024).collect();
    let link = clocks(&usual);
    assert_eq!(link["verdict"], "satisfied", "{link}");
    assert!(!link["reason"].as_str().unwrap().contains("the document says"), "{link}");
    let gap: Vec<u64> = usual.iter().copied().filter(|at| !(2 * HOUR..3 * HOUR).contains(at)).collect();
    assert!(!clocks(&gap)["reason"].as_str().unwrap().contains("the document says"));
    let seldom: Vec<u64> = (100..LONG).step_by(2_400).collect();
    let reason = clocks(&seldom)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("heard every 40 min, the document says every 17 min"), "{reason}");
    let stops: Vec<u64> = usual.iter().copied().filter(|at| *at < 5 * HOUR).collect();
    let reason = clocks(&stops)["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.contains("silent for the last 4") && reason.contains("the document says every 17 min"),
        "{reason}"
    );
}
