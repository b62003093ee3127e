//! What no case triggers, as snapshots: a list that gets shorter is progress that a difference shows. And the tables of the
//! documentation that come out of the registries, and the rules that no recording shows at work.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "this is a test")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use spanaudit::classify::PROTOCOLS;
use spanaudit::decode::Undecodable;
use spanaudit::model::ConversationVerdict;
use spanaudit::model::Mechanism;
use spanaudit::model::Observed;
use spanaudit::model::Outcome;
use spanaudit::model::Report;
use spanaudit::model::Verdict;
use spanaudit::rules;

use super::common::Case;
use super::common::audit;
use super::common::cases;
use super::common::corpus;
use super::common::lab;
use super::common::observe;
use super::common::protocols;

/// What runs have shown, each kind by its words.
#[derive(Default)]
struct Triggered {
    protocols: BTreeSet<String>,
    facts: BTreeSet<String>,
    outcomes: BTreeSet<String>,
    undecodable: BTreeSet<String>,
    verdicts: BTreeSet<String>,
    mechanisms: BTreeSet<String>,
    conversations: BTreeSet<String>,
    satisfied: BTreeSet<String>,
    unsatisfied: BTreeSet<String>,
}

impl Triggered {
    fn observed(&mut self, observed: &Observed) {
        for flow in &observed.flows {
            let classification = &flow.classification;
            self.protocols.extend(classification.layers.iter().map(|layer| (*layer).to_owned()));
            self.facts.extend(classification.facts.iter().map(|fact| fact.key.to_owned()));
            self.outcomes.insert(flow.outcome.name().to_owned());
        }
        self.undecodable.extend(observed.tally.undecodable.keys().map(|reason| (*reason).to_owned()));
    }

    fn report(&mut self, report: &Report) {
        for requirement in &report.requirements {
            self.verdicts.insert(requirement.verdict.name().to_owned());
            let rule = format!("{}:{}", requirement.ruleset, requirement.rule);
            if let Some(failure) = requirement.verdict.failure() {
                self.mechanisms.insert(failure.mechanism.name().to_owned());
                self.unsatisfied.insert(rule);
            } else if matches!(requirement.verdict, Verdict::Satisfied(_)) {
                self.satisfied.insert(rule);
            }
        }
        let verdicts = report.conversations.iter().map(|conversation| conversation.verdict.name().to_owned());
        self.conversations.extend(verdicts);
    }

    fn cases(&mut self, cases: &[Case]) {
        for case in cases {
            let observed = observe(std::slice::from_ref(&case.capture), 1).unwrap();
            self.observed(&observed);
            self.report(&audit(&observed, &case.site));
        }
    }

    /// What is missing of everything there is, one kind a line.
    fn never(&self) -> String {
        let facts = PROTOCOLS.iter().flat_map(|protocol| protocol.about().facts).map(|(key, _)| *key);
        let kinds: [(&str, Vec<&str>, &BTreeSet<String>); 8] = [
            ("protocols", protocols(), &self.protocols),
            ("facts", facts.collect(), &self.facts),
            ("outcomes", Outcome::ALL.iter().map(|outcome| outcome.name()).collect(), &self.outcomes),
            ("verdicts", Verdict::NAMES.to_vec(), &self.verdicts),
            (
                "mechanisms",
                Mechanism::ALL.iter().map(|mechanism| mechanism.name()).collect(),
                &self.mechanisms,
            ),
            (
                "conversations",
                ConversationVerdict::ALL.iter().map(|verdict| verdict.name()).collect(),
                &self.conversations,
            ),
            (
                "undecodable",
                Undecodable::ALL.iter().map(|reason| reason.reason()).collect(),
                &self.undecodable,
            ),
            ("rules that fail", Vec::new(), &self.unsatisfied),
        ];
        let rules = all_rules();
        let mut out = String::new();
        for (kind, all, triggered) in kinds {
            let all: BTreeSet<&str> = match kind {
                "rules that fail" => rules.iter().map(String::as_str).collect(),
                _ => all.into_iter().collect(),
            };
            let missing: Vec<&str> = all.iter().copied().filter(|word| !triggered.contains(*word)).collect();
            out.push_str(&format!("{kind}: {} of {} never seen\n", missing.len(), all.len()));
            missing.iter().for_each(|word| out.push_str(&format!("  {word}\n")));
        }
        out
    }
}

/// Every rule of the built-in rulesets, as `ruleset:rule`.
fn all_rules() -> Vec<String> {
    let mut found = Vec::new();
    for (id, _) in rules::builtin() {
        let (set, _) = rules::load_ruleset(id, Path::new(""), &protocols())
            .unwrap_or_else(|error| panic!("{}", error.render(false, 100)));
        found.extend(set.rules.iter().map(|rule| format!("{id}:{}", rule.id)));
    }
    found
}

#[test]
fn what_no_shipped_case_triggers() {
    let mut triggered = Triggered::default();
    triggered.cases(&cases());
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("never-in-testdata", triggered.never());
    });
}

#[test]
fn what_no_capture_triggers() {
    let lab = lab();
    if lab.is_empty() {
        return;
    }
    let mut triggered = Triggered::default();
    triggered.cases(&cases());
    triggered.cases(&lab);
    for path in corpus() {
        // What is none of the captures says nothing about coverage; that it is told as such is tested elsewhere.
        if let Ok(observed) = observe(&[path], 1) {
            triggered.observed(&observed);
        }
    }
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("never-at-all", triggered.never());
    });
}

