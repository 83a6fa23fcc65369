//! Distinct stacks of a window in; the same stacks with named frames out.
//!
//! The agent's side holds the rights and opens files; the worker's side (`worker`) has none and reads them.

pub mod wire;
pub mod channel;
pub mod notes;
mod names;
mod metrics;
mod cache;
mod backoff;
mod frames;
mod kernel_build_id;
mod opener;
mod content;
mod quota;
mod debug_files;
pub mod debuginfod;
mod child;
mod link;
mod known_file;
mod kernel_code;
mod symbolizer;
mod table_worker;
mod kernel_names;
mod file_names;
mod jit_names;
mod jvm;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_common::frame::FrameKind;

pub use self::kernel_code::KernelCode;
pub use self::metrics::{Metrics, Miss, MissLabel, Restart, RestartLabel};
pub use self::symbolizer::{SampledStack, Symbolizer};
pub use self::table_worker::TableWorker;
pub use self::wire::Demangle;

/// A function at a frame's address: the frame's own one, or one that was inlined into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Demangled name; `module+0x1234` for a miss. Never empty.
    pub name: Arc<str>,
    /// Source file, where debug information names it.
    pub file: Option<Arc<str>>,
    /// Line in `file`; 0 when unknown.
    pub line: u32,
}

/// What a frame's code belongs to: a pprof mapping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Module {
    /// Path, `[kernel.kallsyms]`, `[vdso]`, `[jit]` or `[unknown]`.
    pub path: Arc<str>,
    /// GNU build id in lower-case hex (else Go's build id); empty when there is none.
    pub build_id: Arc<str>,
}

/// A named frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SymbolizedFrame {
    /// What kind of code.
    pub kind: FrameKind,
    /// Whose code.
    pub module: Arc<Module>,
    /// The address that addr2line takes (virtual address as in the ELF file); absolute for kernel and JIT code.
    pub address: u64,
    /// Innermost first: functions inlined at the address, then the function that really stands there. Never empty.
    pub functions: Arc<[Function]>,
    /// Why there is no real name, when there is none: the metric's `reason`.
    pub miss: Option<&'static str>,
}

/// A stack with named frames, leaf first.
#[derive(Clone, Debug)]
pub struct SymbolizedStack {
    /// The stack's id (`Stack::id`).
    pub id: u64,
    /// Leaf first.
    pub frames: Vec<Arc<SymbolizedFrame>>,
}

/// What can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program that answers the argument `worker`: the agent's own, but in tests.
    pub worker_path: PathBuf,
    /// Whom the worker becomes when the agent is root.
    pub worker_uid: u32,
    /// The group of `worker_uid`.
    pub worker_gid: u32,
    /// Resident memory of the worker above which it drops parsed files, the least recently used first.
    pub worker_resident_bytes: u64,
    /// Heap of the worker above which its allocations fail, which costs it its life and the file its names.
    pub worker_heap_bytes: u64,
    /// Debug sections that are compressed and larger than this together are not read: the file's symbols are.
    pub debug_bytes: u64,
    /// What the worker may use of one CPU; `None` when somebody waits for the names.
    pub cpu_percent: Option<u32>,
    /// How C++ names are written.
    pub demangle: Demangle,
    /// Whether `HotSpot` JVMs are asked to write a perf map.
    pub jvm_perf_map: bool,
    /// Without a sign of life for so long, the worker is killed.
    pub deadline: Duration,
    /// What all symbols of one window may take.
    pub call_budget: Duration,
    /// How long a file is left alone when the worker was first lost over it; doubles each time.
    pub block_time: Duration,
    /// Named frames that are kept between windows.
    pub cache_entries: usize,
    /// Servers that debug files are fetched from.
    pub debuginfod: debuginfod::Config,
    /// Where the kernel's symbols are.
    pub kallsyms_path: PathBuf,
    /// The kernel's symbols are read again after this, when a module or a BPF program is asked for.
    pub kallsyms_age: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            worker_path: PathBuf::from("/proc/self/exe"),
            worker_uid: 65534,
            worker_gid: 65534,
            worker_resident_bytes: 16 << 20,
            worker_heap_bytes: 512 << 20,
            debug_bytes: 96 << 20,
            cpu_percent: Some(20),
            demangle: Demangle::Full,
            jvm_perf_map: false,
            deadline: Duration::from_secs(2),
            call_budget: Duration::from_secs(8),
            block_time: Duration::from_secs(30),
            cache_entries: 32 * 1024,
            debuginfod: debuginfod::Config::default(),
            kallsyms_path: PathBuf::from("/proc/kallsyms"),
            kallsyms_age: Duration::from_mins(1),
        }
    }
}

/// Why there can be no symbols at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program that shall be the worker is not there.
    #[error("cannot find the symbol worker's program {path}: is /proc mounted?")]
    WorkerMissing { path: PathBuf },
    /// Debug files cannot be fetched as configured.
    #[error(transparent)]
    Debuginfod(#[from] debuginfod::Error),
}
