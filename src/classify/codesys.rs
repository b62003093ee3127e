//! CODESYS V3: the runtime of many makers' controllers, over TCP and UDP.

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
use super::weigh::client_is;

/// CODESYS V3.
pub struct Codesys;

static ABOUT: About = About {
    name: "codesys",
    title: "CODESYS V3",
    spec: "Kaspersky ICS CERT, Security research: CODESYS Runtime (2019), block driver, datagram and channel layers",
    usual: &["tcp/11740", "udp/1740"],
    answers: true,
    facts: &[],
};

impl Protocol for Codesys {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match carrier {
            Carrier::Udp => is_at(&[DATAGRAM], at, byte),
            _ => is_at(BLOCK, at, byte),
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => weigh::probe(seen, step_block, tell),
            Carrier::Udp => weigh::probe(seen, step_datagram, tell),
            Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// The TCP block driver: magic number 0xe8170100 and length of the whole block, both little-endian.
const BLOCK: &[u8] = &[0x00, 0x01, 0x17, 0xe8];
/// The largest block accepted; the driver's buffers are far smaller.
const LARGEST: usize = 1 << 20;
/// First byte of a datagram layer packet.
const DATAGRAM: u8 = 0xc5;
/// Hops and header length, packet information, service, message id, lengths of the addresses.
const HEADER: usize = 6;
/// Services: address requests and their answers, name service, channels.
const ADDRESS: [u8; 2] = [1, 2];
const NAME_REQUEST: u8 = 3;
const NAME_RESPONSE: u8 = 4;
const CHANNEL: u8 = 0x40;
/// Packet information of an address request: normal priority, no signal, address not absolute.
const NORMAL: u8 = 0x40;
/// Channel commands: open and its answer.
const OPEN: u8 = 0xc3;
const OPENED: u8 = 0x83;

fn step_block(bytes: &[u8]) -> Step {
    if !weigh::agrees(bytes, BLOCK) {
        return Step::Wrong;
    }
    let Some(&[_, _, _, _, l0, l1, l2, l3]) = bytes.first_chunk::<8>() else { return Step::Cut(0) };
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    match length {
        9..=LARGEST if bytes.len() >= length => Step::Whole(length, PROOF),
        9..=LARGEST => Step::Cut(PROOF),
        _ => Step::Wrong,
    }
}

/// Service, packet information and payload of a datagram layer packet.
fn datagram(bytes: &[u8]) -> Option<(u8, u8, &[u8])> {
    let &[DATAGRAM, hops, information, service, _, lengths] = bytes.first_chunk::<HEADER>()? else {
        return None;
    };
    // The header has three words, or four with a broadcast id; then sender and receiver in words, padded to four bytes.
    let header = match hops & 0x07 {
        3 => HEADER,
        4 => HEADER + 2,
        _ => return None,
    };
    let addresses = 2 * (usize::from(lengths >> 4) + usize::from(lengths & 0x0f));
    let start = (header + addresses).next_multiple_of(4);
    (addresses > 0).then_some((service, information, bytes.get(start..)?))
}

fn step_datagram(bytes: &[u8]) -> Step {
    let Some((service, information, payload)) = datagram(bytes) else { return Step::Wrong };
    let weight = match (service, payload) {
        // An address request is its addresses alone.
        (service, []) if ADDRESS.contains(&service) && information == NORMAL => 60,
        // Kind 0xc201 to 0xc203 or 0xc280, version 4.0 or an older one, both little-endian.
        (NAME_REQUEST | NAME_RESPONSE, [0x01..=0x03 | 0x80, 0xc2, _, 1..=4, ..]) => 80,
        // Blocks, acknowledgements and keep-alives of a channel, or its opening, closing and information.
        (CHANNEL, [0x01..=0x04, 0x00 | 0x01 | 0x80 | 0x81, ..]) => 30,
        (CHANNEL, [0xc2..=0xc4 | 0x82..=0x84, ..]) => 30,
        _ => return Step::Wrong,
    };
    Step::Whole(bytes.len(), weight)
}

fn tell(end: End, message: &[u8], proof: &mut Proof) {
    let packet = if message.starts_with(BLOCK) { message.get(8..).unwrap_or_default() } else { message };
    match datagram(packet) {
        Some((NAME_REQUEST, ..)) | Some((CHANNEL, _, [OPEN, ..])) => client_is(proof, end),
        Some((NAME_RESPONSE, ..)) | Some((CHANNEL, _, [OPENED, ..])) => client_is(proof, end.other()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    #[test]
    fn a_block_has_its_magic_number() {
        let block = b"\0\x01\x17\xe8\x0c\0\0\0\xc5\x6b\x40\x40";
        assert!(matches!(harness::probe_messages(&Codesys, Carrier::Tcp, &[block]), Probe::Proven(_)));
        assert_eq!(step_block(b"\0\x01\x17\xe8\x08\0\0\0"), Step::Wrong);
        assert_eq!(step_block(b"\0\x01\x17"), Step::Cut(0));
    }

    #[test]
    fn an_address_request_is_its_addresses() {
        let request: &[u8] = &[0xc5, 0x0b, 0x40, 0x01, 0x00, 0x10, 0x00, 0x96];
        assert!(matches!(harness::probe_messages(&Codesys, Carrier::Udp, &[request]), Probe::Proven(_)));
        assert_eq!(step_datagram(&[0xc5, 0x0d, 0x40, 0x01, 0x00, 0x10, 0x00, 0x96]), Step::Wrong);
        assert_eq!(step_datagram(&[0xc5, 0x0b, 0x40, 0x01, 0x00, 0x10, 0x00, 0x96, 0]), Step::Wrong);
    }

    #[test]
    fn a_name_request_asks() {
        let request = b"\xc5\x7c\x40\x03\0\x10\x12\x34\0\x96\0\0\x02\xc2\0\x04\x01\x02\x03\x04";
        let Probe::Proven(proof) = harness::probe_messages(&Codesys, Carrier::Udp, &[request]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
    }
}
