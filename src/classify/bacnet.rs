//! BACnet: over IPv4 and IPv6 (BVLL) and over 802.2 LLC.
//!
//! ANSI/ASHRAE 135: Annex J (BACnet/IP), Annex U (BACnet/IPv6), clause 6 (network layer), clause 7 (BACnet over LLC).

use compact_str::CompactString;
use compact_str::format_compact;

use super::About;
use super::Carrier;
use super::Deed;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bacnet_apdu::Apdu;
use super::bytes::Reader;
use super::framed::Cut;
use super::framed::Walk;
use super::framed::probe;
use crate::model::EtherKind;
use crate::model::Facts;

/// Recognises BACnet.
pub struct Bacnet;

static ABOUT: About = About {
    name: "bacnet",
    title: "BACnet",
    spec: "ANSI/ASHRAE 135, Annexes J and U, clauses 6, 7, 20 and 21",
    usual: &["udp/47808"],
    answers: true,
    facts: &[
        ("bacnet.type", "kind of message: confirmed-request, unconfirmed-request, complex-ack, network, ..."),
        ("bacnet.service", "service by name: who-is, i-am, read-property, write-property, ..."),
        ("bacnet.access", "what the requests do: read, write, control (restart, switch communication)"),
    ],
};

/// BVLL type for IPv4 (J.2) and IPv6 (U.2).
const BVLL_IPV4: u8 = 0x81;
const BVLL_IPV6: u8 = 0x82;
/// The LLC service access point of BACnet (7.2).
const LLC_SAP: u8 = 0x82;
/// Network layer protocol version (6.2.1).
const NETWORK_VERSION: u8 = 1;

/// What one datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    /// Between BACnet broadcast management devices: its function, and whether it asks.
    Management { name: &'static str, asks: bool },
    /// A network layer message (6.4), its type.
    Network(u8),
    /// Application data.
    Application(Apdu),
}

impl Message {
    /// Whether it asks, answers, or tells neither.
    fn asks(&self) -> Option<bool> {
        match *self {
            Self::Management { asks, .. } => Some(asks),
            Self::Network(_) => None,
            Self::Application(Apdu { kind, service }) => match (kind, service) {
                (0, _) => Some(true),
                (2 | 3 | 5 | 6, _) => Some(false),
                // Who-is and who-has; i-am and i-have answer them or come unasked.
                (1, Some(7 | 8)) => Some(true),
                _ => None,
            },
        }
    }

    fn tell(&self, facts: &mut Facts) {
        match *self {
            Self::Management { name, .. } => {
                facts.add("bacnet.type", "bvll");
                facts.add("bacnet.service", name);
            }
            Self::Network(kind) => {
                facts.add("bacnet.type", "network");
                facts.add("bacnet.service", network_name(kind));
            }
            Self::Application(apdu) => {
                facts.add("bacnet.type", apdu.name());
                if let Some(service) = apdu.service_name() {
                    facts.add("bacnet.service", service);
                }
            }
        }
        if let Some(access) = self.access() {
            facts.add("bacnet.access", access);
        }
    }

    fn access(&self) -> Option<&'static str> {
        match self {
            Self::Management { name: "write-bdt" | "delete-fdt-entry", .. } => Some("write"),
            Self::Management { .. } | Self::Network(_) => None,
            Self::Application(apdu) => apdu.access(),
        }
    }
}

fn network_name(kind: u8) -> CompactString {
    match kind {
        0x00 => "who-is-router-to-network",
        0x01 => "i-am-router-to-network",
        0x02 => "i-could-be-router-to-network",
        0x03 => "reject-message-to-network",
        0x04 => "router-busy-to-network",
        0x05 => "router-available-to-network",
        0x06 => "initialize-routing-table",
        0x07 => "initialize-routing-table-ack",
        0x12 => "what-is-network-number",
        0x13 => "network-number-is",
        other => return format_compact!("0x{other:02x}"),
    }
    .into()
}

