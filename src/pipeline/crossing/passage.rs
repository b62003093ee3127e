//! Which packets two vantages both saw, how far their clocks are apart, and what of a flow reached only one of them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::flow::Half;
use crate::flow::Place;
use crate::model::CellId;
use crate::model::Crossing;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::Lost;
use crate::model::Observed;
use crate::model::PacketRef;
use crate::model::Timestamp;
use crate::model::Transport;

use super::Part;
use super::prints::FlowKey;
use super::prints::Kind;
use super::prints::Print;
use super::prints::Prints;
use super::prints::key;

/// How far apart, clocks compared, two sightings of one packet may lie: queues of a firewall, and the clocks' own drift.
pub const APART: Duration = Duration::from_secs(3);
/// The other vantage has to go on for this long after the last packet that is missed there.
const GUARD: Duration = Duration::from_secs(1);

/// Cell, sender's segment, receiver's segment, and whether the sender opened the flow: a device that translates the addresses of who opens
/// leaves the answers to others' flows as they are.
type Way = (CellId, IpAddr, IpAddr, bool);

/// What two vantages have in common.
#[derive(Debug, Default)]
pub struct Common {
    /// Packets seen at both.
    pub matched: u64,
    /// How far the second clock is ahead of the first, in nanoseconds; `None` where nothing was seen at both.
    pub ahead: Option<i64>,
    /// Half of the matched packets lie within this of it.
    pub spread: Duration,
    /// Ways on which packets were seen at both, with one of them.
    ways: BTreeMap<Way, (PacketRef, PacketRef)>,
    /// Segments whose packets were seen at both.
    senders: BTreeMap<(CellId, IpAddr, bool), (PacketRef, PacketRef)>,
}

impl Common {
    /// Compares two vantages.
    pub fn of(one: &Prints, other: &Prints) -> Self {
        let mut common = Self::default();
        let mut differences = Vec::new();
        for (key, here) in &one.of {
            let Some(there) = other.of.get(key) else { continue };
            let unique = unique(there);
            let opener = opener(key, here);
            for (digest, print) in self::unique(here) {
                let Some(twin) = unique.get(&digest).filter(|twin| twin.from == print.from) else { continue };
                differences.push(twin.at.time.as_nanos().saturating_sub(print.at.time.as_nanos()));
                common.matched += 1;
                let (source, destination) = directed(key, print.from);
                let (Some(from), Some(to)) = (segment(source), segment(destination)) else { continue };
                let Some(opens) = opener.map(|opener| opener == print.from) else { continue };
                let pair = (print.at, twin.at);
                common
                    .ways
                    .entry((key.0, from, to, opens))
                    .and_modify(|known| *known = pair.min(*known))
                    .or_insert(pair);
                common
                    .senders
                    .entry((key.0, from, opens))
                    .and_modify(|known| *known = pair.min(*known))
                    .or_insert(pair);
            }
        }
        if let Some(ahead) = median(&mut differences) {
            let mut off: Vec<i64> = differences
                .iter()
                .map(|difference| difference.saturating_sub(ahead).saturating_abs())
                .collect();
            common.ahead = Some(ahead);
            common.spread = Duration::from_nanos(median(&mut off).unwrap_or(0).unsigned_abs());
        }
        common
    }

    /// The same, seen from the other vantage.
    pub fn reversed(&self) -> Self {
        let turn = |(here, there): &(PacketRef, PacketRef)| (*there, *here);
        Self {
            matched: self.matched,
            ahead: self.ahead.map(i64::wrapping_neg),
            spread: self.spread,
            ways: self.ways.iter().map(|(way, pair)| (*way, turn(pair))).collect(),
            senders: self.senders.iter().map(|(from, pair)| (*from, turn(pair))).collect(),
        }
    }

    /// A time of the first vantage on the clock of the second.
    pub fn there(&self, time: Timestamp) -> Timestamp {
        Timestamp::from_nanos(time.as_nanos().saturating_add(self.ahead.unwrap_or(0)))
    }
}

/// What of a flow that was seen at `here` never reached `there`; `None` where all of it did, or where the other vantage can't tell.
pub fn lost(flow: &FlowRecord, here: &Part, there: &Part, common: &Common) -> Option<Crossing> {
    let place = Place::between(flow.cell, flow.transport, flow.client, flow.server);
    let (client, key) = (place.from, key(&place));
    let (from, until) = (flow.first.time, flow.last.time);
    let near = during(&here.prints, &key, from, until);
    let far = during(&there.prints, &key, common.there(from).minus(APART), common.there(until).plus(APART));
    let of = |prints: &[Print], half: Half, wanted: fn(Kind) -> bool| -> Vec<Print> {
        prints.iter().filter(|print| print.from == half && wanted(print.kind)).copied().collect()
    };
    let spoken = |kind: Kind| kind != Kind::Reset;
    let is_data = |kind: Kind| kind == Kind::Data;
    let (asked, asked_there) = (of(&near, client, spoken), of(&far, client, spoken));
    let (answered, answered_there) = (of(&near, client.other(), spoken), of(&far, client.other(), spoken));
    if asked_there.is_empty() {
        let missed = covered(&there.observed, common, &asked)?;
        let control = common.control(
            flow.cell,
            (flow.client.host, flow.server.host),
            true,
            &here.observed,
            &there.observed,
        );
        let all = missed.len() == asked.len();
        let sent = if all { flow.from_client.packets } else { missed.len() as u64 };
        let count = u32::try_from(sent).unwrap_or(u32::MAX);
        let resets = |prints: &[Print]| of(prints, client.other(), |kind| kind == Kind::Reset).len();
        // A reset that came from beyond would have been seen there on its way.
        let made_between = if resets(&far) == 0 { resets(&near) as u32 } else { 0 };
        let mut crossing = told(here, there, Lost::Requests, &missed, count, control)?;
        crossing.together = count.saturating_add(made_between);
        return Some(crossing);
    }
    // Whichever record shows the answers, that of the other side misses them.
    let back = common.reversed();
    let answers = match (answered.is_empty(), answered_there.is_empty()) {
        (true, false) => Some((there, here, &back, &answered_there)),
        (false, true) => Some((here, there, common, &answered)),
        _ => None,
    };
    if let Some((shown, missing, common, packets)) = answers {
        let missed = covered(&missing.observed, common, packets)?;
        let way = (flow.server.host, flow.client.host);
        let control = common.control(flow.cell, way, false, &shown.observed, &missing.observed);
        let count = u32::try_from(missed.len()).unwrap_or(u32::MAX);
        return told(shown, missing, Lost::Answers, &missed, count, control);
    }
    let (data, data_there) = (of(&near, client, is_data), of(&far, client, is_data));
    if !data.is_empty() && data_there.is_empty() {
        let missed = covered(&there.observed, common, &data)?;
        // The flow's own opening was seen at both.
        let control = asked.first().copied().zip(asked_there.first().copied()).map(|(a, b)| (a.at, b.at));
        let count = u32::try_from(missed.len()).unwrap_or(u32::MAX);
        return told(here, there, Lost::Data, &missed, count, control);
    }
    None
}

