//! EtherNet/IP: encapsulated explicit messaging over TCP and UDP, and implicit I/O over UDP.
//!
//! ODVA, The CIP Networks Library Volume 2: EtherNet/IP Adaptation of CIP (section 2-3 encapsulation, 2-4 commands,
//! 2-6 common packet format); Volume 1 appendix A for the CIP services.

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
use super::bytes::Reader;
use super::framed::Cut;
use super::framed::Found;
use super::framed::Walk;
use super::framed::alone;
use super::framed::each_whole;
use super::framed::probe;
use crate::model::Facts;

/// Recognises EtherNet/IP.
pub struct Enip;

static ABOUT: About = About {
    name: "enip",
    title: "EtherNet/IP",
    spec: "ODVA CIP Networks Library, Volume 2, chapter 2",
    usual: &["tcp/44818", "udp/44818", "udp/2222"],
    answers: true,
    facts: &[
        ("enip.command", "encapsulation command: list-identity, register-session, send-rr-data, ..., or io"),
        ("cip.service", "CIP service requested: get-attribute-single, read-tag, forward-open, stop, ..."),
        ("cip.access", "what the services do, those within others included: read, write, control"),
    ],
};

/// The encapsulation header (2-3.1): command, length, session, status, context, options; all little-endian.
const HEADER: usize = 24;
/// Commands (2-3.2).
const NOP: u16 = 0x00;
const LIST_SERVICES: u16 = 0x04;
const LIST_IDENTITY: u16 = 0x63;
const LIST_INTERFACES: u16 = 0x64;
const REGISTER_SESSION: u16 = 0x65;
const UNREGISTER_SESSION: u16 = 0x66;
const SEND_RR_DATA: u16 = 0x6f;
const SEND_UNIT_DATA: u16 = 0x70;
const INDICATE_STATUS: u16 = 0x72;
const CANCEL: u16 = 0x73;
/// Item types of the common packet format (2-6.3).
const CONNECTED_ADDRESS: u16 = 0x00a1;
const CONNECTED_DATA: u16 = 0x00b1;
const UNCONNECTED_DATA: u16 = 0x00b2;
const SEQUENCED_ADDRESS: u16 = 0x8002;
/// The most items accepted in one packet; the specification's messages have up to four, identity lists a few more.
const MOST_ITEMS: u16 = 16;
/// The bit that makes a CIP service a response (Volume 1, 2-4.2).
const REPLY: u8 = 0x80;
/// Services that carry others (Volume 1, 3-5.5.4 and appendix A), how deep they are followed, and how many of one packet.
const UNCONNECTED_SEND: u8 = 0x52;
const MULTIPLE_SERVICE: u8 = 0x0a;
const NESTED: u8 = 2;
const MOST_SERVICES: usize = 16;

/// One encapsulated message or I/O datagram, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message<'a> {
    /// `None` for implicit I/O.
    command: Option<u16>,
    session: u32,
    length: usize,
    /// The CIP message it carries, from its service on.
    cip: Option<&'a [u8]>,
}

impl Message<'_> {
    /// Whether it alone proves the protocol. A header of zeros is a NOP, and proves nothing.
    fn proves(&self) -> bool {
        self.command != Some(NOP)
    }

    fn asks(&self) -> Option<bool> {
        match self.command? {
            LIST_SERVICES | LIST_IDENTITY | LIST_INTERFACES => Some(self.length == 0),
            REGISTER_SESSION => Some(self.session == 0),
            UNREGISTER_SESSION => Some(true),
            SEND_RR_DATA | SEND_UNIT_DATA => self.cip?.first().map(|service| service & REPLY == 0),
            _ => None,
        }
    }

    /// Each service that it requests, those within others included.
    fn services(&self, mut each: impl FnMut(u8, &[u8])) {
        if let Some(request) = self.cip {
            services(request, NESTED, &mut each);
        }
    }

    fn tell(&self, facts: &mut Facts) {
        facts.add("enip.command", self.command.map_or_else(|| "io".into(), command_name));
        self.services(|service, path| {
            facts.add("cip.service", service_name(service, path));
            if let Some(access) = access(service, path) {
                facts.add("cip.access", access);
            }
        });
    }
}

