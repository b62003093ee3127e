//! Which protocols a flow's first bytes leave possible, so that not all are tried in turn.
//!
//! Two things are known of each protocol without asking about the flow at hand. A protocol that says `No` to a silent carrier, or to one
//! first byte of a stream, means it for good (the contract of [`Protocol::probe`]), so its own answer is remembered. And a message of it can
//! only begin with bytes that [`Protocol::may_begin`] allows: where no message of an end begins so, it is not asked about that end. Tests
//! hold the second to the first: leaving out who may not begin changes no answer.

use std::sync::OnceLock;

use super::Carrier;
use super::End;
use super::MOST_STRANGERS;
use super::PROTOCOLS;
use super::Probe;
use super::Protocol;
use super::Seen;
use super::Side;

/// A bit for each protocol of the registry, in its order.
pub type Set = u128;

/// The most protocols that a [`Set`] can hold.
pub const MOST_PROTOCOLS: usize = Set::BITS as usize;

/// Bytes of a message by which it is told whose it may be.
pub const FRONT: usize = 8;

/// For each place of a front and each byte, whose message may have it there; found out when the byte is first met there.
type Fronts = [[OnceLock<Set>; 256]; FRONT];

/// Who is not interested in a stream from its start by its first byte, found out when the byte is first met.
static STREAM: [OnceLock<Set>; 256] = [const { OnceLock::new() }; 256];
/// Who never runs over TCP, and who never over UDP.
static NEVER_TCP: OnceLock<Set> = OnceLock::new();
static NEVER_UDP: OnceLock<Set> = OnceLock::new();
static TCP_FRONTS: Fronts = [const { [const { OnceLock::new() }; 256] }; FRONT];
static UDP_FRONTS: Fronts = [const { [const { OnceLock::new() }; 256] }; FRONT];

/// Whether a byte at a place agrees with a word that stands at the front; beyond its end every byte does.
pub fn is_at(word: &[u8], at: usize, byte: u8) -> bool {
    word.get(at).is_none_or(|&should| should == byte)
}

/// The protocols to which an end has nothing to add, by the carrier and by what it says first. May be less than all that are.
pub fn deaf(seen: &Seen<'_>, end: End) -> Set {
    let side = seen.side(end);
    match seen.carrier {
        Carrier::Tcp => {
            let never = *NEVER_TCP.get_or_init(|| saying_no_to_silence(Carrier::Tcp));
            let Some(&byte) = side.bytes.first().filter(|_| side.from_start) else { return never };
            let known = STREAM.get(usize::from(byte)).map(|known| *known.get_or_init(|| by_byte(byte)));
            never | known.unwrap_or_default()
        }
        Carrier::Udp => {
            let never = *NEVER_UDP.get_or_init(|| saying_no_to_silence(Carrier::Udp));
            // An end is given up after a few datagrams of another kind.
            let given_up = side.ends.len() >= MOST_STRANGERS
                && side.messages().filter(|message| !message.is_empty()).count() >= MOST_STRANGERS;
            if given_up { never | !begun(&UDP_FRONTS, seen.carrier, side.messages()) } else { never }
        }
        // The type of the frame leaves one or two, and each kind would need its own set.
        Carrier::Ethernet(_) => 0,
    }
}

/// The protocols of which a message may begin in what there is: in what `grew` said last, or, where none is named, in anything that
/// either end said. Who is not among them proves now what it proved before: nothing.
pub fn begun_by(seen: &Seen<'_>, grew: Option<End>) -> Set {
    match grew {
        Some(end) => begun_in(seen, end),
        None => begun_in(seen, End::First) | begun_in(seen, End::Second),
    }
}

fn begun_in(seen: &Seen<'_>, end: End) -> Set {
    let side = seen.side(end);
    match seen.carrier {
        Carrier::Tcp => begun(&TCP_FRONTS, seen.carrier, side.starts().filter_map(|at| side.bytes.get(at..))),
        // What the end said before was asked about; once nothing more can come, another answer may be given.
        Carrier::Udp if side.complete => begun(&UDP_FRONTS, seen.carrier, side.messages()),
        Carrier::Udp => begun(&UDP_FRONTS, seen.carrier, last(side).into_iter()),
        Carrier::Ethernet(_) => Set::MAX,
    }
}

