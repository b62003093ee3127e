//! What applications say: TLS flights, AMQP, SSH, NTP, DNS, SNMP, syslog, HTTP.

use std::net::IpAddr;

use super::talk::End;
use super::talk::End::Client;
use super::talk::End::Server;
use super::wire;

/// What is said, in turn.
pub type Messages = Vec<(End, Vec<u8>)>;

/// TLS as the wire names its versions (RFC 8446 section 4.2.1).
pub const TLS12: u16 = 0x0303;
pub const TLS13: u16 = 0x0304;

fn sized<const N: usize>(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&length[4 - N..], body].concat()
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &sized::<2>(body)].concat()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &sized::<3>(body)].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized::<2>(body)].concat()
}

/// A ClientHello that offers these versions; without a name, it names no server.
pub fn client_hello(name: &str, versions: &[u16]) -> Vec<u8> {
    let offered: Vec<u8> = versions.iter().flat_map(|version| version.to_be_bytes()).collect();
    let server_name = [&[0][..], &sized::<2>(name.as_bytes())].concat();
    let share = [&[0, 0x1d][..], &sized::<2>(&[0x5a; 32])].concat();
    let extensions = [
        if name.is_empty() { Vec::new() } else { extension(0, &sized::<2>(&server_name)) },
        extension(10, &[0, 4, 0, 0x1d, 0, 0x17]),
        extension(13, &[0, 6, 4, 3, 8, 4, 4, 1]),
        extension(43, &sized::<1>(&offered)),
        extension(51, &sized::<2>(&share)),
    ];
    let ciphers = [0x13, 1, 0x13, 2, 0xc0, 0x2f, 0xc0, 0x30];
    let body = [
        &[3, 3][..],
        &[0xc1; 32],
        &sized::<1>(&[7; 32]),
        &sized::<2>(&ciphers),
        &[1, 0],
        &sized::<2>(&extensions.concat()),
    ];
    record(22, &handshake(1, &body.concat()))
}

/// The server's answer: its hello, and what goes with it.
fn server_flight(version: u16) -> Vec<u8> {
    let (cipher, extensions) = if version == TLS13 {
        let share = [&[0, 0x1d][..], &sized::<2>(&[0x3c; 32])].concat();
        ([0x13, 1], [extension(43, &TLS13.to_be_bytes()), extension(51, &share)].concat())
    } else {
        ([0xc0, 0x2f], extension(0xff01, &[0]))
    };
    let body = [&[3, 3][..], &[0x77; 32], &sized::<1>(&[7; 32]), &cipher, &[0], &sized::<2>(&extensions)];
    let hello = record(22, &handshake(2, &body.concat()));
    if version == TLS13 {
        return [hello, change_cipher(), record(23, &[0xe5; 900])].concat();
    }
    let certificate = sized::<3>(&sized::<3>(&[0x30; 700]));
    let rest = [handshake(11, &certificate), handshake(12, &[3; 110]), handshake(14, &[])].concat();
    [hello, record(22, &rest)].concat()
}

fn change_cipher() -> Vec<u8> {
    record(20, &[1])
}

/// Application data.
pub fn sealed_data(length: usize) -> Vec<u8> {
    record(23, &vec![0xd1; length])
}

/// A whole session.
pub fn tls(name: &str, version: u16) -> Messages {
    let mut said = vec![(Client, client_hello(name, &[TLS13, TLS12])), (Server, server_flight(version))];
    if version == TLS13 {
        said.push((Client, [change_cipher(), sealed_data(53), sealed_data(90)].concat()));
    } else {
        let finish = [change_cipher(), record(22, &[0x9a; 40])].concat();
        said.push((Client, [record(22, &handshake(16, &[32; 33])), finish.clone()].concat()));
        said.push((Server, finish));
        said.push((Client, sealed_data(90)));
    }
    said.push((Server, sealed_data(300)));
    said
}

/// A fatal alert (RFC 8446 section 6).
pub fn alert(code: u8) -> Vec<u8> {
    record(21, &[2, code])
}

/// AMQP's protocol header (0-9-1 section 4.2.2).
pub const AMQP: &[u8] = b"AMQP\x00\x00\x09\x01";

fn amqp_method(class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
    let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
    [&[1, 0, 0][..], &sized::<4>(&payload), &[0xce]].concat()
}

/// A queue session up to its first message.
pub fn amqp() -> Messages {
    let start = [&[0, 9][..], &sized::<4>(&[]), &sized::<4>(b"PLAIN"), &sized::<4>(b"en_US")].concat();
    let start_ok =
        [sized::<4>(&[]), sized::<1>(b"PLAIN"), sized::<4>(b"\0mq\0pw"), sized::<1>(b"en_US")].concat();
    let tune = [7, 255, 0, 2, 0, 0, 0, 60];
    vec![
        (Client, AMQP.to_vec()),
        (Server, amqp_method(10, 10, &start)),
        (Client, amqp_method(10, 11, &start_ok)),
        (Server, amqp_method(10, 30, &tune)),
        (Client, [amqp_method(10, 31, &tune), amqp_method(10, 40, &[1, b'/', 0, 0])].concat()),
        (Server, amqp_method(10, 41, &[0])),
    ]
}

