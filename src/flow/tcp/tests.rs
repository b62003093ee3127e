//! Connections written down segment by segment, and what the record says of them.

use std::time::Duration;

use crate::decode::Body;
use crate::decode::Context;
use crate::decode::Frame;
use crate::decode::Network;
use crate::decode::Tcp;
use crate::decode::TcpFlags;
use crate::flow::Arrival;
use crate::flow::Leaves;
use crate::flow::Limits;
use crate::flow::Place;
use crate::flow::Proven;
use crate::flow::Table;
use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::InputId;
use crate::model::Outcome;
use crate::model::PacketRef;
use crate::model::Role;
use crate::model::RoleBasis;
use crate::model::Timestamp;

/// Plays lines `TIME SENDER FLAGS SEQ ACK LENGTH [w0] [sackFROM-TO]` (time in ms, sender `c` or `s`) and tells the flows in the order in which they ended.
fn play(script: &str) -> Vec<FlowRecord> {
    play_within(script, Limits::default())
}

fn play_within(script: &str, limits: Limits) -> Vec<FlowRecord> {
    let mut table: Table<()> = Table::new(limits);
    let mut told = Vec::new();
    let zeros = [0; 2000];
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    for (line, number) in lines.zip(1..) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [time, sender, flags, sequence, acknowledgement, length, rest @ ..] = words.as_slice() else {
            panic!("{line}")
        };
        let flags = flags.chars().fold(0, |all, flag| {
            all | match flag {
                'F' => 0x01,
                'S' => 0x02,
                'R' => 0x04,
                'A' => 0x10,
                _ => 0,
            }
        });
        let (client, server) = (("10.0.0.9", 40_000), ("10.0.0.1", 502));
        let (from, to) = if *sender == "c" { (client, server) } else { (server, client) };
        let length: u32 = length.parse().unwrap();
        let frame = Frame {
            context: Context::default(),
            network: Some(Network {
                source: from.0.parse().unwrap(),
                destination: to.0.parse().unwrap(),
                ttl: 64,
                identification: number as u16,
                length: 40 + length,
            }),
            body: Body::Tcp(Tcp {
                source: from.1,
                destination: to.1,
                sequence: sequence.parse::<i64>().unwrap() as u32,
                acknowledgement: acknowledgement.parse::<i64>().unwrap() as u32,
                flags: TcpFlags(flags),
                window: if rest.contains(&"w0") { 0 } else { 512 },
                checksum: 0,
                payload: &zeros[..length as usize],
                payload_length: length,
                selective: rest.iter().find_map(|word| {
                    let (from, to) = word.strip_prefix("sack")?.split_once('-')?;
                    Some((from.parse().unwrap(), to.parse().unwrap()))
                }),
            }),
        };
        let time = Timestamp::from_nanos(time.parse::<i64>().unwrap() * 1_000_000);
        let at = PacketRef::new(time, InputId(0), number);
        let place = Place::of(CellId(0), &frame).unwrap();
        let arrival = Arrival { at, original: 54 + length, pieces: &[], frame: &frame, copy: false };
        table.take(table.hash(&place.key), &place, &arrival, &mut |left, _: Leaves| {
            told.push(left.whole().0.tell(Proven::default()))
        });
    }
    table.finish(&mut |left, _| told.push(left.whole().0.tell(Proven::default())));
    told
}

fn one(script: &str) -> FlowRecord {
    let mut told = play(script);
    assert_eq!(told.len(), 1, "{script}");
    told.remove(0)
}

fn outcomes(script: &str) -> Vec<&'static str> {
    play(script).iter().map(|flow| flow.outcome.name()).collect()
}

const HANDSHAKE: &str = "0 c S 100 0 0\n 1 s SA 900 101 0\n 2 c A 101 901 0\n";

#[test]
fn outcomes_follow_the_rules() {
    let check = |script: &str, expected: &str| assert_eq!(outcomes(script).join(" "), expected, "{script}");
    check(HANDSHAKE, "established");
    check("0 c S 100 0 0\n 1 s SA 900 101 0", "established");
    check("0 c S 100 0 0\n 1 s RA 0 101 0", "refused");
    check("0 c S 100 0 0\n 1000 c S 100 0 0\n 3000 c S 100 0 0", "unanswered");
    check("0 c S 100 0 0\n 9 c R 101 0 0", "unanswered");
    check("0 c A 100 900 10\n 1 s A 900 110 0", "midstream");
    check("0 c A 100 900 10\n 1 c A 110 900 10", "one-sided");
    check("0 s SA 900 101 0", "one-sided");
    check("0 s SA 900 101 0\n 1 c A 101 901 0", "midstream");
    check("0 c S 100 0 0\n 1 c A 101 901 0\n 2 c A 101 901 5", "one-sided");
    // A challenge (RFC 5961): the server still has an older connection there.
    check("0 c S 100 0 0\n 1 s A 5000 77 0\n 2 c R 77 0 0", "midstream");
}