/// An NPDU (6.2) to its end: version, control with its reserved bits zero, addresses, then a message.
fn npdu(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != NETWORK_VERSION {
        return None;
    }
    let control = reader.u8()?;
    if control & 0x50 != 0 {
        return None;
    }
    let (has_destination, has_source) = (control & 0x20 != 0, control & 0x08 != 0);
    if has_destination {
        let network = reader.be16()?;
        let length = reader.u8()?;
        if network == 0 || length > 18 {
            return None;
        }
        reader.skip(usize::from(length))?;
    }
    if has_source {
        // A source is one station: neither the global network nor an empty address (6.2.2.1).
        let network = reader.be16()?;
        let length = reader.u8()?;
        if network == 0 || network == 0xffff || length == 0 || length > 18 {
            return None;
        }
        reader.skip(usize::from(length))?;
    }
    if has_destination {
        reader.u8()?;
    }
    if control & 0x80 == 0 {
        return Apdu::of(reader.rest()).map(Message::Application);
    }
    let kind = reader.u8()?;
    let fits = match kind {
        0x00 => matches!(reader.left(), 0 | 2),
        0x01 | 0x04 | 0x05 => reader.left().is_multiple_of(2),
        0x02 | 0x03 => reader.left() == 3,
        0x06 | 0x07 => reader.left() >= 1,
        0x08 => reader.left() == 3,
        0x09 => reader.left() == 2,
        0x12 => reader.left() == 0,
        0x13 => reader.left() == 3,
        0x0a..=0x11 => true,
        // Vendor messages name their vendor.
        0x80.. => reader.left() >= 2,
        _ => false,
    };
    fits.then_some(Message::Network(kind))
}

/// A datagram of BACnet/IP (J.2): type, function, and a length that is the datagram's.
fn bvll_ipv4(bytes: &[u8]) -> Option<Message> {
    let (&[_, function, high, low], body) = bytes.split_first_chunk::<4>()?;
    if usize::from(u16::from_be_bytes([high, low])) != bytes.len() {
        return None;
    }
    let management = |fits: bool, name, asks| fits.then_some(Message::Management { name, asks });
    match function {
        0x00 => {
            let code = u16::from_be_bytes(*body.first_chunk::<2>()?);
            management(body.len() == 2 && (code & 0x0f == 0 && code <= 0x60), "result", false)
        }
        0x01 => management(!body.is_empty() && body.len().is_multiple_of(10), "write-bdt", true),
        0x02 => management(body.is_empty(), "read-bdt", true),
        0x03 => management(body.len().is_multiple_of(10), "read-bdt-ack", false),
        0x04 => npdu(body.get(6..)?),
        0x05 => management(body.len() == 2, "register-foreign-device", true),
        0x06 => management(body.is_empty(), "read-fdt", true),
        0x07 => management(body.len().is_multiple_of(10), "read-fdt-ack", false),
        0x08 => management(body.len() == 6, "delete-fdt-entry", true),
        0x09..=0x0b => npdu(body),
        _ => None,
    }
}

/// A datagram of BACnet/IPv6 (U.2): the same with virtual addresses of three bytes.
fn bvll_ipv6(bytes: &[u8]) -> Option<Message> {
    let (&[_, function, high, low], body) = bytes.split_first_chunk::<4>()?;
    if usize::from(u16::from_be_bytes([high, low])) != bytes.len() {
        return None;
    }
    let management =
        |length: usize, name, asks| (body.len() == length).then_some(Message::Management { name, asks });
    match function {
        0x00 => management(5, "result", false),
        0x01 => npdu(body.get(6..)?),
        0x02 | 0x0c => npdu(body.get(3..)?),
        0x03 => management(6, "address-resolution", true),
        0x04 => management(24, "forwarded-address-resolution", true),
        0x05 => management(6, "address-resolution-ack", false),
        0x06 => management(3, "virtual-address-resolution", true),
        0x07 => management(6, "virtual-address-resolution-ack", false),
        0x08 => npdu(body.get(21..)?),
        0x09 => management(5, "register-foreign-device", true),
        0x0a => management(21, "delete-fdt-entry", true),
        _ => None,
    }
}

/// What one datagram, or one frame, says.
fn message(bytes: &[u8], on_llc: bool) -> Option<Message> {
    match bytes.first() {
        _ if on_llc => npdu(bytes),
        Some(&BVLL_IPV4) => bvll_ipv4(bytes),
        Some(&BVLL_IPV6) => bvll_ipv6(bytes),
        _ => None,
    }
}

