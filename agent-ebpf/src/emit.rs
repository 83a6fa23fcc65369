//! Sends a sample: its record, and its stack's contents before it when they have not left in this epoch.

use agent_common::limits::MAX_FRAMES;
use agent_common::outcome::Loss;
use agent_common::sample::{RecordKind, STACK_HEADER_LEN};

use crate::counters;
use crate::helpers;
use crate::maps::{self, Scratch};

/// Sends the sample in the scratch memory.
#[inline(always)]
pub(crate) fn send() {
    let Some(scratch) = maps::scratch() else { return };
    // Stacks that end differently are different: one may be whole, the other cut.
    let hash = scratch.hash ^ (u64::from(scratch.sample.outcome) << 1);
    scratch.sample.stack_hash = hash;
    send_stack(scratch, hash);
    if !helpers::output(&scratch.sample) {
        counters::lost(Loss::SampleRingFull);
    }
}

/// Sends the contents at their first sight. Marks them only when they are in the ring: a sample that sees the mark follows
/// them there.
#[inline(always)]
fn send_stack(scratch: &mut Scratch, hash: u64) {
    // The factor spreads the epochs over all bits, so that no other hash's mark of another epoch is this one's.
    let mark = hash ^ u64::from(scratch.sample.epoch).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let Some(slot) = maps::SEEN_STACKS.get_ptr_mut((hash >> 20) as u32 & maps::SEEN_MASK.load())
    else {
        return;
    };
    if helpers::load(slot) == mark {
        return;
    }
    scratch.stack.record_kind = RecordKind::Stack as u32;
    scratch.stack.stack_hash = hash;
    let n_frames = scratch.stack.n_frames as usize & (2 * MAX_FRAMES - 1);
    if n_frames > MAX_FRAMES {
        return;
    }
    if helpers::output_prefix(&scratch.stack, STACK_HEADER_LEN + n_frames * 16) {
        helpers::store(slot, mark);
    } else {
        counters::lost(Loss::StackRingFull);
    }
}
