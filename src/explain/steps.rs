//! The numbered steps: what is documented, who plays what, what the mirror hears, what was tried, what each packet shows, what follows.

use crate::report::Archive;
use crate::report::ArchivedConversation;
use crate::report::ArchivedEvidence;
use crate::report::ArchivedFinding;
use crate::report::ArchivedHeard;
use crate::report::ArchivedPacket;
use crate::report::ArchivedRequirement;
use crate::report::Explanation;
use crate::report::Question;
use crate::report::Spot;
use crate::report::Step;
use crate::report::frames;
use crate::report::shell_word;

use super::doubt;
use super::doubt::Case;
use super::doubt::Weighed;
use super::filter;
use super::mechanism;
use super::subject::Subject;

/// Requirements or conversations of one finding that are told step by step; the others are named.
const IN_FULL: usize = 3;
/// Conversations of one requirement that are told.
const TRIED: usize = 6;

/// What two vantages prove.
const BOTH_SIDES: &str = "A packet that passes is seen at both vantages: a router changes its time to live, checksums and MAC addresses, and leaves addresses, ports, sequence numbers and payload. Other packets on the same way are seen at both; these are not, though the other vantage was recording. So what stands between the two keeps them.";

/// A finding: the steps of what it is about, under its own words.
pub fn finding(archive: &Archive, told: &ArchivedFinding) -> Explanation {
    let requirements: Vec<_> =
        archive.requirements.iter().filter(|one| told.requirements.contains(&one.id)).collect();
    let conversations: Vec<_> =
        archive.conversations.iter().filter(|one| told.conversations.contains(&one.id)).collect();
    let mut explained = match (requirements.first(), conversations.first()) {
        (Some(main), _) => requirement(archive, main),
        (None, Some(main)) => conversation(archive, main),
        (None, None) => Explanation { steps: cited(&told.evidence, None), ..Explanation::default() },
    };
    let others: Vec<Subject<'_>> = requirements
        .iter()
        .skip(1)
        .map(|one| Subject::Requirement(one))
        .chain(conversations.iter().skip(1).map(|one| Subject::Conversation(one)))
        .collect();
    for subject in others.iter().take(IN_FULL) {
        let (evidence, around) = match subject {
            Subject::Requirement(one) => (&one.evidence, filter::requirement(one)),
            Subject::Conversation(one) => (&one.evidence, filter::conversation(one)),
            Subject::Finding(one) => (&one.evidence, None),
        };
        explained.steps.push(Step {
            says: format!("The same holds for {} ({}).", subject.title(), subject.id()),
            packets: evidence.iter().map(spot).collect(),
            around,
        });
    }
    if others.len() > IN_FULL {
        let rest: Vec<_> = others.iter().skip(IN_FULL).map(|subject| subject.id()).collect();
        explained.steps.push(says(format!(
            "And for {} more, each of which can be explained by its id: {}.",
            rest.len(),
            rest.join(", ")
        )));
    }
    explained.subject = "finding";
    explained.id.clone_from(&told.id);
    explained.title.clone_from(&told.title);
    explained.claim = told.detail.clone();
    if requirements.is_empty() {
        explained.verdict = format!("{}, {}", told.kind, told.severity);
    }
    explained.ask.insert(0, Question { whom: "first of all".into(), what: told.advice.clone() });
    explained.check =
        check(archive, &told.evidence, explained.steps.iter().find_map(|step| step.around.clone()));
    explained
}

