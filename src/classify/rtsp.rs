//! RTSP: control of video streams, as of cameras.

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

/// Real time streaming.
pub struct Rtsp;

static ABOUT: About = About {
    name: "rtsp",
    title: "Real Time Streaming Protocol",
    spec: "RFC 2326 sections 6 and 7, RFC 7826 sections 7 and 8",
    usual: &["tcp/554"],
    answers: true,
    facts: &[("rtsp.url", "URL asked for"), ("rtsp.server", "Server header")],
};

impl Protocol for Rtsp {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        GRAMMAR.may_begin(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => weigh::probe(seen, step, tell),
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// What the version of requests and responses begins with: 1.0 or 2.0.
const VERSION: &[u8] = b"RTSP/";
/// Methods (RFC 2326 section 10, RFC 7826 section 13).
const METHODS: [&str; 12] = [
    "OPTIONS",
    "DESCRIBE",
    "ANNOUNCE",
    "SETUP",
    "PLAY",
    "PAUSE",
    "TEARDOWN",
    "GET_PARAMETER",
    "SET_PARAMETER",
    "REDIRECT",
    "RECORD",
    "PLAY_NOTIFY",
];
const GRAMMAR: Grammar = Grammar { version: VERSION, methods: &METHODS };

fn step(bytes: &[u8]) -> Step {
    GRAMMAR.step(bytes, |first| request(first).is_some() || response(first))
}

/// The URL of a request line.
fn request(first: &[u8]) -> Option<&str> {
    let mut words = std::str::from_utf8(first).ok()?.split(' ');
    let (method, url, version) = (words.next()?, words.next()?, words.next()?);
    let right = METHODS.contains(&method)
        && (url == "*" || url.starts_with("rtsp"))
        && matches!(version, "RTSP/1.0" | "RTSP/2.0");
    (right && words.next().is_none()).then_some(url)
}

/// A status line.
fn response(first: &[u8]) -> bool {
    first.strip_prefix(VERSION).is_some_and(|rest| {
        matches!(rest, [b'1' | b'2', b'.', b'0', b' ', b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', ..])
    })
}

fn tell(end: End, message: &[u8], proof: &mut Proof) {
    let Some((first, rest)) = line(message) else { return };
    match request(first) {
        Some(url) => {
            client_is(proof, end);
            if url != "*" {
                proof.facts.add("rtsp.url", url);
            }
        }
        None => client_is(proof, end.other()),
    }
    if let Some(value) = field(rest, &["server"]) {
        proof.facts.add("rtsp.server", text(value));
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_request_names_its_url() {
        let request = b"DESCRIBE rtsp://10.0.0.9/stream1 RTSP/1.0\r\nCSeq: 2\r\n\r\n";
        let Probe::Proven(proof) = harness::probe_messages(&Rtsp, Carrier::Tcp, &[request]) else { panic!() };
        assert_eq!(
            (proof.client, proof.facts.get("rtsp.url")),
            (Some(End::First), Some("rtsp://10.0.0.9/stream1"))
        );
        let answer = b"RTSP/1.0 200 OK\r\nServer: cam\r\n\r\n";
        let Probe::Proven(proof) = harness::probe_messages(&Rtsp, Carrier::Tcp, &[answer]) else { panic!() };
        assert_eq!((proof.client, proof.facts.get("rtsp.server")), (Some(End::Second), Some("cam")));
    }

    #[test]
    fn http_and_sip_are_wrong() {
        assert_eq!(step(b"OPTIONS * HTTP/1.1\r\n"), Step::Wrong);
        assert_eq!(step(b"OPTIONS sip:a@b SIP/2.0\r\n"), Step::Wrong);
    }
}
