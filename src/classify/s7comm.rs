//! S7comm: the S7 protocol of SIMATIC S7-300, S7-400, S7-1200/1500 (PUT/GET) and LOGO!, over ISO transport on TCP.
//!
//! Siemens publishes no specification; the layout is the one common to the open implementations (Snap7, libnodave)
//! and the published analyses.

use compact_str::format_compact;

use super::About;
use super::Carrier;
use super::Deed;
use super::Probe;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::framed::each_whole;
use super::tpkt;
use super::tpkt::Tpdu;
use crate::model::Facts;

/// Recognises S7comm.
pub struct S7comm;

static ABOUT: About = About {
    name: "s7comm",
    title: "S7 communication",
    spec: "S7 protocol over ISO transport on TCP (RFC 1006)",
    usual: &["tcp/102"],
    answers: true,
    facts: &[
        ("s7.rosctr", "kind of message: job, ack, ack-data, userdata"),
        (
            "s7.function",
            "what was asked: setup, read, write, download, upload, start, stop, delete-block, read-szl, set-clock, ...",
        ),
        (
            "s7.access",
            "what the functions do: read, write (values, clock), program (blocks), control (start, stop)",
        ),
    ],
};

/// Protocol identifier, the first byte of every message.
const PROTOCOL_ID: u8 = 0x32;
/// Remote operating service control.
const JOB: u8 = 1;
const ACK: u8 = 2;
const ACK_DATA: u8 = 3;
const USERDATA: u8 = 7;
/// Function codes, the first parameter byte of job and ack-data.
const PI_SERVICE: u8 = 0x28;
const DOWNLOAD_BLOCK: u8 = 0x1b;
const DOWNLOAD_ENDED: u8 = 0x1c;
/// Userdata parameters: head 00 01 12, then length, method, type and group.
const USERDATA_HEAD: [u8; 3] = [0x00, 0x01, 0x12];

/// One message, proved whole.
#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    rosctr: u8,
    parameters: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a TSDU: a header of 10 bytes (12 with an error code) whose two lengths fill it exactly.
    fn of(user: &'a [u8]) -> Option<Self> {
        let (head, rest) = user.split_first_chunk::<10>()?;
        let [PROTOCOL_ID, rosctr, _, _, _, _, p0, p1, d0, d1] = *head else { return None };
        let rest = match rosctr {
            JOB | USERDATA => rest,
            ACK | ACK_DATA => rest.get(2..)?,
            _ => return None,
        };
        let (parameters, data) = rest.split_at_checked(usize::from(u16::from_be_bytes([p0, p1])))?;
        if data.len() != usize::from(u16::from_be_bytes([d0, d1])) {
            return None;
        }
        (rosctr != USERDATA || parameters.starts_with(&USERDATA_HEAD)).then_some(Self { rosctr, parameters })
    }

    fn function(&self) -> Option<u8> {
        self.parameters.first().copied().filter(|_| matches!(self.rosctr, JOB | ACK_DATA))
    }

    /// Whether it asks, answers, or tells neither.
    fn asks(&self) -> Option<bool> {
        match (self.rosctr, self.function(), self.parameters) {
            // In a download the controller asks the engineering station for the blocks.
            (_, Some(DOWNLOAD_BLOCK | DOWNLOAD_ENDED), _) => None,
            (JOB, ..) => Some(true),
            (ACK | ACK_DATA, ..) => Some(false),
            // High nibble of the type: 0 indication by the controller, 4 request, 8 response.
            (USERDATA, _, [_, _, _, _, _, kind, ..]) => match kind >> 4 {
                4 => Some(true),
                0 | 8 => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// What was asked, and what it does to the controller.
    fn request(&self) -> Option<Request> {
        match (self.rosctr, self.parameters) {
            (JOB, &[PI_SERVICE, ref rest @ ..]) => Some(invocation(rest)),
            (JOB, &[function, ..]) => Some((function_name(function), access(function))),
            // Type and function group, subfunction.
            (USERDATA, &[_, _, _, _, _, kind, subfunction, ..]) => Some(if kind >> 4 == 4 {
                userdata(kind & 0x0f, subfunction)
            } else {
                (Some("userdata"), None)
            }),
            (USERDATA, _) => Some((Some("userdata"), None)),
            _ => None,
        }
    }

    fn tell(&self, facts: &mut Facts) {
        facts.add("s7.rosctr", rosctr_name(self.rosctr));
        let Some((name, access)) = self.request() else { return };
        match (name, self.function()) {
            (Some(name), _) => facts.add("s7.function", name),
            (None, Some(function)) => facts.add("s7.function", format_compact!("0x{function:02x}")),
            (None, None) => {}
        }
        if let Some(access) = access {
            facts.add("s7.access", access);
        }
    }
}

/// A function by name, where it has one, and what it does to the controller.
type Request = (Option<&'static str>, Option<&'static str>);

/// Userdata requests by function group and subfunction: blocks listed and described, system status lists, the clock.
fn userdata(group: u8, subfunction: u8) -> Request {
    match (group, subfunction) {
        (3, 1..=3) => (Some("block-info"), Some("read")),
        (4, 1) => (Some("read-szl"), Some("read")),
        (7, 1 | 3) => (Some("read-clock"), Some("read")),
        (7, 2 | 4) => (Some("set-clock"), Some("write")),
        _ => (Some("userdata"), None),
    }
}

/// A program invocation by the name of its service, which stands behind seven bytes and an argument block with its length.
fn invocation(rest: &[u8]) -> Request {
    let name = || {
        let mut reader = Reader::new(rest);
        reader.skip(7)?;
        let block = reader.be16()?;
        reader.skip(usize::from(block))?;
        let length = reader.u8()?;
        reader.take(usize::from(length))
    };
    match name() {
        Some(b"P_PROGRAM") => (Some("start"), Some("control")),
        Some(b"_INSE" | b"_INS2") => (Some("insert-block"), Some("program")),
        Some(b"_DELE") => (Some("delete-block"), Some("program")),
        Some(b"_GARB") => (Some("compress-memory"), Some("program")),
        Some(b"_MODU") => (Some("copy-ram-to-rom"), Some("program")),
        _ => (Some("program-invocation"), Some("control")),
    }
}

fn rosctr_name(rosctr: u8) -> &'static str {
    match rosctr {
        JOB => "job",
        ACK => "ack",
        ACK_DATA => "ack-data",
        _ => "userdata",
    }
}

fn function_name(function: u8) -> Option<&'static str> {
    Some(match function {
        0x00 => "cpu-services",
        0x04 => "read",
        0x05 => "write",
        0x1a | DOWNLOAD_BLOCK | DOWNLOAD_ENDED => "download",
        0x1d..=0x1f => "upload",
        0x29 => "stop",
        0xf0 => "setup",
        _ => return None,
    })
}

