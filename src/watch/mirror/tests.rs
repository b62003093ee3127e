//! A mirror that loses a direction after it has shown both, and all that looks alike and is not: told by hours of made traffic.

use etherparse::PacketBuilder;

use super::*;
use crate::audit;
use crate::capture::CaptureError;
use crate::capture::Source;
use crate::model::Input;
use crate::model::InputId;
use crate::model::LinkType;
use crate::model::Observed;
use crate::model::Packet;
use crate::model::PacketRef;
use crate::pipeline::Live;
use crate::pipeline::Options;
use crate::pipeline::Retention;
use crate::rules::site_from_flags;

/// When all begins, in seconds since the epoch.
const BEGIN: i64 = 1_795_166_043;
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// What is known of the capture.
struct Capture(Vec<Input>);

impl Source for Capture {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        Ok(false)
    }

    fn packet(&self) -> Packet<'_> {
        Packet { at: PacketRef::default(), link: LinkType::ETHERNET, interface: 0, original: 0, bytes: &[] }
    }

    fn inputs(&self) -> Vec<Input> {
        self.0.clone()
    }
}

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

use End::Client;
use End::Server;

/// A plant whose connections are polled, a mirror that shows this or that of it, and what is told of the mirror.
struct Plant {
    live: Live,
    mirror: Mirror,
    /// Of an empty capture, but for its vantage.
    report: Report,
    /// Seconds since the begin.
    now: u64,
    packets: u64,
    last: Timestamp,
    /// How far the client and the server of each connection have come.
    connections: Vec<(u32, u32)>,
    told: Vec<(u64, &'static str)>,
}

impl Plant {
    /// So many connections that have begun and been polled once.
    fn of(connections: usize) -> Self {
        let site = site_from_flags(&[], &["opswat-md-ot-security".to_owned()], &[], &WORDS).unwrap();
        let mut plant = Self {
            report: audit::audit(Observed::default(), &site, audit::Options::default()),
            live: Live::new(&Options::default(), Retention::default()),
            mirror: Mirror::new(Duration::from_secs(86_400)),
            now: 0,
            packets: 0,
            last: Timestamp::MIN,
            connections: vec![(1000, 5000); connections],
            told: Vec::new(),
        };
        for number in 0..connections {
            plant.open(number, &|_| true);
        }
        plant
    }

    /// Puts one segment on the wire; the mirror shows it or does not.
    fn put(&mut self, number: usize, from: End, (syn, length): (bool, u32), shows: &dyn Fn(End) -> bool) {
        let (client, server) = &mut self.connections[number];
        let (sequence, acknowledged) = if from == Client { (*client, *server) } else { (*server, *client) };
        *(if from == Client { client } else { server }) += length + u32::from(syn);
        if !shows(from) {
            return;
        }
        let (one, other) = ([10, 1, 0, number as u8], [10, 2, 0, number as u8]);
        let ((source, from_port), (target, to_port)) = match from {
            Client => ((one, 40_000), (other, 502)),
            Server => ((other, 502), (one, 40_000)),
        };
        let mac = |ip: [u8; 4]| [2, 0, ip[0], ip[1], ip[2], ip[3]];
        let mut step = PacketBuilder::ethernet2(mac(source), mac(target))
            .ipv4(source, target, 64)
            .tcp(from_port, to_port, sequence, 8192);
        if syn {
            step = step.syn();
        }
        if !(syn && from == Client) {
            step = step.ack(acknowledged);
        }
        let mut bytes = Vec::new();
        step.write(&mut bytes, &[0; 64][..length as usize]).unwrap();
        self.packets += 1;
        let nanos = (BEGIN + self.now as i64) * 1_000_000_000 + self.packets as i64 % 1_000_000_000;
        self.last = Timestamp::from_nanos(nanos);
        let at = PacketRef::new(self.last, InputId(0), self.packets);
        let original = bytes.len() as u32;
        self.live.take(&Packet { at, link: LinkType::ETHERNET, interface: 0, original, bytes: &bytes });
    }

