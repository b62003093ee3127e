//! Which names were asked for or shown: by lookups, SNI and Host headers, and by the capture files themselves.

use std::borrow::Cow;
use std::collections::BTreeSet;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use smallvec::SmallVec;

use crate::model::CellId;
use crate::model::FlowRecord;
use crate::model::Observed;
use crate::rules::HostPattern;

/// Facts by which a flow itself shows the name that its client asked for.
const SHOWN_NAME: [&str; 2] = ["tls.sni", "http.host"];

/// Every name that the capture shows.
#[derive(Debug, Default)]
pub struct Names<'a>(HashSet<Cow<'a, str>, RandomState>);

impl<'a> Names<'a> {
    /// Collects them.
    pub fn of(observed: &'a Observed) -> Self {
        let asked = observed.lookups.iter().map(|lookup| &lookup.name);
        let shown = observed.conversations.values().flat_map(|conversation| &conversation.hosts);
        let carried = observed.names.iter().map(|(_, name)| Cow::Owned(name.to_ascii_lowercase()));
        Self(asked.chain(shown).map(|name| Cow::Borrowed(name.as_str())).chain(carried).collect())
    }

    /// Every name under the pattern.
    pub fn seen_under(&self, pattern: &HostPattern) -> BTreeSet<&str> {
        self.0.iter().map(AsRef::as_ref).filter(|name| pattern.covers(name)).collect()
    }
}

/// Names of which the capture shows an address, and the wildcards that they lie under, as patterns are written.
#[derive(Debug)]
pub struct Resolved(HashSet<(CellId, String), RandomState>);

impl Resolved {
    /// Collects them.
    pub fn of(observed: &Observed) -> Self {
        let mut all = HashSet::default();
        for lookup in &observed.lookups {
            if lookup.answer.as_ref().is_some_and(|answer| !answer.addresses.is_empty()) {
                let dots = lookup.name.match_indices('.').filter(|(at, _)| *at > 0);
                let parents = dots.filter_map(|(at, _)| lookup.name.get(at..));
                all.extend(parents.map(|parent| (lookup.cell, format!("*{parent}"))));
                all.insert((lookup.cell, lookup.name.clone()));
            }
        }
        Self(all)
    }

    /// Whether any of them is covered by a pattern.
    pub fn any_under(&self, cell: CellId, pattern: &HostPattern) -> bool {
        self.0.contains(&(cell, pattern.to_string().to_ascii_lowercase()))
    }
}

/// Names of one flow.
pub type OfFlow<'a> = SmallVec<[&'a str; 1]>;

/// The names that a flow itself shows.
pub fn shown(flow: &FlowRecord) -> OfFlow<'_> {
    let mut shown = OfFlow::new();
    for key in SHOWN_NAME {
        flow.classification.facts.all(key).for_each(|name| shown.push(without_port(name)));
    }
    shown
}

/// The names that a flow's server has for this flow: those that the flow itself shows, else those known of its address.
pub fn of_flow(flow: &FlowRecord) -> OfFlow<'_> {
    let mut names = shown(flow);
    if names.is_empty() {
        flow.hosts.iter().for_each(|name| names.push(name));
    }
    names
}

/// A `Host` header's name without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::CLIENT;
    use crate::audit::testing::SERVER;
    use crate::audit::testing::at;
    use crate::model::Answer;
    use crate::model::Host;
    use crate::model::Lookup;

    #[test]
    fn what_covers_a_resolved_name_is_found_in_its_cell() {
        let lookup = |name: &str, addresses: Vec<std::net::IpAddr>| Lookup {
            cell: CellId(1),
            client: Host::Ip(CLIENT),
            server: Host::Ip(SERVER),
            name: name.to_owned(),
            kind: 1,
            asked: None,
            asked_times: 1,
            answer: Some(Answer {
                at: at(0),
                code: 0,
                extended_error: None,
                addresses,
                whole: true,
                aliases: Vec::new(),
            }),
        };
        let lookups = vec![lookup("a.b.example", vec![SERVER]), lookup("in.vain.example", Vec::new())];
        let resolved = Resolved::of(&Observed { lookups, ..Observed::default() });
        let pattern = |name: &str, wildcard| HostPattern { name: name.to_owned(), wildcard };
        for (name, wildcard, wanted) in [
            ("A.b.example", false, true),
            ("b.example", false, false),
            ("B.example", true, true),
            ("example", true, true),
            ("a.b.example", true, false),
            ("vain.example", true, false),
        ] {
            let pattern = pattern(name, wildcard);
            assert_eq!(resolved.any_under(CellId(1), &pattern), wanted, "{pattern}");
            assert!(!resolved.any_under(CellId(0), &pattern), "{pattern}");
        }
    }
}
