//! SMB 1 to 3 over NetBIOS sessions or straight over TCP, and DCE/RPC in its pipes.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::netbios;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// SMB.
pub struct Smb;

static ABOUT: About = About {
    name: "smb",
    title: "SMB (CIFS)",
    spec: "[MS-SMB2] 2.1 and 2.2, [MS-CIFS] 2.2.3; RFC 1002 section 4.3 (session service)",
    usual: &["tcp/445", "tcp/139"],
    answers: true,
    facts: &[
        ("smb.dialect", "dialect that the server chose: SMB1, 2.0.2, 2.1, 3.0, 3.0.2, 3.1.1"),
        ("smb.share", "share that a client connects to, where it is not encrypted"),
    ],
};

impl Protocol for Smb {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        at != 0 || matches!(byte, 0 | 0x81..=0x85)
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Tcp {
            return Probe::No;
        }
        let (mut session, mut rpc) = (false, false);
        let probe = weigh::probe(seen, step, |end, message, proof| {
            session |= matches!(message.first(), Some(0x81 | 0x82));
            if let Some((_, smb)) = message.split_first_chunk::<4>() {
                rpc |= carries_rpc(smb);
                tell(end, smb, proof);
            }
        });
        let Probe::Proven(mut proof) = probe else { return probe };
        if session {
            proof.layers.push("netbios");
        }
        proof.layers.push("smb");
        if rpc {
            proof.layers.push("dce-rpc");
        }
        Probe::Proven(proof)
    }

    fn gist(&self, _: Carrier, payload: &[u8]) -> Option<u64> {
        let (&[kind, ..], message) = payload.split_first_chunk::<4>()?;
        if kind != 0 || !weigh::is_alone(payload, step) {
            return None;
        }
        let mut reader = Reader::new(message.strip_prefix(&SMB2)?);
        let command = reader.skip(8).and_then(|()| reader.le16())?;
        let flags = reader.skip(2).and_then(|()| reader.le32())?;
        // Negotiation and tree connect have more to tell.
        let plain = !matches!(command, 0 | 3);
        plain.then_some(u64::from(command) << 2 | u64::from(carries_rpc(message)) << 1 | u64::from(flags & 1))
    }
}

/// First four bytes of a message: SMB1, SMB2 and 3, encrypted ([MS-SMB2] 2.2.41), compressed ([MS-SMB2] 2.2.42).
const SMB1: [u8; 4] = *b"\xffSMB";
const SMB2: [u8; 4] = *b"\xfeSMB";
const ENCRYPTED: [u8; 4] = *b"\xfdSMB";
const COMPRESSED: [u8; 4] = *b"\xfcSMB";
/// Shortest message: an SMB1 header and its two empty blocks ([MS-CIFS] 2.2.3).
const SHORTEST: usize = 35;
/// Size of the SMB2 header, which it states itself ([MS-SMB2] 2.2.1).
const SMB2_HEADER: usize = 64;
/// Where in a message the data of a pipe is looked for.
const NEAR: usize = 256;

/// A session message: a zero byte, 24 bits of length ([MS-SMB2] 2.1), the magic number.
fn step(bytes: &[u8]) -> Step {
    match bytes.first() {
        None => return Step::Cut(0),
        // Session requests and their answers come before the first message; keep-alives in between.
        Some(0x81..=0x85) => return netbios::session_step(bytes, 0),
        Some(0) => {}
        Some(_) => return Step::Wrong,
    }
    let Some((&[_, a, b, c], message)) = bytes.split_first_chunk::<4>() else { return Step::Cut(0) };
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    if length < SHORTEST {
        return Step::Wrong;
    }
    let Some((magic, rest)) = message.split_first_chunk::<4>() else { return Step::Cut(0) };
    let right = match *magic {
        SMB1 | ENCRYPTED | COMPRESSED => true,
        SMB2 => length >= SMB2_HEADER && rest.first_chunk().is_none_or(|size| *size == [64, 0]),
        _ => false,
    };
    if !right {
        return Step::Wrong;
    }
    let whole = 4 + length;
    if bytes.len() < whole { Step::Cut(PROOF) } else { Step::Whole(whole, PROOF) }
}

fn tell(end: End, message: &[u8], proof: &mut Proof) {
    match message.first_chunk() {
        Some(&SMB1) => tell_smb1(end, message, proof),
        Some(&SMB2) => tell_smb2(end, message, proof),
        _ => {}
    }
}

/// [MS-CIFS] 2.2.3.1: magic, command, status, flags.
fn tell_smb1(end: End, message: &[u8], proof: &mut Proof) {
    let (Some(&command), Some(&flags)) = (message.get(4), message.get(9)) else { return };
    let reply = flags & 0x80 != 0;
    client_is(proof, if reply { end.other() } else { end });
    // NEGOTIATE (0x72): a word count, then the index of the dialect, ffff for none.
    if command == 0x72
        && reply
        && let Some(&[words, low, high]) = message.get(32..).and_then(<[u8]>::first_chunk::<3>)
        && words > 0
        && [low, high] != [0xff, 0xff]
    {
        proof.facts.add("smb.dialect", "SMB1");
    }
    if !reply && let Some(share) = smb1_share(message) {
        proof.facts.add("smb.share", share);
    }
}

