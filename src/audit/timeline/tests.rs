//! Attempts weighed together: each number of the preconditions at its edge, and what a change of state comes to.

use super::*;
use crate::audit::attempt;
use crate::audit::attempt::Expectation;
use crate::audit::testing::*;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::Observed;
use crate::model::Outcome;
use crate::model::Transport;
use crate::model::Verdict;

/// An end far from everything.
const LATE: i64 = 600_000;

/// An answered connection of the same pair on another port, which shows that answers are visible.
fn elsewhere() -> FlowRecord {
    let mut other = answered(0, "ssh");
    other.server.port = Some(22);
    other
}

fn settled(flows: &[FlowRecord], capture: &Observed, heard: bool, others: bool) -> Settled {
    let view = View::of(capture, None);
    let anything = Expectation { protocols: &[], tls: None, require: &[] };
    let mut attempts: Vec<Attempt> =
        flows.iter().map(|flow| attempt::judge(flow, &anything, &view)).collect();
    sort(&mut attempts);
    let server = Host::Ip(SERVER);
    let who = Who {
        source: "source",
        target: "target",
        target_heard: heard.then(|| (at(0).time, at(LATE).time)),
        others_answered: others.then(|| at(LATE).time),
        down: view.down(crate::model::CellId(0), server),
    };
    settle(&attempts, who, &view)
}

fn words(settled: &Settled) -> String {
    match settled.verdict.failure() {
        Some(failure) => {
            format!("{} {} {}", settled.verdict.name(), failure.mechanism.name(), failure.grade.name())
        }
        None => settled.verdict.name().to_owned(),
    }
}

fn with_answers(flows: &[FlowRecord], end: i64) -> String {
    let mut all = flows.to_vec();
    all.push(elsewhere());
    words(&settled(flows, &observed(all, end), true, false))
}

#[test]
fn three_syns_over_two_and_a_half_seconds_are_a_drop() {
    let dropped = |times: &[i64]| with_answers(&[syns(times)], LATE);
    assert_eq!(dropped(&[0, 1000, 3000]), "blocked dropped B");
    assert_eq!(dropped(&[0, 1000, 2500]), "blocked dropped B");
    assert_eq!(dropped(&[0, 1000, 2499]), "undecided", "2.499 s");
    assert_eq!(dropped(&[0, 3000]), "undecided", "two SYNs");
    assert_eq!(dropped(&[0, 600, 3000]), "undecided", "0.6 s is no retransmission timer");
}

#[test]
fn silence_needs_capture_after_it() {
    assert_eq!(with_answers(&[syns(&[0, 1000, 3000])], 4999), "undecided", "closer than the longest gap");
    assert_eq!(with_answers(&[syns(&[0, 1000, 3000])], 5000), "blocked dropped B");
    assert_eq!(with_answers(&[syns(&[0, 1000, 3000, 7000])], 7001), "blocked dropped B", "a spare SYN");
}

#[test]
fn silence_needs_a_mirror_that_shows_answers() {
    let silent = syns(&[0, 1000, 3000, 7000]);
    let deaf = settled(std::slice::from_ref(&silent), &observed(vec![silent.clone()], LATE), false, false);
    assert_eq!(words(&deaf), "undecided");
    assert!(deaf.reason.contains("was ever captured"), "{}", deaf.reason);
    // Answers that are acknowledged and never shown: the mirror carries one direction only.
    let mut one_sided = elsewhere();
    one_sided.from_server = Default::default();
    let mut served = elsewhere();
    std::mem::swap(&mut served.client, &mut served.server);
    let capture = observed(vec![silent.clone(), one_sided, served], LATE);
    let told = settled(&[silent], &capture, true, false);
    assert_eq!(words(&told), "undecided");
    assert!(told.reason.contains("does not carry"), "{}", told.reason);
}

#[test]
fn a_target_never_heard_lowers_the_grade() {
    let silent = syns(&[0, 1000, 3000, 7000]);
    let mut neighbour = elsewhere();
    neighbour.server.host = Host::Ip("10.0.2.99".parse().expect("an address"));
    let capture = observed(vec![silent.clone(), neighbour], LATE);
    assert_eq!(words(&settled(&[silent], &capture, false, false)), "blocked dropped C");
}

#[test]
fn loss_lowers_the_grade_or_explains_the_silence() {
    let silent = syns(&[0, 1000, 3000]);
    let told = |percent| {
        let capture = lossy(observed(vec![silent.clone(), elsewhere()], LATE), percent);
        settled(std::slice::from_ref(&silent), &capture, true, false)
    };
    assert_eq!(words(&told(1)), "blocked dropped B");
    assert_eq!(words(&told(2)), "blocked dropped C");
    assert!(told(2).reason.contains("2.0 %"), "{}", told(2).reason);
    // 0.22 to the power of three is above one percent, 0.21 is not.
    assert_eq!(words(&told(21)), "blocked dropped C");
    assert_eq!(words(&told(22)), "undecided");
    assert!(told(22).reason.contains("22.0 %"), "{}", told(22).reason);
}

