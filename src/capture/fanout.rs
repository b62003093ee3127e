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
use nix::libc::BPF_JEQ;
use nix::libc::BPF_JGT;
use nix::libc::BPF_JMP;
use nix::libc::BPF_K;
use nix::libc::BPF_LD;
use nix::libc::BPF_LDX;
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

/// Scratch cells: one address, the other one, and a product on its way.
const ONE: u32 = 0;
const OTHER: u32 = 1;
const PRODUCT: u32 = 2;

/// The program for so many shards and rings. What is neither IPv4 nor IPv6 goes to the first ring, where address resolution is at home.
pub(super) fn program(shards: u32, rings: u32) -> Vec<sock_filter> {
    let mut code = vec![
        plain(BPF_LD | BPF_W | BPF_ABS, PROTOCOL),
        // Jumps count from the next instruction; that of IPv6 is set below.
        jump(IPV4, 0, 0),
    ];
    for (at, cell) in [(12, ONE), (16, OTHER)] {
        code.push(plain(BPF_LD | BPF_W | BPF_ABS, NETWORK + at));
        code.push(plain(BPF_ST, cell));
    }
    mix(&mut code, shards, rings);
    let ipv4 = code.len() - 2;
    code.push(jump(IPV6, 0, 0));
    let ask = code.len() - 1;
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
    mix(&mut code, shards, rings);
    let ipv6 = code.len() - ask - 1;
    code.push(plain(BPF_RET | BPF_K, 0));
    set_miss(&mut code, 1, ipv4);
    set_miss(&mut code, ask, ipv6);
    code
}

/// Hashes the two cells and says which ring.
fn mix(code: &mut Vec<sock_filter>, shards: u32, rings: u32) {
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
        plain(BPF_RET | BPF_A, 0),
    ]);
}

fn plain(code: u32, k: u32) -> sock_filter {
    // Every code of classic BPF has 8 bits.
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(equal: u32, hit: u8, miss: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | BPF_JEQ | BPF_K) as u16, jt: hit, jf: miss, k: equal }
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
}