/// A requirement.
pub fn requirement(archive: &Archive, told: &ArchivedRequirement) -> Explanation {
    let tried: Vec<_> =
        archive.conversations.iter().filter(|one| told.conversations.contains(&one.id)).collect();
    let case = Case { archive, told, tried: &tried };
    let around = around(told, &tried);
    let ground = told.mechanism.as_deref().and_then(mechanism::ground);
    let mut steps = vec![documented(archive, told)];
    steps.extend(played(archive, told));
    steps.push(audible(&case));
    steps.extend(attempts(told, &tried));
    steps.extend(cited(&told.evidence, around.as_deref()));
    if let Some(ground) = &ground {
        steps.push(says(fill(if case.is_crossing() { BOTH_SIDES } else { ground.means }, told)));
    }
    steps.extend(history(told));
    steps.push(says(conclusion(told)));
    let (mut ruled_out, mut remaining) = (Vec::new(), Vec::new());
    for one in ground.iter().flat_map(|ground| ground.doubts) {
        match doubt::weigh(*one, &case) {
            Weighed::RuledOut(why) => ruled_out.push(why),
            Weighed::Remains(why) => remaining.push(why),
            Weighed::Nothing => {}
        }
    }
    let opposite = match &ground {
        Some(_) if case.is_crossing() => {
            vec!["one of these packets at the other vantage, at any time within three seconds, clocks compared".to_owned()]
        }
        Some(ground) => ground.opposite.iter().map(|text| fill(text, told)).collect(),
        None => would_decide(told),
    };
    let ask = ground
        .iter()
        .flat_map(|ground| ground.ask)
        .map(|(whom, what)| Question { whom: fill(whom, told), what: fill(what, told) });
    Explanation {
        subject: "requirement",
        id: told.id.clone(),
        title: Subject::Requirement(told).title(),
        verdict: verdict(told),
        claim: sentence(&told.reason),
        steps,
        opposite,
        ruled_out,
        remaining,
        ask: ask.collect(),
        check: check(archive, &told.evidence, around),
    }
}

