//! Where rulesets and sites come from: built in, from files, from flags.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::Binding;
use super::FeatureSwitch;
use super::HostPattern;
use super::Ruleset;
use super::Site;
use super::diagnostic::Diagnostic;
use super::diagnostic::RulesError;
use super::diagnostic::Sink;
use super::diagnostic::Source;
use super::lint;
use super::reader::LONGEST_LIST;
use super::ruleset_text;
use super::ruleset_text::Marks;
use super::site_text;
use super::site_text::Context;
use super::suggest::did_you_mean;
use super::suggest::one_of;
use super::suggest::quoted;
use super::value;
use super::value::Slip;

/// The rulesets that the program carries: id and text.
static BUILTIN: &[(&str, &str)] = &[
    ("opswat-md-ot-security", include_str!("../../rulesets/opswat-md-ot-security.toml")),
    ("microsoft-defender-for-iot", include_str!("../../rulesets/microsoft-defender-for-iot.toml")),
];

/// The rulesets that the program carries: id and text.
pub fn builtin() -> &'static [(&'static str, &'static str)] {
    BUILTIN
}

/// What a built-in ruleset is called in diagnostics.
fn built_in_name(id: &str) -> String {
    format!("rulesets/{id}.toml")
}

/// A rules file longer than this is no rules file.
const LONGEST_FILE: u64 = 4 * 1024 * 1024;

/// Where a site's rulesets and host lists come from.
pub(super) struct Library<'l> {
    /// The folder that relative paths start from.
    pub(super) base: &'l Path,
}

/// A ruleset as far as it could be read.
pub(super) struct Found {
    /// The ruleset, and where its parts stand.
    pub(super) ruleset: Option<(Ruleset, Marks)>,
    /// What is wrong in it.
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Library<'_> {
    /// The ruleset of a built-in id, or of a file.
    pub(super) fn ruleset(&self, id_or_path: &str, protocols: &[&str]) -> Result<Found, Slip> {
        if let Some((id, text)) = BUILTIN.iter().find(|(id, _)| *id == id_or_path) {
            return Ok(read_ruleset(&Source::new(built_in_name(id), *text), protocols, &[]));
        }
        let is_path = id_or_path.contains(['/', '\\']) || id_or_path.ends_with(".toml");
        if !is_path {
            let ids = || BUILTIN.iter().map(|(id, _)| *id);
            return Err(Slip {
                message: format!("no ruleset is named {}", quoted(id_or_path)),
                expected: format!("expected {} or the path of a .toml file", one_of(ids())),
                help: did_you_mean(id_or_path, ids()),
            });
        }
        let path = self.base.join(id_or_path);
        let text = read_text(&path).map_err(|why| cannot_read(id_or_path, &why))?;
        Ok(read_ruleset(&Source::new(path.display().to_string(), text), protocols, &[]))
    }

    /// The host names in a file: one a line, or anywhere in a list as vendors hand it out (CSV, JSON, URLs).
    pub(super) fn hosts(&self, path: &str) -> Result<Vec<HostPattern>, Slip> {
        let text = read_text(&self.base.join(path)).map_err(|why| cannot_read(path, &why))?;
        let hosts = host_list(&text);
        if hosts.len() > LONGEST_LIST {
            return Err(Slip {
                message: format!("{} holds {} host names", quoted(path), hosts.len()),
                expected: format!("at most {LONGEST_LIST}"),
                help: None,
            });
        }
        if hosts.is_empty() {
            return Err(Slip {
                message: format!("{} holds no host name", quoted(path)),
                expected: "expected host names, one a line".to_owned(),
                help: None,
            });
        }
        Ok(hosts)
    }
}

/// A ruleset from its text, lints included.
fn read_ruleset(source: &Source, protocols: &[&str], usual: &[(&str, &[&str])]) -> Found {
    let mut sink = Sink::new(source);
    let read = ruleset_text::ruleset(&mut sink, protocols);
    if let Some((ruleset, marks)) = &read
        && !sink.has_errors()
    {
        lint::ruleset(&mut sink, ruleset, marks, usual);
    }
    Found { ruleset: read, diagnostics: sink.finish() }
}

