//! What the flows of each host show, worked out when somebody asks: of most hosts of a large capture nobody ever does.

use std::iter;
use std::net::IpAddr;
use std::sync::OnceLock;

use crate::model::CellId;
use crate::model::ConversationKey;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Role;
use crate::model::Timestamp;
use crate::model::Transport;

use super::Known;
use super::loss::Bytes;
use super::marks::Marks;
use super::marks::hops;
use super::round_trips::RoundTrips;
use super::sight::Leaving;
use super::sight::Received;
use super::sight::heard_ends;
use super::spans::Spans;

/// The most flows with unseen answers, of a client or a pair, beside so many times as many with seen ones: fewer are an accident of loss.
const RARELY_UNHEARD: u32 = 4;

/// Connections of which a client's own packets prove that they were answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    /// Those whose answers the mirror showed.
    seen: u32,
    /// Those whose answers it did not show at all.
    pub(super) unseen: u32,
}

impl Answers {
    fn add(&mut self, unseen: bool) {
        if unseen {
            self.unseen += 1;
        } else {
            self.seen += 1;
        }
    }

    /// Whether silence says nothing: answers that must have come were not shown.
    pub(super) fn escape(self) -> bool {
        self.unseen > 0 && self.seen < self.unseen.saturating_mul(RARELY_UNHEARD)
    }
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

/// What the flows of one host show.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What was heard sending to it, and when.
    pub(super) received: Received,
    /// Its own frames to other segments that are seen before any router: at its own port, or at its gateway's.
    pub(super) leaving: Leaving,
    /// How often its opened connections showed answers, and the same by server.
    pub(super) answers: Answers,
    pub(super) answers_of: Known<IpAddr, Answers>,
    /// When it acknowledged what the mirror did not show.
    pub(super) unseen_answers: Spans,
    /// How soon it answers.
    pub(super) round_trips: RoundTrips,
    /// What it and others acknowledged to each other.
    pub(super) exchanged: Known<IpAddr, Bytes>,
    /// When a service of it last answered which client, for the positive control.
    answered: Known<Option<u16>, Answered>,
}

impl Seen {
    fn learn(&mut self, host: Host, key: &ConversationKey, flow: &FlowRecord) {
        let (Some(client), Some(server)) = (key.client.ip(), key.server.ip()) else {
            if key.server == host {
                self.count_answered(key, flow);
            }
            return;
        };
        if key.client == host {
            self.leaving.learn(flow, Role::Client);
            self.received.learn(flow, Role::Server);
            self.count_answers(flow, server);
        }
        if key.server == host {
            self.leaving.learn(flow, Role::Server);
            self.received.learn(flow, Role::Client);
            self.round_trips.learn(flow);
            self.count_answered(key, flow);
        }
        let other = if key.client == host { server } else { client };
        self.exchanged.entry(other).or_default().add(flow);
    }

    /// Puts in order what needs to be.
    fn seal(&mut self) {
        self.received.seal();
        self.leaving.spans.seal();
        self.unseen_answers.seal();
    }

    /// Counts connections of which it acknowledges what the server sent, by whether the mirror showed it.
    fn count_answers(&mut self, flow: &FlowRecord, server: IpAddr) {
        let side = &flow.from_client;
        // What a client sends after its SYN, or acknowledges anew, answers something; a repetition into a dead connection does not.
        let opened = side.syn.count > 0 && (side.first_ack.is_some() || side.says_something());
        let proven = opened || side.acked_payload.is_some();
        if flow.transport != Transport::Tcp || !proven {
            return;
        }
        let unseen = flow.from_server.packets == 0;
        if unseen {
            let until = side.last.map_or(flow.last.time, |last| last.time);
            self.unseen_answers.add(flow.first.time, until);
        }
        self.answers.add(unseen);
        self.answers_of.entry(server).or_default().add(unseen);
    }

