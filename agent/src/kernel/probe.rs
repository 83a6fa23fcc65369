//! What this kernel offers. Asked of the kernel itself, never derived from its version.

use aya::programs::ProgramType;

use aya::sys::{BpfHelper, is_helper_supported};

/// What matters to the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    /// The helper `bpf_loop`.
    pub(super) bpf_loop: bool,
    /// The helpers `bpf_task_pt_regs` and `bpf_get_current_task_btf`.
    pub(super) task_pt_regs: bool,
}

impl Features {
    /// Asks the kernel. A question that it does not answer counts as "no".
    pub(super) fn probe() -> Self {
        let has = |helper| is_helper_supported(ProgramType::PerfEvent, helper).unwrap_or(false);
        Self {
            bpf_loop: has(BpfHelper::BPF_FUNC_loop),
            task_pt_regs: has(BpfHelper::BPF_FUNC_task_pt_regs)
                && has(BpfHelper::BPF_FUNC_get_current_task_btf),
        }
    }
}
