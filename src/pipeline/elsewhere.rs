//! Datagrams that are answered from another port than the one asked: PROFINET CM, TFTP, SNMP agents with several addresses' sockets.
//!
//! The question and its answer are two flows then, both one-way. Neither is changed but for one thing: the question no longer counts
//! as unanswered, because its silence means nothing.

use std::collections::BTreeMap;

use crate::model::ANSWERED_ELSEWHERE;
use crate::model::CellId;
use crate::model::ELSEWHERE_EARLY;
use crate::model::ELSEWHERE_PATIENCE;
use crate::model::Endpoint;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::Outcome;
use crate::model::PacketRef;
use crate::model::Series;
use crate::model::Timestamp;
use crate::model::Transport;
use crate::model::WholeFlow;

/// The most questions of one shard that wait for an answer from elsewhere.
const MOST_QUESTIONS: usize = 1024;
/// The most askers and answerers remembered of one shard.
const MOST_ANSWERS: usize = 16_384;
/// Who asked, which host answered, and in which protocol.
type Exchange = (CellId, Endpoint, Host, &'static str);

/// The questions and the answers of one shard.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    questions: Vec<WholeFlow>,
    /// The first and the last packet that answered.
    answers: BTreeMap<Exchange, (PacketRef, PacketRef)>,
}

impl Elsewhere {
    /// Looks at a flow that ended. A question without answer is kept back where there is room; all else comes back.
    pub fn take(&mut self, record: WholeFlow) -> Option<WholeFlow> {
        if record.transport != Transport::Udp {
            return Some(record);
        }
        let Some(exchange) = exchange(&record) else { return Some(record) };
        // The server spoke first on this pair of ports: it answers what was asked on another.
        if let (Some(first), Some(last)) = (record.from_server.first, record.from_server.last)
            && first == record.first
        {
            let full = self.answers.len() >= MOST_ANSWERS;
            match self.answers.get_mut(&exchange) {
                Some(known) => *known = (known.0.min(first), known.1.max(last)),
                None if full => {}
                None => {
                    self.answers.insert(exchange, (first, last));
                }
            }
        }
        if record.outcome == Outcome::Unanswered && self.questions.len() < MOST_QUESTIONS {
            self.questions.push(record);
            return None;
        }
        Some(record)
    }

    /// The questions last repeated before `since`, each told by what came of it. Answers from before then are forgotten.
    pub fn settle(&mut self, since: Timestamp) -> Vec<WholeFlow> {
        let (old, young) = std::mem::take(&mut self.questions).into_iter().partition(|q| q.last.time < since);
        let answers = self.answers.clone();
        self.questions = young;
        self.answers.retain(|_, (_, last)| last.time.plus(ELSEWHERE_PATIENCE) >= since);
        Self { questions: old, answers }.finish()
    }

    /// The questions kept back, each told by what came of it.
    pub fn finish(self) -> Vec<WholeFlow> {
        let Self { mut questions, answers } = self;
        for question in &mut questions {
            let Some(&(first, last)) = exchange(question).and_then(|exchange| answers.get(&exchange)) else {
                continue;
            };
            if !question.is_answered_between(first, last) {
                continue;
            }
            // On its own ports it stays one-way: nothing is missing there.
            question.outcome = Outcome::Observed;
            question.reason = Some(ANSWERED_ELSEWHERE.into());
            if question
                .from_client
                .unanswered
                .last
                .is_none_or(|asked| asked.time <= last.time.plus(ELSEWHERE_EARLY))
            {
                question.from_client.unanswered = Series::default();
            }
        }
        questions
    }
}

fn exchange(record: &FlowRecord) -> Option<Exchange> {
    Some((record.cell, record.client, record.server.host, record.classification.protocol?))
}
