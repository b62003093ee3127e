//! What a person must act on: one finding per cause, in words that say what to do and whom to ask.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::model::Addressee;
use crate::model::Cause;
use crate::model::ConversationVerdict;
use crate::model::Evidence;
use crate::model::Failure;
use crate::model::Finding;
use crate::model::FindingKind;
use crate::model::Mechanism;
use crate::model::Outcome;
use crate::model::Proofs;
use crate::model::Severity;
use crate::model::Sweep;
use crate::model::Verdict;
use crate::model::capitalized;
use crate::rules::Need;

use super::attempt;
use super::id;
use super::judge::Judged;
use super::requirement::Bound;

/// Unanswered or refused attempts of one client at this many services are one scan.
const SCAN: u64 = 16;
/// Unexpected conversations of one client with the same port and protocol that are told together.
const SPREAD: usize = 4;
/// Packets cited by one finding at most.
const CITED: usize = 12;
/// Of many conversations told together the first packets of so many; the others are alike.
const CITED_OF_MANY: usize = 6;

/// All findings, most urgent first.
pub fn all(bound: &[Bound], judged: &[Judged], strict: bool) -> Vec<Finding> {
    let mut findings = of_requirements(bound, strict);
    findings.extend(of_conversations(judged));
    findings.sort_by_cached_key(|one| (one.severity, one.kind.rank(), first(one), one.id.clone()));
    findings
}

fn first(finding: &Finding) -> crate::model::PacketRef {
    finding.evidence.iter().map(|piece| piece.at).min().unwrap_or_default()
}

/// A requirement that fails, and how.
type Concerned<'a> = (&'a Bound, &'a Failure);

/// Requirements that fail for the same cause: same mechanism, same target, same service.
fn of_requirements(bound: &[Bound], strict: bool) -> Vec<Finding> {
    let mut causes: BTreeMap<(u8, Mechanism, &str, &str, &str), Vec<Concerned<'_>>> = BTreeMap::new();
    for one in bound {
        let Some((kind, _, failure)) = kind_of(&one.told.verdict) else { continue };
        let told = &one.told;
        causes
            .entry((
                kind(cause(failure)).rank(),
                failure.mechanism,
                &told.target,
                &told.transport,
                &told.ports,
            ))
            .or_default()
            .push((one, failure));
    }
    causes.into_values().filter_map(|concerned| of_cause(&concerned, strict)).collect()
}

/// The kind of finding that a verdict makes, given its cause; how that is said; and what went wrong.
fn kind_of(verdict: &Verdict) -> Option<(fn(Cause) -> FindingKind, &'static str, &Failure)> {
    match verdict {
        Verdict::Blocked(failure) => Some((FindingKind::Blocked, "is blocked", failure)),
        Verdict::Failed(failure) => Some((FindingKind::Failed, "fails", failure)),
        Verdict::Violated(failure) => Some((FindingKind::Violated, "is not as documented", failure)),
        _ => None,
    }
}

/// What stands behind a finding about this failure.
pub fn cause(failure: &Failure) -> Cause {
    Cause { mechanism: failure.mechanism, grade: failure.grade }
}

