//! DCE/RPC: connection-oriented over TCP (version 5) and connectionless over UDP (version 4), in both byte orders.
//!
//! The Open Group C706 (DCE 1.1: RPC), chapter 12 for the PDUs, appendices L and O for towers and the endpoint mapper;
//! MS-RPCE and MS-DCOM for what Windows adds.

use std::net::IpAddr;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::framed::Cut;
use super::framed::Walk;
use super::framed::conclude;
use super::framed::walk;
use super::profinet_cm;
use super::rpc_endpoint;
use super::rpc_interface::ENDPOINT_MAPPER;
use super::rpc_interface::Uuid;
use super::rpc_interface::interface_name;
use crate::model::Facts;
use crate::model::Statement;

/// Recognises DCE/RPC, except PROFINET's use of it.
pub struct DceRpc;

static ABOUT: About = About {
    name: "dce-rpc",
    title: "DCE/RPC",
    spec: "The Open Group C706 chapter 12; MS-RPCE",
    usual: &["tcp/135", "udp/135"],
    answers: true,
    facts: &[
        ("dcerpc.interface", "interface bound or called: by name where known, else its UUID"),
        ("dcerpc.ptype", "kinds of PDU seen: bind, request, response, fault, ..."),
    ],
};

/// Version 5 header (12.6.3.1): version, minor version, type, flags, data representation, lengths, call.
const CO_HEADER: usize = 16;
/// Version 4 header (12.5.1).
const CL_HEADER: usize = 80;
/// The longest fragment taken for one. Windows sends 5,840 bytes at most, others what two bytes can say.
const LONGEST_FRAGMENT: usize = 0x8000;
/// PDU types (12.5.2, 12.6.4).
const REQUEST: u8 = 0;
const PING: u8 = 1;
const RESPONSE: u8 = 2;
const ACK: u8 = 7;
const CL_CANCEL: u8 = 8;
const FACK: u8 = 9;
const CANCEL_ACK: u8 = 10;
const BIND: u8 = 11;
const BIND_ACK: u8 = 12;
const BIND_NAK: u8 = 13;
const ALTER_CONTEXT: u8 = 14;
const ALTER_CONTEXT_RESPONSE: u8 = 15;
const AUTH3: u8 = 16;
const SHUTDOWN: u8 = 17;
const CO_CANCEL: u8 = 18;
const ORPHANED: u8 = 19;
/// What a server of RPC over HTTP version 1 says first (MS-RPCH 2.1.1).
const HTTP_BANNER: &[u8] = b"ncacn_http/1.0";
/// The most interfaces read from one bind.
const MOST_CONTEXTS: u8 = 8;

/// One PDU, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pdu<'a> {
    /// PDU type.
    pub(super) kind: u8,
    /// Whether integers are little-endian.
    pub(super) little: bool,
    /// After the common header (version 5) or the whole header (version 4), without an authentication trailer.
    pub(super) body: &'a [u8],
    /// Interface and operation; version 4 alone has them in every header.
    pub(super) called: Option<(Uuid, u16)>,
    /// Object; version 4 alone.
    pub(super) object: Option<Uuid>,
    /// Whether the message ends with the PDU: some PROFINET devices send more than their header says.
    pub(super) exact: bool,
}

