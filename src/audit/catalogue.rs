//! Every rule of every ruleset, by the pair of roles that it joins and the ports it names: which rules cover a flow.

use std::collections::BTreeSet;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::model::Endpoint;
use crate::model::FlowRecord;
use crate::model::Transport;
use crate::rules::Carrier;
use crate::rules::Reading;
use crate::rules::Rule;
use crate::rules::Ruleset;
use crate::rules::Service;
use crate::rules::Site;

use super::cast::Cast;
use super::cast::RoleId;
use super::condition;
use super::features::Features;
use super::ports::Block;
use super::ports::Sizes;

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

/// What a rule has to be indexed under to be found: the roles of the two ends (`None` for whatever role is played by name) and a
/// block of ports.
type Spot = (RoleId, Option<RoleId>, Carrier, Block);

/// All entries, found by the roles of the two ends and the server's port: what a flow costs does not depend on how many there are.
#[derive(Debug, Default)]
pub struct Catalogue<'a> {
    /// The entries in the order of the documents.
    pub entries: Vec<Entry<'a>>,
    by_spot: HashMap<Spot, Vec<usize>, RandomState>,
    /// By the role that opens, to which role how large the blocks of ports are: most machines play none that any rule begins with.
    sizes: Vec<HashMap<Option<RoleId>, Sizes, RandomState>>,
    /// Whether any entry in force has a server that is known by name.
    names: bool,
    /// The rules that others follow from.
    rules: HashMap<(usize, &'a str), &'a Rule, RandomState>,
    /// The protocols that any rule of a ruleset names.
    spoken: BTreeSet<(usize, &'a str)>,
}

impl<'a> Catalogue<'a> {
    /// Lays out every rule of the site's rulesets.
    pub fn of(site: &'a Site, features: &Features<'a>, cast: &Cast) -> Self {
        let mut all = Self::default();
        let mut overrides = HashMap::<_, _, RandomState>::default();
        for own in &site.overrides {
            overrides.entry((own.ruleset.as_str(), own.rule.as_str())).or_insert(own);
        }
        for (at, ruleset) in site.rulesets.iter().enumerate() {
            for rule in &ruleset.rules {
                all.rules.entry((at, rule.id.as_str())).or_insert(rule);
                all.spoken.extend(rule.protocol.iter().map(|protocol| (at, protocol.as_str())));
                let own = overrides.get(&(ruleset.id.as_str(), rule.id.as_str()));
                for reading in &rule.readings {
                    let services = own.map_or(&reading.services, |own| &own.services);
                    for (from, to) in pairs(&reading.from, &reading.to) {
                        for service in services {
                            let entry = Entry {
                                ruleset: at,
                                document: ruleset,
                                rule,
                                reading,
                                from,
                                to,
                                service: service.clone(),
                                missing: features.missing(at, rule, from, to),
                            };
                            all.add(entry, cast);
                        }
                    }
                }
            }
        }
        all
    }

    fn add(&mut self, entry: Entry<'a>, cast: &Cast) {
        let at = self.entries.len();
        // What nobody plays covers nothing.
        let roles = cast.role(entry.ruleset, entry.from).zip(cast.role(entry.ruleset, entry.to));
        if let Some((from, to)) = roles {
            let blocks = Block::of(&entry.service.ports);
            let named = (entry.missing.is_empty() && cast.is_named(to)).then_some((from, None));
            self.names |= named.is_some();
            for key in [Some((from, Some(to))), named].into_iter().flatten() {
                if self.sizes.len() <= key.0.place() {
                    self.sizes.resize_with(key.0.place() + 1, HashMap::default);
                }
                let Some(of_role) = self.sizes.get_mut(key.0.place()) else { continue };
                let sizes = of_role.entry(key.1).or_default();
                for block in &blocks {
                    sizes.add(*block);
                    let spot = (key.0, key.1, entry.service.carrier, *block);
                    self.by_spot.entry(spot).or_default().push(at);
                }
            }
        }
        self.entries.push(entry);
    }

    /// The entries between two hosts in the order of the documents: those whose roles they play, on the service that the server has
    /// at this port. The server may play roles by names as well.
    pub fn covering(
        &self,
        cast: &Cast,
        flow: &FlowRecord,
        (client, server): (Endpoint, Endpoint),
        names: &[&str],
    ) -> SmallVec<[usize; 2]> {
        let mut found = SmallVec::new();
        let Some((carrier, port)) = service(flow.transport, server) else { return found };
        let mut opening =
            cast.roles_of(flow.cell, client.host).filter(|from| self.begins_with(*from)).peekable();
        if opening.peek().is_none() {
            return found;
        }
        for from in opening {
            let ruleset = cast.ruleset(from);
            for to in cast.roles_of(flow.cell, server.host).chain(cast.roles_named(names)) {
                if cast.ruleset(to) == ruleset {
                    found.extend(self.at((from, Some(to)), carrier, port));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The entries in force that would cover a flow if its server had the right name; one may come twice.
    pub fn covering_by_name(&self, cast: &Cast, flow: &FlowRecord) -> impl Iterator<Item = &Entry<'a>> {
        let served = service(flow.transport, flow.server).filter(|_| self.names);
        let places = served.into_iter().flat_map(move |(carrier, port)| {
            let roles = cast.roles_of(flow.cell, flow.client.host);
            roles.flat_map(move |from| self.at((from, None), carrier, port))
        });
        places.filter_map(|at| self.entries.get(at))
    }

    /// Whether any rule begins with a role.
    fn begins_with(&self, role: RoleId) -> bool {
        self.sizes.get(role.place()).is_some_and(|to| !to.is_empty())
    }

    fn at(
        &self,
        roles: (RoleId, Option<RoleId>),
        carrier: Carrier,
        port: u16,
    ) -> impl Iterator<Item = usize> {
        let sizes = self.sizes.get(roles.0.place()).and_then(|of_role| of_role.get(&roles.1));
        let blocks = sizes.copied().unwrap_or_default().around(port);
        blocks
            .filter_map(move |block| self.by_spot.get(&(roles.0, roles.1, carrier, block)))
            .flatten()
            .copied()
    }

    /// The rule that a rule follows from.
    pub fn first_of(&self, entry: &Entry<'_>) -> Option<&'a Rule> {
        self.rules.get(&(entry.ruleset, entry.rule.follows.as_deref()?)).copied()
    }

    /// Whether any rule of a ruleset names a protocol.
    pub fn speaks(&self, ruleset: usize, protocol: &str) -> bool {
        self.spoken.contains(&(ruleset, protocol))
    }

    /// An entry by its place.
    pub fn get(&self, at: usize) -> Option<&Entry<'a>> {
        self.entries.get(at)
    }
}

/// What the rules would call the service of a flow at this server.
fn service(transport: Transport, server: Endpoint) -> Option<(Carrier, u16)> {
    let carrier = match transport {
        Transport::Tcp => Carrier::Tcp,
        Transport::Udp => Carrier::Udp,
        _ => return None,
    };
    Some((carrier, server.port?))
}

fn pairs<'a>(from: &'a [String], to: &'a [String]) -> impl Iterator<Item = (&'a str, &'a str)> {
    from.iter().flat_map(move |from| to.iter().map(move |to| (from.as_str(), to.as_str())))
}