    fn open(&mut self, number: usize, shows: &dyn Fn(End) -> bool) {
        self.put(number, Client, (true, 0), shows);
        self.put(number, Server, (true, 0), shows);
        self.put(number, Client, (false, 0), shows);
    }

    /// A question, which acknowledges the answer before, and its answer.
    fn poll(&mut self, number: usize, shows: &dyn Fn(End) -> bool) {
        self.put(number, Client, (false, 12), shows);
        self.put(number, Server, (false, 11), shows);
    }

    /// So many minutes, in each of which something is on the wire and the mirror is looked at.
    fn minutes(&mut self, minutes: u64, mut each: impl FnMut(&mut Self, u64)) -> &mut Self {
        for minute in 0..minutes {
            each(self, minute);
            self.now += MINUTE;
            self.live.tick(Timestamp::from_nanos((BEGIN + self.now as i64) * 1_000_000_000));
            let input = Input { last: Some(self.last), packets: self.packets, ..Input::default() };
            let observed = self.live.observe(&Capture(vec![input]), None).join();
            self.report.vantage = observed.vantage;
            let ear = Ear { elapsed: Duration::from_secs(self.now), ..Ear::default() };
            let events = self.mirror.look(&self.report, &ear, Some(self.last));
            // Bytes that are missing are told as well, where they are many.
            let events = events.iter().filter(|event| event.json().contains("one-sided"));
            let now = self.now;
            let word = |event: &str| if event == "vantage-degraded" { "lost" } else { "back" };
            self.told.extend(events.map(|event| (now, word(&event.event))));
        }
        self
    }

