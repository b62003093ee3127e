//! PROFINET real-time: cyclic data and alarms, in Ethernet frames.
//!
//! IEC 61158-6-10, 4.7 (cyclic data and the APDU status), 4.8 (alarms), 4.12 (frame identifiers).

use compact_str::format_compact;

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
use super::profinet_dcp;
use super::profinet_dcp::ETHERTYPE;
use crate::model::EtherKind;

/// Recognises PROFINET real-time frames.
pub struct ProfinetRt;

static ABOUT: About = About {
    name: "profinet-rt",
    title: "PROFINET real-time",
    spec: "IEC 61158-6-10, sections 4.7, 4.8 and 4.12",
    usual: &[],
    answers: false,
    facts: &[
        (
            "profinet.class",
            "kind of frame by its identifier: irt (class 3), rt (classes 1 and 2), alarm-high, alarm-low",
        ),
        ("profinet.frame", "frame identifier"),
    ],
};

/// Alarms of high and low priority.
const ALARM_HIGH: u16 = 0xfc01;
const ALARM_LOW: u16 = 0xfe01;
/// The least cyclic frame without its identifier: data padded to 40 bytes, cycle counter, two status bytes.
const LEAST_CYCLIC: usize = 40 + 4;
/// Bits of the data status that are reserved and sent as zero.
const RESERVED_STATUS: u8 = 0x48;
/// The data status of an undisturbed provider: valid, running, no problem; primary or not.
const GOOD_STATUS: [u8; 2] = [0x34, 0x35];

/// One frame.
#[derive(Clone, Copy, Debug)]
enum Message {
    /// Cyclic data with its cycle counter.
    Cyclic { identifier: u16, length: usize, counter: u16, status: u8 },
    /// An alarm PDU.
    Alarm { identifier: u16 },
}

impl Message {
    fn identifier(&self) -> u16 {
        match *self {
            Self::Cyclic { identifier, .. } | Self::Alarm { identifier } => identifier,
        }
    }

    fn is_sure(&self) -> bool {
        match self {
            Self::Cyclic { status, .. } => GOOD_STATUS.contains(status),
            Self::Alarm { .. } => true,
        }
    }

    /// Whether two frames are of one provider: same identifier and length, the counter gone on.
    fn goes_on(&self, later: &Self) -> bool {
        match (*self, *later) {
            (
                Self::Cyclic { identifier, length, counter, .. },
                Self::Cyclic { identifier: other, length: long, counter: then, .. },
            ) => identifier == other && length == long && counter != then,
            _ => false,
        }
    }
}

/// The kind of a frame by its identifier (4.12), `None` outside real-time.
fn class(identifier: u16) -> Option<&'static str> {
    Some(match identifier {
        0x0100..=0x7fff => "irt",
        0x8000..=0xfbff => "rt",
        ALARM_HIGH => "alarm-high",
        ALARM_LOW => "alarm-low",
        _ => return None,
    })
}

/// Whether a frame is real-time's: its identifier, and what its end or its alarm head must be.
pub(super) fn is_frame(frame: &[u8]) -> bool {
    message(frame).is_some()
}

fn message(frame: &[u8]) -> Option<Message> {
    let mut reader = Reader::new(frame);
    let identifier = reader.be16()?;
    class(identifier)?;
    if matches!(identifier, ALARM_HIGH | ALARM_LOW) {
        // Endpoints, type with version 1 and 1 to 4, flags, two sequence numbers, length of the variable part.
        reader.skip(4)?;
        let kind = reader.u8()?;
        let flags = reader.u8()?;
        reader.skip(4)?;
        let length = usize::from(reader.be16()?);
        let fits = matches!(kind, 0x11..=0x14) && flags & 0xe0 == 0 && reader.left() >= length;
        return fits.then_some(Message::Alarm { identifier });
    }
    if reader.left() < LEAST_CYCLIC {
        return None;
    }
    let &[c0, c1, status, transfer] = frame.last_chunk::<4>()?;
    let counter = u16::from_be_bytes([c0, c1]);
    let fits = transfer == 0 && status & RESERVED_STATUS == 0;
    fits.then_some(Message::Cyclic { identifier, length: frame.len(), counter, status })
}

