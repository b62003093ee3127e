//! The pipeline that does not end: packets go in, snapshots come out, and what has long been silent is forgotten.
//!
//! A snapshot is what a run over the same packets would tell if the capture ended now. Nothing here grows with time: what is not heard
//! of for [`Retention::keep`] leaves, what is beyond a bound leaves oldest first, and both are counted.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::capture::Source;
use crate::model::CellId;
use crate::model::Host;
use crate::model::Lookup;
use crate::model::Observed;
use crate::model::Packet;
use crate::model::Tally;
use crate::model::Timestamp;

use super::CellMap;
use super::Options;
use super::engine::Engine;
use super::merge;
use super::merge::Told;
use super::names;
use super::shard::Learnt;
use super::shard::MOST_ENDPOINTS;
use super::shard::MOST_LOOKUPS;
use super::shard::SHARDS;

/// How long what is silent is remembered, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Conversations, lookups and addresses that were silent for longer are forgotten.
    pub keep: Duration,
    /// The most name lookups remembered over all shards; of a name that is asked for again and again the latest few are.
    pub lookups: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: Duration::from_secs(30 * 86_400), lookups: 256 * 1024 }
    }
}

/// Of lookups of one name by one client, so many are remembered: the latest decide, and a few before them show the change.
const LOOKUPS_OF_ONE: usize = 8;
/// Streams without opening that wait in one shard before their roles are settled by what is known then.
const UNSETTLED: usize = 256;
/// After so long an answer to a question asked elsewhere has surely been told: flows of datagrams leave after half an hour of silence.
const ANSWERED: Duration = Duration::from_secs(2 * 3600);
/// Between two looks for what has to be forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(600);

/// A pipeline over a capture that goes on.
pub struct Live {
    engine: Engine,
    retention: Retention,
    keep_flows: bool,
    swept: Option<Timestamp>,
}

/// What was seen up to a moment, not yet joined: joining it is work for another thread.
pub struct Snapshot {
    shards: Vec<Learnt>,
    read: Tally,
    source: Told,
    until: Option<Timestamp>,
    keep_flows: bool,
}

impl Live {
    /// A pipeline that has seen nothing. `workers` is not heeded: everything is done in the calling thread.
    pub fn new(options: &Options, retention: Retention) -> Self {
        let engine = Engine::new(options, options.bounds());
        Self { engine, retention, keep_flows: options.keep_flows, swept: None }
    }

    /// Takes in one packet.
    #[inline]
    pub fn take(&mut self, packet: &Packet<'_>) {
        self.engine.take(packet);
    }

    /// From now on tells address spaces apart like this.
    pub fn tell_cells(&mut self, cells: CellMap) {
        self.engine.cells = cells;
    }

    /// Sees to timers. `now` is capture time, which goes on while the wire is silent.
    pub fn tick(&mut self, now: Timestamp) {
        for shard in &mut self.engine.shards {
            shard.tick(now);
        }
        if self.engine.shards.iter_mut().any(|shard| shard.learnt().unsettled.len() >= UNSETTLED) {
            self.settle(Timestamp::MAX);
        }
        let due = self.swept.is_none_or(|swept| now.since(swept) >= HOUSEKEEPING || now < swept);
        if due {
            self.swept = Some(now);
            self.forget(now);
        }
        let most = self.retention.lookups.div_ceil(SHARDS).clamp(LOOKUPS_OF_ONE, MOST_LOOKUPS);
        for shard in &mut self.engine.shards {
            thin_out(shard.learnt(), most);
        }
    }

    /// Flows alive.
    pub fn flows(&self) -> usize {
        self.engine.shards.iter().map(super::shard::Shard::flows).sum()
    }

    /// Bytes kept for classifiers.
    pub fn kept_bytes(&self) -> usize {
        self.engine.shards.iter().map(super::shard::Shard::kept).sum()
    }

