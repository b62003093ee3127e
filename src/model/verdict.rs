//! Verdicts, the mechanisms behind them, and the evidence without which none can be built.

use std::borrow::Cow;

use super::PacketRef;

/// One packet and the reasoning step it supports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The packet.
    pub at: PacketRef,
    /// What it shows, in plain words.
    pub note: Cow<'static, str>,
}

/// Evidence that is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proofs {
    first: Evidence,
    rest: Vec<Evidence>,
}

impl Proofs {
    /// Evidence from its first piece.
    pub fn new(at: PacketRef, note: impl Into<Cow<'static, str>>) -> Self {
        Self { first: Evidence { at, note: note.into() }, rest: Vec::new() }
    }

    /// One more piece, unless that packet is already cited with the same words.
    pub fn and(mut self, at: PacketRef, note: impl Into<Cow<'static, str>>) -> Self {
        let piece = Evidence { at, note: note.into() };
        if !self.iter().any(|known| *known == piece) {
            if self.rest.is_empty() {
                // Nearly always there is no third one.
                self.rest.reserve_exact(1);
            }
            self.rest.push(piece);
        }
        self
    }

    /// One more piece where there is one.
    pub fn and_maybe(self, at: Option<PacketRef>, note: &'static str) -> Self {
        match at {
            Some(at) => self.and(at, note),
            None => self,
        }
    }

    /// Evidence gathered from pieces, each once and so many at most; `None` where there are none.
    pub fn gathered<'a>(pieces: impl IntoIterator<Item = &'a Evidence>, most: usize) -> Option<Self> {
        let mut pieces = pieces.into_iter();
        let mut gathered = Self { first: pieces.next()?.clone(), rest: Vec::new() };
        for piece in pieces {
            if gathered.rest.len() + 1 >= most {
                break;
            }
            if !gathered.iter().any(|known| known == piece) {
                gathered.rest.push(piece.clone());
            }
        }
        Some(gathered)
    }

    /// The same evidence with each piece told another way.
    pub fn map(&self, mut other: impl FnMut(&Evidence) -> Evidence) -> Self {
        Self { first: other(&self.first), rest: self.rest.iter().map(other).collect() }
    }

    /// The piece that tells most.
    pub fn first(&self) -> &Evidence {
        &self.first
    }

    /// All pieces, the most telling first.
    pub fn iter(&self) -> impl Iterator<Item = &Evidence> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

/// How surely a *device* blocks (evidence table).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// Names a policy device.
    A,
    /// Strong.
    B,
    /// Suggestive.
    C,
}

impl Grade {
    /// Its letter.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        }
    }
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Addressee {
    /// Whoever runs the firewall.
    Firewall,
    /// Whoever runs routing.
    Routing,
    /// Whoever runs the target machine.
    Server,
    /// The vendor's product or its configuration.
    Product,
    /// Whoever runs name service.
    NameService,
    /// Whoever runs the proxy.
    Proxy,
    /// Whoever placed the mirror port.
    Mirror,
    /// Whoever owns the site file, or the machines that talk.
    Site,
}

impl Addressee {
    /// Its word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firewall => "firewall",
            Self::Routing => "routing",
            Self::Server => "server",
            Self::Product => "product",
            Self::NameService => "name service",
            Self::Proxy => "proxy",
            Self::Mirror => "mirror",
            Self::Site => "site",
        }
    }
}

macro_rules! mechanisms {
    ($($(#[$doc:meta])* $name:ident = $word:literal => $addressee:ident;)*) => {
        /// What makes a requirement fail. Each sends another person to work.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mechanism { $($(#[$doc])* $name,)* }

        impl Mechanism {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its word in reports.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Who has to act.
            pub fn addressee(self) -> Addressee {
                match self { $(Self::$name => Addressee::$addressee,)* }
            }
        }
    };
}

mechanisms! {
    /// SYNs or requests repeated, silence, and an answer would have been seen.
    Dropped = "dropped" => Firewall;
    /// SYN-ACKs repeated and never acknowledged.
    ReturnPath = "return-path" => Firewall;
    /// ICMP administratively prohibited.
    Prohibited = "prohibited" => Firewall;
    /// ICMP port unreachable from another address than the target.
    Rejected = "rejected" => Firewall;
    /// A reset that is provably not the server's.
    ResetByMiddlebox = "reset-by-middlebox" => Firewall;
    /// A reset to the SYN: nothing listens there, or something answers in its name.
    Refused = "refused" => Server;
    /// ICMP host or net unreachable.
    Unreachable = "unreachable" => Routing;
    /// ARP or neighbour discovery unanswered.
    HostDown = "host-down" => Server;
    /// Opened, then the TLS handshake was never acknowledged or was reset by something else than the peer.
    TlsCut = "tls-cut" => Firewall;
    /// Opened, then client data was never acknowledged or was reset by something else than the peer.
    Cut = "cut" => Firewall;
    /// A fatal TLS alert in the handshake.
    TlsAlert = "tls-alert" => Server;
    /// The server closed or reset on the first request.
    Closed = "closed" => Server;
    /// A request of a request/response protocol repeated and never answered.
    NoReply = "no-reply" => Firewall;
    /// Name lookup answered NXDOMAIN.
    DnsNxdomain = "dns-nxdomain" => NameService;
    /// Name lookup answered REFUSED.
    DnsRefused = "dns-refused" => NameService;
    /// Name lookup answered SERVFAIL.
    DnsServfail = "dns-servfail" => NameService;
    /// Name lookup answered with an extended error that says blocked or filtered.
    DnsFiltered = "dns-filtered" => NameService;
    /// Name lookup answered with an address that leads nowhere.
    DnsSinkhole = "dns-sinkhole" => NameService;
    /// Name lookup never answered.
    DnsNoAnswer = "dns-no-answer" => NameService;
    /// A proxy or portal said no.
    ProxyDenied = "proxy-denied" => Proxy;
    /// The payload proves another protocol than the documented ones.
    WrongProtocol = "wrong-protocol" => Product;
    /// TLS older than documented.
    WeakTls = "weak-tls" => Product;
    /// Clear text where TLS is documented.
    Cleartext = "cleartext" => Product;
    /// The payload states a fact that the document rules out: a write where only reading is documented.
    NotAsDocumented = "not-as-documented" => Product;
}

/// With what the reason of an unreachable target begins that short segments do reach: who explains it tells it apart by this.
pub const BLACK_HOLE: &str = "a path-MTU black hole";

/// Who did it, where packets tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// Address or MAC, as text.
    pub who: String,
    /// `firewall`, `host`, `server`, `dns` or `proxy`.
    pub kind: &'static str,
}

/// What went wrong, with everything that a claim about someone's plant needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How.
    pub mechanism: Mechanism,
    /// How surely.
    pub grade: Grade,
    /// By whom, where packets tell.
    pub by: Option<Culprit>,
    /// The packets.
    pub evidence: Proofs,
}

