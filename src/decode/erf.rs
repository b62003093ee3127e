//! Endace's extensible record format as a link type (<https://www.tcpdump.org/linktypes.html>, LINKTYPE_ERF): a record header, then the frame.

use super::Header;
use super::Undecodable;
use super::ethernet::CHECK_SEQUENCE;
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
            Ok(Layer::Ethernet(without_check(frame.limit(length))))
        }
        kind if HDLC.contains(&kind) => hdlc(rest.limit(length)),
        IPV4 => Ok(Layer::Ethertype(ethertype::IPV4, rest.limit(length))),
        IPV6 => Ok(Layer::Ethertype(ethertype::IPV6, rest.limit(length))),
        _ => Err(Undecodable::UnknownLinkType),
    }
}

/// A frame without the check sequence that may be left at its end: one that is right is no payload.
fn without_check(frame: Part<'_>) -> Part<'_> {
    let Some((said, check)) = frame.bytes.split_last_chunk::<CHECK_SEQUENCE>().filter(|_| !frame.is_cut())
    else {
        return frame;
    };
    let mut sum = flate2::Crc::new();
    sum.update(said);
    if sum.sum() == u32::from_le_bytes(*check) { frame.limit(said.len() as u32) } else { frame }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_sequence_that_is_right_is_no_payload() {
        let mut sum = flate2::Crc::new();
        let frame = [7_u8; 60];
        sum.update(&frame);
        let with = [&frame[..], &sum.sum().to_le_bytes()].concat();
        assert_eq!(without_check(Part::new(&with, 64)).length, 60);
        assert_eq!(without_check(Part::new(&frame, 60)).length, 60);
        let cut = without_check(Part::new(&with[..62], 64));
        assert_eq!((cut.bytes.len(), cut.length), (62, 64));
    }
}
