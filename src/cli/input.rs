//! Where packets come from: the flags that name captures or an interface, and opening what they name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::capture;
use crate::capture::Source;
use crate::model::Observed;
use crate::pipeline;

use super::Problem;
use super::progress::Progress;
use super::say;

/// Flags of every command that reads packets.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
#[group(skip)]
pub struct Arguments {
    /// Captures: pcap or pcapng, plain or compressed, or folders of them (- is standard input)
    ///
    /// Several captures are merged by time; in which order they are named makes no difference. What a file is is told by its content,
    /// never by its name.
    #[arg(value_name = "CAPTURE", required_unless_present_any = ["read", "interface", "vantage"])]
    captures: Vec<PathBuf>,

    /// A capture, as tcpdump and tshark name it
    #[arg(short, long = "read", value_name = "FILE")]
    read: Vec<PathBuf>,

    /// A capture of one of several vantages, as in inside=a.pcap; two or more names
    ///
    /// For recordings from both sides of a firewall: a packet that was seen on the one side and never on the other was thrown away
    /// between them. Each vantage has its own losses and its own clock; a flow that is seen at several counts once.
    #[arg(long, value_name = "NAME=FILE", value_parser = vantage, conflicts_with_all = ["captures", "read", "interface", "count"])]
    vantage: Vec<(String, PathBuf)>,

    /// Listen to an interface instead; nothing is ever sent on it
    ///
    /// The report is written when the count or the duration is reached, or on Ctrl-C.
    #[arg(short, long, value_name = "IFACE", conflicts_with_all = ["captures", "read", "hash"])]
    interface: Option<String>,

    /// Stop after so many packets
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Stop listening after so long: 30s, 10min, 2h
    #[arg(long, value_name = "TIME", requires = "interface", value_parser = duration)]
    duration: Option<Duration>,

    /// Look only at packets that pass a BPF filter, as in 'not port 22'
    ///
    /// What the filter leaves out the audit cannot see: it counts as silence.
    #[arg(short, long, value_name = "BPF")]
    filter: Option<String>,

    /// Worker threads; the report is the same for any number [default: the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,

    /// Tell the SHA-256 of each capture in the report
    #[arg(long)]
    hash: bool,
}

/// More files passed over in a folder than this are told by their number.
const MOST_NOTES: usize = 8;
/// Workers for which one thread that does nothing else reads a plain recording out of the system's cache: it copies four gigabytes in a second, and
/// a packet of a hundred bytes is judged in a quarter of a microsecond. Fewer read it themselves, by turns.
const FED_BY_ONE: usize = 6;

