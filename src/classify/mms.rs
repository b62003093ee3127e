//! MMS over ISO transport: with the OSI session and presentation layers between them, or without.

use super::About;
use super::Carrier;
use super::Deed;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::ber;
use super::bytes::Reader;
use super::framed::Cut;
use super::tpkt;
use super::tpkt::Tpdu;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// Manufacturing messages.
pub struct Mms;

static ABOUT: About = About {
    name: "mms",
    title: "MMS (IEC 61850, ICCP)",
    spec: "ISO 9506-2:2003; IEC 61850-8-1:2011 clause 5; ITU-T X.225, X.226; RFC 1006",
    usual: &["tcp/102"],
    answers: true,
    facts: &[
        ("mms.service", "confirmed service asked for or answered: read, write, get-name-list ..."),
        (
            "mms.access",
            "what the services do: read, write (values, files), program (domains, program invocations), control (start, stop)",
        ),
    ],
};

impl Protocol for Mms {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        tpkt::may_begin(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => weigh::probe(seen, step, tell),
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        weigh::each_whole(payload, step, |packet| {
            let Cut::Whole(Tpdu::Data { user, .. }, _) = tpkt::cut(packet) else { return };
            let Some((CONFIRMED_REQUEST, body, _)) = pdu(user) else { return };
            let deed = service(body)
                .and_then(|number| Deed::of(access(number), "mms.service", service_name(number)));
            deed.into_iter().for_each(&mut *tell);
        });
    }
}

/// The MMS abstract syntax and application context, 1.0.9506.2 (ISO 9506-2 clause 24): what both begin with in BER.
const MMS_OBJECT: &[u8] = &[0x28, 0xca, 0x22, 0x02];
/// Where in a connect or accept the identifier is looked for.
const NEAR: usize = 400;
/// Session units that open: CONNECT, ACCEPT (X.225 section 8.3.1, 8.3.4).
const CONNECT: u8 = 0x0d;
const ACCEPT: u8 = 0x0e;
/// GIVE TOKENS and DATA TRANSFER, both without parameters: what comes before every user message (X.225 section 8.3.7).
const DATA_TRANSFER: [u8; 4] = [0x01, 0x00, 0x01, 0x00];
/// Fully encoded presentation data, and single-ASN1-type in it (X.226 section 8.2).
const FULLY_ENCODED: u8 = 0x61;
const SINGLE_TYPE: u8 = 0xa0;

/// MMS PDU tags (ISO 9506-2 clause 7).
const CONFIRMED_REQUEST: u8 = 0xa0;
const CONFIRMED_RESPONSE: u8 = 0xa1;
const CONFIRMED_ERROR: u8 = 0xa2;
const UNCONFIRMED: u8 = 0xa3;
const REJECT: u8 = 0xa4;
const INITIATE_REQUEST: u8 = 0xa8;
const INITIATE_RESPONSE: u8 = 0xa9;
const INITIATE_ERROR: u8 = 0xaa;
const CONCLUDE_REQUEST: u8 = 0x8b;
const CONCLUDE_RESPONSE: u8 = 0x8c;

fn step(bytes: &[u8]) -> Step {
    match tpkt::cut(bytes) {
        Cut::Wrong => Step::Wrong,
        Cut::Head(_) | Cut::Short => Step::Cut(begun(bytes)),
        Cut::Whole(Tpdu::Data { user, .. }, length) => Step::Whole(length, weight(user)),
        Cut::Whole(_, length) => Step::Whole(length, 0),
    }
}

/// What the beginning of a longer data unit weighs: the upper layers around a PDU are proof wherever it ends.
fn begun(bytes: &[u8]) -> u32 {
    match bytes {
        [3, 0, _, _, 2, 0xf0, _, user @ ..] if matches!(pdu(user), Some((_, _, true))) => PROOF,
        _ => 0,
    }
}

