//! Kerberos version 5: tickets asked for, granted or refused, over UDP and TCP.

use compact_str::ToCompactString;

use kerberos_parser::krb5::KrbError;
use x509_parser::prelude::FromDer;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::ber;
use super::bytes::Reader;
use super::look;
use super::look::Look;
use crate::model::Facts;

/// The protocol.
pub struct Kerberos;

static ABOUT: About = About {
    name: "kerberos",
    title: "Kerberos V5",
    spec: "RFC 4120",
    usual: &["tcp/88", "udp/88"],
    answers: true,
    facts: &[
        (
            "kerberos.message",
            "each message: as-req, as-rep, tgs-req, tgs-rep, ap-req, ap-rep, safe, priv, cred, error",
        ),
        ("kerberos.realm", "each realm that a request or an error names"),
        (
            "kerberos.error",
            "each error code (RFC 4120 section 7.5.9), 25 (preauthentication required) being routine",
        ),
    ],
};

impl Protocol for Kerberos {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        let is_tag = |byte: u8| byte & 0xe0 == APPLICATION && kind(byte & 0x1f).is_some();
        match (carrier, at) {
            (Carrier::Udp, 0) | (Carrier::Tcp, 4) => is_tag(byte),
            (Carrier::Tcp, 0) => byte == 0,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        let both = match seen.carrier {
            Carrier::Udp => look::both(seen, |side| look::datagrams_and_lengths(side, datagram)),
            Carrier::Tcp => look::both(seen, |side| look::stream(side, |bytes| stream(bytes, side.complete))),
            Carrier::Ethernet(_) => return Probe::No,
        };
        let both = match both {
            Ok(both) => both,
            Err(probe) => return probe,
        };
        let mut facts = Facts::new();
        let mut client = None;
        for (end, messages) in [End::First, End::Second].into_iter().zip(&both) {
            for message in messages.iter().flatten() {
                facts.add("kerberos.message", message.kind.name);
                if let Some(asks) = message.kind.asks {
                    client = client.or(Some(if asks { end } else { end.other() }));
                }
                message.state(&mut facts);
            }
        }
        let open = !(seen.first.complete && seen.second.complete);
        Probe::Proven(Proof { client, facts, open, ..Proof::default() })
    }
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    /// Whether the client sends it, where that is so always.
    asks: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    kind: Kind,
    number: u8,
    bytes: &'a [u8],
    total: usize,
}

/// Message types are their application tags (RFC 4120 section 5.10).
fn kind(number: u8) -> Option<Kind> {
    let (name, asks) = match number {
        10 => ("as-req", Some(true)),
        11 => ("as-rep", Some(false)),
        12 => ("tgs-req", Some(true)),
        13 => ("tgs-rep", Some(false)),
        14 => ("ap-req", Some(true)),
        15 => ("ap-rep", Some(false)),
        20 => ("safe", None),
        21 => ("priv", None),
        22 => ("cred", None),
        30 => ("error", Some(false)),
        _ => return None,
    };
    Some(Kind { name, asks })
}

/// Identifier bits of the application class, constructed (X.690 section 8.1.2).
const APPLICATION: u8 = 0x60;

/// A message whose tag, version number 5 and message type agree; it may be cut after these.
fn message(bytes: &[u8]) -> Option<Message<'_>> {
    let mut reader = Reader::new(bytes);
    let outer = ber::header(bytes).ok()?;
    let number = outer.tag & 0x1f;
    let kind = kind(number).filter(|_| outer.tag & 0xe0 == APPLICATION)?;
    reader.skip(outer.size)?;
    let inner = ber::enter(&mut reader, ber::SEQUENCE)?;
    if inner.total() != outer.length {
        return None;
    }
    // pvno and msg-type: fields 1 and 2 of requests for tickets, 0 and 1 of everything else (section 5.4 and following).
    let first = if matches!(number, 10 | 12) { 0xa1 } else { 0xa0 };
    let version = ber::expect(&mut reader, first)?;
    let stated = ber::expect(&mut reader, first + 1)?;
    let fits = version == [ber::INTEGER, 1, 5] && stated == [ber::INTEGER, 1, number];
    fits.then_some(Message { kind, number, bytes, total: outer.total() })
}

