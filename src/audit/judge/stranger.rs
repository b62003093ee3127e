//! Machines that got a bound address by a lease while the capture went on: strangers, unless they do what the address is bound for.

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::model::ConversationKey;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Role;

use crate::audit::cast::RoleId;
use crate::audit::matching::Matched;
use crate::audit::view::maker;

use super::Context;

impl Context<'_> {
    /// Whether a host that plays a role by its address is another machine than the one meant, in all of these flows.
    ///
    /// The address went to it by a lease, and nothing documented was ever seen between it and anybody: the machine that had it before is the one
    /// that the site knows.
    pub(super) fn is_stranger(&self, host: Host, matched: &[Matched<'_>]) -> bool {
        let new = matched.iter().all(|one| self.is_new(&one.flow, host));
        new && !matched.is_empty() && !self.playing.get_or_init(|| self.playing_their_part()).contains(&host)
    }

    /// Whether the end of a flow that is a host's is the machine that got its address last.
    fn is_new(&self, flow: &FlowRecord, host: Host) -> bool {
        let view = self.ground.view;
        let role = role_of(flow, host);
        let handover = view.handed_over(flow.cell, host);
        role.zip(handover).is_some_and(|(role, known)| view.machine(flow, role) == Some(known.to))
    }

    /// Whether all these flows show a host to be another machine than the one that the site binds by its MAC address.
    pub(super) fn is_another(&self, role: RoleId, host: Host, matched: &[Matched<'_>]) -> bool {
        let cast = self.ground.cast;
        cast.binds_machines()
            && !matched.is_empty()
            && matched.iter().all(|one| {
                role_of(&one.flow, host)
                    .is_some_and(|end| !cast.may_be(role, one.flow.cell, host, one.flow.side(end)))
            })
    }

    /// A machine that made part of a conversation under an address that the site binds to another one by its MAC address.
    pub(super) fn other_machine(&self, key: ConversationKey, matched: &[Matched<'_>]) -> Option<MacAddr> {
        let cast = self.ground.cast;
        if !cast.binds_machines() {
            return None;
        }
        [key.client, key.server].into_iter().find_map(|host| {
            matched.iter().find_map(|one| {
                let side = one.flow.side(role_of(&one.flow, host)?);
                let mut roles = cast.roles_of(key.cell, host).peekable();
                let another =
                    roles.peek().is_some() && roles.all(|role| !cast.may_be(role, key.cell, host, side));
                maker(side).filter(|_| another)
            })
        })
    }

    /// The hosts whose new machine does anything that is documented for the address: found for all at once, since a stranger may have as
    /// many conversations as it likes.
    fn playing_their_part(&self) -> HashSet<Host, RandomState> {
        let mut playing = HashSet::default();
        for (key, conversation) in &self.ground.observed.conversations {
            let ends = [key.client, key.server];
            if ends.iter().all(|host| self.ground.view.handed_over(key.cell, *host).is_none()) {
                continue;
            }
            for one in self.matcher.conversation(conversation).filter(|one| !one.accepting.is_empty()) {
                let through =
                    one.flow.from_client.acked_payload.is_some() || one.flow.from_server.payload_packets > 0;
                playing.extend(ends.into_iter().filter(|host| through && self.is_new(&one.flow, *host)));
            }
        }
        playing
    }
}

/// Which end of a flow a host is.
fn role_of(flow: &FlowRecord, host: Host) -> Option<Role> {
    if flow.client.host == host {
        Some(Role::Client)
    } else {
        (flow.server.host == host).then_some(Role::Server)
    }
}
