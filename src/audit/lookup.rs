//! Name lookups of a documented host that led nowhere.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::Answer;
use crate::model::Culprit;
use crate::model::Failure;
use crate::model::Grade;
use crate::model::Lookup;
use crate::model::Mechanism;
use crate::model::Proofs;
use crate::model::Timestamp;

use super::attempt;
use super::attempt::Attempt;
use super::attempt::Fault;
use super::attempt::State;
use super::view::Sight;
use super::view::Tried;
use super::view::View;

/// Lookups of one name closer than this belong to one attempt: A and AAAA, retries, other servers.
const ONE_ATTEMPT: Duration = Duration::from_secs(15);
/// What is asked so long after an answer with an address is asked anew: whoever asks for both kinds of address, or several servers, does so at once.
const ASKED_ANEW: Duration = Duration::from_secs(5);
/// Queries without any answer that make a silence.
const QUERIES: u32 = 3;

/// The query for an IPv4 address (RFC 1035 section 3.2.2).
const QUERY_A: u16 = 1;

/// Response codes (RFC 1035 section 4.1.1).
mod code {
    pub const NO_ERROR: u16 = 0;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const REFUSED: u16 = 5;
}

/// What is known of the name beside its lookups.
pub struct Context<'a> {
    /// Whether the document itself lists it, so that it lives on the internet.
    pub public: bool,
    /// Whether a connection to this address was tried.
    pub connected: &'a dyn Fn(IpAddr) -> bool,
}

impl Context<'_> {
    /// Addresses that lead nowhere, or (RFC 6890) nowhere outside when given for a name on the internet and never tried.
    fn is_sink(&self, address: IpAddr) -> bool {
        leads_nowhere(address) || (self.public && is_private(address) && !(self.connected)(address))
    }

    /// Whether an answer gives an address to go to. One that the name server itself calls false is none, unless somebody goes there: then the
    /// connection decides.
    fn is_useful(&self, answer: &Answer) -> bool {
        answer.addresses.iter().any(|address| !self.is_sink(*address))
            && (answer.extended_error.and_then(filtered).is_none()
                || answer.addresses.iter().any(|address| (self.connected)(*address)))
    }
}

/// The failed attempts to resolve a name, from the lookups of one source in the order of time. Lookups that gave an address
/// yield nothing: the connection that follows decides.
pub fn failures(lookups: &[&Lookup], context: &Context<'_>, view: &View<'_>) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let mut group: Vec<&Lookup> = Vec::new();
    let mut found: Option<Timestamp> = None;
    for &lookup in lookups {
        // Where two machines share the address, the answer that one got is none that the other got.
        let cloned = view.is_cloned_somewhere(lookup.cell, lookup.client);
        let asked = at(lookup).time;
        let anew = found.is_some_and(|found| asked.since(found) > ASKED_ANEW);
        let apart =
            group.last().is_some_and(|last| cloned || anew || asked.since(at(last).time) > ONE_ATTEMPT);
        if apart {
            attempts.extend(judge(&group, context, view));
            group.clear();
            found = None;
        }
        let useful = lookup.answer.as_ref().filter(|answer| context.is_useful(answer));
        found = found.or(useful.map(|answer| answer.at.time));
        group.push(lookup);
    }
    attempts.extend(judge(&group, context, view));
    mended(lookups, context, view, &mut attempts);
    attempts
}

/// Where the name was answered with an address after it had failed, name service stops nothing any more.
fn mended(lookups: &[&Lookup], context: &Context<'_>, view: &View<'_>, attempts: &mut Vec<Attempt>) {
    let failed =
        attempts.iter().filter(|attempt| matches!(attempt.state, State::Fails(..))).map(|a| a.last).max();
    let Some(failed) = failed else { return };
    let good = lookups.iter().find(|lookup| {
        // Where two machines share the address, the answer may be the other one's.
        let cloned = view.is_cloned_somewhere(lookup.cell, lookup.client);
        !cloned
            && lookup.answer.as_ref().is_some_and(|answer| {
                let found = answer.addresses.iter().any(|address| !context.is_sink(*address));
                answer.at > failed && (found || is_cut(answer))
            })
    });
    if let Some(lookup) = good
        && let Some(answer) = &lookup.answer
    {
        attempts.push(Attempt {
            first: at(lookup),
            last: answer.at,
            ends: (lookup.client, None),
            place: (lookup.cell, Box::default()),
            machines: [None; 2],
            state: State::Open(format!(
                "{} {} since {}; whether it is reached is not shown",
                lookup.name,
                if is_cut(answer) {
                    "is answered again, with what was cut off,"
                } else {
                    "has an address again"
                },
                view.packet(answer.at)
            )),
        });
    }
}