/// The last datagram.
fn last<'a>(side: &Side<'a>) -> Option<&'a [u8]> {
    let (&to, before) = side.ends.split_last()?;
    side.bytes.get(before.last().map_or(0, |&from| usize::from(from))..usize::from(to))
}

/// Who may have sent one of these messages.
fn begun<'a>(fronts: &Fronts, carrier: Carrier, messages: impl Iterator<Item = &'a [u8]>) -> Set {
    messages.filter(|message| !message.is_empty()).fold(0, |set, message| {
        let places = fronts.iter().zip(message).enumerate();
        set | places.fold(Set::MAX, |left, (at, (place, &byte))| {
            let known = place.get(usize::from(byte));
            left & known.map_or(Set::MAX, |known| {
                *known.get_or_init(|| set_of(|protocol| protocol.may_begin(carrier, at, byte)))
            })
        })
    })
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
        set_of(|protocol| match protocol.probe(&Seen { carrier: Carrier::Tcp, first, second, known: None }) {
            Probe::No => true,
            Probe::NeedFrom(other) => other == end.other(),
            Probe::NeedMore | Probe::Proven(_) => false,
        })
    };
    over(heard, silent, End::First) & over(silent, heard, End::Second)
}

fn saying_no_to_silence(carrier: Carrier) -> Set {
    let silent = Seen { carrier, first: Side::default(), second: Side::default(), known: None };
    set_of(|protocol| protocol.probe(&silent) == Probe::No)
}

fn set_of(is_in: impl Fn(&dyn Protocol) -> bool) -> Set {
    let members = PROTOCOLS.iter().take(MOST_PROTOCOLS).enumerate();
    members.filter(|(_, protocol)| is_in(**protocol)).fold(0, |set, (at, _)| set | 1 << at)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::print_stdout, reason = "a test says what it finds")]

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

    /// A payload of random bytes is asked of a handful.
    #[test]
    fn few_are_left_for_noise() {
        let mut noise = super::super::tests::Noise(0x0dd5_eed5);
        for (carrier, most) in [(Carrier::Tcp, 4), (Carrier::Udp, 6)] {
            let mut asked = 0;
            for _ in 0..2_000 {
                let bytes = noise.bytes(64);
                let ends = [64];
                let seen =
                    Seen { carrier, first: Side::of(&bytes, &ends), second: Side::default(), known: None };
                asked += left(deaf(&seen, End::First) | !begun_by(&seen, Some(End::First))).count();
            }
            println!("{carrier:?}: {:.2} of {} asked", asked as f64 / 2_000.0, PROTOCOLS.len());
            assert!(asked <= most * 2_000, "{carrier:?}: {asked} for 2000 payloads");
        }
    }

    #[test]
    fn few_are_left_for_common_beginnings() {
        for (carrier, bytes, most) in [
            (Carrier::Tcp, &b"GET / HTTP/1.1"[..], 8),
            (Carrier::Tcp, &[0x16, 3, 1, 2, 0], 4),
            (Carrier::Tcp, b"AMQP\0\0\x09\x01", 7),
            (Carrier::Tcp, &[3, 0, 0, 22, 17, 0xe0], 9),
            (Carrier::Udp, &[0x30, 0x29, 2, 1, 1, 4, 6, b'p'], 5),
            (Carrier::Udp, &[0x12, 0x34, 1, 0, 0, 1, 0, 0], 6),
        ] {
            let ends = [bytes.len() as u16];
            let seen = Seen { carrier, first: Side::of(bytes, &ends), second: Side::default(), known: None };
            let out = deaf(&seen, End::First) | !begun_by(&seen, Some(End::First));
            let left: Vec<_> = left(out).map(|at| PROTOCOLS[at].about().name).collect();
            assert!(left.len() <= most, "{} are left for {bytes:02x?}: {left:?}", left.len());
        }
    }
}
