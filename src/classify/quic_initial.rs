//! Opening QUIC Initial packets: their keys follow from a connection id that stands in the clear (RFC 9001 section 5.2).

use aes_gcm::Aes128Gcm;
use aes_gcm::Nonce;
use aes_gcm::aead::Aead;
use aes_gcm::aead::KeyInit;
use aes_gcm::aead::Payload;
use aes_gcm::aes::Aes128;
use aes_gcm::aes::cipher::BlockCipherEncrypt;
use hkdf::Hkdf;
use sha2::Sha256;

use super::bytes::Reader;
use super::quic::VERSION_1;
use super::quic::VERSION_2;
use super::quic::varint;

/// The most bytes of a handshake that are put together: a ClientHello with post-quantum keys has about 2 KiB.
const LONGEST_HANDSHAKE: usize = 16 * 1024;
/// The sample that masks a header begins so many bytes after the packet number (RFC 9001 section 5.4.2).
const SAMPLE_AT: usize = 4;
/// Frame types that an Initial may hold (RFC 9000 section 12.4): PADDING, PING, ACK with and without counts, CRYPTO.
const PADDING: u64 = 0x00;
const PING: u64 = 0x01;
const ACK: u64 = 0x02;
const ACK_WITH_COUNTS: u64 = 0x03;
const CRYPTO: u64 = 0x06;

/// An Initial as it lies in a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    /// Version of the protocol.
    pub version: u32,
    /// Destination connection id.
    pub target: &'a [u8],
    /// The packet from its first byte to its last.
    pub packet: &'a [u8],
    /// Where in it the packet number begins.
    pub number_at: usize,
}

/// The keys of both ends of a connection.
pub struct Keys {
    client: Key,
    server: Key,
}

/// What one end protects its Initials with.
struct Key {
    aead: Aes128Gcm,
    iv: [u8; 12],
    header: Aes128,
}

impl Keys {
    /// From the destination connection id of the client's first Initial; `None` for versions whose salt is not known.
    pub fn new(version: u32, target: &[u8]) -> Option<Self> {
        // RFC 9001 section 5.2, RFC 9369 section 3.3.1; drafts 29 to 34 and 23 to 28, the same section.
        let salt: [u8; 20] = match version {
            VERSION_1 => *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a",
            VERSION_2 => *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9",
            0xff00_001d..=0xff00_0022 => {
                *b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99"
            }
            0xff00_0017..=0xff00_001c => {
                *b"\xc3\xee\xf7\x12\xc7\x2e\xbb\x5a\x11\xa7\xd2\x43\x2b\xb4\x63\x65\xbe\xf9\xf5\x02"
            }
            _ => return None,
        };
        let initial = Hkdf::<Sha256>::new(Some(&salt), target);
        let names = match version {
            VERSION_2 => ["quicv2 key", "quicv2 iv", "quicv2 hp"],
            _ => ["quic key", "quic iv", "quic hp"],
        };
        Some(Self {
            client: Key::new(&expand::<32>(&initial, "client in")?, names)?,
            server: Key::new(&expand::<32>(&initial, "server in")?, names)?,
        })
    }

    /// The frames of a packet that the client, or the server, sent; `None` where the keys are not those of this packet.
    pub fn open(&self, sealed: &Sealed<'_>, by_client: bool) -> Option<Vec<u8>> {
        let key = if by_client { &self.client } else { &self.server };
        key.open(sealed.packet, sealed.number_at)
    }
}

impl Key {
    fn new(secret: &[u8; 32], names: [&str; 3]) -> Option<Self> {
        let secret = Hkdf::<Sha256>::from_prk(secret).ok()?;
        let [key, iv, header] = names;
        Some(Self {
            aead: Aes128Gcm::new(&expand::<16>(&secret, key)?.into()),
            iv: expand(&secret, iv)?,
            header: Aes128::new(&expand::<16>(&secret, header)?.into()),
        })
    }

