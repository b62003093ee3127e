//! A connection in which nothing is unusual: what the next ordinary segment of it needs to know, and nothing else.

use super::FARTHEST;
use super::Few;
use super::TcpSide;
use super::Vain;

/// One end of such a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calm {
    /// The end of what was heard from this end.
    pub next: u32,
    /// The latest acknowledgement by the other end.
    pub acknowledged: u32,
    /// The segments that wait for their acknowledgement, one behind the other up to `next`.
    pub waits: Few,
    /// Whether it is known to have acknowledged the other end's opening.
    pub acknowledges: bool,
    /// Whether it is known to have acknowledged payload.
    pub acknowledged_payload: bool,
}

impl TcpSide {
    /// What is known of this end, where a segment in sequence changes that and nothing else: open, no gaps, no window closed, at most two
    /// segments without acknowledgement.
    pub fn calm(&self) -> Option<Calm> {
        let (next, acknowledged) = (self.next?, self.acknowledged?);
        let over = self.fin.is_some() || self.fin_at.is_some() || self.reset.is_some();
        let odd = !self.holes.is_empty()
            || self.owed
            || self.window_closed
            || self.base.is_none()
            || self.probes.is_some();
        if over || odd || self.spoken == 0 || next.wrapping_sub(acknowledged) >= FARTHEST {
            return None;
        }
        let waits = self.vain.as_deref().map_or_else(|| Some(Few::default()), Vain::few)?;
        let follow = waits.iter().zip(waits.iter().skip(1)).all(|(one, other)| one.1 == other.0);
        if !follow || waits.last().is_some_and(|&(_, end, _)| end != next) {
            return None;
        }
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
        if !now.waits.is_empty() || self.vain.is_some() {
            *self.vain.get_or_insert_default().as_mut() = Vain::of(&now.waits);
        }
    }
}
