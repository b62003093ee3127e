//! Evidence written for a small report and read back with the project's own reader.

use crate::model::Addressee;
use crate::model::Cause;
use crate::model::ConversationVerdict;
use crate::model::Evidence;
use crate::model::Few;
use crate::model::FindingKind;
use crate::model::Grade;
use crate::model::Input;
use crate::model::InputId;
use crate::model::JudgedConversation;
use crate::model::Mechanism;
use crate::model::Proofs;
use crate::model::Report;
use crate::model::Severity;
use crate::model::SiteSummary;
use crate::model::Tally;
use crate::model::Transport;
use crate::model::Vantage;

use super::*;

const START: i64 = 1_795_166_043;

/// An Ethernet frame with a TCP segment between two machines.
fn segment(from: u8, to: u8, ports: (u16, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 0, 0, to, 0, 0, 0, 0, 0, from, 8, 0, 0x45, 0];
    frame.extend((40 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
    frame.extend([ports.0, ports.1].map(u16::to_be_bytes).concat());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}

/// A classic pcap file of nanoseconds, one packet a second.
fn recording(folder: &Path, name: &str, packets: &[Vec<u8>]) -> String {
    let mut file = [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for (index, packet) in packets.iter().enumerate() {
        let length = packet.len() as u32;
        file.extend([START as u32 + index as u32, 7, length, length].map(u32::to_le_bytes).concat());
        file.extend(packet);
    }
    let path = folder.join(name);
    fs::write(&path, file).unwrap();
    path.display().to_string()
}

fn at(input: u32, number: u64) -> PacketRef {
    let time = Timestamp::from_nanos((START + number as i64 - 1) * 1_000_000_000 + 7);
    PacketRef::new(time, InputId(input), number)
}

fn report(files: &[&str], cited: &[(u32, u64, &str)]) -> Report {
    let conversation = JudgedConversation {
        id: "c1".into(),
        cell: None,
        client: "10.0.0.1".into(),
        server: "10.0.0.2".into(),
        transport: Transport::Tcp,
        port: Some(443),
        protocols: Default::default(),
        layers: Default::default(),
        hosts: Vec::new(),
        flows: 1,
        packets: 3,
        bytes: 200,
        first: at(0, 1),
        last: at(0, 3),
        outcomes: Few::default(),
        verdict: ConversationVerdict::Unexpected,
        rule: None,
        reason: "".into(),
        evidence: Proofs::new(at(0, 1), "its first packet"),
    };
    let cited: Vec<Evidence> = cited
        .iter()
        .map(|&(input, number, note)| Evidence { at: at(input, number), note: note.to_owned().into() })
        .collect();
    let evidence = Proofs::gathered(&cited, usize::MAX).unwrap();
    let finding = Finding {
        id: "f1".into(),
        kind: FindingKind::Blocked(Cause { mechanism: Mechanism::Dropped, grade: Grade::B }),
        severity: Severity::High,
        title: "it is\u{1b}[2J blocked".into(),
        detail: String::new(),
        advice: "".into(),
        addressee: Addressee::Firewall,
        requirements: Vec::new(),
        conversations: vec!["c1".into()],
        evidence,
        counts: true,
    };
    Report {
        inputs: files.iter().map(|name| Input { name: (*name).to_owned(), ..Input::default() }).collect(),
        vantage: Vantage::default(),
        site: SiteSummary::default(),
        conclusion: crate::model::Conclusion::Findings,
        because: Vec::new(),
        requirements: Vec::new(),
        conversations: vec![Box::new(conversation)],
        findings: vec![finding],
        tally: Tally::default(),
    }
}

fn packets() -> Vec<Vec<u8>> {
    vec![
        segment(1, 2, (40_000, 443), 2, b""),
        segment(9, 8, (40_000, 443), 2, b""),
        segment(1, 2, (40_000, 443), 24, b"secret"),
        segment(2, 1, (443, 40_000), 4, b""),
    ]
}

/// The packets of a file: time, link type, original length, bytes.
fn read_back(path: &Path) -> Vec<(i64, u16, u32, Vec<u8>)> {
    let mut source = capture::open(&[path.to_owned()], &capture::Options::default()).unwrap();
    let mut all = Vec::new();
    while source.advance().unwrap() {
        let packet = source.packet();
        all.push((packet.at.time.as_nanos(), packet.link.0, packet.original, packet.bytes.to_vec()));
    }
    assert_eq!(source.inputs()[0].stopped, None);
    all
}

#[test]
fn a_finding_gets_its_packets_and_their_headers_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = recording(folder.path(), "mirror.pcap", &packets());
    let out = folder.path().join("evidence");
    prepare(&out).unwrap();
    let report = report(&[&file], &[(0, 3, "the request"), (0, 3, "again"), (0, 4, "the reset")]);
    assert_eq!(write(&out, &report, false).unwrap(), 1);
    let name = out.join("001-blocked-f1.pcapng");
    let read = read_back(&name);
    let wanted = packets();
    // The packet of other machines is not in it; the SYN of the same conversation is.
    let cut = wanted[2][..54].to_vec();
    assert_eq!(
        read,
        [
            (at(0, 1).time.as_nanos(), 1, 54, wanted[0].clone()),
            (at(0, 3).time.as_nanos(), 1, 60, cut),
            (at(0, 4).time.as_nanos(), 1, 54, wanted[3].clone()),
        ]
    );
    let raw = fs::read(&name).unwrap();
    let holds = |text: &str| raw.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!holds("secret") && !holds("\u{1b}[2J"));
    assert!(
        holds(&format!("the request (packet 3 of {file})")) && holds(&format!("again (packet 3 of {file})"))
    );
    let index = fs::read_to_string(out.join("index.txt")).unwrap();
    assert!(index.contains("frame.number in {3, 4}") && !index.contains('\u{1b}'), "{index}");
    // Every file but the sums themselves stands in the sums, with its hash.
    let sums = fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    for line in sums.lines() {
        let (hash, name) = line.split_once("  ").unwrap();
        assert_eq!(sha256(&fs::read(out.join(name)).unwrap()), hash, "{name}");
    }
    assert_eq!(sums.lines().count(), 3);
}

#[test]
fn whole_packets_where_they_are_wanted_and_several_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let first = recording(folder.path(), "a.pcap", &packets());
    let second = recording(folder.path(), "b.pcap", &packets());
    let out = folder.path().join("evidence");
    prepare(&out).unwrap();
    let report = report(&[&first, &second], &[(0, 3, "here"), (1, 3, "and there")]);
    write(&out, &report, true).unwrap();
    let read = read_back(&out.join("001-blocked-f1.pcapng"));
    assert_eq!(read.len(), 6);
    assert_eq!(read.iter().filter(|(.., bytes)| bytes.ends_with(b"secret")).count(), 2);
}

