//! What one flow proves to be: its payload shown to the protocols until one of them knows, or all have said no.

use smallvec::SmallVec;

use crate::classify;
use crate::classify::Carrier;
use crate::classify::End;
use crate::classify::MOST_STRANGERS;
use crate::classify::PROTOCOLS;
use crate::classify::Probe;
use crate::classify::Proof;
use crate::classify::Protocol;
use crate::classify::Seen;
use crate::classify::Side;
use crate::classify::candidates;
use crate::flow::Flow;
use crate::flow::Half;
use crate::flow::MOST_STREAM;
use crate::flow::Pair;
use crate::flow::Payload;
use crate::flow::Prefix;
use crate::model::Classification;
use crate::model::Facts;
use crate::model::ICMP_CODE;
use crate::model::ICMP_TYPE;
use crate::model::PacketRef;
use crate::model::Statement;

use super::names::Questions;

/// How far judging has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Several protocols are still possible.
    #[default]
    Asking,
    /// One is proved and may state more.
    Open(usize),
    /// Nothing more will be asked.
    Closed,
}

/// The fact under which a protocol states what its messages do to a machine, and the value told last.
#[derive(Clone, Copy, Debug)]
struct Access {
    key: &'static str,
    last: &'static str,
}

/// What is known of one flow's payload.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    stage: Stage,
    /// A bit for each protocol to which that end has nothing to add; one that is in both is out.
    deaf: Pair<candidates::Set>,
    /// The one that was proved.
    protocol: Option<usize>,
    /// Whether it reads every message.
    listens: bool,
    classification: Option<Box<Classification>>,
    client: Option<Half>,
    /// Whether nothing that was said asks for an answer.
    unasked: bool,
    /// What the protocol's messages do to a machine, as last told; none where it states no such fact.
    access: Option<Access>,
    /// How far the protocol has told what each end sent: it goes on from there.
    read: Pair<usize>,
    /// What each end sent first, while someone may still ask for it.
    prefixes: Option<Box<Pair<Option<Prefix>>>>,
    /// DNS questions waiting for their answers.
    pub questions: Option<Box<Questions>>,
}

/// What a judgement wants of a flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Nothing,
    /// Their payload.
    Payload,
    /// Every one, with or without payload: the flow's state is looked at.
    All,
}

/// A statement, the packet that made it, and the end that sent it.
pub type Heard = (PacketRef, Half, Statement);

impl Judgement {
    /// Takes in the payload of one packet. Returns how many bytes had to be copied for later.
    pub fn hear(
        &mut self,
        flow: &Flow,
        from: Half,
        carrier: Carrier,
        payload: &Payload<'_>,
        heard: &mut Vec<Heard>,
    ) -> u64 {
        let listening = self.protocol;
        if self.stage != Stage::Closed {
            let copied = match self.borrowed(flow, from, carrier, payload) {
                true => self.hear_in_place(flow, from, carrier, payload, heard),
                false => self.hear_kept(flow, from, carrier, payload, heard),
            };
            if listening.is_some() {
                self.glance(carrier, payload);
                self.listen(carrier, from, payload.at, payload.bytes, heard);
            }
            return copied;
        }
        self.glance(carrier, payload);
        self.listen(carrier, from, payload.at, payload.bytes, heard);
        0
    }

    /// States type and code of an ICMP flow's first message, of which no payload is judged.
    pub fn state_icmp(&mut self, kind: u8, code: u8, at: PacketRef) {
        let classification = self.classification.get_or_insert_default();
        if classification.facts.is_empty() {
            let mut facts = Facts::new();
            facts.add(ICMP_TYPE, kind.to_string());
            facts.add(ICMP_CODE, code.to_string());
            classification.facts.learn(facts, at);
        }
    }

