//! The built-in rulesets against the rows of the documents that they render.

use std::collections::BTreeSet;

use super::*;

/// The facts that the built-in rulesets render: row, rules, from, to, services, features.
const ROWS: &[(&str, &str, &str, &str, &str, &str)] = &[
    (
        "A-U1",
        "url-portal",
        "network-sensor site-manager enterprise-manager",
        "opswat-portal",
        "tcp/443",
        "internet-urls",
    ),
    (
        "A-U2",
        "url-activation",
        "network-sensor site-manager enterprise-manager",
        "opswat-activation",
        "tcp/443",
        "internet-urls",
    ),
    (
        "A-U3",
        "url-updates",
        "network-sensor site-manager enterprise-manager",
        "opswat-cdn",
        "tcp/443",
        "internet-urls",
    ),
    ("A-01", "console-sensor", "user", "network-sensor", "tcp/443", ""),
    ("A-02", "link-site-to-sensor", "site-manager", "network-sensor", "tcp/1443", "bidirectional"),
    ("A-03", "ssh-sensor", "admin", "network-sensor", "tcp/22", "ssh"),
    ("A-04", "console-site", "user", "site-manager", "tcp/443", ""),
    ("A-05", "link-sensor-to-site", "network-sensor", "site-manager", "tcp/3006", ""),
    ("A-06", "link-enterprise-to-site", "enterprise-manager", "site-manager", "tcp/3006", "bidirectional"),
    ("A-07", "queue-sensor-to-site", "network-sensor", "site-manager", "tcp/5672", ""),
    ("A-08", "queue-enterprise-to-site", "enterprise-manager", "site-manager", "tcp/5672", "bidirectional"),
    ("A-09", "ssh-site", "admin", "site-manager", "tcp/22", "ssh"),
    ("A-10", "console-enterprise", "user", "enterprise-manager", "tcp/443", ""),
    ("A-11", "console-enterprise-3003", "user", "enterprise-manager", "tcp/3003", ""),
    ("A-12", "link-site-to-enterprise", "site-manager", "enterprise-manager", "tcp/3003", ""),
    ("A-13", "queue-site-to-enterprise", "site-manager", "enterprise-manager", "tcp/5673", ""),
    ("A-14", "ssh-enterprise", "admin", "enterprise-manager", "tcp/22", "ssh"),
    ("A-20", "ldaps", "network-sensor", "ldap-server", "tcp/636", "ldaps"),
    ("A-21", "ldap", "network-sensor", "ldap-server", "tcp/389", "ldap"),
    ("A-22", "nac", "network-sensor", "nac-server", "tcp/443", "nac"),
    ("A-30", "profile-abb", "network-sensor", "asset", "tcp/80", "smart-asset-profiling"),
    ("A-31", "profile-bacnet", "network-sensor", "asset", "udp/47808", "smart-asset-profiling"),
    ("A-32", "profile-br", "network-sensor", "asset", "tcp/80", "smart-asset-profiling"),
    ("A-33", "profile-ge-srtp", "network-sensor", "asset", "udp/18245", "smart-asset-profiling"),
    ("A-34", "profile-emerson-http", "network-sensor", "asset", "tcp/80", "smart-asset-profiling"),
    ("A-35", "profile-enip", "network-sensor", "asset", "tcp/44818", "smart-asset-profiling"),
    ("A-36", "profile-mitsubishi", "network-sensor", "asset", "tcp/5562", "smart-asset-profiling"),
    ("A-37", "profile-modbus", "network-sensor", "asset", "tcp/502", "smart-asset-profiling"),
    ("A-38", "profile-profinet", "network-sensor", "asset", "udp/34964", "smart-asset-profiling"),
    ("A-39", "profile-s7comm-plus", "network-sensor", "asset", "tcp/102", "smart-asset-profiling"),
    ("A-40", "profile-s7comm", "network-sensor", "asset", "tcp/102", "smart-asset-profiling"),
    ("A-41", "profile-snmp", "network-sensor", "asset", "udp/161", "smart-asset-profiling"),
    ("B-01", "client-ssh", "client", "ot-sensor", "tcp/22", ""),
    ("B-02", "client-console", "client", "ot-sensor", "tcp/443", ""),
    ("B-10 B-11 B-12 B-13", "azure", "ot-sensor", "azure", "tcp/443", "azure"),
    ("B-20", "console-ntp", "ot-sensor", "management-console", "udp/123", "management-console"),
    ("B-21", "console-link", "ot-sensor", "management-console", "tcp/443", "management-console"),
    ("B-22", "ntp", "ot-sensor", "ntp-server", "udp/123", "ntp"),
    ("B-30", "smtp", "ot-sensor management-console", "smtp-server", "tcp/25", "smtp"),
    ("B-31", "dns dns-tcp", "ot-sensor management-console", "dns-server", "udp/53 tcp/53", "dns"),
    ("B-32", "crl", "ot-sensor management-console", "crl-server", "tcp/80", "crl"),
    (
        "B-33",
        "wmi-endpoint-mapper wmi-endpoint-mapper-udp",
        "ot-sensor",
        "windows-endpoint",
        "tcp/135 udp/135",
        "wmi",
    ),
    ("B-34", "wmi wmi-udp", "ot-sensor", "windows-endpoint", "tcp/1025-65535 udp/1025-65535", "wmi"),
    ("B-35", "snmp", "ot-sensor management-console", "snmp-server", "udp/161", "snmp"),
    ("B-36", "ldap", "ot-sensor management-console", "ldap-server", "tcp/389", "ldap"),
    ("B-37", "proxy proxy-udp", "ot-sensor management-console", "proxy", "tcp/443 udp/443", "proxy"),
    ("B-38", "syslog", "ot-sensor management-console", "syslog-server", "udp/514", "syslog"),
    ("B-39", "ldaps", "ot-sensor management-console", "ldap-server", "tcp/636", "ldaps"),
    ("B-40", "tunnel", "endpoint ot-sensor", "management-console", "tcp/9000", "tunneling"),
    ("B-41", "tunnel-https", "endpoint ot-sensor", "management-console", "tcp/443", "tunneling"),
    ("B-42", "tunnel-ssh", "ot-sensor", "management-console", "tcp/22", "tunneling"),
];

