//! What is spoken inside another protocol: the rest of its streams, asked of every protocol as if it were a flow of its own.

use std::borrow::Cow;

use super::Carrier;
use super::PROTOCOLS;
use super::Probe;
use super::Proof;
use super::Seen;
use super::Side;
use super::bytes::Reader;

/// What one end says inside.
#[derive(Clone, Debug, Default)]
pub struct Inside<'a> {
    bytes: Cow<'a, [u8]>,
    ends: Vec<u16>,
    complete: bool,
}

impl<'a> Inside<'a> {
    /// All that a side says from an offset on; nothing where it is not known where the outer protocol ends.
    pub fn after(side: &Side<'a>, offset: Option<usize>) -> Self {
        let Some(offset) = offset.filter(|offset| *offset <= side.bytes.len()) else {
            return Self::default();
        };
        let ends = side.ends.iter().filter_map(|&end| usize::from(end).checked_sub(offset));
        let ends = ends.filter(|end| *end > 0).filter_map(|end| u16::try_from(end).ok()).collect();
        let bytes = Cow::Borrowed(side.bytes.get(offset..).unwrap_or_default());
        Self { bytes, ends, complete: side.complete }
    }

    /// What the data frames of WebSocket hold from an offset on (RFC 6455 section 5.2), the mask taken off.
    pub fn websocket(side: &Side<'_>, offset: Option<usize>) -> Self {
        let mut inside = Self { complete: side.complete, ..Self::default() };
        let Some(rest) = offset.and_then(|offset| side.bytes.get(offset..)) else { return inside };
        let mut reader = Reader::new(rest);
        while inside.frame(&mut reader).is_some() {}
        inside
    }

    /// Takes in one frame; `None` where it is cut, or compressed by an extension.
    fn frame(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        /// Opcodes of data; close, ping and pong are for the frames' own ends.
        const DATA: std::ops::RangeInclusive<u8> = 0..=2;
        const RESERVED: u8 = 0x70;
        const MASKED: u8 = 0x80;
        let [head, length] = *reader.array()?;
        if head & RESERVED != 0 {
            return None;
        }
        let count = match length & !MASKED {
            126 => usize::from(reader.be16()?),
            127 => usize::try_from(reader.be64()?).ok()?,
            short => usize::from(short),
        };
        let mask = if length & MASKED != 0 { *reader.array::<4>()? } else { [0; 4] };
        let payload = reader.take(count)?;
        if DATA.contains(&(head & 0x0f)) {
            let bytes = self.bytes.to_mut();
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            self.ends.push(u16::try_from(bytes.len()).ok()?);
        }
        Some(())
    }

    fn side(&self) -> Side<'_> {
        Side {
            bytes: &self.bytes,
            ends: &self.ends,
            from_start: true,
            complete: self.complete,
            lacks: &[],
            read: 0,
            before: 0,
        }
    }
}

/// Shows what both ends say inside to `ask`.
pub fn with<T>(inside: &[Inside<'_>; 2], ask: impl FnOnce(&Seen<'_>) -> T) -> T {
    let [first, second] = inside;
    ask(&Seen { carrier: Carrier::Tcp, first: first.side(), second: second.side(), known: None })
}

/// The proof of whichever protocol but the outer one knows what is inside; its layers are never empty.
pub fn ask(seen: &Seen<'_>, outer: &str) -> Option<Proof> {
    if seen.first.is_silent() && seen.second.is_silent() {
        return None;
    }
    PROTOCOLS.iter().filter(|protocol| protocol.about().name != outer).find_map(|protocol| {
        let Probe::Proven(mut proof) = protocol.probe(seen) else { return None };
        if proof.layers.is_empty() {
            proof.layers.push(protocol.about().name);
        }
        Some(proof)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_unmasked_and_control_frames_left_out() {
        let bytes = [0x82, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2, 0x89, 0, 0x80, 1, b'!', 0x82, 5, 0];
        let inside = Inside::websocket(&Side::of(&bytes, &[16]), Some(0));
        assert_eq!((&inside.bytes[..], &inside.ends[..]), (&b"hi!"[..], &[2, 3][..]));
        assert!(Inside::websocket(&Side::of(&bytes, &[16]), None).bytes.is_empty());
    }

    #[test]
    fn the_rest_of_a_stream_keeps_its_segments() {
        let inside = Inside::after(&Side::of(b"headSSH-2.0-x\r\n", &[2, 4, 15]), Some(4));
        assert_eq!((&inside.bytes[..], &inside.ends[..]), (&b"SSH-2.0-x\r\n"[..], &[11][..]));
    }
}
