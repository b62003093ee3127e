//! How much of the traffic a capture misses: between two hosts, on one mirror, or as a whole; estimated from what was acknowledged and never
//! captured (Zeek's capture-loss method), or by the capturing machine's own word.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::Equivalent;
use hashbrown::HashMap;

use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::PacketRef;
use crate::model::Transport;
use crate::model::Vantage;

use super::View;
use super::recordings::Dropped;
use super::recordings::Recordings;

/// Share of lost packets above which loss may explain a verdict away (evidence 3.6: loss to the power of the missing packets above 1 %).
const LOSS_EXPLAINS: f64 = 0.01;
/// Estimated loss above which grades are capped at C (evidence 3.3.3).
const LOSS_CAPS: f64 = 0.01;
/// Acknowledged bytes below which a share says nothing: a single lost segment would decide it.
const LEAST: u64 = 10_000;
/// Acknowledged bytes from which on a part of the traffic speaks for itself, whatever the rest is like: some seventy full segments.
const PLENTY: u64 = 100_000;

/// Bytes that were acknowledged, and those of them that were never captured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bytes {
    unseen: u64,
    acknowledged: u64,
}

impl Bytes {
    /// Takes in what both ends of a flow acknowledged.
    pub(super) fn add(&mut self, flow: &FlowRecord) {
        for side in [&flow.from_client, &flow.from_server] {
            // What was never heard of a side that is not mirrored at all is no loss.
            if side.packets > 0 {
                self.unseen = self.unseen.saturating_add(side.unseen_acknowledged);
                self.acknowledged = self.acknowledged.saturating_add(side.payload_acknowledged);
            }
        }
    }
}

/// A mirror: a recording, and the VLANs and tunnels in which its packets come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mirror {
    recording: usize,
    vlans: Vec<u16>,
    tunnels: Vec<String>,
}

/// A mirror as it is told: recording, VLANs and tunnels.
pub type Place<'a> = (usize, &'a [u16], &'a [String]);

/// The same, borrowed.
#[derive(Hash)]
struct MirrorOf<'a> {
    recording: usize,
    vlans: &'a [u16],
    tunnels: &'a [String],
}

impl Equivalent<Mirror> for MirrorOf<'_> {
    fn equivalent(&self, key: &Mirror) -> bool {
        self.recording == key.recording && self.vlans == key.vlans && self.tunnels == key.tunnels
    }
}

/// What one mirror shows.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    bytes: Bytes,
    /// Whether it shows TCP at all.
    tcp: bool,
    /// TCP connections that must have been answered, and those of them of which it shows one direction only.
    opened: u64,
    one_sided: u64,
}

impl Shown {
    /// Takes in what other flows show of it.
    fn join(&mut self, other: &Self) {
        self.bytes.unseen = self.bytes.unseen.saturating_add(other.bytes.unseen);
        self.bytes.acknowledged = self.bytes.acknowledged.saturating_add(other.bytes.acknowledged);
        self.tcp |= other.tcp;
        self.opened += other.opened;
        self.one_sided += other.one_sided;
    }

    /// A SYN without answer may be a blocked one: only what must have been answered counts.
    fn count(&mut self, flow: &FlowRecord) {
        self.tcp = true;
        let (client, server) = (&flow.from_client, &flow.from_server);
        let answered = client.first_ack.is_some() || client.acked_payload.is_some();
        let asked = server.packets > server.syn.count.into();
        if (client.packets > 0 && answered) || (server.packets > 0 && asked) {
            self.opened += 1;
            self.one_sided += u64::from(client.packets == 0 || server.packets == 0);
        }
    }
}

/// All mirrors. Flow by flow it is nearly always the same one again.
#[derive(Debug, Default)]
struct Mirrors {
    all: Vec<(Mirror, Shown)>,
    places: HashMap<Mirror, usize, RandomState>,
    latest: usize,
}

impl Mirrors {
    fn of(&mut self, mirror: &MirrorOf<'_>) -> Option<&mut Shown> {
        if !self.all.get(self.latest).is_some_and(|(known, _)| mirror.equivalent(known)) {
            self.latest = self.places.get(mirror).copied().unwrap_or_else(|| {
                let MirrorOf { recording, vlans, tunnels } = *mirror;
                let new = Mirror { recording, vlans: vlans.to_vec(), tunnels: tunnels.to_vec() };
                self.places.insert(new.clone(), self.all.len());
                self.all.push((new, Shown::default()));
                self.all.len() - 1
            });
        }
        self.all.get_mut(self.latest).map(|(_, shown)| shown)
    }

