//! The maps, and the constants that user space sets before the programs are loaded. Sizes here are placeholders of a
//! small machine: user space sets each from the machine it runs on.
#![expect(
    unsafe_code,
    reason = "maps hand out pointers; constants set at load must be read volatile"
)]

use agent_common::limits::{MAX_KERNEL_FRAMES, MAX_USER_FRAMES};
use agent_common::mapping::{ChunkKey, MappingChunk, ProcessMappings};
use agent_common::outcome::N_COUNTERS;
use agent_common::sample::{SampleRecord, StackRecord};
use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf};

/// Slot of [`PROGRAMS`] with the program that walks user stacks.
pub(crate) const USER_STACK_SLOT: u32 = 0;

/// Records on their way to user space.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Which stacks' contents have left in this epoch: a direct-mapped cache of marks by hash. A stack that another pushes out
/// is sent again, so that it can never be full.
#[map]
pub(crate) static SEEN_STACKS: Array<u64> = Array::with_max_entries(1 << 14, 0);

/// One number that user space raises at each window.
#[map]
pub(crate) static EPOCH: Array<u32> = Array::with_max_entries(1, 0);

/// pid -> its list of mappings.
#[map]
pub(crate) static PROCESSES: HashMap<u32, ProcessMappings> = HashMap::with_max_entries(1024, 0);

/// The lists' chunks.
#[map]
pub(crate) static MAPPINGS: HashMap<ChunkKey, MappingChunk> = HashMap::with_max_entries(2048, 0);

/// Losses by reason, then samples taken.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(N_COUNTERS, 0);

/// Programs that are entered by tail call.
#[map]
pub(crate) static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(8, 0);

/// What a sample is built in.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// One sample while it is built. Lives in a map: the BPF stack is 512 bytes, and numbers that come out of memory are
/// unknown to the verifier, which keeps its states few.
#[repr(C)]
pub(crate) struct Scratch {
    /// The record of the sample.
    pub(crate) sample: SampleRecord,
    /// Hash over the frames so far.
    pub(crate) hash: u64,
    /// User frames found.
    pub(crate) n_user: u64,
    /// Where the user stack is.
    pub(crate) stack_pointer: u64,
    /// Where the next frame record is.
    pub(crate) frame_pointer: u64,
    /// 1 when there is a user stack.
    pub(crate) has_user_stack: u64,
    /// The mapping that held the last frame: start, end, file offset, executable.
    pub(crate) last_start: u64,
    pub(crate) last_end: u64,
    pub(crate) last_file_offset: u64,
    pub(crate) last_executable: u64,
    /// Absolute addresses of the user frames, leaf first.
    pub(crate) user: [u64; MAX_USER_FRAMES],
    /// Absolute addresses of the kernel frames, leaf first.
    pub(crate) kernel: [u64; MAX_KERNEL_FRAMES + 1],
    /// The record of the stack.
    pub(crate) stack: StackRecord,
}

/// This CPU's scratch memory.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    let pointer = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the element is this CPU's, it lives as long as the program, and sampling programs do not nest on a CPU.
    Some(unsafe { &mut *pointer })
}

/// The mapping list of a process, if user space has given one.
#[inline(always)]
pub(crate) fn process(pid: u32) -> Option<&'static ProcessMappings> {
    // SAFETY: the kernel may reuse the entry while it is read; a list's chunks bear its generation, so that a torn entry
    // finds nothing.
    unsafe { PROCESSES.get(pid) }
}

/// A chunk of a mapping list.
#[inline(always)]
pub(crate) fn chunk(key: ChunkKey) -> Option<&'static MappingChunk> {
    // SAFETY: as above; the reader compares the generation after reading.
    unsafe { MAPPINGS.get(key) }
}

/// Secret start of all stack hashes.
#[unsafe(no_mangle)]
pub(crate) static HASH_SEED: Global<u64> = Global::new(0);

/// Entries of [`SEEN_STACKS`], a power of two, less one.
#[unsafe(no_mangle)]
pub(crate) static SEEN_MASK: Global<u32> = Global::new((1 << 14) - 1);

/// Nanoseconds that one sample stands for.
#[unsafe(no_mangle)]
pub(crate) static PERIOD_NS: Global<u64> = Global::new(0);

/// Unread bytes of [`RECORDS`] from which on user space is woken.
#[unsafe(no_mangle)]
pub(crate) static WAKEUP_BYTES: Global<u64> = Global::new(128 * 1024);

/// Where `task_struct` has `stack`; 0 where the kernel has the helper `bpf_task_pt_regs`.
#[unsafe(no_mangle)]
pub(crate) static TASK_STACK_OFFSET: Global<u64> = Global::new(0);

/// The kernel gives some helpers only to programs under the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
