//! The site's own rules: whom and what an `[[allow]]`, `[[forbid]]` or `[[waive]]` entry covers.
//!
//! Rules are found by what they name: rules of one shape (how long their prefixes are, how large their blocks of ports) are one table,
//! and a flow asks each table once. So what a flow costs grows with the shapes in use, not with the rules.

use std::collections::BTreeSet;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ipnet::IpNet;

use crate::model::CellId;
use crate::model::Conversation;
use crate::model::Endpoint;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::Transport;
use crate::rules::Binding;
use crate::rules::Carrier;
use crate::rules::Party;
use crate::rules::SiteRule;

use super::cast;
use super::matching::Matched;
use super::names;
use super::names::OfFlow;
use super::ports::Block;
use super::ports::Sizes;
use super::requirement::Ground;

/// A rule that would stand in more places than this is found by less of what it names.
const MOST_PLACES: usize = 256;

/// The networks and ports by which a rule is found; `None` where it names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    from: Option<IpNet>,
    to: Option<IpNet>,
    port: Option<(Carrier, Block)>,
}

/// What all places of one table have in common: the family and length of the prefixes, and whether there are ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    from: Option<(bool, u8)>,
    to: Option<(bool, u8)>,
    ports: bool,
}

/// Rules in their order, found by what they name.
#[derive(Debug)]
pub struct OwnRules<'a> {
    rules: Vec<&'a SiteRule>,
    places: HashMap<Place, Vec<usize>, RandomState>,
    shapes: Vec<(Shape, Sizes)>,
}

impl<'a> OwnRules<'a> {
    /// These rules; the earlier one wins.
    pub fn of(rules: impl IntoIterator<Item = &'a SiteRule>) -> Self {
        let mut own = Self { rules: Vec::new(), places: HashMap::default(), shapes: Vec::new() };
        let mut shapes: HashMap<Shape, usize, RandomState> = HashMap::default();
        for rule in rules {
            for place in places(rule) {
                let shape = shape(&place);
                let at = *shapes.entry(shape).or_insert_with(|| {
                    own.shapes.push((shape, Sizes::default()));
                    own.shapes.len() - 1
                });
                if let (Some((_, sizes)), Some((_, block))) = (own.shapes.get_mut(at), place.port) {
                    sizes.add(block);
                }
                own.places.entry(place).or_default().push(own.rules.len());
            }
            own.rules.push(rule);
        }
        own
    }