impl Pdu<'_> {
    /// Whether the client sends it, where only one end does.
    pub(super) fn asks(&self) -> Option<bool> {
        match self.kind {
            REQUEST | PING | ACK | CL_CANCEL | BIND | ALTER_CONTEXT | AUTH3 | CO_CANCEL | ORPHANED => {
                Some(true)
            }
            FACK => None,
            _ => Some(false),
        }
    }

    fn name(&self) -> &'static str {
        match self.kind {
            REQUEST => "request",
            PING => "ping",
            RESPONSE => "response",
            3 => "fault",
            4 => "working",
            5 => "nocall",
            6 => "reject",
            ACK => "ack",
            CL_CANCEL | CO_CANCEL => "cancel",
            FACK => "fack",
            CANCEL_ACK => "cancel-ack",
            BIND => "bind",
            BIND_ACK => "bind-ack",
            BIND_NAK => "bind-nak",
            ALTER_CONTEXT => "alter-context",
            ALTER_CONTEXT_RESPONSE => "alter-context-response",
            AUTH3 => "auth3",
            SHUTDOWN => "shutdown",
            ORPHANED => "orphaned",
            _ => "rts",
        }
    }

    fn tell(&self, facts: &mut Facts) {
        facts.add("dcerpc.ptype", self.name());
        if let Some((interface, _)) = self.called {
            facts.add("dcerpc.interface", interface_name(interface));
        }
        if matches!(self.kind, BIND | ALTER_CONTEXT) {
            let _ =
                contexts(self.body, self.little, |uuid| facts.add("dcerpc.interface", interface_name(uuid)));
        }
    }
}

/// Walks the presentation contexts of a bind (12.6.4.3) and names each abstract syntax; `None` where they do not fit.
fn contexts(body: &[u8], little: bool, mut each: impl FnMut(Uuid)) -> Option<()> {
    let mut reader = Reader::new(body);
    reader.skip(8)?;
    let count = reader.u8()?;
    reader.skip(3)?;
    for _ in 0..Some(count).filter(|count| (1..=64).contains(count))?.min(MOST_CONTEXTS) {
        reader.skip(2)?;
        let transfers = reader.u8()?;
        reader.skip(1)?;
        each(Uuid::read(reader.array()?, little));
        reader.skip(4 + 20 * usize::from(transfers))?;
    }
    Some(())
}

/// The data representation (chapter 14.1): character set, byte order and floating point known, what follows reserved.
fn byte_order(label: [u8; 3]) -> Option<bool> {
    let [order, float, reserved] = label;
    let fits = order & 0xee == 0 && float <= 3 && reserved == 0;
    fits.then_some(order & 0x10 != 0)
}

fn int16(bytes: [u8; 2], little: bool) -> usize {
    usize::from(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
}

/// The version 5 PDU at the front of a stream.
pub(super) fn connection_oriented(bytes: &[u8]) -> Cut<Pdu<'_>> {
    let (banner, bytes) = match bytes.strip_prefix(HTTP_BANNER) {
        Some(rest) => (HTTP_BANNER.len(), rest),
        None => (0, bytes),
    };
    let Some((header, rest)) = bytes.split_first_chunk::<CO_HEADER>() else {
        let fits = |at: usize, test: fn(u8) -> bool| bytes.get(at).is_none_or(|&byte| test(byte));
        let begun = fits(0, |byte| byte == 5)
            && fits(1, |byte| byte <= 1)
            && fits(2, |byte| matches!(byte, 0 | 2 | 3 | BIND..=20))
            && fits(4, |byte| byte & 0xee == 0)
            && fits(5, |byte| byte <= 3)
            && fits(6, |byte| byte == 0)
            && fits(7, |byte| byte == 0);
        return if begun || HTTP_BANNER.starts_with(bytes) { Cut::Short } else { Cut::Wrong };
    };
    let [5, 0 | 1, kind, _, d0, d1, d2, 0, f0, f1, a0, a1, ..] = *header else { return Cut::Wrong };
    let Some(little) = byte_order([d0, d1, d2]) else { return Cut::Wrong };
    let length = int16([f0, f1], little);
    let auth = int16([a0, a1], little);
    // An authentication value has a trailer head of 8 bytes before it (MS-RPCE 2.2.2.11).
    let trailer = if auth == 0 { 0 } else { auth + 8 };
    if !matches!(kind, 0 | 2 | 3 | BIND..=20) || !(CO_HEADER + trailer..=LONGEST_FRAGMENT).contains(&length) {
        return Cut::Wrong;
    }
    let least = match kind {
        REQUEST | RESPONSE | 3 => 8,
        BIND | ALTER_CONTEXT => 12 + 44,
        BIND_ACK | ALTER_CONTEXT_RESPONSE => 8,
        _ => 0,
    };
    if length < CO_HEADER + least + trailer {
        return Cut::Wrong;
    }
    let Some(body) = rest.get(..length - CO_HEADER).and_then(|rest| rest.get(..length - CO_HEADER - trailer))
    else {
        let data = length - CO_HEADER - trailer;
        return match head_shows(kind, header[3], little, rest, data) {
            true => Cut::Head(Pdu { kind, little, body: rest, called: None, object: None, exact: false }),
            false => Cut::Short,
        };
    };
    if matches!(kind, BIND | ALTER_CONTEXT) && contexts(body, little, |_| ()).is_none() {
        return Cut::Wrong;
    }
    Cut::Whole(Pdu { kind, little, body, called: None, object: None, exact: true }, banner + length)
}