fn told(
    here: &Part,
    there: &Part,
    lost: Lost,
    prints: &[Print],
    count: u32,
    control: Option<(PacketRef, PacketRef)>,
) -> Option<Crossing> {
    let (first, last) = (prints.first()?.at, prints.last()?.at);
    Some(Crossing {
        from: here.name.clone(),
        to: there.name.clone(),
        lost,
        first,
        last,
        count,
        together: count,
        control,
        loss: there.observed.vantage.loss(),
    })
}

impl Common {
    /// A packet that shows that the way from one host to another leads past both vantages, for who opens flows or for who answers.
    ///
    /// Best is one between the same two segments. Else it must be known that addresses of the sender are not translated on the way (its
    /// segment was seen at both), and that the receiver lives beyond: it is heard there and never here.
    fn control(
        &self,
        cell: CellId,
        (sender, receiver): (Host, Host),
        opens: bool,
        here: &Observed,
        there: &Observed,
    ) -> Option<(PacketRef, PacketRef)> {
        let (from, to) = (segment(sender)?, segment(receiver)?);
        if from == to {
            // Neighbours talk past no device that stands between two segments.
            return None;
        }
        // Of a flow whose opening passed nothing is translated, so for its answers every packet on the way will do.
        let by = if opens { &[true][..] } else { &[false, true][..] };
        if let Some(&pair) = by.iter().find_map(|&opens| self.ways.get(&(cell, from, to, opens))) {
            return Some(pair);
        }
        let heard = |at: &Observed| at.vantage.heard.contains_key(&(cell, receiver));
        let beyond = heard(there) && !heard(here);
        by.iter().find_map(|&opens| self.senders.get(&(cell, from, opens))).copied().filter(|_| beyond)
    }
}

/// The packets at whose time the other vantage was recording, with its guard; `None` where none is.
///
/// A recording shows that it goes on by its packets alone: on a quiet link those that come after its last one may have been missed.
fn covered(there: &Observed, common: &Common, packets: &[Print]) -> Option<Vec<Print>> {
    let (first, last) = (there.vantage.first?, there.vantage.last?);
    common.ahead?;
    let is_covered = |print: &&Print| {
        let time = common.there(print.at.time);
        first <= time && time.plus(GUARD) <= last
    };
    let covered: Vec<Print> = packets.iter().filter(is_covered).copied().collect();
    (!covered.is_empty()).then_some(covered)
}

/// The packets of a flow within a time.
fn during(prints: &Prints, key: &FlowKey, from: Timestamp, until: Timestamp) -> Vec<Print> {
    let known = prints.of.get(key).map_or(&[][..], Vec::as_slice);
    known.iter().filter(|print| from <= print.at.time && print.at.time <= until).copied().collect()
}

/// The packets of a flow by their digests, those left out that can't be told apart.
fn unique(prints: &[Print]) -> BTreeMap<u64, Print> {
    let mut seen = BTreeMap::new();
    let mut twice = BTreeSet::new();
    for print in prints {
        if seen.insert(print.digest, *print).is_some() {
            twice.insert(print.digest);
        }
    }
    seen.retain(|digest, _| !twice.contains(digest));
    seen
}

/// Who opened a flow: who sent its first SYN, or the first of its datagrams; `None` where a stream's opening was missed.
fn opener(key: &FlowKey, prints: &[Print]) -> Option<Half> {
    let opening = prints.iter().find(|print| print.kind == Kind::Opening);
    let datagrams = || prints.first().filter(|_| key.1 == Transport::Udp);
    Some(opening.or_else(datagrams)?.from)
}

/// Sender and receiver of a packet.
fn directed(key: &FlowKey, from: Half) -> (Host, Host) {
    match from {
        Half::Low => (key.2.host, key.3.host),
        Half::High => (key.3.host, key.2.host),
    }
}

/// The usual subnet of an address, /24 or /64: a stand-in for "its segment", of which a mirror says nothing.
fn segment(host: Host) -> Option<IpAddr> {
    Some(match host.ip()? {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    })
}

fn median(values: &mut [i64]) -> Option<i64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable(middle).1)
}
