//! Whole runs over packets made here.

mod corpus;
pub mod made;

use std::net::IpAddr;

use etherparse::PacketBuilder;

use crate::flow::Limits;
use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::Outcome;
use crate::model::Role;
use crate::model::RoleBasis;

use super::*;

use made::CLIENT;
use made::End;
use made::Made;
use made::ROUTER;
use made::SERVER;
use made::arp;
use made::built;
use made::check_sums;
use made::tcp;
use made::udp;
use made::unreachable;

#[test]
fn an_icmp_error_is_tied_to_what_it_quotes_and_counted_once() {
    let mut made = Made::default();
    let syn = tcp((CLIENT, 4000), (SERVER, 502), "S", 100, 0, b"");
    made.frame(0, syn.clone());
    made.frame(50, unreachable(ROUTER, CLIENT, 13, &syn));
    // Nothing known is quoted: no flow comes of it.
    made.frame(90, unreachable(ROUTER, CLIENT, 13, &tcp((CLIENT, 4001), (SERVER, 502), "S", 100, 0, b"")));
    let seen = made.observe();
    assert_eq!(seen.flows.len(), 2);
    let tcp = &seen.flows[0];
    assert_eq!(tcp.outcome, Outcome::Rejected);
    assert_eq!(tcp.reason.as_deref(), Some("ICMP type 3 code 13 from 10.0.0.254"));
    let error = tcp.errors[0];
    assert_eq!((error.quotes, error.fits, error.code), (Role::Client, true, 13));
    assert_eq!(error.mac.unwrap().0, ROUTER.0);
    assert_eq!((seen.flows[1].transport.name(), seen.flows[1].packets()), ("icmp", 2));
}

#[test]
fn an_error_that_fits_nothing_sent_is_said_so_and_may_come_first() {
    let syn = tcp((CLIENT, 4000), (SERVER, 502), "S", 100, 0, b"");
    let forged = tcp((CLIENT, 4000), (SERVER, 502), "S", 999_999, 0, b"");
    let mut made = Made::default();
    made.frame(0, unreachable(ROUTER, CLIENT, 1, &syn));
    made.frame(400, syn.clone());
    made.frame(800, unreachable(ROUTER, CLIENT, 1, &forged));
    let seen = made.observe();
    let fits: Vec<bool> = seen
        .flows
        .iter()
        .find(|flow| flow.transport.name() == "tcp")
        .unwrap()
        .errors
        .iter()
        .map(|e| e.fits)
        .collect();
    assert_eq!(fits, [true, false]);
}

#[test]
fn copies_of_a_mirror_count_once() {
    let ask = udp((CLIENT, 4000), (SERVER, 4001), 7, b"question");
    let mut forwarded = ask.clone();
    forwarded[..12].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 254]);
    forwarded[22] = 63;
    let mut made = Made::default();
    made.frame(0, ask.clone()).frame(300, forwarded);
    // Again later, or with another identification: sent again.
    made.frame(9_000, ask.clone()).frame(9_100, udp((CLIENT, 4000), (SERVER, 4001), 8, b"question"));
    let seen = made.observe();
    assert_eq!((seen.tally.duplicates, seen.tally.in_flows), (1, 3));
    assert_eq!(seen.flows[0].from_client.unanswered.count, 3);
}

#[test]
fn equal_acknowledgements_without_identification_are_no_copies() {
    let bare = tcp((CLIENT, 4000), (SERVER, 502), "A", 100, 200, b"");
    let data = tcp((CLIENT, 4000), (SERVER, 502), "A", 100, 200, b"data");
    let mut made = Made::default();
    made.frame(0, bare.clone()).frame(900, bare.clone());
    made.frame(1000, data.clone()).frame(1100, data.clone());
    let seen = made.observe();
    assert_eq!((seen.tally.in_flows, seen.tally.duplicates), (3, 1));
    let mut other_way = bare.clone();
    other_way[22] = 63;
    let mut made = Made::default();
    made.frame(0, bare).frame(900, other_way);
    assert_eq!(made.observe().tally.duplicates, 1);
}