fn of_cause(concerned: &[Concerned<'_>], strict: bool) -> Option<Finding> {
    let (main, failure) = *concerned.first()?;
    let told = &main.told;
    let mechanism = failure.mechanism;
    let required = concerned.iter().any(|(one, _)| one.told.need == Need::Required.name());
    // What a product does beyond its document is no matter of whether the row has to be there.
    let forbidden = mechanism == Mechanism::NotAsDocumented;
    let sources: BTreeSet<&str> = concerned.iter().map(|(one, _)| one.told.source.as_str()).collect();
    let roles: BTreeSet<&str> = concerned.iter().map(|(one, _)| one.told.from.as_str()).collect();
    let service = format!("{}/{}", told.transport, told.ports);
    let surest = concerned.iter().map(|(_, failure)| failure.grade).min()?;
    let (kind, state, _) = kind_of(&main.told.verdict)?;
    let kind = kind(Cause { mechanism, grade: surest });
    let severity = match kind {
        FindingKind::Violated(_) if required || forbidden => Severity::Medium,
        _ if required && !matches!(kind, FindingKind::Violated(_)) => Severity::High,
        _ => Severity::Low,
    };
    let source_text = sources.iter().copied().collect::<Vec<_>>().join(", ");
    let title = format!(
        "{} {source_text} to {} {} on {service} {state}: {}",
        roles.into_iter().collect::<Vec<_>>().join(", "),
        told.to,
        told.target,
        mechanism.name()
    );
    let mut detail = sentence(&told.reason);
    if concerned.len() > 1 {
        detail.push_str(&format!(" The same holds for {} requirements in all.", concerned.len()));
    }
    detail.push_str(&format!(" Documented in '{}': {}.", told.cite, told.purpose.trim_end_matches('.')));
    let mut id_parts = vec![kind.name(), &told.ruleset, &told.rule, &told.target, &service];
    id_parts.extend(sources.iter().copied());
    let addressee = attempt::addressee(failure);
    Some(Finding {
        id: id::short(&id_parts),
        kind,
        severity,
        title,
        detail,
        advice: advice(mechanism, addressee, &source_text, &told.target, &service),
        addressee,
        requirements: concerned.iter().map(|(one, _)| one.told.id.clone()).collect(),
        conversations: Vec::new(),
        evidence: Proofs::gathered(concerned.iter().flat_map(|(_, failure)| failure.evidence.iter()), CITED)?,
        counts: required || forbidden || strict,
    })
}

/// A reason as a sentence of its own.
pub fn sentence(text: &str) -> String {
    format!("{}.", capitalized(text).trim_end_matches('.'))
}

/// What to do, and whom to ask.
pub fn advice(
    mechanism: Mechanism,
    addressee: Addressee,
    source: &str,
    target: &str,
    service: &str,
) -> String {
    use Mechanism as M;
    match mechanism {
        M::Prohibited | M::Rejected if addressee == Addressee::Server => {
            format!("Ask whoever runs {target}: its own filter turns {source} away on {service}.")
        }
        M::Dropped | M::Prohibited | M::Rejected | M::ResetByMiddlebox => {
            format!("Ask whoever runs the firewall between {source} and {target} to let {service} pass.")
        }
        M::ReturnPath => format!(
            "Ask whoever runs the firewall why answers from {target} to {source} do not come through: a one-way rule, or another path back."
        ),
        M::TlsCut | M::Cut => format!(
            "Ask whoever runs the firewall for content, application or name filters on {service} between {source} and {target}; the plain port is open."
        ),
        M::Refused => format!(
            "Ask whoever runs {target} whether the service on {service} runs; if it does, a firewall rejects in its name."
        ),
        M::Unreachable => format!(
            "Ask whoever runs routing for the way from {source} to {target} and its MTU; some filters look like this as well."
        ),
        M::HostDown => format!("See whether {target} is switched on and has this address."),
        M::TlsAlert => {
            format!("Ask whoever runs {target} about certificates and TLS settings; the alert says which.")
        }
        M::Closed => {
            format!(
                "Ask whoever runs {target} why it ends connections of {source} before anything is done: an access list, a login, or a crash."
            )
        }
        M::NoReply => {
            format!("Ask whoever runs the firewall and {target}: requests on {service} get no answer.")
        }
        M::DnsNxdomain
        | M::DnsRefused
        | M::DnsServfail
        | M::DnsFiltered
        | M::DnsSinkhole
        | M::DnsNoAnswer => {
            format!("Ask whoever runs name service to resolve {target} for {source}.")
        }
        M::ProxyDenied => format!("Ask whoever runs the proxy to let {source} reach {target}."),
        M::WrongProtocol => format!(
            "See what is configured on {service} between {source} and {target}: another service took the port, or the traffic is not the product's."
        ),
        M::WeakTls => format!(
            "Bring the TLS settings of {target} (and of anything that ends TLS before it) up to the documented version."
        ),
        M::Cleartext => format!("Switch on TLS for {service} on {target}."),
        M::NotAsDocumented => format!(
            "See what on {source} does this to {target}: the product's settings go beyond its document, or the traffic is not the product's."
        ),
    }
}

/// Conversations that nobody documented or that the site forbids.
fn of_conversations(judged: &[Judged]) -> Vec<Finding> {
    let (mut scans, mut rest): (BTreeMap<_, Vec<&Judged>>, Vec<&Judged>) = (BTreeMap::new(), Vec::new());
    for one in judged.iter().filter(|one| kind(one).is_some()) {
        // A port that was opened and left without a word was looked at, not used.
        if one.answered && one.spoke {
            rest.push(one)
        } else {
            scans.entry(one.key.client).or_default().push(one)
        }
    }
    let mut findings = Vec::new();
    for (client, tried) in scans {
        let attempts: u64 = tried.iter().map(|one| one.attempts).sum();
        if attempts >= SCAN {
            let title = format!(
                "{} scans: {attempts} attempts at undocumented services, {}",
                if client == Sweep::MANY {
                    "somebody (too many addresses to tell apart)".to_owned()
                } else {
                    client.to_string()
                },
                match tried.iter().filter(|one| one.answered).count() {
                    0 if tried.iter().all(|one| is_refused(one)) => "all of them refused".to_owned(),
                    0 => "none of them answered".to_owned(),
                    open => format!("{open} of them open, and nothing said there"),
                }
            );
            findings.extend(told_together(&tried, title));
        } else {
            rest.extend(tried);
        }
    }
    let (switched_off, rest): (Vec<&Judged>, Vec<&Judged>) =
        rest.into_iter().partition(|one| one.feature.is_some());
    let mut rest = rest;
    rest.extend(of_features(switched_off, &mut findings));
    let (silent, rest): (Vec<&Judged>, Vec<&Judged>) = rest.into_iter().partition(|one| !one.spoke);
    let mut besieged: BTreeMap<_, Vec<&Judged>> = BTreeMap::new();
    for one in silent {
        besieged.entry((kind(one), one.key.server, one.key.transport, one.key.port)).or_default().push(one);
    }
    let mut rest = rest;
    for group in besieged.into_values() {
        if group.len() >= SPREAD {
            let title = group.first().map_or(String::new(), |one| {
                format!(
                    "{} addresses try {} of {} and say nothing there, and nobody documented it",
                    group.len(),
                    service(one),
                    one.told.server
                )
            });
            findings.extend(told_together(&group, title));
        } else {
            rest.extend(group);
        }
    }
    let mut spread: BTreeMap<_, Vec<&Judged>> = BTreeMap::new();
    for one in rest {
        let protocols = one.told.protocols.as_slice();
        let key = (kind(one), one.key.client, one.key.transport, one.key.port, protocols, one.answered);
        spread.entry(key).or_default().push(one);
    }
    for group in spread.into_values() {
        if group.len() >= SPREAD {
            let what = group.first().map_or(String::new(), |one| service(one));
            let title = group.first().map_or(String::new(), |one| {
                format!(
                    "{} talks {what} to {} machines, and nobody documented it",
                    one.told.client,
                    group.len()
                )
            });
            findings.extend(told_together(&group, title));
        } else {
            for one in group {
                let verb = match (one.answered, one.spoke) {
                    (true, true) => "talks",
                    (true, false) => "opens, and says nothing on,",
                    (false, _) => "tries",
                };
                let title = match kind(one) {
                    Some(FindingKind::Forbidden) => format!(
                        "{} {verb} {} to {}, which the site forbids",
                        one.told.client,
                        service(one),
                        one.told.server
                    ),
                    _ => format!(
                        "{} {verb} {} to {}, and nobody documented it",
                        one.told.client,
                        service(one),
                        one.told.server
                    ),
                };
                findings.extend(told_together(&[one], title));
            }
        }
    }
    findings
}

/// One finding for each feature that the site does not name and that several conversations use; hands back those that are alone.
fn of_features<'a>(judged: Vec<&'a Judged>, findings: &mut Vec<Finding>) -> Vec<&'a Judged> {
    let mut causes: BTreeMap<_, Vec<&Judged>> = BTreeMap::new();
    for one in judged {
        causes.entry((kind(one), one.feature.clone())).or_default().push(one);
    }
    let mut alone = Vec::new();
    for ((kind, feature), group) in causes {
        let (Some(kind), Some(feature), Some(main)) = (kind, feature, group.first()) else { continue };
        if group.len() == 1 {
            alone.extend(group);
            continue;
        }
        let clients: BTreeSet<&str> = group.iter().map(|one| one.told.client.as_str()).collect();
        let servers: BTreeSet<&str> = group.iter().map(|one| one.told.server.as_str()).collect();
        let services: BTreeSet<String> = group.iter().map(|one| service(one)).collect();
        let title = format!(
            "{} to {}, documented only with \"{feature}\", which this site does not name: {}",
            several(&clients, "machines"),
            several(&servers, "machines"),
            services.into_iter().take(SPREAD).collect::<Vec<_>>().join("; ")
        );
        if let Some(mut told) = told_together(&group, title) {
            told.id = id::short(&[kind.name(), "feature", main.told.rule.as_deref().unwrap_or(""), &feature]);
            findings.push(told);
        }
    }
    alone
}

