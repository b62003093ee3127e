//! Attempts judged one by one: each row of the verdict table in its order, each precondition at its edge.

mod refusals;

use crate::audit::testing::*;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::IcmpError;
use crate::model::MacAddr;
use crate::model::Observed;
use crate::model::Outcome;
use crate::model::Transport;
use crate::rules::TlsVersion;

use super::*;

/// An end far from everything.
const LATE: i64 = 600_000;

fn within(flow: &FlowRecord, want: &Expectation<'_>, observed: &Observed) -> State {
    judge(flow, want, &View::of(observed, None)).state
}

fn state_of(flow: FlowRecord) -> State {
    let anything = Expectation { protocols: &[], tls: None, require: &[] };
    within(&flow, &anything, &observed(vec![flow.clone(), answered(0, "tls")], LATE))
}

/// Verdict, mechanism and grade, or what else it is.
fn words(state: &State) -> String {
    match state {
        State::Works(_, None) => "works".to_owned(),
        State::Works(_, Some(note)) => format!("works; {note}"),
        State::Doubtful(..) => "works, perhaps".to_owned(),
        State::Sent(..) => "sent".to_owned(),
        State::Open(_) => "open".to_owned(),
        State::Opened(_) => "opened".to_owned(),
        State::Silent(_) => "silent".to_owned(),
        State::Stopped(..) => "stopped".to_owned(),
        State::Unclear(_) => "unclear".to_owned(),
        State::Fails(fault, failure, _) => {
            format!("{} {} {}", fault.name(), failure.mechanism.name(), failure.grade.name())
        }
    }
}

fn verdict(flow: FlowRecord) -> String {
    words(&state_of(flow))
}

#[test]
fn icmp_that_names_a_policy_goes_before_everything_else() {
    for (code, expected) in [
        (13, "blocked prohibited A"),
        (9, "blocked prohibited A"),
        (10, "blocked prohibited A"),
        (3, "blocked rejected A"),
    ] {
        let mut flow = syns(&[0, 1000, 3000]);
        flow.outcome = Outcome::Rejected;
        flow.errors = Box::new([error(1, FIREWALL, 1), error(2, FIREWALL, code)]);
        flow.from_server.reset = Some(reset(5, SERVER_MAC, 64));
        assert_eq!(verdict(flow), expected, "code {code}");
    }
}

#[test]
fn an_error_of_the_target_itself_is_its_own_filter_or_a_closed_port() {
    let mut flow = syns(&[0]);
    flow.errors = Box::new([error(1, SERVER, 10)]);
    let State::Fails(_, failure, _) = state_of(flow.clone()) else { panic!("it fails") };
    assert_eq!((addressee(&failure), failure.mechanism), (Addressee::Server, Mechanism::Prohibited));
    flow.errors = Box::new([error(1, SERVER, 3)]);
    assert_eq!(verdict(flow), "failed refused C");
}

#[test]
fn an_error_whose_quote_fits_nothing_captured_proves_nothing() {
    let mut flow = syns(&[0, 1000, 3000]);
    flow.errors = Box::new([crate::model::IcmpError { fits: false, ..error(1, FIREWALL, 13) }]);
    assert_eq!(verdict(flow), "silent");
}

#[test]
fn a_reset_to_the_syn_is_the_servers_unless_provably_not() {
    let refused = |mac: MacAddr, ttl: u8| {
        let mut flow = syns(&[0]);
        flow.outcome = Outcome::Refused;
        flow.from_server.reset = Some(reset(1, mac, ttl));
        verdict(flow)
    };
    assert_eq!(refused(SERVER_MAC, 64), "failed refused C");
    assert_eq!(refused(FIREWALL_MAC, 64), "blocked reset-by-middlebox B");
    assert_eq!(refused(FIREWALL_MAC, 63), "failed refused C", "behind a router a MAC is the router's");
}

#[test]
fn icmp_about_routing_is_no_block() {
    for code in [0, 1, 2, 5, 6, 7, 8, 11, 12, 14, 15] {
        let mut flow = syns(&[0, 1000, 3000]);
        flow.errors = Box::new([error(1, FIREWALL, code)]);
        assert_eq!(verdict(flow), "failed unreachable C", "code {code}");
    }
}

