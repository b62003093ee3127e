//! What blocks of pcapng say besides their packets: options and the records of names (draft-ietf-opsawg-pcapng sections 3.5 and 4.5).

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use pcap_parser::NameRecordType;
use pcap_parser::OptionCode;
use pcap_parser::PcapNGOption;

use crate::capture::walker::Order;

/// Option `epb_dropcount` of an enhanced packet block (section 4.3).
const DROP_COUNT: u16 = 4;

/// The value of the first option of that code, without its padding.
pub(super) fn option<'a>(options: &'a [PcapNGOption<'_>], code: OptionCode) -> Option<&'a [u8]> {
    options.iter().find(|option| option.code == code).and_then(|option| option.as_bytes().ok())
}

/// `epb_dropcount` among the options of a packet block, walked over without a list.
pub(super) fn drop_count(order: Order, mut options: &[u8]) -> Option<u64> {
    while let Some(([a, b, c, d], rest)) = options.split_first_chunk::<4>() {
        let (code, length) = (order.u16([*a, *b]), usize::from(order.u16([*c, *d])));
        match (code, rest.first_chunk::<8>()) {
            (0, _) => return None,
            (DROP_COUNT, Some(value)) if length == 8 => return Some(order.u64(*value)),
            _ => options = rest.get(length.next_multiple_of(4)..)?,
        }
    }
    None
}

/// The address and the names of a name resolution record (section 4.5).
pub(super) fn named(kind: NameRecordType, value: &[u8]) -> Option<impl Iterator<Item = (IpAddr, String)>> {
    let (address, names) = match kind {
        NameRecordType::Ipv4 => {
            let (address, names) = value.split_first_chunk::<4>()?;
            (IpAddr::V4(Ipv4Addr::from(*address)), names)
        }
        NameRecordType::Ipv6 => {
            let (address, names) = value.split_first_chunk::<16>()?;
            (IpAddr::V6(Ipv6Addr::from(*address)), names)
        }
        _ => return None,
    };
    let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Some(names.map(move |name| (address, String::from_utf8_lossy(name).into_owned())))
}
