//! Who had an address, and when: by leases (DHCP), by announcements (ARP, neighbour discovery), by the frames themselves.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use std::net::IpAddr;
use std::num::NonZeroUsize;

use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::Holder;
use crate::model::Host;
use crate::model::Lease;
use crate::model::MacAddr;
use crate::model::Observed;
use crate::model::PacketRef;
use crate::model::Role;
use crate::model::Timestamp;
use crate::threads::spread;

use super::View;
use super::marks::is_virtual_router;
use super::marks::maker;

/// The most addresses that one machine says are its own before it is taken for a router that answers for others (proxy ARP, RFC 1027).
const MOST_OF_ONE: usize = 4;

/// Fewer hosts are not worth a thread: each may have thousands of flows.
const LEAST_SHARE: usize = 128;

/// From when to when something was heard, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    first: Timestamp,
    last: Timestamp,
    times: u64,
}

impl Default for Spell {
    fn default() -> Self {
        Self { first: Timestamp::MAX, last: Timestamp::MIN, times: 0 }
    }
}

impl Spell {
    /// Adds a stretch.
    pub fn add(&mut self, since: Timestamp, until: Timestamp) {
        self.first = self.first.min(since);
        self.last = self.last.max(until);
        self.times += 1;
    }

    /// Whether two were heard in turns. One after the other is an address that changed hands.
    fn in_turns(self, other: Self) -> bool {
        self.times > 1 && other.times > 1 && self.first < other.last && other.first < self.last
    }
}

/// An address that went from one machine to another.
#[derive(Clone, Copy, Debug)]
pub struct Handover {
    /// Who had it.
    pub from: MacAddr,
    /// Who got it.
    pub to: MacAddr,
    /// The message that handed it out.
    pub at: PacketRef,
}

/// Who had which address.
#[derive(Debug, Default)]
pub struct Holders {
    leases: HashMap<(CellId, IpAddr), Vec<Lease>, RandomState>,
    announced: HashMap<(CellId, IpAddr), Vec<Holder>, RandomState>,
    /// Addresses of more than one machine at the same time, and by what that shows.
    shared: HashMap<(CellId, IpAddr), Vec<MacAddr>, RandomState>,
}

impl Holders {
    /// Reads leases and announcements.
    pub fn of(observed: &Observed) -> Self {
        let mut holders = Self::default();
        for lease in &observed.leases {
            holders.leases.entry((lease.cell, lease.address)).or_default().push(*lease);
        }
        for leases in holders.leases.values_mut() {
            leases.sort_by_key(|lease| lease.from);
            // What a relay passes on is seen twice, and a machine that asks again has the same lease.
            leases.dedup_by(|later, kept| {
                let same = later.mac == kept.mac;
                if same {
                    kept.until = kept.until.max(later.until);
                }
                same
            });
        }
        let mut addresses: HashMap<(CellId, MacAddr), usize, RandomState> = HashMap::default();
        for holder in &observed.holders {
            *addresses.entry((holder.cell, holder.mac)).or_default() += 1;
        }
        for holder in &observed.holders {
            if addresses.get(&(holder.cell, holder.mac)).is_none_or(|count| *count <= MOST_OF_ONE) {
                holders.announced.entry((holder.cell, holder.address)).or_default().push(*holder);
            }
        }
        holders
    }

    /// Whether a machine ever had the address, by a lease or by its own word.
    pub fn ever_had(&self, cell: CellId, host: Host, mac: MacAddr) -> bool {
        let Some(ip) = host.ip() else { return false };
        let leased =
            self.leases.get(&(cell, ip)).is_some_and(|known| known.iter().any(|lease| lease.mac == mac));
        leased || self.announced.get(&(cell, ip)).is_some_and(|known| known.iter().any(|one| one.mac == mac))
    }

    /// Who has an address at that time, by the lease in force.
    fn leased(&self, cell: CellId, ip: IpAddr, time: Timestamp) -> Option<MacAddr> {
        let leases = self.leases.get(&(cell, ip))?;
        let latest = leases.iter().rev().find(|lease| lease.from.time <= time)?;
        (latest.until >= time).then_some(latest.mac)
    }
}

/// Whether any two of these machines were heard in turns; virtual ones move between machines.
fn in_turns(known: impl Iterator<Item = (MacAddr, Spell)>) -> bool {
    let own = known.filter(|(mac, spell)| spell.times > 1 && !is_virtual_router(*mac));
    let own: SmallVec<[Spell; 8]> = own.map(|(_, spell)| spell).collect();
    let mut pairs =
        own.iter().enumerate().flat_map(|(at, one)| own.iter().skip(at + 1).map(move |other| (one, other)));
    pairs.any(|(one, other)| one.in_turns(*other))
}

