//! Attempts that fail, whoever makes them: all that can be said of a capture before anybody names the machines in it.

use std::collections::BTreeSet;

use crate::model::ConversationKey;
use crate::model::Finding;
use crate::model::FindingKind;
use crate::model::Host;
use crate::model::Severity;
use crate::model::Transport;
use crate::model::Verdict;

use super::attempt;
use super::attempt::Expectation;
use super::finding;
use super::id;
use super::requirement::Bound;
use super::requirement::Ground;
use super::timeline;
use super::timeline::Who;

/// Failing conversations of one client from which on they are a sweep, and no list to read.
const SWEEP: usize = 16;

/// A finding for each conversation whose attempts fail and that no requirement tells already. None of them counts.
pub fn all(ground: Ground<'_>, bound: &[Bound]) -> Vec<Finding> {
    let told: BTreeSet<ConversationKey> =
        bound.iter().flat_map(|one| one.conversations.iter().copied()).collect();
    let mut findings: Vec<(Host, Finding)> = Vec::new();
    for (key, flows) in ground.matched {
        let judged_here = matches!(key.transport, Transport::Tcp | Transport::Udp) && !key.server.is_group();
        if told.contains(key) || !judged_here {
            continue;
        }
        let anything = Expectation { protocols: &[], tls: None, require: &[] };
        let attempts: Vec<_> =
            flows.iter().map(|one| attempt::judge(&one.flow, &anything, ground.view)).collect();
        let (source, target) = (key.client.to_string(), key.server.to_string());
        let who = Who {
            source: &source,
            target: &target,
            target_heard: ground.view.heard_between(key.cell, key.server),
            others_answered: ground.view.others_answered(key.cell, key.server, key.port, key.client),
            down: ground.view.down(key.cell, key.server),
        };
        let settled = timeline::settle(&attempts, who, ground.view);
        let kind = match settled.verdict {
            Verdict::Blocked(_) => FindingKind::Blocked,
            Verdict::Failed(_) => FindingKind::Failed,
            _ => continue,
        };
        let Some(failure) = settled.verdict.failure() else { continue };
        let port = key.port.map_or_else(String::new, |port| format!("/{port}"));
        let service = format!("{}{port}", key.transport);
        let state = if kind == FindingKind::Blocked { "is blocked" } else { "fails" };
        let addressee = attempt::addressee(failure);
        let finding = Finding {
            id: id::short(&[kind.name(), "attempt", &source, &target, &service]),
            kind,
            severity: Severity::Low,
            title: format!("{source} to {target} on {service} {state}: {}", failure.mechanism.name()),
            detail: format!(
                "{} Whether any document asks for it is not known until the roles are.",
                finding::sentence(&settled.reason)
            ),
            advice: finding::advice(failure.mechanism, addressee, &source, &target, &service),
            addressee,
            grade: Some(failure.grade),
            requirements: Vec::new(),
            conversations: Vec::new(),
            evidence: settled.verdict.evidence().cloned().collect(),
            counts: false,
        };
        findings.push((key.client, finding));
    }
    let sweeping = |client: Host| findings.iter().filter(|(other, _)| *other == client).count() >= SWEEP;
    let sweepers: BTreeSet<Host> =
        findings.iter().map(|(client, _)| *client).filter(|client| sweeping(*client)).collect();
    findings
        .into_iter()
        .filter(|(client, _)| !sweepers.contains(client))
        .map(|(_, finding)| finding)
        .collect()
}
