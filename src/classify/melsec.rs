//! MELSEC communication protocol of Mitsubishi Electric: SLMP and MC frames 3E, 4E and 1E, and MELSOFT.
//!
//! SLMP Reference Manual (SH-080956ENG, chapter 4) and MELSEC Communication Protocol Reference Manual (SH-080008, chapter 4)
//! for 3E, 4E and 1E. MELSOFT has no public specification: its heads are those of the published analyses and of
//! recordings (the engineering tools' own protocol on ports 5001, 5002, 5006, 5007, 5560 and 5562).

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
use super::framed::Walk;
use super::framed::each_whole;
use super::framed::probe;

/// Recognises the MELSEC frames.
pub struct Melsec;

static ABOUT: About = About {
    name: "melsec",
    title: "MELSEC (SLMP, MC protocol, MELSOFT)",
    spec: "Mitsubishi Electric SH-080956ENG and SH-080008, chapter 4",
    usual: &["tcp/5007", "tcp/5562", "udp/5560"],
    answers: true,
    facts: &[
        ("melsec.frame", "frame: 1e, 3e, 3e-ascii, 4e, 4e-ascii, melsoft, melsoft-discovery"),
        ("melsec.command", "command of a 1E, 3E or 4E request: read, write, read-model, remote-run, ..."),
        ("melsec.access", "what the commands do: read, write, control (run, stop, reset)"),
    ],
};

/// Bytes of a MELSOFT frame before those that its length field counts; the field is the last two of them.
const MELSOFT_HEAD: usize = 21;
/// The longest frame taken for one: the largest transfers are of about 4 KiB.
const LONGEST: usize = 8 * 1024;

/// One frame, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    frame: &'static str,
    asks: bool,
    /// What a 1E, 3E or 4E request asks for.
    command: Option<&'static str>,
}

fn cut(bytes: &[u8]) -> Cut<Message> {
    match bytes {
        [] => Cut::Short,
        [0x57 | 0xd7, ..] => melsoft(bytes),
        [0x5a | 0xda, ..] => discovery(bytes),
        [0x50 | 0xd0, ..] => binary(bytes, "3e", 2),
        // Serial number and two reserved bytes follow the subheader.
        [0x54 | 0xd4, ..] => binary(bytes, "4e", 6),
        [b'5' | b'D', ..] => ascii(bytes),
        [0..=3, ..] => batch_1e(bytes),
        _ => Cut::Wrong,
    }
}

/// MELSOFT: head 57 (request) or D7 (response), 00 or 01, sequence number, 00, 11 11, 07 or 7F, two station numbers of
/// unequal width, and at offset 19 the length of what follows.
fn melsoft(bytes: &[u8]) -> Cut<Message> {
    let Some((head, rest)) = bytes.split_first_chunk::<MELSOFT_HEAD>() else {
        return match bytes {
            [_] | [_, 0 | 1] | [_, 0 | 1, _] | [_, 0 | 1, _, _] | [_, 0 | 1, _, _, 0] => Cut::Short,
            [_, 0 | 1, _, _, 0, 0x11] | [_, 0 | 1, _, _, 0, 0x11, 0x11, ..] => Cut::Short,
            _ => Cut::Wrong,
        };
    };
    let length = usize::from(u16::from_le_bytes([head[19], head[20]]));
    if !matches!(head[1], 0 | 1) || head[4] != 0 || head[5] != 0x11 || head[6] != 0x11 || length > LONGEST {
        return Cut::Wrong;
    }
    let message = Message { frame: "melsoft", asks: head[0] == 0x57, command: None };
    if rest.len() < length { Cut::Head(message) } else { Cut::Whole(message, MELSOFT_HEAD + length) }
}

/// MELSOFT's search for controllers: 5A 00 00 and a kind; the answer has 28 bytes to kind FF and 14 to others.
fn discovery(bytes: &[u8]) -> Cut<Message> {
    let Some((&[head, 0, 0, kind], _)) = bytes.split_first_chunk::<4>() else {
        return if matches!(bytes, [_] | [_, 0] | [_, 0, 0]) { Cut::Short } else { Cut::Wrong };
    };
    let asks = head == 0x5a;
    let length = match (asks, kind) {
        (true, _) => 4,
        (false, 0xff) => 28,
        (false, _) => 14,
    };
    if bytes.len() < length {
        return Cut::Short;
    }
    Cut::Whole(Message { frame: "melsoft-discovery", asks, command: None }, length)
}

