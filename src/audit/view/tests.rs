//! What a mirror shows of resets, answers and cells, at the edges of its rules.

use crate::audit::testing::*;
use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::PacketRef;

use super::*;

const CELL: CellId = CellId(0);

fn view(flows: Vec<FlowRecord>) -> View<'static> {
    of(observed(flows, 600_000))
}

/// The view of a capture that is there until the tests end.
fn of(capture: Observed) -> View<'static> {
    View::of(Box::leak(Box::new(capture)), None)
}

/// SYNs in the first three seconds.
fn tried() -> Tried {
    Tried::of(&series(&[0, 1000, 3000]), Transport::Tcp)
}

fn server() -> Host {
    Host::Ip(SERVER)
}

#[test]
fn a_reset_that_passed_no_router_is_its_macs_owners() {
    let known = view(vec![answered(0, "tls")]);
    assert!(known.forged(CELL, server(), &reset(1, FIREWALL_MAC, 64)).is_some());
    assert!(known.forged(CELL, server(), &reset(1, FIREWALL_MAC, 255)).is_some());
    assert!(known.forged(CELL, server(), &reset(1, SERVER_MAC, 64)).is_none(), "its own");
    assert!(known.forged(CELL, server(), &reset(1, FIREWALL_MAC, 63)).is_none(), "passed a router");
    assert!(view(Vec::new()).forged(CELL, server(), &reset(1, FIREWALL_MAC, 64)).is_none(), "no baseline");
}

#[test]
fn behind_a_router_its_mac_is_everybodys() {
    let mut flow = answered(0, "tls");
    flow.from_server.ttl = Some(62);
    assert!(view(vec![flow]).forged(CELL, server(), &reset(1, FIREWALL_MAC, 64)).is_none());
}

#[test]
fn virtual_and_announced_addresses_move_between_machines() {
    let vrrp = MacAddr([0, 0, 0x5e, 0, 1, 7]);
    assert!(view(vec![answered(0, "tls")]).forged(CELL, server(), &reset(1, vrrp, 255)).is_none());
    let mut capture = observed(vec![answered(0, "tls")], 600_000);
    capture.resolutions.push(crate::model::Resolution {
        cell: CELL,
        asker: None,
        target: SERVER,
        unanswered: Series::default(),
        answer: Some((at(500), FIREWALL_MAC)),
    });
    let moved = View::of(&capture, None);
    assert!(moved.forged(CELL, server(), &reset(1, FIREWALL_MAC, 64)).is_none(), "a lease or a failover");
}

#[test]
fn a_resets_ttl_is_held_against_three_other_resets_only() {
    let resets = |count: u16| {
        let flows = (0..count).map(|port| {
            let mut flow = answered(0, "tls");
            flow.client.port = Some(40_000 + port);
            // Far away, so that no MAC tells; its other packets start from another initial TTL.
            (flow.from_server.ttl, flow.from_server.mac) = (Some(120), Some(FIREWALL_MAC));
            flow.from_server.reset = Some(reset(10, FIREWALL_MAC, 56));
            flow
        });
        view(flows.collect())
    };
    let odd = reset(1, FIREWALL_MAC, 60);
    assert!(resets(3).forged(CELL, server(), &odd).is_some());
    assert!(resets(2).forged(CELL, server(), &odd).is_none(), "two resets are no baseline");
    let from_another_start = reset(1, FIREWALL_MAC, 247);
    assert!(
        resets(3).forged(CELL, server(), &from_another_start).is_none(),
        "eight hops from 255 as from 64"
    );
}

