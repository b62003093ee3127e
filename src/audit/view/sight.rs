//! Whether an answer would have been seen: who was heard sending to whom, and when.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::CellId;
use crate::model::Few;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Role;
use crate::model::Series;
use crate::model::SideRecord;
use crate::model::Timestamp;
use crate::model::Transport;

use super::Known;
use super::View;
use super::hosts::Seen;
use super::hosts::on_link;
use super::segment;
use super::spans::Spans;

/// How near a verdict may come to saying "blocked" from silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Answers would have been seen: the pair or its segment was heard in that direction.
    Clear,
    /// The mirror carried that direction once, or carries what the target sends to others: grades are capped at C, for this reason.
    Likely(String),
    /// The mirror may not carry that direction: the reason.
    None(String),
}

/// What was tried and stayed without an answer.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// The first and the last unanswered packet.
    pub between: (Timestamp, Timestamp),
    /// The longest time between two of them.
    pub longest_gap: Duration,
    /// Whether repetitions show by themselves that nothing came back: a stack that got an answer to its SYN stops repeating it. A
    /// datagram says nothing of what happened to the one before it.
    pub repeats_until_answered: bool,
}

impl Tried {
    /// The unanswered packets of an attempt over this transport.
    pub fn of(series: &Series, transport: Transport) -> Self {
        let time = |at: Option<crate::model::PacketRef>| at.unwrap_or_default().time;
        Self {
            between: (time(series.first), time(series.last)),
            longest_gap: series.longest_gap(),
            repeats_until_answered: transport == Transport::Tcp,
        }
    }

    /// The time in which the direction back must be heard: around the attempt. For datagrams after enough of them, or shortly before the
    /// last one: the mirror may have lost that direction, and the first unanswered one is then the first after it.
    fn around(self) -> (Timestamp, Timestamp) {
        let (first, last) = self.between;
        let from = if self.repeats_until_answered {
            first.minus(AROUND)
        } else {
            last.minus(SHORTLY).min(first.plus(self.longest_gap * ENOUGH))
        };
        (from, last.plus(AROUND))
    }
}

/// How long before a datagram a packet the other way still shows that its answer would have been seen.
const SHORTLY: Duration = Duration::from_secs(10);

/// Unanswered datagrams after which the direction back must be heard: as many as make a silence (evidence table).
const ENOUGH: u32 = 3;

/// How far from an attempt a packet the other way still shows that the mirror carries that way (evidence 3.3.1: "around the attempt").
/// A minute is what a TCP stack takes to give up an opening (RFC 1122 section 4.2.3.1 asks for at least three minutes, most stop earlier).
pub const AROUND: Duration = Duration::from_secs(60);

/// A host's own frames to other segments.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    pub(super) spans: Spans,
    /// The ports it sends them from, and the neighbours it hands them to: several of either are several ways out.
    pub(super) ways: Few<(MacAddr, Option<MacAddr>)>,
}

impl Leaving {
    /// Takes in the end of a flow that is the host's.
    pub(super) fn learn(&mut self, flow: &FlowRecord, role: Role) {
        let Some((sender, receiver)) = heard_ends(flow, role) else { return };
        if let Some(mac) = on_link(flow, role)
            && is_forwarded(flow)
            && segment(sender) != segment(receiver)
        {
            let side = flow.side(role);
            let (since, until) = stretch(flow, side);
            self.spans.add(since, until);
            self.ways.insert(&(mac, side.neighbour));
        }
    }
}

/// What was heard sending to a host, and when.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// By the IP address or the MAC address of who sent.
    hosts: Known<Host, Spans>,
    segments: Known<IpAddr, Spans>,
}

impl Received {
    /// Takes in the end of a flow that sends to the host. Routers speak ICMP for themselves: seeing that shows nothing of what they forward, so that
    /// it counts for its sender alone.
    pub(super) fn learn(&mut self, flow: &FlowRecord, role: Role) {
        let Some((sender, _)) = heard_ends(flow, role) else { return };
        let side = flow.side(role);
        let (since, until) = stretch(flow, side);
        self.hosts.entry(Host::Ip(sender)).or_default().add(since, until);
        if is_forwarded(flow) {
            self.segments.entry(segment(sender)).or_default().add(since, until);
            if let Some(mac) = side.mac {
                self.hosts.entry(Host::Mac(mac)).or_default().add(since, until);
            }
        }
    }

