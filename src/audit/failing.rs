//! Attempts that fail, whoever makes them: all that can be said of a capture before anybody names the machines in it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::Finding;
use crate::model::FindingKind;
use crate::model::Host;
use crate::model::Severity;
use crate::model::Transport;
use crate::model::Verdict;

use super::attempt;
use super::attempt::Expectation;
use super::cast::Party;
use super::finding;
use super::id;
use super::matching::MatchedConversation;
use super::party;
use super::requirement::Bound;
use super::requirement::Ground;

/// Failing conversations of one client from which on they are a sweep, and no list to read.
const SWEEP: usize = 16;

/// A finding for each conversation whose attempts fail and that no requirement tells already. None of them counts.
pub fn all(ground: Ground<'_>, matched: &[MatchedConversation<'_>], bound: &[Bound]) -> Vec<Finding> {
    let told: BTreeSet<ConversationKey> =
        bound.iter().flat_map(|one| one.conversations.iter().copied()).collect();
    let mut findings: Vec<(Host, Finding)> = Vec::new();
    for (Conversation { key, .. }, flows) in matched {
        let judged_here = matches!(key.transport, Transport::Tcp | Transport::Udp) && !key.server.is_group();
        if told.contains(key) || !judged_here {
            continue;
        }
        let anything = Expectation { protocols: &[], tls: None, require: &[] };
        let attempts: Vec<_> =
            flows.iter().map(|one| attempt::judge(&one.flow, &anything, ground.view)).collect();
        let (source, target) = (key.client.to_string(), key.server.to_string());
        let (from, to) = (Party::called(&source), Party::called(&target));
        let end = Some((key.cell, key.client, key.server, key.port));
        let settled = party::settle(ground.view, &from, &to, &attempts, end);
        let (kind, state, failure) = match &settled.verdict {
            Verdict::Blocked(failure) => {
                (FindingKind::Blocked(finding::cause(failure)), "is blocked", failure)
            }
            Verdict::Failed(failure) => (FindingKind::Failed(finding::cause(failure)), "fails", failure),
            _ => continue,
        };
        let port = key.port.map_or_else(String::new, |port| format!("/{port}"));
        let service = format!("{}{port}", key.transport);
        let addressee = attempt::addressee(failure);
        let finding = Finding {
            id: id::short(&[kind.name(), "attempt", &source, &target, &service]).into(),
            kind,
            severity: Severity::Low,
            title: format!("{source} to {target} on {service} {state}: {}", failure.mechanism.name()),
            detail: format!(
                "{} Whether any document asks for it is not known until the roles are.",
                finding::sentence(&settled.reason)
            ),
            advice: finding::advice(failure.mechanism, addressee, &source, &target, &service).into(),
            addressee,
            requirements: Vec::new(),
            conversations: Vec::new(),
            evidence: failure.evidence.clone(),
            counts: false,
        };
        findings.push((key.client, finding));
    }
    let mut each: BTreeMap<Host, usize> = BTreeMap::new();
    for (client, _) in &findings {
        *each.entry(*client).or_default() += 1;
    }
    findings.retain(|(client, _)| each.get(client).is_none_or(|findings| *findings < SWEEP));
    findings.into_iter().map(|(_, finding)| finding).collect()
}
