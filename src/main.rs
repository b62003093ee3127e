//! The program: calls the command line and returns its exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    spanaudit::cli::run().into()
}
