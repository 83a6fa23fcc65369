//! The system calls that naming addresses needs; all others fail with `EPERM`.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// Needed whatever their arguments are. `readlink` is not among them: it would let blazesym look for debug files beside
/// the file as the agent's mount namespace has it, which another file may be.
const ALLOWED: &[libc::c_long] = &[
    // Packets and files.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_ppoll,
    // The copy of a file that may not be opened again.
    libc::SYS_memfd_create,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // The runtime: locks, hash seeds, clocks, signals, the end.
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Filters the calls of this process for the rest of its life.
pub(super) fn filter() -> Result<(), Error> {
    apply_filter(&program()?)
}

fn program() -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Memory never becomes code, and files are opened for reading only.
    for (call, argument, forbidden) in [
        (libc::SYS_mmap, 2, libc::PROT_EXEC),
        (libc::SYS_mprotect, 2, libc::PROT_EXEC),
        (libc::SYS_openat, 2, libc::O_ACCMODE | libc::O_CREAT),
    ] {
        let mask = SeccompCmpOp::MaskedEq(forbidden as u64);
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, mask, 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    // abort(3) and nothing else: a signal to the process itself.
    let own_pid = u64::from(std::process::id());
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own_pid)?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![condition])?]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(
        rules,
        refuse,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_filter_fits_what_the_kernel_takes() {
        let program = super::program().unwrap();
        assert!(program.len() < 4096, "{} instructions", program.len());
    }
}
