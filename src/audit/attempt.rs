//! One flow as an attempt of a documented flow: did it work, what stopped it, or why can't the capture tell.

mod cut;
mod handshake;
mod icmp;
mod opening;
mod payload;
mod refusal;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::model::Addressee;
use crate::model::CellId;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::Host;
use crate::model::MacAddr;
use crate::model::Mechanism;
use crate::model::Outcome;
use crate::model::PacketRef;
use crate::model::Proofs;
use crate::model::Role;
use crate::model::Series;
use crate::model::Transport;
use crate::rules::Condition;
use crate::rules::TlsVersion;

use super::view::Missing;
use super::view::Sight;
use super::view::Tried;
use super::view::View;

/// What a rule asks of the payload.
#[derive(Clone, Copy, Debug)]
pub struct Expectation<'a> {
    /// Accepted protocols; empty accepts all.
    pub protocols: &'a [String],
    /// Least TLS version.
    pub tls: Option<TlsVersion>,
    /// What the payload may not contradict.
    pub require: &'a [Condition],
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
    /// It worked, with a reason why that is not enough to take an earlier failure back.
    Doubtful(Proofs, Option<String>, Doubt),
    /// Sent by a protocol that has no answers, and no error came back. The note says what that is worth.
    Sent(Proofs, String),
    /// It gets through, but whether as documented is not shown, and why.
    Open(String),
    /// It opens and no more is known, and why: nothing stops the opening any longer.
    Opened(String),
    /// It did not.
    Fails(Fault, Failure, String),
    /// Silence, to be weighed together with the other attempts of the pair.
    Silent(Silence),
    /// It stopped or was stopped, by its last sign of life, and the capture can't tell whose doing that was: why.
    Stopped(PacketRef, String),
    /// The capture can't tell, and why.
    Unclear(String),
}

/// Why a success is not enough to take an earlier failure back.
#[derive(Clone, Debug)]
pub struct Doubt {
    /// In plain words.
    pub why: String,
    /// Whether what would tell was not captured. Else the attempt was not over: it takes nothing back at all (evidence 3.3.4).
    pub holes: bool,
}

/// Requests or SYNs without any answer.
#[derive(Clone, Debug)]
pub struct Silence {
    /// The unanswered packets.
    pub series: Series,
    /// Whether answers would have been seen.
    pub sight: Sight,
    /// How much of the traffic is missing there; none where there is too little to tell.
    pub missing: Option<Missing>,
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
    /// The two machines; a failed lookup has no server.
    pub ends: (Host, Option<Host>),
    /// Where: the cell, and the VLANs of its first packet.
    pub place: (CellId, Box<[u16]>),
    /// The machines behind client and server, as far as frames before any router or a lease tell.
    pub machines: [Option<MacAddr>; 2],
    /// What became of it.
    pub state: State,
}

/// SYNs of one attempt that make a silence by themselves (evidence table).
pub const SYNS_OF_ONE: u32 = 3;
/// From the first to the last of them.
pub const SYN_SPAN: Duration = Duration::from_millis(2500);

/// The machines behind both ends of a flow.
fn machines(flow: &FlowRecord, view: &View<'_>) -> [Option<MacAddr>; 2] {
    [Role::Client, Role::Server].map(|role| view.machine(flow, role))
}

/// Judges one flow.
pub fn judge(flow: &FlowRecord, want: &Expectation<'_>, view: &View<'_>) -> Attempt {
    let state = match flow.transport {
        Transport::Tcp => tcp(flow, want, view),
        _ => datagram(flow, want, view),
    };
    Attempt {
        first: flow.first,
        last: flow.last,
        ends: (flow.client.host, Some(flow.server.host)),
        place: (flow.cell, flow.vlans.clone()),
        machines: machines(flow, view),
        state,
    }
}

