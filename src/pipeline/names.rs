//! DNS questions joined with their answers, and the names that answers give to addresses.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::model::Answer;
use crate::model::CellId;
use crate::model::DnsMessage;
use crate::model::Facts;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::Lookup;
use crate::model::PacketRef;

/// The most questions of one flow that are remembered; the oldest is told as it is when another comes.
const MOST_QUESTIONS: usize = 64;
/// The most names kept of one address.
const MOST_NAMES: usize = 64;
/// How much later than a flow its name may be stamped: mirrors put an answer up to a millisecond off.
const LATE: Duration = Duration::from_millis(1);

/// The DNS questions of one flow.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    known: VecDeque<(u16, Lookup)>,
}

impl Questions {
    /// Takes in one message that `source` sent to `destination`; lookups pushed out by the bound go to `told`.
    pub fn hear(
        &mut self,
        message: DnsMessage,
        at: PacketRef,
        cell: CellId,
        (source, destination): (Host, Host),
        told: &mut Vec<Lookup>,
    ) {
        let Some((name, kind)) = message.question else { return };
        let same = |known: &&mut (u16, Lookup)| {
            known.0 == message.id && known.1.name == name && known.1.kind == kind
        };
        let latest = self.known.iter_mut().rev().find(same).map(|known| &mut known.1);
        if !message.response {
            match latest {
                Some(lookup) if lookup.answer.is_none() => {
                    lookup.asked.get_or_insert(at);
                    lookup.asked_times = lookup.asked_times.saturating_add(1);
                }
                _ => {
                    let lookup = Lookup {
                        cell,
                        client: source,
                        server: destination,
                        name,
                        kind,
                        asked: Some(at),
                        asked_times: 1,
                        answer: None,
                    };
                    self.push(message.id, lookup, told);
                }
            }
            return;
        }
        let answer = Answer {
            at,
            code: message.code,
            extended_error: message.extended_error,
            addresses: message.addresses,
            whole: message.whole,
            aliases: message.aliases,
        };
        match latest {
            Some(lookup) if lookup.answer.is_none() => lookup.answer = Some(answer),
            // The same answer again: the first one was what the client went by.
            Some(_) => {}
            None => {
                let lookup = Lookup {
                    cell,
                    client: destination,
                    server: source,
                    name,
                    kind,
                    asked: None,
                    asked_times: 0,
                    answer: Some(answer),
                };
                self.push(message.id, lookup, told);
            }
        }
    }

    /// All that is left.
    pub fn finish(self, told: &mut Vec<Lookup>) {
        told.extend(self.known.into_iter().map(|(_, lookup)| lookup));
    }

    fn push(&mut self, id: u16, lookup: Lookup, told: &mut Vec<Lookup>) {
        if self.known.len() >= MOST_QUESTIONS {
            told.extend(self.known.pop_front().map(|(_, lookup)| lookup));
        }
        self.known.push_back((id, lookup));
    }
}

/// The packet by which a lookup is put in order.
pub fn order(lookup: &Lookup) -> Option<PacketRef> {
    lookup.asked.or(lookup.answer.as_ref().map(|answer| answer.at))
}

/// Names of addresses, as answers gave them, each with the first answer that did.
#[derive(Debug, Default)]
pub struct Names(HashMap<(CellId, IpAddr), BTreeMap<String, PacketRef>, RandomState>);

impl Names {
    /// The names in these lookups: the one asked for and the aliases on the way.
    pub fn of(lookups: &[Lookup]) -> Self {
        let mut names = Self::default();
        for lookup in lookups {
            let Some(answer) = &lookup.answer else { continue };
            for &address in &answer.addresses {
                let known = names.0.entry((lookup.cell, address)).or_default();
                for name in std::iter::once(&lookup.name).chain(&answer.aliases) {
                    let full = known.len() >= MOST_NAMES;
                    match known.get_mut(name) {
                        Some(first) => *first = (*first).min(answer.at),
                        None if full => {}
                        None => {
                            known.insert(name.clone(), answer.at);
                        }
                    }
                }
            }
        }
        names
    }

