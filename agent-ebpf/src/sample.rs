//! Begins a sample: who runs, where, and where its user stack is.

use agent_common::hash::StackHash;
use agent_common::outcome::{Loss, UnwindOutcome};
use agent_common::sample::{RecordKind, SampleType};
use aya_ebpf::programs::PerfEventContext;

use crate::counters;
use crate::helpers::{self, Registers};
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
    helpers::comm(&mut sample.comm);
    scratch.hash = StackHash::new(maps::HASH_SEED.load()).value();
    scratch.stack.n_frames = 0;
    scratch.n_user = 0;
    scratch.has_user_stack = 0;
    if let Some(registers) = helpers::user_registers(ctx) {
        start_walk(scratch, &registers);
    }
    true
}

/// The leaf, and where to look for its caller.
#[inline(always)]
fn start_walk(scratch: &mut maps::Scratch, registers: &Registers) {
    scratch.has_user_stack = 1;
    scratch.stack_pointer = registers.stack_pointer;
    scratch.frame_pointer = registers.frame_pointer;
    // After a system call the instruction pointer stands behind the instruction that made the call, as a return address does.
    scratch.user[0] = registers.instruction_pointer.wrapping_sub(u64::from(registers.in_syscall));
    scratch.n_user = 1;
}
