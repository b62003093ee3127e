//! TPKT and COTP: ISO transport on TCP, which carries S7comm, S7comm-plus and MMS.
//!
//! TPKT is RFC 1006 section 6; the TPDUs are those of ITU-T X.224 section 13 (class 0).

use std::borrow::Cow;

use smallvec::SmallVec;

use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Seen;
use super::Side;
use super::framed::Cut;
use super::framed::conclude;
use super::framed::walk;
use crate::model::Facts;

/// TPKT version (RFC 1006 section 6).
const VERSION: u8 = 3;
/// TPKT header and the shortest TPDU (X.224 section 13.7, DT of class 0).
const SHORTEST: usize = 7;
/// TPDU codes: the high nibble of the second byte (X.224 section 13.2.2.2).
const CONNECTION_REQUEST: u8 = 0xe;
const CONNECTION_CONFIRM: u8 = 0xd;
const DISCONNECT_REQUEST: u8 = 0x8;
const DISCONNECT_CONFIRM: u8 = 0xc;
const DATA: u8 = 0xf;
const ERROR: u8 = 0x7;
/// Parameters of CR and CC (X.224 section 13.3.4).
const CALLING_TSAP: u8 = 0xc1;
const CALLED_TSAP: u8 = 0xc2;
/// End of TSDU (X.224 section 13.7.3).
const END_OF_TSDU: u8 = 0x80;

/// What a connection request or confirm says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Calling transport selector.
    pub calling: Option<&'a [u8]>,
    /// Called transport selector.
    pub called: Option<&'a [u8]>,
}

/// One transport protocol data unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tpdu<'a> {
    /// CR: asks for the connection.
    Request(Connect<'a>),
    /// CC: grants it.
    Confirm(Connect<'a>),
    /// DR, DC or ER: refuses it, or ends it.
    Refusal,
    /// DT: data, and whether it ends the user's message.
    Data {
        /// User data.
        user: &'a [u8],
        /// End of TSDU.
        last: bool,
    },
}

/// Whether a packet with a TPDU in it may have this byte at this place: version, reserved byte, TPDU code.
pub fn may_begin(at: usize, byte: u8) -> bool {
    match at {
        0 => byte == VERSION,
        1 => byte == 0,
        5 => is_code(byte),
        _ => true,
    }
}

/// Whether a TPDU has this code (X.224 table 8).
fn is_code(code: u8) -> bool {
    matches!(code >> 4, 0x1 | 0x2 | 0x6..=0x8 | 0xc..=0xf)
}

/// The TPDU at the front of a stream.
pub fn cut(bytes: &[u8]) -> Cut<Tpdu<'_>> {
    match bytes {
        [] | [VERSION] | [VERSION, 0] => return Cut::Short,
        [VERSION, 0, ..] => {}
        _ => return Cut::Wrong,
    }
    let Some((head, _)) = bytes.split_first_chunk::<4>() else { return Cut::Short };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if length < SHORTEST {
        return Cut::Wrong;
    }
    let Some((fixed, _)) = bytes.split_first_chunk::<6>() else { return Cut::Short };
    let header = usize::from(fixed[4]) + 1;
    if header + 4 > length || !is_code(fixed[5]) {
        return Cut::Wrong;
    }
    let Some(whole) = bytes.get(..length) else { return Cut::Short };
    match tpdu(
        fixed[5],
        whole.get(6..4 + header).unwrap_or_default(),
        whole.get(4 + header..).unwrap_or_default(),
    ) {
        Some(tpdu) => Cut::Whole(tpdu, length),
        None => Cut::Wrong,
    }
}

/// A TPDU from its code, the rest of its header, and its user data.
fn tpdu<'a>(code: u8, header: &'a [u8], user: &'a [u8]) -> Option<Tpdu<'a>> {
    match (code >> 4, header) {
        (CONNECTION_REQUEST, [0, 0, _, _, _, rest @ ..]) => Some(Tpdu::Request(connect(rest))),
        (CONNECTION_CONFIRM, [_, _, _, _, _, rest @ ..]) => Some(Tpdu::Confirm(connect(rest))),
        (DISCONNECT_REQUEST, [_, _, _, _, _, ..])
        | (DISCONNECT_CONFIRM, [_, _, _, _, ..])
        | (ERROR, [_, _, _, ..]) => Some(Tpdu::Refusal),
        (DATA, [number]) if code & 0x0e == 0 => Some(Tpdu::Data { user, last: number & END_OF_TSDU != 0 }),
        _ => None,
    }
}

/// The variable part of CR and CC; a part that is not in parameters (the cookie of RDP) states nothing.
fn connect(mut rest: &[u8]) -> Connect<'_> {
    let mut connect = Connect::default();
    while let [code, length, after @ ..] = rest {
        let Some((value, next)) = after.split_at_checked(usize::from(*length)) else { break };
        match *code {
            CALLING_TSAP => connect.calling = Some(value),
            CALLED_TSAP => connect.called = Some(value),
            _ => {}
        }
        rest = next;
    }
    connect
}

/// The user's data where a payload is one TPDU with a whole message of the user.
pub fn data(payload: &[u8]) -> Option<&[u8]> {
    // A header of two bytes behind its length: the code and the number (X.224 section 13.7.1).
    let &[VERSION, 0, high, low, 2, code, number, ref user @ ..] = payload else { return None };
    let whole = usize::from(u16::from_be_bytes([high, low])) == payload.len();
    (whole && code >> 4 == DATA && code & 0x0e == 0 && number & END_OF_TSDU != 0).then_some(user)
}