#[test]
fn another_vantage_makes_no_retransmission() {
    let syn = tcp((CLIENT, 4000), (SERVER, 502), "S", 100, 0, b"");
    let mut made = Made::default();
    made.frame(0, syn.clone()).elsewhere(200, syn.clone());
    let seen = made.observe();
    assert_eq!((seen.tally.in_flows, seen.tally.duplicates), (2, 0));
    assert_eq!(seen.flows[0].from_client.syn.count, 1);
    assert_eq!(seen.flows[0].from_client.packets, 2);
}

#[test]
fn learned_servers_turn_streams_without_opening_round() {
    let mut made = Made::default();
    // The lower port is the client's here, and neither is well known.
    let (client, server) = ((CLIENT, 20_100), (SERVER, 30_500));
    made.frame(0, tcp(client, server, "A", 100, 200, b"x"))
        .frame(10, tcp(server, client, "A", 200, 101, b"y"));
    let told = made.observe();
    assert_eq!((told.flows[0].client.port, told.flows[0].role_basis), (Some(30_500), RoleBasis::Port));
    // Another client opens a connection to it: that settles it, in whatever shard it is seen.
    let other = (([2, 0, 0, 0, 0, 7], [10, 0, 0, 77]), 20_300);
    made.frame(20, tcp(other, server, "S", 1, 0, b"")).frame(30, tcp(server, other, "SA", 1, 2, b""));
    let told = made.observe();
    assert_eq!(
        (told.flows[0].client.port, told.flows[0].role_basis),
        (Some(20_100), RoleBasis::LearnedServer)
    );
    assert_eq!(told.flows[0].from_client.packets, 1);
    assert!(told.conversations.keys().all(|key| key.port == Some(30_500)));
}

#[test]
fn cells_keep_equal_addresses_apart() {
    let plain = udp((CLIENT, 4000), (SERVER, 4001), 7, b"x");
    let tagged = |vlan: u8| [&plain[..12], &[0x81, 0, 0, vlan], &plain[12..]].concat();
    let mut made = Made::default();
    made.frame(0, tagged(1)).frame(100_000, tagged(2)).frame(200_000, plain.clone());
    assert_eq!(made.observe().flows.len(), 1, "VLANs alone make no flows");
    let cells = CellMap::new(vec![CellRule { cell: CellId(1), vlan: Some(2), ..CellRule::default() }]);
    let told = made.run(&Options { keep_flows: true, cells, ..Options::default() });
    let cells: Vec<(u16, u64)> = told.flows.iter().map(|flow| (flow.cell.0, flow.packets())).collect();
    assert_eq!(cells, [(0, 2), (1, 1)]);
    assert_eq!(
        told.vantage.encapsulations.iter().map(|(name, &n)| format!("{name}: {n}")).collect::<Vec<_>>(),
        ["vlan 1: 1", "vlan 2: 1"]
    );
}

#[test]
fn lookups_are_joined_and_name_the_server() {
    let dns = (([2, 0, 0, 0, 0, 3], [10, 0, 0, 53]), 53);
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02sm\x05plant\x07example\0\0\x01\0\x01";
    let mut answer = question.to_vec();
    answer[2..8].copy_from_slice(b"\x81\x80\0\x01\0\x01");
    answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x02");
    let client = (CLIENT, 5300);
    let mut made = Made::default();
    made.frame(0, udp(client, dns, 1, question)).frame(900_000, udp(client, dns, 2, question));
    made.frame(900_500, udp(dns, client, 3, &answer));
    made.frame(950_000, tcp((CLIENT, 4000), (SERVER, 443), "S", 1, 0, b""));
    let told = made.observe();
    let [lookup] = told.lookups.as_slice() else { panic!("{:?}", told.lookups) };
    assert_eq!((lookup.name.as_str(), lookup.kind, lookup.asked_times), ("sm.plant.example", 1, 2));
    assert_eq!(lookup.asked.unwrap().number(), 1);
    assert_eq!(lookup.answer.as_ref().unwrap().addresses, [IpAddr::from(SERVER.1)]);
    let opened = told.flows.iter().find(|flow| flow.transport.name() == "tcp").unwrap();
    assert_eq!(opened.hosts, ["sm.plant.example"]);
    let conversation = told.conversations.values().find(|talk| talk.key.transport.name() == "tcp").unwrap();
    assert!(conversation.hosts.contains("sm.plant.example"));
    assert_eq!(conversation.attempts().next().unwrap().hosts, ["sm.plant.example"]);
}

