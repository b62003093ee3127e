//! TOML to a ruleset: every key read, every reference checked.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::Cadence;
use super::Certainty;
use super::Feature;
use super::Need;
use super::Reading;
use super::ReadingKind;
use super::Role;
use super::RoleKind;
use super::Rule;
use super::Ruleset;
use super::Service;
use super::TlsVersion;
use super::diagnostic::Sink;
use super::reader::Table;
use super::reader::Value;
use super::reader::Word;
use super::reader::choice;
use super::reader::elements;
use super::reader::is_empty_list;
use super::reader::kind;
use super::reader::name;
use super::reader::parse;
use super::reader::sentence;
use super::reader::some_sentence;
use super::reader::some_words;
use super::reader::truth;
use super::reader::word;
use super::reader::words;
use super::reference::conditions;
use super::reference::protocol_words;
use super::reference::service_list;
use super::reference::slipped;
use super::reference::unknown;
use super::suggest::quoted;
use super::value;
use super::value::Version;

/// Where the parts of a ruleset stand in its text, for lints.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// The ruleset's own table.
    pub(super) ruleset: Range<usize>,
    /// The id of each rule, in the rules' order.
    pub(super) rules: Vec<Range<usize>>,
    /// The key of each role.
    pub(super) roles: BTreeMap<String, Range<usize>>,
    /// The key of each feature.
    pub(super) features: BTreeMap<String, Range<usize>>,
    /// The product versions from which and before which each rule holds, in the rules' order.
    pub(super) versions: Vec<(Option<Version>, Option<Version>)>,
    /// What is to be told of products older than a version.
    pub(super) notices: Vec<(Version, String)>,
}

/// Reads a ruleset. With errors in the sink it is what could be read, good enough to check a site against.
pub(super) fn ruleset(sink: &mut Sink<'_>, protocols: &[&str]) -> Option<(Ruleset, Marks)> {
    let document = parse(sink)?;
    let mut root = Table::root(&document);
    let mut marks = Marks::default();
    let mut set = Ruleset {
        id: String::new(),
        title: String::new(),
        document: String::new(),
        revision: String::new(),
        notes: Vec::new(),
        features: BTreeMap::new(),
        roles: BTreeMap::new(),
        rules: Vec::new(),
    };
    if let Some(value) = root.get("ruleset") {
        head(sink, value, &mut set);
        marks.ruleset = value.span();
    } else {
        sink.error_of_file("there is no [ruleset] table")
            .expected("expected its id, title, document and revision");
    }
    if let Some(table) = root.get("features").and_then(|value| Table::of(sink, value, "[features]")) {
        features(sink, &table, &mut set, &mut marks);
    }
    match root.get("roles").map(|value| Table::of(sink, value, "[roles]")) {
        Some(Some(table)) => roles(sink, &table, &mut set, &mut marks),
        Some(None) => {}
        None => {
            _ = sink.error_of_file("there are no roles").expected("expected tables like [roles.site-manager]")
        }
    }
    if let Some(value) = root.get("notice") {
        notices(sink, value, &mut set, &mut marks);
    }
    match root.get("rule") {
        Some(value) => rules(sink, value, protocols, &mut set, &mut marks),
        None => _ = sink.error_of_file("there are no rules").expected("expected [[rule]] tables"),
    }
    root.finish(sink);
    Some((set, marks))
}

fn head(sink: &mut Sink<'_>, value: &Value<'_>, set: &mut Ruleset) {
    let Some(mut table) = Table::of(sink, value, "[ruleset]") else { return };
    if let Some(id) = table.need("id", "\"opswat-md-ot-security\"").and_then(|value| word(sink, value)) {
        set.id = name(sink, id, "a ruleset").unwrap_or_default().to_owned();
    }
    if let Some(value) = table.get("notes") {
        set.notes =
            elements(sink, value).into_iter().map(|value| some_sentence(sink, value, "a note")).collect();
    }
    for (key, field, example) in [
        ("title", &mut set.title, "\"Vendor Product: firewall allow-list\""),
        ("document", &mut set.document, "\"the title of the vendor's page\""),
        ("revision", &mut set.revision, "\"version and date as read\""),
    ] {
        if let Some(value) = table.need(key, example) {
            *field = some_sentence(sink, value, &quoted(key));
        }
    }
    table.finish(sink);
}

