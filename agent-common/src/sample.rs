//! The records that programs put into the ring `RECORDS`: one for each sample, and one for each distinct stack at its first
//! sight in an epoch. A stack's contents always stand before the first sample that names them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::frame::RawFrame;
use crate::limits::{COMM_LEN, MAX_FRAMES, MAX_STACK_COPY};

/// What a record is: the first four bytes of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RecordKind {
    /// A [`SampleRecord`].
    Sample = 1,
    /// A [`StackRecord`], cut after its last frame.
    Stack = 2,
}

/// What a sample's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SampleType {
    /// Time on a CPU, in nanoseconds.
    OnCpu = 1,
}

impl SampleType {
    /// The type of that number; `None` for a number that no type has.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::OnCpu),
            _ => None,
        }
    }
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SampleRecord {
    /// [`RecordKind::Sample`].
    pub record_kind: u32,
    /// The CPU that was sampled.
    pub cpu: u32,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// The process (the kernel's tgid) in the host's pid namespace.
    pub pid: u32,
    /// The thread in the host's pid namespace.
    pub tid: u32,
    /// The cgroup v2 id; 0 where the kernel gives none.
    pub cgroup_id: u64,
    /// In the unit of `sample_type`.
    pub value: u64,
    /// Names the stack's contents; never 0.
    pub stack_hash: u64,
    /// Generation of the mapping list that the frames were found in; 0 when the kernel had none of this process.
    pub mapping_generation: u32,
    /// The epoch in which the stack's contents were sent.
    pub epoch: u32,
    /// A [`SampleType`].
    pub sample_type: u8,
    /// An [`crate::outcome::UnwindOutcome`].
    pub outcome: u8,
    /// 1 when the user stack has left as a [`StackCopy`] of this CPU and time, and the stack's contents are the kernel's.
    pub is_copied: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// The thread's name, padded with NULs.
    pub comm: [u8; COMM_LEN],
}

const _: () = assert!(size_of::<SampleRecord>() == 80);

/// A distinct stack's frames: kernel frames before user frames, leaf first in each. Of a user stack with more than
/// [`MAX_USER_FRAMES`] frames both ends are here: the first [`LEAF_FRAMES`], then a ring of the last [`ROOT_FRAMES`], in which
/// user frame `i` stands at `i % ROOT_FRAMES`.
///
/// [`MAX_USER_FRAMES`]: crate::limits::MAX_USER_FRAMES
/// [`LEAF_FRAMES`]: crate::limits::LEAF_FRAMES
/// [`ROOT_FRAMES`]: crate::limits::ROOT_FRAMES
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackRecord {
    /// [`RecordKind::Stack`].
    pub record_kind: u32,
    /// How many of `frames` count.
    pub n_frames: u32,
    /// The name that samples use.
    pub stack_hash: u64,
    /// How many of `frames` are the kernel's.
    pub n_kernel: u32,
    /// How many user frames were walked.
    pub n_walked: u32,
    /// Only the first `n_frames` travel.
    pub frames: [RawFrame; MAX_FRAMES],
}

/// Bytes of a [`StackRecord`] before its frames.
pub const STACK_HEADER_LEN: usize = size_of::<StackRecord>() - MAX_FRAMES * size_of::<RawFrame>();
const _: () = assert!(STACK_HEADER_LEN == 24);

/// A user stack to be walked in user space, because the process's mappings or an unwind table were not there yet. Leaves in
/// the ring `STACK_COPIES` before the sample that it belongs to leaves in `RECORDS`; `cpu` and `time_ns` are that sample's.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackCopy {
    /// The sample's time.
    pub time_ns: u64,
    /// The sample's CPU.
    pub cpu: u32,
    /// How many of `bytes` count.
    pub n_bytes: u32,
    /// Where the walk begins.
    pub registers: LeafRegisters,
    /// The memory from the stack pointer on; only the first `n_bytes` travel.
    pub bytes: [u8; MAX_STACK_COPY],
}

/// The registers of user space at the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LeafRegisters {
    /// By their DWARF numbers (System V ABI for `x86_64`, figure 3.36): rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15.
    pub general: [u64; 16],
    /// The instruction that was interrupted, or the one that made the system call.
    pub instruction_pointer: u64,
}

/// Bytes of a [`StackCopy`] before the copied memory.
pub const STACK_COPY_HEADER_LEN: usize = size_of::<StackCopy>() - MAX_STACK_COPY;
const _: () = assert!(STACK_COPY_HEADER_LEN == 16 + 17 * 8);
