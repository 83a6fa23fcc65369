//! The user's part of a stack. Each frame becomes (executable, offset in the file) by the process's mapping list; the file's
//! unwind table then leads to the caller, or the frame pointer where there is no table or no row. Where something is not there
//! yet, the stack is copied out, to be walked in user space by the same step.

use agent_common::frame::{FrameKind, RawFrame};
use agent_common::hash::StackHash;
use agent_common::limits::{
    LEAF_FRAMES, MAX_FRAMES, MAX_KERNEL_FRAMES, MAX_USER_FRAMES, MAX_WALKED_FRAMES, ROOT_FRAMES,
};
use agent_common::mapping::{CHUNK_LEN, ChunkKey, MAX_CHUNKS, ProcessMappings};
use agent_common::outcome::UnwindOutcome;
use agent_common::unwind::step::{Stepped, step};
use aya_ebpf::programs::PerfEventContext;
use aya_log_ebpf::debug;

use crate::emit;
use crate::helpers;
use crate::helpers::Context;
use crate::maps::{self, Scratch};
use crate::stack_copy;
use crate::unwind_table::{self, BY_FRAME_POINTER, Found};
use crate::window;

/// Loops by the helper `bpf_loop`: the verifier reads a step once.
pub(crate) const WITH_BPF_LOOP: bool = true;
/// Loops that the verifier walks through step by step, some frames in each of several programs that follow each other.
pub(crate) const BOUNDED: bool = false;

/// Frames that one program walks where there is no `bpf_loop`. At most 32 programs follow each other.
const FRAMES_A_PROGRAM: usize = 16;

/// Walks, and sends when the walk has ended.
#[inline(always)]
pub(crate) fn walk<const LOOP: bool>(ctx: &PerfEventContext) {
    let Some(scratch) = maps::scratch() else { return };
    if scratch.has_user_stack != 0 {
        walk_on::<LOOP>(scratch);
        if scratch.walk.is_missing != 0 && scratch.walk.goes_on == 0 {
            copy_instead(scratch);
        }
        if scratch.walk.has_ended == 0 {
            // Comes back when too many programs have followed each other: the stack is cut.
            helpers::tail_call(ctx, maps::USER_STACK_SLOT);
        }
    }
    emit::send();
    // Off by default: the level is a constant that the verifier knows, so that this costs nothing then.
    debug!(
        ctx,
        "pid {} tid {}: {} frames, outcome {}",
        scratch.sample.pid,
        scratch.sample.tid,
        scratch.stack.n_frames,
        scratch.sample.outcome
    );
}

/// Sends what there is when no program that walks user stacks is loaded.
#[inline(always)]
pub(crate) fn skip() {
    let Some(scratch) = maps::scratch() else { return };
    scratch.sample.outcome = UnwindOutcome::UnwinderMissing as u8;
    emit::send();
}

/// Walks up to the end, or as many frames as one program may.
#[inline(always)]
fn walk_on<const LOOP: bool>(scratch: &mut Scratch) {
    scratch.sample.outcome = UnwindOutcome::Truncated as u8;
    let process = maps::process(scratch.sample.pid);
    match process {
        Some(process) if scratch.stack.n_walked == 0 => {
            scratch.sample.mapping_generation = process.generation;
        }
        Some(_) => {}
        None => {
            scratch.walk.is_missing = 1;
            if scratch.walk.goes_on == 0 {
                return;
            }
        }
    }
    if LOOP {
        let body = if process.is_some() { take_mapped } else { take_unmapped };
        helpers::repeat(MAX_WALKED_FRAMES as u32, body, &mut Context::new(scratch, process));
        // It walks no further than that.
        scratch.walk.has_ended = 1;
        return;
    }
    for _ in 0..FRAMES_A_PROGRAM {
        if !take_frame(scratch, process) {
            break;
        }
    }
}

/// Gives up what has been walked for a copy of the stack; if there is none to be had, the walk goes on in the next program.
#[inline(always)]
fn copy_instead(scratch: &mut Scratch) {
    scratch.sample.outcome = UnwindOutcome::TablePending as u8;
    if !stack_copy::take(scratch) {
        scratch.walk.goes_on = 1;
        scratch.walk.has_ended = 0;
        return;
    }
    scratch.walk.has_ended = 1;
    scratch.sample.is_copied = 1;
    scratch.sample.mapping_generation = 0;
    scratch.hash = scratch.kernel_hash;
    scratch.stack.n_frames = scratch.stack.n_kernel;
    scratch.stack.n_walked = 0;
}

/// Takes one frame of a process whose mappings are known.
extern "C" fn take_mapped(_index: u32, context: *mut Context) -> u64 {
    u64::from(!take_frame(Context::scratch(context), Some(Context::process(context))))
}

/// Takes one frame of a process that the kernel has no list of.
extern "C" fn take_unmapped(_index: u32, context: *mut Context) -> u64 {
    u64::from(!take_frame(Context::scratch(context), None))
}

