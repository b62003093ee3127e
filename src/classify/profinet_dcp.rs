//! PROFINET DCP: discovery and basic configuration of stations, in Ethernet frames.
//!
//! IEC 61158-6-10, 4.3 (DCP syntax) and 4.3.1.2 (services, options); frame identifiers of 4.12.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes;
use super::bytes::Reader;
use super::framed::Cut;
use super::framed::Walk;
use super::framed::probe;
use super::profinet_rt;
use crate::model::EtherKind;
use crate::model::Facts;

/// Recognises PROFINET DCP.
pub struct ProfinetDcp;

static ABOUT: About = About {
    name: "profinet-dcp",
    title: "PROFINET DCP",
    spec: "IEC 61158-6-10, section 4.3",
    usual: &[],
    answers: true,
    facts: &[
        ("profinet.station", "station name asked for or told"),
        ("profinet.service", "DCP service: identify, get, set, hello"),
        ("profinet.vendor", "device vendor value told"),
    ],
};

/// The ethertype of PROFINET (IEEE registration; IEC 61158-6-10, 4.1).
pub(super) const ETHERTYPE: u16 = 0x8892;
/// Frame identifiers of DCP (4.12): hello, get and set, identify request, identify response.
const HELLO: u16 = 0xfefc;
const GET_SET: u16 = 0xfefd;
const IDENTIFY_REQUEST: u16 = 0xfefe;
const IDENTIFY_RESPONSE: u16 = 0xfeff;
/// Services.
const SERVICE_GET: u8 = 3;
const SERVICE_SET: u8 = 4;
const SERVICE_IDENTIFY: u8 = 5;
const SERVICE_HELLO: u8 = 6;
/// Options and suboptions: device properties, of them the vendor value and the name of station.
const DEVICE_PROPERTIES: u8 = 2;
const VENDOR: u8 = 1;
const NAME_OF_STATION: u8 = 2;

/// One DCP message, whole.
#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    service: u8,
    response: bool,
    blocks: &'a [u8],
}

impl<'a> Message<'a> {
    /// Blocks as option, suboption and value; the two bytes of qualifier or block information are taken off where there are any.
    fn blocks(&self) -> impl Iterator<Item = (u8, u8, &'a [u8])> {
        let informed = self.response || matches!(self.service, SERVICE_SET | SERVICE_HELLO);
        let is_get_request = self.service == SERVICE_GET && !self.response;
        let mut reader = Reader::new(if is_get_request { &[] } else { self.blocks });
        std::iter::from_fn(move || {
            let (option, suboption, length) = (reader.u8()?, reader.u8()?, usize::from(reader.be16()?));
            let value = reader.take(length)?;
            if length % 2 == 1 {
                // The last block need not be padded.
                let _ = reader.skip(1);
            }
            Some((option, suboption, if informed { value.get(2..).unwrap_or_default() } else { value }))
        })
    }

    fn tell(&self, facts: &mut Facts) {
        let service = match self.service {
            SERVICE_GET => "get",
            SERVICE_SET => "set",
            SERVICE_IDENTIFY => "identify",
            _ => "hello",
        };
        facts.add("profinet.service", service);
        for (option, suboption, value) in self.blocks() {
            let value = value.strip_suffix(b"\0").unwrap_or(value);
            if option == DEVICE_PROPERTIES && !value.is_empty() && bytes::is_text(value) {
                match suboption {
                    NAME_OF_STATION => facts.add("profinet.station", bytes::text(value)),
                    VENDOR => facts.add("profinet.vendor", bytes::text(value).trim_end()),
                    _ => {}
                }
            }
        }
    }
}

/// Whether a frame is DCP.
pub(super) fn is_frame(frame: &[u8]) -> bool {
    message(frame).is_some()
}

fn message(frame: &[u8]) -> Option<Message<'_>> {
    let mut reader = Reader::new(frame);
    let identifier = reader.be16()?;
    let (service, kind) = (reader.u8()?, reader.u8()?);
    // Transaction, response delay, then the length of the blocks; Ethernet padding follows.
    reader.skip(4 + 2)?;
    let length = reader.be16()?;
    let blocks = reader.take(usize::from(length))?;
    // Service types: request, success, request not supported.
    let response = match kind {
        0 => false,
        1 | 5 => true,
        _ => return None,
    };
    let fits = match (identifier, service) {
        (HELLO, SERVICE_HELLO) | (IDENTIFY_REQUEST, SERVICE_IDENTIFY) => !response,
        (IDENTIFY_RESPONSE, SERVICE_IDENTIFY) => response,
        (GET_SET, SERVICE_GET | SERVICE_SET) => true,
        _ => false,
    };
    fits.then_some(Message { service, response, blocks })
}

impl Protocol for ProfinetDcp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Ethernet(EtherKind::Type(ETHERTYPE)) {
            return Probe::No;
        }
        // Two stations exchange real-time frames in the same flow: those neither prove this nor rule it out.
        let cut = |bytes| match message(bytes) {
            Some(message) => Cut::Whole(Some(message), bytes.len()),
            None if profinet_rt::is_frame(bytes) => Cut::Whole(None, bytes.len()),
            None => Cut::Wrong,
        };
        let proves = |walks: &[Walk<Option<Message<'_>>>; 2]| {
            walks.iter().any(|walk| walk.messages().any(Option::is_some))
        };
        probe(seen, cut, proves, |walks| {
            let mut facts = seen.facts();
            walks.iter().flat_map(Walk::messages).flatten().for_each(|message| message.tell(&mut facts));
            // Who says hello speaks unasked: it is neither.
            let asks = |walk: &Walk<Option<Message<'_>>>| {
                let mut spoken = walk.messages().flatten().filter(|message| message.service != SERVICE_HELLO);
                spoken.next().map(|message| !message.response)
            };
            let client = End::asking(asks(&walks[0]), asks(&walks[1]));
            let shared = walks.iter().any(|walk| walk.messages().any(Option::is_none));
            let layers = if shared { vec![ABOUT.name, "profinet-rt"] } else { Vec::new() };
            Proof { layers, client, facts, ..Proof::default() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;

    const CARRIER: Carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));

    fn proof(bytes: &str) -> Proof {
        match probe_both(&ProfinetDcp, CARRIER, &[&hex(bytes)], &[]) {
            Probe::Proven(proof) => proof,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_identify_request_names_the_station_sought() {
        let asked = proof("fefe 05 00 0300bf9a 0001 000c 0202 0007 73776974636833 00 0000");
        assert_eq!((asked.client, asked.facts.get("profinet.station")), (Some(End::First), Some("switch3")));
    }

    #[test]
    fn a_response_names_its_station_behind_the_block_information() {
        let told = proof("feff 05 01 0300bf9a 0000 000c 0202 0007 0000 706e2d696f 00");
        assert_eq!((told.client, told.facts.get("profinet.station")), (Some(End::Second), Some("pn-io")));
    }

    #[test]
    fn services_of_other_identifiers_and_short_frames_are_not_it() {
        for bytes in [
            "fefe 04 00 0300bf9a 0001 0000",
            "fefd 05 00 0300bf9a 0001 0000",
            "fefe 05 02 0300bf9a 0001 0000",
            "fefe 05 00 0300bf9a 0001 000c 0202",
            "8001 05 00 0300bf9a 0001 0000",
        ] {
            assert!(probe_both(&ProfinetDcp, CARRIER, &[&hex(bytes)], &[]).proof().is_none(), "{bytes}");
        }
    }
}