/// Shows a request's service and what follows it (path first), and the requests within it: in an Unconnected Send after its path, two
/// bytes of time-out and a length (Volume 1, 3-5.5.4), in a Multiple Service Packet where its offsets say (Volume 1, appendix A).
fn services(request: &[u8], deep: u8, each: &mut dyn FnMut(u8, &[u8])) {
    let Some((&service, path)) = request.split_first() else { return };
    if service & REPLY != 0 {
        return;
    }
    each(service, path);
    let Some(deeper) = deep.checked_sub(1) else { return };
    let data =
        path.split_first().and_then(|(&words, rest)| rest.get(2 * usize::from(words)..)).unwrap_or_default();
    match service {
        UNCONNECTED_SEND if is_of_manager(path) => {
            if let &[_, _, low, high, ref rest @ ..] = data
                && let Some(inner) = rest.get(..usize::from(u16::from_le_bytes([low, high])))
            {
                services(inner, deeper, each);
            }
        }
        MULTIPLE_SERVICE => {
            let Some((&[low, high], offsets)) = data.split_first_chunk::<2>() else { return };
            let count = usize::from(u16::from_le_bytes([low, high])).min(MOST_SERVICES);
            for at in offsets.as_chunks::<2>().0.iter().take(count) {
                if let Some(inner) = data.get(usize::from(u16::from_le_bytes(*at))..) {
                    services(inner, deeper, each);
                }
            }
        }
        _ => {}
    }
}

fn cut(bytes: &[u8]) -> Cut<Message<'_>> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        // The command is known from its two bytes; a side that begins otherwise is rejected at once.
        return match bytes {
            [] => Cut::Short,
            [low] if is_command(u16::from(*low)) => Cut::Short,
            [low, high, ..] if is_command(u16::from_le_bytes([*low, *high])) => Cut::Short,
            _ => Cut::Wrong,
        };
    };
    let mut reader = Reader::new(header);
    let (Some(command), Some(length), Some(session), Some(status)) =
        (reader.le16(), reader.le16(), reader.le32(), reader.le32())
    else {
        return Cut::Wrong;
    };
    let options = header.last_chunk::<4>();
    // Status codes of table 2-3.3; options are reserved (2-3.7).
    if !is_command(command) || !matches!(status, 0..=3 | 0x64 | 0x65 | 0x69) || options != Some(&[0; 4]) {
        return Cut::Wrong;
    }
    let length = usize::from(length);
    let Some(data) = rest.get(..length) else {
        let head = Message { command: Some(command), session, length, cip: None };
        return if head_shows(command, session, rest) { Cut::Head(head) } else { Cut::Short };
    };
    let fits = match command {
        NOP => Some(None),
        LIST_SERVICES | LIST_IDENTITY | LIST_INTERFACES => {
            // A request is bare and refuses nothing: counters of 0x63 and on look like it otherwise.
            let fits = if data.is_empty() { status == 0 } else { packets(data).is_some() };
            fits.then_some(None)
        }
        // Protocol version 1, no options (2-4.4).
        REGISTER_SESSION => (matches!(data, [1, 0, 0, 0]) || status != 0).then_some(None),
        // No data (2-4.5).
        UNREGISTER_SESSION => (data.is_empty() && (session != 0 || status != 0)).then_some(None),
        INDICATE_STATUS | CANCEL => (session != 0 || status != 0).then_some(None),
        // Interface handle 0 is CIP, then a timeout (2-4.7, 2-4.8); a refusal has no data.
        _ => match data {
            [0, 0, 0, 0, _, _, items @ ..] => packets(items),
            [] => (status != 0).then_some(None),
            _ => None,
        },
    };
    match fits {
        Some(cip) => Cut::Whole(Message { command: Some(command), session, length, cip }, HEADER + length),
        None => Cut::Wrong,
    }
}

/// Whether a message that is cut shows itself by its head: data of a session, for CIP, of which the first item is an address (2-6.3).
fn head_shows(command: u16, session: u32, rest: &[u8]) -> bool {
    let mut reader = Reader::new(rest);
    let handle = reader.le32();
    let (_timeout, count, kind) = (reader.le16(), reader.le16(), reader.le16());
    matches!(command, SEND_RR_DATA | SEND_UNIT_DATA)
        && session != 0
        && handle == Some(0)
        && count.is_some_and(|count| (1..=MOST_ITEMS).contains(&count))
        && matches!(kind, Some(0 | CONNECTED_ADDRESS | SEQUENCED_ADDRESS))
}

fn is_command(command: u16) -> bool {
    matches!(
        command,
        NOP | LIST_SERVICES | LIST_IDENTITY
            ..=UNREGISTER_SESSION | SEND_RR_DATA | SEND_UNIT_DATA | INDICATE_STATUS | CANCEL
    )
}

/// The items of the common packet format to their exact end, and the CIP message among them.
fn packets(bytes: &[u8]) -> Option<Option<&[u8]>> {
    let mut reader = Reader::new(bytes);
    let mut cip = None;
    let count = reader.le16()?;
    for _ in 0..Some(count).filter(|&count| count <= MOST_ITEMS)? {
        let kind = reader.le16()?;
        let length = reader.le16()?;
        let data = reader.take(usize::from(length))?;
        match kind {
            UNCONNECTED_DATA => cip = Some(data),
            // A sequence count precedes the message.
            CONNECTED_DATA => cip = data.get(2..),
            _ => {}
        }
    }
    reader.is_empty().then_some(cip)
}

