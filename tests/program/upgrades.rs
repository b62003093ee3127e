//! Protocols that become TLS within a stream, and tunnels: both layers are told, message by message as the pipeline asks.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "this is a test")]

use spanaudit::classify::Carrier;
use spanaudit::classify::PROTOCOLS;
use spanaudit::classify::Proof;
use spanaudit::classify::Seen;
use spanaudit::classify::Side;

/// A ClientHello that offers TLS 1.2 and says the name `a.example` (RFC 5246 section 7.4.1.2, RFC 6066 section 3).
fn client_hello() -> Vec<u8> {
    let name = b"a.example";
    let mut sni = vec![0, (name.len() + 3) as u8, 0, 0, name.len() as u8];
    sni.extend(name);
    let mut extension = vec![0, 0, 0, sni.len() as u8];
    extension.extend(sni);
    let mut body = vec![3, 3];
    body.extend([0x11; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2f, 1, 0, 0, extension.len() as u8]);
    body.extend(extension);
    record(1, &body)
}

/// A ServerHello that chooses TLS 1.2.
fn server_hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x22; 32]);
    body.extend([0, 0xc0, 0x2f, 0]);
    record(2, &body)
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x16, 3, 3, 0, (body.len() + 4) as u8, kind, 0, 0, body.len() as u8];
    bytes.extend(body);
    bytes
}

/// Who sends what, in order: `true` for the client.
type Dialogue<'a> = Vec<(bool, Vec<u8>)>;

/// Asks after each message as the pipeline does: everybody until one knows, then that one while its proof is open.
fn told(dialogue: &Dialogue<'_>) -> Option<(&'static str, Proof)> {
    let mut sides = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    let mut known: Option<(usize, Proof)> = None;
    for (client, message) in dialogue {
        let (bytes, ends) = &mut sides[usize::from(!client)];
        bytes.extend_from_slice(message);
        ends.push(bytes.len() as u16);
        let side = |at: usize| Side { from_start: true, ..Side::of(&sides[at].0, &sides[at].1) };
        let seen = Seen { carrier: Carrier::Tcp, first: side(0), second: side(1), known: None };
        let asked = match &known {
            Some((_, proof)) if !proof.open => break,
            Some((at, _)) => *at..*at + 1,
            None => 0..PROTOCOLS.len(),
        };
        let found = asked.into_iter().find_map(|at| Some((at, PROTOCOLS[at].probe(&seen).proof()?)));
        known = found.or(known);
    }
    known.map(|(at, proof)| (PROTOCOLS[at].about().name, proof))
}

fn dialogue(parts: &[(bool, &[u8])], tls: bool) -> Dialogue<'static> {
    let mut all: Dialogue<'_> = parts.iter().map(|(client, bytes)| (*client, bytes.to_vec())).collect();
    if tls {
        all.push((true, client_hello()));
        all.push((false, server_hello()));
    }
    all
}

#[track_caller]
fn upgraded(name: &str, layers: &[&str], parts: &[(bool, &[u8])]) {
    let (told_name, proof) = told(&dialogue(parts, true)).unwrap_or_else(|| panic!("{name} is not told"));
    assert_eq!(told_name, name);
    assert_eq!(proof.layers, layers, "{name}");
    assert_eq!(proof.facts.get("tls.version"), Some("1.2"), "{name}: {:?}", proof.facts);
    assert_eq!(proof.facts.get("tls.sni"), Some("a.example"), "{name}");
}

/// The same dialogue without TLS after it is the plain protocol, whatever was asked for.
#[track_caller]
fn plain(name: &str, parts: &[(bool, &[u8])]) {
    let (told_name, proof) = told(&dialogue(parts, false)).unwrap_or_else(|| panic!("{name} is not told"));
    assert_eq!(told_name, name);
    assert!(!proof.layers.contains(&"tls"), "{name}: {:?}", proof.layers);
}

#[test]
fn smtp() {
    let parts: [(bool, &[u8]); 5] = [
        (false, b"220 mail.example ESMTP\r\n"),
        (true, b"EHLO a.example\r\n"),
        (false, b"250-mail.example\r\n250 STARTTLS\r\n"),
        (true, b"STARTTLS\r\n"),
        (false, b"220 go ahead\r\n"),
    ];
    upgraded("smtp", &["smtp", "tls"], &parts);
    plain("smtp", &parts);
}

#[test]
fn ftp() {
    let parts: [(bool, &[u8]); 3] = [
        (false, b"220 (vsFTPd 3.0.5)\r\n"),
        (true, b"AUTH TLS\r\n"),
        (false, b"234 Proceed with negotiation.\r\n"),
    ];
    upgraded("ftp", &["ftp", "tls"], &parts);
}

/// RFC 4511 section 4.14.
#[test]
fn ldap() {
    let mut request = vec![0x30, 0x1d, 2, 1, 1, 0x77, 0x18, 0x80, 0x16];
    request.extend(b"1.3.6.1.4.1.1466.20037");
    let response = [0x30, 0x0c, 2, 1, 1, 0x78, 7, 0x0a, 1, 0, 4, 0, 4, 0];
    upgraded("ldap", &["ldap", "tls"], &[(true, &request), (false, &response)]);
    plain("ldap", &[(true, &request), (false, &response)]);
}

/// AMQP 1.0 section 5.2: protocol id 2 is TLS, agreed on by both ends, then the handshake.
#[test]
fn amqp() {
    let header = b"AMQP\x02\x01\x00\x00";
    upgraded("amqp", &["amqp", "tls"], &[(true, header), (false, header)]);
    plain("amqp", &[(true, b"AMQP\x00\x00\x09\x01")]);
}

#[test]
fn mail_boxes() {
    upgraded(
        "imap",
        &["imap", "tls"],
        &[
            (false, b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
            (true, b"a1 STARTTLS\r\n"),
            (false, b"a1 OK begin\r\n"),
        ],
    );
    upgraded(
        "pop3",
        &["pop3", "tls"],
        &[
            (false, b"+OK POP3 server ready <1896.697170952@mail.example>\r\n"),
            (true, b"STLS\r\n"),
            (false, b"+OK begin TLS\r\n"),
        ],
    );
}

#[test]
fn a_proxy_s_tunnel() {
    let ask: &[u8] = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n";
    upgraded(
        "http",
        &["http", "tls"],
        &[(true, ask), (false, b"HTTP/1.1 200 Connection established\r\n\r\n")],
    );
    let denied: [(bool, &[u8]); 2] =
        [(true, ask), (false, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")];
    let (_, proof) = told(&dialogue(&denied, false)).unwrap();
    assert_eq!(proof.facts.get("http.connect.status"), Some("403"));
    assert!(!proof.layers.contains(&"tls"));
}

#[test]
fn websocket() {
    let parts: [(bool, &[u8]); 2] = [
        (
            true,
            b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        ),
        (
            false,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        ),
    ];
    let (name, proof) = told(&dialogue(&parts, false)).unwrap();
    assert_eq!((name, proof.layers.as_slice()), ("http", &["http", "websocket"][..]));
}
