//! The cast: which machines play which role at this site.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use smallvec::smallvec;

use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Observed;
use crate::model::SideRecord;
use crate::rules::Binding;
use crate::rules::HostPattern;
use crate::rules::Nat;
use crate::rules::RoleKind;
use crate::rules::Site;

use super::leases;
use super::leases::Followed;
use super::names;
use super::names::Names;
use super::patterns::Patterns;
use super::shown::Shown;
use super::view;
use super::view::View;

/// One way to recognise a machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    pub label: CompactString,
    /// How it is recognised; one suffices, and nearly always there is no more.
    pub members: SmallVec<[Member; 1]>,
    /// A concrete name that was matched by a wildcard only.
    pub unpinned: bool,
    /// Other addresses of its machines (by a later lease, by translation), with those by which the site knows them.
    pub other: Vec<(IpAddr, IpAddr)>,
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

    /// Somebody of whom nothing but a name is known.
    pub fn called(label: &str) -> Self {
        Self::of(label.into(), SmallVec::new())
    }

    fn of(label: CompactString, members: SmallVec<[Member; 1]>) -> Self {
        Self { label, members, unpinned: false, other: Vec::new() }
    }

    /// Whether a flow may be of this party by the machine that made it: where the party is bound by MAC address, and the flow's packets show another
    /// one before any router, its address was then somebody else's.
    pub fn made(&self, side: &SideRecord) -> bool {
        let mut bound = self.members.iter().filter_map(|member| match member {
            Member::Mac(mac) => Some(*mac),
            _ => None,
        });
        let first = bound.next();
        let Some((own, maker)) = first.zip(view::maker(side)) else { return true };
        own == maker || bound.any(|other| other == maker)
    }

    /// Adds the other address of each member that a declared translation gives two.
    fn translate(&mut self, nat: &[Nat]) {
        let known: Vec<IpAddr> = self.addresses().collect();
        for (ip, bound) in
            known.into_iter().flat_map(|ip| translations(nat, ip).map(move |other| (other, ip)))
        {
            let member = Member::Address(ip, None);
            if !self.members.contains(&member) {
                self.members.push(member);
                self.other.push((ip, bound));
            }
        }
    }

    /// Adds the addresses that its machines got by a lease.
    fn follow(&mut self, followed: &[Followed]) {
        for one in followed {
            let is_bound = |member: &Member| matches!(member, Member::Address(ip, cell) if *ip == one.bound && cell.is_none_or(|cell| cell == one.cell));
            let member = Member::Address(one.address, Some(one.cell));
            if self.members.iter().any(is_bound) && !self.members.contains(&member) {
                self.members.push(member);
                self.other.push((one.address, one.bound));
            }
        }
    }

    /// The address by which the site knows a machine of this party.
    pub fn known_as(&self, host: Host) -> Host {
        let known = self.other.iter().find(|(other, _)| host.ip() == Some(*other));
        known.map_or(host, |(_, bound)| Host::Ip(*bound))
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

/// A role of one ruleset, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleId(u32);

impl RoleId {
    /// Its place among all of them.
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// A role, and who plays it; the site's own roles stand under every ruleset.
#[derive(Debug)]
struct Role {
    ruleset: usize,
    name: String,
    /// Whether it is a product's own.
    component: bool,
    players: Arc<Vec<Party>>,
}

/// A part that an address or a name plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    role: RoleId,
    /// The place among the role's players.
    player: usize,
    /// Where an address is meant in one cell only.
    cell: Option<CellId>,
}

/// The parts of one machine: with two documents it often has two.
type Parts = SmallVec<[Part; 2]>;

/// Everybody who plays something.
#[derive(Debug, Default)]
pub struct Cast {
    roles: Vec<Role>,
    /// The roles of each ruleset.
    by_role: Vec<HashMap<String, RoleId, RandomState>>,
    by_host: HashMap<Host, Parts, RandomState>,
    binds_machines: bool,
    by_name: Patterns<Part>,
    /// Addresses that count as others because of a lease.
    followed: Vec<Followed>,
}

impl Cast {
    /// Binds the site's roles to what was seen.
    pub fn of(
        site: &Site,
        observed: &Observed,
        Shown { names, present }: &Shown<'_>,
        view: &View<'_>,
    ) -> Self {
        let bound = site.roles.values().flatten().flat_map(bound_addresses).collect();
        let mut cast = Self { followed: leases::follow(&bound, observed, view), ..Self::default() };
        let rulesets = site.rulesets.len().max(1);
        cast.by_role.resize_with(rulesets, HashMap::default);
        for (role, bindings) in &site.roles {
            let mut parties = Vec::new();
            for binding in bindings {
                let mut bound = bind(binding, site, observed, names, present);
                if parties.is_empty() {
                    parties = bound;
                } else {
                    parties.append(&mut bound);
                }
            }
            if !site.nat.is_empty() {
                parties.iter_mut().for_each(|party| party.translate(&site.nat));
            }
            parties.iter_mut().for_each(|party| party.follow(&cast.followed));
            let parties = Arc::new(parties);
            for at in 0..rulesets {
                cast.add(at, role, parties.clone());
            }
        }
        for (at, ruleset) in site.rulesets.iter().enumerate() {
            for (role, defined) in &ruleset.roles {
                if !site.roles.contains_key(role) && !defined.hosts.is_empty() {
                    let parties: Vec<Party> =
                        defined.hosts.iter().flat_map(|pattern| by_pattern(pattern, names)).collect();
                    cast.add(at, role, Arc::new(parties));
                }
                if defined.kind == RoleKind::Component {
                    let id = cast.number(at, role);
                    if let Some(role) = cast.role_mut(id) {
                        role.component = true;
                    }
                }
            }
        }
        cast.by_host.values_mut().for_each(|parts| parts.sort_unstable());
        cast
    }

    fn add(&mut self, ruleset: usize, name: &str, parties: Arc<Vec<Party>>) {
        let id = self.number(ruleset, name);
        // Those of one ruleset are known when the next comes.
        self.by_host.reserve(parties.len().saturating_sub(self.by_host.len()));
        for (player, party) in parties.iter().enumerate() {
            for member in &party.members {
                let part = Part { role: id, player, cell: None };
                match member {
                    Member::Address(ip, cell) => {
                        let parts = self.by_host.entry(Host::Ip(*ip)).or_default();
                        parts.push(Part { cell: *cell, ..part });
                    }
                    Member::Mac(mac) => {
                        self.by_host.entry(Host::Mac(*mac)).or_default().push(part);
                        self.binds_machines = true;
                    }
                    Member::Name(pattern) => self.by_name.add(pattern, part),
                }
            }
        }
        if let Some(role) = self.role_mut(id) {
            role.players = parties;
        }
    }

    /// The number of a role, which it gets here where it has none.
    fn number(&mut self, ruleset: usize, name: &str) -> RoleId {
        if let Some(known) = self.role(ruleset, name) {
            return known;
        }
        let id = RoleId(u32::try_from(self.roles.len()).unwrap_or(u32::MAX));
        self.roles.push(Role { ruleset, name: name.to_owned(), component: false, players: Arc::default() });
        if let Some(known) = self.by_role.get_mut(ruleset) {
            known.insert(name.to_owned(), id);
        }
        id
    }

    fn role_mut(&mut self, id: RoleId) -> Option<&mut Role> {
        self.roles.get_mut(id.0 as usize)
    }

    fn known(&self, id: RoleId) -> Option<&Role> {
        self.roles.get(id.0 as usize)
    }

    /// A role by its name; `None` where nobody plays it and no component is meant.
    pub fn role(&self, ruleset: usize, name: &str) -> Option<RoleId> {
        self.by_role.get(ruleset)?.get(name).copied()
    }

    /// The ruleset of a role.
    pub fn ruleset(&self, role: RoleId) -> Option<usize> {
        Some(self.known(role)?.ruleset)
    }

    /// The players of a role.
    pub fn players(&self, ruleset: usize, role: &str) -> &[Party] {
        let role = self.role(ruleset, role).and_then(|id| self.known(id));
        role.map_or(&[], |role| &role.players)
    }

    /// The parts of a host in a cell, in the order of roles and players.
    fn parts(&self, cell: CellId, host: Host) -> impl Iterator<Item = Part> {
        let here = move |part: &Part| part.cell.is_none_or(|wanted| wanted == cell);
        self.by_host.get(&host).into_iter().flatten().copied().filter(here)
    }

    /// The roles of a host, by address alone, each once.
    pub fn roles_of(&self, cell: CellId, host: Host) -> impl Iterator<Item = RoleId> {
        let mut last = None;
        self.parts(cell, host).map(|part| part.role).filter(move |role| last.replace(*role) != Some(*role))
    }

    /// The roles that names stand for; one may come twice.
    pub fn roles_named<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = RoleId> {
        names.iter().flat_map(|name| self.by_name.covering(name)).map(|part| part.role)
    }

    /// The places among a role's players of those that are this host.
    pub fn players_at(&self, role: RoleId, cell: CellId, host: Host) -> Vec<usize> {
        let mut found: Vec<usize> =
            self.parts(cell, host).filter(|part| part.role == role).map(|part| part.player).collect();
        found.dedup();
        found
    }

    /// The places among a role's players of those that are the server of a flow, by address or by a name known for it.
    pub fn serving(&self, role: RoleId, flow: &FlowRecord) -> Vec<usize> {
        let mut found = self.players_at(role, flow.cell, flow.server.host);
        let shown = names::of_flow(flow);
        let named = shown.iter().flat_map(|name| self.by_name.covering(name));
        found.extend(named.filter(|part| part.role == role).map(|part| part.player));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether a role goes by this name, under whatever ruleset.
    pub fn is_called(&self, role: RoleId, name: &str) -> bool {
        self.known(role).is_some_and(|role| role.name == name)
    }

    /// Whether a role is a product's own.
    pub fn is_component(&self, role: RoleId) -> bool {
        self.known(role).is_some_and(|role| role.component)
    }

    /// Whether any component is bound at all.
    pub fn has_any_component(&self) -> bool {
        self.roles.iter().any(|role| role.component && !role.players.is_empty())
    }

    /// Whether one end of a flow may be of a role by the machine that made it: see [`Party::made`]. Who plays it by name alone is any machine.
    pub fn may_be(&self, role: RoleId, cell: CellId, host: Host, side: &SideRecord) -> bool {
        let Some(players) = self.known(role).map(|role| &role.players) else { return true };
        let mut here = self.parts(cell, host).filter(|part| part.role == role).peekable();
        here.peek().is_none()
            || here.any(|part| players.get(part.player).is_none_or(|party| party.made(side)))
    }

    /// Whether any role is bound to a machine by its MAC address.
    pub fn binds_machines(&self) -> bool {
        self.binds_machines
    }

    /// Addresses that count as others because of a lease.
    pub fn followed(&self) -> &[Followed] {
        &self.followed
    }

    /// Whether a role is bound to this name.
    pub fn binds(&self, name: &str) -> bool {
        self.by_name.cover(name)
    }

    /// Whether somebody plays a role by name.
    pub fn is_named(&self, role: RoleId) -> bool {
        self.known(role)
            .is_some_and(|role| role.players.iter().any(|party| party.patterns().next().is_some()))
    }
}

/// The addresses that a binding names one by one.
fn bound_addresses(binding: &Binding) -> Vec<IpAddr> {
    match binding {
        Binding::Address { ip, .. } => vec![*ip],
        Binding::AnyOf(several) => several.iter().flat_map(bound_addresses).collect(),
        Binding::Prefix { .. } | Binding::Mac(_) | Binding::Host(_) => Vec::new(),
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

/// The players that one binding of the site file stands for.
fn bind(
    binding: &Binding,
    site: &Site,
    observed: &Observed,
    names: &Names<'_>,
    present: &[(IpAddr, CellId)],
) -> Vec<Party> {
    match binding {
        Binding::Address { ip, cell } => {
            let label = match cell {
                Some(cell) => format!("{ip}@{cell}"),
                None => ip.to_string(),
            };
            let member = Member::Address(*ip, cell_id(site, cell.as_deref()));
            vec![Party::of(label.into(), smallvec![member])]
        }
        Binding::Prefix { net, cell } => {
            let wanted = cell_id(site, cell.as_deref());
            let from = present.partition_point(|(ip, _)| *ip < net.network());
            let inside = present.get(from..).unwrap_or_default();
            let mut bound: Vec<IpAddr> = inside
                .iter()
                .take_while(|(ip, _)| *ip <= net.broadcast())
                .filter(|(_, seen)| wanted.is_none_or(|wanted| wanted == *seen))
                .map(|(ip, _)| *ip)
                .collect();
            bound.dedup();
            bound
                .into_iter()
                .map(|ip| {
                    let label = Host::Ip(ip).text().as_str().into();
                    Party::of(label, smallvec![Member::Address(ip, wanted)])
                })
                .collect()
        }
        Binding::Mac(mac) => {
            let mut members = smallvec![Member::Mac(*mac)];
            let leased: BTreeSet<(IpAddr, CellId)> = observed
                .resolutions
                .iter()
                .filter(|known| known.answer.is_some_and(|(_, answered)| answered == *mac))
                .map(|known| (known.target, known.cell))
                .collect();
            // What leaves it with its own MAC address shows its address as well.
            let flows = observed.conversations.values().flat_map(|conversation| conversation.attempts());
            let used = flows.flat_map(|flow| {
                [(flow.client.host, &flow.from_client), (flow.server.host, &flow.from_server)]
                    .into_iter()
                    .filter(|(_, side)| view::maker(side) == Some(*mac))
                    .filter_map(|(host, _)| Some((host.ip()?, flow.cell)))
            });
            let mut leased = leased;
            leased.extend(used);
            members.extend(leased.into_iter().map(|(ip, cell)| Member::Address(ip, Some(cell))));
            vec![Party::of(mac.to_string().into(), members)]
        }
        Binding::Host(pattern) => by_pattern(pattern, names),
        Binding::AnyOf(several) => {
            let parties: Vec<Party> =
                several.iter().flat_map(|one| bind(one, site, observed, names, present)).collect();
            let label = parties.iter().map(|party| party.label.as_str()).collect::<Vec<_>>().join(" or ");
            let members: SmallVec<_> = parties.into_iter().flat_map(|party| party.members).collect();
            if members.is_empty() { Vec::new() } else { vec![Party::of(label.into(), members)] }
        }
    }
}

/// A name is one party; a wildcard is a party for each name seen under it, or itself where none was.
fn by_pattern(pattern: &HostPattern, names: &Names<'_>) -> Vec<Party> {
    let seen = if pattern.wildcard { names.seen_under(pattern) } else { BTreeSet::new() };
    if seen.is_empty() {
        return vec![Party::of(pattern.to_string().into(), smallvec![Member::Name(pattern.clone())])];
    }
    seen.into_iter()
        .map(|name| {
            let member = Member::Name(HostPattern { name: name.to_owned(), wildcard: false });
            Party { unpinned: true, ..Party::of(name.into(), smallvec![member]) }
        })
        .collect()
}

/// The id of a named cell: its place in the site file, 1 being the first.
fn cell_id(site: &Site, cell: Option<&str>) -> Option<CellId> {
    let at = site.cells.iter().position(|known| Some(known.name.as_str()) == cell)?;
    u16::try_from(at + 1).ok().map(CellId)
}
