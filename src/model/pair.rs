//! A hash of an unordered pair of hosts, by which work is divided: the same in every run, on every machine, and in the kernel.
//!
//! Where packets are spread over several rings, the kernel works it out in its classic BPF (`capture/fanout.rs`), whose arithmetic is that
//! of 32 bits: hence no better known hash.

use std::net::IpAddr;

use super::Host;

/// Odd numbers to multiply by: the golden ratio (Knuth), and the two of MurmurHash3's 32-bit finalizer.
pub const GOLDEN: u32 = 0x9e37_79b1;
/// The finalizer's.
pub const FINAL: [u32; 2] = [0xc2b2_ae35, 0x85eb_ca6b];
/// By which the words of a long address are folded into one.
pub const FOLD: u32 = 31;

/// The hash, of 16 bits, of two addresses as [`folded`]; the order of the two does not matter.
#[inline(always)]
pub fn of_pair(one: u32, other: u32) -> u32 {
    let mixed = one.min(other).wrapping_mul(GOLDEN).wrapping_add(one.max(other));
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(FINAL[0]);
    (mixed ^ mixed >> 13).wrapping_mul(FINAL[1]) >> 16
}

/// An address in one word. Addresses that coincide only put two pairs in one place.
#[inline]
pub fn folded(host: Host) -> u32 {
    let fold = |words: [u32; 4]| {
        words.into_iter().fold(0_u32, |folded, word| folded.wrapping_mul(FOLD).wrapping_add(word))
    };
    match host {
        Host::Ip(IpAddr::V4(ip)) => ip.to_bits(),
        Host::Ip(IpAddr::V6(ip)) => {
            let bits = ip.to_bits();
            fold([(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32])
        }
        Host::Mac(mac) => {
            let [a, b, c, d, e, f] = mac.0;
            fold([0, 0, u32::from_be_bytes([0, 0, a, b]), u32::from_be_bytes([c, d, e, f])])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_one_plant_are_spread_evenly() {
        let mut used = [0_u32; 64];
        let mut pairs = 0;
        for client in 0..64_u32 {
            for server in 0..64_u32 {
                let (one, other) = (0x0a14_0100 + client, 0x0a14_0900 + server);
                assert_eq!(of_pair(one, other), of_pair(other, one));
                used[(of_pair(one, other) % 64) as usize] += 1;
                pairs += 1;
            }
        }
        let fair = pairs / 64;
        assert!(used.iter().all(|&here| here > fair / 2 && here < fair * 2), "{used:?}");
    }
}
