//! `spanaudit rules`: the rulesets that the program carries, one of them in full, and files checked.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;

use crate::report::plain;
use crate::rules;
use crate::rules::Ruleset;
use crate::rules::builtin;
use crate::rules::check as check_one;
use crate::rules::load_ruleset;
use crate::rules::render;

use super::Exit;
use super::Problem;
use super::output;
use super::output::Output;
use super::words;

/// List, show and check rulesets
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rulesets that the program carries
    List {
        #[command(flatten)]
        output: output::Arguments,
    },
    /// Show a ruleset: its roles, its features, and every rule with the row it comes from
    Show {
        /// A built-in id, or a ruleset file
        #[arg(value_name = "ID|PATH")]
        ruleset: String,
        #[command(flatten)]
        output: output::Arguments,
    },
    /// Check ruleset and site files; each mistake is told with its line and what would be right
    Check {
        /// Ruleset or site files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        output: output::Arguments,
    },
}

/// Runs one of the subcommands.
pub fn run(arguments: Arguments) -> Result<Exit, Problem> {
    match arguments.command {
        Command::List { output } => list(&output),
        Command::Show { ruleset, output } => show(&ruleset, &output),
        Command::Check { files, output } => check(&files, &output),
    }
}

fn list(output: &output::Arguments) -> Result<Exit, Problem> {
    let output = Output::open(output, &[])?;
    let sets = builtin().iter().map(|(id, _)| load(id)).collect::<Result<Vec<_>, _>>()?;
    output.write(|style, out| out.write_all(rules::list(&sets, style.width).as_bytes()))?;
    Ok(Exit::Compliant)
}

fn show(id: &str, output: &output::Arguments) -> Result<Exit, Problem> {
    let set = load(id)?;
    let output = Output::open(output, &[PathBuf::from(id)])?;
    output.write(|style, out| out.write_all(rules::show(&set, style.width).as_bytes()))?;
    Ok(Exit::Compliant)
}

fn load(id: &str) -> Result<Ruleset, Problem> {
    let read = load_ruleset(id, Path::new(""), &words::protocols());
    read.map(|(set, _)| set).map_err(|error| Problem {
        message: format!("{id} can't be used as a ruleset: see above"),
        help: "spanaudit rules list tells the built-in ones; a path ends in .toml or holds a slash".into(),
        detail: error.render(words::stderr_color(), words::STDERR_WIDTH),
    })
}

fn check(files: &[PathBuf], output: &output::Arguments) -> Result<Exit, Problem> {
    let output = Output::open(output, files)?;
    let (protocols, usual) = (words::protocols(), words::usual_ports());
    let checked: Vec<_> =
        files.iter().map(|file| (file, check_one(&file.display().to_string(), &protocols, &usual))).collect();
    let wrong = checked.iter().filter(|(_, said)| said.iter().any(|one| one.is_error())).count();
    output.write(|style, out| {
        for (file, said) in &checked {
            if said.is_empty() {
                writeln!(out, "{}: no mistakes", plain(&file.display().to_string()))?;
            } else {
                out.write_all(render(said, style.color, style.width).as_bytes())?;
            }
        }
        Ok(())
    })?;
    match wrong {
        0 => Ok(Exit::Compliant),
        1 => Err(Problem::new("one file can't be used as it is", "")),
        n => Err(Problem::new(format!("{n} files can't be used as they are"), "")),
    }
}