/// Rules that no recording shows at work, each with the reason.
const NEVER_SATISFIED: &[(&str, &str)] = &[
    ("microsoft-defender-for-iot:console-ntp", "the lab has no management console on a machine of its own"),
    ("microsoft-defender-for-iot:console-link", "the lab has no management console on a machine of its own"),
    ("microsoft-defender-for-iot:tunnel-ssh", "the lab has no management console on a machine of its own"),
    ("microsoft-defender-for-iot:wmi-endpoint-mapper-udp", "printed so, but WMI runs over TCP alone"),
    ("microsoft-defender-for-iot:wmi-udp", "printed so, but WMI runs over TCP alone"),
    ("microsoft-defender-for-iot:proxy", "no lab scenario has a Defender sensor behind a proxy"),
    ("microsoft-defender-for-iot:proxy-udp", "printed so, but nothing speaks to a proxy over UDP 443"),
];

#[test]
fn every_rule_is_satisfied_by_some_case() {
    let lab = lab();
    if lab.is_empty() {
        return;
    }
    let mut triggered = Triggered::default();
    triggered.cases(&cases());
    triggered.cases(&lab);
    let rules = all_rules();
    for (rule, reason) in NEVER_SATISFIED {
        assert!(!reason.is_empty() && rules.iter().any(|known| known == rule), "no rule is called {rule}");
        assert!(!triggered.satisfied.contains(*rule), "{rule} is satisfied by now: strike it from the list");
    }
    let missing: Vec<&String> = rules
        .iter()
        .filter(|rule| !triggered.satisfied.contains(*rule))
        .filter(|rule| !NEVER_SATISFIED.iter().any(|(known, _)| known == rule))
        .collect();
    assert!(missing.is_empty(), "no case satisfies {missing:#?}");
}

/// The table of protocols in the documentation comes out of the registry.
#[test]
fn the_documentation_of_protocols_is_fresh() {
    check_documentation("docs/protocols.md", &protocol_page());
}

/// Fails where a generated page is not what it should be; writes it where `UPDATE_DOCS` is set.
fn check_documentation(path: &str, wanted: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, wanted).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    assert!(
        found == wanted,
        "{path} is stale from line {} on; renew it with: UPDATE_DOCS=1 cargo test --test program coverage",
        line.map_or(found.lines().count().min(wanted.lines().count()), |line| line) + 1,
    );
}

/// What is not told of a protocol although its specification has it, and why: for whoever misses it.
const BOUNDS: &[(&str, &str)] = &[
    (
        "ads",
        "a snap length that leaves fewer than 38 bytes of a segment hides the AMS header, and with it the proof",
    ),
    (
        "bacnet",
        "secure BVLL messages (function 0x0c), which no device is known to send, and BACnet/SC, which is TLS to a listener",
    ),
    (
        "dtls",
        "1.3 and connection ids (RFC 9146) from the middle of a conversation: their headers hold no version and no length that could be checked",
    ),
    (
        "http",
        "HTTP/2 beyond its version: method, host and status are compressed against a table that both ends build up (RFC 7541)",
    ),
    (
        "iec104",
        "field sizes of IEC 60870-5-101 are known only with a U frame or several messages beside them",
    ),
    ("kerberos", "tickets inside other protocols (LDAP, SMB, DCE/RPC) are those protocols' affair"),
    ("llmnr", "over TCP it is told as DNS: no byte differs"),
    (
        "modbus",
        "one message of function 8 with more than a word to send back is any bytes: another one or its answer is wanted",
    ),
    ("mqtt", "topics of an UNSUBSCRIBE"),
    ("quic", "ALPN that a server chose: its extensions are encrypted with keys that are not in the packets"),
    ("rdp", "answers of the UDP transport alone: the request for it proves"),
    ("sv", "of many streams between the same two addresses those in the first frames"),
    (
        "telnet",
        "one negotiation and nothing else: three bytes are little; with a second one, or a text behind it, it is proved",
    ),
    (
        "tls",
        "certificate and chosen ALPN of TLS 1.3, which are encrypted; more than eight names of one certificate",
    ),
];

fn protocol_page() -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut page = format!(
        "# Protocols\n\n\
         What spanaudit can prove a flow to be, from its payload alone: {} protocols. The ports are the usual ones, for people; no\n\
         classifier sees them. This page is made from the registry in `src/classify/mod.rs`; `UPDATE_DOCS=1 cargo test --test program coverage`\n\
         renews it.\n\n\
         | name | protocol | specification | usual ports |\n|---|---|---|---|\n",
        PROTOCOLS.len()
    );
    for about in PROTOCOLS.iter().map(|protocol| protocol.about()) {
        let row = [about.title, about.spec].map(cell);
        let ports = if about.usual.is_empty() { "none".to_owned() } else { about.usual.join(", ") };
        page.push_str(&format!("| `{}` | {} | {} | {ports} |\n", about.name, row[0], row[1]));
    }
    page.push_str(
        "\n## Facts\n\nWhat a payload may say beyond its protocol's name, as it stands in reports.\n\n| fact | meaning |\n|---|---|\n",
    );
    let mut told = BTreeSet::new();
    for (key, meaning) in PROTOCOLS.iter().flat_map(|protocol| protocol.about().facts) {
        // TLS and DTLS share theirs.
        if told.insert(key) {
            page.push_str(&format!("| `{key}` | {} |\n", cell(meaning)));
        }
    }
    page.push_str("\n## Bounds\n\nWhat is not told although the specification has it.\n\n| protocol | what |\n|---|---|\n");
    for (name, bound) in BOUNDS {
        assert!(protocols().contains(name), "no protocol is called {name}");
        page.push_str(&format!("| `{name}` | {} |\n", cell(bound)));
    }
    page
}
