//! What a ruleset says that is probably not meant: too broad, covered already, never used, a slip of the pen.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;

use super::Cadence;
use super::Certainty;
use super::Need;
use super::Reading;
use super::Rule;
use super::Ruleset;
use super::Service;
use super::diagnostic::Sink;
use super::ruleset_text::Marks;
use super::suggest::edit_distance;
use super::suggest::quoted;

/// Notes a warning for whatever looks wrong in a ruleset without being an error.
///
/// `usual` are the usual ports of each protocol (`tcp/502`); without them slips of the pen in ports go unseen.
pub(super) fn ruleset(sink: &mut Sink<'_>, ruleset: &Ruleset, marks: &Marks, usual: &[(&str, &[&str])]) {
    unused(sink, ruleset, marks);
    for (at, rule) in ruleset.rules.iter().enumerate() {
        let span = mark(marks, at);
        wording(sink, rule, &span);
        breadth(sink, rule, &span);
        clear_text(sink, rule, &span);
        usual_ports(sink, rule, &span, usual);
    }
    covered(sink, ruleset, marks);
    alternatives(sink, ruleset, marks);
}

fn mark(marks: &Marks, rule: usize) -> Range<usize> {
    marks.rules.get(rule).cloned().unwrap_or_default()
}

/// Roles and features that no rule names.
fn unused(sink: &mut Sink<'_>, ruleset: &Ruleset, marks: &Marks) {
    let readings = || ruleset.rules.iter().flat_map(|rule| &rule.readings);
    let roles: BTreeSet<&str> =
        readings().flat_map(|reading| reading.from.iter().chain(&reading.to)).map(String::as_str).collect();
    for (role, span) in marks.roles.iter().filter(|(role, _)| !roles.contains(role.as_str())) {
        sink.warn(span.clone(), format!("no rule names the role {}", quoted(role)));
    }
    let mut features: BTreeSet<&str> =
        ruleset.rules.iter().flat_map(|rule| &rule.when).map(String::as_str).collect();
    // The other side of an exclusion says something by itself: which mode is on.
    let opposites: Vec<&str> =
        features.iter().filter_map(|feature| ruleset.features.get(*feature)?.excludes.as_deref()).collect();
    features.extend(opposites);
    for (feature, span) in marks.features.iter().filter(|(feature, _)| !features.contains(feature.as_str())) {
        sink.warn(span.clone(), format!("no rule hangs on the feature {}", quoted(feature)));
    }
}

/// What a rule says of itself.
fn wording(sink: &mut Sink<'_>, rule: &Rule, span: &Range<usize>) {
    let id = quoted(&rule.id);
    if rule.certainty != Certainty::Firm && rule.note.is_empty() {
        sink.warn(span.clone(), format!("rule {id} is {} and does not say why", rule.certainty.name()))
            .help("add a note: what does the document leave open?".to_owned());
    }
    let firm_but_read_twice = rule.certainty == Certainty::Firm && rule.readings.len() > 1;
    if firm_but_read_twice {
        sink.warn(span.clone(), format!("rule {id} is firm and has more than one reading"))
            .help("is it ambiguous or suspect?".to_owned());
    }
    if rule.every.is_some() && matches!(rule.cadence, Cadence::Human | Cadence::Rare) {
        sink.warn(span.clone(), format!("rule {id} says how often (every) and is {}", rule.cadence.name()))
            .help("make it periodic or continuous, or leave 'every' out".to_owned());
    }
    if rule.need == Need::Required && rule.cadence == Cadence::Rare && rule.when.is_empty() {
        sink.warn(span.clone(), format!("rule {id} is required but rare: its silence never shows"))
            .help("make it optional, or let it hang on the feature that it belongs to".to_owned());
    }
}

/// More ports than this in one range let in what nobody thought of.
pub(super) const BROAD: u16 = 256;

/// Ranges too broad to mean anything, and `broad` where nothing is.
fn breadth(sink: &mut Sink<'_>, rule: &Rule, span: &Range<usize>) {
    let services = || rule.readings.iter().flat_map(|reading| &reading.services);
    let widest = services().max_by_key(|service| service.ports.end() - service.ports.start());
    let Some(widest) = widest else { return };
    let is_broad = widest.ports.end() - widest.ports.start() >= BROAD;
    let id = quoted(&rule.id);
    if is_broad && !rule.broad {
        sink.warn(span.clone(), format!("rule {id} covers all of {widest}"))
            .help("say broad = true: a match by it alone means little".to_owned());
    } else if rule.broad && !is_broad {
        sink.warn(span.clone(), format!("rule {id} says broad = true but covers {widest} only"));
    } else if rule.broad && rule.follows.is_none() && rule.protocol.is_empty() {
        sink.warn(span.clone(), format!("rule {id} lets anything through on {widest}"))
            .help("name the protocols, or the rule whose exchange has to come first (follows)".to_owned());
    }
}

/// Protocols that show passwords to whoever listens, unless TLS is asked for as well.
const CLEAR_TEXT: [&str; 5] = ["telnet", "ftp", "tftp", "ldap", "rlogin"];

fn clear_text(sink: &mut Sink<'_>, rule: &Rule, span: &Range<usize>) {
    let clear = rule.protocol.iter().find(|word| CLEAR_TEXT.contains(&word.as_str()));
    let Some(clear) = clear.filter(|_| !rule.insecure && rule.tls.is_none()) else { return };
    sink.warn(span.clone(), format!("rule {} accepts {clear}, which shows passwords", quoted(&rule.id)))
        .help("say insecure = true, so that clear text is warned about where it is seen".to_owned());
}

