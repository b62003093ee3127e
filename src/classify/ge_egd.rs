//! GE Ethernet Global Data: cyclic data of GE controllers.

use compact_str::ToCompactString;

use std::net::Ipv4Addr;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::candidates::is_at;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;

/// Ethernet global data.
pub struct GeEgd;

static ABOUT: About = About {
    name: "ge-egd",
    title: "GE Ethernet Global Data",
    spec: "GE Fanuc GFK-2224, chapter on Ethernet Global Data; production PDU as in published dissectors",
    usual: &["udp/18246"],
    answers: false,
    facts: &[
        ("ge-egd.producer", "producer id, written as an address"),
        ("ge-egd.exchange", "exchange id, decimal"),
    ],
};

impl Protocol for GeEgd {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        is_at(&DATA, at, byte)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Tcp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// PDU type 13 (production data) and version 1.
const DATA: [u8; 2] = [0x0d, 0x01];
/// Type, version, request, producer, exchange, time, status, configuration signature, reserved.
const HEADER: usize = 32;
/// Nanoseconds of a second.
const SECOND: u32 = 1_000_000_000;
/// The longest data of one exchange.
const LONGEST: usize = 1400;

fn step(datagram: &[u8]) -> Step {
    let right = head(datagram).is_some() && datagram.len() <= HEADER + LONGEST;
    if right { Step::Whole(datagram.len(), PROOF) } else { Step::Wrong }
}

/// Producer and exchange of a datagram whose fixed fields are right.
fn head(datagram: &[u8]) -> Option<(Ipv4Addr, u32)> {
    let mut reader = Reader::new(datagram);
    (reader.array::<2>()? == &DATA).then_some(())?;
    reader.skip(2)?;
    let (producer, exchange) = (*reader.array::<4>()?, reader.le32()?);
    reader.skip(4)?;
    let nanoseconds = reader.le32()?;
    // Status has sixteen bits in use (producer and network status), and the last word is reserved.
    let (status, _, reserved) = (reader.le32()?, reader.le32()?, reader.le32()?);
    (nanoseconds < SECOND && status >> 16 == 0 && reserved == 0).then(|| (Ipv4Addr::from(producer), exchange))
}

fn tell(_: End, datagram: &[u8], proof: &mut Proof) {
    if let Some((producer, exchange)) = head(datagram) {
        proof.facts.add("ge-egd.producer", producer.to_compact_string());
        proof.facts.add("ge-egd.exchange", exchange.to_compact_string());
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_producer_names_its_exchange() {
        let mut datagram = vec![0x0d, 1, 4, 0, 192, 168, 8, 77, 0x7b, 0, 0, 0];
        datagram.resize(40, 0);
        let Probe::Proven(proof) = harness::probe_messages(&GeEgd, Carrier::Udp, &[&datagram]) else {
            panic!()
        };
        assert_eq!(proof.facts.get("ge-egd.producer"), Some("192.168.8.77"));
        assert_eq!(proof.facts.get("ge-egd.exchange"), Some("123"));
        datagram[31] = 1;
        assert_eq!(step(&datagram), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&GeEgd, 0, 0);
        harness::check_steps(&GeEgd);
    }
}