/// What one side said over ISO transport.
#[derive(Clone, Debug, Default)]
pub struct Talk<'a> {
    /// Its connection request, which only a client sends.
    pub request: Option<Connect<'a>>,
    /// Its connection confirm, which only a server sends.
    pub confirm: Option<Connect<'a>>,
    /// The user's messages (TSDUs), those over several TPDUs joined. An unfinished last one is left out.
    pub messages: SmallVec<[Cow<'a, [u8]>; 2]>,
    /// Whether nothing that this side may still send adds to them.
    pub over: bool,
    /// Where the last whole message ends.
    end: usize,
}

impl<'a> Talk<'a> {
    /// Reads one side of a TCP flow.
    pub fn of(side: &Side<'a>) -> Self {
        let walk = walk(Carrier::Tcp, side, cut);
        let mut talk = Self { over: walk.over, ..Self::default() };
        let mut begun: Option<Cow<'a, [u8]>> = None;
        for found in &walk.found {
            match found.message {
                Tpdu::Request(connect) => talk.request = talk.request.or(Some(connect)),
                Tpdu::Confirm(connect) => talk.confirm = talk.confirm.or(Some(connect)),
                Tpdu::Refusal => {}
                Tpdu::Data { user, last } => {
                    let joined = match begun.take() {
                        // Controllers acknowledge with empty unfinished TPDUs: they begin nothing.
                        None => Cow::Borrowed(user),
                        Some(mut before) => {
                            before.to_mut().extend_from_slice(user);
                            before
                        }
                    };
                    if last {
                        talk.messages.push(joined);
                    } else {
                        begun = Some(joined).filter(|joined| !joined.is_empty());
                    }
                }
            }
            if begun.is_none() {
                talk.end = found.end;
            }
        }
        talk
    }
}

/// What the user's messages of both ends prove. `read` says of one whether it is the protocol's, and if so who speaks: the one who
/// asks, the one who answers, or neither; what it states goes into the facts.
pub fn probe(seen: &Seen<'_>, mut read: impl FnMut(&[u8], &mut Facts) -> Option<Option<bool>>) -> Probe {
    if seen.carrier != Carrier::Tcp {
        return Probe::No;
    }
    let mut talks = [Talk::of(&seen.first), Talk::of(&seen.second)];
    let mut proof = seen.is_known().then(Proof::default);
    let mut asker = None;
    let mut facts = seen.facts();
    for ((end, side), talk) in seen.sides().into_iter().zip(&mut talks) {
        for (nth, user) in talk.messages.iter().enumerate() {
            match read(user, &mut facts) {
                Some(asks) => {
                    proof.get_or_insert_default();
                    asker = asker.or(asks.map(|asks| if asks { end } else { end.other() }));
                }
                // The first message of a stream decides; in a stream met midway it may be the rest of a fragmented one.
                None if nth == 0 && side.from_start && side.read == 0 => {
                    talk.over = true;
                    break;
                }
                None => {}
            }
        }
    }
    let [first, second] = &talks;
    if let Some(proof) = &mut proof {
        proof.client = caller(first, second).or(asker);
        proof.facts = facts;
        proof.read = [seen.first.read + first.end, seen.second.read + second.end];
    }
    conclude(proof, [first.over, second.over])
}

/// Which end asked for the connection, where a CR or CC was seen.
fn caller(first: &Talk<'_>, second: &Talk<'_>) -> Option<End> {
    if first.request.is_some() || second.confirm.is_some() {
        return Some(End::First);
    }
    (second.request.is_some() || first.confirm.is_some()).then_some(End::Second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; 22] =
        [3, 0, 0, 22, 17, 0xe0, 0, 0, 0, 1, 0, 0xc0, 1, 10, 0xc1, 2, 1, 0, 0xc2, 2, 1, 2];

    #[test]
    fn a_connection_request_names_both_selectors() {
        let Cut::Whole(Tpdu::Request(connect), 22) = cut(&REQUEST) else { panic!("{:?}", cut(&REQUEST)) };
        assert_eq!(connect, Connect { calling: Some(&[1, 0]), called: Some(&[1, 2]) });
    }

    #[test]
    fn every_prefix_is_short_and_never_wrong() {
        for length in 0..REQUEST.len() {
            assert_eq!(cut(&REQUEST[..length]), Cut::Short, "{length}");
        }
    }

    #[test]
    fn fragments_are_joined_at_the_end_mark() {
        let bytes = [3, 0, 0, 9, 2, 0xf0, 0x00, 1, 2, 3, 0, 0, 8, 2, 0xf0, 0x80, 3];
        let talk = Talk::of(&Side::of(&bytes, &[17]));
        assert_eq!(talk.messages.as_slice(), [Cow::<[u8]>::Owned(vec![1, 2, 3])]);
    }

    #[test]
    fn a_header_longer_than_its_packet_is_wrong() {
        assert_eq!(cut(&[3, 0, 0, 7, 200, 0xf0, 0x80]), Cut::Wrong);
        assert_eq!(cut(&[3, 0, 0, 6, 2, 0xf0, 0x80]), Cut::Wrong);
        assert_eq!(cut(b"\x03\x01"), Cut::Wrong);
    }
}
