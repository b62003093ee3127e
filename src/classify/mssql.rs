//! Microsoft SQL Server: the tabular data stream of historians and HMIs.

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

/// Tabular data stream.
pub struct Mssql;

static ABOUT: About = About {
    name: "mssql",
    title: "Microsoft SQL Server (TDS)",
    spec: "[MS-TDS] 2.2.3.1 (packet header), 2.2.6.5 (PRELOGIN)",
    usual: &["tcp/1433"],
    answers: true,
    facts: &[],
};

impl Protocol for Mssql {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => matches!(byte, 1..=4 | 6..=8 | 14 | LOGIN..=PRELOGIN),
            1 => byte & UNUSED_STATUS == 0,
            7 => byte == 0,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        match seen.carrier {
            Carrier::Tcp => weigh::probe(seen, step, tell),
            Carrier::Udp | Carrier::Ethernet(_) => Probe::No,
        }
    }
}

/// Type, status, length, process, packet number, window (2.2.3.1).
const HEADER: usize = 8;
/// Status bits other than: end of message, ignore, reset connection, reset but keep the transaction.
const UNUSED_STATUS: u8 = 0xe4;
/// Packet types (2.2.3.1.1): batch, old login, procedure call, response, attention, bulk load, token, transaction, login, SSPI, pre-login.
const RESPONSE: u8 = 4;
const LOGIN: u8 = 16;
const PRELOGIN: u8 = 18;
/// Largest packet a session can have.
const LARGEST: usize = 32_767;
/// The token that ends the option list of a pre-login.
const TERMINATOR: u8 = 0xff;

fn step(bytes: &[u8]) -> Step {
    match *bytes {
        [] => return Step::Cut(0),
        [1..=4 | 6..=8 | 14 | LOGIN..=PRELOGIN] => return Step::Cut(0),
        [1..=4 | 6..=8 | 14 | LOGIN..=PRELOGIN, status, ..] if status & UNUSED_STATUS == 0 => {}
        _ => return Step::Wrong,
    }
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else { return Step::Cut(0) };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[7] != 0 || !(HEADER..=LARGEST).contains(&length) {
        return Step::Wrong;
    }
    let Some(body) = body.get(..length - HEADER) else { return Step::Cut(0) };
    let weight = match header[0] {
        PRELOGIN | RESPONSE if options_fit(body) => PROOF,
        // A TLS handshake is wrapped in pre-login packets.
        PRELOGIN => {
            if matches!(body, [0x14..=0x17, 3, 0..=4, ..]) {
                40
            } else {
                return Step::Wrong;
            }
        }
        // The login states its own length first, then its version (2.2.6.4).
        LOGIN if login_fits(body) => PROOF,
        LOGIN => return Step::Wrong,
        // Batches and calls begin with headers of 22 bytes that hold one of 18: the transaction (2.2.5.3).
        1 | 3 | 14 if body.starts_with(&[22, 0, 0, 0, 18, 0, 0, 0, 2, 0]) => PROOF,
        // ISO transport begins with 3 and a length too.
        3 => return Step::Wrong,
        _ => 5,
    };
    Step::Whole(length, weight)
}

/// Options of five bytes (token, offset, length), the first of them the version, all within the body (2.2.6.5).
fn options_fit(body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    for nth in 0..16 {
        match reader.u8() {
            Some(TERMINATOR) => return nth > 0,
            // Tokens go up to nonces and federated authentication.
            Some(token) if token <= 7 && (nth > 0) == (token > 0) => {
                let (Some(offset), Some(length)) = (reader.be16(), reader.be16()) else { return false };
                if usize::from(offset) + usize::from(length) > body.len() {
                    return false;
                }
            }
            _ => return false,
        }
    }
    false
}

/// Length of the login and a version of 7.x (2.2.6.4).
fn login_fits(body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    let (length, version) = (reader.le32(), reader.le32());
    length == u32::try_from(body.len()).ok() && version.is_some_and(|version| version >> 28 == 7)
}

fn tell(end: End, packet: &[u8], proof: &mut Proof) {
    match packet.first() {
        Some(&RESPONSE) => client_is(proof, end.other()),
        Some(&(1..=3 | 6 | 14 | LOGIN)) => client_is(proof, end),
        Some(&PRELOGIN) if packet.get(HEADER..).is_some_and(options_fit) => client_is(proof, end),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness;
    use super::*;

    /// Version and encryption.
    const OPTIONS: &[u8] = b"\0\0\x0b\0\x06\x01\0\x11\0\x01\xff\x0c\0\x10\x04\0\0\x02";

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![kind, 1, 0, (HEADER + body.len()) as u8, 0, 0, 1, 0];
        packet.extend(body);
        packet
    }

    #[test]
    fn a_prelogin_and_its_answer() {
        let Probe::Proven(proof) =
            harness::probe_messages(&Mssql, Carrier::Tcp, &[&packet(PRELOGIN, OPTIONS)])
        else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::First));
        let Probe::Proven(proof) =
            harness::probe_messages(&Mssql, Carrier::Tcp, &[&packet(RESPONSE, OPTIONS)])
        else {
            panic!()
        };
        assert_eq!(proof.client, Some(End::Second));
    }

    #[test]
    fn options_beyond_the_body_are_wrong() {
        let mut options = OPTIONS.to_vec();
        options[2] = 0x0d;
        assert_eq!(step(&packet(PRELOGIN, &options)), Step::Wrong);
        let mut other = packet(1, b"select");
        other[7] = 1;
        assert_eq!(step(&other), Step::Wrong);
    }
}
