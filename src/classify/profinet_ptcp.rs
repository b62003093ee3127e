//! PROFINET PTCP: the precision transparent clock protocol, in Ethernet frames.
//!
//! IEC 61158-6-10, 4.5 (PTCP syntax) and 4.12 (frame identifiers).

use super::About;
use super::Carrier;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::framed::Cut;
use super::framed::Walk;
use super::framed::probe;
use super::profinet_dcp::ETHERTYPE;
use crate::model::EtherKind;

/// Recognises PROFINET PTCP.
pub struct ProfinetPtcp;

static ABOUT: About = About {
    name: "profinet-ptcp",
    title: "PROFINET PTCP",
    spec: "IEC 61158-6-10, section 4.5",
    usual: &[],
    answers: false,
    facts: &[(
        "profinet.ptcp",
        "message: sync, follow-up, delay-request, delay-response, delay-follow-up, announce",
    )],
};

/// Delays, sequence number and padding before the first block.
const HEADER: usize = 20;
/// The block that ends the message, and the one of organisations.
const END_BLOCK: u16 = 0;
const OPTION_BLOCK: u16 = 0x7f;
/// The highest block type in use besides it: subdomain, time, extension, master source, port parameter, delay parameter.
const LAST_BLOCK: u16 = 6;

/// The kind of message by frame identifier.
fn kind(identifier: u16) -> Option<&'static str> {
    Some(match identifier {
        0xff00 | 0xff01 => "announce",
        0x0020 | 0x0021 | 0x0080 | 0x0081 => "sync",
        0xff20 | 0xff21 => "follow-up",
        0xff40 => "delay-request",
        0xff41 | 0xff43 => "delay-response",
        0xff42 => "delay-follow-up",
        _ => return None,
    })
}

fn message(frame: &[u8]) -> Option<&'static str> {
    let mut reader = Reader::new(frame);
    let kind = kind(reader.be16()?)?;
    reader.skip(HEADER)?;
    let mut blocks = 0_u8;
    loop {
        // Seven bits of type, nine of length.
        let head = reader.be16()?;
        let (block, length) = (head >> 9, usize::from(head & 0x01ff));
        match block {
            END_BLOCK => return (length == 0 && blocks > 0).then_some(kind),
            1..=LAST_BLOCK | OPTION_BLOCK if length > 0 => reader.skip(length)?,
            _ => return None,
        }
        blocks = blocks.saturating_add(1);
    }
}

impl Protocol for ProfinetPtcp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Ethernet(EtherKind::Type(ETHERTYPE)) {
            return Probe::No;
        }
        let cut = |bytes| message(bytes).map_or(Cut::Wrong, |message| Cut::Whole(message, bytes.len()));
        let proves = |walks: &[Walk<&'static str>; 2]| walks.iter().any(|walk| !walk.found.is_empty());
        probe(seen, cut, proves, |walks| {
            let mut facts = seen.facts();
            walks.iter().flat_map(Walk::messages).for_each(|kind| facts.add("profinet.ptcp", *kind));
            Proof { facts, ..Proof::default() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;

    const CARRIER: Carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));

    #[test]
    fn a_delay_request_proves_it() {
        let frame = hex("ff40 000000000000000000000000 001c 0000 00000000 0c06 00099143e068 0000 0000");
        let Probe::Proven(proof) = probe_both(&ProfinetPtcp, CARRIER, &[&frame], &[]) else { panic!() };
        assert_eq!(proof.facts.get("profinet.ptcp"), Some("delay-request"));
    }

    #[test]
    fn blocks_that_do_not_fit_and_zeros_are_not_it() {
        for bytes in [
            "ff40 000000000000000000000000 001c 0000 00000000 0cff 00099143e068 0000 0000",
            "ff40 000000000000000000000000 001c 0000 00000000 0000 0000",
            "fefe 000000000000000000000000 001c 0000 00000000 0c06 00099143e068 0000 0000",
        ] {
            assert!(probe_both(&ProfinetPtcp, CARRIER, &[&hex(bytes)], &[]).proof().is_none(), "{bytes}");
        }
    }
}
