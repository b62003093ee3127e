//! Heads of HTTP/1 messages in a stream: where they stand and what they say.

use compact_str::CompactString;
use compact_str::format_compact;

use super::Side;
use super::bytes::is_text;
use super::bytes::line;
use super::bytes::text;
use super::look;
use super::look::Look;

/// Header fields read of one head.
const MOST_FIELDS: usize = 64;
/// Heads read of one prefix.
const MOST_HEADS: usize = 32;
/// The longest request line (RFC 9112 section 3 asks for 8000).
const LONGEST_LINE: usize = 8000;

/// Fields of a response that only something on the way writes: RFC 9110 section 7.6.3 (`Via`) and section 11.7.1
/// (`Proxy-Authenticate`), RFC 9209 (`Proxy-Status`), the Squid proxy's own.
const PROXY_FIELDS: [&str; 5] =
    ["via", "proxy-status", "proxy-authenticate", "x-squid-error", "proxy-connection"];

/// The head of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Of a request: its method.
    pub method: Option<CompactString>,
    /// Of a request: its target.
    pub target: CompactString,
    /// Of a response: its status code.
    pub status: Option<u16>,
    /// Minor version.
    pub minor: u8,
    /// `Host`, without the port.
    pub host: Option<CompactString>,
    /// `User-Agent`.
    pub user_agent: Option<CompactString>,
    /// Whether it names WebSocket in `Upgrade` (RFC 6455 section 4).
    pub websocket: bool,
    /// What names a machine on the way: `Via` (RFC 9110 section 7.6.3), or a field that only proxies send.
    pub proxy: Option<CompactString>,
    /// `Content-Length`.
    length: Option<usize>,
    /// Where it ends in the side's bytes; where it was cut short, the end of the bytes.
    pub end: usize,
}

/// The heads of one direction.
pub fn heads(side: &Side<'_>) -> Look<Vec<Head>> {
    // The first decides whether it is HTTP at all; later ones only add.
    let first = look::stream(side, |bytes| {
        let at = side.bytes.len() - bytes.len();
        match head(bytes, side.complete) {
            Look::Yes(mut head) => {
                head.end += at;
                Look::Yes(head)
            }
            other => other,
        }
    });
    let mut heads = match first {
        Look::Yes(head) => vec![head],
        Look::More => return Look::More,
        Look::No => return Look::No,
    };
    while heads.len() < MOST_HEADS {
        let Some(next) = heads.last().and_then(|last| following(side, last)) else { break };
        heads.push(next);
    }
    Look::Yes(heads)
}

/// The head after this one: behind its body, or at a segment boundary where the body's length is not known.
fn following(side: &Side<'_>, last: &Head) -> Option<Head> {
    let behind = last.end.saturating_add(last.length.unwrap_or(0));
    let boundaries =
        side.ends.iter().map(|&end| usize::from(end)).filter(|&end| end > last.end).take(MOST_HEADS);
    std::iter::once(behind).chain(boundaries).find_map(|at| {
        let mut head = head(side.bytes.get(at..)?, false).yes()?;
        head.end += at;
        Some(head)
    })
}

/// Judges what stands at the front.
fn head(bytes: &[u8], complete: bool) -> Look<Head> {
    if bytes.is_empty() {
        return Look::More;
    }
    if begins(bytes, b"HTTP/1.") {
        return response(bytes, complete);
    }
    request(bytes, complete)
}

/// Whether one is the beginning of the other.
fn begins(bytes: &[u8], word: &[u8]) -> bool {
    bytes.starts_with(word) || word.starts_with(bytes)
}