    fn get(&self, mirror: &MirrorOf<'_>) -> Option<&Shown> {
        self.all.get(*self.places.get(mirror)?).map(|(_, shown)| shown)
    }

    /// Those on which anything was acknowledged.
    fn with_bytes(&self) -> impl Iterator<Item = &(Mirror, Shown)> {
        self.all.iter().filter(|(_, shown)| shown.bytes.unseen + shown.bytes.acknowledged > 0)
    }
}

/// What was missed where.
#[derive(Debug, Default)]
pub struct Losses {
    whole: Bytes,
    mirrors: Mirrors,
}

/// How much is missing, and of what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Missing {
    lost: u64,
    of: u64,
    by: By,
}

/// By what it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// What two hosts acknowledged to each other.
    Pair(IpAddr, IpAddr),
    /// What was acknowledged on one mirror of several.
    Mirror,
    /// All that was acknowledged.
    Whole,
    /// The word of the machine that captured, of a recording as a whole or of one interface.
    Statistics(usize, Option<u32>),
}

impl Missing {
    /// The share that is missing.
    pub fn share(self) -> f64 {
        self.lost as f64 / self.of.max(1) as f64
    }

    /// The worse of two.
    pub fn worse(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(a), Some(b)) => Some(if b.share() > a.share() { b } else { a }),
            (a, b) => a.or(b),
        }
    }

    /// Whether it is enough to cap grades.
    pub fn caps(self) -> bool {
        self.share() > LOSS_CAPS
    }
}

impl Losses {
    /// The same with what the capture as a whole misses.
    pub fn of_all(self, vantage: &Vantage) -> Self {
        let whole = Bytes { unseen: vantage.unseen_bytes, acknowledged: vantage.acknowledged_bytes };
        Self { whole, ..self }
    }

    /// Takes in what other flows showed.
    pub fn join(&mut self, other: Self) {
        for (Mirror { recording, vlans, tunnels }, shown) in &other.mirrors.all {
            let mirror = MirrorOf { recording: *recording, vlans, tunnels };
            if let Some(known) = self.mirrors.of(&mirror) {
                known.join(shown);
            }
        }
    }

    /// Takes in what both ends of a flow acknowledged.
    pub fn learn(&mut self, flow: &FlowRecord, recordings: &Recordings) {
        let mut here = Bytes::default();
        here.add(flow);
        let any = here.unseen + here.acknowledged > 0;
        if !any && flow.transport != Transport::Tcp {
            return;
        }
        let recording = recordings.of_packet(flow.first);
        let mirror = MirrorOf { recording, vlans: &flow.vlans, tunnels: &flow.tunnels };
        if let Some(shown) = self.mirrors.of(&mirror) {
            shown.bytes.add(flow);
            if flow.transport == Transport::Tcp {
                shown.count(flow);
            }
        }
    }

    /// What is missing where a flow was seen: between its hosts where they exchanged enough, else on its mirror, else of all.
    fn missing(&self, of_pair: Option<Missing>, mirror: Option<&MirrorOf<'_>>) -> Option<Missing> {
        if of_pair.is_some() {
            return of_pair;
        }
        let whole = told(self.whole, LEAST, By::Whole);
        let several = || self.mirrors.with_bytes().nth(1).is_some();
        let known = mirror.filter(|_| several()).and_then(|mirror| self.mirrors.get(mirror));
        match known.map(|shown| shown.bytes).filter(|bytes| bytes.unseen + bytes.acknowledged > 0) {
            Some(bytes) if bytes.acknowledged >= PLENTY => told(bytes, PLENTY, By::Mirror),
            Some(bytes) => Missing::worse(whole, told(bytes, LEAST, By::Mirror)),
            None => whole,
        }
    }

    /// The mirrors that miss enough to cap grades, where there are several: recording, VLANs, tunnels, and how much.
    pub fn lossy_mirrors(&self) -> Vec<(usize, &[u16], &[String], Missing)> {
        if self.mirrors.with_bytes().nth(1).is_none() {
            return Vec::new();
        }
        let mut lossy: Vec<_> = self
            .mirrors
            .all
            .iter()
            .filter(|(_, shown)| shown.bytes.acknowledged >= LEAST)
            .map(|(mirror, shown)| {
                let bytes = shown.bytes;
                let missing = Missing { lost: bytes.unseen, of: bytes.acknowledged, by: By::Mirror };
                (mirror.recording, mirror.vlans.as_slice(), mirror.tunnels.as_slice(), missing)
            })
            .filter(|(.., missing)| missing.caps())
            .collect();
        lossy.sort_by_key(|&(recording, vlans, tunnels, _)| (recording, vlans, tunnels));
        lossy
    }

