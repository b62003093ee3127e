//! The DNS message format (RFC 1035 section 4), read strictly: whether all of a datagram is one, and what it says.
//!
//! Written here because a classifier needs what a parser does not tell: that every byte is accounted for, how far a
//! cut message is sound, response codes above 15, and no memory reserved on the word of a count field.

use compact_str::CompactString;
use compact_str::format_compact;

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use super::bytes::Reader;
use super::dns_name::HEADER;
use super::dns_name::Stop;
use super::dns_name::is_netbios;
use super::dns_name::name;
use super::dns_name::skip_name;
use crate::model::DnsMessage;

/// Questions in one message: mDNS alone asks many at once.
const MOST_QUESTIONS: u16 = 128;
/// Top bit of a class: answer by unicast in questions, flush the cache in records (RFC 6762 sections 5.4 and 10.2).
const TOP_BIT: u16 = 0x8000;

/// Record types that are read (RFC 1035 section 3.2.2, RFC 3596, RFC 6891).
mod kind {
    pub const A: u16 = 1;
    pub const CNAME: u16 = 5;
    pub const PTR: u16 = 12;
    pub const AAAA: u16 = 28;
    pub const DNAME: u16 = 39;
    pub const OPT: u16 = 41;
}

/// Header flags (RFC 1035 section 4.1.1, RFC 4035).
mod flag {
    pub const RESPONSE: u16 = 0x8000;
    pub const AUTHORITATIVE: u16 = 0x0400;
    pub const TRUNCATED: u16 = 0x0200;
    pub const RECURSION_DESIRED: u16 = 0x0100;
    pub const RECURSION_AVAILABLE: u16 = 0x0080;
    pub const ZERO: u16 = 0x0040;
    pub const AUTHENTIC: u16 = 0x0020;
    pub const CHECKING_DISABLED: u16 = 0x0010;
}

/// Whether a message may have this byte at this place: an operation that there is, the reserved bit, few questions.
pub fn may_begin(at: usize, byte: u8) -> bool {
    match at {
        2 => is_operation(byte >> 3 & 0xf),
        3 => u16::from(byte) & flag::ZERO == 0,
        // The upper byte of a number that MOST_QUESTIONS bounds.
        4 => byte == 0,
        _ => true,
    }
}

/// Whether a message with these flags may have so many questions. A response may leave them out or repeat those of a whole mDNS query.
pub fn may_ask(flags: u16, questions: u16) -> bool {
    match flags & flag::RESPONSE {
        0 => (1..=MOST_QUESTIONS).contains(&questions),
        _ => questions <= 64,
    }
}

/// Query, inverse query, status, notify, update, stateful operations (RFC 6895 section 2.2, RFC 8490).
fn is_operation(code: u8) -> bool {
    matches!(code, 0..=2 | 4..=6)
}

/// Which of the protocols that share the format a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The domain name system itself.
    Dns,
    /// Multicast DNS (RFC 6762).
    Mdns,
    /// Link-local multicast name resolution (RFC 4795).
    Llmnr,
}

/// A message that reads well.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    flags: u16,
    counts: [u16; 4],
    /// Where the first question's name begins, its type; and where the section ends.
    question: Option<(usize, u16)>,
    answers_at: usize,
    /// Whether a class has its top bit set.
    top_bit: bool,
}

impl<'a> Message<'a> {
    /// Reads a message that is exactly these bytes, or, where `cut`, begins with them. `None` where it is none.
    pub fn read(bytes: &'a [u8], cut: bool) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (_id, flags) = (reader.be16()?, reader.be16()?);
        let counts = [reader.be16()?, reader.be16()?, reader.be16()?, reader.be16()?];
        let mut message = Self { bytes, flags, counts, question: None, answers_at: 0, top_bit: false };
        if !message.is_plausible() {
            return None;
        }
        let [questions, records @ ..] = counts;
        // What a cut leaves of a message is told by its first question.
        let begun = |message: Self| (cut && message.question.is_some()).then_some(message);
        let mut at = HEADER;
        for _ in 0..questions {
            let name_at = at;
            let after = match skip_name(bytes, at) {
                Ok(after) => after,
                Err(Stop::Cut) => return begun(message),
                Err(Stop::Wrong) => return None,
            };
            let mut reader = Reader::new(bytes.get(after..)?);
            let (Some(kind), Some(class)) = (reader.be16(), reader.be16()) else { return begun(message) };
            let odd = after == name_at + 1 && !is_asked_of_root(kind);
            if odd || !is_kind(kind) || !is_class(class & !TOP_BIT) || is_netbios(bytes, name_at, kind) {
                return None;
            }
            message.top_bit |= class & TOP_BIT != 0;
            message.question.get_or_insert((name_at, kind));
            at = after + 4;
        }
        message.answers_at = at;
        let total = records.iter().map(|&count| usize::from(count)).sum::<usize>();
        for _ in 0..total {
            match record(bytes, at) {
                Ok(record) if record.is_plausible() && !is_netbios(bytes, at, record.kind) => {
                    message.top_bit |= record.kind != kind::OPT && record.class & TOP_BIT != 0;
                    at = record.end;
                }
                Err(Stop::Cut) => return begun(message),
                Ok(_) | Err(Stop::Wrong) => return None,
            }
        }
        // An empty shell of a header proves nothing: a refusal without its question has to be paired.
        let tells = questions > 0 || total > 0;
        (tells && at == bytes.len()).then_some(message)
    }