/// A conversation.
pub fn conversation(archive: &Archive, told: &ArchivedConversation) -> Explanation {
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
            "They were seen in {} with {} packets ({}).",
            flows(told.flows),
            told.packets,
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

fn documented(archive: &Archive, told: &ArchivedRequirement) -> Step {
    let set = archive.site.rulesets.iter().find(|set| set.id == told.ruleset);
    let document = set.map_or(told.ruleset.clone(), |set| match set.revision.as_str() {
        "" => format!("'{}'", set.title),
        revision => format!("'{}' ({revision})", set.title),
    });
    let protocols = if told.protocol.is_empty() {
        String::new()
    } else {
        format!(" with {}", told.protocol.join(" or "))
    };
    says(format!(
        "{document} has it in the row '{}': {} to {} on {}/{}{protocols}; {}, {}. {}.",
        told.cite,
        told.from,
        told.to,
        told.transport,
        told.ports,
        told.need,
        told.cadence,
        sentence(&told.purpose).trim_end_matches('.'),
    ))
}

/// Who plays the two roles, and the packet behind each guess.
fn played(archive: &Archive, told: &ArchivedRequirement) -> Option<Step> {
    let roles: Vec<_> =
        archive.site.roles.iter().filter(|role| role.role == told.from || role.role == told.to).collect();
    if roles.is_empty() {
        return None;
    }
    let from = archive.site.file.as_deref().unwrap_or(if archive.site.provisional {
        "a guess"
    } else {
        "the command line"
    });
    let names: Vec<_> =
        roles.iter().map(|role| format!("{} is {}", role.role, role.endpoints.join(", "))).collect();
    let packets = roles.iter().filter_map(|role| role.guessed.as_ref()).map(spot).collect();
    Some(Step {
        says: format!(
            "By {from}, {}; this requirement is about {} and {}.",
            names.join("; "),
            told.source,
            told.target
        ),
        packets,
        around: None,
    })
}

/// What this mirror hears of the two ends.
fn audible(case: &Case<'_>) -> Step {
    let told = case.told;
    let mut packets = Vec::new();
    let mut hears = |name: &str, heard: Option<&ArchivedHeard>| match heard {
        Some(heard) => {
            packets.push(Spot {
                note: format!("the first of {} packets of {}", heard.packets, heard.host),
                ..spot_at(&heard.first)
            });
            packets.push(Spot { note: format!("the last packet of {}", heard.host), ..spot_at(&heard.last) });
            format!("{} packets of {name}", heard.packets)
        }
        None => format!("nothing of {name}"),
    };
    let source = hears(&told.source, case.source_heard());
    let target = hears(&told.target, case.target_heard());
    Step { says: format!("This mirror hears {source} and {target}."), packets, around: None }
}

/// The conversations in which it was tried.
fn attempts(told: &ArchivedRequirement, tried: &[&ArchivedConversation]) -> Vec<Step> {
    if tried.is_empty() && told.flows == 0 {
        return Vec::new();
    }
    let mut steps: Vec<Step> = tried
        .iter()
        .take(TRIED)
        .map(|one| {
            let outcomes: Vec<_> =
                one.outcomes.iter().map(|(word, flows)| format!("{flows} {word}")).collect();
            Step {
                says: format!(
                    "{} tried it in {} to {} on {}{}: {} (conversation {}).",
                    one.client,
                    flows(one.flows),
                    one.server,
                    one.transport,
                    one.port.map(|port| format!("/{port}")).unwrap_or_default(),
                    outcomes.join(", "),
                    one.id
                ),
                packets: Vec::new(),
                around: filter::conversation(one),
            }
        })
        .collect();
    if tried.len() > TRIED {
        steps.push(says(format!("And in {} more conversations.", tried.len() - TRIED)));
    }
    steps
}

/// One step a packet, in the order of time.
fn cited(evidence: &[ArchivedEvidence], around: Option<&str>) -> Vec<Step> {
    let mut pieces: Vec<&ArchivedEvidence> = evidence.iter().collect();
    // Inside a file its own order counts: mirrors stamp an answer up to a millisecond before its cause.
    let one_file = evidence.windows(2).all(|two| matches!(two, [a, b] if a.at.file == b.at.file));
    pieces.sort_by_key(|piece| (if one_file { None } else { Some(piece.at.time) }, piece.at.packet));
    pieces
        .into_iter()
        .map(|piece| Step {
            says: sentence(&piece.note),
            packets: vec![spot(piece)],
            around: around.map(str::to_owned),
        })
        .collect()
}

/// How it changed over the capture.
fn history(told: &ArchivedRequirement) -> Option<Step> {
    if told.history.len() < 2 {
        return None;
    }
    let packets = told.history.iter().map(|phase| {
        let how = phase.mechanism.as_ref().map(|mechanism| format!(" ({mechanism})")).unwrap_or_default();
        Spot { note: format!("from here on {}{how}", phase.verdict), ..spot_at(&phase.since) }
    });
    Some(Step {
        says: format!(
            "It changed {} during the capture; the latest state decides.",
            times(told.history.len() - 1)
        ),
        packets: packets.collect(),
        around: None,
    })
}

fn conclusion(told: &ArchivedRequirement) -> String {
    let by = told.by.as_ref().map(|by| format!(", by {} ({})", by.who, by.kind)).unwrap_or_default();
    let grade = match told.grade.as_deref() {
        Some("A") => ". Grade A: a device said so itself, or packets name it",
        Some("B") => ". Grade B: the packets leave little room for another explanation",
        Some("C") => ". Grade C: other causes are possible",
        _ => "",
    };
    format!("So it is {}{by}: {}{grade}.", told.verdict, told.reason.trim_end_matches('.'))
}

/// What would decide a requirement that no mechanism explains.
fn would_decide(told: &ArchivedRequirement) -> Vec<String> {
    let (source, target) = (&told.source, &told.target);
    let service = format!("{}/{}", told.transport, told.ports);
    match told.verdict.as_str() {
        "satisfied" => vec![
            format!(
                "requests of {source} to {target} on {service} that nobody answers, or an error that quotes one"
            ),
            "payload that is none of the documented protocols".into(),
        ],
        "undecided" => vec![
            format!(
                "a longer capture in which {source} opens {service} to {target} from its first packet on"
            ),
            "a mirror that carries both directions without loss".into(),
        ],
        "unseen" => vec![format!("one packet of {source} to {target} on {service}")],
        "not-visible" => vec![format!("any packet of {source}: a mirror at its own switch or segment")],
        "not-applicable" => vec!["the feature named in the site file".into()],
        _ => Vec::new(),
    }
}

/// `blocked (dropped), grade B`.
fn verdict(told: &ArchivedRequirement) -> String {
    let mechanism = told.mechanism.as_ref().map(|word| format!(" ({word})")).unwrap_or_default();
    let grade = told.grade.as_ref().map(|letter| format!(", grade {letter}")).unwrap_or_default();
    format!("{}{mechanism}{grade}", told.verdict)
}

/// The one filter that shows all of it.
fn around(told: &ArchivedRequirement, tried: &[&ArchivedConversation]) -> Option<String> {
    let by_name = told.mechanism.as_deref().is_some_and(|word| word.starts_with("dns-"));
    if by_name {
        return filter::lookups(&told.source, &told.target);
    }
    let filters: Vec<_> = tried.iter().take(TRIED).filter_map(|one| filter::conversation(one)).collect();
    match filters.as_slice() {
        [] => filter::requirement(told),
        [only] => Some(only.clone()),
        _ => Some(filters.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" || ")),
    }
}

