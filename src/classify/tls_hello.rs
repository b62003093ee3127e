//! What TLS and DTLS hellos, alerts and certificates state, as facts.

use compact_str::ToCompactString;

use std::net::IpAddr;

use tls_parser::SNIType;
use tls_parser::TlsExtension;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::prelude::X509Certificate;

use super::bytes::Reader;
use super::bytes::text;
use crate::model::Facts;

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
/// Extension supported_versions (RFC 8446 section 4.2.1).
const SUPPORTED_VERSIONS: u16 = 43;

/// The fact keys stated here, with their meanings: shared by the protocols that carry TLS handshakes.
pub const FACTS: &[(&str, &str)] = &[
    (
        "tls.version",
        "version negotiated, from the ServerHello: ssl2, ssl3, 1.0 to 1.3, dtls1.0, dtls1.2, dtls1.3",
    ),
    ("tls.offered", "each version that the client offers; without the extension, the highest"),
    (
        "tls.sni",
        "server name in the ClientHello, in lower case: names are compared without regard to it (RFC 6066 section 3); the outer one, where ECH hides another",
    ),
    ("tls.alpn", "application protocol that the server chose in the clear (before TLS 1.3)"),
    ("tls.alpn.offered", "each application protocol that the client offers"),
    ("tls.alert", "the first alert sent in the clear, a fatal one first: level, name and number"),
    ("tls.alert.from", "who sent it: client or server"),
    ("tls.gives_up", "'client' where all that it says after its hello in TLS 1.3 is an alert, encrypted"),
    ("tls.client_hello", "'seen' once the ClientHello is"),
    ("tls.server_hello", "'seen' once the ServerHello is (a HelloRetryRequest is none)"),
    ("tls.answer", "'other' where a ClientHello is answered by something that is no TLS"),
    ("tls.server_handshake", "'seen' once any handshake bytes of the server are"),
    (
        "tls.application_data",
        "each end whose application data records are seen; in TLS 1.3 the encrypted handshake looks alike",
    ),
    (
        "tls.downgrade",
        "the server's random says that it knows more than it chose: tls1.3, or tls1.2 (RFC 8446 section 4.1.3)",
    ),
    (
        "tls.capped_by",
        "why the version is no higher: client (offers no more), server (was offered more), or between (both know more)",
    ),
    ("tls.certificate.subject", "subject of the server's certificate (before TLS 1.3)"),
    ("tls.certificate.issuer", "its issuer"),
    ("tls.certificate.name", "each DNS name and address in it, the first eight (RFC 5280 section 4.2.1.6)"),
    ("tls.certificate.not_before", "its first second of validity, RFC 3339"),
    ("tls.certificate.not_after", "its last second of validity, RFC 3339"),
];

/// The contract's name of a version number on the wire (RFC 8446 section 4.2.1; RFC 6347 and RFC 9147 for DTLS).
pub fn version_name(version: u16) -> Option<&'static str> {
    match version {
        0x0002 => Some("ssl2"),
        0x0300 => Some("ssl3"),
        0x0301 => Some("1.0"),
        0x0302 => Some("1.1"),
        0x0303 => Some("1.2"),
        // Drafts (7f.xx) and the numbers that large deployments gave theirs (fb.xx) are 1.3.
        0x0304 | 0x7f00..=0x7fff | 0xfb00..=0xfbff => Some("1.3"),
        // 1.0 before it was one: OpenSSL's number.
        0x0100 | 0xfeff => Some("dtls1.0"),
        0xfefd => Some("dtls1.2"),
        0xfefc => Some("dtls1.3"),
        _ => None,
    }
}

/// States what a whole ClientHello body says. `false` where it does not parse.
pub fn client_hello(body: &[u8], facts: &mut Facts) -> bool {
    let Ok((_, hello)) = tls_parser::parse_tls_handshake_client_hello(body) else { return false };
    client_extensions(Some(hello.version.0), hello.ext.unwrap_or_default(), facts);
    true
}

/// States what a ClientHello's extensions say, and its version where they offer none; `None` where the extensions are cut, so
/// that what they offer may stand behind the cut.
pub fn client_extensions(version: Option<u16>, extensions: &[u8], facts: &mut Facts) {
    facts.add("tls.client_hello", "seen");
    let mut offered = false;
    for (kind, whole) in split_extensions(extensions) {
        // One by one, so that an extension which does not parse hides no other.
        match tls_parser::parse_tls_client_hello_extension(whole) {
            Ok((_, TlsExtension::SNI(names))) => {
                for (_, name) in names.iter().filter(|(kind, _)| *kind == SNIType::HostName) {
                    facts.add("tls.sni", text(name).to_ascii_lowercase());
                }
            }
            Ok((_, TlsExtension::ALPN(protocols))) => {
                for protocol in protocols.iter().filter(|protocol| !is_grease(protocol)) {
                    facts.add("tls.alpn.offered", text(protocol));
                }
            }
            Ok((_, TlsExtension::SupportedVersions(versions))) if kind == SUPPORTED_VERSIONS => {
                for name in versions.iter().filter_map(|version| version_name(version.0)) {
                    offered = true;
                    facts.add("tls.offered", name);
                }
            }
            _ => {}
        }
    }
    if !offered && let Some(name) = version.and_then(version_name) {
        facts.add("tls.offered", name);
    }
}