#[test]
fn syn_acks_repeated_while_the_client_asks_on_are_a_return_path() {
    let path = |syns: &[i64], syn_acks: &[i64]| {
        let mut flow = opened(0);
        flow.from_client.first_ack = None;
        flow.from_client.syn = series(syns);
        flow.from_server.syn = series(syn_acks);
        verdict(flow)
    };
    assert_eq!(path(&[0, 1000], &[1, 1001]), "blocked return-path B");
    assert_eq!(path(&[0, 1000], &[1]), "unclear", "one SYN-ACK");
    assert_eq!(path(&[0], &[1, 1001]), "unclear", "a half-open scan does not ask on");
    let mut resets = opened(0);
    resets.from_client.first_ack = None;
    resets.from_client.syn = series(&[0, 1000]);
    resets.from_server.syn = series(&[1, 1001]);
    resets.from_client.reset = Some(reset(2, CLIENT_MAC, 64));
    assert_eq!(verdict(resets), "unclear", "it gets the SYN-ACKs, and does not want them");
}

#[test]
fn a_return_path_that_loss_explains_is_unclear() {
    let mut flow = opened(0);
    flow.from_client.first_ack = None;
    flow.from_client.syn = series(&[0, 1000]);
    flow.from_server.syn = series(&[1, 1001]);
    let anything = Expectation { protocols: &[], tls: None, require: &[] };
    let capture = |percent| lossy(observed(vec![flow.clone()], LATE), percent);
    assert_eq!(words(&within(&flow, &anything, &capture(20))), "unclear");
    assert_eq!(words(&within(&flow, &anything, &capture(5))), "blocked return-path C", "capped above 1 %");
    assert_eq!(words(&within(&flow, &anything, &capture(1))), "blocked return-path B");
}

#[test]
fn a_client_hello_never_acknowledged_is_a_tls_cut() {
    let cut = |times: &[i64], end: i64| {
        let mut flow = asked(0, times);
        flow.outcome = Outcome::Cut;
        speaks(&mut flow, &["tls"]);
        let anything = Expectation { protocols: &[], tls: None, require: &[] };
        words(&within(&flow, &anything, &observed(vec![flow.clone(), answered(0, "tls")], end)))
    };
    assert_eq!(cut(&[10, 210, 630], LATE), "blocked tls-cut B");
    assert_eq!(cut(&[10, 210], LATE), "unclear", "two copies");
    assert_eq!(cut(&[10, 210, 630], 1_600), "unclear", "the capture ends within a second");
    assert_eq!(
        cut(&[10, 210, 630, 1_470], 1_500),
        "blocked tls-cut B",
        "the fourth copy shows the silence after the third"
    );
}

#[test]
fn a_cut_needs_a_mirror_that_shows_answers() {
    let mut flow = asked(0, &[10, 210, 630]);
    flow.from_server = Default::default();
    flow.outcome = Outcome::OneSided;
    let anything = Expectation { protocols: &[], tls: None, require: &[] };
    assert_eq!(words(&within(&flow, &anything, &observed(vec![flow.clone()], LATE))), "unclear");
}

#[test]
fn full_size_segments_may_have_met_a_path_mtu_black_hole() {
    let mut flow = asked(0, &[10, 210, 630]);
    flow.from_client.unacknowledged_length = 1400;
    assert_eq!(verdict(flow.clone()), "blocked cut C");
    flow.from_client.unacknowledged_length = 900;
    assert_eq!(verdict(flow), "blocked cut B", "however much it says in all");
}

#[test]
fn shorter_segments_that_pass_tell_a_black_hole() {
    let mut flow = asked(0, &[10, 210, 630]);
    flow.from_client.unacknowledged_length = 1400;
    assert_eq!(verdict(flow.clone()), "blocked cut C");
    flow.from_client.passed = Some(at(3));
    assert_eq!(verdict(flow), "failed unreachable C");
}

#[test]
fn who_resets_the_first_request_decides() {
    let with = |mac: MacAddr, ttl: u8| {
        let mut flow = asked(0, &[10]);
        flow.outcome = Outcome::Cut;
        flow.from_server.reset = Some(reset(11, mac, ttl));
        verdict(flow)
    };
    assert_eq!(with(SERVER_MAC, 64), "failed closed C");
    assert_eq!(with(FIREWALL_MAC, 64), "blocked cut B");
    assert_eq!(with(FIREWALL_MAC, 63), "stopped", "another way, but behind a router");
}