#[test]
fn three_short_attempts_are_a_drop_together() {
    let short = |start: i64| syns(&[start, start + 1000]);
    assert_eq!(with_answers(&[short(0), short(10_000), short(20_000)], LATE), "blocked dropped B");
    assert_eq!(with_answers(&[short(0), short(10_000)], LATE), "undecided");
    let three = |start: i64| syns(&[start, start + 1000, start + 2000]);
    assert_eq!(with_answers(&[three(0), three(10_000)], LATE), "undecided", "two attempts");
    assert_eq!(with_answers(&[three(0), three(10_000)], 12_500), "undecided", "the last is not waited for");
    assert_eq!(
        with_answers(&[syns(&[0]), syns(&[10_000]), syns(&[20_000])], LATE),
        "undecided",
        "single SYNs"
    );
}

#[test]
fn three_requests_without_reply_fail_and_a_positive_control_makes_it_a_block() {
    let request = |times: &[i64]| {
        let mut flow = flow(Transport::Udp, 123, Outcome::Unanswered);
        flow.from_client.packets = times.len() as u64;
        flow.from_client.unanswered = series(times);
        flow.last = at(*times.last().expect("a time"));
        flow
    };
    let told = |flows: &[FlowRecord], others| {
        let mut all = flows.to_vec();
        all.push(elsewhere());
        words(&settled(flows, &observed(all, LATE), true, others))
    };
    // Clients often take a new source port for each try: they count together.
    let each = [request(&[0]), request(&[1000]), request(&[2000])];
    assert_eq!(told(&each, false), "failed no-reply C");
    assert_eq!(told(&each, true), "blocked no-reply B");
    assert_eq!(told(&each[..2], true), "undecided");
    assert_eq!(told(&[request(&[0, 1000, 2000])], false), "failed no-reply C");
}

#[test]
fn the_later_state_decides_and_the_change_is_told() {
    let silent = syns(&[50_000, 51_000, 53_000, 57_000]);
    let works = answered(0, "tls");
    let capture = |flows: &[FlowRecord]| observed(flows.to_vec(), LATE);
    let broken = [works.clone(), silent.clone()];
    let told = settled(&broken, &capture(&broken), true, false);
    assert_eq!(words(&told), "blocked dropped B");
    assert!(told.reason.contains("before that satisfied"), "{}", told.reason);
    let mended = [silent.clone(), answered(200_000, "tls")];
    assert_eq!(words(&settled(&mended, &capture(&mended), true, false)), "satisfied");
    let flapping = [
        works,
        silent,
        answered(200_000, "tls"),
        syns(&[300_000, 301_000, 303_000, 307_000]),
        answered(400_000, "tls"),
    ];
    let told = settled(&flapping, &capture(&flapping), true, false);
    assert_eq!((words(&told).as_str(), told.history.len()), ("satisfied", 5));
    assert!(told.reason.contains("flapping"), "{}", told.reason);
}

#[test]
fn silence_after_a_success_puts_it_in_doubt() {
    let told = |times: &[i64], end| {
        let flows = [answered(0, "tls"), syns(times)];
        words(&settled(&flows, &observed(flows.to_vec(), end), true, false))
    };
    assert_eq!(told(&[100_000, 101_000], LATE), "undecided");
    assert_eq!(told(&[100_000], LATE), "satisfied", "one SYN may be lost or late");
    assert_eq!(told(&[100_000, 101_000], 101_500), "satisfied", "the capture ends while it still waits");
}

#[test]
fn what_opens_again_is_blocked_no_longer() {
    let flows = [syns(&[0, 1000, 3000, 7000]), opened(100_000)];
    let capture = observed(vec![flows[0].clone(), flows[1].clone(), elsewhere()], LATE);
    assert_eq!(words(&settled(&flows, &capture, true, false)), "undecided");
    let mut cut = asked(0, &[10, 210, 630]);
    cut.outcome = Outcome::Cut;
    let flows = [cut, opened(100_000)];
    let capture = observed(vec![flows[0].clone(), flows[1].clone(), elsewhere()], LATE);
    assert_eq!(
        words(&settled(&flows, &capture, true, false)),
        "blocked cut B",
        "a cut comes after the opening"
    );
}

#[test]
fn a_missing_error_takes_nothing_from_the_one_before() {
    let datagram = |time: i64, refused: bool| {
        let mut flow = flow(Transport::Udp, 514, if refused { Outcome::Rejected } else { Outcome::Observed });
        flow.from_client.packets = 1;
        flow.from_client.payload_packets = 1;
        flow.errors = refused.then(|| error(time, FIREWALL, 13)).into_iter().collect();
        (flow.first, flow.last) = (at(time), at(time));
        speaks(&mut flow, &["syslog"]);
        flow
    };
    let told = |later: i64| {
        let flows = [datagram(0, true), datagram(later, false)];
        let mut all = flows.to_vec();
        all.push(elsewhere());
        words(&settled(&flows, &observed(all, LATE), true, false))
    };
    assert_eq!(told(59_000), "blocked prohibited A");
    assert_eq!(told(60_000), "satisfied");
}

