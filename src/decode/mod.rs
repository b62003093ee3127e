//! Bytes to headers: link types, VLAN tags, tunnels, IP, transports and ICMP quotes, as views that copy nothing.
//!
//! Opens nothing and keeps no clock; decoding allocates nothing. The one state here, [`Defragmenter`], is bounded.

mod datagram;
mod erf;
mod ethernet;
mod fragment;
mod frame;
mod icmp;
mod ip;
mod l2tp;
mod link;
mod mpls;
mod part;
mod plain;
mod shard;
mod transport;
mod tunnel;
mod undecodable;
mod walk;
mod wireless;

#[cfg(test)]
mod tests;

pub use fragment::*;
pub use frame::*;
pub use plain::Plain;
pub use plain::is_real_time;
pub use plain::plain;
pub use plain::plain_longer;
pub use plain::plain_v4;
pub use shard::shard_of;
pub use shard::shard_of_pair;
pub use undecodable::*;

use crate::model::Packet;

use part::Part;
use walk::Layer;

/// Reads the headers of a captured packet down to its innermost frame.
///
/// What a snap length cut off is no error as long as the transport ports are there: payloads then are shorter than the
/// lengths beside them say. Encapsulations are walked into only where their own fields prove them; otherwise the packet
/// is what its outer headers say.
#[inline]
pub fn decode<'a>(packet: &Packet<'a>) -> Result<Frame<'a>, Undecodable> {
    match plain::plain(packet) {
        Some(plain) => Ok(plain.frame()),
        None => layered(packet),
    }
}

/// Reads any packet, layer by layer: what [`decode`] does with one that is not [`plain()`].
#[inline(never)]
pub fn layered<'a>(packet: &Packet<'a>) -> Result<Frame<'a>, Undecodable> {
    let mut context = Context::default();
    let layer = link::layer(&mut context, packet.link, Part::new(packet.bytes, packet.original))?;
    walk::walk(context, layer)
}

/// Reads a datagram that [`Defragmenter`] made whole, within the layers in which its fragments were found.
pub fn decode_reassembled<'a>(context: &Context, ip_packet: &'a [u8]) -> Result<Frame<'a>, Undecodable> {
    walk::walk(context.clone(), Layer::Ip(Part::new(ip_packet, 0)))
}
