//! Answers that leave by another port of the server than the one that was asked: PROFINET's context manager, agents with a socket for each answer.

use crate::model::ANSWERED_ELSEWHERE;
use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::ConversationVerdict;
use crate::model::FlowRecord;
use crate::model::Transport;

use crate::audit::matching::Matched;
use crate::audit::names;

use super::Context;
use super::Ruling;
use super::uncovered::LEAST_KEY;

impl Context<'_> {
    /// The ruling on a conversation that a server begins by answering what the same client asked it in the same protocol, where a rule covers the
    /// question. What the client goes on to say to that port is part of it.
    pub(super) fn answers_by_another_port(
        &self,
        conversation: &Conversation,
        matched: &[Matched<'_>],
    ) -> Option<Ruling> {
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
        let (catalogue, cast) = (self.ground.catalogue, self.ground.cast);
        let least = ConversationKey { cell: key.cell, client: key.client, server: key.server, ..LEAST_KEY };
        let of_pair = self.ground.observed.conversations.range(least..).take_while(|(known, _)| {
            (known.cell, known.client, known.server) == (key.cell, key.client, key.server)
        });
        let entry = of_pair
            .filter(|(known, _)| known.transport == key.transport && known.port != key.port)
            .flat_map(|(_, known)| known.attempts())
            .filter(|asked| asked.reason.as_deref() == Some(ANSWERED_ELSEWHERE))
            .filter(|asked| asked.classification.protocol == Some(protocol))
            .find_map(|asked| {
                let covering =
                    catalogue.covering(cast, asked, (asked.client, asked.server), &names::of_flow(asked));
                covering
                    .into_iter()
                    .filter_map(|at| catalogue.get(at))
                    .find(|entry| entry.missing.is_empty() && entry.accepts(asked))
            })?;
        let reason = format!(
            "documented: {} (the server answers by another port than the one that is asked)",
            entry.rule.cite
        );
        Some(Ruling::new(ConversationVerdict::Allowed, Some(entry.name()), reason))
    }
}

/// Whether the first that is heard of a flow comes from its server.
fn server_begins(flow: &FlowRecord) -> bool {
    flow.from_server.first == Some(flow.first)
}
