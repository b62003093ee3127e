//! The ordered merge: what shards learnt becomes one answer, the same for any number of workers.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::thread;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use hashbrown::hash_map::Entry;

use crate::capture::Source;
use crate::model::CellId;
use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::FlowRecord;
use crate::model::Heard;
use crate::model::Host;
use crate::model::Input;
use crate::model::Observed;
use crate::model::Outcome;
use crate::model::RoleBasis;
use crate::model::Tally;
use crate::model::Vantage;
use crate::threads::both;
use crate::threads::joined;

use super::learnt::Learnt;
use super::names;
use super::names::Names;
use super::resolve::Resolver;
use super::vantage::Hosts;

/// Addresses that it takes for putting them in order to be worth a thread.
const WORTH_A_THREAD: usize = 1024;

/// What a source says of itself.
pub struct Told {
    inputs: Vec<Input>,
    names: Vec<(IpAddr, String)>,
    notes: Vec<String>,
}

impl Told {
    /// As it stands now.
    pub fn of(source: &dyn Source) -> Self {
        Self { inputs: source.inputs(), names: source.names(), notes: source.notes() }
    }
}

/// Joins the shards, in the order of their numbers, with what the reader counted, by so many threads.
pub fn merge(
    mut shards: Vec<Learnt>,
    read: Tally,
    hosts: &Hosts,
    source: Told,
    keep_flows: bool,
    workers: usize,
) -> Observed {
    let learned: Accepting = shards.iter_mut().flat_map(|shard| std::mem::take(&mut shard.learned)).collect();
    let conversations = settle_all(&mut shards, &learned, keep_flows, workers);
    let (conversations, heard) = both(
        hosts.len(),
        WORTH_A_THREAD,
        NonZeroUsize::new(workers),
        // Most of them stand in their order already, which building a tree makes use of, as it does of the room that they have.
        || {
            let joined = conversations.into_iter().reduce(|mut all, share| {
                all.extend(share);
                all
            });
            joined.unwrap_or_default().into_iter().collect()
        },
        || hosts.iter().map(|entry| (*entry.key(), *entry.value())).collect(),
    );
    let mut observed = Observed {
        tally: read,
        inputs: source.inputs,
        names: source.names,
        conversations,
        ..Observed::default()
    };
    let mut vantage = Vantage { heard, ..Vantage::default() };
    let mut left_out: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut resolver = Resolver::default();
    let mut sweeps = BTreeMap::new();
    let last = observed.inputs.iter().filter_map(|input| input.last).max();
    for (number, mut shard) in shards.into_iter().enumerate() {
        observed.tally.merge(&shard.tally);
        observed.flows.append(&mut shard.flows);
        observed.lookups.append(&mut shard.lookups);
        observed.endpoints.append(&mut shard.endpoints);
        observed.leases.append(&mut shard.leases);
        for (what, count) in shard.left_out {
            *left_out.entry(what).or_default() += count;
        }
        if number == super::dispatch::RESOLVER {
            resolver = shard.resolver;
        }
        let turned_away = shard.view.turned_away();
        if turned_away > 0 {
            *left_out.entry("flows whose ends were not noted as heard, for want of room").or_default() +=
                turned_away;
        }
        let unnoted = shard.sweeps.unnoted();
        if unnoted > 0 {
            *left_out
                .entry("tries of sweeps whose machine or port was not noted, for want of room")
                .or_default() += unnoted;
        }
        shard.sweeps.add_to(&mut sweeps);
        shard.view.add_to(&mut vantage, last);
    }

    observed.lookups.sort_by(|a, b| {
        (names::order(a), a.client, a.server, &a.name, a.kind).cmp(&(
            names::order(b),
            b.client,
            b.server,
            &b.name,
            b.kind,
        ))
    });
    observed.endpoints.sort_by_key(|endpoint| (endpoint.at, endpoint.server, endpoint.port));
    observed.leases.sort_by_key(|lease| (lease.from, lease.address, lease.mac));
    name(&mut observed);
    if keep_flows {
        observed.tally.flows += sweeps.len() as u64;
        observed.flows.extend(sweeps.iter().map(|(&(cell, client), sweep)| sweep.flow(cell, client)));
    }
    observed.flows.sort_by_key(|flow| flow.first);

    vantage.overlapping = resolver.shared();
    observed.holders = resolver.holders();
    observed.resolutions = resolver.finish();
    for ((cell, client), sweep) in sweeps {
        // What was folded was not told to the inventory one by one.
        if let Some(client) = client.filter(|client| !client.is_group()) {
            let heard = Heard { packets: sweep.tries, first: sweep.first, last: sweep.last };
            let known = vantage.heard.entry((cell, client)).or_insert(Heard { packets: 0, ..heard });
            known.add(&heard);
        }
        let conversation = sweep.conversation(cell, client);
        observed.conversations.insert(conversation.key, Box::new(conversation));
    }
    vantage.first = observed.inputs.iter().filter_map(|input| input.first).min();
    vantage.last = last;
    vantage.cut_packets = observed.inputs.iter().map(|input| input.cut_packets).sum();
    vantage.dropped = observed.inputs.iter().filter_map(|input| input.dropped).reduce(u64::saturating_add);
    vantage.duplicates = observed.tally.duplicates;
    vantage.notes = source.notes;
    vantage.notes.extend(left_out.iter().map(|(what, count)| format!("{count} {what}")));
    vantage.left_out = left_out;
    observed.vantage = vantage;
    observed
}

