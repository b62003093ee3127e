//! Which address space a packet belongs to: by VLAN, tunnel or interface, as the site says.

use std::net::IpAddr;

use crate::decode::Context;
use crate::decode::Tunnel;
use crate::model::CellId;

/// What tells one cell's packets; every part that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellRule {
    /// The cell.
    pub cell: CellId,
    /// One of the VLAN tags.
    pub vlan: Option<u16>,
    /// The identifier of one of the tunnels (VNI, GRE key, ERSPAN session).
    pub tunnel: Option<u32>,
    /// An outer address of one of the tunnels.
    pub outer: Option<IpAddr>,
    /// The interface within the input.
    pub interface: Option<u32>,
}

/// The rules in the order in which they are tried; what none fits is the plant itself, cell 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellMap(Vec<CellRule>);

impl CellMap {
    /// A map of these rules; the earlier one wins.
    pub fn new(rules: Vec<CellRule>) -> Self {
        Self(rules)
    }

    /// The cell of a packet.
    pub fn cell(&self, context: &Context, interface: u32) -> CellId {
        self.within(&context.vlans, &context.tunnels, interface)
    }

    /// The cell of a packet in those VLANs and tunnels.
    #[inline]
    pub fn within(&self, vlans: &[u16], tunnels: &[Tunnel], interface: u32) -> CellId {
        self.0.iter().find(|rule| rule.fits(vlans, tunnels, interface)).map_or(CellId(0), |rule| rule.cell)
    }
}

impl CellRule {
    fn fits(&self, vlans: &[u16], tunnels: &[Tunnel], interface: u32) -> bool {
        let outer = |tunnel: &Tunnel, ip| tunnel.outer.is_some_and(|(from, to)| from == ip || to == ip);
        self.vlan.is_none_or(|vlan| vlans.contains(&vlan))
            && self.tunnel.is_none_or(|id| tunnels.iter().any(|tunnel| tunnel.id == id))
            && self.outer.is_none_or(|ip| tunnels.iter().any(|tunnel| outer(tunnel, ip)))
            && self.interface.is_none_or(|own| own == interface)
    }
}
