//! The cast: which machines play which role at this site.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Observed;
use crate::rules::Binding;
use crate::rules::HostPattern;
use crate::rules::Nat;
use crate::rules::RoleKind;
use crate::rules::Site;

use super::names;
use super::names::Names;

/// One way to recognise a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// By address, in one cell or in all.
    Address(IpAddr, Option<CellId>),
    /// By name.
    Name(HostPattern),
    /// By MAC address, for layer-2 flows.
    Mac(MacAddr),
}

/// One player of a role: a machine, a name, or several of them that count as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// How reports call it.
    pub label: String,
    /// How it is recognised; one suffices.
    pub members: Vec<Member>,
    /// A concrete name that was matched by a wildcard only.
    pub unpinned: bool,
}

impl Party {
    /// Whether this end of a flow is one of its members by address.
    pub fn is(&self, cell: CellId, host: Host) -> bool {
        self.members.iter().any(|member| match (member, host) {
            (Member::Address(ip, wanted), Host::Ip(seen)) => {
                *ip == seen && wanted.is_none_or(|wanted| wanted == cell)
            }
            (Member::Mac(mac), Host::Mac(seen)) => *mac == seen,
            _ => false,
        })
    }

    /// Adds the other address of each member that a declared translation gives two.
    fn translate(&mut self, nat: &[Nat]) {
        let known: Vec<IpAddr> = self.addresses().collect();
        for ip in known.into_iter().flat_map(|ip| translations(nat, ip)) {
            let member = Member::Address(ip, None);
            if !self.members.contains(&member) {
                self.members.push(member);
            }
        }
    }

    /// Whether the server of this flow is one of its members, by address or by the name known for it.
    pub fn serves(&self, flow: &FlowRecord) -> bool {
        self.is(flow.cell, flow.server.host)
            || self.patterns().any(|pattern| names::of_flow(flow).iter().any(|name| pattern.covers(name)))
    }

    /// The names by which it is bound.
    pub fn patterns(&self) -> impl Iterator<Item = &HostPattern> {
        self.members.iter().filter_map(|member| match member {
            Member::Name(pattern) => Some(pattern),
            _ => None,
        })
    }

    /// The addresses by which it is bound.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.members.iter().filter_map(|member| match member {
            Member::Address(ip, _) => Some(*ip),
            _ => None,
        })
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// Everybody who plays something.
#[derive(Debug, Default)]
pub struct Cast {
    /// Players by ruleset and role; the site's own roles stand under every ruleset.
    parties: BTreeMap<(usize, String), Vec<Party>>,
    /// Roles by address, for the quick question.
    by_address: BTreeMap<IpAddr, BTreeSet<(usize, String)>>,
    /// Roles by layer-2 address.
    by_mac: BTreeMap<MacAddr, BTreeSet<(usize, String)>>,
    /// Roles bound by name.
    by_name: Vec<(HostPattern, (usize, String))>,
    /// Which of them are components.
    components: BTreeSet<(usize, String)>,
}

impl Cast {
    /// Binds the site's roles to what was seen.
    pub fn of(site: &Site, observed: &Observed, names: &Names) -> Self {
        let present = addresses_present(observed);
        let mut cast = Self::default();
        let rulesets = site.rulesets.len().max(1);
        for at in 0..rulesets {
            let ruleset = site.rulesets.get(at);
            for (role, bindings) in &site.roles {
                let mut parties: Vec<Party> = bindings
                    .iter()
                    .flat_map(|binding| bind(binding, site, observed, names, &present))
                    .collect();
                parties.iter_mut().for_each(|party| party.translate(&site.nat));
                cast.add(at, role, parties);
            }
            for (role, defined) in ruleset.into_iter().flat_map(|ruleset| &ruleset.roles) {
                if defined.kind == RoleKind::Component {
                    cast.components.insert((at, role.clone()));
                }
                if !site.roles.contains_key(role) && !defined.hosts.is_empty() {
                    let parties =
                        defined.hosts.iter().flat_map(|pattern| by_pattern(pattern, names)).collect();
                    cast.add(at, role, parties);
                }
            }
        }
        cast
    }

    fn add(&mut self, ruleset: usize, role: &str, parties: Vec<Party>) {
        let key = (ruleset, role.to_owned());
        for member in parties.iter().flat_map(|party| &party.members) {
            match member {
                Member::Address(ip, _) => {
                    self.by_address.entry(*ip).or_default().insert(key.clone());
                }
                Member::Mac(mac) => {
                    self.by_mac.entry(*mac).or_default().insert(key.clone());
                }
                Member::Name(pattern) => self.by_name.push((pattern.clone(), key.clone())),
            }
        }
        self.parties.entry(key).or_default().extend(parties);
    }