#[test]
fn unusual_openings_are_openings() {
    // Simultaneous open (RFC 9293 section 3.5, figure 7).
    let both = one("0 c S 100 0 0\n 1 s S 900 0 0\n 2 c SA 100 901 0\n 3 s SA 900 101 0");
    assert_eq!(
        (both.outcome, both.client.port, both.role_basis),
        (Outcome::Established, Some(40_000), RoleBasis::Handshake)
    );
    // Split handshake: the server answers with a SYN of its own.
    let split = one("0 c S 100 0 0\n 1 s A 900 101 0\n 2 s S 900 0 0\n 3 c SA 100 901 0\n 4 s A 901 101 0");
    assert_eq!((split.outcome, split.client.port), (Outcome::Established, Some(40_000)));
    // The SYN-ACK alone tells who asked.
    let half = one("0 s SA 900 101 0");
    assert_eq!((half.client.port, half.role_basis), (Some(40_000), RoleBasis::Handshake));
    // Data in the SYN (RFC 7413).
    let fast = one("0 c S 100 0 20\n 1 s SA 900 121 0\n 2 c A 121 901 0");
    assert_eq!((fast.outcome, fast.from_client.payload_acknowledged), (Outcome::Established, 20));
}

#[test]
fn what_is_stamped_out_of_order_is_one_flow() {
    assert_eq!(outcomes("0 s SA 900 101 0\n 0 c S 100 0 0\n 1 c A 101 901 0"), ["established"]);
    assert_eq!(outcomes("0 c A 101 901 0\n 1 s SA 900 101 0\n 1 c S 100 0 0"), ["established"]);
    let refused = one("5 s RA 0 101 0\n 5 c S 100 0 0");
    assert_eq!(refused.outcome, Outcome::Refused);
    assert!(refused.from_server.reset.unwrap().answers_syn);
}

#[test]
fn a_port_used_again_is_another_flow() {
    let check = |script: &str, expected: &[&str]| assert_eq!(outcomes(script), expected, "{script}");
    // Another initial sequence number on an attempt without answer.
    check("0 c S 100 0 0\n 1000 c S 100 0 0\n 5000 c S 777 0 0", &["unanswered", "unanswered"]);
    check("0 c S 100 0 0\n 1 s RA 0 101 0\n 500 c S 777 0 0\n 501 s RA 0 778 0", &["refused", "refused"]);
    // The same one after a reset is the same attempt: some stacks insist.
    check("0 c S 100 0 0\n 1 s RA 0 101 0\n 500 c S 100 0 0\n 501 s RA 0 101 0", &["refused"]);
    let closed =
        "3 c FA 101 901 0\n 4 s FA 901 102 0\n 5 c A 102 902 0\n 900 c S 5000 0 0\n 901 s SA 7000 5001 0";
    check(&format!("{HANDSHAKE}{closed}"), &["established", "established"]);
    // A stray SYN within an open connection opens nothing ...
    check(&format!("{HANDSHAKE} 50 c S 5000 0 0\n 51 s A 901 101 0"), &["established"]);
    // ... unless nothing was heard for two minutes.
    check(&format!("{HANDSHAKE} 130000 c S 5000 0 0"), &["established", "unanswered"]);
    // A connection from before the capture, then a new one.
    check(
        "0 c A 100 900 5\n 1 s A 900 105 0\n 2000 c S 777 0 0\n 2001 s SA 1 778 0",
        &["midstream", "established"],
    );
}

#[test]
fn silence_ends_a_flow_by_capture_time_alone() {
    let minutes = |minutes: i64| minutes * 60_000;
    let check = |script: String, expected: usize| assert_eq!(play(&script).len(), expected, "{script}");
    check(format!("{HANDSHAKE}{} c A 101 901 5", minutes(119)), 1);
    check(format!("{HANDSHAKE}{} c A 101 901 5", minutes(121)), 2);
    check(format!("0 c S 100 0 0\n {} c S 100 0 0", minutes(4)), 1);
    check(format!("0 c S 100 0 0\n {} c S 100 0 0", minutes(6)), 2);
}

