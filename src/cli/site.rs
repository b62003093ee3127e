//! Which site a capture is held against: the flags that say so, and reading what they name.

use std::path::PathBuf;

use clap::Args;

use crate::model::CellId;
use crate::pipeline::CellMap;
use crate::pipeline::CellRule;
use crate::rules::Site;
use crate::rules::builtin;
use crate::rules::load_site;
use crate::rules::site_from_flags;
use crate::rules::site_unbound;

use super::Problem;
use super::words;

/// Flags of every command that judges.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Site")]
#[group(skip)]
pub struct Arguments {
    /// The site file: who plays which role, which features are on
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["role", "ruleset", "feature"])]
    site: Option<PathBuf>,

    /// Who plays a role, as in site-manager=10.1.2.3; several times, or with commas
    #[arg(long, value_name = "ROLE=ADDR", value_parser = role, requires = "ruleset")]
    role: Vec<(String, String)>,

    /// A ruleset to hold against the traffic: a built-in id or a file
    #[arg(long, value_name = "ID|PATH")]
    pub ruleset: Vec<String>,

    /// A feature that is on, as in bidirectional
    #[arg(long, value_name = "FEATURE", requires = "ruleset")]
    feature: Vec<String>,
}

impl Arguments {
    /// The site file, where one is named.
    pub fn file(&self) -> Option<PathBuf> {
        self.site.clone()
    }

    /// The site that the flags describe: a file, roles on the command line, or nobody bound at all.
    pub fn read(&self) -> Result<Site, Problem> {
        let protocols = words::protocols();
        let read = match &self.site {
            Some(file) => load_site(file, &protocols),
            None if !self.role.is_empty() => {
                site_from_flags(&self.role, &self.ruleset, &self.feature, &protocols)
            }
            None if !self.ruleset.is_empty() => site_unbound(&self.ruleset, &protocols),
            None => site_unbound(
                &builtin().iter().map(|(id, _)| (*id).to_owned()).collect::<Vec<_>>(),
                &protocols,
            ),
        };
        read.map_err(|error| {
            let message = match &self.site {
                Some(file) => format!("{} can't be used as a site: see above", file.display()),
                None => "the rulesets, roles and features can't be used as they are: see above".to_owned(),
            };
            Problem {
                message,
                help: "spanaudit rules show ID tells a ruleset's roles and features".into(),
                detail: error.render(words::stderr_color(), words::STDERR_WIDTH),
            }
        })
    }
}

/// The site's cloned address spaces as the pipeline tells packets apart. `CellId` 1 is the first of them. `listening` are the interfaces
/// that are listened to, in the order of their numbers.
pub fn cells(site: &Site, listening: &[&str]) -> CellMap {
    let mut rules = Vec::new();
    for (index, cell) in site.cells.iter().enumerate() {
        let Ok(id) = u16::try_from(index + 1) else { break };
        let interface = match cell.interface.as_deref() {
            None => None,
            Some(name) => {
                match (listening.iter().zip(0..).find(|(known, _)| **known == name), name.parse()) {
                    (Some((_, number)), _) | (None, Ok(number)) => Some(number),
                    (None, Err(_)) => continue,
                }
            }
        };
        let rule = CellRule {
            cell: CellId(id),
            vlan: None,
            tunnel: cell.tunnel_id,
            outer: cell.tunnel_source,
            interface,
        };
        if cell.vlan.is_empty() {
            rules.push(rule);
        } else {
            rules.extend(cell.vlan.iter().map(|&vlan| CellRule { vlan: Some(vlan), ..rule.clone() }));
        }
    }
    CellMap::new(rules)
}

fn role(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((role, address)) if !role.is_empty() && !address.is_empty() => {
            Ok((role.to_owned(), address.to_owned()))
        }
        _ => Err("expected ROLE=ADDRESS, as in site-manager=10.1.2.3".into()),
    }
}