/// Whether an answer gives what was asked for, and the capture or the server cut it off: it is no failure, and no address either.
pub fn is_cut(answer: &Answer) -> bool {
    answer.code == code::NO_ERROR && !answer.whole && answer.addresses.is_empty()
}

/// The packet by which a lookup is placed in time.
pub fn at(lookup: &Lookup) -> crate::model::PacketRef {
    lookup.asked.or(lookup.answer.as_ref().map(|answer| answer.at)).unwrap_or_default()
}

/// One attempt to resolve a name: all its queries together.
fn judge(group: &[&Lookup], context: &Context<'_>, view: &View<'_>) -> Option<Attempt> {
    let first = *group.first()?;
    if group.iter().filter_map(|lookup| lookup.answer.as_ref()).any(|answer| context.is_useful(answer)) {
        return None;
    }
    let last =
        group.iter().map(|lookup| lookup.answer.as_ref().map_or(at(lookup), |answer| answer.at)).max()?;
    let worst = group
        .iter()
        .filter_map(|lookup| Some((*lookup, lookup.answer.as_ref()?)))
        .filter_map(|(lookup, answer)| Some((lookup, answer, kind(answer, &lookup.name, context)?)))
        .min_by_key(|(_, answer, (rank, ..))| (*rank, answer.at));
    let contradicted = |failed: &Answer| {
        let mut answers = group.iter().filter_map(|lookup| lookup.answer.as_ref());
        failed.code != code::NO_ERROR && answers.any(is_cut)
    };
    let state = match worst {
        Some((_, answer, _)) if contradicted(answer) => State::Unclear(format!(
            "the lookup of {} is answered in two ways, and one of the answers is cut off",
            first.name
        )),
        Some((lookup, answer, (_, mechanism, grade, words))) => {
            let evidence =
                Proofs::new(answer.at, format!("{} answers {words} for {}", lookup.server, lookup.name))
                    .and_maybe(lookup.asked, "the query");
            let by = Some(Culprit { who: lookup.server.to_string(), kind: "dns" });
            let mut reason = format!(
                "the name server {} answers {words} for {}, so no connection is tried",
                lookup.server, lookup.name
            );
            let missing = view.missing_between(lookup.cell, lookup.client, lookup.server, answer.at);
            let grade = attempt::cap(grade, missing, view, &mut reason);
            State::Fails(Fault::Blocked, Failure { mechanism, grade, by, evidence }, reason)
        }
        None => silence(group, first, view),
    };
    Some(Attempt {
        first: at(first),
        last,
        ends: (first.client, None),
        place: (first.cell, Box::default()),
        machines: [None; 2],
        state,
    })
}

