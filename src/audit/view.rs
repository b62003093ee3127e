//! What this mirror could have seen: visibility of answers, loss, baselines of resets, and the guards at both ends.

mod guards;
mod hidden;
mod holders;
mod hosts;
mod loss;
mod marks;
mod recordings;
mod round_trips;
mod sight;
mod spans;
#[cfg(test)]
mod tests;
mod unpaired;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::num::NonZeroUsize;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::model::CellId;
use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Observed;
use crate::model::PacketRef;
use crate::model::Series;
use crate::model::Timestamp;
use crate::model::Transport;
use crate::threads::spread;

use super::walk::LEAST_SHARE;
use super::walk::each_flow;

use holders::Holders;
use hosts::Hosts;
use loss::Losses;
use recordings::Recordings;
use unpaired::Unpaired;

pub use holders::in_a_row;
pub use loss::Missing;
pub use marks::FOR_COMPARISON;
pub use marks::Forged;
pub use marks::hops;
pub use marks::maker;
pub use sight::AROUND;
pub use sight::Sight;
pub use sight::Tried;

/// Requests of address resolution without an answer that show a host to be off: what Linux and Windows send before they give up.
const ASKED_IN_VAIN: u32 = 3;

/// How long after the last try an ICMP error may still be about it: routers answer at once, but for address resolution in vain, which takes seconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

/// A machine that does not answer address resolution although answers are visible.
#[derive(Clone, Copy, Debug)]
pub struct Down {
    /// Who asks for it.
    pub asker: IpAddr,
    /// The requests.
    pub requests: Series,
}

/// What is asked by its key alone, and never told in order.
type Known<K, V> = HashMap<K, V, RandomState>;

/// What is known of the mirror as a whole.
#[derive(Debug)]
pub struct View<'a> {
    observed: &'a Observed,
    /// Which inputs are one recording, and where each ends.
    recordings: Recordings,
    /// How much is missing where.
    losses: Losses,
    /// Who had which address when.
    holders: Holders,
    /// Machines that answer nobody's address resolution, by who asks.
    down: Known<(CellId, IpAddr), Vec<Down>>,
    /// MAC addresses given for an address by address resolution.
    announced: Known<(CellId, IpAddr), BTreeSet<MacAddr>>,
    /// What the flows of each host show.
    hosts: Hosts<'a>,
    /// Datagrams without their counterparts.
    unpaired: Unpaired<'a>,
    /// The address spaces in use.
    cells: Vec<CellId>,
}

impl<'a> View<'a> {
    /// Reads the vantage out of everything observed.
    pub fn of(observed: &'a Observed, workers: Option<NonZeroUsize>) -> Self {
        let recordings = Recordings::of(observed);
        let conversations: Vec<_> = observed.conversations.values().map(AsRef::as_ref).collect();
        let shares = spread(&conversations, LEAST_SHARE, workers, |share| {
            let (mut losses, mut hosts, mut unpaired) = (
                Losses::default(),
                Hosts::with_room(share.len(), observed.vantage.heard.len()),
                Unpaired::default(),
            );
            each_flow(share, |at, flow| {
                losses.learn(flow, &recordings);
                unpaired.learn(flow);
                if let Some(conversation) = share.get(at) {
                    hosts.learn(at, &conversation.key, flow);
                }
            });
            (losses, hosts, unpaired)
        });
        let joined = shares.into_iter().reduce(|mut all, (losses, hosts, unpaired)| {
            all.0.join(losses);
            all.1.join(hosts);
            all.2.join(unpaired);
            all
        });
        let (losses, hosts, unpaired) = joined.unwrap_or_default();
        let mut view = Self {
            observed,
            recordings,
            losses: losses.of_all(&observed.vantage),
            holders: Holders::of(observed),
            down: Known::default(),
            announced: Known::default(),
            hosts: hosts.among(conversations),
            unpaired,
            cells: cells(observed),
        };
        view.learn_resolutions(observed);
        view.find_shared(workers);
        view
    }

    /// Learns who does not answer, and which MAC addresses a host itself announces: an address may move to another machine.
    fn learn_resolutions(&mut self, observed: &Observed) {
        // Replies are visible on a segment where somebody got one.
        let answered: BTreeSet<(CellId, IpAddr)> = observed
            .resolutions
            .iter()
            .filter(|known| known.answer.is_some())
            .filter_map(|known| Some((known.cell, segment(known.asker?))))
            .collect();
        for known in &observed.resolutions {
            if let Some((_, mac)) = known.answer {
                // It may still go off later: what it does not answer any more counts from here.
                self.announced.entry((known.cell, known.target)).or_default().insert(mac);
            }
            let Some(asker) = known.asker else { continue };
            let replies = answered.contains(&(known.cell, segment(asker)));
            let requests = known.unanswered;
            if replies && self.is_settled(&requests, ASKED_IN_VAIN) {
                self.down.entry((known.cell, known.target)).or_default().push(Down { asker, requests });
            }
        }
    }

