//! The loop that walks from the outermost layer to the innermost, within bounds and without recursion.

use super::Body;
use super::Context;
use super::Frame;
use super::Network;
use super::Tunnel;
use super::Undecodable;
use super::part::Part;
use super::{ethernet, ip};

/// The most steps in one packet: tags, encapsulations and IP headers together.
const MOST_STEPS: usize = 40;

/// A layer still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layer<'a> {
    /// An Ethernet header.
    Ethernet(Part<'a>),
    /// What an ethertype (or an 802.3 length) says.
    Ethertype(u16, Part<'a>),
    /// IP of either version.
    Ip(Part<'a>),
    /// Nothing that could be walked into.
    Body(Body<'a>),
}

/// What reading one layer leads to.
#[derive(Clone, Debug)]
pub(super) enum Step<'a> {
    /// Another layer of the same frame.
    Next(Layer<'a>),
    /// The end.
    Done(Option<Network>, Body<'a>),
    /// An encapsulation.
    Tunnel {
        /// What wraps.
        tunnel: Tunnel,
        /// What is wrapped.
        inner: Layer<'a>,
        /// Whether the layer below names the encapsulation (a protocol number, an ethertype). A UDP port names nothing.
        named: bool,
        /// What the packet is where the inside proves to be something else.
        network: Option<Network>,
        /// Its body then.
        body: Body<'a>,
    },
}

/// Walks to the innermost frame.
pub(super) fn walk<'a>(mut context: Context, mut layer: Layer<'a>) -> Result<Frame<'a>, Undecodable> {
    // The frame around the encapsulation that is being walked into, should that one prove to be none.
    let mut around: Option<(bool, Frame<'a>)> = None;
    for _ in 0..MOST_STEPS {
        let step = match layer {
            Layer::Ethernet(part) => ethernet::header(&mut context, part),
            Layer::Ethertype(number, part) => ethernet::payload(&mut context, number, part),
            Layer::Ip(part) => ip::either(part),
            Layer::Body(body) => Ok(Step::Done(None, body)),
        };
        match step {
            Ok(Step::Next(next)) => layer = next,
            Ok(Step::Done(network, body)) => return Ok(Frame { context, network, body }),
            Ok(Step::Tunnel { tunnel, inner, named, network, body }) => {
                let outer = context.clone();
                context.tunnels.try_push(tunnel).map_err(|_| Undecodable::TooManyLayers)?;
                around = Some((named, Frame { context: outer, network, body }));
                layer = inner;
            }
            Err(reason) => {
                return match (around, reason) {
                    // The encapsulation is certain and the capture too short to see inside: say so.
                    (Some((true, _)), Undecodable::Truncated(_)) | (None, _) => Err(reason),
                    (Some((_, frame)), _) => Ok(frame),
                };
            }
        }
    }
    Err(Undecodable::TooManyLayers)
}