/// `[[notice]]`: what is worth a word where the product is older than a version.
fn notices(sink: &mut Sink<'_>, value: &Value<'_>, set: &mut Ruleset, marks: &mut Marks) {
    for value in elements(sink, value) {
        let Some(mut table) = Table::of(sink, value, "[[notice]]") else { continue };
        let before = table.need("before", "\"3.5.0\"").and_then(|value| version(sink, value));
        let text = table.need("text", "\"what to know\"").map(|value| some_sentence(sink, value, "the text"));
        table.finish(sink);
        if let (Some((before, _)), Some(text)) = (before, text) {
            let mut letters = text.chars();
            let capital = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
            set.notes.push(format!("{capital}{}.", letters.as_str()));
            marks.notices.push((before, text));
        }
    }
}

/// A version and how it is written.
fn version<'t>(sink: &mut Sink<'_>, value: &'t Value<'t>) -> Option<(Version, &'t str)> {
    let word = word(sink, value)?;
    match value::version(word.text) {
        Ok(version) => Some((version, word.text)),
        Err(slip) => {
            slipped(sink, word, slip);
            None
        }
    }
}

/// A length of time.
fn every(sink: &mut Sink<'_>, value: &Value<'_>) -> Option<Duration> {
    let word = word(sink, value)?;
    match value::span(word.text) {
        Ok(span) => Some(span),
        Err(slip) => {
            slipped(sink, word, slip);
            None
        }
    }
}

