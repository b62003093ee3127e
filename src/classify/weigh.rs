//! Adds up what the messages of both sides weigh as evidence, until they are proof: the common gait of framed protocols.
//!
//! A protocol says of the bytes in front of it whether a message stands there, how long it is and how much it weighs
//! ([`Step`]); this module walks both prefixes with it, from their start or, where the start was not captured, from
//! any of the first segment boundaries.

use super::Carrier;
use super::End;
use super::MOST_OF_BOTH;
use super::MOST_STRANGERS;
use super::Probe;
use super::Proof;
use super::Seen;
use super::Side;
use super::tls;

/// The weight that is proof: chance produces it in fewer than one of some hundred million payloads.
pub const PROOF: u32 = 100;
/// What it adds that a message ends exactly where a segment or datagram ends; never more than the message itself weighs.
pub const FITS: u32 = 40;
/// Messages walked per side; a prefix of 8 KiB holds no more that would matter.
const MOST_MESSAGES: usize = 512;
/// Bytes that [`MOST_OF_BOTH`] segments have at least, unless the stream is cut into very small ones: then more of them are heard first.
const LEAST_TOLD: usize = 8 * MOST_OF_BOTH;
/// Bytes that are enough of a stream that trickles, in segments of a byte or two: more of one end are not told apart.
const ENOUGH_TRICKLED: usize = 4 * 1024;

/// What stands in front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No message, whatever follows.
    Wrong,
    /// The beginning of a message, and what it already weighs.
    Cut(u32),
    /// A message of that many bytes, and what it weighs.
    Whole(usize, u32),
}