/// What the user data of one data unit weighs; the continuation of a longer message weighs nothing.
fn weight(user: &[u8]) -> u32 {
    match user.first() {
        Some(&(CONNECT | ACCEPT)) if opens_mms(user) => PROOF,
        _ => match pdu(user) {
            Some((_, _, true)) => PROOF,
            // Without the upper layers, a length that is exactly that of the data unit has to do.
            Some((_, _, false)) => 60,
            None => 0,
        },
    }
}

fn opens_mms(user: &[u8]) -> bool {
    let near = user.get(..user.len().min(NEAR)).unwrap_or_default();
    near.windows(MMS_OBJECT.len()).any(|window| window == MMS_OBJECT)
}

/// Tag and contents of the MMS PDU, and whether session and presentation layers are around it.
fn pdu(user: &[u8]) -> Option<(u8, &[u8], bool)> {
    let mut reader = Reader::new(user);
    let layered = reader.rest().first_chunk() == Some(&DATA_TRANSFER);
    if layered {
        reader.skip(DATA_TRANSFER.len())?;
        ber::enter(&mut reader, FULLY_ENCODED)?;
        ber::enter(&mut reader, ber::SEQUENCE)?;
        // The context identifier; 1 is that of the association control.
        let context = ber::integer(&mut reader)?;
        if !(1..=127).contains(&context) || context & 1 == 0 {
            return None;
        }
        ber::enter(&mut reader, SINGLE_TYPE)?;
    }
    let head = ber::header(reader.rest()).ok()?;
    let rest = reader.rest();
    let body = rest.get(head.size..).map(|body| body.get(..head.length).unwrap_or(body))?;
    let exact = head.total() == rest.len();
    (body_fits(head.tag, body) && (layered || exact)).then_some((head.tag, body, layered))
}

/// Whether a PDU's contents begin as its kind demands.
fn body_fits(tag: u8, body: &[u8]) -> bool {
    match (tag, body) {
        // The invoke id, an unsigned integer of 32 bits, then the service by a context tag, or modifiers before it.
        (CONFIRMED_REQUEST | CONFIRMED_RESPONSE, [ber::INTEGER, size @ 1..=5, rest @ ..]) => {
            rest.get(usize::from(*size)).is_some_and(|&tag| tag & 0x80 != 0 || tag == ber::SEQUENCE)
        }
        (CONFIRMED_ERROR, [0x80, 1..=5, ..]) => true,
        // Information report, unsolicited status, event notification.
        (UNCONFIRMED, [0xa0..=0xa2, ..]) => true,
        (REJECT, [0x80..=0x8b, 1..=5, ..]) => true,
        // Local detail, then the numbers of services outstanding.
        (INITIATE_REQUEST | INITIATE_RESPONSE, [0x80, 1..=5, ..] | [0x81, 1..=2, ..]) => true,
        (INITIATE_ERROR, [0xa0, ..]) => true,
        (CONCLUDE_REQUEST | CONCLUDE_RESPONSE, []) => true,
        _ => false,
    }
}

fn tell(end: End, packet: &[u8], proof: &mut Proof) {
    let Cut::Whole(tpdu, _) = tpkt::cut(packet) else { return };
    let user = match tpdu {
        Tpdu::Request(_) => return client_is(proof, end),
        Tpdu::Confirm(_) => return client_is(proof, end.other()),
        Tpdu::Data { user, .. } => user,
        Tpdu::Refusal => return,
    };
    match user.first() {
        Some(&CONNECT) => return client_is(proof, end),
        Some(&ACCEPT) => return client_is(proof, end.other()),
        _ => {}
    }
    let Some((tag, body, _)) = pdu(user) else { return };
    match tag {
        CONFIRMED_REQUEST | INITIATE_REQUEST | CONCLUDE_REQUEST => client_is(proof, end),
        CONFIRMED_RESPONSE | CONFIRMED_ERROR | UNCONFIRMED | INITIATE_RESPONSE | INITIATE_ERROR
        | CONCLUDE_RESPONSE => client_is(proof, end.other()),
        _ => {}
    }
    if matches!(tag, CONFIRMED_REQUEST | CONFIRMED_RESPONSE)
        && let Some(number) = service(body)
    {
        if let Some(name) = service_name(number) {
            proof.facts.add("mms.service", name);
        }
        if let Some(access) = access(number).filter(|_| tag == CONFIRMED_REQUEST) {
            proof.facts.add("mms.access", access);
        }
    }
}

