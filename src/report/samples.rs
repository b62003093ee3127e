//! Hand-built reports and flows for the formats' tests.

use std::collections::BTreeMap;

use crate::model::*;

use super::FlowList;

const START: i64 = 1_795_166_043_112_345_678;

/// Packet `number` of the first input, `millis` after the start.
pub fn at(number: u64, millis: i64) -> PacketRef {
    PacketRef::new(Timestamp::from_nanos(START + millis * 1_000_000), InputId(0), number)
}

fn input() -> Input {
    Input {
        name: "plant-7.pcap".into(),
        format: "pcap".into(),
        packets: 1_273,
        bytes: 204_800,
        filtered: 0,
        first: Some(at(1, 0).time),
        last: Some(at(1_273, 368_000).time),
        cut_packets: 2,
        dropped: None,
        lossiest: None,
        time_reversals: 0,
        stopped: Some(Stop {
            after: Some(at(1_273, 368_000)),
            why: "cut off in the middle of packet 1274: the record says 1514 bytes, 803 are there".into(),
        }),
        vantage: None,
        sha256: None,
    }
}

fn tally() -> Tally {
    let mut tally = Tally { packets: 1_273, in_flows: 1_257, duplicates: 3, flows: 5, ..Tally::default() };
    (0..13).for_each(|n| tally.undecodable("truncated-ipv4", at(40 + n, 900)));
    tally
}

fn vantage() -> Vantage {
    let heard = |packets, first, last| Heard { packets, first, last };
    Vantage {
        first: Some(at(1, 0).time),
        last: Some(at(1_273, 368_000).time),
        unseen_bytes: 12,
        acknowledged_bytes: 120_000,
        dropped: None,
        pairs: 9,
        one_sided_pairs: 1,
        latest_pairs: 0,
        lost_pairs: 0,
        duplicates: 3,
        copies: Copies { routed: 3, ..Copies::default() },
        cut_packets: 2,
        encapsulations: BTreeMap::from([
            ("vlan 20".into(), 1_200),
            ("erspan 10.0.0.1 > 10.0.0.2".into(), 1_273),
        ]),
        overlapping: vec!["10.1.2.10".into()],
        heard: BTreeMap::from([((CellId(0), ip("10.1.2.10")), heard(400, at(1, 0), at(1_200, 300_000)))]),
        unread_errors: BTreeMap::new(),
        left_out: BTreeMap::from([("older name lookups left out", 12)]),
        notes: vec![
            "One pair of hosts was heard in one direction only: what it says is capped at undecided.".into(),
        ],
    }
}

fn ip(text: &str) -> Host {
    Host::Ip(text.parse().unwrap())
}

fn end(host: &str, port: Option<u16>) -> Endpoint {
    Endpoint { host: ip(host), port }
}

/// A flow of eight packets.
pub fn flow(transport: Transport, client: Endpoint, server: Endpoint, outcome: Outcome) -> FlowRecord {
    let side =
        |packets, bytes| SideRecord { packets, bytes, payload_packets: packets / 2, ..SideRecord::default() };
    FlowRecord {
        transport,
        cell: CellId(0),
        client,
        server,
        role_basis: RoleBasis::Handshake,
        classification: Box::default(),
        outcome,
        reason: None,
        from_client: side(5, 1_200),
        from_server: side(3, 900),
        errors: Box::default(),
        first: at(17, 0),
        last: at(99, 8_000),
        vlans: Box::new([20]),
        tunnels: Box::default(),
        hosts: Vec::new(),
    }
}