/// What a function does to the controller; `None` for those that do nothing to it.
fn access(function: u8) -> Option<&'static str> {
    match function {
        0x04 | 0x1d..=0x1f => Some("read"),
        0x05 => Some("write"),
        0x1a..=0x1c => Some("program"),
        0x29 => Some("control"),
        _ => None,
    }
}

impl Protocol for S7comm {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        tpkt::may_begin(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        tpkt::probe(seen, |user, facts| {
            let message = Message::of(user)?;
            message.tell(facts);
            Some(message.asks())
        })
    }

    fn gist(&self, _: Carrier, payload: &[u8]) -> Option<u64> {
        let message = Message::of(tpkt::data(payload)?)?;
        let rest = match (message.rosctr, message.parameters) {
            // The name of what is invoked stands further on.
            (JOB, [PI_SERVICE, ..]) => return None,
            (USERDATA, &[_, _, _, _, _, kind, subfunction, ..]) => {
                1 << 16 | u64::from(kind) << 8 | u64::from(subfunction)
            }
            (USERDATA, &[_, _, _, _, _, kind]) => 2 << 16 | u64::from(kind) << 8,
            (JOB | ACK_DATA, &[function, ..]) => 3 << 16 | u64::from(function),
            _ => 0,
        };
        Some(u64::from(message.rosctr) << 32 | rest)
    }

    fn glance(&self, _: Carrier, payload: &[u8], tell: &mut dyn FnMut(Deed)) {
        let mut glance = |user| {
            let request = Message::of(user).and_then(|message| message.request());
            let deed = request.and_then(|(name, access)| Deed::of(access, "s7.function", name));
            deed.into_iter().for_each(&mut *tell);
        };
        if let Some(user) = tpkt::data(payload) {
            return glance(user);
        }
        each_whole(payload, tpkt::cut, |tpdu| {
            if let Tpdu::Data { user, last: true } = tpdu {
                glance(user);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::End;
    use crate::classify::Side;

    const SETUP: [u8; 25] =
        [3, 0, 0, 25, 2, 0xf0, 0x80, 0x32, 1, 0, 0, 4, 0, 0, 8, 0, 0, 0xf0, 0, 0, 1, 0, 1, 1, 0xe0];
    const SETUP_ACK: [u8; 27] =
        [3, 0, 0, 27, 2, 0xf0, 0x80, 0x32, 3, 0, 0, 4, 0, 0, 8, 0, 0, 0, 0, 0xf0, 0, 0, 1, 0, 1, 0, 0xf0];

    fn probe(first: &[u8], second: &[u8]) -> Probe {
        let (a, b) = ([first.len() as u16], [second.len() as u16]);
        S7comm.probe(&Seen {
            carrier: Carrier::Tcp,
            first: Side::of(first, &a),
            second: Side::of(second, &b),
            known: None,
        })
    }

    #[test]
    fn one_job_alone_proves_it_and_its_sender_is_the_client() {
        let Probe::Proven(proof) = probe(&SETUP, &[]) else { panic!("not proven") };
        assert_eq!((proof.client, proof.facts.get("s7.function")), (Some(End::First), Some("setup")));
    }

    #[test]
    fn an_answer_alone_proves_it_and_its_sender_is_the_server() {
        let Probe::Proven(proof) = probe(&SETUP_ACK, &[]) else { panic!("not proven") };
        assert_eq!(proof.client, Some(End::Second));
    }

    #[test]
    fn a_connection_request_alone_is_not_enough() {
        let request = [3, 0, 0, 11, 6, 0xe0, 0, 0, 0, 1, 0];
        assert_eq!(probe(&request, &[]), Probe::NeedMore);
    }

    #[test]
    fn lengths_that_do_not_fill_the_message_are_not_s7comm() {
        let mut wrong = SETUP;
        wrong[14] = 9;
        assert!(probe(&wrong, &[]).proof().is_none());
        // MMS presentation data over the same transport.
        assert!(probe(&[3, 0, 0, 11, 2, 0xf0, 0x80, 1, 0, 1, 0], &[]).proof().is_none());
    }
}
