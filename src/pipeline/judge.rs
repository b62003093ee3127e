//! What one flow proves to be: its payload shown to the protocols until one of them knows, or all have said no.

mod gists;
mod keeping;

use smallvec::SmallVec;

use crate::classify;
use crate::classify::Carrier;
use crate::classify::End;
use crate::classify::Known;
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
use crate::flow::Pair;
use crate::flow::Payload;
use crate::flow::Prefix;
use crate::model::Classification;
use crate::model::Facts;
use crate::model::ICMP_CODE;
use crate::model::ICMP_TYPE;
use crate::model::PacketRef;
use crate::model::Statement;

use gists::Gist;
use gists::Gists;
use keeping::Fresh;
use keeping::stream_start;

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
    /// By which messages it was told.
    gists: Gists,
    /// What each end sent first, while someone may still ask for it.
    prefixes: Pair<Option<Prefix>>,
    /// DNS questions waiting for their answers.
    pub questions: Option<Box<Questions>>,
}

/// What a judgement wants of a flow's packets. The two lowest bits tell of which ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wants {
    /// Nothing.
    Nothing = 0,
    /// The payload of the lower end.
    OfLow = 1,
    /// The payload of the higher end.
    OfHigh = 2,
    /// The payload of both ends.
    OfBoth = 3,
    /// Every one, with or without payload: the flow's state is looked at.
    All = 7,
}

