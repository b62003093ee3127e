//! Tests: what has one gist tells the same, so that passing it over loses nothing.

use std::collections::BTreeMap;

use super::Carrier;
use super::End;
use super::Known;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::Side;
use super::harness;
use crate::model::Facts;

/// What a known flow is told by one payload alone, that nothing else is unread of.
fn told(protocol: &dyn Protocol, carrier: Carrier, end: End, payload: &[u8]) -> Option<Proof> {
    let (ends, known) = ([payload.len() as u16], Known::new(Facts::new()));
    let heard = Side { read: 1, before: 1, ..Side::of(payload, &ends) };
    let silent = Side::default();
    let (first, second) = if end == End::First { (heard, silent) } else { (silent, heard) };
    protocol.probe(&Seen { carrier, first, second, known: Some(&known) }).proof()
}

/// Payloads of one gist tell the same, asked about and at a glance, are told whole and close nothing: as recorded, and with a wrong byte.
#[test]
fn payloads_of_one_gist_tell_the_same() {
    if !harness::present() {
        return;
    }
    let mut noise = super::tests::Noise(0x6157_0f17);
    let mut by_gist = BTreeMap::new();
    let mut count = BTreeMap::<&str, usize>::new();
    for (flow, label) in harness::labelled() {
        let Some(protocol) = label.protocol.as_deref().and_then(super::by_name) else { continue };
        for (end, sent) in [End::First, End::Second].into_iter().zip(&flow.sent) {
            let starts = std::iter::once(0).chain(sent.ends.iter().copied());
            for (from, to) in starts.zip(&sent.ends).take(200) {
                let mut payload = sent.bytes[usize::from(from)..usize::from(*to)].to_vec();
                for _ in 0..6 {
                    if let Some(gist) = protocol.gist(flow.carrier, &payload) {
                        let name = protocol.about().name;
                        let place = format!("{name} {gist:x} {} {payload:02x?}", flow.place());
                        assert!(gist >> 62 == 0, "{place}");
                        let proof = told(protocol, flow.carrier, end, &payload);
                        let Some(mut proof) = proof else { panic!("{place} is not told") };
                        let unit = if flow.carrier == Carrier::Tcp { payload.len() } else { 1 };
                        assert_eq!(proof.read[end as usize], 1 + unit, "{place} is not told whole");
                        proof.read = [0; 2];
                        assert!(proof.open, "{place} closes");
                        let mut deeds = Vec::new();
                        protocol.glance(flow.carrier, &payload, &mut |deed| deeds.push(deed));
                        *count.entry(name).or_default() += 1;
                        let key = (name, format!("{:?}", flow.carrier), end as usize, gist);
                        let before = by_gist.entry(key).or_insert_with(|| (proof.clone(), deeds.clone()));
                        assert_eq!(*before, (proof, deeds), "{place}");
                    }
                    let at = noise.below(payload.len().clamp(1, 40));
                    if let Some(byte) = payload.get_mut(at) {
                        *byte = noise.next() as u8;
                    }
                }
            }
        }
    }
    for protocol in
        ["modbus", "s7comm", "s7comm-plus", "dnp3", "bacnet", "enip", "iec104", "opc-ua", "snmp", "ptp"]
    {
        assert!(count.get(protocol).is_some_and(|count| *count > 20), "{protocol}: {count:?}");
    }
}