impl Protocol for Bacnet {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match (carrier, at) {
            (Carrier::Udp, 0) => matches!(byte, BVLL_IPV4 | BVLL_IPV6),
            (Carrier::Udp, 1) => byte <= 0x0c,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        let on_llc = match seen.carrier {
            Carrier::Udp => false,
            Carrier::Ethernet(EtherKind::Llc(LLC_SAP)) => true,
            _ => return Probe::No,
        };
        let cut = |bytes: &[u8]| {
            message(bytes, on_llc).map_or(Cut::Wrong, |message| Cut::Whole(message, bytes.len()))
        };
        // Without BVLL the frame type alone says BACnet; a whole NPDU with a message in it confirms it.
        let proves = |walks: &[Walk<Message>; 2]| walks.iter().any(|walk| !walk.found.is_empty());
        probe(seen, cut, proves, |walks| {
            let mut facts = seen.facts();
            walks.iter().flat_map(Walk::messages).for_each(|message| message.tell(&mut facts));
            let asks = |walk: &Walk<Message>| walk.messages().find_map(Message::asks);
            Proof {
                client: End::asking(asks(&walks[0]), asks(&walks[1])),
                facts,
                unasked: walks.iter().all(|walk| asks(walk).is_none()),
                ..Proof::default()
            }
        })
    }

    fn gist(&self, carrier: Carrier, payload: &[u8]) -> Option<u64> {
        if carrier != Carrier::Udp {
            return None;
        }
        Some(match message(payload, false)? {
            // Type and function of the BVLL name what is said and who says it.
            Message::Management { .. } => {
                let (kind, function) = (payload.first()?, payload.get(1)?);
                1 << 32 | u64::from(*kind) << 8 | u64::from(*function)
            }
            Message::Network(kind) => 2 << 32 | u64::from(kind),
            Message::Application(Apdu { kind, service }) => {
                3 << 32 | u64::from(kind) << 16 | service.map_or(0, |service| u64::from(service) + 1)
            }
        })
    }

    fn glance(&self, carrier: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        let message = message(payload, carrier != Carrier::Udp);
        let access = message.as_ref().and_then(Message::access);
        Deed::of(access, "bacnet.service", None).into_iter().for_each(tell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;

    fn check(carrier: Carrier, first: &str, second: &str) -> Probe {
        let (first, second) = (hex(first), hex(second));
        let sides =
            [&first, &second].map(|side| if side.is_empty() { vec![] } else { vec![side.as_slice()] });
        probe_both(&Bacnet, carrier, &sides[0], &sides[1])
    }

    fn proof(probe: Probe) -> Proof {
        match probe {
            Probe::Proven(proof) => proof,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_is_and_i_am() {
        let who_is = proof(check(Carrier::Udp, "810b000c 0120ffff00ff 1008", ""));
        assert_eq!((who_is.client, who_is.facts.get("bacnet.service")), (Some(End::First), Some("who-is")));
        let i_am = proof(check(Carrier::Udp, "810b0014 0100 1000 c4020000 7b 2201e0 9103 2100", ""));
        assert_eq!((i_am.client, i_am.facts.get("bacnet.service")), (None, Some("i-am")));
    }

    #[test]
    fn an_acknowledgement_comes_from_the_server() {
        let ack = proof(check(Carrier::Udp, "810a0009 0100 20010f", ""));
        assert_eq!((ack.client, ack.facts.get("bacnet.type")), (Some(End::Second), Some("simple-ack")));
    }

    #[test]
    fn over_llc_and_ipv6() {
        proof(check(Carrier::Ethernet(EtherKind::Llc(0x82)), "0120ffff00ff1008", ""));
        let request = proof(check(Carrier::Udp, "82030 00a 010203 040506", ""));
        assert_eq!(request.facts.get("bacnet.service"), Some("address-resolution"));
    }

    #[test]
    fn lookalikes_are_not_claimed() {
        // A length that is not the datagram's; network version 2; reserved control bits; an unknown PDU; BACnet/SC has no BVLL.
        for bytes in [
            "810b000d 0120ffff00ff 1008",
            "810b000c 0220ffff00ff 1008",
            "810b000c 0160ffff00ff 1008",
            "810b000c 0120ffff00ff f008",
            "8111000c 0120ffff00ff 1008",
            "0681 0120",
        ] {
            assert!(check(Carrier::Udp, bytes, "").proof().is_none(), "{bytes}");
        }
        assert!(check(Carrier::Tcp, "810b000c 0120ffff00ff 1008", "").proof().is_none());
    }
}
