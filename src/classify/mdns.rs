//! Multicast DNS: the message format of DNS, used on the local link.

use super::About;
use super::Carrier;
use super::Probe;
use super::Protocol;
use super::Seen;
use super::dns;
use super::dns_message;
use super::dns_message::Kind;

/// The protocol.
pub struct Mdns;

static ABOUT: About = About {
    name: "mdns",
    title: "Multicast DNS",
    spec: "RFC 6762",
    usual: &["udp/5353"],
    answers: false,
    facts: &[("mdns.question", "each question of the prefix: name in lower case, and type")],
};

impl Protocol for Mdns {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        dns_message::may_begin(at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        dns::probe_local(seen, Kind::Mdns, "mdns.question")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;

    #[test]
    fn labelled_captures() {
        harness::check(&Mdns, 0, 0);
        harness::check_steps(&Mdns);
    }
}
