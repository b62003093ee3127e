//! 802.11 frames and the radiotap header before them (IEEE Std 802.11-2020 clause 9, <https://www.radiotap.org>).
//!
//! Only what is sent in the clear can be read. What is encrypted, what is no data (beacons, acknowledgements) and what comes in pieces is told
//! as that, so that a recording of a radio never passes for a quiet network.

use crate::model::MacAddr;

use super::Context;
use super::EthernetAddresses;
use super::Header;
use super::Undecodable;
use super::ethernet;
use super::part::Part;
use super::walk::Layer;

/// Frame control, duration, three addresses and sequence control (clause 9.3.2.1).
const HEADER: usize = 24;

/// Bits of the second byte of frame control (clause 9.2.4.1).
const TO_DS: u8 = 0x01;
const FROM_DS: u8 = 0x02;
const MORE_FRAGMENTS: u8 = 0x04;
const PROTECTED: u8 = 0x40;
const HT_CONTROL: u8 = 0x80;

/// Bits of the subtype of data frames (clause 9.2.4.1.3).
const NO_DATA: u8 = 0x04;
const QOS: u8 = 0x08;

/// A frame behind a radiotap header, whose flags tell of a check sequence, padding and damage.
pub(super) fn radiotap<'a>(context: &mut Context, part: Part<'a>) -> Result<Layer<'a>, Undecodable> {
    const CHECKED: u8 = 0x10;
    const PADDED: u8 = 0x20;
    const DAMAGED: u8 = 0x40;
    let (head, _) = part.split::<8>(Header::Radiotap)?;
    let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
    if head[0] != 0 || length < head.len() {
        return Err(Undecodable::Bad(Header::Radiotap));
    }
    let Some(whole) = part.bytes.get(..length) else { return Err(part.lacks(Header::Radiotap, length)) };
    let flags = radiotap_flags(whole);
    if flags & DAMAGED != 0 {
        return Err(Undecodable::Bad(Header::Wireless));
    }
    let frame = part.skip(length);
    let behind = if flags & CHECKED == 0 { 0 } else { ethernet::CHECK_SEQUENCE as u32 };
    frame_of(context, frame.limit(frame.length.saturating_sub(behind)), flags & PADDED != 0)
}

/// The flags field of a whole radiotap header, 0 where there is none. A time stamp of eight bytes, aligned, may stand before it.
fn radiotap_flags(header: &[u8]) -> u8 {
    const TIME: u32 = 1;
    const FLAGS: u32 = 1 << 1;
    const ANOTHER: u32 = 1 << 31;
    let words = || {
        header.get(4..).unwrap_or_default().chunks_exact(4).map(|word| match *word {
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        })
    };
    let present = words().next().unwrap_or_default();
    let masks = 1 + words().take_while(|word| word & ANOTHER != 0).count();
    let fields = 4 + 4 * masks;
    let at = if present & TIME == 0 { fields } else { fields.next_multiple_of(8) + 8 };
    if present & FLAGS == 0 { 0 } else { header.get(at).copied().unwrap_or_default() }
}

/// A frame that begins with its frame control.
pub(super) fn frame<'a>(context: &mut Context, part: Part<'a>) -> Result<Layer<'a>, Undecodable> {
    frame_of(context, part, false)
}

fn frame_of<'a>(context: &mut Context, part: Part<'a>, padded: bool) -> Result<Layer<'a>, Undecodable> {
    const DATA: u8 = 2;
    let ([control, flags], _) = part.split::<2>(Header::Wireless)?;
    let (version, kind, subtype) = (control & 3, control >> 2 & 3, control >> 4);
    match (version, kind) {
        (0, DATA) if subtype & NO_DATA == 0 => {}
        (0, _) => return Err(Undecodable::NoData),
        _ => return Err(Undecodable::Bad(Header::Wireless)),
    }
    let (head, mut rest) = part.split::<HEADER>(Header::Wireless)?;
    let mut length = HEADER;
    let address = |at: usize| {
        head.get(at..)
            .and_then(|bytes| bytes.first_chunk::<6>())
            .map_or(MacAddr::default(), |bytes| MacAddr(*bytes))
    };
    let [receiver, sender, third] = [address(4), address(10), address(16)];
    // Clause 9.3.2.1, table 9-30: which address is whose.
    let (destination, source) = match flags & (TO_DS | FROM_DS) {
        0 => (receiver, sender),
        TO_DS => (third, sender),
        FROM_DS => (receiver, third),
        _ => {
            let (fourth, behind) = rest.split::<6>(Header::Wireless)?;
            (rest, length) = (behind, length + 6);
            (third, MacAddr(*fourth))
        }
    };
    context.ethernet = Some(EthernetAddresses { source, destination });
    let mut aggregated = false;
    if subtype & QOS != 0 {
        let (qos, behind) = rest.split::<2>(Header::Wireless)?;
        (rest, length) = (behind, length + 2);
        aggregated = qos[0] & 0x80 != 0;
        if flags & HT_CONTROL != 0 {
            let (_, behind) = rest.split::<4>(Header::Wireless)?;
            (rest, length) = (behind, length + 4);
        }
    }
    if flags & PROTECTED != 0 {
        return Err(Undecodable::Encrypted);
    }
    if flags & MORE_FRAGMENTS != 0 || head[22] & 0x0f != 0 {
        return Err(Undecodable::InPieces);
    }
    if padded {
        rest = rest.skip(length.next_multiple_of(4) - length);
    }
    if aggregated { only_one(context, rest) } else { Ok(ethernet::logical_link(rest)) }
}

/// An aggregate of several frames that holds one alone (clause 9.3.2.2): addresses, a length, the frame.
fn only_one<'a>(context: &mut Context, part: Part<'a>) -> Result<Layer<'a>, Undecodable> {
    const SUBFRAME: u32 = 14;
    let (head, rest) = part.split::<14>(Header::Wireless)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, high, low] = *head;
    let length = u32::from(u16::from_be_bytes([high, low]));
    if length > rest.length {
        return Err(Undecodable::Bad(Header::Wireless));
    }
    // Behind each but the last there is padding to four bytes, then the next.
    if rest.length - length >= SUBFRAME {
        return Err(Undecodable::InPieces);
    }
    context.ethernet = Some(EthernetAddresses {
        source: MacAddr([g, h, i, j, k, l]),
        destination: MacAddr([a, b, c, d, e, f]),
    });
    Ok(ethernet::logical_link(rest.limit(length)))
}
