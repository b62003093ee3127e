//! One flow as an attempt of a documented flow: did it work, what stopped it, or why can't the capture tell.

use std::time::Duration;

use crate::model::Addressee;
use crate::model::Culprit;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::IcmpError;
use crate::model::Mechanism;
use crate::model::Outcome;
use crate::model::PacketRef;
use crate::model::Proofs;
use crate::model::Role;
use crate::model::Series;
use crate::model::SideRecord;
use crate::model::Transport;
use crate::rules::TlsVersion;

use super::view::Sight;
use super::view::View;

/// What a rule asks of the payload.
#[derive(Clone, Copy, Debug)]
pub struct Expectation<'a> {
    /// Accepted protocols; empty accepts all.
    pub protocols: &'a [String],
    /// Least TLS version.
    pub tls: Option<TlsVersion>,
}

/// Which word a failure gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It works against the document.
    Violated,
    /// Something in between stops it.
    Blocked,
    /// It fails, no device in between is to blame for all we know.
    Failed,
}

impl Fault {
    /// The verdict's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Violated => "violated",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
        }
    }
}

/// What became of an attempt.
#[derive(Clone, Debug)]
pub enum State {
    /// It worked. The note says what remains unproven.
    Works(Proofs, Option<String>),
    /// It did not.
    Fails(Fault, Failure, String),
    /// Silence, to be weighed together with the other attempts of the pair.
    Silent(Silence),
    /// The capture can't tell, and why.
    Unclear(String),
}

/// Requests or SYNs without any answer.
#[derive(Clone, Debug)]
pub struct Silence {
    /// The unanswered packets.
    pub series: Series,
    /// Whether answers would have been seen.
    pub sight: Sight,
    /// TCP or UDP.
    pub transport: Transport,
}

/// One judged attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its first packet.
    pub first: PacketRef,
    /// Its last packet.
    pub last: PacketRef,
    /// What became of it.
    pub state: State,
}

/// SYNs of one attempt that make a silence by themselves (evidence table).
pub const SYNS_OF_ONE: u32 = 3;
/// From the first to the last of them.
pub const SYN_SPAN: Duration = Duration::from_millis(2500);
/// Copies of one segment never acknowledged that make a cut.
const COPIES_OF_ONE: u32 = 3;
/// SYN-ACKs sent again that make a return path.
const SYN_ACKS: u32 = 2;
/// A segment at least this long may have met a path-MTU black hole instead of a filter (Ethernet's 1500 less headers and a tunnel).
const FULL_SIZE: u64 = 1300;

/// Judges one flow.
pub fn judge(flow: &FlowRecord, want: &Expectation<'_>, view: &View) -> Attempt {
    let state = match flow.transport {
        Transport::Tcp => tcp(flow, want, view),
        _ => datagram(flow, want, view),
    };
    Attempt { first: flow.first, last: flow.last, state }
}

fn tcp(flow: &FlowRecord, want: &Expectation<'_>, view: &View) -> State {
    let (client, server) = (&flow.from_client, &flow.from_server);
    let works = client.acked_payload.is_some() || server.payload_acknowledged > 0;
    if let Some(state) = fatal_alert(flow, view) {
        return state;
    }
    if works {
        return payload(flow, want);
    }
    if let Some(state) = icmp_policy(flow) {
        return state;
    }
    if flow.outcome == Outcome::Refused
        && let Some(reset) = &server.reset
    {
        return refused(flow, reset, view);
    }
    if let Some(state) = icmp_routing(flow) {
        return state;
    }
    if server.packets == 0 && client.syn.count > 0 && client.payload_packets == 0 {
        let sight = view.sight(flow.cell, flow.client.host, client, flow.server.host);
        return State::Silent(Silence { series: client.syn, sight, transport: Transport::Tcp });
    }
    if let Some(state) = return_path(flow, view) {
        return state;
    }
    if let Some(state) = cut(flow, view) {
        return state;
    }
    match flow.outcome {
        Outcome::Midstream | Outcome::OneSided => State::Unclear(
            "the connection began before the capture or is seen from one side, and nothing in it shows that it works".to_owned(),
        ),
        _ if client.payload_packets == 0 && server.payload_packets == 0 => {
            State::Unclear("a connection was opened and nothing was said".to_owned())
        }
        _ => State::Unclear("the connection opened, but the capture shows no answer being received".to_owned()),
    }
}

