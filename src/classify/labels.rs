//! For tests: the labelled captures, and how a protocol does on them.

#![expect(clippy::print_stdout, reason = "a test says what it misses")]

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::Carrier;
use super::Probe;
use super::Protocol;
use super::harness::Address;
use super::harness::Flow;
use super::harness::captures;
use super::harness::flows;
use super::harness::present;
use super::harness::proof;

/// One line of `labels.jsonl`, as far as tests need it. Names are those of the contract.
#[derive(Clone, Debug)]
pub struct Label {
    pub protocol: Option<String>,
    pub also: Vec<String>,
    pub high: bool,
    pub mixed: bool,
    pub tls_version: Option<String>,
    pub sni: Option<String>,
}

/// Labels by capture, carrier (`tcp`, `udp`, `l2`) and the unordered pair of ends.
pub type Labels = BTreeMap<String, HashMap<(String, [Address; 2]), Label>>;

/// All labels of flows that are not the outside of a tunnel.
pub fn labels() -> Labels {
    let mut labels = Labels::new();
    let text = std::fs::read_to_string(captures().join("labels.jsonl")).unwrap();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["layer"] == "outer" {
            continue;
        }
        let word = |key: &str| line[key].as_str().map(str::to_owned);
        let port = |key: &str| line[key].as_u64().map(|port| port as u16);
        let mut pair = [
            (word("a").unwrap_or_default(), port("a_port")),
            (word("b").unwrap_or_default(), port("b_port")),
        ];
        pair.sort();
        let contract = |name: String| match name.as_str() {
            "iec61850-goose" => "goose".to_owned(),
            "iec61850-sv" => "sv".to_owned(),
            "omron-fins" => "fins".to_owned(),
            "beckhoff-ads" => "ads".to_owned(),
            _ => name,
        };
        let label = Label {
            protocol: word("protocol").map(contract),
            also: line["also"]
                .as_array()
                .map(|also| also.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
                .unwrap_or_default(),
            high: line["confidence"] == "high",
            mixed: line["mixed"] == true,
            tls_version: word("tls_version"),
            sni: word("sni"),
        };
        // A pair of MAC addresses may have several labels, one a protocol.
        let of_capture = labels.entry(word("capture").unwrap()).or_default();
        match of_capture.entry((word("transport").unwrap(), pair)) {
            Entry::Vacant(vacant) => _ = vacant.insert(label),
            Entry::Occupied(mut known) => known.get_mut().also.extend(label.protocol),
        }
    }
    labels
}

/// The label of a flow.
pub fn label<'a>(labels: &'a Labels, flow: &Flow) -> Option<&'a Label> {
    let transport = match flow.carrier {
        Carrier::Tcp => "tcp",
        Carrier::Udp => "udp",
        Carrier::Ethernet(_) => "l2",
    };
    let mut pair = [flow.a.clone(), flow.b.clone()];
    pair.sort();
    labels.get(&flow.capture)?.get(&(transport.to_owned(), pair))
}

/// All captures that are labelled, with their flows: read once for all tests.
pub fn labelled() -> impl Iterator<Item = (Flow, Label)> {
    static ALL: std::sync::LazyLock<Vec<(Flow, Label)>> = std::sync::LazyLock::new(|| {
        let all = labels();
        let flows = all.keys().flat_map(|capture| flows(capture));
        flows.filter_map(|flow| label(&all, &flow).cloned().map(|label| (flow, label))).collect()
    });
    ALL.iter().cloned()
}

/// What a comparison with the labels gave.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Flows labelled with high confidence as the protocol.
    pub labelled: usize,
    /// Those that it claimed.
    pub right: usize,
    /// Flows of another label that it claimed.
    pub wrong: usize,
    /// One line for each flow missed or wrongly claimed.
    pub trouble: Vec<String>,
}

/// Holds one protocol against every labelled flow, and prints what is missed or wrongly claimed.
///
/// A label of medium confidence counts for nothing against it, nor does a flow that has no label.
pub fn compare(protocol: &dyn Protocol) -> Score {
    let name = protocol.about().name;
    let mut score = Score::default();
    // A 5-tuple used twice is one label: one of its flows suffices.
    let mut by_place: BTreeMap<String, bool> = BTreeMap::new();
    for (flow, label) in labelled() {
        let claimed = proof(protocol, &flow.seen());
        let is = label.protocol.as_deref() == Some(name);
        if is && label.high && !label.mixed && flow.sent.iter().any(|sent| !sent.bytes.is_empty()) {
            let place = match flow.carrier {
                // Labels of MAC pairs do not tell the ethertype.
                Carrier::Ethernet(_) => format!("{} {} {}", flow.capture, flow.a.0, flow.b.0),
                _ => flow.place(),
            };
            *by_place.entry(place).or_default() |= claimed.is_some();
        }
        if let Some(proof) = claimed
            && !is
            && !label.mixed
            && !label.also.iter().any(|also| also == name)
        {
            let inside = label.protocol.as_deref().is_some_and(|other| proof.layers.contains(&other));
            if !inside {
                let counts = label.protocol.is_some() && label.high;
                score.wrong += usize::from(counts);
                let weight = if counts { "WRONG" } else { "unsure" };
                score.trouble.push(format!(
                    "{weight} {}: {name}, label {:?} ({proof:?})",
                    flow.place(),
                    label.protocol
                ));
            }
        }
    }
    for (place, claimed) in by_place {
        score.labelled += 1;
        score.right += usize::from(claimed);
        if !claimed {
            score.trouble.push(format!("missed {place}"));
        }
    }
    println!("{name}: {} of {} labelled, {} wrong", score.right, score.labelled, score.wrong);
    for line in &score.trouble {
        println!("  {line}");
    }
    score
}

/// Holds a protocol against the labels and fails where it misses more, or claims more of others', than allowed.
pub fn check(protocol: &dyn Protocol, most_missed: usize, most_wrong: usize) {
    if !present() {
        return;
    }
    let score = compare(protocol);
    assert!(score.labelled > 0, "no flow is labelled {}", protocol.about().name);
    assert!(score.labelled - score.right <= most_missed, "missed {}", score.labelled - score.right);
    assert!(score.wrong <= most_wrong, "wrongly claimed {}", score.wrong);
}

/// Feeds every labelled flow of the protocol packet by packet; fails where an answer takes back an earlier one.
pub fn check_steps(protocol: &dyn Protocol) {
    if !present() {
        return;
    }
    for (flow, label) in labelled() {
        if label.protocol.as_deref() != Some(protocol.about().name) {
            continue;
        }
        let mut before = Probe::NeedMore;
        for step in 0..flow.steps.len() {
            let now = protocol.probe(&flow.seen_at(step));
            let place = flow.place();
            match (&before, &now) {
                (Probe::No, Probe::No)
                | (Probe::NeedMore | Probe::NeedFrom(_), _)
                | (Probe::Proven(_), Probe::Proven(_)) => {}
                (before, now) => panic!("{place} step {step}: {before:?} became {now:?}"),
            }
            before = now;
        }
    }
}