#[test]
fn a_long_flow_is_told_and_goes_on() {
    let limits = Limits { active: Duration::from_secs(10), ..Limits::default() };
    let told = play_within(
        &format!("{HANDSHAKE}5000 c A 101 901 10\n 11000 s A 901 111 20\n 12000 c A 111 921 0"),
        limits,
    );
    assert_eq!(told.len(), 2);
    assert!(
        told.iter()
            .all(|flow| flow.outcome == Outcome::Established && flow.role_basis == RoleBasis::Handshake)
    );
    assert_eq!((told[0].packets(), told[1].packets()), (4, 2));
    assert_eq!(told[1].first.number(), 5);
    assert_eq!((told[0].from_client.payload_acknowledged, told[1].from_client.payload_acknowledged), (0, 10));
}

#[test]
fn acknowledgements_are_counted_without_syn_and_fin() {
    let flow = one(&format!(
        "{HANDSHAKE} 3 c A 101 901 50\n 4 s A 901 151 0\n 5 s A 901 151 30\n 6 c A 151 931 0\n \
         7 c FA 151 931 0\n 8 s FA 931 152 0\n 9 c A 152 932 0"
    ));
    assert_eq!((flow.from_client.payload_bytes, flow.from_client.payload_acknowledged), (50, 50));
    assert_eq!((flow.from_server.payload_bytes, flow.from_server.payload_acknowledged), (30, 30));
    assert_eq!((flow.from_client.unseen_acknowledged, flow.from_server.unseen_acknowledged), (0, 0));
    let number = |at: Option<PacketRef>| at.unwrap().number();
    assert_eq!(number(flow.from_client.first_ack), 3);
    assert_eq!(number(flow.from_server.first_ack), 5);
    assert_eq!(number(flow.from_client.acked_payload), 7);
    assert_eq!(number(flow.from_server.acked_payload), 5);
    assert_eq!((number(flow.from_client.fin), number(flow.from_server.fin)), (8, 9));
    assert_eq!(flow.from_client.unacknowledged.count, 0);
}

#[test]
fn sequence_numbers_go_round() {
    let flow = one("0 c S -11 0 0\n 1 s SA -1 -10 0\n 2 c A -10 0 100\n 3 s A 0 90 10\n 4 c A 90 10 0");
    assert_eq!((flow.from_client.payload_acknowledged, flow.from_server.payload_acknowledged), (100, 10));
    assert_eq!((flow.from_client.unseen_acknowledged, flow.from_client.retransmissions), (0, 0));
}

#[test]
fn bytes_that_the_mirror_lost_are_told_from_bytes_that_came_late() {
    // 101..151 is missing, 151..201 is there, all of it acknowledged.
    let lost = one(&format!("{HANDSHAKE} 3 c A 151 901 50\n 4 s A 901 201 0"));
    assert_eq!((lost.from_client.payload_acknowledged, lost.from_client.unseen_acknowledged), (100, 50));
    // The same, but it is only stamped after its acknowledgement.
    let late = one(&format!("{HANDSHAKE} 3 c A 151 901 50\n 4 s A 901 201 0\n 4 c A 101 901 50"));
    assert_eq!((late.from_client.payload_acknowledged, late.from_client.unseen_acknowledged), (100, 0));
    assert_eq!((late.from_client.payload_bytes, late.from_client.retransmissions), (100, 0));
    // A mirror of one side shows the other by its acknowledgements.
    let one_side =
        one("0 c S 100 0 0\n 1 c A 101 901 0\n 2 c A 101 901 9\n 3 c A 110 1001 0\n 4 c A 110 1201 0");
    assert_eq!(
        (one_side.from_server.payload_acknowledged, one_side.from_server.unseen_acknowledged),
        (300, 300)
    );
    assert_eq!(one_side.from_client.acked_payload.unwrap().number(), 4);
    // One byte more may be the FIN that was not seen.
    let closed = one("0 c S 100 0 0\n 1 c A 101 901 0\n 2 c A 101 901 9\n 3 c FA 110 902 0");
    assert_eq!(closed.from_server.payload_acknowledged, 0);
}

#[test]
fn keepalives_and_window_probes_are_no_data() {
    let kept = one(&format!(
        "{HANDSHAKE} 3 c A 101 901 50\n 4 s A 901 151 0\n 10000 c A 150 901 1\n 10001 s A 901 151 0\n \
         20000 c A 150 901 1\n 30000 c A 150 901 0\n 30001 s A 901 151 0"
    ));
    assert_eq!((kept.from_client.payload_packets, kept.from_client.retransmissions), (1, 0));
    assert_eq!(kept.from_client.unacknowledged.count, 0);
    let probed = one(&format!(
        "{HANDSHAKE} 3 c A 101 901 50\n 4 s A 901 151 0 w0\n 1000 c A 151 901 1\n 3000 c A 151 901 1\n 7000 c A 151 901 1"
    ));
    assert_eq!(probed.from_client.unacknowledged.count, 0);
    assert_eq!(probed.outcome, Outcome::Established);
}