impl Arguments {
    /// Every capture that is named, however it is named.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.captures
            .iter()
            .chain(&self.read)
            .chain(self.vantage.iter().map(|(_, path)| path))
            .cloned()
            .collect()
    }

    /// Whether several vantages are named.
    pub fn has_vantages(&self) -> bool {
        !self.vantage.is_empty()
    }

    /// Has the SHA-256 of each capture told, whether or not the flag for it was given.
    pub fn with_hash(&mut self) {
        self.hash = true;
    }

    /// The interface, where one is listened to.
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// Workers: as asked, else one a core.
    pub fn workers(&self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Opens what is named, reads it to its end, and says what of it could not be read.
    pub fn observe(&self, mut options: pipeline::Options) -> Result<Observed, Problem> {
        options.workers = self.workers();
        let (observed, notes) = if self.vantage.is_empty() {
            self.observe_one(&options)?
        } else {
            self.observe_several(&options)?
        };
        notes.iter().take(MOST_NOTES).for_each(|note| say::warning(note));
        if let Some(more) = notes.len().checked_sub(MOST_NOTES).filter(|more| *more > 0) {
            say::warning(&format!("{more} more files were passed over"));
        }
        for input in &observed.inputs {
            if let Some(stop) = &input.stopped {
                say::warning(&format!("{}: {}; what came before is in the report", input.name, stop.why));
            }
        }
        Ok(observed)
    }

    fn observe_one(&self, options: &pipeline::Options) -> Result<(Observed, Vec<String>), Problem> {
        let mut source = self.open()?;
        let progress = Progress::new();
        let observed = pipeline::run(&mut *source, options, &|read, total| progress.update(read, total))?;
        Ok((observed, source.notes()))
    }

    /// Reads each vantage by itself, in the order of their names whatever order they were named in, and joins them.
    fn observe_several(&self, options: &pipeline::Options) -> Result<(Observed, Vec<String>), Problem> {
        let mut files: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
        for (name, path) in &self.vantage {
            files.entry(name).or_default().push(path.clone());
        }
        if files.len() < 2 {
            return Err(Problem::new(
                "one vantage alone has nothing to be compared with",
                "name two: --vantage inside=a.pcap --vantage outside=b.pcap; or give the captures without names",
            ));
        }
        let mut seen = BTreeMap::new();
        for (name, path) in &self.vantage {
            let identity = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            if let Some(other) = seen.insert(identity, name).filter(|other| *other != name) {
                return Err(Problem::new(
                    format!("{} is named for two vantages, '{other}' and '{name}'", path.display()),
                    "a recording was made at one place; compared with itself it proves nothing",
                ));
            }
        }
        let reading = self.reading();
        let progress = Progress::new();
        let mut vantages = pipeline::Vantages::default();
        let mut notes = Vec::new();
        for (name, paths) in files {
            let mut source = capture::open(&paths, &reading)?;
            vantages.read(name, &mut source, options, &|read, total| progress.update(read, total))?;
            notes.extend(source.notes());
        }
        Ok((vantages.join(), notes))
    }

    /// How recordings are read.
    fn reading(&self) -> capture::Options {
        let readers = self.workers() / FED_BY_ONE;
        capture::Options { hash: self.hash, filter: self.filter.clone(), count: self.count, readers }
    }

    fn open(&self) -> Result<Box<dyn Source>, Problem> {
        match &self.interface {
            Some(interface) => self.listen(interface),
            None => Ok(Box::new(capture::open(&self.paths(), &self.reading())?)),
        }
    }

    /// Opens an interface. The first Ctrl-C ends the capture and lets the report be written; the second ends the program.
    #[cfg(feature = "live")]
    fn listen(&self, interface: &str) -> Result<Box<dyn Source>, Problem> {
        use std::sync::Arc;
        use std::sync::atomic::AtomicBool;
        use std::sync::atomic::Ordering;

        use signal_hook::consts::SIGINT;
        use signal_hook::consts::SIGTERM;
        use signal_hook::flag;

        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // The shutdown comes first in the list of what a signal does, so that it sees whether an earlier one has set the flag.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
                .and_then(|_| flag::register(signal, Arc::clone(&stop)))
                .map_err(|error| Problem::new(format!("signals can't be caught: {error}"), ""))?;
        }
        let options = capture::LiveOptions {
            interface: interface.to_owned(),
            filter: self.filter.clone(),
            count: self.count,
            stop: Arc::clone(&stop),
            ..capture::LiveOptions::default()
        };
        let live = capture::open_live(&options)?;
        if let Some(duration) = self.duration {
            std::thread::spawn(move || {
                std::thread::sleep(duration);
                stop.store(true, Ordering::Relaxed);
            });
        }
        say::note(&format!("listening on {interface}; Ctrl-C ends it and writes the report"));
        Ok(Box::new(live))
    }

    #[cfg(not(feature = "live"))]
    fn listen(&self, interface: &str) -> Result<Box<dyn Source>, Problem> {
        Err(Problem::new(
            format!("{interface}: this build cannot listen to interfaces"),
            "record with tcpdump -w FILE and read the file, or build with the feature 'live'",
        ))
    }
}

/// A vantage's name and one of its captures.
fn vantage(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() && file != "-" => {
            Ok((name.to_owned(), PathBuf::from(file)))
        }
        _ => Err("expected NAME=FILE, as in inside=a.pcap".into()),
    }
}

/// A length of time: a number and `s`, `min`, `h` or `d`; seconds where no unit is given.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit.trim() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("expected a number and s, min, h or d, as in 10min".into()),
    };
    let number: u64 =
        number.parse().map_err(|_| "expected a number and s, min, h or d, as in 10min".to_owned())?;
    match number.checked_mul(seconds) {
        Some(0) | None => Err("expected a length of time above zero that fits the clock".into()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, seconds) in
            [("30", 30), ("30s", 30), ("10min", 600), ("10 min", 600), ("2h", 7_200), ("1d", 86_400)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "s", "3 weeks", "-1s", "99999999999999999999", "18446744073709551615d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
