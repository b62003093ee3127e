//! What a mirror, a link or a plant can do to a recording, each as a change of a recording in memory.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;

use super::frame;
use super::frame::End;
use super::frame::TCP;
use super::random::Random;
use super::recording::Recording;
use super::recording::Shot;

/// Milliseconds in nanoseconds.
const MILLISECOND: u64 = 1_000_000;

/// A changed recording and what changes with it.
pub struct Variant {
    /// The line of the table that it counts for.
    pub name: String,
    /// The frames.
    pub shots: Recording,
    /// A VLAN that the site declares as a cell of its own.
    pub cell: Option<u16>,
    /// Hosts that were put in: whatever they do is not of the original.
    pub strangers: BTreeSet<IpAddr>,
    /// Whether a stretch of time is missing, in which the truth may have been another.
    pub shortened: bool,
}

impl Variant {
    fn new(name: impl Into<String>, shots: Recording) -> Self {
        Self { name: name.into(), shots, cell: None, strangers: BTreeSet::new(), shortened: false }
    }
}

/// What is known of the original: who opened each flow.
#[derive(Default)]
pub struct Original {
    /// The client's end of each pair of ends.
    pub clients: BTreeMap<(u8, End, End), End>,
}

impl Original {
    /// Whether the frame was sent by the client of its flow; `None` where there is no telling.
    fn sent_by_client(&self, bytes: &[u8]) -> Option<bool> {
        self.by_client(&frame::headers(bytes)?, bytes)
    }

    /// The same for a packet, or one that an ICMP error quotes, whose headers are known.
    pub fn by_client(&self, headers: &frame::Headers, bytes: &[u8]) -> Option<bool> {
        let (from, to) = headers.ends(bytes);
        let key = (headers.protocol, from.min(to), from.max(to));
        self.clients.get(&key).map(|client| *client == from)
    }
}

/// Every variant of a recording; `twin` is a healthy recording of a plant with the same addresses.
pub fn all(shots: &Recording, original: &Original, twin: Option<&Recording>) -> Vec<Variant> {
    let mut variants = vec![Variant::new("as it is", shots.clone())];
    for percent in [1, 5, 10, 20] {
        for seed in 1..=4 {
            variants.push(Variant::new(format!("{percent} % of packets lost"), lose(shots, percent, seed)));
        }
    }
    for client in [true, false] {
        let name = if client { "only what clients send" } else { "only what servers send" };
        let kept = shots.iter().filter(|shot| original.sent_by_client(&shot.bytes) != Some(!client));
        variants.push(Variant::new(name, kept.cloned().collect()));
    }
    for host in talkers(shots) {
        let is = |shot: &Shot, sends: bool, hears: bool| {
            frame::headers(&shot.bytes).is_none_or(|headers| {
                let ((from, _), (to, _)) = headers.ends(&shot.bytes);
                (sends && from == host) || (hears && to == host)
            })
        };
        for (name, sends, hears) in [
            ("only what one host sends", true, false),
            ("only what one host is sent", false, true),
            ("only one host's port", true, true),
        ] {
            let kept = shots.iter().filter(|shot| is(shot, sends, hears)).cloned();
            variants.push(Variant::new(name, kept.collect()));
        }
    }
    variants.extend(copied(shots));
    let (first, last) = (shots.first().map_or(0, |s| s.nanos), shots.last().map_or(0, |s| s.nanos));
    let part = |parts: i64, of: i64| first + (last - first) / of * parts;
    let mut stretches =
        vec![("first third cut off", part(1, 3), last), ("last third cut off", first, part(2, 3))];
    for tenth in 1..10 {
        stretches.push(("any tenths cut off the beginning", part(tenth, 10), last));
        stretches.push(("any tenths cut off the end", first, part(tenth, 10)));
    }
    for (name, from, to) in stretches {
        let kept = shots.iter().filter(|shot| (from..=to).contains(&shot.nanos)).cloned();
        variants.push(Variant { shortened: true, ..Variant::new(name, kept.collect()) });
    }
    for tenth in 1..9 {
        let missing = part(tenth, 10)..=part(tenth + 1, 10);
        let kept = shots.iter().filter(|shot| !missing.contains(&shot.nanos)).cloned();
        let name = "any tenth missing in the middle";
        variants.push(Variant { shortened: true, ..Variant::new(name, kept.collect()) });
    }
    for (name, wrap) in super::wrap::WRAPPERS {
        let wrapped = (1..).zip(shots).map(|(count, shot)| wrap(shot, count));
        variants.push(Variant::new(*name, wrapped.collect()));
    }
    for (name, length) in [("snap length 96", 96), ("snap length 64", 64), ("snap length 200", 200)] {
        variants.push(each(name, shots, |shot, _| shot.bytes.truncate(length)));
    }
    for seed in 1..=2 {
        let client = seed == 1;
        let kept = lose(shots, 10, seed + 40);
        let kept = kept.into_iter().filter(|shot| original.sent_by_client(&shot.bytes) != Some(!client));
        variants.push(Variant::new("one direction only, 10 % of it lost", kept.collect()));
        let doubled = copied(shots).swap_remove(2);
        let name = "each packet twice: routed, 10 % of both lost";
        variants.push(Variant::new(name, lose(&doubled.shots, 10, seed + 60)));
    }
    for seed in 1..=2 {
        variants.push(Variant::new("reordered within 1 ms", reorder(shots, seed)));
    }
    let middle = first + (last - first) / 2;
    for (name, step) in [("clock steps back 30 s", -30_i64), ("clock steps on by an hour", 3600)] {
        variants.push(each(name, shots, |shot, _| {
            if shot.nanos > middle {
                shot.nanos += step * 1_000 * MILLISECOND as i64;
            }
        }));
    }
    variants.push(each("one hop later (TTL less 3)", shots, |shot, _| {
        change_ttl(shot, |ttl| ttl.saturating_sub(3).max(1));
    }));
    variants.push(each("answers by another router and VLAN", shots, |shot, _| {
        if original.sent_by_client(&shot.bytes) == Some(false) {
            shot.bytes[5] ^= 0x55;
            shot.bytes[11] ^= 0x55;
            frame::set_vlan(&mut shot.bytes, 77);
        }
    }));
    variants.push(Variant::new("sequence numbers wrap", wrap_sequences(shots)));
    variants.extend(super::company::variants(shots, original, twin));
    variants
}