fn flows() -> Vec<FlowRecord> {
    let mut amqp = flow(
        Transport::Tcp,
        end("10.1.2.10", Some(51_234)),
        end("10.1.9.5", Some(5_672)),
        Outcome::Established,
    );
    amqp.classification.protocol = Some("tls");
    amqp.classification.layers = ["tls"].into_iter().collect();
    amqp.classification.facts.add("tls.version", "1.3");
    amqp.classification.facts.add("tls.sni", "sm.plant.example");
    amqp.hosts = vec!["sm.plant.example".into()];

    let mut hostile = flow(
        Transport::Tcp,
        end("10.1.2.11", Some(40_000)),
        end("2001:db8::9:5", Some(443)),
        Outcome::Unanswered,
    );
    hostile.reason = Some("3 SYNs in 7 s and nothing back".into());
    hostile.classification.facts.add("tls.sni", "x\u{1b}[2Jy\u{202e}z");
    hostile.from_server = SideRecord::default();
    hostile.cell = CellId(1);

    let mut ping =
        flow(Transport::Icmp, end("192.168.0.89", None), end("192.168.0.1", None), Outcome::Answered);
    ping.classification.facts.add("icmp.type", "8");
    ping.classification.facts.add("icmp.code", "0");

    let mac = |last| Endpoint { host: Host::Mac(MacAddr([0, 0x1b, 0x1b, 1, 2, last])), port: None };
    let mut dcp = flow(Transport::Ethernet(EtherKind::Type(0x8892)), mac(3), mac(4), Outcome::Observed);
    dcp.classification.protocol = Some("profinet-dcp");
    dcp.classification.layers = ["profinet-dcp"].into_iter().collect();

    let igmp = flow(Transport::Ip(2), end("10.1.2.10", None), end("224.0.0.22", None), Outcome::Observed);
    vec![amqp, hostile, ping, dcp, igmp]
}

