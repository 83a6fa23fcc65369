//! The records that programs put into the ring `RECORDS`: one for each sample, and one for each distinct stack at its first
//! sight in an epoch. A stack's contents always stand before the first sample that names them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::frame::RawFrame;
use crate::limits::{COMM_LEN, MAX_FRAMES};

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
    /// Zero.
    pub reserved: [u8; 6],
    /// The thread's name, padded with NULs.
    pub comm: [u8; COMM_LEN],
}

const _: () = assert!(size_of::<SampleRecord>() == 80);

/// A distinct stack's frames: kernel frames before user frames, leaf first in each.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StackRecord {
    /// [`RecordKind::Stack`].
    pub record_kind: u32,
    /// How many of `frames` count.
    pub n_frames: u32,
    /// The name that samples use.
    pub stack_hash: u64,
    /// Only the first `n_frames` travel.
    pub frames: [RawFrame; MAX_FRAMES],
}

/// Bytes of a [`StackRecord`] before its frames.
pub const STACK_HEADER_LEN: usize = size_of::<StackRecord>() - MAX_FRAMES * size_of::<RawFrame>();
const _: () = assert!(STACK_HEADER_LEN == 16);
