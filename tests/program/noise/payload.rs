//! Payloads of every common kind that no protocol of the registry speaks, made from a seed.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use flate2::write::ZlibEncoder;

/// A xorshift generator: the same noise in every run, so that a claim can be found again.
pub struct Noise(u64);

impl Noise {
    /// The noise of a flow's number.
    pub fn of(number: u64) -> Self {
        // Neighbouring seeds give unlike streams (splitmix64).
        let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)) | 1)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Any number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }
}

const WORDS: [&str; 32] = [
    "the",
    "pump",
    "valve",
    "is",
    "open",
    "17",
    "value",
    "temperature",
    "3.5",
    "OK",
    "start",
    "of",
    "line",
    "error",
    "plant",
    "GET",
    "set",
    "name",
    "Id",
    "user",
    "2026-11-22",
    "10.20.1.4",
    "true",
    "null",
    "-0.25",
    "alarm",
    "INFO",
    "get",
    "data",
    "SELECT",
    "USER",
    "end",
];

/// Makes a payload of about so many bytes.
type Make = fn(&mut Noise, usize) -> Vec<u8>;

/// Every kind by name.
pub const KINDS: &[(&str, Make)] = &[
    ("random", |noise, length| noise.bytes(length)),
    ("english", english),
    ("json", json),
    ("xml", xml),
    ("csv", csv),
    ("base64", base64),
    ("log", log),
    ("commands", commands),
    ("zlib", zlib),
    ("gzip", gzip),
    ("zstd", zstd),
    ("encrypted", encrypted),
    ("zeros", |noise, length| vec![0; length + noise.below(4)]),
    ("small", small),
    ("counters", counters),
    ("floats", floats),
    ("length-first", length_first),
    ("length-first-little", length_first_little),
    ("typed", typed),
    ("magic", magic),
];

fn english(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < length {
        text.push_str(noise.word());
        text.push_str([" ", " ", " ", ", ", ". ", "\n", "\r\n"][noise.below(7)]);
    }
    text.into_bytes()
}

fn json(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut text = String::from(["{", "[{", "{\n  "][noise.below(3)]);
    while text.len() < length {
        let value = match noise.below(4) {
            0 => noise.next().to_string(),
            1 => format!("\"{}\"", noise.word()),
            2 => format!("{{\"{}\":[1,2,{}]}}", noise.word(), noise.below(100)),
            _ => "null".to_owned(),
        };
        text.push_str(&format!("\"{}\":{value},", noise.word()));
    }
    text.push_str("\"end\":true}");
    text.into_bytes()
}

fn xml(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut text = String::from(["<?xml version=\"1.0\"?>\n", "", "<!-- data -->", "<root>"][noise.below(4)]);
    while text.len() < length {
        let word = noise.word();
        text.push_str(&format!("<{word} id=\"{}\">{}</{word}>", noise.below(1000), noise.word()));
    }
    text.into_bytes()
}

fn csv(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < length {
        let row: Vec<String> = (0..4)
            .map(
                |_| if noise.below(2) == 0 { noise.word().to_owned() } else { noise.below(9999).to_string() },
            )
            .collect();
        text.push_str(&row.join([",", ";", "\t"][noise.below(3)]));
        text.push_str(["\n", "\r\n"][noise.below(2)]);
    }
    text.into_bytes()
}

fn base64(noise: &mut Noise, length: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text: Vec<u8> = (0..length.next_multiple_of(4)).map(|_| LETTERS[noise.below(64)]).collect();
    if noise.below(2) == 0 {
        text.extend_from_slice(b"==\r\n");
    }
    text
}

fn log(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < length {
        text.push_str(&format!(
            "2026-11-{:02} {:02}:{:02}:{:02}.{:03} {} [{}] {} {}\n",
            1 + noise.below(30),
            noise.below(24),
            noise.below(60),
            noise.below(60),
            noise.below(1000),
            ["INFO", "WARN", "ERROR", "DEBUG"][noise.below(4)],
            noise.word(),
            noise.word(),
            noise.below(100_000),
        ));
    }
    text.into_bytes()
}

