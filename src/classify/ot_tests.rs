//! Control protocols held against labelled captures: whole, packet by packet, and as heard from one end alone.

#![expect(clippy::print_stdout, reason = "a test says which flows it means")]

use super::Carrier;
use super::End;
use super::Probe;
use super::Protocol;
use super::Seen;
use super::Side;
use super::by_name;
use super::harness;
use crate::model::Statement;

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

/// A side without its first segments, as where a capture begins in the middle of a connection.
fn without<'a>(side: &Side<'a>, segments: usize, ends: &'a mut Vec<u16>) -> Side<'a> {
    let from = segments.checked_sub(1).and_then(|at| side.ends.get(at)).copied().unwrap_or(0);
    ends.extend(side.ends.iter().skip(segments).map(|end| end - from));
    Side {
        bytes: &side.bytes[usize::from(from)..],
        ends,
        from_start: segments == 0,
        complete: true,
        lacks: &[],
        read: 0,
        before: 0,
    }
}

#[test]
fn a_connection_met_in_its_middle_is_proven() {
    if !harness::present() {
        return;
    }
    let flows: Vec<_> = harness::labelled().collect();
    for name in PROTOCOLS {
        let protocol = by_name(name).unwrap();
        let (mut met, mut proven) = (0, 0);
        for (flow, label) in &flows {
            if label.protocol.as_deref() != Some(name) || flow.carrier != Carrier::Tcp || label.mixed {
                continue;
            }
            let whole = flow.seen();
            for segments in 1..8 {
                let left = [whole.first, whole.second].map(|side| side.ends.len().saturating_sub(segments));
                // The end of a connection may hold nothing but its disconnection.
                if left.iter().sum::<usize>() < 3 {
                    break;
                }
                let (mut first, mut second) = (Vec::new(), Vec::new());
                let seen = Seen {
                    carrier: flow.carrier,
                    first: without(&whole.first, segments.min(whole.first.ends.len()), &mut first),
                    second: without(&whole.second, segments.min(whole.second.ends.len()), &mut second),
                    known: None,
                };
                met += 1;
                match protocol.probe(&seen) {
                    Probe::Proven(_) => proven += 1,
                    other => println!("  {} from segment {segments}: {other:?}", flow.place()),
                }
            }
        }
        println!("{name}: {proven} of {met} beginnings");
        assert!(met - proven <= met / 20, "{name}: {proven} of {met}");
    }
}

#[test]
fn segments_of_any_length_do_not_matter() {
    if !harness::present() {
        return;
    }
    for (flow, label) in harness::labelled() {
        let Some(name) = label.protocol.as_deref().filter(|name| PROTOCOLS.contains(name)) else { continue };
        if flow.carrier != Carrier::Tcp || label.mixed || !label.high {
            continue;
        }
        let whole = flow.seen();
        let cut = |side: &Side<'_>| -> Vec<u16> {
            let length = side.bytes.len() as u16;
            (1..=length).filter(|end| end % 7 == 0 || *end == length).collect()
        };
        let (first, second) = (cut(&whole.first), cut(&whole.second));
        let seen = Seen {
            carrier: flow.carrier,
            first: Side { ends: &first, ..whole.first },
            second: Side { ends: &second, ..whole.second },
            known: None,
        };
        let protocol = by_name(name).unwrap();
        let (as_sent, as_cut) = (protocol.probe(&whole), protocol.probe(&seen));
        let proven = matches!(as_cut, Probe::Proven(_));
        assert!(proven || !matches!(as_sent, Probe::Proven(_)), "{name} {}: {as_cut:?}", flow.place());
    }
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
            // A pair of MAC addresses has flows of other ethertypes too.
            if !matches!(protocol.probe(&flow.seen()), Probe::Proven(_)) {
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
        assert!(heard - proven <= (heard / 50).max(1), "{name}: {proven} of {heard}");
    }
}

#[test]
fn ge_srtp_of_the_lab_is_proven() {
    if !harness::present() {
        return;
    }
    let protocol = by_name("ge-srtp").unwrap();
    let flows = harness::flows("lab/smart-asset-profiling.pcap");
    let proofs: Vec<_> = flows.iter().filter_map(|flow| harness::proof(protocol, &flow.seen())).collect();
    assert_eq!(proofs.len(), 2);
    assert!(proofs.iter().all(|proof| proof.client == Some(End::First)));
}

#[test]
fn the_endpoint_mapper_of_the_lab_names_the_ports_used() {
    if !harness::present() {
        return;
    }
    let protocol = by_name("dce-rpc").unwrap();
    let flows = harness::flows("lab/healthy-defender.pcap");
    let mut named = Vec::new();
    let mut used = Vec::new();
    for flow in flows.iter().filter(|flow| harness::proof(protocol, &flow.seen()).is_some()) {
        let mut heard = Vec::new();
        let seen = flow.seen();
        for message in seen.first.messages().chain(seen.second.messages()) {
            protocol.hear(flow.carrier, message, &mut heard);
        }
        named.extend(heard.iter().filter_map(|statement| match statement {
            Statement::RpcEndpoint { address, port, .. } => Some((address.unwrap().to_string(), Some(*port))),
            _ => None,
        }));
        if heard.is_empty() {
            used.push(flow.b.clone());
        }
    }
    assert!(!used.is_empty());
    assert_eq!(named, used);
}
