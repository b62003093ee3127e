//! EtherCAT: chained commands on Ethernet or UDP.

use crate::model::EtherKind;

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;

/// EtherCAT.
pub struct EtherCat;

static ABOUT: About = About {
    name: "ethercat",
    title: "EtherCAT",
    spec: "IEC 61158-4-12:2019 clause 5 (DL-PDU structure); ETG.1000.4",
    usual: &["ethernet/0x88a4", "udp/34980"],
    answers: false,
    facts: &[("ethercat.command", "command of a datagram: APRD, FPWR, LRW ...")],
};

impl Protocol for EtherCat {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        carrier != Carrier::Udp || at != 1 || byte & 0xf8 == 0x10
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => weigh::probe(seen, step, tell),
            Carrier::Ethernet(EtherKind::Type(ETHERTYPE)) => weigh::probe(seen, step_frame, tell),
            _ => Probe::No,
        }
    }
}

/// Ethertype (ETG.1000.4 clause 5.3.1).
const ETHERTYPE: u16 = 0x88a4;
/// Frame types of the header's upper four bits: commands, network variables, mailbox (clause 5.3.2).
const COMMANDS: u16 = 1;
const NETWORK_VARIABLES: u16 = 4;
const MAILBOX: u16 = 5;
/// Command names by number (clause 5.4.1).
const NAMES: [&str; 15] = [
    "NOP", "APRD", "APWR", "APRW", "FPRD", "FPWR", "FPRW", "BRD", "BWR", "BRW", "LRD", "LWR", "LRW", "ARMW",
    "FRMW",
];
/// Datagrams in one frame; the shortest takes twelve bytes of at most 1498.
const MOST_DATAGRAMS: usize = 125;

fn step(frame: &[u8]) -> Step {
    let Some(length) = walk(frame, |_| {}) else { return Step::Wrong };
    Step::Whole(length, PROOF)
}

/// The same where the ethertype has told already: other frame types, and chains that the capture cut.
fn step_frame(frame: &[u8]) -> Step {
    let mut reader = Reader::new(frame);
    match (reader.le16().map(|header| header >> 12), reader.u8()) {
        (Some(NETWORK_VARIABLES | MAILBOX), _) => Step::Whole(frame.len(), PROOF),
        (Some(COMMANDS), Some(command)) if usize::from(command) < NAMES.len() => {
            Step::Whole(frame.len(), PROOF)
        }
        _ => Step::Wrong,
    }
}

/// Walks the commands of a frame; its length where the chain ends exactly where the header says.
fn walk(frame: &[u8], mut command: impl FnMut(u8)) -> Option<usize> {
    let mut reader = Reader::new(frame);
    let header = reader.le16()?;
    // Eleven bits of length, one reserved, four of type.
    if header >> 12 != COMMANDS || header & 0x0800 != 0 {
        return None;
    }
    let mut body = Reader::new(reader.take(usize::from(header & 0x07ff))?);
    for _ in 0..MOST_DATAGRAMS {
        let number = body.u8().filter(|&number| usize::from(number) < NAMES.len())?;
        // Index and address, then eleven bits of length, three reserved, circulating, more follows; interrupt, data, counter.
        body.skip(5)?;
        let fields = body.le16()?;
        if fields & 0x3800 != 0 {
            return None;
        }
        body.skip(2 + usize::from(fields & 0x07ff) + 2)?;
        command(number);
        if fields & 0x8000 == 0 {
            return body.is_empty().then(|| reader.position());
        }
    }
    None
}

fn tell(_: End, frame: &[u8], proof: &mut Proof) {
    walk(frame, |command| {
        if let Some(name) = NAMES.get(usize::from(command)) {
            proof.facts.add("ethercat.command", *name);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::harness;
    use super::*;

    /// Two datagrams: BRD of two bytes, more follows, then LRW of one.
    const FRAME: [u8; 29] =
        [27, 0x10, 7, 1, 0, 0, 0x30, 1, 2, 0x80, 0, 0, 0, 0, 1, 0, 12, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0, 0];

    #[test]
    fn a_chain_of_commands() {
        for carrier in [Carrier::Udp, Carrier::Ethernet(EtherKind::Type(ETHERTYPE))] {
            let seen = Seen { carrier, first: Side::of(&FRAME, &[29]), second: Side::default(), known: None };
            let Probe::Proven(proof) = EtherCat.probe(&seen) else { panic!() };
            assert_eq!(proof.facts.all("ethercat.command").collect::<Vec<_>>(), ["BRD", "LRW"]);
        }
    }

    #[test]
    fn a_chain_that_ends_elsewhere_is_wrong() {
        let mut frame = FRAME;
        frame[0] = 26;
        assert_eq!(step(&frame), Step::Wrong);
        frame = FRAME;
        frame[2] = 15;
        assert_eq!(step(&frame), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&EtherCat, 0, 0);
        harness::check_steps(&EtherCat);
    }
}