    /// Reads a refusal that leaves out its question: a header alone. It proves nothing, but answers a query of its id.
    pub fn refusal(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.try_into().ok()?;
        let &[_, _, high, low, counts @ ..] = header;
        let flags = u16::from_be_bytes([high, low]);
        let message =
            Self { bytes, flags, counts: [0; 4], question: None, answers_at: HEADER, top_bit: false };
        let fits = counts == [0; 8] && message.is_response() && message.code() != 0 && message.is_plausible();
        fits.then_some(message)
    }

    /// Whether flags and counts are such as are sent.
    fn is_plausible(&self) -> bool {
        let [questions, answers, authorities, additional] = self.counts;
        let operation = self.flags >> 11 & 0xf;
        if !is_operation(operation as u8) || self.flags & flag::ZERO != 0 {
            return false;
        }
        if !may_ask(self.flags, questions) {
            return false;
        }
        if self.is_response() {
            return self.code() <= 11;
        }
        let update = operation == 5;
        // Known answers (mDNS), a probe's records, IXFR's serial: few. Answers to a query are none of DNS's own.
        self.code() == 0
            && (update || (answers <= 256 && authorities <= 64))
            && (additional <= 8 || update)
            && self.flags & flag::RECURSION_AVAILABLE == 0
    }

    /// Whether it is an answer.
    pub fn is_response(&self) -> bool {
        self.flags & flag::RESPONSE != 0
    }

    /// Transaction id.
    pub fn id(&self) -> u16 {
        Reader::new(self.bytes).be16().unwrap_or_default()
    }

    /// The header's part of the response code.
    fn code(&self) -> u16 {
        self.flags & 0xf
    }

    /// Whether it went by unicast DNS or by one of its link-local kin, as far as the message itself shows.
    pub fn kind(&self) -> Kind {
        let [questions, answers, _, additional] = self.counts;
        let wishes_recursion = self.flags & (flag::RECURSION_DESIRED | flag::RECURSION_AVAILABLE) != 0;
        let local = self.question_ends(b"\x05local\0");
        if self.flags >> 11 & 0xf == 0 && !wishes_recursion {
            let mdns = if self.is_response() {
                // RFC 6762 sections 6 and 18: authoritative, id zero, no question; records unique to their owner are flagged.
                self.top_bit || (questions == 0 && answers > 0 && self.id() == 0) || local
            } else {
                // Of single labels only LLMNR asks, whatever its id (RFC 4795 section 2.1.1 leaves that open).
                let blank = self.id() == 0 && self.flags == 0 && !self.is_single_label();
                self.top_bit || local || answers > 0 || questions > 1 || blank
            };
            if mdns {
                return Kind::Mdns;
            }
            // RFC 4795 section 2.1.1: one question, no other flag than conflict, truncation and tentative.
            let other_flags = flag::AUTHENTIC | flag::CHECKING_DISABLED | flag::AUTHORITATIVE;
            let asks_neighbour = self.is_single_label() || self.is_reverse();
            if questions == 1
                && self.flags & other_flags == 0
                && self.code() == 0
                && asks_neighbour
                && (self.is_response() || (answers, additional) == (0, 0))
            {
                return Kind::Llmnr;
            }
        }
        Kind::Dns
    }