/// The access route of 3E and 4E frames: network, station, module I/O number, multidrop station (SH-080956ENG, 4.2).
fn is_route(network: u8, station: u8, module: u16, drop: u8) -> bool {
    let own = matches!((network, station), (0, 0xff));
    let other = matches!((network, station), (1..=239 | 254, 1..=120 | 125 | 126 | 255) | (0, 1..=120));
    (own || other) && matches!(module, 0..=0x01ff | 0x03d0..=0x03d3 | 0x03e0..=0x03e3 | 0x03ff) && drop <= 31
}

/// The route to the station itself: what nearly every frame says, and proof enough whatever the command is.
fn is_own_station(network: u8, station: u8, module: u16, drop: u8) -> bool {
    (network, station, module, drop) == (0, 0xff, 0x03ff, 0)
}

/// End codes of a response: 0, or one of the error ranges of the CPU and Ethernet modules.
fn is_end_code(code: u16) -> bool {
    code == 0
        || matches!(code, 0x0050..=0x00ff | 0x1000..=0x10ff | 0x4000..=0x4fff | 0x5000..=0x5fff | 0x7000..=0x7fff | 0xc000..=0xcfff)
}

/// A binary frame whose subheader takes `before` bytes.
fn binary(bytes: &[u8], frame: &'static str, before: usize) -> Cut<Message> {
    let mut reader = Reader::new(bytes);
    let mut read = || {
        let head = reader.u8()?;
        if reader.u8()? != 0 {
            return Some(None);
        }
        if before == 6 {
            reader.skip(2)?;
            if reader.be16()? != 0 {
                return Some(None);
            }
        }
        let &[network, station, m0, m1, drop, l0, l1] = reader.array::<7>()?;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        let asks = head & 0x80 == 0;
        let module = u16::from_le_bytes([m0, m1]);
        // Monitoring timer, command and subcommand of a request; end code of a response.
        if !is_route(network, station, module, drop)
            || !(if asks { 6 } else { 2 }..=LONGEST).contains(&length)
        {
            return Some(None);
        }
        let own = is_own_station(network, station, module, drop);
        // The route to the station itself shows a frame by its head alone.
        let whole = reader.left() >= length;
        if !whole && !own {
            return None;
        }
        let mut body = Reader::new(reader.rest().get(..length).unwrap_or(reader.rest()));
        let command = if asks {
            body.skip(2)?;
            let name = command_name(body.le16()?);
            if name.is_none() && !own {
                return Some(None);
            }
            name
        } else {
            if !is_end_code(body.le16()?) && !own {
                return Some(None);
            }
            None
        };
        Some(Some((Message { frame, asks, command }, whole.then_some(before + 7 + length))))
    };
    match read() {
        Some(Some((message, Some(length)))) => Cut::Whole(message, length),
        Some(Some((message, None))) => Cut::Head(message),
        Some(None) => Cut::Wrong,
        None => Cut::Short,
    }
}

/// The same frames in ASCII code: every byte as two hexadecimal digits, the most significant first.
fn ascii(bytes: &[u8]) -> Cut<Message> {
    let heads: [&[u8]; 4] = [b"5000", b"D000", b"5400", b"D400"];
    let Some(nth) = heads.iter().position(|head| bytes.starts_with(head)) else {
        let begun = heads.iter().any(|head| head.starts_with(bytes));
        return if begun { Cut::Short } else { Cut::Wrong };
    };
    let (asks, is_4e) = (nth % 2 == 0, nth >= 2);
    let mut reader = Reader::new(bytes);
    let mut read = || {
        reader.skip(4)?;
        if is_4e && (number(reader.take(4)?).is_none() || number(reader.take(4)?) != Some(0)) {
            return Some(None);
        }
        let network = number(reader.take(2)?);
        let station = number(reader.take(2)?);
        let module = number(reader.take(4)?);
        let drop = number(reader.take(2)?);
        let length = number(reader.take(4)?);
        let (Some(network), Some(station), Some(module), Some(drop), Some(length)) =
            (network, station, module, drop, length)
        else {
            return Some(None);
        };
        let length = usize::from(length);
        if !is_route(network as u8, station as u8, module, drop as u8)
            || !(if asks { 12 } else { 4 }..=2 * LONGEST).contains(&length)
        {
            return Some(None);
        }
        let before = if is_4e { 26 } else { 18 };
        let mut body = Reader::new(reader.take(length)?);
        let first = number(body.take(4)?);
        let command = if asks { number(body.take(4)?).and_then(command_name) } else { None };
        let own = is_own_station(network as u8, station as u8, module, drop as u8);
        let fits = match asks {
            true => first.is_some() && (command.is_some() || own),
            false => first.is_some_and(|code| is_end_code(code) || own),
        };
        let frame = if is_4e { "4e-ascii" } else { "3e-ascii" };
        Some(fits.then_some((Message { frame, asks, command }, before + length)))
    };
    match read() {
        Some(Some((message, length))) => Cut::Whole(message, length),
        Some(None) => Cut::Wrong,
        None => Cut::Short,
    }
}