/// The service endpoints that were seen accepting.
type Accepting = HashSet<(CellId, Host, u16), RandomState>;

/// Settles the streams whose roles waited for what all shards know, and hands over the conversations in their order: one list a worker, each of
/// whole shards, as a pair of hosts is at home in one and so is every conversation.
fn settle_all(
    shards: &mut [Learnt],
    learned: &Accepting,
    keep_flows: bool,
    workers: usize,
) -> Vec<Vec<(ConversationKey, Box<Conversation>)>> {
    let settle_some = |some: &mut [Learnt]| {
        some.iter_mut().for_each(|shard| settle_one(shard, learned, keep_flows));
        let count = some.iter().map(|shard| shard.conversations.len()).sum();
        let mut conversations = Vec::with_capacity(count);
        for shard in some {
            conversations.extend(std::mem::take(&mut shard.conversations));
        }
        in_order(&mut conversations);
        conversations
    };
    if workers <= 1 {
        return vec![settle_some(shards)];
    }
    let each = shards.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let mut shares = shards.chunks_mut(each);
        let own = shares.next();
        let others: Vec<_> = shares.map(|some| scope.spawn(move || settle_some(some))).collect();
        let own = own.map(settle_some);
        own.into_iter().chain(others.into_iter().map(joined)).collect()
    })
}

/// Puts conversations in the order of their keys: first by what a number tells of that, which is put in order sooner.
fn in_order<V>(conversations: &mut [(ConversationKey, V)]) {
    conversations.sort_by_cached_key(|(key, _)| rank(key));
    for alike in conversations.chunk_by_mut(|(one, _), (other, _)| rank(one) == rank(other)) {
        alike.sort_unstable_by_key(|(key, _)| *key);
    }
}

/// What a number has room for of the order of keys: the cell, and the client or what it begins with.
fn rank(key: &ConversationKey) -> u64 {
    const ROOM: u32 = 46;
    let client = match key.client {
        Host::Ip(IpAddr::V4(ip)) => u64::from(ip.to_bits()),
        Host::Ip(IpAddr::V6(ip)) => 1 << ROOM | (ip.to_bits() >> (u128::BITS - ROOM)) as u64,
        Host::Mac(mac) => 2 << ROOM | mac.bits() >> (48 - ROOM),
    };
    u64::from(key.cell.0) << (ROOM + 2) | client
}

/// Settles those of one shard.
fn settle_one(shard: &mut Learnt, learned: &Accepting, keep_flows: bool) {
    let mut unsettled = std::mem::take(&mut shard.unsettled);
    unsettled.sort_by_key(|record| record.first);
    for mut record in unsettled {
        settle(&mut record, |end| learned.contains(end));
        if keep_flows {
            shard.flows.push((*record).clone());
        }
        // Few enough by their own bound to need no other.
        match shard.conversations.entry(ConversationKey::of(&record)) {
            Entry::Occupied(known) => known.into_mut().fold(record),
            Entry::Vacant(new) => {
                new.insert(Box::new(Conversation::new(record)));
            }
        }
    }
}

