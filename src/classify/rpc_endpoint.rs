//! Where DCE/RPC answers name dynamic ports: protocol towers of the endpoint mapper, and string bindings of DCOM.

use std::net::IpAddr;
use std::net::Ipv4Addr;

use super::bytes::Reader;
use crate::model::Transport;

/// Floors of a tower over IP: interface, transfer syntax, RPC protocol, port, address (C706 appendix L).
const FLOORS: [u8; 2] = [5, 0];
/// Protocol identifiers (C706 appendix I).
const UUID_FLOOR: u8 = 0x0d;
const CONNECTION_ORIENTED: u8 = 0x0b;
const CONNECTIONLESS: u8 = 0x0a;
const TCP_FLOOR: u8 = 0x07;
const UDP_FLOOR: u8 = 0x08;
const IP_FLOOR: u8 = 0x09;
/// The tower identifier of `ncacn_ip_tcp` in a DCOM string binding (MS-DCOM 2.2.19.3).
const NCACN_IP_TCP: [u8; 2] = [0x07, 0x00];
/// The longest network address read of a string binding, in characters: a DNS name and a port.
const LONGEST_ADDRESS: usize = 263;
/// The most endpoints taken from one message.
const MOST: usize = 64;

/// Calls `each` with transport, port and address of every tower in a response's stub data.
///
/// Towers are found by their fixed beginning rather than by decoding the stub, whose layout differs between NDR and NDR64.
pub(super) fn towers(stub: &[u8], mut each: impl FnMut(Transport, u16, Option<Ipv4Addr>)) {
    let mut told = 0;
    for (at, head) in stub.windows(5).enumerate() {
        // Five floors, the first with a left side of 19 bytes that begins with the identifier of a UUID.
        if head == [FLOORS[0], FLOORS[1], 0x13, 0x00, UUID_FLOOR]
            && let Some((transport, port, address)) = stub.get(at + 2..).and_then(tower)
            && told < MOST
        {
            told += 1;
            each(transport, port, address);
        }
    }
}

/// The floors of one tower; `None` unless they are those of RPC over TCP or UDP over IPv4 with a port.
fn tower(bytes: &[u8]) -> Option<(Transport, u16, Option<Ipv4Addr>)> {
    let mut reader = Reader::new(bytes);
    let mut floor = |left: usize, right: usize| {
        let (left_length, side) = (reader.le16()?, reader.take(left)?);
        let (right_length, value) = (reader.le16()?, reader.take(right)?);
        let fits = usize::from(left_length) == left && usize::from(right_length) == right;
        fits.then_some((*side.first()?, value))
    };
    if floor(19, 2)?.0 != UUID_FLOOR || floor(19, 2)?.0 != UUID_FLOOR {
        return None;
    }
    let (rpc, _) = floor(1, 2)?;
    let (carrier, port) = floor(1, 2)?;
    let (network, address) = floor(1, 4)?;
    let transport = match (rpc, carrier) {
        (CONNECTION_ORIENTED, TCP_FLOOR) => Transport::Tcp,
        (CONNECTIONLESS, UDP_FLOOR) => Transport::Udp,
        _ => return None,
    };
    let port = u16::from_be_bytes(*port.first_chunk()?);
    let address = Ipv4Addr::from(*address.first_chunk::<4>()?);
    (network == IP_FLOOR && port != 0).then_some((
        transport,
        port,
        (!address.is_unspecified()).then_some(address),
    ))
}

/// Calls `each` with port and address of every `ncacn_ip_tcp` string binding that names a port: `10.0.0.1[49664]`.
///
/// Host names give a port without an address.
pub(super) fn bindings(stub: &[u8], mut each: impl FnMut(u16, Option<IpAddr>)) {
    let mut told = 0;
    for (at, head) in stub.windows(2).enumerate() {
        if head == NCACN_IP_TCP
            && told < MOST
            && let Some((port, address)) = stub.get(at + 2..).and_then(binding)
        {
            told += 1;
            each(port, address);
        }
    }
}

/// A network address in UTF-16 that ends with a port in brackets and a zero.
fn binding(bytes: &[u8]) -> Option<(u16, Option<IpAddr>)> {
    let mut text = [0_u8; LONGEST_ADDRESS];
    let mut length = 0;
    for (unit, slot) in bytes.chunks_exact(2).zip(&mut text) {
        match unit {
            [0, 0] => break,
            [letter, 0] if letter.is_ascii_alphanumeric() || b".:-_[]%".contains(letter) => *slot = *letter,
            _ => return None,
        }
        length += 1;
    }
    let text = std::str::from_utf8(text.get(..length)?).ok()?;
    let (host, port) = text.strip_suffix(']')?.rsplit_once('[')?;
    if host.is_empty()
        || port.is_empty()
        || port.len() > 5
        || bytes.get(2 * length..2 * length + 2) != Some(&[0, 0])
    {
        return None;
    }
    let port = port.parse::<u16>().ok().filter(|&port| port != 0)?;
    Some((port, host.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn string_bindings_name_ports() {
        let mut stub = vec![0x21, 0, 0x18, 0, 7, 0];
        stub.extend(utf16("WIN-PLANT[49702]\0"));
        stub.extend([7, 0]);
        stub.extend(utf16("10.20.7.41[49702]\0"));
        stub.extend([7, 0]);
        stub.extend(utf16("10.20.7.42\0"));
        stub.extend([7, 0]);
        stub.extend(utf16("10.20.7.43[70000]\0"));
        let mut told = Vec::new();
        bindings(&stub, |port, address| told.push((port, address)));
        assert_eq!(told, [(49702, None), (49702, Some("10.20.7.41".parse().unwrap()))]);
    }

    #[test]
    fn a_binding_without_its_end_is_none() {
        let mut stub = vec![7, 0];
        stub.extend(utf16("10.20.7.41[49702]"));
        bindings(&stub, |port, _| panic!("{port}"));
    }
}
