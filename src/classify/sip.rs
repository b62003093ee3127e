//! SIP: sessions of telephony and video.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::line;
use super::bytes::text;
use super::start_line::Grammar;
use super::start_line::field;
use super::weigh;
use super::weigh::Step;
use super::weigh::client_is;

/// Session initiation.
pub struct Sip;

static ABOUT: About = About {
    name: "sip",
    title: "Session Initiation Protocol",
    spec: "RFC 3261 section 7, and the methods of the IANA registry",
    usual: &["udp/5060", "tcp/5060"],
    answers: true,
    facts: &[("sip.method", "method of a request"), ("sip.agent", "User-Agent or Server header")],
};

impl Protocol for Sip {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        GRAMMAR.may_begin(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp | Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Version of requests and responses (section 7.1).
const VERSION: &[u8] = b"SIP/2.0";
/// Methods (IANA: SIP parameters).
const METHODS: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "PRACK",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "INFO",
    "REFER",
    "MESSAGE",
    "UPDATE",
];
const GRAMMAR: Grammar = Grammar { version: VERSION, methods: &METHODS };
/// Schemes of request URIs.
const SCHEMES: [&str; 4] = ["sip:", "sips:", "tel:", "urn:"];

fn step(bytes: &[u8]) -> Step {
    GRAMMAR.step(bytes, |first| request(first).is_some() || response(first))
}

/// The method of a request line (section 7.1).
fn request(first: &[u8]) -> Option<&'static str> {
    let mut words = std::str::from_utf8(first).ok()?.split(' ');
    let (method, uri, version) = (words.next()?, words.next()?, words.next()?);
    let method = METHODS.iter().copied().find(|&known| known == method)?;
    let right = SCHEMES.iter().any(|scheme| uri.starts_with(scheme)) && version.as_bytes() == VERSION;
    (right && words.next().is_none()).then_some(method)
}

/// A status line (section 7.2).
fn response(first: &[u8]) -> bool {
    first
        .strip_prefix(VERSION)
        .is_some_and(|rest| matches!(rest, [b' ', b'1'..=b'6', b'0'..=b'9', b'0'..=b'9', b' ', ..]))
}

fn tell(end: End, message: &[u8], proof: &mut Proof) {
    let Some((first, rest)) = line(message) else { return };
    match request(first) {
        Some(method) => {
            client_is(proof, end);
            proof.facts.add("sip.method", method);
        }
        None => client_is(proof, end.other()),
    }
    if let Some(value) = field(rest, &["user-agent", "server"]) {
        proof.facts.add("sip.agent", text(value));
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_request_and_a_response() {
        let request = b"OPTIONS sip:pump@10.0.0.1 SIP/2.0\r\nUser-Agent: phone 1\r\n\r\n";
        let Probe::Proven(proof) = harness::probe_messages(&Sip, Carrier::Udp, &[request]) else { panic!() };
        assert_eq!((proof.client, proof.facts.get("sip.agent")), (Some(End::First), Some("phone 1")));
        let Probe::Proven(proof) = harness::probe_messages(&Sip, Carrier::Tcp, &[b"SIP/2.0 200 OK\r\n"])
        else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::Second));
    }

    #[test]
    fn http_and_rtsp_are_wrong() {
        assert_eq!(step(b"OPTIONS * HTTP/1.1\r\n"), Step::Wrong);
        assert_eq!(step(b"OPTIONS rtsp://10.0.0.1/ RTSP/1.0\r\n"), Step::Wrong);
        assert_eq!(step(b"OPTIONS sip:a"), Step::Cut(0));
    }
}
