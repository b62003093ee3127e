//! S7comm-plus: the protocol of SIMATIC S7-1200 and S7-1500 towards TIA Portal and HMIs, over ISO transport on TCP.
//!
//! Siemens publishes no specification; header, trailer and opcodes are those of the published analyses
//! (the S7comm-plus dissector for Wireshark of Thomas Wiens).

use compact_str::CompactString;
use compact_str::ToCompactString;
use compact_str::format_compact;

use super::About;
use super::Carrier;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::tpkt;
use crate::model::Facts;

/// Recognises S7comm-plus.
pub struct S7commPlus;

static ABOUT: About = About {
    name: "s7comm-plus",
    title: "S7 communication plus",
    spec: "S7comm-plus over ISO transport on TCP (RFC 1006)",
    usual: &["tcp/102"],
    answers: true,
    facts: &[
        ("s7plus.version", "protocol version: 1 (plain), 2 and 3 (session and integrity protected)"),
        ("s7plus.function", "what was asked: create-object, set-variable, explore, init-ssl, ..."),
    ],
};

/// Protocol identifier, the first byte of every message and of its trailer.
const PROTOCOL_ID: u8 = 0x72;
/// Versions that carry data.
const PLAIN: u8 = 1;
const PROTECTED: u8 = 3;
/// System events, also called extended keep-alive: data, no trailer.
const SYSTEM_EVENT: u8 = 0xfe;
/// Keep-alive: sequence number and reserved byte instead of a length.
const KEEP_ALIVE: u8 = 0xff;
/// Header and trailer, each in bytes.
const HEADER: usize = 4;
/// Opcodes, the first byte of the data.
const REQUEST: u8 = 0x31;
const RESPONSE: u8 = 0x32;
const NOTIFICATION: u8 = 0x33;
const CYCLIC_RESPONSE: u8 = 0x02;
/// Length of the integrity part that version 3 puts before the data: its length byte and an HMAC-SHA-256.
const DIGEST: usize = 33;

/// One message, proved whole.
#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    version: u8,
    /// From the opcode on; empty for continuations and keep-alives.
    data: &'a [u8],
}

impl<'a> Message<'a> {
    fn of(user: &'a [u8]) -> Option<Self> {
        let (&[id, version, l0, l1], rest) = user.split_first_chunk::<HEADER>()?;
        if id != PROTOCOL_ID {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        match version {
            PLAIN..=PROTECTED => {}
            SYSTEM_EVENT => return (rest.len() == length).then_some(Self { version, data: &[] }),
            KEEP_ALIVE => {
                return (rest == [PROTOCOL_ID, KEEP_ALIVE, 0, 0]).then_some(Self { version, data: &[] });
            }
            _ => return None,
        }
        let (data, trailer) = rest.split_at_checked(length)?;
        // A message over several TSDUs has its trailer in the last one.
        let ends = match *trailer {
            [PROTOCOL_ID, again, 0, 0] if again == version => true,
            [] => false,
            _ => return None,
        };
        let opened = match (version, data) {
            (PROTECTED, [0x20, ..]) => data.get(DIGEST..).unwrap_or_default(),
            _ => data,
        };
        match opened {
            [REQUEST | RESPONSE | NOTIFICATION | CYCLIC_RESPONSE, ..] => Some(Self { version, data: opened }),
            // The last part of a longer message, or one that begins midway: data of any kind.
            _ => (ends || length > 0).then_some(Self { version, data: &[] }),
        }
    }

    fn asks(&self) -> Option<bool> {
        match self.data {
            [REQUEST, ..] => Some(true),
            [RESPONSE | NOTIFICATION | CYCLIC_RESPONSE, ..] => Some(false),
            _ => None,
        }
    }

    fn tell(&self, facts: &mut Facts) {
        if matches!(self.version, PLAIN..=PROTECTED) {
            facts.add("s7plus.version", self.version.to_compact_string());
        }
        // Opcode, two reserved bytes, function.
        if let [REQUEST, 0, 0, high, low, ..] = *self.data {
            facts.add("s7plus.function", function_name(u16::from_be_bytes([high, low])));
        }
    }
}

fn function_name(function: u16) -> CompactString {
    match function {
        0x04bb => "explore",
        0x04ca => "create-object",
        0x04d4 => "delete-object",
        0x04f2 => "set-variable",
        0x04fc => "get-variable",
        0x0506 => "add-link",
        0x051a => "remove-link",
        0x0524 => "get-link",
        0x0542 => "set-multi-variables",
        0x054c => "get-multi-variables",
        0x0556 => "begin-sequence",
        0x0560 => "end-sequence",
        0x056b => "invoke",
        0x057c => "set-variables-streamed",
        0x0586 => "get-variables-streamed",
        0x0590 => "get-variables-address",
        0x059a => "abort",
        0x05a9 => "error",
        0x05b3 => "init-ssl",
        other => return format_compact!("0x{other:04x}"),
    }
    .into()
}

/// Whether a TSDU is a TLS record (RFC 8446 section 5.1): what follows the init-ssl request of newer firmware.
fn is_tls(user: &[u8]) -> bool {
    matches!(user, [0x14..=0x17, 3, 0..=4, ..])
}

impl Protocol for S7commPlus {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        tpkt::may_begin(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        let mut tls = false;
        let probe = tpkt::probe(seen, |user, facts| {
            let Some(message) = Message::of(user) else {
                tls |= is_tls(user);
                return None;
            };
            message.tell(facts);
            Some(message.asks())
        });
        match probe {
            Probe::Proven(proof) if tls => Probe::Proven(Proof { layers: vec![ABOUT.name, "tls"], ..proof }),
            other => other,
        }
    }

