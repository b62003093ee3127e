//! What this mirror could have seen: visibility of answers, loss, baselines of resets, and the guards at both ends.

mod spans;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Observed;
use crate::model::Reset;
use crate::model::Role;
use crate::model::Series;
use crate::model::SideRecord;
use crate::model::Timestamp;
use crate::model::Transport;

use spans::Spans;

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
            longest_gap: series.longest_gap,
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
/// Share of lost packets above which loss may explain a verdict away (evidence 3.6: loss to the power of the missing packets above 1 %).
const LOSS_EXPLAINS: f64 = 0.01;
/// Estimated loss above which grades are capped at C (evidence 3.3.3).
const LOSS_CAPS: f64 = 0.01;
/// The least distance from the end of the capture at which a silence counts (evidence 3.3.4).
const END_GUARD: Duration = Duration::from_secs(1);
/// Resets of one host needed before their time to live is a baseline (evidence table).
const RESET_BASELINE: usize = 3;

/// The most flows with unseen answers, of a client or a pair, beside so many times as many with seen ones: fewer are an accident of loss.
const RARELY_UNHEARD: u32 = 4;

/// Requests of address resolution without an answer that show a host to be off: what Linux and Windows send before they give up.
const ASKED_IN_VAIN: u32 = 3;

/// A machine that does not answer address resolution although answers are visible.
#[derive(Clone, Copy, Debug)]
pub struct Down {
    /// Who asks for it.
    pub asker: IpAddr,
    /// The requests.
    pub requests: Series,
}

/// A host's usual marks on this mirror.
#[derive(Debug, Default)]
struct Marks {
    /// MACs of packets in its name that had passed no router: those of the machine itself.
    on_link: BTreeSet<MacAddr>,
    /// The same by VLAN, to tell cloned cells.
    on_vlan: BTreeMap<Vec<u16>, BTreeSet<MacAddr>>,
    reset_ttls: Vec<u8>,
    /// Whether any packet of it had passed no router yet.
    at_home: bool,
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
    /// The latest time in the capture.
    latest: Timestamp,
    /// The time of its last packet, which is another where the clock was set back.
    end: Timestamp,
    loss: Option<f64>,
    /// What was heard sending to a host, and when.
    received: Known<(CellId, IpAddr), Received>,
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
    /// Whether a snap length cut packets.
    cut: bool,
    /// Machines that answer nobody's address resolution, by who asks.
    down: Known<(CellId, IpAddr), Vec<Down>>,
    marks: Known<(CellId, IpAddr), Marks>,
    /// MAC addresses given for an address by address resolution.
    announced: Known<(CellId, IpAddr), BTreeSet<MacAddr>>,
    /// Datagrams from a server to a port that never asked this server, by that port and the server's.
    strays: Known<Asking, (IpAddr, crate::model::PacketRef)>,
    /// Whom a port asked in vain.
    in_vain: Known<Asking, IpAddr>,
    /// Clients that a service answered, and when it last did, for the positive control.
    answered: Known<(CellId, Host, Option<u16>), BTreeMap<Host, Timestamp>>,
}

/// Who asks from which port, and for which port: what an answer from another address of the server has as well.
type Asking = (CellId, IpAddr, Option<u16>, Option<u16>);

/// A host's own frames to other segments.
#[derive(Debug, Default)]
struct Leaving {
    spans: Spans,
    /// The ports it sends them from, and the neighbours it hands them to: several of either are several ways out.
    ways: BTreeSet<(MacAddr, Option<MacAddr>)>,
}

/// What was heard sending to one host, and when.
#[derive(Debug, Default)]
struct Received {
    hosts: BTreeMap<IpAddr, Spans>,
    segments: BTreeMap<IpAddr, Spans>,
    /// The MAC addresses from which it came.
    macs: BTreeMap<MacAddr, Spans>,
}

impl Received {
    /// All that came from the target's side: from it, its segment, or through the neighbour to which the client hands its packets.
    fn side_of(&self, server: IpAddr, neighbour: Option<MacAddr>) -> impl Iterator<Item = &Spans> {
        let by_mac = neighbour.and_then(|mac| self.macs.get(&mac));
        [self.hosts.get(&server), self.segments.get(&segment(server)), by_mac].into_iter().flatten()
    }

    fn seal(&mut self) {
        self.hosts
            .values_mut()
            .chain(self.segments.values_mut())
            .chain(self.macs.values_mut())
            .for_each(Spans::seal);
    }
}

