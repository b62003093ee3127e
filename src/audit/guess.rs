//! No site file: which machine seems to play which role, each guess with the packet behind it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::Conversation;
use crate::model::ConversationVerdict;
use crate::model::Evidence;
use crate::model::Host;
use crate::model::Observed;
use crate::model::Outcome;
use crate::model::Transport;
use crate::rules::Binding;
use crate::rules::Carrier;
use crate::rules::Rule;
use crate::rules::Ruleset;
use crate::rules::Site;

use super::judge::Judged;

/// A role, who seems to play it, and why.
#[derive(Clone, Debug)]
pub struct Guess {
    /// The ruleset's place in the site.
    ruleset: usize,
    /// The role.
    pub role: String,
    /// The machine.
    machine: IpAddr,
    /// The packet behind the guess.
    pub evidence: Evidence,
    /// How telling it is: the more distinct rules of the document the machine's traffic fits, the better.
    weight: usize,
}

/// Weight from which on a guess is worth making.
const WORTH: usize = 2;
/// Ports that too many products use for a guess by port and protocol alone.
const COMMON_PORTS: [u16; 8] = [22, 25, 53, 80, 123, 161, 389, 443];

/// Guesses roles from payload, ports and names.
pub fn roles(observed: &Observed, site: &Site) -> Vec<Guess> {
    let mut best: BTreeMap<(usize, IpAddr), Guess> = BTreeMap::new();
    for (at, ruleset) in site.rulesets.iter().enumerate() {
        let mut votes: BTreeMap<(IpAddr, &str), (usize, Evidence)> = BTreeMap::new();
        for rule in &ruleset.rules {
            vote(ruleset, rule, observed, &mut votes);
        }
        for ((machine, role), (weight, evidence)) in votes {
            if weight < WORTH {
                continue;
            }
            let guess = Guess { ruleset: at, role: role.to_owned(), machine, evidence, weight };
            let known = best.entry((at, machine)).or_insert_with(|| guess.clone());
            if guess.weight > known.weight {
                *known = guess;
            }
        }
    }
    let mut guesses: Vec<Guess> = best.into_values().collect();
    guesses.sort_by(|a, b| (a.ruleset, &a.role, a.machine).cmp(&(b.ruleset, &b.role, b.machine)));
    guesses
}

/// One rule's votes: a machine that serves or uses a telling service of a role may play it.
fn vote<'a>(
    ruleset: &'a Ruleset,
    rule: &'a Rule,
    observed: &Observed,
    votes: &mut BTreeMap<(IpAddr, &'a str), (usize, Evidence)>,
) {
    let Some(reading) = rule.readings.first() else { return };
    let to_hosts: Vec<_> =
        reading.to.iter().filter_map(|role| ruleset.roles.get(role)).flat_map(|role| &role.hosts).collect();
    for conversation in observed.conversations.values() {
        let key = conversation.key;
        let served = reading.services.iter().any(|service| {
            let transport = match service.carrier {
                Carrier::Tcp => Transport::Tcp,
                Carrier::Udp => Transport::Udp,
            };
            transport == key.transport && key.port.is_some_and(|port| service.ports.contains(&port))
        });
        if !served || rule.broad || !speaks(rule, conversation) {
            continue;
        }
        let (Some(client), Some(server)) = (key.client.ip(), key.server.ip()) else { continue };
        if Host::Ip(server).is_group() {
            continue;
        }
        let named = conversation.hosts.iter().any(|name| to_hosts.iter().any(|pattern| pattern.covers(name)));
        if !to_hosts.is_empty() && !named {
            continue;
        }
        let telling = named || key.port.is_none_or(|port| !COMMON_PORTS.contains(&port));
        let weight = if telling { 2 } else { 1 };
        let note = format!(
            "{} on {} fits '{}'",
            conversation.protocols.iter().copied().collect::<Vec<_>>().join(", "),
            rule.readings.first().and_then(|r| r.services.first()).map_or(String::new(), ToString::to_string),
            rule.cite
        );
        for (machine, roles) in [(client, &reading.from), (server, &reading.to)] {
            // Where a row names several roles it tells nothing of any of them.
            let [role] = roles.as_slice() else { continue };
            if named && machine == server {
                continue;
            }
            let (known, _) = votes
                .entry((machine, role))
                .or_insert_with(|| (0, Evidence { at: conversation.first, note: note.clone() }));
            *known += weight;
        }
    }
}

/// Whether the conversation proved to be what the rule names, or was an attempt that proved nothing.
fn speaks(rule: &Rule, conversation: &Conversation) -> bool {
    if conversation
        .layers
        .iter()
        .chain(&conversation.protocols)
        .any(|layer| rule.protocol.iter().any(|p| p == layer))
    {
        return true;
    }
    let attempt = conversation.outcomes.keys().all(|outcome| {
        matches!(outcome, Outcome::Unanswered | Outcome::Refused | Outcome::Rejected | Outcome::Cut)
    });
    attempt || rule.protocol.is_empty()
}

/// The site with the guessed roles bound.
pub fn bind(site: &Site, guesses: &[Guess]) -> Site {
    let mut bound = site.clone();
    for guess in guesses {
        bound
            .roles
            .entry(guess.role.clone())
            .or_default()
            .push(Binding::Address { ip: guess.machine, cell: None });
    }
    bound
}

/// With guessed roles nothing is called unexpected: what no rule covers is out of scope until somebody says who is who.
pub fn calls_nothing_unexpected(mut judged: Vec<Judged>) -> Vec<Judged> {
    for one in judged.iter_mut().filter(|one| one.told.verdict == ConversationVerdict::Unexpected) {
        one.told.verdict = ConversationVerdict::OutOfScope;
        one.told.reason = format!("not judged, since the roles are guessed ({})", one.told.reason);
    }
    judged
}
