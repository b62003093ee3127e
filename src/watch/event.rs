//! What a watch tells as it happens: one event a line, as JSON (schema `spanaudit.event/1`) or CEF.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

use serde::Serialize;

use crate::model::Evidence;
use crate::model::Finding;
use crate::model::JudgedConversation;
use crate::model::Report;
use crate::model::Requirement;
use crate::model::Timestamp;
use crate::report::plain;
use crate::report::rfc3339;
use crate::report::write_line;

/// The name and version of the shape of an event in JSON. The number grows when a reader of the older shape would go wrong.
pub const SCHEMA: &str = "spanaudit.event/1";
/// The most packets cited by one event; the report has them all.
const MOST_EVIDENCE: usize = 4;

/// How much an event matters, by the severities of syslog (RFC 5424 table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Someone should act.
    Error,
    /// Someone should look.
    Warning,
    /// Worth knowing.
    Notice,
    /// For the record.
    Info,
}

impl Level {
    /// Its number in syslog.
    pub fn syslog(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Info => 6,
        }
    }

    /// The level with a number in syslog.
    pub fn of_syslog(number: u8) -> Self {
        [Self::Error, Self::Warning, Self::Notice]
            .into_iter()
            .find(|level| level.syslog() == number)
            .unwrap_or(Self::Info)
    }

    /// Its number in CEF, 0 to 10.
    fn cef(self) -> u8 {
        match self {
            Self::Error => 8,
            Self::Warning => 6,
            Self::Notice => 3,
            Self::Info => 1,
        }
    }
}

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    schema: &'static str,
    /// Its number, counted on over restarts where there is a state folder.
    pub seq: u64,
    /// Capture time; null before the first packet.
    pub time: Option<String>,
    /// The name of the site.
    pub site: String,
    /// What kind of event.
    pub event: Cow<'static, str>,
    /// How much it matters.
    pub level: Level,
    /// One line for people.
    pub message: String,
    /// What it is about.
    #[serde(flatten)]
    pub about: About,
    /// How it was told by an earlier run, as JSON and as CEF, where it is told again because it may not have arrived.
    #[serde(skip)]
    again: Option<(String, String)>,
}

/// What an event is about.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum About {
    /// A requirement whose verdict changed.
    Requirement(Box<OfRequirement>),
    /// A finding that opened, changed or was resolved.
    Finding(Box<OfFinding>),
    /// A conversation that nobody documented.
    Conversation(Box<OfConversation>),
    /// The mirror, or the watch itself.
    Condition {
        /// Which of its conditions (`kernel-drops`, `silent`, ...).
        condition: &'static str,
        /// What is the matter.
        detail: String,
    },
}

/// A requirement as an event tells it.
#[derive(Clone, Debug, Serialize)]
pub struct OfRequirement {
    requirement: String,
    ruleset: String,
    rule: String,
    from: String,
    to: String,
    source: String,
    target: String,
    transport: String,
    ports: String,
    before: Option<String>,
    verdict: &'static str,
    mechanism: Option<&'static str>,
    addressee: Option<&'static str>,
    grade: Option<&'static str>,
    reason: String,
    evidence: Vec<Cited>,
}

/// A finding as an event tells it.
#[derive(Clone, Debug, Serialize)]
pub struct OfFinding {
    finding: String,
    kind: &'static str,
    severity: &'static str,
    title: String,
    detail: String,
    advice: String,
    addressee: &'static str,
    grade: Option<&'static str>,
    requirements: Vec<String>,
    conversations: usize,
    evidence: Vec<Cited>,
}

/// A conversation as an event tells it.
#[derive(Clone, Debug, Serialize)]
pub struct OfConversation {
    conversation: String,
    cell: Option<String>,
    client: String,
    server: String,
    transport: &'static str,
    port: Option<u16>,
    protocols: Vec<&'static str>,
    hosts: Vec<String>,
    verdict: &'static str,
    reason: String,
    evidence: Vec<Cited>,
}

/// One packet and what it shows.
#[derive(Clone, Debug, Serialize)]
pub struct Cited {
    interface: String,
    packet: u64,
    time: String,
    note: String,
}