impl Protocol for ProfinetRt {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Ethernet(EtherKind::Type(ETHERTYPE)) {
            return Probe::No;
        }
        // The same two stations configure each other by DCP: that neither proves this nor rules it out.
        let cut = |bytes| match message(bytes) {
            Some(message) => Cut::Whole(Some(message), bytes.len()),
            None if profinet_dcp::is_frame(bytes) => Cut::Whole(None, bytes.len()),
            None => Cut::Wrong,
        };
        let proves = |walks: &[Walk<Option<Message>>; 2]| {
            walks.iter().any(|walk| {
                let frames = || walk.messages().flatten();
                frames().any(Message::is_sure)
                    || frames().zip(frames().skip(1)).any(|(frame, next)| frame.goes_on(next))
            })
        };
        probe(seen, cut, proves, |walks| {
            let mut facts = seen.facts();
            for message in walks.iter().flat_map(Walk::messages).flatten() {
                let identifier = message.identifier();
                facts.add("profinet.class", class(identifier).unwrap_or_default());
                facts.add("profinet.frame", format_compact!("0x{identifier:04x}"));
            }
            let shared = walks.iter().any(|walk| walk.messages().any(Option::is_none));
            let layers = if shared { vec!["profinet-dcp", ABOUT.name] } else { Vec::new() };
            // Providers send unasked in both directions: none is the client.
            Proof { layers, client: None, facts, ..Proof::default() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::probe_both;

    const CARRIER: Carrier = Carrier::Ethernet(EtherKind::Type(ETHERTYPE));

    fn frame(identifier: u16, counter: u16, status: u8, transfer: u8) -> Vec<u8> {
        let mut frame = identifier.to_be_bytes().to_vec();
        frame.extend([0; 40]);
        frame.extend(counter.to_be_bytes());
        frame.extend([status, transfer]);
        frame
    }

    #[test]
    fn one_good_frame_or_two_in_a_row_prove_it() {
        let good = frame(0x8001, 64, 0x35, 0);
        let Probe::Proven(proof) = probe_both(&ProfinetRt, CARRIER, &[&good], &[]) else { panic!() };
        assert_eq!(proof.facts.get("profinet.class"), Some("rt"));
        let (stopped, next) = (frame(0xc001, 64, 0x11, 0), frame(0xc001, 128, 0x11, 0));
        assert_eq!(probe_both(&ProfinetRt, CARRIER, &[&stopped], &[]), Probe::NeedMore);
        assert!(matches!(probe_both(&ProfinetRt, CARRIER, &[&stopped, &next], &[]), Probe::Proven(_)));
    }

    #[test]
    fn alarms_have_their_own_syntax() {
        let mut alarm = vec![0xfc, 0x01, 0, 1, 0, 2, 0x11, 0x01, 0xff, 0xff, 0xff, 0xfe, 0, 2, 9, 9];
        assert!(matches!(probe_both(&ProfinetRt, CARRIER, &[&alarm], &[]), Probe::Proven(_)));
        alarm[6] = 0x15;
        assert!(probe_both(&ProfinetRt, CARRIER, &[&alarm], &[]).proof().is_none());
    }

    #[test]
    fn a_transfer_status_or_another_identifier_is_not_it() {
        for frame in [frame(0x8001, 64, 0x35, 1), frame(0x8001, 64, 0x75, 0), frame(0xff00, 64, 0x35, 0)] {
            assert!(probe_both(&ProfinetRt, CARRIER, &[&frame], &[]).proof().is_none());
        }
        assert!(
            probe_both(&ProfinetRt, CARRIER, &[&frame(0x8001, 64, 0x35, 0)[..40]], &[]).proof().is_none()
        );
    }
}
