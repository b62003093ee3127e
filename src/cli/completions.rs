//! `spanaudit completions`: a completion script for a shell.

use std::io;
use std::io::Write;

use clap::Args;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::Exit;
use super::Problem;

/// Print a completion script for a shell
///
/// For bash: spanaudit completions bash > ~/.local/share/bash-completion/completions/spanaudit
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments) -> Result<Exit, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "spanaudit", &mut script);
    match io::stdout().write_all(&script).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Problem::new(format!("standard output: {error}"), ""))
        }
        _ => Ok(Exit::Compliant),
    }
}
