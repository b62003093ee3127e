//! `spanaudit audit`: a capture held against rulesets and a site.

use clap::Args;
use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;

use crate::audit;
use crate::pipeline;
use crate::report::FORMATS;

use super::Exit;
use super::Problem;
use super::input;
use super::output;
use super::output::Output;
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
pub fn run(arguments: Arguments) -> Result<Exit, Problem> {
    // What can be wrong without reading a capture is told first: an audit of a large one takes its time.
    let site = arguments.site.read()?;
    let mut inputs = arguments.input.paths();
    inputs.extend(arguments.site.file());
    let output = Output::open(&arguments.output, &inputs)?;
    let options = pipeline::Options {
        cells: site::cells(&site, arguments.input.interface().as_slice()),
        ..pipeline::Options::default()
    };
    let observed = arguments.input.observe(options)?;
    let report = audit::audit(observed, &site, audit::Options { strict: arguments.strict });
    let format = FORMATS.iter().find(|format| format.name() == arguments.format);
    output.write(|style, out| format.map_or(Ok(()), |format| format.write(&report, style, out)))?;
    Ok(report.conclusion.into())
}

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(
        FORMATS.iter().map(|format| PossibleValue::new(format.name()).help(format.about())),
    )
}