fn cannot_read(path: &str, why: &str) -> Slip {
    Slip { message: format!("cannot read {}", quoted(path)), expected: why.to_owned(), help: None }
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    if file.metadata().is_ok_and(|about| about.is_dir()) {
        return Err("it is a folder".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(format!("it is longer than {} MiB", LONGEST_FILE >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        format!("it is no UTF-8 text: byte {} does not fit", error.utf8_error().valid_up_to())
    })
}

/// Host names among the words of a text. A word with a scheme, port or path stands for its host; others must have a dot.
fn host_list(text: &str) -> Vec<HostPattern> {
    let mut hosts: Vec<HostPattern> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let content = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words = content.flat_map(|line| {
        line.split(|c: char| {
            c.is_whitespace() || matches!(c, ',' | ';' | '"' | '\'' | '[' | ']' | '{' | '}' | '(' | ')')
        })
    });
    for word in words {
        let word = word.split_once("://").map_or(word, |(_, rest)| rest);
        let word = word.split(['/', ':']).next().unwrap_or_default();
        if !word.contains('.') {
            continue;
        }
        if let Ok(pattern) = value::host_pattern(word)
            && seen.insert(pattern.clone())
        {
            hosts.push(pattern);
        }
    }
    hosts
}

/// Whether diagnostics stop the run, and if not what they say as lines.
fn judged<T>(value: Option<T>, diagnostics: Vec<Diagnostic>) -> Result<(T, Vec<Diagnostic>), RulesError> {
    match value {
        Some(value) if !diagnostics.iter().any(Diagnostic::is_error) => Ok((value, diagnostics)),
        _ => Err(RulesError { diagnostics }),
    }
}

/// A ruleset from a text under a name, with the warnings that it gives rise to.
///
/// `protocols` are the words that rules may use for protocols.
pub fn parse_ruleset(
    name: &str,
    text: &str,
    protocols: &[&str],
) -> Result<(Ruleset, Vec<Diagnostic>), RulesError> {
    let found = read_ruleset(&Source::new(name, text), protocols, &[]);
    judged(found.ruleset.map(|(ruleset, _)| ruleset), found.diagnostics)
}

/// The ruleset of a built-in id, or of a `.toml` file relative to `base`, with its warnings.
pub fn load_ruleset(
    id_or_path: &str,
    base: &Path,
    protocols: &[&str],
) -> Result<(Ruleset, Vec<Diagnostic>), RulesError> {
    let found = Library { base }.ruleset(id_or_path, protocols).map_err(|slip| of_flag(id_or_path, slip))?;
    judged(found.ruleset.map(|(ruleset, _)| ruleset), found.diagnostics)
}

/// A site from a text under a name; what it names is looked for from `base`. Its warnings are in [`Site::warnings`].
pub fn parse_site(name: &str, text: &str, base: &Path, protocols: &[&str]) -> Result<Site, RulesError> {
    let (mut site, diagnostics) = read_site(name, text, base, protocols)?;
    site.warnings = diagnostics.iter().map(Diagnostic::unlabelled).collect();
    Ok(site)
}

/// A site file. Its warnings are in [`Site::warnings`].
pub fn load_site(path: &Path, protocols: &[&str]) -> Result<Site, RulesError> {
    let name = path.display().to_string();
    let text = read_text(path).map_err(|why| of_flag(&name, cannot_read(&name, &why)))?;
    parse_site(&name, &text, path.parent().unwrap_or(Path::new("")), protocols)
}

fn read_site(
    name: &str,
    text: &str,
    base: &Path,
    protocols: &[&str],
) -> Result<(Site, Vec<Diagnostic>), RulesError> {
    let source = Source::new(name, text);
    let mut sink = Sink::new(&source);
    let mut context = Context { library: &Library { base }, protocols, others: Vec::new() };
    let site = site_text::site(&mut sink, &mut context).map(|mut site| {
        site.file = Some(name.to_owned());
        site
    });
    let mut diagnostics = sink.finish();
    diagnostics.append(&mut context.others);
    judged(site, diagnostics)
}

/// What `rules check` says of a built-in id or of a file, a ruleset or a site: errors and warnings in the order of the text.
///
/// `usual` are the usual ports of each protocol (`tcp/502`), to tell slips of the pen in documents.
pub fn check(id_or_path: &str, protocols: &[&str], usual: &[(&str, &[&str])]) -> Vec<Diagnostic> {
    if let Some((id, text)) = BUILTIN.iter().find(|(id, _)| *id == id_or_path) {
        return check_text(&built_in_name(id), text, Path::new(""), protocols, usual);
    }
    let path = Path::new(id_or_path);
    match read_text(path) {
        Ok(text) => check_text(id_or_path, &text, path.parent().unwrap_or(Path::new("")), protocols, usual),
        Err(why) => of_flag(id_or_path, cannot_read(id_or_path, &why)).diagnostics,
    }
}

/// As [`check`], for a text under a name.
pub fn check_text(
    name: &str,
    text: &str,
    base: &Path,
    protocols: &[&str],
    usual: &[(&str, &[&str])],
) -> Vec<Diagnostic> {
    let headed = |head: &str| text.lines().any(|line| line.trim_start().starts_with(head));
    if headed("[site]") && !headed("[ruleset]") {
        match read_site(name, text, base, protocols) {
            Ok((_, diagnostics)) => diagnostics,
            Err(error) => error.diagnostics,
        }
    } else {
        read_ruleset(&Source::new(name, text), protocols, usual).diagnostics
    }
}

/// A site from flags: `--role site-manager=10.1.2.3 --ruleset opswat-md-ot-security --feature bidirectional`.
///
/// Several bindings of a role are several entries, or one with commas. Features may name their ruleset.
pub fn site_from_flags(
    roles: &[(String, String)],
    rulesets: &[String],
    features: &[String],
    protocols: &[&str],
) -> Result<Site, RulesError> {
    let mut site = site_unbound(rulesets, protocols)?;
    let mut diagnostics = Vec::new();
    let known_roles: Vec<String> =
        site.rulesets.iter().flat_map(|ruleset| ruleset.roles.keys().cloned()).collect();
    for (role, bindings) in roles {
        let text = format!("--role {role}={bindings}");
        let source = Source::new(FLAGS, text.as_str());
        let mut sink = Sink::new(&source);
        let (role_at, binding_at) = ("--role ".len(), "--role =".len() + role.len());
        if !known_roles.iter().any(|known| known == role) {
            sink.error(role_at..role_at + role.len(), format!("no ruleset has a role {}", quoted(role)))
                .expected(format!("roles: {}", known_roles.join(", ")))
                .help(did_you_mean(role, known_roles.iter().map(String::as_str)));
        }
        let mut at = binding_at;
        for part in bindings.split(',') {
            match value::binding(part.trim(), &[]) {
                Ok(binding) => {
                    let bound = site.roles.entry(role.clone()).or_default();
                    if !bound.contains(&binding) {
                        bound.push(binding);
                    }
                }
                Err(slip) => {
                    sink.error(at..at + part.len(), slip.message).expected(slip.expected).help(slip.help);
                }
            }
            at += part.len() + 1;
        }
        diagnostics.extend(sink.finish());
    }
    for written in features {
        let text = format!("--feature {written}");
        let source = Source::new(FLAGS, text.as_str());
        let mut sink = Sink::new(&source);
        let (ruleset, feature) = match written.split_once(':') {
            Some((ruleset, feature)) => (Some(ruleset.to_owned()), feature),
            None => (None, written.as_str()),
        };
        let known: Vec<&str> = site
            .rulesets
            .iter()
            .filter(|known| ruleset.as_ref().is_none_or(|id| known.id == *id))
            .flat_map(|known| known.features.keys().map(String::as_str))
            .collect();
        let clash = site.rulesets.iter().find_map(|known| {
            let other = known.features.get(feature)?.excludes.as_ref()?;
            site.features.iter().any(|switch| switch.feature == *other).then_some(other)
        });
        if !known.contains(&feature) {
            sink.error(
                "--feature ".len()..text.len(),
                format!("no ruleset has a feature {}", quoted(written)),
            )
            .expected(format!("features: {}", known.join(", ")))
            .help(did_you_mean(feature, known));
        } else if let Some(other) = clash {
            sink.error(
                "--feature ".len()..text.len(),
                format!("'{other}' is on, and excludes {}", quoted(feature)),
            );
        }
        diagnostics.extend(sink.finish());
        let switch = FeatureSwitch { ruleset, feature: feature.to_owned(), between: None };
        if !site.features.contains(&switch) {
            site.features.push(switch);
        }
    }
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(RulesError { diagnostics });
    }
    let unbound = site.unbound_components();
    site.warnings.extend(unbound);
    Ok(site)
}

/// A site that binds nobody, for guessing who plays which role.
pub fn site_unbound(rulesets: &[String], protocols: &[&str]) -> Result<Site, RulesError> {
    let mut site = Site { name: "unnamed".to_owned(), ..Site::default() };
    let mut diagnostics = Vec::new();
    for id in rulesets {
        match load_ruleset(id, Path::new(""), protocols) {
            Ok((ruleset, warnings)) => {
                site.warnings.extend(warnings.iter().map(Diagnostic::unlabelled));
                if !site.rulesets.iter().any(|known| known.id == ruleset.id) {
                    site.rulesets.push(ruleset);
                }
            }
            Err(error) => diagnostics.extend(error.diagnostics),
        }
    }
    if diagnostics.is_empty() { Ok(site) } else { Err(RulesError { diagnostics }) }
}

/// The name under which flags stand in diagnostics.
const FLAGS: &str = "command line";

/// An error about a word that was given as a flag or an argument.
fn of_flag(word: &str, slip: Slip) -> RulesError {
    let source = Source::new(FLAGS, word);
    let mut sink = Sink::new(&source);
    sink.error(0..word.len(), slip.message).expected(slip.expected).help(slip.help);
    RulesError { diagnostics: sink.finish() }
}

/// Every binding within a list of bindings, the members of `any_of` included.
pub fn each_binding(bindings: &[Binding]) -> impl Iterator<Item = &Binding> {
    // `any_of` does not nest: the reader refuses it.
    bindings.iter().flat_map(|binding| match binding {
        Binding::AnyOf(members) => members.iter(),
        single => std::slice::from_ref(single).iter(),
    })
}
