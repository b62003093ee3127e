//! By what machines are told apart: MAC addresses before any router, hops, and the time to live of their own resets.

use crate::model::CellId;
use crate::model::Few;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::PacketRef;
use crate::model::Reset;
use crate::model::Role;
use crate::model::SideRecord;

use super::View;
use super::holders::Spell;
use super::hosts::on_link;
use super::sight::heard_ends;
use super::sight::stretch;

/// Resets of one host needed before their time to live is a baseline (evidence table).
const RESET_BASELINE: usize = 3;

/// A host's usual marks on this mirror.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// MACs of packets in its name that had passed no router (those of the machine itself), and when each was heard.
    pub(super) on_link: Few<MacAddr, Spell>,
    /// The same by VLAN, to tell cloned cells.
    pub(super) on_vlan: Few<Vec<u16>, Few<MacAddr>>,
    reset_ttls: Vec<u8>,
    /// Whether anything of it had passed no router, where anything of it was heard.
    at_home: Option<bool>,
    /// A packet that it made itself, to hold others against.
    sample: Option<PacketRef>,
}

impl Marks {
    /// Takes in the end of a flow that is the host's.
    pub(super) fn learn(&mut self, flow: &FlowRecord, role: Role) {
        if heard_ends(flow, role).is_none() {
            return;
        }
        let side = flow.side(role);
        let at_home = side.ttl.is_none_or(|ttl| hops(ttl) == 0);
        self.at_home = Some(at_home || self.at_home == Some(true));
        if let Some(mac) = on_link(flow, role) {
            let (since, until) = stretch(flow, side);
            self.sample = self.sample.into_iter().chain(side.first).min();
            let known = self.on_link.len();
            self.on_link.change(&mac, |spell| spell.add(since, until));
            // Nearly always there is one VLAN, or none: then all that are known are there.
            let is_there =
                self.on_link.len() == known && self.on_vlan.len() == 1 && self.on_vlan.contains(&*flow.vlans);
            if !is_there {
                self.on_vlan.change(&*flow.vlans, |macs| macs.insert(&mac));
            }
        }
        if let Some(reset) = side.reset
            && side.payload_packets > 0
        {
            self.reset_ttls.push(reset.ttl);
        }
    }
}

/// What is said of a packet that shows the host's own marks.
pub const FOR_COMPARISON: &str = "for comparison: a packet that it made itself";

/// A reset that is provably not that of the host whose name it bears.
#[derive(Clone, Debug)]
pub struct Forged {
    /// Why, in plain words.
    pub why: String,
    /// Who made it, or handed it on.
    pub maker: MacAddr,
    /// A packet that the host made itself, for comparison.
    pub own: Option<PacketRef>,
}

impl View<'_> {
    /// Whether an address is that of one machine on this VLAN and of another one elsewhere: a cell that nobody declared.
    pub fn is_cloned(&self, cell: CellId, host: Host, vlans: &[u16]) -> bool {
        self.hosts.marks(cell, host).is_some_and(|marks| {
            let here = marks.on_vlan.get(vlans);
            let other = marks.on_vlan.iter().any(|(vlan, macs)| {
                let apart = |here: &Few<MacAddr>| !here.keys().any(|mac| macs.contains(mac));
                vlan != vlans && here.is_some_and(apart) && !macs.keys().any(|mac| is_virtual_router(*mac))
            });
            other && here.is_some_and(|macs| !macs.keys().any(|mac| is_virtual_router(*mac)))
        })
    }

    /// The same, for an address of which no packet is at hand.
    pub fn is_cloned_somewhere(&self, cell: CellId, host: Host) -> bool {
        let marks = self.hosts.marks(cell, host);
        marks.is_some_and(|marks| marks.on_vlan.keys().any(|vlans| self.is_cloned(cell, host, vlans)))
    }

    /// Whether everything heard of a host had passed a router before: what is thrown away before that is not shown.
    pub fn is_behind_a_router(&self, host: Host) -> bool {
        let known = self.cells.iter().filter_map(|cell| self.hosts.marks(*cell, host)?.at_home);
        known.reduce(|one, other| one || other) == Some(false)
    }

    /// Why a reset in a host's name is provably not that host's; `None` where it may be.
    ///
    /// A reset that passed no router was made by whoever owns its MAC. Where the host's own packets are seen before any router too,
    /// under another MAC, that is somebody else. A copy of the host's own reset taken behind a router has lost a hop and proves nothing.
    pub fn forged(&self, cell: CellId, host: Host, reset: &Reset) -> Option<Forged> {
        let marks = self.hosts.marks(cell, host)?;
        let mac = reset.mac?;
        if self.announced.get(&(cell, host.ip()?)).is_some_and(|macs| macs.contains(&mac))
            || self.holders.ever_had(cell, host, mac)
        {
            return None;
        }
        let virtual_router =
            is_virtual_router(mac) || marks.on_link.keys().any(|own| is_virtual_router(*own));
        if !marks.on_link.is_empty()
            && !marks.on_link.contains(&mac)
            && hops(reset.ttl) == 0
            && !virtual_router
        {
            let own = marks.on_link.keys().map(MacAddr::to_string).collect::<Vec<_>>().join(", ");
            let why = format!("it was made by {mac}, everything else of {host} by {own}");
            return Some(Forged { why, maker: mac, own: marks.sample });
        }
        let usual = &marks.reset_ttls;
        if usual.len() >= RESET_BASELINE && usual.iter().all(|ttl| hops(*ttl) != hops(reset.ttl)) {
            let why = format!(
                "the reset arrived {} hops away, {} other resets of {host} at {}",
                hops(reset.ttl),
                usual.len(),
                usual.first().map_or(0, |ttl| hops(*ttl))
            );
            return Some(Forged { why, maker: mac, own: marks.sample });
        }
        None
    }
}

/// How many routers a packet passed, were its initial time to live the next of the usual 32, 64, 128, 255.
pub fn hops(ttl: u8) -> u8 {
    [32, 64, 128, 255].into_iter().find(|initial| ttl <= *initial).unwrap_or(255) - ttl
}

/// VRRP (RFC 5798 section 7.3) and HSRP virtual MAC addresses move between machines.
pub(super) fn is_virtual_router(mac: MacAddr) -> bool {
    matches!(
        mac.0,
        [0x00, 0x00, 0x5e, 0x00, 0x01 | 0x02, _]
            | [0x00, 0x00, 0x0c, 0x07, 0xac, _]
            | [0x00, 0x00, 0x0c, 0x9f, _, _]
    )
}

/// The MAC address of whoever made the packets of one side of a flow, where they had passed no router and it is no virtual one.
pub fn maker(side: &SideRecord) -> Option<MacAddr> {
    let at_home = side.ttl.is_some_and(|ttl| hops(ttl) == 0);
    side.mac.filter(|mac| at_home && !is_virtual_router(*mac))
}
