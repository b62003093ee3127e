//! Flows of which there is but one SYN so far: what a sweep leaves behind, kept in a tenth of the room of a flow.
//!
//! Nothing is lost by it: the flow that the SYN opened can be built from what is kept, and is, as soon as anything else is heard of it.

use arrayvec::ArrayVec;

use crate::decode::Body;
use crate::decode::Context;
use crate::decode::EthernetAddresses;
use crate::decode::Frame;
use crate::decode::MOST_TUNNELS;
use crate::decode::MOST_VLANS;
use crate::decode::Network;
use crate::decode::Tcp;
use crate::decode::TcpFlags;
use crate::decode::Tunnel;
use crate::model::PacketRef;

use super::key::Half;
use super::key::Key;
use super::key::Place;
use super::live::Flow;
use super::table::Arrival;

/// The most kinds of tags and tunnels that are told apart here; a SYN in any other is kept as a flow.
const MOST_WRAPPINGS: usize = 256;
/// No neighbour in the list.
const NONE: u32 = u32::MAX;
/// FIN, SYN, RST and ACK (RFC 9293 section 3.1).
const FIN_SYN_RST_ACK: u8 = 0x17;
/// SYN alone.
const SYN: u8 = 0x02;

/// A SYN that nothing followed so far.
#[derive(Clone, Copy, Debug)]
pub struct Lone {
    pub(super) key: Key,
    /// The packet.
    pub at: PacketRef,
    /// Its length on the wire.
    pub original: u32,
    length: u32,
    sequence: u32,
    older: u32,
    newer: u32,
    window: u16,
    identification: u16,
    wrapping: u16,
    flags: u8,
    ttl: u8,
    from: Half,
    ethernet: Option<EthernetAddresses>,
}

/// The tags and tunnels around a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wrapping {
    vlans: ArrayVec<u16, MOST_VLANS>,
    tunnels: ArrayVec<Tunnel, MOST_TUNNELS>,
}

/// All such flows of one table, oldest first.
#[derive(Debug)]
pub(super) struct Lones {
    all: Vec<Lone>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    wrappings: Vec<Wrapping>,
}

impl Lones {
    pub fn new() -> Self {
        Self { all: Vec::new(), free: Vec::new(), oldest: NONE, newest: NONE, wrappings: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub fn get(&self, number: u32) -> Option<&Lone> {
        self.all.get(number as usize)
    }

    /// Keeps a packet's flow here where that loses nothing. Returns its number.
    pub fn keep(&mut self, place: &Place, arrival: &Arrival<'_>) -> Option<u32> {
        let frame = arrival.frame;
        let Body::Tcp(segment) = &frame.body else { return None };
        let network = frame.network?;
        let single = segment.flags.0 & FIN_SYN_RST_ACK == SYN && segment.payload_length == 0;
        if !single || arrival.copy || !arrival.pieces.is_empty() {
            return None;
        }
        let wrapping = self.wrapping(&frame.context)?;
        let lone = Lone {
            key: place.key,
            at: arrival.at,
            original: arrival.original,
            length: network.length,
            sequence: segment.sequence,
            older: self.newest,
            newer: NONE,
            window: segment.window,
            identification: network.identification,
            wrapping,
            flags: segment.flags.0,
            ttl: network.ttl,
            from: place.from,
            ethernet: frame.context.ethernet,
        };
        let number = match self.free.pop() {
            Some(number) => {
                *self.all.get_mut(number as usize)? = lone;
                number
            }
            None => {
                self.all.push(lone);
                u32::try_from(self.all.len() - 1).ok()?
            }
        };
        match self.all.get_mut(self.newest as usize) {
            Some(before) => before.newer = number,
            None => self.oldest = number,
        }
        self.newest = number;
        Some(number)
    }

    /// Takes one out.
    pub fn remove(&mut self, number: u32) -> Option<Lone> {
        let lone = *self.all.get(number as usize)?;
        match self.all.get_mut(lone.older as usize) {
            Some(older) => older.newer = lone.newer,
            None => self.oldest = lone.newer,
        }
        match self.all.get_mut(lone.newer as usize) {
            Some(newer) => newer.older = lone.older,
            None => self.newest = lone.older,
        }
        self.free.push(number);
        Some(lone)
    }

    /// Gives back the room of a fuller moment: places at the end that no SYN has.
    pub fn trim(&mut self) {
        self.free.sort_unstable();
        while self.free.last().is_some_and(|&last| last as usize + 1 == self.all.len()) {
            self.free.pop();
            self.all.pop();
        }
        self.all.shrink_to(2 * self.all.len());
        self.free.shrink_to(2 * self.free.len());
    }

    /// The oldest, by order of arrival.
    pub fn oldest(&self) -> Option<(u32, &Lone)> {
        Some((self.oldest, self.all.get(self.oldest as usize)?))
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Lone> {
        let mut next = self.oldest;
        std::iter::from_fn(move || {
            let lone = self.all.get(next as usize)?;
            next = lone.newer;
            Some(lone)
        })
    }

    /// The flow that the SYN opened, as if it had been kept as one.
    pub fn flow(&self, lone: &Lone) -> Flow {
        let place = Place::of_key(lone.key, lone.from);
        let wrapping = usize::from(lone.wrapping).checked_sub(1).and_then(|at| self.wrappings.get(at));
        let Wrapping { vlans, tunnels } = wrapping.cloned().unwrap_or_default();
        let (source, destination) = (place.source(), place.destination());
        let network = source.host.ip().zip(destination.host.ip()).map(|(source, destination)| Network {
            source,
            destination,
            ttl: lone.ttl,
            identification: lone.identification,
            length: lone.length,
        });
        let segment = Tcp {
            source: source.port.unwrap_or(0),
            destination: destination.port.unwrap_or(0),
            sequence: lone.sequence,
            acknowledgement: 0,
            flags: TcpFlags(lone.flags),
            window: lone.window,
            checksum: 0,
            payload: &[],
            payload_length: 0,
            selective: None,
        };
        let context = Context { ethernet: lone.ethernet, vlans, tunnels };
        let frame = Frame { context, network, body: Body::Tcp(segment) };
        let arrival =
            Arrival { at: lone.at, original: lone.original, pieces: &[], frame: &frame, copy: false };
        let mut flow = Flow::new(&place, &arrival);
        flow.take(place.from, &arrival);
        flow
    }

    /// The number of a wrapping: 0 is none, `None` where there is no more room for kinds.
    fn wrapping(&mut self, context: &Context) -> Option<u16> {
        if context.vlans.is_empty() && context.tunnels.is_empty() {
            return Some(0);
        }
        let same = |known: &Wrapping| known.vlans == context.vlans && known.tunnels == context.tunnels;
        let at = match self.wrappings.iter().position(same) {
            Some(at) => at,
            None if self.wrappings.len() >= MOST_WRAPPINGS => return None,
            None => {
                let (vlans, tunnels) = (context.vlans.clone(), context.tunnels.clone());
                self.wrappings.push(Wrapping { vlans, tunnels });
                self.wrappings.len() - 1
            }
        };
        u16::try_from(at + 1).ok()
    }
}

impl Lone {
    /// Where it belongs.
    pub fn place(&self) -> Place {
        Place::of_key(self.key, self.from)
    }
}