/// Up to four hexadecimal digits in upper case.
fn number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |sum, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        Some(sum << 4 | u16::from(value))
    })
}

/// Batch read and write of 1E frames (SH-080008, 4.5): subheader 00 to 03, station FF, timer, device number and code, points.
fn batch_1e(bytes: &[u8]) -> Cut<Message> {
    let Some((&[head, station, _, _, _, _, _, top, d0, d1, points, zero], rest)) =
        bytes.split_first_chunk::<12>()
    else {
        return if matches!(bytes, [_] | [_, 0xff, ..]) { Cut::Short } else { Cut::Wrong };
    };
    // Device codes are two letters, the second first: "D ", "M ", "TN".
    let is_device = matches!(
        (d1, d0),
        (b'D' | b'M' | b'X' | b'Y' | b'R' | b'W' | b'B' | b'F' | b'S', b' ')
            | (b'T' | b'C', b'N' | b'S' | b'C')
    );
    if station != 0xff || top != 0 || !is_device || zero != 0 || head > 3 {
        return Cut::Wrong;
    }
    let points = if points == 0 { 256 } else { usize::from(points) };
    let values = match head {
        2 => points.div_ceil(2),
        3 => 2 * points,
        _ => 0,
    };
    if rest.len() < values {
        return Cut::Short;
    }
    Cut::Whole(
        Message { frame: "1e", asks: true, command: Some(if head < 2 { "read" } else { "write" }) },
        12 + values,
    )
}

/// Commands of 3E and 4E frames (SH-080956ENG, chapter 5; SH-080008, 4.3).
fn command_name(command: u16) -> Option<&'static str> {
    Some(match command {
        0x0101 => "read-model",
        0x0401 | 0x0403 | 0x0406 => "read",
        0x1401 | 0x1402 | 0x1406 => "write",
        0x0801 | 0x0802 => "monitor",
        0x0601 | 0x0613 | 0x0631 => "read-memory",
        0x1601 | 0x1613 | 0x1631 => "write-memory",
        0x0619 => "self-test",
        0x1617 => "clear-error",
        0x1001 => "remote-run",
        0x1002 => "remote-stop",
        0x1003 => "remote-pause",
        0x1005 => "remote-latch-clear",
        0x1006 => "remote-reset",
        0x1630 => "password",
        0x0201..=0x0206 | 0x1202..=0x1207 => "drive",
        0x1810 | 0x1811 | 0x1820 | 0x1822 | 0x1824..=0x182a => "file",
        0x0e30 | 0x0e31 | 0x0e33..=0x0e36 | 0x0e3a | 0x0e40 | 0x0e43..=0x0e46 | 0x0e4f => "node",
        0x2101 => "on-demand",
        0x3070 | 0x3072 | 0x3073 | 0x3119..=0x3121 => "network",
        _ => return None,
    })
}

/// What a command does to the controller, by its name here.
fn access(command: &str) -> Option<&'static str> {
    match command {
        "read-model" | "read" | "monitor" | "read-memory" => Some("read"),
        "write" | "write-memory" => Some("write"),
        command if command.starts_with("remote-") => Some("control"),
        _ => None,
    }
}

/// Whether it is proved. A frame that is short of structure must end where its segment does.
fn is_proved(walks: &[Walk<Message>; 2]) -> bool {
    walks.iter().any(|walk| walk.found.iter().any(|found| found.flush) || walk.found.len() >= 2)
}

