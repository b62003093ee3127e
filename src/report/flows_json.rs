//! Flows as JSON lines: one object a flow in the order of first packets, then the totals. The contract is in `docs/architecture.md`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::model::Endpoint;
use crate::model::Facts;
use crate::model::FlowRecord;
use crate::model::Tally;
use crate::model::Transport;

use super::FlowFormat;
use super::FlowList;
use super::Style;
use super::community_id::community_id;
use super::json_writer::write_line;
use super::time::Moment;

/// One JSON object a line.
pub struct Json;

impl FlowFormat for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn about(&self) -> &'static str {
        "one JSON object a line, a flow each, then the totals"
    }

    fn ends_with_totals(&self) -> bool {
        true
    }

    fn write(&self, list: &FlowList<'_>, _: &Style, out: &mut dyn io::Write) -> io::Result<()> {
        for flow in list.flows {
            write_line(&FlowLine::of(flow, list), out)?;
        }
        write_line(&TotalsLine { totals: Totals::of(list.tally) }, out)
    }
}

#[derive(Serialize)]
struct FlowLine<'a> {
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ethertype: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_proto: Option<u8>,
    client: End,
    server: End,
    protocol: Option<&'static str>,
    layers: &'a [&'static str],
    tls: Option<Tls<'a>>,
    hosts: &'a [String],
    outcome: &'static str,
    reason: Option<&'a str>,
    packets: Sides,
    bytes: Sides,
    first: Moment,
    last: Moment,
    cell: Option<&'a str>,
    vlan: &'a [u16],
    tunnel: &'a [String],
    community_id: Option<String>,
    file: Cow<'a, str>,
    packet: u64,
    facts: BTreeMap<&'static str, Vec<&'a str>>,
}

impl<'a> FlowLine<'a> {
    fn of(flow: &'a FlowRecord, list: &'a FlowList<'_>) -> Self {
        let facts = &flow.classification.facts;
        Self {
            transport: flow.transport.name(),
            ethertype: match flow.transport {
                Transport::Ethernet(kind) => Some(kind.number()),
                _ => None,
            },
            ip_proto: match flow.transport {
                Transport::Ip(number) => Some(number),
                _ => None,
            },
            client: End::of(flow.client),
            server: End::of(flow.server),
            protocol: flow.classification.protocol,
            layers: &flow.classification.layers,
            tls: Tls::of(facts),
            hosts: &flow.hosts,
            outcome: flow.outcome.name(),
            reason: flow.reason.as_deref(),
            packets: Sides { client: flow.from_client.packets, server: flow.from_server.packets },
            bytes: Sides { client: flow.from_client.bytes, server: flow.from_server.bytes },
            first: Moment(flow.first.time),
            last: Moment(flow.last.time),
            cell: list.cell_name(flow),
            vlan: &flow.vlans,
            tunnel: &flow.tunnels,
            community_id: community_id(flow),
            file: Cow::Borrowed(list.input_name(flow.first)),
            packet: flow.first.number(),
            facts: by_key(facts),
        }
    }
}

#[derive(Serialize)]
struct End {
    addr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

impl End {
    fn of(endpoint: Endpoint) -> Self {
        // An end that the capture does not record has no address to tell.
        let addr = if endpoint.host.is_unknown() { String::new() } else { endpoint.host.to_string() };
        Self { addr, port: endpoint.port }
    }
}

#[derive(Serialize)]
struct Sides {
    client: u64,
    server: u64,
}

/// What the handshake said; `version` is the negotiated one, null where no answer was captured.
#[derive(Serialize)]
struct Tls<'a> {
    version: Option<&'a str>,
    sni: Option<&'a str>,
}

impl<'a> Tls<'a> {
    fn of(facts: &'a Facts) -> Option<Self> {
        let any = facts.iter().any(|fact| fact.key.starts_with("tls."));
        any.then(|| Self { version: facts.get("tls.version"), sni: facts.get("tls.sni") })
    }
}

fn by_key(facts: &Facts) -> BTreeMap<&'static str, Vec<&str>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for fact in facts.iter() {
        keys.entry(fact.key).or_default().push(fact.value.as_str());
    }
    keys
}

#[derive(Serialize)]
struct TotalsLine {
    totals: Totals,
}

/// The sums: `packets` is `in_flows` + `duplicates` + `fragments_pending` + all `undecodable`.
#[derive(Serialize)]
pub struct Totals {
    packets: u64,
    in_flows: u64,
    duplicates: u64,
    fragments_pending: u64,
    undecodable: BTreeMap<&'static str, u64>,
    flows: u64,
    evicted: u64,
    /// Told only where sweeps were folded: the flows of one SYN each that their lines stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    folded: Option<u64>,
}

impl Totals {
    /// The sums of a run.
    pub fn of(tally: &Tally) -> Self {
        Self {
            packets: tally.packets,
            in_flows: tally.in_flows,
            duplicates: tally.duplicates,
            fragments_pending: tally.fragments_pending,
            undecodable: tally
                .undecodable
                .iter()
                .map(|(&reason, counted)| (reason, counted.packets))
                .collect(),
            flows: tally.flows,
            evicted: tally.evicted,
            folded: (tally.folded > 0).then_some(tally.folded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn lines_are_those_of_the_contract() {
        let mut out = Vec::new();
        samples::with_flows(|list| Json.write(list, &Style::default(), &mut out).unwrap());
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }

    #[test]
    fn every_line_is_json_and_the_last_has_the_totals() {
        let mut out = Vec::new();
        samples::with_flows(|list| Json.write(list, &Style::default(), &mut out).unwrap());
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.last().unwrap().get("totals").is_some());
        assert!(lines.iter().rev().skip(1).all(|line| line.get("transport").is_some()));
    }
}
