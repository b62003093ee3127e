//! ICMP errors as answers to an attempt: a policy, a closed port, or routing.

use std::net::IpAddr;
use std::net::Ipv4Addr;

use crate::model::Culprit;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::IcmpError;
use crate::model::Mechanism;
use crate::model::Proofs;
use crate::model::Role;

use super::Fault;
use super::State;

/// ICMP errors that name a policy: administratively prohibited, or port unreachable from somebody else than the target.
pub(super) fn policy(flow: &FlowRecord) -> Option<State> {
    flow.errors.iter().filter(|error| error.fits).find_map(|error| {
        let (mechanism, what) = match meaning(error) {
            Unreachable::Prohibited(what) => (Mechanism::Prohibited, what),
            Unreachable::Port if error.from != ip_of(flow, error.quotes.other()) => {
                (Mechanism::Rejected, "port unreachable")
            }
            // A client that has given up says so to a late answer: that is no word on the service.
            Unreachable::Port if error.quotes == Role::Server => return None,
            Unreachable::Port => return Some(port_closed(flow, error)),
            Unreachable::Route(_) | Unreachable::Other => return None,
        };
        let target = ip_of(flow, error.quotes.other());
        let sender = error.from;
        let from_target = if sender == target { " (the target itself: its own filter)" } else { "" };
        let direction = match error.quotes {
            Role::Client => "the request",
            Role::Server => "the answer",
        };
        let evidence =
            Proofs::new(error.at, format!("ICMP {what} from {sender}{from_target}, quoting {direction}"))
                .and_maybe(flow.side(error.quotes).first, "the packet it quotes belongs to this attempt");
        let by = Some(Culprit {
            who: sender.to_string(),
            kind: if sender == target { "host" } else { "firewall" },
        });
        let reason = format!("{sender} answers {direction} with ICMP {what}{from_target}");
        Some(State::Fails(Fault::Blocked, Failure { mechanism, grade: Grade::A, by, evidence }, reason))
    })
}

/// A policy that ends a session which had worked: an error quotes what one end sends, and nothing of the other end was heard since.
pub(super) fn ends_it(flow: &FlowRecord) -> Option<State> {
    let first = flow
        .errors
        .iter()
        .find(|error| error.fits && matches!(meaning(error), Unreachable::Prohibited(_)))?;
    let other = flow.side(first.quotes.other());
    // Where the other end is not captured at all, it may have gone on.
    other.last.is_some_and(|last| last <= first.at).then(|| policy(flow)).flatten()
}

/// Port unreachable from the target itself: nothing listens there.
fn port_closed(flow: &FlowRecord, error: &IcmpError) -> State {
    let evidence = Proofs::new(error.at, format!("ICMP port unreachable from {} itself", error.from))
        .and_maybe(flow.side(error.quotes).first, "the packet it quotes belongs to this attempt");
    let by = Some(Culprit { who: error.from.to_string(), kind: "host" });
    let reason = format!("{} itself says that nothing listens on this port", error.from);
    State::Fails(
        Fault::Failed,
        Failure { mechanism: Mechanism::Refused, grade: Grade::C, by, evidence },
        reason,
    )
}

/// ICMP errors about routing or a dead host.
pub(super) fn routing(flow: &FlowRecord) -> Option<State> {
    unreachable(flow).or_else(|| looping(flow))
}

/// Packets that go round until their time to live is used up (RFC 792 type 11 code 0, RFC 4443 type 3 code 0): more than one of the same flow, since
/// a single one is what tracing a route brings about.
fn looping(flow: &FlowRecord) -> Option<State> {
    let exceeded = |error: &&IcmpError| {
        error.fits && error.code == 0 && error.kind == if error.from.is_ipv6() { 3 } else { 11 }
    };
    let mut errors = flow.errors.iter().filter(exceeded);
    let (first, second) = (errors.next()?, errors.next()?);
    let from = first.from;
    let evidence = Proofs::new(first.at, format!("ICMP time exceeded from {from}"))
        .and(second.at, "and once more, for a repetition")
        .and_maybe(flow.side(first.quotes).first, "the packet it quotes belongs to this attempt");
    let by = Some(Culprit { who: from.to_string(), kind: "host" });
    let reason = format!("{from} answers with ICMP time exceeded, again and again: a routing loop");
    let failure = Failure { mechanism: Mechanism::Unreachable, grade: Grade::C, by, evidence };
    Some(State::Fails(Fault::Failed, failure, reason))
}

