//! The pipeline that does not end, held against a run, against rings, and against months.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use etherparse::PacketBuilder;

use super::*;
use crate::capture;
use crate::capture::Source;
use crate::model::Host;
use crate::model::Input;
use crate::model::InputId;
use crate::model::LinkType;
use crate::model::Observed;
use crate::model::PacketRef;
use crate::model::pair;
use crate::pipeline::ANSWERED;
use crate::pipeline::shard::SHARDS;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cases");
    let cases = std::fs::read_dir(folder).unwrap().flatten().map(|case| case.path().join("capture.pcap"));
    cases.filter(|path| path.exists()).collect()
}

#[test]
fn a_snapshot_at_the_end_is_what_a_run_tells() {
    let mut seen = 0;
    for path in cases() {
        let open = || capture::open(std::slice::from_ref(&path), &capture::Options::default()).unwrap();
        let options = Options { keep_flows: true, ..Options::default() };
        let whole = crate::pipeline::run(&mut open(), &options, &|_, _| {}).unwrap();
        let mut live = Live::new(&options, Retention::default());
        let mut source = open();
        let mut packets = 0;
        while source.advance().unwrap() {
            live.gather(&source.packet());
            packets += 1;
            if packets % 100 == 0 {
                live.flush();
                // A look on the way changes nothing, and its own sums add up.
                assert!(live.observe(&source, None).join().tally.adds_up());
            }
        }
        live.flush();
        let told = live.observe(&source, None).join();
        assert_eq!(format!("{told:#?}"), format!("{whole:#?}"), "{}", path.display());
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn a_look_taken_in_steps_knows_no_less_than_one_taken_at_once_when_it_began() {
    let mut seen = 0;
    for path in cases() {
        let mut source = capture::open(std::slice::from_ref(&path), &capture::Options::default()).unwrap();
        let mut live = Live::new(&Options::default(), Retention::default());
        let mut looking: Option<(Look, Observed)> = None;
        while source.advance().unwrap() {
            live.take(&source.packet());
            match looking.take() {
                None => {
                    let at_once = live.observe(&source, None).join();
                    looking = Some((live.begin_look(&source, None), at_once));
                }
                Some((mut look, at_once)) => {
                    if !live.step(&mut look) {
                        looking = Some((look, at_once));
                        continue;
                    }
                    let told = live.end_look(look).join();
                    assert!(told.tally.adds_up(), "{}", path.display());
                    assert!(told.tally.in_flows >= at_once.tally.in_flows);
                    for (key, before) in &at_once.conversations {
                        // Roles may be settled otherwise by what was heard since.
                        let now = told.conversations.get(key);
                        assert!(now.is_none_or(|now| now.packets >= before.packets), "{key:?}");
                    }
                    assert!(at_once.vantage.heard.keys().all(|host| told.vantage.heard.contains_key(host)));
                    assert_eq!(told.inputs, at_once.inputs);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

/// One of several rings of a recording: its packets, and for the first of them what is known of the recording.
#[derive(Default)]
struct Lane {
    packets: Vec<(PacketRef, LinkType, u32, u32, Vec<u8>)>,
    next: usize,
    inputs: Vec<Input>,
    notes: Vec<String>,
}

impl Source for Lane {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        self.next += 1;
        Ok(self.next <= self.packets.len())
    }

    fn packet(&self) -> Packet<'_> {
        let (at, link, interface, original, bytes) = &self.packets[self.next - 1];
        Packet { at: *at, link: *link, interface: *interface, original: *original, bytes }
    }

    fn inputs(&self) -> Vec<Input> {
        self.inputs.clone()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}

/// The ring that the kernel would choose, by the outer IP header behind Ethernet and tags.
fn ring(packet: &Packet<'_>, rings: usize) -> usize {
    let mut rest = packet.bytes.get(12..).unwrap_or_default();
    while let [0x81, 0, _, _, behind @ ..] = rest {
        rest = behind;
    }
    let ends = match rest {
        [8, 0, ip @ ..] if packet.link == LinkType::ETHERNET => ip.get(12..20),
        [0x86, 0xdd, ip @ ..] if packet.link == LinkType::ETHERNET => ip.get(8..40),
        _ => None,
    };
    let Some(ends) = ends else { return 0 };
    let (one, other) = ends.split_at(ends.len() / 2);
    let host = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(ip) => Host::Ip(std::net::IpAddr::from(ip)),
        Err(_) => Host::Ip(std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap())),
    };
    (pair::of_pair(pair::folded(host(one)), pair::folded(host(other))) as usize) % SHARDS % rings
}

#[test]
fn several_rings_tell_what_a_run_tells() {
    let mut copied = 0;
    for path in cases() {
        let open = || capture::open(std::slice::from_ref(&path), &capture::Options::default()).unwrap();
        let options = Options { keep_flows: true, ..Options::default() };
        let whole = crate::pipeline::run(&mut open(), &options, &|_, _| {}).unwrap();
        for rings in [2, 3] {
            let mut lanes: Vec<Lane> = (0..rings).map(|_| Lane::default()).collect();
            let mut source = open();
            while source.advance().unwrap() {
                let packet = source.packet();
                let lane = &mut lanes[ring(&packet, rings)];
                let Packet { at, link, interface, original, bytes } = packet;
                lane.packets.push((at, link, interface, original, bytes.to_vec()));
            }
            lanes[0].inputs = source.inputs();
            lanes[0].notes = source.notes();
            let lanes = lanes.into_iter().map(|lane| Box::new(lane) as Ring).collect();
            let mut live = Live::spread(&options, Retention::default(), lanes).unwrap();
            while !live.going().unwrap().over {
                std::thread::sleep(Duration::from_millis(1));
            }
            let told = live.rings();
            let told = live.observe(&told, None).join();
            assert_eq!(format!("{told:#?}"), format!("{whole:#?}"), "{} over {rings} rings", path.display());
            copied += live.load().copied;
        }
    }
    // Tunnels and errors are among the cases.
    assert!(copied > 0);
}

/// An interface of which nothing is asked but its name.
struct Wire;

impl Source for Wire {
    fn advance(&mut self) -> Result<bool, CaptureError> {
        Ok(false)
    }

    fn packet(&self) -> Packet<'_> {
        Packet { at: PacketRef::default(), link: LinkType::ETHERNET, interface: 0, original: 0, bytes: &[] }
    }

    fn inputs(&self) -> Vec<Input> {
        vec![Input::default()]
    }
}

/// A question for a name that was never asked for before.
fn question(number: u32) -> Vec<u8> {
    let mut dns = vec![(number >> 8) as u8, number as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let label = format!("n{number:07}");
    dns.push(label.len() as u8);
    dns.extend(label.as_bytes());
    dns.extend(b"\x05plant\x07example\0\0\x01\0\x01");
    let mut bytes = Vec::new();
    let [_, a, b, c] = number.to_be_bytes();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, a, b, c], [10, 99, 0, 53], 64)
        .udp(20_000 + (number % 40_000) as u16, 53)
        .write(&mut bytes, &dns)
        .unwrap();
    bytes
}

/// Data in the middle of a connection that nobody saw opened.
fn midstream(number: u32) -> Vec<u8> {
    let [_, a, b, c] = number.to_be_bytes();
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, a, b, c], [10, 98, 0, 1], 64)
        .tcp(20_000 + (number % 40_000) as u16, 502, number, 1000)
        .ack(1)
        .write(&mut bytes, &[1, 2, 3, 4])
        .unwrap();
    bytes
}