/// A datagram of a class 0 or 1 connection (Volume 2, 3-2.2): an address item and connected data, nothing else.
fn io(bytes: &[u8]) -> Option<Message<'_>> {
    let mut reader = Reader::new(bytes);
    if reader.le16()? != 2 {
        return None;
    }
    match (reader.le16()?, reader.le16()?) {
        (SEQUENCED_ADDRESS, 8) => reader.skip(8)?,
        (CONNECTED_ADDRESS, 4) => reader.skip(4)?,
        _ => return None,
    }
    let fits = reader.le16()? == CONNECTED_DATA && usize::from(reader.le16()?) == reader.left();
    fits.then_some(Message { command: None, session: 0, length: bytes.len(), cip: None })
}

fn command_name(command: u16) -> CompactString {
    match command {
        NOP => "nop",
        LIST_SERVICES => "list-services",
        LIST_IDENTITY => "list-identity",
        LIST_INTERFACES => "list-interfaces",
        REGISTER_SESSION => "register-session",
        UNREGISTER_SESSION => "unregister-session",
        SEND_RR_DATA => "send-rr-data",
        SEND_UNIT_DATA => "send-unit-data",
        INDICATE_STATUS => "indicate-status",
        _ => "cancel",
    }
    .into()
}

/// Path: size in words, then an 8-bit logical class segment; class 6 is the connection manager, 2 the message router.
fn is_of_manager(path: &[u8]) -> bool {
    matches!(path, [_, 0x20, 0x06, ..])
}

/// What a service does to the device; `None` for sessions, connections, and services that wrap others.
fn access(service: u8, path: &[u8]) -> Option<&'static str> {
    match service {
        0x01 | 0x03 | 0x0e => Some("read"),
        0x02 | 0x04 | 0x08 | 0x09 | 0x10 => Some("write"),
        0x05..=0x07 => Some("control"),
        _ if is_of_manager(path) => None,
        0x4c | 0x52 | 0x55 => Some("read"),
        0x4d | 0x4e | 0x53 => Some("write"),
        _ => None,
    }
}

/// Services of Volume 1 appendix A; those from 0x4b on mean what the class in the path makes of them.
fn service_name(service: u8, path: &[u8]) -> CompactString {
    let of_manager = is_of_manager(path);
    match service {
        0x01 => "get-attributes-all",
        0x02 => "set-attributes-all",
        0x03 => "get-attribute-list",
        0x04 => "set-attribute-list",
        0x05 => "reset",
        0x06 => "start",
        0x07 => "stop",
        0x08 => "create",
        0x09 => "delete",
        0x0a => "multiple-service-packet",
        0x0e => "get-attribute-single",
        0x10 => "set-attribute-single",
        0x4b if !of_manager => "execute-pccc",
        0x4c if !of_manager => "read-tag",
        0x4d if !of_manager => "write-tag",
        0x4e if of_manager => "forward-close",
        0x4e => "read-modify-write-tag",
        0x52 if of_manager => "unconnected-send",
        0x52 => "read-tag-fragmented",
        0x53 if !of_manager => "write-tag-fragmented",
        0x54 if of_manager => "forward-open",
        0x55 if !of_manager => "get-instance-attribute-list",
        0x5b if of_manager => "large-forward-open",
        other => return format_compact!("0x{other:02x}"),
    }
    .into()
}

