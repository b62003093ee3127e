//! Captures made byte by byte for the tests of this module, and reading them.

use std::io::Cursor;
use std::path::Path;

use crate::capture::reader::Reader;
use crate::capture::source::CaptureError;
use crate::capture::source::Source;
use crate::capture::tap::Stream;
use crate::capture::walker::Order;
use crate::model::Input;
use crate::model::Packet;

/// A packet as a test sees it: input, number, nanoseconds, link type, interface, original length, bytes.
pub(super) type Seen = (u32, u64, i64, u16, u32, u32, Vec<u8>);

/// A packet as [`Seen`].
pub(super) fn seen(packet: Packet<'_>) -> Seen {
    let at = packet.at;
    let bytes = packet.bytes.to_vec();
    (at.input().0, at.number(), at.time.as_nanos(), packet.link.0, packet.interface, packet.original, bytes)
}

/// All packets of a source.
pub(super) fn drain(source: &mut impl Source) -> Vec<Seen> {
    let mut all = Vec::new();
    while source.advance().unwrap() {
        all.push(seen(source.packet()));
    }
    assert!(!source.advance().unwrap(), "the end is for good");
    all
}

/// Reads a capture from memory.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<Seen>, Input), CaptureError> {
    let mut reader =
        Reader::from_stream(Stream::Other(Box::new(Cursor::new(bytes.to_vec()))), Path::new("test"), false)?;
    let mut all = Vec::new();
    while reader.advance() {
        all.push(seen(reader.packet()));
        reader.account();
    }
    assert!(!reader.advance(), "the end is for good");
    Ok((all, reader.finish()))
}

/// Reads a capture that has to open, for its packets and why it stopped.
pub(super) fn read_all(bytes: &[u8]) -> (Vec<Seen>, Option<String>) {
    let (packets, input) = read(bytes).unwrap();
    assert_eq!(input.packets, packets.len() as u64);
    (packets, input.stopped.map(|stop| stop.why))
}

/// Writes numbers in one byte order.
pub(super) struct Writer {
    order: Order,
    /// What was written.
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    /// Nothing written yet.
    pub(super) fn new(order: Order) -> Self {
        Self { order, bytes: Vec::new() }
    }

    /// Two bytes.
    pub(super) fn u16(mut self, value: u16) -> Self {
        self.bytes.extend(match self.order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        });
        self
    }

    /// Four bytes.
    pub(super) fn u32(mut self, value: u32) -> Self {
        self.bytes.extend(match self.order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        });
        self
    }

    /// Eight bytes.
    pub(super) fn u64(mut self, value: u64) -> Self {
        self.bytes.extend(match self.order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        });
        self
    }

    /// Bytes as they are.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Bytes, padded to a multiple of four.
    pub(super) fn padded(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// A pcapng option.
    pub(super) fn option(self, code: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).unwrap();
        self.u16(code).u16(length).padded(value)
    }

    /// A pcapng block with that body.
    pub(super) fn block(self, kind: u32, body: impl FnOnce(Self) -> Self) -> Self {
        let body = body(Self::new(self.order)).bytes;
        let length = u32::try_from(body.len()).unwrap() + 12;
        self.u32(kind).u32(length).raw(&body).u32(length)
    }

    /// A section header block.
    pub(super) fn section(self) -> Self {
        self.block(0x0a0d_0d0a, |body| body.u32(0x1a2b_3c4d).u16(1).u16(0).u64(u64::MAX))
    }

    /// An interface description block without options: microseconds.
    pub(super) fn interface(self, link: u16, snaplen: u32) -> Self {
        self.block(1, |body| body.u16(link).u16(0).u32(snaplen))
    }

    /// An enhanced packet block.
    pub(super) fn enhanced(self, interface: u32, stamp: u64, data: &[u8]) -> Self {
        let length = u32::try_from(data.len()).unwrap();
        self.block(6, |body| {
            body.u32(interface)
                .u32((stamp >> 32) as u32)
                .u32(stamp as u32)
                .u32(length)
                .u32(length)
                .padded(data)
        })
    }

    /// A pcap file header of version 2.4.
    pub(super) fn pcap(self, magic: u32, snaplen: u32, link: u32) -> Self {
        self.u32(magic).u16(2).u16(4).u32(0).u32(0).u32(snaplen).u32(link)
    }

    /// A pcap record.
    pub(super) fn record(self, seconds: u32, fraction: u32, data: &[u8], original: u32) -> Self {
        let length = u32::try_from(data.len()).unwrap();
        self.u32(seconds).u32(fraction).u32(length).u32(original).raw(data)
    }
}

/// A standard pcap file with a packet at each of those microseconds, its bytes telling its number.
pub(super) fn pcap_at(micros: &[u64]) -> Vec<u8> {
    let start = Writer::new(Order::Little).pcap(0xa1b2_c3d4, 65535, 1);
    let write = |file: Writer, (number, at): (usize, &u64)| {
        let data = vec![number as u8; 40 + number % 7];
        file.record((at / 1_000_000) as u32, (at % 1_000_000) as u32, &data, 100)
    };
    micros.iter().enumerate().fold(start, write).bytes
}
