//! What the flows of each host show, worked out when somebody asks: of most hosts of a large capture nobody ever does.

use std::iter;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::OnceLock;

use foldhash::fast::RandomState;

use crate::model::CellId;
use crate::model::Conversation;
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

/// The conversations of one host by their places, and what their flows show once somebody has asked. Its marks alone are asked for more often than
/// all the rest.
#[derive(Debug)]
struct Own {
    /// Those in which it is the client, which stand together, and the place after them.
    asks: Range<u32>,
    /// The first and the last of those in which it is the server.
    asked: Option<(u32, u32)>,
    /// The first MAC address of packets in its name that had passed no router, and whether there are others.
    mac: Option<MacAddr>,
    several_macs: bool,
    shown: OnceLock<Box<Shown>>,
}

/// What the flows of a host show, each worked out when it is asked for.
#[derive(Debug, Default)]
struct Shown {
    marks: OnceLock<Box<Marks>>,
    seen: OnceLock<Box<Seen>>,
}

impl Own {
    fn new() -> Self {
        Self { asks: 0..0, asked: None, mac: None, several_macs: false, shown: OnceLock::new() }
    }

    fn shown(&self) -> &Shown {
        self.shown.get_or_init(Box::default)
    }

    fn add_mac(&mut self, mac: MacAddr) {
        self.several_macs |= self.mac.is_some_and(|known| known != mac);
        self.mac.get_or_insert(mac);
    }
}

/// The flows of each host.
#[derive(Debug, Default)]
pub(super) struct Hosts<'a> {
    places: Known<(CellId, Host), u32>,
    all: Vec<Own>,
    /// All conversations in the order of their keys.
    conversations: Vec<&'a Conversation>,
    /// For each of them the next one with the same server; 0 for the last, since the first of all comes after none.
    next: Vec<u32>,
    /// The client of the flow before, and its place: many in turn have the same.
    latest: Option<((CellId, Host), u32)>,
}

