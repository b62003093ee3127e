//! Modbus/TCP: messages by the MBAP header and the shapes of their PDUs, and what proves the protocol.
//!
//! MODBUS Messaging on TCP/IP Implementation Guide V1.0b (section 3.1 for the header).

use compact_str::ToCompactString;

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
use super::framed::alone;
use super::framed::each_whole;
use super::framed::probe;
use super::modbus_pdu::EXCEPTION;
use super::modbus_pdu::Shape;
use super::modbus_pdu::UMAS;
use super::modbus_pdu::access;
use super::modbus_pdu::function_name;
use super::modbus_pdu::is_assigned;
use super::modbus_pdu::is_request;
use super::modbus_pdu::is_telling;
use super::modbus_pdu::known_name;
use super::modbus_pdu::shape;
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
/// One application data unit, whole, as its header frames it.
#[derive(Clone, Copy, Debug)]
struct Frame<'a> {
    transaction: u16,
    unit: u8,
    function: u8,
    /// What follows the function.
    data: &'a [u8],
}

impl Frame<'_> {
    /// Whether it is as well the beginning of an LDAP message as Windows writes them: a BER sequence with a length of
    /// four octets and an integer of one to four, 30 84 00 00 LL LL 02 01, has the very header of Modbus.
    fn is_ber(&self) -> bool {
        matches!((self.transaction, self.unit, self.function), (0x3084, 2, 1..=4))
    }

    /// The request of Schneider Electric's protocol inside function 90, or the status of its answer: a session key precedes it.
    fn umas(&self) -> Option<u8> {
        self.data.get(1).copied().filter(|_| self.function == UMAS)
    }
}

/// One application data unit with its shape.
#[derive(Clone, Copy, Debug)]
struct Adu {
    transaction: u16,
    unit: u8,
    function: u8,
    shape: Shape,
    /// Whether its shape leaves little to chance: [`is_telling`].
    telling: bool,
    /// See [`Frame::is_ber`] and [`Frame::umas`].
    ber: bool,
    umas: Option<u8>,
}

impl Adu {
    fn is_exact(&self) -> bool {
        self.shape != Shape::Loose && !self.ber
    }

    /// Whether this can be the response to that.
    fn answers(&self, request: &Self) -> bool {
        !self.ber
            && self.transaction == request.transaction
            && self.unit == request.unit
            && self.function & !EXCEPTION == request.function
            && self.shape != Shape::Request
            && request.shape != Shape::Response
    }

    fn tell(&self, facts: &mut Facts) {
        let function = self.function & !EXCEPTION;
        facts.add("modbus.unit", self.unit.to_compact_string());
        facts.add("modbus.function", function_name(function));
        if let Some(access) = access(function, self.umas) {
            facts.add("modbus.access", access);
        }
    }
}

fn cut(bytes: &[u8]) -> Cut<Adu> {
    match frame(bytes) {
        Cut::Whole(frame, length) => {
            let Frame { transaction, unit, function, data } = frame;
            let (ber, umas) = (frame.is_ber(), frame.umas());
            let (shape, telling) = (shape(function, data), is_telling(function, data));
            Cut::Whole(Adu { transaction, unit, function, shape, telling, ber, umas }, length)
        }
        Cut::Short => Cut::Short,
        Cut::Head(_) | Cut::Wrong => Cut::Wrong,
    }
}

fn frame(bytes: &[u8]) -> Cut<Frame<'_>> {
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
    Cut::Whole(Frame { transaction, unit, function, data }, BEFORE_LENGTH + length)
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
        // One alone, where nothing else was said in between.
        let alone = walk.strangers == 0 && exact().any(|found| found.flush && found.message.telling);
        alone || exact().count() >= 2
    });
    // Shapes outside the specification, one side heard: only a run of them, each beginning where the last one ended. A counter and a
    // length before a text look the same: the functions must be assigned ones.
    let loose = walks.iter().any(|walk| {
        walk.messages().filter(|adu| !adu.ber && is_assigned(adu.function & !EXCEPTION)).count() >= 4
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
            let mut facts = seen.facts();
            walks.iter().flat_map(Walk::messages).for_each(|adu| adu.tell(&mut facts));
            Proof { client: client(walks), facts, ..Proof::default() }
        })
    }

    fn gist(&self, _: Carrier, payload: &[u8]) -> Option<u64> {
        let adu = alone(payload, cut).filter(|adu| !adu.ber)?;
        let umas = adu.umas.map_or(0, |request| u64::from(request) + 1);
        Some(u64::from(adu.unit) << 32 | u64::from(adu.function) << 24 | (adu.shape as u64) << 16 | umas)
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        each_whole(payload, frame, |adu: Frame<'_>| {
            if is_request(adu.function, adu.data) && !adu.is_ber() {
                let access = access(adu.function, adu.umas());
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
    fn a_shape_of_any_bytes_needs_another_message_or_its_answer() {
        let any = "df25 0000 0008 03 08 0000 a537 1700";
        assert_eq!(check(any, ""), Probe::NeedMore);
        assert!(check(any, any).proof().is_some());
        assert!(check(&format!("{any} {any}"), "").proof().is_some());
        assert!(check("df25 0000 0006 03 08 0000 a537", "").proof().is_some());
    }

    #[test]
    fn one_message_among_other_datagrams_is_chance() {
        let (other, one) = (hex("7bb1 0102 000f 1e02 0000 1900"), hex("34ac 0000 0007 00 17 04 0010 0900"));
        let probe = |messages: &[&[u8]]| probe_both(&Modbus, Carrier::Udp, messages, &[]);
        assert_eq!(probe(&[&other, &one]), Probe::NeedMore);
        assert!(probe(&[&one]).proof().is_some());
        assert!(probe(&[&other, &one, &one]).proof().is_some());
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
}