    /// The place of the first rule that covers a conversation.
    pub fn first(
        &self,
        ground: Ground<'_>,
        conversation: &Conversation,
        matched: &[Matched<'_>],
    ) -> Option<(usize, &'a SiteRule)> {
        self.find(ground, conversation, matched, false)
    }

    /// The first rule that covers a conversation if what it speaks, which was not recognised, is what the rule wants.
    pub fn perhaps(
        &self,
        ground: Ground<'_>,
        conversation: &Conversation,
        matched: &[Matched<'_>],
    ) -> Option<&'a SiteRule> {
        let unknown = conversation.protocols.is_empty();
        self.find(ground, conversation, matched, unknown).map(|(_, rule)| rule)
    }

    #[inline]
    fn find(
        &self,
        ground: Ground<'_>,
        conversation: &Conversation,
        matched: &[Matched<'_>],
        any_protocol: bool,
    ) -> Option<(usize, &'a SiteRule)> {
        // Of most sites there are none.
        if self.rules.is_empty() {
            return None;
        }
        self.find_among(ground, conversation, matched, any_protocol)
    }

    fn find_among(
        &self,
        ground: Ground<'_>,
        conversation: &Conversation,
        matched: &[Matched<'_>],
        any_protocol: bool,
    ) -> Option<(usize, &'a SiteRule)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        let mut last: Option<(CellId, Endpoint, Endpoint)> = None;
        let mut near = Vec::new();
        for (flow, one) in matched.iter().enumerate() {
            let flow_of = &one.flow;
            let client = Endpoint { port: None, ..flow_of.client };
            if last.replace((flow_of.cell, client, flow_of.server))
                != Some((flow_of.cell, client, flow_of.server))
            {
                near = self.near(ground, flow_of);
            }
            found.extend(near.iter().map(|rule| (*rule, flow)));
        }
        found.sort_unstable();
        found.into_iter().find_map(|(at, flow)| {
            let (rule, one) = (*self.rules.get(at)?, matched.get(flow)?);
            (covers(ground, rule, &one.flow) && (any_protocol || speaks(rule, conversation)))
                .then_some((at, rule))
        })
    }

    /// The rules that may cover a flow, for all that networks and ports say.
    fn near(&self, ground: Ground<'_>, flow: &FlowRecord) -> Vec<usize> {
        let addresses = |host: Host| -> Vec<IpAddr> {
            let seen = host.ip();
            let also = seen.into_iter().flat_map(|ip| cast::translations(&ground.site.nat, ip));
            seen.into_iter().chain(also).collect()
        };
        let (clients, servers) = (addresses(flow.client.host), addresses(flow.server.host));
        let nets = |shape: Option<(bool, u8)>, addresses: &[IpAddr]| -> Vec<Option<IpNet>> {
            let Some((v4, length)) = shape else { return vec![None] };
            let fitting = addresses.iter().filter(|ip| ip.is_ipv4() == v4);
            fitting.filter_map(|ip| Some(Some(IpNet::new(*ip, length).ok()?.trunc()))).collect()
        };
        let carrier = carrier(flow);
        let mut found = Vec::new();
        for (shape, sizes) in &self.shapes {
            let ports: Vec<Option<(Carrier, Block)>> = match (shape.ports, carrier.zip(flow.server.port)) {
                (false, _) => vec![None],
                (true, Some((carrier, port))) => {
                    sizes.around(port).map(|block| Some((carrier, block))).collect()
                }
                (true, None) => Vec::new(),
            };
            for from in nets(shape.from, &clients) {
                for to in nets(shape.to, &servers) {
                    let places = ports.iter().map(|port| Place { from, to, port: *port });
                    found.extend(places.filter_map(|place| self.places.get(&place)).flatten().copied());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn shape(place: &Place) -> Shape {
    let length = |net: Option<IpNet>| net.map(|net| (net.addr().is_ipv4(), net.prefix_len()));
    Shape { from: length(place.from), to: length(place.to), ports: place.port.is_some() }
}

/// Where a rule stands: one place for each combination of what it names.
fn places(rule: &SiteRule) -> Vec<Place> {
    let or_any = |nets: Option<Vec<IpNet>>| match nets {
        Some(nets) => nets.into_iter().map(Some).collect(),
        None => vec![None],
    };
    let mut from: Vec<Option<IpNet>> = or_any(party_nets(&rule.from));
    let mut to: Vec<Option<IpNet>> = or_any(party_nets(&rule.to));
    let mut ports: Vec<Option<(Carrier, Block)>> = rule
        .services
        .iter()
        .flat_map(|service| Block::of(&service.ports).into_iter().map(|block| Some((service.carrier, block))))
        .collect();
    if ports.is_empty() || ports.len() > MOST_PLACES {
        ports = vec![None];
    }
    if from.len().saturating_mul(to.len()).saturating_mul(ports.len()) > MOST_PLACES {
        ports = vec![None];
    }
    if from.len().saturating_mul(to.len()) > MOST_PLACES {
        // The end with more addresses is the one that tells less.
        *(if from.len() > to.len() { &mut from } else { &mut to }) = vec![None];
    }
    let mut places = Vec::new();
    for from in &from {
        for to in &to {
            places.extend(ports.iter().map(|port| Place { from: *from, to: *to, port: *port }));
        }
    }
    places
}

/// The networks that a party lies in; `None` where something else tells who it is.
fn party_nets(party: &Party) -> Option<Vec<IpNet>> {
    match party {
        Party::Any | Party::Role(_) => None,
        Party::Bound(binding) => nets(binding),
    }
}

fn nets(binding: &Binding) -> Option<Vec<IpNet>> {
    match binding {
        Binding::Address { ip, .. } => Some(vec![IpNet::from(*ip)]),
        Binding::Prefix { net, .. } => Some(vec![net.trunc()]),
        Binding::Mac(_) | Binding::Host(_) => None,
        Binding::AnyOf(several) => {
            let nets = several.iter().map(nets).collect::<Option<Vec<_>>>()?;
            Some(nets.into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect())
        }
    }
}

fn carrier(flow: &FlowRecord) -> Option<Carrier> {
    match flow.transport {
        Transport::Tcp => Some(Carrier::Tcp),
        Transport::Udp => Some(Carrier::Udp),
        _ => None,
    }
}

/// Whether a conversation speaks what a rule wants.
fn speaks(rule: &SiteRule, conversation: &Conversation) -> bool {
    let mut spoken = conversation.layers.keys().chain(conversation.protocols.keys());
    rule.protocol.is_empty() || spoken.any(|layer| rule.protocol.iter().any(|p| p == layer))
}

/// Whether a rule covers a flow: its ends and its service.
fn covers(ground: Ground<'_>, rule: &SiteRule, flow: &FlowRecord) -> bool {
    let carrier = carrier(flow);
    let served = rule.services.is_empty()
        || rule.services.iter().any(|service| {
            Some(service.carrier) == carrier
                && flow.server.port.is_some_and(|port| service.ports.contains(&port))
        });
    served
        && is_party(ground, &rule.from, flow.cell, flow.client.host, None)
        && is_party(ground, &rule.to, flow.cell, flow.server.host, Some(flow))
}

/// Whether this end of a flow is the party that a rule names; `served` is the flow where it is the server's end, which has names.
fn is_party(
    ground: Ground<'_>,
    party: &Party,
    cell: CellId,
    host: Host,
    served: Option<&FlowRecord>,
) -> bool {
    let shown = || served.map_or_else(OfFlow::new, names::of_flow);
    match party {
        Party::Any => true,
        Party::Role(role) => {
            let names = shown();
            let mut roles = ground.cast.roles_of(cell, host).chain(ground.cast.roles_named(&names));
            roles.any(|played| ground.cast.is_called(played, role))
        }
        Party::Bound(binding) => is_bound(ground, binding, cell, host, &shown()),
    }
}

/// Whether a binding stands for this end of a flow.
fn is_bound(ground: Ground<'_>, binding: &Binding, cell: CellId, host: Host, shown: &[&str]) -> bool {
    let in_cell = |wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| {
            usize::from(cell.0)
                .checked_sub(1)
                .and_then(|at| ground.site.cells.get(at))
                .is_some_and(|known| known.name == *wanted)
        })
    };
    let also = |seen| cast::translations(&ground.site.nat, seen);
    match (binding, host) {
        (Binding::Address { ip, cell }, Host::Ip(seen)) => {
            *ip == seen && in_cell(cell) || also(seen).any(|other| other == *ip)
        }
        (Binding::Prefix { net, cell }, Host::Ip(seen)) => {
            net.contains(&seen) && in_cell(cell) || also(seen).any(|other| net.contains(&other))
        }
        (Binding::Mac(mac), Host::Mac(seen)) => *mac == seen,
        (Binding::Host(pattern), _) => shown.iter().any(|name| pattern.covers(name)),
        (Binding::AnyOf(several), _) => several.iter().any(|one| is_bound(ground, one, cell, host, shown)),
        _ => false,
    }
}
