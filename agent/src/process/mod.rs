//! Side road: process events and `/proc` in; processes, their mappings and their executables out.

mod open;
mod opener;
mod file;
mod executable;
mod mappings;
mod root;
mod scan;
mod instance;
mod table;
#[cfg(test)]
mod opener_tests;
#[cfg(test)]
mod tests;

pub use self::executable::{Executable, ExecutableId, VDSO};
pub use self::file::{ExecutableFile, OpenFile, Opening};
pub use self::instance::Instance;
pub use self::mappings::Mappings;
pub use self::open::Unopened;
pub use self::opener::OpenerTally;
pub use self::root::Root;
pub use self::table::Processes;

use std::sync::Arc;
use std::sync::OnceLock;

/// Which process a sample belongs to: never the pid alone, because pids are reused and exec keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The process (the kernel's tgid), in the host's pid namespace.
    pub pid: u32,
    /// When it was forked: `starttime` of `/proc/PID/stat` in nanoseconds since boot, or the fork event's time.
    pub start_time_ns: u64,
    /// How many times it has called exec since the agent saw it first.
    pub exec_generation: u32,
}

/// A process between two execs. Shared by all samples of that time; what can change later is not in here.
#[derive(Debug)]
pub struct Process {
    /// Who it is.
    pub identity: Identity,
    /// Name of the main thread when the process was first seen or has exec'ed.
    pub comm: String,
    /// The main executable; `None` for kernel threads and processes that were gone before they could be looked at.
    pub executable: Option<Arc<Executable>>,
    /// Path of the main executable in the process's own mount namespace, without ` (deleted)`.
    pub exe_path: Option<String>,
    /// True for threads of the kernel (they have no memory of their own).
    pub is_kernel_thread: bool,
    /// Second word of the command line, kept for the agent's own processes only (`agent`, `server`, `worker`, …).
    pub own_command: Option<String>,
    /// The text of `/proc/PID/cgroup` at first sight, for the labels; unset when the process was gone.
    pub cgroup_file: OnceLock<String>,
    /// The way to its files; `None` when the process was gone, or the agent may not look.
    pub root: Option<Arc<Root>>,
    /// The file in which its JIT compiler writes down what it compiles (`jit-PID.dump`), which it has mapped to say so.
    pub jit_dump: Option<Arc<Executable>>,
}
