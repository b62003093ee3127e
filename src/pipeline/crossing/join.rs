//! Several vantages as one observation: a flow seen at several counts once, by the record that shows most of it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::Crossing;
use crate::model::FlowRecord;
use crate::model::Heard;
use crate::model::Lookup;
use crate::model::Lost;
use crate::model::Observed;
use crate::model::PacketRef;
use crate::model::Timestamp;
use crate::model::Transport;
use crate::model::Vantage;

use super::Part;
use super::passage;
use super::passage::APART;
use super::passage::Common;

/// Joins vantages.
pub fn join(parts: Vec<Part>) -> Observed {
    let commons: BTreeMap<(usize, usize), Common> = pairs(&parts)
        .map(|(here, there, one, other)| ((here, there), Common::of(&one.prints, &other.prints)))
        .collect();
    let commons: BTreeMap<(usize, usize), Common> = commons
        .into_iter()
        .flat_map(|((here, there), common)| [((there, here), common.reversed()), ((here, there), common)])
        .collect();
    let mut joined = Observed { vantage: vantage(&parts, &commons), ..Observed::default() };
    let keys: BTreeSet<ConversationKey> =
        parts.iter().flat_map(|part| part.observed.conversations.keys().copied()).collect();
    for key in keys {
        let flows = once(&parts, key, &commons);
        let mut crossings: Vec<_> = flows
            .iter()
            .filter_map(|(at, flow)| Some((flow.first, cross(flow, *at, &parts, &commons)?)))
            .collect();
        add_up(&mut crossings);
        joined.crossings.extend(crossings);
        if let Some(conversation) = conversation(&parts, key, flows) {
            joined.conversations.insert(key, Box::new(conversation));
        }
    }
    for (at, part) in parts.into_iter().enumerate() {
        let observed = part.observed;
        joined.inputs.extend(observed.inputs);
        joined.flows.extend(observed.flows);
        joined.endpoints.extend(observed.endpoints);
        joined.leases.extend(observed.leases);
        joined.holders.extend(observed.holders);
        joined.resolutions.extend(observed.resolutions);
        joined.names.extend(observed.names);
        joined.tally.merge(&observed.tally);
        let ahead = |from: usize| commons.get(&(from, at)).and_then(|common| common.ahead).unwrap_or(0);
        for lookup in observed.lookups {
            add_lookup(&mut joined.lookups, lookup, ahead(0));
        }
    }
    joined.names.sort();
    joined.names.dedup();
    joined.endpoints.sort_by_key(|endpoint| (endpoint.at, endpoint.server, endpoint.port));
    joined.leases.sort_by_key(|lease| (lease.from, lease.address, lease.mac));
    joined.lookups.sort_by(|a, b| order(a).cmp(&order(b)));
    joined
}

/// Every pair of vantages, the earlier named first.
fn pairs(parts: &[Part]) -> impl Iterator<Item = (usize, usize, &Part, &Part)> {
    parts.iter().enumerate().flat_map(move |(here, one)| {
        parts.iter().enumerate().skip(here + 1).map(move |(there, other)| (here, there, one, other))
    })
}

/// The flows of a conversation, each once, with the vantage whose record it is.
fn once(
    parts: &[Part],
    key: ConversationKey,
    commons: &BTreeMap<(usize, usize), Common>,
) -> Vec<(usize, FlowRecord)> {
    let mut flows: Vec<(usize, FlowRecord)> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let Some(conversation) = part.observed.conversations.get(&key) else { continue };
        let known = flows.len();
        let mut taken = BTreeSet::new();
        for flow in conversation.attempts() {
            let twin = (0..known).find(|place| {
                !taken.contains(place)
                    && flows.get(*place).is_some_and(|(from, other)| {
                        let common = commons.get(&(*from, at));
                        other.client == flow.client
                            && other.server == flow.server
                            && overlap(other, flow, common)
                    })
            });
            match twin.and_then(|place| flows.get_mut(place).map(|known| (place, known))) {
                Some((place, known)) => {
                    taken.insert(place);
                    if shows(flow) > shows(&known.1) {
                        *known = (at, flow.clone());
                    }
                }
                None => flows.push((at, flow.clone())),
            }
        }
    }
    flows
}