    /// Whether there is anything at all.
    pub(super) fn is_any(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// All that came from a server's side: from it, its segment, or through the neighbour to which the host hands its packets.
    fn side_of(&self, server: IpAddr, neighbour: Option<MacAddr>) -> impl Iterator<Item = &Spans> {
        let by_mac = neighbour.and_then(|mac| self.hosts.get(&Host::Mac(mac)));
        let by_segment = self.segments.get(&segment(server));
        let by_host = self.hosts.get(&Host::Ip(server));
        [by_host, by_segment, by_mac].into_iter().flatten()
    }

    /// Puts it in order: then it may be asked.
    pub(super) fn seal(&mut self) {
        self.hosts.values_mut().chain(self.segments.values_mut()).for_each(Spans::seal);
    }
}

/// Whether a flow may have been forwarded by routers.
pub(super) fn is_forwarded(flow: &FlowRecord) -> bool {
    matches!(flow.transport, Transport::Tcp | Transport::Udp)
}

/// Sender and receiver of one side of a flow, where it proves something about itself: one that only ever sent resets does not, they may be forged.
pub(super) fn heard_ends(flow: &FlowRecord, role: Role) -> Option<(IpAddr, IpAddr)> {
    let (sender, receiver) = match role {
        Role::Client => (flow.client.host, flow.server.host),
        Role::Server => (flow.server.host, flow.client.host),
    };
    let side = flow.side(role);
    let shows = side.packets > 0 && (side.mac.is_some() || side.ttl.is_some());
    sender.ip().zip(receiver.ip()).filter(|_| shows)
}

/// From when to when a side was heard.
pub(super) fn stretch(flow: &FlowRecord, side: &SideRecord) -> (Timestamp, Timestamp) {
    let heard = side.first.zip(side.last).map(|(first, last)| (first.time, last.time));
    heard.unwrap_or((flow.first.time, flow.last.time))
}

impl View<'_> {
    /// Whether answers of `server` to what `client` tried would have been seen.
    pub fn sight(
        &self,
        cell: CellId,
        client: Host,
        client_side: &SideRecord,
        server: Host,
        tried: Tried,
    ) -> Sight {
        let (Some(client_ip), Some(server_ip)) = (client.ip(), server.ip()) else {
            return Sight::None("layer-2 answers may take another port".to_owned());
        };
        let known = self.hosts.of(cell, client);
        let unheard = known.and_then(|known| known.answers_of.get(&server_ip)).filter(|known| known.escape());
        if let Some(known) = unheard {
            return Sight::None(format!(
                "{client} acknowledges packets of {server} elsewhere that were never captured ({} of its connections): this mirror does not carry that direction",
                known.unseen
            ));
        }
        if let Some(known) = known.map(|known| known.answers).filter(|known| known.escape()) {
            return Sight::None(format!(
                "{client} acknowledges answers elsewhere that were never captured ({} of its connections): this mirror does not carry what {client} is sent",
                known.unseen
            ));
        }
        let (from, until) = tried.around();
        let received = known.map(|known| &known.received);
        let side =
            || received.into_iter().flat_map(|received| received.side_of(server_ip, client_side.neighbour));
        if side().any(|spans| spans.meets(from, until)) || self.leaves(cell, client_ip, server_ip, tried) {
            return Sight::Clear;
        }
        let (first, last) = tried.between;
        let before = side().filter_map(|spans| spans.before(first)).max();
        let after = side().filter_map(|spans| spans.after(last)).min();
        if let Some(sight) = self.heard_at_other_times(cell, client, (before, after), tried) {
            return sight;
        }
        if !self.receives(cell, client) {
            return Sight::None(format!(
                "nothing sent to {client} was ever captured, so its answers would not be seen either"
            ));
        }
        // A datagram's answer may take another way than what was heard, unless the target's own port is mirrored.
        let own_port = self.hosts.marks(cell, server).is_some_and(|marks| marks.on_link.len() == 1);
        if self.heard_between(cell, server).is_some() && (own_port || tried.repeats_until_answered) {
            return Sight::Likely(format!(
                "{server} was heard speaking to others only, never to {client} or its like"
            ));
        }
        Sight::None(format!(
            "{server} and its neighbours were never heard sending: this mirror may not carry what comes from there"
        ))
    }

    /// Whether all that the target sends to other segments passes here, whomever it is for: its own frames do, before any router.
    ///
    /// A target with several ways out may answer by one that is not mirrored. That matters for datagrams alone: a client that got an answer to
    /// its SYN would show it.
    fn leaves(&self, cell: CellId, client: IpAddr, server: IpAddr, tried: Tried) -> bool {
        let (from, until) = tried.around();
        segment(server) != segment(client)
            && self.hosts.of(cell, Host::Ip(server)).is_some_and(|Seen { leaving, .. }| {
                leaving.spans.meets(from, until) && (tried.repeats_until_answered || leaving.ways.len() == 1)
            })
    }

    /// What it is worth that the way back was heard before or after an attempt and not around it; `None` where it never was.
    fn heard_at_other_times(
        &self,
        cell: CellId,
        client: Host,
        (before, after): (Option<Timestamp>, Option<Timestamp>),
        tried: Tried,
    ) -> Option<Sight> {
        let (first, last) = tried.between;
        let (from, until, words) = match (before, after) {
            (None, None) => return None,
            (Some(_), Some(_)) => return Some(Sight::Clear),
            (Some(before), None) => {
                (before, last, format!("captured {} s before and never since", first.since(before).as_secs()))
            }
            (None, Some(after)) => {
                (first, after, format!("captured {} s after and not before", after.since(last).as_secs()))
            }
        };
        let known = self.hosts.of(cell, client);
        let unseen = known.is_some_and(|known| known.unseen_answers.meets(from, until));
        if unseen || !tried.repeats_until_answered {
            return Some(Sight::None(format!(
                "what comes to {client} from there was {words}: this mirror may not have carried that direction at the time"
            )));
        }
        Some(Sight::Likely(format!("what comes to {client} from there was {words}")))
    }
}
