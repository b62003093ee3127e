//! Flows as they leave a shard's table: judged to the end, told, and settled where another flow may have to say.

use crate::classify::Carrier;
use crate::flow::Flow;
use crate::flow::Leaves;
use crate::flow::Left;
use crate::flow::Proven;
use crate::model::Outcome;
use crate::model::RoleBasis;
use crate::model::Transport;

use super::judge::Judgement;
use super::learnt::Learnt;
use super::names;
use super::shard::Bounds;

/// Takes flows as they leave the table.
pub struct Sink<'a> {
    /// Of the shard.
    pub bounds: &'a Bounds,
    /// Bytes kept for classifiers.
    pub kept: &'a mut usize,
    /// What the shard learnt.
    pub learnt: &'a mut Learnt,
}

impl Sink<'_> {
    /// Takes one flow, or lone SYN.
    pub fn leave(&mut self, left: Left<'_, Judgement>, why: Leaves) {
        if let Left::Lone(lone, _) = left
            && self.learnt.fold_try(lone, why, self.bounds)
        {
            return;
        }
        if let Left::Lone(lone, _) = left {
            let place = lone.place();
            self.learnt.sweeps.count(place.cell, place.source().host, &self.bounds.room);
        }
        let (flow, judgement) = left.whole();
        self.take(flow, judgement, why);
    }

    fn take(&mut self, flow: Flow, mut judgement: Judgement, why: Leaves) {
        let goes_on = why == Leaves::GoesOn;
        if !goes_on {
            *self.kept = self.kept.saturating_sub(judgement.kept());
        }
        let mut heard = Vec::new();
        judgement.finish(&flow, carrier(flow.transport), &mut heard);
        if goes_on {
            heard.clear();
        }
        self.learnt.state(&flow, &mut judgement, &mut heard);
        // What a flow that goes on still waits for is told when it ends.
        if let Some(questions) = judgement.questions.take()
            && !goes_on
        {
            let mut told = Vec::new();
            questions.finish(&mut told);
            self.learnt.keep_lookups(told);
        }
        let (classification, client, answers) = judgement.tell();
        let hosts = names::stated(&classification.facts);
        self.learnt.view.take(&flow);
        let record = Box::new(flow.tell(Proven { classification, client, answers, hosts }));
        self.learnt.tally.flows += 1;
        self.learnt.tally.evicted += u64::from(why == Leaves::Evicted);
        if record.transport == Transport::Tcp {
            if matches!(record.outcome, Outcome::Established | Outcome::Cut) {
                self.learnt.learn(&record, self.bounds);
            } else if record.role_basis != RoleBasis::Handshake
                && self.learnt.unsettled.len() < self.bounds.room.most_unsettled()
            {
                self.learnt.unsettled.push(record);
                return;
            }
        }
        if let Some(record) = self.learnt.elsewhere.take(record) {
            self.learnt.keep(record, self.bounds.keep_flows, &self.bounds.room);
        }
    }
}

/// What carries the payload of a flow, where protocols can judge it.
pub fn carrier(transport: Transport) -> Option<Carrier> {
    match transport {
        Transport::Tcp => Some(Carrier::Tcp),
        Transport::Udp => Some(Carrier::Udp),
        Transport::Ethernet(kind) => Some(Carrier::Ethernet(kind)),
        Transport::Sctp | Transport::Icmp | Transport::Icmpv6 | Transport::Ip(_) => None,
    }
}