    fn question_name(&self) -> Option<&'a [u8]> {
        let (at, _) = self.question?;
        self.bytes.get(at..skip_name(self.bytes, at).ok()?)
    }

    fn question_ends(&self, suffix: &[u8]) -> bool {
        self.question_name().is_some_and(|name| {
            name.len() >= suffix.len()
                && name.get(name.len() - suffix.len()..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        })
    }

    fn is_single_label(&self) -> bool {
        self.question_name().is_some_and(|name| {
            name.split_first()
                .is_some_and(|(&length, rest)| length > 0 && rest.len() == usize::from(length) + 1)
        })
    }

    /// Whether it asks for the name of one address.
    fn is_reverse(&self) -> bool {
        self.question.is_some_and(|(_, kind)| kind == kind::PTR)
            && (self.question_ends(b"\x07in-addr\x04arpa\0") || self.question_ends(b"\x03ip6\x04arpa\0"))
    }

    /// The first question: its name in lower case and its type.
    pub fn question(&self) -> Option<(String, u16)> {
        let (at, kind) = self.question?;
        Some((name(self.bytes, at)?, kind))
    }

    /// The first question in words: name and type.
    pub fn question_text(&self) -> Option<String> {
        let (mut text, kind) = self.question()?;
        if text.is_empty() {
            text.push('.');
        }
        text.push(' ');
        text.push_str(&kind_name(kind));
        Some(text)
    }

    /// All that an audit needs.
    pub fn statement(&self) -> DnsMessage {
        DnsMessage { question: self.question(), ..self.answer() }
    }

    /// The same without its question.
    pub fn answer(&self) -> DnsMessage {
        let mut statement = DnsMessage {
            id: self.id(),
            response: self.is_response(),
            question: None,
            code: self.code(),
            extended_error: None,
            addresses: Vec::new(),
            whole: self.flags & flag::TRUNCATED == 0,
            aliases: Vec::new(),
        };
        let [_, answers, authorities, additional] = self.counts;
        let total = usize::from(answers) + usize::from(authorities) + usize::from(additional);
        let mut at = self.answers_at;
        for number in 0..total {
            let in_answer = number < usize::from(answers);
            let Ok(record) = record(self.bytes, at) else {
                statement.whole &= !in_answer;
                break;
            };
            at = record.end;
            match record.kind {
                kind::A if in_answer => {
                    let address =
                        record.data.first_chunk::<4>().map(|octets| IpAddr::V4(Ipv4Addr::from(*octets)));
                    statement.addresses.extend(address);
                }
                kind::AAAA if in_answer => {
                    let address =
                        record.data.first_chunk::<16>().map(|octets| IpAddr::V6(Ipv6Addr::from(*octets)));
                    statement.addresses.extend(address);
                }
                kind::CNAME | kind::DNAME if in_answer => {
                    statement.aliases.extend(name(self.bytes, record.data_at))
                }
                kind::OPT => {
                    // The upper eight bits of the code (RFC 6891 section 6.1.3).
                    statement.code |= (record.ttl >> 24) as u16 * 16;
                    statement.extended_error =
                        statement.extended_error.or_else(|| extended_error(record.data));
                }
                _ => {}
            }
        }
        statement
    }
}

/// The info code of an Extended DNS Error option (RFC 8914 section 2).
fn extended_error(options: &[u8]) -> Option<u16> {
    const EXTENDED_ERROR: u16 = 15;
    let mut reader = Reader::new(options);
    loop {
        let (code, length) = (reader.be16()?, reader.be16()?);
        let value = reader.take(usize::from(length))?;
        if code == EXTENDED_ERROR {
            return Reader::new(value).be16();
        }
    }
}

struct Record<'a> {
    kind: u16,
    class: u16,
    ttl: u32,
    data: &'a [u8],
    data_at: usize,
    end: usize,
}

impl Record<'_> {
    fn is_plausible(&self) -> bool {
        let length = match self.kind {
            kind::A => self.data.len() == 4 || self.data.is_empty(),
            kind::AAAA => self.data.len() == 16 || self.data.is_empty(),
            _ => true,
        };
        length && is_kind(self.kind) && (self.kind == kind::OPT || is_class(self.class & !TOP_BIT))
    }
}

/// The record at this place (RFC 1035 section 4.1.3), where all of it is there.
fn record(bytes: &[u8], at: usize) -> Result<Record<'_>, Stop> {
    let after = skip_name(bytes, at)?;
    let fields = || {
        let mut reader = Reader::new(bytes.get(after..)?);
        let (kind, class, ttl, length) = (reader.be16()?, reader.be16()?, reader.be32()?, reader.be16()?);
        let data = reader.take(usize::from(length))?;
        let data_at = after + 10;
        Some(Record { kind, class, ttl, data, data_at, end: data_at + data.len() })
    };
    fields().ok_or(Stop::Cut)
}

/// What is asked of the root zone itself: its servers, keys and the like, and what scanners ask. A lone zero byte is too
/// weak a name for any type.
fn is_asked_of_root(kind: u16) -> bool {
    matches!(kind, 1 | 2 | 6 | 12 | 15 | 16 | 28 | 43 | 46..=48 | 63 | 251 | 252 | 255)
}

