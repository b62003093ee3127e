//! Reply lines of FTP and SMTP: three digits and words (RFC 959 section 4.2, RFC 5321 section 4.2).

/// Code and words of a reply line: three digits, then nothing, a blank, or the hyphen of a line that others follow.
pub fn reply(line: &[u8]) -> Option<(u16, &[u8])> {
    let (&[a @ b'1'..=b'5', b @ b'0'..=b'5', c @ b'0'..=b'9'], rest) = line.split_first_chunk()? else {
        return None;
    };
    let code = [a, b, c].iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match rest {
        [] => Some((code, &[])),
        [b' ' | b'-', words @ ..] if words.iter().all(|&byte| byte >= b' ' || byte == b'\t') => {
            Some((code, words))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words() {
        assert_eq!(reply(b"220 ready"), Some((220, &b"ready"[..])));
        assert_eq!(reply(b"250-PIPELINING"), Some((250, &b"PIPELINING"[..])));
        assert_eq!(reply(b"354"), Some((354, &b""[..])));
        for stranger in [&b"22"[..], b"+OK ready", b"620 code", b"261 code", b"220ready", b"220 \x16\x03"] {
            assert_eq!(reply(stranger), None, "{stranger:?}");
        }
    }
}