/// Commands that need nothing of this program.
fn check(archive: &Archive, evidence: &[ArchivedEvidence], around: Option<String>) -> Vec<String> {
    let mut commands = Vec::new();
    for input in &archive.inputs {
        let mut numbers: Vec<u64> = evidence
            .iter()
            .filter(|piece| piece.at.file == input.file)
            .map(|piece| piece.at.packet)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.is_empty() {
            continue;
        }
        let file = shell_word(&input.file);
        if let Some(hash) = &input.sha256 {
            commands.push(format!("sha256sum {file}    # {hash}"));
        }
        commands.push(format!("tshark -r {file} -Y {}", shell_word(&frames(&numbers))));
        if let Some(around) = &around {
            commands.push(format!("tshark -r {file} -Y {}", shell_word(around)));
        }
    }
    commands
}

/// Puts the case's own names into a general text.
fn fill(text: &str, told: &ArchivedRequirement) -> String {
    let when = match (told.first, told.last) {
        (Some(first), Some(last)) => format!(
            "between {} and {} UTC",
            crate::report::date_and_time(first),
            crate::report::date_and_time(last)
        ),
        _ => "at the time of the capture".to_owned(),
    };
    text.replace("{service}", &format!("{}/{}", told.transport, told.ports))
        .replace("{when}", &when)
        .replace("{source}", &told.source)
        .replace("{target}", &told.target)
}

/// Whether a binding of the site (an address or a prefix, with or without a cell) is one of this address.
fn is_bound(binding: &str, address: &str) -> bool {
    let plain = binding.split('@').next().unwrap_or(binding);
    let inside =
        || Some(plain.parse::<ipnet::IpNet>().ok()?.contains(&address.parse::<std::net::IpAddr>().ok()?));
    plain == address || inside().unwrap_or(false)
}

fn says(text: String) -> Step {
    Step { says: text, ..Step::default() }
}

fn spot(piece: &ArchivedEvidence) -> Spot {
    Spot { note: piece.note.clone(), ..spot_at(&piece.at) }
}

fn spot_at(at: &ArchivedPacket) -> Spot {
    Spot {
        file: at.file.clone(),
        packet: at.packet,
        time: at.time,
        note: String::new(),
        filter: frames(&[at.packet]),
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    let rest = chars.as_str().trim_end_matches('.');
    if head.is_empty() { head } else { format!("{head}{rest}.") }
}

fn flows(n: u64) -> String {
    if n == 1 { "1 flow".into() } else { format!("{n} flows") }
}

fn times(n: usize) -> String {
    if n == 1 { "once".into() } else { format!("{n} times") }
}