/// Types that IANA lists, without the private ones.
fn is_kind(kind: u16) -> bool {
    matches!(kind, 1..=67 | 99..=110 | 128 | 249..=264 | 32768 | 32769 | 65280..=65534)
}

/// Internet, CHAOS, Hesiod, none and any (RFC 6895 section 3.2).
fn is_class(class: u16) -> bool {
    matches!(class, 1 | 3 | 4 | 254 | 255)
}

/// The type's mnemonic, else as in RFC 3597 section 5.
fn kind_name(kind: u16) -> CompactString {
    let name = match kind {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        43 => "DS",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        other => return format_compact!("TYPE{other}"),
    };
    name.into()
}

/// The response code's mnemonic with its number (RFC 6895 section 2.3).
pub fn code_name(code: u16) -> CompactString {
    let text = match code {
        0 => "NOERROR(0)",
        1 => "FORMERR(1)",
        2 => "SERVFAIL(2)",
        3 => "NXDOMAIN(3)",
        4 => "NOTIMP(4)",
        5 => "REFUSED(5)",
        6 => "YXDOMAIN(6)",
        7 => "YXRRSET(7)",
        8 => "NXRRSET(8)",
        9 => "NOTAUTH(9)",
        10 => "NOTZONE(10)",
        16 => "BADVERS(16)",
        23 => "BADCOOKIE(23)",
        _ => return format_compact!("unassigned({code})"),
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::harness::hex;

    const QUERY: &str = "1234 0100 0001 0000 0000 0000 03 575757 05 506c616e74 00 0001 0001";

    #[test]
    fn a_query_and_its_name() {
        let bytes = hex(QUERY);
        let message = Message::read(&bytes, false).unwrap();
        assert_eq!((message.kind(), message.is_response()), (Kind::Dns, false));
        assert_eq!(message.question(), Some(("www.plant".to_owned(), 1)));
        for length in 0..bytes.len() {
            assert!(Message::read(&bytes[..length], false).is_none());
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Message::read(&longer, false).is_none());
    }

    #[test]
    fn an_answer_with_alias_address_and_extended_error() {
        let bytes = hex("1234 8183 0001 0002 0000 0001 03 777777 05 706c616e74 00 0001 0001 \
             c00c 0005 0001 0000003c 0004 01 78 c010   c027 0001 0001 0000003c 0004 0a010203 \
             00 0029 04d0 01000000 0006 000f 0002 000f");
        let message = Message::read(&bytes, false).unwrap();
        let said = message.statement();
        assert_eq!((said.code, said.extended_error), (16 + 3, Some(15)));
        assert_eq!(said.aliases, ["x.plant"]);
        assert_eq!(said.addresses, ["10.1.2.3".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn what_is_cut_is_told_by_its_first_question_and_what_is_wrong_is_not() {
        let two = |second: &str| {
            let bytes = hex(&format!("1234 0000 0002 0000 0000 0000 01 61 00 0001 0001 {second}"));
            (Message::read(&bytes, true).is_some(), Message::read(&bytes, false).is_some())
        };
        for cut in ["", "03 6161", "01 62 00", "01 62 00 0001 00"] {
            assert_eq!(two(cut), (true, false), "{cut}");
        }
        // No label has this type (RFC 6891 section 5), no pointer points forward, no class is 2.
        for wrong in ["41 a96d", "c0 ff", "01 62 00 0001 0002"] {
            assert_eq!(two(wrong), (false, false), "{wrong}");
        }
    }

    #[test]
    fn pointers_that_go_round_end() {
        let bytes = hex("1234 0100 0001 0000 0000 0000 c00c 0001 0001");
        assert!(Message::read(&bytes, false).is_none());
    }

    #[test]
    fn kin() {
        let kind = |text: &str| Message::read(&hex(text), false).map(|message| message.kind());
        assert_eq!(kind("0000 0000 0001 0000 0000 0000 01 61 05 6c6f63616c 00 0001 0001"), Some(Kind::Mdns));
        assert_eq!(kind("5555 0100 0001 0000 0000 0000 01 61 05 6c6f63616c 00 0001 0001"), Some(Kind::Dns));
        assert_eq!(kind("5555 0000 0001 0000 0000 0000 04 77706164 00 0001 0001"), Some(Kind::Llmnr));
        assert_eq!(kind("5555 0100 0001 0000 0000 0000 04 77706164 00 0001 0001"), Some(Kind::Dns));
        let netbios = format!("5555 0110 0001 0000 0000 0000 20 {} 00 0020 0001", "41".repeat(32));
        assert_eq!(kind(&netbios), None);
    }
}
