//! Flows and observations put together by hand, for the tests of the audit.

use std::net::IpAddr;
use std::net::Ipv4Addr;

use crate::model::CellId;
use crate::model::Conversation;
use crate::model::ConversationKey;
use crate::model::Endpoint;
use crate::model::FlowRecord;
use crate::model::Heard;
use crate::model::Host;
use crate::model::IcmpError;
use crate::model::Input;
use crate::model::InputId;
use crate::model::MacAddr;
use crate::model::Observed;
use crate::model::Outcome;
use crate::model::PacketRef;
use crate::model::Reset;
use crate::model::Role;
use crate::model::RoleBasis;
use crate::model::Series;
use crate::model::Timestamp;
use crate::model::Transport;

/// Who opens.
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 10));
/// Who accepts.
pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 20));
/// Somebody in between.
pub const FIREWALL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1));
/// The MAC addresses of the three.
pub const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 10]);
/// The server's.
pub const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 20]);
/// The firewall's.
pub const FIREWALL_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// A packet so many milliseconds after the beginning; its number goes with its time.
pub fn at(milliseconds: i64) -> PacketRef {
    PacketRef::new(Timestamp::from_nanos(milliseconds * 1_000_000), InputId(0), milliseconds as u64 + 1)
}

/// Like packets at these milliseconds.
pub fn series(times: &[i64]) -> Series {
    let mut series = Series::default();
    times.iter().for_each(|&time| series.add(at(time)));
    series
}

/// A flow of which nothing was heard yet.
pub fn flow(transport: Transport, port: u16, outcome: Outcome) -> FlowRecord {
    FlowRecord {
        transport,
        cell: CellId(0),
        client: Endpoint { host: Host::Ip(CLIENT), port: Some(50_000) },
        server: Endpoint { host: Host::Ip(SERVER), port: Some(port) },
        role_basis: RoleBasis::Handshake,
        classification: Box::default(),
        outcome,
        reason: None,
        from_client: Default::default(),
        from_server: Default::default(),
        errors: Box::default(),
        first: at(0),
        last: at(0),
        vlans: Box::default(),
        tunnels: Box::default(),
        hosts: Vec::new(),
    }
}

/// SYNs at these milliseconds, and nothing else.
pub fn syns(times: &[i64]) -> FlowRecord {
    let mut flow = flow(Transport::Tcp, 443, Outcome::Unanswered);
    flow.from_client.syn = series(times);
    flow.from_client.packets = times.len() as u64;
    flow.from_client.first = times.first().map(|&time| at(time));
    flow.from_client.last = times.last().map(|&time| at(time));
    (flow.from_client.mac, flow.from_client.ttl) = (Some(CLIENT_MAC), Some(64));
    flow.first = at(times.first().copied().unwrap_or(0));
    flow.last = at(times.last().copied().unwrap_or(0));
    flow
}

/// A connection whose handshake is whole, from this millisecond on.
pub fn opened(start: i64) -> FlowRecord {
    let mut flow = syns(&[start]);
    flow.outcome = Outcome::Established;
    flow.from_client.packets = 2;
    flow.from_client.first_ack = Some(at(start + 2));
    flow.from_server.packets = 1;
    flow.from_server.syn = series(&[start + 1]);
    flow.from_server.first = Some(at(start + 1));
    flow.from_server.last = Some(at(start + 1));
    (flow.from_server.mac, flow.from_server.ttl) = (Some(SERVER_MAC), Some(64));
    flow.last = at(start + 2);
    flow
}

/// The same, with a request sent at these milliseconds and never acknowledged.
pub fn asked(start: i64, times: &[i64]) -> FlowRecord {
    let mut flow = opened(start);
    flow.from_client.payload_packets = times.len() as u64;
    flow.from_client.payload_bytes = 300;
    flow.from_client.first_payload = times.first().map(|&time| at(time));
    flow.from_client.unacknowledged = series(times);
    flow.last = at(times.last().copied().unwrap_or(start));
    flow
}

/// The same, answered, and the answer acknowledged.
pub fn answered(start: i64, protocol: &'static str) -> FlowRecord {
    let mut flow = asked(start, &[start + 3]);
    flow.from_client.unacknowledged = Series::default();
    flow.from_client.payload_acknowledged = 300;
    flow.from_client.acked_payload = Some(at(start + 6));
    flow.from_server.payload_packets = 1;
    flow.from_server.payload_bytes = 500;
    flow.from_server.payload_acknowledged = 500;
    flow.from_server.first_payload = Some(at(start + 5));
    flow.last = at(start + 6);
    speaks(&mut flow, &[protocol]);
    flow
}

/// Says what a flow proved to be.
pub fn speaks(flow: &mut FlowRecord, layers: &[&'static str]) {
    flow.classification.protocol = layers.last().copied();
    flow.classification.layers = layers.into();
    flow.classification.proven = Some(flow.last);
}

/// States a fact of a flow.
pub fn states(flow: &mut FlowRecord, key: &'static str, value: &str) {
    flow.classification.facts.add(key, value);
}

/// A reset with that look.
pub fn reset(time: i64, mac: MacAddr, ttl: u8) -> Reset {
    Reset { at: at(time), ttl, identification: 0, mac: Some(mac), answers_syn: true }
}

/// An ICMP destination-unreachable message that quotes the client.
pub fn error(time: i64, from: IpAddr, code: u8) -> IcmpError {
    IcmpError {
        at: at(time),
        from,
        mac: None,
        kind: if from.is_ipv6() { 1 } else { 3 },
        code,
        quotes: Role::Client,
        fits: true,
    }
}

/// What a capture of these flows comes to; it ends after so many milliseconds.
pub fn observed(flows: Vec<FlowRecord>, end: i64) -> Observed {
    let mut observed = Observed::default();
    observed.vantage.first = Some(at(0).time);
    observed.vantage.last = Some(at(end).time);
    observed.inputs.push(Input { name: "a.pcap".to_owned(), ..Input::default() });
    for flow in flows {
        for (host, side) in [(flow.client.host, &flow.from_client), (flow.server.host, &flow.from_server)] {
            if let (Some(first), Some(last)) = (side.first, side.last) {
                let known = observed.vantage.heard.entry((flow.cell, host)).or_insert(Heard {
                    packets: 0,
                    first,
                    last,
                });
                known.packets += side.packets;
                known.first = known.first.min(first);
                known.last = known.last.max(last);
            }
        }
        match observed.conversations.get_mut(&ConversationKey::of(&flow)) {
            Some(known) => known.fold(flow),
            None => {
                observed.conversations.insert(ConversationKey::of(&flow), Conversation::new(flow).into());
            }
        }
    }
    observed
}

/// A capture in which this much of 100,000 acknowledged bytes was never seen.
pub fn lossy(mut observed: Observed, percent: u64) -> Observed {
    observed.vantage.acknowledged_bytes = 100_000;
    observed.vantage.unseen_bytes = percent * 1000;
    observed
}
