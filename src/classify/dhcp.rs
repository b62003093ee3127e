//! DHCP for IPv4, by its magic cookie and message type; and the addresses that it hands out.

use compact_str::CompactString;

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::time::Duration;

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
use crate::model::MacAddr;
use crate::model::Statement;
use crate::model::Term;

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
        let mut facts = seen.facts();
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

    fn listens(&self) -> bool {
        true
    }

    fn hear(&self, _: Carrier, message: &[u8], heard: &mut Vec<Statement>) {
        heard.extend(self::message(message).and_then(|message| message.term()).map(Statement::Lease));
    }
}

#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    asks: bool,
    kind: &'static str,
    hostname: Option<&'a [u8]>,
    vendor: Option<&'a [u8]>,
    /// The client's own address (`ciaddr`) and the one that it is given (`yiaddr`).
    addresses: [Ipv4Addr; 2],
    /// The client's layer-2 address, where it is an Ethernet one.
    mac: Option<MacAddr>,
    lasts: Option<Duration>,
}

impl Message<'_> {
    /// The address that it hands out or hands back (RFC 2131 sections 4.3.1 and 4.4.6). An acknowledgement that answers `inform` gives none.
    fn term(&self) -> Option<Term> {
        let [own, given] = self.addresses;
        let (address, lasts) = match self.kind {
            // A server that leaves the time out hands out for good (BOOTP), or as before.
            "ack" => (given, self.lasts.unwrap_or(FOR_GOOD)),
            "release" => (own, Duration::ZERO),
            _ => return None,
        };
        let mac = self.mac.filter(|mac| *mac != MacAddr::default() && !mac.is_group())?;
        (!address.is_unspecified()).then_some(Term { address: IpAddr::V4(address), mac, lasts })
    }
}

/// A lease without end: all ones (RFC 2131 section 3.3).
const FOR_GOOD: Duration = Duration::from_secs(0xffff_ffff);

/// An option's text: some senders end it with NULs, which receivers trim (RFC 2132 section 2).
fn words(option: &[u8]) -> Option<CompactString> {
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
    /// Transaction id, seconds and flags.
    const BEFORE_ADDRESSES: usize = 8;
    /// From the hardware address's padding to the cookie: ten bytes of it, server name and file.
    const BEFORE_COOKIE: usize = 10 + 64 + 128;
    /// Hardware type 1, six bytes long: Ethernet.
    const ETHERNET: (u8, u8) = (1, 6);
    let mut reader = Reader::new(bytes);
    let (operation, hardware, length, hops) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
    reader.skip(BEFORE_ADDRESSES)?;
    let addresses = [*reader.array::<4>()?, *reader.array::<4>()?].map(Ipv4Addr::from);
    // The next server's and the relay's address.
    reader.skip(8)?;
    let mac = MacAddr(*reader.array::<6>()?);
    reader.skip(BEFORE_COOKIE)?;
    if !matches!(operation, 1 | 2)
        || length > LONGEST_ADDRESS
        || hops > MOST_HOPS
        || *reader.array::<4>()? != COOKIE
    {
        return None;
    }
    let mut message = Message {
        asks: operation == 1,
        kind: "bootp",
        hostname: None,
        vendor: None,
        addresses,
        mac: ((hardware, length) == ETHERNET).then_some(mac),
        lasts: None,
    };
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
            (51, [a, b, c, d]) => {
                message.lasts = Some(Duration::from_secs(u32::from_be_bytes([*a, *b, *c, *d]).into()));
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

    #[test]
    fn an_acknowledgement_hands_an_address_out() {
        // Operation, hardware, transaction, ciaddr, yiaddr, siaddr and giaddr, chaddr with its padding, and the rest to the cookie.
        let told = |operation: &str, own: &str, given: &str, options: &str| {
            let message = hex(&format!(
                "{operation} 01 06 00 {} {own} {given} {} 02000000000a {} 63825363 {options} ff",
                "00".repeat(8),
                "00".repeat(8),
                "00".repeat(10 + 64 + 128)
            ));
            let mut heard = Vec::new();
            Dhcp.hear(Carrier::Udp, &message, &mut heard);
            heard
        };
        let term = |address: [u8; 4], seconds| {
            let mac = MacAddr([2, 0, 0, 0, 0, 10]);
            vec![Statement::Lease(Term {
                address: IpAddr::from(address),
                mac,
                lasts: Duration::from_secs(seconds),
            })]
        };
        assert_eq!(told("02", "00000000", "0a00010a", "35 01 05 33 04 00000e10"), term([10, 0, 1, 10], 3600));
        assert_eq!(told("02", "00000000", "0a00010a", "35 01 05"), term([10, 0, 1, 10], 0xffff_ffff));
        assert_eq!(told("01", "0a00010a", "00000000", "35 01 07"), term([10, 0, 1, 10], 0));
        assert_eq!(told("02", "0a00010a", "00000000", "35 01 05 33 04 00000e10"), [], "it answers inform");
        assert_eq!(told("02", "00000000", "0a00010a", "35 01 02 33 04 00000e10"), [], "an offer only");
    }
}
