//! Modbus/TCP: the MBAP header and the exact shapes of requests and responses, UMAS of Schneider Electric included.
//!
//! MODBUS Messaging on TCP/IP Implementation Guide V1.0b (section 3.1 for the header) and MODBUS Application Protocol
//! Specification V1.1b3 (section 6 for the functions, 7 for exceptions).

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
use crate::model::Facts;

/// Recognises Modbus/TCP, and the same messages in UDP datagrams.
pub struct Modbus;

static ABOUT: About = About {
    name: "modbus",
    title: "Modbus/TCP",
    spec: "MODBUS Messaging on TCP/IP V1.0b; MODBUS Application Protocol V1.1b3",
    usual: &["tcp/502"],
    answers: true,
    facts: &[
        ("modbus.unit", "unit identifier addressed"),
        ("modbus.function", "function by name, or as 0x5b where it has none"),
        ("modbus.access", "what the functions do: read, write, diagnostic"),
    ],
};

/// Transaction, protocol and length fields: what precedes the bytes that the length field counts.
const BEFORE_LENGTH: usize = 6;
/// Unit and function, the least that a length may count; unit and the longest PDU, the most (V1.0b section 3.1.2).
const LENGTHS: std::ops::RangeInclusive<usize> = 2..=254;
/// UMAS negotiates PDUs beyond the standard's 253 bytes, up to 1,024.
const LONGEST_UMAS: usize = 1025;
/// The bit that makes a function code an exception (V1.1b3 section 7).
const EXCEPTION: u8 = 0x80;
/// Schneider Electric's programming protocol inside function 90.
const UMAS: u8 = 0x5a;

/// How far a PDU agrees with the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Exactly a request of its function.
    Request,
    /// Exactly a response.
    Response,
    /// Exactly, but requests and responses look alike.
    Either,
    /// Framed correctly; nothing more can be said.
    Loose,
}

/// One application data unit, whole.
#[derive(Clone, Copy, Debug)]
struct Adu {
    transaction: u16,
    unit: u8,
    function: u8,
    shape: Shape,
    /// The request of Schneider Electric's protocol inside function 90, or the status of its answer.
    umas: Option<u8>,
}

impl Adu {
    fn is_exact(&self) -> bool {
        self.shape != Shape::Loose && !self.is_ber()
    }

    /// Whether it is as well the beginning of an LDAP message as Windows writes them: a BER sequence with a length of
    /// four octets and an integer of one to four, 30 84 00 00 LL LL 02 01, has the very header of Modbus.
    fn is_ber(&self) -> bool {
        matches!((self.transaction, self.unit, self.function), (0x3084, 2, 1..=4))
    }

    /// Whether this can be the response to that.
    fn answers(&self, request: &Self) -> bool {
        !self.is_ber()
            && self.transaction == request.transaction
            && self.unit == request.unit
            && self.function & !EXCEPTION == request.function
            && self.shape != Shape::Request
            && request.shape != Shape::Response
    }

    fn tell(&self, facts: &mut Facts) {
        let function = self.function & !EXCEPTION;
        facts.add("modbus.unit", self.unit.to_string());
        facts.add("modbus.function", function_name(function));
        if let Some(access) = access(function, self.umas) {
            facts.add("modbus.access", access);
        }
    }
}