/// The broker closes with an error.
pub fn amqp_close(code: u16, text: &str) -> Vec<u8> {
    amqp_method(10, 50, &[&code.to_be_bytes()[..], &sized::<1>(text.as_bytes()), &[0; 4]].concat())
}

/// The start of an SSH session.
pub fn ssh() -> Messages {
    let mut lists = vec![20];
    lists.extend([0x42; 16]);
    for list in
        ["curve25519-sha256", "ssh-ed25519", "aes256-ctr", "aes256-ctr", "hmac-sha2-256", "hmac-sha2-256"]
    {
        lists.extend(sized::<4>(list.as_bytes()));
    }
    lists.extend([sized::<4>(b"none"), sized::<4>(b"none"), vec![0; 13]].concat());
    let padding = 12 - (lists.len() + 5 + 4) % 8;
    let packet = [&[padding as u8][..], &lists, &vec![0; padding]].concat();
    let kex = sized::<4>(&packet);
    // KEX_ECDH_INIT and KEX_ECDH_REPLY (RFC 5656 section 4).
    let message = |number: u8, length: usize| {
        sized::<4>(&[&[6, number][..], &sized::<4>(&vec![0x42; length]), &[0; 6]].concat())
    };
    vec![
        (Client, b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        (Server, b"SSH-2.0-OpenSSH_8.9p1\r\n".to_vec()),
        (Client, kex.clone()),
        (Server, kex),
        (Client, message(30, 32)),
        (Server, message(31, 200)),
    ]
}

/// A request or answer of NTP (RFC 5905 section 7.3).
pub fn ntp(answer: bool, number: u8) -> Vec<u8> {
    let mut packet = vec![0; 48];
    packet[..4].copy_from_slice(if answer { &[0x24, 2, 6, 0xec] } else { &[0x23, 0, 6, 0xec] });
    let own = [0xec, 0, 0, number, 1, 2, 3, 4];
    if answer {
        packet[24..32].copy_from_slice(&own);
        packet[32..40].copy_from_slice(&own);
    }
    packet[40..48].copy_from_slice(&own);
    packet
}

/// A question to DNS.
pub fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    dns(id, 0x0100, name, kind, &[], None)
}

/// An answer of DNS: addresses of the kind that was asked for, or a response code, with an extended error where there is one (RFC 8914).
pub fn answer(
    id: u16,
    name: &str,
    kind: u16,
    code: u16,
    addresses: &[IpAddr],
    extended: Option<u16>,
) -> Vec<u8> {
    dns(id, 0x8180 | code, name, kind, addresses, extended)
}

fn dns(id: u16, flags: u16, name: &str, kind: u16, addresses: &[IpAddr], extended: Option<u16>) -> Vec<u8> {
    let counts = [id, flags, 1, addresses.len() as u16, 0, u16::from(extended.is_some())];
    let labels: Vec<u8> = name.split('.').flat_map(|label| sized::<1>(label.as_bytes())).chain([0]).collect();
    let kind = [&kind.to_be_bytes()[..], &[0, 1]].concat();
    let mut out = [counts.map(u16::to_be_bytes).concat(), labels, kind.clone()].concat();
    for address in addresses {
        out.extend([&[0xc0, 12][..], &kind, &[0, 0, 0, 60], &sized::<2>(&wire::octets(*address))].concat());
    }
    if let Some(error) = extended {
        let option = [&[0, 15, 0, 2][..], &error.to_be_bytes()].concat();
        out.extend([&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0][..], &sized::<2>(&option)].concat());
    }
    out
}

/// A Get or a Response of SNMP v2c with its request id.
pub fn snmp(pdu: u8, id: u8) -> Vec<u8> {
    let bound = [0x30, 0x0e, 0x30, 0x0c, 6, 8, 0x2b, 6, 1, 2, 1, 1, 3, 0, 5, 0];
    let body = [&[2, 1, id, 2, 1, 0, 2, 1, 0][..], &bound].concat();
    let message = [&[2, 1, 1, 4, 6][..], b"public", &[pdu], &sized::<1>(&body)].concat();
    [&[0x30][..], &sized::<1>(&message)].concat()
}

/// A line of syslog.
pub fn syslog(number: u64) -> Vec<u8> {
    format!("<134>Nov 20 09:14:03 sensor-1 LEEF:1.0|Microsoft|Defender|22.3|alert|id={number}").into_bytes()
}

/// A request of HTTP and the head of an answer.
pub fn http(host: &str, status: &str) -> Messages {
    vec![
        (Client, format!("GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/8.5.0\r\n\r\n").into_bytes()),
        (Server, format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno").into_bytes()),
    ]
}

/// A request to a proxy and its answer.
pub fn connect(host: &str, status: &str) -> Messages {
    vec![
        (Client, format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").into_bytes()),
        (Server, format!("HTTP/1.1 {status}\r\n\r\n").into_bytes()),
    ]
}
