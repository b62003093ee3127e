//! A conversation: all flows of one (cell, client, server, transport, server port), client ports folded.

use std::collections::BTreeSet;
use std::time::Duration;

use smallvec::SmallVec;

use super::{CellId, Few, FlowRecord, Host, Outcome, PacketRef, SideRecord, Sweep, Transport};

/// What makes a conversation one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationKey {
    /// The address space.
    pub cell: CellId,
    /// Who opens.
    pub client: Host,
    /// Who accepts.
    pub server: Host,
    /// What carries it.
    pub transport: Transport,
    /// The server's port.
    pub port: Option<u16>,
}

impl ConversationKey {
    /// The conversation that a flow belongs to.
    pub fn of(flow: &FlowRecord) -> Self {
        Self {
            cell: flow.cell,
            client: flow.client.host,
            server: flow.server.host,
            transport: flow.transport,
            port: flow.server.port,
        }
    }
}

/// A flow told whole. It is a kilobyte, so it stays where it was written and its place is handed on.
pub type WholeFlow = Box<FlowRecord>;

/// The flows kept whole at each end of a conversation's life; the rest is counted.
pub const KEPT_EACH_END: usize = 24;

/// From this length on a flow may be a stretch of a connection that goes on: such are told once a day, each as a flow of its own.
const STRETCH: Duration = Duration::from_secs(12 * 3600);

/// The most names kept of a conversation's server; the first in their order are, whatever the order of arrival.
pub const MOST_HOSTS: usize = 512;

/// All flows of one conversation, told together. Folding is commutative, so that the order in which flows end does not matter; stretches of
/// one connection are told in their order.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// What makes it one.
    pub key: ConversationKey,
    /// Flows folded in.
    pub flows: u64,
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes of both directions.
    pub bytes: u64,
    /// Flows by outcome.
    pub outcomes: Few<Outcome, u64>,
    /// Every innermost protocol proved.
    pub protocols: Few<&'static str>,
    /// Every layer proved.
    pub layers: Few<&'static str>,
    /// Names of the server.
    pub hosts: BTreeSet<String>,
    /// First packet.
    pub first: PacketRef,
    /// Last packet.
    pub last: PacketRef,
    /// The earliest and the latest flows, whole, in the order of their first packets.
    attempts: SmallVec<[WholeFlow; 1]>,
    /// Where it stands for a sweep, what was folded into it.
    pub sweep: Option<Box<Sweep>>,
}

impl Conversation {
    /// A conversation of one flow.
    pub fn new(flow: impl Into<WholeFlow>) -> Self {
        let flow = flow.into();
        Self::under(ConversationKey::of(&flow), flow)
    }

    /// A conversation of one flow under a key that stands for more than the flow's own.
    pub fn under(key: ConversationKey, flow: WholeFlow) -> Self {
        let mut new = Self {
            key,
            flows: 0,
            packets: 0,
            bytes: 0,
            outcomes: Few::default(),
            protocols: Few::default(),
            layers: Few::default(),
            hosts: BTreeSet::new(),
            first: flow.first,
            last: flow.last,
            attempts: SmallVec::new(),
            sweep: None,
        };
        new.fold(flow);
        new
    }

    /// The conversation that stands for a sweep.
    pub fn of_sweep(key: ConversationKey, sweep: Sweep) -> Self {
        Self {
            key,
            flows: sweep.tries,
            packets: sweep.tries,
            bytes: sweep.bytes,
            outcomes: Few::from_iter([(Outcome::Unanswered, sweep.tries)]),
            protocols: Few::default(),
            layers: Few::default(),
            hosts: BTreeSet::new(),
            first: sweep.first,
            last: sweep.last,
            attempts: SmallVec::new(),
            sweep: Some(Box::new(sweep)),
        }
    }

    /// Takes one more flow in.
    pub fn fold(&mut self, flow: impl Into<WholeFlow>) {
        self.fold_keeping(flow.into(), KEPT_EACH_END);
    }

    /// The same where memory is short: no more than so many flows stay whole at each end of its life, or as many as there are.
    pub fn fold_keeping(&mut self, flow: WholeFlow, each_end: usize) {
        let most = self.attempts.len().max(2 * each_end.clamp(1, KEPT_EACH_END));
        self.flows += 1;
        self.packets = self.packets.saturating_add(flow.packets());
        self.bytes = self.bytes.saturating_add(flow.bytes());
        self.outcomes.count(&flow.outcome, 1);
        self.protocols.extend(flow.classification.protocol);
        self.layers.extend(flow.classification.layers.iter().copied());
        self.hosts.extend(flow.hosts.iter().cloned());
        while self.hosts.len() > MOST_HOSTS {
            self.hosts.pop_last();
        }
        self.first = self.first.min(flow.first);
        self.last = self.last.max(flow.last);
        let place = self.attempts.partition_point(|known| known.first <= flow.first);
        // Of a connection that is polled for months the first day and the latest tell what all between them do.
        let alike = if is_quiet_stretch(&flow) { self.stretches_of(&flow) } else { [None; 2] };
        self.attempts.insert(place, flow);
        if let [Some(one), Some(other)] = alike {
            // The middle one of the three, by where they stand now.
            let now = |at: usize| at + usize::from(at >= place);
            let mut three = [now(one), place, now(other)];
            three.sort_unstable();
            self.attempts.remove(three[1]);
        }
        if self.attempts.len() > most {
            // The one in the middle goes: what stays are the earliest and the latest, whatever the order of arrival.
            self.attempts.remove(most / 2);
        }
    }