    /// How it shows that a host is off: somebody asks for its address in vain, and it was not heard since.
    pub fn down(&self, cell: CellId, host: Host) -> Option<&Down> {
        let known = self.down.get(&(cell, host.ip()?))?;
        known.iter().find(|down| {
            let since = down.requests.first.map_or(Timestamp::MIN, |first| first.time);
            !self.heard_after(cell, host, since)
        })
    }

    /// The same, where a certain host asks.
    pub fn asks_in_vain(&self, cell: CellId, asker: IpAddr, host: Host) -> Option<&Down> {
        self.down(cell, host)?;
        self.down.get(&(cell, host.ip()?))?.iter().find(|down| down.asker == asker)
    }

    /// The first ICMP error that reached a host while it tried in vain, and of which the snap length left no more than that: silence is not what came
    /// back then.
    pub fn unread_error(&self, cell: CellId, client: Host, tried: &Series) -> Option<PacketRef> {
        let (first, last) = tried.first.zip(tried.last)?;
        let known = self.observed.vantage.unread_errors.get(&(cell, client.ip()?))?;
        let meant = known
            .iter()
            .filter(|(from, until)| *until >= first && from.time.since(last.time) <= ANSWERED_WITHIN);
        meant.map(|(from, _)| *from).min()
    }

    /// Whether anything at all that was sent to a host was captured.
    pub fn receives(&self, cell: CellId, host: Host) -> bool {
        self.hosts.of(cell, host).is_some_and(|known| known.received.is_any())
    }

    /// Whether the recording of a packet is cut by a snap length.
    pub fn cuts(&self, at: PacketRef) -> bool {
        self.recordings.cuts(at)
    }

    /// `packet 12`, and of which file where there are several.
    pub fn packet(&self, at: PacketRef) -> String {
        self.recordings.packet(at)
    }

    /// All conversations in the order of their keys.
    pub fn conversations(&self) -> &[&'a Conversation] {
        self.hosts.conversations()
    }

    /// Which inputs are one recording.
    pub fn recordings(&self) -> &Recordings {
        &self.recordings
    }

    /// The mirrors that show TCP: connections that must have been answered, and those of them heard in one direction only.
    pub fn directions(&self) -> Vec<(loss::Place<'_>, (u64, u64))> {
        self.losses.directions()
    }

    /// The mirrors that miss enough to cap grades, where there are several: recording, VLANs, tunnels, and how much.
    pub fn lossy_mirrors(&self) -> Vec<(usize, &[u16], &[String], Missing)> {
        self.losses.lossy_mirrors()
    }

    /// Whether a host sent anything later than that.
    pub fn heard_after(&self, cell: CellId, host: Host, time: Timestamp) -> bool {
        self.heard_between(cell, host).is_some_and(|(_, last)| last > time)
    }

    /// For how long a host was heard, from its first to its last packet; in any cell.
    pub fn heard_for(&self, host: Host) -> Option<Duration> {
        let (first, last) = self.heard_anywhere(host)?;
        Some(last.since(first))
    }

    /// When a host was last heard, in any cell.
    pub fn last_heard(&self, host: Host) -> Option<Timestamp> {
        Some(self.heard_anywhere(host)?.1)
    }

    fn heard_anywhere(&self, host: Host) -> Option<(Timestamp, Timestamp)> {
        let heard = self.cells.iter().filter_map(|cell| self.heard_between(*cell, host));
        heard.reduce(|known, other| (known.0.min(other.0), known.1.max(other.1)))
    }

    /// When another client of the same service last got an answer.
    pub fn others_answered(
        &self,
        cell: CellId,
        server: Host,
        port: Option<u16>,
        but: Host,
    ) -> Option<Timestamp> {
        self.hosts.of(cell, server)?.answered(port, but)
    }

    /// From when to when a host was heard.
    pub fn heard_between(&self, cell: CellId, host: Host) -> Option<(Timestamp, Timestamp)> {
        let heard = self.observed.vantage.heard.get(&(cell, host))?;
        Some((heard.first.time, heard.last.time))
    }
}

/// The address spaces in which anybody was heard or was spoken to.
fn cells(observed: &Observed) -> Vec<CellId> {
    let least = Host::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let mut cells = Vec::new();
    let mut next = Some(CellId(0));
    while let Some(cell) = next {
        let heard = observed.vantage.heard.range((cell, least)..).next().map(|((cell, _), _)| *cell);
        let key =
            ConversationKey { cell, client: least, server: least, transport: Transport::Tcp, port: None };
        let spoke = observed.conversations.range(key..).next().map(|(key, _)| key.cell);
        let found = heard.into_iter().chain(spoke).min();
        cells.extend(found);
        next = found.and_then(|cell| cell.0.checked_add(1)).map(CellId);
    }
    cells
}

/// The usual subnet of an address: /24 or /64. Only a stand-in for "its segment", of which a mirror says nothing.
fn segment(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}
