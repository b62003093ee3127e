//! Modbus RTU in TCP streams: frames of a serial line as gateways pass them on, with their CRC and without a header.

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
use super::framed::each_whole;
use super::framed::probe;
use super::modbus_pdu::EXCEPTION;
use super::modbus_pdu::Shape;
use super::modbus_pdu::access;
use super::modbus_pdu::function_name;
use super::modbus_pdu::is_request;
use super::modbus_pdu::known_name;
use super::modbus_pdu::shape;

/// Modbus RTU.
pub struct ModbusRtu;

static ABOUT: About = About {
    name: "modbus-rtu",
    title: "Modbus RTU over TCP",
    spec: "MODBUS over Serial Line V1.02 section 2.5.1 and appendix B; MODBUS Application Protocol V1.1b3",
    // Gateways take what they are configured to; the first serial port of widely used ones.
    usual: &["tcp/4001", "tcp/502"],
    answers: true,
    facts: &[
        ("modbus.unit", "address of the device on the line"),
        ("modbus.function", "function by name"),
        ("modbus.access", "what the functions do: read, write, diagnostic"),
    ],
};

/// Address and function before the data, the check behind it.
const HEAD: usize = 2;
const CHECK: usize = 2;
/// The longest frame on a serial line (V1.02 section 2.5.1).
const LONGEST: usize = 256;
/// The highest address of a device (section 2.2); 0 is for all.
const HIGHEST_UNIT: u8 = 247;
/// Frames of one end alone that prove it: three right checks in a row are no chance.
const ALONE: usize = 3;

/// A whole frame whose check is right.
#[derive(Clone, Copy, Debug)]
struct Frame<'a> {
    unit: u8,
    function: u8,
    data: &'a [u8],
}

/// What is kept of a frame.
#[derive(Clone, Copy, Debug)]
struct Told {
    unit: u8,
    function: u8,
    shape: Shape,
    /// The first bytes of its data, zero where there are fewer.
    begins: [u8; 4],
}

impl Told {
    /// Whether this is an answer to that request, and of the size that it asks for.
    fn answers(&self, request: &Self) -> bool {
        let asks = matches!(request.shape, Shape::Request | Shape::Either);
        let to_it = self.unit == request.unit && self.function & !EXCEPTION == request.function;
        let [_, _, high, low] = request.begins;
        let quantity = usize::from(u16::from_be_bytes([high, low]));
        let bytes = usize::from(self.begins[0]);
        let fits = match self.function {
            EXCEPTION.. => true,
            1 | 2 => bytes == quantity.div_ceil(8),
            3 | 4 | 23 => bytes == 2 * quantity,
            5 | 6 | 8 | 15 | 16 | 22 => self.begins == request.begins,
            _ => true,
        };
        asks && to_it && fits && matches!(self.shape, Shape::Response | Shape::Either)
    }
}

/// How long a request and an answer of a function are, address and check included, as far as their first bytes tell.
fn lengths(bytes: &[u8]) -> [Option<usize>; 2] {
    let at = |at: usize| bytes.get(at).map(|&byte| usize::from(byte));
    let counted = |place: usize, fixed: usize| at(place).map(|count| fixed + count);
    let Some(&function) = bytes.get(1) else { return [None, None] };
    match function {
        1..=4 => [Some(8), counted(2, 5)],
        5 | 6 | 8 => [Some(8), Some(8)],
        15 | 16 => [counted(6, 9), Some(8)],
        20 => [counted(2, 5), counted(2, 5)],
        22 => [Some(10), Some(10)],
        23 => [counted(10, 13), counted(2, 5)],
        _ => [Some(5), Some(5)],
    }
}

/// The functions whose frames show where they end, and their exceptions.
fn is_framed(function: u8) -> bool {
    matches!(function & !EXCEPTION, 1..=6 | 8 | 15 | 16 | 20 | 22 | 23)
}

fn frame(bytes: &[u8]) -> Cut<Frame<'_>> {
    if !bytes.iter().take(HEAD).enumerate().all(|(at, &byte)| may_stand(at, byte)) {
        return Cut::Wrong;
    }
    let mut waits = bytes.len() < HEAD + 1;
    for length in lengths(bytes) {
        match length {
            Some(length) if length > LONGEST => {}
            Some(length) => match bytes.get(..length) {
                Some(whole) => {
                    if let Some(frame) = checked(whole) {
                        return Cut::Whole(frame, length);
                    }
                }
                None => waits = true,
            },
            None => waits = true,
        }
    }
    if waits { Cut::Short } else { Cut::Wrong }
}

/// A frame of exactly these bytes, if its check and its shape are right.
fn checked(bytes: &[u8]) -> Option<Frame<'_>> {
    let (inside, check) = bytes.split_last_chunk::<CHECK>()?;
    let (&[unit, function], data) = inside.split_first_chunk::<HEAD>()?;
    let right = shape(function, data) != Shape::Loose && crc(inside) == u16::from_le_bytes(*check);
    right.then_some(Frame { unit, function, data })
}

/// CRC-16 of the serial line (V1.02 section 6.2.2): polynomial A001 reflected, all ones to begin with.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 })
    })
}

fn may_stand(at: usize, byte: u8) -> bool {
    match at {
        0 => byte <= HIGHEST_UNIT,
        1 => is_framed(byte),
        _ => true,
    }
}

