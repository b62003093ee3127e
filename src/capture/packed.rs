//! Packed captures: gzip, zstd and xz, told by content, unpacked as a stream.

use std::io;
use std::io::BufReader;
use std::io::Cursor;
use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::CONCATENATED;
use liblzma::stream::Stream;

/// How often a capture may be packed: a packed file that was packed once more on its way here.
pub(super) const MOST_LAYERS: usize = 2;
/// How much of a stream is looked at to tell what it is.
pub(super) const HEAD: usize = 64;
/// What is read at once from the packed side.
const PACKED_READ: usize = 64 * 1024;
/// The most memory for unpacking xz: its strongest preset needs 65 MiB, and a hostile header may ask for 4 GiB.
const XZ_MEMORY: u64 = 256 * 1024 * 1024;

/// A stream after all unpacking.
pub(super) struct Unpacked {
    /// The names of the packings, outermost first.
    pub(super) layers: Vec<&'static str>,
    /// Its first [`HEAD`] bytes, or all of them where it is shorter.
    pub(super) head: Vec<u8>,
    /// The whole of it, beginning with `head`.
    pub(super) stream: Box<dyn Read + Send>,
}

/// Unpacks a stream as often as it is packed, at most [`MOST_LAYERS`] times. A failure comes with the packing that it is in.
pub(super) fn unpack(mut stream: Box<dyn Read + Send>) -> Result<Unpacked, (Vec<&'static str>, io::Error)> {
    let mut layers = Vec::new();
    loop {
        let (head, rest) = match peek(stream) {
            Ok(peeked) => peeked,
            Err(error) => return Err((layers, error)),
        };
        let Some(packing) = packing(&head).filter(|_| layers.len() < MOST_LAYERS) else {
            return Ok(Unpacked { layers, head, stream: rest });
        };
        let packed = BufReader::with_capacity(PACKED_READ, rest);
        layers.push(packing);
        let unpacker: io::Result<Box<dyn Read + Send>> = match packing {
            "gzip" => Ok(Box::new(MultiGzDecoder::new(packed))),
            "zstd" => zstd::stream::read::Decoder::with_buffer(packed).map(|decoder| Box::new(decoder) as _),
            _ => Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)
                .map(|decoder| Box::new(XzDecoder::new_stream(packed, decoder)) as _)
                .map_err(io::Error::from),
        };
        stream = match unpacker {
            Ok(stream) => stream,
            Err(error) => return Err((layers, error)),
        };
    }
}

/// The packing of a stream that begins like this (RFC 1952 section 2.3.1, RFC 8878 section 3.1, xz file format 1.2 section 2.1.1).
pub(super) fn packing(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x1f, 0x8b, 0x08, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some("zstd"),
        [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Some("xz"),
        _ => None,
    }
}

/// The first bytes of a stream, and the stream as if they had not been read.
fn peek(mut stream: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = Vec::with_capacity(HEAD);
    let mut byte = [0; HEAD];
    while head.len() < HEAD {
        let room = byte.get_mut(..HEAD - head.len()).unwrap_or_default();
        match stream.read(room) {
            Ok(0) => break,
            Ok(count) => head.extend_from_slice(room.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if head.is_empty() => return Err(error),
            // What came before the damage is still to be read.
            Err(error) => return Ok((head.clone(), Box::new(Cursor::new(head).chain(Failing(Some(error)))))),
        }
    }
    Ok((head.clone(), Box::new(Cursor::new(head).chain(stream))))
}

/// A stream that fails, as the one failed that it stands for.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}