/// Tells the roles of a stream without opening by the endpoints that were seen accepting others.
pub fn settle(record: &mut FlowRecord, is_accepting: impl Fn(&(CellId, Host, u16)) -> bool) {
    let accepts = |end: &crate::model::Endpoint| {
        end.port.is_some_and(|port| is_accepting(&(record.cell, end.host, port)))
    };
    match (accepts(&record.server), accepts(&record.client)) {
        (true, false) => record.role_basis = RoleBasis::LearnedServer,
        (false, true) => {
            debug_assert!(matches!(
                record.outcome,
                Outcome::Midstream | Outcome::OneSided | Outcome::Rejected
            ));
            std::mem::swap(&mut record.client, &mut record.server);
            std::mem::swap(&mut record.from_client, &mut record.from_server);
            for error in &mut record.errors {
                error.quotes = error.quotes.other();
            }
            record.role_basis = RoleBasis::LearnedServer;
        }
        _ => {}
    }
}

/// A client that named one server, and only that, over this address and port means it as well where it gets to say nothing: no lookup was seen,
/// and its earlier connections showed the name (SNI, HTTP `Host`).
fn remember_name(conversation: &mut Conversation) {
    // Most conversations name nobody, which shows without a look at their flows.
    if conversation.hosts.is_empty() || conversation.attempts().len() < 2 {
        return;
    }
    let says_nothing = |flow: &FlowRecord| flow.from_client.payload_packets == 0 && flow.hosts.is_empty();
    if !conversation.attempts().any(says_nothing) {
        return;
    }
    let (mut shown, mut since) = (BTreeSet::new(), None);
    for flow in conversation.attempts() {
        let names = super::names::stated(&flow.classification.facts);
        if !names.is_empty() {
            since.get_or_insert(flow.first);
            shown.extend(names);
        }
    }
    let (Some(name), Some(since), 1) = (shown.pop_first(), since, shown.len() + 1) else { return };
    for flow in conversation.attempts_mut() {
        if says_nothing(flow) && since < flow.first {
            flow.hosts.push(name.clone());
        }
    }
}

/// Gives servers the names that DNS answers gave their addresses.
fn name(observed: &mut Observed) {
    let names = Names::of(&observed.lookups);
    for flow in &mut observed.flows {
        names.add_to(flow);
    }
    for conversation in observed.conversations.values_mut() {
        // All flows of a conversation have its server.
        if names.knows(conversation.key.cell, conversation.key.server) {
            let known: Vec<String> = names
                .before(conversation.key.cell, conversation.key.server, conversation.last)
                .map(str::to_owned)
                .collect();
            conversation.hosts.extend(known);
            for flow in conversation.attempts_mut() {
                names.add_to(flow);
            }
        }
        remember_name(conversation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MacAddr;
    use crate::model::Transport;

    proptest::proptest! {
        /// Keys come in their order, whatever of it a number has no room for.
        #[test]
        fn conversations_are_put_in_the_order_of_their_keys(ends: Vec<(u16, [u8; 16], u8, bool, u16)>) {
            let host = |bytes: [u8; 16], kind: u8, near: bool| {
                // Some are alike in what they begin with.
                let bytes: [u8; 16] = std::array::from_fn(|at| if near && at < 15 { 7 } else { bytes[at] });
                match kind % 3 {
                    0 => Host::Ip(IpAddr::from(std::array::from_fn::<u8, 4, _>(|at| bytes[12 + at]))),
                    1 => Host::Ip(IpAddr::from(bytes)),
                    _ => Host::Mac(MacAddr(std::array::from_fn(|at| bytes[10 + at]))),
                }
            };
            let key = |&(cell, bytes, kind, near, port): &(u16, [u8; 16], u8, bool, u16)| ConversationKey {
                cell: CellId(cell % 3),
                client: host(bytes, kind, near),
                server: host(bytes, kind / 3, !near),
                transport: if port % 2 == 0 { Transport::Tcp } else { Transport::Udp },
                port: Some(port),
            };
            let mut told: Vec<(ConversationKey, ())> = ends.iter().map(|end| (key(end), ())).collect();
            let mut expected = told.clone();
            expected.sort();
            in_order(&mut told);
            proptest::prop_assert_eq!(told, expected);
        }
    }
}