/// How much a record shows: that it works above all, then what the client sent.
fn shows(flow: &FlowRecord) -> (bool, u64) {
    (works(flow), flow.from_client.packets)
}

/// Whether something came back and was taken in.
fn works(flow: &FlowRecord) -> bool {
    match flow.transport {
        Transport::Tcp => {
            flow.from_client.acked_payload.is_some() || flow.from_server.payload_acknowledged > 0
        }
        _ => flow.from_client.packets > 0 && flow.from_server.payload_packets > 0,
    }
}

/// Whether two records are of the same time, clocks compared.
fn overlap(one: &FlowRecord, other: &FlowRecord, common: Option<&Common>) -> bool {
    let there = |time: Timestamp| common.map_or(time, |common| common.there(time));
    there(one.first.time).minus(APART) <= other.last.time
        && other.first.time <= there(one.last.time).plus(APART)
}

/// What of a flow that does not work reached one vantage only.
fn cross(
    flow: &FlowRecord,
    at: usize,
    parts: &[Part],
    commons: &BTreeMap<(usize, usize), Common>,
) -> Option<Crossing> {
    if works(flow) || !matches!(flow.transport, Transport::Tcp | Transport::Udp) {
        return None;
    }
    let here = parts.get(at)?;
    parts
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != at)
        .find_map(|(other, there)| passage::lost(flow, here, there, commons.get(&(at, other))?))
}

/// Tells each crossing how many packets of its conversation are missing like its own.
fn add_up(crossings: &mut [(PacketRef, Crossing)]) {
    let mut sums: BTreeMap<(String, String, Lost), u32> = BTreeMap::new();
    let like = |one: &Crossing| (one.from.clone(), one.to.clone(), one.lost);
    for (_, one) in crossings.iter() {
        let sum = sums.entry(like(one)).or_default();
        *sum = sum.saturating_add(one.together);
    }
    for (_, one) in crossings {
        one.together = sums.get(&like(one)).copied().unwrap_or(one.together);
    }
}

/// A conversation of those flows; where a vantage kept not all of them whole, its own counts say how many there were.
fn conversation(
    parts: &[Part],
    key: ConversationKey,
    flows: Vec<(usize, FlowRecord)>,
) -> Option<Conversation> {
    let mut all = flows.into_iter().map(|(_, flow)| flow);
    let mut joined = Conversation::under(key, all.next()?.into());
    all.for_each(|flow| joined.fold(flow));
    let told: Vec<&Conversation> =
        parts.iter().filter_map(|part| part.observed.conversations.get(&key).map(AsRef::as_ref)).collect();
    for one in &told {
        joined.protocols.extend(one.protocols.keys().copied());
        joined.layers.extend(one.layers.keys().copied());
        joined.hosts.extend(one.hosts.iter().cloned());
    }
    let largest = told.iter().max_by_key(|one| one.flows)?;
    if largest.flows > joined.flows {
        joined.flows = largest.flows;
        joined.packets = largest.packets;
        joined.bytes = largest.bytes;
        joined.outcomes.clone_from(&largest.outcomes);
    }
    Some(joined)
}

/// Adds a lookup, or what it adds to the same lookup seen at another vantage.
fn add_lookup(known: &mut Vec<Lookup>, lookup: Lookup, ahead: i64) {
    let at = |lookup: &Lookup| lookup.asked.or(lookup.answer.as_ref().map(|answer| answer.at));
    let near = |a: &Lookup| match (at(a), at(&lookup)) {
        (Some(a), Some(b)) => {
            let b = Timestamp::from_nanos(b.time.as_nanos().saturating_sub(ahead));
            a.time.since(b).max(b.since(a.time)) <= APART
        }
        _ => false,
    };
    let twin = known.iter_mut().rev().take(LOOK_BACK).find(|other| {
        (other.cell, other.client, other.server, other.kind)
            == (lookup.cell, lookup.client, lookup.server, lookup.kind)
            && other.name == lookup.name
            && other.asked.map(|at| at.input()) != lookup.asked.map(|at| at.input())
            && near(other)
    });
    match twin {
        Some(twin) => {
            if twin.answer.is_none() {
                twin.answer = lookup.answer;
            }
        }
        None => known.push(lookup),
    }
}