#[test]
fn an_answer_from_another_port_is_an_answer() {
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02sm\x05plant\x07example\0\0\x01\0\x01";
    let mut answer = query.to_vec();
    answer[2..8].copy_from_slice(b"\x81\x80\0\x01\0\x01");
    answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x02");
    let (client, asked, answering) = ((CLIENT, 5300), (SERVER, 53), (SERVER, 2000));
    let mut made = Made::default();
    made.frame(0, udp(client, asked, 1, query));
    assert_eq!(made.observe().flows[0].outcome, Outcome::Unanswered);
    made.frame(500, udp(answering, client, 3, &answer));
    let told = made.observe();
    assert_eq!((told.flows[0].outcome, told.flows[0].from_client.unanswered.count), (Outcome::Observed, 0));
    assert_eq!(told.flows[0].reason.as_deref(), Some("answered from another port of the server"));
    assert_eq!((told.flows[1].outcome, told.flows[1].client.port), (Outcome::Observed, Some(5300)));
    // A minute later it answers something else.
    let mut late = Made::default();
    late.frame(0, udp(client, asked, 1, query)).frame(60_000_000, udp(answering, client, 3, &answer));
    assert_eq!(late.observe().flows[0].outcome, Outcome::Unanswered);
}

#[test]
fn datagrams_and_messages_have_their_outcomes() {
    let outcome = |frames: &[Vec<u8>]| {
        let mut made = Made::default();
        for (frame, millis) in frames.iter().zip(0..) {
            made.frame(millis * 1000, frame.clone());
        }
        let told = made.observe();
        (told.flows[0].outcome.name(), told.flows[0].client.host.to_string(), told.flows[0].role_basis)
    };
    let client = "10.0.0.1".to_owned();
    let (a, b) = ((CLIENT, 40_000), (SERVER, 4001));
    let (there, back) = (udp(a, b, 1, b"x"), udp(b, a, 2, b"y"));
    assert_eq!(outcome(std::slice::from_ref(&there)), ("observed", client.clone(), RoleBasis::Port));
    assert_eq!(outcome(&[back, there.clone()]), ("answered", client.clone(), RoleBasis::Port));
    // A low port that is no service's is no sign of one: who is heard first asks.
    for (from, to) in
        [(1, 40_000), (7, 5000), (700, 1500), (1023, 161), (5000, 1500), (50_000, 40_000), (40_000, 1)]
    {
        let first = udp((CLIENT, from), (SERVER, to), 1, b"x");
        assert_eq!(outcome(std::slice::from_ref(&first)).1, client, "{from} > {to}");
    }
    let answer = udp((SERVER, 161), (CLIENT, 700), 1, b"x");
    assert_eq!(outcome(&[answer]).1, client, "a known service answers");
    assert_eq!(outcome(&[there.clone(), unreachable(SERVER, CLIENT, 3, &there)]).0, "rejected");
    // Too big is not turned away.
    assert_eq!(outcome(&[there.clone(), unreachable(ROUTER, CLIENT, 4, &there)]).0, "observed");
    // A directed broadcast shows by its MAC address.
    let mut broadcast = udp(b, a, 1, b"z");
    broadcast[..6].copy_from_slice(&[0xff; 6]);
    assert_eq!(outcome(&[broadcast]), ("observed", "10.0.0.2".to_owned(), RoleBasis::FirstHeard));
    let echo = |from: End, to: End, kind| {
        let step =
            PacketBuilder::ethernet2(from.0, to.0).ipv4(from.1, to.1, 64).icmpv4_raw(kind, 0, [0, 1, 0, 1]);
        built(step, b"ping")
    };
    let (asks, answers) = (echo(CLIENT, SERVER, 8), echo(SERVER, CLIENT, 0));
    assert_eq!(outcome(std::slice::from_ref(&asks)), ("unanswered", client.clone(), RoleBasis::Protocol));
    assert_eq!(outcome(&[answers, asks.clone()]), ("answered", client.clone(), RoleBasis::Protocol));
    assert_eq!(outcome(&[asks.clone(), unreachable(ROUTER, CLIENT, 1, &asks)]).0, "rejected");
}