    /// What a run would tell if the capture ended now. `now` is capture time where it is known to be later than the last packet.
    pub fn observe(&self, source: &dyn Source, now: Option<Timestamp>) -> Snapshot {
        Snapshot {
            shards: self.engine.shards.iter().map(super::shard::Shard::observe).collect(),
            read: self.engine.dispatcher.tally(),
            source: Told::of(source),
            until: now,
            keep_flows: self.keep_flows,
        }
    }

    /// Settles the roles of streams without opening that are silent since then: the merge that would do it may never come.
    fn settle(&mut self, since: Timestamp) {
        let learned: BTreeSet<(CellId, Host, u16)> =
            self.engine.shards.iter_mut().flat_map(|shard| shard.learnt().learned.clone()).collect();
        for shard in &mut self.engine.shards {
            shard.settle(&learned, since);
        }
    }

    fn forget(&mut self, now: Timestamp) {
        let since = now.minus(self.retention.keep);
        let answered = now.minus(ANSWERED);
        self.settle(answered);
        for shard in &mut self.engine.shards {
            shard.forget(since, answered);
        }
    }
}

impl Snapshot {
    /// Joins it.
    pub fn join(self) -> Observed {
        let mut observed = merge::merge(self.shards, self.read, self.source, self.keep_flows);
        // Silence that was listened to is silence, though no packet says so.
        observed.vantage.last =
            observed.vantage.last.map(|last| self.until.map_or(last, |now| last.max(now)));
        observed
    }
}

