//! `spanaudit flows`: what is on the wire, classified, unjudged.

use clap::Args;
use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;

use crate::model::Observed;
use crate::pipeline;
use crate::report::FLOW_FORMATS;
use crate::report::FlowList;

use super::Exit;
use super::Problem;
use super::input;
use super::output;
use super::output::Output;

/// List what is on the wire, classified; no rules needed
///
/// Every flow with its client, server, outcome and the protocol that its payload proves: a port is never taken for a proof. Layer-2 flows,
/// multicast and what could not be read are there as well, and the totals account for every packet.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    input: input::Arguments,

    #[command(flatten)]
    output: output::Arguments,

    /// How to tell it
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Output", value_parser = formats())]
    format: String,
}

const EXAMPLES: &str = "\
Examples:
  spanaudit flows mirror.pcap
  spanaudit flows --format json ring/*.pcap.gz | jq 'select(.protocol == \"s7comm\")'
  ssh probe tcpdump -i eth1 -w - -c 100000 | spanaudit flows -
  spanaudit flows -i eth1 --duration 10min";

/// Single SYNs of one client in one of 64 shards that are listed one by one before they are told as one sweep.
const TRIES: usize = 2048;

/// Lists the flows.
pub fn run(arguments: Arguments) -> Result<Exit, Problem> {
    if arguments.input.has_vantages() {
        return Err(Problem::new(
            "flows are listed of one vantage",
            "name the captures without --vantage; audit compares vantages",
        ));
    }
    let output = Output::open(&arguments.output, &arguments.input.paths())?;
    let format = FLOW_FORMATS.iter().find(|format| format.name() == arguments.format);
    let seen = arguments.input.observe(pipeline::Options {
        keep_flows: true,
        tries: TRIES,
        ..pipeline::Options::default()
    });
    let (observed, problem) = match seen {
        Ok(observed) => (observed, None),
        Err(problem) if format.is_some_and(|format| format.ends_with_totals()) => {
            (Observed::default(), Some(problem))
        }
        Err(problem) => return Err(problem),
    };
    let list = FlowList {
        inputs: &observed.inputs,
        vantage: &observed.vantage,
        cells: &[],
        flows: &observed.flows,
        tally: &observed.tally,
    };
    output.write(|style, out| format.map_or(Ok(()), |format| format.write(&list, style, out)))?;
    // The process ends here: giving back the flows one by one would only take time.
    std::mem::forget(observed);
    problem.map_or(Ok(Exit::Compliant), Err)
}

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(
        FLOW_FORMATS.iter().map(|format| PossibleValue::new(format.name()).help(format.about())),
    )
}
