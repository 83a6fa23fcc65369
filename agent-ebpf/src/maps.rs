//! The maps, and the constants that user space sets before the programs are loaded. Sizes here are placeholders of a
//! small machine: user space sets each from the machine it runs on.
#![expect(
    unsafe_code,
    reason = "maps hand out pointers; constants set at load must be read volatile"
)]

use agent_common::limits::{MAX_KERNEL_FRAMES, MAX_UNWIND_CHUNKS};
use agent_common::mapping::{ChunkKey, Mapping, MappingChunk, ProcessMappings};
use agent_common::outcome::N_COUNTERS;
use agent_common::sample::{LeafRegisters, SampleRecord, StackCopy, StackRecord};
use agent_common::table_slot::TableSlot;
use agent_common::unwind::registers::Registers;
use agent_common::unwind::table::Chunk;
use aya_ebpf::Global;
use aya_ebpf::btf_maps;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf};

/// Slot of [`PROGRAMS`] with the program that walks user stacks.
pub(crate) const USER_STACK_SLOT: u32 = 0;

/// Records on their way to user space.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Copies of user stacks on their way to user space. A ring of its own: copies are large, and must not push out samples.
#[map]
pub(crate) static STACK_COPIES: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

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

/// Where each executable's unwind table is.
#[map]
pub(crate) static TABLES: Array<TableSlot> = Array::with_max_entries(1024, 0);

/// What the tables consist of.
#[btf_map]
static UNWIND_CHUNKS: btf_maps::ArrayOfMaps<btf_maps::Array<Chunk, 1>, MAX_UNWIND_CHUNKS> =
    btf_maps::ArrayOfMaps::new();

/// Losses by reason, then samples taken.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(N_COUNTERS, 0);

/// Programs that are entered by tail call.
#[map]
pub(crate) static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(8, 0);

/// What a sample is built in.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Words of the stack window.
pub(crate) const WINDOW_WORDS: usize = 128;

/// What a copy of a user stack is made in.
#[map]
static COPY_SCRATCH: PerCpuArray<CopyScratch> = PerCpuArray::with_max_entries(1, 0);

/// One sample while it is built. Lives in a map: the BPF stack is 512 bytes, and numbers that come out of memory are
/// unknown to the verifier, which keeps its states few.
#[repr(C)]
pub(crate) struct Scratch {
    /// The record of the sample.
    pub(crate) sample: SampleRecord,
    /// Hash over the frames so far.
    pub(crate) hash: u64,
    /// The hash over the kernel's frames alone.
    pub(crate) kernel_hash: u64,
    /// 1 when there is a user stack.
    pub(crate) has_user_stack: u64,
    /// The registers that the walk begins with.
    pub(crate) leaf: LeafRegisters,
    /// The walk of the user stack.
    pub(crate) walk: Walk,
    /// Absolute addresses of the kernel frames, leaf first.
    pub(crate) kernel: [u64; MAX_KERNEL_FRAMES + 1],
    /// The record of the stack.
    pub(crate) stack: StackRecord,
}

/// One copy of a user stack while it is made. Apart from [`Scratch`]: an element of a per-CPU map has 32 KiB at most.
#[repr(C)]
pub(crate) struct CopyScratch {
    /// The second in which stacks were copied last, and how many in it.
    pub(crate) second: u64,
    pub(crate) n_copies: u64,
    /// When user space was woken for a copy.
    pub(crate) woken_ns: u64,
    /// The record.
    pub(crate) copy: StackCopy,
    /// Room behind it: the verifier takes the offset and the length of each part at their greatest.
    pub(crate) behind: [u8; 4096],
}

/// Where the walk of a user stack stands.
#[repr(C)]
pub(crate) struct Walk {
    /// The registers in the frame that is walked.
    pub(crate) registers: Registers,
    /// 1 when the process's mappings or a file's table were not there.
    pub(crate) is_missing: u64,
    /// 1 when the stack could not be copied: where something misses the walk goes by frame pointers.
    pub(crate) goes_on: u64,
    /// 1 when the walk has ended.
    pub(crate) has_ended: u64,
    /// The mapping that held the last frame.
    pub(crate) last: Mapping,
    /// The memory of the user stack from `window_start` on, `window_len` bytes.
    pub(crate) window_start: u64,
    pub(crate) window_len: u64,
    pub(crate) window: [u64; WINDOW_WORDS],
}

/// This CPU's scratch memory.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    let pointer = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the element is this CPU's, it lives as long as the program, and sampling programs do not nest on a CPU.
    Some(unsafe { &mut *pointer })
}

/// This CPU's scratch memory for a copy.
#[inline(always)]
pub(crate) fn copy_scratch() -> Option<&'static mut CopyScratch> {
    let pointer = COPY_SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as above.
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

/// A chunk of the unwind tables.
#[inline(always)]
pub(crate) fn unwind_chunk(number: u16) -> Option<&'static Chunk> {
    UNWIND_CHUNKS.get_value(u32::from(number), &0)
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

/// Unread bytes of [`STACK_COPIES`] from which on user space is woken.
#[unsafe(no_mangle)]
pub(crate) static COPY_WAKEUP_BYTES: Global<u64> = Global::new(128 * 1024);

/// Stacks that a CPU may copy in a second.
#[unsafe(no_mangle)]
pub(crate) static MAX_COPIES: Global<u64> = Global::new(0);

/// Where `task_struct` has `stack`; 0 where the kernel has the helper `bpf_task_pt_regs`.
#[unsafe(no_mangle)]
pub(crate) static TASK_STACK_OFFSET: Global<u64> = Global::new(0);

/// The kernel gives some helpers only to programs under the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