#[test]
fn what_can_not_be_evidence_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = recording(folder.path(), "mirror.pcap", &packets());
    assert!(matches!(prepare(folder.path()), Err(EvidenceError::NotEmpty { .. })));
    assert!(matches!(prepare(Path::new("/dev/null/x")), Err(EvidenceError::Io { .. })));
    assert!(matches!(check_inputs(&["-".into()]), Err(EvidenceError::OnlyOnce { .. })));
    assert!(matches!(check_inputs(&["/dev/null".into()]), Err(EvidenceError::OnlyOnce { .. })));
    assert!(check_inputs(&[file.clone().into(), folder.path().into()]).is_ok());
    // Another packet than the audit saw, or none any more.
    let out = folder.path().join("evidence");
    prepare(&out).unwrap();
    let gone = report(&[&file], &[(0, 9, "gone")]);
    assert!(matches!(write(&out, &gone, false), Err(EvidenceError::Changed { packet: 9, .. })));
    let mut other = report(&[&file], &[(0, 3, "other")]);
    let at = at(0, 3).within(InputId(0));
    let moved = PacketRef::new(Timestamp::from_nanos(1), at.input(), at.number());
    other.findings[0].evidence = Proofs::new(moved, "other");
    assert!(matches!(write(&out, &other, false), Err(EvidenceError::Changed { packet: 3, .. })));
}

#[test]
fn a_long_conversation_keeps_its_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let many: Vec<_> = (0..500).map(|_| segment(1, 2, (40_000, 443), 2, b"")).collect();
    let file = recording(folder.path(), "mirror.pcap", &many);
    let out = folder.path().join("evidence");
    prepare(&out).unwrap();
    write(&out, &report(&[&file], &[(0, 250, "the middle")]), false).unwrap();
    let times: Vec<_> = read_back(&out.join("001-blocked-f1.pcapng"))
        .iter()
        .map(|(time, ..)| time / 1_000_000_000 - START)
        .collect();
    let wanted: Vec<i64> = (0..100).chain([249]).chain(400..500).collect();
    assert_eq!(times, wanted);
    assert!(fs::read_to_string(out.join("index.txt")).unwrap().contains("Left out: 299 packets"));
}
