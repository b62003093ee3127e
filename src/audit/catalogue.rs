//! Every rule of every ruleset, by the pair of roles that it joins: which rules cover a flow.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::model::FlowRecord;
use crate::model::Transport;
use crate::rules::Carrier;
use crate::rules::Reading;
use crate::rules::Rule;
use crate::rules::Ruleset;
use crate::rules::Service;
use crate::rules::Site;

use super::condition;
use super::features::Features;

/// One rule under one reading, between two roles, on one service.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The ruleset's place in the site.
    pub ruleset: usize,
    /// The ruleset.
    pub document: &'a Ruleset,
    /// The rule.
    pub rule: &'a Rule,
    /// The reading.
    pub reading: &'a Reading,
    /// Who opens.
    pub from: &'a str,
    /// Who accepts.
    pub to: &'a str,
    /// On what, the site's override considered.
    pub service: Service,
    /// Features that it hangs on and that are not in force; none means that it applies.
    pub missing: Vec<&'a str>,
}

impl Entry<'_> {
    /// Whether its service is what the flow uses.
    pub fn serves(&self, flow: &FlowRecord) -> bool {
        let carrier = match flow.transport {
            Transport::Tcp => Carrier::Tcp,
            Transport::Udp => Carrier::Udp,
            _ => return false,
        };
        carrier == self.service.carrier
            && flow.server.port.is_some_and(|port| self.service.ports.contains(&port))
    }

    /// Whether it accepts what the flow proved to be. A flow that proved nothing is accepted: nothing speaks against it.
    pub fn accepts(&self, flow: &FlowRecord) -> bool {
        self.speaks(flow) && condition::contradiction(flow, &self.rule.require).is_none()
    }

    /// Whether the flow speaks one of its protocols, for all that is known.
    pub fn speaks(&self, flow: &FlowRecord) -> bool {
        let seen = &flow.classification;
        self.rule.protocol.is_empty()
            || seen.protocol.is_none()
            || seen
                .layers
                .iter()
                .copied()
                .chain(seen.protocol)
                .any(|layer| self.rule.protocol.iter().any(|p| p == layer))
    }

    /// `ruleset:rule`, as conversations name it.
    pub fn name(&self) -> String {
        format!("{}:{}", self.document.id, self.rule.id)
    }
}

/// All entries, with an index by the roles of the two ends.
#[derive(Debug)]
pub struct Catalogue<'a> {
    /// The entries in the order of the documents.
    pub entries: Vec<Entry<'a>>,
    by_roles: BTreeMap<(usize, &'a str, &'a str), Vec<usize>>,
}

impl<'a> Catalogue<'a> {
    /// Lays out every rule of the site's rulesets.
    pub fn of(site: &'a Site, features: &Features<'a>) -> Self {
        let mut all = Self { entries: Vec::new(), by_roles: BTreeMap::new() };
        for (at, ruleset) in site.rulesets.iter().enumerate() {
            for rule in &ruleset.rules {
                let own = site.overrides.iter().find(|own| own.ruleset == ruleset.id && own.rule == rule.id);
                for reading in &rule.readings {
                    let services = own.map_or(&reading.services, |own| &own.services);
                    for (from, to) in pairs(&reading.from, &reading.to) {
                        for service in services {
                            all.add(Entry {
                                ruleset: at,
                                document: ruleset,
                                rule,
                                reading,
                                from,
                                to,
                                service: service.clone(),
                                missing: features.missing(at, rule, from, to),
                            });
                        }
                    }
                }
            }
        }
        all
    }

    fn add(&mut self, entry: Entry<'a>) {
        self.by_roles.entry((entry.ruleset, entry.from, entry.to)).or_default().push(self.entries.len());
        self.entries.push(entry);
    }

    /// The entries whose roles and service are those of the flow, in the order of the documents.
    pub fn covering(
        &self,
        flow: &FlowRecord,
        client: &BTreeSet<(usize, &str)>,
        server: &BTreeSet<(usize, &str)>,
    ) -> Vec<usize> {
        let mut found: Vec<usize> = client
            .iter()
            .flat_map(|&(ruleset, from)| {
                server
                    .iter()
                    .filter(move |(other, _)| *other == ruleset)
                    .map(move |&(_, to)| (ruleset, from, to))
            })
            .filter_map(|key| self.by_roles.get(&key))
            .flatten()
            .copied()
            .filter(|&at| self.entries.get(at).is_some_and(|entry| entry.serves(flow)))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// An entry by its place.
    pub fn get(&self, at: usize) -> Option<&Entry<'a>> {
        self.entries.get(at)
    }
}

fn pairs<'a>(from: &'a [String], to: &'a [String]) -> impl Iterator<Item = (&'a str, &'a str)> {
    from.iter().flat_map(move |from| to.iter().map(move |to| (from.as_str(), to.as_str())))
}
