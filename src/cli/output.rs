//! Where reports go: a file that was proved writable before the long work, or standard output.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::BufWriter;
use std::io::IsTerminal;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::report::Style;

use super::Color;
use super::Problem;

/// Flags of every command that writes a report.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
#[group(skip)]
pub struct Arguments {
    /// Write the report to a file (- is standard output)
    ///
    /// That it can be written is made sure of before the capture is read.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Tell folded lists in full
    #[arg(short, long)]
    pub verbose: bool,

    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Color,
}

/// An output that stands ready.
pub struct Output {
    target: Target,
    style: Style,
}

enum Target {
    Stdout,
    File(Pending),
}

/// A file that is opened but not yet written. What it held before stays until the report is there.
struct Pending {
    file: File,
    path: PathBuf,
    /// Whether it is ours to remove if the report never comes.
    created: bool,
}

/// A terminal narrower or wider than this is not made use of: rows fall apart, or lines are too long to read.
const WIDTHS: std::ops::RangeInclusive<usize> = 60..=200;

impl Output {
    /// Opens the output that the flags name; `inputs` are what it must not overwrite.
    pub fn open(arguments: &Arguments, inputs: &[PathBuf]) -> Result<Self, Problem> {
        let choice = match arguments.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::AlwaysAnsi,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        let file = arguments.output.as_deref().filter(|path| *path != Path::new("-"));
        let color = match file {
            // A file has no terminal to ask.
            Some(_) => arguments.color == Color::Always,
            None => anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
        };
        let width = width(file.is_none() && io::stdout().is_terminal());
        let target = match file {
            Some(path) => Target::File(pending(path, inputs)?),
            None => Target::Stdout,
        };
        Ok(Self { target, style: Style { color, width, verbose: arguments.verbose, ..Style::default() } })
    }

    /// Standard output, as it is where no flag says otherwise.
    #[cfg(feature = "watch")]
    pub fn stdout() -> Self {
        let color = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let width = width(io::stdout().is_terminal());
        Self { target: Target::Stdout, style: Style { color, width, ..Style::default() } }
    }

    /// Writes the report. A reader that closes the pipe early is a normal end.
    pub fn write(self, tell: impl FnOnce(&Style, &mut dyn Write) -> io::Result<()>) -> Result<(), Problem> {
        let Self { target, style } = self;
        let (name, told) = match target {
            Target::Stdout => {
                ("standard output".to_owned(), tell_to(BufWriter::new(io::stdout().lock()), &style, tell))
            }
            Target::File(mut pending) => {
                pending.created = false;
                let name = pending.path.display().to_string();
                // Devices and pipes can't be cut to length, and need not be.
                let cut = match pending.file.metadata() {
                    Ok(about) if about.is_file() => pending.file.set_len(0),
                    _ => Ok(()),
                };
                (name, cut.and_then(|()| tell_to(BufWriter::new(&pending.file), &style, tell)))
            }
        };
        match told {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|error| {
                Problem::new(format!("{name}: the report could not be written: {error}"), "")
            }),
        }
    }
}

fn tell_to(
    mut out: impl Write,
    style: &Style,
    tell: impl FnOnce(&Style, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    tell(style, &mut out)?;
    out.flush()
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.created {
            // It is empty and nobody asked for an empty report; if it can't be removed it does no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn pending(path: &Path, inputs: &[PathBuf]) -> Result<Pending, Problem> {
    let same = |input: &PathBuf| match (std::fs::canonicalize(input), std::fs::canonicalize(path)) {
        (Ok(input), Ok(path)) => input == path,
        _ => false,
    };
    if inputs.iter().any(same) {
        return Err(Problem::new(
            format!("{}: the report would overwrite an input of this run", path.display()),
            "name another file after -o",
        ));
    }
    let created = !path.exists();
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    match opened {
        Ok(file) => Ok(Pending { file, path: path.to_owned(), created }),
        Err(error) => Err(Problem::new(
            format!("{}: the report can't be written there: {error}", path.display()),
            "nothing was read yet; name a file in a folder that exists and that you may write to",
        )),
    }
}

/// What `COLUMNS` says, else the terminal's width, else that of a page.
fn width(terminal: bool) -> usize {
    let wished = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let found = || match terminal {
        true => terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)),
        false => None,
    };
    wished.or_else(found).unwrap_or(Style::default().width).clamp(*WIDTHS.start(), *WIDTHS.end())
}
