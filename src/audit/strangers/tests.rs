//! Conversations that nobody documented: told together where they have one cause, and in the right words.

use std::net::Ipv4Addr;

use super::*;
use crate::model::CellId;
use crate::model::ConversationKey;
use crate::model::Few;
use crate::model::Host;
use crate::model::InputId;
use crate::model::JudgedConversation;
use crate::model::PacketRef;
use crate::model::Timestamp;
use crate::model::Transport;

/// A key that stays for as long as the tests run.
fn key(key: ConversationKey) -> &'static ConversationKey {
    Box::leak(Box::new(key))
}

/// An answered conversation over Modbus that nobody documented, whose first packet has that number.
fn judged(number: u16, client: u16, server: u16) -> Judged<'static> {
    let host = |n: u16| Ipv4Addr::from_bits(0x0a00_0000 | u32::from(n));
    let (client, server) = (host(client), host(server));
    let at = PacketRef::new(Timestamp::from_nanos(i64::from(number)), InputId(0), u64::from(number));
    Judged {
        told: Box::new(JudgedConversation {
            id: format!("{client}-{server}").into(),
            cell: None,
            client: client.to_string().into(),
            server: server.to_string().into(),
            transport: Transport::Tcp,
            port: Some(502),
            protocols: ["modbus"].into(),
            layers: smallvec::smallvec!["modbus"],
            hosts: Vec::new(),
            flows: 1,
            packets: 2,
            bytes: 200,
            first: at,
            last: at,
            outcomes: Few::from_iter([(Outcome::Established, 1)]),
            verdict: ConversationVerdict::Unexpected,
            rule: None,
            reason: "no rule covers it".into(),
            evidence: Proofs::new(at, "its first packet"),
        }),
        key: key(ConversationKey {
            cell: CellId(0),
            client: Host::Ip(client.into()),
            server: Host::Ip(server.into()),
            transport: Transport::Tcp,
            port: Some(502),
        }),
        switched_off: None,
        answered: true,
        spoke: true,
        sweeps: false,
    }
}

fn pairs(count: u16) -> Vec<Judged<'static>> {
    (0..count).map(|n| judged(count - n, n, 1000 + n)).collect()
}

#[test]
fn beyond_so_many_findings_of_one_service_one_stands_for_the_rest() {
    let few = ALIKE as u16 + 1;
    assert_eq!(all(&pairs(few), None).len(), ALIKE + 1, "one more is told by itself");
    let told = all(&pairs(few + 99), None);
    assert_eq!(told.len(), ALIKE + 1);
    let rest = told.iter().find(|one| one.conversations.len() > 1).unwrap();
    assert_eq!(rest.title, "100 more pairs of machines talk modbus on tcp/502, and nobody documented it");
    let conversations: BTreeSet<&str> =
        told.iter().flat_map(|one| &one.conversations).map(|id| id.as_str()).collect();
    assert_eq!(conversations.len(), usize::from(few) + 99, "each conversation is in a finding");
}

#[test]
fn a_protocol_on_many_ports_is_one_service() {
    let mut plant = pairs(ALIKE as u16 + 10);
    for (one, port) in plant.iter_mut().zip(5000..) {
        one.told.port = Some(port);
        one.key = key(ConversationKey { port: Some(port), ..*one.key });
    }
    let titles: Vec<String> = all(&plant, None).into_iter().map(|one| one.title).collect();
    let rest = "10 more pairs of machines talk modbus on 10 ports of tcp, and nobody documented it";
    assert!(titles.len() == ALIKE + 1 && titles.iter().any(|title| title == rest), "{titles:#?}");
}

#[test]
fn findings_that_were_told_stay_while_more_conversations_come() {
    let ids =
        |judged: &[Judged<'_>]| all(judged, None).into_iter().map(|one| one.id).collect::<BTreeSet<_>>();
    let mut plant: Vec<Judged<'static>> = (1..=50).map(|n| judged(n, n, 1000 + n)).collect();
    let before = ids(&plant);
    plant.extend((51..=90).map(|n| judged(n, n, 1000 + n)));
    assert_eq!(ids(&plant), before);
}

#[test]
fn what_one_client_does_to_several_machines_is_one_finding() {
    let told = all(&(0..5).map(|n| judged(n + 1, 7, 1000 + n)).collect::<Vec<_>>(), None);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].title, "10.0.0.7 talks modbus on tcp/502 to 5 machines, and nobody documented it");
}

#[test]
fn what_one_client_does_with_several_services_has_an_id_each() {
    let with = |service: u16| {
        (0..6).map(move |n| {
            let mut one = judged(n + 1, 7, 1000 * service + n);
            if service == 2 {
                (one.told.port, one.told.protocols) = (Some(22), ["ssh"].into());
                one.key = key(ConversationKey { port: Some(22), ..*one.key });
            }
            one
        })
    };
    let told = all(&with(1).chain(with(2)).collect::<Vec<_>>(), None);
    let ids: BTreeSet<&str> = told.iter().map(|one| one.id.as_str()).collect();
    assert_eq!((told.len(), ids.len()), (2, 2));
    // Of other machines the next time the same.
    let later = all(
        &with(1)
            .map(|mut one| {
                one.told.id = format!("{}x", one.told.id).into();
                one
            })
            .collect::<Vec<_>>(),
        None,
    );
    assert!(ids.contains(later[0].id.as_str()));
}

#[test]
fn what_is_tried_or_opened_without_a_word_is_not_told_as_talk() {
    let silent = |answered: bool| {
        let of_one = |n: u16| {
            let mut one = judged(n + 1, 7, 1000 + n);
            (one.answered, one.spoke) = (answered, false);
            one.told.protocols.clear();
            one
        };
        all(&(0..5).map(of_one).collect::<Vec<_>>(), None)
            .into_iter()
            .map(|one| one.title)
            .collect::<Vec<_>>()
    };
    assert_eq!(silent(false), ["10.0.0.7 tries tcp/502 to 5 machines, and nobody documented it"]);
    let opened = "10.0.0.7 opens, and says nothing on, tcp/502 to 5 machines, and nobody documented it";
    assert_eq!(silent(true), [opened]);

    let mut plant = pairs(ALIKE as u16 + 10);
    for one in &mut plant {
        one.spoke = false;
        one.told.protocols.clear();
    }
    let rest = "10 more pairs of machines open, and say nothing on, tcp/502, and nobody documented it";
    assert!(all(&plant, None).iter().any(|one| one.title == rest));
}
