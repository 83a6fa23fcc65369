//! Sizes that both sides of the kernel boundary agree on.

/// Length of a thread's name with its final NUL (`TASK_COMM_LEN` in `include/linux/sched.h`).
pub const COMM_LEN: usize = 16;
/// User frames that are kept of the leaf's end of a stack, a power of two.
pub const LEAF_FRAMES: usize = 256;
/// User frames that are kept of the root's end of a deeper stack, a power of two: a ring that the walk goes round in.
pub const ROOT_FRAMES: usize = 256;
/// User frames kept of one stack.
pub const MAX_USER_FRAMES: usize = LEAF_FRAMES + ROOT_FRAMES;
/// User frames walked of one stack.
pub const MAX_WALKED_FRAMES: usize = 4096;
/// Kernel frames kept of one stack (`PERF_MAX_STACK_DEPTH` in `include/uapi/linux/perf_event.h`).
pub const MAX_KERNEL_FRAMES: usize = 127;
/// Frames of one stack: a power of two above both together, so that an index can be masked.
pub const MAX_FRAMES: usize = 1024;
const _: () = assert!(MAX_USER_FRAMES + MAX_KERNEL_FRAMES <= MAX_FRAMES);
/// Bytes of a user stack that are copied out for a walk in user space: whole pages, the first one cut.
pub const MAX_STACK_COPY: usize = 6 * 4096;
/// Chunks of 64 KiB that all unwind tables together may take.
pub const MAX_UNWIND_CHUNKS: usize = 4096;
