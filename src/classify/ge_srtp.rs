//! GE-SRTP: the service request transport protocol of GE Fanuc, GE Intelligent Platforms and Emerson controllers.
//!
//! GE publishes no specification; header and mailbox are those of the published analyses (Denton et al., "Leveraging the
//! SRTP protocol for over-the-network memory acquisition of a GE Fanuc Series 90-30", 2017) and of the public dissectors.

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
use super::framed::Cut;
use super::framed::Walk;
use super::framed::each_whole;
use super::framed::probe;

/// Recognises GE-SRTP over TCP and UDP.
pub struct GeSrtp;

static ABOUT: About = About {
    name: "ge-srtp",
    title: "GE-SRTP",
    spec: "Service Request Transport Protocol, as published by Denton et al. (2017)",
    usual: &["tcp/18245", "udp/18245"],
    answers: true,
    facts: &[
        (
            "srtp.service",
            "service requested: return-controller-type, read-system-memory, write-system-memory, ...",
        ),
        ("srtp.access", "what the services do: read, write (values), program, control (run, stop)"),
    ],
};

/// The fixed header with its mailbox, in bytes; text of the length told at offset 4 follows.
const HEADER: usize = 56;
/// The longest text accepted; transfers go in pieces of a few kilobytes at most.
const LONGEST_TEXT: usize = 16 * 1024;
/// Packet types, the first byte.
const INIT: u8 = 0;
const INIT_ACK: u8 = 1;
const REQUEST: u8 = 2;
const RESPONSE: u8 = 3;
/// Mailbox types, at offset 31.
const REQUEST_WITH_TEXT: u8 = 0x80;
const ACK_WITH_TEXT: u8 = 0x94;
const SHORT_REQUEST: u8 = 0xc0;
const ERROR: u8 = 0xd1;
const SHORT_ACK: u8 = 0xd4;
/// The highest service request code in the published list.
const LAST_SERVICE: u8 = 0x61;

/// One message, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    kind: u8,
    /// A request's service.
    service: Option<u8>,
}

impl Message {
    fn asks(&self) -> bool {
        matches!(self.kind, INIT | REQUEST)
    }

    fn has_mailbox(&self) -> bool {
        matches!(self.kind, REQUEST | RESPONSE)
    }
}

fn cut(bytes: &[u8]) -> Cut<Message> {
    let may_begin = matches!(bytes, [] | [INIT..=RESPONSE] | [INIT..=RESPONSE, 0, ..]);
    if !may_begin {
        return Cut::Wrong;
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Cut::Short };
    let text = usize::from(u16::from_le_bytes([header[4], header[5]]));
    match header[0] {
        // The opening is zeros, and so is its answer but for the type; some controllers put their limits in the latter.
        INIT => {
            if header.iter().any(|&byte| byte != 0) {
                return Cut::Wrong;
            }
            return Cut::Whole(Message { kind: INIT, service: None }, HEADER);
        }
        INIT_ACK => {
            if text != 0 || header.iter().filter(|&&byte| byte != 0).count() > 8 {
                return Cut::Wrong;
            }
            return Cut::Whole(Message { kind: INIT_ACK, service: None }, HEADER);
        }
        _ => {}
    }
    let mailbox = header[31];
    let service = match (header[0], mailbox) {
        (REQUEST, SHORT_REQUEST) => Some(header[42]),
        (REQUEST, REQUEST_WITH_TEXT) => Some(header[50]),
        (RESPONSE, ACK_WITH_TEXT | ERROR | SHORT_ACK) => None,
        _ => return Cut::Wrong,
    };
    // Packet number and total: with a text they stand behind its description.
    let (number, total) = match mailbox {
        REQUEST_WITH_TEXT | ACK_WITH_TEXT => (header[48], header[49]),
        _ => (header[40], header[41]),
    };
    let has_text = matches!(mailbox, REQUEST_WITH_TEXT | ACK_WITH_TEXT);
    let numbers_fit = (1..=total.max(1)).contains(&number);
    let reserved = header.get(6..9).is_some_and(|bytes| bytes == [0; 3]);
    if !numbers_fit || !reserved || has_text != (text > 0) || text > LONGEST_TEXT {
        return Cut::Wrong;
    }
    if service.is_some_and(|service| service > LAST_SERVICE) {
        return Cut::Wrong;
    }
    if rest.len() < text {
        return Cut::Short;
    }
    Cut::Whole(Message { kind: header[0], service }, HEADER + text)
}

fn service_name(service: u8) -> CompactString {
    match service {
        0x00 => "short-status",
        0x01 => "long-status",
        0x03 => "return-program-names",
        0x04 => "read-system-memory",
        0x05 => "read-task-memory",
        0x06 => "read-program-memory",
        0x07 => "write-system-memory",
        0x08 => "write-task-memory",
        0x09 => "write-program-memory",
        0x20 => "programmer-logon",
        0x21 => "change-privilege-level",
        0x22 => "set-controller-id",
        0x23 => "set-controller-state",
        0x24 => "set-time",
        0x25 => "return-time",
        0x37 => "clear-logic-memory",
        0x38 => "return-fault-table",
        0x39 => "clear-fault-table",
        0x3f => "program-store",
        0x40 => "program-load",
        0x43 => "return-controller-type",
        0x44 => "toggle-force-memory",
        0x4f => "session-control",
        other => return format_compact!("0x{other:02x}"),
    }
    .into()
}

