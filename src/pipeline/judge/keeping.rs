//! What a judgement keeps of payload for later, and what it judges where it lies and does not keep.

use super::Heard;
use super::Judgement;
use super::Stage;
use crate::classify::Carrier;
use crate::classify::MOST_OF_BOTH;
use crate::classify::MOST_OF_END;
use crate::flow::Flow;
use crate::flow::Half;
use crate::flow::MOST_STREAM;
use crate::flow::Payload;
use crate::flow::Prefix;

/// A payload that is judged where it lies: how much of it, and whether nothing of its end comes after it.
#[derive(Clone, Copy)]
pub(super) struct Fresh<'a> {
    pub(super) payload: &'a Payload<'a>,
    pub(super) length: usize,
    pub(super) complete: bool,
}

impl Judgement {
    /// Whether segments of either end wait for one before them.
    pub fn is_waiting(&self) -> bool {
        let waits = |prefix: &Option<Prefix>| prefix.as_ref().is_some_and(Prefix::is_waiting);
        waits(&self.prefixes.low) || waits(&self.prefixes.high)
    }

    /// Bytes kept for later.
    pub fn kept(&self) -> usize {
        let kept = |prefix: &Option<Prefix>| prefix.as_ref().map_or(0, Prefix::kept);
        kept(&self.prefixes.low) + kept(&self.prefixes.high)
    }

    pub(super) fn prefix(&self, half: Half) -> Option<&Prefix> {
        self.prefixes.of(half).as_ref()
    }

    /// This payload as it can be judged where it lies: it is the first of its end, or all before it was told.
    pub(super) fn where_it_lies<'a>(
        &self,
        flow: &Flow,
        from: Half,
        carrier: Carrier,
        payload: &'a Payload<'a>,
    ) -> Option<Fresh<'a>> {
        let is_stream = carrier == Carrier::Tcp;
        let (length, complete) = match self.prefix(from) {
            Some(prefix) => prefix.would_go_on_with(payload, is_stream)?,
            None if !Prefix::would_begin_with(stream_start(flow, from, carrier), payload) => return None,
            None => {
                let room = payload.bytes.len().min(MOST_STREAM);
                (room, is_stream && (payload.is_cut() || room == MOST_STREAM))
            }
        };
        Some(Fresh { payload, length, complete })
    }

    /// Passes over a message of which is known that it tells nothing new, where nothing else can come of asking: the protocol goes on from
    /// what it told, nothing of this end is kept, and this is not the message at which a proof may be closed.
    pub(super) fn may_pass(&mut self, from: Half, carrier: Carrier, fresh: Fresh<'_>) -> bool {
        let read = *self.read.of(from);
        let Fresh { payload, length, complete } = fresh;
        let of = |prefix: &Option<Prefix>| prefix.as_ref().map_or(0, Prefix::heard);
        let both = of(&self.prefixes.low) + of(&self.prefixes.high) + 1;
        let Some(prefix) = self.prefixes.of_mut(from) else { return false };
        let (so_far, with_it) = match carrier {
            Carrier::Tcp => (prefix.length(), prefix.length() + length),
            Carrier::Udp | Carrier::Ethernet(_) => (prefix.heard(), prefix.heard() + 1),
        };
        // A proof that was left open at so many of one end is not closed by more of the same.
        let is_bound = both >= MOST_OF_BOTH || prefix.heard() + 1 == MOST_OF_END;
        let passes = read > 0 && read == so_far && !complete && length == payload.bytes.len() && !is_bound;
        if passes {
            prefix.pass(payload, (length, complete));
            *self.read.of_mut(from) = with_it;
        }
        passes
    }

    pub(super) fn hear_in_place(
        &mut self,
        flow: &Flow,
        from: Half,
        carrier: Carrier,
        fresh: Fresh<'_>,
        heard: &mut Vec<Heard>,
    ) -> u64 {
        let Fresh { payload, length, complete } = fresh;
        self.ask(flow, carrier, Some(from), Some(fresh), payload.at, heard);
        if self.stage == Stage::Closed {
            return 0;
        }
        let read = *self.read.of(from);
        let prefix = self.prefix_mut(flow, from, carrier);
        let with_it = match carrier {
            Carrier::Tcp => prefix.length() + length,
            Carrier::Udp | Carrier::Ethernet(_) => prefix.heard() + 1,
        };
        if read == with_it {
            prefix.pass(payload, (length, complete));
            return 0;
        }
        let copied = self.keep(flow, from, carrier, payload).1;
        self.forget_told(carrier);
        copied
    }

    pub(super) fn hear_kept(
        &mut self,
        flow: &Flow,
        from: Half,
        carrier: Carrier,
        payload: &Payload<'_>,
        heard: &mut Vec<Heard>,
    ) -> u64 {
        let (grew, copied) = self.keep(flow, from, carrier, payload);
        if grew {
            self.ask(flow, carrier, Some(from), None, payload.at, heard);
        }
        copied
    }

    /// Copies payload for later; returns whether the prefix grew, and the bytes copied.
    fn keep(&mut self, flow: &Flow, from: Half, carrier: Carrier, payload: &Payload<'_>) -> (bool, u64) {
        let prefix = self.prefix_mut(flow, from, carrier);
        let grew = match carrier {
            Carrier::Tcp => prefix.add_segment(payload),
            Carrier::Udp | Carrier::Ethernet(_) => prefix.add_datagram(payload),
        };
        (grew, prefix.take_copied())
    }

    fn prefix_mut(&mut self, flow: &Flow, half: Half, carrier: Carrier) -> &mut Prefix {
        self.prefixes.of_mut(half).get_or_insert_with(|| match carrier {
            Carrier::Tcp => Prefix::stream(stream_start(flow, half, carrier)),
            Carrier::Udp | Carrier::Ethernet(_) => Prefix::datagrams(),
        })
    }

    /// Keeps no longer what the protocol has told and goes on from.
    pub(super) fn forget_told(&mut self, carrier: Carrier) {
        let forget = |prefix: &mut Option<Prefix>, read: usize| match prefix {
            Some(prefix) if read == 0 || prefix.bytes().is_empty() => {}
            Some(prefix) if carrier == Carrier::Tcp => prefix.forget_bytes(read),
            Some(prefix) => prefix.forget_datagrams(read),
            None => {}
        };
        forget(&mut self.prefixes.low, self.read.low);
        forget(&mut self.prefixes.high, self.read.high);
    }
}

/// Where the byte stream of one end begins, where its SYN told.
pub(super) fn stream_start(flow: &Flow, half: Half, carrier: Carrier) -> Option<u32> {
    match carrier {
        Carrier::Tcp => flow.sides.of(half).tcp.as_deref().and_then(|tcp| tcp.stream_start()),
        Carrier::Udp | Carrier::Ethernet(_) => None,
    }
}