/// Ports one slip of the pen away from a usual port of a protocol that the rule names: UDP 61 for SNMP.
///
/// A rule with a note is left alone: somebody has looked at it.
fn usual_ports(sink: &mut Sink<'_>, rule: &Rule, span: &Range<usize>, usual: &[(&str, &[&str])]) {
    if !rule.note.is_empty() || rule.broad {
        return;
    }
    for (protocol, ports) in
        usual.iter().filter(|(protocol, _)| rule.protocol.iter().any(|word| word == protocol))
    {
        let known: BTreeSet<String> = ports.iter().map(|port| (*port).to_owned()).collect();
        let services = || rule.readings.iter().flat_map(|reading| &reading.services);
        if services().any(|service| known.iter().any(|port| holds(service, port))) {
            continue;
        }
        for service in services() {
            let near = known.iter().find(|port| edit_distance(port, &service.to_string(), 1).is_some());
            let other_carrier =
                known.iter().find(|port| port.split('/').nth(1) == Some(&service.ports_text()));
            if let Some(port) = near.or(other_carrier) {
                sink.warn(span.clone(), format!("rule {} has {protocol} on {service}", quoted(&rule.id)))
                    .help(format!(
                        "it usually runs on {port}; if the document means {service}, say so in a note"
                    ));
            }
        }
    }
}

/// Whether a service covers a port written as `tcp/502`.
fn holds(service: &Service, written: &str) -> bool {
    written.split_once('/').is_some_and(|(carrier, port)| {
        carrier == service.carrier.name() && port.parse().is_ok_and(|port: u16| service.ports.contains(&port))
    })
}

/// Rules that add nothing, because another covers them wholly.
///
/// Rules that match the very same are alternatives (three HTTP profiles on 80), as long as they cite different rows.
fn covered(sink: &mut Sink<'_>, ruleset: &Ruleset, marks: &Marks) {
    // Only rules that share a pair of roles can cover one another: this keeps large rulesets from being quadratic.
    let mut by_pair: BTreeMap<(&str, &str), Vec<(usize, &Rule)>> = BTreeMap::new();
    let few = |rule: &Rule| {
        rule.readings
            .iter()
            .all(|reading| reading.from.len() + reading.to.len() + reading.services.len() <= COMPARED_ENDS)
    };
    for (at, rule) in ruleset.rules.iter().enumerate().filter(|(_, rule)| few(rule)) {
        let main = rule.readings.first();
        let pair = main.and_then(|reading| reading.from.first().zip(reading.to.first()));
        for other in main.into_iter().flat_map(|reading| &reading.from) {
            let Some((_, to)) = pair else { continue };
            by_pair.entry((other, to)).or_default().push((at, rule));
        }
    }
    let mut told = BTreeSet::new();
    for rules in by_pair.values().filter(|rules| rules.len() <= COMPARED) {
        for (at, rule) in rules {
            let wider = rules.iter().find(|(other_at, other)| {
                other_at != at
                    && covers(other, rule)
                    && (!covers(rule, other) || (other.cite == rule.cite && other_at < at))
            });
            if let Some((_, wider)) = wider
                && told.insert(*at)
            {
                sink.warn(mark(marks, *at), format!("rule {} adds nothing", quoted(&rule.id)))
                    .help(format!("rule {} covers it", quoted(&wider.id)));
            }
        }
    }
}

/// Rules with more roles and services than this are not compared.
const COMPARED_ENDS: usize = 64;

/// At most this many rules between the same two roles are compared with one another.
const COMPARED: usize = 512;

/// Whether whatever `rule` matches, `wider` matches too.
fn covers(wider: &Rule, rule: &Rule) -> bool {
    // A rule that waits for another rule's exchange covers nothing by itself.
    wider.follows.is_none()
        && wider.when.iter().all(|feature| rule.when.contains(feature))
        && (wider.protocol.is_empty()
            || (!rule.protocol.is_empty() && rule.protocol.iter().all(|word| wider.protocol.contains(word))))
        && (wider.tls.is_none() || wider.tls <= rule.tls)
        && rule.readings.iter().all(|inner| wider.readings.iter().any(|outer| reading_covers(outer, inner)))
}

fn reading_covers(wider: &Reading, reading: &Reading) -> bool {
    let within = |service: &Service| {
        wider.services.iter().any(|outer| {
            outer.carrier == service.carrier
                && outer.ports.start() <= service.ports.start()
                && outer.ports.end() >= service.ports.end()
        })
    };
    reading.from.iter().all(|role| wider.from.contains(role))
        && reading.to.iter().all(|role| wider.to.contains(role))
        && reading.services.iter().all(within)
}

/// Groups of alternatives with one member, or whose members reach different parties.
fn alternatives(sink: &mut Sink<'_>, ruleset: &Ruleset, marks: &Marks) {
    let mut groups: BTreeMap<&str, Vec<(usize, &Rule)>> = BTreeMap::new();
    for (at, rule) in ruleset.rules.iter().enumerate() {
        if let Some(group) = &rule.alternative {
            groups.entry(group).or_default().push((at, rule));
        }
    }
    for (group, rules) in groups {
        let Some(((first_at, first), others)) = rules.split_first() else { continue };
        if others.is_empty() {
            sink.warn(mark(marks, *first_at), format!("rule {} has no alternative", quoted(&first.id)))
                .help(format!("no other rule says alternative = \"{group}\""));
        }
        let ends = |rule: &Rule| rule.readings.first().map(|main| (main.from.clone(), main.to.clone()));
        for (at, rule) in others.iter().filter(|(_, rule)| ends(rule) != ends(first)) {
            sink.warn(
                mark(marks, *at),
                format!("rule {} is no alternative to {}", quoted(&rule.id), quoted(&first.id)),
            )
            .help("alternatives join the same roles".to_owned());
        }
    }
}