    /// Where the quiet stretches of the same connection stand.
    fn stretches_of(&self, flow: &FlowRecord) -> [Option<usize>; 2] {
        let same = |known: &FlowRecord| {
            known.client == flow.client
                && known.outcome == flow.outcome
                && known.from_client.syn.first == flow.from_client.syn.first
                && is_quiet_stretch(known)
        };
        let mut places = (0..).zip(&self.attempts).filter(|(_, known)| same(known)).map(|(at, _)| at);
        [places.next(), places.next()]
    }

    /// The flows kept whole, in the order of their first packets.
    pub fn attempts(&self) -> impl DoubleEndedIterator<Item = &FlowRecord> + ExactSizeIterator {
        self.attempts.iter().map(|flow| &**flow)
    }

    /// The same, for what is learnt once all flows have ended.
    pub fn attempts_mut(&mut self) -> impl Iterator<Item = &mut FlowRecord> {
        self.attempts.iter_mut().map(|flow| &mut **flow)
    }
}

/// Whether a flow is a long stretch in which both ends spoke and nothing went wrong.
fn is_quiet_stretch(flow: &FlowRecord) -> bool {
    let quiet = |side: &SideRecord| {
        side.payload_packets > 0
            && side.fin.is_none()
            && side.reset.is_none()
            // The latest message may wait for its answer.
            && side.unacknowledged.count <= 1
            && side.unanswered.count <= 1
    };
    flow.last.time.since(flow.first.time) >= STRETCH
        && flow.errors.is_empty()
        && flow.reason.is_none()
        && quiet(&flow.from_client)
        && quiet(&flow.from_server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Endpoint;
    use crate::model::InputId;
    use crate::model::RoleBasis;
    use crate::model::Series;
    use crate::model::Timestamp;

    const HOUR: i64 = 3_600_000_000_000;

    /// A stretch of the connection that was opened by this packet, from one hour to another.
    fn stretch(opened: u64, hours: (i64, i64)) -> FlowRecord {
        let at = |hour: i64| PacketRef::new(Timestamp::from_nanos(hour * HOUR), InputId(0), hour as u64 + 1);
        let syn = Some(PacketRef::new(Timestamp::MIN, InputId(0), opened));
        let side = SideRecord { packets: 200, payload_packets: 100, ..SideRecord::default() };
        let end = |last, port| Endpoint { host: Host::Ip([10, 0, 0, last].into()), port: Some(port) };
        FlowRecord {
            transport: Transport::Tcp,
            cell: CellId(0),
            client: end(1, 20_000),
            server: end(2, 502),
            role_basis: RoleBasis::Handshake,
            classification: Box::default(),
            outcome: Outcome::Established,
            reason: None,
            from_client: SideRecord {
                syn: syn.into_iter().fold(Series::default(), |mut series, at| {
                    series.add(at);
                    series
                }),
                ..side
            },
            from_server: side,
            errors: Box::default(),
            first: at(hours.0),
            last: at(hours.1),
            vlans: Box::default(),
            tunnels: Box::default(),
            hosts: Vec::new(),
        }
    }

    fn hours(conversation: &Conversation) -> Vec<i64> {
        conversation.attempts().map(|flow| flow.first.time.as_nanos() / HOUR).collect()
    }

    #[test]
    fn of_a_connection_that_goes_on_for_months_the_first_day_and_the_latest_stay() {
        let mut conversation = Conversation::new(stretch(1, (0, 24)));
        for day in 1..100 {
            conversation.fold(stretch(1, (24 * day, 24 * day + 24)));
            // Another connection of the same conversation has its own.
            conversation.fold(stretch(2, (24 * day + 1, 24 * day + 25)));
        }
        assert_eq!(hours(&conversation), [0, 25, 24 * 99, 24 * 99 + 1]);
        assert_eq!(conversation.flows, 199);
    }

    #[test]
    fn a_day_on_which_something_went_wrong_stays() {
        let mut conversation = Conversation::new(stretch(1, (0, 24)));
        for day in 1..10 {
            let mut flow = stretch(1, (24 * day, 24 * day + 24));
            flow.from_server.payload_packets = u64::from(day != 5);
            conversation.fold(flow);
        }
        assert_eq!(hours(&conversation), [0, 120, 216]);
    }

    #[test]
    fn short_flows_all_stay_within_the_bound() {
        let mut conversation = Conversation::new(stretch(1, (0, 1)));
        for hour in 1..40 {
            conversation.fold(stretch(1, (hour, hour + 1)));
        }
        assert_eq!(conversation.attempts().len(), 40);
    }
}
