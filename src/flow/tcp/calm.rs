//! A connection in which nothing is unusual: what the next ordinary segment of it needs to know, and nothing else.

use crate::model::PacketRef;

use super::FARTHEST;
use super::TcpSide;
use super::Vain;

/// One end of such a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calm {
    /// The end of what was heard from this end.
    pub next: u32,
    /// The latest acknowledgement by the other end.
    pub acknowledged: u32,
    /// Where the one segment starts that waits for its acknowledgement, and its packet; it reaches to `next`.
    pub waits: Option<(u32, PacketRef)>,
    /// Whether it is known to have acknowledged the other end's opening.
    pub acknowledges: bool,
    /// Whether it is known to have acknowledged payload.
    pub acknowledged_payload: bool,
}

impl TcpSide {
    /// What is known of this end, where a segment in sequence changes that and nothing else: open, no gaps, no window closed, at most one
    /// segment without acknowledgement.
    pub fn calm(&self) -> Option<Calm> {
        let (next, acknowledged) = (self.next?, self.acknowledged?);
        let over = self.fin.is_some() || self.fin_at.is_some() || self.reset.is_some();
        let odd = !self.holes.is_empty() || self.owed || self.window_closed || self.base.is_none();
        if over || odd || self.spoken == 0 || next.wrapping_sub(acknowledged) >= FARTHEST {
            return None;
        }
        let waits = match &self.vain {
            None => None,
            Some(vain) => match vain.only()? {
                Some((start, end, at)) if end == next => Some((start, at)),
                Some(_) => return None,
                None => None,
            },
        };
        Some(Calm {
            next,
            acknowledged,
            waits,
            acknowledges: self.first_ack.is_some(),
            acknowledged_payload: self.acked_payload.is_some(),
        })
    }

    /// Takes in what became of this end since it was [`TcpSide::calm`], by so many segments of its own.
    pub fn resume(&mut self, segments: u64, now: &Calm) {
        self.spoken += segments;
        let acknowledged = now.acknowledged.wrapping_sub(self.acknowledged.unwrap_or(now.acknowledged));
        self.payload_acknowledged = self.payload_acknowledged.saturating_add(u64::from(acknowledged));
        self.next = Some(now.next);
        self.acknowledged = Some(now.acknowledged);
        match (now.waits, &mut self.vain) {
            (None, None) => {}
            (waits, vain) => {
                let waits = waits.map(|(start, at)| (start, now.next, at));
                *vain.get_or_insert_with(|| Box::new(Vain::default())).as_mut() = Vain::of(waits);
            }
        }
    }
}