fn cut(bytes: &[u8]) -> Cut<Adu> {
    let Some((&[t0, t1, p0, p1, l0, l1, unit, function], _)) = bytes.split_first_chunk::<8>() else {
        return match bytes {
            [] | [_] | [_, _] | [_, _, 0] | [_, _, 0, 0] | [_, _, 0, 0, 0..=4, ..] => Cut::Short,
            _ => Cut::Wrong,
        };
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let fits = LENGTHS.contains(&length) || (function & !EXCEPTION == UMAS && length <= LONGEST_UMAS);
    if [p0, p1] != [0, 0] || !fits || function & !EXCEPTION == 0 {
        return Cut::Wrong;
    }
    // Unit, function and exception code; some devices pad it to four bytes, which then proves little.
    if function & EXCEPTION != 0 && function & !EXCEPTION != UMAS && !(3..=4).contains(&length) {
        return Cut::Wrong;
    }
    let Some(data) = bytes.get(8..BEFORE_LENGTH + length) else { return Cut::Short };
    let transaction = u16::from_be_bytes([t0, t1]);
    // A session key precedes it.
    let umas = data.get(1).copied().filter(|_| function == UMAS);
    Cut::Whole(
        Adu { transaction, unit, function, shape: shape(function, data), umas },
        BEFORE_LENGTH + length,
    )
}

/// Holds the bytes after the function code against V1.1b3 section 6.
fn shape(function: u8, data: &[u8]) -> Shape {
    let request = is_request(function, data);
    let response = is_response(function, data);
    match (request, response) {
        (true, true) => Shape::Either,
        (true, false) => Shape::Request,
        (false, true) => Shape::Response,
        (false, false) => Shape::Loose,
    }
}

fn is_request(function: u8, data: &[u8]) -> bool {
    match (function, data) {
        // Read coils, discrete inputs: at most 2000; registers: at most 125.
        (1 | 2, &[_, _, high, low]) => (1..=2000).contains(&be(high, low)),
        (3 | 4, &[_, _, high, low]) => (1..=125).contains(&be(high, low)),
        (5, [_, _, 0x00 | 0xff, 0]) | (6, [_, _, _, _]) => true,
        (8, data) => is_diagnostic(data),
        (15, &[_, _, high, low, count, ref values @ ..]) => {
            let quantity = be(high, low);
            (1..=0x7b0).contains(&quantity)
                && quantity.div_ceil(8) == usize::from(count)
                && values.len() == usize::from(count)
        }
        (16, &[_, _, high, low, count, ref values @ ..]) => {
            let quantity = be(high, low);
            (1..=123).contains(&quantity)
                && 2 * quantity == usize::from(count)
                && values.len() == usize::from(count)
        }
        (20, &[count, ref groups @ ..]) => {
            groups.len() == usize::from(count)
                && !groups.is_empty()
                && groups.len().is_multiple_of(7)
                && groups.chunks(7).all(|group| group.first() == Some(&6))
        }
        (21, data) => is_file_write(data),
        (22, data) => data.len() == 6,
        (23, &[_, _, r0, r1, _, _, w0, w1, count, ref values @ ..]) => {
            (1..=125).contains(&be(r0, r1))
                && (1..=121).contains(&be(w0, w1))
                && 2 * be(w0, w1) == usize::from(count)
                && values.len() == usize::from(count)
        }
        (24, data) => data.len() == 2,
        // Some clients pad the three bytes of section 6.21 with one more.
        (43, [0x0e, 1..=4, _] | [0x0e, 1..=4, _, 0]) => true,
        _ => false,
    }
}

fn is_response(function: u8, data: &[u8]) -> bool {
    match (function, data) {
        (1 | 2, &[count, ref values @ ..]) => counts(count, values),
        (3 | 4 | 23, &[count, ref values @ ..]) => count.is_multiple_of(2) && counts(count, values),
        (5, [_, _, 0x00 | 0xff, 0]) | (6, [_, _, _, _]) => true,
        (8, data) => is_diagnostic(data),
        (11, &[high, low, _, _]) => matches!([high, low], [0, 0] | [0xff, 0xff]),
        (12 | 17, &[count, ref values @ ..]) => counts(count, values),
        (15, &[_, _, high, low]) => (1..=0x7b0).contains(&be(high, low)),
        (16, &[_, _, high, low]) => (1..=123).contains(&be(high, low)),
        (20, &[count, ref groups @ ..]) => counts(count, groups) && is_file_answer(groups),
        (21, data) => is_file_write(data),
        (22, data) => data.len() == 6,
        (24, &[b0, b1, c0, c1, ref values @ ..]) => {
            be(c0, c1) <= 31 && be(b0, b1) == 2 + values.len() && values.len() == 2 * be(c0, c1)
        }
        (43, &[0x0e, 1..=4, _, 0 | 0xff, _, number, ref objects @ ..]) => is_objects(number, objects),
        // Exception codes of section 7; 7, 9 are unassigned but in use.
        (0x81.., [1..=11]) => true,
        _ => false,
    }
}

fn be(high: u8, low: u8) -> usize {
    usize::from(u16::from_be_bytes([high, low]))
}

fn counts(count: u8, values: &[u8]) -> bool {
    count > 0 && values.len() == usize::from(count)
}

/// Sub-functions of section 6.8, each with one word of data; sub-function 0 echoes any number of words.
fn is_diagnostic(data: &[u8]) -> bool {
    match data {
        [0, 0, rest @ ..] => !rest.is_empty() && rest.len().is_multiple_of(2),
        [0, 1..=4 | 10..=18 | 20, _, _] => true,
        _ => false,
    }
}

/// Section 6.15: sub-requests of reference type 6, each with its record length.
fn is_file_write(data: &[u8]) -> bool {
    let Some((&count, mut groups)) = data.split_first() else { return false };
    if !counts(count, groups) {
        return false;
    }
    while let &[6, _, _, _, _, high, low, ref rest @ ..] = groups {
        let Some(after) = rest.get(2 * be(high, low)..) else { return false };
        groups = after;
    }
    groups.is_empty()
}

/// Section 6.14: each sub-response is its length, reference type 6, and data.
fn is_file_answer(mut groups: &[u8]) -> bool {
    while let &[length, ref rest @ ..] = groups {
        let Some((group, after)) = rest.split_at_checked(usize::from(length)) else { return false };
        if group.first() != Some(&6) {
            return false;
        }
        groups = after;
    }
    true
}

/// Section 6.21: objects of id, length and value.
fn is_objects(number: u8, mut objects: &[u8]) -> bool {
    let mut seen = 0_u16;
    while let &[_, length, ref rest @ ..] = objects {
        let Some(after) = rest.get(usize::from(length)..) else { return false };
        objects = after;
        seen += 1;
    }
    objects.is_empty() && seen == u16::from(number)
}

fn function_name(function: u8) -> String {
    known_name(function).map_or_else(|| format!("0x{function:02x}"), str::to_owned)
}

/// The name of a function that has one.
fn known_name(function: u8) -> Option<&'static str> {
    Some(match function {
        1 => "read-coils",
        2 => "read-discrete-inputs",
        3 => "read-holding-registers",
        4 => "read-input-registers",
        5 => "write-single-coil",
        6 => "write-single-register",
        7 => "read-exception-status",
        8 => "diagnostics",
        11 => "get-comm-event-counter",
        12 => "get-comm-event-log",
        15 => "write-multiple-coils",
        16 => "write-multiple-registers",
        17 => "report-server-id",
        20 => "read-file-record",
        21 => "write-file-record",
        22 => "mask-write-register",
        23 => "read-write-multiple-registers",
        24 => "read-fifo-queue",
        43 => "encapsulated-interface-transport",
        UMAS => "umas",
        _ => return None,
    })
}