fn features(sink: &mut Sink<'_>, table: &Table<'_>, set: &mut Ruleset, marks: &mut Marks) {
    let mut excluded: Vec<(String, Word<'_>)> = Vec::new();
    for (key, value) in table.named() {
        let Some(id) = name(sink, key, "a feature") else { continue };
        let mut feature = Feature { about: String::new(), excludes: None, assumed: false };
        if let toml::de::DeValue::String(_) = value.get_ref() {
            feature.about = some_sentence(sink, value, "what the feature means");
        } else if let Some(mut table) = Table::of(sink, value, format!("feature {}", quoted(id))) {
            if let Some(value) = table.need("about", "\"what it means\"") {
                feature.about = some_sentence(sink, value, "what the feature means");
            }
            if let Some(other) = table.get("excludes").and_then(|value| word(sink, value)) {
                feature.excludes = Some(other.text.to_owned());
                excluded.push((id.to_owned(), other));
            }
            feature.assumed = table.get("assumed").is_some_and(|value| truth(sink, value));
            table.finish(sink);
        }
        marks.features.insert(id.to_owned(), key.span());
        set.features.insert(id.to_owned(), feature);
    }
    for (id, other) in excluded {
        if id == other.text {
            sink.error(other.span(), "a feature cannot exclude itself");
            continue;
        }
        let assumed = set.features.get(&id).is_some_and(|feature| feature.assumed);
        let Some(target) = set.features.get_mut(other.text) else {
            unknown(sink, other, "feature", set.features.keys());
            continue;
        };
        // Exclusion is mutual, so one side may leave it unsaid.
        let back = target.excludes.get_or_insert_with(|| id.clone()).clone();
        if back != id {
            sink.error(other.span(), format!("{} excludes another: '{back}'", quoted(other.text)))
                .expected("features exclude each other in pairs");
        } else if assumed && target.assumed {
            sink.error(other.span(), format!("'{id}' and {} are both assumed", quoted(other.text)));
        }
    }
}

fn roles(sink: &mut Sink<'_>, table: &Table<'_>, set: &mut Ruleset, marks: &mut Marks) {
    for (key, value) in table.named() {
        let Some(id) = name(sink, key, "a role") else { continue };
        let mut role = Role { title: id.to_owned(), kind: RoleKind::Peer, hosts: Vec::new() };
        marks.roles.insert(id.to_owned(), key.span());
        if let Some(mut table) = Table::of(sink, value, format!("role {}", quoted(id))) {
            if let Some(value) = table.get("title") {
                role.title = some_sentence(sink, value, "the title");
            }
            if let Some(value) = table.need("kind", "\"component\"") {
                let kinds = [("component", RoleKind::Component), ("peer", RoleKind::Peer)];
                role.kind = choice(sink, value, &kinds).unwrap_or(role.kind);
            }
            if let Some(value) = table.get("hosts") {
                for host in some_words(sink, value, "'hosts'") {
                    match value::host_pattern(host.text) {
                        Ok(pattern) if role.hosts.contains(&pattern) => {
                            sink.error(host.span(), format!("{pattern} is listed twice"));
                        }
                        Ok(pattern) => role.hosts.push(pattern),
                        Err(slip) => slipped(sink, host, slip),
                    }
                }
            }
            table.finish(sink);
        }
        set.roles.insert(id.to_owned(), role);
    }
}

fn rules(sink: &mut Sink<'_>, value: &Value<'_>, protocols: &[&str], set: &mut Ruleset, marks: &mut Marks) {
    if !matches!(value.get_ref(), toml::de::DeValue::Array(_)) {
        sink.error(value.span(), format!("'rule' is {}", kind(value.get_ref())))
            .expected("expected [[rule]] tables");
        return;
    }
    if is_empty_list(value) {
        sink.error(value.span(), "there are no rules");
    }
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut follows: Vec<(usize, Word<'_>)> = Vec::new();
    for value in elements(sink, value) {
        let Some(mut table) = Table::of(sink, value, "[[rule]]") else { continue };
        let id = table.need("id", "\"queue-sensor-to-site\"").and_then(|value| word(sink, value));
        let span = id.map_or(table.span.clone(), |id| id.span());
        let id = id.and_then(|id| name(sink, id, "a rule")).unwrap_or_default();
        if !id.is_empty() {
            table.what = format!("rule {}", quoted(id));
            if let Some(line) = lines.insert(id.to_owned(), sink.source.line(span.start)) {
                sink.error(span.clone(), format!("rule {} is there twice", quoted(id)))
                    .expected(format!("first in line {line}"));
            }
        }
        let (mut rule, first) = rule(sink, &mut table, id, protocols, set);
        let mut bound = |sink: &mut Sink<'_>, key: &'static str, says: &str| {
            let (version, written) = table.get(key).and_then(|value| version(sink, value))?;
            rule.note = format!("Holds {says} version {written}. {}", rule.note).trim_end().to_owned();
            Some(version)
        };
        marks.versions.push((bound(sink, "since", "from"), bound(sink, "before", "before")));
        table.finish(sink);
        if let Some(first) = first {
            follows.push((set.rules.len(), first));
        }
        marks.rules.push(span);
        set.rules.push(rule);
    }
    check_follows(sink, &follows, set);
}

/// Reads a rule, and returns the word that names the rule it follows, to be checked once all rules are known.
fn rule<'t>(
    sink: &mut Sink<'_>,
    table: &mut Table<'t>,
    id: &str,
    protocols: &[&str],
    set: &Ruleset,
) -> (Rule, Option<Word<'t>>) {
    let text = |sink: &mut Sink<'_>, table: &mut Table<'_>, key: &'static str| {
        table.get(key).map(|value| sentence(sink, value)).unwrap_or_default()
    };
    let main = Reading {
        kind: reading_kind(sink, table).unwrap_or(ReadingKind::Printed),
        from: parties(sink, table, "from", set).unwrap_or_default(),
        to: parties(sink, table, "to", set).unwrap_or_default(),
        services: services(sink, table).unwrap_or_default(),
        note: text(sink, table, "reading_note"),
    };
    for (key, missing, example) in [
        ("from", main.from.is_empty(), "\"network-sensor\""),
        ("to", main.to.is_empty(), "\"site-manager\""),
        ("service", main.services.is_empty(), "\"tcp/5672\""),
    ] {
        if missing {
            table.need(key, example);
        }
    }
    let mut readings = vec![main];
    if let Some(value) = table.get("also") {
        also(sink, value, table, set, &mut readings);
    }
    let protocol =
        table.get("protocol").map(|value| protocol_words(sink, value, protocols)).unwrap_or_default();
    let when = table.get("when").map(|value| when(sink, value, set)).unwrap_or_default();
    let tls = table.get("tls").and_then(|value| choice(sink, value, &TLS_VERSIONS));
    let require = table.get("require").map(|value| conditions(sink, value, &table.what, protocols));
    let need = table.need("need", "\"required\"").and_then(|value| choice(sink, value, &NEEDS));
    let cadence = table.need("cadence", "\"continuous\"").and_then(|value| choice(sink, value, &CADENCES));
    let every = table.get("every").and_then(|value| every(sink, value));
    let certainty = table.get("certainty").and_then(|value| choice(sink, value, &CERTAINTIES));
    let mut required_text = |key: &'static str, example: &str| {
        table.need(key, example).map(|value| some_sentence(sink, value, &quoted(key))).unwrap_or_default()
    };
    let cite = required_text("cite", "\"Site Manager, inbound, 5672\"");
    let purpose = required_text("purpose", "\"what the flow is for\"");
    let flag = |sink: &mut Sink<'_>, table: &mut Table<'_>, key: &'static str| {
        table.get(key).is_some_and(|value| truth(sink, value))
    };
    let alternative = table
        .get("alternative")
        .and_then(|value| word(sink, value))
        .and_then(|group| name(sink, group, "a group of alternatives"));
    let follows = table.get("follows").and_then(|value| word(sink, value));
    let rule = Rule {
        id: id.to_owned(),
        cite,
        purpose,
        note: text(sink, table, "note"),
        readings,
        protocol,
        tls,
        require: require.unwrap_or_default(),
        insecure: flag(sink, table, "insecure"),
        need: need.unwrap_or(Need::Optional),
        cadence: cadence.unwrap_or(Cadence::Rare),
        every,
        when,
        alternative: alternative.map(str::to_owned),
        any_caller: flag(sink, table, "any_caller"),
        follows: follows.map(|follows| follows.text.to_owned()),
        broad: flag(sink, table, "broad"),
        certainty: certainty.unwrap_or(Certainty::Firm),
    };
    if rule.tls.is_some() && !rule.protocol.is_empty() && !rule.protocol.iter().any(|word| word == "tls") {
        sink.error(table.span.clone(), format!("{} asks for a TLS version but accepts no TLS", table.what))
            .expected("expected \"tls\" among its protocols");
    }
    (rule, follows)
}

