//! What libpcap has no call for: a capture socket bound to another interface, and several of them that share an interface's packets.

#![allow(unsafe_code, reason = "the kernel's calls take pointers; each is proved where it is made")]

use std::io;
use std::mem::size_of;

use nix::libc;
use pcap::Active;
use pcap::Capture;

/// Binds a capture socket to another interface, and asks for frames to other stations there.
///
/// The right to do so came with the socket: Linux asks for CAP_NET_RAW when a packet socket is made (net/packet/af_packet.c,
/// packet_create), not when it is bound. Its ring, filter and snap length stay. Sockets that share packets can't be bound again.
pub fn bind(socket: i32, interface: u32, promiscuous: bool) -> io::Result<()> {
    let index = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        // A protocol is in network byte order (packet(7)).
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer is to a whole `sockaddr_ll` that outlives the call, and the length given is its own.
    let done = unsafe {
        libc::bind(socket, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    told(done)?;
    if promiscuous {
        let member = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set(socket, libc::PACKET_ADD_MEMBERSHIP, &member)?;
    }
    Ok(())
}

/// Lets a socket share the packets of its interface with the others of one group, by a program in the kernel's classic BPF that says
/// for each packet which of them, counted in the order in which they joined. Returns the group, a new one where none is given.
pub fn share(socket: i32, group: Option<u16>, program: &[libc::sock_filter]) -> io::Result<u16> {
    let (id, flags) = match group {
        Some(id) => (id, 0),
        None => (0, FANOUT_UNIQUE_ID),
    };
    let word = u32::from(id) | (FANOUT_BY_PROGRAM | flags) << 16;
    set(socket, libc::PACKET_FANOUT, &word)?;
    if let Some(id) = group {
        return Ok(id);
    }
    // The kernel copies the program, whose length is its own, and writes nothing to it (fanout_set_data_cbpf).
    set(socket, PACKET_FANOUT_DATA, &whole(program)?)?;
    let mut word: u32 = 0;
    let mut length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, and `length` says how many bytes the first one has.
    let done = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw mut word).cast(),
            &raw mut length,
        )
    };
    told(done)?;
    // The lower half is the id.
    Ok(word as u16)
}

/// The filter that a socket has in the kernel; none lets everything in.
pub fn filter_of(socket: i32) -> io::Result<Vec<libc::sock_filter>> {
    let mut filter = Vec::new();
    // First how many instructions there are, then what they are: of this option the length counts instructions (net/core/filter.c, sk_get_filter).
    let count = get_filter(socket, &mut filter)?;
    filter.resize(count, libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 });
    let told = if count > 0 { get_filter(socket, &mut filter)? } else { 0 };
    filter.truncate(told);
    Ok(filter)
}

fn get_filter(socket: i32, room: &mut [libc::sock_filter]) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(room.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel writes no more instructions than `length` says there is room for, none where it is 0; both pointers are to live memory.
    let done = unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, SO_GET_FILTER, room.as_mut_ptr().cast(), &raw mut length)
    };
    told(done)?;
    Ok(length as usize)
}

/// Puts a filter in the place of the one that a socket has.
pub fn set_filter(socket: i32, program: &[libc::sock_filter]) -> io::Result<()> {
    let whole = whole(program)?;
    // SAFETY: the pointer is to a whole `sock_fprog` that outlives the call, as does the program, which the kernel copies (sk_attach_filter).
    let done = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const whole).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    told(done)
}

/// A program as the kernel takes it. The pointer is to write through as C has it; nothing is written.
fn whole(program: &[libc::sock_filter]) -> io::Result<libc::sock_fprog> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(libc::sock_fprog { len, filter: program.as_ptr().cast_mut() })
}

/// Who can put the time on an interface's packets, in the words of pcap-tstamp(7): numbers of PCAP_TSTAMP_*.
pub fn clocks(capture: &Capture<Active>) -> Vec<i32> {
    let mut list: *mut i32 = std::ptr::null_mut();
    // SAFETY: the handle is open for as long as `capture` is borrowed; libpcap sets `list` to an array of as many numbers as it returns,
    // or returns 0 or less and sets nothing that is read here (pcap_list_tstamp_types(3PCAP)).
    let told = unsafe {
        let count = pcap_list_tstamp_types(capture.as_ptr().cast(), &raw mut list);
        match usize::try_from(count) {
            Ok(count) if count > 0 && !list.is_null() => std::slice::from_raw_parts(list, count).to_vec(),
            _ => Vec::new(),
        }
    };
    // SAFETY: the array came from libpcap, is not used any more, and null is allowed.
    unsafe { pcap_free_tstamp_types(list) };
    told
}

// Not in the pcap crate, which links the library that has them.
unsafe extern "C" {
    fn pcap_list_tstamp_types(handle: *mut libc::c_void, list: *mut *mut i32) -> i32;
    fn pcap_free_tstamp_types(list: *mut i32);
}

/// linux/if_packet.h: PACKET_FANOUT_CBPF, and PACKET_FANOUT_FLAG_UNIQUEID.
const FANOUT_BY_PROGRAM: u32 = 6;
const FANOUT_UNIQUE_ID: u32 = 0x2000;
/// asm-generic/socket.h: the same number as SO_ATTACH_FILTER, told apart by reading it.
const SO_GET_FILTER: i32 = libc::SO_ATTACH_FILTER;
/// linux/if_packet.h.
const PACKET_FANOUT_DATA: i32 = 22;

fn set<T>(socket: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a whole `T` that outlives the call, and the length given is its own. Callers pass the type that the
    // option is documented to take (packet(7)).
    let done = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    told(done)
}

fn told(done: i32) -> io::Result<()> {
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
