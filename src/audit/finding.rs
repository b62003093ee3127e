//! What a person must act on: one finding per cause, in words that say what to do and whom to ask.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use compact_str::CompactString;

use crate::model::Addressee;
use crate::model::Cause;
use crate::model::Failure;
use crate::model::Finding;
use crate::model::FindingKind;
use crate::model::Mechanism;
use crate::model::Proofs;
use crate::model::Severity;
use crate::model::Verdict;
use crate::model::capitalized;
use crate::rules::Need;

use super::Options;
use super::attempt;
use super::id;
use super::judge::Judged;
use super::requirement::Bound;
use super::strangers;

/// Packets cited by one finding at most.
pub const CITED: usize = 12;

/// All findings, most urgent first.
pub fn all(bound: &[Bound], judged: &[Judged<'_>], options: Options) -> Vec<Finding> {
    let mut findings = of_requirements(bound, options.strict);
    findings.extend(strangers::all(judged, options.workers));
    let id = |one: &Finding| CompactString::from(one.id.as_str());
    findings.sort_by_cached_key(|one| (one.severity, one.kind.rank(), first(one), id(one)));
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

/// The kind of finding, given its cause; how that is said; and what went wrong.
type Kind<'a> = (fn(Cause) -> FindingKind, &'static str, &'a Failure);

/// What a verdict makes.
fn kind_of(verdict: &Verdict) -> Option<Kind<'_>> {
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
        id: id::short(&id_parts).into(),
        kind,
        severity,
        title,
        detail,
        advice: advice(mechanism, addressee, &source_text, &told.target, &service).into(),
        addressee,
        requirements: concerned.iter().map(|(one, _)| one.told.id.clone()).collect(),
        conversations: Vec::new(),
        evidence: Proofs::gathered(concerned.iter().flat_map(|(_, failure)| failure.evidence.iter()), CITED)?,
        counts: required || forbidden || strict,
    })
}

/// A reason as a sentence of its own.
pub fn sentence(text: &str) -> String {
    let mut told = capitalized(text);
    told.truncate(told.trim_end_matches('.').len());
    told.push('.');
    told
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
            "Ask whoever runs routing for the way from {source} to {target}; some filters answer like this as well."
        ),
        M::HostDown => format!("See whether {target} is switched on and has this address."),
        M::TlsAlert => {
            format!("Ask whoever runs {target} about certificates and TLS settings; the alert says which.")
        }
        M::Closed => {
            format!("Ask whoever runs {target} why it closes connections of {source} at the first request.")
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