fn unreachable(flow: &FlowRecord) -> Option<State> {
    flow.errors.iter().filter(|error| error.fits).find_map(|error| {
        let Unreachable::Route(what) = meaning(error) else { return None };
        let evidence = Proofs::new(error.at, format!("ICMP {what} from {}", error.from))
            .and_maybe(flow.side(error.quotes).first, "the packet it quotes belongs to this attempt");
        let by = Some(Culprit { who: error.from.to_string(), kind: "host" });
        let reason = format!(
            "{} answers with ICMP {what}: routing, a dead host, or a filter that says so",
            error.from
        );
        let failure = Failure { mechanism: Mechanism::Unreachable, grade: Grade::C, by, evidence };
        Some(State::Fails(Fault::Failed, failure, reason))
    })
}

/// What a destination-unreachable message means.
enum Unreachable {
    Prohibited(&'static str),
    Port,
    Route(&'static str),
    /// No destination unreachable at all (redirect, time exceeded, packet too big), or one that says that a packet is too long or badly made.
    Other,
}

/// RFC 792, RFC 1122 section 3.2.2.1 and RFC 1812 section 5.2.7.1 (type 3), RFC 4443 section 3.1 and RFC 6550 section 20.18 (type 1).
fn meaning(error: &IcmpError) -> Unreachable {
    let v6 = error.from.is_ipv6();
    if error.kind != if v6 { 1 } else { 3 } {
        return Unreachable::Other;
    }
    match (v6, error.code) {
        (false, 9) => Unreachable::Prohibited("network administratively prohibited (3/9)"),
        (false, 10) => Unreachable::Prohibited("host administratively prohibited (3/10)"),
        (false, 13) => Unreachable::Prohibited("communication administratively prohibited (3/13)"),
        (true, 1) => Unreachable::Prohibited("administratively prohibited (1/1)"),
        (true, 5) => Unreachable::Prohibited("source address failed ingress/egress policy (1/5)"),
        (false, 3) | (true, 4) => Unreachable::Port,
        (false, 0) => Unreachable::Route("network unreachable (3/0)"),
        (false, 1) => Unreachable::Route("host unreachable (3/1)"),
        (false, 2) => Unreachable::Route("protocol unreachable (3/2)"),
        (true, 0) => Unreachable::Route("no route to destination (1/0)"),
        (true, 3) => Unreachable::Route("address unreachable (1/3)"),
        (true, 6) => Unreachable::Route("reject route to destination (1/6)"),
        (false, 5) => Unreachable::Route("source route failed (3/5)"),
        (false, 6) => Unreachable::Route("destination network unknown (3/6)"),
        (false, 7) => Unreachable::Route("destination host unknown (3/7)"),
        (false, 8) => Unreachable::Route("source host isolated (3/8)"),
        (false, 11) => Unreachable::Route("network unreachable for this type of service (3/11)"),
        (false, 12) => Unreachable::Route("host unreachable for this type of service (3/12)"),
        (false, 14) => Unreachable::Route("host precedence violation (3/14)"),
        (false, 15) => Unreachable::Route("precedence cutoff in effect (3/15)"),
        (true, 2) => Unreachable::Route("beyond the scope of the source address (1/2)"),
        (true, 7) => Unreachable::Route("error in the source routing header (1/7)"),
        _ => Unreachable::Other,
    }
}

/// The address of one end, unspecified for a layer-2 flow (which no ICMP error can quote).
fn ip_of(flow: &FlowRecord, role: Role) -> IpAddr {
    let host = match role {
        Role::Client => flow.client.host,
        Role::Server => flow.server.host,
    };
    host.ip().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