/// Whether what follows the common header of a PDU agrees with it, so that the head of one that is cut shows it: the first and last fragment
/// of a call allocates what it carries (12.6.4.9, 12.6.4.10), and fragment sizes that are agreed on are at least what each end must take (12.6.3.1).
fn head_shows(kind: u8, flags: u8, little: bool, rest: &[u8], data: usize) -> bool {
    const FIRST_AND_LAST: u8 = 3;
    const LEAST_FRAGMENT: usize = 1432;
    /// Context and operation, or context and cancel count, behind the allocation.
    const CALL: usize = 8;
    /// Padding before an authentication value.
    const MOST_PADDING: usize = 15;
    let Some(&[a, b, c, d]) = rest.first_chunk::<4>() else { return false };
    if flags & FIRST_AND_LAST != FIRST_AND_LAST {
        return false;
    }
    match kind {
        REQUEST | RESPONSE => {
            let hint = if little { [a, b, c, d] } else { [d, c, b, a] };
            let hint = u32::from_le_bytes(hint) as usize;
            hint > 0 && data.checked_sub(CALL + hint).is_some_and(|padding| padding <= MOST_PADDING)
        }
        BIND | BIND_ACK | ALTER_CONTEXT | ALTER_CONTEXT_RESPONSE => {
            [[a, b], [c, d]].iter().all(|&size| int16(size, little) >= LEAST_FRAGMENT)
        }
        _ => false,
    }
}

/// A version 4 datagram, and whether its body is all there.
pub(super) fn connectionless(bytes: &[u8]) -> Option<(Pdu<'_>, bool)> {
    let mut reader = Reader::new(bytes);
    let &[4, kind, _, _, d0, d1, d2, _] = reader.array::<8>()? else { return None };
    let little = byte_order([d0, d1, d2])?;
    if kind > CANCEL_ACK {
        return None;
    }
    let object = Uuid::read(reader.array()?, little);
    let interface = Uuid::read(reader.array()?, little);
    // Activity, server boot time, interface version, sequence number.
    reader.skip(16 + 4 + 4 + 4)?;
    let operation = int16(*reader.array()?, little);
    reader.skip(4)?;
    let length = int16(*reader.array()?, little);
    reader.skip(2)?;
    let authentication = reader.u8()?;
    reader.skip(1)?;
    debug_assert_eq!(reader.position(), CL_HEADER);
    let body = reader.rest().get(..length);
    let exact = body.is_some_and(|body| authentication != 0 || body.len() == reader.left());
    let called = u16::try_from(operation).ok().map(|operation| (interface, operation));
    let pdu = Pdu { kind, little, body: body.unwrap_or(reader.rest()), called, object: Some(object), exact };
    Some((pdu, body.is_some()))
}

/// Whether a UUID is one of PROFINET's: interfaces DEA00001 to DEA00004, objects DEA00000 (IEC 61158-6-10, 4.10.3).
pub(super) fn is_profinet(uuid: Uuid) -> bool {
    matches!(uuid.number() >> 96, 0xdea0_0000..=0xdea0_0004)
        && uuid.number() >> 48 & 0xffff_ffff_ffff == 0x6c97_11d1_8271
}

