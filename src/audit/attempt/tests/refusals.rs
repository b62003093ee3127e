//! Services that are reached and say no.

use super::*;

#[test]
fn what_a_service_refuses_is_told_beside_its_being_reached() {
    for (protocol, key, value, noted) in [
        ("ldap", "ldap.result", "bind-response 49", true),
        ("ldap", "ldap.result", "bind-response 14", false),
        ("ldap", "ldap.result", "search-done 32", false),
        ("smtp", "smtp.error", "554 relaying denied", true),
        ("kerberos", "kerberos.error", "25", false),
        ("kerberos", "kerberos.error", "6", true),
        ("http", "http.status", "503", true),
        ("http", "http.status", "401", false),
        ("http", "http.status", "204", false),
    ] {
        let mut flow = answered(0, protocol);
        states(&mut flow, key, value);
        let anything = Expectation { protocols: &[], tls: None, require: &[] };
        let seen = observed(vec![flow.clone(), answered(0, "tls")], LATE);
        let State::Works(_, note) = within(&flow, &anything, &seen) else { panic!("{protocol}") };
        assert_eq!(note.is_some_and(|note| note.contains(value)), noted, "{key} {value}");
    }
}

#[test]
fn a_first_answer_that_says_no_is_no_success() {
    for (protocol, refusal, messages) in [
        ("mqtt", ("mqtt.refused", "5"), 1),
        ("opc-ua", ("opc-ua.error", "0x80130000"), 2),
        ("mysql", ("mysql.refused", "1130 Host is not allowed"), 1),
    ] {
        let said_at = |at: PacketRef| {
            let mut flow = answered(0, protocol);
            flow.classification.facts.learn_one(refusal.0, refusal.1, at);
            flow.from_server.last_payload = flow.from_server.first_payload;
            flow.from_server.payload_packets = messages;
            flow
        };
        let answer = answered(0, protocol).from_server.first_payload.unwrap();
        let flow = said_at(answer);
        assert_eq!(verdict(flow.clone()), "failed closed C", "{protocol}");

        let mut repeated = flow.clone();
        repeated.from_server.payload_packets += 2;
        repeated.from_server.retransmissions = 2;
        assert_eq!(verdict(repeated), "failed closed C", "{protocol}: said again, it is no more");

        let mut let_in = flow.clone();
        let_in.from_server.payload_packets += 1;
        assert_eq!(verdict(let_in), "works", "{protocol}: it was let in");

        let mut midway = flow.clone();
        (midway.from_client.syn, midway.from_server.syn) = Default::default();
        assert_ne!(verdict(midway), "failed closed C", "{protocol}: met midway");

        assert_eq!(
            verdict(said_at(flow.last)),
            "works",
            "{protocol}: the client's own error, after the answer"
        );
    }
}
