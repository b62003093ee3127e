//! `spanaudit audit`: a capture held against rulesets and a site.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;

use crate::audit;
use crate::evidence;
use crate::model::counted;
use crate::pipeline;
use crate::report::FORMATS;
use crate::report::Style;

use super::Exit;
use super::Problem;
use super::input;
use super::output;
use super::output::Output;
use super::say;
use super::site;

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

    #[command(flatten)]
    site: site::Arguments,

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
    let site = arguments.site.read()?;
    let mut inputs = arguments.input.paths();
    inputs.extend(arguments.site.file());
    let output = Output::open(&arguments.output, &inputs)?;
    if let Some(folder) = &arguments.evidence {
        evidence::check_inputs(&arguments.input.paths())?;
        evidence::prepare(folder)?;
        arguments.input.with_hash();
    }
    let options = pipeline::Options {
        cells: site::cells(&site, arguments.input.interface().as_slice()),
        ..pipeline::Options::default()
    };
    let observed = arguments.input.observe(options)?;
    let workers = NonZeroUsize::new(arguments.input.workers()).unwrap_or(NonZeroUsize::MIN);
    let options = audit::Options { strict: arguments.strict, workers: Some(workers), last: true };
    let report = audit::of(&observed, &site, options);
    let format = FORMATS.iter().find(|format| format.name() == arguments.format);
    output.write(|style, out| {
        let style = Style { workers, ..*style };
        format.map_or(Ok(()), |format| format.write(&report, &style, out))
    })?;
    if let Some(folder) = &arguments.evidence {
        let files = evidence::write(folder, &report, arguments.payload)?;
        say::note(&format!(
            "{}: packets of {}; index.txt says how to check them",
            folder.display(),
            counted(files as u64, "finding")
        ));
    }
    let conclusion = report.conclusion;
    // The process ends here: giving back a million small pieces of memory one by one would only take time.
    std::mem::forget((observed, report));
    Ok(conclusion.into())
}

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(
        FORMATS.iter().map(|format| PossibleValue::new(format.name()).help(format.about())),
    )
}