/// Appends the frame that the registers stand for and makes its caller's registers the current ones; false at the end.
#[inline(always)]
fn take_frame(scratch: &mut Scratch, process: Option<&ProcessMappings>) -> bool {
    let address = scratch.walk.registers.lookup_address();
    let Some((frame, found)) = place(scratch, process, address) else {
        scratch.walk.is_missing = 1;
        return false;
    };
    append(scratch, &frame);
    let maps::Walk { registers, window, window_start, window_len, .. } = &mut scratch.walk;
    let mut window = window::Window { words: window, start: window_start, len: window_len };
    let shared = |index| unwind_table::shared_rule(found.slot, index);
    let outcome = match step(registers, found.rule, found.distance, shared, |at| window.read(at)) {
        Stepped::Caller => return true,
        Stepped::End => UnwindOutcome::Complete,
        Stepped::Failed(outcome) => outcome,
    };
    scratch.sample.outcome =
        if scratch.walk.is_missing == 0 { outcome } else { UnwindOutcome::TablePending } as u8;
    scratch.walk.has_ended = 1;
    false
}

/// Where an address is, and how to step from there; `None` when what tells it is not there yet, unless the walk goes on.
#[inline(always)]
fn place(
    scratch: &mut Scratch,
    process: Option<&ProcessMappings>,
    address: u64,
) -> Option<(RawFrame, Found)> {
    let Some(process) = process else {
        let frame = RawFrame::new(FrameKind::Address, scratch.sample.pid, address);
        return Some((frame, BY_FRAME_POINTER));
    };
    let generation = scratch.sample.mapping_generation;
    let raw = RawFrame::new(FrameKind::Address, generation, address);
    if !is_in_last_mapping(scratch, address) && !find_mapping(scratch, process, address) {
        return missing(scratch).then_some((raw, BY_FRAME_POINTER));
    }
    let mapping = &scratch.walk.last;
    if mapping.executable == 0 {
        return Some((raw, BY_FRAME_POINTER));
    }
    let offset = address.wrapping_sub(mapping.start).wrapping_add(mapping.file_offset);
    let frame = RawFrame::new(FrameKind::Native, mapping.executable, offset);
    match unwind_table::rule_at(mapping.table, offset) {
        Some(found) => Some((frame, found)),
        None => missing(scratch).then_some((frame, BY_FRAME_POINTER)),
    }
}

/// Something is not there yet; whether the walk goes on nevertheless.
#[inline(always)]
fn missing(scratch: &mut Scratch) -> bool {
    scratch.walk.is_missing = 1;
    scratch.walk.goes_on != 0
}

/// Adds a frame to the record and to the hash.
#[inline(always)]
fn append(scratch: &mut Scratch, frame: &RawFrame) {
    let n_walked = scratch.stack.n_walked as usize;
    let at = if n_walked < LEAF_FRAMES {
        n_walked
    } else {
        LEAF_FRAMES + (n_walked & (ROOT_FRAMES - 1))
    };
    let at = (at & (MAX_USER_FRAMES - 1)) + (scratch.stack.n_kernel as usize & MAX_KERNEL_FRAMES);
    scratch.stack.frames[at & (MAX_FRAMES - 1)] = *frame;
    scratch.stack.n_walked = n_walked as u32 + 1;
    if n_walked < MAX_USER_FRAMES {
        scratch.stack.n_frames = scratch.stack.n_frames.wrapping_add(1);
    }
    scratch.hash = StackHash::resume(scratch.hash).add_frame(frame).value();
}

#[inline(always)]
fn is_in_last_mapping(scratch: &Scratch, address: u64) -> bool {
    scratch.walk.last.contains(address)
}

/// Makes the mapping that holds the address the last one; false when the list has none.
#[inline(always)]
fn find_mapping(scratch: &mut Scratch, process: &ProcessMappings, address: u64) -> bool {
    let index =
        last_not_behind::<MAX_CHUNKS>(process.n_chunks, address, |i| process.first_address[i]);
    // The list's number was read once, at the start: if the entry is overwritten meanwhile, no chunk bears both.
    let generation = scratch.sample.mapping_generation;
    let Some(chunk) = maps::chunk(ChunkKey { generation, index: index as u32 }) else {
        return false;
    };
    let found =
        last_not_behind::<CHUNK_LEN>(chunk.n_mappings, address, |i| chunk.mappings[i].start);
    scratch.walk.last = chunk.mappings[found & (CHUNK_LEN - 1)];
    if helpers::read_again(&chunk.generation) != generation {
        scratch.walk.last.end = 0;
    }
    is_in_last_mapping(scratch, address)
}

/// The last of rising addresses that is not behind the one given, or the first. `n` of at most `LEN` (a power of two) count. No
/// branch depends on them: each would double the paths that the verifier walks.
#[inline(always)]
fn last_not_behind<const LEN: usize>(n: u32, address: u64, at: impl Fn(usize) -> u64) -> usize {
    // Only what counts is looked at, up to a power of two: memory that was not used since the last sample is slow. A step that
    // is too wide for it looks where the search stands, and goes into bits that are cut off.
    let mask = mask_of(n) as usize & (LEN - 1);
    let mut found = 0;
    let mut half = LEN / 2;
    while half > 0 {
        let ahead = address.wrapping_sub(at((found + half) & mask)).cast_signed();
        found += half & !(helpers::sign(ahead) as usize);
        half /= 2;
    }
    found & mask
}

/// The next power of two that is not below `n`, less one; `n` is at most 256.
#[inline(always)]
fn mask_of(n: u32) -> u32 {
    let mut mask = n.wrapping_sub(1);
    mask |= mask >> 1;
    mask |= mask >> 2;
    mask | mask >> 4
}
