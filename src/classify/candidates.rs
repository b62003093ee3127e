//! Which protocols a flow's first bytes leave possible, so that not all are tried in turn.
//!
//! Nothing is declared twice: a protocol that says `No` to a silent carrier, or to one first byte of a stream, means it for good
//! (the contract of [`Protocol::probe`]), so its own answer is remembered. One byte of a datagram says nothing of a longer one, which is
//! another message: there only the carrier rules out.

use std::sync::OnceLock;

use super::Carrier;
use super::End;
use super::PROTOCOLS;
use super::Probe;
use super::Protocol;
use super::Seen;
use super::Side;

/// A bit for each protocol of the registry, in its order.
pub type Set = u128;

/// The most protocols that a [`Set`] can hold.
pub const MOST_PROTOCOLS: usize = Set::BITS as usize;

/// A set for each first byte, found out when the byte is first met.
type ByFirstByte = [OnceLock<Set>; 256];

/// Who is out by the first byte of a stream from its start, heard from the first and from the second side.
static STREAM: [ByFirstByte; 2] = [const { [const { OnceLock::new() }; 256] }; 2];
/// Who never runs over TCP, and who never over UDP.
static NEVER_TCP: OnceLock<Set> = OnceLock::new();
static NEVER_UDP: OnceLock<Set> = OnceLock::new();

/// The protocols that are out before any is asked. May be less than all that are; never holds one that could be proved.
pub fn ruled_out(seen: &Seen<'_>) -> Set {
    match seen.carrier {
        Carrier::Tcp => {
            let never = *NEVER_TCP.get_or_init(|| saying_no(&silent(Carrier::Tcp)));
            seen.sides().into_iter().zip(&STREAM).fold(never, |out, ((end, side), known)| {
                let Some(&byte) = side.bytes.first().filter(|_| side.from_start) else { return out };
                let Some(known) = known.get(usize::from(byte)) else { return out };
                out | *known.get_or_init(|| by_byte(end, byte))
            })
        }
        Carrier::Udp => *NEVER_UDP.get_or_init(|| saying_no(&silent(Carrier::Udp))),
        // The type of the frame leaves one or two, and each kind would need its own set.
        Carrier::Ethernet(_) => 0,
    }
}

fn silent(carrier: Carrier) -> Seen<'static> {
    Seen { carrier, first: Side::default(), second: Side::default() }
}

/// Who says no to a stream of which one end has sent this byte so far.
fn by_byte(end: End, byte: u8) -> Set {
    let bytes = [byte];
    let heard = Side { bytes: &bytes, ends: &[], from_start: true, complete: false };
    let (first, second) = match end {
        End::First => (heard, Side::default()),
        End::Second => (Side::default(), heard),
    };
    saying_no(&Seen { carrier: Carrier::Tcp, first, second })
}

fn saying_no(seen: &Seen<'_>) -> Set {
    set(|protocol| protocol.probe(seen) == Probe::No)
}

fn set(is_in: impl Fn(&dyn Protocol) -> bool) -> Set {
    let members = PROTOCOLS.iter().take(MOST_PROTOCOLS).enumerate();
    members.filter(|(_, protocol)| is_in(**protocol)).fold(0, |set, (at, _)| set | 1 << at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness;

    #[test]
    fn the_registry_fits_a_set() {
        assert!(PROTOCOLS.len() <= MOST_PROTOCOLS);
    }

    /// What is told in advance is what the protocol itself says when asked, on every prefix of every labelled flow.
    #[test]
    fn who_is_ruled_out_says_no() {
        if !harness::present() {
            return;
        }
        for (flow, _) in harness::labelled() {
            for step in 0..flow.steps.len().min(6) {
                let seen = flow.seen_at(step);
                let out = ruled_out(&seen);
                for (at, protocol) in PROTOCOLS.iter().enumerate().filter(|(at, _)| out >> at & 1 == 1) {
                    let name = protocol.about().name;
                    assert_eq!(
                        protocol.probe(&seen),
                        Probe::No,
                        "{name} ({at}) {} step {step}",
                        flow.place()
                    );
                }
            }
        }
    }

    #[test]
    fn few_are_left_for_common_beginnings() {
        let left = |carrier, bytes: &[u8]| {
            let ends = [bytes.len() as u16];
            let seen = Seen { carrier, first: Side::of(bytes, &ends), second: Side::default() };
            PROTOCOLS.len() - ruled_out(&seen).count_ones() as usize
        };
        // Many wait for the other end before they say no, so that an odd request does not hide a plain answer.
        for (carrier, bytes, most) in [
            (Carrier::Tcp, &b"GET / HTTP/1.1"[..], 45),
            (Carrier::Tcp, &[0x16, 3, 1, 2, 0], 45),
            (Carrier::Tcp, b"AMQP\0\0\x09\x01", 45),
            (Carrier::Tcp, &[3, 0, 0, 22], 45),
            (Carrier::Udp, &[0x30, 0x29, 2, 1, 1], 50),
        ] {
            let left = left(carrier, bytes);
            assert!(left <= most, "{left} protocols are left for {bytes:02x?}");
        }
    }
}