/// The one, or how many.
fn several(names: &BTreeSet<&str>, what: &str) -> String {
    match names.first() {
        Some(only) if names.len() == 1 => (*only).to_owned(),
        _ => format!("{} {what}", names.len()),
    }
}

fn kind(one: &Judged) -> Option<FindingKind> {
    match one.told.verdict {
        ConversationVerdict::Unexpected => Some(FindingKind::Unexpected),
        ConversationVerdict::Forbidden => Some(FindingKind::Forbidden),
        _ => None,
    }
}

/// `s7comm on tcp/102`.
fn service(one: &Judged) -> String {
    let port = one.told.port.map_or(String::new(), |port| format!("/{port}"));
    let on = format!("{}{port}", one.told.transport);
    if one.told.protocols.is_empty() && !one.spoke {
        on
    } else if one.told.protocols.is_empty() {
        format!("something unrecognised on {on}")
    } else {
        format!("{} on {on}", one.told.protocols.join(", "))
    }
}

fn told_together(group: &[&Judged], title: String) -> Option<Finding> {
    let main = group.first()?;
    let kind = kind(main)?;
    let answered = group.iter().any(|one| one.answered);
    let severity = match (kind, answered) {
        (FindingKind::Forbidden, true) => Severity::High,
        (_, true) => Severity::Medium,
        (_, false) => Severity::Low,
    };
    let mut detail = sentence(&main.told.reason);
    if !main.told.hosts.is_empty() {
        detail.push_str(&format!(" The server is known as {}.", main.told.hosts.join(", ")));
    }
    let flows: u64 = group.iter().map(|one| one.told.flows).sum();
    let packets: u64 = group.iter().map(|one| one.told.packets).sum();
    detail.push_str(&format!(
        " Seen in {flows} flow{} with {packets} packets.",
        if flows == 1 { "" } else { "s" }
    ));
    let advice = match (&main.feature, kind) {
        (Some(feature), _) => format!("If this site uses it, add \"{feature}\" to the site's features; else find out who switched it on."),
        (None, FindingKind::Forbidden) => "Find out who started it and stop it, or change the site's rule.".to_owned(),
        (None, _) => "Find out what it is for: if it belongs here, add an [[allow]] entry with the reason to the site file; else stop it.".to_owned(),
    };
    let mut parts: Vec<&str> = vec![kind.name(), main.told.rule.as_deref().unwrap_or("")];
    parts.extend(group.iter().map(|one| one.told.id.as_str()));
    let id = if group.len() > SPREAD {
        // A sweep's servers differ from capture to capture; its client and service do not. The other way round where many try one.
        let of_one = group.iter().all(|one| one.told.client == main.told.client);
        let end = if of_one { &main.told.client } else { &main.told.server };
        id::short(&[kind.name(), "sweep", end, &main.told.transport.to_string()])
    } else {
        id::short(&parts)
    };
    Some(Finding {
        id,
        kind,
        severity,
        title,
        detail,
        advice,
        addressee: Addressee::Site,
        requirements: Vec::new(),
        conversations: group.iter().map(|one| one.told.id.clone()).collect(),
        evidence: Proofs::gathered(&cited(group), CITED)?,
        counts: true,
    })
}

/// The packets of several conversations; of each the first where there are many, which then says whose it is.
fn cited(group: &[&Judged]) -> Vec<Evidence> {
    if let [only] = group {
        return only.told.evidence.iter().cloned().collect();
    }
    let whose = |one: &Judged| {
        let told = &one.told;
        let port = told.port.map_or(String::new(), |port| format!("/{port}"));
        format!("{} to {} on {}{port}", told.client, told.server, told.transport)
    };
    let few = group.len() <= CITED_OF_MANY;
    let pieces = group.iter().take(CITED_OF_MANY).flat_map(|one| {
        let first = Evidence {
            at: one.told.evidence.first().at,
            note: format!("the first packet of {}", whose(one)),
        };
        let rest = one.told.evidence.iter().skip(1).filter(|_| few);
        let rest =
            rest.map(|piece| Evidence { at: piece.at, note: format!("{} ({})", piece.note, whose(one)) });
        std::iter::once(first).chain(rest)
    });
    pieces.collect()
}

/// Whether each try was answered, by a reset.
fn is_refused(one: &Judged) -> bool {
    one.told.outcomes.keys().all(|outcome| *outcome == Outcome::Refused)
}