impl Wants {
    /// The ends of which payload is wanted.
    #[inline(always)]
    pub fn ends(self) -> Pair<bool> {
        Pair { low: self as u8 & 1 != 0, high: self as u8 & 2 != 0 }
    }
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
        if self.stage == Stage::Closed {
            self.glance(carrier, payload);
            self.listen(carrier, from, payload.at, payload.bytes, heard);
            return 0;
        }
        let listening = self.protocol.is_some();
        let (wanted, heard_before) = (!self.is_served(from) || self.access.is_some(), heard.len());
        let copied = match self.where_it_lies(flow, from, carrier, payload) {
            Some(fresh) => {
                let gist = self.gist(from, carrier, payload);
                if gist.is_some_and(|gist| self.gists.have(gist) && self.may_pass(from, carrier, fresh)) {
                    return 0;
                }
                let copied = self.hear_in_place(flow, from, carrier, fresh, heard);
                // What is told must have been glanced at as well, which what proves a flow is not.
                if listening {
                    self.learn_gist(gist, from, carrier, payload);
                }
                copied
            }
            None => self.hear_kept(flow, from, carrier, payload, heard),
        };
        if listening {
            self.glance(carrier, payload);
            self.listen(carrier, from, payload.at, payload.bytes, heard);
        }
        debug_assert!(wanted || (copied == 0 && heard.len() == heard_before), "it need not have been shown");
        copied
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
        // Of what is over nothing waits: a look at what is kept would be another line of memory.
        match (self.is_over(), self.access.is_some()) {
            (true, false) => Wants::Nothing,
            (true, true) => Wants::OfBoth,
            (false, _) if self.is_waiting() => Wants::All,
            (false, true) => Wants::OfBoth,
            (false, false) => match (self.is_served(Half::Low), self.is_served(Half::High)) {
                (false, false) => Wants::OfBoth,
                (true, false) => Wants::OfHigh,
                (false, true) => Wants::OfLow,
                (true, true) => Wants::Nothing,
            },
        }
    }

    /// Whether all is kept of an end that ever is, and nobody hears every message: nothing comes of what it says then.
    fn is_served(&self, half: Half) -> bool {
        !self.listens && self.prefix(half).is_some_and(Prefix::is_complete)
    }

    /// Gives up on stretches that the mirror lost, as the acknowledgements show. Returns how many bytes had to be copied for later.
    pub fn settle(&mut self, flow: &Flow, carrier: Carrier, at: PacketRef, heard: &mut Vec<Heard>) -> u64 {
        let (mut grew, mut copied) = (false, 0);
        for half in [Half::Low, Half::High] {
            let acknowledged = flow.sides.of(half).tcp.as_deref().and_then(|tcp| tcp.acknowledged());
            if let Some(prefix) = self.prefixes.of_mut(half) {
                grew |= prefix.settle(acknowledged, at);
                copied += prefix.take_copied();
            }
        }
        if grew {
            self.ask(flow, carrier, None, None, at, heard);
        }
        copied
    }

    /// Judges by what there is, and frees what was kept.
    pub fn finish(&mut self, flow: &Flow, carrier: Option<Carrier>, heard: &mut Vec<Heard>) {
        // Who has told all that there is has nothing to say to the end.
        if self.is_told() {
            return self.close();
        }
        let Pair { low, high } = &mut self.prefixes;
        if let Some(carrier) = carrier.filter(|_| low.is_some() || high.is_some()) {
            for prefix in [low, high] {
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
        let protocol = self.protocol();
        let answers = !self.unasked && protocol.is_some_and(|protocol| protocol.about().answers);
        let one_way = protocol.is_some() && !answers;
        let mut classification = self.classification.take().unwrap_or_default();
        classification.one_way = one_way;
        (classification, self.client, answers)
    }

    /// The name proved so far.
    pub fn name(&self) -> Option<&'static str> {
        self.classification.as_deref().and_then(|classification| classification.protocol)
    }

    fn protocol(&self) -> Option<&'static dyn Protocol> {
        PROTOCOLS.get(self.protocol?).copied()
    }

    /// Whether one is proved that goes on from what it told, and nothing is left that it could go on with.
    fn is_told(&self) -> bool {
        let goes_on = matches!(self.stage, Stage::Open(_)) && (self.read.low > 0 || self.read.high > 0);
        let is_empty = |half| self.prefix(half).is_none_or(Prefix::is_empty);
        goes_on && is_empty(Half::Low) && is_empty(Half::High)
    }

    fn close(&mut self) {
        self.stage = Stage::Closed;
        self.prefixes = Pair::default();
    }

    /// Hands out what was told of a flow whose protocol goes on from there.
    fn lend(&mut self) -> Option<Known> {
        let goes_on = matches!(self.stage, Stage::Open(_)) && (self.read.low > 0 || self.read.high > 0);
        let classification = self.classification.as_deref_mut().filter(|_| goes_on)?;
        Some(Known::new(std::mem::take(&mut classification.facts)))
    }

    /// Asks those who may still prove it, by what one end said, or both where none is named. `fresh` is a payload of that end that
    /// lies outside of the prefixes.
    fn ask(
        &mut self,
        flow: &Flow,
        carrier: Carrier,
        grew: Option<Half>,
        fresh: Option<Fresh<'_>>,
        at: PacketRef,
        heard: &mut Vec<Heard>,
    ) {
        let known = self.lend();
        let (prefixes, read) = (&self.prefixes, &self.read);
        let fresh = grew.zip(fresh);
        let end = fresh.map_or(0, |(_, fresh)| fresh.length);
        let fresh_ends = [u16::try_from(end).unwrap_or(u16::MAX)];
        let lacks = fresh.map_or(0, |(_, fresh)| fresh.payload.bytes.len() - end + fresh.payload.lacks);
        let fresh_lacks = [u16::try_from(lacks).unwrap_or(u16::MAX)];
        let side = |half: Half| match (fresh, prefixes.of(half).as_ref()) {
            (Some((from, Fresh { payload, complete, .. })), prefix) if from == half => Side {
                bytes: payload.bytes.get(..end).unwrap_or(payload.bytes),
                ends: &fresh_ends,
                from_start: match prefix {
                    Some(prefix) => prefix.from_start(),
                    None => carrier != Carrier::Tcp || stream_start(flow, half, carrier).is_some(),
                },
                complete,
                lacks: if carrier == Carrier::Tcp { &[] } else { &fresh_lacks },
                read: *read.of(half),
                before: prefix.map_or(0, Prefix::before),
            },
            (_, Some(prefix)) => Side {
                bytes: prefix.bytes(),
                ends: prefix.ends(),
                from_start: prefix.from_start(),
                complete: prefix.is_complete(),
                lacks: prefix.lacks(),
                read: *read.of(half),
                before: prefix.before(),
            },
            (_, None) => Side::default(),
        };
        let foremost = flow.foremost();
        let seen =
            Seen { carrier, first: side(foremost), second: side(foremost.other()), known: known.as_ref() };
        let done = seen.first.complete && seen.second.complete;
        let (proven, over) = match self.stage {
            Stage::Closed => return,
            // That an end is over changes nothing of what was told.
            Stage::Open(_) if seen.is_told() => (None, done),
            Stage::Open(index) => {
                let probe = PROTOCOLS.get(index).map(|protocol| protocol.probe(&seen));
                (probe.and_then(Probe::proof).map(|proof| (index, proof)), done)
            }
            Stage::Asking => {
                let proven = ask_left(&seen, grew, foremost, &mut self.deaf);
                let none_left = candidates::left(self.deaf.low & self.deaf.high).next().is_none();
                (proven, done || none_left)
            }
        };
        if let Some(known) = known {
            let left = known.into_inner();
            debug_assert!(
                left.is_some() || proven.is_some(),
                "who takes the facts of a flow gives them back in a proof"
            );
            if let (Some(facts), Some(classification)) = (left, self.classification.as_deref_mut()) {
                classification.facts = facts;
            }
        }
        match proven {
            Some((index, proof)) => {
                let open = proof.open && !done;
                let first = self.protocol.is_none();
                self.prove(index, proof, foremost, at);
                self.stage = if open { Stage::Open(index) } else { Stage::Closed };
                if first && self.listens {
                    self.listen_back(carrier, fresh.map(|(from, fresh)| (from, fresh.payload)), heard);
                }
            }
            None if over => self.stage = Stage::Closed,
            None => {}
        }
        if self.stage == Stage::Closed {
            self.close();
        } else {
            self.forget_told(carrier);
        }
    }

    /// Takes over a proof. A newer one replaces what an older one said, or adds to it where it says only what is new; facts are only
    /// added to.
    fn prove(&mut self, index: usize, proof: Proof, foremost: Half, at: PacketRef) {
        let Some(protocol) = PROTOCOLS.get(index) else { return };
        let adds = self.read.low > 0 || self.read.high > 0;
        let classification = self.classification.get_or_insert_default();
        let name = protocol.about().name;
        if self.protocol.is_none() {
            self.protocol = Some(index);
            self.listens = protocol.listens();
            self.access = classify::access_fact(*protocol).map(|key| Access { key, last: "" });
            classification.protocol = Some(name);
            classification.proven = Some(at);
        }
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

    /// Remembers a payload that was told where it lay: the first of a flow is told by its proof.
    fn learn_gist(&mut self, gist: Option<Gist>, from: Half, carrier: Carrier, payload: &Payload<'_>) {
        if matches!(self.stage, Stage::Open(_)) && *self.read.of(from) > 0 {
            let gist = gist.or_else(|| self.gist(from, carrier, payload));
            if let Some(gist) = gist.filter(|&gist| !self.gists.have(gist)) {
                self.gists.learn(gist);
            }
        }
    }

    /// The gist of a payload that is one message of the protocol that was proved.
    fn gist(&self, from: Half, carrier: Carrier, payload: &Payload<'_>) -> Option<Gist> {
        let protocol = self.protocol().filter(|_| !self.listens && !payload.is_cut())?;
        Gist::of(from, protocol.gist(carrier, payload.bytes)?)
    }

    /// Takes in what a payload's messages do to a machine: facts that no prefix bounds.
    pub fn glance(&mut self, carrier: Carrier, payload: &Payload<'_>) {
        let (Some(access), Some(protocol), Some(classification)) =
            (&mut self.access, self.protocol.and_then(|at| PROTOCOLS.get(at)), &mut self.classification)
        else {
            return;
        };
        protocol.glance(carrier, payload.bytes, &mut |deed| {
            // Words are nearly always one place in memory each.
            if !std::ptr::eq(access.last, deed.access) && access.last != deed.access {
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

/// Asks each protocol that neither its own word nor what was said rules out, in their order; notes of those that prove nothing to which
/// end they will not listen any more.
fn ask_left(
    seen: &Seen<'_>,
    grew: Option<Half>,
    foremost: Half,
    deaf: &mut Pair<candidates::Set>,
) -> Option<(usize, Proof)> {
    let end_of = |half: Half| if half == foremost { End::First } else { End::Second };
    for half in [Half::Low, Half::High] {
        let begins = grew == Some(half) && seen.side(end_of(half)).ends.len() <= MOST_STRANGERS;
        if begins || *deaf.of(half) == 0 {
            *deaf.of_mut(half) |= candidates::deaf(seen, end_of(half));
        }
    }
    let passed = grew.map_or(deaf.low & deaf.high, |half| *deaf.of(half));
    let strange = !candidates::begun_by(seen, grew.map(end_of));
    for index in candidates::left(passed | strange) {
        let Some(protocol) = PROTOCOLS.get(index) else { continue };
        let mut over = |end: End| {
            *deaf.of_mut(if end == End::First { foremost } else { foremost.other() }) |= 1 << index;
        };
        match protocol.probe(seen) {
            Probe::NeedMore => {}
            Probe::NeedFrom(end) => over(end.other()),
            Probe::No => {
                over(End::First);
                over(End::Second);
            }
            Probe::Proven(proof) => return Some((index, proof)),
        }
    }
    None
}
