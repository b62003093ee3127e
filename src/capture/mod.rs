//! Bytes with their time: the only opener of captures. Files are told apart by content, never by name.
//!
//! [`open`] turns paths into one stream of packets merged by time; [`open_live`] listens to an interface (feature `live`).
//! Inside, a walker finds the records in a block of bytes and does no reading itself; a reader feeds it from a file,
//! through decompression where the file is packed; the merge chooses whose packet comes next.

mod ahead;
mod block;
mod clock;
#[cfg(feature = "live")]
mod fanout;
mod filter;
mod foreign;
#[cfg(feature = "live")]
mod live;
#[cfg(feature = "live")]
mod live_group;
mod merge;
mod open;
mod packed;
mod pcap;
mod pcapng;
mod reader;
#[cfg(feature = "live")]
mod socket;
mod source;
mod stretch;
mod tap;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod walker;
#[cfg(feature = "live")]
mod wire;

#[cfg(feature = "live")]
pub use live::*;
#[cfg(feature = "live")]
pub use live_group::*;
pub use merge::*;
pub use open::*;
pub use source::*;