/// Judges both sides by a protocol's messages. `tell` hears every message of a proven flow, in order, and what it
/// states of client and facts goes into the proof; the last message of a side may be cut short.
pub fn probe<'a>(
    seen: &Seen<'a>,
    step: impl Fn(&'a [u8]) -> Step,
    mut tell: impl FnMut(End, &'a [u8], &mut Proof),
) -> Probe {
    let [first, second] = [&seen.first, &seen.second].map(|side| match side.read {
        0 => weigh(seen.carrier, side, &step),
        _ => Weighed { weight: PROOF, start: 0, out: false },
    });
    if first.weight.saturating_add(second.weight) < PROOF {
        // What can't grow any more without having become proof never will.
        return Probe::unless_over([first.out || seen.first.complete, second.out || seen.second.complete]);
    }
    let complete = seen.first.complete && seen.second.complete;
    let told = is_told(seen);
    let mut proof = Proof { open: !complete && !told, facts: seen.facts(), ..Proof::default() };
    let mut read = [0; 2];
    for ((end, side, weighed), read) in
        [(End::First, &seen.first, first), (End::Second, &seen.second, second)].into_iter().zip(&mut read)
    {
        if weighed.weight == 0 {
            continue;
        }
        match seen.carrier {
            Carrier::Tcp => {
                let stream = side.bytes.get(weighed.start..).unwrap_or_default();
                let told = each(stream, &step, |message| tell(end, message, &mut proof));
                *read = side.read + weighed.start + told;
            }
            Carrier::Udp => {
                for datagram in side.messages() {
                    each(datagram, &step, |message| tell(end, message, &mut proof));
                }
                *read = side.heard();
            }
            Carrier::Ethernet(_) => {
                for frame in side.messages().filter(|frame| !matches!(step(frame), Step::Wrong)) {
                    tell(end, frame, &mut proof);
                }
                *read = side.heard();
            }
        }
    }
    Probe::Proven(Proof { read, ..proof })
}

/// Whether so much was heard that a proven flow is not asked for more.
fn is_told(seen: &Seen<'_>) -> bool {
    let sides = [&seen.first, &seen.second];
    let heard: usize = sides.iter().map(|side| side.heard()).sum();
    if heard < MOST_OF_BOTH || seen.carrier != Carrier::Tcp {
        return heard >= MOST_OF_BOTH;
    }
    let bytes: usize = sides.iter().map(|side| side.read + side.bytes.len()).sum();
    let trickles = sides.iter().any(|side| side.heard() >= 2 * MOST_OF_BOTH);
    bytes >= if trickles { ENOUGH_TRICKLED } else { LEAST_TOLD }
}

/// Notes which end is the client, unless an earlier message told.
pub fn client_is(proof: &mut Proof, end: End) {
    proof.client.get_or_insert(end);
}

/// A proof that has to be made anew from the first message whenever more is heard, because what is told hangs together.
pub fn from_the_start(probe: Probe) -> Probe {
    match probe {
        Probe::Proven(proof) => Probe::Proven(Proof { read: [0; 2], ..proof }),
        other => other,
    }
}

/// A proof with its layers: the protocol, and TLS with its facts where the stream goes on in TLS after the bytes of each
/// side that `plain` counts.
pub fn upgraded(
    probe: Probe,
    seen: &Seen<'_>,
    name: &'static str,
    plain: impl Fn(&Side<'_>) -> usize,
) -> Probe {
    let Probe::Proven(mut proof) = probe else { return probe };
    proof.layers = vec![name];
    // TLS may begin anywhere after it: all is looked at again.
    proof.read = [0; 2];
    if let Some(inner) = tls::upgrade(seen, [plain(&seen.first), plain(&seen.second)]) {
        proof.layers.push("tls");
        proof.open |= inner.open;
        for fact in inner.facts.iter() {
            proof.facts.add(fact.key, fact.value.as_str());
        }
    }
    Probe::Proven(proof)
}

/// The bytes of a side's first segment: no protocol of question and answer goes on in TLS before that has ended.
pub fn first_segment(side: &Side<'_>) -> usize {
    side.ends.first().copied().map_or(0, usize::from)
}

/// Whether bytes agree with a fixed beginning as far as both go.
pub fn agrees(bytes: &[u8], beginning: &[u8]) -> bool {
    bytes.iter().zip(beginning).all(|(is, should)| is == should)
}

/// What one side's messages come to.
#[derive(Clone, Copy, Debug, Default)]
struct Weighed {
    /// The weight reached.
    weight: u32,
    /// Where the messages begin.
    start: usize,
    /// Whether nothing that this side may still send can be a message.
    out: bool,
}

fn weigh<'a>(carrier: Carrier, side: &Side<'a>, step: &impl Fn(&'a [u8]) -> Step) -> Weighed {
    match carrier {
        Carrier::Tcp => weigh_stream(side, step),
        Carrier::Udp => weigh_datagrams(side, step),
        Carrier::Ethernet(_) => weigh_frames(side, step),
    }
}

fn weigh_stream<'a>(side: &Side<'a>, step: &impl Fn(&'a [u8]) -> Step) -> Weighed {
    if side.is_silent() {
        return Weighed::default();
    }
    let mut best = Weighed { out: !side.may_start_later(), ..Weighed::default() };
    for start in side.starts() {
        let run = weigh_run(side, start, step);
        let better = run.weight > best.weight;
        best = Weighed { out: best.out && run.out, ..if better { run } else { best } };
        if best.weight >= PROOF {
            break;
        }
    }
    best
}

/// The messages one after the other from `start`.
fn weigh_run<'a>(side: &Side<'a>, start: usize, step: &impl Fn(&'a [u8]) -> Step) -> Weighed {
    let mut run = Weighed { start, ..Weighed::default() };
    let (mut at, mut sum) = (start, 0_u32);
    let mut ends = side.ends.iter().map(|&end| usize::from(end)).skip_while(|&end| end <= start).peekable();
    for _ in 0..MOST_MESSAGES {
        let Some(rest) = side.bytes.get(at..).filter(|rest| !rest.is_empty()) else { break };
        match step(rest) {
            Step::Wrong => {
                run.out = true;
                break;
            }
            Step::Cut(weight) => {
                run.weight = run.weight.max(sum.saturating_add(weight));
                break;
            }
            Step::Whole(length, weight) => {
                at = at.saturating_add(length.max(1));
                sum = sum.saturating_add(weight);
                while ends.next_if(|&end| end < at).is_some() {}
                let fits = if ends.peek() == Some(&at) { FITS.min(sum) } else { 0 };
                run.weight = run.weight.max(sum.saturating_add(fits));
            }
        }
        if run.weight >= PROOF {
            break;
        }
    }
    if run.out && run.weight < PROOF {
        run.weight = 0;
    }
    run
}

/// Each datagram holds one or more messages and nothing else.
fn weigh_datagrams<'a>(side: &Side<'a>, step: &impl Fn(&'a [u8]) -> Step) -> Weighed {
    let (mut sum, mut strays) = (0_u32, 0);
    for datagram in side.messages().filter(|datagram| !datagram.is_empty()) {
        let mut rest = datagram;
        let mut weight = 0_u32;
        let right = loop {
            match step(rest) {
                Step::Whole(length, more) => {
                    weight = weight.saturating_add(more);
                    rest = rest.get(length.max(1)..).unwrap_or_default();
                    if rest.is_empty() {
                        break true;
                    }
                }
                // A datagram is whole unless the capture cut it: only what the head alone shows counts.
                Step::Cut(more) => {
                    weight = weight.saturating_add(more);
                    break more > 0;
                }
                Step::Wrong => break false,
            }
        };
        if right {
            sum =
                sum.saturating_add(weight).saturating_add(if rest.is_empty() { FITS.min(weight) } else { 0 });
        } else {
            strays += 1;
        }
        if strays >= MOST_STRANGERS && sum < PROOF {
            return Weighed { out: true, ..Weighed::default() };
        }
    }
    let doubtful = strays > 0 && sum < PROOF;
    Weighed { weight: if doubtful { 0 } else { sum }, ..Weighed::default() }
}

/// Each frame begins with one message; what follows it is padding (IEEE 802.3 section 3.2.8).
fn weigh_frames<'a>(side: &Side<'a>, step: &impl Fn(&'a [u8]) -> Step) -> Weighed {
    let (mut sum, mut strays) = (0_u32, 0);
    for frame in side.messages().filter(|frame| !frame.is_empty()) {
        match step(frame) {
            Step::Whole(_, weight) | Step::Cut(weight) if weight > 0 => sum = sum.saturating_add(weight),
            _ => strays += 1,
        }
        if strays >= MOST_STRANGERS && sum < PROOF {
            return Weighed { out: true, ..Weighed::default() };
        }
    }
    Weighed { weight: sum, ..Weighed::default() }
}

/// Shows each message of a payload that holds whole messages and nothing else; of any other none, which may begin in the middle of one.
pub fn each_whole<'a>(payload: &'a [u8], step: impl Fn(&'a [u8]) -> Step, show: impl FnMut(&'a [u8])) {
    let mut rest = payload;
    while !rest.is_empty() {
        let Step::Whole(length, _) = step(rest) else { return };
        rest = rest.get(length.max(1)..).unwrap_or_default();
    }
    each(payload, &step, show);
}

/// Whether these bytes are one message and no more.
pub fn is_alone(payload: &[u8], step: impl FnOnce(&[u8]) -> Step) -> bool {
    matches!(step(payload), Step::Whole(length, _) if length == payload.len())
}

/// Shows every message in these bytes, a cut one included; returns how many bytes the whole ones take.
fn each<'a>(bytes: &'a [u8], step: &impl Fn(&'a [u8]) -> Step, mut show: impl FnMut(&'a [u8])) -> usize {
    let mut rest = bytes;
    for _ in 0..MOST_MESSAGES {
        if rest.is_empty() {
            break;
        }
        match step(rest) {
            Step::Whole(length, _) => {
                let Some((message, after)) = rest.split_at_checked(length.max(1)) else { break };
                show(message);
                rest = after;
            }
            Step::Cut(_) => {
                show(rest);
                break;
            }
            Step::Wrong => break,
        }
    }
    bytes.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0xaa, length of the rest, the rest.
    fn step(bytes: &[u8]) -> Step {
        match bytes {
            [0xaa, length, rest @ ..] if rest.len() >= usize::from(*length) => {
                Step::Whole(2 + usize::from(*length), 30)
            }
            [0xaa, ..] => Step::Cut(0),
            _ => Step::Wrong,
        }
    }

    fn seen<'a>(first: Side<'a>, second: Side<'a>) -> Seen<'a> {
        Seen { carrier: Carrier::Tcp, first, second, known: None }
    }

    fn verdict(seen: &Seen<'_>) -> &'static str {
        match probe(seen, step, |_, _, _| {}) {
            Probe::No => "no",
            Probe::NeedMore | Probe::NeedFrom(_) => "more",
            Probe::Proven(_) => "proven",
        }
    }

    #[test]
    fn silence_asks_for_more() {
        assert_eq!(verdict(&seen(Side::default(), Side::default())), "more");
    }

    #[test]
    fn two_messages_that_end_with_the_segment_prove() {
        let bytes = [0xaa, 1, 9, 0xaa, 0];
        assert_eq!(verdict(&seen(Side::of(&bytes, &[5]), Side::default())), "proven");
        assert_eq!(verdict(&seen(Side::of(&bytes, &[4]), Side::default())), "more");
    }

    #[test]
    fn both_sides_count_together() {
        let (one, other) = ([0xaa, 0], [0xaa, 1, 1]);
        assert_eq!(verdict(&seen(Side::of(&one, &[2]), Side::of(&other, &[3]))), "proven");
    }

    #[test]
    fn a_stream_of_very_small_segments_is_read_on() {
        let open = |segments: usize, size: usize| {
            let bytes = [0xaa, 0].repeat(segments * size / 2);
            let ends: Vec<u16> = (1..=segments).map(|at| (at * size) as u16).collect();
            let side = Side::of(&bytes, &ends);
            probe(&seen(side, Side::default()), step, |_, _, _| {}).proof().is_some_and(|proof| proof.open)
        };
        assert!(open(MOST_OF_BOTH - 2, 100) && !open(MOST_OF_BOTH, 100), "segments as they usually are");
        assert!(open(MOST_OF_BOTH, 2) && open(2 * MOST_OF_BOTH, 2), "hardly anything was said");
        assert!(!open(MOST_OF_BOTH, 8) && !open(2 * MOST_OF_BOTH, 64), "enough was");
    }

    #[test]
    fn a_stream_met_in_its_middle_is_tried_at_segment_starts() {
        let bytes = [7, 7, 0xaa, 0, 0xaa, 0];
        let side = Side { from_start: false, ..Side::of(&bytes, &[2, 4, 6]) };
        assert_eq!(verdict(&seen(side, Side::default())), "proven");
        assert_eq!(verdict(&seen(Side { from_start: true, ..side }, Side::of(&[1], &[1]))), "no");
    }

    #[test]
    fn what_is_complete_and_no_proof_is_no() {
        let bytes = [0xaa, 0];
        let first = Side { complete: true, ..Side::of(&bytes, &[2]) };
        let silent = Side { complete: true, ..Side::default() };
        assert_eq!(verdict(&seen(first, Side::default())), "more");
        assert_eq!(verdict(&seen(first, silent)), "no");
    }
}
