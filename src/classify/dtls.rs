//! DTLS: TLS over datagrams, by records that fill a datagram and the hellos in them.

use super::About;
use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::Protocol;
use super::Seen;
use super::bytes::Reader;
use super::look;
use super::tls_hello;
use super::tls_record;
use crate::model::Facts;

/// The protocol.
pub struct Dtls;

static ABOUT: About = About {
    name: "dtls",
    title: "Datagram Transport Layer Security",
    spec: "RFC 6347 (1.2), RFC 4347 (1.0), RFC 9147 (1.3, its hellos)",
    usual: &["udp/4433", "udp/443"],
    answers: true,
    facts: tls_hello::FACTS,
};

impl Protocol for Dtls {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn may_begin(&self, _: Carrier, at: usize, byte: u8) -> bool {
        match at {
            0 => (tls_record::CHANGE_CIPHER_SPEC..=tls_record::HEARTBEAT).contains(&byte),
            1 => matches!(byte, 0xfe | 0x01),
            2 => matches!(byte, 0xff | 0xfd | 0x00),
            // Upper bytes of epoch and number.
            3 | 5 => byte <= 0x0f,
            _ => true,
        }
    }

    fn probe(&self, seen: &Seen<'_>) -> Probe {
        if seen.carrier != Carrier::Udp {
            return Probe::No;
        }
        let both = match look::both(seen, |side| look::datagrams_and_lengths(side, datagram)) {
            Ok(both) => both,
            Err(probe) => return probe,
        };
        let mut proof = Proof { open: !(seen.first.complete && seen.second.complete), ..Proof::default() };
        let mut spoke = Vec::new();
        let mut alert = None;
        for (end, datagrams) in [End::First, End::Second].into_iter().zip(both) {
            for found in datagrams.into_iter().flatten() {
                for fact in found.facts.iter() {
                    proof.facts.add(fact.key, fact.value.as_str());
                }
                if let Some(client) = found.client {
                    proof.client = proof.client.or(Some(if client { end } else { end.other() }));
                }
                alert = alert.or(found.alert.map(|alert| (end, alert)));
                spoke.push((end, found.handshake, found.application_data));
            }
        }
        if let Some(client) = proof.client {
            let name = |end: End| if end == client { "client" } else { "server" };
            if spoke.iter().any(|(end, handshake, _)| *end != client && *handshake) {
                proof.facts.add("tls.server_handshake", "seen");
            }
            for (end, ..) in spoke.iter().filter(|(.., data)| *data) {
                proof.facts.add("tls.application_data", name(*end));
            }
            if let Some((end, _)) = &alert {
                proof.facts.add("tls.alert.from", name(*end));
            }
        }
        if let Some((_, alert)) = alert {
            proof.facts.add("tls.alert", alert);
        }
        tls_hello::capped_by(&mut proof.facts);
        Probe::Proven(proof)
    }
}

/// What one datagram showed.
#[derive(Debug, Default)]
struct Found {
    facts: Facts,
    /// Whether the client sent it, where its handshake tells.
    client: Option<bool>,
    handshake: bool,
    application_data: bool,
    alert: Option<String>,
}

/// Longest prefix of a datagram that is certainly whole.
const KEPT: usize = 1024;

/// A datagram that is records from its front to its end (RFC 6347 section 4.1), of `sent` bytes before a snap length cut it.
fn datagram(bytes: &[u8], sent: usize) -> Option<Found> {
    let mut found = Found::default();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        // Behind a hello of 1.3 its encrypted records may follow at once, with a header of their own that begins 001 (RFC 9147 section 4).
        if found.handshake && reader.rest().first().is_some_and(|first| first >> 5 == 1) {
            break;
        }
        let (kind, version) = (reader.u8()?, reader.be16()?);
        let (epoch, number) = (reader.be16()?, (reader.be16()?, reader.be32()?));
        let length = usize::from(reader.be16()?);
        // DTLS 1.0, 1.2, and OpenSSL's 1.0 from before the standard.
        let known =
            matches!(version, 0xfeff | 0xfefd | 0x0100) && length <= usize::from(tls_record::LONGEST_RECORD);
        // Encrypted records carry at least a tag; epochs and numbers begin at zero and are far from their end.
        if !known || length == 0 || number.0 > 0x0fff || epoch > 0x0fff {
            return None;
        }
        let cut = reader.left() < length;
        let (is_snapped, end) = (sent > bytes.len(), reader.position() + length);
        if cut && !(bytes.len() >= KEPT || is_snapped && end <= sent) {
            return None;
        }
        let body = reader.rest().get(..length).unwrap_or(reader.rest());
        let plain = epoch == 0;
        match kind {
            tls_record::CHANGE_CIPHER_SPEC if length == 1 || (version == 0x0100 && length == 3) => {}
            tls_record::ALERT if plain && length == 2 => found.alert = Some(tls_hello::alert(body)?),
            tls_record::HANDSHAKE if plain => handshake(body, cut, &mut found)?,
            tls_record::APPLICATION_DATA if !plain => found.application_data = true,
            // Encrypted: a nonce or an initialisation vector, and a tag.
            tls_record::ALERT | tls_record::HANDSHAKE | tls_record::HEARTBEAT if !plain && length >= 16 => {}
            _ => return None,
        }
        if reader.skip(length).is_none() {
            break;
        }
    }
    Some(found)
}