    /// All connections are polled once a minute, as this mirror shows it.
    fn polled(&mut self, minutes: u64, shows: impl Fn(usize, End) -> bool) -> &mut Self {
        self.minutes(minutes, |plant, _| {
            (0..plant.connections.len()).for_each(|number| plant.poll(number, &|from| shows(number, from)));
        })
    }
}

/// Protocols that the ruleset names.
const WORDS: [&str; 17] = [
    "amqp",
    "tls",
    "http",
    "ssh",
    "dns",
    "ntp",
    "ldap",
    "modbus",
    "snmp",
    "bacnet",
    "ge-srtp",
    "enip",
    "melsec",
    "profinet-cm",
    "dce-rpc",
    "s7comm",
    "s7comm-plus",
];

/// Whether all that was told was told within so many minutes of these times.
fn check(plant: &Plant, expected: &[(u64, &str)], within: u64) {
    let told = &plant.told;
    assert_eq!(
        told.iter().map(|told| told.1).collect::<Vec<_>>(),
        expected.iter().map(|it| it.1).collect::<Vec<_>>(),
        "{told:?}"
    );
    for (&(at, _), &(since, _)) in told.iter().zip(expected) {
        assert!((since..=since + within * MINUTE).contains(&at), "{told:?}, not {expected:?}");
    }
}

#[test]
fn a_direction_that_is_lost_after_days_is_told_within_minutes_and_so_is_its_return() {
    for lost in [Client, Server] {
        let mut plant = Plant::of(8);
        plant.polled(26 * 60, |_, _| true).polled(30, |_, from| from != lost).polled(30, |_, _| true);
        check(&plant, &[(26 * HOUR, "lost"), (26 * HOUR + 30 * MINUTE, "back")], 7);
    }
}

#[test]
fn one_port_of_four_is_told_and_a_few_pairs_are_not() {
    let mut plant = Plant::of(16);
    plant.polled(60, |_, _| true).polled(30, |number, from| number >= 4 || from == Client);
    check(&plant, &[(HOUR, "lost")], 7);
    let mut plant = Plant::of(16);
    plant.polled(60, |_, _| true).polled(60, |number, from| number >= 3 || from == Client);
    check(&plant, &[], 0);
}

#[test]
fn short_connections_tell_it_too() {
    let open = |plant: &mut Plant, shows: &dyn Fn(End) -> bool| {
        for number in 0..6 {
            // Another client port would be another connection as well; here the numbers jump.
            plant.connections[number].0 += 1 << 20;
            plant.connections[number].1 += 1 << 20;
            plant.open(number, shows);
            plant.poll(number, shows);
            plant.put(number, Client, (false, 0), shows);
        }
    };
    let mut plant = Plant::of(6);
    plant.minutes(60, |plant, minute| {
        if minute % 3 == 0 {
            open(plant, &|_| true)
        }
    });
    plant.minutes(30, |plant, minute| {
        if minute % 3 == 0 {
            open(plant, &|from| from == Client)
        }
    });
    check(&plant, &[(HOUR, "lost")], 10);
}

#[test]
fn a_quiet_night_says_nothing_and_takes_nothing_back() {
    let night = |plant: &mut Plant, shows: bool| {
        plant.minutes(9 * 60, |plant, minute| {
            if minute % 20 == 0 {
                plant.poll(0, &|from| shows || from == Client)
            }
        });
    };
    let mut plant = Plant::of(8);
    plant.polled(60, |_, _| true);
    night(&mut plant, true);
    plant.polled(60, |_, _| true);
    check(&plant, &[], 0);
    let mut plant = Plant::of(8);
    plant.polled(60, |_, _| true).polled(20, |_, from| from == Client);
    night(&mut plant, false);
    check(&plant, &[(HOUR, "lost")], 7);
}

#[test]
fn servers_that_are_off_are_no_loss() {
    let mut plant = Plant::of(8);
    plant.polled(60, |_, _| true);
    // The last question is asked again and again, then connections are tried anew; then all is as before.
    plant.minutes(20, |plant, _| {
        for number in 0..8 {
            plant.put(number, Client, (false, 12), &|_| true);
            plant.connections[number].0 -= 12;
        }
    });
    plant.minutes(100, |plant, _| {
        for number in 0..8 {
            plant.put(number, Client, (true, 0), &|_| true);
            plant.connections[number].0 -= 1;
        }
    });
    plant.minutes(1, |plant, _| (0..8).for_each(|number| plant.open(number, &|_| true)));
    plant.polled(60, |_, _| true);
    check(&plant, &[], 0);
}

#[test]
fn packets_that_are_missing_here_and_there_are_no_lost_direction() {
    // Two of three packets, by a fixed hash of their number.
    let mut count = 0_u64;
    let mut plant = Plant::of(8);
    plant.polled(60, |_, _| true);
    plant.minutes(4 * 60, |plant, _| {
        for number in 0..8 {
            for _ in 0..2 {
                count += 1;
                let hash = count.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
                plant.poll(number, &|from| hash.rotate_left(if from == Client { 7 } else { 31 }) % 3 == 0);
            }
        }
    });
    check(&plant, &[], 0);
}

#[test]
fn slow_polls_of_which_one_answer_is_missing_are_no_loss() {
    let mut plant = Plant::of(8);
    plant.minutes(12 * 60, |plant, minute| {
        if minute % 10 == 0 {
            // All of them are polled at one moment, and in every third round no answer is seen.
            (0..8).for_each(|number| plant.poll(number, &|from| from == Client || minute % 30 != 20));
        }
    });
    check(&plant, &[], 0);
}

#[test]
fn a_mirror_that_never_showed_the_other_direction_is_told_as_before() {
    let mut plant = Plant::of(0);
    plant.connections = vec![(1000, 5000); 8];
    plant.minutes(1, |plant, _| (0..8).for_each(|number| plant.open(number, &|from| from == Client)));
    plant.polled(120, |_, from| from == Client);
    check(&plant, &[(0, "lost")], 1);
    plant.polled(10, |_, _| true);
    check(&plant, &[(0, "lost"), (121 * MINUTE, "back")], 2);
}