/// A variant made frame by frame; `original` grows or shrinks with the bytes unless they are cut.
pub fn each(name: &str, shots: &Recording, mut change: impl FnMut(&mut Shot, usize)) -> Variant {
    let mut changed = shots.clone();
    for (index, shot) in changed.iter_mut().enumerate() {
        change(shot, index);
        shot.original = shot.original.max(shot.bytes.len() as u32);
    }
    Variant::new(name, changed)
}

/// Changes the time to live, where there is one.
pub fn change_ttl(shot: &mut Shot, change: impl Fn(u8) -> u8) {
    if let Some(headers) = frame::headers(&shot.bytes) {
        headers.set_ttl(&mut shot.bytes, change);
    }
}

fn lose(shots: &Recording, percent: u64, seed: u64) -> Recording {
    let mut random = Random(seed * 1000 + percent);
    shots.iter().filter(|_| random.below(100) >= percent).cloned().collect()
}

/// The hosts that send most, five of them.
fn talkers(shots: &Recording) -> Vec<IpAddr> {
    let mut sent: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for shot in shots {
        if let Some(headers) = frame::headers(&shot.bytes) {
            *sent.entry(headers.ends(&shot.bytes).0.0).or_default() += 1;
        }
    }
    let mut by_count: Vec<(usize, IpAddr)> = sent.into_iter().map(|(ip, count)| (count, ip)).collect();
    by_count.sort();
    by_count.iter().rev().take(5).map(|(_, ip)| *ip).collect()
}

/// Each packet twice, in the ways in which mirrors show it twice.
fn copied(shots: &Recording) -> Vec<Variant> {
    type Look = fn(&mut Shot);
    let another_vlan: Look = |shot| frame::set_vlan(&mut shot.bytes, 99);
    let routed: Look = |shot| {
        change_ttl(shot, |ttl| ttl.saturating_sub(1).max(1));
        shot.bytes[5] ^= 0x31;
        shot.bytes[11] ^= 0x31;
    };
    let both: Look = |shot| {
        change_ttl(shot, |ttl| ttl.saturating_sub(1).max(1));
        shot.bytes[5] ^= 0x31;
        shot.bytes[11] ^= 0x31;
        frame::set_vlan(&mut shot.bytes, 99);
    };
    let same: Look = |_| {};
    let mut variants = Vec::new();
    for (name, look) in [
        ("each packet twice: other VLAN", another_vlan),
        ("each packet twice: routed", routed),
        ("each packet twice: routed, other VLAN", both),
        ("each packet twice: the same", same),
    ] {
        for (order, swapped) in [("", false), (", the later copy first", true)] {
            let mut random = Random(7);
            let mut doubled: Recording = Vec::new();
            for shot in shots {
                let mut copy = shot.clone();
                look(&mut copy);
                let delay = random.below(5 * MILLISECOND) as i64;
                let delay = if name.ends_with("the same") { delay / 50_000 } else { delay };
                copy.original = copy.original.max(copy.bytes.len() as u32);
                let mut plain = shot.clone();
                if swapped {
                    plain.nanos += delay;
                } else {
                    copy.nanos += delay;
                }
                doubled.extend([plain, copy]);
            }
            doubled.sort_by_key(|shot| shot.nanos);
            variants.push(Variant::new(format!("{name}{order}"), doubled));
        }
    }
    variants
}

fn reorder(shots: &Recording, seed: u64) -> Recording {
    let mut random = Random(seed);
    let mut moved = shots.clone();
    for shot in &mut moved {
        shot.nanos += random.below(MILLISECOND) as i64;
    }
    moved.sort_by_key(|shot| shot.nanos);
    moved
}

/// Shifts the sequence numbers of each direction so that they wrap 100 bytes after the first that is seen.
fn wrap_sequences(shots: &Recording) -> Recording {
    let mut shifts: BTreeMap<(End, End), u32> = BTreeMap::new();
    let mut changed = shots.clone();
    for shot in &mut changed {
        let Some(headers) = frame::headers(&shot.bytes) else { continue };
        if headers.protocol == TCP {
            let (from, to) = headers.ends(&shot.bytes);
            let at = headers.transport;
            let field = |at: usize| {
                shot.bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
            };
            let (sequence, acknowledgement) = (field(at + 4), field(at + 8));
            let mine =
                *shifts.entry((from, to)).or_insert_with(|| 100_u32.wrapping_neg().wrapping_sub(sequence));
            headers.add_sequence(&mut shot.bytes, 4, mine);
            if headers.flags(&shot.bytes) & 0x10 != 0 {
                let theirs = *shifts
                    .entry((to, from))
                    .or_insert_with(|| 100_u32.wrapping_neg().wrapping_sub(acknowledgement));
                headers.add_sequence(&mut shot.bytes, 8, theirs);
            }
        } else if let Some(quoted) = headers.quote(&shot.bytes).filter(|quoted| quoted.protocol == TCP) {
            let ends = quoted.ends(&shot.bytes);
            if let Some(shift) = shifts.get(&ends) {
                quoted.add_sequence(&mut shot.bytes, 4, *shift);
            }
        }
    }
    changed
}
