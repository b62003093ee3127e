//! Bytes to headers: link types, VLAN tags, tunnels, IP, transports and ICMP quotes, as views that copy nothing.
//!
//! Opens nothing, keeps no clock, allocates nothing; the one state it has, [`Defragmenter`], is bounded.

mod frame;

pub use frame::*;
