//! The one list of reasons: how walking a stack ended, and why something was lost.

/// How the walk of a sample's user stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum UnwindOutcome {
    /// The walk reached the outermost frame.
    Complete = 0,
    /// A kernel thread: there is no user stack.
    KernelThread = 1,
    /// The stack is deeper than the frames that are kept.
    Truncated = 2,
    /// The memory that holds the next frame could not be read (not resident, or not mapped).
    StackFault = 3,
    /// The frame pointer does not lead up the stack: code without frame pointers, or a damaged stack.
    FramePointerInvalid = 4,
    /// The program that walks user stacks could not be entered.
    UnwinderMissing = 5,
}

impl UnwindOutcome {
    /// All outcomes in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Complete,
        Self::KernelThread,
        Self::Truncated,
        Self::StackFault,
        Self::FramePointerInvalid,
        Self::UnwinderMissing,
    ];

    /// The outcome of that number; `None` for a number that no outcome has.
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.get(usize::from(value)).copied()
    }

    /// The name in metrics and in visible frames.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::KernelThread => "kernel_thread",
            Self::Truncated => "truncated",
            Self::StackFault => "stack_fault",
            Self::FramePointerInvalid => "frame_pointer_invalid",
            Self::UnwinderMissing => "unwinder_missing",
        }
    }
}

/// Why a sample, or part of one, was lost. Counted where it happens; the name is the metric's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Loss {
    /// The ring had no room for a sample's record: the sample is lost.
    SampleRingFull = 0,
    /// The ring had no room for a stack's contents: they are sent with a later sample.
    StackRingFull = 1,
    /// `bpf_get_stack` gave an error: the sample has no kernel frames.
    KernelStackError = 2,
    /// A program's scratch memory was missing: the sample is lost.
    ScratchMissing = 3,
    /// A sample's stack contents never arrived: the sample is kept, its stack is unknown.
    StackMissing = 4,
    /// A record from the kernel could not be decoded.
    RecordMalformed = 5,
    /// The kernel dropped process events (`PERF_RECORD_LOST`): processes were scanned again.
    EventsLost = 6,
    /// The map of process mappings is full: that process's frames are resolved in user space.
    MappingsFull = 7,
    /// The memory bound of the agent was reached: the oldest profiles waiting to be sent were dropped.
    ExportQueueFull = 8,
    /// The server refused the profile for good (a 4xx answer).
    ExportRefused = 9,
}

impl Loss {
    /// All losses in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::SampleRingFull,
        Self::StackRingFull,
        Self::KernelStackError,
        Self::ScratchMissing,
        Self::StackMissing,
        Self::RecordMalformed,
        Self::EventsLost,
        Self::MappingsFull,
        Self::ExportQueueFull,
        Self::ExportRefused,
    ];

    /// The value of the label `reason`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SampleRingFull => "sample_ring_full",
            Self::StackRingFull => "stack_ring_full",
            Self::KernelStackError => "kernel_stack_error",
            Self::ScratchMissing => "scratch_missing",
            Self::StackMissing => "stack_missing",
            Self::RecordMalformed => "record_malformed",
            Self::EventsLost => "events_lost",
            Self::MappingsFull => "mappings_full",
            Self::ExportQueueFull => "export_queue_full",
            Self::ExportRefused => "export_refused",
        }
    }
}

/// Index in the map `COUNTERS` of the number of samples taken. The losses' numbers are the indices before it.
pub const CAPTURED_COUNTER: u32 = Loss::ALL.len() as u32;
/// Entries of the map `COUNTERS`.
pub const N_COUNTERS: u32 = CAPTURED_COUNTER + 1;