/// States what a whole ServerHello body says: its version, negotiated. `None` where it does not parse.
pub fn server_hello(body: &[u8], facts: &mut Facts) -> Option<u16> {
    let legacy = Reader::new(body).be16()?;
    if legacy >> 8 == 0x7f {
        // Drafts of TLS 1.3 before 22 have no session id; the version says it all.
        facts.add("tls.server_hello", "seen");
        facts.add("tls.version", "1.3");
        return Some(legacy);
    }
    // Read here, since tls-parser takes no DTLS version: random, session id, suite, compression (RFC 8446 section 4.1.3).
    let mut reader = Reader::new(body);
    reader.skip(2)?;
    let random = reader.array::<32>()?;
    let session = reader.u8()?;
    reader.skip(usize::from(session) + 3)?;
    let extensions = reader.be16().map(|_| reader.rest());
    let mut version = legacy;
    for (kind, whole) in split_extensions(extensions.unwrap_or_default()) {
        match tls_parser::parse_tls_server_hello_extension(whole) {
            Ok((_, TlsExtension::ALPN(protocols))) => {
                for protocol in protocols {
                    facts.add("tls.alpn", text(protocol));
                }
            }
            _ if kind == SUPPORTED_VERSIONS => {
                // In a ServerHello it is one version, not a list (RFC 8446 section 4.2.1).
                let mut reader = Reader::new(whole);
                if let (Some(()), Some(selected)) = (reader.skip(4), reader.be16()) {
                    version = selected;
                }
            }
            _ => {}
        }
    }
    if *random != RETRY_RANDOM {
        facts.add("tls.server_hello", "seen");
    }
    if let Some(name) = version_name(version) {
        facts.add("tls.version", name);
    }
    match random.last_chunk::<8>() {
        Some(b"DOWNGRD\x01") => facts.add("tls.downgrade", "tls1.3"),
        Some(b"DOWNGRD\x00") => facts.add("tls.downgrade", "tls1.2"),
        _ => {}
    }
    Some(version)
}

/// States who kept the version down, where both hellos were seen and one end could have done more.
pub fn capped_by(facts: &mut Facts) {
    /// From the oldest to the newest; TLS and DTLS are never mixed in one handshake.
    const ORDER: [&str; 9] = ["ssl2", "ssl3", "1.0", "dtls1.0", "1.1", "1.2", "dtls1.2", "1.3", "dtls1.3"];
    let rank = |name: &str| ORDER.iter().position(|known| *known == name);
    let Some(chosen) = facts.get("tls.version").and_then(rank) else { return };
    let Some(offered) = facts.all("tls.offered").filter_map(rank).max() else { return };
    let newest = matches!(ORDER.get(chosen), Some(&("1.3" | "dtls1.3")));
    let who = match (chosen < offered, facts.get("tls.downgrade")) {
        _ if newest => return,
        // The server was asked for less than the client offers.
        (true, Some(_)) => "between",
        (true, None) => "server",
        (false, _) => "client",
    };
    facts.add("tls.capped_by", who);
}

/// States what the first certificate of a Certificate message (RFC 5246 section 7.4.2) says, where all of it is there.
pub fn certificate(body: &[u8], facts: &mut Facts) {
    let mut reader = Reader::new(body);
    let Some(_list) = reader.be24() else { return };
    let Some(der) = reader.be24().and_then(|length| reader.take(length as usize)) else { return };
    certificate_der(der, facts);
}

/// The most names of one certificate that are told: delivery networks put hundreds into one.
const MOST_NAMES: usize = 8;

/// States what a certificate in DER says.
pub fn certificate_der(der: &[u8], facts: &mut Facts) {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return };
    facts.add("tls.certificate.subject", certificate.subject().to_compact_string());
    facts.add("tls.certificate.issuer", certificate.issuer().to_compact_string());
    if let Ok(Some(names)) = certificate.subject_alternative_name() {
        for name in names.value.general_names.iter().take(MOST_NAMES) {
            match name {
                GeneralName::DNSName(name) => facts.add("tls.certificate.name", name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => {
                    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                    if let Ok(ip) = ip {
                        facts.add("tls.certificate.name", ip.to_compact_string());
                    }
                }
                _ => {}
            }
        }
    }
    let validity = certificate.validity();
    for (key, moment) in [
        ("tls.certificate.not_before", validity.not_before),
        ("tls.certificate.not_after", validity.not_after),
    ] {
        if let Ok(time) = jiff::Timestamp::from_second(moment.timestamp()) {
            facts.add(key, time.to_compact_string());
        }
    }
}

/// An alert in plain words: `fatal protocol_version(70)`. `None` for what is none (RFC 8446 section 6).
pub fn alert(body: &[u8]) -> Option<String> {
    let &[level, description] = body else { return None };
    let level = match level {
        1 => "warning",
        2 => "fatal",
        _ => return None,
    };
    let name = match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => "unassigned",
    };
    Some(format!("{level} {name}({description})"))
}

/// The extensions of a block, each with its type and whole with its header; stops where one does not fit.
fn split_extensions(block: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut reader = Reader::new(block);
    std::iter::from_fn(move || {
        let mut ahead = reader;
        let kind = ahead.be16()?;
        let length = ahead.be16()?;
        ahead.skip(usize::from(length))?;
        Some((kind, reader.take(4 + usize::from(length))?))
    })
}

/// Whether it is a value reserved to keep servers tolerant (RFC 8701 section 2): two like bytes 0x?a.
fn is_grease(value: &[u8]) -> bool {
    matches!(value, [a, b] if a == b && a & 0x0f == 0x0a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_names_of_the_contract() {
        assert_eq!(version_name(0x0303), Some("1.2"));
        assert_eq!(version_name(0x7f1c), Some("1.3"));
        assert_eq!(version_name(0xfefd), Some("dtls1.2"));
        assert_eq!(version_name(0x3a3a), None);
    }

    #[test]
    fn alerts_in_words() {
        assert_eq!(alert(&[2, 70]).as_deref(), Some("fatal protocol_version(70)"));
        assert_eq!(alert(&[1, 0]).as_deref(), Some("warning close_notify(0)"));
        assert_eq!(alert(&[9, 0]), None);
    }
}
