//! From captured packets to the shards that have to do with them. Fragments are put together here, before anything is divided.

use crate::decode;
use crate::decode::Body;
use crate::decode::Defragmenter;
use crate::decode::FragmentBounds;
use crate::decode::Frame;
use crate::decode::Piece;
use crate::decode::Pushed;
use crate::decode::Whole;
use crate::model::Packet;
use crate::model::Tally;

use super::resolve;
use super::shard::SHARDS;
use super::shard::Tasks;

/// The shard that follows all address resolution: question and answer have different pairs of MAC addresses.
pub const RESOLVER: usize = 0;
/// How often a datagram put together may turn out to be a fragment of another one (a tunnel in fragments in a tunnel).
const MOST_NESTED: usize = decode::MOST_TUNNELS;

/// The reason that stands for more nesting than that.
const TOO_DEEP: &str = "too-many-layers";

/// A packet on its way to a shard.
pub enum Item<'a> {
    /// As captured.
    Captured(&'a Packet<'a>),
    /// Put together from fragments.
    Whole(&'a Whole),
}

/// Decodes packets that are not usual and tells shards about them.
pub struct Dispatcher {
    fragments: Defragmenter,
    /// What never reaches a shard.
    tally: Tally,
}

impl Dispatcher {
    /// A dispatcher with these bounds on fragments.
    pub fn new(bounds: FragmentBounds) -> Self {
        Self { fragments: Defragmenter::new(bounds), tally: Tally::default() }
    }

    /// Takes in one packet that is not a usual one ([`decode::plain()`]); `deliver` gets it once for each shard that has to do with it.
    pub fn take_unusual(
        &mut self,
        packet: &Packet<'_>,
        deliver: &mut impl FnMut(usize, Tasks, &Item<'_>, &Frame<'_>),
    ) {
        let frame = match decode::layered(packet) {
            Ok(frame) => frame,
            Err(why) => {
                self.tally.packets += 1;
                self.tally.undecodable(why.reason(), packet.at);
                return;
            }
        };
        if let Body::Fragment(_) = frame.body {
            let pushed = self.fragments.push(packet, &frame);
            self.pushed(pushed, packet, deliver);
            return;
        }
        route(&frame, &mut |shard, tasks| deliver(shard, tasks, &Item::Captured(packet), &frame));
    }

    /// What was counted here; the fragments that still wait are pending now.
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        let pending = self.fragments.pending();
        tally.packets += pending;
        tally.fragments_pending += pending;
        tally.copied_bytes += self.fragments.copied();
        tally
    }

    fn pushed(
        &mut self,
        mut pushed: Pushed,
        packet: &Packet<'_>,
        deliver: &mut impl FnMut(usize, Tasks, &Item<'_>, &Frame<'_>),
    ) {
        for _ in 0..=MOST_NESTED {
            match pushed {
                Pushed::Pending => return,
                Pushed::Duplicate => {
                    self.tally.packets += 1;
                    self.tally.duplicates += 1;
                    return;
                }
                Pushed::NotAFragment => return self.undecodable("bad-fragment", &[piece(packet)]),
                Pushed::Whole(whole) => {
                    let frame = match decode::decode_reassembled(&whole.context, &whole.packet) {
                        Ok(frame) => frame,
                        Err(why) => return self.undecodable(why.reason(), &whole.pieces),
                    };
                    if let Body::Fragment(_) = frame.body {
                        let next = self.fragments.push_pieces(&whole.pieces, &frame);
                        if let Pushed::Duplicate = next {
                            self.tally.packets += whole.pieces.len() as u64;
                            self.tally.duplicates += whole.pieces.len() as u64;
                            return;
                        }
                        pushed = next;
                        continue;
                    }
                    route(&frame, &mut |shard, tasks| deliver(shard, tasks, &Item::Whole(&whole), &frame));
                    return;
                }
            }
        }
        match pushed {
            Pushed::Whole(whole) => self.undecodable(TOO_DEEP, &whole.pieces),
            _ => self.undecodable(TOO_DEEP, &[piece(packet)]),
        }
    }

    fn undecodable(&mut self, reason: &'static str, pieces: &[Piece]) {
        for piece in pieces {
            self.tally.packets += 1;
            self.tally.undecodable(reason, piece.at);
        }
    }
}

fn piece(packet: &Packet<'_>) -> Piece {
    Piece { at: packet.at, original: packet.original }
}

/// The shard of a pair of hosts, by its hash.
#[inline(always)]
pub fn home(hash: u64) -> usize {
    (hash % SHARDS as u64) as usize
}

/// Which shards have to do with a frame, each once.
///
/// The pair of innermost hosts counts it. An ICMP error is tied to its flow where the pair that it quotes is at home.
pub fn route(frame: &Frame<'_>, deliver: &mut impl FnMut(usize, Tasks)) {
    let own = frame.hosts().map_or(0, |(one, other)| home(decode::shard_of_pair(one, other)));
    let quoted = match &frame.body {
        Body::Icmp(icmp) if icmp.quote.is_some() => Some(home(decode::shard_of(frame))),
        _ => None,
    };
    let resolves = resolve::concerns(frame);
    deliver(own, Tasks { count: true, tie: quoted == Some(own), resolve: resolves && own == RESOLVER });
    if let Some(quoted) = quoted.filter(|&quoted| quoted != own) {
        deliver(quoted, Tasks { count: false, tie: true, resolve: false });
    }
    if resolves && own != RESOLVER {
        deliver(RESOLVER, Tasks { count: false, tie: false, resolve: true });
    }
}
