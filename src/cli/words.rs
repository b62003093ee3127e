//! The words that rules may use for protocols and facts, taken from the protocols themselves.

use crate::classify::PROTOCOLS;

/// Columns for diagnostics on standard error.
pub const STDERR_WIDTH: usize = 100;

/// The name of every protocol that can be proved, and the key of every fact that one of them states.
pub fn protocols() -> Vec<&'static str> {
    let about = || PROTOCOLS.iter().map(|protocol| protocol.about());
    about()
        .map(|about| about.name)
        .chain(about().flat_map(|about| about.facts.iter().map(|(key, _)| *key)))
        .collect()
}

/// The usual ports of every protocol, by which slips of the pen in a document are told.
pub fn usual_ports() -> Vec<(&'static str, &'static [&'static str])> {
    PROTOCOLS.iter().map(|protocol| (protocol.about().name, protocol.about().usual)).collect()
}

/// Whether diagnostics on standard error may be coloured.
pub fn stderr_color() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}
