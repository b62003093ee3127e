//! PROFINET IO context management: connect, read, write, control and release, over connectionless DCE/RPC.
//!
//! IEC 61158-6-10 (type 10), 4.10: the interfaces and objects that PROFINET IO uses of DCE/RPC. A device may answer from
//! another port than the one that was asked, so answers alone are a flow and proof.

use compact_str::CompactString;
use compact_str::ToCompactString;

use super::About;
use super::Carrier;
use super::Deed;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::dce_rpc;
use super::dce_rpc::Pdu;
use super::framed::Cut;
use super::framed::Walk;
use super::framed::alone;
use super::framed::probe;
use super::rpc_interface::ENDPOINT_MAPPER;

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
        ("profinet.access", "what the operations do to records of the device: read, write"),
    ],
};

/// Who is called, where the datagram is PROFINET's.
pub(super) fn interface_name(pdu: &Pdu<'_>) -> Option<&'static str> {
    let (interface, _) = pdu.called?;
    if interface.number() == ENDPOINT_MAPPER {
        let about_profinet = pdu.object.is_some_and(dce_rpc::is_profinet) || names_profinet(pdu.body);
        return about_profinet.then_some("endpoint-mapper");
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

/// Whether the body of an endpoint mapper's PDU names a PROFINET interface or object.
fn names_profinet(body: &[u8]) -> bool {
    body.windows(10).any(|bytes| {
        matches!(*bytes, [_, 0x00, 0xa0, 0xde, 0x97, 0x6c, 0xd1, 0x11, 0x82, 0x71])
            || matches!(*bytes, [0xde, 0xa0, 0x00, _, 0x6c, 0x97, 0x11, 0xd1, 0x82, 0x71])
    })
}

fn operation_name(interface: &str, operation: u16) -> CompactString {
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
        (_, other) => return other.to_compact_string(),
    }
    .into()
}

/// What an operation does to the records of a device.
fn access(interface: &str, pdu: &Pdu<'_>) -> Option<&'static str> {
    match (interface, pdu.called?.1) {
        ("endpoint-mapper", _) => None,
        (_, 2 | 5) => Some("read"),
        (_, 3) => Some("write"),
        _ => None,
    }
}

/// A datagram and who is called; `None` for the endpoint mapper where nothing names PROFINET, which its answer may yet do. Where the body
/// is cut, the header has to name it.
fn cut(bytes: &[u8]) -> Cut<(Pdu<'_>, Option<&'static str>)> {
    let Some((pdu, whole)) = dce_rpc::connectionless(bytes) else { return Cut::Wrong };
    let name = interface_name(&pdu);
    match (whole, name.is_some(), dce_rpc::is_mapping(&pdu)) {
        (true, true, _) | (true, _, true) => Cut::Whole((pdu, name), bytes.len()),
        (false, true, _) => Cut::Head((pdu, name)),
        _ => Cut::Wrong,
    }
}

impl Protocol for ProfinetCm {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        dce_rpc::DceRpc.may_begin(Carrier::Udp, at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Udp {
            return Probe::No;
        }
        let named = |walks: &[Walk<(Pdu<'_>, Option<&'static str>)>; 2]| {
            walks.iter().any(|walk| walk.messages().any(|(_, name)| name.is_some()))
        };
        probe(seen, cut, named, |walks| {
            let mut facts = seen.facts();
            for (pdu, name) in walks.iter().flat_map(Walk::messages) {
                let name = name.unwrap_or("endpoint-mapper");
                facts.add("profinet.interface", name);
                if let Some((_, operation)) = pdu.called {
                    facts.add("profinet.operation", operation_name(name, operation));
                }
                if let Some(access) = access(name, pdu) {
                    facts.add("profinet.access", access);
                }
            }
            let asks = |walk: &Walk<(Pdu<'_>, _)>| walk.messages().find_map(|(pdu, _)| pdu.asks());
            Proof {
                layers: vec!["dce-rpc", ABOUT.name],
                client: dce_rpc::client(asks(&walks[0]), asks(&walks[1])),
                facts,
                ..Proof::default()
            }
        })
    }

    fn gist(&self, _: Carrier, payload: &[u8]) -> Option<u64> {
        let (pdu, name) = alone(payload, cut)?;
        // No two interfaces have names of one length, but for two of which the first letter differs.
        let name = name.unwrap_or("endpoint-mapper").as_bytes();
        let who = (name.len() as u64) << 8 | name.first().map_or(0, |&first| u64::from(first));
        let (_, operation) = pdu.called?;
        let asks = pdu.asks().map_or(0, |asks| 1 + u64::from(asks));
        Some(who << 24 | u64::from(operation) << 8 | asks)
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        if let Cut::Whole((pdu, Some(name)), _) = cut(payload) {
            Deed::of(access(name, &pdu), "profinet.operation", None).into_iter().for_each(tell);
        }
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
    fn an_endpoint_mapper_that_names_it_is_its_own() {
        let lookup = "04022000 100000 00 00000000000000000000000000000000 0883afe11f5dc91191a408002b14a0fa \
            00a9fd358a3512128004001c060b26ed 00000000 03000000 00000000 0200 ffff ffff 1400 0000 00 00";
        let named = format!("{lookup} 0d 0100a0de976cd111827100a02442df7d 010000");
        assert_eq!(proof(&named).facts.get("profinet.operation"), Some("lookup"));
        let other = format!("{lookup} 0d 0100a0de976cd111827200a02442df7d 010000");
        assert_eq!(probe_both(&ProfinetCm, Carrier::Udp, &[&hex(&other)], &[]), Probe::NeedMore);
        assert!(matches!(probe_both(&dce_rpc::DceRpc, Carrier::Udp, &[&hex(&other)], &[]), Probe::Proven(_)));
    }

    #[test]
    fn other_interfaces_and_lengths_are_not_it() {
        for bytes in [CONNECT.replace("dea00001", "dea00009"), CONNECT.replace("0004 0000", "0005 0000")] {
            assert!(probe_both(&ProfinetCm, Carrier::Udp, &[&hex(&bytes)], &[]).proof().is_none());
        }
    }
}