/// What a confirmed service does to the server (ISO 9506-1): named variables, lists and the like that only describe are not told.
fn access(service: u8) -> Option<&'static str> {
    match service {
        0..=2 | 4 | 6 | 12 | 45 | 65 | 73 | 77 => Some("read"),
        5 | 46 | 75 | 76 => Some("write"),
        26..=28 | 35 | 36 | 38 | 39 => Some("program"),
        40..=44 => Some("control"),
        _ => None,
    }
}

/// The number of the service of a confirmed request or response, from its tag (ISO 9506-2 clause 7.3).
fn service(body: &[u8]) -> Option<u8> {
    let mut reader = Reader::new(body);
    ber::integer(&mut reader)?;
    match reader.u8()? & 0x1f {
        // Numbers from 31 take a second octet (X.690 section 8.1.2.4).
        0x1f => reader.u8(),
        number => Some(number),
    }
}

fn service_name(number: u8) -> Option<&'static str> {
    Some(match number {
        0 => "status",
        1 => "get-name-list",
        2 => "identify",
        3 => "rename",
        4 => "read",
        5 => "write",
        6 => "get-variable-access-attributes",
        11 => "define-named-variable-list",
        12 => "get-named-variable-list-attributes",
        13 => "delete-named-variable-list",
        26 => "initiate-download-sequence",
        27 => "download-segment",
        28 => "terminate-download-sequence",
        29 => "initiate-upload-sequence",
        30 => "upload-segment",
        31 => "terminate-upload-sequence",
        35 => "load-domain-content",
        36 => "delete-domain",
        38 => "create-program-invocation",
        39 => "delete-program-invocation",
        40 => "start",
        41 => "stop",
        42 => "resume",
        43 => "reset",
        44 => "kill",
        45 => "get-program-invocation-attributes",
        46 => "obtain-file",
        65 => "read-journal",
        72 => "file-open",
        73 => "file-read",
        74 => "file-close",
        75 => "file-rename",
        76 => "file-delete",
        77 => "file-directory",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    fn data(user: &[u8]) -> Vec<u8> {
        let mut packet = vec![3, 0, 0, 7 + user.len() as u8, 2, 0xf0, 0x80];
        packet.extend(user);
        packet
    }

    /// A read of one variable, and the answer to an identify.
    const READ: &[u8] =
        b"\x01\0\x01\0\x61\x14\x30\x12\x02\x01\x03\xa0\x0d\xa0\x0b\x02\x01\x07\xa4\x06\xa1\x04\xa0\x02\x30\0";
    const IDENTIFIED: &[u8] = b"\xa1\x08\x02\x01\x08\xa2\x03\x80\x01a";

    #[test]
    fn a_read_from_the_middle() {
        let Probe::Proven(proof) = harness::probe_messages(&Mms, Carrier::Tcp, &[&data(READ)]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("mms.service"), Some("read"));
    }

    #[test]
    fn without_upper_layers_the_length_must_fit() {
        let Probe::Proven(proof) = harness::probe_messages(&Mms, Carrier::Tcp, &[&data(IDENTIFIED)]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::Second));
        assert_eq!(proof.facts.get("mms.service"), Some("identify"));
        assert_eq!(weight(&[IDENTIFIED, b"x"].concat()), 0);
    }

    #[test]
    fn other_users_of_iso_transport_are_none() {
        assert_eq!(weight(&[0x32, 1, 0, 0, 0, 1, 0, 8, 0, 0, 0xf0, 0]), 0);
        assert_eq!(weight(&[0x72, 1, 0, 4, 0x31, 0, 0, 0]), 0);
        // MCS of a remote desktop.
        assert_eq!(weight(&[0x7f, 0x65, 0x82, 1, 0xbe, 4, 1, 1]), 0);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Mms, 0, 0);
        harness::check_steps(&Mms);
    }
}
