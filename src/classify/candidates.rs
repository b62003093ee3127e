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

/// Who is not interested in a stream from its start by its first byte, found out when the byte is first met.
static STREAM: [OnceLock<Set>; 256] = [const { OnceLock::new() }; 256];
/// Who never runs over TCP, and who never over UDP.
static NEVER_TCP: OnceLock<Set> = OnceLock::new();
static NEVER_UDP: OnceLock<Set> = OnceLock::new();

/// The protocols to which an end has nothing to add, by the carrier and by what it says first. May be less than all that are.
pub fn deaf(seen: &Seen<'_>, end: End) -> Set {
    let silent = Seen { carrier: seen.carrier, first: Side::default(), second: Side::default() };
    match seen.carrier {
        Carrier::Tcp => {
            let never = *NEVER_TCP.get_or_init(|| saying_no(&silent));
            let side = seen.side(end);
            let Some(&byte) = side.bytes.first().filter(|_| side.from_start) else { return never };
            let known = STREAM.get(usize::from(byte)).map(|known| *known.get_or_init(|| by_byte(byte)));
            never | known.unwrap_or_default()
        }
        Carrier::Udp => *NEVER_UDP.get_or_init(|| saying_no(&silent)),
        // The type of the frame leaves one or two, and each kind would need its own set.
        Carrier::Ethernet(_) => 0,
    }
}

/// The protocols that are not in a set, by their place in the registry.
pub fn left(out: Set) -> impl Iterator<Item = usize> {
    let all = Set::MAX >> (Set::BITS as usize - PROTOCOLS.len().min(MOST_PROTOCOLS));
    let mut left = all & !out;
    std::iter::from_fn(move || {
        let next = (left != 0).then(|| left.trailing_zeros() as usize);
        left &= left.wrapping_sub(1);
        next
    })
}

/// Who says that a stream which begins with this byte adds nothing. Asked for both ends: a protocol may tell them apart.
fn by_byte(byte: u8) -> Set {
    let bytes = [byte];
    let heard = Side::of(&bytes, &[]);
    let silent = Side::default();
    let over = |first, second, end: End| {
        set(|protocol| match protocol.probe(&Seen { carrier: Carrier::Tcp, first, second }) {
            Probe::No => true,
            Probe::NeedFrom(other) => other == end.other(),
            Probe::NeedMore | Probe::Proven(_) => false,
        })
    };
    over(heard, silent, End::First) & over(silent, heard, End::Second)
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

    /// What is told in advance is what the protocol itself proves when asked: nothing, for all that the end says later.
    #[test]
    fn nobody_is_deaf_to_its_own() {
        if !harness::present() {
            return;
        }
        for (flow, _) in harness::labelled() {
            for end in [End::First, End::Second] {
                let seen = flow.heard_from(end);
                for at in (0..PROTOCOLS.len()).filter(|at| deaf(&seen, end) >> at & 1 == 1) {
                    let protocol = PROTOCOLS[at];
                    let probe = protocol.probe(&seen);
                    let proven = matches!(probe, Probe::Proven(_));
                    assert!(!proven, "{} {} {end:?}", protocol.about().name, flow.place());
                }
            }
        }
    }

    #[test]
    fn few_are_left_for_common_beginnings() {
        for (carrier, bytes, most) in [
            (Carrier::Tcp, &b"GET / HTTP/1.1"[..], 20),
            (Carrier::Tcp, &[0x16, 3, 1, 2, 0], 20),
            (Carrier::Tcp, b"AMQP\0\0\x09\x01", 20),
            (Carrier::Tcp, &[3, 0, 0, 22], 20),
            (Carrier::Udp, &[0x30, 0x29, 2, 1, 1], 50),
        ] {
            let ends = [bytes.len() as u16];
            let seen = Seen { carrier, first: Side::of(bytes, &ends), second: Side::default() };
            let left: Vec<_> = left(deaf(&seen, End::First)).map(|at| PROTOCOLS[at].about().name).collect();
            assert!(left.len() <= most, "{} are left for {bytes:02x?}: {left:?}", left.len());
        }
    }
}
