//! Least privilege: what the watch gives up once its interfaces are open. The order matters: first the user, then every capability, then the
//! files (Landlock), then the system calls (seccomp), all before any thread is started.

use std::path::PathBuf;

use caps::CapSet;
use landlock::ABI;
use landlock::Access;
use landlock::AccessFs;
use landlock::Ruleset;
use landlock::RulesetAttr;
use landlock::RulesetCreatedAttr;
use landlock::RulesetStatus;
use landlock::path_beneath_rules;
use nix::sys::prctl;
use nix::unistd;
use nix::unistd::User;

use super::calls;

/// Users tried where none is named: the watch's own, then the one of nobody.
const USERS: [&str; 2] = ["spanaudit", "nobody"];
/// The Landlock version asked for; older kernels enforce what they know of it.
const LANDLOCK: ABI = ABI::V3;

/// What the watch still needs.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Files and folders that are read.
    pub read: Vec<PathBuf>,
    /// Folders that are written in.
    pub write: Vec<PathBuf>,
    /// Descriptors of the capture: nothing may be sent on them.
    pub captures: Vec<i32>,
    /// Whether anything is sent over the network: syslog, or HTTP on a loopback address.
    pub network: bool,
}

/// Becomes an unprivileged user and drops every capability. Says who the watch is now; the error says what to do.
pub fn drop_privileges(user: Option<&str>, stay_root: bool) -> Result<String, String> {
    let told = if unistd::geteuid().is_root() && !stay_root {
        become_user(user)?
    } else {
        let name = User::from_uid(unistd::geteuid()).ok().flatten().map(|user| user.name);
        name.unwrap_or_else(|| unistd::geteuid().to_string())
    };
    if !stay_root {
        // The ambient set is unknown to kernels before 4.3, which then have none.
        let _ = caps::clear(None, CapSet::Ambient);
        for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
            caps::clear(None, set).map_err(|error| format!("capabilities can't be dropped: {error}"))?;
        }
    }
    prctl::set_no_new_privs().map_err(|error| format!("privileges can't be ruled out: {error}"))?;
    Ok(told)
}

fn become_user(wanted: Option<&str>) -> Result<String, String> {
    let known = |name: &str| User::from_name(name).ok().flatten();
    let user = match wanted {
        Some(name) => known(name).ok_or_else(|| format!("there is no user '{name}'"))?,
        None => USERS
            .iter()
            .find_map(|name| known(name))
            .ok_or("there is no user 'spanaudit' or 'nobody' to become")?,
    };
    if user.uid.is_root() {
        return Err("that user is root itself; --stay-root says that this is meant".to_owned());
    }
    let failed = |error: nix::Error| format!("can't become user '{}': {error}", user.name);
    // While there still is the right to: nothing started from here can ever gain a capability.
    let _ = caps::clear(None, CapSet::Bounding);
    unistd::setgroups(&[user.gid]).map_err(failed)?;
    unistd::setresgid(user.gid, user.gid, user.gid).map_err(failed)?;
    unistd::setresuid(user.uid, user.uid, user.uid).map_err(failed)?;
    if unistd::setuid(unistd::Uid::from_raw(0)).is_ok() {
        return Err("root was given up and could be taken back".to_owned());
    }
    Ok(user.name)
}

/// Gives up files and system calls that the watch has no use for. Says what is in force, a line each.
pub fn confine(needs: &Needs) -> Result<Vec<String>, String> {
    let mut told = Vec::new();
    told.push(match files(needs) {
        Ok(RulesetStatus::FullyEnforced) => "files: confined by Landlock".to_owned(),
        Ok(RulesetStatus::PartiallyEnforced) => {
            "files: confined by Landlock as far as this kernel can".to_owned()
        }
        Ok(RulesetStatus::NotEnforced) => "files: not confined, this kernel has no Landlock".to_owned(),
        Err(error) => format!("files: not confined: {error}"),
    });
    let allowed = calls::restrict(&needs.captures, needs.network)
        .map_err(|error| format!("the system call filter can't be set: {error}"))?;
    told.push(format!("system calls: {allowed} allowed; no programs, no executable memory"));
    let network = if needs.network { "" } else { ", no network" };
    told.push(format!("system calls: no new packet sockets, nothing sent on a capture{network}"));
    Ok(told)
}

fn files(needs: &Needs) -> Result<RulesetStatus, landlock::RulesetError> {
    // Interfaces, own memory and randomness are read as long as the watch lives.
    let read = needs.read.iter().cloned().chain(["/sys", "/proc/self", "/dev/urandom"].map(PathBuf::from));
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(read, AccessFs::from_read(LANDLOCK) & !AccessFs::Execute))?
        .add_rules(path_beneath_rules(&needs.write, AccessFs::from_all(LANDLOCK) & !AccessFs::Execute))?
        .restrict_self()?;
    Ok(status.ruleset)
}
