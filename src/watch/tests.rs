//! The whole watch over packets in memory, with a clock of the test's own.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etherparse::PacketBuilder;

use crate::audit;
use crate::capture::CaptureError;
use crate::capture::Polled;
use crate::capture::Source;
use crate::model::Addressee;
use crate::model::Conclusion;
use crate::model::Finding;
use crate::model::FindingKind;
use crate::model::Input;
use crate::model::InputId;
use crate::model::LinkType;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::model::Proofs;
use crate::model::Report;
use crate::model::Severity;
use crate::model::Timestamp;
use crate::pipeline;
use crate::pipeline::CellMap;
use crate::pipeline::Retention;
use crate::rules::Site;
use crate::rules::site_from_flags;

use super::tracker::Tracker;
use super::*;

/// A moment of capture time at which tests begin, in nanoseconds.
const BEGIN: i64 = 1_795_166_043_000_000_000;

/// A clock that moves when the wire does.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Frames at milliseconds since the begin; between them the wire is idle and the clock runs.
struct Wire {
    frames: Vec<(u64, Vec<u8>)>,
    next: usize,
    until: u64,
    clock: Arc<Hand>,
    at: PacketRef,
    /// From when on the capture clock is wrong by so many milliseconds.
    step: (u64, i64),
}

impl Source for Wire {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        Ok(self.poll()? == Polled::Packet)
    }

    fn poll(&mut self) -> Result<Polled, CaptureError> {
        let now = self.clock.0.load(Ordering::Relaxed);
        match self.frames.get(self.next) {
            Some((at, _)) if *at <= now => {
                let wrong = if *at >= self.step.0 { self.step.1 } else { 0 };
                let time = Timestamp::from_nanos(BEGIN + (*at as i64 + wrong) * 1_000_000);
                self.next += 1;
                self.at = PacketRef::new(time, InputId(0), self.next as u64);
                Ok(Polled::Packet)
            }
            None if now >= self.until => Ok(Polled::End),
            _ => {
                self.clock.0.fetch_add(100, Ordering::Relaxed);
                // The desk is a thread: on a real wire it has all the time that passes here in no time.
                std::thread::sleep(Duration::from_millis(2));
                Ok(Polled::Idle)
            }
        }
    }

    fn packet(&self) -> Packet<'_> {
        let bytes = self.next.checked_sub(1).and_then(|last| self.frames.get(last)).map_or(&[][..], |f| &f.1);
        Packet { at: self.at, link: LinkType::ETHERNET, interface: 0, original: bytes.len() as u32, bytes }
    }

    fn inputs(&self) -> Vec<Input> {
        vec![Input {
            name: "test0".to_owned(),
            format: "live".to_owned(),
            packets: self.next as u64,
            first: self.frames.first().map(|(at, _)| Timestamp::from_nanos(BEGIN + *at as i64 * 1_000_000)),
            last: (self.next > 0).then_some(self.at.time),
            ..Input::default()
        }]
    }
}

/// Remembers events.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<serde_json::Value>>>);

impl Outlet for Heard {
    fn name(&self) -> String {
        "test".to_owned()
    }

    fn deliver(&mut self, event: &Event) -> io::Result<()> {
        self.0.lock().unwrap().push(serde_json::from_str(&event.json()).unwrap());
        Ok(())
    }
}

struct Quiet;

impl Around for Quiet {
    fn reload(&mut self) -> Result<(Site, CellMap), String> {
        Err("not in this test".to_owned())
    }

    fn beat(&mut self, _: &Board) {}
}

const SENSOR: [u8; 4] = [10, 1, 2, 10];
const MANAGER: [u8; 4] = [10, 1, 9, 5];
const STRANGER: [u8; 4] = [10, 1, 2, 66];

fn site() -> Site {
    let roles = [("network-sensor", "10.1.2.10"), ("site-manager", "10.1.9.5")]
        .map(|(role, address)| (role.to_owned(), address.to_owned()));
    let protocols = "amqp tls http ssh dns ntp ldap modbus snmp bacnet ge-srtp enip melsec profinet-cm dce-rpc s7comm s7comm-plus";
    let protocols: Vec<&str> = protocols.split(' ').collect();
    site_from_flags(&roles, &["opswat-md-ot-security".to_owned()], &[], &protocols).unwrap()
}