#[test]
fn routers_speak_for_themselves_in_icmp() {
    let silent = syns(&[0, 1000, 3000]);
    let mut pinged = flow_between_routers();
    pinged.from_client.packets = 1;
    (pinged.from_client.mac, pinged.from_client.ttl) = (Some(FIREWALL_MAC), Some(64));
    let mut asking = silent.clone();
    asking.from_client.neighbour = Some(FIREWALL_MAC);
    let known = view(vec![asking.clone(), pinged]);
    let sight = known.sight(CELL, Host::Ip(CLIENT), &asking.from_client, server(), tried());
    assert!(matches!(sight, Sight::None(_)), "{sight:?}");
    // A connection that comes through the same router shows what it forwards.
    let mut through = answered(0, "tls");
    through.server.host = Host::Ip("192.0.2.9".parse().expect("an address"));
    (through.from_server.mac, through.from_server.ttl) = (Some(FIREWALL_MAC), Some(60));
    let known = view(vec![asking.clone(), through]);
    assert_eq!(known.sight(CELL, Host::Ip(CLIENT), &asking.from_client, server(), tried()), Sight::Clear);
}

/// An ICMP message of the firewall to the client.
fn flow_between_routers() -> FlowRecord {
    let mut flow = flow(Transport::Icmp, 0, crate::model::Outcome::Observed);
    flow.client.host = Host::Ip(FIREWALL);
    flow.server.host = Host::Ip(CLIENT);
    (flow.client.port, flow.server.port) = (None, None);
    flow
}

#[test]
fn one_address_with_two_machines_on_two_vlans_is_two_cells() {
    let on = |vlan: u16, mac: MacAddr, ttl: u8| {
        let mut flow = answered(0, "tls");
        flow.client.port = Some(40_000 + vlan);
        flow.vlans = Box::new([vlan]);
        (flow.from_server.mac, flow.from_server.ttl) = (Some(mac), Some(ttl));
        flow
    };
    let cloned = view(vec![on(10, SERVER_MAC, 64), on(20, FIREWALL_MAC, 64)]);
    assert!(cloned.is_cloned(CELL, server(), &[10]) && cloned.is_cloned(CELL, server(), &[20]));
    assert!(!cloned.is_cloned(CELL, server(), &[30]));
    let routed = view(vec![on(10, SERVER_MAC, 64), on(20, FIREWALL_MAC, 63)]);
    assert!(!routed.is_cloned(CELL, server(), &[10]), "the same machine, seen behind a router as well");
    let trunk = view(vec![on(10, SERVER_MAC, 64), on(20, SERVER_MAC, 64)]);
    assert!(!trunk.is_cloned(CELL, server(), &[10]), "one machine on two VLANs");
}

#[test]
fn the_end_is_that_of_the_file_where_the_clock_went_back() {
    let mut late = answered(0, "tls");
    late.last = PacketRef::new(at(5_000).time, at(5_000).input(), 1_000_000);
    let mut capture = observed(vec![answered(300_000, "ssh"), late], 300_006);
    capture.inputs.iter_mut().for_each(|input| input.time_reversals = 1);
    let known = View::of(&capture, None);
    assert!(known.ends_too_soon(at(4_500), Duration::from_secs(1)), "half a second before the last packet");
    assert!(!known.ends_too_soon(at(3_000), Duration::from_secs(1)));
    assert!(!known.ends_too_soon(at(200_000), Duration::from_secs(1)), "before the step");
}

#[test]
fn what_a_server_sends_through_its_gateway_is_seen_whomever_it_is_for() {
    // The server's own port is mirrored: what it sends to others carries its own MAC and passed no router.
    let elsewhere = |ttl: u8, client: &str| {
        let mut flow = answered(0, "tls");
        flow.client.host = Host::Ip(client.parse().expect("an address"));
        flow.from_server.ttl = Some(ttl);
        flow
    };
    let asking = syns(&[0, 1000, 3000]);
    let sight =
        |known: &View<'_>| known.sight(CELL, Host::Ip(CLIENT), &asking.from_client, server(), tried());
    assert_eq!(sight(&view(vec![asking.clone(), elsewhere(64, "10.0.3.30")])), Sight::Clear);
    let behind_a_router = view(vec![asking.clone(), elsewhere(63, "10.0.3.30")]);
    assert_ne!(sight(&behind_a_router), Sight::Clear, "answers may take another way");
    let neighbours_only = view(vec![asking.clone(), elsewhere(64, "10.0.2.30")]);
    assert_ne!(sight(&neighbours_only), Sight::Clear, "nothing that went through its gateway");
}

