//! Sizes that both sides of the kernel boundary agree on.

/// Length of a thread's name with its final NUL (`TASK_COMM_LEN` in `include/linux/sched.h`).
pub const COMM_LEN: usize = 16;
/// User frames kept of one stack.
pub const MAX_USER_FRAMES: usize = 128;
/// Kernel frames kept of one stack (`PERF_MAX_STACK_DEPTH`).
pub const MAX_KERNEL_FRAMES: usize = 127;