    fn gist(&self, _: Carrier, payload: &[u8]) -> Option<u64> {
        let message = Message::of(tpkt::data(payload)?)?;
        let rest = match *message.data {
            [REQUEST, 0, 0, high, low, ..] => 1 << 16 | u64::from(u16::from_be_bytes([high, low])),
            [opcode, ..] => u64::from(opcode),
            [] => 0,
        };
        Some(u64::from(message.version) << 32 | rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Carrier;
    use crate::classify::End;
    use crate::classify::Side;

    fn probe(first: &[u8]) -> Probe {
        let ends = [first.len() as u16];
        S7commPlus.probe(&Seen {
            carrier: Carrier::Tcp,
            first: Side::of(first, &ends),
            second: Side::default(),
            known: None,
        })
    }

    fn message(version: u8, data: &[u8], trailer: &[u8]) -> Vec<u8> {
        let length = (7 + HEADER + data.len() + trailer.len()) as u8;
        let mut bytes = vec![3, 0, 0, length, 2, 0xf0, 0x80, PROTOCOL_ID, version, 0, data.len() as u8];
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(trailer);
        bytes
    }

    #[test]
    fn a_create_object_request_proves_it() {
        let bytes = message(1, &[REQUEST, 0, 0, 0x04, 0xca, 0, 0, 0, 1], &[PROTOCOL_ID, 1, 0, 0]);
        let Probe::Proven(proof) = probe(&bytes) else { panic!("not proven") };
        assert_eq!(
            (proof.client, proof.facts.get("s7plus.function")),
            (Some(End::First), Some("create-object"))
        );
    }

    #[test]
    fn a_system_event_has_no_trailer() {
        assert!(matches!(probe(&message(SYSTEM_EVENT, &[0; 16], &[])), Probe::Proven(_)));
    }

    #[test]
    fn a_wrong_trailer_or_another_protocol_is_not_it() {
        assert!(probe(&message(1, &[REQUEST, 0, 0, 4, 0xca], &[PROTOCOL_ID, 2, 0, 0])).proof().is_none());
        assert!(probe(&message(4, &[REQUEST, 0, 0, 4, 0xca], &[PROTOCOL_ID, 4, 0, 0])).proof().is_none());
    }
}
