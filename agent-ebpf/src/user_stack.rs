//! The user's part of a stack: first the walk along frame pointers, then each address becomes (executable, offset).

use agent_common::frame::{FrameKind, RawFrame};
use agent_common::hash::StackHash;
use agent_common::limits::{MAX_FRAMES, MAX_USER_FRAMES};
use agent_common::mapping::{CHUNK_LEN, ChunkKey, MAX_CHUNKS, ProcessMappings};
use agent_common::outcome::UnwindOutcome;
use agent_common::unwind::{Step, frame_pointer_step, is_frame_pointer};
use aya_ebpf::programs::PerfEventContext;
use aya_log_ebpf::debug;

use crate::emit;
use crate::helpers;
use crate::helpers::Context;
use crate::maps::{self, Scratch};

/// Loops by the helper `bpf_loop`: the verifier reads a step once.
pub(crate) const WITH_BPF_LOOP: bool = true;
/// Loops that the verifier walks through step by step.
pub(crate) const BOUNDED: bool = false;

/// Steps after the leaf.
const MAX_STEPS: usize = MAX_USER_FRAMES - 1;

/// Walks, normalizes and sends.
#[inline(always)]
pub(crate) fn walk<const LOOP: bool>(ctx: &PerfEventContext) {
    let Some(scratch) = maps::scratch() else { return };
    if scratch.has_user_stack != 0 {
        scratch.sample.outcome = UnwindOutcome::Truncated as u8;
        if LOOP {
            helpers::repeat(MAX_STEPS as u32, step, &mut Context::new(scratch, None));
        } else {
            for _ in 0..MAX_STEPS {
                if !take_step(scratch) {
                    break;
                }
            }
        }
        normalize::<LOOP>(scratch);
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

/// One step along the frame pointers.
extern "C" fn step(_index: u32, context: *mut Context) -> u64 {
    u64::from(!take_step(Context::scratch(context)))
}

/// Appends the caller of the last frame; false at the end of the stack.
#[inline(always)]
fn take_step(scratch: &mut Scratch) -> bool {
    let frame_pointer = scratch.frame_pointer;
    let outcome = if frame_pointer == 0 {
        UnwindOutcome::Complete
    } else if !is_frame_pointer(frame_pointer, scratch.stack_pointer) {
        UnwindOutcome::FramePointerInvalid
    } else {
        match helpers::read_user_pair(frame_pointer).map(frame_pointer_step) {
            None => UnwindOutcome::StackFault,
            Some(Step::End) => UnwindOutcome::Complete,
            Some(Step::Invalid) => UnwindOutcome::FramePointerInvalid,
            Some(Step::Caller { return_address, frame_pointer: next }) => {
                let n = scratch.n_user as usize & (MAX_USER_FRAMES - 1);
                scratch.user[n] = return_address.wrapping_sub(1);
                scratch.n_user = n as u64 + 1;
                scratch.stack_pointer = frame_pointer.wrapping_add(16);
                scratch.frame_pointer = next;
                return true;
            }
        }
    };
    scratch.sample.outcome = outcome as u8;
    false
}

/// Turns the addresses into frames and adds them to the hash.
#[inline(always)]
fn normalize<const LOOP: bool>(scratch: &mut Scratch) {
    scratch.last_end = 0;
    let process = maps::process(scratch.sample.pid);
    if let Some(process) = process {
        scratch.sample.mapping_generation = process.generation;
    }
    let n_user = scratch.n_user;
    if LOOP {
        let body = if process.is_some() { append_mapped } else { append_unmapped };
        helpers::repeat(n_user as u32, body, &mut Context::new(scratch, process));
        return;
    }
    for i in 0..MAX_USER_FRAMES {
        if i as u64 >= n_user {
            break;
        }
        append(scratch, process, i);
    }
}

/// Appends one frame of a process whose mappings are known.
extern "C" fn append_mapped(index: u32, context: *mut Context) -> u64 {
    append(Context::scratch(context), Some(Context::process(context)), index as usize);
    0
}

/// Appends one frame of a process that the kernel has no list of.
extern "C" fn append_unmapped(index: u32, context: *mut Context) -> u64 {
    append(Context::scratch(context), None, index as usize);
    0
}

#[inline(always)]
fn append(scratch: &mut Scratch, process: Option<&ProcessMappings>, index: usize) {
    let address = scratch.user[index & (MAX_USER_FRAMES - 1)];
    let frame = match process {
        None => RawFrame::new(FrameKind::Address, scratch.sample.pid, address),
        Some(process)
            if is_in_last_mapping(scratch, address) || find_mapping(scratch, process, address) =>
        {
            let offset =
                address.wrapping_sub(scratch.last_start).wrapping_add(scratch.last_file_offset);
            RawFrame::new(FrameKind::Native, scratch.last_executable as u32, offset)
        }
        Some(_) => RawFrame::new(FrameKind::Address, scratch.sample.mapping_generation, address),
    };
    let n_frames = scratch.stack.n_frames;
    scratch.stack.frames[n_frames as usize & (MAX_FRAMES - 1)] = frame;
    scratch.stack.n_frames = n_frames.wrapping_add(1);
    scratch.hash = StackHash::resume(scratch.hash).add_frame(&frame).value();
}

#[inline(always)]
fn is_in_last_mapping(scratch: &Scratch, address: u64) -> bool {
    scratch.last_start <= address && address < scratch.last_end
}

/// Makes the mapping that holds the address the last one; false when the list has none.
#[inline(always)]
fn find_mapping(scratch: &mut Scratch, process: &ProcessMappings, address: u64) -> bool {
    let mut index = 0;
    for next in 1..MAX_CHUNKS {
        if process.first_address[next] > address {
            break;
        }
        index = next as u32;
    }
    // The list's number was read once, at the start: if the entry is overwritten meanwhile, no chunk bears both.
    let generation = scratch.sample.mapping_generation;
    let Some(chunk) = maps::chunk(ChunkKey { generation, index }) else { return false };
    let mut found = 0;
    let mut half = CHUNK_LEN / 2;
    while half > 0 {
        if chunk.mappings[(found + half) & (CHUNK_LEN - 1)].start <= address {
            found += half;
        }
        half /= 2;
    }
    let mapping = &chunk.mappings[found & (CHUNK_LEN - 1)];
    scratch.last_start = mapping.start;
    scratch.last_end = mapping.end;
    scratch.last_file_offset = mapping.file_offset;
    scratch.last_executable = u64::from(mapping.executable);
    if helpers::read_again(&chunk.generation) != generation {
        scratch.last_end = 0;
    }
    is_in_last_mapping(scratch, address)
}