    fn count_answered(&mut self, key: &ConversationKey, flow: &FlowRecord) {
        let asked = flow.from_client.packets > 0 && flow.from_server.payload_packets > 0;
        if let Some(answer) = flow.from_server.last_payload.filter(|_| asked) {
            let new = Answered { client: key.client, latest: answer.time, others: None };
            self.answered.entry(key.port).or_insert(new).add(new.client, new.latest);
        }
    }

    /// When a service last answered somebody else than this client.
    pub(super) fn answered(&self, port: Option<u16>, but: Host) -> Option<Timestamp> {
        let known = self.answered.get(&port)?;
        if known.client == but { known.others } else { Some(known.latest) }
    }
}

/// One end of a flow, and the place of the next of the same host; 0 for the last, since the first of all comes after none.
#[derive(Debug)]
struct End<'a> {
    key: &'a ConversationKey,
    flow: &'a FlowRecord,
    next: usize,
}

/// The flows of one host: the first and the last, and what they show once somebody has asked. Its marks alone are asked for more often than all the rest.
#[derive(Debug)]
struct Flows {
    first: usize,
    last: usize,
    /// The first MAC address of packets in its name that had passed no router, and whether there are others.
    mac: Option<MacAddr>,
    several_macs: bool,
    marks: OnceLock<Box<Marks>>,
    seen: OnceLock<Box<Seen>>,
}

impl Flows {
    fn new(first: usize) -> Self {
        let (marks, seen) = (OnceLock::new(), OnceLock::new());
        Self { first, last: first, mac: None, several_macs: false, marks, seen }
    }

    fn add_mac(&mut self, mac: MacAddr) {
        self.several_macs |= self.mac.is_some_and(|known| known != mac);
        self.mac.get_or_insert(mac);
    }
}

/// The flows of each host.
#[derive(Debug, Default)]
pub(super) struct Hosts<'a> {
    places: Known<(CellId, Host), usize>,
    all: Vec<Flows>,
    ends: Vec<End<'a>>,
}

impl<'a> Hosts<'a> {
    /// Notes whose a flow is.
    pub(super) fn learn(&mut self, key: &'a ConversationKey, flow: &'a FlowRecord) {
        self.note(key.client, Role::Client, key, flow);
        self.note(key.server, Role::Server, key, flow);
    }

    fn note(&mut self, host: Host, role: Role, key: &'a ConversationKey, flow: &'a FlowRecord) {
        let Self { places, all, ends } = self;
        let own = *places.entry((key.cell, host)).or_insert_with(|| {
            all.push(Flows::new(ends.len()));
            all.len() - 1
        });
        let Some(own) = all.get_mut(own) else { return };
        // Who speaks to itself has the flow already.
        if role == Role::Client || key.client != key.server {
            let new = ends.len();
            if let Some(last) = ends.get_mut(own.last) {
                last.next = new;
            }
            own.last = new;
            ends.push(End { key, flow, next: 0 });
        }
        if let Some(mac) = on_link(flow, role) {
            own.add_mac(mac);
        }
    }

    /// Takes in the hosts of later flows.
    pub(super) fn join(&mut self, later: Self) {
        let before = self.ends.len();
        let after = |next: usize| if next > 0 { next + before } else { 0 };
        self.ends.extend(later.ends.into_iter().map(|end| End { next: after(end.next), ..end }));
        for (host, place) in later.places {
            let Some(new) = later.all.get(place) else { continue };
            let (first, last) = (before + new.first, before + new.last);
            let own = *self.places.entry(host).or_insert_with(|| {
                self.all.push(Flows::new(first));
                self.all.len() - 1
            });
            let Some(own) = self.all.get_mut(own) else { continue };
            if own.first != first
                && let Some(end) = self.ends.get_mut(own.last)
            {
                end.next = first;
            }
            own.last = last;
            new.mac.into_iter().for_each(|mac| own.add_mac(mac));
            own.several_macs |= new.several_macs;
        }
    }

