//! TOML to a site: bindings, features, the site's own rules, checked against its rulesets.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::DeValue;

use crate::model::Timestamp;

use super::Binding;
use super::Cell;
use super::FeatureSwitch;
use super::Nat;
use super::Override;
use super::Party;
use super::Site;
use super::SiteRule;
use super::Waiver;
use super::Window;
use super::diagnostic::Diagnostic;
use super::diagnostic::Sink;
use super::load::Library;
use super::reader::Table;
use super::reader::Value;
use super::reader::Word;
use super::reader::elements;
use super::reader::is_empty_list;
use super::reader::kind;
use super::reader::name;
use super::reader::number;
use super::reader::parse;
use super::reader::some_sentence;
use super::reader::some_words;
use super::reader::word;
use super::reader::words;
use super::ruleset_text::protocol_words;
use super::ruleset_text::service_list;
use super::ruleset_text::slipped;
use super::suggest::did_you_mean;
use super::suggest::quoted;
use super::value;
use super::value::DayEnd;
use super::value::Slip;
use super::value::Version;

/// What reading a site needs besides its text.
pub(super) struct Context<'c> {
    /// Where rulesets and host lists come from.
    pub(super) library: &'c Library<'c>,
    /// The protocol words that rules may use.
    pub(super) protocols: &'c [&'c str],
    /// Diagnostics of the other files that the site names.
    pub(super) others: Vec<Diagnostic>,
}

/// A site while it is read.
struct Reader<'s, 'k, 'c, 'x> {
    sink: &'k mut Sink<'s>,
    context: &'x mut Context<'c>,
    site: Site,
    /// Whether every ruleset was read: else what a missing one may define is not called unknown.
    complete: bool,
    /// Where each role is bound.
    role_marks: BTreeMap<String, Range<usize>>,
    /// Roles that the site's own rules name.
    named: BTreeSet<String>,
    /// The product versions that the site states, by ruleset.
    versions: BTreeMap<String, Version>,
}

/// Reads a site. With errors in the sink, what it returns is not to be used.
pub(super) fn site(sink: &mut Sink<'_>, context: &mut Context<'_>) -> Option<Site> {
    let document = parse(sink)?;
    let mut root = Table::root(&document);
    let mut reader = Reader {
        sink,
        context,
        site: Site::default(),
        complete: true,
        role_marks: BTreeMap::new(),
        named: BTreeSet::new(),
        versions: BTreeMap::new(),
    };
    let head = root.get("site");
    // Cells first, for roles name them; rulesets before whatever refers to them.
    if let Some(value) = root.get("cell") {
        reader.cells(value);
    }
    match head {
        Some(value) => reader.head(value),
        None => {
            reader.complete = false;
            reader
                .sink
                .error_of_file("there is no [site] table")
                .expected("expected its name, rulesets and features");
        }
    }
    if let Some(table) = root.get("roles").and_then(|value| Table::of(reader.sink, value, "[roles]")) {
        reader.roles(&table);
    }
    if let Some(value) = root.get("allow") {
        reader.site.allow = reader.site_rules(value, "allow");
    }
    if let Some(value) = root.get("forbid") {
        reader.site.forbid = reader.site_rules(value, "forbid");
    }
    if let Some(value) = root.get("waive") {
        reader.waivers(value);
    }
    if let Some(value) = root.get("nat") {
        reader.nat(value);
    }
    if let Some(value) = root.get("window") {
        reader.windows(value);
    }
    if let Some(value) = root.get("override") {
        reader.overrides(value);
    }
    root.finish(reader.sink);
    reader.check_roles();
    Some(reader.site)
}

impl Reader<'_, '_, '_, '_> {
    fn head(&mut self, value: &Value<'_>) {
        let Some(mut table) = Table::of(self.sink, value, "[site]") else { return };
        if let Some(value) = table.need(self.sink, "name", "\"plant-7\"") {
            self.site.name = some_sentence(self.sink, value, "the site's name");
        }
        let versions = table.get("versions").and_then(|value| Table::of(self.sink, value, "'versions'"));
        let stated = versions.as_ref().map(|versions| self.versions(versions)).unwrap_or_default();
        match table.need(self.sink, "rulesets", "[\"opswat-md-ot-security\"]") {
            Some(value) => self.rulesets(value),
            None => self.complete = false,
        }
        for ruleset in stated {
            if self.complete && !self.site.rulesets.iter().any(|known| known.id == ruleset.text) {
                let ids = self.site.rulesets.iter().map(|known| known.id.as_str());
                self.sink
                    .error(ruleset.span(), format!("this site has no ruleset {}", quoted(ruleset.text)))
                    .help(did_you_mean(ruleset.text, ids));
            }
        }
        if let Some(value) = table.get("features") {
            for value in elements(value) {
                self.feature(value);
            }
            self.check_exclusion(value.span());
        }
        if let Some(value) = table.get("scope") {
            for prefix in words(self.sink, value) {
                match value::network(prefix.text) {
                    Ok(net) if self.site.scope.contains(&net) => {
                        self.sink.warn(prefix.span(), format!("{net} is listed twice"));
                    }
                    Ok(net) => self.site.scope.push(net),
                    Err(slip) => slipped(self.sink, prefix, slip),
                }
            }
        }
        table.finish(self.sink);
    }

