//! The command line: words to a plan, the plan to a run, the run to an exit status. Nothing else prints.

mod audit;
mod completions;
mod exit;
mod explain;
mod flows;
mod input;
mod output;
mod progress;
mod rules;
mod say;
#[cfg(feature = "watch")]
mod screen;
mod site;
#[cfg(feature = "watch")]
mod watch;
mod words;

use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

pub use exit::Exit;
pub use exit::Problem;

/// Passive packet-capture compliance auditor for OT networks
///
/// spanaudit reads recordings of a mirror (SPAN) port, works out what every flow really is, and holds the traffic against the list of
/// flows that a vendor documents. It answers two questions, each with packets to prove it: which documented flow is blocked, and which
/// flow is there that nobody documented. It sends nothing, resolves no names and needs no network.
#[derive(Debug, Parser)]
#[command(name = "spanaudit", version, max_term_width = 100, after_long_help = AFTER, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Examples:
  spanaudit flows mirror.pcap                          what is on the wire
  spanaudit audit mirror.pcap                          a first look: roles are guessed
  spanaudit audit mirror.pcap --site plant-7.toml      the audit proper
  spanaudit watch -i eth1 --site plant-7.toml          the audit, live, for months
  spanaudit explain report.json 1                      why the report says so
  spanaudit rules show opswat-md-ot-security           what the vendor documents

Exit status:
  0  compliant (audit, watch), or done (other commands)
  1  findings: something to act on
  2  could not run: bad usage, unreadable input, unwritable output
  3  inconclusive: nothing wrong was seen, but too little was shown

Environment:
  NO_COLOR  no colours, whatever the terminal
  COLUMNS   the width of text reports, where it is set";

#[derive(Debug, Subcommand)]
enum Command {
    Audit(audit::Arguments),
    #[cfg(feature = "watch")]
    Watch(watch::Arguments),
    Flows(flows::Arguments),
    Explain(explain::Arguments),
    Rules(rules::Arguments),
    Completions(completions::Arguments),
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Runs the program on the words of its command line.
pub fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return say::usage(&told),
    };
    let done = match cli.command {
        Command::Audit(arguments) => audit::run(arguments),
        #[cfg(feature = "watch")]
        Command::Watch(arguments) => watch::run(arguments),
        Command::Flows(arguments) => flows::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Rules(arguments) => rules::run(arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    };
    done.unwrap_or_else(|problem| say::problem(&problem))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
