//! One flow while it lives: what each end sent so far, and the errors that quote it.

use std::time::Duration;

use crate::decode::Body;
use crate::decode::Context;
use crate::decode::Icmp;
use crate::model::CellId;
use crate::model::Endpoint;
use crate::model::IcmpError;
use crate::model::PacketRef;
use crate::model::Series;
use crate::model::Transport;

use super::key::Half;
use super::key::Pair;
use super::key::Place;
use super::side::Side;
use super::table::Arrival;
use super::table::Limits;
use super::tcp;
use super::tcp::Look;

/// The most ICMP errors kept of one flow.
pub const MOST_ERRORS: usize = 4;

/// An ICMP error tied to a flow whose roles are not told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedError {
    /// The error; its role is filled in when the flow is told.
    pub error: IcmpError,
    /// Which end's packet it quotes.
    pub quotes: Half,
}

/// One flow while it lives.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The address space.
    pub cell: CellId,
    /// What carries it.
    pub transport: Transport,
    /// The two ends.
    pub ends: Pair<Endpoint>,
    /// What each sent.
    pub sides: Pair<Side>,
    /// The end heard first.
    pub first_from: Half,
    /// The end that stands for many machines, where one does.
    pub group: Option<Half>,
    /// First packet.
    pub first: PacketRef,
    /// Last packet.
    pub last: PacketRef,
    /// VLAN tags and tunnels of the first packet, where there were any.
    pub context: Option<Box<Context>>,
    /// ICMP errors quoting it.
    pub errors: Vec<QuotedError>,
}

impl Flow {
    pub(super) fn new(place: &Place, arrival: &Arrival<'_>) -> Self {
        let first = arrival.pieces.iter().map(|piece| piece.at).min().unwrap_or(arrival.at);
        let context = &arrival.frame.context;
        let named = !context.vlans.is_empty() || !context.tunnels.is_empty();
        let receiver = place.from.other();
        // A directed broadcast shows by its MAC address alone.
        let by_mac = context.ethernet.is_some_and(|ethernet| ethernet.destination.is_group());
        let group = (by_mac || place.destination().host.is_group()).then_some(receiver);
        Self {
            cell: place.cell,
            transport: place.transport,
            ends: place.ends,
            sides: Pair::default(),
            first_from: place.from,
            group,
            first,
            last: first,
            context: named.then(|| Box::new(context.clone())),
            errors: Vec::new(),
        }
    }

    /// Takes in one packet of the flow.
    pub(super) fn take(&mut self, from: Half, arrival: &Arrival<'_>) {
        let (me, peer) = self.sides.split_mut(from);
        if arrival.pieces.is_empty() {
            me.count(arrival.at, arrival.original);
        } else {
            for piece in arrival.pieces {
                me.count(piece.at, piece.original);
            }
        }
        self.last = self.last.max(arrival.at);
        if arrival.copy {
            return;
        }
        let frame = arrival.frame;
        let reset = matches!(frame.body, Body::Tcp(tcp) if tcp.flags.rst());
        if !reset && me.ttl.is_none() && me.mac.is_none() {
            me.ttl = frame.network.map(|network| network.ttl);
            me.mac = frame.context.ethernet.map(|ethernet| ethernet.source);
        }
        if me.neighbour.is_none() {
            me.neighbour = frame.context.ethernet.map(|ethernet| ethernet.destination);
        }
        match frame.body {
            Body::Tcp(segment) => {
                let look = look(arrival);
                tcp::take(me, peer, &segment, &look);
            }
            Body::Udp(datagram) => {
                if datagram.payload_length > 0 {
                    me.count_payload(arrival.at, datagram.payload_length);
                }
                me.waiting.get_or_insert_default().add(arrival.at);
                if let Some(waiting) = peer.waiting.as_deref_mut() {
                    *waiting = Series::default();
                }
            }
            Body::Sctp { payload, .. } => {
                me.count_payload(arrival.at, length(payload));
                // Chunk types of RFC 9260 section 3.2.
                match payload.first() {
                    Some(1) => me.asked = true,
                    Some(2) => me.answered = true,
                    Some(6) => me.aborted = true,
                    _ => {}
                }
            }
            Body::Icmp(icmp) => {
                me.count_payload(arrival.at, length(icmp.body));
                match asks(&icmp) {
                    Some(true) => me.asked = true,
                    Some(false) => me.answered = true,
                    None => {}
                }
            }
            Body::Ip { payload, .. } | Body::Ethernet { payload, .. } => {
                me.count_payload(arrival.at, length(payload))
            }
            Body::Arp(arp) => me.count_payload(arrival.at, length(arp.bytes)),
            Body::Fragment(_) => {}
        }
    }

    /// The end to show first to those who judge payload: the one that opened, else the one heard first.
    pub fn foremost(&self) -> Half {
        super::opener::by_handshake(self).unwrap_or(self.first_from)
    }

    /// Whether both ends were heard.
    pub fn is_answered(&self) -> bool {
        !self.sides.low.is_silent() && !self.sides.high.is_silent()
    }

    /// After how much silence it is over.
    pub(super) fn patience(&self, limits: &Limits) -> Duration {
        if self.transport != Transport::Tcp {
            return limits.other;
        }
        let (low, high) = (self.sides.low.tcp.as_deref(), self.sides.high.tcp.as_deref());
        let waits = !self.is_answered()
            && [low, high].into_iter().flatten().all(|side| side.spoken == 0 || side.only_syn());
        if waits || tcp::is_closed(low, high) { limits.tcp_over } else { limits.tcp_open }
    }

    /// Starts the counters anew for what is still to come of it.
    pub(super) fn next_stretch(&mut self, at: PacketRef) {
        self.sides.low.next_stretch();
        self.sides.high.next_stretch();
        self.first = at;
        self.last = at;
        self.errors.clear();
    }

    pub(super) fn tie(&mut self, quotes: Half, mut error: IcmpError, sequence: Option<u32>) {
        if self.errors.len() >= MOST_ERRORS {
            return;
        }
        let sender = self.sides.of(quotes);
        error.fits = !sender.is_silent()
            && match (self.transport, sequence, sender.tcp.as_deref()) {
                (Transport::Tcp, Some(sequence), Some(tcp)) => tcp.in_flight(sequence),
                (Transport::Tcp, _, None) => false,
                _ => true,
            };
        self.errors.push(QuotedError { error, quotes });
    }
}

/// Whether an ICMP message asks (echo and the like, neighbour solicitation) or answers one; `None` for all others
/// (RFC 792, RFC 950, RFC 4443 section 4, RFC 4861 section 4).
fn asks(icmp: &Icmp<'_>) -> Option<bool> {
    match (icmp.v6, icmp.kind) {
        (false, 8 | 13 | 15 | 17) | (true, 128 | 135) => Some(true),
        (false, 0 | 14 | 16 | 18) | (true, 129 | 136) => Some(false),
        _ => None,
    }
}

fn length(payload: &[u8]) -> u32 {
    u32::try_from(payload.len()).unwrap_or(u32::MAX)
}

fn look(arrival: &Arrival<'_>) -> Look {
    let network = arrival.frame.network;
    Look {
        at: arrival.at,
        ttl: network.map_or(0, |network| network.ttl),
        identification: network.map_or(0, |network| network.identification),
        mac: arrival.frame.context.ethernet.map(|ethernet| ethernet.source),
    }
}
