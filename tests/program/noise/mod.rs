//! A hundred thousand flows that speak no protocol of the registry: fewer than one in ten thousand may be claimed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "this is a test"
)]

mod payload;

use spanaudit::classify::Carrier;
use spanaudit::classify::End;
use spanaudit::classify::PROTOCOLS;
use spanaudit::classify::Probe;
use spanaudit::classify::Seen;
use spanaudit::classify::Side;
use spanaudit::classify::candidates;

use payload::KINDS;
use payload::Noise;

/// Flows in all, over TCP and UDP in turn, one-sided and two-sided.
const FLOWS: usize = 100_000;
/// Of so many flows not one may be claimed on average.
const ONE_IN: usize = 10_000;

/// One flow's payload, both ends.
struct Flow {
    kind: &'static str,
    carrier: Carrier,
    sides: [(Vec<u8>, Vec<u16>); 2],
    from_start: bool,
    /// What a snap length cut off each datagram.
    lacks: Vec<u16>,
}

impl Flow {
    fn make(noise: &mut Noise, number: usize) -> Self {
        let (kind, make) = KINDS[number % KINDS.len()];
        let carrier = if (number / KINDS.len()).is_multiple_of(2) { Carrier::Tcp } else { Carrier::Udp };
        let mut side = |silent: bool| {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for _ in 0..if silent { 0 } else { 1 + noise.below(4) } {
                let length =
                    [1, 2, 4, 8, 12, 16, 20, 32, 48, 64, 100, 300, 1200][noise.below(13)] + noise.below(9);
                bytes.extend(make(noise, length));
                ends.push(bytes.len() as u16);
            }
            (bytes, ends)
        };
        let first = side(false);
        let second = side(number.is_multiple_of(3));
        let from_start = carrier == Carrier::Udp || noise.below(2) == 0;
        let lacks = if carrier == Carrier::Udp { vec![number as u16 % 7 * 31; 4] } else { Vec::new() };
        Self { kind, carrier, sides: [first, second], from_start, lacks }
    }

    /// Who claims it, as a flow that goes on and as one that has ended.
    fn claims(&self) -> Vec<&'static str> {
        let side = |at: usize, complete| {
            let (bytes, ends) = &self.sides[at];
            Side {
                bytes,
                ends,
                from_start: self.from_start,
                complete,
                lacks: &self.lacks,
                read: 0,
                before: 0,
            }
        };
        let mut found = Vec::new();
        for complete in [false, true] {
            let seen = Seen {
                carrier: self.carrier,
                first: side(0, complete),
                second: side(1, complete),
                known: None,
            };
            // As the pipeline asks: those to whom one end at least has something to add.
            let out = candidates::deaf(&seen, End::First) & candidates::deaf(&seen, End::Second);
            for protocol in candidates::left(out).filter_map(|at| PROTOCOLS.get(at)) {
                let name = protocol.about().name;
                if matches!(protocol.probe(&seen), Probe::Proven(_)) && !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        found
    }
}

/// Claims among every `step`th flow from `first` on, in words.
fn claims(first: usize, step: usize) -> Vec<String> {
    let mut told = Vec::new();
    for number in (first..FLOWS).step_by(step) {
        let flow = Flow::make(&mut Noise::of(number as u64), number);
        for name in flow.claims() {
            let text: String = flow
                .sides
                .iter()
                .flat_map(|(bytes, _)| bytes.iter().take(64))
                .map(|byte| format!("{byte:02x}"))
                .collect();
            told.push(format!("flow {number}: {name} claims {} over {:?}: {text}", flow.kind, flow.carrier));
        }
    }
    told
}

#[test]
fn nobody_claims_noise() {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let told: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|first| scope.spawn(move || claims(first, workers))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    for one in &told {
        println!("{one}");
    }
    assert!(told.len() * ONE_IN < FLOWS, "{} of {FLOWS} flows of noise were claimed", told.len());
}

/// The test would show nothing if its payloads were all alike or empty.
#[test]
fn noise_is_of_many_kinds() {
    for (kind, make) in KINDS {
        let payloads: Vec<Vec<u8>> = (0..50).map(|seed| make(&mut Noise::of(seed), 64)).collect();
        assert!(payloads.iter().all(|payload| !payload.is_empty()), "{kind} is empty");
        let distinct: std::collections::BTreeSet<&Vec<u8>> = payloads.iter().collect();
        assert!(*kind == "zeros" || distinct.len() > 25, "{kind}: {} of 50 differ", distinct.len());
    }
}
