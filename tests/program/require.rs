//! What a rule requires of a payload's facts, from a recording to the verdict.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "this is a test")]

use std::path::Path;
use std::path::PathBuf;

use spanaudit::audit;
use spanaudit::capture;
use spanaudit::classify::PROTOCOLS;
use spanaudit::model::ConversationVerdict;
use spanaudit::model::Mechanism;
use spanaudit::model::Report;
use spanaudit::pipeline;
use spanaudit::rules;

/// A capture of the lab in which a sensor profiles assets: it reads holding registers over Modbus, S7 and SNMP.
fn profiling() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../shared/captures/lab/smart-asset-profiling.pcap");
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

fn words() -> Vec<&'static str> {
    let about = || PROTOCOLS.iter().map(|protocol| protocol.about());
    about()
        .map(|about| about.name)
        .chain(about().flat_map(|about| about.facts.iter().map(|(key, _)| *key)))
        .collect()
}

fn run(capture: &Path, site: &rules::Site) -> Report {
    let mut source = capture::open(&[capture.to_path_buf()], &capture::Options::default()).unwrap();
    let observed = pipeline::run(&mut source, &pipeline::Options::default(), &|_, _| {}).unwrap();
    audit::audit(observed, site, audit::Options::default())
}

fn site(text: &str, folder: &Path) -> rules::Site {
    rules::parse_site("site.toml", text, folder, &words())
        .unwrap_or_else(|error| panic!("{}", error.render(false, 100)))
}

/// Audits the capture under one rule on a service, with what it requires.
fn audited(capture: &Path, service: &str, require: &str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let ruleset = format!(
        "[ruleset]\nid = 'vendor'\ntitle = 'T'\ndocument = 'D'\nrevision = '1'\n\
         [roles.sensor]\nkind = 'component'\n[roles.asset]\nkind = 'peer'\n\
         [[rule]]\nid = 'one'\nfrom = 'sensor'\nto = 'asset'\nservice = '{service}'\nneed = 'required'\n\
         cadence = 'periodic'\ncite = 'c'\npurpose = 'p'\nrequire = {{ {require} }}\n"
    );
    std::fs::write(folder.path().join("vendor.toml"), ruleset).unwrap();
    let text = "[site]\nname = 'x'\nrulesets = ['vendor.toml']\n\
                [roles]\nsensor = '10.20.2.11'\nasset = '10.20.1.0/24'\n";
    run(capture, &site(text, folder.path()))
}

/// Verdict, mechanism and number of cited packets of every requirement that was tried.
fn tried(report: &Report) -> Vec<(&'static str, Option<Mechanism>, &str)> {
    let tried = report.requirements.iter().filter(|one| one.flows > 0);
    tried
        .map(|one| {
            (one.verdict.name(), one.verdict.failure().map(|failure| failure.mechanism), one.reason.as_str())
        })
        .collect()
}

#[test]
fn facts_that_agree_satisfy_and_say_how_much_was_read() {
    let Some(capture) = profiling() else { return };
    let report = audited(&capture, "tcp/502", "'modbus.access' = ['read', 'diagnostic']");
    let all = tried(&report);
    assert!(!all.is_empty());
    for (verdict, _, reason) in all {
        assert_eq!(verdict, "satisfied");
        assert!(reason.contains("modbus.access as documented in every message"), "{reason}");
    }
}

#[test]
fn a_fact_that_is_never_shown_does_not_condemn() {
    let Some(capture) = profiling() else { return };
    let report = audited(&capture, "tcp/502", "'tls.version' = '>= 1.3'");
    let all = tried(&report);
    assert!(!all.is_empty());
    for (verdict, _, reason) in all {
        assert_eq!((verdict, reason), ("satisfied", "works; the capture does not show tls.version"));
    }
}

#[test]
fn a_fact_that_contradicts_is_a_violation_with_its_packet() {
    let Some(capture) = profiling() else { return };
    let report = audited(&capture, "udp/161", "'snmp.version' = 'v3'");
    let all = tried(&report);
    assert!(!all.is_empty());
    assert!(all.iter().all(|one| one.1 == Some(Mechanism::NotAsDocumented)), "{all:?}");
    let cited = report.requirements.iter().flat_map(|one| one.verdict.evidence()).next().unwrap();
    assert!(cited.note.starts_with("shows snmp.version") && cited.at.number() > 0);
    assert!(report.conversations.iter().any(|one| one.verdict == ConversationVerdict::Violating));
}

/// The sensor's reads of holding registers made writes of one: function 3 becomes 6, whose request has the same shape.
#[test]
fn a_sensor_that_writes_to_a_controller_violates_its_document() {
    let Some(capture) = profiling() else { return };
    let mut bytes = std::fs::read(&capture).unwrap();
    let header = [0, 0, 0, 6, 1, 3];
    let reads: Vec<usize> =
        bytes.windows(header.len()).enumerate().filter(|(_, w)| *w == header).map(|(at, _)| at).collect();
    assert!(!reads.is_empty(), "nobody reads registers in this capture any more");
    for at in reads {
        bytes[at + 5] = 6;
    }
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("writes.pcap");
    std::fs::write(&written, bytes).unwrap();
    let text = "[site]\nname = 'x'\nrulesets = ['opswat-md-ot-security']\nfeatures = ['smart-asset-profiling']\n\
                [roles]\nnetwork-sensor = '10.20.2.11'\nasset = '10.20.1.0/24'\n";
    let site = site(text, folder.path());
    let verdicts = |capture: &Path| -> Vec<(&'static str, Option<Mechanism>)> {
        let report = run(capture, &site);
        let modbus = report.requirements.iter().filter(|one| one.rule == "profile-modbus" && one.flows > 0);
        modbus
            .map(|one| (one.verdict.name(), one.verdict.failure().map(|failure| failure.mechanism)))
            .collect()
    };
    assert!(verdicts(&capture).iter().all(|one| one.0 == "satisfied"));
    let after = verdicts(&written);
    assert!(!after.is_empty());
    assert!(after.contains(&("violated", Some(Mechanism::NotAsDocumented))), "{after:?}");
}