#[test]
fn forged_addresses_push_nobody_out_who_speaks_all_the_time() {
    let options = Options { hosts: 4096, ..Options::default() };
    let mut live = Live::new(&options, Retention::default());
    for number in 0..40_000_u32 {
        let talker = if number % 10 == 0 { 7 } else { number };
        let time = Timestamp::from_nanos(i64::from(number) * 400_000_000);
        let at = PacketRef::new(time, InputId(0), u64::from(number) + 1);
        let bytes = question(talker);
        let original = bytes.len() as u32;
        live.take(&Packet { at, link: LinkType::ETHERNET, interface: 0, original, bytes: &bytes });
        live.tick(time);
    }
    let told = live.observe(&Wire, None).join();
    assert!(told.vantage.heard.len() <= 4096, "{}", told.vantage.heard.len());
    let talker = Host::Ip(std::net::IpAddr::from([10, 0, 0, 7]));
    assert!(told.vantage.heard.keys().any(|(_, host)| *host == talker));
}

/// A connection that was answered, to a service on this port: its opening, a word each way, and its end.
fn answered(client: [u8; 4], ports: (u16, u16)) -> Vec<Vec<u8>> {
    let server = [10, 97, 0, 1];
    let segment = |asks: bool, flags: &str, sequence: u32, acknowledged: u32, payload: &[u8]| {
        let (from, to) = if asks { (client, server) } else { (server, client) };
        let (one, other) = if asks { ports } else { (ports.1, ports.0) };
        let mut step =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from, to, 64).tcp(one, other, sequence, 1000);
        if flags.contains('S') {
            step = step.syn();
        }
        if flags.contains('F') {
            step = step.fin();
        }
        if flags.contains('A') {
            step = step.ack(acknowledged);
        }
        let mut bytes = Vec::new();
        step.write(&mut bytes, payload).unwrap();
        bytes
    };
    vec![
        segment(true, "S", 100, 0, b""),
        segment(false, "SA", 500, 101, b""),
        segment(true, "A", 101, 501, b"hello"),
        segment(false, "A", 501, 106, b"world"),
        segment(true, "FA", 106, 506, b""),
        segment(false, "FA", 506, 107, b""),
    ]
}

