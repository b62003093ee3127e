//! The words that rules may use for protocols, taken from the protocols themselves.

use crate::classify::PROTOCOLS;

/// Columns for diagnostics on standard error.
pub const STDERR_WIDTH: usize = 100;

/// The name of every protocol that can be proved.
pub fn protocols() -> Vec<&'static str> {
    PROTOCOLS.iter().map(|protocol| protocol.about().name).collect()
}

/// The usual ports of every protocol, by which slips of the pen in a document are told.
pub fn usual_ports() -> Vec<(&'static str, &'static [&'static str])> {
    PROTOCOLS.iter().map(|protocol| (protocol.about().name, protocol.about().usual)).collect()
}

/// Whether diagnostics on standard error may be coloured.
pub fn stderr_color() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}
