//! Sizes that both sides of the kernel boundary agree on.

/// Length of a thread's name with its final NUL (`TASK_COMM_LEN` in `include/linux/sched.h`).
pub const COMM_LEN: usize = 16;
/// User frames kept of one stack.
pub const MAX_USER_FRAMES: usize = 128;
/// Kernel frames kept of one stack (`PERF_MAX_STACK_DEPTH` in `include/uapi/linux/perf_event.h`).
pub const MAX_KERNEL_FRAMES: usize = 127;
/// Frames of one stack: a power of two above both together, so that an index can be masked.
pub const MAX_FRAMES: usize = 256;
const _: () = assert!(MAX_USER_FRAMES + MAX_KERNEL_FRAMES <= MAX_FRAMES);
