//! IPMI and ASF over RMCP: management controllers of servers.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::candidates::is_at;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// IPMI over RMCP.
pub struct Ipmi;

static ABOUT: About = About {
    name: "ipmi",
    title: "IPMI/ASF (RMCP)",
    spec: "IPMI 2.0 revision 1.1 sections 13.1 and 13.6; DMTF DSP0136 (ASF 2.0) section 3.2",
    usual: &["udp/623"],
    answers: true,
    facts: &[
        ("ipmi.class", "ipmi or asf"),
        ("ipmi.authentication", "authentication type of a session: none, md2, md5, password, oem, rmcp+"),
    ],
};

impl Protocol for Ipmi {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        is_at(&VERSION, at, byte) && (at != 3 || matches!(byte & !ACKNOWLEDGE, ASF | IPMI))
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Tcp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Version 1.0 and the reserved byte of an RMCP header (13.1.3).
const VERSION: [u8; 2] = [0x06, 0x00];
/// Message classes; an acknowledgement has the top bit set.
const ASF: u8 = 0x06;
const IPMI: u8 = 0x07;
const ACKNOWLEDGE: u8 = 0x80;
/// The IANA enterprise number of ASF.
const ASF_ENTERPRISE: u32 = 4542;
/// Authentication types: the fifth is RMCP+.
const AUTHENTICATION: [&str; 7] = ["none", "md2", "md5", "reserved", "password", "oem", "rmcp+"];
const RMCP_PLUS: u8 = 6;

fn step(datagram: &[u8]) -> Step {
    if fits(datagram).is_some() { Step::Whole(datagram.len(), PROOF) } else { Step::Wrong }
}

/// Header, then a body whose length agrees.
fn fits(datagram: &[u8]) -> Option<()> {
    let mut reader = Reader::new(datagram);
    if reader.array::<2>()? != &VERSION {
        return None;
    }
    reader.skip(1)?;
    match reader.u8()? {
        ASF => {
            (reader.be32()? == ASF_ENTERPRISE).then_some(())?;
            // Type, tag, reserved, length of the data.
            reader.skip(3)?;
            let length = usize::from(reader.u8()?);
            (reader.left() >= length && reader.left() - length <= 2).then_some(())
        }
        IPMI => {
            let authentication = reader.u8()?;
            let length = if authentication == RMCP_PLUS {
                // Payload type, of which 2 (OEM) has an id more; session, sequence, length.
                let kind = reader.u8()? & 0x3f;
                reader.skip(if kind == 2 { 14 } else { 8 })?;
                usize::from(reader.le16()?)
            } else {
                // Sequence, session, authentication code unless there is none, length (13.6).
                reader.skip(if authentication == 0 { 8 } else { 24 })?;
                usize::from(reader.u8()?)
            };
            let known = usize::from(authentication) < AUTHENTICATION.len() && length > 0;
            // A session trailer follows what RMCP+ authenticates; one pad byte may follow otherwise (13.6).
            let after = reader.left().checked_sub(length)?;
            (known && (after <= 1 || (authentication == RMCP_PLUS && after <= 64))).then_some(())
        }
        class if class & ACKNOWLEDGE != 0 => {
            (matches!(class & !ACKNOWLEDGE, ASF | IPMI) && reader.is_empty()).then_some(())
        }
        _ => None,
    }
}

fn tell(end: End, datagram: &[u8], proof: &mut Proof) {
    match *datagram {
        [_, _, _, ASF, _, _, _, _, kind, ..] => {
            proof.facts.add("ipmi.class", "asf");
            match kind {
                // Presence pong and ping (DSP0136 section 3.2.4).
                0x40 => client_is(proof, end.other()),
                0x80 => client_is(proof, end),
                _ => {}
            }
        }
        [_, _, _, IPMI, authentication, ref rest @ ..] => {
            proof.facts.add("ipmi.class", "ipmi");
            if let Some(name) = AUTHENTICATION.get(usize::from(authentication)) {
                proof.facts.add("ipmi.authentication", *name);
            }
            // Outside of RMCP+ and without a code: sequence, session, length, then responder, network function (13.8).
            if authentication == 0
                && let Some(&[_, function]) = rest.get(9..).and_then(|message| message.first_chunk::<2>())
            {
                client_is(proof, if function >> 2 & 1 == 0 { end } else { end.other() });
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    const CAPABILITIES: &[u8] = b"\x06\0\xff\x07\0\0\0\0\0\0\0\0\0\x09\x20\x18\xc8\x81\0\x38\x8e\x04\xb5";

    #[test]
    fn a_request_outside_a_session() {
        let Probe::Proven(proof) = harness::probe_messages(&Ipmi, Carrier::Udp, &[CAPABILITIES]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("ipmi.authentication"), Some("none"));
    }

    #[test]
    fn a_length_that_is_not_the_datagrams_is_wrong() {
        let mut bytes = CAPABILITIES.to_vec();
        bytes[13] = 7;
        assert_eq!(step(&bytes), Step::Wrong);
        assert_eq!(step(b"\x06\0\xff\x08\0\0"), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Ipmi, 0, 0);
        harness::check_steps(&Ipmi);
    }
}
