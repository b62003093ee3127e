//! What a report says of a variant, held against the truth and against the report on the recording as it is.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use spanaudit::audit;
use spanaudit::model::CellId;
use spanaudit::model::ConversationVerdict;
use spanaudit::model::Endpoint;
use spanaudit::model::FlowRecord;
use spanaudit::model::Host;
use spanaudit::model::JudgedConversation;
use spanaudit::model::Report;
use spanaudit::model::Requirement;
use spanaudit::model::Transport;
use spanaudit::model::Verdict;
use spanaudit::pipeline;
use spanaudit::pipeline::CellMap;
use spanaudit::pipeline::CellRule;

use super::recording::Playback;
use super::recording::Shot;
use super::scenario;
use super::scenario::Kind;
use super::scenario::Truth;
use super::variant::Variant;

/// A report with the flows behind it.
pub struct Told {
    /// The report.
    pub report: Report,
    /// Every flow.
    pub flows: Vec<FlowRecord>,
}

/// Audits a recording.
pub fn audit(shots: &[Shot], site: &str, cell: Option<u16>) -> Told {
    let cells = cell.map(|vlan| CellRule { cell: CellId(1), vlan: Some(vlan), ..CellRule::default() });
    let options = pipeline::Options {
        keep_flows: true,
        cells: CellMap::new(cells.into_iter().collect()),
        ..pipeline::Options::default()
    };
    let observed =
        pipeline::run(&mut Playback::new(shots), &options, &|_, _| {}).expect("playing back cannot fail");
    let flows = observed.flows.clone();
    assert!(observed.tally.adds_up(), "packets were lost: {:?}", observed.tally);
    let report = audit::audit(observed, &scenario::site(site, cell), audit::Options::default());
    Told { report, flows }
}

/// How one kind of variant fared.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Recordings.
    pub recordings: u32,
    /// Working flows told as satisfied.
    pub satisfied: u32,
    /// Working or untried flows of which nothing was claimed.
    pub quiet: u32,
    /// Working or untried flows told as blocked, failed or violated.
    pub false_alarms: u32,
    /// Broken flows told so.
    pub found: u32,
    /// Broken flows of which nothing was claimed.
    pub open: u32,
    /// Broken flows told as another failure.
    pub misnamed: u32,
    /// Broken flows told as satisfied.
    pub hidden: u32,
    /// Unexpected conversations told again.
    pub told_unexpected: u32,
    /// Unexpected conversations no longer told.
    pub lost_unexpected: u32,
    /// Conversations told as unexpected that are none in the recording as it is.
    pub false_unexpected: u32,
    /// What went wrong, in words.
    pub trouble: Vec<String>,
}

fn is_bad(verdict: &Verdict) -> bool {
    verdict.failure().is_some()
}

fn answers(requirement: &Requirement, truth: &Truth) -> bool {
    let (low, high) = requirement.ports.split_once('-').unwrap_or((&requirement.ports, &requirement.ports));
    let covers = low.parse().is_ok_and(|low: u16| low <= truth.port)
        && high.parse().is_ok_and(|high: u16| truth.port <= high);
    requirement.transport == truth.transport
        && covers
        && (requirement.target == truth.target || requirement.to == truth.target)
        && requirement.source == truth.source
}

/// The verdicts on a recording as it is, where nothing else is known of it.
pub fn truths_of(report: &Report) -> Vec<Truth> {
    report
        .requirements
        .iter()
        .filter_map(|told| {
            let kind = match &told.verdict {
                Verdict::Satisfied(_) => Kind::Works,
                verdict if is_bad(verdict) => {
                    let mut words = BTreeSet::from([verdict.name().to_owned()]);
                    // Without the MAC addresses of the segment, a reset of a firewall is one of the server's.
                    if verdict
                        .failure()
                        .is_some_and(|failure| failure.mechanism.name() == "reset-by-middlebox")
                    {
                        words.insert("failed".to_owned());
                    }
                    Kind::Broken(words)
                }
                _ => Kind::Untried,
            };
            Some(Truth {
                source: told.source.clone(),
                target: told.target.clone(),
                transport: told.transport.clone(),
                port: told.ports.split('-').next()?.parse().ok()?,
                kind,
            })
        })
        .collect()
}