fn reading_kind(sink: &mut Sink<'_>, table: &mut Table<'_>) -> Option<ReadingKind> {
    let kinds = [("printed", ReadingKind::Printed), ("understood", ReadingKind::Understood)];
    table.get("reading").and_then(|value| choice(sink, value, &kinds))
}

/// `from` or `to`: roles of the ruleset. `None` where the key is absent.
fn parties(
    sink: &mut Sink<'_>,
    table: &mut Table<'_>,
    key: &'static str,
    set: &Ruleset,
) -> Option<Vec<String>> {
    let value = table.get(key)?;
    let mut roles: Vec<String> = Vec::new();
    for role in some_words(sink, value, &format!("'{key}'")) {
        if !set.roles.contains_key(role.text) {
            unknown(sink, role, "role", set.roles.keys());
        } else if roles.iter().any(|known| known == role.text) {
            sink.error(role.span(), format!("role {} is listed twice", quoted(role.text)));
        }
        roles.push(role.text.to_owned());
    }
    // A mistake that was told is not told again as a missing key.
    if roles.is_empty() {
        roles.push(String::new());
    }
    Some(roles)
}

fn services(sink: &mut Sink<'_>, table: &mut Table<'_>) -> Option<Vec<Service>> {
    let value = table.get("service")?;
    let services = service_list(sink, value);
    Some(if services.is_empty() {
        vec![Service { carrier: super::Carrier::Tcp, ports: 1..=1 }]
    } else {
        services
    })
}

