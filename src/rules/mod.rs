//! Text to rulesets and sites, with errors that point at the line and say what would be right. Knows no packet.
//!
//! # A ruleset
//!
//! | table | keys |
//! |---|---|
//! | `[ruleset]` | `id`, `title`, `document`, `revision`, `notes` (a list: what the document says as a whole) |
//! | `[features]` | `name = "meaning"` or `name = { about = "meaning", excludes = "other", assumed = true }` |
//! | `[roles.NAME]` | `title`, `kind` (`component`, `peer`), `hosts` (names that stand for it where a site binds nothing) |
//! | `[[notice]]` | `before` (a product version), `text`: told where a site states an older version |
//! | `[[rule]]` | see below, in the document's order |
//! | `[[rule.also]]` | a further reading: `reading` (default `understood`), `from`, `to`, `service` (default the rule's own), `note` |
//!
//! A rule has `id`, `cite`, `purpose`, `from`, `to`, `service`, `need` (`required`, `optional`) and `cadence` (`continuous`,
//! `periodic`, `human`, `rare`); and where they apply `every` (the longest time between two exchanges: `"17m"`), `protocol` (none: every protocol is accepted), `tls` (the least version,
//! `"1.3"`), `require` (facts that the payload may not contradict), `when` (features that are all on), `note`, `certainty` (`firm`, `ambiguous`, `suspect`), `reading` (`printed`,
//! `understood`) with `reading_note`, `insecure`, `alternative` (a group of which one suffices), `any_caller`, `follows` (the
//! rule whose exchange names the port), `broad`, `since` and `before` (product versions). `from`, `to`, `service` and
//! `protocol` are a string or a list. A service is `tcp/5672`, `udp/1025-65535` or `tcp+udp/53`.
//!
//! `require = { "tls.version" = ">= 1.3", "modbus.access" = ["read", "diagnostic"], "snmp.version" = "v3" }` names facts by the
//! keys that protocols document. A value is a word, or several of which one has to hold: `"read"` is that value, `"!= write"` any
//! other (several of these hold all together), `">= 1.3"`, `"> 1"`, `"<= 3"` and `"< 4"` compare numbers joined by dots.
//!
//! # A site
//!
//! | table | keys |
//! |---|---|
//! | `[site]` | `name`, `rulesets` (built-in ids, or paths from the site's file), `features`, `scope`, `versions` (a product version by ruleset) |
//! | `[roles]` | `role = "..."` or a list: an address, a prefix, either with `@cell`, `mac:`, `host:`, `{ any_of = [...] }`, `{ hosts_file = "..." }` |
//! | `[[cell]]` | `name`, and `vlan`, `tunnel_id`, `tunnel_source` or `interface` |
//! | `[[allow]]`, `[[forbid]]` | `from`, `to` (a role, a binding or `any`; lists stand for a rule each), `service`, `protocol`, `reason`, `id` |
//! | `[[waive]]` | `finding` or `match = { from, to, service, protocol }`; `reason`, `owner`, `until` |
//! | `[[nat]]` | `inside`, `outside` |
//! | `[[window]]` | `from`, `until`, `reason` |
//! | `[[override]]` | `ruleset`, `rule`, `service` |
//!
//! A feature is `"ldap"`, `"opswat-md-ot-security:ldap"` or `{ feature = "bidirectional", between = ["a-role", "b-role"] }`.

mod condition;
mod diagnostic;
mod lint;
mod load;
mod reader;
mod reference;
mod ruleset;
mod ruleset_text;
mod show;
mod site;
mod site_entries;
mod site_text;
mod suggest;
mod value;

pub use condition::Condition;
pub use diagnostic::Diagnostic;
pub use diagnostic::DiagnosticLevel;
pub use diagnostic::RulesError;
pub use diagnostic::render;
pub use load::builtin;
pub use load::check;
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