/// Further readings of rows that slip: row, rule, from, to, services.
const READINGS: &[(&str, &str, &str, &str, &str)] = &[
    ("A-20", "ldaps", "site-manager enterprise-manager", "ldap-server", "tcp/636"),
    ("A-21", "ldap", "site-manager enterprise-manager", "ldap-server", "tcp/389"),
    ("A-22", "nac", "site-manager enterprise-manager", "nac-server", "tcp/443"),
    ("A-33", "profile-ge-srtp", "network-sensor", "asset", "tcp/18245"),
    ("B-20", "console-ntp", "ot-sensor", "ot-sensor", "udp/123"),
    ("B-21", "console-link", "ot-sensor", "ot-sensor", "tcp/443"),
    ("B-35", "snmp", "snmp-server", "ot-sensor management-console", "udp/161"),
    ("B-40", "tunnel", "endpoint ot-sensor", "ot-sensor", "tcp/9000"),
    ("B-41", "tunnel-https", "endpoint ot-sensor", "ot-sensor", "tcp/443"),
    ("B-42", "tunnel-ssh", "ot-sensor", "ot-sensor", "tcp/22"),
];

fn ruleset_of(row: &str) -> &'static str {
    if row.starts_with('A') { "opswat-md-ot-security" } else { "microsoft-defender-for-iot" }
}

