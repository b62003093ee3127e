//! No site file: which machine seems to play which role, each guess with the packet behind it.
//!
//! Components come first, by services that hardly anything else uses (an uncommon port with the right protocol, a documented host
//! name); peers follow from what they do with a component. A document of which no component shows itself is left out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
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
use crate::rules::FeatureSwitch;
use crate::rules::Reading;
use crate::rules::RoleKind;
use crate::rules::Rule;
use crate::rules::Ruleset;
use crate::rules::Site;

use super::judge::Judged;

/// A role, who seems to play it, and why.
#[derive(Clone, Debug)]
pub struct Guess {
    /// The role.
    pub role: String,
    /// The machine.
    machine: IpAddr,
    /// The packet behind the guess.
    pub evidence: Evidence,
}

/// A site made of guesses, and what has to be said of them.
#[derive(Debug)]
pub struct Guessed {
    /// The site with the guessed roles, features and rulesets.
    pub site: Site,
    /// Each role with its packet.
    pub guesses: Vec<Guess>,
    /// What was assumed on the way.
    pub notes: Vec<String>,
}

/// Ports at which a protocol is at home (IANA's registry of service names and port numbers): that it is spoken there says nothing of whose
/// machine speaks it. Every message broker listens on 5672.
const AT_HOME: [u16; 13] = [22, 25, 53, 80, 123, 135, 161, 389, 443, 514, 636, 5671, 5672];

/// One vote: this machine does what that role does, by this rule.
struct Vote<'a> {
    machine: IpAddr,
    role: &'a str,
    rule: &'a str,
    other: IpAddr,
    telling: bool,
    evidence: Evidence,
}

/// Guesses roles from payload, ports and names.
pub fn site(observed: &Observed, site: &Site) -> Guessed {
    let mut guessed = site.clone();
    guessed.rulesets.clear();
    let (mut guesses, mut notes) = (Vec::new(), Vec::new());
    for ruleset in &site.rulesets {
        let votes = votes(ruleset, observed);
        let components = components(ruleset, &votes);
        if components.is_empty() {
            notes.push(format!("{}: no machine shows itself as a part of it, so it is left out", ruleset.id));
            continue;
        }
        guessed.rulesets.push(ruleset.clone());
        guesses.extend(peers(ruleset, &votes, &components));
        guesses.extend(components.into_values());
    }
    guesses.sort_by(|a, b| (&a.role, a.machine, a.evidence.at).cmp(&(&b.role, b.machine, b.evidence.at)));
    guesses.dedup_by(|a, b| a.role == b.role && a.machine == b.machine);
    for guess in &guesses {
        let binding = Binding::Address { ip: guess.machine, cell: None };
        guessed.roles.entry(guess.role.clone()).or_default().push(binding);
    }
    for (ruleset, feature, at) in features(&guessed, observed) {
        notes.push(format!("{ruleset}: '{feature}' seems to be on, by packet {}", at.at.number()));
        guessed.features.push(FeatureSwitch { ruleset: Some(ruleset), feature, between: None });
    }
    Guessed { site: guessed, guesses, notes }
}

/// Everything that fits a rule, as votes for both ends.
fn votes<'a>(ruleset: &'a Ruleset, observed: &Observed) -> Vec<Vote<'a>> {
    let mut votes = Vec::new();
    let documented: Vec<_> = ruleset.roles.values().flat_map(|role| &role.hosts).collect();
    for rule in ruleset.rules.iter().filter(|rule| !rule.broad) {
        let Some(reading) = rule.readings.first() else { continue };
        let patterns: Vec<_> = reading
            .to
            .iter()
            .filter_map(|role| ruleset.roles.get(role))
            .flat_map(|role| &role.hosts)
            .collect();
        for conversation in observed.conversations.values() {
            let key = conversation.key;
            let (Some(client), Some(server)) = (key.client.ip(), key.server.ip()) else { continue };
            if Host::Ip(server).is_group() || !serves(reading, conversation) || !speaks(rule, conversation) {
                continue;
            }
            let named =
                conversation.hosts.iter().any(|name| patterns.iter().any(|pattern| pattern.covers(name)));
            // A server known by a documented name is that host, and nobody's directory or proxy.
            let elsewhere =
                conversation.hosts.iter().any(|name| documented.iter().any(|pattern| pattern.covers(name)));
            if !named && (!patterns.is_empty() || elsewhere) {
                continue;
            }
            let telling = named || key.port.is_some_and(|port| tells(ruleset, reading, port));
            let spoken = conversation.protocols.keys().copied().collect::<Vec<_>>().join(", ");
            let what = if spoken.is_empty() { "an attempt".to_owned() } else { spoken };
            let port = key.port.map_or_else(String::new, |port| format!("/{port}"));
            let note = format!("{what} on {}{port} fits '{}'", key.transport, rule.cite);
            for (machine, other, roles) in [(client, server, &reading.from), (server, client, &reading.to)] {
                // Where a row names several roles it tells nothing of any of them; a name says enough of its server.
                if let [role] = roles.as_slice()
                    && !(named && machine == server)
                {
                    let evidence = Evidence { at: conversation.first, note: note.clone().into() };
                    votes.push(Vote { machine, role, rule: &rule.id, other, telling, evidence });
                }
            }
        }
    }
    votes
}