fn cut(bytes: &[u8]) -> Cut<Told> {
    match frame(bytes) {
        Cut::Whole(Frame { unit, function, data }, length) => {
            let mut begins = [0; 4];
            begins.iter_mut().zip(data).for_each(|(to, &from)| *to = from);
            Cut::Whole(Told { unit, function, shape: shape(function, data), begins }, length)
        }
        Cut::Short => Cut::Short,
        Cut::Head(_) | Cut::Wrong => Cut::Wrong,
    }
}

/// A request and its answer, both checked; or several frames of one end.
fn is_proved(walks: &[Walk<Told>; 2]) -> bool {
    let [first, second] = walks;
    let pairs = |asker: &Walk<Told>, server: &Walk<Told>| {
        asker.messages().any(|request| server.messages().any(|answer| answer.answers(request)))
    };
    let alone = |walk: &Walk<Told>| {
        walk.strangers == 0 && walk.found.iter().filter(|found| found.flush).count() >= ALONE
    };
    pairs(first, second) || pairs(second, first) || alone(first) || alone(second)
}

/// Who asks, where frames of one shape alone tell.
fn client(walks: &[Walk<Told>; 2]) -> Option<End> {
    let sends = |walk: &Walk<Told>, shape| walk.messages().any(|told| told.shape == shape);
    [End::First, End::Second].into_iter().zip(walks).find_map(|(end, walk)| {
        match (sends(walk, Shape::Request), sends(walk, Shape::Response)) {
            (true, false) => Some(end),
            (false, true) => Some(end.other()),
            _ => None,
        }
    })
}

impl Protocol for ModbusRtu {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        carrier == Carrier::Tcp && may_stand(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        probe(seen, cut, is_proved, |walks| {
            // What it says is Modbus, whatever frames it: a document that names that is kept to.
            let mut proof = Proof {
                layers: vec![ABOUT.name, "modbus"],
                client: client(walks),
                facts: seen.facts(),
                ..Proof::default()
            };
            for told in walks.iter().flat_map(Walk::messages) {
                let function = told.function & !EXCEPTION;
                proof.facts.add("modbus.unit", told.unit.to_compact_string());
                proof.facts.add("modbus.function", function_name(function));
                if let Some(access) = access(function, None) {
                    proof.facts.add("modbus.access", access);
                }
            }
            proof
        })
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        each_whole(payload, frame, |Frame { function, data, .. }| {
            if is_request(function, data) {
                Deed::of(access(function, None), "modbus.function", known_name(function))
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

    /// A frame with its check.
    fn sealed(text: &str) -> Vec<u8> {
        let bytes = hex(text);
        [&bytes[..], &crc(&bytes).to_le_bytes()].concat()
    }

    fn proof(first: &[&[u8]], second: &[&[u8]]) -> Option<Proof> {
        probe_both(&ModbusRtu, Carrier::Tcp, first, second).proof()
    }

    #[test]
    fn the_check_is_that_of_the_specification() {
        // V1.02 section 6.2.2: the frame 02 07 has the check 41 12, low byte first.
        assert_eq!(crc(&[0x02, 0x07]), 0x1241);
    }

    #[test]
    fn a_request_and_its_answer() {
        let asks = sealed("11 03 006b 0003");
        let answer = sealed("11 03 06 ae41 5652 4340");
        let told = proof(&[&asks], &[&answer]).expect("read of three registers");
        assert_eq!((told.client, told.layers.as_slice()), (Some(End::First), &["modbus-rtu", "modbus"][..]));
        assert_eq!(told.facts.get("modbus.access"), Some("read"));
        assert_eq!(proof(&[&answer], &[&asks]).and_then(|proof| proof.client), Some(End::Second));
        let exception = sealed("11 83 02");
        assert!(proof(&[&asks], &[&exception]).is_some(), "an exception");
        let (write, echo) = (sealed("11 10 0001 0002 04 000a 0102"), sealed("11 10 0001 0002"));
        assert_eq!(proof(&[&write], &[&echo]).and_then(|proof| proof.client), Some(End::First));
        assert!(proof(&[&asks, &asks, &asks], &[]).is_some(), "three of one end");
    }

    #[test]
    fn what_does_not_agree_is_none() {
        let asks = sealed("11 03 006b 0003");
        for other in [
            sealed("12 03 06 ae41 5652 4340"),
            sealed("11 04 06 ae41 5652 4340"),
            sealed("11 03 04 ae41 5652"),
            sealed("11 84 02"),
            hex("11 03 06 ae41 5652 4340 0000"),
        ] {
            assert_eq!(proof(&[&asks], &[&other]), None, "{other:02x?}");
        }
        let mut wrong = asks.clone();
        wrong[6] ^= 1;
        assert_eq!(proof(&[&wrong], &[&sealed("11 03 06 ae41 5652 4340")]), None, "a wrong check");
        assert_eq!(proof(&[&asks, &asks], &[]), None, "two of one end");
        assert_eq!(proof(&[&sealed("f8 03 006b 0003")], &[&sealed("f8 83 02")]), None, "no such address");
    }

    #[test]
    fn a_write_is_told_later_too() {
        let mut deeds = Vec::new();
        ModbusRtu.glance(Carrier::Tcp, &sealed("11 06 0001 0003"), &mut |deed| deeds.push(deed.access));
        assert_eq!(deeds, ["write"]);
    }
}