#[test]
fn data_in_vain_is_a_series() {
    let cut = one(&format!(
        "{HANDSHAKE} 10 c A 101 901 200\n 210 c A 101 901 200\n 610 c A 101 901 200\n 1410 c A 101 901 200"
    ));
    assert_eq!(cut.outcome, Outcome::Cut);
    let series = cut.from_client.unacknowledged;
    assert_eq!((series.count, series.first.unwrap().number(), series.last.unwrap().number()), (4, 4, 7));
    assert_eq!((series.shortest_gap().as_millis(), series.longest_gap().as_millis()), (200, 800));
    assert_eq!((cut.from_client.retransmissions, cut.from_client.payload_bytes), (3, 200));
    // A window of segments of which only the first is repeated.
    let window = one(&format!(
        "{HANDSHAKE} 10 c A 101 901 100\n 10 c A 201 901 100\n 11 s A 901 201 0\n 400 c A 201 901 100\n 900 c A 201 901 100"
    ));
    let series = window.from_client.unacknowledged;
    assert_eq!((series.count, series.first.unwrap().number()), (3, 5));
    assert_eq!(window.outcome, Outcome::Established, "the first data arrived");
    // The way back: the server's answer never arrives.
    let back = one(&format!(
        "{HANDSHAKE} 10 c A 101 901 100\n 11 s A 901 201 0\n 12 s A 901 201 700\n 300 s A 901 201 700\n 900 s A 901 201 700"
    ));
    assert_eq!((back.outcome, back.from_server.unacknowledged.count), (Outcome::Cut, 3));
    // A reset answers the first data.
    let reset = one(&format!("{HANDSHAKE} 10 c A 101 901 100\n 11 s RA 901 201 0"));
    assert_eq!(reset.outcome, Outcome::Cut);
    assert_eq!(reset.from_client.payload_acknowledged, 0, "a reset proves no delivery");
    let used = one(&format!(
        "{HANDSHAKE} 10 c A 101 901 100\n 11 s A 901 201 50\n 12 c A 201 951 0\n 13 s R 951 0 0"
    ));
    assert_eq!(used.outcome, Outcome::Established);
}

#[test]
fn a_series_of_syns_keeps_its_gaps() {
    let flow = one("0 c S 100 0 0\n 1000 c S 100 0 0\n 3000 c S 100 0 0");
    let syn = flow.from_client.syn;
    assert_eq!((syn.count, syn.shortest_gap().as_millis(), syn.longest_gap().as_millis()), (3, 1000, 2000));
    let back = one("0 c S 100 0 0\n 1 s SA 900 101 0\n 1000 s SA 900 101 0\n 3000 s SA 900 101 0");
    assert_eq!((back.from_server.syn.count, back.from_client.first_ack), (3, None));
    assert_eq!(back.side(Role::Server).syn.span().as_millis(), 2999);
}

#[test]
fn the_bound_on_flows_holds_and_unanswered_ones_go_first() {
    let mut table: Table<()> = Table::new(Limits { flows: 4, ..Limits::default() });
    let mut evicted = Vec::new();
    let mut send = |number: u64, from: (&str, u16), to: (&str, u16)| {
        let frame = Frame {
            context: Context::default(),
            network: Some(Network {
                source: from.0.parse().unwrap(),
                destination: to.0.parse().unwrap(),
                ttl: 64,
                identification: 0,
                length: 40,
            }),
            body: Body::Udp(crate::decode::Udp {
                source: from.1,
                destination: to.1,
                checksum: 0,
                payload: b"x",
                payload_length: 1,
            }),
        };
        let at = PacketRef::new(Timestamp::from_nanos(number as i64), InputId(0), number);
        let arrival = Arrival { at, original: 60, pieces: &[], frame: &frame, copy: false };
        let place = Place::of(CellId(0), &frame).unwrap();
        table.take(table.hash(&place.key), &place, &arrival, &mut |left, why| {
            if why == Leaves::Evicted {
                evicted.push(left.whole().0.tell(Proven::default()).client.port.unwrap());
            }
        });
        assert!(table.len() <= 4);
    };
    let (client, server) = ("10.0.0.9", ("10.0.0.1", 53));
    send(1, (client, 50_001), server);
    send(2, server, (client, 50_001));
    for (port, number) in (50_002..50_008).zip(3..) {
        send(number, (client, port), server);
    }
    assert_eq!(evicted, [50_002, 50_003, 50_004], "the answered one stays");
}