impl Protocol for Enip {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match (carrier, at) {
            // An item count of two begins what is sent cyclically.
            (Carrier::Udp, 0) if byte == 2 => true,
            (_, 0) => is_command(u16::from(byte)),
            (_, 1) => byte == 0,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if matches!(seen.carrier, Carrier::Ethernet(_)) {
            return Probe::No;
        }
        let whole = |bytes| match (seen.carrier, cut(bytes)) {
            (Carrier::Udp, Cut::Whole(message, length)) if length == bytes.len() => {
                Cut::Whole(message, length)
            }
            (Carrier::Udp, _) => io(bytes).map_or(Cut::Wrong, |message| Cut::Whole(message, bytes.len())),
            (_, cut) => cut,
        };
        // A command without data is mostly zeros: it must end where its segment does, or have company.
        let proves = |walk: &Walk<Message<'_>>| {
            let sure = |found: &Found<Message<'_>>| {
                found.message.proves() && (found.message.length > 0 || found.flush || walk.found.len() >= 2)
            };
            walk.found.iter().any(sure)
        };
        probe(
            seen,
            whole,
            |walks| walks.iter().any(proves),
            |walks| {
                let mut facts = seen.facts();
                walks.iter().flat_map(Walk::messages).for_each(|message| message.tell(&mut facts));
                let asks = |walk: &Walk<Message<'_>>| walk.messages().find_map(Message::asks);
                Proof { client: End::asking(asks(&walks[0]), asks(&walks[1])), facts, ..Proof::default() }
            },
        )
    }

    fn gist(&self, carrier: Carrier, payload: &[u8]) -> Option<u64> {
        let message = alone(payload, cut).filter(|_| carrier == Carrier::Tcp)?;
        let service = match message.cip.and_then(<[u8]>::split_first) {
            None => 0,
            // Others may be within these.
            Some((&(UNCONNECTED_SEND | MULTIPLE_SERVICE), _)) => return None,
            Some((&service, path)) => 0x100 | u64::from(service) | u64::from(is_of_manager(path)) << 9,
        };
        let bare = u64::from(message.length == 0) << 1 | u64::from(message.session == 0);
        Some(u64::from(message.command?) << 16 | service << 2 | bare)
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        each_whole(payload, cut, |message: Message<'_>| {
            message.services(|service, path| {
                Deed::of(access(service, path), "cip.service", None).into_iter().for_each(&mut *tell);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Side;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;

    fn check(carrier: Carrier, first: &str) -> Probe {
        probe_both(&Enip, carrier, &[&hex(first)], &[])
    }

    fn proof(probe: Probe) -> Proof {
        match probe {
            Probe::Proven(proof) => proof,
            other => panic!("{other:?}"),
        }
    }

    const ZEROS: &str = "00000000 0000000000000000 00000000";

    #[test]
    fn register_session_tells_its_ends() {
        let asked = proof(check(Carrier::Tcp, &format!("6500 0400 00000000 {ZEROS} 01000000")));
        assert_eq!(
            (asked.client, asked.facts.get("enip.command")),
            (Some(End::First), Some("register-session"))
        );
        let answered = proof(check(Carrier::Tcp, &format!("6500 0400 10020000 {ZEROS} 01000000")));
        assert_eq!(answered.client, Some(End::Second));
    }

    #[test]
    fn a_connected_message_names_its_service() {
        let bytes = format!(
            "7000 1e00 00010212 {ZEROS} 000000000000 0200 a100 0400 01035101 b100 0a00 8600 4c03 20b2 2500 2100"
        );
        let proof = proof(check(Carrier::Tcp, &bytes));
        assert_eq!((proof.client, proof.facts.get("cip.service")), (Some(End::First), Some("read-tag")));
    }

    #[test]
    fn a_session_s_data_is_known_by_its_head() {
        let probe = |bytes: &str, complete| {
            let bytes = hex(bytes);
            let ends = [bytes.len() as u16];
            let first = Side { complete, ..Side::of(&bytes, &ends) };
            Enip.probe(&Seen { carrier: Carrier::Tcp, first, second: Side::default(), known: None })
        };
        let head = format!("7000 1e00 00010212 {ZEROS} 000000000000 0200 a100 0400 0103");
        assert!(probe(&head, true).proof().is_some());
        assert_eq!(probe(&head, false), Probe::NeedMore);
        let (other_item, no_session) = (head.replace("a100", "a200"), head.replace("00010212", "00000000"));
        for other in [&head[..head.len() - 20], other_item.as_str(), no_session.as_str()] {
            assert!(probe(other, true).proof().is_none(), "{other}");
        }
    }

    #[test]
    fn list_identity_and_io_over_udp() {
        let asked = proof(check(Carrier::Udp, &format!("6300 0000 00000000 {ZEROS}")));
        assert_eq!(asked.client, Some(End::First));
        let io = proof(check(Carrier::Udp, "0200 0280 0800 787b3a00 e8cb5e04 b100 0200 0300"));
        assert_eq!((io.client, io.facts.get("enip.command")), (None, Some("io")));
    }

    #[test]
    fn zeros_and_near_misses_are_not_claimed() {
        assert_eq!(check(Carrier::Tcp, &"00".repeat(24)), Probe::NeedMore);
        for bytes in [
            // Unknown command, reserved options set, unknown status, item lengths that do not add up.
            format!("6700 0000 00000000 {ZEROS}"),
            "6300 0000 00000000 00000000 0000000000000000 01000000".into(),
            "6300 0000 00000000 40000000 0000000000000000 00000000".into(),
            format!("6f00 0c00 01000000 {ZEROS} 000000000000 0100 b200 0400"),
        ] {
            assert!(check(Carrier::Udp, &bytes).proof().is_none(), "{bytes}");
        }
        assert!(check(Carrier::Udp, "0200 0280 0800 787b3a00 e8cb5e04 b100 0300 0300").proof().is_none());
    }
}