impl Failure {
    /// Who has to act, given who did it: a filter on the target itself is the server's, not the firewall's.
    pub fn addressee(&self) -> Addressee {
        match (&self.by, self.mechanism) {
            (Some(culprit), Mechanism::Prohibited | Mechanism::Rejected) if culprit.kind == "host" => {
                Addressee::Server
            }
            _ => self.mechanism.addressee(),
        }
    }
}

/// The verdict on one requirement.
///
/// What claims something can't be built without its packets, and what blames something not without mechanism and grade:
///
/// ```
/// use spanaudit::model::{Failure, Grade, Mechanism, PacketRef, Proofs, Verdict};
///
/// let evidence = Proofs::new(PacketRef::default(), "the first SYN");
/// Verdict::Blocked(Failure { mechanism: Mechanism::Dropped, grade: Grade::B, by: None, evidence });
/// ```
///
/// Without a packet there are no proofs:
///
/// ```compile_fail,E0451
/// use spanaudit::model::{Proofs, Verdict};
///
/// Verdict::Satisfied(Proofs { first: None, rest: Vec::new() });
/// ```
///
/// ```compile_fail,E0277
/// use spanaudit::model::{Evidence, Proofs};
///
/// let none: Proofs = Vec::<Evidence>::new().into_iter().collect();
/// ```
///
/// ```compile_fail,E0277
/// use spanaudit::model::{Proofs, Verdict};
///
/// Verdict::Satisfied(Default::default());
/// ```
///
/// Nor is there a block without a mechanism, or without a grade:
///
/// ```compile_fail,E0063
/// use spanaudit::model::{Failure, Grade, PacketRef, Proofs, Verdict};
///
/// let evidence = Proofs::new(PacketRef::default(), "the first SYN");
/// Verdict::Blocked(Failure { grade: Grade::B, by: None, evidence });
/// ```
///
/// ```compile_fail,E0063
/// use spanaudit::model::{Failure, Mechanism, PacketRef, Proofs, Verdict};
///
/// let evidence = Proofs::new(PacketRef::default(), "the first SYN");
/// Verdict::Blocked(Failure { mechanism: Mechanism::Dropped, by: None, evidence });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works, and these packets show it.
    Satisfied(Proofs),
    /// It works, but not as documented.
    Violated(Failure),
    /// Something in between stops it.
    Blocked(Failure),
    /// It does not work, and no device in between is to blame for all we know.
    Failed(Failure),
    /// It was tried, and the capture can't tell.
    Undecided,
    /// Its source was heard for long enough and never tried.
    Unseen,
    /// Its source was never heard: outside this mirror.
    NotVisible,
    /// Its feature or mode is off.
    NotApplicable,
}

impl Verdict {
    /// The words of all verdicts, in the order of a report's summary.
    pub const NAMES: [&'static str; 8] = [
        "satisfied",
        "violated",
        "blocked",
        "failed",
        "undecided",
        "unseen",
        "not-visible",
        "not-applicable",
    ];

    /// Its word in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Satisfied(_) => "satisfied",
            Self::Violated(_) => "violated",
            Self::Blocked(_) => "blocked",
            Self::Failed(_) => "failed",
            Self::Undecided => "undecided",
            Self::Unseen => "unseen",
            Self::NotVisible => "not-visible",
            Self::NotApplicable => "not-applicable",
        }
    }

    /// What went wrong, where something did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Violated(failure) | Self::Blocked(failure) | Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// The packets, where it has any.
    pub fn evidence(&self) -> impl Iterator<Item = &Evidence> {
        let proofs = match self {
            Self::Satisfied(proofs) => Some(proofs),
            other => other.failure().map(|failure| &failure.evidence),
        };
        proofs.into_iter().flat_map(Proofs::iter)
    }
}
