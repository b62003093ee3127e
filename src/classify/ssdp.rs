//! SSDP, by which UPnP devices look for each other: HTTP heads in datagrams.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::line;
use super::bytes::text;
use super::candidates::is_at;
use super::look;
use super::start_line::field;
use crate::model::Facts;

/// The protocol.
pub struct Ssdp;

static ABOUT: About = About {
    name: "ssdp",
    title: "Simple Service Discovery Protocol",
    spec: "UPnP Device Architecture 2.0, section 1",
    usual: &["udp/1900"],
    answers: false,
    facts: &[
        ("ssdp.method", "M-SEARCH, NOTIFY or response"),
        ("ssdp.target", "each thing looked for or announced (ST, NT)"),
        ("ssdp.server", "each product as it calls itself (SERVER)"),
    ],
};

impl Protocol for Ssdp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        [&b"M-SEARCH"[..], b"NOTIFY *", b"HTTP/1.1", b"HTTP/1.0"].iter().any(|word| is_at(word, at, byte))
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Udp {
            return Probe::No;
        }
        let both = match look::both(seen, |side| look::datagrams(side, message)) {
            Ok(both) => both,
            Err(probe) => return probe,
        };
        let mut facts = Facts::new();
        let mut client = None;
        for (end, messages) in [End::First, End::Second].into_iter().zip(&both) {
            for message in messages.iter().flatten() {
                facts.add("ssdp.method", message.method);
                if let Some(target) = message.target {
                    facts.add("ssdp.target", text(target));
                }
                if let Some(server) = message.server {
                    facts.add("ssdp.server", text(server));
                }
                client = client.or(Some(if message.method == "response" { end.other() } else { end }));
            }
        }
        Probe::Proven(Proof { client, facts, ..Proof::default() })
    }
}

#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    method: &'static str,
    target: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
}

fn message(bytes: &[u8]) -> Option<Message<'_>> {
    let (first, rest) = line(bytes)?;
    let method = match first {
        b"M-SEARCH * HTTP/1.1" | b"M-SEARCH * HTTP/1.0" => "M-SEARCH",
        b"NOTIFY * HTTP/1.1" | b"NOTIFY * HTTP/1.0" => "NOTIFY",
        _ if first.starts_with(b"HTTP/1.1 200") || first.starts_with(b"HTTP/1.0 200") => "response",
        _ => return None,
    };
    let message = Message { method, target: field(rest, &["st", "nt"]), server: field(rest, &["server"]) };
    // A search target, without which an answer is any HTTP.
    (method != "response" || message.target.is_some()).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Ssdp, 0, 0);
        harness::check_steps(&Ssdp);
    }

    #[test]
    fn searches_and_answers() {
        for (bytes, client) in [
            (&b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nST: ssdp:all\r\n\r\n"[..], End::First),
            (b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nSERVER: x\r\n\r\n", End::Second),
        ] {
            let Probe::Proven(proof) = probe_messages(&Ssdp, Carrier::Udp, &[bytes]) else {
                panic!("not proven")
            };
            assert_eq!(proof.client, Some(client));
        }
        for stranger in [&b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..], b"GET / HTTP/1.1\r\n\r\n"] {
            assert!(!matches!(probe_messages(&Ssdp, Carrier::Udp, &[stranger]), Probe::Proven(_)));
        }
    }
}
