//! Raw samples and stack contents in; interned stacks of (executable, offset) with counts, a window at a time, out.

mod resolve;
mod other;
mod interner;
mod counts;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use agent_common::limits::COMM_LEN;
use agent_common::outcome::UnwindOutcome;
pub use agent_common::sample::SampleType;

use crate::process::{Executable, Process};

pub use self::counts::Counts;
pub use self::interner::Stacks;

/// One frame after normalization. Addresses of callers point into the call instruction (return address minus one).
#[derive(Clone, Debug)]
pub enum Frame {
    /// Kernel text at an absolute address.
    Kernel { address: u64 },
    /// Code of a file at an offset in the file.
    Native { executable: Arc<Executable>, offset: u64 },
    /// Executable memory without a file (JIT code), by its absolute address in the process.
    Anonymous { address: u64 },
    /// Frames are missing here and why: shown as `[reason]`.
    Miss { reason: &'static str },
    /// So many frames of a deep stack were walked and not kept: shown as `[3 frames cut]`.
    Cut { n_frames: u64 },
}

/// A distinct stack. Frames are leaf first, kernel frames before user frames.
#[derive(Debug)]
pub struct Stack {
    /// Distinct within this run of the agent; the key for per-stack work.
    pub id: u64,
    /// Leaf first.
    pub frames: Box<[Frame]>,
    /// How the walk of the user part ended.
    pub outcome: UnwindOutcome,
}

/// Samples of one window that are equal in everything that labels are made of.
#[derive(Clone, Debug)]
pub struct CountedStack {
    /// Whose samples.
    pub process: Arc<Process>,
    /// The thread's name at the sample, NUL-padded.
    pub comm: [u8; COMM_LEN],
    /// The cgroup v2 id at the sample (`bpf_get_current_cgroup_id`); 0 when unknown.
    pub cgroup_id: u64,
    /// What `value` counts.
    pub sample_type: SampleType,
    /// The stack.
    pub stack: Arc<Stack>,
    /// Samples.
    pub n_samples: u64,
    /// Sum of the samples' values, in the unit of `sample_type`.
    pub value: u64,
}
