//! `spanaudit watch`: the audit live, for months.

mod places;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValue;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::consts::SIGUSR1;
use signal_hook::flag;

use crate::audit;
use crate::capture;
use crate::pipeline;
use crate::pipeline::CellMap;
use crate::pipeline::Retention;
use crate::report::FORMATS;
use crate::report::Format;
use crate::report::Style;
use crate::rules::Site;
use crate::watch;
use crate::watch::Clock;

use super::Exit;
use super::Problem;
use super::input::duration;
use super::output::Output;
use super::screen::Screen;
use super::site;
use super::words;

/// Listen to a mirror port for months: what changes is told within seconds
///
/// Does live what audit does on recordings. Every few seconds the traffic so far is judged, and what changed is told as an event: a
/// finding that opened, changed or was resolved, a verdict that changed, a new conversation that nobody documented, a mirror that sees
/// less than before. SIGTERM, Ctrl-C and --duration end it with a report and the exit status of audit.
///
/// SIGUSR1 writes a report, SIGHUP reads site and rulesets again and opens event files anew. Nothing is ever sent on the interfaces.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// The interface to listen to; several times for several
    #[arg(short, long, value_name = "IFACE", required_unless_present = "read", help_heading = "Input")]
    interface: Vec<String>,

    /// Read a capture as if it came from a wire, to try a site or a setup out
    #[arg(short, long, value_name = "FILE", conflicts_with = "interface", help_heading = "Input")]
    read: Vec<PathBuf>,

    /// Look only at packets that pass a BPF filter, as in 'not port 22'
    ///
    /// What the filter leaves out the audit cannot see: it counts as silence.
    #[arg(short, long, value_name = "BPF", help_heading = "Input")]
    filter: Option<String>,

    /// The most bytes kept of a packet
    #[arg(long, value_name = "BYTES", default_value_t = 262_144, help_heading = "Input",
        value_parser = clap::value_parser!(u32).range(64..))]
    snaplen: u32,

    /// Megabytes of the kernel's buffer, of each interface
    #[arg(short = 'B', long, value_name = "MB", default_value_t = 64, help_heading = "Input",
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    buffer: u32,

    /// Do not put the interface into promiscuous mode
    #[arg(short = 'p', long, help_heading = "Input")]
    no_promiscuous: bool,

    /// Whose clock puts the time on packets; --check says which ones an interface has
    #[arg(long, value_name = "CLOCK", default_value = "host", value_parser = stamps(), help_heading = "Input")]
    timestamps: String,

    #[command(flatten)]
    site: site::Arguments,

    /// Let failing optional flows count as findings too
    #[arg(long, help_heading = "Site")]
    strict: bool,

    /// Where events go: a file, - for standard output, syslog://ADDR or syslog+tcp://ADDR; several times for several
    ///
    /// One JSON object a line. Syslog is RFC 5424; ?format=cef after the address puts CEF in place of JSON.
    #[arg(long, value_name = "TO", help_heading = "Output")]
    events: Vec<String>,

    /// Move a file of events aside when it has grown to so many megabytes
    #[arg(long, value_name = "MB", default_value_t = 64, help_heading = "Output")]
    events_size: u64,

    /// Keep so many files of events that were moved aside
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Output")]
    events_keep: u32,

    /// Write the report to a file: at the end, on SIGUSR1, and as --report-every says
    #[arg(short = 'o', long, value_name = "FILE", help_heading = "Output")]
    report: Option<PathBuf>,

    /// How to tell the report
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Output", value_parser = formats())]
    format: String,

    /// Write the packets that findings rest on into this folder, headers alone, whenever the report is written
    #[arg(long, value_name = "DIR", requires = "report", help_heading = "Output")]
    evidence: Option<PathBuf>,

    /// Write the report each time so long has passed: 1h, 1d
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "report", help_heading = "Output")]
    report_every: Option<Duration>,

    /// Stop after so long: 30s, 10min, 2h
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Running")]
    duration: Option<Duration>,

    /// Judge this often
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s", help_heading = "Running")]
    every: Duration,

    /// Tell when no packet has come for so long
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s", help_heading = "Running")]
    silence: Duration,

    /// Answer on a loopback address or a unix socket: /metrics for Prometheus, /healthz, /api/v1/report
    ///
    /// As in 127.0.0.1:9640 or unix:/run/spanaudit/http.sock. Read-only.
    #[arg(long, value_name = "ADDR", help_heading = "Running")]
    http: Option<watch::Listen>,

    /// Where started as root: become this user once the interfaces are open [default: spanaudit, else nobody]
    #[arg(long, value_name = "USER", help_heading = "Privileges")]
    user: Option<String>,

    /// Stay root; everything else is given up all the same
    #[arg(long, conflicts_with = "user", help_heading = "Privileges")]
    stay_root: bool,

    /// Open everything, say how the watch would run, and end
    #[arg(long, help_heading = "Privileges")]
    check: bool,

    /// Keep what was told in this folder, and go on from there after a restart
    #[arg(long, value_name = "DIR", help_heading = "Running")]
    state: Option<PathBuf>,

    /// Forget what was silent for so long
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30d", help_heading = "Running")]
    keep: Duration,

    /// The most flows followed at one time, of some three kilobytes each; beyond it the oldest are told early, and counted
    #[arg(long, value_name = "N", default_value_t = 131_072, help_heading = "Running", value_parser = at_least_64())]
    flows: usize,

    /// Megabytes for the beginnings of the latest packets, from which evidence is taken once a finding needs it
    #[arg(long, value_name = "MB", default_value_t = 64, help_heading = "Running",
        value_parser = clap::value_parser!(u32).range(..=65_536))]
    recent: u32,

    /// Threads that read, each with a ring of its own on every interface; the kernel spreads packets by pairs of addresses
    #[arg(short = 'j', long, value_name = "N", default_value_t = 1, help_heading = "Running",
        value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,

    /// The most conversations remembered; beyond it those with the fewest packets are forgotten, and counted
    #[arg(long, value_name = "N", default_value_t = 32_768, help_heading = "Running", value_parser = at_least_64())]
    conversations: usize,

    /// Megabytes for the beginnings of flows, from which their protocols are told
    #[arg(long, value_name = "MB", default_value_t = 128, help_heading = "Running",
        value_parser = clap::value_parser!(u32).range(1..=65_536))]
    prefixes: u32,

    /// The most name lookups remembered
    #[arg(long, value_name = "N", default_value_t = 262_144, help_heading = "Running", value_parser = at_least_64())]
    names: usize,

    /// The most addresses remembered as heard; beyond it those with the fewest packets are forgotten
    #[arg(long, value_name = "N", default_value_t = 131_072, help_heading = "Running", value_parser = at_least_64())]
    addresses: usize,
}