/// Queries that nobody answered.
fn silence(group: &[&Lookup], first: &Lookup, view: &View<'_>) -> State {
    if let Some((lookup, answer)) = empty(group) {
        let evidence = Proofs::new(answer.at, format!("{} answers without any address", lookup.server))
            .and_maybe(lookup.asked, "the query");
        let by = Some(Culprit { who: lookup.server.to_string(), kind: "dns" });
        let reason = format!(
            "the name server {} answers for {} without any address, so no connection is tried",
            lookup.server, lookup.name
        );
        let failure = Failure { mechanism: Mechanism::DnsNoAnswer, grade: Grade::C, by, evidence };
        return State::Fails(Fault::Blocked, failure, reason);
    }
    if group.iter().any(|lookup| lookup.answer.is_some()) {
        return State::Unclear(format!(
            "the lookup of {} gave no address of the kind that was asked for",
            first.name
        ));
    }
    let asked: u32 = group.iter().fold(0, |sum, lookup| sum.saturating_add(lookup.asked_times));
    let side = crate::model::SideRecord::default();
    let last = group.last().map_or(at(first), |lookup| at(lookup));
    let tried = Tried {
        between: (at(first).time, last.time),
        longest_gap: Duration::ZERO,
        repeats_until_answered: false,
    };
    if let Sight::None(why) | Sight::Likely(why) =
        view.sight(first.cell, first.client, &side, first.server, tried)
    {
        return State::Unclear(format!(
            "the lookup of {} has no answer in the capture, but {why}",
            first.name
        ));
    }
    if asked < QUERIES || view.ends_too_soon(last, Duration::from_secs(5)) {
        return State::Unclear(format!("{asked} unanswered lookups of {} are too few to tell", first.name));
    }
    if let Some(why) =
        view.loss_explains(view.missing_between(first.cell, first.client, first.server, last), asked)
    {
        return State::Unclear(why);
    }
    let evidence = Proofs::new(at(first), format!("the first query for {}", first.name))
        .and(last, format!("the last of {asked} queries, none of them answered"));
    let by = Some(Culprit { who: first.server.to_string(), kind: "dns" });
    let mut servers: Vec<String> = group.iter().map(|lookup| lookup.server.to_string()).collect();
    servers.dedup();
    servers.sort();
    servers.dedup();
    let reason = format!("{asked} lookups of {} at {} went unanswered", first.name, servers.join(" and "));
    State::Fails(
        Fault::Blocked,
        Failure { mechanism: Mechanism::DnsNoAnswer, grade: Grade::C, by, evidence },
        reason,
    )
}

/// The answer to a question for an IPv4 address that holds none, where every question of the attempt was answered like that, and whole.
///
/// An empty answer for IPv6 alone says nothing: most names have no such address.
fn empty<'a>(group: &[&'a Lookup]) -> Option<(&'a Lookup, &'a Answer)> {
    let holds_none = |lookup: &&Lookup| {
        lookup.answer.as_ref().is_some_and(|answer| {
            answer.whole && answer.code == code::NO_ERROR && answer.addresses.is_empty()
        })
    };
    if !group.iter().all(holds_none) {
        return None;
    }
    let asked = group.iter().find(|lookup| lookup.kind == QUERY_A)?;
    Some((asked, asked.answer.as_ref()?))
}

/// What an answer without a usable address means: rank (lower wins), mechanism, grade, words.
fn kind(answer: &Answer, name: &str, context: &Context<'_>) -> Option<(u8, Mechanism, Grade, String)> {
    if let Some(error) = answer.extended_error
        && let Some(words) = filtered(error)
    {
        return Some((0, Mechanism::DnsFiltered, Grade::A, format!("'{words}' (extended error {error})")));
    }
    if let Some(address) = answer.addresses.iter().find(|address| context.is_sink(**address)) {
        return Some((1, Mechanism::DnsSinkhole, Grade::B, format!("the sinkhole address {address}")));
    }
    match answer.code {
        code::REFUSED => Some((2, Mechanism::DnsRefused, Grade::B, "REFUSED".to_owned())),
        // Every name judged here is one that a document or the site lists, so it ought to exist.
        code::NXDOMAIN => {
            Some((3, Mechanism::DnsNxdomain, Grade::B, format!("NXDOMAIN (no such name as {name})")))
        }
        code::SERVFAIL => Some((4, Mechanism::DnsServfail, Grade::C, "SERVFAIL".to_owned())),
        code::NO_ERROR => None,
        other => Some((5, Mechanism::DnsServfail, Grade::C, format!("response code {other}"))),
    }
}

/// Extended errors that name a policy (RFC 8914 section 4).
fn filtered(error: u16) -> Option<&'static str> {
    Some(match error {
        4 => "forged answer",
        15 => "blocked",
        16 => "censored",
        17 => "filtered",
        18 => "prohibited",
        _ => return None,
    })
}

/// Addresses behind which nobody can be.
fn leads_nowhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_unspecified() || ip.is_loopback() || ip.is_broadcast(),
        IpAddr::V6(ip) => {
            ip.is_unspecified()
                || ip.is_loopback()
                || ip.to_ipv4_mapped().is_some_and(|ip| leads_nowhere(IpAddr::V4(ip)))
        }
    }
}

/// Addresses that exist inside a site only.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
