//! Texts of a start line and header fields, as RTSP, SIP and SSDP have them from HTTP (RFC 2326 sections 4 to 7, RFC 3261 section 7).

use super::bytes::line;
use super::candidates::is_at;
use super::weigh::PROOF;
use super::weigh::Step;
use super::weigh::agrees;

/// The longest first line accepted.
const LONGEST_LINE: usize = 1024;

/// How the start lines of a protocol begin: a request's by a method, a response's by the version.
pub struct Grammar {
    /// Name of the protocol and what of its version stands fast.
    pub version: &'static [u8],
    /// Methods.
    pub methods: &'static [&'static str],
}

impl Grammar {
    fn words(&self) -> impl Iterator<Item = &'static [u8]> {
        std::iter::once(self.version).chain(self.methods.iter().map(|method| method.as_bytes()))
    }

    /// Whether a start line may have this byte at this place.
    pub fn may_begin(&self, at: usize, byte: u8) -> bool {
        self.words().any(|word| is_at(word, at, byte))
    }

    /// What stands in front of these bytes: a first line of which `is_start` is true is proof, and all that follows belongs to it.
    pub fn step(&self, bytes: &[u8], is_start: impl Fn(&[u8]) -> bool) -> Step {
        match line(bytes) {
            Some((first, _)) if is_start(first) => Step::Cut(PROOF),
            None if bytes.len() <= LONGEST_LINE && self.words().any(|word| agrees(bytes, word)) => {
                Step::Cut(0)
            }
            Some(_) | None => Step::Wrong,
        }
    }
}

/// The header fields up to the empty line or the first line that is none: name and value, the blanks around it taken off.
pub fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (field, after) = line(bytes)?;
        bytes = after;
        let (name, value) = field.split_at_checked(field.iter().position(|&byte| byte == b':')?)?;
        Some((name.trim_ascii_end(), value.get(1..)?.trim_ascii()))
    })
}

/// The value of the first of these fields, whose names are compared without regard to case.
pub fn field<'a>(bytes: &'a [u8], names: &[&str]) -> Option<&'a [u8]> {
    let named = |name: &[u8]| names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes()));
    fields(bytes).find(|(name, _)| named(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: Grammar = Grammar { version: b"X/1.", methods: &["ASK", "TELL"] };

    #[test]
    fn a_first_line_decides() {
        let step = |bytes| GRAMMAR.step(bytes, |line| line.ends_with(b"X/1.0"));
        assert_eq!(step(b"ASK x X/1.0\r\nfield: 1\r\n"), Step::Cut(PROOF));
        assert_eq!(step(b"ASK x X"), Step::Cut(0));
        assert_eq!(step(b"ASK x Y/1.0\r\n"), Step::Wrong);
        assert_eq!(step(b"SAY x X"), Step::Wrong);
        assert!(GRAMMAR.may_begin(0, b'T') && GRAMMAR.may_begin(0, b'X') && !GRAMMAR.may_begin(0, b'S'));
    }

    #[test]
    fn fields_end_with_the_empty_line() {
        let text = b"Server:  cam 1 \r\nDate : now\nno field\r\nLater: x\r\n";
        assert_eq!(fields(text).collect::<Vec<_>>(), [(&b"Server"[..], &b"cam 1"[..]), (b"Date", b"now")]);
        assert_eq!(field(text, &["user-agent", "server"]), Some(&b"cam 1"[..]));
        assert_eq!(field(b"\r\nServer: body\r\n", &["Server"]), None);
    }
}
