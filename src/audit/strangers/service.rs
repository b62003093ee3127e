//! What a service is to those who tell strange conversations together, and how it is put in words.

use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;

use crate::model::ConversationVerdict;
use crate::model::Transport;

use super::Judged;
use super::groups::Numbers;

/// What tells one service from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Service<'a> {
    /// Where it matters.
    port: Option<u16>,
    answered: bool,
    verdict: ConversationVerdict,
    transport: Transport,
    protocols: &'a [&'static str],
}

impl<'a> Service<'a> {
    /// The service of a conversation by its key, at a port of its own.
    pub(super) fn of(one: &'a Judged<'_>) -> Self {
        Self {
            port: one.key.port,
            answered: one.answered,
            verdict: one.told.verdict,
            transport: one.key.transport,
            protocols: &one.told.protocols,
        }
    }
}

impl Hash for Service<'_> {
    /// In few steps: it is done for each conversation.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.transport.hash(state);
        state.write_u32(u32::from(self.port.unwrap_or_default()) << 1 | u32::from(self.answered));
        self.protocols.iter().for_each(|protocol| state.write(protocol.as_bytes()));
    }
}

/// Services by number.
#[derive(Default)]
pub(super) struct Services<'a> {
    known: Numbers<Service<'a>>,
    /// For each of them, once it was asked for, what it is on whatever port.
    anywhere: Vec<Option<u32>>,
}

impl<'a> Services<'a> {
    /// The number of a service at its port.
    pub(super) fn at_port(&mut self, one: &'a Judged<'_>) -> u32 {
        self.known.of(Service::of(one))
    }

    /// The number of a service on whatever port, where it was recognised: then it is the same. `at_port` is its number at its port.
    pub(super) fn anywhere(&mut self, at_port: u32, one: &'a Judged<'_>) -> u32 {
        let place = at_port as usize;
        if let Some(known) = self.anywhere.get(place).copied().flatten() {
            return known;
        }
        let port = one.told.port.filter(|_| one.told.protocols.is_empty());
        let number = self.known.of(Service { port, ..Service::of(one) });
        // What is told turned round has another port there.
        if one.told.port == one.key.port {
            self.anywhere.resize(self.anywhere.len().max(place + 1), None);
            self.anywhere.get_mut(place).into_iter().for_each(|known| *known = Some(number));
        }
        number
    }
}

/// What is spoken and where: `s7comm on tcp/102`.
pub(super) struct Words<'a>(pub(super) &'a Judged<'a>);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = &self.0.told;
        match &*told.protocols {
            [] if self.0.spoke => f.write_str("something unrecognised on ")?,
            [] => {}
            [first, others @ ..] => {
                f.write_str(first)?;
                others.iter().try_for_each(|other| write!(f, ", {other}"))?;
                f.write_str(" on ")?;
            }
        }
        f.write_str(&told.transport.text())?;
        told.port.map_or(Ok(()), |port| write!(f, "/{port}"))
    }
}

/// Whose a conversation is, and where: `10.0.0.1 to 10.0.0.2 on tcp/102`.
pub(super) struct Whose<'a>(pub(super) &'a Judged<'a>);

impl fmt::Display for Whose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = &self.0.told;
        for part in [&told.client, " to ", &told.server, " on ", &told.transport.text()] {
            f.write_str(part)?;
        }
        told.port.map_or(Ok(()), |port| write!(f, "/{port}"))
    }
}