/// Handshake types of DTLS (RFC 6347 section 4.3.2); 3 is HelloVerifyRequest.
const HELLO_VERIFY_REQUEST: u8 = 3;

/// Handshake messages or fragments of one record (RFC 6347 section 4.2.2).
fn handshake(body: &[u8], cut: bool, found: &mut Found) -> Option<()> {
    let mut reader = Reader::new(body);
    while !reader.is_empty() {
        let Some(kind) = reader.u8() else { break };
        let (Some(length), Some(_sequence), Some(offset), Some(fragment)) =
            (reader.be24(), reader.be16(), reader.be24(), reader.be24())
        else {
            return cut.then_some(());
        };
        let known = matches!(kind, 0..=4 | 8 | 11..=16 | 20..=24);
        if !known || length > 1 << 17 || offset.checked_add(fragment)? > length {
            return None;
        }
        let content = match reader.take(fragment as usize) {
            Some(content) => content,
            None if cut => reader.rest(),
            None => return None,
        };
        found.handshake = true;
        if offset == 0 {
            message(kind, content, fragment == length, found)?;
        }
        if reader.left() == 0 || content.len() < fragment as usize {
            break;
        }
    }
    Some(())
}

fn message(kind: u8, body: &[u8], whole: bool, found: &mut Found) -> Option<()> {
    match kind {
        tls_record::CLIENT_HELLO => {
            found.client = Some(true);
            let mut reader = Reader::new(body);
            let version = reader.be16()?;
            if !matches!(version, 0xfeff | 0xfefd | 0x0100) {
                return None;
            }
            // As in TLS, with a cookie before the suites (RFC 6347 section 4.2.1).
            let mut extensions = || {
                reader.skip(32)?;
                for _ in 0..2 {
                    let length = reader.u8()?;
                    reader.skip(usize::from(length))?;
                }
                let suites = reader.be16()?;
                reader.skip(usize::from(suites))?;
                let methods = reader.u8()?;
                reader.skip(usize::from(methods))?;
                reader.be16()?;
                Some(reader.rest())
            };
            let rest = extensions().unwrap_or_default();
            tls_hello::client_extensions(whole.then_some(version), rest, &mut found.facts);
        }
        HELLO_VERIFY_REQUEST => found.client = Some(false),
        tls_record::SERVER_HELLO => {
            found.client = Some(false);
            if whole {
                tls_hello::server_hello(body, &mut found.facts);
            }
        }
        tls_record::CERTIFICATE if found.client == Some(false) => {
            tls_hello::certificate(body, &mut found.facts)
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Side;
    use crate::classify::harness;
    use crate::classify::harness::hex;
    use crate::classify::harness::probe_messages;

    #[test]
    fn labelled_captures() {
        harness::check(&Dtls, 0, 0);
        harness::check_steps(&Dtls);
    }

    #[test]
    fn versions_are_those_labelled() {
        if !harness::present() {
            return;
        }
        for (flow, label) in harness::labelled() {
            let Some(version) = label.tls_version.filter(|_| label.protocol.as_deref() == Some("dtls"))
            else {
                continue;
            };
            let proof = harness::proof(&Dtls, &flow.seen()).unwrap();
            assert_eq!(proof.facts.get("tls.version"), Some(version.as_str()), "{}", flow.place());
        }
    }

    #[test]
    fn a_hello_of_1_3_and_the_encrypted_records_behind_it() {
        // ServerHello that selects dtls1.3, then a record of epoch 2 with a unified header.
        let hello = format!("fefd {} 00 1301 00 0006 002b 0002 fefc", "11".repeat(32)).replace(' ', "");
        let length = hello.len() / 2;
        let record = format!(
            "16 fefd 0000 000000000000 {:04x} 02 {length:06x} 0000 000000 {length:06x} {hello}",
            length + 12
        );
        let encrypted = format!("2e 0001 0012 {}", "5a".repeat(18));
        let Probe::Proven(proof) =
            probe_messages(&Dtls, Carrier::Udp, &[&hex(&format!("{record} {encrypted}"))])
        else {
            panic!("not proven");
        };
        assert_eq!((proof.client, proof.facts.get("tls.version")), (Some(End::Second), Some("dtls1.3")));
        assert!(probe_messages(&Dtls, Carrier::Udp, &[&hex(&encrypted)]).proof().is_none());
    }

    #[test]
    fn a_snap_length_cuts_a_record_whose_end_is_known() {
        let bytes = hex(&format!("17 fefd 0001 000000000007 0040 {}", "5a".repeat(20)));
        let probe = |lacks: &[u16]| {
            let first = Side { lacks, ..Side::of(&bytes, &[33]) };
            Dtls.probe(&Seen { carrier: Carrier::Udp, first, second: Side::default(), known: None })
        };
        assert!(probe(&[44]).proof().is_some());
        assert!(probe(&[43]).proof().is_none() && probe(&[]).proof().is_none());
    }

    #[test]
    fn what_is_not_dtls() {
        for stranger in [
            "17 fefd 0001 000000000001 0004 01020304 00",
            "17 fefc 0001 000000000001 0002 0102",
            "16 fefd 0000 000000000001 0002 0102",
            "16 0303 0002 0102",
        ] {
            assert!(
                !matches!(probe_messages(&Dtls, Carrier::Udp, &[&hex(stranger)]), Probe::Proven(_)),
                "{stranger}"
            );
        }
    }
}
