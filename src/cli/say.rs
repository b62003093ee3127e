//! What goes to standard error: problems, warnings, usage. All of it is escaped, and a closed standard error is no reason to fail.

use std::io::Write;

use clap::error::ErrorKind;

use crate::report::plain;

use super::Exit;
use super::Problem;

/// Bold red, bold yellow, bold (ECMA-48 select graphic rendition); anstream takes them out where they are not wanted.
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// Says why the program could not do its work.
pub fn problem(problem: &Problem) -> Exit {
    let mut err = anstream::stderr().lock();
    if !problem.detail.is_empty() {
        let _ = writeln!(err, "{}", problem.detail.trim_end());
    }
    let _ = writeln!(err, "{BOLD}spanaudit:{RESET} {RED}error:{RESET} {}", plain(&problem.message));
    if !problem.help.is_empty() {
        let _ = writeln!(err, "  {BOLD}help:{RESET} {}", plain(&problem.help));
    }
    Exit::CouldNotRun
}

/// Says something that the reader should know though the work goes on.
pub fn warning(message: &str) {
    let _ = writeln!(
        anstream::stderr().lock(),
        "{BOLD}spanaudit:{RESET} {YELLOW}warning:{RESET} {}",
        plain(message)
    );
}

/// Says something to whoever sits at the terminal.
pub fn note(message: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{BOLD}spanaudit:{RESET} {}", plain(message));
}

/// Help and version go to standard output and are a success; anything else that clap has to say is bad usage.
pub fn usage(told: &clap::Error) -> Exit {
    match told.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that closes the pipe after the first lines has seen what it wanted.
            let _ = told.print();
            Exit::Compliant
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = told.print();
            Exit::CouldNotRun
        }
        _ => {
            let styled = told.render().ansi().to_string();
            let _ = write!(anstream::stderr().lock(), "{BOLD}spanaudit:{RESET} {styled}");
            Exit::CouldNotRun
        }
    }
}
