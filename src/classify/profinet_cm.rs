//! PROFINET IO context management: connect, read, write, control and release, over connectionless DCE/RPC.
//!
//! IEC 61158-6-10 (type 10), 4.10: the interfaces and objects that PROFINET IO uses of DCE/RPC. A device may answer from
//! another port than the one that was asked, so answers alone are a flow and proof.

use super::About;
use super::Carrier;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::dce_rpc;
use super::dce_rpc::Pdu;
use super::framed::Cut;
use super::framed::Walk;
use super::framed::settle;
use super::framed::walk;
use crate::model::Facts;

/// Recognises PROFINET IO context management.
pub struct ProfinetCm;

static ABOUT: About = About {
    name: "profinet-cm",
    title: "PROFINET IO context management",
    spec: "IEC 61158-6-10, section 4.10; C706 section 12.5",
    usual: &["udp/34964"],
    answers: true,
    facts: &[
        (
            "profinet.interface",
            "who is called: device, controller, supervisor, parameter-server, endpoint-mapper",
        ),
        (
            "profinet.operation",
            "what is asked: connect, release, read, write, control, read-implicit, lookup",
        ),
    ],
};

/// The endpoint mapper (C706 appendix O), asked for PROFINET objects.
const ENDPOINT_MAPPER: u128 = 0xe1af8308_5d1f_11c9_91a4_08002b14a0fa;

/// Who is called, where the datagram is PROFINET's.
fn interface_name(pdu: &Pdu<'_>) -> Option<&'static str> {
    let (interface, _) = pdu.called?;
    if interface.number() == ENDPOINT_MAPPER {
        return pdu.object.is_some_and(dce_rpc::is_profinet).then_some("endpoint-mapper");
    }
    if !dce_rpc::is_profinet(interface) {
        return None;
    }
    Some(match interface.number() >> 96 & 0xf {
        1 => "device",
        2 => "controller",
        3 => "supervisor",
        4 => "parameter-server",
        _ => return None,
    })
}

fn operation_name(interface: &str, operation: u16) -> String {
    match (interface, operation) {
        // Operation numbers of IEC 61158-6-10, 4.10.3.2.
        ("endpoint-mapper", 2) => "lookup",
        ("endpoint-mapper", 4) => "lookup-free",
        (_, 0) => "connect",
        (_, 1) => "release",
        (_, 2) => "read",
        (_, 3) => "write",
        (_, 4) => "control",
        (_, 5) => "read-implicit",
        (_, other) => return other.to_string(),
    }
    .into()
}

fn cut(bytes: &[u8]) -> Cut<Pdu<'_>> {
    match dce_rpc::connectionless(bytes) {
        Some(pdu) if interface_name(&pdu).is_some() => Cut::Whole(pdu, bytes.len()),
        _ => Cut::Wrong,
    }
}

impl Protocol for ProfinetCm {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Udp {
            return Probe::No;
        }
        let walks = [walk(seen.carrier, &seen.first, cut), walk(seen.carrier, &seen.second, cut)];
        let prospects = [walks[0].prospect, walks[1].prospect];
        let proof = walks.iter().any(|walk| !walk.found.is_empty()).then(|| {
            let mut facts = Facts::new();
            for pdu in walks.iter().flat_map(Walk::messages) {
                if let (Some(interface), Some((_, operation))) = (interface_name(pdu), pdu.called) {
                    facts.add("profinet.interface", interface);
                    facts.add("profinet.operation", operation_name(interface, operation));
                }
            }
            Proof {
                layers: vec!["dce-rpc", ABOUT.name],
                client: dce_rpc::client(&walks),
                facts,
                open: prospects.iter().any(|side| !side.spent),
            }
        });
        settle(seen, prospects, proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::End;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;

    /// A connect request (big-endian) and a response (little-endian) with four bytes of body each.
    const CONNECT: &str = "04002000 000000 00 dea000006c9711d1827100010101014d dea000016c9711d1827100a02442df7d \
        35fda900358a12128004001c060b26ed 00000000 00000001 00000000 0000 ffff ffff 0004 0000 00 00 00000000";
    const ANSWER: &str = "04020a00 100000 00 0000a0de976cd111827100010101014d 0100a0de976cd111827100a02442df7d \
        00a9fd358a3512128004001c060b26ed 00000000 01000000 00000000 0000 ffff ffff 0400 0000 00 00 00000000";

    fn proof(bytes: &str) -> Proof {
        match probe_both(&ProfinetCm, Carrier::Udp, &[&hex(bytes)], &[]) {
            Probe::Proven(proof) => proof,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_alone_and_an_answer_alone_prove_it() {
        let asked = proof(CONNECT);
        assert_eq!(
            (asked.client, asked.facts.get("profinet.operation")),
            (Some(End::First), Some("connect"))
        );
        assert_eq!(asked.layers, ["dce-rpc", "profinet-cm"]);
        assert_eq!(proof(ANSWER).client, Some(End::Second));
    }

    #[test]
    fn other_interfaces_and_lengths_are_not_it() {
        for bytes in [CONNECT.replace("dea00001", "dea00009"), CONNECT.replace("0004 0000", "0003 0000")] {
            assert_eq!(probe_both(&ProfinetCm, Carrier::Udp, &[&hex(&bytes)], &[]), Probe::No);
        }
    }
}
