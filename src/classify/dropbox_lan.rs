//! Dropbox LAN sync: clients announcing themselves.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::candidates::is_at;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;

/// LAN sync discovery.
pub struct DropboxLan;

static ABOUT: About = About {
    name: "dropbox-lan",
    title: "Dropbox LAN sync discovery",
    spec: "Dropbox engineering, Inside LAN Sync (2015): the discovery engine",
    usual: &["udp/17500"],
    answers: false,
    facts: &[],
};

impl Protocol for DropboxLan {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        is_at(BEGIN, at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Tcp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// What the JSON object of an announcement begins with, and a name that it also has.
const BEGIN: &[u8] = b"{\"host_int\": ";
const NAMESPACES: &[u8] = b"\"namespaces\": [";

fn step(datagram: &[u8]) -> Step {
    let named = || datagram.windows(NAMESPACES.len()).any(|window| window == NAMESPACES);
    if datagram.starts_with(BEGIN) && named() { Step::Whole(datagram.len(), PROOF) } else { Step::Wrong }
}

fn tell(_: End, _: &[u8], _: &mut Proof) {}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn another_object_is_none() {
        assert_eq!(step(b"{\"host_int\": 5, \"name\": 1}"), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&DropboxLan, 0, 0);
        harness::check_steps(&DropboxLan);
    }
}