/// The rules of one role that a machine's traffic fits, and the first packet that says most.
struct Fitting<'a> {
    telling: BTreeSet<&'a str>,
    all: BTreeSet<&'a str>,
    evidence: &'a Evidence,
}

impl<'a> Fitting<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        Self { telling: BTreeSet::new(), all: BTreeSet::new(), evidence }
    }
}

/// The component that each machine seems to be: the role with most telling rules, all its rules breaking a tie.
fn components(ruleset: &Ruleset, votes: &[Vote<'_>]) -> BTreeMap<IpAddr, Guess> {
    let mut fitting: BTreeMap<(IpAddr, &str), Fitting<'_>> = BTreeMap::new();
    for vote in votes.iter().filter(|vote| is_component(ruleset, vote.role)) {
        let known = fitting.entry((vote.machine, vote.role)).or_insert_with(|| Fitting::new(&vote.evidence));
        known.all.insert(vote.rule);
        if vote.telling {
            if known.telling.is_empty() {
                known.evidence = &vote.evidence;
            }
            known.telling.insert(vote.rule);
        }
    }
    let mut best: BTreeMap<IpAddr, ((usize, usize), Guess)> = BTreeMap::new();
    for ((machine, role), Fitting { telling, all, evidence }) in fitting {
        let weight = (telling.len(), all.len());
        if telling.is_empty() || best.get(&machine).is_some_and(|(known, _)| *known >= weight) {
            continue;
        }
        best.insert(machine, (weight, Guess { role: role.to_owned(), machine, evidence: evidence.clone() }));
    }
    best.into_iter().map(|(machine, (_, guess))| (machine, guess)).collect()
}

/// Who does with a component what a peer role does.
fn peers(ruleset: &Ruleset, votes: &[Vote<'_>], components: &BTreeMap<IpAddr, Guess>) -> Vec<Guess> {
    let mut found: BTreeMap<(IpAddr, &str), &Evidence> = BTreeMap::new();
    for vote in votes {
        let peer = ruleset.roles.get(vote.role).is_some_and(|role| role.kind == RoleKind::Peer);
        let rule = ruleset.rules.iter().find(|rule| rule.id == vote.rule);
        let reading = rule.and_then(|rule| rule.readings.first());
        // The other end has to be the very component that the rule names.
        let with_component = components.get(&vote.other).is_some_and(|other| {
            reading
                .is_some_and(|reading| reading.from.contains(&other.role) || reading.to.contains(&other.role))
        });
        if peer && with_component && !components.contains_key(&vote.machine) {
            found.entry((vote.machine, vote.role)).or_insert(&vote.evidence);
        }
    }
    found
        .into_iter()
        .map(|((machine, role), evidence)| Guess {
            role: role.to_owned(),
            machine,
            evidence: evidence.clone(),
        })
        .collect()
}

/// Features without which traffic between the guessed roles would have no rule.
fn features(site: &Site, observed: &Observed) -> Vec<(String, String, Evidence)> {
    let players: BTreeSet<(&str, IpAddr)> = site
        .roles
        .iter()
        .flat_map(|(role, bindings)| bindings.iter().map(move |binding| (role.as_str(), binding)))
        .filter_map(|(role, binding)| match binding {
            Binding::Address { ip, cell: None } => Some((role, *ip)),
            _ => None,
        })
        .collect();
    let plays = |role: &str, ip: IpAddr| players.contains(&(role, ip));
    let mut found: BTreeMap<(String, String), Evidence> = BTreeMap::new();
    for ruleset in &site.rulesets {
        for rule in ruleset.rules.iter().filter(|rule| !rule.when.is_empty() && !rule.broad) {
            let Some(reading) = rule.readings.first() else { continue };
            let patterns: Vec<_> = reading
                .to
                .iter()
                .filter_map(|role| ruleset.roles.get(role))
                .flat_map(|role| &role.hosts)
                .collect();
            for conversation in observed.conversations.values() {
                let (Some(client), Some(server)) =
                    (conversation.key.client.ip(), conversation.key.server.ip())
                else {
                    continue;
                };
                if !serves(reading, conversation) || !speaks(rule, conversation) {
                    continue;
                }
                let target = reading.to.iter().any(|role| plays(role, server))
                    || conversation
                        .hosts
                        .iter()
                        .any(|name| patterns.iter().any(|pattern| pattern.covers(name)));
                let source = reading.from.iter().any(|role| plays(role, client));
                if source && target {
                    for feature in &rule.when {
                        found.entry((ruleset.id.clone(), feature.clone())).or_insert_with(|| Evidence {
                            at: conversation.first,
                            note: format!("fits '{}'", rule.cite).into(),
                        });
                    }
                }
            }
        }
    }
    found.into_iter().map(|((ruleset, feature), evidence)| (ruleset, feature, evidence)).collect()
}

/// Whether a conversation is on a service of the rule.
fn serves(reading: &Reading, conversation: &Conversation) -> bool {
    let key = conversation.key;
    reading.services.iter().any(|service| {
        let transport = match service.carrier {
            Carrier::Tcp => Transport::Tcp,
            Carrier::Udp => Transport::Udp,
        };
        transport == key.transport && key.port.is_some_and(|port| service.ports.contains(&port))
    })
}

/// Whether hardly anything else is on this port: a component's own service, named by itself and not one of a range, and no protocol's
/// home. What a component asks of its peers, like reading controllers, any operator station does.
fn tells(ruleset: &Ruleset, reading: &Reading, port: u16) -> bool {
    let own = reading.to.iter().all(|role| is_component(ruleset, role));
    let alone =
        reading.services.iter().any(|service| *service.ports.start() == port && *service.ports.end() == port);
    own && alone && !AT_HOME.contains(&port)
}

fn is_component(ruleset: &Ruleset, role: &str) -> bool {
    ruleset.roles.get(role).is_some_and(|role| role.kind == RoleKind::Component)
}

/// Whether the conversation proved to be what the rule names, or was an attempt that proved nothing.
fn speaks(rule: &Rule, conversation: &Conversation) -> bool {
    if rule.protocol.is_empty()
        || conversation
            .layers
            .keys()
            .chain(conversation.protocols.keys())
            .any(|layer| rule.protocol.iter().any(|p| p == layer))
    {
        return true;
    }
    conversation.outcomes.keys().all(|outcome| {
        matches!(outcome, Outcome::Unanswered | Outcome::Refused | Outcome::Rejected | Outcome::Cut)
    })
}

/// With guessed roles nothing is called unexpected: what no rule covers is out of scope until somebody says who is who.
pub fn calls_nothing_unexpected(mut judged: Vec<Judged<'_>>) -> Vec<Judged<'_>> {
    for one in judged.iter_mut().filter(|one| one.told.verdict == ConversationVerdict::Unexpected) {
        one.told.verdict = ConversationVerdict::OutOfScope;
        one.told.reason = format!("not judged, since the roles are guessed ({})", one.told.reason).into();
    }
    judged
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::site;
    use crate::audit::testing::answered;
    use crate::audit::testing::observed;
    use crate::model::FlowRecord;
    use crate::model::Transport;
    use crate::rules;

    /// The roles that seem to be played, with both documents at hand.
    fn roles(flows: Vec<FlowRecord>) -> Vec<String> {
        let text = "[site]\nname = \"guessed\"\nrulesets = [\"opswat-md-ot-security\", \"microsoft-defender-for-iot\"]\n";
        // What the documents name is not the question here.
        let words: Vec<&str> = rules::builtin().iter().flat_map(|(_, text)| text.split('"')).collect();
        let open = rules::parse_site("site.toml", text, Path::new("."), &words);
        let guessed = site(&observed(flows, 60_000), &open.expect("a site"));
        guessed.guesses.into_iter().map(|guess| guess.role).collect()
    }

    fn spoken(port: u16, protocol: &'static str) -> FlowRecord {
        let mut flow = answered(0, protocol);
        assert_eq!(flow.transport, Transport::Tcp);
        flow.server.port = Some(port);
        flow
    }

    #[test]
    fn what_any_machine_does_makes_nobody_a_component() {
        for (port, protocol) in [(502, "modbus"), (5562, "melsec"), (5672, "amqp"), (443, "tls")] {
            assert_eq!(roles(vec![spoken(port, protocol)]), Vec::<String>::new(), "{protocol} on {port}");
        }
    }

    #[test]
    fn a_port_out_of_a_range_makes_nobody_a_component() {
        assert_eq!(roles(vec![spoken(49_664, "dce-rpc")]), Vec::<String>::new());
    }

    #[test]
    fn a_service_of_the_product_alone_tells_both_ends() {
        assert_eq!(roles(vec![spoken(1443, "tls")]), ["network-sensor", "site-manager"]);
    }

    #[test]
    fn what_a_known_component_does_at_home_makes_peers() {
        let mut poll = spoken(502, "modbus");
        (poll.client.host, poll.server.host) =
            (poll.server.host, "10.0.3.30".parse().map(crate::model::Host::Ip).expect("an address"));
        assert_eq!(roles(vec![spoken(1443, "tls"), poll]), ["asset", "network-sensor", "site-manager"]);
    }
}