/// A line protocol of nobody's: numbers and capital letters, as instruments speak.
fn commands(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < length {
        text.push_str(&format!(
            "{}{}{}",
            ["*IDN?", "MEAS:VOLT?", "#01", "OK", "ERR", "+CSQ:", "$GPGGA,", "!", "220 ", "250-"]
                [noise.below(10)],
            noise.below(1000),
            ["\r\n", "\n", "\r", ";"][noise.below(4)]
        ));
    }
    text.into_bytes()
}

fn zlib(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&english(noise, 2 * length)).unwrap();
    packed.finish().unwrap()
}

fn gzip(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&json(noise, 2 * length)).unwrap();
    packed.finish().unwrap()
}

fn zstd(noise: &mut Noise, length: usize) -> Vec<u8> {
    zstd::bulk::compress(&csv(noise, 2 * length), 1).unwrap()
}

/// Ciphertext in blocks, some behind a counter or a nonce.
fn encrypted(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut bytes = match noise.below(3) {
        0 => Vec::new(),
        1 => (noise.below(1000) as u32).to_be_bytes().to_vec(),
        _ => noise.bytes(12),
    };
    bytes.extend(noise.bytes(length.next_multiple_of(16)));
    bytes
}

/// Mostly zeros and small numbers, where weak headers match soonest.
fn small(noise: &mut Noise, length: usize) -> Vec<u8> {
    (0..length).map(|_| if noise.below(3) == 0 { noise.below(32) as u8 } else { 0 }).collect()
}

/// Counters of two, four or eight bytes, either end first.
fn counters(noise: &mut Noise, length: usize) -> Vec<u8> {
    let (width, little) = ([2, 4, 8][noise.below(3)], noise.below(2) == 0);
    let from = noise.next() >> [16, 40, 56][noise.below(3)];
    let mut bytes = Vec::new();
    for number in 0.. {
        if bytes.len() >= length {
            break;
        }
        let value = from.wrapping_add(number).to_be_bytes();
        let mut value = value[8 - width..].to_vec();
        if little {
            value.reverse();
        }
        bytes.extend(value);
    }
    bytes
}

/// Measured values: floats that change little.
fn floats(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut value = noise.below(1000) as f32 / 7.0;
    let little = noise.below(2) == 0;
    let mut bytes = Vec::new();
    while bytes.len() < length {
        value += noise.below(100) as f32 / 1000.0;
        bytes.extend(if little { value.to_le_bytes() } else { value.to_be_bytes() });
    }
    bytes
}

/// A message of a protocol that nobody knows: its length, a few header fields, a body.
fn length_first(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut bytes = if noise.below(2) == 0 {
        (length as u16).to_be_bytes().to_vec()
    } else {
        (length as u32).to_be_bytes().to_vec()
    };
    bytes.extend([noise.below(4) as u8, noise.below(256) as u8]);
    bytes.extend(if noise.below(2) == 0 { noise.bytes(length) } else { small(noise, length) });
    bytes
}

fn length_first_little(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut bytes = if noise.below(2) == 0 {
        (length as u16).to_le_bytes().to_vec()
    } else {
        (length as u32).to_le_bytes().to_vec()
    };
    bytes.extend((noise.below(64) as u16).to_le_bytes());
    bytes.extend(if noise.below(2) == 0 { noise.bytes(length) } else { small(noise, length) });
    bytes
}

/// Type, length, value, over and over.
fn typed(noise: &mut Noise, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let size = noise.below(20);
        bytes.extend([noise.below(16) as u8, size as u8]);
        bytes.extend(noise.bytes(size));
    }
    bytes
}

/// A magic number, a version, flags, a length, then anything.
fn magic(noise: &mut Noise, length: usize) -> Vec<u8> {
    let length_of_magic = [2, 4][noise.below(2)];
    let mut bytes = noise.bytes(length_of_magic);
    bytes.extend([noise.below(4) as u8, noise.below(3) as u8]);
    bytes.extend((length as u16).to_be_bytes());
    bytes.extend(small(noise, length));
    bytes
}