/// A fatal TLS alert before any application data of the server (RFC 8446 section 6).
fn fatal_alert(flow: &FlowRecord, _view: &View) -> Option<State> {
    /// Alerts that say "not this version or strength" (RFC 8446 section 6.2): 40, 70, 71, 86.
    const MISMATCH: [&str; 4] = ["(40)", "(70)", "(71)", "(86)"];
    let facts = &flow.classification.facts;
    let alert = facts.iter().find(|fact| fact.key == "tls.alert" && fact.value.starts_with("fatal"))?;
    if facts.all("tls.application_data").next().is_some() {
        return None;
    }
    let at = alert.at.unwrap_or(flow.last);
    let words = alert.value.trim_start_matches("fatal ");
    let who = match facts.get("tls.alert.from") {
        Some("client") => flow.client.host,
        _ => flow.server.host,
    };
    let evidence = Proofs::new(at, format!("{who} ends the TLS handshake with the fatal alert {words}"))
        .and_maybe(facts.fact("tls.client_hello").and_then(|fact| fact.at), "the ClientHello");
    let mismatch = MISMATCH.iter().any(|code| alert.value.contains(code));
    let (fault, mechanism) =
        if mismatch { (Fault::Violated, Mechanism::WeakTls) } else { (Fault::Failed, Mechanism::TlsAlert) };
    let reason = if mismatch {
        format!("the TLS handshake fails: {who} answers {words}; the two ends share no version or cipher")
    } else {
        format!("the TLS handshake fails: {who} answers {words}")
    };
    let by =
        Some(Culprit { who: who.to_string(), kind: if who == flow.server.host { "server" } else { "host" } });
    Some(State::Fails(fault, Failure { mechanism, grade: Grade::C, by, evidence }, reason))
}

