//! `spanaudit audit`: a capture held against rulesets and a site.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;

use crate::audit;
use crate::evidence;
use crate::model::CellId;
use crate::pipeline;
use crate::pipeline::CellMap;
use crate::pipeline::CellRule;
use crate::report::FORMATS;
use crate::rules::Site;
use crate::rules::builtin;
use crate::rules::load_site;
use crate::rules::site_from_flags;
use crate::rules::site_unbound;

use super::Exit;
use super::Problem;
use super::input;
use super::output;
use super::output::Output;
use super::say;
use super::words;

/// Hold a capture against a vendor's allow-list: what is blocked, what is undocumented
///
/// With a site file, every documented flow between the machines that it names gets a verdict, and every conversation that nobody
/// documented is told. Without one, --role and --ruleset stand in for it; with nothing at all the roles are guessed from the traffic, the
/// report is headed PROVISIONAL, calls nothing unexpected and ends with status 3.
///
/// Silence is never taken for compliance: what this mirror could not see, or what was never tried, is told as such.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    input: input::Arguments,

    /// The site file: who plays which role, which features are on
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["role", "ruleset", "feature"], help_heading = "Site")]
    site: Option<PathBuf>,

    /// Who plays a role, as in site-manager=10.1.2.3; several times, or with commas
    #[arg(long, value_name = "ROLE=ADDR", value_parser = role, requires = "ruleset", help_heading = "Site")]
    role: Vec<(String, String)>,

    /// A ruleset to hold against the traffic: a built-in id or a file
    #[arg(long, value_name = "ID|PATH", help_heading = "Site")]
    ruleset: Vec<String>,

    /// A feature that is on, as in bidirectional
    #[arg(long, value_name = "FEATURE", requires = "ruleset", help_heading = "Site")]
    feature: Vec<String>,

    /// Let failing optional flows count as findings too
    #[arg(long, help_heading = "Site")]
    strict: bool,

    /// Write the packets of each finding into a new folder, with hashes and commands to check them
    ///
    /// One pcapng file a finding, with a comment on each packet that says what it shows; index.txt and index.json name every file with
    /// its SHA-256, every packet with its place in the recording, and the commands by which a third party can check it all with other tools.
    #[arg(long, value_name = "DIR", conflicts_with = "interface", help_heading = "Output")]
    evidence: Option<PathBuf>,

    /// Keep whole packets in the evidence, not headers alone
    #[arg(long, requires = "evidence", help_heading = "Output")]
    payload: bool,

    #[command(flatten)]
    output: output::Arguments,

    /// How to tell it
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Output", value_parser = formats())]
    format: String,
}

const EXAMPLES: &str = "\
Examples:
  spanaudit audit mirror.pcap --site plant-7.toml
  spanaudit audit mirror.pcap --ruleset opswat-md-ot-security \\
      --role network-sensor=10.20.1.10 --role site-manager=10.20.9.5 --feature bidirectional
  spanaudit audit mirror.pcap                    a first look: roles are guessed
  spanaudit audit --format json -o report.json ring/ --site plant-7.toml

Exit status:
  0 compliant, 1 findings, 2 could not run, 3 inconclusive";

/// Audits.
pub fn run(mut arguments: Arguments) -> Result<Exit, Problem> {
    // What can be wrong without reading a capture is told first: an audit of a large one takes its time.
    let site = site(&arguments)?;
    let mut inputs = arguments.input.paths();
    inputs.extend(arguments.site.clone());
    let output = Output::open(&arguments.output, &inputs)?;
    if let Some(folder) = &arguments.evidence {
        evidence::check_inputs(&arguments.input.paths())?;
        evidence::prepare(folder)?;
        arguments.input.with_hash();
    }
    let options = pipeline::Options {
        cells: cells(&site, arguments.input.interface()),
        ..pipeline::Options::default()
    };
    let observed = arguments.input.observe(options)?;
    let report = audit::audit(observed, &site, audit::Options { strict: arguments.strict });
    let format = FORMATS.iter().find(|format| format.name() == arguments.format);
    output.write(|style, out| format.map_or(Ok(()), |format| format.write(&report, style, out)))?;
    if let Some(folder) = &arguments.evidence {
        let files = evidence::write(folder, &report, arguments.payload)?;
        say::note(&format!(
            "{}: packets of {files} findings; index.txt says how to check them",
            folder.display()
        ));
    }
    Ok(report.conclusion.into())
}

/// The site that the flags describe: a file, roles on the command line, or nobody bound at all.
fn site(arguments: &Arguments) -> Result<Site, Problem> {
    let protocols = words::protocols();
    let read = match &arguments.site {
        Some(file) => load_site(file, &protocols),
        None if !arguments.role.is_empty() => {
            site_from_flags(&arguments.role, &arguments.ruleset, &arguments.feature, &protocols)
        }
        None if !arguments.ruleset.is_empty() => site_unbound(&arguments.ruleset, &protocols),
        None => {
            site_unbound(&builtin().iter().map(|(id, _)| (*id).to_owned()).collect::<Vec<_>>(), &protocols)
        }
    };
    read.map_err(|error| {
        let message = match &arguments.site {
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

/// The site's cloned address spaces as the pipeline tells packets apart. `CellId` 1 is the first of them.
fn cells(site: &Site, listening: Option<&str>) -> CellMap {
    let mut rules = Vec::new();
    for (index, cell) in site.cells.iter().enumerate() {
        let Ok(id) = u16::try_from(index + 1) else { break };
        let interface = match cell.interface.as_deref() {
            None => None,
            // One interface is listened to at a time: by name it is either all packets or none.
            Some(name) if listening == Some(name) => None,
            Some(number) => match number.parse() {
                Ok(number) => Some(number),
                Err(_) => continue,
            },
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

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(
        FORMATS.iter().map(|format| PossibleValue::new(format.name()).help(format.about())),
    )
}
