//! The system calls that the watch may make, once everything is open: an allow list, and what of the allowed is refused all the same (seccomp).
//!
//! What is on no list gets `ENOSYS`, so that a C library that tries a newer call falls back on the older one that it knows: whoever builds
//! with another one is not locked out by a number that nobody thought of. What is refused by its arguments gets `EPERM`. Nothing is killed: a
//! wrong guess here must not cost a plant its eyes, and an operation that is refused tells so where it is told of all its errors. What is
//! refused is noted in the kernel's log, but for what every C library tries each time that it starts a thread.

mod install;

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::SeccompAction;
use seccompiler::SeccompCmpArgLen;
use seccompiler::SeccompCmpOp;
use seccompiler::SeccompCondition;
use seccompiler::SeccompFilter;
use seccompiler::SeccompRule;

use install::install;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Failed = Box<dyn std::error::Error>;

/// Restricts this thread, and all that it starts. `captures` are the descriptors of the capture, `network` says that syslog or HTTP on a
/// loopback address need sockets. Returns how many calls are allowed.
pub fn restrict(captures: &[i32], network: bool) -> Result<usize, Failed> {
    let (mut allowed, refused) = (allowed()?, refused(captures, network)?);
    let count = allowed.len();
    // Of several filters the one that refuses decides (seccomp(2)), so that these stay refused though the list has them.
    let tried: Rules = TRIED.iter().map(|&call| (call, Vec::new())).collect();
    allowed.extend(tried.clone());
    let not_known = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let not_permitted = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    // The allow list comes last: it has no room for another filter.
    for (rules, otherwise, matched, noted) in [
        (tried, SeccompAction::Allow, not_known.clone(), false),
        (refused, SeccompAction::Allow, not_permitted, true),
        (allowed, not_known, SeccompAction::Allow, true),
    ] {
        let filter = SeccompFilter::new(rules, otherwise, matched, std::env::consts::ARCH.try_into()?)?;
        install(filter.try_into()?, noted)?;
    }
    Ok(count)
}

/// What is refused without a note: a C library tries it before the older call that it then takes.
const TRIED: &[i64] = &[libc::SYS_clone3];

/// Files: what is read, written, moved aside and locked.
const FILES: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
];
/// Memory, threads, time, and what a program asks of itself.
const SELF: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_clone,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];
/// Sockets: those that are open, the service manager's, and such as go to collectors.
const SOCKETS: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_ppoll,
];
/// What newer systems do by one of the calls above, and other C libraries still do by these.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_chmod,
    libc::SYS_accept,
    libc::SYS_poll,
    libc::SYS_time,
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[i64] = &[libc::SYS_newfstatat, libc::SYS_renameat, libc::SYS_accept];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: &[i64] = &[libc::SYS_accept];

/// Requests to devices: the window's size, whether a terminal is one, and what an interface is called, has for a number, and is up to.
#[allow(clippy::unnecessary_cast, reason = "other C libraries have them as int")]
const REQUESTS: &[u64] = &[
    libc::TCGETS as u64,
    libc::TIOCGWINSZ as u64,
    libc::FIONBIO as u64,
    libc::FIOCLEX as u64,
    libc::SIOCGIFNAME as u64,
    libc::SIOCGIFINDEX as u64,
    libc::SIOCGIFFLAGS as u64,
];
/// What a thread may say of itself: its name, and what its memory is called.
const OF_THREADS: &[u64] = &[libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, libc::PR_SET_VMA as u64];

/// Calls by which bytes leave through a descriptor, which is their first argument.
const SENDS: &[i64] = &[
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_connect,
];
/// Requests to make another descriptor for the same, on which bytes could leave.
const COPIES: &[i32] = &[libc::F_DUPFD, libc::F_DUPFD_CLOEXEC];

fn allowed() -> Result<Rules, Failed> {
    let mut rules: Rules =
        [FILES, SELF, SOCKETS, OLDER].into_iter().flatten().map(|&call| (call, Vec::new())).collect();
    let any = |argument: u8, values: &[u64]| {
        let rule = |&value: &u64| SeccompRule::new(vec![is(argument, value)?]);
        values.iter().map(rule).collect::<Result<Vec<_>, _>>()
    };
    rules.insert(libc::SYS_ioctl, any(1, REQUESTS)?);
    rules.insert(libc::SYS_prctl, any(0, OF_THREADS)?);
    Ok(rules)
}