fn tcp(
    from: [u8; 4],
    to: [u8; 4],
    ports: (u16, u16),
    flags: &str,
    sequence: (u32, u32),
    payload: &[u8],
) -> Vec<u8> {
    let mac = |ip: [u8; 4]| [2, 0, ip[0], ip[1], ip[2], ip[3]];
    let mut step = PacketBuilder::ethernet2(mac(from), mac(to))
        .ipv4(from, to, 64)
        .tcp(ports.0, ports.1, sequence.0, 64_240);
    if flags.contains('S') {
        step = step.syn();
    }
    if flags.contains('A') {
        step = step.ack(sequence.1);
    }
    let mut bytes = Vec::new();
    step.write(&mut bytes, payload).unwrap();
    bytes
}

/// AMQP 0-9-1 opened by a client and answered, at this millisecond, from this client port.
fn works(at: u64, port: u16) -> Vec<(u64, Vec<u8>)> {
    let (there, back) = ((port, 5672), (5672, port));
    // Connection.Start: class 10, method 10, version 0-9, empty properties, mechanisms and locales as long strings.
    let start = b"\x01\x00\x00\x00\x00\x00\x1c\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US\xce";
    let length = start.len() as u32;
    vec![
        (at, tcp(SENSOR, MANAGER, there, "S", (100, 0), b"")),
        (at + 1, tcp(MANAGER, SENSOR, back, "SA", (500, 101), b"")),
        (at + 2, tcp(SENSOR, MANAGER, there, "A", (101, 501), b"AMQP\x00\x00\x09\x01")),
        (at + 3, tcp(MANAGER, SENSOR, back, "A", (501, 109), start)),
        (at + 4, tcp(SENSOR, MANAGER, there, "A", (109, 501 + length), b"")),
    ]
}

/// SYNs into silence, by the timer of a client that gives up after half a minute.
fn dropped(at: u64, port: u16) -> Vec<(u64, Vec<u8>)> {
    [0, 1_000, 3_000, 7_000, 15_000]
        .map(|later| (at + later, tcp(SENSOR, MANAGER, (port, 5672), "S", (100, 0), b"")))
        .to_vec()
}

struct Ran {
    report: Report,
    events: Vec<serde_json::Value>,
}

impl Ran {
    fn named(&self, name: &str) -> Vec<&serde_json::Value> {
        self.events.iter().filter(|event| event["event"] == name).collect()
    }

    /// Seconds since the begin at which an event was told.
    fn second(event: &serde_json::Value) -> i64 {
        let time: jiff::Timestamp = event["time"].as_str().unwrap().parse().unwrap();
        (time.as_nanosecond() as i64 - BEGIN) / 1_000_000_000
    }
}

fn run(frames: Vec<(u64, Vec<u8>)>, until: u64, state: Option<&std::path::Path>) -> Ran {
    run_with_step(frames, until, state, (u64::MAX, 0))
}

fn run_with_step(
    frames: Vec<(u64, Vec<u8>)>,
    until: u64,
    state: Option<&std::path::Path>,
    step: (u64, i64),
) -> Ran {
    let clock = Arc::new(Hand::default());
    let heard = Heard::default();
    let sinks = vec![Sink::start(Box::new(heard.clone()))];
    let outlets = sinks.iter().map(|sink| (sink.name().to_owned(), sink.counts())).collect();
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let board = Arc::new(Board::new(shared, outlets));
    let setup = Setup {
        site: site(),
        audit: audit::Options::default(),
        silence: Duration::from_secs(60),
        keep: Duration::from_secs(86_400),
        sinks,
        archive: None,
        evidence: state.map(|folder| folder.join("evidence")),
        store: state.map(|folder| Store::open(folder, true).unwrap()),
        words: vec!["amqp", "ssh"],
        hear: Box::new(|_| {}),
    };
    let plan = Plan {
        options: pipeline::Options { recent_bytes: 1 << 20, ..pipeline::Options::default() },
        retention: Retention::default(),
        pause: Duration::from_secs(1),
        duration: None,
        report_every: None,
    };
    let mut wire = Wire { frames, next: 0, until, clock: Arc::clone(&clock), at: PacketRef::default(), step };
    let desk = Desk::new(setup, Arc::clone(&board));
    let controls = Controls::default();
    let report = watch(Feed::Source(&mut wire), &plan, &*clock, &controls, desk, &board, &mut Quiet).unwrap();
    let events = heard.0.lock().unwrap().clone();
    Ran { report, events }
}