const EXAMPLES: &str = "\
Examples:
  spanaudit watch -i eth1 --site plant-7.toml
  spanaudit watch -i eth1 -i eth2 --site plant-7.toml --state /var/lib/spanaudit \\
      --events /var/log/spanaudit/events.jsonl --events syslog+tcp://10.0.0.5:601?format=cef \\
      --report /var/lib/spanaudit/report.json --format json --report-every 1h

Exit status:
  0 compliant, 1 findings, 2 could not run, 3 inconclusive";

/// Watches.
pub fn run(arguments: Arguments) -> Result<Exit, Problem> {
    let site = arguments.site.read()?;
    let format = FORMATS.iter().copied().find(|format| format.name() == arguments.format);
    let screen = Screen::new(arguments.events.is_empty());
    let controls = controls()?;
    let (mut sources, mut opened) = arguments.open()?;
    // Everything from here on is opened as the user that the watch runs as, so that it can be opened again.
    let outlets = arguments.outlets()?;
    arguments.try_folders()?;
    let store = arguments.store()?;
    let http = arguments.bind()?;
    opened.lines.extend(arguments.places());
    opened.lines.extend(arguments.confine(&opened.captures)?);
    if arguments.check {
        opened.lines.iter().for_each(|line| screen.line(line));
        return Ok(Exit::Compliant);
    }
    let clock: Arc<dyn Clock> = Arc::new(watch::Monotonic::start());
    let sinks: Vec<watch::Sink> = outlets.into_iter().map(watch::Sink::start).collect();
    let board = Arc::new(watch::Board::new(
        Arc::clone(&clock),
        sinks.iter().map(|sink| (sink.name().to_owned(), sink.counts())).collect(),
    ));
    let setup = watch::Setup {
        audit: audit::Options { strict: arguments.strict, workers: Some(NonZeroUsize::MIN), last: false },
        silence: arguments.silence,
        keep: arguments.keep,
        sinks,
        archive: arguments
            .report
            .as_ref()
            .zip(format)
            .map(|(path, format)| watch::Archive::new(path.clone(), format, Style::default())),
        evidence: arguments.evidence.clone(),
        store,
        words: words::protocols(),
        hear: screen.ear(),
        site,
    };
    let plan = arguments.plan(&setup.site);
    let mut alone = if sources.len() == 1 { sources.pop() } else { None };
    let feed = match &mut alone {
        Some(source) => watch::Feed::Source(&mut **source),
        None => watch::Feed::Rings(sources),
    };
    let desk = watch::Desk::new(setup, Arc::clone(&board));
    if let Some(http) = &http {
        http.serve(&board, &controls.stop);
    }
    let notifier = watch::Notifier::ready();
    let mut around = Around { arguments: &arguments, screen: screen.clone(), notifier };
    let report = watch::watch(feed, &plan, &*clock, &controls, desk, &board, &mut around);
    screen.close();
    around.notifier.stopping();
    let report = report?;
    if arguments.report.is_none() && screen.is_free_for_a_report() {
        let told = Output::stdout();
        told.write(|style, out| format.map_or(Ok(()), |format| format.write(&report, style, out)))?;
    }
    if let Some(stop) = report.inputs.iter().find_map(|input| input.stopped.clone()) {
        return Err(Problem::new(
            format!("{}; what came before is in the report", stop.why),
            "a supervisor such as systemd starts it again (Restart=on-failure)",
        ));
    }
    Ok(report.conclusion.into())
}