    /// `versions = { opswat-md-ot-security = "3.4.7" }`; returns the rulesets that it names.
    fn versions<'t>(&mut self, table: &Table<'t>) -> Vec<Word<'t>> {
        let mut named = Vec::new();
        for (ruleset, value) in table.named() {
            let Some(written) = word(self.sink, value) else { continue };
            match value::version(written.text) {
                Ok(version) => _ = self.versions.insert(ruleset.text.to_owned(), version),
                Err(slip) => slipped(self.sink, written, slip),
            }
            named.push(ruleset);
        }
        named
    }

    fn rulesets(&mut self, value: &Value<'_>) {
        for id in some_words(self.sink, value, "'rulesets'") {
            match self.context.library.ruleset(id.text, self.context.protocols) {
                Ok(found) => {
                    self.complete &= !found.diagnostics.iter().any(Diagnostic::is_error);
                    self.context.others.extend(found.diagnostics);
                    let Some((mut ruleset, marks)) = found.ruleset else {
                        self.complete = false;
                        continue;
                    };
                    if let Some(version) = self.versions.get(&ruleset.id) {
                        let holds = |(since, before): &(Option<Version>, Option<Version>)| {
                            since.as_ref().is_none_or(|since| version >= since)
                                && before.as_ref().is_none_or(|before| version < before)
                        };
                        let mut bounds = marks.versions.iter();
                        ruleset.rules.retain(|_| bounds.next().is_none_or(holds));
                        for (_, notice) in marks.notices.iter().filter(|(before, _)| version < before) {
                            self.sink.warn(id.span(), notice.clone());
                        }
                    }
                    if self.site.rulesets.iter().any(|known| known.id == ruleset.id) {
                        self.sink
                            .error(id.span(), format!("ruleset {} is listed twice", quoted(&ruleset.id)));
                        continue;
                    }
                    self.site.rulesets.push(ruleset);
                }
                Err(slip) => {
                    self.complete = false;
                    slipped(self.sink, id, slip);
                }
            }
        }
    }

    /// `"ldap"`, `"opswat-md-ot-security:ldap"` or `{ feature = "bidirectional", between = ["a", "b"] }`.
    fn feature(&mut self, value: &Value<'_>) {
        let mut between = None;
        let written = if let DeValue::Table(_) = value.get_ref() {
            let Some(mut table) = Table::of(self.sink, value, "a feature") else { return };
            let written = table
                .need(self.sink, "feature", "\"bidirectional\"")
                .and_then(|value| word(self.sink, value));
            if let Some(value) = table.need(self.sink, "between", "[\"network-sensor\", \"site-manager\"]") {
                between = self.between(value);
            }
            table.finish(self.sink);
            written
        } else {
            word(self.sink, value)
        };
        let Some(written) = written else { return };
        let (ruleset, feature) = match written.text.split_once(':') {
            Some((ruleset, feature)) => (Some(ruleset), feature),
            None => (None, written.text),
        };
        let rulesets = &self.site.rulesets;
        if let Some(id) = ruleset
            && !rulesets.iter().any(|known| known.id == id)
        {
            if self.complete {
                let known = || rulesets.iter().map(|known| known.id.as_str());
                self.sink
                    .error(written.span(), format!("this site has no ruleset {}", quoted(id)))
                    .expected(format!("rulesets: {}", known().collect::<Vec<_>>().join(", ")))
                    .help(did_you_mean(id, known()));
            }
            return;
        }
        let known: BTreeSet<&str> = rulesets
            .iter()
            .filter(|known| ruleset.is_none_or(|id| known.id == id))
            .flat_map(|known| known.features.keys().map(String::as_str))
            .collect();
        if !known.contains(feature) {
            if self.complete {
                let listed = known.iter().copied().collect::<Vec<_>>().join(", ");
                self.sink
                    .error(written.span(), format!("no ruleset has a feature {}", quoted(feature)))
                    .expected(format!("features: {listed}"))
                    .help(did_you_mean(feature, known));
            }
            return;
        }
        let switch =
            FeatureSwitch { ruleset: ruleset.map(str::to_owned), feature: feature.to_owned(), between };
        if self.site.features.contains(&switch) {
            self.sink.warn(written.span(), format!("feature {} is listed twice", quoted(written.text)));
            return;
        }
        self.site.features.push(switch);
    }

    fn between(&mut self, value: &Value<'_>) -> Option<(String, String)> {
        let pair = words(self.sink, value);
        let [first, second] = pair.as_slice() else {
            self.sink.error(value.span(), "'between' names no pair").expected("expected two roles");
            return None;
        };
        for role in [first, second] {
            if self.complete && !self.site.rulesets.iter().any(|known| known.roles.contains_key(role.text)) {
                self.unknown_role(*role);
            }
        }
        Some((first.text.to_owned(), second.text.to_owned()))
    }

    /// Features that exclude each other may both be on only where they concern different pairs.
    fn check_exclusion(&mut self, span: Range<usize>) {
        let same_pair = |a: &FeatureSwitch, b: &FeatureSwitch| match (&a.between, &b.between) {
            (None, None) => true,
            (Some((a, b)), Some((c, d))) => (a == c && b == d) || (a == d && b == c),
            _ => false,
        };
        let mut clashes = Vec::new();
        for ruleset in &self.site.rulesets {
            let concerns =
                |switch: &FeatureSwitch| switch.ruleset.as_ref().is_none_or(|id| *id == ruleset.id);
            for (feature, about) in &ruleset.features {
                let Some(other) = about.excludes.as_ref().filter(|other| feature < *other) else { continue };
                let on = |wanted: &String| {
                    let wanted = wanted.clone();
                    self.site
                        .features
                        .iter()
                        .filter(move |switch| switch.feature == wanted && concerns(switch))
                };
                if on(feature).any(|a| on(other).any(|b| same_pair(a, b))) {
                    clashes.push((feature.clone(), other.clone()));
                }
            }
        }
        for (feature, other) in clashes {
            self.sink
                .error(span.clone(), format!("features '{feature}' and '{other}' exclude each other"))
                .help(Some(format!(
                    "keep one, or limit one to a pair: {{ feature = \"{feature}\", between = [\"...\", \"...\"] }}"
                )));
        }
    }

    fn cells(&mut self, value: &Value<'_>) {
        let mut vlans: BTreeMap<u16, String> = BTreeMap::new();
        for value in elements(value) {
            let Some(mut table) = Table::of(self.sink, value, "[[cell]]") else { continue };
            let mut cell = Cell::default();
            if let Some(id) =
                table.need(self.sink, "name", "\"cell-2\"").and_then(|value| word(self.sink, value))
            {
                cell.name = name(self.sink, id, "a cell").unwrap_or_default().to_owned();
                if self.site.cells.iter().any(|known| !cell.name.is_empty() && known.name == cell.name) {
                    self.sink.error(id.span(), format!("cell {} is there twice", quoted(id.text)));
                }
            }
            if let Some(value) = table.get("vlan") {
                for value in elements(value) {
                    let vlan = number(self.sink, value, VLAN_MOST).and_then(|vlan| u16::try_from(vlan).ok());
                    let Some(vlan) = vlan else { continue };
                    if let Some(other) = vlans.insert(vlan, cell.name.clone()) {
                        self.sink.error(value.span(), format!("VLAN {vlan} is taken by cell '{other}'"));
                    }
                    cell.vlan.push(vlan);
                }
            }
            if let Some(value) = table.get("tunnel_id") {
                cell.tunnel_id = number(self.sink, value, u32::MAX);
            }
            if let Some(source) = table.get("tunnel_source").and_then(|value| word(self.sink, value)) {
                match value::address(source.text) {
                    Ok(ip) => cell.tunnel_source = Some(ip),
                    Err(slip) => slipped(self.sink, source, slip),
                }
            }
            match table.get("interface") {
                Some(value) if matches!(value.get_ref(), DeValue::Integer(_)) => {
                    cell.interface = number(self.sink, value, u32::MAX).map(|number| number.to_string());
                }
                Some(value) => cell.interface = Some(some_sentence(self.sink, value, "'interface'")),
                None => {}
            }
            let told = ["vlan", "tunnel_id", "tunnel_source", "interface"];
            let named: Vec<&str> = table.named().into_iter().map(|(key, _)| key.text).collect();
            if !told.iter().any(|key| named.contains(key)) {
                self.sink
                    .error(table.span.clone(), "nothing tells which packets belong to this cell")
                    .expected("expected vlan, tunnel_id, tunnel_source or interface");
            }
            table.finish(self.sink);
            self.site.cells.push(cell);
        }
        if self.site.cells.len() >= usize::from(u16::MAX) {
            self.sink.error(value.span(), "too many cells").expected("at most 65534");
        }
    }

    fn roles(&mut self, table: &Table<'_>) {
        for (key, value) in table.named() {
            let Some(role) = name(self.sink, key, "a role") else { continue };
            if is_empty_list(value) {
                self.sink
                    .warn(value.span(), format!("role {} is bound to nothing", quoted(role)))
                    .help(Some("its requirements are left out, as without the line".to_owned()));
            }
            let mut bindings = Vec::new();
            for value in elements(value) {
                for binding in self.bindings(value, true) {
                    if bindings.contains(&binding) {
                        self.sink.warn(value.span(), format!("role {} is bound to this twice", quoted(role)));
                    } else {
                        bindings.push(binding);
                    }
                }
            }
            self.role_marks.insert(role.to_owned(), key.span());
            self.site.roles.insert(role.to_owned(), bindings);
        }
    }

    /// One entry of a role: a string, `{ any_of = [...] }` or `{ hosts_file = "..." }`, which stands for many.
    fn bindings(&mut self, value: &Value<'_>, nested: bool) -> Vec<Binding> {
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            return word(self.sink, value).and_then(|text| self.binding(text)).into_iter().collect();
        }
        let Some(mut table) = Table::of(self.sink, value, "a binding") else { return Vec::new() };
        let any_of = if nested { table.get("any_of") } else { None };
        let hosts_file = table.get("hosts_file").and_then(|value| word(self.sink, value));
        let mut found = Vec::new();
        match (any_of, hosts_file) {
            (Some(list), None) => {
                if is_empty_list(list) {
                    self.sink
                        .error(list.span(), "'any_of' is an empty list")
                        .expected("expected at least one entry");
                }
                let members: Vec<Binding> =
                    elements(list).into_iter().flat_map(|value| self.bindings(value, false)).collect();
                found.push(Binding::AnyOf(members));
            }
            (None, Some(file)) => match self.context.library.hosts(file.text) {
                Ok(hosts) => found.extend(hosts.into_iter().map(Binding::Host)),
                Err(slip) => slipped(self.sink, file, slip),
            },
            _ => {
                self.sink.error(value.span(), "this binds nothing").expected(if nested {
                    "expected { any_of = [...] } or { hosts_file = \"...\" }"
                } else {
                    "expected { hosts_file = \"...\" } or a string"
                });
            }
        }
        table.finish(self.sink);
        found
    }

    fn binding(&mut self, text: Word<'_>) -> Option<Binding> {
        let cells: Vec<&str> = self.site.cells.iter().map(|cell| cell.name.as_str()).collect();
        match value::binding(text.text, &cells) {
            Ok(binding) => Some(binding),
            Err(slip) => {
                slipped(self.sink, text, slip);
                None
            }
        }
    }

    fn site_rules(&mut self, value: &Value<'_>, what: &'static str) -> Vec<SiteRule> {
        let mut rules: Vec<SiteRule> = Vec::new();
        let mut ids: BTreeSet<String> = BTreeSet::new();
        for (at, value) in elements(value).into_iter().enumerate() {
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
                    table.need(self.sink, key, "\"any\"");
                }
            }
            let found = self.matching(&mut table, &id);
            if found.first().is_some_and(|rule| rule.reason.is_empty()) && table.get("reason").is_none() {
                self.sink
                    .warn(table.span.clone(), format!("[[{what}]] '{id}' gives no reason"))
                    .help(Some("say who needs it and why, for whoever reviews it".to_owned()));
            }
            table.finish(self.sink);
            rules.extend(found);
        }
        rules
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
        if from.len().saturating_mul(to.len()) > PAIRS_MOST {
            self.sink
                .error(table.span.clone(), format!("{} times {} parties are too many", from.len(), to.len()))
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

    fn unknown_role(&mut self, text: Word<'_>) {
        let known = self.known_roles();
        self.sink
            .error(text.span(), format!("nobody defines a role {}", quoted(text.text)))
            .expected("expected a role of a ruleset or of [roles], an address, a prefix, host:NAME, mac:ADDRESS or any")
            .help(did_you_mean(text.text, known.iter().map(String::as_str)));
    }

    fn known_roles(&self) -> BTreeSet<String> {
        let rulesets = self.site.rulesets.iter().flat_map(|ruleset| ruleset.roles.keys());
        rulesets.chain(self.site.roles.keys()).cloned().collect()
    }

    fn waivers(&mut self, value: &Value<'_>) {
        for value in elements(value) {
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
                let value = table.need(self.sink, key, example);
                value.map(|value| some_sentence(self.sink, value, key)).unwrap_or_default()
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

    fn nat(&mut self, value: &Value<'_>) {
        for value in elements(value) {
            let Some(mut table) = Table::of(self.sink, value, "[[nat]]") else { continue };
            let mut side = |key: &'static str, example: &str| {
                let text = table.need(self.sink, key, example).and_then(|value| word(self.sink, value))?;
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

    fn windows(&mut self, value: &Value<'_>) {
        for value in elements(value) {
            let Some(mut table) = Table::of(self.sink, value, "[[window]]") else { continue };
            let from = table
                .need(self.sink, "from", "2026-11-20T18:00:00Z")
                .map(|value| self.moment(value, DayEnd::First));
            let until = table
                .need(self.sink, "until", "2026-11-20T22:00:00Z")
                .map(|value| self.moment(value, DayEnd::Last));
            let reason = table
                .need(self.sink, "reason", "\"firewall firmware\"")
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

    fn overrides(&mut self, value: &Value<'_>) {
        for value in elements(value) {
            let Some(mut table) = Table::of(self.sink, value, "[[override]]") else { continue };
            let ruleset = match table.get("ruleset") {
                Some(value) => word(self.sink, value).map(|id| (id.text.to_owned(), Some(id))),
                None => match self.site.rulesets.as_slice() {
                    [only] => Some((only.id.clone(), None)),
                    _ => {
                        table.need(self.sink, "ruleset", "\"microsoft-defender-for-iot\"");
                        None
                    }
                },
            };
            let rule = table.need(self.sink, "rule", "\"proxy\"").and_then(|value| word(self.sink, value));
            let services = table
                .need(self.sink, "service", "\"tcp/3128\"")
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

    /// Roles that no rule names, and components that nobody is bound to though a rule in force names them.
    fn check_roles(&mut self) {
        if !self.complete {
            return;
        }
        let known: BTreeSet<String> =
            self.site.rulesets.iter().flat_map(|ruleset| ruleset.roles.keys()).cloned().collect();
        let strangers: Vec<(String, Range<usize>)> = self
            .role_marks
            .iter()
            .filter(|(role, _)| !known.contains(*role) && !self.named.contains(*role))
            .map(|(role, span)| (role.clone(), span.clone()))
            .collect();
        for (role, span) in strangers {
            self.sink
                .warn(span, format!("no ruleset has a role {}", quoted(&role)))
                .expected("no rule names this role, so binding it changes nothing")
                .help(did_you_mean(&role, known.iter().map(String::as_str)));
        }
        for warning in unbound_components(&self.site) {
            self.sink.warn_of_file(warning);
        }
    }
}

/// One warning for the component roles that rules in force name and nobody is bound to.
pub(super) fn unbound_components(site: &Site) -> Vec<String> {
    let mut warnings = Vec::new();
    for ruleset in &site.rulesets {
        let on = |feature: &String| {
            let switched = |name: &String| {
                site.features.iter().any(|switch| {
                    switch.feature == *name && switch.ruleset.as_ref().is_none_or(|id| *id == ruleset.id)
                })
            };
            switched(feature)
                || ruleset
                    .features
                    .get(feature)
                    .is_some_and(|known| known.assumed && !known.excludes.as_ref().is_some_and(switched))
        };
        let mut unbound: BTreeMap<&str, usize> = BTreeMap::new();
        for rule in ruleset.rules.iter().filter(|rule| rule.when.iter().all(on)) {
            let Some(main) = rule.readings.first() else { continue };
            let missing: BTreeSet<&String> = main
                .from
                .iter()
                .chain(&main.to)
                .filter(|role| {
                    let component = ruleset
                        .roles
                        .get(*role)
                        .is_some_and(|known| known.kind == super::RoleKind::Component);
                    component && site.roles.get(*role).is_none_or(Vec::is_empty)
                })
                .collect();
            for role in missing {
                *unbound.entry(role).or_default() += 1;
            }
        }
        for (role, rules) in unbound {
            warnings.push(format!(
                "nobody is bound to role '{role}' of {}: {rules} rule{} cannot be checked",
                ruleset.id,
                if rules == 1 { "" } else { "s" }
            ));
        }
    }
    warnings
}

/// VLAN identifiers are 12 bits (IEEE 802.1Q); 4095 is reserved.
const VLAN_MOST: u32 = 4094;

/// A rule with lists on both sides stands for at most this many pairs.
const PAIRS_MOST: usize = 4096;