    /// Whether a host was ever given a name.
    pub fn knows(&self, cell: CellId, host: Host) -> bool {
        host.ip().is_some_and(|ip| self.0.contains_key(&(cell, ip)))
    }

    /// Names that a host had been given by this packet.
    pub fn before(&self, cell: CellId, host: Host, at: PacketRef) -> impl Iterator<Item = &str> {
        let known = host.ip().and_then(|ip| self.0.get(&(cell, ip)));
        let until = at.time.plus(LATE);
        known
            .into_iter()
            .flatten()
            .filter(move |(_, first)| first.time <= until)
            .map(|(name, _)| name.as_str())
    }

    /// Adds the server's names to those that a flow states itself.
    pub fn add_to(&self, flow: &mut FlowRecord) {
        if !self.knows(flow.cell, flow.server.host) {
            return;
        }
        let mut names: BTreeSet<String> = std::mem::take(&mut flow.hosts).into_iter().collect();
        names.extend(self.before(flow.cell, flow.server.host, flow.first).map(str::to_owned));
        flow.hosts = names.into_iter().collect();
    }
}

/// Names of the server that a flow's own payload states: TLS and QUIC server name, HTTP host.
///
/// A request to a proxy, and the TLS inside its tunnel, name whom the proxy is to reach: they say nothing of the server.
pub fn stated(facts: &Facts) -> Vec<String> {
    if facts.get("http.connect").is_some() {
        return Vec::new();
    }
    let names: BTreeSet<String> = facts
        .all("tls.sni")
        .chain(facts.all("quic.sni"))
        .chain(facts.all("http.host"))
        .filter_map(|text| {
            let name = match text.rsplit_once(':') {
                Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
                _ => text,
            };
            let name = name.trim_end_matches('.').to_lowercase();
            // An address is no name.
            (!name.is_empty() && name.trim_matches(['[', ']']).parse::<IpAddr>().is_err()).then_some(name)
        })
        .collect();
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InputId;
    use crate::model::Timestamp;

    #[test]
    fn names_are_names_of_the_server() {
        let check = |facts: &[(&'static str, &str)], expected: &[&str]| {
            let mut known = Facts::new();
            for &(key, value) in facts {
                known.add(key, value);
            }
            assert_eq!(stated(&known), expected, "{facts:?}");
        };
        check(&[("tls.sni", "SM.Plant.Example.")], &["sm.plant.example"]);
        check(&[("http.host", "b.example:8080"), ("http.host", "a.example")], &["a.example", "b.example"]);
        check(&[("http.host", "10.0.0.1"), ("http.host", "10.0.0.1:80"), ("http.host", "[fd00::1]:80")], &[]);
        check(
            &[("http.connect", "c.example:443"), ("http.host", "c.example"), ("tls.sni", "c.example")],
            &[],
        );
    }

    #[test]
    fn the_bound_on_questions_tells_the_oldest() {
        let host = |last| Host::Ip(IpAddr::from([10, 0, 0, last]));
        let mut questions = Questions::default();
        let mut told = Vec::new();
        for number in 0..100u16 {
            let message = DnsMessage {
                id: number,
                response: false,
                question: Some((format!("n{number}.example"), 1)),
                code: 0,
                extended_error: None,
                addresses: Vec::new(),
                whole: true,
                aliases: Vec::new(),
            };
            let at = PacketRef::new(Timestamp::default(), InputId(0), u64::from(number) + 1);
            questions.hear(message, at, CellId(0), (host(1), host(2)), &mut told);
        }
        assert_eq!((told.len(), told[0].name.as_str()), (100 - MOST_QUESTIONS, "n0.example"));
        questions.finish(&mut told);
        assert_eq!(told.len(), 100);
    }
}