impl Arguments {
    fn interfaces(&self) -> Vec<&str> {
        self.interface.iter().map(String::as_str).collect()
    }

    /// Opens what is listened to, then becomes the user that the watch runs as.
    fn open(&self) -> Result<(Vec<pipeline::Ring>, Opened), Problem> {
        if !self.read.is_empty() {
            let options = capture::Options { filter: self.filter.clone(), ..capture::Options::default() };
            return Ok((vec![Box::new(capture::open(&self.read, &options)?)], Opened::default()));
        }
        let options: Vec<_> = self
            .interface
            .iter()
            .map(|interface| capture::LiveOptions {
                interface: interface.clone(),
                filter: self.filter.clone(),
                snaplen: self.snaplen,
                buffer: self.buffer.saturating_mul(1 << 20),
                promiscuous: !self.no_promiscuous,
                stamps: capture::Stamps::ALL
                    .into_iter()
                    .find(|stamps| stamps.name() == self.timestamps)
                    .unwrap_or_default(),
                count: None,
                // The loop itself ends on a signal, so that what waits in the ring is still read.
                patient: true,
                ..capture::LiveOptions::default()
            })
            .collect();
        if let Some(twice) = (1..)
            .zip(&self.interface)
            .find_map(|(at, name)| self.interface.get(at..)?.contains(name).then_some(name))
        {
            return Err(Problem::new(
                format!("-i {twice} is given twice"),
                "each of its packets would count as a copy of itself",
            ));
        }
        let groups = capture::open_rings(&options, self.threads, pipeline::LIVE_SHARDS)?;
        let mut lines = groups.first().map(capture::LiveGroup::about).unwrap_or_default();
        if self.threads > 1 {
            lines.push(format!("rings: {} of each interface, a thread each", self.threads));
        }
        let user = watch::drop_privileges(self.user.as_deref(), self.stay_root).map_err(|why| {
            Problem::new(why, "--user NAME names an unprivileged user to become, --stay-root stays root")
        })?;
        lines.push(match self.stay_root {
            true => format!("user: {user}, with all capabilities, as --stay-root says"),
            false => format!("user: {user}, no capabilities, no new privileges"),
        });
        let captures = groups.iter().flat_map(capture::LiveGroup::descriptors).collect();
        let rings = groups.into_iter().map(|group| Box::new(group) as pipeline::Ring).collect();
        Ok((rings, Opened { lines, captures }))
    }