#[test]
fn a_server_that_closes_at_the_first_request_is_closed() {
    let mut flow = asked(0, &[10]);
    flow.from_client.payload_acknowledged = 300;
    flow.from_client.unacknowledged = Series::default();
    flow.from_server.fin = Some(at(12));
    assert_eq!(verdict(flow), "failed closed C");
}

#[test]
fn fatal_alerts_before_application_data_speak_by_their_code() {
    let with = |alert: &str, later: bool| {
        let mut flow = answered(0, "tls");
        states(&mut flow, "tls.alert", alert);
        if later {
            states(&mut flow, "tls.application_data", "server");
        }
        verdict(flow)
    };
    assert_eq!(with("fatal protocol_version(70)", false), "violated weak-tls C");
    assert_eq!(with("fatal unknown_ca(48)", false), "failed tls-alert C");
    assert_eq!(with("warning close_notify(0)", false), "works");
    // All that the server says, before it closes.
    let mut instead = answered(0, "tls");
    states(&mut instead, "tls.client_hello", "seen");
    states(&mut instead, "tls.alert", "warning close_notify(0)");
    states(&mut instead, "tls.alert.from", "server");
    assert_eq!(verdict(instead.clone()), "works");
    instead.from_server.fin = Some(at(7));
    assert_eq!(verdict(instead.clone()), "failed tls-alert C");
    states(&mut instead, "tls.server_hello", "seen");
    assert_eq!(verdict(instead), "works");
    assert_eq!(with("fatal unknown_ca(48)", true), "works");
    // In TLS 1.3 the server's encrypted handshake looks like application data.
    let mut ended = answered(0, "tls");
    states(&mut ended, "tls.version", "1.3");
    states(&mut ended, "tls.application_data", "server");
    states(&mut ended, "tls.alert", "fatal unknown_ca(48)");
    states(&mut ended, "tls.alert.from", "client");
    assert_eq!(verdict(ended.clone()), "failed tls-alert C");
    states(&mut ended, "tls.application_data", "client");
    assert_eq!(verdict(ended), "works", "whoever encrypts sends no alert in the clear");
    let mut gives_up = answered(0, "tls");
    states(&mut gives_up, "tls.gives_up", "client");
    assert_eq!(verdict(gives_up), "failed tls-alert C");
}

#[test]
fn what_gets_through_is_held_against_the_document() {
    let tls = ["tls".to_owned()];
    let either = ["amqp".to_owned(), "tls".to_owned()];
    let judged = |flow: &FlowRecord, protocols: &[String], tls: Option<TlsVersion>| {
        words(&within(
            flow,
            &Expectation { protocols, tls, require: &[] },
            &observed(vec![flow.clone()], LATE),
        ))
    };
    let at_least = TlsVersion::from_name("1.3");
    assert_eq!(judged(&answered(0, "ssh"), &tls, None), "violated wrong-protocol B");
    assert_eq!(judged(&answered(0, "http"), &tls, None), "violated cleartext B");
    assert_eq!(judged(&answered(0, "amqp"), &either, None), "works");
    assert!(judged(&answered(0, "tls"), &either, None).starts_with("works; encrypted"));
    let mut unknown = answered(0, "tls");
    *unknown.classification = Default::default();
    assert_eq!(judged(&unknown, &tls, None), "open", "not recognised");
    let mut flow = answered(0, "tls");
    assert_eq!(judged(&flow, &tls, at_least), "open", "no version shown");
    states(&mut flow, "tls.offered", "1.3");
    assert!(judged(&flow, &tls, at_least).starts_with("works; its TLS version follows"));
    states(&mut flow, "tls.version", "1.2");
    assert_eq!(judged(&flow, &tls, at_least), "violated weak-tls B");
    let mut old = answered(0, "tls");
    states(&mut old, "tls.offered", "1.2");
    assert_eq!(judged(&old, &tls, at_least), "violated weak-tls B", "no more than 1.2 is offered");
}

#[test]
fn acknowledgements_prove_what_the_mirror_did_not_show() {
    let mut flow = answered(0, "tls");
    flow.from_server = Default::default();
    flow.outcome = Outcome::OneSided;
    assert_eq!(verdict(flow.clone()), "open", "what the server answers may be a refusal");
    flow.from_client.last_payload = Some(at(7));
    assert_eq!(
        verdict(flow.clone()),
        "open",
        "what it says next may be no more than its half of the handshake"
    );
    states(&mut flow, "tls.application_data", "client");
    assert!(verdict(flow.clone()).starts_with("works; seen from the client's side only"));
    // Protocols that ask and are answered show no more than that.
    for (protocol, expected) in [("http", "works; seen"), ("mqtt", "works; seen"), ("ssh", "open")] {
        let mut other = flow.clone();
        other.classification.protocol = Some(protocol);
        other.classification.layers = smallvec::smallvec![protocol];
        assert!(verdict(other).starts_with(expected), "{protocol}");
    }
}

