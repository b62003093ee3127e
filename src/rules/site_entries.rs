//! The entries of a site file: its own rules, waivers, translations, maintenance windows, overrides.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::DeValue;

use crate::model::Timestamp;

use super::Binding;
use super::Nat;
use super::Override;
use super::Party;
use super::SiteRule;
use super::Waiver;
use super::Window;
use super::lint::BROAD;
use super::reader::Table;
use super::reader::Value;
use super::reader::Word;
use super::reader::elements;
use super::reader::kind;
use super::reader::name;
use super::reader::some_sentence;
use super::reader::some_words;
use super::reader::word;
use super::reference::protocol_words;
use super::reference::service_list;
use super::reference::slipped;
use super::site_text::Reader;
use super::suggest::did_you_mean;
use super::suggest::quoted;
use super::value;
use super::value::DayEnd;
use super::value::Slip;

impl Reader<'_, '_, '_, '_> {
    pub(super) fn site_rules(&mut self, value: &Value<'_>, what: &'static str) -> Vec<SiteRule> {
        let mut rules: Vec<SiteRule> = Vec::new();
        let mut ids: BTreeSet<String> = BTreeSet::new();
        for (at, value) in elements(self.sink, value).into_iter().enumerate() {
            let Some(mut table) = Table::of(self.sink, value, format!("[[{what}]]")) else { continue };
            let mut id = format!("{what}-{}", at + 1);
            if let Some(given) = table.get("id").and_then(|value| word(self.sink, value)) {
                if let Some(given) = name(self.sink, given, "a rule") {
                    given.clone_into(&mut id);
                }
                if ids.contains(&id) {
                    self.sink.error(given.span(), format!("rule {} is there twice", quoted(&id)));
                }
            }
            ids.insert(id.clone());
            for key in ["from", "to"] {
                if table.get(key).is_none() {
                    table.need(key, "\"any\"");
                }
            }
            let found = self.matching(&mut table, &id);
            if found.first().is_some_and(|rule| rule.reason.is_empty()) && table.get("reason").is_none() {
                self.sink
                    .warn(table.span.clone(), format!("[[{what}]] '{id}' gives no reason"))
                    .help(Some("say who needs it and why, for whoever reviews it".to_owned()));
            }
            if what == "allow" {
                self.warn_of_breadth(&table, &found);
            }
            table.finish(self.sink);
            rules.extend(found);
        }
        rules
    }

    /// An allowance that lets in what nobody thought of.
    fn warn_of_breadth(&mut self, table: &Table<'_>, rules: &[SiteRule]) {
        let Some(rule) = rules.first() else { return };
        let anybody = |party: &Party| match party {
            Party::Any => true,
            Party::Bound(Binding::Prefix { net, .. }) => net.prefix_len() == 0,
            Party::Bound(_) | Party::Role(_) => false,
        };
        let wide = rule.services.iter().find(|service| service.ports.end() - service.ports.start() >= BROAD);
        let about = if rules.iter().any(|rule| anybody(&rule.from) && anybody(&rule.to)) {
            "lets anybody talk to anybody".to_owned()
        } else if rule.services.is_empty() && rule.protocol.is_empty() {
            "allows every service".to_owned()
        } else if let Some(wide) = wide.filter(|_| rule.protocol.is_empty()) {
            format!("allows whatever is on {wide}")
        } else {
            return;
        };
        self.sink
            .warn(table.span.clone(), format!("[[allow]] '{}' {about}", rule.id))
            .help("name the parties, services and protocols that are meant".to_owned());
    }

    /// `from`, `to`, `service`, `protocol` and `reason`; lists of parties stand for a rule each.
    fn matching(&mut self, table: &mut Table<'_>, id: &str) -> Vec<SiteRule> {
        let from = table.get("from").map_or_else(|| vec![Party::Any], |value| self.parties(value, "from"));
        let to = table.get("to").map_or_else(|| vec![Party::Any], |value| self.parties(value, "to"));
        let services = table.get("service").map(|value| service_list(self.sink, value)).unwrap_or_default();
        let protocol = table
            .get("protocol")
            .map(|value| protocol_words(self.sink, value, self.context.protocols))
            .unwrap_or_default();
        let reason = table
            .get("reason")
            .map(|value| some_sentence(self.sink, value, "the reason"))
            .unwrap_or_default();
        self.pairs = self.pairs.saturating_add(from.len().saturating_mul(to.len()));
        if self.pairs > PAIRS_MOST {
            self.sink
                .error(table.span.clone(), "the site's own rules stand for too many pairs of parties")
                .expected(format!("expected at most {PAIRS_MOST} pairs; write prefixes or bind a role"));
            return Vec::new();
        }
        let mut rules = Vec::with_capacity(from.len() * to.len());
        for from in &from {
            for to in &to {
                rules.push(SiteRule {
                    id: id.to_owned(),
                    from: from.clone(),
                    to: to.clone(),
                    services: services.clone(),
                    protocol: protocol.clone(),
                    reason: reason.clone(),
                });
            }
        }
        rules
    }