proptest::proptest! {
    /// Any segments at all: nothing panics, and what was counted adds up.
    #[test]
    fn any_segments_are_taken(
        segments in proptest::collection::vec((0u8..2, 0u8..32, 0u32..4, 0u32..4, 0u16..1500, 0u32..4), 1..60),
    ) {
        let near = |which: u32| [0i64, 1, 100, -1][which as usize % 4];
        let script: String = segments
            .iter()
            .zip(0..)
            .map(|(&(who, flags, seq, ack, length, far), time)| {
                let letters: String = [(1, 'F'), (2, 'S'), (4, 'R'), (16, 'A')]
                    .iter()
                    .filter(|(bit, _)| flags & bit != 0)
                    .map(|&(_, letter)| letter)
                    .chain(['.'])
                    .collect();
                let far = i64::from(far) << 30;
                let who = if who == 0 { 'c' } else { 's' };
                format!("{time} {who} {letters} {} {} {length}\n", near(seq) + far, near(ack) + far)
            })
            .collect();
        let told = play(&script);
        let packets: u64 = told.iter().map(FlowRecord::packets).sum();
        proptest::prop_assert_eq!(packets, segments.len() as u64);
    }
}

#[test]
fn what_arrives_beyond_a_gap_is_told_where_only_short_segments_do() {
    let lost = |said: &str| {
        let script = format!(
            "{HANDSHAKE} 10 c A 101 901 1400\n 10 c A 1501 901 1400\n 10 c A 2901 901 200\n 11 s A 901 101 0 {said}\n 300 c A 101 901 1400\n 900 c A 101 901 1400"
        );
        let told = one(&script).from_client;
        (told.unacknowledged.count, told.unacknowledged_length, told.passed.map(|at| at.number()))
    };
    assert_eq!(lost("sack2901-3101"), (3, 1400, Some(7)));
    assert_eq!(lost(""), (3, 1400, None));
    assert_eq!(lost("sack1501-3101"), (3, 1400, None), "one of full size is there");
    // What is acknowledged in the end was late.
    let mended = format!(
        "{HANDSHAKE} 10 c A 101 901 1400\n 10 c A 1501 901 1400\n 10 c A 2901 901 200\n 11 s A 901 101 0 sack2901-3101\n 300 c A 101 901 1400\n 301 s A 901 3101 0"
    );
    assert_eq!(one(&mended).from_client.passed, None);
}

#[test]
fn of_two_fins_the_acknowledgements_tell_which_came_first() {
    let first = |closes: &str| {
        let told = one(&format!("{HANDSHAKE} {closes}"));
        (told.from_client.fin_answers, told.from_server.fin_answers)
    };
    assert_eq!(first("9 s FA 901 101 0\n 9 c FA 101 902 0"), (true, false));
    assert_eq!(first("9 c FA 101 902 0\n 9 s FA 901 101 0"), (true, false), "captured the wrong way round");
    assert_eq!(first("9 c FA 101 901 0\n 9 s FA 901 102 0"), (false, true));
    assert_eq!(first("9 c FA 101 901 0\n 9 s FA 901 101 0"), (false, false), "both at once");
}

/// Whoever has an older connection over the same ports answers a SYN by acknowledging that one (RFC 5961 section 4): nothing was missed.
#[test]
fn an_acknowledgement_of_an_older_connection_tells_of_no_loss() {
    for answer in ["A", "SA"] {
        let flows = play(&format!(
            "0 c S 1000 0 0
             1 s {answer} 7000 300000 0
             2 c R 300000 0 0
             1000 c S 1000 0 0"
        ));
        assert_eq!(flows[0].from_client.unseen_acknowledged, 0, "{answer}");
    }
    // The client's own data that was not captured is missed all the same.
    let flows = play(
        "0 c S 1000 0 0
         1 s SA 7000 1001 0
         2 s A 7001 2501 0
         3 s A 7001 3501 0",
    );
    assert_eq!(flows[0].from_client.unseen_acknowledged, 2500);
    // And so is all that a mirror of one direction does not show, however much that becomes.
    let flows = play(
        "0 c S 1000 0 0
         1 s SA 7000 1001 0
         2 s A 7001 60001 0
         3 s A 7001 120001 0
         4 s A 7001 180001 0",
    );
    assert_eq!(flows[0].from_client.unseen_acknowledged, 179_000);
}