impl Score {
    /// Adds one variant of a recording.
    pub fn add(&mut self, scenario: &str, truths: &[Truth], original: &Told, variant: &Variant, told: &Told) {
        self.recordings += 1;
        let mut claimed: BTreeSet<&str> = BTreeSet::new();
        for truth in truths {
            let found: Vec<&Requirement> =
                told.report.requirements.iter().filter(|told| answers(told, truth)).collect();
            claimed.extend(found.iter().map(|told| told.id.as_str()));
            let bad = found.iter().find(|told| is_bad(&told.verdict));
            let satisfied = found.iter().any(|told| matches!(told.verdict, Verdict::Satisfied(_)));
            match &truth.kind {
                Kind::Open => {}
                Kind::Works | Kind::Untried => match bad {
                    // What was mended later is still broken where the recording ends early.
                    Some(bad) if variant.shortened && had(&original.report, truth, bad.verdict.name()) => {
                        self.found += 1
                    }
                    Some(bad) => self.alarm(scenario, variant, bad),
                    None if satisfied => self.satisfied += 1,
                    None => self.quiet += 1,
                },
                Kind::Broken(words) => {
                    let named = found.iter().any(|told| words.contains(told.verdict.name()));
                    let worked_before = variant.shortened && had(&original.report, truth, "satisfied");
                    match bad {
                        Some(_) if named => self.found += 1,
                        Some(bad) => {
                            self.misnamed += 1;
                            self.note(scenario, variant, "misnamed", bad);
                        }
                        None if satisfied && !named && !worked_before => {
                            self.hidden += 1;
                            for told in &found {
                                self.note(scenario, variant, "hidden", told);
                            }
                        }
                        None if satisfied => self.satisfied += 1,
                        None => {
                            self.open += 1;
                            if std::env::var_os("DEGRADATION_OPEN").is_some() {
                                for told in &found {
                                    self.note(scenario, variant, "open", told);
                                }
                            }
                        }
                    }
                }
            }
        }
        for told in &told.report.requirements {
            if is_bad(&told.verdict) && !claimed.contains(told.id.as_str()) {
                self.alarm(scenario, variant, told);
            }
        }
        self.unexpected(scenario, original, variant, told);
    }

    fn alarm(&mut self, scenario: &str, variant: &Variant, bad: &Requirement) {
        self.false_alarms += 1;
        self.note(scenario, variant, "false alarm", bad);
    }

    fn note(&mut self, scenario: &str, variant: &Variant, what: &str, told: &Requirement) {
        self.trouble.push(format!(
            "{what}: {scenario}, {}: {} > {} {}/{} {} {}: {}",
            variant.name,
            told.source,
            told.target,
            told.transport,
            told.ports,
            told.verdict.name(),
            told.verdict.failure().map_or("", |failure| failure.mechanism.name()),
            told.reason
        ));
    }

    fn unexpected(&mut self, scenario: &str, original: &Told, variant: &Variant, told: &Told) {
        let known: BTreeSet<Service> = unexpected(&original.report).map(service).collect();
        let mut by_ends: BTreeMap<(Transport, Endpoint, Endpoint), bool> = BTreeMap::new();
        for conversation in &original.report.conversations {
            for flow in flows_of(conversation, &original.flows) {
                *by_ends.entry(ends(flow)).or_default() |= is_unexpected(conversation);
            }
        }
        let seen: BTreeSet<Service> = unexpected(&told.report).map(service).collect();
        for conversation in unexpected(&told.report) {
            let stranger = |host: &str| variant.strangers.iter().any(|ip| ip.to_string() == host);
            if stranger(&conversation.client) || stranger(&conversation.server) {
                continue;
            }
            let same_flow =
                flows_of(conversation, &told.flows).any(|flow| by_ends.get(&ends(flow)) == Some(&true));
            if !same_flow && !known.contains(&service(conversation)) {
                self.false_unexpected += 1;
                self.trouble.push(format!(
                    "false unexpected: {scenario}, {}: {} > {} {}/{} {:?}: {}",
                    variant.name,
                    conversation.client,
                    conversation.server,
                    conversation.transport,
                    conversation.port.unwrap_or(0),
                    conversation.outcomes,
                    conversation.reason
                ));
            }
        }
        let told_again = known.intersection(&seen).count() as u32;
        self.told_unexpected += told_again;
        self.lost_unexpected += known.len() as u32 - told_again;
    }
}

/// Whether the recording as it is shows a time at which the flow had this verdict.
fn had(report: &Report, truth: &Truth, verdict: &str) -> bool {
    report
        .requirements
        .iter()
        .filter(|told| answers(told, truth))
        .any(|told| told.history.iter().any(|phase| phase.verdict == verdict))
}

/// A conversation whichever way round it is told.
type Service = (Transport, BTreeSet<String>, Option<u16>);

fn service(told: &JudgedConversation) -> Service {
    (told.transport, BTreeSet::from([told.client.to_string(), told.server.to_string()]), told.port)
}

fn is_unexpected(told: &JudgedConversation) -> bool {
    matches!(told.verdict, ConversationVerdict::Unexpected | ConversationVerdict::Forbidden)
}

fn unexpected(report: &Report) -> impl Iterator<Item = &JudgedConversation> {
    report.conversations.iter().map(|told| &**told).filter(|told| is_unexpected(told))
}

fn ends(flow: &FlowRecord) -> (Transport, Endpoint, Endpoint) {
    (flow.transport, flow.client.min(flow.server), flow.client.max(flow.server))
}

fn flows_of<'f>(
    told: &'f JudgedConversation,
    flows: &'f [FlowRecord],
) -> impl Iterator<Item = &'f FlowRecord> {
    let is = |host: Host, name: &str| host.to_string() == name;
    flows.iter().filter(move |flow| {
        flow.transport == told.transport
            && ((is(flow.client.host, &told.client)
                && is(flow.server.host, &told.server)
                && flow.server.port == told.port)
                || (is(flow.client.host, &told.server)
                    && is(flow.server.host, &told.client)
                    && flow.client.port == told.port))
    })
}