/// A datagram is one message, as long as that was when it was sent.
fn datagram(bytes: &[u8], length: usize) -> Option<Message<'_>> {
    message(bytes).filter(|message| message.total == length)
}

/// Messages of a stream, each after four octets of length (section 7.2.2).
fn stream(bytes: &[u8], complete: bool) -> Look<look::Messages<Message<'_>>> {
    /// Bytes in which version and type are seen.
    const ENOUGH: usize = 32;
    let mut found = look::Messages::new();
    let mut reader = Reader::new(bytes);
    while let Some(length) = reader.be32().filter(|&length| length < 1 << 24) {
        let body = reader.rest().get(..length as usize).unwrap_or(reader.rest());
        match message(body).filter(|message| message.total == length as usize) {
            Some(message) => found.push(message),
            None => break,
        }
        if reader.skip(length as usize).is_none() {
            break;
        }
    }
    if !found.is_empty() {
        return Look::Yes(found);
    }
    let may_be = bytes.first().is_none_or(|&byte| byte == 0)
        && bytes.get(4).is_none_or(|&tag| tag & 0xe0 == 0x60 && kind(tag & 0x1f).is_some());
    if may_be && bytes.len() < ENOUGH && !complete { Look::More } else { Look::No }
}

impl Message<'_> {
    /// States realm and error, where all of the message is there.
    fn state(&self, facts: &mut Facts) {
        match self.number {
            10 | 12 => {
                let parse = if self.number == 10 {
                    kerberos_parser::krb5_parser::parse_as_req
                } else {
                    kerberos_parser::krb5_parser::parse_tgs_req
                };
                if let Ok((_, request)) = parse(self.bytes) {
                    facts.add("kerberos.realm", request.req_body.realm.0);
                }
            }
            30 => {
                if let Ok((_, error)) = KrbError::from_der(self.bytes) {
                    facts.add("kerberos.error", error.error_code.0.to_compact_string());
                    facts.add("kerberos.realm", error.realm.0);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Kerberos, 0, 0);
        harness::check_steps(&Kerberos);
    }

    #[test]
    fn realms_are_stated() {
        if !harness::present() {
            return;
        }
        let flows = harness::flows("directory/kinit.pcap");
        let mut proofs = flows.iter().filter_map(|flow| harness::proof(&Kerberos, &flow.seen()));
        assert!(proofs.any(|proof| proof.facts.get("kerberos.realm").is_some()));
    }

    #[test]
    fn datagrams_that_a_snap_length_cut_are_told_by_the_length_that_was_sent() {
        if !harness::present() {
            return;
        }
        let mut seen = 0;
        for (flow, label) in harness::labelled() {
            if flow.carrier != Carrier::Udp || label.protocol.as_deref() != Some("kerberos") {
                continue;
            }
            seen += 1;
            for kept in [54, 86, 214] {
                let mut snapped = flow.snapped(kept);
                assert!(harness::proof(&Kerberos, &snapped.seen()).is_some(), "{} {kept}", flow.place());
                // The same bytes where the datagrams had another length.
                for sent in &mut snapped.sent {
                    sent.lacks.iter_mut().for_each(|lacks| *lacks += 1);
                }
                assert!(harness::proof(&Kerberos, &snapped.seen()).is_none(), "{} {kept}", flow.place());
            }
        }
        assert!(seen > 0);
    }

    #[test]
    fn what_is_not_kerberos() {
        for stranger in [
            "6a 0e 30 0c a1 03 02 01 04 a2 03 02 01 0a a3 00",
            "6a 0e 30 0c a1 03 02 01 05 a2 03 02 01 0b a3 00",
        ] {
            assert!(!matches!(probe_messages(&Kerberos, Carrier::Udp, &[&hex(stranger)]), Probe::Proven(_)));
        }
        let right = hex("6a 0e 30 0c a1 03 02 01 05 a2 03 02 01 0a a3 00");
        assert!(matches!(probe_messages(&Kerberos, Carrier::Udp, &[&right]), Probe::Proven(_)));
    }
}