/// Public and user-defined function codes (V1.1b3 sections 5 and 6), and Schneider Electric's.
fn is_assigned(function: u8) -> bool {
    matches!(function, 1..=8 | 11 | 12 | 15..=17 | 20..=24 | 43 | UMAS | 65..=72 | 100..=110)
}

/// What a function does. UMAS requests (published analyses; Schneider Electric has no specification): memory, variables, coils and
/// registers written, the controller started and stopped.
fn access(function: u8, umas: Option<u8>) -> Option<&'static str> {
    match function {
        UMAS if matches!(umas, Some(0x21 | 0x23 | 0x25 | 0x40 | 0x41)) => Some("write"),
        1..=4 | 20 | 24 => Some("read"),
        5 | 6 | 15 | 16 | 21..=23 => Some("write"),
        7 | 8 | 11 | 12 | 17 | 43 | UMAS => Some("diagnostic"),
        _ => None,
    }
}

/// Whether both sides together prove it.
fn is_proved(walks: &[Walk<Adu>; 2]) -> bool {
    let [first, second] = walks;
    let pairs = |asker: &Walk<Adu>, server: &Walk<Adu>| {
        asker.messages().any(|request| server.messages().any(|response| response.answers(request)))
    };
    let paired = pairs(first, second) || pairs(second, first);
    let exact = walks.iter().any(|walk| {
        let exact = || walk.found.iter().filter(|found| found.message.is_exact());
        exact().any(|found| found.flush) || exact().count() >= 2
    });
    // Shapes outside the specification, one side heard: only a run of them, each beginning where the last one ended. A counter and a
    // length before a text look the same: the functions must be assigned ones.
    let loose = walks.iter().any(|walk| {
        walk.messages().filter(|adu| !adu.is_ber() && is_assigned(adu.function & !EXCEPTION)).count() >= 4
    });
    paired || exact || loose
}

/// Who asks, where messages of one shape alone tell.
fn client(walks: &[Walk<Adu>; 2]) -> Option<End> {
    let [first, second] = walks;
    let sends = |walk: &Walk<Adu>, shape| walk.messages().any(|adu| adu.shape == shape);
    [(first, End::First), (second, End::Second)].into_iter().find_map(|(walk, end)| {
        match (sends(walk, Shape::Request), sends(walk, Shape::Response)) {
            (true, false) => Some(end),
            (false, true) => Some(end.other()),
            _ => None,
        }
    })
}