    fn parties(&mut self, value: &Value<'_>, key: &str) -> Vec<Party> {
        let parties = some_words(self.sink, value, &format!("'{key}'"));
        parties.into_iter().filter_map(|text| self.party(text)).collect()
    }

    /// `any`, a role, or what a role could be bound to.
    fn party(&mut self, text: Word<'_>) -> Option<Party> {
        if text.text == "any" {
            return Some(Party::Any);
        }
        let role = self.site.roles.contains_key(text.text)
            || self.site.rulesets.iter().any(|ruleset| ruleset.roles.contains_key(text.text));
        if role {
            self.named.insert(text.text.to_owned());
            return Some(Party::Role(text.text.to_owned()));
        }
        if matches!(text.text, "*" | "all") {
            self.sink
                .error(text.span(), format!("{} is nobody", quoted(text.text)))
                .help("did you mean 'any'?".to_owned());
            return None;
        }
        let looks_like_role =
            text.text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' '))
                && text.text.chars().any(|c| !c.is_ascii_hexdigit());
        if looks_like_role {
            if self.complete {
                self.unknown_role(text);
            }
            return None;
        }
        self.binding(text).map(Party::Bound)
    }

    pub(super) fn unknown_role(&mut self, text: Word<'_>) {
        let known = self.known_roles();
        self.sink
            .error(text.span(), format!("nobody defines a role {}", quoted(text.text)))
            .expected("expected a role of a ruleset or of [roles], an address, a prefix, host:NAME, mac:ADDRESS or any")
            .help(did_you_mean(text.text, known.iter().map(String::as_str).chain(["any"])));
    }

    fn known_roles(&self) -> BTreeSet<String> {
        let rulesets = self.site.rulesets.iter().flat_map(|ruleset| ruleset.roles.keys());
        rulesets.chain(self.site.roles.keys()).cloned().collect()
    }

    pub(super) fn waivers(&mut self, value: &Value<'_>) {
        for value in elements(self.sink, value) {
            let Some(mut table) = Table::of(self.sink, value, "[[waive]]") else { continue };
            let finding =
                table.get("finding").map(|value| some_sentence(self.sink, value, "the finding's id"));
            let mut matches = Vec::new();
            if let Some(mut inner) =
                table.get("match").and_then(|value| Table::of(self.sink, value, "'match'"))
            {
                let id = format!("waive-{}", self.site.waivers.len() + 1);
                matches = self.matching(&mut inner, &id);
                if inner.named().is_empty() {
                    self.sink
                        .error(inner.span.clone(), "this waives everything")
                        .expected("expected a from, to or service");
                }
                inner.finish(self.sink);
                if finding.is_some() {
                    self.sink
                        .error(table.span.clone(), "[[waive]] has both a finding and a match")
                        .expected("expected one");
                }
            } else if finding.is_none() {
                self.sink
                    .error(table.span.clone(), "[[waive]] says not what it waives")
                    .expected("expected finding = \"...\" or match = { from = \"...\", to = \"...\", service = \"...\" }");
            }
            let mut answer = |key: &'static str, example: &str| {
                let value = table.need(key, example);
                value.map(|value| some_sentence(self.sink, value, &quoted(key))).unwrap_or_default()
            };
            let reason = answer("reason", "\"the historian is replaced in March\"");
            let owner = answer("owner", "\"j.doe@plant.example\"");
            let until = table.get("until").and_then(|value| self.moment(value, DayEnd::Last));
            table.finish(self.sink);
            let waiver = |finding: Option<String>, matching: Option<SiteRule>| Waiver {
                finding,
                matching,
                reason: reason.clone(),
                owner: owner.clone(),
                until,
            };
            if finding.is_some() {
                self.site.waivers.push(waiver(finding, None));
            }
            self.site.waivers.extend(matches.into_iter().map(|matching| waiver(None, Some(matching))));
        }
    }

    /// A TOML date or a string that is one.
    fn moment(&mut self, value: &Value<'_>, end: DayEnd) -> Option<Timestamp> {
        let text = match value.get_ref() {
            DeValue::Datetime(date) => date.to_string(),
            DeValue::String(text) => text.to_string(),
            other => {
                self.sink
                    .error(value.span(), format!("expected a date, found {}", kind(other)))
                    .expected("expected a date like 2027-03-31 or a time like 2027-03-31T18:00:00Z");
                return None;
            }
        };
        match value::moment(&text, end) {
            Ok(time) => Some(time),
            Err(slip) => {
                self.slip(value.span(), slip);
                None
            }
        }
    }

    fn slip(&mut self, span: Range<usize>, slip: Slip) {
        self.sink.error(span, slip.message).expected(slip.expected).help(slip.help);
    }

    pub(super) fn nat(&mut self, value: &Value<'_>) {
        for value in elements(self.sink, value) {
            let Some(mut table) = Table::of(self.sink, value, "[[nat]]") else { continue };
            let mut side = |key: &'static str, example: &str| {
                let text = table.need(key, example).and_then(|value| word(self.sink, value))?;
                value::address(text.text).map_err(|slip| slipped(self.sink, text, slip)).ok()
            };
            let (inside, outside) = (side("inside", "\"10.20.1.10\""), side("outside", "\"192.0.2.10\""));
            if let (Some(inside), Some(outside)) = (inside, outside) {
                if inside == outside {
                    self.sink.error(table.span.clone(), format!("{inside} is translated to itself"));
                }
                self.site.nat.push(Nat { inside, outside });
            }
            table.finish(self.sink);
        }
    }

    pub(super) fn windows(&mut self, value: &Value<'_>) {
        for value in elements(self.sink, value) {
            let Some(mut table) = Table::of(self.sink, value, "[[window]]") else { continue };
            let from =
                table.need("from", "2026-11-20T18:00:00Z").map(|value| self.moment(value, DayEnd::First));
            let until =
                table.need("until", "2026-11-20T22:00:00Z").map(|value| self.moment(value, DayEnd::Last));
            let reason = table
                .need("reason", "\"firewall firmware\"")
                .map(|value| some_sentence(self.sink, value, "the reason"))
                .unwrap_or_default();
            if let (Some(Some(from)), Some(Some(until))) = (from, until) {
                if from >= until {
                    self.sink.error(table.span.clone(), "this window ends before it begins");
                }
                self.site.windows.push(Window { from, until, reason });
            }
            table.finish(self.sink);
        }
    }

    pub(super) fn overrides(&mut self, value: &Value<'_>) {
        for value in elements(self.sink, value) {
            let Some(mut table) = Table::of(self.sink, value, "[[override]]") else { continue };
            let ruleset = match table.get("ruleset") {
                Some(value) => word(self.sink, value).map(|id| (id.text.to_owned(), Some(id))),
                None => match self.site.rulesets.as_slice() {
                    [only] => Some((only.id.clone(), None)),
                    _ => {
                        table.need("ruleset", "\"microsoft-defender-for-iot\"");
                        None
                    }
                },
            };
            let rule = table.need("rule", "\"proxy\"").and_then(|value| word(self.sink, value));
            let services = table
                .need("service", "\"tcp/3128\"")
                .map(|value| service_list(self.sink, value))
                .unwrap_or_default();
            table.finish(self.sink);
            let (Some((ruleset, written)), Some(rule)) = (ruleset, rule) else { continue };
            if !self.complete {
                continue;
            }
            let Some(known) = self.site.rulesets.iter().find(|known| known.id == ruleset) else {
                if let Some(written) = written {
                    let ids = self.site.rulesets.iter().map(|known| known.id.as_str());
                    self.sink
                        .error(written.span(), format!("this site has no ruleset {}", quoted(&ruleset)))
                        .help(did_you_mean(&ruleset, ids));
                }
                continue;
            };
            let ids = || known.rules.iter().map(|rule| rule.id.as_str());
            if !ids().any(|id| id == rule.text) {
                self.sink
                    .error(rule.span(), format!("ruleset '{ruleset}' has no rule {}", quoted(rule.text)))
                    .help(did_you_mean(rule.text, ids()));
                continue;
            }
            self.site.overrides.push(Override { ruleset, rule: rule.text.to_owned(), services });
        }
    }
}

/// A site's own rules stand for at most this many pairs of parties: lists on both sides multiply.
const PAIRS_MOST: usize = 20_000;
