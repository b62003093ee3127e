//! The pipeline that does not end: packets go in, snapshots come out, and what has long been silent is forgotten.
//!
//! A snapshot is what a run over the same packets would tell if the capture ended now. Nothing here grows with time: what is not heard
//! of for [`Retention::keep`] leaves, what is beyond a bound leaves oldest first, and both are counted.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::capture::CaptureError;
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
use super::crew::Crew;
use super::crew::Going;
use super::crew::Ring;
use super::crew::Rings;
use super::engine::Engine;
use super::learnt::Learnt;
use super::learnt::MOST_ENDPOINTS;
use super::learnt::MOST_LOOKUPS;
use super::merge;
use super::merge::Told;
use super::names;
use super::others::Others;
use super::recent::Recent;
use super::shard::SHARDS;
use super::vantage::Hosts;
use super::vantage::mark;

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
    hands: Hands,
    hosts: Hosts,
    recent: Recent,
    copied: Arc<AtomicU64>,
    retention: Retention,
    keep_flows: bool,
    /// The most addresses remembered as heard.
    most_hosts: usize,
    swept: Option<Timestamp>,
}

/// Who does the work.
enum Hands {
    /// The calling thread, which brings the packets.
    Own(Box<Engine>),
    /// Threads with a ring each.
    Crew(Crew),
}

impl Hands {
    /// Has every engine do something.
    fn each<T: Send + 'static>(
        &mut self,
        errand: impl Fn(&mut Engine) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        match self {
            Self::Own(engine) => vec![errand(engine)],
            Self::Crew(crew) => crew.each(move |worker| errand(&mut worker.engine)),
        }
    }
}

/// Figures of a pipeline at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Flows alive.
    pub flows: usize,
    /// Bytes kept for classifiers.
    pub kept_bytes: usize,
    /// Packets that were copied to the worker where their hosts are at home.
    pub copied: u64,
}

/// What was seen up to a moment, not yet joined: joining it is work for another thread.
pub struct Snapshot {
    shards: Vec<Learnt>,
    read: Tally,
    hosts: Hosts,
    source: Told,
    until: Option<Timestamp>,
    keep_flows: bool,
}

impl Live {
    /// A pipeline that has seen nothing. `workers` is not heeded: everything is done in the calling thread.
    pub fn new(options: &Options, retention: Retention) -> Self {
        let hosts: Hosts = Arc::new(DashMap::with_hasher(FixedState::default()));
        let mut engine = Engine::new(options, options.bounds(), hosts.clone());
        let (recent, keepers) = Recent::new(1, options.recent_bytes);
        engine.keeper = keepers.into_iter().next().filter(|_| options.recent_bytes > 0);
        let hands = Hands::Own(Box::new(engine));
        Self::over(hands, hosts, recent, Arc::default(), options, retention)
    }

    /// A pipeline with a thread for each ring. Rings hold whole host pairs as far as can be; what belongs elsewhere is copied there.
    pub fn spread(options: &Options, retention: Retention, rings: Vec<Ring>) -> std::io::Result<Self> {
        let hosts: Hosts = Arc::new(DashMap::with_hasher(FixedState::default()));
        let (others, copied) = Others::all(rings.len());
        let mut engines = Engine::among(options, options.bounds(), &hosts, others);
        let (recent, keepers) = Recent::new(rings.len(), options.recent_bytes);
        for (engine, keeper) in engines.iter_mut().zip(keepers) {
            engine.keeper = Some(keeper).filter(|_| options.recent_bytes > 0);
        }
        let hands = Hands::Crew(Crew::start(rings, engines)?);
        Ok(Self::over(hands, hosts, recent, copied, options, retention))
    }

    fn over(
        hands: Hands,
        hosts: Hosts,
        recent: Recent,
        copied: Arc<AtomicU64>,
        options: &Options,
        retention: Retention,
    ) -> Self {
        let (keep_flows, most_hosts) = (options.keep_flows, options.hosts.max(1));
        Self { hands, hosts, recent, copied, retention, keep_flows, most_hosts, swept: None }
    }

    /// Takes in one packet. Rings of a spread pipeline bring their own.
    #[inline]
    pub fn take(&mut self, packet: &Packet<'_>) {
        if let Hands::Own(engine) = &mut self.hands {
            engine.take(packet);
        }
    }

    /// Where the threads of a spread pipeline have come to.
    pub fn going(&self) -> Result<Going, CaptureError> {
        match &self.hands {
            Hands::Own(_) => Ok(Going::default()),
            Hands::Crew(crew) => crew.going(),
        }
    }

    /// What the rings of a spread pipeline say of themselves.
    pub fn rings(&mut self) -> Rings {
        match &mut self.hands {
            Hands::Own(_) => Rings::default(),
            Hands::Crew(crew) => {
                Rings::of(crew.each(|worker| (worker.ring.inputs(), worker.ring.notes(), worker.ring.down())))
            }
        }
    }