fn frames(parts: &[Vec<(u64, Vec<u8>)>]) -> Vec<(u64, Vec<u8>)> {
    let mut frames: Vec<_> = parts.iter().flatten().cloned().collect();
    frames.sort_by_key(|(at, _)| *at);
    frames
}

#[test]
fn a_block_that_begins_and_ends_is_told_once_each_within_seconds() {
    let ran = run(
        frames(&[works(1_000, 50_001), works(5_000, 50_002), dropped(20_000, 50_003), works(60_000, 50_004)]),
        90_000,
        None,
    );
    let changes: Vec<_> = ran
        .named("verdict-changed")
        .into_iter()
        .map(|event| {
            (event["before"].as_str().unwrap(), event["verdict"].as_str().unwrap(), Ran::second(event))
        })
        .collect();
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert_eq!((changes[0].0, changes[0].1), ("unseen", "satisfied"));
    assert!((1..=4).contains(&changes[0].2), "{changes:?}");
    assert_eq!((changes[1].0, changes[1].1), ("satisfied", "blocked"));
    // The third SYN came at 23 s; a block is not told before the silence after it is long enough.
    assert!((23..=38).contains(&changes[1].2), "{changes:?}");
    assert_eq!((changes[2].0, changes[2].1), ("blocked", "satisfied"));
    assert!((60..=64).contains(&changes[2].2), "{changes:?}");
    assert_eq!(ran.named("finding-opened").len(), 1, "{:#?}", ran.events);
    assert_eq!(ran.named("finding-resolved").len(), 1);
    assert_eq!(ran.named("watch-started").len(), 1);
    assert_eq!(ran.named("watch-stopped").len(), 1);
    let numbers: Vec<_> = ran.events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(ran.report.tally.adds_up());
    assert_eq!(ran.report.tally.packets, 20);
}

#[test]
fn an_unexpected_conversation_is_told_once_and_then_counted() {
    let strange = |at: u64, port: u16| {
        vec![
            (at, tcp(STRANGER, MANAGER, (port, 2222), "S", (100, 0), b"")),
            (at + 1, tcp(MANAGER, STRANGER, (2222, port), "SA", (500, 101), b"")),
            (at + 2, tcp(STRANGER, MANAGER, (port, 2222), "A", (101, 501), b"SSH-2.0-x\r\n")),
            (at + 3, tcp(MANAGER, STRANGER, (2222, port), "A", (501, 112), b"SSH-2.0-y\r\n")),
        ]
    };
    let many: Vec<_> = (0..20).map(|n| strange(1_000 + n * 1_500, 40_000 + n as u16)).collect();
    let ran = run(frames(&many), 40_000, None);
    assert_eq!(ran.named("conversation-unexpected").len(), 1, "{:#?}", ran.events);
    assert_eq!(ran.named("finding-opened").len(), 1);
    assert_eq!(ran.report.conversations.iter().find(|told| told.port == Some(2222)).unwrap().flows, 20);
}

#[test]
fn a_flood_of_strangers_is_told_by_its_number() {
    let strange = |number: u8| {
        let (client, server, at) = ([10, 1, 9, 5], [10, 1, 8, number], 1_000 + u64::from(number));
        vec![
            (at, tcp(client, server, (40_000, 2222), "S", (100, 0), b"")),
            (at + 1, tcp(server, client, (2222, 40_000), "SA", (500, 101), b"")),
            (at + 2, tcp(client, server, (40_000, 2222), "A", (101, 501), b"SSH-2.0-x\r\n")),
            (at + 3, tcp(server, client, (2222, 40_000), "A", (501, 112), b"SSH-2.0-y\r\n")),
        ]
    };
    let ran = run(frames(&(0..200).map(strange).collect::<Vec<_>>()), 10_000, None);
    let told = ran.named("conversation-unexpected").len();
    let more = ran.named("conversations-unexpected");
    assert_eq!((told, more.len()), (32, 1), "{:#?}", ran.events);
    assert!(more[0]["message"].as_str().unwrap().starts_with("168 more "), "{}", more[0]);
    let open = ran.report.findings.len();
    let told = ran.named("finding-opened").len();
    assert_eq!(told, open.min(32));
    assert_eq!(ran.named("findings-unexpected").len(), usize::from(open > 32));
}