fn cite<'a>(evidence: impl Iterator<Item = &'a Evidence>, report: &Report) -> Vec<Cited> {
    evidence
        .take(MOST_EVIDENCE)
        .map(|piece| Cited {
            interface: report.input_name(piece.at).to_owned(),
            packet: piece.at.number(),
            time: rfc3339(piece.at.time),
            note: piece.note.to_string(),
        })
        .collect()
}

impl About {
    /// A requirement, and its verdict before.
    pub fn requirement(told: &Requirement, before: Option<&str>, report: &Report) -> Self {
        let failure = told.verdict.failure();
        Self::Requirement(Box::new(OfRequirement {
            requirement: told.id.clone(),
            ruleset: told.ruleset.clone(),
            rule: told.rule.clone(),
            from: told.from.clone(),
            to: told.to.clone(),
            source: told.source.clone(),
            target: told.target.clone(),
            transport: told.transport.clone(),
            ports: told.ports.clone(),
            before: before.map(str::to_owned),
            verdict: told.verdict.name(),
            mechanism: failure.map(|failure| failure.mechanism.name()),
            addressee: failure.map(|failure| failure.addressee().name()),
            grade: failure.map(|failure| failure.grade.name()),
            reason: told.reason.to_string(),
            evidence: cite(told.verdict.evidence(), report),
        }))
    }

    /// A finding.
    pub fn finding(told: &Finding, report: &Report) -> Self {
        Self::Finding(Box::new(OfFinding {
            finding: told.id.clone(),
            kind: told.kind.name(),
            severity: told.severity.name(),
            title: told.title.clone(),
            detail: told.detail.clone(),
            advice: told.advice.to_string(),
            addressee: told.addressee.name(),
            grade: told.kind.grade().map(|grade| grade.name()),
            requirements: told.requirements.clone(),
            conversations: told.conversations.len(),
            evidence: cite(told.evidence.iter(), report),
        }))
    }

    /// A conversation.
    pub fn conversation(told: &JudgedConversation, report: &Report) -> Self {
        Self::Conversation(Box::new(OfConversation {
            conversation: told.id.to_string(),
            cell: told.cell.clone(),
            client: told.client.to_string(),
            server: told.server.to_string(),
            transport: told.transport.name(),
            port: told.port,
            protocols: told.protocols.to_vec(),
            hosts: told.hosts.iter().take(MOST_EVIDENCE).cloned().collect(),
            verdict: told.verdict.name(),
            reason: told.reason.to_string(),
            evidence: cite(told.evidence.iter(), report),
        }))
    }
}

impl Event {
    /// An event that has no number yet.
    pub fn new(
        site: &str,
        time: Option<Timestamp>,
        event: &'static str,
        level: Level,
        message: String,
        about: About,
    ) -> Self {
        let time = time.map(rfc3339);
        let event = Cow::Borrowed(event);
        Self {
            schema: SCHEMA,
            seq: 0,
            time,
            site: site.to_owned(),
            event,
            level,
            message,
            about,
            again: None,
        }
    }

    /// An event of an earlier run.
    pub fn again(seq: u64, event: String, level: Level, time: String, json: String, cef: String) -> Self {
        Self {
            schema: SCHEMA,
            seq,
            time: Some(time).filter(|time| !time.is_empty()),
            site: String::new(),
            event: Cow::Owned(event),
            level,
            message: String::new(),
            about: About::Condition { condition: "", detail: String::new() },
            again: Some((json, cef)),
        }
    }

    /// As one line of JSON, with its end of line.
    pub fn json(&self) -> String {
        if let Some((json, _)) = &self.again {
            return json.clone();
        }
        let mut line = Vec::new();
        // Writing to memory does not fail, and every key is a string.
        let _ = write_line(self, &mut line);
        String::from_utf8(line).unwrap_or_default()
    }