/// A write long after the prefix is used up, and a payload that only looks like the middle of one.
#[test]
fn what_a_late_message_does_is_stated_with_its_packet() {
    let (client, server) = ((CLIENT, 40_000), (SERVER, 1502));
    let mut made = Made::default();
    let mut sent = 0_u32;
    let mut say = |made: &mut Made, at: u32, function: u8| {
        let request = [(at >> 8) as u8, at as u8, 0, 0, 0, 6, 1, function, 0, 0, 0, 1];
        made.frame(i64::from(at) * 1000, tcp(client, server, "A", 100 + sent, 200, &request));
        sent += request.len() as u32;
    };
    for at in 0..1_000 {
        say(&mut made, at, 3);
    }
    let reads = made.observe();
    assert_eq!(reads.flows[0].classification.facts.all("modbus.access").collect::<Vec<_>>(), ["read"]);
    say(&mut made, 1_000, 6);
    say(&mut made, 1_001, 3);
    let told = made.observe();
    let facts = &told.flows[0].classification.facts;
    assert_eq!(facts.all("modbus.access").collect::<Vec<_>>(), ["read", "write"]);
    let write = facts.iter().find(|fact| fact.value == "write").and_then(|fact| fact.at);
    assert_eq!(write.map(|at| at.number()), Some(1_001));
}

/// An OPC UA write in chunks that are not the last: what proves the flow is not glanced at, what follows and says the same is.
#[test]
fn what_proved_a_flow_hides_nothing_that_says_the_same() {
    let mut made = Made::default();
    for number in 0..4_u32 {
        let numbers = [1, 1, number, number].map(u32::to_le_bytes).concat();
        let mut chunk = [b"MSGC\x40\0\0\0", numbers.as_slice(), &[1, 0], &673_u16.to_le_bytes()].concat();
        chunk.resize(64, 0);
        let frame = tcp((CLIENT, 50_000), (SERVER, 4840), "A", 1000 + 64 * number, 500, &chunk);
        made.frame(i64::from(number) * 20_000, frame);
    }
    assert_eq!(made.observe().flows[0].classification.facts.get("opc-ua.access"), Some("write"));
}

#[test]
fn address_resolution_is_followed_across_shards() {
    let everyone = [0xff; 6];
    let mut made = Made::default();
    for second in 0..3 {
        made.frame(second * 1_000_000, arp(CLIENT, everyone, 1, ([0; 6], [10, 0, 0, 66])));
    }
    made.frame(4_000_000, arp(CLIENT, everyone, 1, ([0; 6], SERVER.1)));
    made.frame(4_000_100, arp(SERVER, CLIENT.0, 2, CLIENT));
    let told = made.observe();
    let summary: Vec<(String, u32, bool)> = told
        .resolutions
        .iter()
        .map(|r| (r.target.to_string(), r.unanswered.count, r.answer.is_some()))
        .collect();
    assert_eq!(summary, [("10.0.0.2".to_owned(), 0, true), ("10.0.0.66".to_owned(), 3, false)]);
    assert_eq!(told.resolutions[0].answer.unwrap().1.0, SERVER.0);
}

#[test]
fn pairs_heard_from_one_side_are_counted() {
    let (client, server) = ((CLIENT, 4000), (SERVER, 502));
    let mut made = Made::default();
    made.frame(0, tcp(client, server, "S", 1, 0, b"")).frame(10, tcp(client, server, "A", 2, 9, b""));
    let lonely = (([2, 0, 0, 0, 0, 8], [10, 0, 0, 8]), 502);
    // A SYN without answer says nothing of the mirror.
    made.frame(20, tcp(client, lonely, "S", 1, 0, b""));
    let told = made.observe();
    assert_eq!((told.vantage.pairs, told.vantage.one_sided_pairs), (1, 1));
    assert_eq!(told.vantage.heard.len(), 1);
    assert_eq!(told.vantage.heard.values().next().unwrap().packets, 3);
}

#[test]
fn bounds_are_kept_and_counted() {
    let mut made = Made::default();
    for port in 0..5000u16 {
        made.frame(i64::from(port), tcp((CLIENT, 40_000), (SERVER, 1 + port), "S", 1, 0, b""));
    }
    let limits = Limits { flows: 64 * 10, ..Limits::default() };
    let options = Options { keep_flows: true, limits, conversations: 64 * 100, ..Options::default() };
    let told = made.run(&options);
    check_sums(&told, "sweep");
    assert!(told.tally.evicted >= 4900, "{:?}", told.tally);
    // Beyond the bound, all tries are one sweep.
    assert_eq!((told.conversations.len(), told.tally.folded), (101, 4900));
    assert_eq!(format!("{told:?}"), format!("{:?}", made.run(&Options { workers: 3, ..options })));
}

