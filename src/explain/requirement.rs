//! A requirement explained: what is documented, who plays what, what the mirror hears, what was tried, what each packet shows, what follows.

use crate::model::counted;
use crate::report::Archive;
use crate::report::ArchivedConversation;
use crate::report::ArchivedHeard;
use crate::report::ArchivedRequirement;
use crate::report::Explanation;
use crate::report::Question;
use crate::report::Spot;
use crate::report::Step;

use super::doubt;
use super::doubt::Case;
use super::doubt::Weighed;
use super::filter;
use super::mechanism;
use super::step::check;
use super::step::cited;
use super::step::says;
use super::step::sentence;
use super::step::spot;
use super::step::spot_at;
use super::subject::Subject;

/// Conversations of one requirement that are told.
const TRIED: usize = 6;

/// What two vantages prove.
const BOTH_SIDES: &str = "A packet that passes is seen at both vantages: a router changes its time to live, checksums and MAC addresses, and leaves addresses, ports, sequence numbers and payload. Other packets on the same way are seen at both; these are not, though the other vantage was recording. So what stands between the two keeps them.";

/// A requirement.
pub fn explain(archive: &Archive, told: &ArchivedRequirement) -> Explanation {
    let tried: Vec<_> =
        archive.conversations.iter().filter(|one| told.conversations.contains(&one.id)).collect();
    let case = Case { archive, told, tried: &tried };
    let around = around(told, &tried);
    let ground = told.mechanism.as_deref().and_then(|word| mechanism::ground(word, &told.reason));
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
                note: format!("the first of {} of {}", counted(heard.packets, "packet"), heard.host),
                ..spot_at(&heard.first)
            });
            packets.push(Spot { note: format!("the last packet of {}", heard.host), ..spot_at(&heard.last) });
            let stands =
                if heard.host == name { String::new() } else { format!(", which stands for {name}") };
            format!("{} of {}{stands}", counted(heard.packets, "packet"), heard.host)
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
                    counted(one.flows, "flow"),
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
    let mut filters: Vec<_> = tried.iter().take(TRIED).filter_map(|one| filter::conversation(one)).collect();
    if told.mechanism.as_deref() == Some("host-down") {
        filters.extend(filter::resolutions(&told.target));
    }
    match filters.as_slice() {
        [] => filter::requirement(told),
        [only] => Some(only.clone()),
        _ => Some(filters.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" || ")),
    }
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

fn times(n: usize) -> String {
    if n == 1 { "once".into() } else { format!("{n} times") }
}