/// What is refused though the call is allowed.
fn refused(captures: &[i32], network: bool) -> Result<Rules, Failed> {
    let mut rules = Rules::new();
    if !captures.is_empty() {
        for &call in SENDS {
            let of = |&capture: &i32| SeccompRule::new(vec![is(0, u64::from(capture.cast_unsigned()))?]);
            rules.insert(call, captures.iter().map(of).collect::<Result<_, _>>()?);
        }
        let copy = |(&capture, &request): (&i32, &i32)| {
            let conditions =
                [(0, capture), (1, request)].map(|(at, value)| is(at, u64::from(value.cast_unsigned())));
            SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
        };
        let copies = captures.iter().flat_map(|capture| COPIES.iter().map(move |request| (capture, request)));
        rules.insert(libc::SYS_fcntl, copies.map(copy).collect::<Result<_, _>>()?);
    }
    let mut families = vec![libc::AF_PACKET];
    if !network {
        families.extend([libc::AF_INET, libc::AF_INET6]);
    }
    let of = |family: i32| SeccompRule::new(vec![is(0, u64::from(family.cast_unsigned()))?]);
    rules.insert(libc::SYS_socket, families.into_iter().map(of).collect::<Result<_, _>>()?);
    // Memory that can be run is what code from outside needs.
    let runs = SeccompRule::new(vec![has(2, libc::PROT_EXEC as u64, libc::PROT_EXEC as u64)?])?;
    rules.insert(libc::SYS_mmap, vec![runs.clone()]);
    rules.insert(libc::SYS_mprotect, vec![runs]);
    // Threads are started, processes are not.
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![has(0, libc::CLONE_THREAD as u64, 0)?])?]);
    Ok(rules)
}

/// An argument, of which 32 bits count, that has this value.
fn is(argument: u8, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// An argument in which these bits have this value.
fn has(argument: u8, bits: u64, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(bits), value)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::io::Read;
    use std::io::Write;
    use std::net::TcpListener;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;
    use std::thread;

    use nix::sys::prctl;

    use super::*;

    /// Runs in a thread of its own, which alone is restricted.
    fn restricted(captures: Vec<i32>, network: bool, test: impl FnOnce() + Send + 'static) {
        let thread = thread::spawn(move || {
            prctl::set_no_new_privs().unwrap();
            restrict(&captures, network).unwrap();
            test();
        });
        thread.join().unwrap();
    }

    fn refusal<T>(done: io::Result<T>) -> Option<i32> {
        done.err().and_then(|error| error.raw_os_error())
    }

    #[test]
    fn sockets_are_those_that_the_configuration_needs() {
        restricted(Vec::new(), false, || {
            assert_eq!(refusal(UdpSocket::bind("127.0.0.1:0")), Some(libc::EPERM));
            assert_eq!(refusal(TcpListener::bind("[::1]:0")), Some(libc::EPERM));
            // The service manager's.
            UnixDatagram::unbound().unwrap();
        });
        restricted(Vec::new(), true, || {
            let there = UdpSocket::bind("127.0.0.1:0").unwrap();
            let here = UdpSocket::bind("127.0.0.1:0").unwrap();
            here.connect(there.local_addr().unwrap()).unwrap();
            assert_eq!(here.send(b"an event").unwrap(), 8);
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
            server.accept().unwrap().0.try_clone().unwrap();
            use nix::sys::socket::*;
            let packets = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None);
            assert_eq!(packets.err(), Some(nix::Error::EPERM));
        });
    }

    #[test]
    fn nothing_is_sent_on_a_capture_which_is_read_all_the_same() {
        let (capture, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let (other, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        restricted(vec![capture.as_raw_fd()], true, move || {
            (&peer).write_all(b"seen").unwrap();
            let mut seen = [0; 4];
            (&capture).read_exact(&mut seen).unwrap();
            assert_eq!(&seen, b"seen");
            assert_eq!(refusal((&capture).write(b"sent")), Some(libc::EPERM));
            assert_eq!(refusal(capture.try_clone()), Some(libc::EPERM));
            (&other).write_all(b"elsewhere").unwrap();
        });
    }

    #[test]
    fn files_and_threads_work_and_programs_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        restricted(Vec::new(), false, move || {
            fs::write(path.join("a"), "report").unwrap();
            fs::rename(path.join("a"), path.join("b")).unwrap();
            fs::create_dir_all(path.join("evidence/packets")).unwrap();
            assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
            fs::File::open(path.join("b")).unwrap().sync_all().unwrap();
            fs::remove_file(path.join("b")).unwrap();
            assert_eq!(thread::Builder::new().name("more".into()).spawn(|| 7).unwrap().join().unwrap(), 7);
            assert!(Command::new("/bin/true").status().is_err());
            let (runs, own) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: it asks for memory of its own anywhere, replaces nothing, and what comes back is not touched.
            #[allow(unsafe_code, reason = "mmap is unsafe because it can map over what is in use")]
            let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4096, runs, own, -1, 0) };
            assert_eq!(mapped, libc::MAP_FAILED);
            assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
        });
    }
}