    /// Whether judging is over and nobody listens: what payload is left may be glanced at, and nothing else comes of it.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Closed && !self.listens
    }

    /// What it wants of the packets that are to come.
    pub fn wants(&self) -> Wants {
        if self.is_waiting() {
            Wants::All
        } else if !self.is_over() || self.access.is_some() {
            Wants::Payload
        } else {
            Wants::Nothing
        }
    }

    /// Whether segments of either end wait for one before them.
    pub fn is_waiting(&self) -> bool {
        self.prefixes.as_deref().is_some_and(|prefixes| {
            [&prefixes.low, &prefixes.high].into_iter().flatten().any(Prefix::is_waiting)
        })
    }

    /// Bytes kept for later.
    pub fn kept(&self) -> usize {
        let Some(prefixes) = self.prefixes.as_deref() else { return 0 };
        [&prefixes.low, &prefixes.high].into_iter().flatten().map(Prefix::kept).sum()
    }

    /// Gives up on stretches that the mirror lost, as the acknowledgements show.
    pub fn settle(&mut self, flow: &Flow, carrier: Carrier, at: PacketRef, heard: &mut Vec<Heard>) {
        let Some(prefixes) = self.prefixes.as_deref_mut() else { return };
        let mut grew = false;
        for half in [Half::Low, Half::High] {
            let acknowledged = flow.sides.of(half).tcp.as_deref().and_then(|tcp| tcp.acknowledged());
            if let Some(prefix) = prefixes.of_mut(half) {
                grew |= prefix.settle(acknowledged, at);
            }
        }
        if grew {
            self.ask(flow, carrier, None, None, at, heard);
        }
    }

    /// Judges by what there is, and frees what was kept.
    pub fn finish(&mut self, flow: &Flow, carrier: Option<Carrier>, heard: &mut Vec<Heard>) {
        if let (Some(carrier), Some(prefixes)) = (carrier, self.prefixes.as_deref_mut()) {
            for prefix in [&mut prefixes.low, &mut prefixes.high] {
                // An end that stayed silent has said all it will say as well.
                prefix.get_or_insert_with(Prefix::datagrams).finish();
            }
            let last = flow.sides.low.last_payload.max(flow.sides.high.last_payload);
            self.ask(flow, carrier, None, None, last.unwrap_or(flow.last), heard);
        }
        self.close();
    }

    /// The result, and the end that the payload says is the client.
    pub fn tell(&mut self) -> (Box<Classification>, Option<Half>, bool) {
        let answers = !self.unasked && self.protocol().is_some_and(|protocol| protocol.about().answers);
        (self.classification.take().unwrap_or_default(), self.client, answers)
    }

    /// The name proved so far.
    pub fn name(&self) -> Option<&'static str> {
        self.classification.as_deref().and_then(|classification| classification.protocol)
    }

    fn protocol(&self) -> Option<&'static dyn Protocol> {
        PROTOCOLS.get(self.protocol?).copied()
    }

    fn close(&mut self) {
        self.stage = Stage::Closed;
        self.prefixes = None;
    }

    fn prefix(&self, half: Half) -> Option<&Prefix> {
        self.prefixes.as_deref().and_then(|prefixes| prefixes.of(half).as_ref())
    }

    /// Whether this payload can be judged where it lies: it is the first of its end.
    fn borrowed(&self, flow: &Flow, from: Half, carrier: Carrier, payload: &Payload<'_>) -> bool {
        self.prefix(from).is_none() && Prefix::would_begin_with(stream_start(flow, from, carrier), payload)
    }

    fn hear_in_place(
        &mut self,
        flow: &Flow,
        from: Half,
        carrier: Carrier,
        payload: &Payload<'_>,
        heard: &mut Vec<Heard>,
    ) -> u64 {
        self.ask(flow, carrier, Some(from), Some(payload), payload.at, heard);
        if self.stage == Stage::Closed {
            return 0;
        }
        self.keep(flow, from, carrier, payload).1
    }

    fn hear_kept(
        &mut self,
        flow: &Flow,
        from: Half,
        carrier: Carrier,
        payload: &Payload<'_>,
        heard: &mut Vec<Heard>,
    ) -> u64 {
        let (grew, copied) = self.keep(flow, from, carrier, payload);
        if grew {
            self.ask(flow, carrier, Some(from), None, payload.at, heard);
        }
        copied
    }

    /// Copies payload for later; returns whether the prefix grew, and the bytes copied.
    fn keep(&mut self, flow: &Flow, from: Half, carrier: Carrier, payload: &Payload<'_>) -> (bool, u64) {
        let start = stream_start(flow, from, carrier);
        let prefix =
            self.prefixes.get_or_insert_default().of_mut(from).get_or_insert_with(|| match carrier {
                Carrier::Tcp => Prefix::stream(start),
                Carrier::Udp | Carrier::Ethernet(_) => Prefix::datagrams(),
            });
        let grew = match carrier {
            Carrier::Tcp => prefix.add_segment(payload),
            Carrier::Udp | Carrier::Ethernet(_) => prefix.add_datagram(payload),
        };
        (grew, prefix.take_copied())
    }

    /// Asks those who may still prove it, by what one end said, or both where none is named. `fresh` is a payload of that end that
    /// lies outside of the prefixes.
    fn ask(
        &mut self,
        flow: &Flow,
        carrier: Carrier,
        grew: Option<Half>,
        fresh: Option<&Payload<'_>>,
        at: PacketRef,
        heard: &mut Vec<Heard>,
    ) {
        let fresh = grew.zip(fresh);
        let end = fresh.map_or(0, |(_, payload)| payload.bytes.len().min(MOST_STREAM));
        let fresh_ends = [u16::try_from(end).unwrap_or(u16::MAX)];
        let lacks = fresh.map_or(0, |(_, payload)| payload.bytes.len() - end + payload.lacks);
        let fresh_lacks = [u16::try_from(lacks).unwrap_or(u16::MAX)];
        let side = |half: Half| match (fresh, self.prefix(half)) {
            (Some((from, payload)), _) if from == half => Side {
                bytes: payload.bytes.get(..end).unwrap_or(payload.bytes),
                ends: &fresh_ends,
                from_start: carrier != Carrier::Tcp || stream_start(flow, half, carrier).is_some(),
                complete: carrier == Carrier::Tcp && (payload.is_cut() || end == MOST_STREAM),
                lacks: if carrier == Carrier::Tcp { &[] } else { &fresh_lacks },
                read: 0,
            },
            (_, Some(prefix)) => Side {
                bytes: prefix.bytes(),
                ends: prefix.ends(),
                from_start: prefix.from_start(),
                complete: prefix.is_complete(),
                lacks: prefix.lacks(),
                read: *self.read.of(half),
            },
            (_, None) => Side::default(),
        };
        let foremost = flow.foremost();
        let seen = Seen { carrier, first: side(foremost), second: side(foremost.other()) };
        let done = seen.first.complete && seen.second.complete;
        let mut deaf = self.deaf;
        let mut proven = None;
        match self.stage {
            Stage::Closed => return,
            Stage::Open(index) => {
                if let Some(Probe::Proven(proof)) = PROTOCOLS.get(index).map(|protocol| protocol.probe(&seen))
                {
                    proven = Some((index, proof));
                }
            }
            Stage::Asking => {
                let end_of = |half: Half| if half == foremost { End::First } else { End::Second };
                for half in [Half::Low, Half::High] {
                    let begins = grew == Some(half) && seen.side(end_of(half)).ends.len() <= MOST_STRANGERS;
                    if begins || *deaf.of(half) == 0 {
                        *deaf.of_mut(half) |= candidates::deaf(&seen, end_of(half));
                    }
                }
                let passed = grew.map_or(deaf.low & deaf.high, |half| *deaf.of(half));
                let strange = !candidates::begun_by(&seen, grew.map(end_of));
                for index in candidates::left(passed | strange) {
                    let Some(protocol) = PROTOCOLS.get(index) else { continue };
                    let mut over = |end: End| {
                        *deaf.of_mut(if end == End::First { foremost } else { foremost.other() }) |=
                            1 << index;
                    };
                    match protocol.probe(&seen) {
                        Probe::NeedMore => {}
                        Probe::NeedFrom(end) => over(end.other()),
                        Probe::No => {
                            over(End::First);
                            over(End::Second);
                        }
                        Probe::Proven(proof) => {
                            proven = Some((index, proof));
                            break;
                        }
                    }
                }
            }
        }
        self.deaf = deaf;
        match proven {
            Some((index, proof)) => {
                let open = proof.open && !done;
                let first = self.protocol.is_none();
                self.prove(index, proof, foremost, at);
                self.stage = if open { Stage::Open(index) } else { Stage::Closed };
                if first && self.listens {
                    self.listen_back(carrier, fresh, heard);
                }
            }
            None if done
                || (self.stage == Stage::Asking
                    && candidates::left(deaf.low & deaf.high).next().is_none()) =>
            {
                self.stage = Stage::Closed
            }
            None => {}
        }
        if self.stage == Stage::Closed {
            self.close();
        }
    }

    /// Takes over a proof. A newer one replaces what an older one said, or adds to it where it says only what is new; facts are only
    /// added to.
    fn prove(&mut self, index: usize, proof: Proof, foremost: Half, at: PacketRef) {
        let Some(protocol) = PROTOCOLS.get(index) else { return };
        let name = protocol.about().name;
        let adds = self.read.low > 0 || self.read.high > 0;
        let classification = self.classification.get_or_insert_default();
        classification.protocol = Some(name);
        if !adds {
            let layers = if proof.layers.is_empty() { &[name] } else { proof.layers.as_slice() };
            classification.layers = SmallVec::from_slice(layers);
            self.unasked = proof.unasked;
        } else {
            for layer in proof.layers {
                if !classification.layers.contains(&layer) {
                    classification.layers.push(layer);
                }
            }
            self.unasked &= proof.unasked;
        }
        classification.facts.learn(proof.facts, at);
        classification.proven.get_or_insert(at);
        self.protocol = Some(index);
        self.listens = protocol.listens();
        self.access =
            self.access.or_else(|| Some(Access { key: classify::access_fact(*protocol)?, last: "" }));
        if let Some(client) = proof.client.filter(|_| !adds || self.client.is_none()) {
            self.client = Some(match client {
                End::First => foremost,
                End::Second => foremost.other(),
            });
        }
        let [first, second] = proof.read;
        *self.read.of_mut(foremost) = first;
        *self.read.of_mut(foremost.other()) = second;
    }

    /// Shows a listening protocol what was heard up to its proof.
    fn listen_back(&self, carrier: Carrier, fresh: Option<(Half, &Payload<'_>)>, heard: &mut Vec<Heard>) {
        let mut before: Vec<(PacketRef, Half, &[u8])> = [Half::Low, Half::High]
            .into_iter()
            .filter_map(|half| Some((half, self.prefix(half)?)))
            .flat_map(|(half, prefix)| prefix.messages().map(move |(at, bytes)| (at, half, bytes)))
            .collect();
        before.sort_by_key(|&(at, _, _)| at);
        for (at, half, bytes) in before {
            self.listen(carrier, half, at, bytes, heard);
        }
        if let Some((half, payload)) = fresh {
            self.listen(carrier, half, payload.at, payload.bytes, heard);
        }
    }

    /// Takes in what a payload's messages do to a machine: facts that no prefix bounds.
    pub fn glance(&mut self, carrier: Carrier, payload: &Payload<'_>) {
        let (Some(access), Some(protocol), Some(classification)) =
            (&mut self.access, self.protocol.and_then(|at| PROTOCOLS.get(at)), &mut self.classification)
        else {
            return;
        };
        protocol.glance(carrier, payload.bytes, &mut |deed| {
            if access.last != deed.access {
                access.last = deed.access;
                let news = classification.facts.learn_one(access.key, deed.access, payload.at);
                if let Some((key, function)) = deed.by.filter(|_| news) {
                    classification.facts.learn_one(key, function, payload.at);
                }
            }
        });
    }

    fn listen(&self, carrier: Carrier, from: Half, at: PacketRef, message: &[u8], heard: &mut Vec<Heard>) {
        let Some(protocol) = self.protocol().filter(|_| self.listens) else { return };
        let mut statements = Vec::new();
        protocol.hear(carrier, message, &mut statements);
        heard.extend(statements.into_iter().map(|statement| (at, from, statement)));
    }
}

/// Where the byte stream of one end begins, where its SYN told.
fn stream_start(flow: &Flow, half: Half, carrier: Carrier) -> Option<u32> {
    match carrier {
        Carrier::Tcp => flow.sides.of(half).tcp.as_deref().and_then(|tcp| tcp.stream_start()),
        Carrier::Udp | Carrier::Ethernet(_) => None,
    }
}
