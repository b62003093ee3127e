//! Tests: what each protocol still proves when a mirror hears only one end, and missed how the flow began.

#![expect(clippy::print_stdout, reason = "a test says what it misses")]

use std::collections::BTreeMap;

use super::End;
use super::PROTOCOLS;
use super::Proof;
use super::harness;

/// What is left of a flow whose first messages are not in the capture, by protocol: those that are proved, of those of which enough is left.
#[test]
fn flows_met_in_their_middle_are_mostly_known() {
    if !harness::present() {
        return;
    }
    let mut by_name: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for (flow, label) in harness::labelled() {
        let Some(name) = label.protocol.clone().filter(|_| label.high && !label.mixed) else { continue };
        if PROTOCOLS.iter().all(|protocol| protocol.about().name != name) {
            continue;
        }
        for first in 1..=4 {
            // Two messages at least: one may be an acknowledgement, or the second half of something.
            if flow.steps.len() < first + 2 {
                continue;
            }
            let rest = flow.without_first(first);
            let claims = harness::classify(&rest.seen());
            let is =
                |(claimed, proof): &(&str, Proof)| *claimed == name || proof.layers.contains(&name.as_str());
            let [right, all] = by_name.entry(name.clone()).or_default();
            *right += usize::from(claims.iter().any(is));
            *all += 1;
        }
    }
    let (mut right, mut all) = (0, 0);
    for (name, [known, of]) in &by_name {
        if known < of {
            println!("{name}: {known} of {of}");
        }
        right += known;
        all += of;
    }
    println!("{right} of {all}");
    assert!(right * 100 >= all * 90, "{right} of {all}");
}

#[test]
fn half_a_flow_is_mostly_enough() {
    if !harness::present() {
        return;
    }
    let (mut halves, mut missed) = (0, Vec::new());
    for (flow, label) in harness::labelled() {
        let Some(name) = label.protocol.as_deref().filter(|_| label.high && !label.mixed) else { continue };
        for end in [End::First, End::Second] {
            let seen = flow.one_sided(end);
            if seen.first.is_silent() {
                continue;
            }
            let claims: Vec<&str> = harness::classify(&seen).iter().map(|(name, _)| *name).collect();
            if PROTOCOLS.iter().all(|protocol| protocol.about().name != name) {
                continue;
            }
            halves += 1;
            if !claims.contains(&name) {
                let bytes = &seen.first.bytes[..seen.first.bytes.len().min(24)];
                missed.push(format!("{name} {end:?} {claims:?} {} {bytes:02x?}", flow.place()));
            }
        }
    }
    // Some halves are a lone acknowledgement, or garbage between two keep-alives.
    assert!(missed.len() * 100 < halves, "{} of {halves}: {missed:#?}", missed.len());
}