#[test]
fn a_host_that_stops_answering_for_its_address_is_down() {
    let asked =
        |asker: IpAddr, target: IpAddr, times: &[i64], answer: Option<i64>| crate::model::Resolution {
            cell: CELL,
            asker: Some(asker),
            target,
            unanswered: series(times),
            answer: answer.map(|time| (at(time), SERVER_MAC)),
        };
    let others = asked(FIREWALL, CLIENT, &[], Some(400));
    let known = |resolution, flows| {
        let mut capture = observed(flows, 5_000);
        capture.resolutions = vec![others.clone(), resolution];
        of(capture)
    };
    let four = &[1_000, 2_000, 3_000, 4_900];
    let down = |view: &View<'_>| view.down(CELL, server()).is_some();
    assert!(down(&known(asked(FIREWALL, SERVER, four, None), Vec::new())));
    assert!(down(&known(asked(FIREWALL, SERVER, four, Some(500)), Vec::new())), "it answered once");
    assert!(
        !down(&known(asked(FIREWALL, SERVER, &four[1..], None), Vec::new())),
        "three, and the capture ends"
    );
    assert!(
        !down(&known(asked(FIREWALL, SERVER, four, Some(500)), vec![answered(4_000, "tls")])),
        "heard since"
    );
}

#[test]
fn the_way_back_must_be_heard_around_an_attempt() {
    // Heard in the first milliseconds only, through the router to which the client hands its packets.
    let mut asking = syns(&[300_000, 301_000, 303_000]);
    asking.from_client.neighbour = Some(FIREWALL_MAC);
    let mut through = answered(0, "tls");
    through.server.host = Host::Ip("192.0.2.9".parse().expect("an address"));
    (through.from_server.mac, through.from_server.ttl) = (Some(FIREWALL_MAC), Some(60));
    let sight = |flows: Vec<FlowRecord>, transport, times: &[i64]| {
        let tried = Tried::of(&series(times), transport);
        view(flows).sight(CELL, Host::Ip(CLIENT), &asking.from_client, server(), tried)
    };
    let late = &[300_000, 301_000, 303_000];
    let before = || vec![asking.clone(), through.clone()];
    assert!(matches!(sight(before(), Transport::Tcp, late), Sight::Likely(_)), "five minutes before");
    assert!(matches!(sight(before(), Transport::Udp, late), Sight::None(_)), "a datagram shows nothing");
    assert_eq!(sight(before(), Transport::Tcp, &[50_000, 51_000, 53_000]), Sight::Clear, "within a minute");
    let mut again = through.clone();
    again.client.port = Some(40_001);
    for side in [&mut again.from_client, &mut again.from_server] {
        (side.first, side.last) = (Some(at(500_000)), Some(at(500_001)));
    }
    (again.first, again.last) = (at(500_000), at(500_001));
    let around = vec![asking.clone(), through, again];
    assert_eq!(sight(around, Transport::Udp, late), Sight::Clear, "before and after");
}

#[test]
fn a_host_may_be_heard_behind_a_router_only() {
    let from = |ttl: u8| {
        let mut flow = answered(0, "tls");
        flow.from_client.ttl = Some(ttl);
        view(vec![flow]).is_behind_a_router(Host::Ip(CLIENT))
    };
    assert!(from(63) && !from(64) && !from(128));
    assert!(!view(Vec::new()).is_behind_a_router(Host::Ip(CLIENT)), "never heard");
}