    /// The beginnings of the latest packets.
    pub fn recent(&self) -> Recent {
        self.recent.clone()
    }

    /// From now on tells address spaces apart like this.
    pub fn tell_cells(&mut self, cells: CellMap) {
        self.hands.each(move |engine| engine.cells = cells.clone());
    }

    /// Sees to timers. `now` is capture time, which goes on while the wire is silent.
    pub fn tick(&mut self, now: Timestamp) {
        let most = self.retention.lookups.div_ceil(SHARDS).clamp(LOOKUPS_OF_ONE, MOST_LOOKUPS);
        let unsettled = self.hands.each(move |engine| {
            let mut unsettled = 0;
            for shard in &mut engine.shards {
                shard.tick(now);
                unsettled = unsettled.max(shard.learnt().unsettled.len());
                thin_out(shard.learnt(), most);
            }
            unsettled
        });
        if unsettled.iter().any(|&most| most >= UNSETTLED) {
            self.settle(Timestamp::MAX);
        }
        let due = self.swept.is_none_or(|swept| now.since(swept) >= HOUSEKEEPING || now < swept);
        if due {
            self.swept = Some(now);
            self.forget(now);
        } else if self.hosts.len() > self.most_hosts / 2 {
            self.thin_hosts();
        }
    }

    /// Forgets the hosts that said least, so that those who speak all the time are not lost in a flood of forged addresses.
    fn thin_hosts(&mut self) {
        let keep = self.most_hosts / 4;
        let mut said: Vec<(u64, Timestamp)> =
            self.hosts.iter().map(|heard| (heard.packets, heard.last.time)).collect();
        if said.len() > keep {
            let at = said.len() - keep;
            let (_, &mut least, _) = said.select_nth_unstable(at);
            self.hosts.retain(|_, heard| (heard.packets, heard.last.time) >= least);
        }
        self.forget_hosts();
    }

    /// Tells the shards which hosts are still known.
    fn forget_hosts(&mut self) {
        let left: HashSet<u64, FixedState> = self.hosts.iter().map(|heard| mark(heard.key())).collect();
        let left = Arc::new(left);
        self.hands.each(move |engine| engine.shards.iter_mut().for_each(|shard| shard.forget_hosts(&left)));
    }

    /// How much there is to do.
    pub fn load(&mut self) -> Load {
        let each = self.hands.each(|engine| {
            let flows = engine.shards.iter().map(super::shard::Shard::flows).sum::<usize>();
            (flows, engine.shards.iter().map(super::shard::Shard::kept).sum::<usize>())
        });
        Load {
            flows: each.iter().map(|(flows, _)| flows).sum(),
            kept_bytes: each.iter().map(|(_, kept)| kept).sum(),
            copied: self.copied.load(Ordering::Relaxed),
        }
    }

    /// What a run would tell if the capture ended now. `now` is capture time where it is known to be later than the last packet.
    pub fn observe(&mut self, source: &dyn Source, now: Option<Timestamp>) -> Snapshot {
        if let Hands::Crew(crew) = &mut self.hands {
            // What is on its way from one to the other counts: first all hand on, then all take in.
            crew.each(|worker| worker.engine.exchange(false));
            crew.each(|worker| worker.engine.exchange(true));
        }
        let hosts: Hosts = Arc::new(DashMap::clone(&self.hosts));
        let told = hosts.clone();
        let each = self.hands.each(move |engine| {
            if let Some(keeper) = &mut engine.keeper {
                keeper.shelve();
            }
            let shards: Vec<Learnt> = engine.shards.iter().map(|shard| shard.observe(told.clone())).collect();
            (shards, engine.dispatcher.tally())
        });
        let mut read = Tally::default();
        each.iter().for_each(|(_, tally)| read.merge(tally));
        let mut parts: Vec<_> = each.into_iter().map(|(shards, _)| shards.into_iter()).collect();
        // Shard 0 is the first one's, 1 the second one's, and so on.
        let count = parts.len().max(1);
        let shards = (0..SHARDS).filter_map(|shard| parts.get_mut(shard % count)?.next()).collect();
        let keep_flows = self.keep_flows;
        Snapshot { shards, read, hosts, source: Told::of(source), until: now, keep_flows }
    }

    /// Settles the roles of streams without opening that are silent since then: the merge that would do it may never come.
    fn settle(&mut self, since: Timestamp) {
        let learned: BTreeSet<(CellId, Host, u16)> = self
            .hands
            .each(|engine| {
                let shards = engine.shards.iter_mut();
                shards.flat_map(|shard| shard.learnt().learned.clone()).collect::<Vec<_>>()
            })
            .into_iter()
            .flatten()
            .collect();
        let learned = Arc::new(learned);
        self.hands.each(move |engine| {
            for shard in &mut engine.shards {
                shard.settle(&learned, since);
            }
        });
    }