fn response(bytes: &[u8], complete: bool) -> Look<Head> {
    // `HTTP/1.1 200`: enough, with or without a reason (RFC 9112 section 4).
    let Some(front) = bytes.get(..12) else {
        let fits = bytes.iter().zip(b"HTTP/1.d ddd").all(|(byte, shape)| fits(*byte, *shape));
        return if fits && !complete { Look::More } else { Look::No };
    };
    let shape = front.iter().zip(b"HTTP/1.d ddd").all(|(byte, shape)| fits(*byte, *shape));
    let ended = bytes.get(12).is_none_or(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
    if !shape || !ended {
        return Look::No;
    }
    let digits = front.get(9..).unwrap_or_default();
    let status = digits.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if !(100..=999).contains(&status) {
        return Look::No;
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let result = httparse::ParserConfig::default()
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .parse_response(&mut parsed, bytes);
    let mut head = Head { status: Some(status), minor: minor(front), end: bytes.len(), ..Head::default() };
    if let Ok(httparse::Status::Complete(end)) = result {
        head.end = end;
        head.read(parsed.headers);
        // These have no body whatever they say (RFC 9110 sections 15.2, 15.3.5, 15.4.5).
        if matches!(status, 100..=199 | 204 | 304) {
            head.length = Some(0);
        }
    }
    Look::Yes(head)
}

fn fits(byte: u8, shape: u8) -> bool {
    match shape {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    }
}

fn minor(front: &[u8]) -> u8 {
    front.get(7).map_or(1, |digit| digit.saturating_sub(b'0'))
}

fn request(bytes: &[u8], complete: bool) -> Look<Head> {
    // Some clients send an empty line first (RFC 9112 section 2.2).
    let skipped = bytes.iter().take(4).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let Some(rest) = bytes.get(skipped..).filter(|rest| !rest.is_empty()) else { return Look::More };
    // Methods are upper case letters in every registered case (RFC 9110 section 16.1; WebDAV, UPnP add hyphens).
    let method = rest.iter().take(24).take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    let (name, after) = rest.split_at_checked(method).unwrap_or((rest, &[]));
    if method == 0 || method > 20 || !matches!(after, [] | [b' ', ..]) {
        return Look::No;
    }
    // The same is asked of a line and of a piece of one, so that a No holds. Some clients write other than ASCII into the target.
    let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    let so_far = rest.get(..length).unwrap_or(rest);
    if length > LONGEST_LINE || so_far.iter().any(|&byte| byte.is_ascii_control() && byte != b'\r') {
        return Look::No;
    }
    let Some((first_line, _)) = line(rest) else {
        let target = after.get(1..).unwrap_or_default();
        if complete && is_known(name) && is_target(target) && is_text(target) {
            // The line was cut by the snap length.
            let method = Some(text_of(name));
            return Look::Yes(Head { method, minor: 1, end: bytes.len(), ..Head::default() });
        }
        return Look::More;
    };
    let Some((target, version)) = after
        .get(1..)
        .and_then(|_| first_line.get(method + 1..))
        .and_then(|line| Some(line.split_at(line.iter().rposition(|&byte| byte == b' ')?)))
    else {
        return Look::No;
    };
    let minor = match version {
        b" HTTP/1.0" => 0,
        b" HTTP/1.1" => 1,
        _ => return Look::No,
    };
    let mut head = Head {
        method: Some(text_of(name)),
        target: text_of(target),
        minor,
        end: bytes.len(),
        ..Head::default()
    };
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let result = httparse::ParserConfig::default()
        .ignore_invalid_headers_in_requests(true)
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .parse_request(&mut parsed, rest);
    if let Ok(httparse::Status::Complete(end)) = result {
        head.end = end + skipped;
        head.read(parsed.headers);
        head.length = head.length.or(Some(0));
    }
    if head.host.is_none() {
        // A proxy is told by the target (RFC 9112 section 3.2.2).
        let authority = head.target.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
        head.host = authority.map(|authority| lower(without_port(authority)));
    }
    Look::Yes(head)
}

/// A host's name as it is compared (RFC 9110 section 4.2.3).
fn lower(name: &str) -> CompactString {
    let mut name = CompactString::from(name);
    name.make_ascii_lowercase();
    name
}

fn text_of(bytes: &[u8]) -> CompactString {
    text(bytes)
}

impl Head {
    fn read(&mut self, fields: &[httparse::Header<'_>]) {
        for field in fields {
            let value = || text(field.value.trim_ascii());
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("host") {
                self.host = Some(lower(without_port(&value()))).filter(|host| !host.is_empty());
            } else if is("user-agent") {
                self.user_agent = Some(value());
            } else if is("upgrade") {
                self.websocket |= field.value.trim_ascii().eq_ignore_ascii_case(b"websocket");
            } else if PROXY_FIELDS.iter().any(|name| is(name)) {
                self.proxy = Some(format_compact!("{}: {}", text(field.name.as_bytes()), value()));
            } else if is("content-length") {
                self.length = value().parse().ok();
            }
        }
    }
}

/// A host without its port (RFC 3986 section 3.2.3).
pub fn without_port(authority: &str) -> &str {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) && !host.ends_with(':') => {
            if host.contains(':') && !host.starts_with('[') { authority } else { host }
        }
        _ => authority,
    }
}

/// Methods of RFC 9110 section 9 and RFC 5789, and of WebDAV.
fn is_known(method: &[u8]) -> bool {
    matches!(
        method,
        b"GET"
            | b"HEAD"
            | b"POST"
            | b"PUT"
            | b"DELETE"
            | b"CONNECT"
            | b"OPTIONS"
            | b"TRACE"
            | b"PATCH"
            | b"PROPFIND"
    )
}

/// Whether a target may begin so: a path, an absolute URI, a star, or host and port.
fn is_target(target: &[u8]) -> bool {
    target.len() > 1 && (matches!(target, [b'/' | b'*', ..]) || target.contains(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port() {
        assert_eq!(without_port("a.example:8080"), "a.example");
        assert_eq!(without_port("[2001:db8::1]:80"), "[2001:db8::1]");
        assert_eq!(without_port("2001:db8::1"), "2001:db8::1");
        assert_eq!(without_port("user:pw@a.example"), "a.example");
    }

    #[test]
    fn messages_behind_each_other() {
        let bytes = b"POST /a HTTP/1.1\r\nHost: X\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.0\r\n\r\n";
        let heads = heads(&Side::of(bytes, &[bytes.len() as u16])).yes().unwrap();
        let methods: Vec<_> = heads.iter().filter_map(|head| head.method.as_deref()).collect();
        assert_eq!(methods, ["POST", "GET"]);
        assert_eq!(heads[0].host.as_deref(), Some("x"));
    }
}
