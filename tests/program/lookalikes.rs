//! Payloads that look like a protocol of the registry and are not, and neighbours on one port that must be told apart.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "this is a test")]

use spanaudit::classify::Carrier;
use spanaudit::classify::PROTOCOLS;
use spanaudit::classify::Probe;
use spanaudit::classify::Seen;
use spanaudit::classify::Side;
use spanaudit::model::EtherKind;

/// Bytes from hexadecimal digits and blanks.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Who claims a flow of these messages, while it goes on or once it has ended.
fn claims(carrier: Carrier, first: &[&[u8]], second: &[&[u8]]) -> Vec<&'static str> {
    let join = |messages: &[&[u8]]| {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for message in messages {
            bytes.extend_from_slice(message);
            ends.push(bytes.len() as u16);
        }
        (bytes, ends)
    };
    let (first, second) = (join(first), join(second));
    let mut found = Vec::new();
    for complete in [false, true] {
        let seen = Seen {
            carrier,
            first: Side {
                bytes: &first.0,
                ends: &first.1,
                from_start: true,
                complete,
                lacks: &[],
                read: 0,
                before: 0,
            },
            second: Side {
                bytes: &second.0,
                ends: &second.1,
                from_start: true,
                complete,
                lacks: &[],
                read: 0,
                before: 0,
            },
            known: None,
        };
        for protocol in PROTOCOLS {
            let name = protocol.about().name;
            if matches!(protocol.probe(&seen), Probe::Proven(_)) && !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

/// One end alone sends this, and it is that, or nothing.
#[track_caller]
fn check(carrier: Carrier, payload: &[u8], expected: &[&str]) {
    let found = claims(carrier, &[payload], &[]);
    assert_eq!(found, expected, "{:?}: {payload:02x?}", String::from_utf8_lossy(payload));
}

#[track_caller]
fn tcp(payload: &[u8], expected: &[&str]) {
    check(Carrier::Tcp, payload, expected);
}

#[track_caller]
fn udp(payload: &[u8], expected: &[&str]) {
    check(Carrier::Udp, payload, expected);
}

#[test]
fn ber_is_not_modbus() {
    // LDAP binds, short and long form of the length: the latter has the very header of Modbus.
    tcp(&hex("30 0c 02 01 01 60 07 02 01 03 04 00 80 00"), &["ldap"]);
    tcp(&hex("30 84 00 00 00 10 02 01 01 60 84 00 00 00 07 02 01 03 04 00 80 00"), &["ldap"]);
    // A Modbus request is no LDAP.
    tcp(&hex("00 01 00 00 00 06 01 03 00 00 00 0a"), &["modbus"]);
    // The protocol field, the length and the function of Modbus each wrong by one.
    tcp(&hex("00 01 00 01 00 06 01 03 00 00 00 0a"), &[]);
    tcp(&hex("00 01 00 00 00 07 01 03 00 00 00 0a"), &[]);
    tcp(&hex("00 01 00 00 00 06 01 03 00 00 00 00"), &[]);
}

#[test]
fn snmp_ldap_and_kerberos_share_their_first_bytes() {
    let get = "30 26 02 01 00 04 06 70 75 62 6c 69 63 a0 19 02 01 01 02 01 00 02 01 00 30 0e 30 0c 06 08 2b 06 01 02 01 01 01 00 05 00";
    udp(&hex(get), &["snmp"]);
    // The same with a version that nobody has, and with an operation that is none.
    udp(&hex(&get.replacen("02 01 00", "02 01 07", 1)), &[]);
    udp(&hex(&get.replacen("a0 19", "b0 19", 1)), &[]);
    udp(&hex("30 06 02 01 05 42 01 00"), &[]);
}

#[test]
fn neighbours_on_port_102() {
    // The transport's connection request says nothing of what follows it: S7, MMS, and with a negotiation RDP.
    tcp(&hex("03 00 00 16 11 e0 00 00 00 01 00 c0 01 0a c1 02 01 00 c2 02 01 02"), &[]);
    tcp(&hex("03 00 00 13 0e e0 00 00 00 00 00 01 00 08 00 03 00 00 00"), &["rdp"]);
    let data = |user: &str| {
        let user = hex(user);
        let mut bytes = vec![3, 0, 0, (7 + user.len()) as u8, 2, 0xf0, 0x80];
        bytes.extend(user);
        bytes
    };
    tcp(&data("32 01 00 00 04 00 00 08 00 00 f0 00 00 01 00 01 01 e0"), &["s7comm"]);
    tcp(&data("72 01 00 07 31 00 00 04 ca 00 00 72 01 00 00"), &["s7comm-plus"]);
    // The identifiers with anything behind them.
    tcp(&data("32 01 00 00 04 00 00 09 00 00 f0 00 00 01 00 01 01 e0"), &[]);
    tcp(&data("32 05 11 22 33 44 55 66 77 88"), &[]);
    tcp(&data("72 09 00 07 31 00 00 04 ca 00 00"), &[]);
    tcp(&data("01 00 01 00"), &[]);
}

#[test]
fn forty_eight_bytes_are_not_yet_ntp() {
    udp(&[0; 48], &[]);
    udp(&[0xff; 48], &[]);
    let counters: Vec<u8> = (0x1b..0x1b + 48).collect();
    udp(&counters, &[]);
    let mut request = [0; 48];
    request[0] = 0x23;
    udp(&request, &["ntp"]);
    udp(&request[..47], &[]);
}

#[test]
fn angle_brackets_are_not_yet_syslog() {
    for text in [
        "<html><body>it works</body></html>",
        "<?xml version=\"1.0\"?><soap:Envelope>",
        "<1",
        "<>text",
        "<192>Nov 22 10:00:00 host app: facility 24 is none",
        "<999>Nov 22 10:00:00 host app: x",
        "<034>Nov 22 10:00:00 host app: a leading zero",
        "<12a>Nov 22",
        "<b>34</b>",
        "<34 >1 2026-11-22T10:00:00Z host app - - -",
        "34>1 2026-11-22T10:00:00Z host app - - -",
    ] {
        udp(text.as_bytes(), &[]);
        tcp(text.as_bytes(), &[]);
    }
    udp(b"<34>Nov 22 10:00:00 host app: it works", &["syslog"]);
    udp(b"<34>1 2026-11-22T10:00:00Z host app 17 - - it works", &["syslog"]);
}

#[test]
fn words_are_not_yet_http() {
    for text in [
        "GET the pump value\r\n\r\n",
        "GET\r\n\r\n",
        "GETTING started\r\n\r\n",
        "POST 17\r\n",
        "HTTP is a protocol\r\n",
        "HTTP/1.1 is a protocol\r\n",
        "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n",
        "DELETE FROM table WHERE id = 1;\r\n",
        "PUT key 17\r\nGET key\r\n",
        "OPTIONS icap://10.0.0.1/reqmod ICAP/1.0\r\nHost: 10.0.0.1\r\n\r\n",
        "get key\r\n",
        "*1\r\n$4\r\nPING\r\n",
        "+PONG\r\n",
    ] {
        tcp(text.as_bytes(), &[]);
    }
    tcp(b"GET / HTTP/1.1\r\nHost: plc\r\n\r\n", &["http"]);
    tcp(b"OPTIONS rtsp://10.0.0.1/ RTSP/1.0\r\nCSeq: 1\r\n\r\n", &["rtsp"]);
    tcp(
        b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n",
        &["sip"],
    );
}

#[test]
fn twelve_bytes_are_not_yet_dns() {
    udp(&hex("0001 0002 0003 0004 0005 0006"), &[]);
    udp(&[0; 12], &[]);
    // A header that announces a question and brings none; a question beyond its end; a label that points at itself.
    udp(&hex("0001 0100 0001 0000 0000 0000"), &[]);
    udp(&hex("0001 0100 0001 0000 0000 0000 3f 61 62"), &[]);
    udp(&hex("0001 0100 0001 0000 0000 0000 c0 0c 0001 0001"), &[]);
    udp(&hex("0001 0100 0001 0000 0000 0000 03 777777 05 706c616e74 00 0001 0001"), &["dns"]);
}

#[test]
fn small_binary_messages_are_not_yet_mqtt() {
    for text in [
        "10 02 00 04",
        "c0 00",
        "d0 00",
        "30 05 00 01 61 62 63",
        "20 02 00 00",
        "10 0c 00 04 4d 51 54 58 04 02 00 3c 00 00",
        "10 0c 00 04 4d 51 54 54 09 02 00 3c 00 00",
        "e0 00 e0 00",
    ] {
        tcp(&hex(text), &[]);
    }
    tcp(&hex("10 0c 00 04 4d 51 54 54 04 02 00 3c 00 00"), &["mqtt"]);
}

#[test]
fn high_bytes_are_not_yet_telnet() {
    tcp(&[0xff; 40], &[]);
    // JPEG, and an MPEG audio frame whose sync word reads IAC WILL.
    tcp(&hex("ff d8 ff e0 00 10 4a 46 49 46 00 01 01 00 00 01"), &[]);
    tcp(&hex("ff fb 90 64 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"), &[]);
    tcp(&hex("ff fb"), &[]);
    tcp(&hex("fe ff 00 3c 00 3f"), &[]);
    tcp(&hex("ff fd 18 ff fd 20 ff fd 23 ff fd 27"), &["telnet"]);
}

#[test]
fn names_of_protocols_are_not_yet_the_protocols() {
    for text in [
        "AMQP is a protocol",
        "AMQP\x07\x00\x00\x00",
        "SSH is broken\r\n",
        "SSH-9\r\n",
        "RFB is what VNC speaks\n",
        "MQTT",
        "220 ready\r\n",
        "250 fine\r\n",
        "+OK\r\n",
        "-ERR unknown command\r\n",
        "* the list begins\r\n",
        "NICK pump\r\nUSER pump 0 * :pump\r\n",
        "INFO {\"server_id\":\"N\",\"version\":\"2.1\"}\r\n",
        "\x13BitTorrent protocol",
        "fox a 1",
    ] {
        tcp(text.as_bytes(), &[]);
    }
    tcp(b"AMQP\x00\x00\x09\x01", &["amqp"]);
    tcp(b"SSH-2.0-OpenSSH_9.6\r\n", &["ssh"]);
}

#[test]
fn record_headers_are_not_yet_tls() {
    tcp(
        &hex(
            "16 03 01 00 30 99 00 00 2c 03 03 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13 14",
        ),
        &[],
    );
    tcp(
        &hex(
            "16 03 01 00 30 01 00 00 02 09 09 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13 14",
        ),
        &[],
    );
    // From its first byte a stream of TLS begins with a hello or an alert.
    tcp(&hex("17 03 03 00 14 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13"), &[]);
    tcp(&hex("16 09 01 00 04 01 00 00 00"), &[]);
}

#[test]
fn framing_bytes_are_not_yet_control_protocols() {
    // BACnet with a length that is not the datagram's, DNP3 with a wrong checksum, IEC 104 without a frame, HART-IP of zeros,
    // OPC UA's letters, MELSEC's subheader, EtherNet/IP's command, GE-SRTP's opening alone.
    udp(&hex("81 0a 00 09 01 20 ff ff 00 ff 10 08"), &[]);
    tcp(&hex("05 64 05 c0 01 00 0a 00 ff ff"), &[]);
    tcp(&hex("68 04 99 99 99 99"), &[]);
    udp(&[0; 8], &[]);
    tcp(b"HEL is not OPC UA", &[]);
    tcp(b"5000 of them", &[]);
    tcp(&hex("50 00 00 00 00 00"), &[]);
    tcp(&hex("65 00 04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 09 00 00 00"), &[]);
    tcp(&[0; 56], &[]);
    udp(&hex("00 01 66 69 6c 65 00"), &[]);
    udp(&hex("00 03 00 01 64 61 74 61"), &[]);
}

#[test]
fn bridges_alone_speak_spanning_tree() {
    let bpdu = "00 00 00 00 00 80 00 00 1b 1b 00 00 01 00 00 00 00 80 00 00 1b 1b 00 00 01 80 01 00 00 14 00 02 00 0f 00";
    let stp = Carrier::Ethernet(EtherKind::Llc(0x42));
    check(stp, &hex(bpdu), &["stp"]);
    check(stp, &[0xff; 35], &[]);
    check(stp, &hex("00 00 09 00 00 80 00"), &[]);
    // The same bytes behind another service access point.
    check(Carrier::Ethernet(EtherKind::Llc(0xe0)), &hex(bpdu), &[]);
}

#[test]
fn modbus_with_a_header_and_with_a_check() {
    let (asks, answer) = (hex("11 03 006b 0003 7687"), hex("11 03 06 ae41 5652 4340 49ad"));
    assert_eq!(claims(Carrier::Tcp, &[&asks], &[&answer]), ["modbus-rtu"]);
    // One frame alone, a check that is wrong, the answer to another question, and the same question with the other header.
    tcp(&asks, &[]);
    assert!(claims(Carrier::Tcp, &[&asks], &[&hex("11 03 06 ae41 5652 4340 49ae")]).is_empty());
    assert!(claims(Carrier::Tcp, &[&hex("11 03 006b 0004 3745")], &[&answer]).is_empty());
    tcp(&hex("00 01 00 00 00 06 11 03 00 6b 00 03"), &["modbus"]);
    // A TLS record may begin as a frame does: unit 22, function 3.
    assert!(claims(Carrier::Tcp, &[&hex("16 03 01 0005 0100000103")], &[&answer]).is_empty());
}

#[test]
fn twelve_bytes_on_port_49_are_no_tacacs() {
    let body = "a1b2c3d4e5f60718293a4b5c6d7e8f90";
    let packet = |head: &str| hex(&format!("{head} 8a3f10c2 00000010 {body}"));
    tcp(&packet("c0 01 01 00"), &["tacacs"]);
    // A sequence number in the middle, and a header that promises what does not fill the segment.
    tcp(&packet("c0 01 05 00"), &[]);
    tcp(&[packet("c0 01 01 00"), vec![0; 3]].concat(), &[]);
    tcp(&hex("c0 01 01 00 8a3f10c2 00000000"), &[]);
    // Its flag says that the body can be read: then it has to add up.
    tcp(&packet("c0 01 01 01"), &[]);
}