fn tcp(flow: &FlowRecord, want: &Expectation<'_>, view: &View<'_>) -> State {
    let (client, server) = (&flow.from_client, &flow.from_server);
    let works = client.acked_payload.is_some() || server.payload_acknowledged > 0 || is_delivered(flow);
    if let Some(state) = payload::fatal_alert(flow) {
        return state;
    }
    if works {
        let ended =
            || icmp::ends_it(flow).or_else(|| cut::torn(flow, view)).or_else(|| cut::later(flow, view));
        let unheard = || cut::is_unheard(flow).then(|| cut::at_first(flow, view)).flatten();
        let state = refusal::by_the_service(flow)
            .or_else(|| payload::answer_is_no_tls(flow))
            .or_else(unheard)
            .or_else(ended)
            .unwrap_or_else(|| payload::held_against(flow, want));
        return match (state, cut::doubtful(flow)) {
            (State::Works(..), _) if let Some(stopped) = cut::given_up(flow) => stopped,
            (State::Works(..), _) if let Some(why) = cut::half_shown(flow) => State::Open(why),
            (State::Works(..), _) if let Some(begun) = handshake::only_begun(flow, view) => begun,
            (State::Works(proofs, note), Some(doubt)) => State::Doubtful(proofs, note, doubt),
            (state, _) => state,
        };
    }
    if let Some(state) = icmp::policy(flow) {
        return state;
    }
    // Whoever acknowledges a SYN-ACK, or sends data, was let in, captured or not.
    let opened = client.first_ack.is_some() || client.says_something();
    if flow.outcome == Outcome::Refused
        && !opened
        && let Some(reset) = &server.reset
    {
        return opening::refused(flow, reset, view);
    }
    if let Some(state) = icmp::routing(flow) {
        return state;
    }
    if server.packets == 0 && client.syn.count > 0 && !client.says_something() {
        if let Some(why) = unread(flow, &client.syn, view) {
            return State::Unclear(why);
        }
        let tried = Tried::of(&client.syn, Transport::Tcp);
        let sight = view.sight(flow.cell, flow.client.host, client, flow.server.host, tried);
        let missing = view.missing(flow);
        return State::Silent(Silence { series: client.syn, sight, missing, transport: Transport::Tcp });
    }
    if let Some(state) = opening::return_path(flow, view) {
        return state;
    }
    if let Some(state) = cut::at_first(flow, view) {
        return state;
    }
    match flow.outcome {
        Outcome::Midstream if client.syn.count > 0 && server.syn.count == 0 => State::Unclear(
            "the answer to its SYN was not captured, or is about an older connection (RFC 5961 section 4), and nothing in it shows that it works"
                .to_owned(),
        ),
        Outcome::Midstream | Outcome::OneSided => State::Unclear(
            "the connection began before the capture or is seen from one side, and nothing in it shows that it works".to_owned(),
        ),
        _ if client.payload_packets == 0 && server.payload_packets == 0 => {
            let words = if client.first_ack.is_none() && client.reset.is_some() {
                format!(
                    "{} resets what it is answered: it scans, has given up, or filters for itself",
                    flow.client.host
                )
            } else {
                "a connection was opened and nothing was said".to_owned()
            };
            if client.first_ack.is_some() { State::Opened(words) } else { State::Unclear(words) }
        }
        _ => State::Unclear("the connection opened, but the capture shows no answer being received".to_owned()),
    }
}

/// Whether the server acknowledges what the client sends, where no answer to it is due (syslog).
fn is_delivered(flow: &FlowRecord) -> bool {
    flow.classification.one_way && flow.from_client.payload_acknowledged > 0
}

/// UDP: answered, rejected, silent, or one-way.
fn datagram(flow: &FlowRecord, want: &Expectation<'_>, view: &View<'_>) -> State {
    if flow.from_server.payload_packets > 0 && flow.from_client.packets > 0 {
        return payload::held_against(flow, want);
    }
    if let Some(state) = icmp::policy(flow).or_else(|| icmp::routing(flow)) {
        return state;
    }
    match flow.outcome {
        Outcome::Unanswered if let Some((from, at)) = view.answered_from(flow) => State::Works(
            Proofs::new(at, format!("{from} answers the port that asked {}", flow.server.host)),
            Some(format!(
                "answered from another address, {from}: a server with several takes the one it answers by"
            )),
        ),
        Outcome::Unanswered if asks_nothing(flow) => match payload::held_against(flow, want) {
            State::Works(..) => State::Unclear(
                "what was sent asks for no answer (BACnet unconfirmed, SNMP traps), so silence shows nothing"
                    .to_owned(),
            ),
            other => other,
        },
        Outcome::Unanswered => match unread(flow, &flow.from_client.unanswered, view) {
            Some(why) => State::Unclear(why),
            None => State::Silent(requests(flow, view)),
        },
        Outcome::Observed if flow.from_client.packets == 0 => match payload::held_against(flow, want) {
            State::Works(..) => State::Works(
                Proofs::new(
                    flow.first,
                    format!("{} answers; the requests are not on this mirror", flow.server.host),
                ),
                Some("seen from one side".to_owned()),
            ),
            other => other,
        },
        Outcome::Observed => match payload::held_against(flow, want) {
            State::Works(proofs, _) => payload::one_way(flow, proofs, view),
            other => other,
        },
        Outcome::OneSided => State::Works(
            Proofs::new(flow.first, "answers of the server, the requests are not on this mirror"),
            Some("seen from one side".to_owned()),
        ),
        _ => State::Unclear("the capture shows no answer".to_owned()),
    }
}

