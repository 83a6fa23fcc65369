//! The kernel's part of a stack, by the kernel's own unwinder.

use agent_common::frame::{FrameKind, RawFrame};
use agent_common::hash::StackHash;
use agent_common::limits::{MAX_FRAMES, MAX_KERNEL_FRAMES};
use agent_common::outcome::Loss;
use aya_ebpf::programs::PerfEventContext;

use crate::counters;
use crate::helpers;
use crate::maps;

/// Appends the kernel frames, if the sample hit the kernel.
#[inline(always)]
pub(crate) fn take(ctx: &PerfEventContext) {
    if helpers::is_user_mode(ctx) {
        return;
    }
    let Some(scratch) = maps::scratch() else { return };
    let Some(n_frames) = helpers::kernel_stack(ctx, &mut scratch.kernel) else {
        counters::lost(Loss::KernelStackError);
        return;
    };
    let mut hash = StackHash::resume(scratch.hash);
    for i in 0..MAX_KERNEL_FRAMES {
        if i >= n_frames {
            break;
        }
        // All but the leaf are return addresses.
        let address = scratch.kernel[i].wrapping_sub(u64::from(i != 0));
        let frame = RawFrame::new(FrameKind::Kernel, 0, address);
        scratch.stack.frames[i & (MAX_FRAMES - 1)] = frame;
        hash = hash.add_frame(&frame);
    }
    scratch.stack.n_frames = n_frames as u32;
    scratch.stack.n_kernel = n_frames as u32;
    scratch.hash = hash.value();
    scratch.kernel_hash = scratch.hash;
}