#[test]
fn brokers_and_portals_say_no_over_connections_that_work() {
    let mut refused = answered(0, "amqp");
    states(&mut refused, "amqp.version", "0-9-1");
    refused.from_server.payload_bytes = 8;
    assert_eq!(verdict(refused.clone()), "failed closed C", "a header and nothing more");
    refused.from_server.payload_bytes = 500;
    assert_eq!(verdict(refused.clone()), "works");
    states(&mut refused, "amqp.close", "320 CONNECTION_FORCED");
    assert_eq!(verdict(refused.clone()), "works", "it may have worked for long");
    states(&mut refused, "amqp.start", "seen");
    assert_eq!(verdict(refused.clone()), "failed closed C", "it was never let in");
    states(&mut refused, "amqp.open", "seen");
    assert_eq!(verdict(refused), "works");
    let mut refused = answered(0, "amqp");
    states(&mut refused, "amqp.close", "403 ACCESS_REFUSED - login refused");
    assert_eq!(verdict(refused), "failed closed C");
    for (status, expected) in [
        ("407", "blocked proxy-denied A"),
        ("511", "blocked proxy-denied A"),
        ("451", "blocked proxy-denied B"),
        ("403", "works"),
    ] {
        let mut portal = answered(0, "http");
        states(&mut portal, "http.status", status);
        assert!(verdict(portal.clone()).starts_with(expected), "{status}");
        states(&mut portal, "http.status", "200");
        assert_eq!(verdict(portal), "works", "{status} and then 200");
    }
}

#[test]
fn a_session_that_goes_dead_is_cut_where_the_other_end_is_alive() {
    let dead = |times: &[i64], alive: bool| {
        let mut flow = answered(0, "amqp");
        flow.from_client.unacknowledged = series(times);
        let mut flows = vec![flow.clone()];
        if alive {
            let mut other = answered(50_000, "tls");
            other.server.port = Some(22);
            flows.push(other);
        }
        let anything = Expectation { protocols: &[], tls: None, require: &[] };
        words(&within(&flow, &anything, &observed(flows, LATE)))
    };
    let long = [10_000, 10_200, 10_600, 11_400, 13_000];
    assert_eq!(dead(&long, true), "blocked cut C");
    assert_eq!(
        dead(&long, false),
        "stopped",
        "the other end may be off: it worked before, and whether it still does is not shown"
    );
    assert_eq!(dead(&long[..4], true), "works, perhaps", "four copies");
    assert_eq!(dead(&[10_000, 10_200, 10_600, 11_400, 12_900], true), "works, perhaps", "2.9 s");
}

#[test]
fn datagrams_are_answered_rejected_silent_or_one_way() {
    let datagrams = |outcome| {
        let mut flow = flow(Transport::Udp, 514, outcome);
        flow.from_client.packets = 4;
        flow.from_client.payload_packets = 4;
        flow.from_client.unanswered = series(&[0, 1000, 2000, 3000]);
        (flow.from_client.first, flow.from_client.last) = (Some(at(0)), Some(at(3000)));
        speaks(&mut flow, &["syslog"]);
        flow
    };
    assert_eq!(verdict(datagrams(Outcome::Unanswered)), "silent");
    assert_eq!(verdict(datagrams(Outcome::Observed)), "sent");
    let mut rejected = datagrams(Outcome::Rejected);
    rejected.errors = Box::new([error(1, FIREWALL, 13)]);
    assert_eq!(verdict(rejected), "blocked prohibited A");
    let mut answered = datagrams(Outcome::Answered);
    answered.from_server.payload_packets = 1;
    speaks(&mut answered, &["ntp"]);
    assert_eq!(verdict(answered), "works");
    let alone = datagrams(Outcome::Observed);
    let anything = Expectation { protocols: &[], tls: None, require: &[] };
    let deaf = observed(vec![alone.clone()], LATE);
    assert_eq!(words(&within(&alone, &anything, &deaf)), "open", "an error would not be seen");
    let mut group = alone;
    group.server.host = Host::Ip("239.1.1.1".parse().expect("an address"));
    assert!(words(&within(&group, &anything, &deaf)).starts_with("works; sent to a group"));
}

