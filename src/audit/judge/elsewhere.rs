//! Answers that leave by another port of the server than the one that was asked: PROFINET's context manager, agents with a socket for each answer.

use smallvec::SmallVec;

use crate::model::ANSWERED_ELSEWHERE;
use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::ConversationVerdict;
use crate::model::FlowRecord;
use crate::model::Transport;

use crate::audit::matching::Matched;

use super::Context;
use super::Ruling;

/// Ports of a pair that are looked through for the question, the lowest first, where services are.
const MOST_PORTS: usize = 256;

impl<'a> Context<'a> {
    /// The ruling on a conversation that a server begins by answering what the same client asked it in the same protocol, where a rule covers the
    /// question. What the client goes on to say to that port is part of it.
    pub(super) fn answers_by_another_port(
        &self,
        conversation: &Conversation,
        matched: &[Matched<'_>],
    ) -> Option<Ruling<'a>> {
        let key = conversation.key;
        if key.transport != Transport::Udp {
            return None;
        }
        let answers: SmallVec<[&FlowRecord; 1]> =
            matched.iter().map(|one| &*one.flow).filter(|flow| server_begins(flow)).collect();
        let protocol = answers.first()?.classification.protocol?;
        let belongs = |flow: &FlowRecord| {
            let of_client = |answer: &&FlowRecord| answer.client.port == flow.client.port;
            flow.classification.protocol == Some(protocol) && answers.iter().any(of_client)
        };
        if !matched.iter().all(|one| belongs(&one.flow)) {
            return None;
        }
        let least = ConversationKey { port: None, ..key };
        let of_pair = self.ground.observed.conversations.range(least..);
        of_pair
            .take_while(|(known, _)| ConversationKey { port: None, ..**known } == least)
            .take(MOST_PORTS)
            .filter(|(known, _)| known.port != key.port)
            .find_map(|(_, known)| self.of_the_question(known, &answers))
    }

    /// The ruling on a question that is answered by another port, for all of these answers, where each was asked for in its protocol and a rule covers
    /// the question.
    fn of_the_question(&self, known: &Conversation, answers: &[&FlowRecord]) -> Option<Ruling<'a>> {
        const HOW: &str = "the server answers by another port than the one that is asked";
        if !answers.iter().all(|answer| known.attempts().any(|flow| asks_for(flow, answer))) {
            return None;
        }
        let asked: Vec<Matched<'_>> = self
            .matcher
            .conversation(known)
            .filter(|one| answers.iter().any(|answer| asks_for(&one.flow, answer)))
            .collect();
        if let Some((_, rule)) = self.allowed.first(self.ground, known, &asked) {
            let reason = format!("the site allows it: {} ({HOW})", rule.reason);
            return Some(Ruling::new(ConversationVerdict::Allowed, Some(rule.id.clone()), reason));
        }
        let entry = asked.iter().find_map(|one| self.ground.catalogue.get(*one.accepting.first()?))?;
        let reason = format!("documented: {} ({HOW})", entry.rule.cite);
        Some(Ruling::new(ConversationVerdict::Allowed, Some(entry.name()), reason))
    }
}

/// Whether a flow is the question that another one answers: of the same port of the client, in the same protocol, and not long before.
fn asks_for(flow: &FlowRecord, answer: &FlowRecord) -> bool {
    flow.reason.as_deref() == Some(ANSWERED_ELSEWHERE)
        && flow.classification.protocol == answer.classification.protocol
        && flow.client.port == answer.client.port
        && flow.is_answered_between(answer.first, answer.last)
}

/// Whether the first that is heard of a flow comes from its server.
fn server_begins(flow: &FlowRecord) -> bool {
    flow.from_server.first == Some(flow.first)
}
