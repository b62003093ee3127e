//! DHCP for IPv6, by options that fill the datagram and identify client or server; and the addresses that it hands out.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::time::Duration;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::look;
use crate::model::MacAddr;
use crate::model::Statement;
use crate::model::Term;

/// The protocol.
pub struct Dhcpv6;

static ABOUT: About = About {
    name: "dhcpv6",
    title: "Dynamic Host Configuration Protocol for IPv6",
    spec: "RFC 8415",
    usual: &["udp/546", "udp/547"],
    answers: true,
    facts: &[("dhcpv6.type", "each message type, in the words of RFC 8415 section 7.3")],
};

impl Protocol for Dhcpv6 {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        at != 0 || matches!(byte, 1..=13)
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
            for (name, asks) in messages.iter().flatten() {
                facts.add("dhcpv6.type", *name);
                client = client.or(Some(if *asks { end } else { end.other() }));
            }
        }
        let open = !(seen.first.complete && seen.second.complete);
        Probe::Proven(Proof { client, facts, open, read: look::read(seen, &both), ..Proof::default() })
    }

    fn listens(&self) -> bool {
        true
    }

    fn hear(&self, _: Carrier, message: &[u8], heard: &mut Vec<Statement>) {
        // Messages of an unknown shape hand nothing out.
        let _ = self::message(message).and_then(|_| terms(message, heard));
    }
}

/// The addresses that a reply hands out, or a release hands back (RFC 8415 sections 18.2.10 and 18.2.7), inside of what relays put around it.
fn terms(mut bytes: &[u8], heard: &mut Vec<Statement>) -> Option<()> {
    /// Relays between a client and its server (RFC 8415 section 7.6: no more than eight hops).
    const MOST_RELAYS: usize = 8;
    for _ in 0..=MOST_RELAYS {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8()?;
        reader.skip(if matches!(kind, 12 | 13) { 33 } else { 3 })?;
        let (mut mac, mut inside) = (None, None);
        let mut given: Vec<&[u8]> = Vec::new();
        while let (Some(code), Some(length)) = (reader.be16(), reader.be16()) {
            let value = reader.take(usize::from(length))?;
            match code {
                1 => mac = hardware(value),
                // Identity association: its id and two timers before the addresses.
                3 => given.extend(value.get(12..)),
                9 => inside = Some(value),
                _ => {}
            }
        }
        match (kind, inside) {
            (12 | 13, Some(message)) => bytes = message,
            (7 | 8, _) => {
                let mac = mac?;
                for options in given {
                    addresses(options, mac, kind == 8, heard);
                }
                return Some(());
            }
            _ => return None,
        }
    }
    None
}

/// The layer-2 address in a client's identifier (section 11.2 and 11.4): of one of its interfaces, most often its only one.
fn hardware(duid: &[u8]) -> Option<MacAddr> {
    let address = match duid {
        // By time, or by the address alone; hardware type 1 is Ethernet.
        [0, 1, 0, 1, _, _, _, _, address @ ..] | [0, 3, 0, 1, address @ ..] => address,
        _ => return None,
    };
    <[u8; 6]>::try_from(address).ok().map(MacAddr)
}

/// The addresses of an identity association (section 21.6): address, preferred and valid lifetime.
fn addresses(options: &[u8], mac: MacAddr, back: bool, heard: &mut Vec<Statement>) {
    let mut reader = Reader::new(options);
    while let (Some(code), Some(length)) = (reader.be16(), reader.be16()) {
        let Some(value) = reader.take(usize::from(length)) else { return };
        let mut inside = Reader::new(value);
        if code == 5
            && let Some(address) = inside.array::<16>()
            && inside.skip(4).is_some()
            && let Some(valid) = inside.array::<4>()
        {
            let address = IpAddr::V6(Ipv6Addr::from(*address));
            let valid = if back { 0 } else { u32::from_be_bytes(*valid) };
            heard.push(Statement::Lease(Term { address, mac, lasts: Duration::from_secs(valid.into()) }));
        }
    }
}