#[test]
fn a_flood_of_conversations_pushes_out_neither_one_that_goes_on_nor_one_that_is_new() {
    const MOST: usize = 64 * 16;
    let mut options = Options { conversations: MOST / ANSWERED, records: MOST, ..Options::default() };
    options.limits.flows = 64 * 4;
    let retention = Retention { conversations: MOST, ..Retention::default() };
    let mut live = Live::new(&options, retention);
    let mut count = 0_u64;
    let mut take = |live: &mut Live, frames: Vec<Vec<u8>>, second: u32| {
        for bytes in frames {
            count += 1;
            let time = Timestamp::from_nanos(i64::from(second) * 1_000_000_000 + count as i64);
            let original = bytes.len() as u32;
            let at = PacketRef::new(time, InputId(0), count);
            live.take(&Packet { at, link: LinkType::ETHERNET, interface: 0, original, bytes: &bytes });
        }
    };
    for number in 0..20_000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        // Four a second, and one that comes back every ten seconds.
        let second = number / 4;
        take(&mut live, answered([10, 1, high, low], (30_000, 102)), second);
        if number % 40 == 0 {
            take(&mut live, answered([10, 2, 0, 1], (1024 + (number / 40) as u16, 4840)), second);
        }
        live.tick(Timestamp::from_nanos(i64::from(second) * 1_000_000_000));
    }
    take(&mut live, answered([10, 3, 0, 1], (40_000, 2222)), 5_001);
    let told = live.observe(&Wire, None).join();
    assert!(told.tally.adds_up());
    assert!(told.conversations.len() <= 2 * MOST, "{}", told.conversations.len());
    assert!(told.vantage.left_out["conversations forgotten to make room for others"] > 10_000);
    let flows = |client: [u8; 4], port: u16| {
        let client = Host::Ip(std::net::IpAddr::from(client));
        let mut of = told.conversations.values().filter(|told| told.key.client == client);
        of.find(|told| told.key.port == Some(port)).map(|told| told.flows)
    };
    assert_eq!(flows([10, 2, 0, 1], 4840), Some(500));
    assert_eq!(flows([10, 3, 0, 1], 2222), Some(1));
}

#[test]
fn tries_from_forged_addresses_fill_no_memory_and_hide_no_scanner() {
    const MOST: usize = 64 * 16;
    let mut options =
        Options { conversations: MOST / ANSWERED, records: MOST, hosts: 64 * 32, ..Options::default() };
    options.limits.flows = 64 * 4;
    let mut live = Live::new(&options, Retention { conversations: MOST, ..Retention::default() });
    let mut number = 0_u32;
    let mut tries = |live: &mut Live, most: u32, each: &dyn Fn(u32) -> ([u8; 4], [u8; 4], u16)| {
        for _ in 0..most {
            number += 1;
            let (client, server, port) = each(number);
            let mut bytes = Vec::new();
            let step = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(client, server, 64);
            step.tcp(40_000, port, number, 1000).syn().write(&mut bytes, &[]).unwrap();
            let time = Timestamp::from_nanos(i64::from(number) * 1_000_000);
            let at = PacketRef::new(time, InputId(0), u64::from(number));
            let original = bytes.len() as u32;
            live.take(&Packet { at, link: LinkType::ETHERNET, interface: 0, original, bytes: &bytes });
            if number.is_multiple_of(500) {
                live.tick(time);
            }
        }
    };
    tries(&mut live, 150_000, &|number| {
        let [_, high, middle, low] = number.to_be_bytes();
        ([10, 1 + high, middle, low], [10, 99, 0, 1 + low % 4], (number % 60_000) as u16)
    });
    let half = live.observe(&Wire, None).join();
    tries(&mut live, 2000, &|number| {
        ([10, 77, 0, 1], [10, 98, 0, (number % 200) as u8], 1 + (number % 5) as u16)
    });
    let told = live.observe(&Wire, None).join();
    assert!(told.tally.adds_up());
    for told in [&half, &told] {
        assert!(told.conversations.len() <= 2 * MOST, "{}", told.conversations.len());
    }
    let scanner = Host::Ip(std::net::IpAddr::from([10, 77, 0, 1]));
    let mut its = told.conversations.values().filter(|one| one.key.client == scanner);
    let sweep = its.find_map(|one| one.sweep.as_deref()).unwrap();
    // Until there was room for it, it was told with the others.
    assert!(sweep.tries > 300 && sweep.servers.len() > 50, "{}", sweep.reason());
    let all = told.conversations.values().filter_map(|one| one.sweep.as_deref());
    let noted: usize = all.map(|one| one.servers.len() + one.ports.len()).sum();
    assert!(noted < 200_000, "{noted}");
}

