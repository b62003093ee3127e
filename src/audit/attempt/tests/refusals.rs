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
    for (protocol, refusal, otherwise) in [
        ("mqtt", ("mqtt.refused", "5"), None),
        ("opc-ua", ("opc-ua.error", "0x80130000"), Some(("opc-ua.security-policy", "None"))),
        ("mysql", ("mysql.refused", "1130 Host is not allowed"), Some(("mysql.version", "8.0.36"))),
    ] {
        let mut flow = answered(0, protocol);
        states(&mut flow, refusal.0, refusal.1);
        assert_eq!(verdict(flow.clone()), "failed closed C", "{protocol}");
        if let Some((key, value)) = otherwise {
            states(&mut flow, key, value);
            assert_eq!(verdict(flow), "works", "{protocol}: it was let in");
        }
    }
}
