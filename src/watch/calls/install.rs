//! Puts a filter of system calls in force so that the kernel notes in its log what it refuses: a refusal can be counted there.

#![allow(unsafe_code, reason = "seccomp(2) takes a pointer; it is proved where it is made")]

use std::io;

use nix::libc;
use nix::sys::prctl;
use seccompiler::BpfProgram;

/// Restricts this thread, and all that it starts. `noted` says that what is refused is noted (SECCOMP_FILTER_FLAG_LOG, Linux 4.14; what an
/// older kernel refuses it does not note).
pub(super) fn install(program: BpfProgram, noted: bool) -> io::Result<()> {
    prctl::set_no_new_privs()?;
    let mut program: Vec<libc::sock_filter> = program
        .into_iter()
        .map(|one| libc::sock_filter { code: one.code, jt: one.jt, jf: one.jf, k: one.k })
        .collect();
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let whole = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let flags = if noted { libc::SECCOMP_FILTER_FLAG_LOG } else { 0 };
    for flags in [flags, 0] {
        // SAFETY: the pointer is to a whole `sock_fprog`, which points to as many instructions as it says; both outlive the call, and the
        // kernel copies them (seccomp(2)).
        let done = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const whole)
        };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if flags == 0 || error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
    }
    Ok(())
}
