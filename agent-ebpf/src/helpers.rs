//! The kernel's helpers as safe functions.
#![expect(
    unsafe_code,
    reason = "helpers take raw pointers; each call says why its pointers are good"
)]

use core::ffi::c_void;
use core::mem::{MaybeUninit, offset_of};
use core::ptr::addr_of;

use agent_common::limits::{COMM_LEN, MAX_KERNEL_FRAMES, MAX_STACK_COPY};
use agent_common::mapping::ProcessMappings;
use agent_common::sample::{LeafRegisters, SampleRecord, StackCopy};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated;
use aya_ebpf::programs::PerfEventContext;

use crate::maps::{self, CopyScratch, Scratch, WINDOW_WORDS};

/// `BPF_RB_NO_WAKEUP`: user space reads on a timer.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`: the ring fills faster than the timer goes.
const FORCE_WAKEUP: u64 = 2;
/// `BPF_RB_AVAIL_DATA`: what `bpf_ringbuf_query` is asked for.
const AVAIL_DATA: u64 = 0;
/// Size of a kernel stack on `x86_64` (`THREAD_SIZE` without KASAN).
const KERNEL_STACK_LEN: u64 = 16 * 1024;
/// Bits of `cs` that hold the privilege level; 3 is user mode.
const PRIVILEGE_MASK: u64 = 3;

/// pid (upper half) and tid (lower half); 0 for idle tasks.
#[inline(always)]
pub(crate) fn pid_tgid() -> u64 {
    // SAFETY: takes nothing.
    unsafe { generated::bpf_get_current_pid_tgid() }
}