    /// The players of a role.
    pub fn players(&self, ruleset: usize, role: &str) -> &[Party] {
        self.parties.get(&(ruleset, role.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The roles of a host, by address alone.
    pub fn roles_of(&self, cell: CellId, host: Host) -> BTreeSet<(usize, &str)> {
        let keys = match host {
            Host::Ip(ip) => self.by_address.get(&ip),
            Host::Mac(mac) => self.by_mac.get(&mac),
        };
        keys.into_iter()
            .flatten()
            .filter(|(ruleset, role)| self.players(*ruleset, role).iter().any(|party| party.is(cell, host)))
            .map(|(ruleset, role)| (*ruleset, role.as_str()))
            .collect()
    }

    /// The roles of a flow's server, by address and by the names known for it.
    pub fn server_roles(&self, flow: &FlowRecord) -> BTreeSet<(usize, &str)> {
        let mut roles = self.roles_of(flow.cell, flow.server.host);
        let shown = names::of_flow(flow);
        for (pattern, (ruleset, role)) in &self.by_name {
            if shown.iter().any(|name| pattern.covers(name)) {
                roles.insert((*ruleset, role));
            }
        }
        roles
    }

    /// Whether one of these roles is a product's own.
    pub fn has_component(&self, roles: &BTreeSet<(usize, &str)>) -> bool {
        roles.iter().any(|(ruleset, role)| self.components.contains(&(*ruleset, (*role).to_owned())))
    }

    /// Whether any component is bound at all.
    pub fn has_any_component(&self) -> bool {
        self.components.iter().any(|key| self.parties.get(key).is_some_and(|parties| !parties.is_empty()))
    }

    /// The names under which roles are bound.
    pub fn bound_names(&self) -> impl Iterator<Item = &HostPattern> {
        self.by_name.iter().map(|(pattern, _)| pattern)
    }
}

/// The addresses under which a machine is also seen, by the site's declared translations.
pub fn translations(nat: &[Nat], ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    nat.iter().filter_map(move |one| match ip {
        ip if ip == one.inside => Some(one.outside),
        ip if ip == one.outside => Some(one.inside),
        _ => None,
    })
}

/// Every address that sent or was sent to.
fn addresses_present(observed: &Observed) -> BTreeSet<(IpAddr, CellId)> {
    observed
        .conversations
        .keys()
        .flat_map(|key| [(key.client, key.cell), (key.server, key.cell)])
        .chain(observed.vantage.heard.keys().map(|&(cell, host)| (host, cell)))
        .filter(|(host, _)| !host.is_group())
        .filter_map(|(host, cell)| Some((host.ip()?, cell)))
        // Nobody's: who has no address yet, and the many that a sweep is to.
        .filter(|(ip, _)| !ip.is_unspecified())
        .collect()
}

/// The players that one binding of the site file stands for.
fn bind(
    binding: &Binding,
    site: &Site,
    observed: &Observed,
    names: &Names,
    present: &BTreeSet<(IpAddr, CellId)>,
) -> Vec<Party> {
    match binding {
        Binding::Address { ip, cell } => {
            let label = match cell {
                Some(cell) => format!("{ip}@{cell}"),
                None => ip.to_string(),
            };
            vec![Party {
                label,
                members: vec![Member::Address(*ip, cell_id(site, cell.as_deref()))],
                unpinned: false,
            }]
        }
        Binding::Prefix { net, cell } => {
            let wanted = cell_id(site, cell.as_deref());
            let bound: BTreeSet<IpAddr> = present
                .iter()
                .filter(|(ip, seen)| net.contains(ip) && wanted.is_none_or(|wanted| wanted == *seen))
                .map(|(ip, _)| *ip)
                .collect();
            bound
                .into_iter()
                .map(|ip| Party {
                    label: ip.to_string(),
                    members: vec![Member::Address(ip, wanted)],
                    unpinned: false,
                })
                .collect()
        }
        Binding::Mac(mac) => {
            let mut members = vec![Member::Mac(*mac)];
            let leased: BTreeSet<(IpAddr, CellId)> = observed
                .resolutions
                .iter()
                .filter(|known| known.answer.is_some_and(|(_, answered)| answered == *mac))
                .map(|known| (known.target, known.cell))
                .collect();
            members.extend(leased.into_iter().map(|(ip, cell)| Member::Address(ip, Some(cell))));
            vec![Party { label: mac.to_string(), members, unpinned: false }]
        }
        Binding::Host(pattern) => by_pattern(pattern, names),
        Binding::AnyOf(several) => {
            let parties: Vec<Party> =
                several.iter().flat_map(|one| bind(one, site, observed, names, present)).collect();
            let label = parties.iter().map(|party| party.label.as_str()).collect::<Vec<_>>().join(" or ");
            let members = parties.into_iter().flat_map(|party| party.members).collect::<Vec<_>>();
            if members.is_empty() { Vec::new() } else { vec![Party { label, members, unpinned: false }] }
        }
    }
}

/// A name is one party; a wildcard is a party for each name seen under it, or itself where none was.
fn by_pattern(pattern: &HostPattern, names: &Names) -> Vec<Party> {
    let seen = if pattern.wildcard { names.seen_under(pattern) } else { BTreeSet::new() };
    if seen.is_empty() {
        return vec![Party {
            label: pattern.to_string(),
            members: vec![Member::Name(pattern.clone())],
            unpinned: false,
        }];
    }
    seen.into_iter()
        .map(|name| Party {
            label: name.to_owned(),
            members: vec![Member::Name(HostPattern { name: name.to_owned(), wildcard: false })],
            unpinned: true,
        })
        .collect()
}

/// The id of a named cell: its place in the site file, 1 being the first.
fn cell_id(site: &Site, cell: Option<&str>) -> Option<CellId> {
    let at = site.cells.iter().position(|known| Some(known.name.as_str()) == cell)?;
    u16::try_from(at + 1).ok().map(CellId)
}