/// `[[rule.also]]`: what it leaves out it takes from the rule's main reading.
fn also(
    sink: &mut Sink<'_>,
    value: &Value<'_>,
    rule: &Table<'_>,
    set: &Ruleset,
    readings: &mut Vec<Reading>,
) {
    for value in elements(sink, value) {
        let Some(mut table) = Table::of(sink, value, format!("a further reading of {}", rule.what)) else {
            continue;
        };
        let Some(main) = readings.first() else { return };
        let reading = Reading {
            kind: reading_kind(sink, &mut table).unwrap_or(ReadingKind::Understood),
            from: parties(sink, &mut table, "from", set).unwrap_or_else(|| main.from.clone()),
            to: parties(sink, &mut table, "to", set).unwrap_or_else(|| main.to.clone()),
            services: services(sink, &mut table).unwrap_or_else(|| main.services.clone()),
            note: table.get("note").map(|value| sentence(sink, value)).unwrap_or_default(),
        };
        let same = |other: &Reading| {
            other.from == reading.from && other.to == reading.to && other.services == reading.services
        };
        if readings.iter().any(same) {
            sink.error(table.span.clone(), format!("{} says what is said already", table.what))
                .expected("expected another from, to or service");
        }
        table.finish(sink);
        readings.push(reading);
    }
}

fn when(sink: &mut Sink<'_>, value: &Value<'_>, set: &Ruleset) -> Vec<String> {
    let mut when: Vec<String> = Vec::new();
    for feature in words(sink, value) {
        match set.features.get(feature.text) {
            None => unknown(sink, feature, "feature", set.features.keys()),
            Some(known) => {
                if known.excludes.as_ref().is_some_and(|other| when.contains(other)) {
                    sink.error(feature.span(), "these features exclude each other, so the rule never holds");
                }
            }
        }
        when.push(feature.text.to_owned());
    }
    when
}

/// Every `follows` names another rule, and nobody follows in a circle.
fn check_follows(sink: &mut Sink<'_>, follows: &[(usize, Word<'_>)], set: &Ruleset) {
    let by_id: BTreeMap<&str, &Rule> = set.rules.iter().map(|rule| (rule.id.as_str(), rule)).collect();
    for (at, first) in follows {
        let Some(rule) = set.rules.get(*at) else { continue };
        if !by_id.contains_key(first.text) {
            unknown(sink, *first, "rule", by_id.keys());
            continue;
        }
        // Each step leads to one rule, so more steps than rules is a circle.
        let mut next = rule.follows.as_deref();
        let mut steps = 0;
        while let Some(id) = next {
            steps += 1;
            if id == rule.id || steps > FOLLOW_STEPS {
                sink.error(first.span(), format!("rule {} follows itself", quoted(&rule.id)))
                    .expected("expected the rule whose exchange comes first");
                break;
            }
            next = by_id.get(id).and_then(|rule| rule.follows.as_deref());
        }
    }
}

/// Chains of `follows` longer than this are refused; RPC needs one step.
const FOLLOW_STEPS: usize = 8;

const TLS_VERSIONS: [(&str, TlsVersion); 6] = [
    ("1.3", TlsVersion::V1_3),
    ("1.2", TlsVersion::V1_2),
    ("1.1", TlsVersion::V1_1),
    ("1.0", TlsVersion::V1_0),
    ("ssl3", TlsVersion::Ssl3),
    ("ssl2", TlsVersion::Ssl2),
];
const NEEDS: [(&str, Need); 2] = [("required", Need::Required), ("optional", Need::Optional)];
const CADENCES: [(&str, Cadence); 4] = [
    ("continuous", Cadence::Continuous),
    ("periodic", Cadence::Periodic),
    ("human", Cadence::Human),
    ("rare", Cadence::Rare),
];
const CERTAINTIES: [(&str, Certainty); 3] =
    [("firm", Certainty::Firm), ("ambiguous", Certainty::Ambiguous), ("suspect", Certainty::Suspect)];
