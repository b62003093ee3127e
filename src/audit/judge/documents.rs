//! What the vendors' documents say of a conversation: an entry that has its ends and port, a lookup of a documented name, a proxy asked for one.

use crate::model::Conversation;
use crate::model::ConversationVerdict;

use crate::audit::condition;
use crate::audit::matching::Matched;
use crate::audit::names;
use crate::audit::proxy;

use super::Context;
use super::Ruling;

impl<'a> Context<'a> {
    /// What the vendors' documents say.
    pub(super) fn by_documents(
        &self,
        conversation: &Conversation,
        matched: &[Matched<'_>],
    ) -> Option<Ruling<'a>> {
        let covered = matched.iter().any(|one| one.is_covered() || !one.too_broad.is_empty());
        let by_entries = covered.then(|| self.by_entries(conversation, matched)).flatten();
        by_entries
            .or_else(|| self.lookups(conversation))
            .or_else(|| self.proxied(matched))
            .or_else(|| self.common_need(conversation, matched))
            .or_else(|| self.cut_need(conversation))
    }

    /// What the entries say that have its ends and port.
    fn by_entries(&self, conversation: &Conversation, matched: &[Matched<'_>]) -> Option<Ruling<'a>> {
        let catalogue = self.ground.catalogue;
        if let Some((entry, one)) = matched.iter().find_map(|one| Some((catalogue.get(one.violating?)?, one)))
        {
            let seen = conversation.protocols.keys().copied().collect::<Vec<_>>().join(", ");
            let reason = match condition::contradiction(&one.flow, &entry.rule.require) {
                Some(found) if entry.speaks(&one.flow) => found.to_string(),
                _ => format!("{seen} where the document has {}", entry.rule.protocol.join(" or ")),
            };
            return Some(Ruling::new(ConversationVerdict::Violating, Some(entry.name()), reason));
        }
        let accepted = matched.iter().find_map(|one| catalogue.get(*one.accepting.first()?));
        // An address that has a documented name may have others, and a flow that shows its own is that name's.
        let stranger = || {
            matched
                .iter()
                .filter(|one| !one.is_covered())
                .find_map(|one| names::shown(&one.flow).first().copied())
        };
        if let Some(entry) = accepted
            && let Some(name) = stranger()
        {
            let reason = format!(
                "part of it names {name}, which no rule covers, at an address that also has a documented name ({})",
                entry.rule.cite
            );
            return Some(Ruling::new(ConversationVerdict::Unexpected, None, reason));
        }
        if let Some(entry) = accepted
            && let Some(other) = self.other_machine(conversation.key, matched)
        {
            let reason = format!(
                "part of it is made by {other}, under an address of the machine that the site means ({})",
                entry.rule.cite
            );
            return Some(Ruling::new(ConversationVerdict::Unexpected, None, reason));
        }
        if let Some(entry) = accepted {
            let reason = match entry.reading.note.as_str() {
                "" => format!("documented: {}", entry.rule.cite),
                note => format!("documented: {} ({}: {note})", entry.rule.cite, entry.reading.kind.name()),
            };
            return Some(Ruling::new(ConversationVerdict::Allowed, Some(entry.name()), reason));
        }
        if let Some(entry) = matched.iter().find_map(|one| catalogue.get(*one.switched_off.first()?)) {
            let features =
                entry.missing.iter().map(|feature| format!("'{feature}'")).collect::<Vec<_>>().join(" and ");
            let mut ruling = Ruling::new(
                ConversationVerdict::Unexpected,
                Some(entry.name()),
                format!(
                    "the document has it ({}) only with {features}, which this site does not name",
                    entry.rule.cite
                ),
            );
            ruling.switched_off = Some(entry);
            return Some(ruling);
        }
        if let Some(entry) = matched.iter().find_map(|one| catalogue.get(*one.too_broad.first()?)) {
            let hidden: Option<Vec<&str>> =
                matched.iter().map(|one| self.exchange_is_hidden(&one.flow)).collect();
            if let Some(why) = hidden.as_ref().and_then(|reasons| reasons.first()) {
                return Some(Ruling::new(
                    ConversationVerdict::Infrastructure,
                    Some(entry.name()),
                    format!("undecided: {why}, so the exchange that may have named this port is not shown"),
                ));
            }
            let reason = format!(
                "matched only by the over-broad rule {} ({}), and no exchange before it named this port",
                entry.name(),
                entry.service
            );
            return Some(Ruling::new(ConversationVerdict::Unexpected, Some(entry.name()), reason));
        }
        None
    }

    /// A rule to a host name covers the lookups of that name.
    fn lookups(&self, conversation: &Conversation) -> Option<Ruling<'a>> {
        if !conversation.protocols.contains("dns") {
            return None;
        }
        let asked = self.asked.get(&(conversation.key.client, conversation.key.server))?;
        let covered = asked.iter().all(|name| self.ground.cast.binds(name));
        covered.then(|| {
            let names = asked.iter().copied().collect::<Vec<_>>().join(", ");
            Ruling::new(
                ConversationVerdict::Allowed,
                None,
                format!("looks up documented host names only: {names}"),
            )
        })
    }

    /// A connection through a documented proxy is judged by the host that it asks the proxy for.
    fn proxied(&self, matched: &[Matched<'_>]) -> Option<Ruling<'a>> {
        let mut targets = matched
            .iter()
            .filter(|one| one.asks_proxy)
            .flat_map(|one| one.flow.classification.facts.all(proxy::TARGET))
            .peekable();
        targets.peek()?;
        let named = |target: &str| {
            let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
            self.ground.cast.binds(host)
        };
        targets.all(named).then(|| {
            Ruling::new(
                ConversationVerdict::Allowed,
                None,
                "asks a proxy for documented hosts only".to_owned(),
            )
        })
    }
}
