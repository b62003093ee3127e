//! Which inputs are one recording, and where each recording ends: the files of a ring buffer are one mirror, two taps are two.

use std::time::Duration;

use crate::model::Input;
use crate::model::LossyInterface;
use crate::model::Observed;
use crate::model::PacketRef;
use crate::model::Timestamp;

/// The longest pause between two files of a ring buffer that counts as a quiet moment and not as a stop. One that rotates by time begins a file
/// at once; dumpcap and tcpdump open the next with its first packet.
const PAUSE: Duration = Duration::from_secs(60);
/// How far the files of a ring buffer overlap at most: mirrors stamp packets up to a millisecond out of their order.
const OVERLAP: Duration = Duration::from_millis(1);

/// What was lost by the word of the capturing machine: of all, or of its worst interface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropped {
    /// Packets lost.
    pub lost: u64,
    /// Packets delivered.
    pub seen: u64,
    /// The interface, where it is that of one of several.
    pub interface: Option<u32>,
}

/// The recordings of a run.
#[derive(Debug, Default)]
pub struct Recordings {
    /// The recording of each input.
    of_input: Vec<usize>,
    /// Their inputs, in the order of time.
    known: Vec<Vec<usize>>,
    /// How inputs are called: by their last part where that is enough to tell them apart.
    names: Vec<String>,
    /// The stretch that each input belongs to: its latest time, and the time of its last packet (another where the clock was set back).
    ends: Vec<(Timestamp, Timestamp)>,
    /// Packets that the capturing machine lost, by its own word, and those that it delivered.
    dropped: Vec<Option<Dropped>>,
    /// Whether a snap length cut packets of it.
    cut: Vec<bool>,
}

impl Recordings {
    /// Tells which inputs belong together.
    pub fn of(observed: &Observed) -> Self {
        let inputs = &observed.inputs;
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        order.sort_by_key(|&at| inputs.get(at).map(|input| (input.first, input.last, at)));
        let mut known: Vec<Vec<usize>> = Vec::new();
        for at in order {
            let Some(input) = inputs.get(at) else { continue };
            let before = known.iter_mut().find(|files| {
                let last = files.last().and_then(|last| inputs.get(*last));
                last.is_some_and(|last| goes_on(last, input))
            });
            match before {
                Some(files) => files.push(at),
                None => known.push(vec![at]),
            }
        }
        let mut of_input = vec![0; inputs.len()];
        for (recording, files) in known.iter().enumerate() {
            for &at in files {
                if let Some(place) = of_input.get_mut(at) {
                    *place = recording;
                }
            }
        }
        let of =
            |files: &Vec<usize>| -> Vec<&Input> { files.iter().filter_map(|&at| inputs.get(at)).collect() };
        let dropped = known.iter().map(|files| {
            let lost = of(files).iter().filter_map(|input| input.dropped).reduce(u64::saturating_add)?;
            let seen = of(files).iter().fold(0, |sum: u64, input| sum.saturating_add(input.packets));
            let all = Dropped { lost, seen, interface: None };
            let lossiest = of(files).iter().filter_map(|input| input.lossiest).reduce(LossyInterface::worse);
            // Of what is missing it is not known by which interface it would have come.
            let worst = lossiest.filter(|one| one.worse(LossyInterface { number: 0, lost, seen }) == *one);
            let told = worst.map_or(all, |one| Dropped {
                lost: one.lost,
                seen: one.seen,
                interface: Some(one.number),
            });
            Some(told).filter(|told| told.lost > 0)
        });
        let dropped = dropped.collect();
        let cut = known.iter().map(|files| of(files).iter().any(|input| input.cut_packets > 0)).collect();
        let ends = ends(observed, &known);
        Self { of_input, known, names: names(inputs), ends, dropped, cut }
    }

