//! Tests: messages built after specifications for what few recordings hold, each by itself proof and told rightly.

use super::Carrier;
use super::End;
use super::Probe;
use super::Proof;
use super::by_name;
use super::harness::hex;
use super::harness::probe_both;
use crate::model::EtherKind;

/// What the named protocol makes of these messages of a first and a second end.
fn proof(name: &str, carrier: Carrier, first: &[&str], second: &[&str]) -> Option<Proof> {
    let [first, second] = [first, second].map(|texts| texts.iter().map(|text| hex(text)).collect::<Vec<_>>());
    let [first, second] = [&first, &second].map(|side| side.iter().map(Vec::as_slice).collect::<Vec<_>>());
    probe_both(by_name(name).unwrap(), carrier, &first, &second).proof()
}

/// The same of one end's messages, which must prove it: who is the client, and a fact.
fn told(name: &str, carrier: Carrier, messages: &[&str], key: &str) -> (Option<End>, Option<String>) {
    let proof =
        proof(name, carrier, messages, &[]).unwrap_or_else(|| panic!("{name} does not know {messages:?}"));
    (proof.client, proof.facts.get(key).map(str::to_owned))
}

fn says(client: Option<End>, value: &str) -> (Option<End>, Option<String>) {
    (client, Some(value.to_owned()))
}

#[test]
fn modbus_encapsulated_interface() {
    // Read device identification (V1.1b3 section 6.21) is diagnostic; CANopen's general reference (section 6.20) needs its answer.
    let identification = told("modbus", Carrier::Tcp, &["0001 0000 0005 01 2b 0e 01 00"], "modbus.access");
    assert_eq!(identification, says(Some(End::First), "diagnostic"));
    let canopen = "0002 0000 0007 01 2b 0d 00 01 02 03";
    assert!(proof("modbus", Carrier::Tcp, &[canopen], &[]).is_none());
    assert!(proof("modbus", Carrier::Tcp, &[canopen], &["0002 0000 0007 01 2b 0d 00 01 02 04"]).is_some());
}

#[test]
fn s7_in_two_transport_units() {
    // A read (RFC 1006, X.224 section 13.7): the first unit does not end the message.
    let parts =
        ["0300 0011 02 f0 00 32010000010000 0e0000", "0300 0015 02 f0 80 0401120a1002000100008300 0000"];
    assert_eq!(told("s7comm", Carrier::Tcp, &parts, "s7.function"), says(Some(End::First), "read"));
}

#[test]
fn bacnet_across_broadcast_domains() {
    // Annex J.2.5, J.2.6 and J.2.10: forwarded, asked for by a foreign device, distributed.
    for (bytes, service) in [
        ("8104 0012 0a000001bac0 0120ffff00ff 1008", "who-is"),
        ("8105 0006 003c", "register-foreign-device"),
        ("8109 000c 0120ffff00ff 1008", "who-is"),
    ] {
        assert_eq!(told("bacnet", Carrier::Udp, &[bytes], "bacnet.service"), says(Some(End::First), service));
    }
}

#[test]
fn enip_identities_are_listed_over_udp() {
    // Volume 2, 2-4.2: a bare request; an answer of one item of type 0c.
    let head = |length: &str| format!("6300 {length} 00000000 00000000 0000000000000000 00000000");
    let request = told("enip", Carrier::Udp, &[&head("0000")], "enip.command");
    assert_eq!(request, says(Some(End::First), "list-identity"));
    let identity =
        "0100 0002 af12 0a000009 0000000000000000 0100 0e00 3600 1407 3000 12345678 04 4c4f4749 03";
    let answer = format!("{} 0100 0c00 2600 {identity}", head("2c00"));
    assert_eq!(
        told("enip", Carrier::Udp, &[&answer], "enip.command"),
        says(Some(End::Second), "list-identity")
    );
}

#[test]
fn opc_ua_messages_in_chunks() {
    // OPC 10000-6, 6.7.2: an intermediate chunk, and one that aborts.
    for chunk in ["43", "41"] {
        let bytes = format!("4d5347{chunk} 20000000 01000000 01000000 34000000 02000000 5a5a5a5a5a5a5a5a");
        assert!(proof("opc-ua", Carrier::Tcp, &[&bytes], &[]).is_some(), "{bytes}");
    }
}

#[test]
fn synchrophasor_configuration_3() {
    // IEEE C37.118.2-2011, 6.4: type 5, version 2.
    let frame = "aa52003a000760000000000000000001000f424000010753544154494f4e00070000000000000000000000000000000000020000000000000a66";
    for carrier in [Carrier::Tcp, Carrier::Udp] {
        assert_eq!(
            told("synchrophasor", carrier, &[frame], "synchrophasor.id"),
            says(Some(End::Second), "7")
        );
    }
}

