//! CODESYS V3: the runtime of many makers' controllers, over TCP and UDP.

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

/// CODESYS V3.
pub struct Codesys;

static ABOUT: About = About {
    name: "codesys",
    title: "CODESYS V3",
    spec: "CODESYS V3 block drivers and datagram layer, as published by Kaspersky ICS CERT (2019), sections on the protocol stack",
    usual: &["tcp/11740", "udp/1740"],
    answers: true,
    facts: &[],
};

impl Protocol for Codesys {
    fn about(&self) -> &'static About {
        &ABOUT
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
/// The header length that every packet states, in the low three bits: words after the first two bytes.
const HEADER_LENGTH: u8 = 3;
/// Packet information of a notification: normal priority, no signal, address not absolute.
const NORMAL: u8 = 0x40;
/// Services: address notification and its answers, name service, channels.
const NOTIFICATIONS: [u8; 2] = [1, 2];
const NAME_SERVICE: [u8; 2] = [3, 4];
/// First bytes of a name service packet: kind 0xc200 to 0xc2ff, little-endian, version 4.
const NAME_VERSION: [u8; 2] = [0x00, 0x04];

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

fn step_datagram(datagram: &[u8]) -> Step {
    let Some((&[DATAGRAM, hops, information, service, _, lengths], rest)) =
        datagram.split_first_chunk::<HEADER>()
    else {
        return Step::Wrong;
    };
    // Addresses of the receiver and the sender, in words; the reserved low bits of the information are zero.
    let addresses = 2 * (usize::from(lengths >> 4) + usize::from(lengths & 0x0f));
    let Some(body) = rest.get(addresses..) else { return Step::Wrong };
    if hops & 0x07 != HEADER_LENGTH || addresses == 0 || information & 0x0f != 0 {
        return Step::Wrong;
    }
    let weight = match service {
        // A notification is its addresses alone.
        service if NOTIFICATIONS.contains(&service) && body.len() <= 2 && information == NORMAL => 60,
        service if NAME_SERVICE.contains(&service) => match *body {
            [_, 0xc2..=0xc4, v0, v1, ..] if [v1, v0] == NAME_VERSION || [v0, v1] == NAME_VERSION => 80,
            _ => return Step::Wrong,
        },
        _ => return Step::Wrong,
    };
    Step::Whole(datagram.len(), weight)
}

fn tell(_: End, _: &[u8], _: &mut Proof) {}

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
    fn a_notification_is_its_addresses() {
        let notification: &[u8] = &[0xc5, 0x0b, 0x40, 0x01, 0x00, 0x10, 0x00, 0x96];
        assert!(matches!(harness::probe_messages(&Codesys, Carrier::Udp, &[notification]), Probe::Proven(_)));
        assert_eq!(step_datagram(&[0xc5, 0x0c, 0x40, 0x01, 0x00, 0x10, 0x00, 0x96]), Step::Wrong);
    }
}
