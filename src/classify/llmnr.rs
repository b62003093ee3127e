//! LLMNR: the message format of DNS, asking the neighbours for a single-label name.
//!
//! Over TCP (RFC 4795 section 2.5), where it is hardly ever met, nothing tells a message from DNS: there it is called that.

use super::About;
use super::Carrier;
use super::Probe;
use super::Protocol;
use super::Seen;
use super::dns;
use super::dns_message;
use super::dns_message::Kind;

/// The protocol.
pub struct Llmnr;

static ABOUT: About = About {
    name: "llmnr",
    title: "Link-Local Multicast Name Resolution",
    spec: "RFC 4795",
    usual: &["udp/5355"],
    answers: true,
    facts: &[("llmnr.question", "each question of the prefix: name in lower case, and type")],
};

impl Protocol for Llmnr {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        dns_message::may_begin(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        dns::probe_local(seen, Kind::Llmnr, "llmnr.question")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;

    #[test]
    fn an_id_of_zero_is_an_id() {
        let question = harness::hex("0000 0000 0001 0000 0000 0000 05 686f737431 00 0001 0001");
        let probe = |protocol: &dyn Protocol| {
            let messages: [&[u8]; 1] = [&question];
            harness::probe_messages(protocol, Carrier::Udp, &messages).proof().is_some()
        };
        assert!(probe(&Llmnr));
        assert!(!probe(&super::super::mdns::Mdns));
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Llmnr, 0, 0);
        harness::check_steps(&Llmnr);
    }
}