#[test]
fn a_sweep_is_one_conversation_and_hides_no_other() {
    let mut made = Made::default();
    let scanner = (([2, 0, 0, 0, 0, 7], [10, 0, 0, 77]), 40_000);
    for number in 0..300u16 {
        let [high, low] = number.to_be_bytes();
        let target = (([2, 0, 0, 0, 1, low], [10, 1, high, low]), 502);
        made.frame(i64::from(number), tcp(scanner, target, "S", 1, 0, b""));
    }
    // One of the last is answered, one is tried again, and somebody else tries once.
    let target = |low| (([2, 0, 0, 0, 1, low], [10, 1, 1, low]), 502);
    made.frame(400_000, tcp(target(40), scanner, "SA", 7, 2, b""));
    made.frame(1_400_000, tcp(scanner, target(41), "S", 1, 0, b""));
    made.frame(1_500_000, tcp((CLIENT, 40_000), (SERVER, 502), "S", 1, 0, b""));
    let options = Options { keep_flows: true, tries: 2, ..Options::default() };
    let told = made.run(&options);
    check_sums(&told, "sweep");
    let sweeps: Vec<_> = told.conversations.values().filter_map(|one| one.sweep.as_deref()).collect();
    let [sweep] = sweeps.as_slice() else { panic!("{} sweeps", sweeps.len()) };
    assert!(sweep.tries > 100 && sweep.tries == told.tally.folded);
    assert_eq!((sweep.servers.len() as u64, sweep.ports.len()), (sweep.tries, 1));
    let whole = |last: [u8; 4]| {
        let host = Host::Ip(IpAddr::from(last));
        told.conversations.values().find(|one| one.key.server == host).map(|one| one.packets)
    };
    assert_eq!((whole([10, 1, 1, 40]), whole([10, 1, 1, 41]), whole(SERVER.1)), (Some(2), Some(2), Some(1)));
    let heard = told.vantage.heard.get(&(CellId(0), Host::Ip(IpAddr::from(scanner.0.1))));
    assert_eq!(heard.map(|heard| heard.packets), Some(301));
    assert_eq!(format!("{told:?}"), format!("{:?}", made.run(&Options { workers: 3, ..options })));
}

