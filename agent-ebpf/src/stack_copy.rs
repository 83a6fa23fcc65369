//! A copy of the user stack, for a walk in user space: taken where what a walk needs is not there yet.

use agent_common::limits::MAX_STACK_COPY;
use agent_common::outcome::Loss;
use agent_common::sample::STACK_COPY_HEADER_LEN;
use agent_common::unwind::registers::RSP;

use crate::counters;
use crate::helpers;
use crate::maps::{self, CopyScratch, Scratch};

const PAGE_LEN: u64 = 4096;
const N_PAGES: u64 = (MAX_STACK_COPY / 4096) as u64;
/// User space is not woken more often by a CPU.
const WAKEUP_INTERVAL_NS: u64 = 20_000_000;
/// Nanoseconds are cut to this, nearly a second, without a division.
const SECOND_BITS: u64 = 30;

/// Copies the stack and the registers out; false when they may not or cannot leave.
#[inline(always)]
pub(crate) fn take(scratch: &Scratch) -> bool {
    let Some(to) = maps::copy_scratch() else { return false };
    if !may_copy(to, scratch.sample.time_ns) {
        counters::lost(Loss::StackCopyLimited);
        return false;
    }
    let n_bytes = read_stack(to, scratch.leaf.general[RSP as usize]);
    let copy = &mut to.copy;
    copy.registers = scratch.leaf;
    copy.time_ns = scratch.sample.time_ns;
    copy.cpu = scratch.sample.cpu;
    copy.n_bytes = n_bytes as u32;
    // What misses is to come soon: the sooner, the fewer stacks are copied.
    let wakes = copy.time_ns.wrapping_sub(to.woken_ns) > WAKEUP_INTERVAL_NS;
    if wakes {
        to.woken_ns = copy.time_ns;
    }
    let sent = helpers::output_copy(copy, STACK_COPY_HEADER_LEN as u64 + n_bytes, wakes);
    if !sent {
        counters::lost(Loss::StackCopyRingFull);
    }
    sent
}

/// Counts the copies of this CPU in this second.
#[inline(always)]
fn may_copy(to: &mut CopyScratch, time_ns: u64) -> bool {
    let second = time_ns >> SECOND_BITS;
    if to.second != second {
        to.second = second;
        to.n_copies = 0;
    }
    to.n_copies += 1;
    to.n_copies <= maps::MAX_COPIES.load()
}

/// Copies page by page up to the first that is not there; gives the number of bytes.
#[inline(always)]
fn read_stack(to: &mut CopyScratch, start: u64) -> u64 {
    let first_len = PAGE_LEN - (start & (PAGE_LEN - 1));
    if !helpers::read_user_page(to, 0, first_len, start) {
        return 0;
    }
    let mut n_bytes = first_len;
    for page in 1..N_PAGES {
        let at = first_len + (page - 1) * PAGE_LEN;
        if !helpers::read_user_page(to, at, PAGE_LEN, start.wrapping_add(at)) {
            break;
        }
        n_bytes = at + PAGE_LEN;
    }
    n_bytes
}
