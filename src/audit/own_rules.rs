//! The site's own rules: whom and what an `[[allow]]`, `[[forbid]]` or `[[waive]]` entry covers.

use std::collections::BTreeSet;

use crate::model::CellId;
use crate::model::Conversation;
use crate::model::Host;
use crate::model::Transport;
use crate::rules::Binding;
use crate::rules::Carrier;
use crate::rules::Party;
use crate::rules::SiteRule;

use super::cast;
use super::matching::Matched;
use super::names;
use super::requirement::Ground;

/// Whether one of the site's own rules covers a conversation: its ends, its service and what it speaks.
pub fn covers(
    ground: Ground<'_>,
    rule: &SiteRule,
    conversation: &Conversation,
    matched: &[Matched<'_>],
) -> bool {
    matched.iter().any(|one| {
        let flow = &one.flow;
        let carrier = match flow.transport {
            Transport::Tcp => Some(Carrier::Tcp),
            Transport::Udp => Some(Carrier::Udp),
            _ => None,
        };
        let served = rule.services.is_empty()
            || rule.services.iter().any(|service| {
                Some(service.carrier) == carrier
                    && flow.server.port.is_some_and(|port| service.ports.contains(&port))
            });
        let spoken = rule.protocol.is_empty()
            || conversation
                .layers
                .iter()
                .chain(&conversation.protocols)
                .any(|layer| rule.protocol.iter().any(|p| p == layer));
        let cast = ground.cast;
        let client_names: Vec<&str> = Vec::new();
        served
            && spoken
            && is_party(
                ground,
                &rule.from,
                flow.cell,
                flow.client.host,
                &cast.roles_of(flow.cell, flow.client.host),
                &client_names,
            )
            && is_party(
                ground,
                &rule.to,
                flow.cell,
                flow.server.host,
                &cast.server_roles(flow),
                &names::of_flow(flow),
            )
    })
}

/// Whether this end of a flow is the party that a rule names.
fn is_party(
    ground: Ground<'_>,
    party: &Party,
    cell: CellId,
    host: Host,
    roles: &BTreeSet<(usize, &str)>,
    shown: &[&str],
) -> bool {
    match party {
        Party::Any => true,
        Party::Role(role) => roles.iter().any(|(_, played)| played == role),
        Party::Bound(binding) => is_bound(ground, binding, cell, host, shown),
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