/// Frames that look like traffic, for changing at random.
fn seeds() -> Vec<Vec<u8>> {
    let (a, b) = ((CLIENT, 40_000), (SERVER, 502));
    let syn = tcp(a, b, "S", 100, 0, b"");
    vec![
        tcp(b, a, "SA", 900, 101, b""),
        tcp(a, b, "A", 101, 901, b"\0\x01\0\0\0\x06\x01\x03\0\0\0\x0a"),
        tcp(b, a, "A", 901, 113, b"\0\x01\0\0\0\x05\x01\x03\x02\0\0"),
        tcp(a, b, "FA", 113, 912, b""),
        tcp(b, a, "R", 912, 0, b""),
        udp(a, (SERVER, 53), 1, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x02sm\x05plant\x07example\0\0\x01\0\x01"),
        unreachable(ROUTER, CLIENT, 13, &syn),
        arp(CLIENT, [0xff; 6], 1, ([0; 6], SERVER.1)),
        syn,
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever packets hold and however their clocks jump: nothing panics, every packet is accounted for, and the number of workers
    /// changes nothing, even where all bounds are reached.
    #[test]
    fn any_packets_are_accounted_for(
        packets in proptest::collection::vec(
            (0usize..9, proptest::collection::vec((0usize..80, 0u8..=255), 0..4), 0usize..120, -10i64..400_000_000, 0u32..2),
            1..120,
        ),
    ) {
        let seeds = seeds();
        let mut made = Made::default();
        let mut now = 0;
        for (seed, changes, length, gap, input) in packets {
            let mut bytes = seeds[seed].clone();
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(length.max(40));
            now += gap;
            if input == 0 { made.frame(now, bytes) } else { made.elsewhere(now, bytes) };
        }
        made.observe();
        let tight = Options {
            keep_flows: true,
            limits: Limits { flows: 1, ..Limits::default() },
            prefix_bytes: 1,
            conversations: 1,
            records: 1,
            ..Options::default()
        };
        let told = made.run(&tight);
        proptest::prop_assert!(told.tally.adds_up());
        let in_flows: u64 = told.flows.iter().map(FlowRecord::packets).sum();
        proptest::prop_assert_eq!(in_flows, told.tally.in_flows);
        proptest::prop_assert_eq!(format!("{told:?}"), format!("{:?}", made.run(&Options { workers: 4, ..tight })));
    }
}

proptest::proptest! {
    /// Of what a mirror shows of polls, a part of it lost, late or twice, the same is told as where every packet takes the long way.
    #[test]
    fn polls_over_a_lossy_mirror_are_judged_as_on_the_long_way(
        opened: bool,
        words in 1u16..3,
        polls in proptest::collection::vec((0u8..8, 0usize..4, 0u8..4, 0usize..14, (0u8..4, 0usize..6), -4_000i64..9_000), 1..60),
    ) {
        const GAPS: [i64; 4] = [300, 2_000, 7_000, 300_000];
        let (a, b) = ((CLIENT, 4000), (SERVER, 502));
        let (mut asked, mut answered, mut now) = (101_u32, 901_u32, 0);
        // As it was, behind a router, in another VLAN, or by another mirror.
        let repeat = |made: &mut Made, way: u8, at: i64, mut copy: Vec<u8>| {
            match way {
                1 => copy[22] = 63,
                2 => _ = copy.splice(12..12, [0x81, 0, 0, 7]),
                _ => {}
            }
            if way == 3 { made.elsewhere(at, copy) } else { made.frame(at, copy) };
        };
        let (mut made, mut late) = (Made::default(), Vec::new());
        if opened {
            made.frame(0, tcp(a, b, "S", 100, 0, b"")).frame(10, tcp(b, a, "SA", 900, 101, b""));
            made.frame(20, tcp(a, b, "A", 101, 901, b""));
        }
        for (number, (lost, gap, extra, cut, (way, copied), later)) in polls.into_iter().enumerate() {
            let function = if number % 7 == 6 { 6 } else { 3 };
            let question = [0, number as u8, 0, 0, 0, 6, 1, function, 0, 0, 0, words as u8];
            let answer = match function {
                6 => question.to_vec(),
                _ => [&[0, number as u8, 0, 0, 0, 3 + 2 * words as u8, 1, 3, 2 * words as u8][..], &[7; 4][..2 * usize::from(words)]].concat(),
            };
            // A message may come in two segments.
            let (head, tail) = question.split_at(cut.min(question.len()));
            let tail_at = asked.wrapping_add(head.len() as u32);
            let all = asked.wrapping_add(question.len() as u32);
            let after = answered.wrapping_add(answer.len() as u32);
            let mut shown = vec![tcp(a, b, "A", asked, answered, head), tcp(a, b, "A", tail_at, answered, tail), tcp(b, a, "A", answered, all, &answer)];
            if extra & 1 == 1 { shown.push(tcp(a, b, "A", all, after, b"")); }
            if extra == 2 { shown.swap(0, 1); }
            for (place, bytes) in shown.into_iter().enumerate() {
                now += GAPS[gap];
                if place == usize::from(lost) { continue; }
                made.frame(now, bytes.clone());
                // A copy comes at once or after the next packet, and its clock may be behind.
                for (way, later, copy) in std::mem::take(&mut late) { repeat(&mut made, way, now + later, copy); }
                match copied.checked_sub(place) {
                    Some(0) => repeat(&mut made, way, now + later, bytes),
                    Some(3) => late.push((way, later, bytes)),
                    _ => {}
                }
            }
            (asked, answered) = (all, after);
        }
        let options = Options { keep_flows: true, ..Options::default() };
        let told = format!("{:?}", made.run(&options));
        proptest::prop_assert_eq!(told, format!("{:?}", made::the_long_way(&mut made.clone(), &options)));
    }
}

#[test]
fn all_protocols_fit_the_mask() {
    assert!(crate::classify::PROTOCOLS.len() <= crate::classify::candidates::MOST_PROTOCOLS);
}