impl Protocol for Melsec {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => matches!(byte, 0..=3 | 0x50 | 0x54 | 0x57 | 0x5a | 0xd0 | 0xd4 | 0xd7 | 0xda | b'5' | b'D'),
            1 => matches!(byte, 0 | 1 | 0xff | b'0' | b'4'),
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if matches!(seen.carrier, Carrier::Ethernet(_)) {
            return Probe::No;
        }
        probe(seen, cut, is_proved, |walks| {
            let mut facts = seen.facts();
            for message in walks.iter().flat_map(Walk::messages) {
                facts.add("melsec.frame", message.frame);
                if let Some(command) = message.command {
                    facts.add("melsec.command", command);
                    if let Some(access) = access(command) {
                        facts.add("melsec.access", access);
                    }
                }
            }
            let asks = |walk: &Walk<Message>| walk.messages().next().map(|message| message.asks);
            let client = End::asking(asks(&walks[0]), asks(&walks[1]));
            Proof { client, facts, ..Proof::default() }
        })
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        each_whole(payload, cut, |message: Message| {
            let access = message.command.and_then(access);
            Deed::of(access, "melsec.command", message.command).into_iter().for_each(&mut *tell);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Side;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_both;

    fn frame(carrier: Carrier, bytes: &[u8]) -> Option<(String, Option<End>)> {
        match probe_both(&Melsec, carrier, &[bytes], &[]) {
            Probe::Proven(proof) => Some((proof.facts.get("melsec.frame")?.to_owned(), proof.client)),
            _ => None,
        }
    }

    fn is(name: &str, client: End) -> Option<(String, Option<End>)> {
        Some((name.to_owned(), Some(client)))
    }

    #[test]
    fn every_frame_is_known_from_one_message() {
        for (bytes, name, client) in [
            ("5000 00ff ff03 00 0600 1000 0101 0000", "3e", End::First),
            ("d000 00ff ff03 00 0200 0000", "3e", End::Second),
            ("5400 3412 0000 00ff ff03 00 0c00 1000 0104 0000 640000a8 0800", "4e", End::First),
            ("5a0000ff", "melsoft-discovery", End::First),
            ("da000001 1400 c0a80365 c0a80065", "melsoft-discovery", End::Second),
            ("01ff 0a00 64000000 2044 0a00", "1e", End::First),
            ("57010000001111070000ffff030000fe03000002001c0a", "melsoft", End::First),
            ("d7010000001111 7f000000a80300ffff03000002009c0a", "melsoft", End::Second),
        ] {
            for carrier in [Carrier::Tcp, Carrier::Udp] {
                assert_eq!(frame(carrier, &hex(bytes)), is(name, client), "{bytes}");
            }
        }
        assert_eq!(frame(Carrier::Tcp, b"500000FF03FF00000C001001010000"), is("3e-ascii", End::First));
        assert_eq!(frame(Carrier::Tcp, b"D00000FF03FF0000040000"), is("3e-ascii", End::Second));
    }

    #[test]
    fn a_snap_length_leaves_the_head() {
        for bytes in ["d000 00ff ff03 00 0a00 0000 3412", "570100000011110700 00ffff030000fe03000002001c0a"] {
            let bytes = hex(bytes);
            let (kept, ends) = (&bytes[..bytes.len() - 1], [bytes.len() as u16 - 1]);
            let probe = |lacks| {
                let first = Side { lacks, ..Side::of(kept, &ends) };
                Melsec.probe(&Seen { carrier: Carrier::Udp, first, second: Side::default(), known: None })
            };
            assert!(probe(&[9]).proof().is_some(), "{bytes:02x?}");
            assert!(probe(&[]).proof().is_none(), "{bytes:02x?}");
        }
    }

    #[test]
    fn near_misses_are_not_claimed() {
        for bytes in [
            // An unknown command, a route that there is not, a length that is not the datagram's, other heads.
            "5000 01ff ff03 00 0600 1000 9901 0000",
            "5000 f0ff ff03 00 0600 1000 0101 0000",
            "5000 00ff ff03 00 0700 1000 0101 0000",
            "5a0100ff",
            "5a0000ff00",
            "570100000011120700 00ffff030000fe03000002001c0a",
            "01ff 0a00 64000000 2051 0a00",
        ] {
            assert_eq!(frame(Carrier::Udp, &hex(bytes)), None, "{bytes}");
        }
        assert_eq!(frame(Carrier::Tcp, b"5000 litres of water"), None);
        assert_eq!(frame(Carrier::Tcp, b"D000000000000000"), None);
    }
}