    /// Gives up what the watch has no use for. A capture that is only read needs no rights to begin with.
    fn confine(&self, captures: &[i32]) -> Result<Vec<String>, Problem> {
        if captures.is_empty() {
            return Ok(Vec::new());
        }
        let folder = places::folder;
        let mut needs = watch::Needs { captures: captures.to_vec(), ..watch::Needs::default() };
        needs.read.extend(self.site.file().iter().map(|file| folder(file)));
        needs.read.extend(self.site.ruleset.iter().map(PathBuf::from));
        needs.write.extend(self.state.clone());
        needs.write.extend(self.evidence.clone());
        needs.write.extend(self.report.iter().map(|file| folder(file)));
        for to in self.destinations() {
            match to.contains("://") {
                true => needs.network = true,
                false if to != "-" => needs.write.push(folder(to.as_ref())),
                false => {}
            }
        }
        needs.network |= matches!(self.http, Some(watch::Listen::Loopback(_)));
        let told = watch::confine(&needs);
        told.map_err(|why| Problem::new(why, "the kernel has to have seccomp (CONFIG_SECCOMP_FILTER)"))
    }

    fn plan(&self, site: &Site) -> watch::Plan {
        let mut options = pipeline::Options {
            cells: site::cells(site, &self.interfaces()),
            // Those that were more than a vain try have the whole room.
            conversations: self.conversations / pipeline::ANSWERED,
            // Beyond it each keeps its first and its last: three for each are the most there can be.
            records: self.conversations,
            prefix_bytes: (self.prefixes as usize) << 20,
            hosts: self.addresses,
            recent_bytes: (self.recent as usize) << 20,
            ..pipeline::Options::default()
        };
        options.limits.flows = self.flows;
        watch::Plan {
            options,
            retention: Retention { keep: self.keep, lookups: self.names, conversations: self.conversations },
            pause: self.every,
            duration: self.duration,
            report_every: self.report_every,
        }
    }
}

/// What was opened while there were the rights to.
#[derive(Debug, Default)]
struct Opened {
    /// How the watch runs, in words.
    lines: Vec<String>,
    captures: Vec<i32>,
}

/// What goes on around the loop.
struct Around<'a> {
    arguments: &'a Arguments,
    screen: Screen,
    notifier: watch::Notifier,
}

impl watch::Around for Around<'_> {
    fn reload(&mut self) -> Result<(Site, CellMap), String> {
        let site = self.arguments.site.read().map_err(|problem| {
            let detail = problem.detail.trim_end();
            if detail.is_empty() { problem.message } else { format!("{}\n{detail}", problem.message) }
        })?;
        let cells = site::cells(&site, &self.arguments.interfaces());
        Ok((site, cells))
    }

    fn beat(&mut self, board: &watch::Board) {
        self.screen.status(board);
        self.notifier.beat(board);
    }
}

/// Signals, which only set flags. A second one to end ends at once.
fn controls() -> Result<watch::Controls, Problem> {
    let controls = watch::Controls::default();
    let caught = |error: std::io::Error| Problem::new(format!("signals can't be caught: {error}"), "");
    for signal in [SIGINT, SIGTERM] {
        // The shutdown comes first in the list of what a signal does, so that it sees whether an earlier one has set the flag.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&controls.stop))
            .and_then(|_| flag::register(signal, Arc::clone(&controls.stop)))
            .map_err(caught)?;
    }
    flag::register(SIGHUP, Arc::clone(&controls.reload)).map_err(caught)?;
    flag::register(SIGUSR1, Arc::clone(&controls.report)).map_err(caught)?;
    Ok(controls)
}

/// Each of the shards has its share of a bound, of one at least.
fn at_least_64() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u64).range(64..).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

fn stamps() -> PossibleValuesParser {
    PossibleValuesParser::new(capture::Stamps::ALL.map(|stamps| PossibleValue::new(stamps.name())))
}

fn formats() -> PossibleValuesParser {
    PossibleValuesParser::new(
        FORMATS.iter().map(|format: &&dyn Format| PossibleValue::new(format.name()).help(format.about())),
    )
}
