//! WS-Discovery: Windows, printers and cameras looking for each other.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// Web services discovery.
pub struct WsDiscovery;

static ABOUT: About = About {
    name: "ws-discovery",
    title: "WS-Discovery",
    spec: "OASIS WS-Discovery 1.1 section 2.6 (XML namespaces) and appendix II",
    usual: &["udp/3702"],
    answers: true,
    facts: &[],
};

impl Protocol for WsDiscovery {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        at != 0 || byte == b'<' || byte == 0xef || byte.is_ascii_whitespace()
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Tcp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Namespaces of version 1.1 and of the submission of 2005 that Windows uses.
const NAMESPACES: [&[u8]; 2] =
    [b"schemas.xmlsoap.org/ws/2005/04/discovery", b"docs.oasis-open.org/ws-dd/ns/discovery/2009/01"];
/// Where in a datagram the namespace is looked for.
const NEAR: usize = 1024;

/// An XML document that names the namespace.
fn step(datagram: &[u8]) -> Step {
    let near = datagram.get(..datagram.len().min(NEAR)).unwrap_or_default();
    let xml = near.trim_ascii_start().first() == Some(&b'<') || near.starts_with(b"\xef\xbb\xbf<");
    let named = |namespace: &[u8]| near.windows(namespace.len()).any(|window| window == namespace);
    if xml && NAMESPACES.iter().any(|namespace| named(namespace)) {
        Step::Whole(datagram.len(), PROOF)
    } else {
        Step::Wrong
    }
}

fn tell(end: End, datagram: &[u8], proof: &mut Proof) {
    let near = datagram.get(..datagram.len().min(NEAR)).unwrap_or_default();
    let has = |word: &[u8]| near.windows(word.len()).any(|window| window == word);
    if has(b"discovery/ProbeMatches") || has(b"discovery/ResolveMatches") {
        client_is(proof, end.other());
    } else if has(b"discovery/Probe") || has(b"discovery/Resolve") {
        client_is(proof, end);
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_probe_asks() {
        let probe = b"<?xml version=\"1.0\"?><e:Envelope xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\"><a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>";
        let Probe::Proven(proof) = harness::probe_messages(&WsDiscovery, Carrier::Udp, &[probe]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(step(b"<xml>nothing of it</xml>"), Step::Wrong);
    }
}
