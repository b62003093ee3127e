//! Text to rulesets and sites, with errors that point at the line and say what would be right. Knows no packet.

mod ruleset;
mod site;

pub use ruleset::*;
pub use site::*;