#[test]
fn silence_is_told_and_nothing_is_invented_in_it() {
    let ran = run(frames(&[works(1_000, 50_001), works(200_000, 50_002)]), 205_000, None);
    let mirror: Vec<_> = ran
        .events
        .iter()
        .filter(|event| event["condition"] == "silent")
        .map(|event| (event["event"].as_str().unwrap(), Ran::second(event)))
        .collect();
    assert_eq!(mirror.len(), 2, "{mirror:?}");
    assert_eq!(mirror[0].0, "vantage-degraded");
    assert!((60..=66).contains(&mirror[0].1), "{mirror:?}");
    assert_eq!(mirror[1].0, "vantage-recovered");
    assert_eq!(ran.named("verdict-changed").len(), 1);
    assert!(ran.named("finding-opened").is_empty(), "{:#?}", ran.events);
}

#[test]
fn a_capture_clock_that_is_set_is_told_once_and_invents_nothing() {
    for step in [3_600_000, -3_600_000] {
        let talk: Vec<_> = (0..12).map(|n| works(1_000 + n * 5_000, 50_001 + n as u16)).collect();
        let ran = run_with_step(frames(&talk), 70_000, None, (30_000, step));
        let steps = ran.named("clock-stepped");
        assert_eq!(steps.len(), 1, "{:#?}", ran.events);
        let way = if step > 0 { "was set forward by 3" } else { "was set back by 3" };
        assert!(steps[0]["message"].as_str().unwrap().contains(way), "{}", steps[0]);
        assert_eq!(ran.named("verdict-changed").len(), 1, "{:#?}", ran.events);
        for invented in ["finding-opened", "conversation-unexpected", "vantage-degraded"] {
            assert!(ran.named(invented).is_empty(), "{:#?}", ran.events);
        }
    }
}