#[test]
fn a_policy_may_end_a_session() {
    let with = |last: i64, code: u8| {
        let mut flow = answered(0, "tls");
        flow.from_server.last = Some(at(last));
        flow.errors = Box::new([error(1_000, FIREWALL, code)]);
        verdict(flow)
    };
    assert_eq!(with(6, 13), "blocked prohibited A");
    assert_eq!(with(5_000, 13), "works", "the server goes on");
    assert_eq!(with(6, 1), "works", "routing is no policy");
}

#[test]
fn only_unreachable_means_unreachable() {
    for (kind, code) in [(5, 1), (11, 0), (3, 4)] {
        let mut flow = syns(&[0, 1000, 3000]);
        flow.errors = Box::new([IcmpError { kind, ..error(1, FIREWALL, code) }]);
        assert_eq!(verdict(flow), "silent", "type {kind} code {code}");
    }
    let mut looping = syns(&[0, 1000, 3000]);
    looping.errors = [1, 1001].map(|time| IcmpError { kind: 11, ..error(time, FIREWALL, 0) }).into();
    assert_eq!(verdict(looping), "failed unreachable C", "a routing loop");
}

/// A SYN may carry the request (RFC 7413): no more was let in for that.
#[test]
fn data_in_a_syn_opens_nothing() {
    let carries = |mut flow: FlowRecord| {
        flow.from_client.payload_packets = 1;
        flow.from_client.first_payload = flow.from_client.first;
        flow
    };
    assert_eq!(verdict(carries(syns(&[0, 1000, 3000]))), "silent");
    let mut refused = carries(syns(&[0]));
    refused.outcome = Outcome::Refused;
    refused.from_server.packets = 1;
    refused.from_server.reset = Some(reset(1, SERVER_MAC, 64));
    assert_eq!(verdict(refused), "failed refused C");
}

/// What a protocol without answers sends has arrived once it is acknowledged (RFC 6587 has syslog over TCP answer nothing).
#[test]
fn what_wants_no_answer_works_once_it_is_acknowledged() {
    let mut log = asked(0, &[10]);
    speaks(&mut log, &["syslog"]);
    log.classification.one_way = true;
    assert_ne!(verdict(log.clone()), "works", "nothing is acknowledged yet");
    log.from_client.unacknowledged = Series::default();
    log.from_client.payload_acknowledged = 300;
    log.from_server.acked_payload = Some(at(11));
    log.from_client.fin = Some(at(5000));
    assert_eq!(verdict(log.clone()), "works");
    log.from_client.fin = None;
    log.from_server.fin = Some(at(5000));
    assert_eq!(verdict(log.clone()), "works", "the server may end it when it likes");
    log.classification.one_way = false;
    assert_eq!(verdict(log), "failed closed C");
}

#[test]
fn datagrams_of_nobody_knows_what_may_want_an_answer() {
    let mut sent = flow(Transport::Udp, 9999, Outcome::Observed);
    sent.from_client.packets = 5;
    sent.from_client.payload_packets = 5;
    assert_eq!(verdict(sent), "unclear");
}

#[test]
fn a_mail_server_may_greet_with_a_refusal() {
    let greeted = |line: &str| {
        let mut flow = answered(0, "smtp");
        states(&mut flow, "smtp.greeting", line);
        verdict(flow)
    };
    assert_eq!(greeted("554 5.7.1 client host blocked"), "failed closed C");
    assert_eq!(greeted("421 too many connections"), "failed closed C");
    assert_eq!(greeted("220 mail.plant.example ESMTP"), "works");
}

#[test]
fn a_time_server_that_refuses_is_told_as_that() {
    let answers = |strata: &[&str]| {
        let mut flow = flow(Transport::Udp, 123, Outcome::Answered);
        flow.from_client.packets = 1;
        flow.from_server.payload_packets = 1;
        speaks(&mut flow, &["ntp"]);
        for stratum in strata {
            states(&mut flow, "ntp.stratum", stratum);
        }
        verdict(flow)
    };
    assert!(answers(&["0"]).contains("gives no time"));
    assert_eq!(answers(&["0", "2"]), "works");
    assert_eq!(answers(&["2"]), "works");
}