/// The CPU that this runs on.
#[inline(always)]
pub(crate) fn cpu() -> u32 {
    // SAFETY: takes nothing.
    unsafe { generated::bpf_get_smp_processor_id() }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
#[inline(always)]
pub(crate) fn monotonic_ns() -> u64 {
    // SAFETY: takes nothing.
    unsafe { generated::bpf_ktime_get_ns() }
}

/// The current task's cgroup v2 id.
#[inline(always)]
pub(crate) fn cgroup_id() -> u64 {
    // SAFETY: takes nothing.
    unsafe { generated::bpf_get_current_cgroup_id() }
}

/// The current thread's name.
#[inline(always)]
pub(crate) fn comm(comm: &mut [u8; COMM_LEN]) {
    // SAFETY: the pointer and the length are one array's. The helper fills it with NULs when it fails.
    unsafe { generated::bpf_get_current_comm(comm.as_mut_ptr().cast(), COMM_LEN as u32) };
}

/// The epoch that user space has set last.
#[inline(always)]
pub(crate) fn epoch() -> u32 {
    maps::EPOCH.get(0).copied().unwrap_or(0)
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(index: u32) {
    if let Some(counter) = maps::COUNTERS.get_ptr_mut(index) {
        store(counter, load(counter).wrapping_add(1));
    }
}

/// Goes on in another program; comes back only if that slot is empty.
#[inline(always)]
pub(crate) fn tail_call(ctx: &PerfEventContext, slot: u32) {
    // SAFETY: nothing here is to be dropped.
    unsafe { maps::PROGRAMS.tail_call(ctx, slot) };
}

/// Whether the sample hit user space.
#[inline(always)]
pub(crate) fn is_user_mode(ctx: &PerfEventContext) -> bool {
    is_user_privilege(register(interrupted(ctx), offset_of!(pt_regs, cs)))
}

/// Takes the registers that user space has, or had when it entered the kernel; false for kernel threads.
#[inline(always)]
pub(crate) fn user_registers(ctx: &PerfEventContext, to: &mut LeafRegisters) -> bool {
    if is_user_mode(ctx) {
        copy_registers(interrupted(ctx), to);
        return true;
    }
    let saved = MaybeUninit::<pt_regs>::uninit();
    let regs = if maps::TASK_STACK_OFFSET.load() == 0 {
        regs_by_helper()
    } else if let Some(regs) = regs_by_stack(&saved) {
        regs
    } else {
        return false;
    };
    // A kernel thread has no user registers: the place is zero.
    if !is_user_privilege(register(regs, offset_of!(pt_regs, cs))) {
        return false;
    }
    copy_registers(regs, to);
    // In a system call `orig_rax` is its number, else negative. The instruction pointer then stands behind the instruction
    // that made the call, as a return address does.
    if register(regs, offset_of!(pt_regs, orig_rax)).cast_signed() >= 0 {
        to.instruction_pointer = to.instruction_pointer.wrapping_sub(1);
    }
    true
}

#[inline(always)]
fn is_user_privilege(cs: u64) -> bool {
    cs & PRIVILEGE_MASK == PRIVILEGE_MASK
}

/// The registers at the sample: the first thing in the kernel's `bpf_perf_event_data`.
#[inline(always)]
fn interrupted(ctx: &PerfEventContext) -> *const pt_regs {
    ctx.ctx.cast_const().cast()
}

/// A register, by its offset in `pt_regs`.
#[inline(always)]
fn register(regs: *const pt_regs, offset: usize) -> u64 {
    load(regs.wrapping_byte_add(offset).cast())
}

#[inline(always)]
fn copy_registers(regs: *const pt_regs, to: &mut LeafRegisters) {
    to.general[0] = register(regs, offset_of!(pt_regs, rax));
    to.general[1] = register(regs, offset_of!(pt_regs, rdx));
    to.general[2] = register(regs, offset_of!(pt_regs, rcx));
    to.general[3] = register(regs, offset_of!(pt_regs, rbx));
    to.general[4] = register(regs, offset_of!(pt_regs, rsi));
    to.general[5] = register(regs, offset_of!(pt_regs, rdi));
    to.general[6] = register(regs, offset_of!(pt_regs, rbp));
    to.general[7] = register(regs, offset_of!(pt_regs, rsp));
    to.general[8] = register(regs, offset_of!(pt_regs, r8));
    to.general[9] = register(regs, offset_of!(pt_regs, r9));
    to.general[10] = register(regs, offset_of!(pt_regs, r10));
    to.general[11] = register(regs, offset_of!(pt_regs, r11));
    to.general[12] = register(regs, offset_of!(pt_regs, r12));
    to.general[13] = register(regs, offset_of!(pt_regs, r13));
    to.general[14] = register(regs, offset_of!(pt_regs, r14));
    to.general[15] = register(regs, offset_of!(pt_regs, r15));
    to.instruction_pointer = register(regs, offset_of!(pt_regs, rip));
}

/// Kernels from 5.15 tell where a task's user registers are.
#[inline(always)]
fn regs_by_helper() -> *const pt_regs {
    // SAFETY: takes nothing.
    let task = unsafe { generated::bpf_get_current_task_btf() };
    // SAFETY: the current task is alive while it runs.
    unsafe { generated::bpf_task_pt_regs(task) as *const pt_regs }
}

/// Older kernels: they are the last thing on the task's kernel stack (`task_pt_regs` in `arch/x86/include/asm/processor.h`).
#[inline(always)]
fn regs_by_stack(saved: &MaybeUninit<pt_regs>) -> Option<*const pt_regs> {
    let mut stack = 0u64;
    // SAFETY: reads the pointer `stack` of the current task; the helper checks the address.
    let task = unsafe { generated::bpf_get_current_task() };
    read_kernel((&raw mut stack).cast(), 8, task.wrapping_add(maps::TASK_STACK_OFFSET.load()))?;
    let top = stack.wrapping_add(KERNEL_STACK_LEN - size_of::<pt_regs>() as u64);
    read_kernel(saved.as_ptr().cast_mut().cast(), size_of::<pt_regs>() as u32, top)?;
    Some(saved.as_ptr())
}

#[inline(always)]
fn read_kernel(to: *mut c_void, len: u32, from: u64) -> Option<()> {
    // SAFETY: the callers give memory of that length; the helper checks the source.
    let result = unsafe { generated::bpf_probe_read_kernel(to, len, from as *const c_void) };
    (result == 0).then_some(())
}

/// A word of the current process's memory; `None` where it is not resident.
#[inline(always)]
pub(crate) fn read_user_word(address: u64) -> Option<u64> {
    let mut word = MaybeUninit::<u64>::uninit();
    // SAFETY: the pointer and the length are one word's; the helper checks the source.
    let result = unsafe {
        generated::bpf_probe_read_user(word.as_mut_ptr().cast(), 8, address as *const c_void)
    };
    // SAFETY: the helper has filled it.
    (result == 0).then(|| unsafe { word.assume_init() })
}

/// The first `len` bytes of the window from the current process's memory; false where they are not resident.
#[inline(always)]
pub(crate) fn read_user_window(window: &mut [u64; WINDOW_WORDS], len: u64, address: u64) -> bool {
    const { assert!(WINDOW_WORDS.is_power_of_two()) };
    let len = len.min(WINDOW_WORDS as u64 * 8);
    // SAFETY: the length is within the window; the helper checks the source.
    let result = unsafe {
        generated::bpf_probe_read_user(
            window.as_mut_ptr().cast(),
            len as u32,
            address as *const c_void,
        )
    };
    result == 0
}

/// Up to a page of the current process's memory, to `at` bytes into the copy; false where they are not resident. What the
/// verifier takes for possible, but `len` and `at` never are, goes into `behind`.
#[inline(always)]
pub(crate) fn read_user_page(to: &mut CopyScratch, at: u64, len: u64, address: u64) -> bool {
    if at > MAX_STACK_COPY as u64 || len > 4096 {
        return false;
    }
    let bytes = (&raw mut to.copy.bytes).cast::<u8>().wrapping_add(at as usize);
    // SAFETY: within `copy.bytes` and `behind`, which follows it; the helper checks the source.
    let result = unsafe {
        generated::bpf_probe_read_user(bytes.cast(), len as u32, address as *const c_void)
    };
    result == 0
}

/// The kernel stack's addresses, leaf first; how many, or `None` on error.
#[inline(always)]
pub(crate) fn kernel_stack(
    ctx: &PerfEventContext,
    addresses: &mut [u64; MAX_KERNEL_FRAMES + 1],
) -> Option<usize> {
    let len = MAX_KERNEL_FRAMES as u32 * 8;
    // SAFETY: the pointer and the length are one array's.
    let bytes =
        unsafe { generated::bpf_get_stack(ctx.as_ptr(), addresses.as_mut_ptr().cast(), len, 0) };
    (bytes >= 0).then_some((bytes as usize / 8).min(MAX_KERNEL_FRAMES))
}

/// Wakes user space only when it would come too late by itself.
#[inline(always)]
fn ring_flags(ring: *mut c_void, wakeup_bytes: u64) -> u64 {
    // SAFETY: the callers give a ring.
    let unread = unsafe { generated::bpf_ringbuf_query(ring, AVAIL_DATA) };
    if unread >= wakeup_bytes { FORCE_WAKEUP } else { NO_WAKEUP }
}

/// Puts a sample's record into the ring; false when it has no room.
#[inline(always)]
pub(crate) fn output(sample: &SampleRecord) -> bool {
    output_prefix(sample, size_of::<SampleRecord>())
}

/// Puts the first `len` bytes of a record into the ring; false when it has no room.
#[inline(always)]
pub(crate) fn output_prefix<T>(record: &T, len: usize) -> bool {
    let ring = addr_of!(maps::RECORDS).cast_mut().cast();
    let data = core::ptr::from_ref(record).cast_mut().cast();
    let flags = ring_flags(ring, maps::WAKEUP_BYTES.load());
    // SAFETY: the caller's length is within the record, which the verifier checks as well.
    unsafe { generated::bpf_ringbuf_output(ring, data, len as u64, flags) == 0 }
}

/// Puts the first `len` bytes of a copy of a stack into its ring, and perhaps wakes user space; false when it has no room.
#[inline(always)]
pub(crate) fn output_copy(copy: &StackCopy, len: u64, wakes: bool) -> bool {
    let ring = addr_of!(maps::STACK_COPIES).cast_mut().cast();
    let data = core::ptr::from_ref(copy).cast_mut().cast();
    let flags = if wakes { FORCE_WAKEUP } else { ring_flags(ring, maps::COPY_WAKEUP_BYTES.load()) };
    let len = len.min(size_of::<StackCopy>() as u64);
    // SAFETY: the length is within the copy.
    unsafe { generated::bpf_ringbuf_output(ring, data, len, flags) == 0 }
}

/// Reads a number at once, and as it is now: other CPUs may write it meanwhile, and the verifier refuses loads from the
/// context that the compiler has merged with loads from other memory.
#[inline(always)]
pub(crate) fn load(slot: *const u64) -> u64 {
    // SAFETY: points into a map, the context or a `pt_regs`, to eight aligned bytes.
    unsafe { slot.read_volatile() }
}

/// Writes a number that other CPUs may read meanwhile.
#[inline(always)]
pub(crate) fn store(slot: *mut u64, value: u64) {
    // SAFETY: points into a map; eight aligned bytes are written at once.
    unsafe { slot.write_volatile(value) };
}

/// Reads a field that may have changed since it was read before.
#[inline(always)]
pub(crate) fn read_again(field: &u32) -> u32 {
    // SAFETY: a reference is valid.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}

/// -1 for negative numbers, else 0. In this form the compiler cannot make a branch of it.
#[inline(always)]
pub(crate) fn sign(number: i64) -> i64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut sign = number;
        // SAFETY: changes the one register that it is given.
        unsafe { core::arch::asm!("{0} s>>= 63", inout(reg) sign, options(pure, nomem, nostack)) };
        sign
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        number >> 63
    }
}

/// What a step of a loop works on. Pointers only: numbers in here would multiply the verifier's states.
#[repr(C)]
pub(crate) struct Context {
    scratch: *mut Scratch,
    process: *const ProcessMappings,
}

impl Context {
    /// Without a process only steps that do not ask for it may run.
    #[inline(always)]
    pub(crate) fn new(scratch: &mut Scratch, process: Option<&ProcessMappings>) -> Self {
        Self { scratch, process: process.map_or(core::ptr::null(), core::ptr::from_ref) }
    }

    /// The sample.
    #[inline(always)]
    pub(crate) fn scratch<'a>(context: *mut Self) -> &'a mut Scratch {
        // SAFETY: `repeat` gives steps the context that `new` made.
        let scratch = unsafe { (*context).scratch };
        // SAFETY: one step runs at a time.
        unsafe { &mut *scratch }
    }

    /// The process's mapping list.
    #[inline(always)]
    pub(crate) fn process<'a>(context: *mut Self) -> &'a ProcessMappings {
        // SAFETY: as above.
        let process = unsafe { (*context).process };
        // SAFETY: the caller knows that there is one.
        unsafe { &*process }
    }
}

/// Runs `body` up to `n` times, until it gives something but 0 (`bpf_loop`).
#[inline(always)]
pub(crate) fn repeat(n: u32, body: extern "C" fn(u32, *mut Context) -> u64, context: &mut Context) {
    // SAFETY: the verifier checks the body; the context outlives the call.
    unsafe { generated::bpf_loop(n, body as *mut c_void, core::ptr::from_mut(context).cast(), 0) };
}
