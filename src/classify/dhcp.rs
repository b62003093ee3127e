//! DHCP for IPv4, by its magic cookie and message type.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::bytes::text;
use super::look;
use crate::model::Facts;

/// The protocol.
pub struct Dhcp;

static ABOUT: About = About {
    name: "dhcp",
    title: "Dynamic Host Configuration Protocol",
    spec: "RFC 2131, RFC 2132 (options)",
    usual: &["udp/67", "udp/68"],
    answers: true,
    facts: &[
        (
            "dhcp.type",
            "each message type: discover, offer, request, decline, ack, nak, release, inform, or bootp where it has none",
        ),
        ("dhcp.hostname", "each host name that a client gives (option 12)"),
        ("dhcp.vendor", "each vendor class (option 60)"),
    ],
};

impl Protocol for Dhcp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => matches!(byte, 1 | 2),
            2 => byte <= LONGEST_ADDRESS,
            3 => byte <= MOST_HOPS,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Udp {
            return Probe::No;
        }
        let both = match look::both(seen, |side| look::datagrams(side, message)) {
            Ok(both) => both,
            Err(probe) => return probe,
        };
        let mut facts = Facts::new();
        let mut client = None;
        for (end, messages) in [End::First, End::Second].into_iter().zip(&both) {
            for message in messages.iter().flatten() {
                facts.add("dhcp.type", message.kind);
                if let Some(name) = message.hostname.and_then(words) {
                    facts.add("dhcp.hostname", name);
                }
                if let Some(vendor) = message.vendor.and_then(words) {
                    facts.add("dhcp.vendor", vendor);
                }
                client = client.or(Some(if message.asks { end } else { end.other() }));
            }
        }
        let open = !(seen.first.complete && seen.second.complete);
        Probe::Proven(Proof { client, facts, open, read: look::read(seen, &both), ..Proof::default() })
    }
}

#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    asks: bool,
    kind: &'static str,
    hostname: Option<&'a [u8]>,
    vendor: Option<&'a [u8]>,
}

/// An option's text: some senders end it with NULs, which receivers trim (RFC 2132 section 2).
fn words(option: &[u8]) -> Option<String> {
    let last = option.iter().rposition(|&byte| byte != 0)?;
    option.get(..=last).map(text)
}

/// The longest hardware address that the header has room for (RFC 2131 figure 1).
const LONGEST_ADDRESS: u8 = 16;
/// More relays than these are not believed (RFC 1542 section 4.1.1 has 16 as the most).
const MOST_HOPS: u8 = 32;

/// RFC 2131 section 2 and figure 1; the cookie of RFC 1497.
fn message(bytes: &[u8]) -> Option<Message<'_>> {
    const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
    /// From the transaction id to the cookie.
    const MIDDLE: usize = 232;
    let mut reader = Reader::new(bytes);
    let (operation, _hardware, length, hops) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
    reader.skip(MIDDLE)?;
    if !matches!(operation, 1 | 2)
        || length > LONGEST_ADDRESS
        || hops > MOST_HOPS
        || *reader.array::<4>()? != COOKIE
    {
        return None;
    }
    let mut message = Message { asks: operation == 1, kind: "bootp", hostname: None, vendor: None };
    // Options (RFC 2132 section 2): pad 0, end 255, else code, length, value.
    while let Some(code) = reader.u8() {
        if code == 0 {
            continue;
        }
        if code == 255 {
            break;
        }
        let Some(value) = reader.u8().and_then(|length| reader.take(usize::from(length))) else { break };
        match (code, value) {
            (53, [kind]) => {
                message.kind = match kind {
                    1 => "discover",
                    2 => "offer",
                    3 => "request",
                    4 => "decline",
                    5 => "ack",
                    6 => "nak",
                    7 => "release",
                    8 => "inform",
                    _ => "other",
                }
            }
            (12, name) => message.hostname = Some(name),
            (60, vendor) => message.vendor = Some(vendor),
            _ => {}
        }
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_messages;

    #[test]
    fn the_nuls_behind_a_name_are_none_of_it() {
        assert_eq!(words(b"PUMP-7\0\0").as_deref(), Some("PUMP-7"));
        assert_eq!(words(b"\0"), None);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Dhcp, 0, 0);
        harness::check_steps(&Dhcp);
    }

    #[test]
    fn a_cookie_in_its_place() {
        let discover = hex(&format!("01 01 06 00 {} 63825363 35 01 01 0c 03 706c63 ff", "00".repeat(232)));
        let Probe::Proven(proof) = probe_messages(&Dhcp, Carrier::Udp, &[&discover]) else {
            panic!("not proven")
        };
        assert_eq!(
            (proof.facts.get("dhcp.type"), proof.facts.get("dhcp.hostname")),
            (Some("discover"), Some("plc"))
        );
        let mut other = discover.clone();
        other[236] = 0;
        assert!(!matches!(probe_messages(&Dhcp, Carrier::Udp, &[&other]), Probe::Proven(_)));
        assert!(!matches!(probe_messages(&Dhcp, Carrier::Udp, &[&discover[..239]]), Probe::Proven(_)));
    }
}