impl Protocol for Modbus {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            2 | 3 => byte == 0,
            4 => usize::from(byte) <= LONGEST_UMAS >> 8,
            7 => byte & !EXCEPTION != 0,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if matches!(seen.carrier, Carrier::Ethernet(_)) {
            return Probe::No;
        }
        probe(seen, cut, is_proved, |walks| {
            let mut facts = Facts::new();
            walks.iter().flat_map(Walk::messages).for_each(|adu| adu.tell(&mut facts));
            Proof { client: client(walks), facts, ..Proof::default() }
        })
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        each_whole(payload, cut, |adu: Adu| {
            if adu.is_exact() && adu.shape != Shape::Response {
                let access = access(adu.function, adu.umas);
                Deed::of(access, "modbus.function", known_name(adu.function))
                    .into_iter()
                    .for_each(&mut *tell);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;

    fn check(first: &str, second: &str) -> Probe {
        let (first, second) = (hex(first), hex(second));
        let sides =
            [&first, &second].map(|side| if side.is_empty() { vec![] } else { vec![side.as_slice()] });
        probe_both(&Modbus, Carrier::Tcp, &sides[0], &sides[1])
    }

    fn client(probe: &Probe) -> Option<End> {
        match probe {
            Probe::Proven(proof) => proof.client,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_exact_request_or_response_proves_it() {
        assert_eq!(client(&check("0001 0000 0006 01 03 0000 000a", "")), Some(End::First));
        assert_eq!(client(&check("0001 0000 0005 01 03 02 1234", "")), Some(End::Second));
        assert_eq!(client(&check("0001 0000 0003 01 83 02", "")), Some(End::Second));
        assert_eq!(client(&check("0001 0000 0006 01 06 0000 000a", "")), None);
    }

    #[test]
    fn functions_outside_the_specification_need_their_answer() {
        assert_eq!(check("0001 0000 0004 00 5a 00 02", ""), Probe::NeedMore);
        assert!(matches!(
            check("0001 0000 0004 00 5a 00 02", "0001 0000 0005 00 5a 00 fe 00"),
            Probe::Proven(_)
        ));
        assert_eq!(check("0001 0000 0004 00 5a 00 02", "0002 0000 0005 00 5a 00 fe 00"), Probe::NeedMore);
    }

    #[test]
    fn pipelined_and_split_messages_are_found() {
        let probe = check("0001 0000 0006 01 03 0000 000a 0002 0000 0006 01 10", "");
        assert_eq!(probe, Probe::NeedMore);
        let probe = check("0001 0000 0006 01 03 0000 000a 0002 0000 0006 01 03 0000 000a 00", "");
        assert_eq!(client(&probe), Some(End::First));
    }

    #[test]
    fn neighbours_are_not_claimed() {
        // Another protocol identifier, a length beyond the standard, function 0, RTU framing, a query for mDNS.
        for bytes in [
            "0001 0001 0006 01 03 0000 000a",
            "0001 0000 0106 01 03 0000 000a",
            "0001 0000 0002 01 00",
            "01 03 0000 000a c5cd 01 03",
            "0000 0000 0001 0000 0000 0000 05 5f 68 74 74 70",
        ] {
            assert!(check(bytes, "").proof().is_none(), "{bytes}");
        }
        // LDAP by Windows: unbind, and a search whose message id happens to count the bytes behind it.
        assert_eq!(check("3084 0000 0005 02 01 07 42 00", "3084 0000 0005 02 01 07 42 00"), Probe::NeedMore);
        assert_eq!(check("3084 0000 0005 02 01 02 42 00", ""), Probe::NeedMore);
        // Zeros fit the header's protocol field and nothing else.
        assert!(check(&"00".repeat(56), "").proof().is_none());
    }

    #[test]
    fn every_shape_of_the_specification_is_exact() {
        for (function, data, expected) in [
            (1, "0013 0013", Shape::Request),
            (1, "03 cd 6b 05", Shape::Response),
            (5, "00ac ff00", Shape::Either),
            (8, "0000 a537", Shape::Either),
            (11, "ffff 0108", Shape::Response),
            (15, "0013 000a 02 cd01", Shape::Request),
            (15, "0013 000a", Shape::Response),
            (16, "0001 0002 04 000a 0102", Shape::Request),
            (20, "0e 06 0004 0001 0002 06 0003 0009 0002", Shape::Request),
            (20, "0c 05 06 0dfe 0020 05 06 33cd 0040", Shape::Response),
            (21, "0d 06 0004 0007 0003 06af 04be 100d", Shape::Either),
            (23, "0003 0006 000e 0003 06 00ff 00ff 00ff", Shape::Request),
            (24, "0006 0002 01b8 1284", Shape::Response),
            (43, "0e 01 00", Shape::Request),
            (43, "0e 01 01 00 00 01 00 03 616263", Shape::Response),
            (3, "0000 0000", Shape::Loose),
        ] {
            assert_eq!(shape(function, &hex(data)), expected, "{function} {data}");
        }
    }
}
