//! A stretch of a packet: the bytes that were captured, and how many there were on the wire.

use super::Header;
use super::Undecodable;

/// What is left of a packet at some layer. `length` is never less than what `bytes` holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// As captured.
    pub bytes: &'a [u8],
    /// Length on the wire, as the headers around it promise.
    pub length: u32,
}

impl<'a> Part<'a> {
    /// A whole packet with its length on the wire.
    pub fn new(bytes: &'a [u8], original: u32) -> Self {
        Self { bytes, length: original.max(u32::try_from(bytes.len()).unwrap_or(u32::MAX)) }
    }

    /// Splits a fixed header off.
    #[inline]
    pub fn split<const N: usize>(self, header: Header) -> Result<(&'a [u8; N], Self), Undecodable> {
        match self.bytes.split_first_chunk::<N>() {
            Some((head, rest)) => {
                Ok((head, Self { bytes: rest, length: self.length.saturating_sub(N as u32) }))
            }
            None => Err(self.lacks(header, N)),
        }
    }

    /// Splits a header off of which only the first `least` bytes must be there; what the capture cut off reads as zero.
    ///
    /// For transport headers: their ports tell the flow even where the rest is missing.
    #[inline]
    pub fn split_cut<const N: usize>(
        self,
        header: Header,
        least: usize,
    ) -> Result<([u8; N], Self), Undecodable> {
        if let Some((head, rest)) = self.bytes.split_first_chunk::<N>() {
            return Ok((*head, Self { bytes: rest, length: self.length.saturating_sub(N as u32) }));
        }
        // A header that the packet itself does not hold is never made up.
        if self.bytes.len() < least || (self.length as usize) < N {
            return Err(self.lacks(header, N));
        }
        let mut head = [0; N];
        for (to, from) in head.iter_mut().zip(self.bytes) {
            *to = *from;
        }
        Ok((head, Self { bytes: &[], length: self.length.saturating_sub(N as u32) }))
    }

    /// What follows the first `count` bytes; nothing where there are not that many.
    #[inline]
    pub fn skip(self, count: usize) -> Self {
        Self {
            bytes: self.bytes.get(count..).unwrap_or_default(),
            length: self.length.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX)),
        }
    }

    /// The first `length` bytes, as a header promises: padding behind them goes, what the capture lacks is known to lack.
    #[inline]
    pub fn limit(self, length: u32) -> Self {
        Self { bytes: self.bytes.get(..length as usize).unwrap_or(self.bytes), length }
    }

    /// The reason why a header of `needed` bytes can't be read here.
    pub fn lacks(self, header: Header, needed: usize) -> Undecodable {
        if self.length as usize >= needed {
            Undecodable::Truncated(header)
        } else {
            Undecodable::Short(header)
        }
    }

    /// Whether the capture lacks a piece of it.
    pub fn is_cut(self) -> bool {
        self.bytes.len() < self.length as usize
    }
}