/// A place, of which there are fewer than conversations.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl<'a> Hosts<'a> {
    /// Room for so many conversations, and for the hosts of them of which so many were heard in all.
    pub(super) fn with_room(conversations: usize, heard: usize) -> Self {
        let hosts = heard.min(conversations.saturating_mul(2));
        let places = Known::with_capacity_and_hasher(hosts, RandomState::default());
        Self { places, all: Vec::with_capacity(hosts), next: vec![0; conversations], ..Self::default() }
    }

    /// Notes whose a flow is, and in which conversation it stands; these come in their order.
    pub(super) fn learn(&mut self, at: usize, key: &ConversationKey, flow: &FlowRecord) {
        let at = place(at);
        let client = (key.cell, key.client);
        let known = self.latest.filter(|(latest, _)| *latest == client).map(|(_, own)| own);
        let own = known.unwrap_or_else(|| self.place_of(client));
        self.latest = Some((client, own));
        if let Some(own) = self.all.get_mut(own as usize) {
            let from = if own.asks.is_empty() { at } else { own.asks.start };
            own.asks = from..at + 1;
            on_link(flow, Role::Client).into_iter().for_each(|mac| own.add_mac(mac));
        }
        let own = self.place_of((key.cell, key.server));
        if let Some(own) = self.all.get_mut(own as usize) {
            Self::goes_on(&mut self.next, own, (at, at));
            on_link(flow, Role::Server).into_iter().for_each(|mac| own.add_mac(mac));
        }
    }

    fn place_of(&mut self, host: (CellId, Host)) -> u32 {
        *self.places.entry(host).or_insert_with(|| {
            self.all.push(Own::new());
            place(self.all.len() - 1)
        })
    }

    /// Notes that a server has these conversations, the first and the last of some, after those that are known.
    fn goes_on(next: &mut [u32], own: &mut Own, (first, last): (u32, u32)) {
        let before = own.asked.map(|(_, before)| before).filter(|before| *before < first);
        if let Some(after) = before.and_then(|before| next.get_mut(before as usize)) {
            *after = first;
        }
        own.asked = Some((own.asked.map_or(first, |(first, _)| first), last));
    }

    /// Takes in the hosts of the conversations that come after these.
    pub(super) fn join(&mut self, later: Self) {
        let before = place(self.next.len());
        let after = |next: u32| if next > 0 { next + before } else { 0 };
        self.next.extend(later.next.into_iter().map(after));
        for (host, place) in later.places {
            let Some(new) = later.all.get(place as usize) else { continue };
            let own = self.place_of(host);
            let Some(own) = self.all.get_mut(own as usize) else { continue };
            if !new.asks.is_empty() {
                let asks = new.asks.start + before..new.asks.end + before;
                own.asks = if own.asks.is_empty() { asks } else { own.asks.start..asks.end };
            }
            if let Some((first, last)) = new.asked {
                Self::goes_on(&mut self.next, own, (first + before, last + before));
            }
            new.mac.into_iter().for_each(|mac| own.add_mac(mac));
            own.several_macs |= new.several_macs;
        }
    }

    /// The same with the conversations that it is about.
    pub(super) fn among(self, conversations: Vec<&'a Conversation>) -> Self {
        Self { conversations, ..self }
    }

    /// All conversations in the order of their keys.
    pub(super) fn conversations(&self) -> &[&'a Conversation] {
        &self.conversations
    }

    fn own(&self, cell: CellId, host: Host) -> Option<&Own> {
        self.all.get(*self.places.get(&(cell, host))? as usize)
    }

    /// The flows of a host with the keys that they are told under, in their order.
    fn flows_of(&self, own: &Own) -> impl Iterator<Item = (&'a ConversationKey, &'a FlowRecord)> {
        let (mut asks, mut asked) = (own.asks.clone().peekable(), own.asked.map(|(first, _)| first));
        let places = iter::from_fn(move || {
            let at = asks.peek().copied().into_iter().chain(asked).min()?;
            asks.next_if_eq(&at);
            if asked == Some(at) {
                asked = self.next.get(at as usize).copied().filter(|next| *next > 0);
            }
            Some(at)
        });
        let conversations = places.filter_map(|at| self.conversations.get(at as usize).copied());
        conversations.flat_map(|one| one.attempts().map(|flow| (&one.key, flow)))
    }

    /// What the flows of a host show; `None` where it has none.
    pub(super) fn of(&self, cell: CellId, host: Host) -> Option<&Seen> {
        let own = self.own(cell, host)?;
        Some(own.shown().seen.get_or_init(|| {
            let mut seen = Box::<Seen>::default();
            self.flows_of(own).for_each(|(key, flow)| seen.learn(host, key, flow));
            seen.seal();
            seen
        }))
    }

    /// By what a host is told from others; `None` where it has no flows.
    pub(super) fn marks(&self, cell: CellId, host: Host) -> Option<&Marks> {
        let own = self.own(cell, host)?;
        Some(own.shown().marks.get_or_init(|| {
            let mut marks = Box::<Marks>::default();
            for (key, flow) in self.flows_of(own) {
                let roles = [(key.client, Role::Client), (key.server, Role::Server)];
                roles.iter().filter(|(end, _)| *end == host).for_each(|(_, role)| marks.learn(flow, *role));
            }
            marks
        }))
    }

    /// The hosts of whose packets before any router several machines were heard.
    pub(super) fn of_several_macs(&self) -> impl Iterator<Item = (CellId, Host)> {
        let several = |place: u32| self.all.get(place as usize).is_some_and(|own| own.several_macs);
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
    use crate::audit::testing::observed;
    use crate::audit::walk::each_flow;

    const CELL: CellId = CellId(0);

    #[test]
    fn shares_that_are_joined_are_what_one_walk_shows() {
        let mut flows: Vec<FlowRecord> = (0..8).map(|n| answered(n, "tls")).collect();
        for (flow, port) in flows.iter_mut().zip(0..) {
            flow.client.port = Some(port);
            flow.server.port = Some(if port < 2 { 443 } else { port });
        }
        // A host that comes later, some that speak to themselves, one under two MAC addresses, and one that is client and server in turn.
        flows[3].server.host = Host::Ip(FIREWALL);
        flows[4].client.host = flows[4].server.host;
        flows[5].from_client.mac = Some(FIREWALL_MAC);
        (flows[6].client.host, flows[6].server.host) = (Host::Ip(FIREWALL), flows[0].client.host);
        let ends = [flows[0].client.host, flows[0].server.host, Host::Ip(FIREWALL)];
        let capture = observed(flows, 1_000);
        let all: Vec<&Conversation> = capture.conversations.values().map(AsRef::as_ref).collect();
        assert!(all.iter().any(|one| one.attempts().len() == 2));
        let of = |range: Range<usize>| {
            let mut hosts = Hosts::with_room(range.len(), 2);
            let share = &all[range];
            each_flow(share, |at, flow| hosts.learn(at, &share[at].key, flow));
            hosts
        };
        let told = |hosts: Hosts<'_>| {
            let hosts = hosts.among(all.clone());
            let mut several: Vec<_> = hosts.of_several_macs().collect();
            several.sort_unstable();
            let flows = ends.map(|host| {
                let own = hosts.own(CELL, host).unwrap();
                hosts.flows_of(own).map(|(_, flow)| flow.client.port).collect::<Vec<_>>()
            });
            (several, flows)
        };
        let whole = told(of(0..all.len()));
        let of_host = |host: Host| {
            let flows = all.iter().flat_map(|one| one.attempts());
            let own = flows.filter(|flow| flow.client.host == host || flow.server.host == host);
            own.map(|flow| flow.client.port).collect::<Vec<_>>()
        };
        assert_eq!(whole.1, ends.map(of_host), "in the order of all");
        assert_eq!(whole.1.each_ref().map(Vec::len), [7, 6, 2]);
        for cut in 0..=all.len() {
            for other in cut..=all.len() {
                let mut joined = of(0..cut);
                joined.join(of(cut..other));
                joined.join(of(other..all.len()));
                assert_eq!(told(joined), whole, "{cut} {other}");
            }
        }
    }
}