fn words_of(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn built_in_rulesets_have_neither_errors_nor_warnings() {
    for (id, text) in builtin() {
        let found = check_text(id, text, Path::new(""), WORDS, USUAL);
        assert!(found.is_empty(), "{}", render(&found, false, 120));
    }
}

#[test]
fn every_row_of_the_documents_is_a_rule_and_every_rule_a_row() {
    let mut covered: BTreeSet<(String, String)> = BTreeSet::new();
    for (row, ids, from, to, services, when) in ROWS {
        let ruleset = built_in(ruleset_of(row));
        let mut found = BTreeSet::new();
        for id in ids.split_whitespace() {
            let rule = ruleset
                .rules
                .iter()
                .find(|rule| rule.id == id)
                .unwrap_or_else(|| panic!("{row}: no rule {id}"));
            let main = &rule.readings[0];
            assert_eq!(main.from.iter().cloned().collect::<BTreeSet<_>>(), words_of(from), "{row}");
            assert_eq!(main.to.iter().cloned().collect::<BTreeSet<_>>(), words_of(to), "{row}");
            assert_eq!(rule.when.iter().cloned().collect::<BTreeSet<_>>(), words_of(when), "{row}");
            found.extend(main.services.iter().map(ToString::to_string));
            covered.insert((ruleset.id.clone(), id.to_owned()));
        }
        assert_eq!(found, words_of(services), "{row}");
    }
    for (row, id, from, to, services) in READINGS {
        let ruleset = built_in(ruleset_of(row));
        let rule =
            ruleset.rules.iter().find(|rule| rule.id == *id).unwrap_or_else(|| panic!("{row}: no rule {id}"));
        let fits = rule.readings.iter().skip(1).any(|reading| {
            reading.from.iter().cloned().collect::<BTreeSet<_>>() == words_of(from)
                && reading.to.iter().cloned().collect::<BTreeSet<_>>() == words_of(to)
                && reading.services.iter().map(ToString::to_string).collect::<BTreeSet<_>>()
                    == words_of(services)
        });
        assert!(fits, "{row}: {:?}", rule.readings);
        assert_ne!(rule.certainty, Certainty::Firm, "{row}");
    }
    for (id, _) in builtin() {
        for rule in built_in(id).rules {
            assert!(
                covered.contains(&((*id).to_owned(), rule.id.clone())),
                "{id}: rule {} renders no row",
                rule.id
            );
        }
    }
}

#[test]
fn tls_1_3_is_asked_for_where_the_document_does_and_nowhere_else() {
    let asked = |id: &str| -> Vec<String> {
        built_in(id).rules.into_iter().filter(|rule| rule.tls.is_some()).map(|rule| rule.id).collect()
    };
    let expected = ["console-sensor", "link-site-to-sensor", "console-site", "console-enterprise"];
    assert_eq!(asked("opswat-md-ot-security"), expected);
    assert!(asked("microsoft-defender-for-iot").is_empty());
}

#[test]
fn roles_and_features_are_those_of_the_contract() {
    let names = |id: &str| {
        let ruleset = built_in(id);
        let roles: Vec<String> = ruleset.roles.into_keys().collect();
        let features: Vec<String> = ruleset.features.into_keys().collect();
        (roles.join(" "), features.join(" "))
    };
    let (roles, features) = names("opswat-md-ot-security");
    assert_eq!(
        roles,
        "admin asset enterprise-manager ldap-server nac-server network-sensor opswat-activation opswat-cdn opswat-portal \
         site-manager user"
    );
    assert_eq!(
        features,
        "bidirectional internet-urls ldap ldaps nac smart-asset-profiling ssh unidirectional"
    );
    let (roles, features) = names("microsoft-defender-for-iot");
    assert_eq!(
        roles,
        "azure client crl-server dns-server endpoint ldap-server management-console ntp-server ot-sensor proxy smtp-server \
         snmp-server syslog-server windows-endpoint"
    );
    assert_eq!(
        features,
        "azure crl dns ldap ldaps management-console ntp proxy smtp snmp syslog tunneling wmi"
    );
}
