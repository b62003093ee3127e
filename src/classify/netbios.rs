//! NetBIOS over TCP/IP: name service, datagram service, and session service that carries no SMB.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::weigh;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::client_is;

/// NetBIOS over TCP/IP.
pub struct Netbios;

static ABOUT: About = About {
    name: "netbios",
    title: "NetBIOS over TCP/IP",
    spec: "RFC 1002 sections 4.2 (name), 4.3 (session), 4.4 (datagram); RFC 1001 section 14.1 (names)",
    usual: &["udp/137", "udp/138", "tcp/139"],
    answers: true,
    facts: &[
        ("netbios.name", "name asked for or called, without its type byte"),
        ("netbios.service", "name, datagram or session"),
    ],
};

impl Protocol for Netbios {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, carrier: Carrier, at: usize, byte: u8) -> bool {
        match (carrier, at) {
            (Carrier::Tcp, 0) => matches!(byte, SESSION_MESSAGE | SESSION_REQUEST..=SESSION_KEEP_ALIVE),
            (Carrier::Tcp, 1) => byte <= 1,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Udp => probe_datagrams(seen),
            Carrier::Tcp => probe_session(seen),
            Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Datagrams carry the mailslots of SMB (browser announcements, logon).
fn probe_datagrams(seen: &Seen<'_>) -> Probe {
    let mut smb = false;
    let probe = weigh::probe(seen, step_datagram, |end, bytes, proof| {
        smb |= datagram_data(bytes).is_some_and(|data| data.starts_with(b"\xffSMB"));
        tell_datagram(end, bytes, proof);
    });
    let Probe::Proven(mut proof) = probe else { return probe };
    proof.layers.push("netbios");
    if smb {
        proof.layers.push("smb");
    }
    Probe::Proven(proof)
}

/// A session request alone is the beginning of SMB too: it is proof only once no SMB can follow.
fn probe_session(seen: &Seen<'_>) -> Probe {
    let (mut data, mut smb) = (false, false);
    let probe = weigh::probe(
        seen,
        |bytes| session_step(bytes, PROOF),
        |end, message, proof| match message {
            [SESSION_MESSAGE, _, _, _, 0xfc..=0xff, b'S', b'M', b'B', ..] => smb = true,
            [SESSION_MESSAGE, _, _, _, _, _, _, _, ..] => data = true,
            [SESSION_REFUSED, ..] => {
                data = true;
                client_is(proof, end.other());
            }
            [SESSION_GRANTED, ..] => client_is(proof, end.other()),
            [SESSION_REQUEST, _, _, _, names @ ..] => {
                client_is(proof, end);
                proof.facts.add("netbios.service", "session");
                add_name(names, proof);
            }
            _ => {}
        },
    );
    let over = seen.first.complete && seen.second.complete;
    match probe {
        Probe::Proven(_) if smb => Probe::No,
        Probe::Proven(_) if !data && !over => Probe::NeedMore,
        other => weigh::from_the_start(other),
    }
}

/// Session packet types (RFC 1002 section 4.3.1).
const SESSION_MESSAGE: u8 = 0x00;
const SESSION_REQUEST: u8 = 0x81;
const SESSION_GRANTED: u8 = 0x82;
const SESSION_REFUSED: u8 = 0x83;
const SESSION_RETARGET: u8 = 0x84;
const SESSION_KEEP_ALIVE: u8 = 0x85;
/// A name in first-level encoding with its length before and the root label after it (RFC 1001 section 14.1).
const ENCODED: usize = 34;

/// The session packet at the front; only a request, with its two names, has the weight given.
pub(super) fn session_step(bytes: &[u8], weight: u32) -> Step {
    if !matches!(bytes.first(), None | Some(&SESSION_MESSAGE) | Some(SESSION_REQUEST..=SESSION_KEEP_ALIVE)) {
        return Step::Wrong;
    }
    let Some((&[kind, flags, high, low], body)) = bytes.split_first_chunk::<4>() else { return Step::Cut(0) };
    // Seven flag bits are reserved, the eighth extends the length.
    if flags > 1 {
        return Step::Wrong;
    }
    let length = usize::from(flags) << 16 | usize::from(high) << 8 | usize::from(low);
    let right = match kind {
        SESSION_REQUEST => (2 * ENCODED..=2 * 255).contains(&length),
        SESSION_GRANTED | SESSION_KEEP_ALIVE => length == 0,
        SESSION_REFUSED => length == 1,
        SESSION_RETARGET => length == 6,
        _ => length > 0,
    };
    if !right {
        return Step::Wrong;
    }
    let Some(body) = body.get(..length) else { return Step::Cut(0) };
    if kind == SESSION_REQUEST && name(body).and_then(|(_, rest)| name(rest)).is_none() {
        return Step::Wrong;
    }
    Step::Whole(4 + length, if kind == SESSION_REQUEST { weight } else { 0 })
}

/// A name service message or a datagram.
fn step_datagram(bytes: &[u8]) -> Step {
    if name_service(bytes).is_some() || datagram_names(bytes).is_some() {
        return Step::Whole(bytes.len(), PROOF);
    }
    Step::Wrong
}

/// The response bit and the bytes from the first name on, where this is a name service message (RFC 1002 section 4.2.1).
fn name_service(bytes: &[u8]) -> Option<(bool, &[u8])> {
    let mut reader = Reader::new(bytes);
    reader.skip(2)?;
    let flags = reader.be16()?;
    let counts = [reader.be16()?, reader.be16()?, reader.be16()?, reader.be16()?];
    // Operations: query, registration, release, wait, refresh (8 or 9), multi-homed registration; the two bits beside RA and B are zero.
    let operation = flags >> 11 & 0x0f;
    if !matches!(operation, 0 | 5..=9 | 15) || flags & 0x0060 != 0 || counts.iter().any(|&count| count > 64) {
        return None;
    }
    let [questions, answers, ..] = counts;
    // Negative answers count neither question nor answer, and have a record all the same (section 4.2.14).
    if questions > 1 || answers > 1 || (questions == 0 && flags & 0x8000 == 0) {
        return None;
    }
    let names = reader.rest();
    let (_, rest) = name(names)?;
    // NB, NBSTAT, and NULL in negative answers; class Internet (section 4.2.1.2).
    let mut reader = Reader::new(rest);
    let (kind, class) = (reader.be16()?, reader.be16()?);
    (matches!(kind, 0x000a | 0x0020 | 0x0021) && class == 1).then_some((flags & 0x8000 != 0, names))
}

/// The bytes from the source name on, where this is a datagram (RFC 1002 section 4.4.1).
fn datagram_names(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8()?;
    let flags = reader.u8()?;
    // Four reserved bits.
    if flags & 0xf0 != 0 {
        return None;
    }
    reader.skip(8)?;
    match kind {
        // Direct unique, direct group, broadcast: length, fragment offset, names, user data.
        0x10..=0x12 => {
            let length = usize::from(reader.be16()?);
            reader.skip(2)?;
            let names = reader.rest();
            let (_, rest) = name(names)?;
            name(rest)?;
            (length <= names.len()).then_some(names)
        }
        // Query request and its two answers.
        0x14..=0x16 => name(reader.rest()).map(|_| reader.rest()),
        _ => None,
    }
}

/// What a datagram carries after its two names.
fn datagram_data(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = name(datagram_names(bytes)?)?;
    name(rest).map(|(_, data)| data)
}

/// A name in first-level encoding: 32 letters A to P between the length and the scope labels (RFC 1001 section 14.1).
/// Its text without padding and type byte, and what follows it.
fn name(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (&[32, ref letters @ ..], mut rest) = bytes.split_first_chunk::<33>()? else { return None };
    let mut decoded = [0_u8; 16];
    for (byte, pair) in decoded.iter_mut().zip(letters.chunks_exact(2)) {
        let &[high @ b'A'..=b'P', low @ b'A'..=b'P'] = pair else { return None };
        *byte = (high - b'A') << 4 | (low - b'A');
    }
    // Labels of the scope, of which a name has few, until the root.
    for _ in 0..16 {
        let (&length, after) = rest.split_first()?;
        if length == 0 {
            let name = decoded.first_chunk::<15>()?.trim_ascii_end();
            let name: String =
                name.iter().map(|&byte| char::from(byte)).take_while(|&letter| letter != '\0').collect();
            return Some((name, after));
        }
        rest = after.get(usize::from(length)..).filter(|_| length < 64)?;
    }
    None
}

fn add_name(bytes: &[u8], proof: &mut Proof) {
    if let Some((name, _)) = name(bytes)
        && !name.is_empty()
    {
        proof.facts.add("netbios.name", name);
    }
}

fn tell_datagram(end: End, bytes: &[u8], proof: &mut Proof) {
    if let Some((response, names)) = name_service(bytes) {
        client_is(proof, if response { end.other() } else { end });
        proof.facts.add("netbios.service", "name");
        add_name(names, proof);
    } else if let Some(names) = datagram_names(bytes) {
        proof.facts.add("netbios.service", "datagram");
        add_name(names, proof);
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    /// "PUMP" padded with blanks, type 0x20.
    const PUMP: &[u8] = b"\x20FAFFENFACACACACACACACACACACACACA\0";

    fn joined(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn a_query_asks_for_a_name() {
        let query = joined(&[&[0x12, 0x34, 1, 0x10, 0, 1, 0, 0, 0, 0, 0, 0], PUMP, &[0, 0x20, 0, 1]]);
        let Probe::Proven(proof) = harness::probe_messages(&Netbios, Carrier::Udp, &[&query]) else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        assert_eq!(proof.facts.get("netbios.name"), Some("PUMP"));
    }

    #[test]
    fn dns_is_none() {
        let query =
            joined(&[&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], b"\x04pump\x05plant\0", &[0, 1, 0, 1]]);
        assert_eq!(step_datagram(&query), Step::Wrong);
    }

    #[test]
    fn a_session_waits_for_what_follows() {
        let request = joined(&[&[0x81, 0, 0, 68], PUMP, PUMP]);
        let (granted, smb) = (&[0x82, 0, 0, 0][..], b"\0\0\0\x23\xffSMB\x72 and thirty bytes of no matter");
        let probe =
            |first: &[&[u8]], second: &[&[u8]]| harness::probe_both(&Netbios, Carrier::Tcp, first, second);
        assert_eq!(probe(&[&request], &[granted]), Probe::NeedMore);
        assert_eq!(probe(&[&request, smb], &[granted]), Probe::No);
        assert!(matches!(probe(&[&request, b"\0\0\0\x04data"], &[granted]), Probe::Proven(_)));
    }

    #[test]
    fn labelled_captures() {
        harness::check(&Netbios, 0, 0);
        harness::check_steps(&Netbios);
    }
}
