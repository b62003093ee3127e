//! What this mirror could have seen: visibility of answers, loss, baselines of resets, and the guards at both ends.

mod guards;
mod holders;
mod loss;
mod marks;
mod recordings;
mod round_trips;
mod sight;
mod spans;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::num::NonZeroUsize;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Observed;
use crate::model::PacketRef;
use crate::model::Role;
use crate::model::Series;
use crate::model::Timestamp;
use crate::model::Transport;

use super::spread::both;
use super::spread::is_worth_a_thread;
use super::walk::each_flow;

use holders::Holders;
use loss::Losses;
use marks::Marks;
use recordings::Recordings;
use round_trips::RoundTrips;
use sight::Leaving;
use sight::Received;
use sight::heard_ends;
use sight::is_forwarded;
use sight::stretch;
use spans::Spans;

pub use loss::Missing;
pub use marks::FOR_COMPARISON;
pub use marks::Forged;
pub use marks::hops;
pub use marks::maker;
pub use sight::AROUND;
pub use sight::Sight;
pub use sight::Tried;

/// The most flows with unseen answers, of a client or a pair, beside so many times as many with seen ones: fewer are an accident of loss.
const RARELY_UNHEARD: u32 = 4;

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

/// Connections of which a client's own packets prove that they were answered.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    /// Those whose answers the mirror showed.
    seen: u32,
    /// Those whose answers it did not show at all.
    unseen: u32,
}

impl Answers {
    /// Whether silence says nothing: answers that must have come were not shown.
    fn escape(self) -> bool {
        self.unseen > 0 && self.seen < self.unseen.saturating_mul(RARELY_UNHEARD)
    }
}

/// What is asked by its key alone, and never told in order.
type Known<K, V> = HashMap<K, V, RandomState>;

/// What is known of the mirror as a whole.
#[derive(Debug)]
pub struct View {
    /// Which inputs are one recording, and where each ends.
    recordings: Recordings,
    /// How much is missing where.
    losses: Losses,
    /// Who had which address when.
    holders: Holders,
    /// What was heard sending to a host, and when.
    received: Received,
    /// Hosts whose own frames to other segments are seen before any router: at their own port, or at their gateway's.
    leaving: Known<(CellId, IpAddr), Leaving>,
    heard: Known<(CellId, Host), (Timestamp, Timestamp)>,
    /// The same over all cells.
    heard_anywhere: Known<Host, (Timestamp, Timestamp)>,
    /// How often a client's opened connections showed answers, by client and by pair.
    answers: Known<(CellId, IpAddr), Answers>,
    answers_of: Known<(CellId, IpAddr, IpAddr), Answers>,
    /// When a client acknowledged what the mirror did not show.
    unseen_answers: Known<(CellId, IpAddr), Spans>,
    /// Whom ICMP errors reached that can't be read, and the packets from and to which they came.
    unread: Known<(CellId, IpAddr), Vec<(PacketRef, PacketRef)>>,
    /// Machines that answer nobody's address resolution, by who asks.
    down: Known<(CellId, IpAddr), Vec<Down>>,
    marks: Known<(CellId, Host), Marks>,
    /// How soon a host answers.
    round_trips: RoundTrips,
    /// Whether anything of an address, in any cell, had passed no router.
    at_home: Known<Host, bool>,
    /// MAC addresses given for an address by address resolution.
    announced: Known<(CellId, IpAddr), BTreeSet<MacAddr>>,
    /// Datagrams from a server to a port that never asked this server, by that port and the server's.
    strays: Known<Asking, (IpAddr, PacketRef)>,
    /// Whom a port asked in vain.
    in_vain: Known<Asking, IpAddr>,
    /// When a service last answered which client, for the positive control.
    answered: Known<(CellId, Host, Option<u16>), Answered>,
}

/// Whom a service answered last, and when; and when it last answered anybody else.
#[derive(Clone, Copy, Debug)]
struct Answered {
    client: Host,
    latest: Timestamp,
    others: Option<Timestamp>,
}

impl Answered {
    fn add(&mut self, client: Host, latest: Timestamp) {
        if client == self.client {
            self.latest = self.latest.max(latest);
        } else if latest > self.latest {
            *self = Self { client, latest, others: Some(self.latest) };
        } else {
            self.others = self.others.max(Some(latest));
        }
    }
}

