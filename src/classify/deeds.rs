//! Tests: what messages do to a machine, told in the first proof and at a glance alike. Each message is built after the section that its
//! protocol's file names.

use super::Carrier;
use super::Probe;
use super::by_name;
use super::harness::hex;
use super::harness::probe_messages;

/// What a message does, and the function told with it, at a glance; held against what a proof from it alone says.
fn check(protocol: &str, carrier: Carrier, message: &str, does: Option<&str>, by: Option<&str>) {
    let known = by_name(protocol).unwrap();
    let bytes = hex(message);
    let mut deeds = Vec::new();
    known.glance(carrier, &bytes, &mut |deed| deeds.push(deed));
    let access: Vec<&str> = deeds.iter().map(|deed| deed.access).collect();
    assert_eq!(access, does.into_iter().collect::<Vec<_>>(), "{protocol} {message}");
    let functions: Vec<&str> = deeds.iter().filter_map(|deed| deed.by).map(|(_, name)| name).collect();
    assert_eq!(functions, by.into_iter().collect::<Vec<_>>(), "{protocol} {message}");
    // A message of more than one: what is short of proof alone has company.
    if let Probe::Proven(proof) = probe_messages(known, carrier, &[&bytes, &bytes]) {
        let key = super::access_fact(known).unwrap();
        assert_eq!(proof.facts.all(key).collect::<Vec<_>>(), access, "{protocol} {message}");
        for (key, name) in deeds.iter().filter_map(|deed| deed.by) {
            assert!(proof.facts.all(key).any(|told| told == name), "{protocol} {key} {name}");
        }
    } else {
        panic!("{protocol} is not proved by {message}");
    }
    // Half a message of a stream says nothing at a glance.
    if carrier == Carrier::Tcp {
        known.glance(carrier, &bytes[..bytes.len() - 1], &mut |deed| panic!("{protocol} {deed:?}"));
    }
}

/// An AMS packet: command, state flags, data.
fn ams(command: u8, states: u8, data: &str) -> String {
    let length = hex(data).len() as u8;
    format!(
        "0000 {:02x}000000 c0a801080101 5303 c0a801630101 0080 {command:02x}00 {states:02x}00 {length:02x}000000 00000000 01000000 {data}",
        32 + length
    )
}

#[test]
fn ads() {
    let check = |message: &str, does, by| super::deeds::check("ads", Carrier::Tcp, message, does, by);
    check(&ams(3, 4, "20400000 00000000 04000000 01020304"), Some("write"), Some("write"));
    check(&ams(2, 4, "20400000 00000000 04000000"), Some("read"), Some("read"));
    check(&ams(5, 4, "0600 0000 00000000"), Some("control"), Some("write-control"));
    // A sum of writes; a handle looked up by name; a group that only the device knows.
    check(&ams(9, 4, "81f00000 01000000 04000000 00000000"), Some("write"), Some("read-write"));
    check(&ams(9, 4, "03f00000 00000000 04000000 00000000"), Some("read"), Some("read-write"));
    check(&ams(9, 4, "20400000 00000000 04000000 00000000"), None, None);
    // A handle given back, and an answer.
    check(&ams(3, 4, "06f00000 00000000 04000000 01020304"), None, None);
    check(&ams(3, 5, "00000000"), None, None);
}

#[test]
fn fins() {
    let check = |message: &str, does, by| super::deeds::check("fins", Carrier::Udp, message, does, by);
    check("80 00 02 00 02 00 00 01 00 01 0101 82 0064 00 0001", Some("read"), Some("memory-area-read"));
    check(
        "80 00 02 00 02 00 00 01 00 01 0102 82 0064 00 0001 0000",
        Some("write"),
        Some("memory-area-write"),
    );
    check(
        "80 00 02 00 02 00 00 01 00 01 0307 ffff 00000000 0002 0000",
        Some("program"),
        Some("program-area-write"),
    );
    check("80 00 02 00 02 00 00 01 00 01 0402", Some("control"), Some("stop"));
    check("c0 00 02 00 02 00 00 01 00 01 0102 0000", None, None);
    let frame = "80 00 02 00 02 00 00 01 00 01 0402";
    let tcp = format!("46494e53 00000014 00000002 00000000 {frame}");
    super::deeds::check("fins", Carrier::Tcp, &tcp, Some("control"), Some("stop"));
}

