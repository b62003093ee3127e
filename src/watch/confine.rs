//! Least privilege: what the watch gives up once its interfaces are open. The order matters: first the user, then every capability, then the
//! files (Landlock), then the system calls (seccomp), all before any thread is started.

use std::collections::BTreeMap;
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
use nix::libc;
use nix::sys::prctl;
use nix::unistd;
use nix::unistd::User;
use seccompiler::BpfProgram;
use seccompiler::SeccompAction;
use seccompiler::SeccompCmpArgLen;
use seccompiler::SeccompCmpOp;
use seccompiler::SeccompCondition;
use seccompiler::SeccompFilter;
use seccompiler::SeccompRule;

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
    calls(needs).map_err(|error| format!("the system call filter can't be set: {error}"))?;
    told.push(format!(
        "system calls: no programs, no tracing, no mounts, no new packet sockets, nothing sent on a capture{}",
        if needs.network { "" } else { ", no network" }
    ));
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

/// System calls that nothing here ever needs, whatever a parser's bug would like.
const NEVER: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_personality,
];
/// Those by which bytes leave through a descriptor, which is their first argument.
const SENDS: &[i64] = &[
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendfile,
    libc::SYS_dup3,
];

fn calls(needs: &Needs) -> Result<(), Box<dyn std::error::Error>> {
    let first_is = |value: i32| {
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(value.cast_unsigned()))
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NEVER.iter().map(|&call| (call, Vec::new())).collect();
    if !needs.captures.is_empty() {
        for &call in SENDS {
            let of = needs.captures.iter().map(|&capture| first_is(capture)).collect::<Result<_, _>>()?;
            rules.insert(call, of);
        }
    }
    let mut families = vec![libc::AF_PACKET];
    if !needs.network {
        families.extend([libc::AF_INET, libc::AF_INET6]);
    }
    let families = families.into_iter().map(first_is).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_socket, families);
    // What is refused gets an error rather than the end of the watch: a wrong guess here must not cost a plant its eyes.
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}