/// Lookups among which the same one of another vantage is looked for.
const LOOK_BACK: usize = 4096;

fn order(lookup: &Lookup) -> impl Ord + '_ {
    let at = lookup.asked.or(lookup.answer.as_ref().map(|answer| answer.at));
    (at, lookup.client, lookup.server, lookup.name.as_str(), lookup.kind)
}

/// The view of all vantages together, and what is worth knowing of how they fit.
fn vantage(parts: &[Part], commons: &BTreeMap<(usize, usize), Common>) -> Vantage {
    let mut all = Vantage::default();
    for (at, part) in parts.iter().enumerate() {
        let one = &part.observed.vantage;
        // Times are told on each vantage's own clock; ends are compared on the first one's.
        let ahead = commons.get(&(0, at)).and_then(|common| common.ahead).unwrap_or(0);
        let here = |time: Timestamp| Timestamp::from_nanos(time.as_nanos().saturating_sub(ahead));
        all.first = all.first.into_iter().chain(one.first.map(here)).min();
        all.last = all.last.into_iter().chain(one.last.map(here)).max();
        all.unseen_bytes += one.unseen_bytes;
        all.acknowledged_bytes += one.acknowledged_bytes;
        all.dropped = match (all.dropped, one.dropped) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        all.pairs += one.pairs;
        all.one_sided_pairs += one.one_sided_pairs;
        all.latest_pairs += one.latest_pairs;
        all.lost_pairs += one.lost_pairs;
        all.duplicates += one.duplicates;
        all.copies.add(one.copies);
        all.cut_packets += one.cut_packets;
        for (name, packets) in &one.encapsulations {
            *all.encapsulations.entry(name.clone()).or_default() += packets;
        }
        all.overlapping.extend(one.overlapping.iter().cloned());
        for (&key, heard) in &one.heard {
            all.heard
                .entry(key)
                .and_modify(|known: &mut Heard| {
                    known.packets = known.packets.max(heard.packets);
                    known.first = known.first.min(heard.first);
                    known.last = known.last.max(heard.last);
                })
                .or_insert(*heard);
        }
        for (&key, stretches) in &one.unread_errors {
            all.unread_errors.entry(key).or_default().extend(stretches);
        }
        all.notes.extend(one.notes.iter().map(|note| format!("{}: {note}", part.name)));
        if part.prints.left_out > 0 {
            all.notes.push(format!(
                "{}: {} packets were not compared with other vantages for want of room",
                part.name, part.prints.left_out
            ));
        }
    }
    all.overlapping.sort();
    all.overlapping.dedup();
    for (here, there, one, other) in pairs(parts) {
        let Some(common) = commons.get(&(here, there)) else { continue };
        all.notes.push(compared(&one.name, &other.name, common));
    }
    all
}

/// How two vantages fit together, in words.
fn compared(one: &str, other: &str, common: &Common) -> String {
    let Some(ahead) = common.ahead else {
        return format!(
            "vantages '{one}' and '{other}' have no packet in common: what is missing at one of them proves nothing of the other"
        );
    };
    let gap = Duration::from_nanos(ahead.unsigned_abs());
    let which = if ahead < 0 { "behind" } else { "ahead of" };
    format!(
        "vantages '{one}' and '{other}' have {} packets in common; the clock of '{other}' is {:.3} ms {which} that of '{one}' (half of them within {:.3} ms)",
        common.matched,
        gap.as_secs_f64() * 1e3,
        common.spread.as_secs_f64() * 1e3
    )
}