#[test]
fn a_target_that_does_not_answer_arp_is_off() {
    let resolution = |target: std::net::IpAddr, requests: &[i64], answer: bool| crate::model::Resolution {
        cell: crate::model::CellId(0),
        asker: Some(FIREWALL),
        target,
        unanswered: series(requests),
        answer: answer.then(|| (at(1), CLIENT_MAC)),
    };
    let told = |requests: &[i64], replies: bool| {
        let silent = syns(&[0, 1000, 3000, 7000]);
        let mut capture = observed(vec![silent.clone()], LATE);
        capture.resolutions.push(resolution(SERVER, requests, false));
        capture.resolutions.push(resolution(CLIENT, &[], replies));
        words(&settled(&[silent], &capture, false, false))
    };
    assert_eq!(told(&[0, 1000, 2000], true), "failed host-down A");
    assert_eq!(told(&[0, 1000], true), "undecided", "two requests");
    assert_eq!(told(&[0, 1000, 2000], false), "undecided", "replies are not visible");
}

#[test]
fn the_order_of_one_file_goes_before_its_clock() {
    let mut later = answered(0, "tls");
    later.first = PacketRef::new(later.first.time, later.first.input(), 9_000_000);
    let attempts = [later, syns(&[100_000, 101_000, 103_000, 107_000])];
    let capture = observed(attempts.to_vec(), LATE);
    assert!(matches!(settled(&attempts, &capture, true, false).verdict, Verdict::Satisfied(_)));
}

#[test]
fn a_session_that_stops_puts_those_before_it_in_doubt() {
    // Data repeated without acknowledgement, and the other end not heard any more.
    let stops = |start: i64| {
        let mut flow = answered(start, "amqp");
        let repeated = [20_000, 20_200, 20_600, 21_400, 23_000].map(|time| start + time);
        flow.from_client.unacknowledged = series(&repeated);
        flow.last = at(repeated[4]);
        flow
    };
    let told = |flows: &[FlowRecord]| settled(flows, &observed(flows.to_vec(), LATE), true, false);
    let after = told(&[answered(0, "amqp"), stops(100_000)]);
    assert_eq!(words(&after), "undecided");
    assert!(after.reason.contains("worked, then"), "{}", after.reason);
    assert_eq!(after.history.last().map(|phase| phase.since), Some(at(120_000)));
    assert_eq!(words(&told(&[stops(0), answered(100_000, "amqp")])), "satisfied", "a later one works");
    let mut beside = answered(0, "amqp");
    beside.last = at(200_000);
    assert_eq!(words(&told(&[beside, stops(50_000)])), "satisfied", "another goes on beside it");
}

/// Later connections that get nothing, whosever doing it is, take back what the earlier ones showed.
#[test]
fn a_request_never_answered_puts_those_before_it_in_doubt() {
    let told = |flows: &[FlowRecord]| words(&settled(flows, &observed(flows.to_vec(), LATE), true, false));
    let hangs = |start: i64| {
        let mut flow = asked(start, &[start + 3]);
        flow.from_client.unacknowledged = Default::default();
        flow.from_client.payload_acknowledged = 300;
        flow.from_client.last_payload = Some(at(start + 3));
        flow.from_client.fin = Some(at(start + 9000));
        flow
    };
    let reset_elsewhere = |start: i64| {
        let mut flow = asked(start, &[start + 3]);
        flow.outcome = Outcome::Cut;
        flow.from_server.reset = Some(reset(start + 4, FIREWALL_MAC, 63));
        flow
    };
    for later in [hangs(100_000), reset_elsewhere(100_000)] {
        assert_eq!(told(std::slice::from_ref(&later)), "undecided");
        assert_eq!(told(&[answered(0, "amqp"), later.clone()]), "undecided");
        assert_eq!(told(&[later, answered(200_000, "amqp")]), "satisfied");
    }
}

#[test]
fn a_silence_is_weighed_by_the_end_of_its_own_recording() {
    let silent = syns(&[0, 1000, 3000]);
    let mut capture = observed(vec![silent.clone(), elsewhere()], LATE);
    capture.inputs[0].first = Some(at(0).time);
    capture.inputs[0].last = Some(at(4000).time);
    capture.inputs.push(crate::model::Input {
        name: "b.pcap".to_owned(),
        first: Some(at(0).time),
        last: Some(at(LATE).time),
        ..Default::default()
    });
    assert_eq!(words(&settled(std::slice::from_ref(&silent), &capture, true, false)), "undecided");
    capture.inputs[0].last = Some(at(6000).time);
    assert_eq!(words(&settled(&[silent], &capture, true, false)), "blocked dropped B");
}