#[test]
fn a_restart_forgets_nothing_that_was_told_and_tells_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(frames(&[works(1_000, 50_001), dropped(20_000, 50_003)]), 60_000, Some(folder.path()));
    assert_eq!(first.named("finding-opened").len(), 1);
    assert_eq!(first.report.conclusion, Conclusion::Findings);
    // Nothing that decides: the finding stays open, and the report says so.
    let stray = vec![(1_000, tcp(SENSOR, MANAGER, (50_009, 5672), "S", (100, 0), b""))];
    let second = run(stray, 30_000, Some(folder.path()));
    assert!(second.named("finding-opened").is_empty(), "{:#?}", second.events);
    assert!(second.named("finding-resolved").is_empty(), "{:#?}", second.events);
    assert!(second.named("verdict-changed").is_empty(), "{:#?}", second.events);
    assert_eq!(second.report.conclusion, Conclusion::Findings);
    // The report is whole: the finding with its packets, the verdict, the conversation with its counts.
    let finding = &second.report.findings[0];
    assert!(finding.detail.contains("as an earlier run saw it"), "{finding:#?}");
    assert_eq!(second.report.input_name(finding.evidence.first().at), "earlier runs");
    let queue = |ran: &Ran| ran.report.requirements.iter().find(|told| told.ports == "5672").unwrap().clone();
    assert_eq!(queue(&second).verdict.name(), "blocked");
    assert_eq!(queue(&second).verdict.evidence().count(), queue(&first).verdict.evidence().count());
    let talk = second.report.conversations.iter().find(|told| told.port == Some(5672)).unwrap();
    assert_eq!((talk.flows, talk.packets), (3, 11));
    assert_eq!(talk.protocols.as_slice(), ["amqp"]);
    // Its packets were kept when they passed, and are there again.
    let exhibits = || -> Vec<_> {
        let files = std::fs::read_dir(folder.path().join("evidence")).unwrap().flatten();
        let files = files.map(|file| file.path());
        files.filter(|file| file.extension().is_some_and(|kind| kind == "pcapng")).collect()
    };
    let mut source = crate::capture::open(&exhibits(), &crate::capture::Options::default()).unwrap();
    let mut kept = Vec::new();
    while source.advance().unwrap() {
        kept.push((source.packet().at.time, source.packet().bytes.to_vec()));
    }
    let cited = |ran: &Ran| {
        let mut cited: Vec<_> = ran.report.findings[0].evidence.iter().map(|piece| piece.at.time).collect();
        cited.sort();
        cited.dedup();
        cited
    };
    assert_eq!(kept.iter().map(|(time, _)| *time).collect::<Vec<_>>(), cited(&second));
    assert_eq!(cited(&second), cited(&first));
    let sent = dropped(20_000, 50_003);
    assert!(kept.iter().all(|(_, bytes)| sent.iter().any(|(_, frame)| frame == bytes)), "{kept:?}");
    let numbers =
        |ran: &Ran| ran.events.iter().map(|event| event["seq"].as_u64().unwrap()).collect::<Vec<_>>();
    assert!(numbers(&second).iter().min() > numbers(&first).iter().max());
    let third = run(frames(&[works(1_000, 50_010)]), 30_000, Some(folder.path()));
    assert_eq!(third.named("finding-resolved").len(), 1, "{:#?}", third.events);
    assert!(exhibits().is_empty());
    let history: Vec<_> = queue(&third).history.iter().map(|phase| phase.verdict).collect();
    assert_eq!(history, ["satisfied", "blocked", "satisfied"]);
    let change = third.named("verdict-changed");
    assert_eq!(
        (change[0]["before"].as_str(), change[0]["verdict"].as_str()),
        (Some("blocked"), Some("satisfied"))
    );
}

#[test]
fn a_finding_that_others_tell_by_now_is_not_left_open() {
    let strange = |number: u8| {
        let (client, server) = ([10, 1, 9, 5], [10, 1, 8, number]);
        vec![
            (1_000, tcp(client, server, (40_000, 2222), "S", (100, 0), b"")),
            (1_001, tcp(server, client, (2222, 40_000), "SA", (500, 101), b"")),
        ]
    };
    let mut report = run(frames(&[strange(1), strange(2), strange(3)]), 4_000, None).report;
    let ids: Vec<_> = report.conversations.iter().map(|told| told.id.clone()).collect();
    let [a, b, c] = ids.iter().map(|id| id.as_str()).collect::<Vec<_>>()[..] else { panic!("{ids:?}") };
    let finding = |id: &str, conversations: &[&str]| Finding {
        id: id.to_owned(),
        kind: FindingKind::Unexpected,
        severity: Severity::Medium,
        title: format!("finding {id}"),
        detail: String::new(),
        advice: "".into(),
        addressee: Addressee::Site,
        requirements: Vec::new(),
        conversations: conversations.iter().map(|&id| id.into()).collect(),
        evidence: Proofs::new(PacketRef::default(), "SYN"),
        counts: true,
    };
    let mut tracker = Tracker::default();
    let mut looks = |findings: Vec<Finding>| {
        report.findings = findings;
        let events: Vec<Event> = (0..3).flat_map(|_| tracker.compare(&report, None, false)).collect();
        let about = events.iter().filter(|event| event.event.starts_with("finding"));
        about.map(|event| format!("{} {}", event.event, event.message)).collect::<Vec<_>>()
    };
    let open = looks(vec![finding("one", &[a]), finding("two", &[b])]);
    assert_eq!(open, ["finding-opened finding one", "finding-opened finding two"]);
    let joined = looks(vec![finding("one", &[a]), finding("all", &[b, c])]);
    assert_eq!(joined, ["finding-opened finding all", "finding-resolved told with another: finding two"]);
    // What nobody tells stays open: its conversation is as unexpected as before.
    assert_eq!(looks(vec![finding("all", &[b, c])]), [""; 0]);
}