/// Keeps lookups and dynamic ports within their bounds: the latest of each name and client, then the latest of all.
fn thin_out(learnt: &mut Learnt, most: usize) {
    if learnt.lookups.len() > most {
        let before = learnt.lookups.len();
        let mut lookups = std::mem::take(&mut learnt.lookups);
        lookups.sort_by_key(|lookup| std::cmp::Reverse(names::order(lookup)));
        let mut seen: BTreeMap<(CellId, Host, Host, String), usize> = BTreeMap::new();
        lookups.retain(|lookup: &Lookup| {
            let known =
                seen.entry((lookup.cell, lookup.client, lookup.server, lookup.name.clone())).or_default();
            *known += 1;
            *known <= LOOKUPS_OF_ONE
        });
        // Room for what comes before the next look, so that a flood of names is not sorted anew each time.
        lookups.truncate(most - most / 4);
        lookups.reverse();
        learnt.leave_out("older name lookups left out", (before - lookups.len()) as u64);
        learnt.lookups = lookups;
    }
    if learnt.endpoints.len() > MOST_ENDPOINTS / 2 {
        let before = learnt.endpoints.len();
        let latest: BTreeMap<_, _> = learnt
            .endpoints
            .drain(..)
            .map(|told| ((told.cell, told.client, told.server, told.transport, told.port), told))
            .collect();
        learnt.endpoints = latest.into_values().collect();
        learnt.endpoints.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.at));
        learnt.endpoints.truncate(MOST_ENDPOINTS / 4);
        learnt.endpoints.reverse();
        learnt.leave_out("older dynamic ports left out", (before - learnt.endpoints.len()) as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::path::PathBuf;

    use etherparse::PacketBuilder;

    use super::*;
    use crate::capture;
    use crate::capture::CaptureError;
    use crate::model::Input;
    use crate::model::InputId;
    use crate::model::LinkType;
    use crate::model::PacketRef;

    fn cases() -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cases");
        let cases = std::fs::read_dir(folder).unwrap().flatten().map(|case| case.path().join("capture.pcap"));
        cases.filter(|path| path.exists()).collect()
    }

    #[test]
    fn a_snapshot_at_the_end_is_what_a_run_tells() {
        let mut seen = 0;
        for path in cases() {
            let open = || capture::open(std::slice::from_ref(&path), &capture::Options::default()).unwrap();
            let options = Options { keep_flows: true, ..Options::default() };
            let whole = super::super::run(&mut open(), &options, &|_, _| {}).unwrap();
            let mut live = Live::new(&options, Retention::default());
            let mut source = open();
            let mut packets = 0;
            while source.advance().unwrap() {
                live.take(&source.packet());
                packets += 1;
                if packets % 100 == 0 {
                    // A look on the way changes nothing, and its own sums add up.
                    assert!(live.observe(&source, None).join().tally.adds_up());
                }
            }
            let told = live.observe(&source, None).join();
            assert_eq!(format!("{told:#?}"), format!("{whole:#?}"), "{}", path.display());
            seen += 1;
        }
        assert!(seen > 0);
    }

    /// An interface of which nothing is asked but its name.
    struct Wire;

    impl Source for Wire {
        fn advance(&mut self) -> Result<bool, CaptureError> {
            Ok(false)
        }

        fn packet(&self) -> Packet<'_> {
            Packet {
                at: PacketRef::default(),
                link: LinkType::ETHERNET,
                interface: 0,
                original: 0,
                bytes: &[],
            }
        }

        fn inputs(&self) -> Vec<Input> {
            vec![Input::default()]
        }
    }

    /// A question for a name that was never asked for before.
    fn question(number: u32) -> Vec<u8> {
        let mut dns = vec![(number >> 8) as u8, number as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let label = format!("n{number:07}");
        dns.push(label.len() as u8);
        dns.extend(label.as_bytes());
        dns.extend(b"\x05plant\x07example\0\0\x01\0\x01");
        let mut bytes = Vec::new();
        let [_, a, b, c] = number.to_be_bytes();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, a, b, c], [10, 99, 0, 53], 64)
            .udp(20_000 + (number % 40_000) as u16, 53)
            .write(&mut bytes, &dns)
            .unwrap();
        bytes
    }

    /// Data in the middle of a connection that nobody saw opened.
    fn midstream(number: u32) -> Vec<u8> {
        let [_, a, b, c] = number.to_be_bytes();
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, a, b, c], [10, 98, 0, 1], 64)
            .tcp(20_000 + (number % 40_000) as u16, 502, number, 1000)
            .ack(1)
            .write(&mut bytes, &[1, 2, 3, 4])
            .unwrap();
        bytes
    }

    #[test]
    fn a_month_of_newcomers_leaves_no_more_behind_than_a_week() {
        const DAY: i64 = 86_400;
        let mut options = Options { conversations: 1_024, records: 2_048, ..Options::default() };
        options.limits.flows = 4_096;
        let retention = Retention { keep: Duration::from_secs(2 * DAY as u64), lookups: 512 };
        let mut live = Live::new(&options, retention);
        let mut sizes = Vec::new();
        let mut number = 0_u32;
        // A step is five minutes.
        for step in 0..30 * DAY / 300 {
            for bytes in [question(number), midstream(number)] {
                let time = Timestamp::from_nanos((step * 300 + 1) * 1_000_000_000);
                let at = PacketRef::new(time, InputId(0), u64::from(number) + 1);
                let original = bytes.len() as u32;
                live.take(&Packet { at, link: LinkType::ETHERNET, interface: 0, original, bytes: &bytes });
            }
            number += 1;
            live.tick(Timestamp::from_nanos((step * 300 + 150) * 1_000_000_000));
            if (step + 1) % (DAY / 300) == 0 {
                let told = live.observe(&Wire, None).join();
                assert!(told.tally.adds_up());
                sizes.push([
                    told.conversations.len(),
                    told.conversations.values().map(|kept| kept.attempts().len()).sum(),
                    told.lookups.len(),
                    told.vantage.heard.len(),
                    live.flows(),
                ]);
            }
        }
        let most = |days: &[[usize; 5]]| -> Vec<usize> {
            (0..5).map(|what| days.iter().map(|day| day[what]).max().unwrap_or(0)).collect()
        };
        let (week, rest) = (most(&sizes[..7]), most(&sizes[7..]));
        for (later, before) in rest.iter().zip(&week) {
            assert!(*later <= before + before / 10, "{week:?} in a week, {rest:?} later");
            assert!(*later > 0);
        }
        let told = live.observe(&Wire, None).join();
        let notes = told.vantage.notes.join("\n");
        assert!(notes.contains("conversations forgotten"), "{notes}");
        assert_eq!(told.tally.packets, 2 * u64::from(number));
    }
}
