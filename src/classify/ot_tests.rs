//! Control protocols held against labelled captures: whole, packet by packet, and as heard from one end alone.

use super::End;
use super::Probe;
use super::Protocol;
use super::by_name;
use super::harness;

/// The protocols, and how many labelled flows each may miss.
const PROTOCOLS: &[&str] = &[
    "bacnet",
    "dce-rpc",
    "enip",
    "ge-srtp",
    "melsec",
    "modbus",
    "profinet-cm",
    "profinet-dcp",
    "profinet-ptcp",
    "profinet-rt",
    "s7comm",
    "s7comm-plus",
];

fn each(check: impl Fn(&'static dyn Protocol)) {
    if harness::present() {
        PROTOCOLS.iter().for_each(|name| check(by_name(name).unwrap()));
    }
}

#[test]
fn labelled_flows_are_proven_and_no_others() {
    each(|protocol| {
        let score = harness::compare(protocol);
        assert_eq!((score.labelled - score.right, score.wrong), (0, 0), "{}", protocol.about().name);
    });
}

#[test]
fn answers_are_final_packet_by_packet() {
    each(harness::check_steps);
}

#[test]
fn one_end_alone_proves_it() {
    if !harness::present() {
        return;
    }
    let flows: Vec<_> = harness::labelled().collect();
    for name in PROTOCOLS {
        let protocol = by_name(name).unwrap();
        let (mut heard, mut proven) = (0, 0);
        for (flow, label) in &flows {
            if label.protocol.as_deref() != Some(name) || label.mixed || !label.high {
                continue;
            }
            for end in [End::First, End::Second] {
                let seen = flow.one_sided(end);
                if seen.first.is_silent() {
                    continue;
                }
                heard += 1;
                match protocol.probe(&seen) {
                    Probe::Proven(_) => proven += 1,
                    other => println!("  {} {end:?} alone: {other:?}", flow.place()),
                }
            }
        }
        println!("{name}: {proven} of {heard} single ends");
        // A side that says nothing of its protocol (ciphertext in a function of its own) may stay unknown alone.
        assert!((heard - proven) * 20 <= heard, "{name}: {proven} of {heard}");
    }
}