/// ICMP errors that name a policy: administratively prohibited, or port unreachable from somebody else than the target.
fn icmp_policy(flow: &FlowRecord) -> Option<State> {
    flow.errors.iter().filter(|error| error.fits).find_map(|error| {
        let (mechanism, what) = match meaning(error) {
            Unreachable::Prohibited(what) => (Mechanism::Prohibited, what),
            Unreachable::Port if error.from != ip_of(flow, error.quotes.other()) => {
                (Mechanism::Rejected, "port unreachable")
            }
            Unreachable::Port => return Some(port_closed(flow, error)),
            Unreachable::Route(_) => return None,
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
fn icmp_routing(flow: &FlowRecord) -> Option<State> {
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
}

/// RFC 792 and RFC 1812 section 5.2.7.1 (type 3), RFC 4443 section 3.1 (type 1).
fn meaning(error: &IcmpError) -> Unreachable {
    let v6 = error.from.is_ipv6();
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
        _ => Unreachable::Route("destination unreachable"),
    }
}

/// A reset to the SYN: the server's own, or somebody's in its name.
fn refused(flow: &FlowRecord, reset: &crate::model::Reset, view: &View) -> State {
    let evidence =
        Proofs::new(reset.at, format!("reset in the name of {} answers the SYN", flow.server.host))
            .and_maybe(flow.from_client.syn.first, "the SYN");
    match view.forged(flow.cell, flow.server.host, reset) {
        Some((why, mac)) => {
            let by = Some(Culprit { who: mac.to_string(), kind: "firewall" });
            let reason = format!("the SYN is answered by a reset that is not the server's: {why}");
            let failure = Failure { mechanism: Mechanism::ResetByMiddlebox, grade: Grade::B, by, evidence };
            State::Fails(Fault::Blocked, failure, reason)
        }
        None => {
            let by = Some(Culprit { who: flow.server.host.to_string(), kind: "host" });
            let reason = format!(
                "{} answers with a reset: nothing listens there, or a firewall rejects in its name",
                flow.server.host
            );
            let failure = Failure { mechanism: Mechanism::Refused, grade: Grade::C, by, evidence };
            State::Fails(Fault::Failed, failure, reason)
        }
    }
}

/// SYN-ACKs sent again and never acknowledged while the client goes on asking.
fn return_path(flow: &FlowRecord, view: &View) -> Option<State> {
    let (client, server) = (&flow.from_client, &flow.from_server);
    let asks_on = client.syn.count >= 2
        && client.syn.last.zip(server.syn.first).is_some_and(|(syn, syn_ack)| syn.time > syn_ack.time);
    if server.syn.count < SYN_ACKS || client.first_ack.is_some() || client.payload_packets > 0 || !asks_on {
        return None;
    }
    if let Some(why) = view.loss_explains(server.syn.count) {
        return Some(State::Unclear(why));
    }
    let first = server.syn.first.unwrap_or(flow.first);
    let evidence =
        Proofs::new(first, format!("SYN-ACK, sent {} times and never acknowledged", server.syn.count))
            .and_maybe(server.syn.last, "the last SYN-ACK")
            .and_maybe(client.syn.last, "the client still repeats its SYN: the SYN-ACKs do not reach it");
    let reason = format!(
        "{} answers, but its SYN-ACKs never reach {}: the way back is filtered",
        flow.server.host, flow.client.host
    );
    let failure =
        Failure { mechanism: Mechanism::ReturnPath, grade: cap(Grade::B, view), by: None, evidence };
    Some(State::Fails(Fault::Blocked, failure, reason))
}

/// Opened, then the first data stalls or is answered by a reset or a close.
fn cut(flow: &FlowRecord, view: &View) -> Option<State> {
    let (client, server) = (&flow.from_client, &flow.from_server);
    let tls = flow.classification.layers.contains(&"tls");
    let mechanism = if tls { Mechanism::TlsCut } else { Mechanism::Cut };
    if flow.outcome == Outcome::Midstream || flow.outcome == Outcome::OneSided {
        return None;
    }
    let opened = server.syn.count > 0 || flow.outcome == Outcome::Cut;
    if !opened {
        return None;
    }
    if let Some(reset) =
        server.reset.as_ref().filter(|_| client.payload_packets > 0 && server.payload_packets == 0)
    {
        return Some(reset_after_request(flow, reset, mechanism, view));
    }
    for (role, stalled) in [(Role::Client, client), (Role::Server, server)] {
        if let Some(state) = stall(flow, role, stalled, mechanism, view) {
            return Some(state);
        }
    }
    if let Some(fin) = server.fin.filter(|_| client.payload_packets > 0 && server.payload_packets == 0)
        && client.payload_acknowledged > 0
        && view.loss_explains(1).is_none()
    {
        let evidence = Proofs::new(fin, format!("{} closes without a word", flow.server.host))
            .and_maybe(client.first_payload, "the request");
        let by = Some(Culprit { who: flow.server.host.to_string(), kind: "server" });
        let reason =
            format!("{} accepts the connection and closes it at the first request", flow.server.host);
        let failure = Failure { mechanism: Mechanism::Closed, grade: Grade::C, by, evidence };
        return Some(State::Fails(Fault::Failed, failure, reason));
    }
    None
}

/// A reset where an answer to the first request was due.
fn reset_after_request(
    flow: &FlowRecord,
    reset: &crate::model::Reset,
    mechanism: Mechanism,
    view: &View,
) -> State {
    let request = if mechanism == Mechanism::TlsCut { "ClientHello" } else { "first request" };
    let evidence =
        Proofs::new(reset.at, format!("reset in the name of {} answers the {request}", flow.server.host))
            .and_maybe(flow.from_client.first_payload, "what the client sent");
    match view.forged(flow.cell, flow.server.host, reset) {
        Some((why, mac)) => {
            let by = Some(Culprit { who: mac.to_string(), kind: "firewall" });
            let reason = format!(
                "the connection opens, then the {request} is answered by a reset that is not the server's: {why}"
            );
            State::Fails(Fault::Blocked, Failure { mechanism, grade: Grade::B, by, evidence }, reason)
        }
        None => {
            let by = Some(Culprit { who: flow.server.host.to_string(), kind: "server" });
            let reason =
                format!("{} accepts the connection and resets it at the {request}", flow.server.host);
            let failure = Failure { mechanism: Mechanism::Closed, grade: Grade::C, by, evidence };
            State::Fails(Fault::Failed, failure, reason)
        }
    }
}

/// One side's data repeated and never acknowledged.
fn stall(
    flow: &FlowRecord,
    role: Role,
    side: &SideRecord,
    mechanism: Mechanism,
    view: &View,
) -> Option<State> {
    let series = side.unacknowledged;
    if series.count < COPIES_OF_ONE || side.payload_acknowledged > 0 {
        return None;
    }
    let (sender, receiver) = match role {
        Role::Client => (flow.client.host, flow.server.host),
        Role::Server => (flow.server.host, flow.client.host),
    };
    let last = series.last.unwrap_or(flow.last);
    if !view.is_settled(&series, COPIES_OF_ONE) {
        return Some(State::Unclear(
            "the capture ends before the unacknowledged data could be given up".to_owned(),
        ));
    }
    if let Some(why) = view.loss_explains(series.count) {
        return Some(State::Unclear(why));
    }
    if role == Role::Client
        && let Sight::None(why) = view.sight(flow.cell, flow.client.host, &flow.from_client, flow.server.host)
    {
        return Some(State::Unclear(why));
    }
    let what = match (mechanism, role) {
        (Mechanism::TlsCut, Role::Client) => "ClientHello",
        (Mechanism::TlsCut, Role::Server) => "server's TLS handshake",
        (_, Role::Client) => "first request",
        (_, Role::Server) => "first answer",
    };
    let first = series.first.unwrap_or(flow.first);
    let evidence = Proofs::new(
        first,
        format!("the {what}, sent {} times by {sender} and never acknowledged", series.count),
    )
    .and(last, "its last repetition")
    .and_maybe(flow.from_server.syn.first, "the connection had opened");
    let full_size = side.payload_bytes >= FULL_SIZE;
    let doubt =
        if full_size { " (or full-size packets are lost on the way: a path-MTU black hole)" } else { "" };
    let reason = format!("the connection opens, then the {what} never reaches {receiver}{doubt}");
    let grade = cap(if full_size { Grade::C } else { Grade::B }, view);
    Some(State::Fails(Fault::Blocked, Failure { mechanism, grade, by: None, evidence }, reason))
}

/// UDP: answered, rejected, silent, or one-way.
fn datagram(flow: &FlowRecord, want: &Expectation<'_>, view: &View) -> State {
    if flow.from_server.payload_packets > 0 && flow.from_client.packets > 0 {
        return payload(flow, want);
    }
    if let Some(state) = icmp_policy(flow).or_else(|| icmp_routing(flow)) {
        return state;
    }
    match flow.outcome {
        Outcome::Unanswered => {
            let sight = view.sight(flow.cell, flow.client.host, &flow.from_client, flow.server.host);
            State::Silent(Silence { series: flow.from_client.unanswered, sight, transport: flow.transport })
        }
        Outcome::Observed if flow.from_client.packets == 0 => match payload(flow, want) {
            State::Works(_, _) => State::Works(
                Proofs::new(
                    flow.first,
                    format!("{} answers; the requests are not on this mirror", flow.server.host),
                ),
                Some("seen from one side".to_owned()),
            ),
            other => other,
        },
        Outcome::Observed => match payload(flow, want) {
            State::Works(proofs, _) => {
                let one_way = || "sent; the protocol has no answers, so delivery cannot be seen".to_owned();
                State::Works(proofs, Some(flow.reason.clone().unwrap_or_else(one_way)))
            }
            other => other,
        },
        Outcome::OneSided => State::Works(
            Proofs::new(flow.first, "answers of the server, the requests are not on this mirror"),
            Some("seen from one side".to_owned()),
        ),
        _ => State::Unclear("the capture shows no answer".to_owned()),
    }
}

/// What works is held against what is documented.
fn payload(flow: &FlowRecord, want: &Expectation<'_>) -> State {
    let seen = &flow.classification;
    let shown = flow.from_client.acked_payload.or(flow.from_server.first_payload).unwrap_or(flow.last);
    let answer = match flow.transport {
        Transport::Tcp => format!("{} acknowledges what {} answered", flow.client.host, flow.server.host),
        _ if flow.outcome == Outcome::Observed => format!("{} sends", flow.client.host),
        _ => format!("{} answers", flow.server.host),
    };
    let proofs = Proofs::new(shown, answer);
    let begun_before = matches!(flow.outcome, Outcome::Midstream | Outcome::OneSided);
    let Some(protocol) = seen.protocol else {
        if want.protocols.is_empty() {
            return State::Works(
                proofs,
                Some("what it speaks was not recognised; the document names no protocol".to_owned()),
            );
        }
        if begun_before {
            return State::Works(
                proofs,
                Some("begun before the capture, so what it speaks is not shown".to_owned()),
            );
        }
        return State::Unclear(format!(
            "data flows both ways, but it was not recognised as {}",
            want.protocols.join(" or ")
        ));
    };
    let proven = seen.proven.unwrap_or(flow.first);
    let accepted = want.protocols.is_empty()
        || seen.layers.iter().chain([&protocol]).any(|layer| want.protocols.iter().any(|p| p == layer));
    if !accepted {
        return wrong(flow, want, protocol, proven);
    }
    let proofs = proofs.and(proven, format!("its payload is {}", seen.layers.join(" over ")));
    if let (Some(least), true) = (want.tls, seen.layers.contains(&"tls")) {
        match seen
            .facts
            .fact("tls.version")
            .and_then(|fact| Some((fact, TlsVersion::from_name(&fact.value)?)))
        {
            Some((fact, version)) if version < least => {
                let at = fact.at.unwrap_or(proven);
                let server = flow.server.host;
                let evidence = Proofs::new(at, format!("{server} chooses TLS {}", version.name())).and_maybe(
                    seen.facts.fact("tls.client_hello").and_then(|fact| fact.at),
                    "the ClientHello",
                );
                let offered: Vec<&str> = seen.facts.all("tls.offered").collect();
                let capped = if offered.contains(&least.name()) {
                    format!("; the client offered {}, so {server} sets the limit", least.name())
                } else if offered.is_empty() {
                    String::new()
                } else {
                    format!("; the client offered no more than {}", offered.join(", "))
                };
                let by = Some(Culprit { who: server.to_string(), kind: "server" });
                let reason =
                    format!("TLS {} was negotiated, {} is documented{capped}", version.name(), least.name());
                let failure = Failure { mechanism: Mechanism::WeakTls, grade: Grade::B, by, evidence };
                return State::Fails(Fault::Violated, failure, reason);
            }
            Some(_) => {}
            None => {
                return State::Works(
                    proofs,
                    Some("its TLS version was negotiated outside the capture".to_owned()),
                );
            }
        }
    }
    let note = (protocol == "tls" && !want.protocols.is_empty() && want.protocols.iter().any(|p| p != "tls"))
        .then(|| "encrypted, so what is inside TLS was not seen".to_owned());
    State::Works(proofs, note)
}

/// A payload that the rule does not accept.
fn wrong(flow: &FlowRecord, want: &Expectation<'_>, protocol: &'static str, proven: PacketRef) -> State {
    /// Protocols that are encrypted by themselves.
    const ENCRYPTED: [&str; 4] = ["tls", "ssh", "quic", "dtls"];
    let documented = want.protocols.join(" or ");
    let wants_encryption = want.protocols.iter().all(|p| ENCRYPTED.contains(&p.as_str()));
    let clear = wants_encryption && !flow.classification.layers.iter().any(|layer| ENCRYPTED.contains(layer));
    let mechanism = if clear { Mechanism::Cleartext } else { Mechanism::WrongProtocol };
    let evidence = Proofs::new(proven, format!("its payload is {protocol}"));
    let reason = if clear {
        format!("it speaks {protocol} in clear text where {documented} is documented")
    } else {
        format!("it speaks {protocol} where {documented} is documented")
    };
    State::Fails(Fault::Violated, Failure { mechanism, grade: Grade::B, by: None, evidence }, reason)
}

/// Lowers a grade where the capture is lossy.
pub fn cap(grade: Grade, view: &View) -> Grade {
    if view.lossy().is_some() { grade.max(Grade::C) } else { grade }
}

/// The address of one end, unspecified for a layer-2 flow (which no ICMP error can quote).
fn ip_of(flow: &FlowRecord, role: Role) -> std::net::IpAddr {
    let host = match role {
        Role::Client => flow.client.host,
        Role::Server => flow.server.host,
    };
    host.ip().unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// Whom to ask, given who did it: a filter on the target itself is the server's, not the firewall's.
pub fn addressee(failure: &Failure) -> Addressee {
    match (&failure.by, failure.mechanism) {
        (Some(culprit), Mechanism::Prohibited | Mechanism::Rejected) if culprit.kind == "host" => {
            Addressee::Server
        }
        _ => failure.mechanism.addressee(),
    }
}
