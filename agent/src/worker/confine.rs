//! How the worker should be confined in; a process without rights out.
#![expect(
    unsafe_code,
    reason = "descriptors that were inherited by number can only be closed by number"
)]

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid, getuid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, no_new_privs,
    remove_capability_from_bounding_set, set_capabilities, set_name, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::symbolize::wire::Hello;

use super::system_calls;

/// Files that may be open at a time: three for each file that is held, and some more.
const MAX_OPEN_FILES: u64 = 256;
/// Address space: the largest file may be mapped next to the heap.
const MAX_ADDRESS_SPACE: u64 = 6 << 30;
/// Largest copy that is made of a file that cannot be opened again. Nothing else is ever written.
pub(super) const MAX_COPY: u64 = 512 << 20;

/// A right that could not be given up.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct Error {
    what: &'static str,
    source: Errno,
}

/// How well it went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confined {
    /// Runs as a user other than root.
    pub unprivileged: bool,
    /// System calls are filtered.
    pub filtered: bool,
}

/// Gives up everything that naming addresses does not need. The process has one thread, so what is said of the thread
/// holds for the process.
pub(super) fn confine(hello: Hello) -> Result<Confined, Error> {
    let failed = |what| move |source| Error { what, source };
    be_expendable();
    close_inherited().map_err(failed("close inherited descriptors"))?;
    for (resource, limit) in [
        (Resource::Nofile, MAX_OPEN_FILES),
        (Resource::As, MAX_ADDRESS_SPACE),
        (Resource::Data, hello.heap_bytes),
        (Resource::Fsize, MAX_COPY),
        (Resource::Core, 0),
        (Resource::Nproc, 0),
    ] {
        lower(resource, limit).map_err(failed("limit resources"))?;
    }
    // Without CAP_SETPCAP the set stays, which is nothing to a process that can gain no privileges.
    for capability in CapabilitySet::all().iter() {
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    clear_ambient_capability_set().ok();
    set_no_new_privs(true).map_err(failed("refuse new privileges"))?;
    let unprivileged = become_nobody(hello);
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(failed("drop capabilities"))?;
    // Both are reset when the user changes, so they come after it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("refuse to be traced"))?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("die with the agent"))?;
    check().map_err(failed("drop capabilities"))?;
    // A kernel without seccomp is no reason to have no names; the agent hears of it.
    let filtered = system_calls::filter().is_ok();
    Ok(Confined { unprivileged, filtered })
}

/// The first to go when memory is short, the last to run when the CPU is. None of it is vital.
fn be_expendable() {
    set_name(c"pilotlight").ok();
    std::fs::write("/proc/self/oom_score_adj", "1000").ok();
    rustix::process::nice(5).ok();
}

/// Closes all but the socket (standard input) and the two outputs, which lead to `/dev/null`. The agent's own descriptors
/// close by themselves on exec; these are what the agent inherited from whoever started it.
fn close_inherited() -> Result<(), Errno> {
    // SAFETY: the process has just begun; no code holds a descriptor above 2, so none is closed under anybody's hands.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS))
    }
}

fn lower(resource: Resource, limit: u64) -> Result<(), Errno> {
    let lowered = |old: Option<u64>| Some(old.map_or(limit, |old| old.min(limit)));
    let old = rustix::process::getrlimit(resource);
    setrlimit(resource, Rlimit { current: lowered(old.current), maximum: lowered(old.maximum) })
}

/// From root to the user of the greeting. Root without `CAP_SETUID` stays root, but without any capability.
fn become_nobody(hello: Hello) -> bool {
    if !getuid().is_root() {
        return true;
    }
    let (uid, gid) = (Uid::from_raw(hello.uid), Gid::from_raw(hello.gid));
    let changed = set_thread_groups(&[])
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(uid, uid, uid));
    changed.is_ok()
}

fn check() -> Result<(), Errno> {
    let left = capabilities(None)?;
    let is_free = (left.effective | left.permitted | left.inheritable).is_empty();
    if is_free && no_new_privs()? { Ok(()) } else { Err(Errno::PERM) }
}