#[test]
fn streams_without_opening_wait_within_the_bound_on_conversations() {
    const MOST: usize = 64 * 16;
    let mut options = Options { conversations: MOST / ANSWERED, records: MOST, ..Options::default() };
    options.limits.flows = 64 * 4;
    let mut live = Live::new(&options, Retention { conversations: MOST, ..Retention::default() });
    for number in 0..50_000_u32 {
        let time = Timestamp::from_nanos(i64::from(number) * 1_000_000);
        let bytes = midstream(number);
        let at = PacketRef::new(time, InputId(0), u64::from(number) + 1);
        let original = bytes.len() as u32;
        live.take(&Packet { at, link: LinkType::ETHERNET, interface: 0, original, bytes: &bytes });
        if number % 500 == 0 {
            live.tick(time);
        }
    }
    let told = live.observe(&Wire, None).join();
    assert!(told.tally.adds_up());
    assert!(told.conversations.len() <= 2 * MOST, "{}", told.conversations.len());
}

#[test]
fn a_month_of_newcomers_leaves_no_more_behind_than_a_week() {
    const DAY: i64 = 86_400;
    let mut options = Options { conversations: 1_024, records: 2_048, ..Options::default() };
    options.limits.flows = 4_096;
    let keep = Duration::from_secs(2 * DAY as u64);
    let retention = Retention { keep, lookups: 512, conversations: 4_096 };
    let mut live = Live::new(&options, retention);
    let mut sizes = Vec::new();
    let mut number = 0_u32;
    // A step is five minutes.
    for step in 0..30 * DAY / 300 {
        for bytes in [question(number), midstream(number)] {
            let time = Timestamp::from_nanos((step * 300 + 1) * 1_000_000_000);
            let at = PacketRef::new(time, InputId(0), u64::from(number) + 1);
            let original = bytes.len() as u32;
            live.take(&Packet { at, link: LinkType::ETHERNET, interface: 0, original, bytes: &bytes });
        }
        number += 1;
        live.tick(Timestamp::from_nanos((step * 300 + 150) * 1_000_000_000));
        if (step + 1) % (DAY / 300) == 0 {
            let told = live.observe(&Wire, None).join();
            assert!(told.tally.adds_up());
            sizes.push([
                told.conversations.len(),
                told.conversations.values().map(|kept| kept.attempts().len()).sum(),
                told.lookups.len(),
                told.vantage.heard.len(),
                live.load().flows,
            ]);
        }
    }
    let most = |days: &[[usize; 5]]| -> Vec<usize> {
        (0..5).map(|what| days.iter().map(|day| day[what]).max().unwrap_or(0)).collect()
    };
    let (week, rest) = (most(&sizes[..7]), most(&sizes[7..]));
    for (later, before) in rest.iter().zip(&week) {
        assert!(*later <= before + before / 10, "{week:?} in a week, {rest:?} later");
        assert!(*later > 0);
    }
    let told = live.observe(&Wire, None).join();
    let notes = told.vantage.notes.join("\n");
    assert!(notes.contains("conversations forgotten"), "{notes}");
    assert_eq!(told.tally.packets, 2 * u64::from(number));
}

#[test]
fn a_table_gives_back_the_room_of_a_fuller_moment_and_goes_on() {
    const HOUR: i64 = 3_600;
    let mut live = Live::new(&Options::default(), Retention::default());
    let mut number = 0_u32;
    let mut take = |live: &mut Live, count: u32, second: i64| {
        for _ in 0..count {
            number += 1;
            let time = Timestamp::from_nanos(second * 1_000_000_000 + i64::from(number));
            let bytes = question(number % 5_000);
            let original = bytes.len() as u32;
            let at = PacketRef::new(time, InputId(0), u64::from(number));
            live.take(&Packet { at, link: LinkType::ETHERNET, interface: 0, original, bytes: &bytes });
        }
        live.tick(Timestamp::from_nanos(second * 1_000_000_000));
    };
    take(&mut live, 5_000, 0);
    assert_eq!(live.load().flows, 5_000);
    // Silent for long enough to leave, and for housekeeping.
    for hour in 1..4 {
        take(&mut live, 10, hour * HOUR);
    }
    assert!(live.load().flows <= 20, "{}", live.load().flows);
    take(&mut live, 5_000, 4 * HOUR);
    assert_eq!(live.load().flows, 5_000);
    let told = live.observe(&Wire, None).join();
    assert!(told.tally.adds_up());
    assert_eq!(told.tally.packets, 10_030);
}