/// The path of a TREE_CONNECT_ANDX request ([MS-CIFS] 2.2.4.55.1), which may follow other requests in one message (section 2.2.3.4).
fn smb1_share(message: &[u8]) -> Option<String> {
    const HEADER: usize = 32;
    const TREE_CONNECT: u8 = 0x75;
    /// Commands that another may follow: session setup, logoff and tree connect among those that come before it.
    const CHAINS: [u8; 3] = [0x73, 0x74, TREE_CONNECT];
    /// Flags2 at 10: strings are UTF-16.
    const UNICODE: u8 = 0x80;
    let (mut command, mut at) = (*message.get(4)?, HEADER);
    let unicode = message.get(11)? & UNICODE != 0;
    for _ in 0..CHAINS.len() {
        let mut block = Reader::new(message.get(at..).filter(|_| CHAINS.contains(&command))?);
        let (words, next, _reserved, offset) = (block.u8()?, block.u8()?, block.u8()?, block.le16()?);
        if command != TREE_CONNECT {
            (command, at) = (next, usize::from(offset));
            continue;
        }
        // Flags, length of the password, number of bytes, the password; text in UTF-16 is aligned to the header.
        let (_flags, password, _count) = (block.le16()?, block.le16()?, block.le16()?);
        block.skip(usize::from(password)).filter(|()| words == 4)?;
        if !unicode {
            let text = block.rest().split(|&byte| byte == 0).next()?;
            return (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned());
        }
        block.skip((message.len() - block.left()) % 2)?;
        let path = block.rest();
        let end = path.chunks_exact(2).position(|unit| unit == [0, 0])?;
        return path.get(..2 * end).filter(|path| !path.is_empty()).map(utf16);
    }
    None
}

/// Text in UTF-16, little-endian.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).filter_map(|pair| Some(u16::from_le_bytes(*pair.first_chunk()?)));
    char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect()
}

/// [MS-SMB2] 2.2.1: command at 12, flags at 16 of which the first tells a response.
fn tell_smb2(end: End, message: &[u8], proof: &mut Proof) {
    let mut reader = Reader::new(message);
    let command = reader.skip(12).and_then(|()| reader.le16());
    let flags = reader.skip(2).and_then(|()| reader.le32());
    let (Some(command), Some(flags)) = (command, flags) else { return };
    let response = flags & 1 != 0;
    client_is(proof, if response { end.other() } else { end });
    let Some(body) = message.get(SMB2_HEADER..) else { return };
    let mut reader = Reader::new(body);
    match (command, response) {
        // NEGOTIATE response (2.2.4): size, security mode, dialect.
        (0, true) => {
            let dialect = reader.skip(4).and_then(|()| reader.le16());
            let name = match dialect {
                Some(0x0202) => "2.0.2",
                Some(0x0210) => "2.1",
                Some(0x0300) => "3.0",
                Some(0x0302) => "3.0.2",
                Some(0x0311) => "3.1.1",
                // 02ff only announces that SMB2 is to be negotiated.
                _ => return,
            };
            proof.facts.add("smb.dialect", name);
        }
        // TREE_CONNECT request (2.2.9): size, flags, offset and length of the path in UTF-16.
        (3, false) => {
            let Some((offset, length)) = reader.skip(4).and_then(|()| Some((reader.le16()?, reader.le16()?)))
            else {
                return;
            };
            let (from, to) = (usize::from(offset), usize::from(offset) + usize::from(length));
            if let Some(path) = message.get(from..to) {
                proof.facts.add("smb.share", utf16(path));
            }
        }
        _ => {}
    }
}

/// Whether a DCE/RPC header stands near the front: version 5.0 or 5.1, type, flags, little-endian representation
/// (DCE 1.1 RPC, 12.6.3.1).
fn carries_rpc(message: &[u8]) -> bool {
    let readable = matches!(message.first_chunk(), Some(&SMB1 | &SMB2));
    let near = message.get(32..message.len().min(NEAR)).unwrap_or_default();
    readable && near.windows(8).any(|window| matches!(window, [5, 0 | 1, 0..=19, _, 0x10, 0, 0, 0]))
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    fn smb2(command: u8, flags: u8, body: &[u8]) -> Vec<u8> {
        let mut message = SMB2.to_vec();
        message.extend([64, 0]);
        message.resize(SMB2_HEADER, 0);
        message[12] = command;
        message[16] = flags;
        message.extend(body);
        let mut framed = (message.len() as u32).to_be_bytes().to_vec();
        framed.extend(message);
        framed
    }

    #[test]
    fn a_negotiation_states_its_dialect() {
        let bytes = smb2(0, 1, &[65, 0, 1, 0, 0x11, 3]);
        let Probe::Proven(proof) = harness::probe_messages(&Smb, Carrier::Tcp, &[&bytes]) else { panic!() };
        assert_eq!(proof.facts.get("smb.dialect"), Some("3.1.1"));
        assert_eq!(proof.client, Some(End::Second));
        assert_eq!(proof.layers, ["smb"]);
    }

    #[test]
    fn a_share_is_named() {
        let bytes = smb2(3, 0, &[9, 0, 0, 0, 72, 0, 6, 0, b'I', 0, b'P', 0, b'C', 0]);
        let Probe::Proven(proof) = harness::probe_messages(&Smb, Carrier::Tcp, &[&bytes]) else { panic!() };
        assert_eq!(proof.facts.get("smb.share"), Some("IPC"));
    }

    #[test]
    fn neighbours_that_begin_with_zero_are_wrong() {
        assert_eq!(step(&[0, 0, 0, 40, 0x52, 0x50, 0x43, 0]), Step::Wrong);
        assert_eq!(step(&[0, 1, 0, 0, 0, 6, 1, 3]), Step::Wrong);
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Smb, 0, 0);
        harness::check_steps(&Smb);
    }
}
