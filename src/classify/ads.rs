//! Beckhoff ADS: AMS packets over TCP and the route discovery over UDP.

use compact_str::CompactString;

use super::About;
use super::Carrier;
use super::Deed;
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
use super::weigh::agrees;
use super::weigh::client_is;

/// Beckhoff ADS.
pub struct Ads;

static ABOUT: About = About {
    name: "ads",
    title: "Beckhoff ADS/AMS",
    spec: "Beckhoff Information System, TwinCAT ADS/AMS specification (TE1000): AMS/TCP packet",
    usual: &["tcp/48898", "udp/48899"],
    answers: true,
    facts: &[
        ("ads.net-id", "AMS net id of a target or source, six numbers"),
        ("ads.command", "command by name: read-device-info, read, write ..."),
        ("ads.access", "what the commands do: read, write, control (states of the device and of ADS)"),
    ],
};

impl Protocol for Ads {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match carrier {
            Carrier::Udp => is_at(&COOKIE, at, byte),
            _ => is_at(&[0, 0], at, byte) && (at != 5 || byte <= 1),
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => weigh::probe(seen, step_ams, tell_ams),
            Carrier::Udp => weigh::probe(seen, step_discovery, tell_discovery),
            Carrier::Ethernet(_) => Probe::No,
        }
    }

    fn glance(&self, carrier: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        if carrier != Carrier::Tcp {
            return;
        }
        weigh::each_whole(payload, step_ams, |packet| {
            let mut reader = Reader::new(packet.get(TCP_HEADER..).unwrap_or_default());
            let Some(header) = Ams::read(&mut reader) else { return };
            let command = COMMANDS.get(usize::from(header.command)).copied();
            Deed::of(access(&header, reader.rest()), "ads.command", command).into_iter().for_each(&mut *tell);
        });
    }
}

/// AMS/TCP header: two reserved bytes of zero, then the length of what follows.
const TCP_HEADER: usize = 6;
/// AMS header: target and source (net id and port each), command, state flags, data length, error code, invoke id.
const AMS_HEADER: usize = 32;
/// The largest packet accepted.
const LARGEST: usize = 1 << 24;
/// State flags in use; the first one marks a response.
const STATES: u16 = 0x80ff;
const RESPONSE: u16 = 0x0001;
/// The third state flag marks an ADS command, which every packet is.
const ADS_COMMAND: u16 = 0x0004;
/// First four bytes of a discovery datagram, 0x71146603 in little-endian order.
const COOKIE: [u8; 4] = [0x03, 0x66, 0x14, 0x71];
/// Command names by number.
const COMMANDS: [&str; 10] = [
    "invalid",
    "read-device-info",
    "read",
    "write",
    "read-state",
    "write-control",
    "add-notification",
    "delete-notification",
    "notification",
    "read-write",
];

fn step_ams(bytes: &[u8]) -> Step {
    if !agrees(bytes, &[0, 0]) {
        return Step::Wrong;
    }
    let mut reader = Reader::new(bytes);
    let Some(length) = reader.skip(2).and_then(|()| reader.le32()).map(|length| length as usize) else {
        return Step::Cut(0);
    };
    if !(AMS_HEADER..=LARGEST).contains(&length) {
        return Step::Wrong;
    }
    let Some(header) = Ams::read(&mut reader) else { return Step::Cut(0) };
    let right = usize::from(header.command) < COMMANDS.len()
        && header.states & !STATES == 0
        && header.states & ADS_COMMAND != 0
        && header.length as usize == length - AMS_HEADER;
    let whole = TCP_HEADER + length;
    match right {
        false => Step::Wrong,
        // Sixteen zero bits, and two lengths of 32 bits that agree.
        true if bytes.len() < whole => Step::Cut(PROOF),
        true => Step::Whole(whole, PROOF),
    }
}

/// The fields of an AMS header that matter here.
struct Ams {
    target: [u8; 6],
    source: [u8; 6],
    command: u16,
    states: u16,
    length: u32,
}

impl Ams {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let target = *reader.array::<6>()?;
        reader.skip(2)?;
        let source = *reader.array::<6>()?;
        reader.skip(2)?;
        let (command, states, length) = (reader.le16()?, reader.le16()?, reader.le32()?);
        reader.skip(8)?;
        Some(Self { target, source, command, states, length })
    }
}

/// Cookie, invoke id, service with the top bit set in responses, then the sender's net id and port and tagged items.
fn step_discovery(datagram: &[u8]) -> Step {
    let mut reader = Reader::new(datagram);
    let right = reader.array::<4>() == Some(&COOKIE)
        && reader.skip(4).is_some()
        && reader.le32().is_some_and(|service| (1..=32).contains(&(service & 0x7fff_ffff)))
        && reader.left() >= 8;
    if right { Step::Whole(datagram.len(), PROOF) } else { Step::Wrong }
}