/// Whether all that was sent is of a kind that the other end need not answer, in a protocol that has requests as well: BACnet's unconfirmed
/// services (ANSI/ASHRAE 135 clause 5.4), SNMP's traps (RFC 3416 section 4.2.6).
fn asks_nothing(flow: &FlowRecord) -> bool {
    const KINDS: [(&str, &[&str]); 2] =
        [("bacnet.type", &["unconfirmed-request"]), ("snmp.pdu", &["trap", "trap-v1"])];
    KINDS.iter().any(|(key, kinds)| {
        let mut seen = flow.classification.facts.all(key).peekable();
        seen.peek().is_some() && seen.all(|kind| kinds.contains(&kind))
    })
}

/// Why what looks like silence may be none: an error came back, and the snap length cut off which flow it is about.
fn unread(flow: &FlowRecord, tried: &Series, view: &View<'_>) -> Option<String> {
    let error = view.unread_error(flow.cell, flow.client.host, tried)?;
    Some(format!(
        "no answer, but {} is told by ICMP at the time that something is unreachable ({}), and a snap length cut off what: this may be it",
        flow.client.host,
        view.packet(error)
    ))
}

/// Requests that stayed without an answer, and whether one would have been seen.
fn requests(flow: &FlowRecord, view: &View<'_>) -> Silence {
    let series = flow.from_client.unanswered;
    let tried = Tried::of(&series, flow.transport);
    let sight = view.sight(flow.cell, flow.client.host, &flow.from_client, flow.server.host, tried);
    Silence { series, sight, missing: view.missing(flow), transport: flow.transport }
}

/// Protocols of which every request is answered, so that requests after the last answer tell something (RFC 5905 section 8, RFC 1035
/// section 4.2.1, RFC 3416 section 4.2).
const ALWAYS_ANSWERED: [&str; 3] = ["ntp", "dns", "snmp"];

/// What a flow of datagrams that was answered comes to after the last answer: clients may keep one port for hours, and the later state decides.
pub fn later(flow: &FlowRecord, view: &View<'_>) -> Option<Attempt> {
    let series = flow.from_client.unanswered;
    let answered = flow.from_server.payload_packets > 0 && flow.from_client.packets > 0;
    let asks = flow.classification.protocol.is_some_and(|protocol| ALWAYS_ANSWERED.contains(&protocol));
    if flow.transport == Transport::Tcp || !answered || !asks || series.count == 0 {
        return None;
    }
    Some(Attempt {
        first: series.first?,
        last: series.last?,
        ends: (flow.client.host, Some(flow.server.host)),
        place: (flow.cell, flow.vlans.clone()),
        machines: machines(flow, view),
        state: State::Silent(requests(flow, view)),
    })
}

/// Lowers a grade where the mirror only likely carries the way back, and says why.
pub fn cap_by_sight(grade: Grade, sight: &Sight, reason: &mut String) -> Grade {
    match sight {
        Sight::Likely(why) if grade < Grade::C => {
            reason.push_str(&format!("; grade {} lowered to C, since {why}", grade.name()));
            Grade::C
        }
        _ => grade,
    }
}

/// Lowers a grade where the capture is lossy, and says so.
pub fn cap(grade: Grade, missing: Option<Missing>, view: &View<'_>, reason: &mut String) -> Grade {
    match missing.filter(|missing| missing.caps()) {
        Some(missing) if grade < Grade::C => {
            let why = view.told_missing(missing);
            reason.push_str(&format!("; grade {} lowered to C, since {why}", grade.name()));
            Grade::C
        }
        _ => grade,
    }
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
