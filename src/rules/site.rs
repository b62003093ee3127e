//! One plant's binding: who plays which role, what is switched on, what the site allows, forbids and waives.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::MacAddr;
use crate::model::Timestamp;
use crate::model::counted;

use super::HostPattern;
use super::RoleKind;
use super::Ruleset;
use super::Service;

/// A site with its rulesets resolved.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// The file it was read from; `None` where roles came from the command line.
    pub file: Option<String>,
    /// The rulesets held against it, in the order given.
    pub rulesets: Vec<Ruleset>,
    /// Features switched on.
    pub features: Vec<FeatureSwitch>,
    /// Conversations touching these addresses are judged even where no component is involved.
    pub scope: Vec<IpNet>,
    /// Who plays which role: the rulesets' roles and the site's own.
    pub roles: BTreeMap<String, Vec<Binding>>,
    /// Cloned address spaces; `CellId` 1 is the first of them, 0 the plant itself.
    pub cells: Vec<Cell>,
    /// The site's own rules.
    pub allow: Vec<SiteRule>,
    /// What the site forbids.
    pub forbid: Vec<SiteRule>,
    /// What somebody answers for.
    pub waivers: Vec<Waiver>,
    /// Address translations between the mirror's sides.
    pub nat: Vec<Nat>,
    /// Maintenance times.
    pub windows: Vec<Window>,
    /// Services that this site uses instead of a rule's own (a proxy on 3128).
    pub overrides: Vec<Override>,
    /// Things worth a word that are no errors: roles that no rule names, and the like.
    pub warnings: Vec<String>,
}

impl Site {
    /// A warning for each ruleset some of whose component roles, though rules in force name them, have nobody bound to them.
    pub fn unbound_components(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for ruleset in &self.rulesets {
            let on = |feature: &String| {
                let switched = |name: &String| {
                    self.features.iter().any(|switch| {
                        switch.feature == *name && switch.ruleset.as_ref().is_none_or(|id| *id == ruleset.id)
                    })
                };
                switched(feature)
                    || ruleset
                        .features
                        .get(feature)
                        .is_some_and(|known| known.assumed && !known.excludes.as_ref().is_some_and(switched))
            };
            let (mut unbound, mut rules) = (BTreeSet::new(), 0_u64);
            for rule in ruleset.rules.iter().filter(|rule| rule.when.iter().all(on)) {
                let Some(main) = rule.readings.first() else { continue };
                let missing = main.from.iter().chain(&main.to).filter(|role| {
                    let component =
                        ruleset.roles.get(*role).is_some_and(|known| known.kind == RoleKind::Component);
                    component && self.roles.get(*role).is_none_or(Vec::is_empty)
                });
                let missing: Vec<&str> = missing.map(String::as_str).collect();
                rules += u64::from(!missing.is_empty());
                unbound.extend(missing);
            }
            if !unbound.is_empty() {
                warnings.push(format!(
                    "nobody is bound to {} of {}, so {} cannot be checked in full",
                    unbound.into_iter().collect::<Vec<_>>().join(", "),
                    ruleset.id,
                    counted(rules, "rule")
                ));
            }
        }
        warnings
    }
}

/// A feature switched on, for everybody or for one pair of roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureSwitch {
    /// The ruleset's id where the site says so; `None` for every ruleset that has it.
    pub ruleset: Option<String>,
    /// The feature.
    pub feature: String,
    /// Only between these two roles, in either order.
    pub between: Option<(String, String)>,
}

/// What plays a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// One address, in one cell or (none named) in the plant itself and every cell.
    Address {
        /// The address.
        ip: IpAddr,
        /// The cell's name.
        cell: Option<String>,
    },
    /// Every address heard in a prefix.
    Prefix {
        /// The prefix.
        net: IpNet,
        /// The cell's name.
        cell: Option<String>,
    },
    /// Whatever addresses this MAC is seen to use.
    Mac(MacAddr),
    /// Whatever addresses this name is seen to have.
    Host(HostPattern),
    /// One party with several addresses or names: one success satisfies.
    AnyOf(Vec<Binding>),
}

/// A cloned address space and how its packets are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Its name.
    pub name: String,
    /// The VLAN id (any tag of the packet).
    pub vlan: Vec<u16>,
    /// The tunnel identifier (VNI, ERSPAN session, GRE key).
    pub tunnel_id: Option<u32>,
    /// The tunnel's outer source address.
    pub tunnel_source: Option<IpAddr>,
    /// The capture interface: its number within the file, or the live interface's name.
    pub interface: Option<String>,
}

/// One end of a site rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    /// Anybody.
    Any,
    /// Whoever plays this role.
    Role(String),
    /// An address, prefix, MAC or name.
    Bound(Binding),
}

/// An `[[allow]]` or `[[forbid]]` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteRule {
    /// Its id: as given, else `allow-1`, `forbid-2` by position.
    pub id: String,
    /// Who opens.
    pub from: Party,
    /// Who accepts.
    pub to: Party,
    /// On what; empty is any.
    pub services: Vec<Service>,
    /// Which protocols; empty is any.
    pub protocol: Vec<String>,
    /// Why.
    pub reason: String,
}

/// A `[[waive]]` entry: it silences a finding that somebody answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// The finding's id, or
    pub finding: Option<String>,
    /// a description of what it matches.
    pub matching: Option<SiteRule>,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// The end of the day on which it expires, in UTC; the capture's time decides, never the wall clock.
    pub until: Option<Timestamp>,
}

/// A `[[nat]]` entry: the same machine under two addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Its own address.
    pub inside: IpAddr,
    /// What others see.
    pub outside: IpAddr,
}

/// A `[[window]]` entry: maintenance, in which failures are told but do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Start.
    pub from: Timestamp,
    /// End.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

/// An `[[override]]` entry: this site's own service for one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The ruleset's id.
    pub ruleset: String,
    /// The rule's id.
    pub rule: String,
    /// What it uses here.
    pub services: Vec<Service>,
}
