//! The program that spreads an interface's packets over rings, in the kernel's classic BPF: it works out the same hash of the two
//! addresses as the pipeline does (`model/pair.rs`), so that a ring holds whole host pairs and its worker has them at home.
//!
//! It sees no further than the outer IP header. What is inside tunnels, and ICMP errors about others, reach the ring of the outer pair and
//! are handed on as copies.

use nix::libc::BPF_A;
use nix::libc::BPF_ABS;
use nix::libc::BPF_ADD;
use nix::libc::BPF_ALU;
use nix::libc::BPF_AND;
use nix::libc::BPF_JA;
use nix::libc::BPF_JEQ;
use nix::libc::BPF_JGE;
use nix::libc::BPF_JGT;
use nix::libc::BPF_JMP;
use nix::libc::BPF_K;
use nix::libc::BPF_LD;
use nix::libc::BPF_LDX;
use nix::libc::BPF_LEN;
use nix::libc::BPF_MEM;
use nix::libc::BPF_MISC;
use nix::libc::BPF_MOD;
use nix::libc::BPF_MUL;
use nix::libc::BPF_RET;
use nix::libc::BPF_RSH;
use nix::libc::BPF_ST;
use nix::libc::BPF_STX;
use nix::libc::BPF_TAX;
use nix::libc::BPF_W;
use nix::libc::BPF_X;
use nix::libc::BPF_XOR;
use nix::libc::sock_filter;

use crate::model::pair::FINAL;
use crate::model::pair::FOLD;
use crate::model::pair::GOLDEN;

/// linux/filter.h: the packet's ethertype, and where its network header begins.
const PROTOCOL: u32 = 0xffff_f000;
const NETWORK: u32 = 0xfff0_0000;

/// Ethertypes.
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;

/// The shortest frames that hold both addresses: an Ethernet header with two tags, and the header of IPv4 or IPv6.
const LEAST_IPV4: u32 = 22 + 20;
const LEAST_IPV6: u32 = 22 + 40;

/// Scratch cells: one address, the other one, and a product on its way.
const ONE: u32 = 0;
const OTHER: u32 = 1;
const PRODUCT: u32 = 2;

/// The program for so many shards and rings. What is neither IPv4 nor IPv6 goes to the first ring, where address resolution is at home.
pub(super) fn program(shards: u32, rings: u32) -> Vec<sock_filter> {
    spread(shards, rings, &[plain(BPF_RET | BPF_A, 0)], &[plain(BPF_RET | BPF_K, 0)], &[], &[])
}

/// A filter that lets in what the program gives to one ring, and of that what another filter lets in: for sockets that share no packets, each
/// of which sees all. What is too short to have its addresses loaded, on which a filter ends, goes to the first ring.
pub(super) fn filter(shards: u32, rings: u32, ring: u32, and: &[sock_filter]) -> Vec<sock_filter> {
    let refuse = plain(BPF_RET | BPF_K, 0);
    // Where these jumps go is set below.
    let ours = [jump(ring, 0, 1), plain(BPF_JMP | BPF_JA, 0), refuse];
    let rest: &[sock_filter] = if ring == 0 { &ours[1..2] } else { &ours[2..] };
    let long_enough = |least: u32| [plain(BPF_LD | BPF_LEN, 0), at_least(least)];
    let mut code = spread(shards, rings, &ours, rest, &long_enough(LEAST_IPV4), &long_enough(LEAST_IPV6));
    let end = code.len();
    for (at, one) in code.iter_mut().enumerate().filter(|(_, one)| u32::from(one.code) == BPF_JMP | BPF_JA) {
        one.k = u32::try_from(end - at - 1).unwrap_or(0);
    }
    match and {
        // linux/if_packet.h: any number beyond a packet's length lets all of it in.
        [] => code.push(plain(BPF_RET | BPF_K, u32::MAX)),
        _ => code.extend_from_slice(and),
    }
    code
}