#[test]
fn loss_is_that_of_the_pair_where_it_said_enough() {
    let lossy_flow = |port: u16, acknowledged: u64, unseen: u64| {
        let mut flow = answered(0, "tls");
        flow.client.port = Some(port);
        flow.from_server.payload_acknowledged = acknowledged;
        flow.from_server.unseen_acknowledged = unseen;
        flow.from_client.payload_acknowledged = 0;
        flow
    };
    let told = |acknowledged: u64, unseen: u64, percent: u64| {
        let flow = lossy_flow(50_000, acknowledged, unseen);
        let known = of(lossy(observed(vec![flow.clone()], 600_000), percent));
        known.missing(&flow).map(|missing| known.told_missing(missing))
    };
    let pair = told(200_000, 10_000, 0).unwrap();
    assert!(pair.contains("5.0 %") && pair.contains("10000 of 200000"), "{pair}");
    assert!(pair.contains(&SERVER.to_string()), "{pair}");
    let whole = told(99_999, 10_000, 2).unwrap();
    assert!(whole.contains("2.0 % of the traffic (2000 of 100000 acknowledged bytes)"), "{whole}");
    let quiet = of(observed(vec![lossy_flow(50_000, 300, 0)], 600_000));
    assert_eq!(quiet.missing(&lossy_flow(50_000, 300, 0)), None, "too little traffic to tell");
}

#[test]
fn a_lossy_mirror_is_not_excused_by_another_one() {
    let on = |vlan: u16, acknowledged: u64, unseen: u64| {
        let mut flow = answered(0, "tls");
        flow.server.host = Host::Ip(std::net::IpAddr::from([10, 0, vlan as u8, 1]));
        flow.vlans = Box::new([vlan]);
        flow.from_server.payload_acknowledged = acknowledged;
        flow.from_server.unseen_acknowledged = unseen;
        flow
    };
    let flows = vec![on(10, 20_000, 4_000), on(20, 5_000_000, 0)];
    let mut capture = observed(flows.clone(), 600_000);
    (capture.vantage.acknowledged_bytes, capture.vantage.unseen_bytes) = (5_020_000, 4_000);
    let known = View::of(&capture, None);
    assert!(known.missing(&flows[0]).unwrap().caps());
    assert!(!known.missing(&flows[1]).unwrap().caps());
    assert_eq!(known.lossy_mirrors().len(), 1);
}

#[test]
fn what_the_capturing_machine_says_counts_for_its_recording() {
    let flow = answered(0, "tls");
    let mut capture = observed(vec![flow.clone()], 600_000);
    (capture.inputs[0].packets, capture.inputs[0].dropped) = (900, Some(100));
    let known = View::of(&capture, None);
    let told = known.told_missing(known.missing(&flow).unwrap());
    assert!(told.contains("10.0 % of the packets (100 of 1000"), "{told}");
}

#[test]
fn an_address_that_two_machines_use_in_turns_is_shared() {
    let from = |start: i64, mac: MacAddr| {
        let mut flow = answered(start, "tls");
        flow.client.port = Some(start as u16);
        flow.from_server.mac = Some(mac);
        flow
    };
    let told = |macs: &[MacAddr]| {
        let flows = macs.iter().enumerate().map(|(at, mac)| from(at as i64 * 1_000, *mac));
        view(flows.collect()).shared(CELL, server())
    };
    assert!(told(&[SERVER_MAC, FIREWALL_MAC, SERVER_MAC, FIREWALL_MAC]).is_some());
    assert_eq!(told(&[SERVER_MAC, SERVER_MAC, FIREWALL_MAC, FIREWALL_MAC]), None, "it changed hands");
    assert_eq!(told(&[SERVER_MAC, FIREWALL_MAC, SERVER_MAC, SERVER_MAC]), None, "once is no use in turns");
    let vrrp = MacAddr([0, 0, 0x5e, 0, 1, 7]);
    assert_eq!(told(&[SERVER_MAC, vrrp, SERVER_MAC, vrrp]), None, "a virtual router's");
}