fn net_id(id: &[u8; 6]) -> CompactString {
    let mut text = CompactString::default();
    for (at, part) in id.iter().enumerate() {
        if at > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(*part));
    }
    text
}

/// Index groups of the symbol and sum services: released handles, handles and values by name, information on symbols; reads, writes and
/// both at once in sum (TwinCAT 3, ADS index groups 0xf000 to 0xf0ff).
const RELEASE_HANDLE: u32 = 0xf006;
const BY_NAME: std::ops::RangeInclusive<u32> = 0xf003..=0xf004;
const INFORMATION: [u32; 5] = [0xf007, 0xf008, 0xf009, 0xf00a, 0xf00b];
const SUM_READS: [u32; 3] = [0xf080, 0xf083, 0xf084];
const SUM_WRITE: u32 = 0xf081;

/// What a request does to the device, by its command and the index group that its data begins with; nothing is said of a read-and-write to
/// a group that only the device knows.
fn access(header: &Ams, data: &[u8]) -> Option<&'static str> {
    let group = || Reader::new(data).le32();
    if header.states & RESPONSE != 0 {
        return None;
    }
    match (COMMANDS.get(usize::from(header.command)).copied()?, group) {
        ("read-device-info" | "read" | "read-state" | "add-notification", _) => Some("read"),
        ("write", group) => (group()? != RELEASE_HANDLE).then_some("write"),
        ("write-control", _) => Some("control"),
        ("read-write", group) => match group()? {
            SUM_WRITE => Some("write"),
            group
                if BY_NAME.contains(&group) || INFORMATION.contains(&group) || SUM_READS.contains(&group) =>
            {
                Some("read")
            }
            _ => None,
        },
        _ => None,
    }
}

fn tell_ams(end: End, packet: &[u8], proof: &mut Proof) {
    let mut reader = Reader::new(packet.get(TCP_HEADER..).unwrap_or_default());
    let Some(header) = Ams::read(&mut reader) else { return };
    let response = header.states & RESPONSE != 0;
    // A notification is sent unasked by the device.
    let asks = !response && header.command != 8;
    client_is(proof, if asks { end } else { end.other() });
    proof.facts.add("ads.net-id", net_id(&header.target));
    proof.facts.add("ads.net-id", net_id(&header.source));
    if let Some(name) = COMMANDS.get(usize::from(header.command)) {
        proof.facts.add("ads.command", *name);
    }
    if let Some(access) = access(&header, reader.rest()) {
        proof.facts.add("ads.access", access);
    }
}

fn tell_discovery(end: End, datagram: &[u8], proof: &mut Proof) {
    let mut reader = Reader::new(datagram);
    let Some(service) = reader.skip(8).and_then(|()| reader.le32()) else { return };
    client_is(proof, if service & 0x8000_0000 == 0 { end } else { end.other() });
    if let Some(id) = reader.array::<6>() {
        proof.facts.add("ads.net-id", net_id(id));
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    fn packet(states: u8, data: &[u8]) -> Vec<u8> {
        let mut packet = vec![0, 0, 32 + data.len() as u8, 0, 0, 0];
        packet.extend([5, 1, 2, 3, 1, 1, 0x53, 3, 5, 9, 9, 9, 1, 1, 0, 0x80, 1, 0, states, 0]);
        packet.extend([data.len() as u8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0]);
        packet.extend(data);
        packet
    }

    #[test]
    fn a_request_names_both_ends() {
        let bytes = packet(4, &[]);
        let Probe::Proven(proof) = harness::probe_messages(&Ads, Carrier::Tcp, &[&bytes]) else { panic!() };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.all("ads.net-id").collect::<Vec<_>>(), ["5.1.2.3.1.1", "5.9.9.9.1.1"]);
        assert_eq!(proof.facts.get("ads.command"), Some("read-device-info"));
        let Probe::Proven(proof) = harness::probe_messages(&Ads, Carrier::Tcp, &[&packet(5, &[1])]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::Second));
    }

    #[test]
    fn lengths_that_disagree_are_wrong() {
        let mut bytes = packet(4, &[1, 2]);
        bytes[2] += 1;
        assert_eq!(step_ams(&bytes), Step::Wrong);
    }

    #[test]
    fn discovery_is_told_by_its_cookie() {
        let mut datagram = COOKIE.to_vec();
        datagram.extend([0, 0, 0, 0, 1, 0, 0, 0, 5, 1, 2, 3, 1, 1, 0x10, 0x27, 0, 0, 0, 0]);
        let Probe::Proven(proof) = harness::probe_messages(&Ads, Carrier::Udp, &[&datagram]) else {
            panic!()
        };
        assert_eq!(proof.facts.get("ads.net-id"), Some("5.1.2.3.1.1"));
        assert_eq!(step_discovery(b"\x03\x66\x14\x72 not it, whatever follows"), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Ads, 0, 0);
        harness::check_steps(&Ads);
    }
}