    fn forget(&mut self, now: Timestamp) {
        let since = now.minus(self.retention.keep);
        self.hosts.retain(|_, heard| heard.last.time >= since);
        let answered = now.minus(ANSWERED);
        self.settle(answered);
        self.hands.each(move |engine| {
            for shard in &mut engine.shards {
                shard.forget(since, answered);
            }
        });
        self.forget_hosts();
    }
}

impl Snapshot {
    /// Joins it.
    pub fn join(self) -> Observed {
        let mut observed = merge::merge(self.shards, self.read, &self.hosts, self.source, self.keep_flows);
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
    use crate::model::Input;
    use crate::model::InputId;
    use crate::model::LinkType;
    use crate::model::PacketRef;
    use crate::model::pair;

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

    /// One of several rings of a recording: its packets, and for the first of them what is known of the recording.
    #[derive(Default)]
    struct Lane {
        packets: Vec<(PacketRef, LinkType, u32, u32, Vec<u8>)>,
        next: usize,
        inputs: Vec<Input>,
        notes: Vec<String>,
    }

    impl Source for Lane {
        fn advance(&mut self) -> Result<bool, CaptureError> {
            self.next += 1;
            Ok(self.next <= self.packets.len())
        }

        fn packet(&self) -> Packet<'_> {
            let (at, link, interface, original, bytes) = &self.packets[self.next - 1];
            Packet { at: *at, link: *link, interface: *interface, original: *original, bytes }
        }

        fn inputs(&self) -> Vec<Input> {
            self.inputs.clone()
        }

        fn notes(&self) -> Vec<String> {
            self.notes.clone()
        }
    }

    /// The ring that the kernel would choose, by the outer IP header behind Ethernet and tags.
    fn ring(packet: &Packet<'_>, rings: usize) -> usize {
        let mut rest = packet.bytes.get(12..).unwrap_or_default();
        while let [0x81, 0, _, _, behind @ ..] = rest {
            rest = behind;
        }
        let ends = match rest {
            [8, 0, ip @ ..] if packet.link == LinkType::ETHERNET => ip.get(12..20),
            [0x86, 0xdd, ip @ ..] if packet.link == LinkType::ETHERNET => ip.get(8..40),
            _ => None,
        };
        let Some(ends) = ends else { return 0 };
        let (one, other) = ends.split_at(ends.len() / 2);
        let host = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
            Ok(ip) => Host::Ip(std::net::IpAddr::from(ip)),
            Err(_) => Host::Ip(std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap())),
        };
        (pair::of_pair(pair::folded(host(one)), pair::folded(host(other))) as usize) % SHARDS % rings
    }

    #[test]
    fn several_rings_tell_what_a_run_tells() {
        let mut copied = 0;
        for path in cases() {
            let open = || capture::open(std::slice::from_ref(&path), &capture::Options::default()).unwrap();
            let options = Options { keep_flows: true, ..Options::default() };
            let whole = super::super::run(&mut open(), &options, &|_, _| {}).unwrap();
            for rings in [2, 3] {
                let mut lanes: Vec<Lane> = (0..rings).map(|_| Lane::default()).collect();
                let mut source = open();
                while source.advance().unwrap() {
                    let packet = source.packet();
                    let lane = &mut lanes[ring(&packet, rings)];
                    let Packet { at, link, interface, original, bytes } = packet;
                    lane.packets.push((at, link, interface, original, bytes.to_vec()));
                }
                lanes[0].inputs = source.inputs();
                lanes[0].notes = source.notes();
                let lanes = lanes.into_iter().map(|lane| Box::new(lane) as Ring).collect();
                let mut live = Live::spread(&options, Retention::default(), lanes).unwrap();
                while !live.going().unwrap().over {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let told = live.rings();
                let told = live.observe(&told, None).join();
                assert_eq!(
                    format!("{told:#?}"),
                    format!("{whole:#?}"),
                    "{} over {rings} rings",
                    path.display()
                );
                copied += live.load().copied;
            }
        }
        // Tunnels and errors are among the cases.
        assert!(copied > 0);
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
    fn forged_addresses_push_nobody_out_who_speaks_all_the_time() {
        let options = Options { hosts: 4096, ..Options::default() };
        let mut live = Live::new(&options, Retention::default());
        for number in 0..40_000_u32 {
            let talker = if number % 10 == 0 { 7 } else { number };
            let time = Timestamp::from_nanos(i64::from(number) * 400_000_000);
            let at = PacketRef::new(time, InputId(0), u64::from(number) + 1);
            let bytes = question(talker);
            let original = bytes.len() as u32;
            live.take(&Packet { at, link: LinkType::ETHERNET, interface: 0, original, bytes: &bytes });
            live.tick(time);
        }
        let told = live.observe(&Wire, None).join();
        assert!(told.vantage.heard.len() <= 4096, "{}", told.vantage.heard.len());
        let talker = Host::Ip(std::net::IpAddr::from([10, 0, 0, 7]));
        assert!(told.vantage.heard.keys().any(|(_, host)| *host == talker));
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
                    live.load().flows,
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
