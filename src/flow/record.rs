//! A flow told: roles, outcome and both sides as the audit reads them.

use crate::model::Classification;
use crate::model::FlowRecord;
use crate::model::Role;
use crate::model::Series;

use super::key::Half;
use super::live::Flow;
use super::opener::opener;
use super::outcome::outcome;

/// What the caller knows of a flow beyond its headers.
#[derive(Clone, Debug, Default)]
pub struct Proven {
    /// What it proved to be.
    pub classification: Box<Classification>,
    /// The end that the payload says is the client.
    pub client: Option<Half>,
    /// Whether a datagram of it asks for an answer.
    pub answers: bool,
    /// Names of the server that the flow itself states.
    pub hosts: Vec<String>,
}

impl Flow {
    /// The record of this flow.
    pub fn tell(&self, proven: Proven) -> FlowRecord {
        let (client, role_basis) = opener(self, proven.client);
        let server = client.other();
        let (outcome, reason) = outcome(self, client, proven.answers);
        let (mut from_client, mut from_server) = (self.sides.of(client).tell(), self.sides.of(server).tell());
        if let Some(tcp) = self.sides.of(client).tcp.as_deref().filter(|_| from_server.packets == 0) {
            from_client.unacknowledged = tcp.stuck();
        }
        if from_client.packets > 0 {
            // What a server sends last is an answer, no request.
            from_server.unanswered = Series::default();
        }
        FlowRecord {
            transport: self.transport,
            cell: self.cell,
            client: *self.ends.of(client),
            server: *self.ends.of(server),
            role_basis,
            classification: proven.classification,
            outcome,
            reason: reason.map(Into::into),
            from_client,
            from_server,
            errors: self
                .errors
                .iter()
                .map(|quoted| {
                    let mut error = quoted.error;
                    error.quotes = if quoted.quotes == client { Role::Client } else { Role::Server };
                    error
                })
                .collect(),
            first: self.first,
            last: self.last,
            vlans: self.context.iter().flat_map(|context| context.vlans.iter().copied()).collect(),
            tunnels: self
                .context
                .iter()
                .flat_map(|context| context.tunnels.iter().map(ToString::to_string))
                .collect(),
            hosts: proven.hosts,
        }
    }
}
