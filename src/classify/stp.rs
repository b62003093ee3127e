//! Spanning tree: bridge protocol data units of STP, RSTP, MSTP and Cisco's per-VLAN trees.

use crate::model::EtherKind;
use crate::model::MacAddr;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;

/// Spanning tree.
pub struct Stp;

static ABOUT: About = About {
    name: "stp",
    title: "Spanning tree (BPDU)",
    spec: "IEEE 802.1D-2004 clause 9, IEEE 802.1Q-2018 clause 14",
    usual: &["llc/0x42"],
    answers: false,
    facts: &[
        ("stp.version", "stp, rstp, mstp or spt"),
        ("stp.root", "root bridge, priority/MAC"),
        ("stp.bridge", "sending bridge, priority/MAC"),
    ],
};

impl Protocol for Stp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Ethernet(EtherKind::Llc(BRIDGE_SAP) | EtherKind::Snap(CISCO, PVST)) => {
                weigh::probe(seen, step, tell)
            }
            _ => Probe::No,
        }
    }
}

/// LLC address of the bridge protocol (802.1D table 7-9).
const BRIDGE_SAP: u8 = 0x42;
/// Cisco's SNAP protocol for per-VLAN trees (PVST+, Rapid PVST+).
const CISCO: [u8; 3] = [0x00, 0x00, 0x0c];
const PVST: u16 = 0x010b;
/// BPDU types (802.1D 9.3).
const CONFIGURATION: u8 = 0x00;
const RAPID: u8 = 0x02;
const TOPOLOGY_CHANGE: u8 = 0x80;
/// Length of a configuration BPDU (9.3.1); a rapid one has one byte more.
const CONFIGURATION_LENGTH: usize = 35;

/// Protocol identifier 0, version, type.
fn step(frame: &[u8]) -> Step {
    let right = match *frame {
        [0, 0, 0..=4, CONFIGURATION, ..] => frame.len() >= CONFIGURATION_LENGTH,
        [0, 0, 2..=4, RAPID, ..] => frame.len() > CONFIGURATION_LENGTH,
        [0, 0, 0..=4, TOPOLOGY_CHANGE, ..] => true,
        _ => false,
    };
    if right { Step::Whole(frame.len(), PROOF) } else { Step::Wrong }
}

fn tell(_: End, frame: &[u8], proof: &mut Proof) {
    let mut reader = Reader::new(frame);
    let Some(&[_, _, version, kind]) = reader.array::<4>() else { return };
    let name = match version {
        0 | 1 => "stp",
        2 => "rstp",
        3 => "mstp",
        _ => "spt",
    };
    proof.facts.add("stp.version", name);
    if kind == TOPOLOGY_CHANGE {
        return;
    }
    // Flags, root, path cost, bridge (9.3.1).
    let root = reader.skip(1).and_then(|()| bridge(&mut reader));
    let sender = reader.skip(4).and_then(|()| bridge(&mut reader));
    for (key, bridge) in [("stp.root", root), ("stp.bridge", sender)] {
        if let Some(bridge) = bridge {
            proof.facts.add(key, bridge);
        }
    }
}

/// A bridge identifier: priority, then MAC address (9.2.5).
fn bridge(reader: &mut Reader<'_>) -> Option<String> {
    let priority = reader.be16()?;
    Some(format!("{priority}/{}", MacAddr(*reader.array()?)))
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    #[test]
    fn a_configuration_names_root_and_bridge() {
        let mut frame =
            vec![0, 0, 2, 2, 0x3c, 0x80, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0, 4, 0x90, 1, 0, 1, 2, 3, 4, 6];
        frame.resize(36, 0);
        for kind in [EtherKind::Llc(BRIDGE_SAP), EtherKind::Snap(CISCO, PVST)] {
            let seen = Seen {
                carrier: Carrier::Ethernet(kind),
                first: Side::of(&frame, &[36]),
                second: Side::default(),
                known: None,
            };
            let Probe::Proven(proof) = Stp.probe(&seen) else { panic!() };
            assert_eq!(proof.facts.get("stp.version"), Some("rstp"));
            assert_eq!(proof.facts.get("stp.root"), Some("32768/00:01:02:03:04:05"));
            assert_eq!(proof.facts.get("stp.bridge"), Some("36865/00:01:02:03:04:06"));
        }
    }

    #[test]
    fn a_short_configuration_is_wrong() {
        assert_eq!(step(&[0, 0, 0, 0, 1, 2]), Step::Wrong);
        assert_eq!(step(&[0, 1, 0, 0x80]), Step::Wrong);
        assert_eq!(step(&[0, 0, 0, 0x80]), Step::Whole(4, PROOF));
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Stp, 0, 0);
        harness::check_steps(&Stp);
    }
}