    /// The mirrors that show TCP, each with its connections that must have been answered and those of them heard in one direction only.
    pub fn directions(&self) -> Vec<(Place<'_>, (u64, u64))> {
        let tcp = self.mirrors.all.iter().filter(|(_, shown)| shown.tcp);
        let mut told: Vec<_> = tcp
            .map(|(mirror, shown)| {
                let place = (mirror.recording, mirror.vlans.as_slice(), mirror.tunnels.as_slice());
                (place, (shown.opened, shown.one_sided))
            })
            .collect();
        told.sort_unstable();
        told
    }
}

/// What is missing of so many bytes, where they are enough to tell.
fn told(bytes: Bytes, least: u64, by: By) -> Option<Missing> {
    let Bytes { unseen, acknowledged } = bytes;
    (acknowledged >= least).then_some(Missing { lost: unseen, of: acknowledged, by })
}

impl View<'_> {
    /// How much is missing where a flow was seen; `None` says that there is too little traffic to tell.
    pub fn missing(&self, flow: &FlowRecord) -> Option<Missing> {
        let recording = self.recordings.of_packet(flow.first);
        let mirror = MirrorOf { recording, vlans: &flow.vlans, tunnels: &flow.tunnels };
        let pair = self.of_pair(flow.cell, flow.client.host, flow.server.host);
        Missing::worse(self.losses.missing(pair, Some(&mirror)), self.by_statistics(recording))
    }

    /// The same between two hosts, by a packet of theirs.
    pub fn missing_between(&self, cell: CellId, a: Host, b: Host, at: PacketRef) -> Option<Missing> {
        let seen = self.losses.missing(self.of_pair(cell, a, b), None);
        Missing::worse(seen, self.by_statistics(self.recordings.of_packet(at)))
    }

    /// What is missing of what two hosts exchanged, where that is enough to tell.
    fn of_pair(&self, cell: CellId, a: Host, b: Host) -> Option<Missing> {
        let bytes = *self.hosts.of(cell, a)?.exchanged.get(&b.ip()?)?;
        let (a, b) = (a.ip()?, b.ip()?);
        // In one order, so that both directions are one pair.
        told(bytes, PLENTY, By::Pair(a.min(b), a.max(b)))
    }

    /// The same of the capture as a whole.
    pub fn missing_in_all(&self) -> Option<Missing> {
        let told = (0..self.recordings.count()).map(|recording| self.by_statistics(recording));
        told.fold(self.losses.missing(None, None), Missing::worse)
    }

    fn by_statistics(&self, recording: usize) -> Option<Missing> {
        let Dropped { lost, seen, interface } = self.recordings.dropped(recording)?;
        Some(Missing { lost, of: lost.saturating_add(seen), by: By::Statistics(recording, interface) })
    }

    /// In words: how much, and by which numbers.
    pub fn told_missing(&self, missing: Missing) -> String {
        let percent = missing.share() * 100.0;
        let Missing { lost, of, by } = missing;
        match by {
            By::Pair(a, b) => format!(
                "the capture misses about {percent:.1} % of what {a} and {b} send each other ({lost} of {of} acknowledged bytes)"
            ),
            By::Mirror => format!(
                "the mirror that shows it misses about {percent:.1} % of the traffic ({lost} of {of} acknowledged bytes)"
            ),
            By::Whole => {
                format!(
                    "the capture misses about {percent:.1} % of the traffic ({lost} of {of} acknowledged bytes)"
                )
            }
            By::Statistics(recording, interface) => {
                let whose = if self.recordings.count() > 1 {
                    format!("the machine that recorded {}", self.recordings.name(recording))
                } else {
                    "the capturing machine".to_owned()
                };
                let whose = match interface {
                    Some(number) => format!("interface {number} of {whose}"),
                    None => whose,
                };
                format!(
                    "{whose} lost about {percent:.1} % of the packets ({lost} of {of}, by its own statistics)"
                )
            }
        }
    }

    /// Whether loss alone could explain that this many packets were not seen, and how.
    pub fn loss_explains(&self, missing: Option<Missing>, packets: u32) -> Option<String> {
        let known = missing?;
        (known.share().powi(i32::try_from(packets).unwrap_or(i32::MAX)) > LOSS_EXPLAINS).then(|| {
            let answers = if packets == 1 { "answer" } else { "answers" };
            format!("{}, which could explain {packets} missing {answers}", self.told_missing(known))
        })
    }
}
