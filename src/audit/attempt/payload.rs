//! What a payload that gets through is held against: protocol, TLS version, alerts.

use crate::model::Culprit;
use crate::model::Failure;
use crate::model::FlowRecord;
use crate::model::Grade;
use crate::model::Mechanism;
use crate::model::Outcome;
use crate::model::PacketRef;
use crate::model::Proofs;
use crate::model::Transport;
use crate::rules::TlsVersion;

use crate::audit::condition;
use crate::audit::view::View;

use super::Expectation;
use super::Fault;
use super::State;

/// A fatal TLS alert before any application data of the server (RFC 8446 section 6).
pub(super) fn fatal_alert(flow: &FlowRecord) -> Option<State> {
    /// Alerts that say "not this version or strength" (RFC 8446 section 6.2): 40, 70, 71, 86.
    const MISMATCH: [&str; 4] = ["(40)", "(70)", "(71)", "(86)"];
    let facts = &flow.classification.facts;
    let instead = is_instead_of_a_handshake(flow);
    let Some(alert) =
        facts.iter().find(|fact| fact.key == "tls.alert" && (instead || fact.value.starts_with("fatal")))
    else {
        return given_up(flow);
    };
    let from = facts.get("tls.alert.from").unwrap_or("server");
    // The server's encrypted handshake of TLS 1.3 looks like application data: an alert in the clear counts as long as its sender encrypts nothing.
    let in_13 = facts.get("tls.version") == Some("1.3");
    if facts.all("tls.application_data").any(|end| !in_13 || end == from) {
        return None;
    }
    let at = alert.at.unwrap_or(flow.last);
    let fatal = alert.value.strip_prefix("fatal ");
    let words = fatal.unwrap_or(&alert.value);
    let level = if fatal.is_some() { "fatal " } else { "" };
    let who = if from == "client" { flow.client.host } else { flow.server.host };
    let evidence = Proofs::new(at, format!("{who} ends the TLS handshake with the {level}alert {words}"))
        .and_maybe(facts.fact("tls.client_hello").and_then(|fact| fact.at), "the ClientHello");
    // Once a ServerHello chose both, the same numbers speak of something else: a certificate that is missing, say.
    let agreed = facts.get("tls.server_hello").is_some();
    let mismatch = !agreed && MISMATCH.iter().any(|code| alert.value.contains(code));
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

/// Whether an alert is all that the server says to a ClientHello: a warning then ends as much as a fatal one.
fn is_instead_of_a_handshake(flow: &FlowRecord) -> bool {
    let facts = &flow.classification.facts;
    let begins = ["tls.server_hello", "tls.server_handshake"].iter().any(|key| facts.get(key).is_some());
    facts.get("tls.alert.from") == Some("server")
        && facts.get("tls.client_hello").is_some()
        && !begins
        && facts.all("tls.application_data").all(|end| end != "server")
        && flow.from_server.unseen_acknowledged == 0
        && flow.from_server.fin.is_some()
}

/// A client that ends the handshake of TLS 1.3 by an alert that is encrypted, and never finishes.
fn given_up(flow: &FlowRecord) -> Option<State> {
    let facts = &flow.classification.facts;
    let alert = facts.fact("tls.gives_up")?;
    let who = flow.client.host;
    let evidence = Proofs::new(
        alert.at.unwrap_or(flow.last),
        format!("{who} ends the TLS handshake with an encrypted alert instead of finishing it"),
    )
    .and_maybe(facts.fact("tls.client_hello").and_then(|fact| fact.at), "the ClientHello");
    let by = Some(Culprit { who: who.to_string(), kind: "host" });
    let reason = format!(
        "the TLS handshake fails: {who} ends it with an alert instead of finishing; it is encrypted, so its code is not shown (a certificate that {who} does not trust is the usual cause)"
    );
    let failure = Failure { mechanism: Mechanism::TlsAlert, grade: Grade::C, by, evidence };
    Some(State::Fails(Fault::Failed, failure, reason))
}

/// A ClientHello answered by bytes that are no TLS: a portal, a proxy or another service took the connection.
pub(super) fn answer_is_no_tls(flow: &FlowRecord) -> Option<State> {
    let facts = &flow.classification.facts;
    let server = &flow.from_server;
    facts.get("tls.answer")?;
    let hello = facts.fact("tls.client_hello")?;
    // Where part of what the server said was not captured, its beginning may be what is missing.
    if server.payload_packets == 0 || server.unseen_acknowledged > 0 {
        return None;
    }
    let at = server.first_payload.unwrap_or(flow.last);
    let who = flow.server.host;
    let ended = server.fin.or(server.reset.map(|reset| reset.at));
    let evidence = Proofs::new(at, format!("{who} answers, and not in TLS"))
        .and_maybe(hello.at, "the ClientHello")
        .and_maybe(ended, "and it ends the connection");
    let reason = format!(
        "{who} answers the ClientHello with {} bytes that are no TLS: another service, or a portal or proxy in its name",
        server.payload_bytes
    );
    let by = Some(Culprit { who: who.to_string(), kind: "server" });
    Some(if ended.is_some() {
        let failure = Failure { mechanism: Mechanism::Closed, grade: Grade::C, by, evidence };
        State::Fails(Fault::Failed, failure, format!("{reason}; it then ends the connection"))
    } else {
        let failure = Failure { mechanism: Mechanism::WrongProtocol, grade: Grade::C, by, evidence };
        State::Fails(Fault::Violated, failure, reason)
    })
}

/// What works is held against what is documented.
pub(super) fn held_against(flow: &FlowRecord, want: &Expectation<'_>) -> State {
    let seen = &flow.classification;
    let (client, server) = (&flow.from_client, &flow.from_server);
    let answered = client.acked_payload.or(server.first_payload);
    let shown = answered.or(server.acked_payload).unwrap_or(flow.last);
    let answer = match flow.transport {
        Transport::Tcp if answered.is_none() => {
            format!("{} acknowledges what {} sends", flow.server.host, flow.client.host)
        }
        Transport::Tcp => format!("{} acknowledges what {} answered", flow.client.host, flow.server.host),
        _ if flow.outcome == Outcome::Observed => format!("{} sends", flow.client.host),
        _ => format!("{} answers", flow.server.host),
    };
    let proofs = Proofs::new(shown, answer);
    let one_sided = flow.transport == Transport::Tcp && (client.packets == 0 || server.packets == 0);
    let Some(protocol) = seen.protocol else {
        if want.protocols.is_empty() {
            return State::Works(
                proofs,
                Some("what it speaks was not recognised; the document names no protocol".to_owned()),
            );
        }
        let opening = flow.from_client.syn.count > 0 || flow.from_server.syn.count > 0;
        let why = match flow.outcome {
            _ if one_sided => "it is seen from one side, and ",
            Outcome::Midstream | Outcome::OneSided if !opening => "it began before the capture, and ",
            _ => "",
        };
        let flows =
            if answered.is_some() { "data flows both ways" } else { "it is sent, nothing comes back" };
        return State::Open(format!(
            "{flows}, but {why}it was not recognised as {}",
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
            None => return unshown_version(flow, least, proofs),
        }
    }
    let note = (protocol == "tls" && !want.protocols.is_empty() && want.protocols.iter().any(|p| p != "tls"))
        .then(|| "encrypted, so what is inside TLS was not seen".to_owned());
    if let Some(state) = condition::contradicted(flow, want.require) {
        return state;
    }
    let note = note
        .or_else(|| no_time(flow))
        .or_else(|| says_no(flow))
        .or_else(|| condition::shown(flow, want.require));
    let note = note.or_else(|| {
        one_sided.then(|| {
            "seen from the client's side only: that it is answered is shown, what is answered is not"
                .to_owned()
        })
    });
    State::Works(proofs, note)
}

/// What there is to say of a time server that answers, and gives no time: one that is not synchronised sends stratum 0 (RFC 5905 section 7.3), and one
/// that refuses does as well (section 7.4).
fn no_time(flow: &FlowRecord) -> Option<String> {
    let mut strata = flow.classification.facts.all("ntp.stratum").peekable();
    let gives_none = strata.peek().is_some() && strata.all(|stratum| stratum == "0");
    gives_none.then(|| {
        "the way is open, but the server gives no time (stratum 0: it is not synchronised itself, or refuses)"
            .to_owned()
    })
}

/// What there is to say of a service that is reached and does not do what it is asked for: the way is open, and it works no more than that.
fn says_no(flow: &FlowRecord) -> Option<String> {
    /// A bind that goes on (RFC 4511 appendix A.1), preauthentication (RFC 4120 section 7.5.9) and a login that is asked for (RFC 9110 section
    /// 15.5.2) are part of the way.
    const ROUTINE: [(&str, &str); 3] =
        [("ldap.result", "bind-response 14"), ("kerberos.error", "25"), ("http.status", "401")];
    let is_no = |key: &str, value: &str| match key {
        "ldap.result" => value.starts_with("bind-response"),
        "smtp.error" | "kerberos.error" | "tftp.error" => true,
        "http.status" => value.starts_with(['4', '5']),
        _ => false,
    };
    let facts = &flow.classification.facts;
    let said = facts
        .iter()
        .find(|fact| is_no(fact.key, &fact.value) && !ROUTINE.contains(&(fact.key, fact.value.as_str())))?;
    // The first status may be that of one page among many.
    let serves =
        said.key == "http.status" && facts.all(said.key).any(|status| status.starts_with(['2', '3']));
    (!serves)
        .then(|| format!("among the answers of {} is a no: {} {}", flow.server.host, said.key, said.value))
}

/// TLS whose ServerHello was not captured: what the client offered may still decide.
fn unshown_version(flow: &FlowRecord, least: TlsVersion, proofs: Proofs) -> State {
    let facts = &flow.classification.facts;
    let offered: Vec<TlsVersion> = facts.all("tls.offered").filter_map(TlsVersion::from_name).collect();
    let hello = facts.fact("tls.client_hello").and_then(|fact| fact.at).unwrap_or(flow.first);
    match (offered.iter().min(), offered.iter().max()) {
        (_, Some(most)) if *most < least => {
            let client = flow.client.host;
            let evidence = Proofs::new(
                hello,
                format!("{client} offers no more than TLS {}, and it is accepted", most.name()),
            );
            let by = Some(Culprit { who: client.to_string(), kind: "host" });
            let reason =
                format!("the client offers no more than TLS {}, {} is documented", most.name(), least.name());
            let failure = Failure { mechanism: Mechanism::WeakTls, grade: Grade::B, by, evidence };
            State::Fails(Fault::Violated, failure, reason)
        }
        (Some(fewest), _) if *fewest >= least => State::Works(
            proofs.and(hello, format!("the client offers nothing older than TLS {}", fewest.name())),
            Some("its TLS version follows from what the client offers".to_owned()),
        ),
        _ => State::Open(format!(
            "it gets through, but the TLS version is not shown ({} is documented)",
            least.name()
        )),
    }
}

/// Datagrams of a protocol without answers: only an error that comes back can show that they do not arrive.
pub(super) fn one_way(flow: &FlowRecord, proofs: Proofs, view: &View<'_>) -> State {
    let client = flow.client.host;
    if flow.server.host.is_group() {
        return State::Works(proofs, Some("sent to a group, which does not answer".to_owned()));
    }
    if let Some(reason) = &flow.reason {
        // A question answered from another port has its own reason.
        return State::Works(proofs, Some(reason.to_string()));
    }
    if flow.classification.protocol.is_none() {
        return State::Unclear(
            "sent, and nothing comes back: what it speaks was not recognised, so whether an answer is due is not known"
                .to_owned(),
        );
    }
    if !view.receives(flow.cell, client) {
        return State::Open(format!(
            "sent, but nothing sent to {client} was ever captured, so an error would not be seen"
        ));
    }
    if view.cuts(flow.first) {
        return State::Open(
            "sent, but packets are cut by a snap length, so an error could not be told to belong to it"
                .to_owned(),
        );
    }
    let sent = u32::try_from(flow.from_client.payload_packets).unwrap_or(u32::MAX);
    if let Some(why) = view.loss_explains(view.missing(flow), sent) {
        return State::Open(format!("sent, and no error seen, but {why}"));
    }
    State::Sent(proofs, "sent; the protocol has no answers, so delivery cannot be seen".to_owned())
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
