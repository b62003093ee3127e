//! Explanations of a report that was made by hand.

use crate::report::ArchivedBy;
use crate::report::ArchivedConversation;
use crate::report::ArchivedEvidence;
use crate::report::ArchivedFinding;
use crate::report::ArchivedHeard;
use crate::report::ArchivedInput;
use crate::report::ArchivedPacket;
use crate::report::ArchivedPhase;
use crate::report::ArchivedRequirement;
use crate::report::Style;

use super::*;

fn at(packet: u64) -> ArchivedPacket {
    let time = crate::model::Timestamp::from_nanos(1_795_166_043_000_000_000 + packet as i64 * 1_000_000_000);
    ArchivedPacket { file: "it's here.pcap".into(), packet, time }
}

fn piece(packet: u64, note: &str) -> ArchivedEvidence {
    ArchivedEvidence { at: at(packet), note: note.into() }
}

fn talk(id: &str, port: u16, outcome: &str) -> ArchivedConversation {
    ArchivedConversation {
        id: id.into(),
        client: "10.1.2.10".into(),
        server: "10.1.9.5".into(),
        transport: "tcp".into(),
        port: Some(port),
        flows: 2,
        packets: 10,
        outcomes: [(outcome.to_owned(), 2)].into(),
        verdict: "allowed".into(),
        reason: "documented".into(),
        ..ArchivedConversation::default()
    }
}

fn archive() -> Archive {
    let mut archive = Archive {
        inputs: vec![ArchivedInput {
            file: "it's here.pcap".into(),
            packets: 99,
            sha256: Some("ab".into()),
            ..ArchivedInput::default()
        }],
        ..Archive::default()
    };
    archive.vantage.last = Some(at(90).time);
    archive.vantage.loss = Some(0.0);
    archive.vantage.acknowledged_bytes = 20_000;
    let heard = |host: &str| ArchivedHeard { host: host.into(), packets: 30, first: at(1), last: at(80) };
    archive.vantage.heard = vec![heard("10.1.2.10"), heard("10.1.9.5")];
    archive.conversations = vec![talk("c1", 5672, "unanswered"), talk("c2", 3006, "established")];
    archive.requirements = vec![ArchivedRequirement {
        id: "aa01".into(),
        ruleset: "opswat".into(),
        rule: "queue".into(),
        cite: "Site Manager, 5672".into(),
        purpose: "the sensor queues its messages".into(),
        from: "network-sensor".into(),
        to: "site-manager".into(),
        source: "10.1.2.10".into(),
        target: "10.1.9.5".into(),
        transport: "tcp".into(),
        ports: "5672".into(),
        need: "required".into(),
        cadence: "continuous".into(),
        verdict: "blocked".into(),
        mechanism: Some("dropped".into()),
        grade: Some("B".into()),
        reason: "10 SYNs in 2 attempts went unanswered, while the target is alive".into(),
        flows: 2,
        first: Some(at(20).time),
        last: Some(at(60).time),
        conversations: vec!["c1".into()],
        history: vec![
            ArchivedPhase { verdict: "satisfied".into(), mechanism: None, since: at(2) },
            ArchivedPhase { verdict: "blocked".into(), mechanism: Some("dropped".into()), since: at(20) },
        ],
        evidence: vec![piece(20, "the first SYN"), piece(60, "the last of 10 SYNs")],
        by: Some(ArchivedBy { who: "10.1.2.1".into(), kind: "firewall".into() }),
        ..ArchivedRequirement::default()
    }];
    archive.findings = vec![ArchivedFinding {
        id: "f001".into(),
        kind: "blocked".into(),
        severity: "high".into(),
        title: "queue is blocked".into(),
        detail: "10 SYNs.".into(),
        advice: "Ask whoever runs the firewall.".into(),
        requirements: vec!["aa01".into()],
        evidence: vec![piece(20, "the first SYN"), piece(60, "the last of 10 SYNs")],
        ..ArchivedFinding::default()
    }];
    archive
}

#[test]
fn a_blocked_flow_is_explained() {
    let explained = explain(&archive(), "1").unwrap();
    let mut out = Vec::new();
    explained.write_text(&Style::default(), &mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn what_was_captured_live_is_found_by_its_time() {
    let mut live = archive();
    live.inputs.iter_mut().for_each(|input| input.format = "live".to_owned());
    let explained = explain(&live, "1").unwrap();
    let spots: Vec<_> = explained.steps.iter().flat_map(|step| &step.packets).collect();
    assert!(spots.iter().all(|spot| spot.filter.starts_with("frame.time_epoch == ")), "{spots:?}");
    assert!(
        explained.check.iter().all(|command| command.starts_with("tshark -r FILE -Y 'frame.time_epoch in {"))
    );
    let mut out = Vec::new();
    explained.write_text(&Style::default(), &mut out).unwrap();
    let page = String::from_utf8(out).unwrap();
    assert!(page.contains("Wireshark: frame.time_epoch") && !page.contains("frame.number"), "{page}");
}

#[test]
fn every_packet_has_its_filter_and_steps_are_in_the_order_of_time() {
    let explained = explain(&archive(), "aa01").unwrap();
    let spots: Vec<_> = explained.steps.iter().flat_map(|step| &step.packets).collect();
    assert!(spots.iter().all(|spot| spot.filter == format!("frame.number == {}", spot.packet)));
    let filter = "ip.addr == 10.1.2.10 && ip.addr == 10.1.9.5 && tcp.port == 5672";
    assert!(explained.steps.iter().any(|step| step.around.as_deref() == Some(filter)));
    assert_eq!(explained.verdict, "blocked (dropped), grade B");
    let mut out = Vec::new();
    explained.write_json(&mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("\"schema\": \"spanaudit.explanation/1\""));
}

#[test]
fn what_the_report_does_not_know_remains_possible() {
    let mut archive = archive();
    archive.vantage.loss = None;
    archive.vantage.heard.truncate(1);
    archive.conversations.truncate(1);
    let explained = explain(&archive, "aa01").unwrap();
    let all = explained.remaining.join("\n");
    assert!(all.contains("too little traffic to tell"), "{all}");
    assert!(all.contains("10.1.9.5 being off"), "{all}");
    assert!(all.contains("never heard"), "{all}");
}

#[test]
fn conversations_and_undecided_requirements_are_explained_too() {
    let mut archive = archive();
    archive.conversations[1].verdict = "unexpected".into();
    let explained = explain(&archive, "c2").unwrap();
    assert!(!explained.opposite.is_empty() && !explained.ask.is_empty());
    archive.requirements[0].verdict = "undecided".into();
    archive.requirements[0].mechanism = None;
    assert!(!explain(&archive, "aa01").unwrap().opposite.is_empty());
}

/// A report is a file that anyone may have written: empty, contradictory and hostile ones are explained or refused, no more.
#[test]
fn a_report_that_says_nothing_is_no_reason_to_fail() {
    let mut archive = Archive::default();
    assert_eq!(explain(&archive, "1").unwrap_err(), Unknown::Nothing);
    archive.findings = vec![ArchivedFinding { requirements: vec!["x".into()], ..ArchivedFinding::default() }];
    archive.requirements = vec![ArchivedRequirement::default()];
    archive.conversations = vec![ArchivedConversation::default()];
    for subject in ["1", ""] {
        if let Ok(explained) = explain(&archive, subject) {
            explained.write_text(&Style::default(), &mut Vec::new()).unwrap();
        }
    }
}