/// MAC addresses, one after the other.
pub fn in_a_row(macs: &[MacAddr], between: &str) -> String {
    let mut told = String::with_capacity(macs.len() * (17 + between.len()));
    for (at, mac) in macs.iter().enumerate() {
        told.push_str(if at > 0 { between } else { "" });
        told.push_str(&mac.text());
    }
    told
}

impl View<'_> {
    /// The machine behind one end of a flow: by its frames before any router, else by the lease in force.
    pub fn machine(&self, flow: &FlowRecord, role: Role) -> Option<MacAddr> {
        let host = match role {
            Role::Client => flow.client.host,
            Role::Server => flow.server.host,
        };
        maker(flow.side(role)).or_else(|| self.holders.leased(flow.cell, host.ip()?, flow.first.time))
    }

    /// How an address was last handed from one machine to another while the capture went on, by a lease.
    pub fn handed_over(&self, cell: CellId, host: Host) -> Option<Handover> {
        let ip = host.ip()?;
        let leases = self.holders.leases.get(&(cell, ip))?;
        let newest = leases.last()?;
        let before = match leases.iter().rev().nth(1) {
            Some(before) => before.mac,
            // It may have been another machine's before the first lease that the capture shows.
            None => self.had_before(cell, ip, newest)?,
        };
        Some(Handover { from: before, to: newest.mac, at: newest.from })
    }

    /// Another machine that was heard under an address before it was leased.
    fn had_before(&self, cell: CellId, ip: IpAddr, lease: &Lease) -> Option<MacAddr> {
        let said = self.holders.announced.get(&(cell, ip)).into_iter().flatten();
        let said = said.map(|holder| (holder.first.time, holder.mac));
        let heard = self.hosts.marks(cell, Host::Ip(ip)).into_iter().flat_map(|marks| marks.on_link.iter());
        let heard = heard.map(|(mac, spell)| (spell.first, *mac));
        said.chain(heard)
            .filter(|(first, mac)| *first < lease.from.time && *mac != lease.mac && !is_virtual_router(*mac))
            .min()
            .map(|(_, mac)| mac)
    }

    /// The machines that use an address at the same time, in words; `None` where it is one machine's.
    pub fn shared(&self, cell: CellId, host: Host) -> Option<String> {
        let ip = host.ip()?;
        // Cloned cells have machines of their own; they are told apart, not capped.
        if self.is_cloned_somewhere(cell, host) {
            return None;
        }
        let macs = self.holders.shared.get(&(cell, ip))?;
        let macs = in_a_row(macs, " and ");
        Some(format!(
            "{host} is used by {macs} in turns: a duplicate address, or one machine with several network cards"
        ))
    }

    /// Every address that several machines use at the same time, with what is to be said of it.
    pub fn shared_addresses(&self) -> Vec<(IpAddr, &[MacAddr], String)> {
        let mut shared: Vec<_> = self.holders.shared.iter().collect();
        shared.sort_unstable_by_key(|(key, _)| **key);
        shared
            .into_iter()
            .filter_map(|(&(cell, ip), macs)| Some((ip, macs.as_slice(), self.shared(cell, Host::Ip(ip))?)))
            .collect()
    }

    /// Finds the addresses that two machines use in turns, by their frames on one VLAN or by what they announce.
    pub(super) fn find_shared(&mut self, workers: Option<NonZeroUsize>) {
        let several: Vec<_> = self.hosts.of_several_macs().collect();
        let hosts = &self.hosts;
        let shares = spread(&several, LEAST_SHARE, workers, |share| {
            let mut found = Vec::new();
            for &(cell, host) in share {
                let Some((ip, marks)) = host.ip().zip(hosts.marks(cell, host)) else { continue };
                for macs in marks.on_vlan.values().filter(|macs| macs.len() > 1) {
                    let known = marks.on_link.iter().map(|(mac, spell)| (*mac, *spell));
                    if in_turns(known.filter(|(mac, _)| macs.contains(mac))) {
                        found.push(((cell, ip), macs.keys().copied().collect()));
                    }
                }
            }
            found
        });
        let mut found = shares.concat();
        for (key, holders) in self.holders.announced.iter().filter(|(_, holders)| holders.len() > 1) {
            let spell = |one: &Holder| Spell { first: one.first.time, last: one.last.time, times: one.times };
            if in_turns(holders.iter().map(|one| (one.mac, spell(one)))) {
                found.push((*key, holders.iter().map(|one| one.mac).collect()));
            }
        }
        self.holders.shared.extend(found);
    }
}