/// Whether a PDU is for or from the endpoint mapper.
pub(super) fn is_mapping(pdu: &Pdu<'_>) -> bool {
    pdu.called.is_some_and(|(interface, _)| interface.number() == ENDPOINT_MAPPER)
}

/// The client, where the first PDU of each end that only one end sends tells whether it asks.
pub(super) fn client(first_asks: Option<bool>, second_asks: Option<bool>) -> Option<End> {
    End::asking(first_asks, second_asks)
}

impl Protocol for DceRpc {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match (carrier, at) {
            (Carrier::Udp, 0) => byte == 4,
            (Carrier::Udp, 1) => byte <= CANCEL_ACK,
            (Carrier::Udp, 4) => byte & 0xee == 0,
            (Carrier::Udp, 5) => byte <= 3,
            (Carrier::Udp, 6) => byte == 0,
            (Carrier::Tcp, 0) => matches!(byte, 5 | b'n'),
            (Carrier::Tcp, 1) => matches!(byte, 0 | 1 | b'c'),
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        let datagram = |bytes| match connectionless(bytes) {
            Some((pdu, true))
                if pdu.exact
                    && pdu.called.is_some_and(|(called, _)| called.is_dce())
                    && profinet_cm::interface_name(&pdu).is_none() =>
            {
                Cut::Whole(pdu, bytes.len())
            }
            _ => Cut::Wrong,
        };
        let walks = match seen.carrier {
            Carrier::Tcp => {
                [&seen.first, &seen.second].map(|side| walk(seen.carrier, side, connection_oriented))
            }
            Carrier::Udp => [&seen.first, &seen.second].map(|side| walk(seen.carrier, side, datagram)),
            Carrier::Ethernet(_) => return Probe::No,
        };
        let over = [walks[0].over, walks[1].over];
        let proved =
            walks.iter().any(|walk| walk.found.iter().any(|found| found.flush) || walk.found.len() >= 2);
        // Over UDP the endpoint mapper may be PROFINET's, which its answer tells: until then, or the end, nothing is said.
        let answered = walks.iter().flat_map(Walk::messages).any(|pdu| pdu.asks() == Some(false));
        let waiting = walks.iter().flat_map(Walk::messages).all(is_mapping) && !answered;
        if waiting && seen.carrier == Carrier::Udp && over != [true; 2] {
            return Probe::unless_over(over);
        }
        let proof = proved.then(|| {
            let mut facts = Facts::new();
            walks.iter().flat_map(Walk::messages).for_each(|pdu| pdu.tell(&mut facts));
            let asks = |walk: &Walk<Pdu<'_>>| walk.messages().find_map(Pdu::asks);
            let client = client(asks(&walks[0]), asks(&walks[1]));
            Proof { client, facts, ..Proof::default() }
        });
        conclude(proof, over)
    }

    fn listens(&self) -> bool {
        true
    }

    fn hear(&self, carrier: Carrier, message: &[u8], heard: &mut Vec<Statement>) {
        match carrier {
            Carrier::Tcp => {
                let mut rest = message;
                while let Cut::Whole(pdu, length) = connection_oriented(rest) {
                    state(&pdu, heard);
                    rest = rest.get(length..).unwrap_or_default();
                }
                // An answer over several segments names its ports in the first one as a rule.
                if let [5, _, RESPONSE, ..] = *rest
                    && matches!(connection_oriented(rest), Cut::Head(_) | Cut::Short)
                {
                    state_of(rest.get(CO_HEADER..).unwrap_or_default(), heard);
                }
            }
            Carrier::Udp => {
                if let Some((pdu, true)) = connectionless(message) {
                    state(&pdu, heard);
                }
            }
            Carrier::Ethernet(_) => {}
        }
    }
}

/// The endpoints that a response names.
fn state(pdu: &Pdu<'_>, heard: &mut Vec<Statement>) {
    if pdu.kind == RESPONSE {
        state_of(pdu.body, heard);
    }
}

