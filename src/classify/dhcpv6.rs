//! DHCP for IPv6, by options that fill the datagram and identify client or server.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::look;
use crate::model::Facts;

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
        let mut facts = Facts::new();
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
}