#[test]
fn iec104() {
    let check = |message: &str, does, by| super::deeds::check("iec104", Carrier::Tcp, message, does, by);
    check("68 0e 0000 0000 2d 01 06 00 0100 010000 01", Some("write"), Some("C_SC_NA_1"));
    check("68 0e 0000 0000 64 01 06 00 0100 000000 14", Some("read"), Some("C_IC_NA_1"));
    check("68 0e 0000 0000 69 01 06 00 0100 000000 01", Some("control"), Some("C_RP_NA_1"));
    // The confirmation of the command, and a value sent by the station.
    check("68 0e 0000 0000 2d 01 07 00 0100 010000 01", None, None);
    check("68 0e 0000 0000 01 01 03 00 0100 010000 01", None, None);
}

#[test]
fn mms() {
    let wrap = |service: &str| {
        let body = hex(service).len() as u8 + 3;
        format!(
            "0300 00{:02x} 02f080 01000100 61{:02x} 30{:02x} 020103 a0{:02x} a0{body:02x} 020107 {service}",
            22 + body,
            9 + body,
            7 + body,
            2 + body
        )
    };
    let check = |service: &str, does, by| super::deeds::check("mms", Carrier::Tcp, &wrap(service), does, by);
    check("a406a104a0023000", Some("read"), Some("read"));
    check("a50da006300480020000a003830100", Some("write"), Some("write"));
    // Start of a program invocation, by a tag of one octet and of two.
    check("bf2803800161", Some("control"), Some("start"));
    check("ab03800161", None, None);
}

#[test]
fn opc_ua() {
    let chunk = |id: u16| {
        format!("4d534746 20000000 01000000 01000000 02000000 02000000 0100{:04x} 00000000", id.swap_bytes())
    };
    let check = |id: u16, does| super::deeds::check("opc-ua", Carrier::Tcp, &chunk(id), does, None);
    check(631, Some("read"));
    check(673, Some("write"));
    check(712, Some("control"));
    check(488, Some("program"));
    // A response, and the opening of a session.
    check(676, None);
    check(461, None);
}

#[test]
fn dnp3() {
    let master = |function: u8| {
        let mut frame = hex("05 64 0b c4 03 00 04 00");
        frame.extend(super::dnp3::check(&frame).to_le_bytes());
        let user = [0xc0, 0xc1, function, 60, 2, 6];
        frame.extend(user);
        frame.extend(super::dnp3::check(&user).to_le_bytes());
        frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let check = |function, does, by| super::deeds::check("dnp3", Carrier::Tcp, &master(function), does, by);
    check(1, Some("read"), Some("read"));
    check(5, Some("write"), Some("direct-operate"));
    check(13, Some("control"), Some("cold-restart"));
    check(3, None, None);
}

#[test]
fn hart_ip() {
    // Command 0 and command 42 with a short address; the check byte is the exclusive or of all before it.
    let message =
        |command: u8| format!("01 00 03 00 0002 000d 02 80 {command:02x} 00 {:02x}", 0x82 ^ command);
    super::deeds::check("hart-ip", Carrier::Udp, &message(0), Some("read"), None);
    super::deeds::check("hart-ip", Carrier::Udp, &message(34), Some("write"), None);
    super::deeds::check("hart-ip", Carrier::Udp, &message(42), Some("control"), None);
}

#[test]
fn modbus_and_s7_name_the_function() {
    check(
        "modbus",
        Carrier::Tcp,
        "0001 0000 0006 01 06 0001 0002",
        Some("write"),
        Some("write-single-register"),
    );
    check(
        "modbus",
        Carrier::Tcp,
        "0001 0000 0009 01 10 0001 0001 02 0003",
        Some("write"),
        Some("write-multiple-registers"),
    );
    check(
        "s7comm",
        Carrier::Tcp,
        "0300 0021 02f080 32 01 0000 0001 0010 0000 29 0000000000 09 505f50524f4752414d",
        Some("control"),
        Some("stop"),
    );
}