fn state_of(body: &[u8], heard: &mut Vec<Statement>) {
    rpc_endpoint::towers(body, |transport, port, address| {
        say(Statement::RpcEndpoint { address: address.map(IpAddr::V4), transport, port }, heard);
    });
    rpc_endpoint::bindings(body, |port, address| {
        say(Statement::RpcEndpoint { address, transport: crate::model::Transport::Tcp, port }, heard);
    });
}

fn say(statement: Statement, heard: &mut Vec<Statement>) {
    if !heard.contains(&statement) {
        heard.push(statement);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;
    use crate::model::Transport;

    const BIND_EPM: &str = "05000b03 10000000 4800 0000 01000000 b810b810 00000000 01000000 0000 01 00 \
        0883afe11f5dc91191a408002b14a0fa 03000000 045d888aeb1cc9119fe808002b104860 02000000";
    const MAP_ANSWER: &str = "05000203 10000000 9800 0000 02000000 80000000 0000 00 00 \
        0000000000000000000000000000000000000000 01000000 01000000 00000000 01000000 03000000 4b000000 4b000000 \
        0500 1300 0d045d888aeb1cc9119fe808002b104860 0200 0200 0000 1300 0d045d888aeb1cc9119fe808002b104860 0200 0200 0000 \
        0100 0b 0200 0000 0100 07 0200 c200 0100 09 0400 0a140729 00 00000000";

    fn proof(carrier: Carrier, bytes: &str) -> Proof {
        match probe_both(&DceRpc, carrier, &[&hex(bytes)], &[]) {
            Probe::Proven(proof) => proof,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bind_names_its_interface_and_comes_from_the_client() {
        let proof = proof(Carrier::Tcp, BIND_EPM);
        assert_eq!((proof.client, proof.facts.get("dcerpc.interface")), (Some(End::First), Some("epmapper")));
    }

    #[test]
    fn both_byte_orders() {
        let response = "05000203 00000000 0018 0000 00000001 00000000 0000 00 00";
        assert_eq!(proof(Carrier::Tcp, response).client, Some(End::Second));
    }

    #[test]
    fn the_endpoint_mapper_is_heard() {
        let mut heard = Vec::new();
        DceRpc.hear(Carrier::Tcp, &hex(MAP_ANSWER), &mut heard);
        let address = Some("10.20.7.41".parse().unwrap());
        assert_eq!(heard, [Statement::RpcEndpoint { address, transport: Transport::Tcp, port: 49664 }]);
        // A request carries a tower too: the one that is asked for.
        let mut request = hex(MAP_ANSWER);
        request[2] = REQUEST;
        heard.clear();
        DceRpc.hear(Carrier::Tcp, &request, &mut heard);
        assert!(heard.is_empty());
    }

    #[test]
    fn an_answer_cut_by_its_segment_is_heard() {
        let mut heard = Vec::new();
        let mut answer = hex(MAP_ANSWER);
        answer[8..10].copy_from_slice(&2000_u16.to_le_bytes());
        DceRpc.hear(Carrier::Tcp, &answer, &mut heard);
        assert_eq!(heard.len(), 1);
    }

    #[test]
    fn lookalikes_are_not_claimed() {
        let carrier = Carrier::Tcp;
        // Another version, a type of version 4, reserved representation bytes, a bind whose contexts do not fit; SOCKS 5.
        for bytes in [
            BIND_EPM.replacen("0500", "0600", 1),
            BIND_EPM.replacen("05000b", "050006", 1),
            BIND_EPM.replacen("10000000", "10000001", 1),
            BIND_EPM.replacen("4800", "2000", 1),
            "05 01 00 05 01 00 03 0a".to_owned(),
        ] {
            assert!(probe_both(&DceRpc, carrier, &[&hex(&bytes)], &[]).proof().is_none(), "{bytes}");
        }
        assert!(probe_both(&DceRpc, Carrier::Udp, &[&[4; 80]], &[]).proof().is_none());
    }
}
