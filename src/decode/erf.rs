//! Endace's extensible record format as a link type (<https://www.tcpdump.org/linktypes.html>, LINKTYPE_ERF): a record header, then the frame.

use super::Header;
use super::Undecodable;
use super::ethernet::ethertype;
use super::link::hdlc;
use super::part::Part;
use super::walk::Layer;

/// Record types without what tells them apart otherwise (colour, hash, channel): what follows the header.
const HDLC: [u8; 4] = [1, 10, 15, 19];
const ETHERNET: [u8; 4] = [2, 11, 16, 20];
const IPV4: u8 = 22;
const IPV6: u8 = 23;

/// More extension headers than any device writes.
const MOST_EXTENSIONS: usize = 16;

/// The frame in a record: time stamp, type, flags, record length, loss counter, length on the wire.
pub(super) fn record(part: Part<'_>) -> Result<Layer<'_>, Undecodable> {
    /// In the type: an extension header follows. In the first byte of one: another does.
    const MORE: u8 = 0x80;
    let (head, mut rest) = part.split::<16>(Header::Erf)?;
    let kind = head[8];
    let length = u32::from(u16::from_be_bytes([head[14], head[15]]));
    let mut more = kind & MORE != 0;
    for _ in 0..MOST_EXTENSIONS {
        if !more {
            break;
        }
        let (extension, behind) = rest.split::<8>(Header::Erf)?;
        more = extension[0] & MORE != 0;
        rest = behind;
    }
    if more {
        return Err(Undecodable::Bad(Header::Erf));
    }
    match kind & !MORE {
        kind if ETHERNET.contains(&kind) => {
            // Offset and padding, so that the IP header is aligned.
            let (_, frame) = rest.split::<2>(Header::Erf)?;
            // Records are padded to eight bytes.
            Ok(Layer::Ethernet(frame.limit(length)))
        }
        kind if HDLC.contains(&kind) => hdlc(rest.limit(length)),
        IPV4 => Ok(Layer::Ethertype(ethertype::IPV4, rest.limit(length))),
        IPV6 => Ok(Layer::Ethertype(ethertype::IPV6, rest.limit(length))),
        _ => Err(Undecodable::UnknownLinkType),
    }
}
