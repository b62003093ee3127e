//! Where a watch writes and answers: opened or tried before it begins, for what fails an hour later nobody sees.

use std::path::Path;
use std::path::PathBuf;

use nix::unistd::AccessFlags;

use crate::cli::Problem;
use crate::cli::screen::is_terminal;
use crate::watch;

use super::Arguments;

impl Arguments {
    pub(super) fn bind(&self) -> Result<Option<watch::Http>, Problem> {
        let bind = |listen: &watch::Listen| {
            watch::Http::bind(listen).map_err(|error| {
                Problem::new(format!("--http: {error}"), "is another watch using the address?")
            })
        };
        self.http.as_ref().map(bind).transpose()
    }

    /// Every place where events go.
    pub(super) fn outlets(&self) -> Result<Vec<Box<dyn watch::Outlet>>, Problem> {
        let mut outlets: Vec<Box<dyn watch::Outlet>> = Vec::new();
        for to in self.destinations() {
            if to == "-" {
                outlets.push(Box::new(watch::Stdout));
            } else if to.contains("://") {
                let address = to.parse::<watch::Address>().map_err(|why| {
                    Problem::new(format!("--events {to}: {why}"), "as in syslog://10.0.0.5:514")
                })?;
                outlets.push(Box::new(watch::Syslog::new(address, &host_name())));
            } else {
                let size = self.events_size.saturating_mul(1 << 20);
                let journal = watch::Journal::open(Path::new(&to), size, self.events_keep);
                outlets.push(Box::new(journal.map_err(|error| {
                    Problem::new(
                        format!("--events {to}: {error}"),
                        format!("name a file in a folder that exists and that {} may write to", user()),
                    )
                })?));
            }
        }
        Ok(outlets)
    }

    /// Where events go; where nobody says it and nobody looks on, to standard output.
    pub(super) fn destinations(&self) -> Vec<String> {
        if self.events.is_empty() && !is_terminal() {
            return vec!["-".to_owned()];
        }
        self.events.clone()
    }

    pub(super) fn store(&self) -> Result<Option<watch::Store>, Problem> {
        let open = |folder: &PathBuf| {
            watch::Store::open(folder, !self.check).map_err(|why| {
                let help = match self.check {
                    true => {
                        "A file that can't be read is moved aside by the watch, and begun anew".to_owned()
                    }
                    false => format!("May {} write there?", user()),
                };
                let help = format!("is another watch using it? {help}");
                Problem::new(format!("--state {}: {why}", folder.display()), help)
            })
        };
        self.state.as_ref().map(open).transpose()
    }

    /// Makes the folder of evidence, and finds out whether what is written later may be.
    pub(super) fn try_folders(&self) -> Result<(), Problem> {
        let refused = |what: &str, path: &Path, error: &dyn std::fmt::Display, help: &str| {
            Problem::new(format!("{what} {}: {error}", path.display()), help)
        };
        if let Some(path) = &self.evidence {
            std::fs::create_dir_all(path)
                .map_err(|error| refused("--evidence", path, &error, "name a folder that may be made"))?;
            may_write(path).map_err(|error| {
                refused("--evidence", path, &error, &format!("name a folder that {} may write to", user()))
            })?;
        }
        if let Some(path) = &self.report {
            // It is written beside its place and moved there.
            may_write(&folder(path)).map_err(|error| {
                let help = format!("name a file in a folder that exists and that {} may write to", user());
                refused("--report", path, &error, &help)
            })?;
        }
        Ok(())
    }

    /// The same in words.
    pub(super) fn places(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.destinations().iter().map(|to| format!("events: {to}")).collect();
        let mut say =
            |what: &str, place: Option<String>| lines.extend(place.map(|place| format!("{what}: {place}")));
        say("state", self.state.as_ref().map(|path| path.display().to_string()));
        say("report", self.report.as_ref().map(|path| path.display().to_string()));
        say("evidence", self.evidence.as_ref().map(|path| path.display().to_string()));
        say("http", self.http.as_ref().map(ToString::to_string));
        lines
    }
}

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn may_write(folder: &Path) -> std::io::Result<()> {
    Ok(nix::unistd::access(folder, AccessFlags::W_OK | AccessFlags::X_OK)?)
}

/// As whom the watch runs by now: one that root started has become another.
fn user() -> String {
    let id = nix::unistd::geteuid();
    let known = nix::unistd::User::from_uid(id).ok().flatten();
    known.map_or_else(|| format!("user {id}"), |user| format!("user '{}'", user.name))
}

/// This machine's name, as the kernel has it: nobody is asked.
fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}
