//! Begins a sample: who runs, where, and where its user stack is.

use agent_common::hash::StackHash;
use agent_common::outcome::{Loss, UnwindOutcome};
use agent_common::sample::{RecordKind, SampleType};
use agent_common::unwind::registers::{IN_LEAF, RBP, RSP};
use aya_ebpf::programs::PerfEventContext;

use crate::counters;
use crate::helpers;
use crate::maps;

/// Fills in the sample's record and the registers that the walk starts from; false when there is no memory to do it in.
#[inline(always)]
pub(crate) fn begin(ctx: &PerfEventContext) -> bool {
    counters::captured();
    let Some(scratch) = maps::scratch() else {
        counters::lost(Loss::ScratchMissing);
        return false;
    };
    let pid_tgid = helpers::pid_tgid();
    let sample = &mut scratch.sample;
    sample.record_kind = RecordKind::Sample as u32;
    sample.cpu = helpers::cpu();
    sample.time_ns = helpers::monotonic_ns();
    sample.pid = (pid_tgid >> 32) as u32;
    sample.tid = pid_tgid as u32;
    sample.cgroup_id = helpers::cgroup_id();
    sample.value = maps::PERIOD_NS.load();
    sample.epoch = helpers::epoch();
    sample.mapping_generation = 0;
    sample.sample_type = SampleType::OnCpu as u8;
    sample.outcome = UnwindOutcome::KernelThread as u8;
    sample.is_copied = 0;
    helpers::comm(&mut sample.comm);
    scratch.hash = StackHash::new(maps::HASH_SEED.load()).value();
    scratch.kernel_hash = scratch.hash;
    scratch.stack.n_frames = 0;
    scratch.stack.n_kernel = 0;
    scratch.stack.n_walked = 0;
    scratch.has_user_stack = u64::from(helpers::user_registers(ctx, &mut scratch.leaf));
    start_walk(scratch);
    true
}

/// The leaf, where the walk begins.
#[inline(always)]
fn start_walk(scratch: &mut maps::Scratch) {
    let walk = &mut scratch.walk;
    let registers = &scratch.leaf;
    walk.registers.rip = registers.instruction_pointer;
    walk.registers.rsp = registers.general[RSP as usize];
    walk.registers.rbp = registers.general[RBP as usize];
    walk.registers.is_exact = 1;
    walk.registers.others = IN_LEAF;
    walk.registers.leaf = registers.general;
    walk.is_missing = 0;
    walk.goes_on = 0;
    walk.has_ended = 0;
    walk.last.start = 0;
    walk.last.end = 0;
    walk.window_len = 0;
}