    /// In ArcSight's Common Event Format, version 0, without an end of line.
    pub fn cef(&self) -> String {
        if let Some((_, cef)) = &self.again {
            return cef.clone();
        }
        let mut line = format!(
            "CEF:0|spanaudit|spanaudit|{}|{}|{}|{}|",
            env!("CARGO_PKG_VERSION"),
            self.event,
            header(&self.message),
            self.level.cef()
        );
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                let _ = write!(line, "{key}={} ", extension(value));
            }
        };
        add("cs1Label", "site");
        add("cs1", &self.site);
        add("cn1Label", "seq");
        add("cn1", &self.seq.to_string());
        add("rt", &self.time.as_deref().and_then(epoch_millis).unwrap_or_default());
        match &self.about {
            About::Requirement(told) => {
                add("externalId", &told.requirement);
                add(host_key(&told.source, ["src", "c6a2", "shost"]), &told.source);
                add(host_key(&told.target, ["dst", "c6a3", "dhost"]), &told.target);
                add("proto", &told.transport);
                add("dpt", if told.ports.bytes().all(|b| b.is_ascii_digit()) { &told.ports } else { "" });
                add("outcome", told.verdict);
                add("reason", told.mechanism.unwrap_or_default());
                add("cs2Label", "rule");
                add("cs2", &format!("{}:{}", told.ruleset, told.rule));
                add("msg", &told.reason);
            }
            About::Finding(told) => {
                add("externalId", &told.finding);
                add("cat", told.kind);
                add("msg", &told.detail);
            }
            About::Conversation(told) => {
                add("externalId", &told.conversation);
                add(host_key(&told.client, ["src", "c6a2", "shost"]), &told.client);
                add(host_key(&told.server, ["dst", "c6a3", "dhost"]), &told.server);
                add("dpt", &told.port.map(|port| port.to_string()).unwrap_or_default());
                add("proto", told.transport);
                add("app", told.protocols.first().copied().unwrap_or_default());
                add("outcome", told.verdict);
                add("msg", &told.reason);
            }
            About::Condition { condition, detail } => {
                add("cat", condition);
                add("msg", detail);
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Text in the head of a CEF line: bars and backslashes are escaped, line ends can't be.
fn header(text: &str) -> String {
    plain(text).replace('\\', "\\\\").replace('|', "\\|")
}

/// Text in a CEF extension: equals signs and backslashes are escaped.
fn extension(text: &str) -> String {
    plain(text).replace('\\', "\\\\").replace('=', "\\=")
}

/// CEF has a key each for IPv4 addresses, IPv6 addresses and anything else that names a host.
fn host_key(host: &str, keys: [&'static str; 3]) -> &'static str {
    let [v4, v6, name] = keys;
    match host.parse() {
        Ok(IpAddr::V4(_)) => v4,
        Ok(IpAddr::V6(_)) => v6,
        Err(_) => name,
    }
}

/// A time as CEF has it: milliseconds since the epoch.
fn epoch_millis(rfc3339: &str) -> Option<String> {
    rfc3339.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(detail: &str) -> Event {
        let about = About::Condition { condition: "silent", detail: detail.to_owned() };
        let time = Some(Timestamp::from_nanos(1_795_166_043_112_345_678));
        Event::new("plant-7", time, "vantage-degraded", Level::Warning, "a|b".to_owned(), about)
    }

    #[test]
    fn json_is_one_line_whatever_it_holds() {
        let line = event("a\nb\u{1b}[31m\u{202e}").json();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with('\n'));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["schema"], SCHEMA);
        assert_eq!(read["event"], "vantage-degraded");
        assert_eq!(read["detail"], "a\nb\u{1b}[31m\u{202e}");
        assert!(!line.contains('\u{1b}') && !line.contains('\u{202e}'));
    }

    #[test]
    fn cef_has_a_key_for_each_kind_of_host_and_its_own_times() {
        let keys = ["src", "c6a2", "shost"];
        let told =
            ["10.0.0.1", "fe80::1", "ldap.plant.example", "10.0.0.1@cell-2"].map(|host| host_key(host, keys));
        assert_eq!(told, ["src", "c6a2", "shost", "shost"]);
        assert_eq!(epoch_millis("2026-11-22T01:51:40.065126000Z").as_deref(), Some("1795312300065"));
    }

    #[test]
    fn cef_escapes_what_would_end_a_field() {
        let line = event("x=1\\\ny").cef();
        assert!(line.contains("|a\\|b|6|"), "{line}");
        assert!(line.ends_with("msg=x\\=1\\\\\\\\ny"), "{line}");
        assert!(!line.contains('\n'));
    }
}