#[test]
fn tftp_options_are_acknowledged() {
    // RFC 2347 and 2348: blksize 1428.
    let proof = proof("tftp", Carrier::Udp, &["0006 626c6b73697a6500 3134323800"], &[]).unwrap();
    assert_eq!(proof.client, Some(End::Second));
}

#[test]
fn ntp_with_network_time_security() {
    // RFC 8915 section 5.7: unique identifier, cookie, authenticator behind a question that says nothing (RFC 9109).
    let field = |kind: &str, length: usize| format!("{kind} {length:04x} {}", "5a".repeat(length - 4));
    let question = format!(
        "23 00 00 00 {} 1122334455667788 {} {} {}",
        "00".repeat(36),
        field("0104", 36),
        field("0204", 104),
        field("0404", 40)
    );
    assert_eq!(told("ntp", Carrier::Udp, &[&question], "ntp.mode"), says(Some(End::First), "client"));
}

#[test]
fn a_hello_with_post_quantum_keys_over_two_segments() {
    // RFC 8446 section 4.1.2 with a key share of X25519MLKEM768 (0x11ec), 1,216 bytes, and the versions behind it.
    let share = format!("0033 04c6 04c4 11ec 04c0 {}", "5a".repeat(1216));
    let extensions =
        format!("0000 000e 000c 00 0009 706c632e706c616e74 {share} 002b 0003 02 0304").replace(' ', "");
    let body =
        format!("0303 {} 00 0002 1301 01 00 {:04x} {extensions}", "11".repeat(32), extensions.len() / 2)
            .replace(' ', "");
    let length = body.len() / 2;
    let hello = hex(&format!("16 0301 {:04x} 01 {length:06x} {body}", length + 4));
    let (one, other) = hello.split_at(900);
    let probe = probe_both(by_name("tls").unwrap(), Carrier::Tcp, &[one, other], &[]);
    let Probe::Proven(proof) = probe else { panic!("{probe:?}") };
    assert_eq!(
        (proof.facts.get("tls.sni"), proof.facts.get("tls.offered")),
        (Some("plc.plant"), Some("1.3"))
    );
}

#[test]
fn smb_encrypted_and_compressed() {
    // [MS-SMB2] 2.2.41 and 2.2.42 behind a length (section 2.1).
    for magic in ["fd534d42", "fc534d42"] {
        let bytes = format!("00 000044 {magic} {}", "5a".repeat(64));
        assert!(proof("smb", Carrier::Tcp, &[&bytes], &[]).is_some(), "{magic}");
    }
}

#[test]
fn hart_ip_version_2() {
    let session = "02 00 00 00 0001 000d 01 00007530";
    assert_eq!(told("hart-ip", Carrier::Tcp, &[session], "hart-ip.version"), says(Some(End::First), "2"));
    // A direct PDU: device status, then command 0 and no data.
    let direct = "02 01 04 00 0002 000d 0000 0000 00";
    assert!(proof("hart-ip", Carrier::Tcp, &[direct, direct], &[]).is_some());
}

#[test]
fn dhcpv6_through_a_relay() {
    // RFC 8415 section 9: hops, link and peer address, the solicit inside option 9, the interface's id before it.
    let inner = "01 aabbcc 0001 000a 0003 0001 02000000000a 0008 0002 0000".replace(' ', "");
    let relayed = format!(
        "0c 00 {} {} 0012 0004 65746830 0009 {:04x} {inner}",
        "fd".repeat(16),
        "fe".repeat(16),
        inner.len() / 2
    );
    assert_eq!(
        told("dhcpv6", Carrier::Udp, &[&relayed], "dhcpv6.type"),
        says(Some(End::First), "relay-forward")
    );
}

#[test]
fn goose_of_a_simulation_and_sampled_values_of_a_merging_unit() {
    // IEC 61850-8-1 annex C: the simulation bit is the top one of the first reserved word.
    let goose = "3001 001c 8000 0000 61 12 80 05 412f4c4e30 81 01 09 82 03 412f44 83 01 49";
    let carrier = Carrier::Ethernet(EtherKind::Type(0x88b8));
    assert_eq!(told("goose", carrier, &[goose], "goose.control-block"), says(None, "A/LN0"));
    // 9-2LE: one ASDU with svID, smpCnt, confRev, smpSynch and 64 bytes of samples.
    let asdu = format!("80 04 4d553031 82 02 0001 83 04 00000001 85 01 01 87 40 {}", "00".repeat(64))
        .replace(' ', "");
    let inside = asdu.len() / 2;
    let pdu = format!("80 01 01 a2 {:02x} 30 {inside:02x} {asdu}", inside + 2).replace(' ', "");
    let frame = format!("4000 {:04x} 0000 0000 60 {:02x} {pdu}", 10 + pdu.len() / 2, pdu.len() / 2);
    let carrier = Carrier::Ethernet(EtherKind::Type(0x88ba));
    assert_eq!(told("sv", carrier, &[&frame], "sv.id"), says(None, "MU01"));
}
