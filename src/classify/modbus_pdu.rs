//! Modbus PDUs: the exact shapes of requests and responses, names of functions and what they do, UMAS of Schneider Electric included.
//!
//! MODBUS Application Protocol Specification V1.1b3 (section 6 for the functions, 7 for exceptions).

use compact_str::CompactString;
use compact_str::format_compact;

/// The bit that makes a function code an exception (V1.1b3 section 7).
pub const EXCEPTION: u8 = 0x80;
/// Schneider Electric's programming protocol inside function 90.
pub const UMAS: u8 = 0x5a;

/// How far a PDU agrees with the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Exactly a request of its function.
    Request,
    /// Exactly a response.
    Response,
    /// Exactly, but requests and responses look alike.
    Either,
    /// Framed correctly; nothing more can be said.
    Loose,
}

/// Holds the bytes after the function code against V1.1b3 section 6.
pub fn shape(function: u8, data: &[u8]) -> Shape {
    let request = is_request(function, data);
    let response = is_response(function, data);
    match (request, response) {
        (true, true) => Shape::Either,
        (true, false) => Shape::Request,
        (false, true) => Shape::Response,
        (false, false) => Shape::Loose,
    }
}

/// Whether a message of its shape shows by itself what it is. Many words that a device is to send back (V1.1b3 section 6.8.1) are any bytes:
/// such a message needs another one, or its answer. One word is usual.
pub fn is_telling(function: u8, data: &[u8]) -> bool {
    function != 8 || data.len() == 4
}

/// Whether it is exactly a request, whatever else it may be.
pub fn is_request(function: u8, data: &[u8]) -> bool {
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

/// The name of a function, or its code.
pub fn function_name(function: u8) -> CompactString {
    known_name(function).map_or_else(|| format_compact!("0x{function:02x}"), CompactString::from)
}

/// The name of a function that has one.
pub fn known_name(function: u8) -> Option<&'static str> {
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
pub fn is_assigned(function: u8) -> bool {
    matches!(function, 1..=8 | 11 | 12 | 15..=17 | 20..=24 | 43 | UMAS | 65..=72 | 100..=110)
}

/// What a function does. UMAS requests (published analyses; Schneider Electric has no specification): memory, variables, coils and
/// registers written, the controller started and stopped.
pub fn access(function: u8, umas: Option<u8>) -> Option<&'static str> {
    match function {
        UMAS if matches!(umas, Some(0x21 | 0x23 | 0x25 | 0x40 | 0x41)) => Some("write"),
        1..=4 | 20 | 24 => Some("read"),
        5 | 6 | 15 | 16 | 21..=23 => Some("write"),
        7 | 8 | 11 | 12 | 17 | 43 | UMAS => Some("diagnostic"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;

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