/// Shows a small list of flows to a format.
pub fn with_flows(show: impl FnOnce(&FlowList<'_>)) {
    let (inputs, vantage, cells, flows, tally) =
        ([input()], vantage(), ["cell-2".to_owned()], flows(), tally());
    show(&FlowList { inputs: &inputs, vantage: &vantage, cells: &cells, flows: &flows, tally: &tally });
}

fn requirement(
    id: &str,
    rule: &str,
    ends: [&str; 4],
    ports: &str,
    verdict: Verdict,
    reason: &str,
) -> Requirement {
    let [from, to, source, target] = ends.map(str::to_owned);
    Requirement {
        id: id.into(),
        ruleset: "opswat-md-ot-security".into(),
        rule: rule.into(),
        cite: "Site Manager, 5672".into(),
        purpose: "the sensor queues its messages to the Site Manager".into(),
        from,
        to,
        source,
        target,
        transport: "tcp".into(),
        ports: ports.into(),
        protocol: vec!["amqp".into(), "tls".into()],
        need: "required".into(),
        cadence: "continuous".into(),
        verdict,
        reason: reason.into(),
        flows: 2,
        first: Some(at(17, 0)),
        last: Some(at(99, 8_000)),
        history: Vec::new(),
        conversations: Vec::new(),
    }
}

fn failure(mechanism: Mechanism, grade: Grade) -> Failure {
    let evidence =
        Proofs::new(at(17, 0), "SYN from the sensor").and(at(22, 1_003), "the same SYN again").and(
            at(31, 3_010),
            "and again; nothing came back, although the sensor heard others answer meanwhile",
        );
    Failure { mechanism, grade, by: None, evidence }
}

fn requirements() -> Vec<Requirement> {
    let sensor = ["network-sensor", "site-manager", "10.1.2.10", "10.1.9.5"];
    let proved = Proofs::new(at(60, 4_000), "the server's Connection.Tune was acknowledged");
    let mut all = vec![
        requirement(
            "5a10",
            "queue-sensor-to-site",
            sensor,
            "5672",
            Verdict::Blocked(failure(Mechanism::Dropped, Grade::B)),
            "dropped: 3 SYNs in 3 s, nothing back",
        ),
        requirement(
            "5a11",
            "api-sensor-to-site",
            sensor,
            "3006",
            Verdict::Satisfied(proved),
            "TLS 1.3; the inside was not seen",
        ),
        requirement(
            "5a12",
            "console-site",
            ["user", "site-manager", "10.1.50.4", "10.1.9.5"],
            "443",
            Verdict::Violated(failure(Mechanism::WeakTls, Grade::B)),
            "TLS 1.2 where the document asks for 1.3",
        ),
        requirement(
            "5a13",
            "queue-site-to-enterprise",
            ["site-manager", "enterprise-manager", "10.1.9.5", "10.2.0.7"],
            "5673",
            Verdict::Unseen,
            "the source was heard for 6 min and never tried",
        ),
        requirement(
            "5a14",
            "enterprise-to-site",
            ["enterprise-manager", "site-manager", "10.2.0.7", "10.1.9.5"],
            "3006",
            Verdict::NotApplicable,
            "bidirectional is off",
        ),
        requirement(
            "5a15",
            "ldap",
            ["network-sensor", "ldap-server", "10.1.2.10", "10.1.6.51"],
            "389",
            Verdict::Undecided,
            "one attempt in the last second of the capture",
        ),
    ];
    let mut human = requirement(
        "5a16",
        "activation",
        ["site-manager", "opswat-activation", "10.1.9.5", "activation.dl.opswat.com"],
        "443",
        Verdict::Unseen,
        "the source was heard for 6 min and never tried",
    );
    human.cadence = "rare".into();
    human.protocol = vec!["tls".into()];
    all.push(human);
    if let Some(blocked) = all.first_mut() {
        blocked.history = vec![
            Phase { verdict: "satisfied", mechanism: None, since: at(5, -60_000) },
            Phase { verdict: "blocked", mechanism: Some("dropped"), since: at(17, 0) },
        ];
    }
    all
}

fn conversation(
    id: &str,
    server: &str,
    port: u16,
    protocol: &'static str,
    verdict: ConversationVerdict,
) -> Box<JudgedConversation> {
    Box::new(JudgedConversation {
        id: id.into(),
        cell: None,
        client: "10.1.50.9".into(),
        server: server.into(),
        transport: Transport::Tcp,
        port: Some(port),
        protocols: [protocol].into(),
        layers: smallvec::smallvec![protocol],
        hosts: Vec::new(),
        flows: 3,
        packets: 120,
        bytes: 8_400,
        first: at(200, 20_000),
        last: at(320, 29_000),
        outcomes: Few::from_iter([(Outcome::Established, 3)]),
        verdict,
        rule: None,
        reason: "no rule has 10.1.50.9 as a source".into(),
        evidence: Proofs::new(at(200, 20_000), "SYN"),
    })
}

fn findings() -> Vec<Finding> {
    vec![
        Finding {
            id: "f3a9c1d2".into(),
            kind: FindingKind::Blocked(Cause { mechanism: Mechanism::Dropped, grade: Grade::B }),
            severity: Severity::High,
            title: "network-sensor can't reach site-manager on tcp/5672: dropped".into(),
            detail: "10.1.2.10 sent 3 SYNs to 10.1.9.5:5672 over 3.01 s and nothing came back, although answers from that network were \
                heard meanwhile."
                .into(),
            advice: "Allow tcp/5672 from 10.1.2.10 to 10.1.9.5.".into(),
            addressee: Addressee::Firewall,
            requirements: vec!["5a10".into()],
            conversations: Vec::new(),
            evidence: failure(Mechanism::Dropped, Grade::B).evidence,
            counts: true,
        },
        Finding {
            id: "0b77e210".into(),
            kind: FindingKind::Unexpected,
            severity: Severity::Medium,
            title: "10.1.50.9 speaks s7comm to 10.1.1.101, which nobody documented".into(),
            detail: "3 flows, 120 packets.".into(),
            advice: "Find out who 10.1.50.9 is; allow it in the site file, or stop it.".into(),
            addressee: Addressee::Site,
            requirements: Vec::new(),
            conversations: vec!["c1".into()],
            evidence: Proofs::new(at(200, 20_000), "SYN"),
            counts: true,
        },
    ]
}

/// A report with something of everything.
pub fn report() -> Report {
    Report {
        inputs: vec![input()],
        vantage: vantage(),
        site: SiteSummary {
            name: "plant-7".into(),
            file: Some("plant-7.toml".into()),
            rulesets: vec![RulesetSummary {
                id: "opswat-md-ot-security".into(),
                title: "OPSWAT MetaDefender OT Security: firewall allow-list".into(),
                revision: "3.4.10".into(),
            }],
            features: vec!["ldap".into()],
            roles: vec![
                RoleSummary {
                    role: "network-sensor".into(),
                    endpoints: vec!["10.1.2.10".into()],
                    guessed: None,
                },
                RoleSummary {
                    role: "site-manager".into(),
                    endpoints: vec!["10.1.9.5".into()],
                    guessed: None,
                },
            ],
            assumptions: vec!["No mode was given: unidirectional is assumed.".into()],
            provisional: false,
            warnings: vec!["The waiver of 0b77e210 by J. Doe ended on 2026-10-31.".into()],
        },
        conclusion: Conclusion::Findings,
        because: Vec::new(),
        requirements: requirements(),
        conversations: vec![
            conversation("c1", "10.1.1.101", 102, "s7comm", ConversationVerdict::Unexpected),
            conversation("c2", "10.1.9.5", 3_006, "tls", ConversationVerdict::Allowed),
            conversation("c3", "10.1.6.53", 53, "dns", ConversationVerdict::Infrastructure),
        ],
        findings: findings(),
        tally: tally(),
    }
}

/// What an audit without a site file comes to: roles are guessed, nothing is called unexpected.
pub fn provisional_report() -> Report {
    let mut report = report();
    report.site.file = None;
    report.site.provisional = true;
    report.site.name = "unnamed".into();
    for role in &mut report.site.roles {
        role.guessed =
            Some(Evidence { at: at(17, 0), note: "queues to 10.1.9.5:5672, as only a sensor does".into() });
    }
    report.conclusion = Conclusion::Inconclusive;
    report.because = vec!["the roles were guessed from the traffic".into()];
    report.findings.truncate(1);
    report
}

/// The report with hostile text wherever a capture, a file name or a file's author can put it.
pub fn hostile_report() -> Report {
    let mut report = report();
    let poison = |text: &mut String| text.push_str("\u{1b}]0;x\u{7}\r\n\u{9b}2J\u{202e}\u{200b}");
    report.inputs.iter_mut().for_each(|input| poison(&mut input.name));
    report.because.push("x\u{1b}[2J".into());
    let site = &mut report.site;
    site.rulesets
        .iter_mut()
        .for_each(|set| [&mut set.id, &mut set.title, &mut set.revision].into_iter().for_each(poison));
    site.roles.iter_mut().for_each(|role| role.endpoints.iter_mut().chain([&mut role.role]).for_each(poison));
    site.features
        .iter_mut()
        .chain(&mut site.assumptions)
        .chain(&mut site.warnings)
        .chain([&mut site.name])
        .for_each(poison);
    site.file.iter_mut().for_each(poison);
    report.vantage.notes.iter_mut().chain(&mut report.vantage.overlapping).for_each(poison);
    report.vantage.encapsulations = BTreeMap::from([("vlan\u{1b}c".into(), 1)]);
    for told in &mut report.requirements {
        let all = [
            &mut told.rule,
            &mut told.cite,
            &mut told.purpose,
            &mut told.source,
            &mut told.target,
            &mut told.ports,
            &mut told.reason,
        ];
        all.into_iter().chain(&mut told.protocol).for_each(poison);
    }
    for told in &mut report.conversations {
        told.hosts.push("h\u{1b}[2J".into());
        told.rule = Some("r\u{7f}".into());
        poison(told.reason.to_mut());
        for address in [&mut told.client, &mut told.server] {
            let mut text = address.to_string();
            poison(&mut text);
            *address = text.into();
        }
        told.evidence = told.evidence.map(|piece| {
            let mut piece = piece.clone();
            poison(piece.note.to_mut());
            piece
        });
    }
    for told in &mut report.findings {
        [&mut told.title, &mut told.detail, told.advice.to_mut()].into_iter().for_each(poison);
        told.evidence = told.evidence.map(|piece| {
            let mut piece = piece.clone();
            poison(piece.note.to_mut());
            piece
        });
    }
    report
}

/// Nothing at all.
pub fn empty_report() -> Report {
    Report {
        inputs: Vec::new(),
        vantage: Vantage::default(),
        site: SiteSummary::default(),
        conclusion: Conclusion::Compliant,
        because: Vec::new(),
        requirements: Vec::new(),
        conversations: Vec::new(),
        findings: Vec::new(),
        tally: Tally::default(),
    }
}
