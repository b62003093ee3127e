//! Hellos of SSL 2.0, and those in its format that offer more (draft-hickman-netscape-ssl-00 section 2; RFC 5246 appendix E.2).

use super::bytes::Reader;
use super::look::Look;
use super::tls_hello;
use crate::model::Facts;

/// A hello of SSL 2.0, or one in its format that offers more (RFC 5246 appendix E.2).
///
/// Says whether it is the client's, and what it states.
pub fn hello(bytes: &[u8], complete: bool) -> Look<(bool, Facts)> {
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
    let mut facts = Facts::new();
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
        tls_hello::client_extensions(Some(version), &[], &mut facts);
        return Look::Yes((true, facts));
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
    facts.add("tls.server_hello", "seen");
    facts.add("tls.version", "ssl2");
    if let Some(der) = reader.take(usize::from(certificate)).filter(|der| !der.is_empty()) {
        tls_hello::certificate_der(der, &mut facts);
    }
    Look::Yes((false, facts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;

    fn fact(bytes: &str, key: &str) -> Option<(bool, Option<String>)> {
        let (is_client, facts) = hello(&hex(bytes), false).yes()?;
        Some((is_client, facts.get(key).map(str::to_owned)))
    }

    #[test]
    fn hellos_of_both_ends() {
        let client = format!("80 1c 01 0002 0003 0000 0010 010080 {}", "33".repeat(16));
        assert_eq!(fact(&client, "tls.offered"), Some((true, Some("ssl2".to_owned()))));
        let server = format!("80 1e 04 00 00 0002 0000 0003 0010 010080 {}", "44".repeat(16));
        assert_eq!(fact(&server, "tls.version"), Some((false, Some("ssl2".to_owned()))));
    }

    #[test]
    fn lengths_that_do_not_fill_the_hello_are_wrong() {
        assert!(hello(&hex("80 1d 01 0002 0003 0000 0010 010080"), false).is_no());
        assert!(hello(&hex("80 1f 04 00 00 0002 0000 0003 0010 010080"), false).is_no());
        assert_eq!(hello(&hex("80 1c 01 0002"), false), Look::More);
    }
}