    /// Takes off header protection (RFC 9001 section 5.4.3), then that of the payload (section 5.3).
    fn open(&self, packet: &[u8], number_at: usize) -> Option<Vec<u8>> {
        let sample: &[u8; 16] = packet.get(number_at + SAMPLE_AT..)?.first_chunk()?;
        let mut mask = (*sample).into();
        self.header.encrypt_block(&mut mask);
        let [first_mask, number_mask @ ..]: [u8; 16] = mask.into();
        let first = packet.first()? ^ (first_mask & 0x0f);
        let length = usize::from(first & 3) + 1;
        let (head, sealed) = packet.split_at_checked(number_at + length)?;
        let mut head = head.to_vec();
        *head.first_mut()? = first;
        let mut nonce = self.iv;
        // The number counts from the end of both the header and the nonce; the first packets have it whole.
        let numbers = head.iter_mut().rev().zip(nonce.iter_mut().rev()).take(length);
        let masks = number_mask.iter().take(length).rev();
        for ((byte, nonce), mask) in numbers.zip(masks) {
            *byte ^= mask;
            *nonce ^= *byte;
        }
        self.aead.decrypt(&Nonce::from(nonce), Payload { msg: sealed, aad: &head }).ok()
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1).
fn expand<const N: usize>(secret: &Hkdf<Sha256>, label: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let (length, name) = (u16::try_from(N).ok()?.to_be_bytes(), b"tls13 ");
    let name_length = [u8::try_from(name.len() + label.len()).ok()?];
    secret.expand_multi_info(&[&length, &name_length, name, label.as_bytes(), &[0]], &mut out).ok()?;
    Some(out)
}

/// A handshake put together from the CRYPTO frames of several packets, in whatever order they came.
#[derive(Debug, Default)]
pub struct Handshake {
    pieces: Vec<(usize, Vec<u8>)>,
}

impl Handshake {
    /// Takes in the CRYPTO frames (RFC 9000 section 19.6) of an opened packet.
    pub fn add(&mut self, frames: &[u8]) {
        let mut reader = Reader::new(frames);
        while let Some(kind) = varint(&mut reader) {
            let read = match kind {
                PADDING | PING => Some(()),
                ACK | ACK_WITH_COUNTS => acknowledgement(&mut reader, kind == ACK_WITH_COUNTS),
                CRYPTO => self.crypto(&mut reader),
                _ => None,
            };
            if read.is_none() {
                break;
            }
        }
    }

    fn crypto(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let at = usize::try_from(varint(reader)?).ok()?;
        let length = usize::try_from(varint(reader)?).ok()?;
        let data = reader.take(length)?;
        if at.checked_add(length)? <= LONGEST_HANDSHAKE {
            self.pieces.push((at, data.to_vec()));
        }
        Some(())
    }

    /// The bytes from the beginning to the first gap.
    pub fn bytes(mut self) -> Vec<u8> {
        self.pieces.sort();
        let mut whole = Vec::new();
        for (at, piece) in self.pieces {
            let Some(known) = whole.len().checked_sub(at) else { break };
            whole.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        whole
    }
}

/// Passes over an ACK frame (RFC 9000 section 19.3).
fn acknowledgement(reader: &mut Reader<'_>, with_counts: bool) -> Option<()> {
    let _largest = varint(reader)?;
    let _delay = varint(reader)?;
    let ranges = varint(reader)?;
    let numbers = ranges.checked_mul(2)?.checked_add(if with_counts { 4 } else { 1 })?;
    // Each is a byte at least: the packet's end bounds the loop.
    for _ in 0..numbers {
        varint(reader)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;

    /// The keys of RFC 9001 appendix A.1 and RFC 9369 appendix A.1, whose connection id is the same.
    #[test]
    fn keys_are_those_of_the_specifications() {
        let target = hex("8394c8f03e515708");
        for (version, iv) in
            [(VERSION_1, "fa044b2f42a3fd3b46fb255c"), (VERSION_2, "91f73e2351d8fa91660e909f")]
        {
            let keys = Keys::new(version, &target).unwrap();
            assert_eq!(keys.client.iv.to_vec(), hex(iv));
        }
        assert!(Keys::new(0xface_b001, &target).is_none());
    }

    /// The server's Initial of RFC 9001 appendix A.3: an ACK and a ServerHello.
    #[test]
    fn a_packet_of_the_specification_opens() {
        let packet = hex(
            "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb3
             8cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84
             022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee",
        );
        let keys = Keys::new(VERSION_1, &hex("8394c8f03e515708")).unwrap();
        let sealed = Sealed { version: VERSION_1, target: &[], packet: &packet, number_at: 18 };
        let frames = keys.open(&sealed, false).unwrap();
        let mut handshake = Handshake::default();
        handshake.add(&frames);
        assert!(handshake.bytes().starts_with(&hex("020000560303eefce7f7b37ba1d1632e96677825ddf7")));
        assert!(keys.open(&sealed, true).is_none());
    }

    #[test]
    fn pieces_in_any_order_are_put_together() {
        let mut handshake = Handshake::default();
        handshake.add(&[6, 3, 2, b'd', b'e', 0, 0, 1, 6, 0, 2, b'a', b'b']);
        handshake.add(&[2, 9, 0, 0, 4, 6, 1, 3, b'b', b'c', b'd', 6, 9, 1, b'z']);
        assert_eq!(handshake.bytes(), b"abcde");
    }
}
