//! Tests: what each protocol still proves when a mirror hears only one end, and missed how the flow began.

use super::End;
use super::PROTOCOLS;
use super::harness;

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
