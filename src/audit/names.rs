//! Which names were asked for or shown: by lookups, SNI and Host headers, and by the capture files themselves.

use std::collections::BTreeSet;

use crate::model::FlowRecord;
use crate::model::Observed;
use crate::rules::HostPattern;

/// Facts by which a flow itself shows the name that its client asked for.
const SHOWN_NAME: [&str; 2] = ["tls.sni", "http.host"];

/// Every name that the capture shows.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// Collects them.
    pub fn of(observed: &Observed) -> Self {
        let asked = observed.lookups.iter().map(|lookup| lookup.name.clone());
        let shown =
            observed.conversations.values().flat_map(|conversation| conversation.hosts.iter().cloned());
        let carried = observed.names.iter().map(|(_, name)| name.to_ascii_lowercase());
        Self(asked.chain(shown).chain(carried).collect())
    }

    /// Every name under the pattern.
    pub fn seen_under<'a>(&'a self, pattern: &'a HostPattern) -> BTreeSet<&'a str> {
        self.0.iter().map(String::as_str).filter(|name| pattern.covers(name)).collect()
    }
}

/// The names that a flow itself shows.
pub fn shown(flow: &FlowRecord) -> Vec<&str> {
    SHOWN_NAME.iter().flat_map(|key| flow.classification.facts.all(key)).map(without_port).collect()
}

/// The names that a flow's server has for this flow: those that the flow itself shows, else those known of its address.
pub fn of_flow(flow: &FlowRecord) -> Vec<&str> {
    let shown = shown(flow);
    if shown.is_empty() { flow.hosts.iter().map(String::as_str).collect() } else { shown }
}

/// A `Host` header's name without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}