/// What a service does to the controller; `None` for logons, sessions and those that are not in the list.
fn access(service: u8) -> Option<&'static str> {
    match service {
        // A program store takes the program out of the controller.
        0x00 | 0x01 | 0x03..=0x06 | 0x25 | 0x38 | 0x3f | 0x43 => Some("read"),
        0x07 | 0x08 | 0x22 | 0x24 | 0x39 | 0x44 => Some("write"),
        0x09 | 0x37 | 0x40 => Some("program"),
        0x23 => Some("control"),
        _ => None,
    }
}

/// Whether it is proved: a mailbox, or the opening with its answer.
fn is_proved(walks: &[Walk<Message>; 2]) -> bool {
    let has = |walk: &Walk<Message>, kind| walk.messages().any(|message| message.kind == kind);
    let [first, second] = walks;
    walks.iter().any(|walk| walk.messages().any(Message::has_mailbox))
        || (has(first, INIT) && has(second, INIT_ACK))
        || (has(second, INIT) && has(first, INIT_ACK))
}

impl Protocol for GeSrtp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => matches!(byte, INIT..=RESPONSE),
            1 => byte == 0,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if matches!(seen.carrier, Carrier::Ethernet(_)) {
            return Probe::No;
        }
        probe(seen, cut, is_proved, |walks| {
            let mut facts = seen.facts();
            let services = walks.iter().flat_map(Walk::messages).filter_map(|message| message.service);
            for service in services {
                facts.add("srtp.service", service_name(service));
                if let Some(access) = access(service) {
                    facts.add("srtp.access", access);
                }
            }
            let asks = |walk: &Walk<Message>| walk.messages().next().map(Message::asks);
            let client = End::asking(asks(&walks[0]), asks(&walks[1]));
            Proof { client, facts, ..Proof::default() }
        })
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        each_whole(payload, cut, |message: Message| {
            let access = message.service.and_then(access);
            Deed::of(access, "srtp.service", None).into_iter().for_each(&mut *tell);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::probe_both;

    fn header(set: &[(usize, u8)]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        for &(at, value) in set {
            header[at] = value;
        }
        header
    }

    fn request() -> [u8; HEADER] {
        header(&[(0, 2), (2, 2), (9, 1), (17, 1), (30, 2), (31, 0xc0), (40, 1), (41, 1), (42, 0x43)])
    }

    #[test]
    fn one_request_or_response_proves_it() {
        for carrier in [Carrier::Tcp, Carrier::Udp] {
            let Probe::Proven(proof) = probe_both(&GeSrtp, carrier, &[&request()], &[]) else { panic!() };
            assert_eq!(proof.client, Some(End::First));
            assert_eq!(proof.facts.get("srtp.service"), Some("return-controller-type"));
            let response = header(&[(0, 3), (2, 2), (31, 0xd4), (40, 1), (41, 1)]);
            let Probe::Proven(proof) = probe_both(&GeSrtp, carrier, &[&response], &[]) else { panic!() };
            assert_eq!(proof.client, Some(End::Second));
        }
    }

    #[test]
    fn the_opening_needs_its_answer() {
        let zeros = [0; HEADER];
        assert_eq!(probe_both(&GeSrtp, Carrier::Udp, &[&zeros], &[]), Probe::NeedMore);
        let probe = probe_both(&GeSrtp, Carrier::Udp, &[&zeros], &[&header(&[(0, 1)])]);
        assert!(matches!(probe, Probe::Proven(_)));
    }

    #[test]
    fn other_mailboxes_lengths_and_numbers_are_not_it() {
        for (at, value) in [(31, 0xc1), (4, 1), (40, 0), (40, 2), (42, 0x70), (6, 1), (0, 4), (1, 1)] {
            let mut wrong = request();
            wrong[at] = value;
            assert!(probe_both(&GeSrtp, Carrier::Tcp, &[&wrong], &[]).proof().is_none(), "{at}");
        }
        assert!(probe_both(&GeSrtp, Carrier::Udp, &[&request()[..55]], &[]).proof().is_none());
    }

    #[test]
    fn text_is_counted() {
        let mut bytes = header(&[(0, 2), (4, 2), (31, 0x80), (48, 1), (49, 1), (50, 7)]).to_vec();
        assert_eq!(probe_both(&GeSrtp, Carrier::Tcp, &[&bytes], &[]), Probe::NeedMore);
        bytes.extend([1, 2]);
        let Probe::Proven(proof) = probe_both(&GeSrtp, Carrier::Tcp, &[&bytes], &[]) else { panic!() };
        assert_eq!(proof.facts.get("srtp.service"), Some("write-system-memory"));
    }
}