/// The code that works out the ring: what it does with it, what it does with all else, and what it asks before it loads addresses.
fn spread(
    shards: u32,
    rings: u32,
    end: &[sock_filter],
    rest: &[sock_filter],
    before_ipv4: &[sock_filter],
    before_ipv6: &[sock_filter],
) -> Vec<sock_filter> {
    let mut code = vec![
        plain(BPF_LD | BPF_W | BPF_ABS, PROTOCOL),
        // Jumps count from the next instruction; those that miss are set below.
        jump(IPV4, 0, 0),
    ];
    let mut misses = vec![1];
    misses.extend((!before_ipv4.is_empty()).then(|| code.len() + before_ipv4.len() - 1));
    code.extend_from_slice(before_ipv4);
    for (at, cell) in [(12, ONE), (16, OTHER)] {
        code.push(plain(BPF_LD | BPF_W | BPF_ABS, NETWORK + at));
        code.push(plain(BPF_ST, cell));
    }
    mix(&mut code, shards, rings, end);
    let ipv6 = code.len();
    code.push(plain(BPF_LD | BPF_W | BPF_ABS, PROTOCOL));
    code.push(jump(IPV6, 0, 0));
    let mut last = vec![ipv6 + 1];
    last.extend((!before_ipv6.is_empty()).then(|| code.len() + before_ipv6.len() - 1));
    code.extend_from_slice(before_ipv6);
    for (at, cell) in [(8, ONE), (24, OTHER)] {
        code.push(plain(BPF_LD | BPF_W | BPF_ABS, NETWORK + at));
        for word in 1..4 {
            code.push(plain(BPF_ALU | BPF_MUL | BPF_K, FOLD));
            code.push(plain(BPF_ST, PRODUCT));
            code.push(plain(BPF_LD | BPF_W | BPF_ABS, NETWORK + at + 4 * word));
            code.push(plain(BPF_LDX | BPF_MEM, PRODUCT));
            code.push(plain(BPF_ALU | BPF_ADD | BPF_X, 0));
        }
        code.push(plain(BPF_ST, cell));
    }
    mix(&mut code, shards, rings, end);
    let other = code.len();
    code.extend_from_slice(rest);
    misses.into_iter().for_each(|at| set_miss(&mut code, at, ipv6 - at - 1));
    last.into_iter().for_each(|at| set_miss(&mut code, at, other - at - 1));
    code
}

/// Hashes the two cells to a ring, and ends with what is done with it.
fn mix(code: &mut Vec<sock_filter>, shards: u32, rings: u32, end: &[sock_filter]) {
    code.extend([
        // The smaller one first.
        plain(BPF_LD | BPF_MEM, ONE),
        plain(BPF_LDX | BPF_MEM, OTHER),
        sock_filter { code: (BPF_JMP | BPF_JGT | BPF_X) as u16, jt: 0, jf: 2, k: 0 },
        plain(BPF_ST, OTHER),
        plain(BPF_STX, ONE),
        plain(BPF_LD | BPF_MEM, ONE),
        plain(BPF_ALU | BPF_MUL | BPF_K, GOLDEN),
        plain(BPF_LDX | BPF_MEM, OTHER),
        plain(BPF_ALU | BPF_ADD | BPF_X, 0),
        plain(BPF_MISC | BPF_TAX, 0),
        plain(BPF_ALU | BPF_RSH | BPF_K, 15),
        plain(BPF_ALU | BPF_XOR | BPF_X, 0),
        plain(BPF_ALU | BPF_MUL | BPF_K, FINAL[0]),
        plain(BPF_MISC | BPF_TAX, 0),
        plain(BPF_ALU | BPF_RSH | BPF_K, 13),
        plain(BPF_ALU | BPF_XOR | BPF_X, 0),
        plain(BPF_ALU | BPF_MUL | BPF_K, FINAL[1]),
        plain(BPF_ALU | BPF_RSH | BPF_K, 16),
        // A power of two, as the pipeline's number of shards is.
        plain(BPF_ALU | BPF_AND | BPF_K, shards - 1),
        plain(BPF_ALU | BPF_MOD | BPF_K, rings),
    ]);
    code.extend_from_slice(end);
}

fn plain(code: u32, k: u32) -> sock_filter {
    // Every code of classic BPF has 8 bits.
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(equal: u32, hit: u8, miss: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | BPF_JEQ | BPF_K) as u16, jt: hit, jf: miss, k: equal }
}

/// Goes on where the accumulator is no less, else to where misses go.
fn at_least(least: u32) -> sock_filter {
    sock_filter { code: (BPF_JMP | BPF_JGE | BPF_K) as u16, jt: 0, jf: 0, k: least }
}