    /// The recording in which a packet stands.
    pub fn of_packet(&self, at: PacketRef) -> usize {
        self.of_input.get(place(at)).copied().unwrap_or_default()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// The time at which the recording of a packet ends, as far as it goes on without a stop.
    pub fn end(&self, at: PacketRef) -> Timestamp {
        let (latest, end) = self.ends.get(place(at)).copied().unwrap_or_default();
        // What is stamped later than the last packet came before the clock was set back.
        if at.time > end { latest } else { end }
    }

    /// What the machine which made a recording says that it lost.
    pub fn dropped(&self, recording: usize) -> Option<Dropped> {
        self.dropped.get(recording).copied().flatten()
    }

    /// Whether the snap length of a packet's recording cut packets.
    pub fn cuts(&self, at: PacketRef) -> bool {
        self.cut.get(self.of_packet(at)).copied().unwrap_or_default()
    }

    /// `packet 12`, and of which file where there are several.
    pub fn packet(&self, at: PacketRef) -> String {
        match self.names.get(place(at)).filter(|_| self.names.len() > 1) {
            Some(name) => format!("packet {} of {name}", at.number()),
            None => format!("packet {}", at.number()),
        }
    }

    /// How a recording is called: its file, or the first and the last of its files.
    pub fn name(&self, recording: usize) -> String {
        let files = self.known.get(recording).map_or(&[][..], Vec::as_slice);
        let name = |at: Option<&usize>| at.and_then(|&at| self.names.get(at)).map_or("?", String::as_str);
        match files {
            [only] => name(Some(only)).to_owned(),
            _ => format!("{} to {}", name(files.first()), name(files.last())),
        }
    }

    /// The recordings that lie in several files, and in how many.
    pub fn in_several_files(&self) -> impl Iterator<Item = (usize, usize)> {
        self.known.iter().map(Vec::len).enumerate().filter(|(_, files)| *files > 1)
    }
}

fn place(at: PacketRef) -> usize {
    usize::try_from(at.input().0).unwrap_or(usize::MAX)
}

/// Whether one input is the next file of the same ring buffer: called alike but for its numbers, which go up, and beginning where the other ends.
fn goes_on(before: &Input, next: &Input) -> bool {
    let (Some(end), Some(first)) = (before.last, next.first) else { return false };
    let (stem, numbers) = parts(&before.name);
    let (next_stem, next_numbers) = parts(&next.name);
    let apart = first.plus(OVERLAP) >= end;
    apart && stem == next_stem && numbers < next_numbers && before.vantage == next.vantage
}

/// A name without its digits, and its numbers: `ring_00002_20261129.pcap` is `ring__.pcap` with 2 and 20261129.
fn parts(name: &str) -> (String, Vec<u64>) {
    let mut stem = String::new();
    let mut numbers: Vec<u64> = Vec::new();
    let mut inside = false;
    for letter in name.chars() {
        match letter.to_digit(10) {
            Some(digit) => {
                if !inside {
                    numbers.push(0);
                }
                inside = true;
                if let Some(last) = numbers.last_mut() {
                    *last = last.saturating_mul(10).saturating_add(digit.into());
                }
            }
            None => {
                inside = false;
                stem.push(letter);
            }
        }
    }
    (stem, numbers)
}

/// The last parts of the inputs' names, or the whole names where these are not enough to tell them apart.
fn names(inputs: &[Input]) -> Vec<String> {
    let short = |input: &Input| input.name.rsplit('/').next().unwrap_or_default().to_owned();
    let names: Vec<String> = inputs.iter().map(short).collect();
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    if distinct.len() == names.len() {
        names
    } else {
        inputs.iter().map(|input| input.name.clone()).collect()
    }
}

/// For each input the end of its stretch. Where a clock was set back, the latest time is not the time of the last packet.
fn ends(observed: &Observed, known: &[Vec<usize>]) -> Vec<(Timestamp, Timestamp)> {
    let inputs = &observed.inputs;
    let whole = observed.vantage.last.unwrap_or(Timestamp::MIN);
    // The capture may be known to go on beyond its last packet: a live one does.
    let latest_of_all = inputs.iter().filter_map(|input| input.last).max();
    let until = |input: &Input| match input.last {
        Some(last) if Some(last) < latest_of_all && !input.format.starts_with("live") => last,
        _ => whole,
    };
    let mut ends = vec![(whole, whole); inputs.len()];
    for files in known {
        let mut stretch: Option<Timestamp> = None;
        for (index, &at) in files.iter().enumerate().rev() {
            let Some(input) = inputs.get(at) else { continue };
            let next = files.get(index + 1).and_then(|next| inputs.get(*next)?.first);
            let goes_on = next.zip(input.last).is_some_and(|(next, last)| next.since(last) <= PAUSE);
            let end = stretch.filter(|_| goes_on).unwrap_or_else(|| until(input));
            stretch = Some(end);
            if let Some(place) = ends.get_mut(at) {
                *place = (end, end);
            }
        }
    }
    if inputs.iter().any(|input| input.time_reversals > 0) {
        let flows = observed.conversations.values();
        let last = flows.flat_map(|one| one.attempts().map(|flow| flow.last).chain([one.last]));
        let mut latest: Vec<Option<PacketRef>> = vec![None; inputs.len()];
        for at in last {
            if let Some(known) = latest.get_mut(place(at))
                && known.is_none_or(|known| known.number() < at.number())
            {
                *known = Some(at);
            }
        }
        for files in known {
            let reversed =
                files.iter().any(|&at| inputs.get(at).is_some_and(|input| input.time_reversals > 0));
            let last = files.iter().rev().find_map(|&at| *latest.get(at)?);
            let Some(last) = last.filter(|_| reversed) else { continue };
            for &at in files {
                if let Some((_, end)) = ends.get_mut(at) {
                    *end = (*end).min(last.time);
                }
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InputId;

    fn input(name: &str, first: i64, last: i64) -> Input {
        let second = |n: i64| Some(Timestamp::from_nanos(n * 1_000_000_000));
        Input { name: name.to_owned(), first: second(first), last: second(last), ..Input::default() }
    }

    fn recordings(inputs: Vec<Input>) -> Recordings {
        let mut observed = Observed::default();
        observed.vantage.last = inputs.iter().filter_map(|input| input.last).max();
        observed.inputs = inputs;
        Recordings::of(&observed)
    }

    fn at(input: u32, second: i64) -> PacketRef {
        PacketRef::new(Timestamp::from_nanos(second * 1_000_000_000), InputId(input), 7)
    }

    #[test]
    fn files_of_a_ring_buffer_are_one_recording() {
        let ring = recordings(vec![
            input("x/ring_00002_20261129101000.pcapng", 600, 1200),
            input("x/ring_00001_20261129100000.pcapng", 0, 600),
            input("x/ring_00003_20261129102000.pcapng", 1201, 1800),
        ]);
        assert_eq!((ring.count(), ring.in_several_files().next()), (1, Some((0, 3))));
        assert_eq!(ring.name(0), "ring_00001_20261129100000.pcapng to ring_00003_20261129102000.pcapng");
        assert_eq!(ring.end(at(1, 599)), at(0, 1800).time, "it goes on in the next file");
        let tcpdump =
            recordings(vec![input("cap.pcap", 0, 9), input("cap.pcap1", 9, 20), input("cap.pcap2", 20, 31)]);
        assert_eq!(tcpdump.count(), 1);
        assert_eq!(tcpdump.packet(at(1, 10)), "packet 7 of cap.pcap1");
    }

    #[test]
    fn two_taps_are_two_recordings_and_each_has_its_end() {
        let taps = recordings(vec![input("tap1.pcap", 0, 600), input("tap2.pcap", 0, 1200)]);
        assert_eq!(taps.count(), 2);
        assert_eq!(taps.end(at(0, 599)), at(0, 600).time);
        assert_eq!(taps.end(at(1, 599)), at(0, 1200).time);
        assert_eq!(
            recordings(vec![input("east.pcap", 0, 5), input("west.pcap", 6, 9)]).count(),
            2,
            "other names"
        );
        assert_eq!(
            recordings(vec![input("r2.pcap", 0, 5), input("r1.pcap", 6, 9)]).count(),
            2,
            "numbers go down"
        );
    }

    #[test]
    fn a_ring_that_stopped_in_between_ends_there() {
        let ring = recordings(vec![input("r1.pcap", 0, 600), input("r2.pcap", 900, 1500)]);
        assert_eq!(ring.count(), 1);
        assert_eq!(ring.end(at(0, 599)), at(0, 600).time);
        assert_eq!(ring.end(at(1, 1000)), at(0, 1500).time);
    }

    #[test]
    fn of_several_interfaces_the_worst_counts() {
        let lossy = |number, lost, seen| Some(LossyInterface { number, lost, seen });
        let told = |lossiest| {
            let one = Input { packets: 1_000, dropped: Some(20), lossiest, ..input("tap.pcapng", 0, 60) };
            recordings(vec![one]).dropped(0).unwrap()
        };
        assert_eq!(told(lossy(1, 20, 80)), Dropped { lost: 20, seen: 80, interface: Some(1) });
        assert_eq!(told(None), Dropped { lost: 20, seen: 1_000, interface: None });
    }

    #[test]
    fn one_file_needs_no_name() {
        assert_eq!(recordings(vec![input("a.pcap", 0, 5)]).packet(at(0, 1)), "packet 7");
    }
}
