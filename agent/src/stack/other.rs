//! The stack that stands for all for which there was no room: memory is bounded, and no sample is lost.

use std::sync::Arc;

use agent_common::limits::COMM_LEN;
use agent_common::outcome::UnwindOutcome;

use super::{Frame, Stack};

/// Its id; the others' are hashes.
pub(super) const OTHER_STACKS: u64 = 0;
/// The name of the process that stands for those for which there was no room.
pub(super) const OTHER_PROCESSES: [u8; COMM_LEN] = *b"other processes\0";

/// The stack `[other stacks]`.
pub(super) fn other_stacks() -> Arc<Stack> {
    let frames = Box::new([Frame::Miss { reason: "other stacks" }]);
    Arc::new(Stack { id: OTHER_STACKS, frames, outcome: UnwindOutcome::UnwinderMissing })
}
