//! Text to rulesets and sites, with errors that point at the line and say what would be right. Knows no packet.

mod diagnostic;
mod lint;
mod load;
mod reader;
mod ruleset;
mod ruleset_text;
mod show;
mod site;
mod site_text;
mod suggest;
mod value;

pub use diagnostic::Diagnostic;
pub use diagnostic::DiagnosticLevel;
pub use diagnostic::RulesError;
pub use diagnostic::render;
pub use load::builtin;
pub use load::check_file;
pub use load::check_text;
pub use load::each_binding;
pub use load::load_ruleset;
pub use load::load_site;
pub use load::parse_ruleset;
pub use load::parse_site;
pub use load::site_from_flags;
pub use load::site_unbound;
pub use ruleset::*;
pub use show::list;
pub use show::show;
pub use site::*;

#[cfg(test)]
mod tests;