impl View {
    /// Reads the vantage out of everything observed.
    pub fn of(observed: &Observed) -> Self {
        let mut view = Self {
            latest: observed.vantage.last.unwrap_or(Timestamp::MIN),
            end: end(observed),
            cut: observed.vantage.cut_packets > 0,
            down: Known::default(),
            answers: Known::default(),
            answers_of: Known::default(),
            loss: loss(observed),
            unseen_answers: Known::default(),
            strays: Known::default(),
            in_vain: Known::default(),
            received: Known::default(),
            leaving: Known::default(),
            heard: observed
                .vantage
                .heard
                .iter()
                .map(|(key, heard)| (*key, (heard.first.time, heard.last.time)))
                .collect(),
            heard_anywhere: Known::default(),
            marks: Known::default(),
            announced: Known::default(),
            answered: Known::default(),
        };
        for (&(_, host), heard) in &observed.vantage.heard {
            let (first, last) = (heard.first.time, heard.last.time);
            let known = view.heard_anywhere.entry(host).or_insert((first, last));
            *known = (known.0.min(first), known.1.max(last));
        }
        view.learn_resolutions(observed);
        for conversation in observed.conversations.values() {
            for flow in conversation.attempts() {
                view.learn(flow);
            }
            let answers = conversation
                .attempts()
                .filter(|flow| flow.from_client.packets > 0 && flow.from_server.payload_packets > 0);
            let latest = answers.filter_map(|flow| flow.from_server.last_payload).map(|at| at.time).max();
            if let Some(latest) = latest {
                let key = conversation.key;
                let clients = view.answered.entry((key.cell, key.server, key.port)).or_default();
                let known = clients.entry(key.client).or_insert(latest);
                *known = (*known).max(latest);
            }
        }
        view.received.values_mut().for_each(Received::seal);
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
        self.count_answers(flow);
        self.pair_up(flow);
        // Routers speak ICMP for themselves: seeing that shows nothing of what they forward.
        let forwarded = matches!(flow.transport, Transport::Tcp | Transport::Udp);
        for role in [Role::Client, Role::Server] {
            let (sender, receiver) = ends(flow, role);
            let (Some(sender), Some(receiver)) = (sender.ip(), receiver.ip()) else { continue };
            let side = flow.side(role);
            // A side that only ever sent resets proves nothing about itself: they may be forged.
            if side.packets == 0 || (side.mac.is_none() && side.ttl.is_none()) {
                continue;
            }
            let heard = side.first.zip(side.last).map(|(first, last)| (first.time, last.time));
            let (since, until) = heard.unwrap_or((flow.first.time, flow.last.time));
            let received = self.received.entry((flow.cell, receiver)).or_default();
            received.hosts.entry(sender).or_default().add(since, until);
            if forwarded {
                received.segments.entry(segment(sender)).or_default().add(since, until);
                if let Some(mac) = side.mac {
                    received.macs.entry(mac).or_default().add(since, until);
                }
            }
            let marks = self.marks.entry((flow.cell, sender)).or_default();
            marks.at_home |= side.ttl.is_none_or(|ttl| hops(ttl) == 0);
            if let Some(mac) = side.mac
                && side.ttl.is_some_and(|ttl| hops(ttl) == 0)
            {
                if forwarded && segment(sender) != segment(receiver) {
                    let leaving = self.leaving.entry((flow.cell, sender)).or_default();
                    leaving.spans.add(since, until);
                    leaving.ways.insert((mac, side.neighbour));
                }
                marks.on_link.insert(mac);
                if !marks.on_vlan.get(&flow.vlans).is_some_and(|known| known.contains(&mac)) {
                    marks.on_vlan.entry(flow.vlans.clone()).or_default().insert(mac);
                }
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
    pub fn answered_from(&self, flow: &FlowRecord) -> Option<(IpAddr, crate::model::PacketRef)> {
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

    /// Whether an address is that of one machine on this VLAN and of another one elsewhere: a cell that nobody declared.
    pub fn is_cloned(&self, cell: CellId, host: Host, vlans: &[u16]) -> bool {
        let marks = host.ip().and_then(|ip| self.marks.get(&(cell, ip)));
        marks.is_some_and(|marks| {
            let here = marks.on_vlan.get(vlans);
            let other = marks.on_vlan.iter().any(|(vlan, macs)| {
                let apart = |here: &BTreeSet<MacAddr>| here.is_disjoint(macs);
                vlan != vlans && here.is_some_and(apart) && !macs.iter().any(|mac| is_virtual_router(*mac))
            });
            other && here.is_some_and(|macs| !macs.iter().any(|mac| is_virtual_router(*mac)))
        })
    }

    /// The same, for an address of which no packet is at hand.
    pub fn is_cloned_somewhere(&self, cell: CellId, host: Host) -> bool {
        let marks = host.ip().and_then(|ip| self.marks.get(&(cell, ip)));
        marks.is_some_and(|marks| marks.on_vlan.keys().any(|vlans| self.is_cloned(cell, host, vlans)))
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

    /// Whether anything at all that was sent to a host was captured.
    pub fn receives(&self, cell: CellId, host: Host) -> bool {
        host.ip().is_some_and(|ip| self.received.contains_key(&(cell, ip)))
    }

    /// Whether packets were cut by a snap length.
    pub fn cuts(&self) -> bool {
        self.cut
    }

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
        let key = (cell, client_ip);
        let unheard = self.answers_of.get(&(cell, client_ip, server_ip)).filter(|known| known.escape());
        if let Some(known) = unheard {
            return Sight::None(format!(
                "{client} acknowledges packets of {server} elsewhere that were never captured ({} of its connections): this mirror does not carry that direction",
                known.unseen
            ));
        }
        if let Some(known) = self.answers.get(&key).filter(|known| known.escape()) {
            return Sight::None(format!(
                "{client} acknowledges answers elsewhere that were never captured ({} of its connections): this mirror does not carry what {client} is sent",
                known.unseen
            ));
        }
        let (from, until) = tried.around();
        let received = self.received.get(&key);
        let side = || received.into_iter().flat_map(|all| all.side_of(server_ip, client_side.neighbour));
        if side().any(|spans| spans.meets(from, until)) || self.leaves(cell, client_ip, server_ip, tried) {
            return Sight::Clear;
        }
        let (first, last) = tried.between;
        let before = side().filter_map(|spans| spans.before(first)).max();
        let after = side().filter_map(|spans| spans.after(last)).min();
        if let Some(sight) = self.heard_at_other_times(key, before, after, tried) {
            return sight;
        }
        if !self.received.contains_key(&key) {
            return Sight::None(format!(
                "nothing sent to {client} was ever captured, so its answers would not be seen either"
            ));
        }
        // A datagram's answer may take another way than what was heard, unless the target's own port is mirrored.
        let marks = self.marks.get(&(cell, server_ip));
        let own_port = marks.is_some_and(|marks| marks.on_link.len() == 1);
        if self.heard.contains_key(&(cell, server)) && (own_port || tried.repeats_until_answered) {
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
            && self.leaving.get(&(cell, server)).is_some_and(|leaving| {
                leaving.spans.meets(from, until) && (tried.repeats_until_answered || leaving.ways.len() == 1)
            })
    }

    /// What it is worth that the way back was heard before or after an attempt and not around it; `None` where it never was.
    fn heard_at_other_times(
        &self,
        key: (CellId, IpAddr),
        before: Option<Timestamp>,
        after: Option<Timestamp>,
        tried: Tried,
    ) -> Option<Sight> {
        let (first, last) = tried.between;
        let client = key.1;
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
        let unseen = self.unseen_answers.get(&key).is_some_and(|spans| spans.meets(from, until));
        if unseen || !tried.repeats_until_answered {
            return Some(Sight::None(format!(
                "what comes to {client} from there was {words}: this mirror may not have carried that direction at the time"
            )));
        }
        Some(Sight::Likely(format!("what comes to {client} from there was {words}")))
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

    /// Whether everything heard of a host had passed a router before: what is thrown away before that is not shown.
    pub fn is_behind_a_router(&self, host: Host) -> bool {
        let mut marks = self
            .marks
            .iter()
            .filter(|((_, ip), _)| Some(*ip) == host.ip())
            .map(|(_, marks)| marks)
            .peekable();
        marks.peek().is_some() && marks.all(|marks| !marks.at_home)
    }

    /// When another client of the same service last got an answer.
    pub fn others_answered(
        &self,
        cell: CellId,
        server: Host,
        port: Option<u16>,
        but: Host,
    ) -> Option<Timestamp> {
        let clients = self.answered.get(&(cell, server, port))?;
        clients.iter().filter(|(client, _)| **client != but).map(|(_, latest)| *latest).max()
    }

    /// From when to when a host was heard.
    pub fn heard_between(&self, cell: CellId, host: Host) -> Option<(Timestamp, Timestamp)> {
        self.heard.get(&(cell, host)).copied()
    }

    /// Whether a series of at least `needed` like packets lies safely before the end of the capture: the last of them, or (where there
    /// is one more than needed) the one before it, whose silence then lasted until the last.
    pub fn is_settled(&self, series: &Series, needed: u32) -> bool {
        series.count > needed || (series.count == needed && !self.end_is_near(series))
    }

    /// Whether the capture ends too soon after the last of a series for the silence after it to count.
    pub fn end_is_near(&self, series: &Series) -> bool {
        series.last.is_none_or(|last| self.ends_too_soon(last.time, series.longest_gap))
    }

    /// Whether the capture ends too soon after `last` for silence to count: closer than the longest gap, and than a second.
    pub fn ends_too_soon(&self, last: Timestamp, longest_gap: Duration) -> bool {
        // What is stamped later than the last packet came before the clock was set back.
        let end = if last > self.end { self.latest } else { self.end };
        end.since(last) < longest_gap.max(END_GUARD)
    }

    /// Whether loss alone could explain that this many packets were not seen.
    pub fn loss_explains(&self, missing: u32) -> Option<String> {
        let loss = self.loss?;
        (loss.powi(i32::try_from(missing).unwrap_or(i32::MAX)) > LOSS_EXPLAINS).then(|| {
            format!(
                "the capture misses about {:.0} % of packets, which could explain {missing} missing answers",
                loss * 100.0
            )
        })
    }

    /// Whether loss is high enough to cap grades, and how high it is.
    pub fn lossy(&self) -> Option<f64> {
        self.loss.filter(|loss| *loss > LOSS_CAPS)
    }

    /// Why a reset in a host's name is provably not that host's; `None` where it may be.
    ///
    /// A reset that passed no router was made by whoever owns its MAC. Where the host's own packets are seen before any router too,
    /// under another MAC, that is somebody else. A copy of the host's own reset taken behind a router has lost a hop and proves nothing.
    pub fn forged(&self, cell: CellId, host: Host, reset: &Reset) -> Option<(String, MacAddr)> {
        let marks = self.marks.get(&(cell, host.ip()?))?;
        let mac = reset.mac?;
        if self.announced.get(&(cell, host.ip()?)).is_some_and(|macs| macs.contains(&mac)) {
            return None;
        }
        let virtual_router =
            is_virtual_router(mac) || marks.on_link.iter().any(|own| is_virtual_router(*own));
        if !marks.on_link.is_empty()
            && !marks.on_link.contains(&mac)
            && hops(reset.ttl) == 0
            && !virtual_router
        {
            let own = marks.on_link.iter().map(MacAddr::to_string).collect::<Vec<_>>().join(", ");
            return Some((format!("it was made by {mac}, everything else of {host} by {own}"), mac));
        }
        let usual = &marks.reset_ttls;
        if usual.len() >= RESET_BASELINE && usual.iter().all(|ttl| hops(*ttl) != hops(reset.ttl)) {
            return Some((
                format!(
                    "the reset arrived {} hops away, {} other resets of {host} at {}",
                    hops(reset.ttl),
                    usual.len(),
                    usual.first().map_or(0, |ttl| hops(*ttl))
                ),
                mac,
            ));
        }
        None
    }
}

/// The end of the capture. Where the clock was set back, the latest time is not the time of the last packet.
fn end(observed: &Observed) -> Timestamp {
    let latest = observed.vantage.last.unwrap_or(Timestamp::MIN);
    if observed.inputs.iter().all(|input| input.time_reversals == 0) {
        return latest;
    }
    let last = observed
        .conversations
        .values()
        .flat_map(|conversation| conversation.attempts().map(|flow| flow.last).chain([conversation.last]));
    last.max_by_key(|at| (at.input(), at.number())).map_or(latest, |at| at.time)
}

/// Sender and receiver of one side of a flow.
fn ends(flow: &FlowRecord, role: Role) -> (Host, Host) {
    match role {
        Role::Client => (flow.client.host, flow.server.host),
        Role::Server => (flow.server.host, flow.client.host),
    }
}

/// Loss estimated from acknowledged-but-unseen bytes, or from what the capturing machine says it dropped; the worse of both.
fn loss(observed: &Observed) -> Option<f64> {
    let dropped = observed.vantage.dropped.filter(|dropped| *dropped > 0).map(|dropped| {
        let seen = observed.tally.packets;
        dropped as f64 / (dropped.saturating_add(seen)) as f64
    });
    match (observed.vantage.loss(), dropped) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

/// The usual subnet of an address: /24 or /64. Only a stand-in for "its segment", of which a mirror says nothing.
fn segment(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// How many routers a packet passed, were its initial time to live the next of the usual 32, 64, 128, 255.
pub fn hops(ttl: u8) -> u8 {
    [32, 64, 128, 255].into_iter().find(|initial| ttl <= *initial).unwrap_or(255) - ttl
}

/// VRRP (RFC 5798 section 7.3) and HSRP virtual MAC addresses move between machines.
fn is_virtual_router(mac: MacAddr) -> bool {
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
