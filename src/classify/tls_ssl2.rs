//! Hellos of SSL 2.0, and those in its format that offer more.

use super::bytes::Reader;
use super::look::Look;
use super::tls::Half;
use super::tls::Hello;
use super::tls_hello;

/// A hello of SSL 2.0, or one in its format that offers more (RFC 5246 appendix E.2).
pub(super) fn look_at(bytes: &[u8], complete: bool) -> Look<Half> {
    /// Message types (draft-hickman-netscape-ssl-00 section 2.5).
    const CLIENT: u8 = 1;
    const SERVER: u8 = 4;
    let mut reader = Reader::new(bytes);
    let (Some(length), kind) = (reader.be16(), reader.u8()) else {
        return if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { Look::More } else { Look::No };
    };
    // Two-byte header: the top bit set, then the length.
    if length & 0x8000 == 0 || !matches!(kind, None | Some(CLIENT | SERVER)) {
        return Look::No;
    }
    let length = usize::from(length & 0x7fff);
    let mut half = Half { handshake: true, ..Half::default() };
    if kind == Some(CLIENT) {
        let (Some(version), Some(suites), Some(session), Some(challenge)) =
            (reader.be16(), reader.be16(), reader.be16(), reader.be16())
        else {
            return Look::More;
        };
        let sizes = usize::from(suites) + usize::from(session) + usize::from(challenge);
        let fits = 9 + sizes == length
            && suites >= 3
            && suites % 3 == 0
            && matches!(session, 0 | 16)
            && (16..=32).contains(&challenge)
            && matches!(version, 0x0002 | 0x0300..=0x0303);
        if !fits {
            return Look::No;
        }
        if reader.left() < sizes && !complete {
            return Look::More;
        }
        half.hello = Some(Hello::Client);
        tls_hello::client_extensions(Some(version), &[], &mut half.facts);
        return Look::Yes(half);
    }
    let (Some(hit), Some(kind), Some(version), Some(certificate), Some(suites), Some(id)) =
        (reader.u8(), reader.u8(), reader.be16(), reader.be16(), reader.be16(), reader.be16())
    else {
        return Look::More;
    };
    let sizes = usize::from(certificate) + usize::from(suites) + usize::from(id);
    if 11 + sizes != length
        || hit > 1
        || kind > 1
        || version != 2
        || suites % 3 != 0
        || !(16..=32).contains(&id)
    {
        return Look::No;
    }
    half.hello = Some(Hello::Server);
    half.facts.add("tls.server_hello", "seen");
    half.facts.add("tls.version", "ssl2");
    if let Some(der) = reader.take(usize::from(certificate)).filter(|der| !der.is_empty()) {
        tls_hello::certificate_der(der, &mut half.facts);
    }
    Look::Yes(half)
}
