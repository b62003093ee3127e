//! `spanaudit explain`: one finding of a report, step by step, with its packets.

use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;

use crate::explain;
use crate::explain::Unknown;
use crate::report::Archive;
use crate::report::plain;

use super::Exit;
use super::Problem;
use super::output;
use super::output::Output;

/// Explain one finding of a JSON report, step by step, with its packets
///
/// Tells the reasoning in numbered steps, each with its packets and a Wireshark display filter; what would have shown the opposite; which
/// other explanations the capture rules out and which remain; and what to ask of whom. It works on the report alone.
///
/// FINDING is an id or its beginning, of a finding, a requirement or a conversation; or a finding's number in the report's order; or
/// the id of a rule with one requirement. Without it the findings are listed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// A report that audit --format json wrote (- is standard input)
    #[arg(value_name = "REPORT.json")]
    report: PathBuf,

    /// What to explain
    #[arg(value_name = "FINDING")]
    subject: Option<String>,

    #[command(flatten)]
    output: output::Arguments,

    /// How to tell it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, help_heading = "Output")]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  spanaudit audit mirror.pcap --site plant-7.toml --format json -o report.json
  spanaudit explain report.json                  which findings there are
  spanaudit explain report.json 1                the most urgent one
  spanaudit explain report.json bb836c           by the beginning of its id";

/// How an explanation is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A page for people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Explains.
pub fn run(arguments: Arguments) -> Result<Exit, Problem> {
    let archive = read(&arguments.report)?;
    let output = Output::open(&arguments.output, std::slice::from_ref(&arguments.report))?;
    let Some(wanted) = &arguments.subject else {
        output.write(|_, out| out.write_all(findings(&archive, &arguments.report).as_bytes()))?;
        return Ok(Exit::Compliant);
    };
    let explained =
        explain::explain(&archive, wanted).map_err(|unknown| refused(&archive, wanted, unknown))?;
    output.write(|style, out| match arguments.format {
        Format::Text => explained.write_text(style, out),
        Format::Json => explained.write_json(out),
    })?;
    Ok(Exit::Compliant)
}

/// Reads a report back.
fn read(path: &Path) -> Result<Archive, Problem> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.map_err(|error| Problem::new(format!("{}: {error}", path.display()), ""))?;
    Archive::read(&bytes).map_err(|error| {
        Problem::new(
            format!("{}: {error}", path.display()),
            "spanaudit audit --format json -o FILE writes a report that can be explained",
        )
    })
}

/// The findings of a report, one a line, escaped.
fn findings(archive: &Archive, path: &Path) -> String {
    if archive.findings.is_empty() {
        return format!(
            "{} has no findings (result: {}); name a requirement or a conversation by its id\n",
            plain(&path.display().to_string()),
            plain(&archive.result)
        );
    }
    let line = |(index, finding): (usize, &crate::report::ArchivedFinding)| {
        format!("{:>3}  {}  {}\n", index + 1, plain(&finding.id), plain(&finding.title))
    };
    archive.findings.iter().enumerate().map(line).collect()
}

fn refused(archive: &Archive, wanted: &str, unknown: Unknown) -> Problem {
    match unknown {
        Unknown::Nothing => Problem {
            message: format!("nothing in the report is called '{wanted}'"),
            help: "name a finding by its number or id, or a requirement or conversation by its id".into(),
            detail: match archive.findings.as_slice() {
                [] => "the report has no findings".to_owned(),
                _ => format!("the findings of the report:\n{}", findings(archive, Path::new(""))),
            },
        },
        Unknown::Several(fitting) => Problem {
            message: format!("'{wanted}' may mean several things"),
            help: "write more of the id".into(),
            detail: fitting
                .iter()
                .map(|(id, title)| format!("  {}  {}\n", plain(id), plain(title)))
                .collect(),
        },
    }
}