/// Message types that carry a transaction id, and relay's own (RFC 8415 section 7.3): name, and whether the client's side sends it.
fn message(bytes: &[u8]) -> Option<(&'static str, bool)> {
    let mut reader = Reader::new(bytes);
    let (name, asks) = match reader.u8()? {
        1 => ("solicit", true),
        2 => ("advertise", false),
        3 => ("request", true),
        4 => ("confirm", true),
        5 => ("renew", true),
        6 => ("rebind", true),
        7 => ("reply", false),
        8 => ("release", true),
        9 => ("decline", true),
        10 => ("reconfigure", false),
        11 => ("information-request", true),
        12 => ("relay-forward", true),
        13 => ("relay-reply", false),
        _ => return None,
    };
    let relayed = matches!(name, "relay-forward" | "relay-reply");
    if relayed {
        // Hop count, link and peer address (section 9).
        let hops = reader.u8()?;
        reader.skip(32)?;
        if hops > 32 {
            return None;
        }
    } else {
        reader.skip(3)?;
    }
    let mut identified = false;
    let mut options = 0_usize;
    while !reader.is_empty() {
        let (code, length) = (reader.be16()?, reader.be16()?);
        let value = reader.take(usize::from(length))?;
        // Codes to 150 or so are assigned (IANA), a few higher.
        if code == 0 || code > 160 {
            return None;
        }
        identified |= match code {
            // Client and server id: a DUID of type 1 to 4 (section 11).
            1 | 2 => matches!(value, [0, 1..=4, _, ..]),
            // Relay message: a message inside.
            9 => relayed && value.first().is_some_and(|kind| (1..=13).contains(kind)),
            _ => false,
        };
        options += 1;
    }
    // An information request may leave its client id out: elapsed time and option request are then its options.
    let bare = name == "information-request" && options >= 2 && bytes.len() >= 4 + 6 + 6;
    (identified || (bare && has_elapsed(bytes))).then_some((name, asks))
}

/// Whether the first or second option is elapsed time (section 21.9) of two bytes.
fn has_elapsed(bytes: &[u8]) -> bool {
    bytes.windows(4).take(24).any(|window| window == [0, 8, 0, 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Dhcpv6, 0, 0);
        harness::check_steps(&Dhcpv6);
    }

    #[test]
    fn options_fill_the_datagram() {
        let solicit = "01 aabbcc 0001 0006 0003 0001 0203 0008 0002 0000";
        let Probe::Proven(proof) = probe_messages(&Dhcpv6, Carrier::Udp, &[&hex(solicit)]) else {
            panic!("not proven")
        };
        assert_eq!((proof.client, proof.facts.get("dhcpv6.type")), (Some(End::First), Some("solicit")));
        for stranger in
            ["01 aabbcc 0001 0006 0003 0001 0203 0008 0003 0000", "01 aabbcc 0008 0002 0000", "01 aabbcc"]
        {
            assert!(
                !matches!(probe_messages(&Dhcpv6, Carrier::Udp, &[&hex(stranger)]), Probe::Proven(_)),
                "{stranger}"
            );
        }
    }

    #[test]
    fn a_reply_hands_an_address_out() {
        // Identifier by hardware address; an association of id and timers with one address for an hour; around it what a relay adds.
        let reply = |kind: &str| {
            format!(
                "{kind} 010203 0001 000a 0003 0001 02000000000a 0003 0028 00000001 00000000 00000000 0005 0018 fd000000000000000000000000000010 00000e10 00000e10"
            )
        };
        let told = |message: &str| {
            let mut heard = Vec::new();
            Dhcpv6.hear(Carrier::Udp, &hex(message), &mut heard);
            heard
        };
        let term = |seconds| {
            let address = "fd00::10".parse().unwrap();
            vec![Statement::Lease(Term {
                address,
                mac: MacAddr([2, 0, 0, 0, 0, 10]),
                lasts: Duration::from_secs(seconds),
            })]
        };
        assert_eq!(told(&reply("07")), term(3600));
        assert_eq!(told(&reply("08")), term(0));
        assert_eq!(told(&reply("02")), [], "an advertisement");
        let inner = reply("07").replace(' ', "");
        let relayed = format!("0d 00 {} 0009 {:04x} {inner}", "00".repeat(32), inner.len() / 2);
        assert_eq!(told(&relayed), term(3600));
    }
}
