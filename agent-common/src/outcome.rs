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
    /// The table of an executable was not there yet when the sample was taken.
    TablePending = 6,
    /// A table's rule leads to no place above the frame: a damaged stack, or a wrong rule.
    CfaInvalid = 7,
    /// What should be a return address is none.
    ReturnAddressInvalid = 8,
    /// A table's rule needs a register that only a leaf has.
    RegisterUnknown = 9,
    /// The executable says how to step, but in a way that is not supported, and the frame pointer does not help.
    RuleUnsupported = 10,
}

impl UnwindOutcome {
    /// All outcomes in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Complete,
        Self::KernelThread,
        Self::Truncated,
        Self::StackFault,
        Self::FramePointerInvalid,
        Self::UnwinderMissing,
        Self::TablePending,
        Self::CfaInvalid,
        Self::ReturnAddressInvalid,
        Self::RegisterUnknown,
        Self::RuleUnsupported,
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
            Self::TablePending => "table_pending",
            Self::CfaInvalid => "cfa_invalid",
            Self::ReturnAddressInvalid => "return_address_invalid",
            Self::RegisterUnknown => "register_unknown",
            Self::RuleUnsupported => "rule_unsupported",
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
    /// A CPU has copied as many stacks in this second as it may: that stack is walked by what is known.
    StackCopyLimited = 10,
    /// The ring of copied stacks had no room: that stack is walked by what is known.
    StackCopyRingFull = 11,
    /// A copied stack never arrived: the sample is kept with its kernel frames.
    StackCopyMissing = 12,
}

impl Loss {
    /// All losses in the order of their numbers.
    pub const ALL: [Self; 13] = [
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
        Self::StackCopyLimited,
        Self::StackCopyRingFull,
        Self::StackCopyMissing,
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
            Self::StackCopyLimited => "stack_copy_limited",
            Self::StackCopyRingFull => "stack_copy_ring_full",
            Self::StackCopyMissing => "stack_copy_missing",
        }
    }
}

/// Index in the map `COUNTERS` of the number of samples taken. The losses' numbers are the indices before it.
pub const CAPTURED_COUNTER: u32 = Loss::ALL.len() as u32;
/// Entries of the map `COUNTERS`.
pub const N_COUNTERS: u32 = CAPTURED_COUNTER + 1;
