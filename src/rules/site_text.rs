//! TOML to a site: bindings, features, the site's own rules, checked against its rulesets.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::DeValue;

use super::Binding;
use super::Cell;
use super::FeatureSwitch;
use super::Site;
use super::diagnostic::Diagnostic;
use super::diagnostic::MOST;
use super::diagnostic::Sink;
use super::load::Library;
use super::reader::Table;
use super::reader::Value;
use super::reader::Word;
use super::reader::elements;
use super::reader::is_empty_list;
use super::reader::name;
use super::reader::number;
use super::reader::parse;
use super::reader::some_sentence;
use super::reader::some_words;
use super::reader::word;
use super::reader::words;
use super::reference::slipped;
use super::suggest::did_you_mean;
use super::suggest::quoted;
use super::value;
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
pub(super) struct Reader<'s, 'k, 'c, 'x> {
    pub(super) sink: &'k mut Sink<'s>,
    pub(super) context: &'x mut Context<'c>,
    pub(super) site: Site,
    /// Whether every ruleset was read: else what a missing one may define is not called unknown.
    pub(super) complete: bool,
    /// Where each role is bound.
    role_marks: BTreeMap<String, Range<usize>>,
    /// Roles that the site's own rules name.
    pub(super) named: BTreeSet<String>,
    /// Pairs of parties that the site's own rules stand for so far.
    pub(super) pairs: usize,
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
        pairs: 0,
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
        if let Some(value) = table.need("name", "\"plant-7\"") {
            self.site.name = some_sentence(self.sink, value, "the site's name");
        }
        let versions = table.get("versions").and_then(|value| Table::of(self.sink, value, "'versions'"));
        let stated = versions.as_ref().map(|versions| self.versions(versions)).unwrap_or_default();
        match table.need("rulesets", "[\"opswat-md-ot-security\"]") {
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
            for value in elements(self.sink, value) {
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
            let written = table.need("feature", "\"bidirectional\"").and_then(|value| word(self.sink, value));
            if let Some(value) = table.need("between", "[\"network-sensor\", \"site-manager\"]") {
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
        for value in elements(self.sink, value) {
            let Some(mut table) = Table::of(self.sink, value, "[[cell]]") else { continue };
            let mut cell = Cell::default();
            if let Some(id) = table.need("name", "\"cell-2\"").and_then(|value| word(self.sink, value)) {
                cell.name = name(self.sink, id, "a cell").unwrap_or_default().to_owned();
                if self.site.cells.iter().any(|known| !cell.name.is_empty() && known.name == cell.name) {
                    self.sink.error(id.span(), format!("cell {} is there twice", quoted(id.text)));
                }
            }
            if let Some(value) = table.get("vlan") {
                for value in elements(self.sink, value) {
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
            for value in elements(self.sink, value) {
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
                let members: Vec<Binding> = elements(self.sink, list)
                    .into_iter()
                    .flat_map(|value| self.bindings(value, false))
                    .collect();
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

    pub(super) fn binding(&mut self, text: Word<'_>) -> Option<Binding> {
        let cells: Vec<&str> = self.site.cells.iter().map(|cell| cell.name.as_str()).collect();
        match value::binding(text.text, &cells) {
            Ok(binding) => Some(binding),
            Err(slip) => {
                slipped(self.sink, text, slip);
                None
            }
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
            .take(MOST)
            .collect();
        for (role, span) in strangers {
            self.sink
                .warn(span, format!("no ruleset has a role {}", quoted(&role)))
                .expected("no rule names this role, so binding it changes nothing")
                .help(did_you_mean(&role, known.iter().map(String::as_str)));
        }
        // A role whose bindings have mistakes is not one that nobody is bound to.
        if !self.sink.has_errors() {
            for warning in self.site.unbound_components() {
                self.sink.warn_of_file(warning);
            }
        }
    }
}

/// VLAN identifiers are 12 bits (IEEE 802.1Q); 4095 is reserved.
const VLAN_MOST: u32 = 4094;