/// Who asks from which port, and for which port: what an answer from another address of the server has as well.
type Asking = (CellId, IpAddr, Option<u16>, Option<u16>);

impl View {
    /// Reads the vantage out of everything observed, on two threads where so many may work on so much.
    pub fn of(observed: &Observed, workers: Option<NonZeroUsize>) -> Self {
        let mut view = if is_worth_a_thread(observed.conversations.len(), workers) {
            let (view, received) = both(|| Self::learnt(observed, false), || Received::of(observed));
            Self { received, ..view }
        } else {
            Self::learnt(observed, true)
        };
        view.received.seal();
        view
    }

    /// All of it, or all but what was sent to whom.
    fn learnt(observed: &Observed, with_received: bool) -> Self {
        let mut view = Self {
            recordings: Recordings::of(observed),
            losses: Losses::of(&observed.vantage),
            holders: Holders::of(observed),
            down: Known::default(),
            answers: Known::default(),
            answers_of: Known::default(),
            unseen_answers: Known::default(),
            unread: observed.vantage.unread_errors.iter().map(|(key, known)| (*key, known.clone())).collect(),
            strays: Known::default(),
            in_vain: Known::default(),
            received: Received::default(),
            leaving: Known::default(),
            heard: observed
                .vantage
                .heard
                .iter()
                .map(|(key, heard)| (*key, (heard.first.time, heard.last.time)))
                .collect(),
            heard_anywhere: Known::default(),
            marks: Known::default(),
            round_trips: RoundTrips::default(),
            at_home: Known::default(),
            announced: Known::default(),
            answered: Known::default(),
        };
        for (&(_, host), heard) in &observed.vantage.heard {
            let (first, last) = (heard.first.time, heard.last.time);
            let known = view.heard_anywhere.entry(host).or_insert((first, last));
            *known = (known.0.min(first), known.1.max(last));
        }
        view.learn_resolutions(observed);
        each_flow(observed, |key, flow| {
            view.learn(flow);
            if with_received {
                view.received.learn(flow);
            }
            let (asked, answer) = (flow.from_client.packets > 0, flow.from_server.last_payload);
            if let Some(latest) =
                answer.map(|at| at.time).filter(|_| asked && flow.from_server.payload_packets > 0)
            {
                let new = Answered { client: key.client, latest, others: None };
                let known = view.answered.entry((key.cell, key.server, key.port)).or_insert(new);
                known.add(key.client, latest);
            }
        });
        for ((_, host), marks) in &view.marks {
            *view.at_home.entry(*host).or_default() |= marks.at_home;
        }
        view.find_shared();
        let leaving = view.leaving.values_mut().map(|leaving| &mut leaving.spans);
        leaving.chain(view.unseen_answers.values_mut()).for_each(Spans::seal);
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

    fn learn(&mut self, flow: &FlowRecord) {
        self.losses.learn(flow, &self.recordings);
        self.count_answers(flow);
        self.round_trips.learn(flow);
        self.pair_up(flow);
        for role in [Role::Client, Role::Server] {
            let Some((sender, receiver)) = heard_ends(flow, role) else { continue };
            let side = flow.side(role);
            let marks = self.marks.entry((flow.cell, Host::Ip(sender))).or_default();
            marks.at_home |= side.ttl.is_none_or(|ttl| hops(ttl) == 0);
            if let Some(mac) = side.mac
                && side.ttl.is_some_and(|ttl| hops(ttl) == 0)
            {
                let (since, until) = stretch(flow, side);
                if is_forwarded(flow) && segment(sender) != segment(receiver) {
                    let leaving = self.leaving.entry((flow.cell, sender)).or_default();
                    leaving.spans.add(since, until);
                    leaving.ways.insert(&(mac, side.neighbour));
                }
                marks.sample = marks.sample.into_iter().chain(side.first).min();
                marks.on_link.change(&mac, |spell| spell.add(since, until));
                marks.on_vlan.change(&*flow.vlans, |macs| macs.insert(&mac));
            }
            if let Some(reset) = side.reset
                && side.payload_packets > 0
            {
                marks.reset_ttls.push(reset.ttl);
            }
        }
    }

    /// Remembers datagrams that ask in vain, and those that answer nothing that their sender was asked.
    fn pair_up(&mut self, flow: &FlowRecord) {
        let (Some(client), Some(server)) = (flow.client.host.ip(), flow.server.host.ip()) else { return };
        if flow.transport != Transport::Udp {
            return;
        }
        let asking = (flow.cell, client, flow.client.port, flow.server.port);
        if flow.from_client.packets == 0 {
            self.strays.entry(asking).or_insert((server, flow.first));
        } else if flow.from_server.packets == 0 {
            self.in_vain.entry(asking).or_insert(server);
        }
    }

    /// The other address that answers what a port asked in vain, and the first such answer: a server with several addresses takes the one of the
    /// interface by which it answers.
    pub fn answered_from(&self, flow: &FlowRecord) -> Option<(IpAddr, PacketRef)> {
        let asking = (flow.cell, flow.client.host.ip()?, flow.client.port, flow.server.port);
        self.strays.get(&asking).copied().filter(|(from, at)| {
            Some(*from) != flow.server.host.ip() && at.time.plus(Duration::from_millis(5)) >= flow.first.time
        })
    }

    /// Whom the client of such an answer had asked.
    pub fn asked_of(&self, flow: &FlowRecord) -> Option<IpAddr> {
        let asking = (flow.cell, flow.client.host.ip()?, flow.client.port, flow.server.port);
        (flow.transport == Transport::Udp && flow.from_client.packets == 0)
            .then(|| self.in_vain.get(&asking).copied())
            .flatten()
    }

    /// Counts connections whose client acknowledges what the server sent, by whether the mirror showed it.
    fn count_answers(&mut self, flow: &FlowRecord) {
        let (Some(client), Some(server)) = (flow.client.host.ip(), flow.server.host.ip()) else { return };
        let side = &flow.from_client;
        // What a client sends after its SYN, or acknowledges anew, answers something; a repetition into a dead connection does not.
        let opened = side.syn.count > 0 && (side.first_ack.is_some() || side.payload_packets > 0);
        let proven = opened || side.acked_payload.is_some();
        if flow.transport != Transport::Tcp || !proven {
            return;
        }
        let unseen = flow.from_server.packets == 0;
        if unseen {
            let until = side.last.map_or(flow.last.time, |last| last.time);
            self.unseen_answers.entry((flow.cell, client)).or_default().add(flow.first.time, until);
        }
        let by_client = self.answers.entry((flow.cell, client)).or_default();
        let by_pair = self.answers_of.entry((flow.cell, client, server)).or_default();
        for answers in [by_client, by_pair] {
            if unseen {
                answers.unseen += 1;
            } else {
                answers.seen += 1;
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
        let known = self.unread.get(&(cell, client.ip()?))?;
        let meant = known
            .iter()
            .filter(|(from, until)| *until >= first && from.time.since(last.time) <= ANSWERED_WITHIN);
        meant.map(|(from, _)| *from).min()
    }

    /// Whether anything at all that was sent to a host was captured.
    pub fn receives(&self, cell: CellId, host: Host) -> bool {
        host.ip().is_some_and(|ip| self.received.is_to(cell, ip))
    }

    /// Whether the recording of a packet is cut by a snap length.
    pub fn cuts(&self, at: PacketRef) -> bool {
        self.recordings.cuts(at)
    }

    /// `packet 12`, and of which file where there are several.
    pub fn packet(&self, at: PacketRef) -> String {
        self.recordings.packet(at)
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
        self.heard.get(&(cell, host)).is_some_and(|(_, last)| *last > time)
    }

    /// For how long a host was heard, from its first to its last packet; in any cell.
    pub fn heard_for(&self, host: Host) -> Option<Duration> {
        let (first, last) = self.heard_anywhere.get(&host)?;
        Some(last.since(*first))
    }

    /// When a host was last heard, in any cell.
    pub fn last_heard(&self, host: Host) -> Option<Timestamp> {
        Some(self.heard_anywhere.get(&host)?.1)
    }

    /// When another client of the same service last got an answer.
    pub fn others_answered(
        &self,
        cell: CellId,
        server: Host,
        port: Option<u16>,
        but: Host,
    ) -> Option<Timestamp> {
        let known = self.answered.get(&(cell, server, port))?;
        if known.client == but { known.others } else { Some(known.latest) }
    }

    /// From when to when a host was heard.
    pub fn heard_between(&self, cell: CellId, host: Host) -> Option<(Timestamp, Timestamp)> {
        self.heard.get(&(cell, host)).copied()
    }
}

/// The usual subnet of an address: /24 or /64. Only a stand-in for "its segment", of which a mirror says nothing.
fn segment(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}
