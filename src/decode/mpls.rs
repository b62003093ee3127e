//! MPLS label stacks (RFC 3032) and what may stand behind them: IP or an Ethernet pseudowire (RFC 4928, RFC 4448).

use crate::model::EtherKind;

use super::Body;
use super::Header;
use super::Tunnel;
use super::TunnelKind;
use super::Undecodable;
use super::ethernet::{self, Likeness};
use super::ip;
use super::part::Part;
use super::walk::{Layer, Step};

/// The most labels walked over.
const MOST_LABELS: usize = 16;

/// Reads a label stack. No field tells what it carries: only a payload that proves itself is walked into.
pub(super) fn stack(number: u16, part: Part<'_>) -> Result<Step<'_>, Undecodable> {
    let body = Body::Ethernet { kind: EtherKind::Type(number), payload: part.bytes };
    let mut outermost = None;
    let mut rest = part;
    for _ in 0..MOST_LABELS {
        let (entry, after) = rest.split::<4>(Header::Mpls)?;
        rest = after;
        let entry = u32::from_be_bytes(*entry);
        let label = *outermost.get_or_insert(entry >> 12);
        // The bottom-of-stack bit.
        if entry & 0x100 != 0 {
            let Some(inner) = behind(rest) else { return Ok(Step::Done(None, body)) };
            let tunnel = Tunnel { kind: TunnelKind::Mpls, id: label, outer: None };
            return Ok(Step::Tunnel { tunnel, inner, named: true, network: None, body });
        }
    }
    Err(Undecodable::TooManyLayers)
}

/// What stands behind the stack, by its first nibble and by whether the rest agrees.
fn behind(part: Part<'_>) -> Option<Layer<'_>> {
    let first = part.bytes.first()? >> 4;
    let (bare, controlled) = (ethernet::likeness(part), ethernet::likeness(part.skip(4)));
    match first {
        // An Ethernet address may begin with these nibbles as well.
        4 | 6 if ip::is_plausible(part) && (ip::is_checked(part) || bare != Likeness::Ethertype) => {
            Some(Layer::Ip(part))
        }
        // The control word of a pseudowire (RFC 4385 section 3). A tagged frame whose first four bytes were taken for one
        // would look like an untagged frame; the other way round nothing fits.
        0 if controlled > bare => Some(Layer::Ethernet(part.skip(4))),
        _ if bare != Likeness::None => Some(Layer::Ethernet(part)),
        // Too little was captured to tell by more than the nibble.
        4 if part.is_cut() && part.bytes.len() < 20 => Some(Layer::Ip(part)),
        6 if part.is_cut() && part.bytes.len() < 40 => Some(Layer::Ip(part)),
        _ => None,
    }
}