    fn flows_of(&self, cell: CellId, host: Host) -> Option<&Flows> {
        self.all.get(*self.places.get(&(cell, host))?)
    }

    fn ends_of(&self, own: &Flows) -> impl Iterator<Item = &End<'a>> {
        let next = |end: &&End<'a>| self.ends.get(end.next).filter(|_| end.next > 0);
        iter::successors(self.ends.get(own.first), next)
    }

    /// What the flows of a host show; `None` where it has none.
    pub(super) fn of(&self, cell: CellId, host: Host) -> Option<&Seen> {
        let own = self.flows_of(cell, host)?;
        Some(own.seen.get_or_init(|| {
            let mut seen = Box::<Seen>::default();
            self.ends_of(own).for_each(|end| seen.learn(host, end.key, end.flow));
            seen.seal();
            seen
        }))
    }

    /// By what a host is told from others; `None` where it has no flows.
    pub(super) fn marks(&self, cell: CellId, host: Host) -> Option<&Marks> {
        let own = self.flows_of(cell, host)?;
        Some(own.marks.get_or_init(|| {
            let mut marks = Box::<Marks>::default();
            for End { key, flow, .. } in self.ends_of(own) {
                let roles = [(key.client, Role::Client), (key.server, Role::Server)];
                roles.iter().filter(|(end, _)| *end == host).for_each(|(_, role)| marks.learn(flow, *role));
            }
            marks
        }))
    }

    /// The hosts of whose packets before any router several machines were heard.
    pub(super) fn of_several_macs(&self) -> impl Iterator<Item = (CellId, Host)> {
        let several = |place: usize| self.all.get(place).is_some_and(|own| own.several_macs);
        self.places.iter().filter(move |(_, place)| several(**place)).map(|(key, _)| *key)
    }
}

/// The MAC address of one end of a flow, where its packets had passed no router.
pub(super) fn on_link(flow: &FlowRecord, role: Role) -> Option<MacAddr> {
    heard_ends(flow, role)?;
    let side = flow.side(role);
    side.mac.filter(|_| side.ttl.is_some_and(|ttl| hops(ttl) == 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::FIREWALL;
    use crate::audit::testing::FIREWALL_MAC;
    use crate::audit::testing::answered;

    const CELL: CellId = CellId(0);

    #[test]
    fn shares_that_are_joined_are_what_one_walk_shows() {
        let mut flows: Vec<FlowRecord> = (0..6).map(|n| answered(n, "tls")).collect();
        for (flow, port) in flows.iter_mut().zip(0..) {
            flow.client.port = Some(port);
        }
        // A host that comes later, one that speaks to itself, and one under two MAC addresses.
        flows[3].server.host = Host::Ip(FIREWALL);
        flows[4].client.host = flows[4].server.host;
        flows[5].from_client.mac = Some(FIREWALL_MAC);
        let keys: Vec<ConversationKey> = flows.iter().map(ConversationKey::of).collect();
        let of = |range: std::ops::Range<usize>| {
            let mut hosts = Hosts::default();
            range.for_each(|at| hosts.learn(&keys[at], &flows[at]));
            hosts
        };
        let all = [flows[0].client.host, flows[0].server.host, Host::Ip(FIREWALL)];
        let told = |hosts: &Hosts<'_>| {
            let mut several: Vec<_> = hosts.of_several_macs().collect();
            several.sort_unstable();
            let ports = all.map(|host| {
                let own = hosts.flows_of(CELL, host).unwrap();
                hosts.ends_of(own).map(|end| end.flow.client.port).collect::<Vec<_>>()
            });
            (several, ports)
        };
        let whole = told(&of(0..6));
        assert_eq!(whole.1.each_ref().map(Vec::len), [5, 5, 1]);
        for cut in 0..=6 {
            let mut joined = of(0..cut);
            joined.join(of(cut..6));
            assert_eq!(told(&joined), whole, "{cut}");
        }
    }
}
