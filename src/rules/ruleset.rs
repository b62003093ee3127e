//! A vendor's document as data: roles, features and rules, each rule citing the row it comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Condition;

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Its id, as sites name it.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The document it renders.
    pub document: String,
    /// The document's revision as read.
    pub revision: String,
    /// What the document says, or leaves open, as a whole.
    pub notes: Vec<String>,
    /// Its features by name.
    pub features: BTreeMap<String, Feature>,
    /// Its roles by name.
    pub roles: BTreeMap<String, Role>,
    /// Its rules in the document's order.
    pub rules: Vec<Rule>,
}

/// Something a site may have switched on, on which rules hang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it means.
    pub about: String,
    /// The feature that it rules out: `bidirectional` and `unidirectional` exclude each other.
    pub excludes: Option<String>,
    /// Whether it is assumed where the site names neither it nor the one it excludes. The report says so.
    pub assumed: bool,
}

/// Whether a role is part of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// The product's own part: conversations that touch it are judged.
    Component,
    /// Anybody else.
    Peer,
}

/// A part that a machine plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name for people.
    pub title: String,
    /// Component or peer.
    pub kind: RoleKind,
    /// Host names that stand for it wherever a site binds nothing else: `my.opswat.com`, `*.azure-devices.net`.
    pub hosts: Vec<HostPattern>,
}

/// A host name, or all names below one (`*.example.com`, which does not cover `example.com` itself). Lower case, no final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern {
    /// The name without `*.`.
    pub name: String,
    /// Whether it covers the names below `name` instead of `name`.
    pub wildcard: bool,
}

impl HostPattern {
    /// Whether it covers this name (ASCII case ignored, final dot ignored).
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if !self.wildcard {
            return host.eq_ignore_ascii_case(&self.name);
        }
        host.len()
            .checked_sub(self.name.len())
            .and_then(|at| Some((host.get(..at)?, host.get(at..)?)))
            .is_some_and(|(head, tail)| {
                head.len() > 1 && head.ends_with('.') && tail.eq_ignore_ascii_case(&self.name)
            })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.name)
    }
}

/// The transport of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carrier {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Carrier {
    /// `tcp` or `udp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// `tcp/5672`, `udp/1025-65535`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// TCP or UDP.
    pub carrier: Carrier,
    /// The server's ports.
    pub ports: RangeInclusive<u16>,
}

impl Service {
    /// The ports as text: `5672`, `1025-65535`.
    pub fn ports_text(&self) -> String {
        if self.ports.start() == self.ports.end() {
            self.ports.start().to_string()
        } else {
            format!("{}-{}", self.ports.start(), self.ports.end())
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.carrier.name(), self.ports_text())
    }
}

/// The TLS versions that a rule can ask for as its least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// SSL 2.0.
    Ssl2,
    /// SSL 3.0.
    Ssl3,
    /// TLS 1.0.
    V1_0,
    /// TLS 1.1.
    V1_1,
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl TlsVersion {
    /// Reads the contract's word for a version: `1.3`, `ssl3`; `None` for any other (DTLS has its own).
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ssl2" => Self::Ssl2,
            "ssl3" => Self::Ssl3,
            "1.0" => Self::V1_0,
            "1.1" => Self::V1_1,
            "1.2" => Self::V1_2,
            "1.3" => Self::V1_3,
            _ => return None,
        })
    }

    /// The contract's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ssl2 => "ssl2",
            Self::Ssl3 => "ssl3",
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// Whether silence matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Once its features are on, it has to work.
    Required,
    /// It may be used.
    Optional,
}

impl Need {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
        }
    }
}

/// When silence matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cadence {
    /// Always talking: a minute of silence is worth a word.
    Continuous,
    /// Talks every so often.
    Periodic,
    /// Talks when a person does something.
    Human,
    /// Talks once in months (first configuration, certificate uploads).
    Rare,
}

impl Cadence {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Continuous => "continuous",
            Self::Periodic => "periodic",
            Self::Human => "human",
            Self::Rare => "rare",
        }
    }
}

/// How a row is read where the document slips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadingKind {
    /// As the document prints it.
    Printed,
    /// As it must be meant.
    Understood,
}

impl ReadingKind {
    /// Its words in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Printed => "as printed",
            Self::Understood => "as understood",
        }
    }
}

/// Who opens what to whom, under one reading of the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Printed or understood.
    pub kind: ReadingKind,
    /// Roles that open.
    pub from: Vec<String>,
    /// Roles that accept.
    pub to: Vec<String>,
    /// On what.
    pub services: Vec<Service>,
    /// Why it is read so, empty for the plain reading.
    pub note: String,
}

/// How sure the row itself is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// The document is clear.
    Firm,
    /// The document allows more than one reading.
    Ambiguous,
    /// Likely an error in the document.
    Suspect,
}

impl Certainty {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firm => "firm",
            Self::Ambiguous => "ambiguous",
            Self::Suspect => "suspect",
        }
    }
}

/// One row of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id within the ruleset.
    pub id: String,
    /// The row it comes from.
    pub cite: String,
    /// What the flow is for.
    pub purpose: String,
    /// What the document leaves open; empty where nothing.
    pub note: String,
    /// Its readings, the main one first; never empty.
    pub readings: Vec<Reading>,
    /// Accepted protocols, any one of them; empty where the document names none (then every protocol is accepted).
    pub protocol: Vec<String>,
    /// Least TLS version documented.
    pub tls: Option<TlsVersion>,
    /// What else the payload has to say of itself.
    pub require: Vec<Condition>,
    /// Clear text is documented as insecure here: seen, it is worth a warning though it is allowed.
    pub insecure: bool,
    /// Whether silence matters.
    pub need: Need,
    /// When silence matters.
    pub cadence: Cadence,
    /// The longest time that the document leaves between two exchanges, where it says so.
    pub every: Option<Duration>,
    /// Features that must all be on.
    pub when: Vec<String>,
    /// Rules of the same name here are alternatives between the same machines: one suffices ("389 or 636").
    pub alternative: Option<String>,
    /// The document does not say which of the `from` components calls: one's success satisfies the row for those that never tried.
    pub any_caller: bool,
    /// The rule whose exchange between the same machines must come first and name the port (RPC).
    pub follows: Option<String>,
    /// Covers so many ports that a match by it alone means little.
    pub broad: bool,
    /// How sure the row is.
    pub certainty: Certainty,
}
