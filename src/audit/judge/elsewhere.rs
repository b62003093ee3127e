//! Answers that leave by another port of the server than the one that was asked: PROFINET's context manager, agents with a socket for each answer.

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
        let answers = matched.iter().find(|one| server_begins(&one.flow))?;
        let protocol = answers.flow.classification.protocol?;
        let is_other = |one: &Matched<'_>| one.flow.classification.protocol.is_some_and(|it| it != protocol);
        if matched.iter().any(is_other) {
            return None;
        }
        let least = ConversationKey { port: None, ..key };
        let of_pair = self.ground.observed.conversations.range(least..);
        of_pair
            .take_while(|(known, _)| ConversationKey { port: None, ..**known } == least)
            .take(MOST_PORTS)
            .filter(|(known, _)| known.port != key.port)
            .find_map(|(_, known)| self.of_the_question(known, protocol))
    }

    /// The ruling on a question that is answered by another port, for its answer, where it was asked in that protocol and a rule covers it.
    fn of_the_question(&self, known: &Conversation, protocol: &'static str) -> Option<Ruling<'a>> {
        const HOW: &str = "the server answers by another port than the one that is asked";
        let is_asked = |flow: &FlowRecord| {
            flow.reason.as_deref() == Some(ANSWERED_ELSEWHERE)
                && flow.classification.protocol == Some(protocol)
        };
        if !known.attempts().any(is_asked) {
            return None;
        }
        let asked: Vec<Matched<'_>> =
            self.matcher.conversation(known).filter(|one| is_asked(&one.flow)).collect();
        if let Some((_, rule)) = self.allowed.first(self.ground, known, &asked) {
            let reason = format!("the site allows it: {} ({HOW})", rule.reason);
            return Some(Ruling::new(ConversationVerdict::Allowed, Some(rule.id.clone()), reason));
        }
        let entry = asked.iter().find_map(|one| self.ground.catalogue.get(*one.accepting.first()?))?;
        let reason = format!("documented: {} ({HOW})", entry.rule.cite);
        Some(Ruling::new(ConversationVerdict::Allowed, Some(entry.name()), reason))
    }
}

/// Whether the first that is heard of a flow comes from its server.
fn server_begins(flow: &FlowRecord) -> bool {
    flow.from_server.first == Some(flow.first)
}