fn set_miss(code: &mut [sock_filter], at: usize, miss: usize) {
    if let Some(jump) = code.get_mut(at) {
        jump.jf = u8::try_from(miss).unwrap_or(u8::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::model::Host;
    use crate::model::pair::folded;
    use crate::model::pair::of_pair;

    /// The kernel's interpreter for what the program uses (net/core/filter.c), over an IP packet of that ethertype.
    ///
    /// A frame is said to have an Ethernet header with two tags.
    fn run(code: &[sock_filter], ethertype: u32, packet: &[u8]) -> u32 {
        let (mut a, mut x, mut cells, mut at) = (0_u32, 0_u32, [0_u32; 16], 0);
        loop {
            let one = code[at];
            at += 1;
            match u32::from(one.code) {
                c if c == BPF_LD | BPF_W | BPF_ABS && one.k == PROTOCOL => a = ethertype,
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    let from = (one.k - NETWORK) as usize;
                    let Some(word) = packet.get(from..from + 4) else { return 0 };
                    a = u32::from_be_bytes(word.try_into().unwrap());
                }
                c if c == BPF_LD | BPF_LEN => a = 22 + packet.len() as u32,
                c if c == BPF_JMP | BPF_JA => at += one.k as usize,
                c if c == BPF_JMP | BPF_JGE | BPF_K => {
                    at += usize::from(if a >= one.k { one.jt } else { one.jf });
                }
                c if c == BPF_LD | BPF_MEM => a = cells[one.k as usize],
                c if c == BPF_LDX | BPF_MEM => x = cells[one.k as usize],
                c if c == BPF_ST => cells[one.k as usize] = a,
                c if c == BPF_STX => cells[one.k as usize] = x,
                c if c == BPF_MISC | BPF_TAX => x = a,
                c if c == BPF_JMP | BPF_JGT | BPF_X => {
                    at += usize::from(if a > x { one.jt } else { one.jf });
                }
                c if c == BPF_ALU | BPF_XOR | BPF_X => a ^= x,
                c if c == BPF_ALU | BPF_ADD | BPF_X => a = a.wrapping_add(x),
                c if c == BPF_ALU | BPF_MUL | BPF_K => a = a.wrapping_mul(one.k),
                c if c == BPF_ALU | BPF_RSH | BPF_K => a >>= one.k,
                c if c == BPF_ALU | BPF_AND | BPF_K => a &= one.k,
                c if c == BPF_ALU | BPF_MOD | BPF_K => a %= one.k,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if a == one.k { one.jt } else { one.jf });
                }
                c if c == BPF_RET | BPF_A => return a,
                c if c == BPF_RET | BPF_K => return one.k,
                other => panic!("code {other:#x}"),
            }
        }
    }

    fn ring(one: u32, other: u32, rings: u32) -> u32 {
        of_pair(one, other) % 64 % rings
    }

    #[test]
    fn both_directions_of_a_pair_go_where_the_pair_is_at_home() {
        for rings in [2, 3, 4] {
            let code = program(64, rings);
            let mut used = [0; 4];
            for number in 0..2000_u32 {
                let (one, other) = (0x0a00_0000 + number * 77, 0xc0a8_0000 + number % 13);
                let mut there = vec![0x45; 12];
                there.extend(one.to_be_bytes().iter().chain(&other.to_be_bytes()));
                let mut back = vec![0x45; 12];
                back.extend(other.to_be_bytes().iter().chain(&one.to_be_bytes()));
                let expected = ring(one, other, rings);
                assert_eq!(run(&code, IPV4, &there), expected);
                assert_eq!(run(&code, IPV4, &back), expected);
                used[expected as usize] += 1;
            }
            assert!(used[..rings as usize].iter().all(|used| *used > 2000 / rings / 2), "{used:?}");
        }
    }

    #[test]
    fn ipv6_is_folded_and_the_rest_goes_to_the_first_ring() {
        let code = program(64, 4);
        let mut used = [0; 4];
        for number in 0..400_u16 {
            let one = Ipv6Addr::new(0x2001, 0xdb8, number, 1, 2, 3, number.wrapping_mul(0x1357), number);
            let other = Ipv6Addr::new(0xfe80, 0, 0, number / 7, 5, 6, 7, 8);
            let mut packet = vec![0x60; 8];
            packet.extend(one.octets().iter().chain(&other.octets()));
            let expected = ring(folded(Host::Ip(one.into())), folded(Host::Ip(other.into())), 4);
            assert_eq!(run(&code, IPV6, &packet), expected);
            used[expected as usize] += 1;
        }
        assert!(used.iter().all(|used| *used > 40), "{used:?}");
        assert_eq!(run(&code, 0x0806, &[1; 40]), 0);
        // A header that ends too early.
        assert_eq!(run(&code, IPV4, &[0x45; 14]), 0);
    }

    #[test]
    fn filters_let_every_packet_in_once_and_where_the_program_sends_it() {
        // What another filter lets in: packets whose time to live is not 1.
        let and = [
            plain(BPF_LD | BPF_W | BPF_ABS, NETWORK + 8),
            plain(BPF_ALU | BPF_RSH | BPF_K, 24),
            jump(1, 1, 0),
            plain(BPF_RET | BPF_K, 262_144),
            plain(BPF_RET | BPF_K, 0),
        ];
        for rings in [2, 3, 8] {
            let code = program(64, rings);
            let filters: Vec<_> = (0..rings).map(|ring| filter(64, rings, ring, &[])).collect();
            let narrow: Vec<_> = (0..rings).map(|ring| filter(64, rings, ring, &and)).collect();
            for number in 0..600_u32 {
                let mut packet: Vec<u8> = (0..40).map(|at| (number * 31 + at * at * 7) as u8).collect();
                packet[8] = (number % 2 + 1) as u8;
                let ethertype = [IPV4, IPV6, 0x0806][number as usize % 3];
                let short = number % 5 == 0;
                packet.truncate(if short { 12 } else { 40 });
                let home = run(&code, ethertype, &packet);
                let lets = |filters: &[Vec<sock_filter>]| -> Vec<u32> {
                    (0..)
                        .zip(filters)
                        .filter(|(_, code)| run(code, ethertype, &packet) > 0)
                        .map(|(ring, _)| ring)
                        .collect()
                };
                assert_eq!(lets(&filters), [home], "{number} of {rings}");
                let passes = packet[8] != 1;
                assert_eq!(lets(&narrow), if passes { vec![home] } else { vec![] }, "{number} of {rings}");
            }
        }
    }
}
