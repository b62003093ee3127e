//! A conversation explained: who talks, how often, what it is, and which rule speaks of it.

use crate::model::counted;
use crate::report::Archive;
use crate::report::ArchivedConversation;
use crate::report::Explanation;
use crate::report::Question;
use crate::report::Step;

use super::filter;
use super::step::check;
use super::step::cited;
use super::step::says;
use super::step::sentence;
use super::subject::Subject;

/// A conversation.
pub fn explain(archive: &Archive, told: &ArchivedConversation) -> Explanation {
    let around = filter::conversation(told);
    let who = |address: &str| {
        let roles: Vec<_> = archive
            .site
            .roles
            .iter()
            .filter(|role| role.endpoints.iter().any(|end| is_bound(end, address)))
            .map(|role| role.role.as_str())
            .collect();
        if roles.is_empty() {
            "plays no role of this site by its address".to_owned()
        } else {
            format!("plays {}", roles.join(" and "))
        }
    };
    let mut steps = vec![says(format!(
        "{} {}, and {} {}.",
        told.client,
        who(&told.client),
        told.server,
        who(&told.server)
    ))];
    let outcomes: Vec<_> = told.outcomes.iter().map(|(word, flows)| format!("{flows} {word}")).collect();
    steps.push(Step {
        says: format!(
            "They were seen in {} with {} ({}).",
            counted(told.flows, "flow"),
            counted(told.packets, "packet"),
            outcomes.join(", ")
        ),
        packets: Vec::new(),
        around: around.clone(),
    });
    steps.extend(cited(&told.evidence, around.as_deref()));
    steps.push(says(match &told.rule {
        Some(rule) => {
            format!("Laid beside the rules, {rule} speaks of it: {}.", told.reason.trim_end_matches('.'))
        }
        None => format!("Laid beside the rules: {}.", told.reason.trim_end_matches('.')),
    }));
    steps.push(says(format!("So it is {}.", told.verdict)));
    let acts = matches!(told.verdict.as_str(), "unexpected" | "forbidden" | "violating");
    let (ruled_out, remaining) = doubts_of_conversation(archive, told);
    Explanation {
        subject: "conversation",
        id: told.id.clone(),
        title: Subject::Conversation(told).title(),
        verdict: told.verdict.clone(),
        claim: sentence(&told.reason),
        steps,
        opposite: if acts {
            vec![
                "a rule of the documents, with its features switched on, that has these two roles, this service and this protocol".into(),
                "an [[allow]] entry of the site file for it".into(),
                "a name of the server that a rule has, in a DNS answer, a TLS server name or an HTTP Host".into(),
            ]
        } else {
            Vec::new()
        },
        ruled_out,
        remaining,
        ask: if acts {
            vec![
                Question {
                    whom: format!("whoever runs {}", told.client),
                    what: "Which program opens this connection, since when, and on whose behalf?".into(),
                },
                Question {
                    whom: format!("whoever runs {}", told.server),
                    what: "Is this client known there?".into(),
                },
            ]
        } else {
            Vec::new()
        },
        check: check(archive, &told.evidence, around),
    }
}

/// Other explanations for a conversation that nobody documented.
fn doubts_of_conversation(archive: &Archive, told: &ArchivedConversation) -> (Vec<String>, Vec<String>) {
    let (mut ruled_out, mut remaining) = (Vec::new(), Vec::new());
    let begun_before = told.outcomes.keys().all(|word| matches!(word.as_str(), "midstream" | "one-sided"))
        && told.transport == "tcp";
    if begun_before {
        remaining.push("Client and server the other way round: the opening lies before the capture, so the direction is concluded from ports and payload.".into());
    } else if told.transport == "tcp" {
        ruled_out.push(
            "Client and server the other way round: the opening of the connection was captured.".into(),
        );
    }
    if told.protocols.is_empty() {
        remaining.push("Another protocol than its port suggests: its payload proved none.".into());
    } else {
        ruled_out.push(format!(
            "A port taken for a protocol: the payload itself proves {}.",
            told.protocols.join(", ")
        ));
    }
    if told.hosts.is_empty() {
        remaining.push(format!(
            "A name of {} under which a rule would cover it, looked up before the capture.",
            told.server
        ));
    }
    let shared = &archive.vantage.overlapping_addresses;
    if shared.iter().any(|text| text.contains(&told.client) || text.contains(&told.server)) {
        remaining.push("Another machine under one of these addresses: several were seen using it.".into());
    }
    if archive.site.provisional {
        remaining.push("The roles were guessed from the traffic.".into());
    }
    remaining.push(
        "An address that changed hands (DHCP, translation): the site file binds roles to addresses.".into(),
    );
    (ruled_out, remaining)
}

/// Whether a binding of the site (an address or a prefix, with or without a cell) is one of this address.
fn is_bound(binding: &str, address: &str) -> bool {
    let plain = binding.split('@').next().unwrap_or(binding);
    let inside =
        || Some(plain.parse::<ipnet::IpNet>().ok()?.contains(&address.parse::<std::net::IpAddr>().ok()?));
    plain == address || inside().unwrap_or(false)
}
