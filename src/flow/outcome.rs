//! What became of a flow's opening, in DESIGN's words.

use std::net::IpAddr;

use crate::model::IcmpError;
use crate::model::Outcome;
use crate::model::Transport;

use super::key::Half;
use super::live::Flow;
use super::live::QuotedError;
use super::side::Side;
use super::tcp::TcpSide;

/// How often a first segment must have been sent in vain for the flow to be called cut.
const CUT_COPIES: u32 = 3;

/// The outcome of a flow with that client, and the reason in plain words where the outcome needs one. `answers` says whether a
/// datagram of what the flow proved to be asks for an answer.
pub fn outcome(flow: &Flow, client: Half, answers: bool) -> (Outcome, Option<String>) {
    match flow.transport {
        Transport::Tcp => stream(flow, client),
        Transport::Sctp => association(flow, client),
        Transport::Udp => datagrams(flow, client, answers),
        Transport::Icmp | Transport::Icmpv6 => messages(flow, client),
        Transport::Ip(_) | Transport::Ethernet(_) => {
            if !flow.sides.low.is_silent() && !flow.sides.high.is_silent() {
                (Outcome::Answered, None)
            } else if let Some(rejected) = rejected(flow) {
                rejected
            } else {
                (Outcome::Observed, None)
            }
        }
    }
}

/// Whether an ICMP error says that packets do not arrive (RFC 792 type 3, RFC 4443 type 1): fragmentation needed says only that
/// they are too big.
pub fn is_unreachable(from: IpAddr, kind: u8, code: u8) -> bool {
    match from {
        IpAddr::V4(_) => kind == 3 && code != 4,
        IpAddr::V6(_) => kind == 1,
    }
}

fn stream(flow: &Flow, client: Half) -> (Outcome, Option<String>) {
    let (from, to) = (flow.sides.of(client), flow.sides.of(client.other()));
    let nothing = TcpSide::default();
    let (asks, accepts) = (from.tcp.as_deref().unwrap_or(&nothing), to.tcp.as_deref().unwrap_or(&nothing));
    let opened = asks.opened() && accepts.opened() && (asks.sent_syn || accepts.sent_syn);
    if opened {
        return match cut(from, to) {
            Some(why) => (Outcome::Cut, Some(why)),
            None => (Outcome::Established, None),
        };
    }
    if (to.is_silent() || from.is_silent())
        && let Some(rejected) = rejected(flow)
    {
        return rejected;
    }
    let only_reset = to.packets > 0 && accepts.spoken == 0;
    if asks.sent_syn && only_reset {
        return (Outcome::Refused, Some("a reset answered the SYN".to_owned()));
    }
    if to.is_silent() && asks.only_syn() {
        let count = asks.syn.count;
        let times = if count == 1 { "one SYN".to_owned() } else { format!("{count} SYNs") };
        return (Outcome::Unanswered, Some(format!("{times}, nothing came back")));
    }
    one_or_both(flow)
}

fn one_or_both(flow: &Flow) -> (Outcome, Option<String>) {
    if flow.sides.low.is_silent() || flow.sides.high.is_silent() {
        (Outcome::OneSided, Some("only one direction is in the capture".to_owned()))
    } else {
        (Outcome::Midstream, Some("the opening is not in the capture".to_owned()))
    }
}

/// Why an opened connection counts as cut: its first data was never acknowledged though repeated, or a reset answered it.
fn cut(from: &Side, to: &Side) -> Option<String> {
    let (asks, accepts) = (from.tcp.as_deref()?, to.tcp.as_deref()?);
    if accepts.payload_acknowledged > 0 {
        return None;
    }
    let (ours, theirs) = (from.tell(), to.tell());
    if ours.unacknowledged.count >= CUT_COPIES && asks.payload_acknowledged == 0 {
        return Some(format!(
            "the client's first data was sent {} times and never acknowledged",
            ours.unacknowledged.count
        ));
    }
    if theirs.unacknowledged.count >= CUT_COPIES {
        return Some(format!(
            "the server's first data was sent {} times and never acknowledged",
            theirs.unacknowledged.count
        ));
    }
    let data = from.first_payload?;
    let reset = accepts.reset.as_ref()?;
    // Mirrors may stamp an answer shortly before its cause: order of capture is not asked for, only that both are there.
    (to.payload_bytes == 0
        && from.payload_packets > 0
        && asks.fin.is_none_or(|fin| fin > reset.at)
        && reset.at >= data)
        .then(|| "a reset answered the client's first data".to_owned())
}

fn association(flow: &Flow, client: Half) -> (Outcome, Option<String>) {
    let (from, to) = (flow.sides.of(client), flow.sides.of(client.other()));
    if from.asked && to.answered {
        (Outcome::Established, None)
    } else if let Some(rejected) = to.is_silent().then(|| rejected(flow)).flatten() {
        rejected
    } else if from.asked && to.aborted && to.packets == 1 {
        (Outcome::Refused, Some("an ABORT answered the INIT".to_owned()))
    } else if from.asked && to.is_silent() && from.packets > 0 && !from.answered {
        (Outcome::Unanswered, Some("INIT, nothing came back".to_owned()))
    } else {
        one_or_both(flow)
    }
}

fn datagrams(flow: &Flow, client: Half, answers: bool) -> (Outcome, Option<String>) {
    if !flow.sides.low.is_silent() && !flow.sides.high.is_silent() {
        return (Outcome::Answered, None);
    }
    if let Some(rejected) = rejected(flow) {
        return rejected;
    }
    if answers && flow.group.is_none() && flow.sides.of(client.other()).is_silent() {
        let count = flow.sides.of(client).packets;
        let times = if count == 1 { "one datagram".to_owned() } else { format!("{count} datagrams") };
        return (Outcome::Unanswered, Some(format!("{times}, nothing came back")));
    }
    if answers && flow.sides.of(client).is_silent() {
        return (Outcome::Observed, Some("only the server's answers are in the capture".to_owned()));
    }
    (Outcome::Observed, None)
}

fn messages(flow: &Flow, client: Half) -> (Outcome, Option<String>) {
    let (from, to) = (flow.sides.of(client), flow.sides.of(client.other()));
    let either = |wanted: fn(&Side) -> bool| wanted(from) || wanted(to);
    let asked = either(|side| side.asked);
    if asked && either(|side| side.answered) {
        (Outcome::Answered, None)
    } else if !asked {
        (Outcome::Observed, None)
    } else if let Some(rejected) = rejected(flow) {
        rejected
    } else if flow.group.is_some() {
        (Outcome::Observed, None)
    } else {
        (Outcome::Unanswered, Some("nothing came back".to_owned()))
    }
}

fn rejected(flow: &Flow) -> Option<(Outcome, Option<String>)> {
    let QuotedError { error: IcmpError { from, kind, code, .. }, .. } = flow
        .errors
        .iter()
        .find(|quoted| is_unreachable(quoted.error.from, quoted.error.kind, quoted.error.code))?;
    let name = if from.is_ipv6() { "ICMPv6" } else { "ICMP" };
    Some((Outcome::Rejected, Some(format!("{name} type {kind} code {code} from {from}"))))
}
